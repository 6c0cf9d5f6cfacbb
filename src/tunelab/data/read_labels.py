"""Texts with any number of labels each: a list in one column, or a column of 0 and 1 for every label."""

import ast
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tunelab.data.columns import cells, find_columns, option
from tunelab.data.grid import MISSING, Grid, cell_text, norm, shorten
from tunelab.data.items import (
    Part,
    as_json,
    check_roles,
    each,
    gather,
    load_nested,
    opened,
    pick,
    split_cells,
)
from tunelab.data.read import GROUP, LABEL, TEXT
from tunelab.data.table import Column, Table
from tunelab.errors import DataError

__all__ = ["SEPARATORS", "labels_in", "read_labels"]

LABELS = Column(
    "label",
    (
        *("labels", "tags", "categories", "topics", "genres", "classes", "emotions", "intents", "keywords"),
        *("label_list", "tag_list", "标签列表", *LABEL.names),
    ),
)
#: What may stand between the labels of a cell, and the word for it where a command line cannot have the sign.
SEPARATORS = {
    "bar": "|",
    "semicolon": ";",
    "comma": ",",
    "tab": "\t",
    "chinese comma": "，",
    "chinese semicolon": "；",
    "pause": "、",
}
_SPACE = {"space": " "}  # (only where it is asked for: names of labels have spaces)
_YES, _NO = {"1", "1.0", "true"}, {"0", "0.0", "false"}


def labels_in(cell: str) -> list[str]:
    """The labels of a row of the table.

    >>> labels_in('["late", "broken"]')
    ['late', 'broken']
    """
    found: list[str] = json.loads(cell) if cell else []
    return found


def read_labels(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Texts and their labels.

    chosen: "text", "group", and either "label", the column with the lists, or "labels", the columns of 0 and
    1 with commas between; "separator": what stands between the labels of a cell. Lists are JSON, or names
    with one of `SEPARATORS` between. An empty cell is an empty list.
    The frame's label is a JSON list, each label once, sorted.

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    check_roles(chosen, ("text", "label", "labels", "separator", "group"))
    if "label" in chosen and "labels" in chosen:
        raise DataError("data.labels names a column for each label, --label one with lists; give one of them")
    files = [files] if isinstance(files, str | Path) else list(files)
    return gather(files, partial(_read, chosen, {}))


def _read(chosen: Mapping[str, str], rule: dict[str, Any], path: Path, like: Grid | None) -> Part:
    """rule: how the training file's labels were read, for those that follow."""
    grid = load_nested(path, (*TEXT.names, *LABELS.names, *chosen.values()), like)
    if "columns" not in rule:
        rule["columns"] = _label_columns(grid, chosen)
    roles = {role: name for role, name in chosen.items() if role in ("text", "label", "group")}
    if rule["columns"]:
        places, notes = find_columns(grid, (TEXT, GROUP), roles)
        labels, named, told = _marked(grid, rule["columns"])
    else:
        places, notes = find_columns(grid, (TEXT, LABELS, GROUP), roles)
        labels, told = _listed(grid, places["label"], chosen, rule)
        named = grid.names[places["label"]]
    given = {role: cells(grid, role, place) for role, place in places.items() if role != "label"}
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={**given, "label": [as_json(sorted(set(own))) for own in labels]},
        lines=list(grid.lines),
        columns={**{role: grid.names[place] for role, place in places.items()}, "label": named},
        notes=(*grid.notes, *notes, *told),
        splits=split_cells(grid),
        grid=grid,
    )


# A column a label -------------------------------------------------------------------------------------------


def _label_columns(grid: Grid, chosen: Mapping[str, str]) -> list[str]:
    """The columns of 0 and 1: those chosen; or, where no column can be one of lists, all there are."""
    if "labels" in chosen:
        names = [name.strip() for name in chosen["labels"].split(",") if name.strip()]
        if len(names) < 2:
            raise DataError(
                f"data.labels names one column for each label, as in data.labels=toxic,insult; got "
                f"{chosen['labels']!r}. A column with lists of labels is named with --label"
            )
        return names
    taken = [pick(grid, role, column.names, chosen) for role, column in (("text", TEXT), ("label", LABELS))]
    if grid.header is None or "label" in chosen or taken[1] is not None:
        return []
    marks = [grid.names[i] for i, column in enumerate(grid.columns) if i != taken[0] and _are_marks(column)]
    return marks if len(marks) > 1 else []


