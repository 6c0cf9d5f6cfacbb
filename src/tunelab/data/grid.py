"""The cells of one file, whatever its format: a header or none, columns of equal length, row numbers."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

from tunelab.errors import DataError

__all__ = ["MISSING", "Grid", "cell_text", "norm", "preview", "settle", "shorten", "strip"]

#: Stands for a cell whose key is absent from a JSON object (an empty cell is "" or None).
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()

_AROUND = "\ufeff\0" + "".join(map(chr, filter(lambda i: chr(i).isspace(), range(0x3001))))
_PROSE = 40  # characters from which a cell of the first row can be no column name

#: From so many rows on, the same number of further cells is a column of its own.
_REGULAR = 20


@dataclass(frozen=True)
class Grid:
    """One file's cells.

    name: the file's name, for messages. kind: its format, in words.
    header: the columns' names, or None where the file has none.
    columns: one list of cells per column; cells are as the format gave them (`cell_text` makes them
    text), or `MISSING`. lines: the row number of every item, as an editor or spreadsheet shows it.
    """

    name: str
    kind: str
    header: tuple[str, ...] | None
    columns: list[list[Any]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names; numbers from 1 where there is no header."""
        return self.header or tuple(str(i + 1) for i in range(len(self.columns)))


def strip(text: str) -> str:
    """Without surrounding whitespace, NULs and byte-order marks.

    >>> strip(chr(0xFEFF) + " 好 ")
    '好'
    """
    return text.strip(_AROUND)


def norm(name: str) -> str:
    """A column's name as it is compared: no case, no surrounding space, "_" for "-" and spaces.

    >>> norm(" Review-Text ")
    'review_text'
    """
    return strip(name).casefold().replace(" ", "_").replace("-", "_")


