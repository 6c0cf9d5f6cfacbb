"""Packing: the rows of a batch, one behind the other in one row without padding.

    ids_BT, mask_BT → ids_1N, positions_1N (from 0 in each row) → states_1ND → states_BTD, 0 at the padding

Rows are kept apart in attention and positions, as transformers does where positions begin anew and no mask
is given (`masking_utils.find_packed_sequence_indices`; on a GPU with FlashAttention by variable lengths).
Around the trunk alone: targets, heads and methods see the batch as ever, and a step has the very same rows.
Causal models whose attention knows packed rows; whether one does is asked of the model itself: its logits
must be the same both ways. In float32; where the training attends by FlashAttention, which has none, in its
own precision too.

What it changes: nothing but the order of sums (1e-6) without dropout; with it, fewer random draws.
"""

# B batch, T tokens with padding, N tokens without, D hidden

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.data.batch import Examples
from tunelab.train.alike import Context, close, logits_of
from tunelab.train.precision import Precision, in_float32, uses_flash

__all__ = ["packed"]

_TEXTS = ("input_ids", "inputs_embeds")
_PLACES = ("position_ids", "past_key_values", "token_type_ids")
_TOLERANCE = 1e-4
_LOW_TOLERANCE = 5e-2  # of bfloat16, as of states in trunk.py; whether rows are kept apart float32 has told


@dataclass
class _Packing:
    """Hooks on a trunk; mask_BT: of the batch that is inside now; worked: whether padding was ever taken
    out."""

    mask_BT: Tensor | None = None
    worked: bool = False

    def put(
        self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        """Takes the padding out, if there is any and nothing else speaks of places."""
        self.mask_BT = None
        names = inspect.signature(module.forward).parameters
        named = {**dict(zip(names, inputs, strict=False)), **named}
        mask_BT, texts = named.get("attention_mask"), [n for n in _TEXTS if named.get(n) is not None]
        if any(named.get(name) is not None for name in _PLACES) or len(texts) != 1:
            return None
        if mask_BT is None or mask_BT.dim() != 2 or bool(mask_BT.all()):
            return None
        kept_BT = mask_BT.bool()
        if kept_BT.shape != named[texts[0]].shape[:2]:  # (of keys that come from elsewhere)
            return None
        rows_B = kept_BT.sum(1)
        starts_B = rows_B.cumsum(0) - rows_B
        positions_N = torch.arange(int(rows_B.sum()), device=mask_BT.device)
        positions_N -= starts_B.repeat_interleave(rows_B)
        self.mask_BT, self.worked = kept_BT, True
        named[texts[0]] = named[texts[0]][kept_BT][None]
        return (), {**named, "attention_mask": None, "position_ids": positions_N[None], "use_cache": False}

    def take(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """Puts the padding back."""
        kept_BT, self.mask_BT = self.mask_BT, None
        if kept_BT is None:
            return output
        states_ND = output.last_hidden_state[0]
        states_BTD = states_ND.new_zeros(*kept_BT.shape, states_ND.shape[-1])
        output.last_hidden_state = states_BTD.masked_scatter(kept_BT[..., None], states_ND)
        return output


@contextlib.contextmanager
def packed(model: nn.Module, examples: Examples, precision: Precision | None = None) -> Iterator[bool]:
    """Inside, the trunk of `model` gets batches without their padding, if it can keep rows apart; gives
    whether it does. Draws no random number.

    examples: some of these rows are what the model is asked with. precision: of the training, None for
    float32.
    """
    outer: Any = model
    plain = outer.get_base_model() if hasattr(model, "get_base_model") else outer
    trunk = getattr(plain, "base_model", plain)
    if trunk is plain or len(set(examples.lengths.tolist())) < 2:  # (nothing to spare)
        yield False
        return
    ways: list[tuple[Context, float]] = [(in_float32, _TOLERANCE)]
    if precision is not None and uses_flash(model):
        ways.append((precision, _LOW_TOLERANCE))
    before = [logits_of(model, examples, context) for context, _ in ways]
    packing = _Packing()
    hooks = [
        trunk.register_forward_pre_hook(packing.put, with_kwargs=True),
        trunk.register_forward_hook(packing.take),
    ]
    try:
        same = all(
            close(logits_of(model, examples, context), wanted, tolerance)
            for (context, tolerance), wanted in zip(ways, before, strict=True)
        )
        same = same and packing.worked
        if not same:
            for hook in hooks:
                hook.remove()
        yield same
    finally:
        for hook in hooks:
            hook.remove()
