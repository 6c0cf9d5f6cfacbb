"""Batches of token ids: rows drawn at random, computed in parts of like length.

    [3 9 4 400]  →  [3 4 9] + [400]      each part padded to its longest row, the gradients summed

So rows of all lengths meet in every step, as they do in `transformers`, and little of what is computed is
padding. Batches of like length would need fewer passes still; they make worse models
(`docs/performance.md`).

The order is a pure function of lengths, batch size, seed and epoch, so a continued run sees exactly
the batches that it would have seen.
"""

# B batch, T tokens

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from tunelab.data.encode import Tokens

__all__ = ["IGNORED", "Batches", "Examples", "collate", "epoch_batches", "parts", "sorted_batches"]

#: The target of a token that has none, as in `torch.nn.functional.cross_entropy`.
IGNORED = -100

#: Batches whose rows are sorted by length together; 1: drawn at random.
POOL = 1

#: What one more pass through a model takes, in tokens: what `parts` holds against padding. So many on a CPU
#: for the packaged encoder, 384 wide (probes of `full`: 41, 55, 84; of `lora`: 67).
PASS = 64


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Every row once, in batches drawn at random, whose rows ascend in length. Only one batch may be smaller
    than the others.

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


def parts(lengths: np.ndarray, at_most: int, one_more: int | None = None) -> list[slice]:
    """What of a batch is computed at once: at most so many of its rows, which ascend in length; or (given
    what one more pass takes, in tokens) cut where padding and passes together take least, each part with at
    most as many tokens as so many of the longest rows.

    >>> parts(np.array([3, 3, 4, 9]), 2)
    [slice(0, 2, None), slice(2, 4, None)]
    >>> parts(np.array([3, 4, 440, 480]), 4, one_more=64)
    [slice(0, 2, None), slice(2, 4, None)]
    """
    count = len(lengths)
    if one_more is None:
        return [slice(first, min(first + at_most, count)) for first in range(0, count, at_most)]
    room = max(1, at_most * int(lengths[-1]))
    least = np.zeros(count + 1, dtype=np.int64)  # of the first i rows: what they take
    begin = np.zeros(count + 1, dtype=np.int64)  # and where their last part begins
    for end, longest in enumerate(lengths.tolist(), 1):
        firsts = np.arange(max(0, end - room // max(longest, 1)), end)
        costs = least[firsts] + (end - firsts) * longest + one_more
        cheapest = int(costs.argmin())
        least[end], begin[end] = costs[cheapest], firsts[cheapest]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(begin[cuts[-1]]))
    return [slice(first, last) for last, first in itertools.pairwise(cuts)][::-1]


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

    @property
    def one_more(self) -> int | None:
        """What one more pass takes, in tokens (see `parts`); None: batches are not cut."""

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
    `IGNORED` where nothing is to be learnt; one_more: see `Batches`; padded: whether shorter rows of
    a batch cost padding.
    """

    tokens: Tokens
    targets: np.ndarray
    rows: np.ndarray
    max_length: int
    pad_id: int
    per_token: bool = False
    one_more: int | None = PASS
    padded: bool = True
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
