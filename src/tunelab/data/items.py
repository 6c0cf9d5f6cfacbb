"""What the readers of items share: from one file's rows to the table, and messages that name the rows.

`read.read` takes columns as they are. A conversation, a list of entities or a paragraph must first be made
from cells, lists and objects; each such reader turns one file into a `Part`, and `gather` joins the parts.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from tunelab.data.columns import find_columns
from tunelab.data.decode import container, decode, file_bytes
from tunelab.data.formats import ending, load_grid
from tunelab.data.grid import MISSING, Grid, cell_text, norm
from tunelab.data.sources import Source, find_sources, split_column
from tunelab.data.table import Column, Table
from tunelab.errors import DataError, did_you_mean

__all__ = [
    "Part",
    "as_json",
    "check_roles",
    "each",
    "filled",
    "gather",
    "load_nested",
    "nearest",
    "opened",
    "pick",
    "rows_named",
    "split_cells",
    "told_of",
    "values",
]

_SHOWN = 3  # rows that a message names
_HALVES = re.compile("[\ud800-\udfff]")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Part:
    """The rows of one file.

    cells: role -> one text per row; lines: the row number of each, as an editor shows it. columns: role ->
    the column's name in the file. notes: what the user should know. splits: each row's cell of a column
    "split" (empty: the file has none). grid: the file's cells, whose header later files must share.
    """

    name: str
    kind: str
    cells: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()
    splits: Sequence[str] = ()
    grid: Grid | None = None


def gather(
    files: Sequence[str | Path],
    read_one: Callable[[Path, Grid | None], Part],
    sources: tuple[list[Source], list[str]] | None = None,
) -> Table:
    """All files as one table, the training file first.

    read_one: a file, and the training file's grid (None for the training file itself), to its rows.
    sources: what `find_sources` would say of the files, where the reader knows better.

    Raises:
        DataError: a file cannot be read, or it is not clear which file is which.
    """
    found, notes = find_sources(files) if sources is None else sources
    first = read_one(found[0].path, None)
    parts, used = [first], [found[0]]
    notes = [*notes, *first.notes]
    for source in found[1:]:
        part, told = _another(source, first, read_one)
        notes += told
        if part is not None:
            parts.append(part)
            used.append(source)
    splits, told = _splits(parts, used)
    return Table(
        frame=_frame(parts, splits),
        columns=dict(first.columns),
        notes=tuple(dict.fromkeys([*notes, *told])),
        source=tuple(str(source.path) for source in used),
    )


def _another(
    source: Source, first: Part, read_one: Callable[[Path, Grid | None], Part]
) -> tuple[Part | None, list[str]]:
    """The rows of a further file; None where it was only a candidate and does not fit."""
    name = source.path.name
    try:
        part = read_one(source.path, first.grid)
        if not source.sure and part.kind != first.kind:
            raise DataError(f"it holds {part.kind}, and {first.name} {first.kind}")
    except DataError as error:
        if source.sure:
            raise
        return None, [f"{name} is left out: it does not fit {first.name} ({error})"]
    notes = list(part.notes)
    if not source.sure:
        notes.append(f"{name} is taken as the test file: it is the only one of its kind beside {first.name}")
    return part, notes


def _frame(parts: Sequence[Part], splits: Sequence[str]) -> pd.DataFrame:
    """All rows; a role that a file lacks is "" there."""
    roles = list(dict.fromkeys(role for part in parts for role in part.cells))
    frame = pd.DataFrame(
        {
            role: [cell for part in parts for cell in part.cells.get(role, [""] * len(part.lines))]
            for role in roles
        }
    )
    frame["split"] = list(splits)
    frame["file"] = [part.name for part in parts for _ in part.lines]
    frame["row"] = [line for part in parts for line in part.lines]
    return frame


def _splits(parts: Sequence[Part], sources: Sequence[Source]) -> tuple[list[str], list[str]]:
    """Each row's split: its file's, or of a single file its column "split", where that holds splits."""
    given = [s.split for part, s in zip(parts, sources, strict=True) for _ in part.lines]
    first = parts[0]
    if not first.splits:
        return given, []
    splits, notes = split_column(first.name, first.lines, first.splits, len(parts))
    return given if splits is None else splits, notes


# One file -----------------------------------------------------------------------------------------------


def check_roles(chosen: Mapping[str, str], roles: Iterable[str]) -> None:
    """Raises `DataError` for a role that the task does not have."""
    known = list(roles)
    for role in chosen:
        if role not in known:
            hint = did_you_mean(role, known)
            if role == "text_pair":
                hint = "it reads one text; --task match reads two"
            raise DataError(f"this task has no column {role!r}; {hint}")


def load_nested(path: Path, known: Iterable[str], like: Grid | None) -> Grid:
    """A file's cells; inside lists and objects lone surrogates become U+FFFD, which is as long, so that
    offsets keep pointing at their place.

    known: column names that mark a header.
    """
    names = frozenset(map(norm, known)) | {"split"}
    one = _one_line(path, names) if ending(path) in (".jsonl", ".ndjson") else None
    grid = one or load_grid(path, names, like)
    columns = [
        [_sound(cell) if isinstance(cell, list | dict) else cell for cell in column]
        for column in grid.columns
    ]
    return Grid(grid.name, grid.kind, grid.header, columns, grid.lines, grid.notes)


def _one_line(path: Path, known: frozenset[str]) -> Grid | None:
    """A file of JSON lines with a single line: an object with known names is an item, whatever lists it has
    inside."""
    data = file_bytes(path)
    if container(data):
        return None
    text, notes = decode(data, path.name)
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(item, dict) or not known & set(map(norm, item)):
        return None
    line = len(text) - len(text.lstrip("\n")) + 1
    return Grid(
        path.name, "JSON lines", tuple(item), [[cell] for cell in item.values()], [line], tuple(notes)
    )


def opened(cell: Any) -> Any:
    """The list or object that a text cell holds as JSON (tables cannot hold it otherwise); else the cell.

    >>> opened('[[0, 2, "PER"]]'), opened("[sic]")
    ([[0, 2, 'PER']], '[sic]')
    """
    if not isinstance(cell, str) or cell[:1] not in ("[", "{"):
        return cell
    try:
        return _sound(json.loads(cell))
    except (ValueError, RecursionError):
        return cell


def _sound(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_sound(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _sound(item) for key, item in value.items()}
    return value


def pick(grid: Grid, role: str, names: Sequence[str], chosen: Mapping[str, str]) -> int | None:
    """The column of a role: the chosen one, else the first known name that the header has, else None.

    Raises:
        DataError: the chosen column is not there.
    """
    if role in chosen:
        return find_columns(grid, (Column(role, ()),), {role: chosen[role]})[0][role]
    at = {norm(name): i for i, name in reversed(list(enumerate(grid.header or ()))) if name}
    return next((at[norm(name)] for name in names if norm(name) in at), None)


def values(grid: Grid, place: int | None) -> list[Any]:
    """A column's cells, None for what is absent."""
    if place is None:
        return [None] * len(grid)
    return [None if cell is MISSING else cell for cell in grid.columns[place]]


