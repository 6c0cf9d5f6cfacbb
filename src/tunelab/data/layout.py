"""Where the parts of an item (a document's words, a question's context) are among a model's tokens.

Most tasks give an item one row of tokens and answer it as a whole. Others label parts of it, and cut long
items into windows, rows of their own that overlap: nothing is left out, and each part is answered by the
window that shows most of what stands around it.

    whole       [CLS] a b c d e f g [SEP]
    windows     [CLS] a b c d [SEP]     [CLS] d e f g [SEP]         a to c from the first, d to g ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunelab.data.encode import Tokens
from tunelab.data.offsets import with_places
from tunelab.errors import DataError

__all__ = ["Encoded", "Units", "align", "encode_spans", "pieces", "specials", "windows"]

_BATCH = 2000  # texts a tokenizer call: bounds memory, and lets Ctrl-C through
#: Share of a window that it has in common with the next one.
OVERLAP = 0.25


@dataclass(frozen=True)
class Units:
    """The parts of N items that are labelled: those of item i are `starts[i]` to `starts[i + 1]`.

    spans: [U, 2] characters of a part in its item's text; tokens: [U] place of the token that speaks for it,
    among all tokens of all rows, or -1 where the tokenizer gives none (its label is then never learnt, nor
    predicted). owners: [all tokens] the part that a token speaks for in its row, -1: none.
    """

    starts: np.ndarray
    spans: np.ndarray
    tokens: np.ndarray
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, item: int) -> slice:
        """The parts of an item."""
        return slice(int(self.starts[item]), int(self.starts[item + 1]))

    def spoken(self) -> tuple[np.ndarray, np.ndarray]:
        """[V] the first and [V] the last of the parts in a token, of every token that speaks for any."""
        known = self.tokens >= 0
        again = np.zeros(len(known) + 1, dtype=bool)
        again[1:-1] = known[1:] & (self.tokens[1:] == self.tokens[:-1])
        return np.flatnonzero(known & ~again[:-1]), np.flatnonzero(known & ~again[1:])

    def joined(self, other: "Units", before: int) -> "Units":
        """The parts of these items, then those of others, whose tokens lie after `before` tokens of these."""
        return Units(
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            np.concatenate([self.spans, other.spans]),
            np.concatenate([self.tokens, np.where(other.tokens < 0, -1, other.tokens + before)]),
            np.concatenate([self.owners, np.where(other.owners < 0, -1, other.owners + len(self.spans))]),
        )


@dataclass(frozen=True)
class Encoded:
    """Items as a model reads them.

    tokens: the rows; whole: the items untruncated, for the data doctor; firsts: [N + 1] item i has the rows
    `firsts[i]` to `firsts[i + 1]` (None: row i is item i); units: the parts that are labelled, if any;
    together: an item's rows are always shown together (the two sides of a pair), so that it counts as one;
    mask: of a tokenizer whose tokens are to be hidden, the token that hides one (-1: none) and how many
    tokens there are; beside: [N, K] numbers that were told of each item besides its label.
    """

    tokens: Tokens
    whole: Tokens
    firsts: np.ndarray | None = None
    units: Units | None = None
    together: bool = False
    mask: tuple[int, int] | None = None
    beside: np.ndarray | None = None

    def rows(self, items: np.ndarray) -> np.ndarray:
        """The rows of these items, in their order."""
        if self.firsts is None:
            return items
        return _ranges(self.firsts[items], self.firsts[items + 1])

    def joined(self, other: "Encoded") -> "Encoded":
        """These items, then others that the same tokenizer and task have encoded."""
        assert (self.firsts is None, self.units is None) == (other.firsts is None, other.units is None)
        tokens = self.tokens.joined(other.tokens)
        plain = self.whole is self.tokens and other.whole is other.tokens
        firsts, units = self.firsts, self.units
        if firsts is not None and other.firsts is not None:
            firsts = np.concatenate([firsts, firsts[-1] + other.firsts[1:]])
        if units is not None and other.units is not None:
            units = units.joined(other.units, len(self.tokens.ids))
        whole = tokens if plain else self.whole.joined(other.whole)
        beside = self.beside
        if beside is not None and other.beside is not None:
            beside = np.concatenate([beside, other.beside])
        return replace(self, tokens=tokens, whole=whole, firsts=firsts, units=units, beside=beside)

    def units_of(self, items: np.ndarray) -> Units | None:
        """The parts of these items, their tokens counted within the rows of these items alone (which is how
        a model's outputs for them lie, one after the other)."""
        if self.units is None:
            return None
        rows, units = self.rows(items), self.units
        which = _ranges(units.starts[items], units.starts[items + 1])
        lengths = self.tokens.lengths[rows]
        begins = np.concatenate([[0], np.cumsum(lengths)])
        place = np.full(len(self.tokens), -1, dtype=np.int64)
        place[rows] = begins[:-1]
        found = units.tokens[which]
        row = np.searchsorted(self.tokens.starts, found, side="right") - 1
        tokens = np.where(found < 0, -1, place[row] + found - self.tokens.starts[row])
        counts = units.starts[items + 1] - units.starts[items]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Units(starts, units.spans[which], tokens, np.zeros(0, dtype=np.int64))


def _ranges(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """
    >>> _ranges(np.array([2, 7]), np.array([4, 8])).tolist()
    [2, 3, 7]
    """
    counts = ends - begins
    shift = np.repeat(begins - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    found: np.ndarray = np.arange(int(counts.sum()), dtype=np.int64) + shift
    return found


def encode_spans(texts: Sequence[str], tokenizer: Any, task: str) -> tuple[Tokens, np.ndarray]:
    """Token ids of all texts, untruncated, and the characters that each token stands for, [all tokens, 2]
    (0, 0 for special tokens).

    Raises:
        DataError: the tokenizer does not tell which characters a token stands for.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} does not say which characters a token stands for, so "
            f"labels of words cannot be put on tokens: {task} needs a model with a fast tokenizer "
            "(tokenizer.json), as most have"
        )
    ids: list[np.ndarray] = []
    spans: list[np.ndarray] = []
    for first in range(0, len(texts), _BATCH):
        found = with_places(tokenizer, texts[first : first + _BATCH], return_token_type_ids=False)
        ids += [np.asarray(row, dtype=np.int32) for row in found["input_ids"]]
        spans += [np.asarray(row, dtype=np.int32).reshape(-1, 2) for row in found["offset_mapping"]]
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(row) for row in ids])
    head, tail = specials(tokenizer)
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    places = np.concatenate(spans) if spans else np.zeros((0, 2), dtype=np.int32)
    return Tokens(flat, starts, tail, head=head), places


def specials(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens stand before and after a text."""
    mask = tokenizer("a b", return_special_tokens_mask=True)["special_tokens_mask"]
    inner = [i for i, special in enumerate(mask) if not special]
    return inner[0], len(mask) - 1 - inner[-1]


def pieces(length: int, width: int, overlap: int) -> list[tuple[int, int]]:
    """Windows of at most `width` that cover `length`, each beginning `overlap` before the last one's end; the
    last one is as wide as the others.

    >>> pieces(10, 4, 1), pieces(3, 4, 1)
    ([(0, 4), (3, 7), (6, 10)], [(0, 3)])
    """
    if length <= width:
        return [(0, length)]
    begins = [*range(0, length - width, width - overlap), length - width]
    return [(begin, begin + width) for begin in begins]


def windows(whole: Tokens, max_length: int) -> tuple[Tokens, np.ndarray, np.ndarray]:
    """Long rows cut into overlapping ones with the special tokens around each.

    Returns the new rows, [N + 1] where each old row's new ones begin, and [all new tokens] the place of each
    in `whole`.
    """
    head, tail = whole.head, whole.tail
    width = max_length - head - tail
    if width < 2:
        raise DataError(f"model.max_length={max_length} leaves no room for text beside the special tokens")
    parts: list[np.ndarray] = []
    firsts = np.zeros(len(whole) + 1, dtype=np.int64)
    for i, (begin, end) in enumerate(zip(whole.starts[:-1].tolist(), whole.starts[1:].tolist(), strict=True)):
        if end - begin <= max_length:
            parts.append(np.arange(begin, end))
            firsts[i + 1] = firsts[i] + 1
            continue
        cut = pieces(end - begin - head - tail, width, int(OVERLAP * width))
        for a, b in cut:
            inner = np.arange(begin + head + a, begin + head + b)
            parts.append(np.concatenate([np.arange(begin, begin + head), inner, np.arange(end - tail, end)]))
        firsts[i + 1] = firsts[i] + len(cut)
    sources = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return replace(whole, ids=whole.ids[sources], starts=starts), firsts, sources


def align(
    whole: Tokens, places: np.ndarray, units: Sequence[Sequence[tuple[int, int]]], max_length: int
) -> Encoded:
    """Items with the parts given as characters, cut into windows; `places`: as `encode_spans` gives them.

    A part is spoken for by the token that holds its first character, and where several windows show it, by
    the one in which it stands furthest from an edge. Two parts in one token: the first has it.
    """
    tokens, firsts, sources = windows(whole, max_length)
    counts = np.array([len(own) for own in units], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    spans = np.array([span for own in units for span in own], dtype=np.int64).reshape(-1, 2)
    in_whole = _tokens_of(whole, places, starts, spans)
    tokens_U, owners = _spokesmen(tokens, firsts, sources, in_whole, whole)
    return Encoded(tokens, whole, firsts, Units(starts, spans, tokens_U, owners))


def _tokens_of(whole: Tokens, places: np.ndarray, starts: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """[U] place in `whole` of the token with each part's first character, -1 where there is none."""
    found = np.full(len(spans), -1, dtype=np.int64)
    for i in range(len(whole)):
        own = slice(int(starts[i]), int(starts[i + 1]))
        begin, end = int(whole.starts[i]) + whole.head, int(whole.starts[i + 1]) - whole.tail
        if own.start == own.stop or begin >= end:
            continue
        inner = places[begin:end]
        at = np.searchsorted(np.maximum.accumulate(inner[:, 1]), spans[own, 0], side="right")
        there = np.minimum(at, end - begin - 1)
        good = (at < end - begin) & (inner[there, 0] < spans[own, 1])
        found[own] = np.where(good, begin + there, -1)
    return found


def _spokesmen(
    tokens: Tokens, firsts: np.ndarray, sources: np.ndarray, in_whole: np.ndarray, whole: Tokens
) -> tuple[np.ndarray, np.ndarray]:
    """The token of each part among the windows, and the part of each token there."""
    part_of = np.full(len(whole.ids), -1, dtype=np.int64)
    known = np.flatnonzero(in_whole >= 0)[::-1]
    part_of[in_whole[known]] = known  # in reverse, so that the first of two parts in a token has it
    owners = part_of[sources]
    row = np.repeat(np.arange(len(tokens)), tokens.lengths)
    inside = np.arange(len(sources)) - tokens.starts[row]
    item = np.searchsorted(firsts, row, side="right") - 1
    # How far from an edge behind which there is more text.
    left = np.where(row == firsts[item], len(whole.ids), inside)
    right = np.where(row + 1 == firsts[item + 1], len(whole.ids), tokens.lengths[row] - 1 - inside)
    order = np.argsort(np.minimum(left, right), kind="stable")
    best = np.full(len(whole.ids), -1, dtype=np.int64)
    best[sources[order]] = order  # the last one written is the one furthest inside
    return np.where(in_whole >= 0, best[in_whole], -1), owners
