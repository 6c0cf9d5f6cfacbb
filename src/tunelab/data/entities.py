"""Entities that are given by their places in a text, whatever tool wrote them.

CLUENER   {"LOC": {"Berlin": [[3, 8]]}}                     the end is the last character
doccano   [[3, 9, "LOC"]]                                   the end is the character after it
objects   [{"start": 3, "end": 9, "label": "LOC"}]          either; "text": "Berlin" may be given, too
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunelab.data.conll import UNSPACED
from tunelab.data.grid import cell_text, shorten
from tunelab.data.items import nearest
from tunelab.data.tags import Entity
from tunelab.errors import DataError

__all__ = ["Span", "decide", "doubt", "given", "place"]

_START = ("start", "start_offset", "start_idx", "start_pos", "begin", "from")
_END = ("end", "end_offset", "end_idx", "end_pos", "stop", "to")
_KIND = ("label", "type", "entity_type", "entity_group", "tag", "category", "labels")
_SURFACE = ("text", "word", "surface", "mention", "value")
_SURE = 0.95  # share of the votes that settles a question


@dataclass(frozen=True)
class Span:
    """An entity as a file gives it. surface: its text, "" where the file does not say."""

    start: int
    end: int
    kind: str
    surface: str = ""


def given(cell: Any) -> list[Span]:
    """The entities of one row.

    >>> given({"LOC": {"Berlin": [[3, 8]]}})
    [Span(start=3, end=8, kind='LOC', surface='Berlin')]

    Raises:
        DataError: the cell is none of the known layouts.
    """
    if cell in (None, "", [], {}):
        return []
    if isinstance(cell, dict):
        return _by_kind(cell)
    if not isinstance(cell, list):
        raise DataError(f"the entities are {shorten(repr(cell))}, neither a list nor an object")
    return [_one(item) for item in cell]


def _by_kind(cell: Mapping[str, Any]) -> list[Span]:
    found = []
    for kind, surfaces in cell.items():
        if not isinstance(surfaces, dict):
            raise DataError(
                f'the entities of {kind!r} are {shorten(repr(surfaces))}, not {{"entity": [[start, end]]}}'
            )
        for surface, places in surfaces.items():
            pairs = [places] if _pair(places) else places
            if not isinstance(pairs, list) or not all(map(_pair, pairs)):
                raise DataError(f"the places of {surface!r} are {shorten(repr(places))}, not [[start, end]]")
            found += [Span(start, end, kind, surface) for start, end in pairs]
    return found


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_whole, value))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one(item: Any) -> Span:
    if isinstance(item, list) and len(item) == 3:
        start, end, kind, surface = *item, ""
    elif isinstance(item, dict):
        start, end, kind = (_under(item, names) for names in (_START, _END, _KIND))
        surface = next((item[name] for name in _SURFACE if isinstance(item.get(name), str)), "")
    else:
        raise DataError(
            f'an entity is {shorten(repr(item))}, neither [start, end, "TYPE"] nor an object with '
            "start, end and label"
        )
    kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    if not (_whole(start) and _whole(end)):
        raise DataError(f"an entity's start and end are {start!r} and {end!r}, not whole numbers")
    if isinstance(kind, list | dict) or not cell_text(kind):
        raise DataError(f"an entity's type is {kind!r}, not a name")
    return Span(start, end, cell_text(kind), surface)


def _under(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    name = next((name for name in names if name in item), None)
    if name is None:
        raise DataError(f"an entity has no {names[0]!r} (its keys: {', '.join(map(str, item)) or 'none'})")
    return item[name]


# Where an end is ----------------------------------------------------------------------------------------


def decide(pairs: Sequence[tuple[str, Span]]) -> tuple[str, str]:
    """("inclusive", "exclusive" or "" where it is open, why). pairs: texts and their entities.

    Raises:
        DataError: most entities' texts are at their places in neither reading.
    """
    told = [(text, span) for text, span in pairs if span.surface]
    if told:
        inclusive = sum(text[s.start : s.end + 1] == s.surface for text, s in told)
        exclusive = sum(text[s.start : s.end] == s.surface for text, s in told)
        most = max(inclusive, exclusive)
        if 2 * most <= len(told):
            text, span = told[0]
            raise DataError(
                f"the entities' texts are not at their places: {inclusive:,} of {len(told):,} are with the "
                f"end as last character, {exclusive:,} with the end after it. The first: {span.surface!r} at "
                f"{span.start} to {span.end}, where the text has {text[span.start : span.end + 1]!r}"
            )
        why = f"the texts of {most:,} of {len(told):,} entities are found so"
        return ("inclusive" if inclusive > exclusive else "exclusive"), why
    return _by_limits(pairs)


def _by_limits(pairs: Sequence[tuple[str, Span]]) -> tuple[str, str]:
    """By what one reading makes impossible: an empty entity, one beyond the text, one that cuts a word."""
    empty = sum(span.start == span.end for _, span in pairs)
    closing = sum(span.end == len(text) for text, span in pairs)
    if empty and not closing:
        return "inclusive", f"{empty:,} entities end where they start, so they have one character"
    if closing and not empty:
        return "exclusive", f"{closing:,} entities end where their text ends"
    votes = [_edge(text, span.end) for text, span in pairs]
    inside, after = votes.count("inclusive"), votes.count("exclusive")
    if empty or not inside + after:
        return "", ""
    if max(inside, after) < _SURE * (inside + after):
        return "", ""
    verdict = "inclusive" if inside > after else "exclusive"
    return verdict, f"{max(inside, after):,} entities then end with a word, {min(inside, after):,} do not"


def _edge(text: str, end: int) -> str:
    """The reading under which the entity ends with a word; "" where that says nothing."""
    if not 0 < end < len(text) or not _letter(text[end - 1]):
        return ""
    if not _letter(text[end]):
        return "exclusive"
    return "" if end + 1 < len(text) and _letter(text[end + 1]) else "inclusive"


def _letter(char: str) -> bool:
    return char.isalnum() and UNSPACED.match(char) is None


def doubt(pairs: Sequence[tuple[str, Span]]) -> str:
    """The question that `decide` leaves open, with an example."""
    text, span = next((p for p in pairs if 0 <= p[1].start < p[1].end < len(p[0])), pairs[0])
    return (
        "it is not clear whether an entity's end is its last character or the one after it: is the first "
        f"{span.kind} {text[span.start : span.end + 1]!r} or {text[span.start : span.end]!r}? Say so with "
        "data.ends=inclusive (the former) or data.ends=exclusive (the latter)"
    )


def place(span: Span, text: str, last: int) -> tuple[Entity, bool]:
    """The entity with its end after it, and whether it had to be moved to where its text is.

    last: 1 where ends are inclusive, else 0.

    Raises:
        DataError: it is not within the text, or its own text is nowhere in it.
    """
    end = span.end + last
    if span.surface and text[max(0, span.start) : max(0, end)] != span.surface:
        start = nearest(text, span.surface, span.start)
        if start < 0:
            raise DataError(f"the entity {span.surface!r} is not in the text {shorten(text, 60)!r}")
        return (start, start + len(span.surface), span.kind), True
    if not 0 <= span.start < end <= len(text):
        raise DataError(
            f"the {span.kind} from {span.start} to {span.end} is not within the text, which has {len(text)} "
            "characters"
        )
    return (span.start, end, span.kind), False