def split_cells(grid: Grid) -> list[str]:
    """The cells of a column "split"; nothing where there is none."""
    place = pick(grid, "split", ("split",), {})
    return [] if place is None else [cell_text(value) for value in values(grid, place)]


def filled(column: Iterable[Any]) -> Any:
    """The first cell that holds something; None where none does."""
    return next((cell for cell in column if cell not in (None, "", [], {})), None)


def each(name: str, lines: Sequence[int], items: Iterable[T], make: Callable[[T], R], hint: str) -> list[R]:
    """`make(item)` of every item; what it refuses is told in one message that names the rows.

    Raises:
        DataError: some item was refused. hint: what the message says to do.
    """
    made: list[R] = []
    refused: list[tuple[int, str]] = []
    for line, item in zip(lines, items, strict=True):
        try:
            made.append(make(item))
        except DataError as error:
            refused.append((line, str(error)))
    if refused:
        shown = "; ".join(f"row {line}: {reason}" for line, reason in refused[:_SHOWN])
        more = f" (and {len(refused) - _SHOWN:,} more rows)" if len(refused) > _SHOWN else ""
        raise DataError(
            f"{name}: {len(refused):,} of {len(lines):,} items cannot be read. {shown}{more}. {hint}"
        )
    return made


def rows_named(lines: Sequence[int]) -> str:
    """ "row 3" or "rows 3, 7, 9, …"."""
    lines = list(dict.fromkeys(lines))
    shown = ", ".join(map(str, lines[:_SHOWN])) + (", …" if len(lines) > _SHOWN else "")
    return ("row " if len(lines) == 1 else "rows ") + shown


def told_of(name: str, lines: Sequence[int], what: str) -> list[str]:
    """A note on how many of something there are and in which rows; none where there are none.

    >>> told_of("a.csv", [3, 7, 7], "empty cells")
    ['a.csv: empty cells: 3 (rows 3, 7)']
    """
    return [f"{name}: {what}: {len(lines):,} ({rows_named(lines)})"] if lines else []


def nearest(text: str, part: str, place: int) -> int:
    """Where `part` stands in the text, as near to `place` as it does; -1: nowhere.

    >>> nearest("ab ab ab", "ab", 4), nearest("ab", "c", 0)
    (3, -1)
    """
    after = text.find(part, max(0, place))
    before = text.rfind(part, 0, max(0, place) + len(part))
    if after < 0 or (before >= 0 and place - before < after - place):
        return before
    return after


def as_json(value: Any) -> str:
    """A cell's JSON: characters as they are, on one line.

    >>> as_json([[0, 2, "人名"]])
    '[[0, 2, "人名"]]'
    """
    return json.dumps(value, ensure_ascii=False)