def cell_text(value: Any) -> str:
    """A cell as text: 1.0 is "1", True is "true", nothing is "".

    >>> [cell_text(v) for v in (1.0, 2.5, True, None, float("nan"), "NA", "007")]
    ['1', '2.5', 'true', '', '', 'NA', '007']

    Raises:
        TypeError: the cell is a list or an object.
    """
    if isinstance(value, str):
        return strip(value)
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        return _number(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return strip(value.decode("utf-8"))
    if isinstance(value, list | tuple | dict | set):
        raise TypeError(type(value).__name__)
    return strip(str(value))


def _number(value: float | Decimal) -> str:
    if math.isnan(value):
        return ""
    if math.isfinite(value) and -1e16 < value < 1e16 and value == int(value):
        return str(int(value))
    return str(value)


def settle(
    name: str,
    kind: str,
    rows: list[list[Any]],
    lines: list[int],
    known: frozenset[str],
    like: Grid | None = None,
    notes: Iterable[str] = (),
    explain: Callable[[], str] = str,
    pad: bool = False,
) -> Grid:
    """Rows of cells, the first perhaps a header, as a grid.

    known: names (as by `norm`) that mark a header. like: the grid of the training file, whose
    convention this file must follow. pad: rows may be shorter than the header (spreadsheets).
    explain: ends the message about rows of unequal length.

    Raises:
        DataError: no items; rows with more or fewer cells than the header; conventions that disagree.
    """
    told = list(notes)
    rows, lines, blank = _without_blank(rows, lines)
    if blank and not pad:
        told.append(f"{name}: {_rows(len(blank))} with separators only left out ({_places(blank)})")
    if not rows:
        raise DataError(f"{name} is empty: it has no rows")
    headed = _headed(rows, known) if like is None else _like(name, rows, known, like)
    first = [cell_text(value) for value in rows[0]]
    if headed:
        rows, lines, repeated = _without_repeats(rows, lines)
        if repeated:
            told.append(f"{name}: {_rows(len(repeated))} repeating the header left out ({_places(repeated)})")
        if not rows:
            raise DataError(f"{name} has only a header ({', '.join(first)}) and no rows below it")
    elif like is None:
        told.append(f"{name}: no header (the first row looks like data): columns are numbered from 1")
    width = _width(first, rows, headed, pad)
    told += _even(name, rows, lines, width, headed, explain, pad)
    columns = [[row[i] for row in rows] for i in range(width)]
    header = tuple(first[:width] + [""] * (width - len(first))) if headed else None
    return Grid(name, kind, header, columns, lines, tuple(told))


def _without_blank(rows: list[list[Any]], lines: list[int]) -> tuple[list[list[Any]], list[int], list[int]]:
    """Rows with at least one filled cell, their lines, and the lines of the others."""
    empty = [i for i, row in enumerate(rows) if not (row and row[0])]  # a filled first cell says enough
    blank = [i for i in empty if not any(value not in (None, "") for value in rows[i])]
    if not blank:
        return rows, lines, []
    drop = set(blank)
    kept = [i for i in range(len(rows)) if i not in drop]
    return [rows[i] for i in kept], [lines[i] for i in kept], [lines[i] for i in blank]


def _without_repeats(rows: list[list[Any]], lines: list[int]) -> tuple[list[list[Any]], list[int], list[int]]:
    """The rows below the header, and the lines of those that repeat it (files joined end to end)."""
    header = rows[0]
    repeats = [i for i in range(1, len(rows)) if rows[i] == header] if len(header) > 1 else []
    drop = {0, *repeats}
    kept = [i for i in range(len(rows)) if i not in drop] if repeats else range(1, len(rows))
    return [rows[i] for i in kept], [lines[i] for i in kept], [lines[i] for i in repeats]


def _headed(rows: list[list[Any]], known: frozenset[str]) -> bool:
    """Whether the first row is a header: it has a known name, or looks like names and not like data."""
    first = [cell_text(value) for value in rows[0]]
    if any(norm(cell) in known and not _recurs(rows, column) for column, cell in enumerate(first)):
        return True
    if any(_numeric(cell) or _prose(cell) for cell in first):
        return False
    filled = [cell for cell in first if cell]
    if len(first) == 1 or not filled or len(set(map(norm, filled))) < len(filled):
        return False
    return not any(cell and _recurs(rows, column) for column, cell in enumerate(first))


def _recurs(rows: list[list[Any]], column: int) -> bool:
    """Whether the first row's cell stands again below it, in a row that is not the same altogether."""
    first = rows[0]
    return any(
        len(row) > column and row[column] == first[column] and row != first for row in rows[1:]
    )  # a generator: it ends at the first one found


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _prose(cell: str) -> bool:
    return len(cell) > _PROSE or len(cell.split()) > 5 or (len(cell) > 9 and cell[-1] in "。.!?！？;；,，…")


def _like(name: str, rows: list[list[Any]], known: frozenset[str], like: Grid) -> bool:
    """Whether there is a header, where the training file decides that there must or must not be one."""
    first = [cell_text(value) for value in rows[0]]
    if like.header is None:
        if _headed(rows, known) and any(norm(cell) in known for cell in first):
            raise DataError(
                f"the files do not agree: {like.name} has no header, but {name} begins with one "
                f"({', '.join(first)}); give both a header, or none"
            )
        return False
    names = {norm(cell) for cell in like.header if cell}
    if not names & set(map(norm, first)):
        shown = ", ".join(shorten(cell) for cell in first)
        raise DataError(
            f"the files do not agree: {like.name} has the header {', '.join(like.header)}, but {name} begins "
            f"with {shown}; give both the same header"
        )
    return True


def _width(first: Sequence[str], rows: list[list[Any]], headed: bool, pad: bool) -> int:
    if pad:
        return max(len(first), *map(len, rows))
    if headed:
        return len(first)
    return Counter(map(len, rows)).most_common(1)[0][0]


def _even(
    name: str,
    rows: list[list[Any]],
    lines: list[int],
    width: int,
    headed: bool,
    explain: Callable[[], str],
    pad: bool,
) -> list[str]:
    """Makes every row `width` cells long, in place: only empty cells may be cut off, and those of further
    columns that many rows have, all the same number (a stray separator in a text is not so regular)."""
    ragged: list[int] = []
    for i, row in enumerate(rows):
        if len(row) == width:
            continue
        if len(row) > width and not any(row[width:]):
            del row[width:]
        elif pad and len(row) < width:
            row.extend([None] * (width - len(row)))
        else:
            ragged.append(i)
    if not ragged:
        return []
    widths = {len(rows[i]) for i in ragged}
    if not headed and len(ragged) >= _REGULAR and len(widths) == 1 and min(widths) > width + 1:
        note = (
            f"{name}: {_rows(len(ragged))} have {min(widths)} cells where the others have {width} (first: "
            f"row {lines[ragged[0]]}); what follows cell {width} is not read"
        )
        for i in ragged:
            del rows[i][width:]
        return [note]
    rule = f"the header has {width}" if headed else f"most rows have {width}"
    shown = "; ".join(f"row {lines[i]} has {len(rows[i])}: {preview(rows[i])}" for i in ragged[:3])
    raise DataError(
        f"{name}: {_rows(len(ragged))} of {len(rows):,} do not have the right number of cells ({rule}). "
        f"{shown}. {explain()}"
    )


def preview(row: Sequence[Any]) -> str:
    """The first cells of a row, for a message."""
    return " | ".join(shorten(str(cell), 24) for cell in row[:6])


def shorten(text: str, width: int = 40) -> str:
    """One line of at most `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _rows(count: int) -> str:
    return f"{count:,} row" + ("s" if count != 1 else "")


def _places(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:3])) + (", …" if len(lines) > 3 else "")
    return ("row " if len(lines) == 1 else "rows ") + shown
