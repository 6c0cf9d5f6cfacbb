"""What a model reads of texts that are longer than it can: their beginning, both ends, or all in windows.

head        [CLS] a b c d [SEP]                       as `Tokens.row` cuts them
head_tail   [CLS] a f g h [SEP]                       a quarter of the room for the beginning, the rest
                                                      for the end (Sun et al. 2019, arXiv:1905.05583)
windows     [CLS] a b c d [SEP]  [CLS] d e f g [SEP]  rows of their own, that overlap by a quarter
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tunelab.data.encode import Tokens, kept_of_both
from tunelab.data.layout import OVERLAP, Encoded, Units, pieces, specials
from tunelab.errors import DataError

__all__ = ["both_ends", "in_windows", "pooled"]

_HEAD = 0.25  # share of the room
_LEAST = 4  # tokens of text in a row, under which nothing can be read


def both_ends(encoded: Encoded, tokenizer: Any, max_length: int) -> Encoded:
    """Long rows with their middle left out (of a pair: that of each text)."""
    whole = _with_specials(encoded.whole, tokenizer, max_length)
    rows = [[_ends(row, max_length)] if len(row) > max_length else [row] for row in _rows(whole)]
    return replace(encoded, tokens=_joined(whole, [row for own in rows for row in own]))


def in_windows(encoded: Encoded, tokenizer: Any, max_length: int) -> Encoded:
    """Long rows as several, each a unit of its item. Of a pair the longer text is read in windows, and the
    other stands in each of them (its beginning, where it is longer than half the room)."""
    whole = _with_specials(encoded.whole, tokenizer, max_length)
    rows = [list(_windows(row, max_length)) if len(row) > max_length else [row] for row in _rows(whole)]
    firsts = np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.int64)
    tokens = _joined(whole, [row for own in rows for row in own])
    spans = np.zeros((len(tokens), 2), dtype=np.int64)
    owners = np.full(len(tokens.ids), -1, dtype=np.int64)
    return replace(
        encoded, tokens=tokens, firsts=firsts, units=Units(firsts, spans, tokens.starts[:-1], owners)
    )


def pooled(outputs: np.ndarray, units: Units | None) -> np.ndarray:
    """The mean over each item's windows, of outputs [rows, C]; those of items, [N, C], stay as they are.

    >>> two = Units(np.array([0, 2, 3]), np.zeros((3, 2)), np.zeros(3), np.zeros(0))
    >>> pooled(np.array([[1.0], [3.0], [5.0]], dtype=np.float32), two).tolist()
    [[2.0], [5.0]]
    """
    if units is None or len(outputs) != len(units.spans):
        return outputs
    sums = np.add.reduceat(outputs.astype(np.float64), units.starts[:-1], axis=0)
    mean: np.ndarray = (sums / np.diff(units.starts)[:, None]).astype(outputs.dtype)
    return mean


class _Row:
    """Places of a row's tokens: special ones before, between and after its one or two texts."""

    def __init__(self, specials_: list[np.ndarray], texts: list[np.ndarray]) -> None:
        self.specials = specials_
        self.texts = texts

    def __len__(self) -> int:
        return sum(map(len, [*self.specials, *self.texts]))

    def room(self, max_length: int) -> int:
        return max_length - sum(map(len, self.specials))

    def sources(self) -> np.ndarray:
        """All places, in order."""
        parts = [self.specials[0]]
        for text, special in zip(self.texts, self.specials[1:], strict=True):
            parts += [text, special]
        return np.concatenate(parts)

    def second(self) -> int:
        """Where the second text begins."""
        return sum(map(len, [*self.specials[:2], self.texts[0]]))


def _with_specials(whole: Tokens, tokenizer: Any, max_length: int) -> Tokens:
    """The same rows, which also know how many special tokens stand before a text."""
    head, tail = (whole.head, whole.tail) if whole.seconds is not None else specials(tokenizer)
    if max_length - head - whole.middle - tail < _LEAST:
        raise DataError(f"model.max_length={max_length} leaves no room for text beside the special tokens")
    return replace(whole, head=head, tail=tail)


def _rows(whole: Tokens) -> Iterator[_Row]:
    for i, (begin, end) in enumerate(zip(whole.starts[:-1].tolist(), whole.starts[1:].tolist(), strict=True)):
        place = np.arange(begin, end)
        last = end - begin - whole.tail
        if whole.seconds is None:
            yield _Row([place[: whole.head], place[last:]], [place[whole.head : last]])
            continue
        at = int(whole.seconds[i])
        between = at - whole.middle
        texts = [place[whole.head : between], place[at:last]]
        yield _Row([place[: whole.head], place[between:at], place[last:]], texts)


def _ends(row: _Row, max_length: int) -> _Row:
    room = row.room(max_length)
    lengths = [len(text) for text in row.texts]
    kept = kept_of_both(lengths[0], lengths[1], room) if len(lengths) == 2 else (room,)
    return _Row(row.specials, [_both_ends(text, most) for text, most in zip(row.texts, kept, strict=True)])


def _both_ends(text: np.ndarray, most: int) -> np.ndarray:
    if len(text) <= most:
        return text
    head = int(_HEAD * most)
    return np.concatenate([text[:head], text[len(text) - (most - head) :]])


def _windows(row: _Row, max_length: int) -> Iterator[_Row]:
    room = row.room(max_length)
    long = int(np.argmax([len(text) for text in row.texts]))
    texts = [text if i == long else text[: room // 2] for i, text in enumerate(row.texts)]
    width = room - sum(len(text) for i, text in enumerate(texts) if i != long)
    for first, last in pieces(len(texts[long]), width, int(OVERLAP * width)):
        yield _Row(row.specials, [text[first:last] if i == long else text for i, text in enumerate(texts)])


def _joined(whole: Tokens, rows: list[_Row]) -> Tokens:
    sources = [row.sources() for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(own) for own in sources])]).astype(np.int64)
    flat = np.concatenate(sources) if sources else np.zeros(0, dtype=np.int64)
    pairs = whole.seconds is not None
    return replace(
        whole,
        ids=np.asarray(whole.ids)[flat],
        starts=starts,
        types=None if whole.types is None else np.asarray(whole.types)[flat],
        seconds=np.array([row.second() for row in rows], dtype=np.int64) if pairs else None,
    )
