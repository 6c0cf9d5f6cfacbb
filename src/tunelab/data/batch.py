"""Batches of token ids: rows of like length together, padded to the longest of the batch.

The order is a pure function of lengths, batch size, seed and epoch, so a continued run sees exactly
the batches that it would have seen.
"""

# B batch, T tokens

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from tunelab.data.encode import Tokens

__all__ = ["IGNORED", "Batches", "Examples", "collate", "epoch_batches", "sorted_batches"]

#: The target of a token that has none, as in `torch.nn.functional.cross_entropy`.
IGNORED = -100

#: Batches whose rows are sorted by length together: large enough to save most padding, small enough
#: that a row's companions differ from epoch to epoch.
POOL = 32


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Every row once, in batches of like length: shuffled, cut into pools, sorted inside each pool, and
    the batches shuffled again. Only the last batch may be smaller.

    >>> [b.tolist() for b in epoch_batches(np.array([3, 9, 4, 8]), 2, seed=0, epoch=0)]
    [[3, 1], [0, 2]]
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for first in range(0, len(order), POOL * batch_size):
        pool = order[first : first + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Every row once for evaluation, longest first (so that memory runs out at once or not at all), in
    batches of at most `tokens` tokens with padding, or of one row that is longer.

    >>> [b.tolist() for b in sorted_batches(np.array([2, 9, 4, 4]), 12)]
    [[1], [2, 3, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    first = 0
    while first < len(order):
        size = max(1, tokens // max(int(lengths[order[first]]), 1))
        batches.append(order[first : first + size])
        first += size
    return batches


def collate(
    tokens: Tokens, rows: Sequence[int] | np.ndarray, max_length: int, pad_id: int
) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and, of pairs where the model takes them, `token_type_ids`: [B, T] int64,
    right-padded to the longest row."""
    texts = [tokens.row(int(i), max_length) for i in rows]
    width = max(1, max(len(t) for t in texts))
    ids_BT = np.full((len(texts), width), pad_id, dtype=np.int64)
    mask_BT = np.zeros((len(texts), width), dtype=np.int64)
    for i, text in enumerate(texts):
        ids_BT[i, : len(text)] = text
        mask_BT[i, : len(text)] = 1
    inputs = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
    if tokens.types is not None:
        types_BT = np.zeros((len(texts), width), dtype=np.int64)
        for i, row in enumerate(rows):
            own = tokens.row_types(int(row), max_length)
            assert own is not None
            types_BT[i, : len(own)] = own
        inputs["token_type_ids"] = torch.from_numpy(types_BT)
    return inputs


class Batches(Protocol):
    """What the loop trains on: rows with lengths, of which it takes batches."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""

    def begin(self, epoch: int) -> dict[str, float]:
        """See `Examples.begin`."""

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Any]:
        """Inputs of the model, and what the objective holds its output against."""


@dataclass(frozen=True)
class Examples:
    """Tokenised rows with their targets: what the loop trains on and what is evaluated.

    rows: positions among all rows of `tokens`; targets: one a row of `tokens`, or (per_token) one a token,
    `IGNORED` where nothing is to be learnt.
    """

    tokens: Tokens
    targets: np.ndarray
    rows: np.ndarray
    max_length: int
    pad_id: int
    per_token: bool = False
    #: Whether a batch may show tokens that no row has.
    replaces: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each of the rows after truncation."""
        lengths: np.ndarray = np.minimum(self.tokens.lengths[self.rows], self.max_length)
        return lengths

    @property
    def shown(self) -> np.ndarray:
        """Numbers of all rows of `tokens` that a model is given."""
        return self.rows

    def begin(self, epoch: int) -> dict[str, float]:
        """Called when an epoch begins or is gone on with: rows may change from one to the next (these do
        not). Gives what is to be told of it."""
        return {}

    def key(self) -> str:
        """Which rows of `tokens` these are, as a short name."""
        return hashlib.sha256(np.ascontiguousarray(self.shown, dtype=np.int64).data).hexdigest()[:20]

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs and targets (per_token: [B, T]) of `self.rows[which]`, on `device`."""
        rows = self.rows[which]
        inputs = collate(self.tokens, rows, self.max_length, self.pad_id)
        if self.per_token:
            targets = self._padded(rows, inputs["input_ids"].shape[1])
        else:
            targets = torch.from_numpy(self.targets[rows])
        return {k: v.to(device) for k, v in inputs.items()}, targets.to(device)

    def _padded(self, rows: np.ndarray, width: int) -> Tensor:
        targets_BT = torch.full((len(rows), width), IGNORED, dtype=torch.int64)
        for i, row in enumerate(rows):
            own = self.tokens.cut(self.targets, int(row), self.max_length)
            targets_BT[i, : len(own)] = torch.from_numpy(own)
        return targets_BT
