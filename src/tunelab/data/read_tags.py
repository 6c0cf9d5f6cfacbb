"""Sentences with their entities: one word a line (CoNLL), or JSON with each entity's place.

Three families, told by what a file holds:
    Berlin<tab>B-LOC                                              one word a line, see conll.py
    {"tokens": ["In", "Berlin"], "tags": ["O", "B-LOC"]}          words and tags as lists
    {"text": "In Berlin", "entities": [{"start": 3, "end": 9, "label": "LOC"}]}     places, see entities.py
Whether an end is the last character or the one after it differs between tools; it is decided by the
entities' own texts where they are given, by what is impossible otherwise, and asked for where neither helps.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelab.data.conll import TAG, overlap, read_conll, tagged
from tunelab.data.decode import container, decode, file_bytes
from tunelab.data.entities import Span, decide, doubt, given, place
from tunelab.data.formats import ending
from tunelab.data.grid import Grid, shorten
from tunelab.data.items import (
    Part,
    as_json,
    check_roles,
    each,
    filled,
    gather,
    load_nested,
    opened,
    pick,
    split_cells,
    told_of,
    values,
)
from tunelab.data.table import Table
from tunelab.data.tags import Entity
from tunelab.errors import DataError, did_you_mean

__all__ = ["read_tags"]

_TEXT = ("text", "sentence", "content", "tokens", "words", "chars", "文本", "句子", "原文", "内容")
_LABEL = ("entities", "label", "labels", "spans", "ner", "ner_tags", "tags", "annotations", "实体", "标签")
_TABLES = frozenset((".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".csv", ".xlsx", ".xlsm"))
_JSON = re.compile(r'\ufeff?\s*(\[\s*)?\{\s*"')
_MEND = "Mend these rows, or remove them"
_LAYOUTS = (
    '{"text": …, "entities": [{"start": 0, "end": 6, "label": "LOC"}]}; {"text": …, "label": '
    '[[0, 6, "LOC"]]}; '
    '{"text": …, "label": {"LOC": {"Berlin": [[0, 5]]}}}; {"tokens": […], "tags": […]}; or a word with its '
    "tag on each line"
)


def read_tags(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Sentences, their entities and, where the files give them, the words that are tagged.

    chosen: "text" and "label" -> columns; "ends" -> "inclusive" or "exclusive", where asked for.
    The frame has, besides split, file and row: text; label, JSON `[[start, end, "TYPE"], ...]` with character
    offsets, ends exclusive, sorted; units, JSON `[[start, end], ...]` of the given words, or "" (a column
    "units" beside entities by their places gives them, too); perhaps broken, where tags break the rules of
    their scheme: the tags, and what they are read as.

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    check_roles(chosen, ("text", "label", "ends"))
    ends = chosen.get("ends", "")
    if ends not in ("", "inclusive", "exclusive"):
        raise DataError(f"data.ends={ends!r}: {did_you_mean(ends, ('inclusive', 'exclusive'))}")
    reader = _Reader({role: name for role, name in chosen.items() if role != "ends"}, ends)
    return gather(files, reader.read)


@dataclass
class _Reader:
    """What one call of `read_tags` knows. ends: as chosen, or as the first file decided."""

    chosen: Mapping[str, str]
    ends: str

    def read(self, path: Path, like: Grid | None) -> Part:
        """The rows of one file."""
        lines = _lines(path)
        if lines is not None:
            text, notes = lines
            part = read_conll(text, path.name, self.chosen)
            return replace(part, notes=(*notes, *part.notes))
        grid = load_nested(path, (*_TEXT, *_LABEL), like)
        text_at, label_at = self._columns(grid)
        texts = [opened(cell) for cell in values(grid, text_at)]
        labels = [opened(cell) for cell in values(grid, label_at)]
        if isinstance(filled(texts), list):
            pairs = each(grid.name, grid.lines, zip(texts, labels, strict=True), _words, _MEND)
            cells, told = tagged(grid.name, grid.lines, pairs)
        else:
            cells, told = self._placed(grid, texts, labels)
        return Part(
            name=grid.name,
            kind=grid.kind,
            cells=cells,
            lines=grid.lines,
            columns={"text": grid.names[text_at], "label": grid.names[label_at]},
            notes=(*grid.notes, *told),
            splits=split_cells(grid),
            grid=grid,
        )

    def _columns(self, grid: Grid) -> tuple[int, int]:
        text, label = pick(grid, "text", _TEXT, self.chosen), pick(grid, "label", _LABEL, self.chosen)
        if text is None or label is None:
            lost = "the sentences (--text NAME)" if text is None else "the entities (--label NAME)"
            raise DataError(
                f"{grid.name}: no column is recognised as {lost}; it has {', '.join(grid.names)}. Known "
                f"layouts: {_LAYOUTS}"
            )
        return text, label

    def _placed(
        self, grid: Grid, texts: Sequence[Any], labels: Sequence[Any]
    ) -> tuple[dict[str, list[str]], list[str]]:
        """Rows whose entities are given by their places in the text."""
        sentences = each(grid.name, grid.lines, texts, _text, _MEND)
        found = each(grid.name, grid.lines, labels, given, f"Known layouts: {_LAYOUTS}")
        notes = self._decide(grid, sentences, found, labels)
        last = int(self.ends == "inclusive")
        rows = each(
            grid.name,
            grid.lines,
            zip(sentences, found, strict=True),
            lambda row: [place(span, row[0], last) for span in row[1]],
            f"{_MEND}; ends are taken as {self.ends}",
        )
        entities = [sorted({entity for entity, _ in row}) for row in rows]
        notes += _told(grid, rows, entities)
        places = values(grid, pick(grid, "units", ("units",), {}))
        pairs = zip(sentences, map(opened, places), strict=True)
        return {
            "text": sentences,
            "label": [as_json(own) for own in entities],
            "units": each(grid.name, grid.lines, pairs, _units, _MEND),
        }, notes

    def _decide(
        self, grid: Grid, texts: Sequence[str], found: Sequence[Sequence[Span]], labels: Sequence[Any]
    ) -> list[str]:
        """Settles `ends`, once for all files, and says why."""
        pairs = [(text, span) for text, own in zip(texts, found, strict=True) for span in own]
        if not pairs:
            return []
        try:
            verdict, why = decide(pairs)
        except DataError as error:
            raise DataError(f"{grid.name}: {error}. Are the places counted in characters, from 0?") from None
        if self.ends:
            if verdict not in ("", self.ends) and any(span.surface for _, span in pairs):
                raise DataError(
                    f"{grid.name}: its ends are {verdict} ({why}), but they were to be {self.ends}, as "
                    "chosen or as in the training file; give all files in one convention"
                )
            return []
        if not verdict and isinstance(filled(filled(labels)), list):
            verdict, why = (
                "exclusive",
                "as doccano writes [start, end, type]; data.ends=inclusive if they are not",
            )
        if not verdict:
            raise DataError(f"{grid.name}: {doubt(pairs)}")
        self.ends = verdict
        return [f"{grid.name}: the ends of entities are {verdict} ({why})"]


def _lines(path: Path) -> tuple[str, list[str]] | None:
    """The text of a file with one word a line, and notes on its encoding; None for tables and JSON."""
    if ending(path) in _TABLES:
        return None
    data = file_bytes(path)
    if container(data):
        return None
    text, notes = decode(data, path.name)
    return None if _JSON.match(text) else (text, notes)


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise DataError(f"the sentence is {shorten(repr(cell))}, not a text")
    return cell


def _units(row: tuple[str, Any]) -> str:
    """The places of the words, as `tunelab check --fix` writes them; "" where none are given."""
    text, places = row
    if places in (None, "", []):
        return ""
    try:
        pairs = [(int(start), int(end)) for start, end in places]
    except (TypeError, ValueError):
        raise DataError(f"its units are {shorten(repr(places))}, not [[start, end], ...]") from None
    flat = [at for pair in pairs for at in pair]
    if flat != sorted(flat) or flat[0] < 0 or flat[-1] > len(text) or any(a == b for a, b in pairs):
        raise DataError(f"its units {shorten(repr(places))} overlap, are empty, or are not within the text")
    return as_json([list(pair) for pair in pairs])


def _told(
    grid: Grid, rows: Sequence[Sequence[tuple[Entity, bool]]], entities: Sequence[Sequence[Entity]]
) -> list[str]:
    moved = [line for line, row in zip(grid.lines, rows, strict=True) for _, was in row if was]
    twice = [
        line
        for line, row, own in zip(grid.lines, rows, entities, strict=True)
        for _ in range(len(row) - len(own))
    ]
    crossing = [line for line, own in zip(grid.lines, entities, strict=True) if overlap(own)]
    return [
        *told_of(
            grid.name,
            moved,
            "entities that were not at their place, moved to the nearest place with their text",
        ),
        *told_of(grid.name, twice, "entities given twice, one is kept"),
        *told_of(grid.name, crossing, "rows with entities that overlap"),
    ]


# Words and tags as lists ----------------------------------------------------------------------------------


def _words(item: tuple[Any, Any]) -> tuple[list[str], list[str]]:
    words, tags = item
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
        sizes = [len(value) if isinstance(value, list) else shorten(repr(value)) for value in item]
        raise DataError(f"words and tags are not lists of equal length (they have {sizes[0]} and {sizes[1]})")
    if not all(isinstance(word, str) and word for word in words):
        raise DataError("a word is empty, or not a text")
    if not all(isinstance(tag, str) for tag in tags):
        raise DataError(f"the tags are {shorten(repr(tags))}: numbers say no types; give names such as B-LOC")
    wrong = next((tag for tag in tags if not TAG.fullmatch(tag)), None)
    if wrong is not None:
        raise DataError(f"the tag {wrong!r} is neither O nor such as B-LOC and I-LOC")
    return words, tags