def _are_marks(column: Sequence[Any]) -> bool:
    return all(not isinstance(cell, list | dict) and _mark(cell) is not None for cell in column)


def _mark(cell: Any) -> bool | None:
    text = "" if cell is MISSING else cell_text(cell).casefold()
    return True if text in _YES else False if text in _NO else None


def _marked(grid: Grid, names: Sequence[str]) -> tuple[list[list[str]], str, list[str]]:
    """Each row's labels, the columns in words, and what the user should know."""
    where = [find_columns(grid, (Column(name, ()),), {name: name})[0][name] for name in names]
    titles = [grid.names[place] for place in where]

    def own(row: Sequence[Any]) -> list[str]:
        found = []
        for title, cell in zip(titles, row, strict=True):
            mark = None if isinstance(cell, list | dict) else _mark(cell)
            if mark is None:
                raise DataError(f"{title} is {shorten(repr(cell))}, neither 0 nor 1")
            found += [title] * mark
        return found

    rows = zip(*(grid.columns[place] for place in where), strict=True)
    hint = "Give 0 or 1 in every label column, or name other columns with data.labels=NAME,NAME"
    labels = each(grid.name, grid.lines, rows, own, hint)
    shown = ", ".join(titles)
    return labels, shown, [f"{grid.name}: each of these columns of 0 and 1 is taken as a label: {shown}"]


# Lists ------------------------------------------------------------------------------------------------------


def _listed(
    grid: Grid, place: int, chosen: Mapping[str, str], rule: dict[str, Any]
) -> tuple[list[list[str]], list[str]]:
    column = [_opened(cell) for cell in grid.columns[place]]
    told = []
    if "separator" not in rule:
        rule["separator"] = (
            _chosen(chosen["separator"]) if "separator" in chosen else _found(grid, place, column)
        )
        if rule["separator"] is not None:
            told = [f"{grid.name}: labels are lists with {rule['separator']!r} between"]
    hint = "Give lists of names, or names with one sign between, as in late|broken"
    return each(grid.name, grid.lines, column, partial(_names, rule["separator"]), hint), told


def _opened(cell: Any) -> Any:
    """A cell's list; also as Python prints one, which is how many tables were written."""
    cell = opened(cell)
    if isinstance(cell, str) and cell.startswith("["):
        try:
            return ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return cell
    return cell


def _names(separator: str | None, cell: Any) -> list[str]:
    if cell is MISSING:
        raise DataError("it has no labels (an empty list is [])")
    if isinstance(cell, dict) or (isinstance(cell, list | tuple) and any(map(_nested, cell))):
        raise DataError(f"its labels are {shorten(repr(cell))}, not a list of names")
    if isinstance(cell, list | tuple):
        return [name for name in map(cell_text, cell) if name]
    text = cell_text(cell)
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]


def _nested(cell: Any) -> bool:
    return isinstance(cell, list | tuple | dict | set)


def _chosen(word: str) -> str:
    sign = {**SEPARATORS, **_SPACE}.get(norm(word).replace("_", " "), word)
    if not sign:
        raise DataError(
            f"data.separator is empty; give a sign or its name: {', '.join([*SEPARATORS, *_SPACE])}"
        )
    return sign


def _found(grid: Grid, place: int, column: Sequence[Any]) -> str | None:
    """The one separator that occurs; None: none does (lists are JSON, or each row has one label).

    Raises:
        DataError: several occur.
    """
    texts = [cell for cell in column if isinstance(cell, str)]
    seen = {word: next((t for t in texts if sign in t), None) for word, sign in SEPARATORS.items()}
    there = {word: text for word, text in seen.items() if text is not None}
    if len(there) > 1:
        shown = ", ".join(f"{SEPARATORS[word]!r} as in {shorten(text, 30)!r}" for word, text in there.items())
        ways = " or ".join(
            f"data.separator={word!r}" if " " in word else f"data.separator={word}" for word in there
        )
        raise DataError(
            f"{grid.name}: labels in column {grid.names[place]!r} hold {shown}: say which of them stands "
            f"between two labels with {ways}; another column is named with {option('label', 'NAME')}"
        )
    return SEPARATORS[next(iter(there))] if there else None
