"""Edits of a text, and where everything else in it moves.

All edits of a change are given on the *original* text, sorted and without overlap, so that the offset of
every character that stays can be computed exactly. `(5, 5, "very ")` inserts, `(5, 9, "")` deletes.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Edit", "Span", "apply", "merge", "move", "move_units", "overlaps"]

Span = tuple[int, int]  # (start, end) in characters, end exclusive

_PIECES = re.compile(r"\S+")


class Edit(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text become `text`."""

    start: int
    end: int
    text: str

    @property
    def growth(self) -> int:
        """How many characters longer the text becomes."""
        return len(self.text) - (self.end - self.start)


def overlaps(start: int, end: int, spans: Iterable[Span]) -> bool:
    """Whether one of `spans` shares a character with [start, end), or holds it strictly inside.

    >>> overlaps(3, 5, [(0, 3)]), overlaps(3, 5, [(4, 9)]), overlaps(3, 3, [(0, 3), (3, 5)])
    (False, True, False)
    """
    return any(start < last and end > first for first, last in spans)


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same characters as sorted spans without overlap.

    >>> merge([(4, 6), (0, 2), (5, 9), (2, 3)])
    [(0, 2), (2, 3), (4, 9)]
    """
    merged: list[Span] = []
    for start, end in sorted(set(spans)):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text after all edits.

    >>> apply("a good film", [Edit(2, 2, "really "), Edit(2, 6, "fine")])
    'a really fine film'
    """
    pieces, done = [], 0
    for edit in edits:
        assert done <= edit.start <= edit.end <= len(text), f"edits overlap or are not sorted: {edit}"
        pieces += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*pieces, text[done:]])


def move(spans: Iterable[Span], edits: Sequence[Edit]) -> tuple[Span, ...]:
    """Where spans that no edit touches lie after the edits; what is inserted at an edge stays outside.

    >>> move([(7, 11)], [Edit(2, 6, "excellent"), Edit(11, 11, "!")])
    ((12, 16),)
    """
    moved = []
    for start, end in spans:
        assert not any(overlaps(edit.start, edit.end, [(start, end)]) for edit in edits), (
            f"the span {start}-{end} was to be kept, and an edit touches it"
        )
        shift = sum(edit.growth for edit in edits if edit.end <= start)
        moved.append((start + shift, end + shift))
    return tuple(moved)


def move_units(units: Sequence[Span], edits: Sequence[Edit], text: str) -> tuple[Span, ...]:
    """The units (words or characters that predictions are made for) of the text after the edits.

    text: the text *after* the edits. Units that no edit touches move. Where edits touch units, or insert
    between them, the new text is cut again: into characters where the units there were single characters,
    into words at spaces otherwise. A unit of which nothing is left goes.

    >>> move_units([(0, 2), (3, 8)], [Edit(3, 8, "big dog")], "my big dog")
    ((0, 2), (3, 6), (7, 10))
    >>> move_units([(0, 1), (1, 2), (2, 3)], [Edit(0, 2, "宾馆里")], "宾馆里好")
    ((0, 1), (1, 2), (2, 3), (3, 4))
    """
    characters = bool(units) and all(end - start == 1 for start, end in units)
    moved, shift, position = [], 0, 0
    for start, end, growth in _regions(units, edits):
        while position < len(units) and units[position][1] <= start:
            moved.append((units[position][0] + shift, units[position][1] + shift))
            position += 1
        touched = []
        while position < len(units) and units[position][0] < end:
            touched.append(units[position])
            position += 1
        single = all(b - a == 1 for a, b in touched) if touched else characters
        moved += _cut(text, start + shift, end + shift + growth, single)
        shift += growth
    return (*moved, *((start + shift, end + shift) for start, end in units[position:]))


def _regions(units: Sequence[Span], edits: Sequence[Edit]) -> list[tuple[int, int, int]]:
    """(start, end, growth) of the stretches that change, each widened to whole units, without overlap."""
    regions: list[tuple[int, int, int]] = []
    for edit in edits:
        hit = [unit for unit in units if overlaps(edit.start, edit.end, [unit])]
        start = min([edit.start, *(first for first, _ in hit)])
        end = max([edit.end, *(last for _, last in hit)])
        growth = edit.growth
        if regions and start < regions[-1][1]:
            before = regions.pop()
            start, end, growth = min(before[0], start), max(before[1], end), before[2] + growth
        regions.append((start, end, growth))
    return regions


def _cut(text: str, start: int, end: int, single: bool) -> list[Span]:
    if single:
        return [(i, i + 1) for i in range(start, end) if not text[i].isspace()]
    return [(found.start(), found.end()) for found in _PIECES.finditer(text, start, end)]
