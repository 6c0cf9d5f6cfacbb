"""First token only: where the head reads nothing but the first token's last state, the last layer computes
nothing but that.

The last layer's keys and values need every token, what follows its attention does not: the output projection
and the feed-forward part, nine twelfths of its products, are done for one token a row. BERT, RoBERTa,
XLM-R, ELECTRA and DeBERTa classify so. Whether a model does is asked of the model itself: its logits must be
the same both ways, in float32.

What it changes: nothing without dropout (1e-6 of float32 rounding). With dropout the last layer draws masks
for one token instead of all: other random numbers than without it, from the same distribution.
"""

# B batch, T tokens, D hidden

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from tunelab.data.batch import Examples
from tunelab.errors import ConfigError
from tunelab.methods.structure import find_structure
from tunelab.train.alike import close, logits_of
from tunelab.train.precision import in_float32
from tunelab.train.unpadded import inside

__all__ = ["first_token_only"]

_TOLERANCE = 1e-4


@contextlib.contextmanager
def first_token_only(model: nn.Module, examples: Examples) -> Iterator[bool]:
    """Inside, the last layer of `model` finishes the first token of each row alone, if that is all that its
    head reads; gives whether it is. Draws no random number.

    examples: some of these rows are what the model is asked with.
    """
    part = _after_attention(model)
    if part is None or not len(examples):
        yield False
        return
    before = logits_of(model, examples, in_float32)
    hook = part.register_forward_pre_hook(_first, with_kwargs=True)
    try:
        same = close(logits_of(model, examples, in_float32), before, _TOLERANCE)
        if not same:
            hook.remove()
        yield same
    finally:
        hook.remove()


def _after_attention(model: Any) -> nn.Module | None:
    """The module that gets the last layer's attention and its input: `attention.output` in BERT."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        layer = find_structure(plain).layers[-1]
    except ConfigError:
        return None
    inside, output = layer.attention.split("."), layer.attention_output.split(".")
    common = next((i for i, (a, b) in enumerate(zip(inside, output, strict=False)) if a != b), len(inside))
    part: nn.Module = plain.get_submodule(".".join(output[: common + 1]))
    return None if isinstance(part, nn.Linear) or common == len(inside) else part


def _first(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    behind = inside()

    def cut(value: Any) -> Any:
        if behind is not None and isinstance(value, Tensor) and value.dim() == 3:
            return value.index_select(1, behind.starts_B)
        # Contiguous, or torch copies a frozen weight once a row instead of viewing [B, 1, D] as [B, D]: 9 ms.
        return value[:, :1].contiguous() if isinstance(value, Tensor) and value.dim() == 3 else value

    return tuple(map(cut, inputs)), {name: cut(value) for name, value in named.items()}
