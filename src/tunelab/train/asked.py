"""Asked tokens only: a language model's output layer computes logits of the tokens that the loss asks for.

A masked model is asked for 15 % of a row's tokens, a conversation's model for its answers. Everything above
the trunk treats each token by itself, so the states of the other tokens need not go through it: of a small
model with a large vocabulary that is a third of a step. Whether a model's head is like that is asked of the
model itself: its logits must be the same both ways.

    hidden_BTD → states of the K tokens that are asked for, [1, K, D] → logits_1KV; targets_BT → targets_1K

What it changes: nothing but the order of float32 sums (1e-6); no random number is drawn. Only in training:
validation and judging read every row's logits as ever.
"""

# B batch, T tokens, K tokens that are asked for, D hidden, V vocabulary

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from tunelab.data.batch import IGNORED, Examples
from tunelab.train.alike import asking, to_ask_with
from tunelab.train.precision import in_float32

__all__ = ["Asked", "asked_only"]

_TOLERANCE = 1e-4


@dataclass
class _Places:
    """Where the next forward pass is asked, in the flattened batch; None: everywhere."""

    next_K: Tensor | None = None

    def take(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """A hook on the trunk: its last states, of those places alone. They count for one pass."""
        places_K, self.next_K = self.next_K, None
        hidden_BTD = getattr(output, "last_hidden_state", None)
        if places_K is None or hidden_BTD is None:
            return output
        output.last_hidden_state = hidden_BTD.flatten(0, 1)[places_K][None]
        return output


@dataclass(frozen=True)
class Asked(Examples):
    """Rows whose batches have the targets of their asked tokens alone, [1, K], and note where those are.

    inner: the rows as the task made them; places: read by the model's hook.
    """

    inner: Examples | None = None
    places: _Places = field(default_factory=_Places)

    @classmethod
    def of(cls, inner: Examples, places: _Places) -> "Asked":
        """These rows, asked so."""
        common = {f.name: getattr(inner, f.name) for f in fields(Examples)}
        return cls(**common, inner=inner, places=places)

    @property
    def own(self) -> Examples:
        """The rows as the task would batch them."""
        assert self.inner is not None
        return replace(self.inner, rows=self.rows)

    @property
    def shown(self) -> np.ndarray:
        return self.own.shown

    def begin(self, epoch: int) -> dict[str, float]:
        return self.own.begin(epoch)

    def key(self) -> str:
        return self.own.key()

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Tensor]:
        inputs, targets_BT = self.own.batch(which, device)
        flat = targets_BT.flatten()
        self.places.next_K = (flat != IGNORED).nonzero().squeeze(1)
        return inputs, flat[self.places.next_K][None]


@contextlib.contextmanager
def asked_only(model: nn.Module, examples: Examples) -> Iterator[tuple[Examples, bool]]:
    """Inside, `model` gives the logits of asked tokens alone for batches of the rows that this gives; and
    whether it does. The loss must be a sum over tokens, each by its own logits. Draws no random number.

    examples: the training rows, with a target a token.
    """
    outer: Any = model
    plain = outer.get_base_model() if hasattr(model, "get_base_model") else outer
    trunk = getattr(plain, "base_model", plain)
    if trunk is plain or not len(examples):
        yield examples, False
        return
    places = _Places()
    rows = Asked.of(examples, places)
    hook = trunk.register_forward_hook(places.take)
    try:
        same = _same(model, rows)
        if not same:
            hook.remove()
        yield (rows if same else examples), same
    finally:
        hook.remove()


def _same(model: nn.Module, rows: Asked) -> bool:
    """Whether a few rows, the longest and the shortest among them, get the same logits both ways."""
    order = to_ask_with(rows.lengths)
    try:
        with asking(model, in_float32):
            inputs, _ = rows.batch(order, str(next(model.parameters()).device))
            places_K = rows.places.next_K
            assert places_K is not None
            found: Tensor = model(**inputs).logits.float()
            wanted = model(**inputs).logits.float().flatten(0, 1)[places_K][None]
    except Exception:  # (what a model objects to is its own)
        return False
    finally:
        rows.places.next_K = None
    if found.shape != wanted.shape or not len(places_K):
        return False
    return bool((found - wanted).abs().max() <= _TOLERANCE * wanted.abs().max().clamp(min=1.0))
