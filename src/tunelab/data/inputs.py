"""A file to be predicted: all its columns are kept, and one of them holds the texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tunelab.data.columns import cells, find_columns, known_names
from tunelab.data.formats import load_grid
from tunelab.data.grid import cell_text
from tunelab.data.read import FIRST, SECOND, TEXT
from tunelab.data.table import Column
from tunelab.errors import ConfigError

__all__ = ["read_texts"]


def read_texts(
    path: Path,
    column: str | None = None,
    column_pair: str | None = None,
    pairs: bool = False,
    asks: Sequence[Column] = (),
) -> tuple[pd.DataFrame, list[Any], list[str]]:
    """All rows as they are, the texts (pairs: pairs of texts), and notes for the user; no row is dropped.

    column, column_pair: the texts' columns; None: found by their names. asks: these columns, where they have
    names of their own; their cells are then taken exactly as they are.

    Raises:
        DataError: the file cannot be read, or it is not clear which column is meant.
        ConfigError: column_pair for single texts.
    """
    if column_pair is not None and not pairs:
        raise ConfigError("--column-pair: this model reads one text a row; leave it out")
    named = {"text": column, "text_pair": column_pair}
    chosen = {role: name for role, name in named.items() if name is not None}
    wanted = list(asks) or ([FIRST, SECOND] if pairs else [TEXT])
    grid = load_grid(path, known_names(wanted, chosen))
    places, notes = find_columns(grid, wanted, chosen)
    sides = [cells(grid, each.role, places[each.role]) for each in wanted]
    if asks:
        sides = [
            _exact(side, grid.columns[places[each.role]]) for side, each in zip(sides, wanted, strict=True)
        ]
    texts: list[Any] = sides[0] if not pairs else list(zip(*sides, strict=True))
    frame = pd.DataFrame(
        {name: _plain(cells_) for name, cells_ in zip(grid.names, grid.columns, strict=True)}
    )
    empty = [line for line, *row in zip(grid.lines, *sides, strict=True) if not all(row)]
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
        notes = [*notes, f"{len(empty):,} rows have no text (row {shown}); their predictions mean nothing"]
    return frame, texts, [*grid.notes, *notes]


def _exact(side: Sequence[str], column: Sequence[object]) -> list[str]:
    return [raw if isinstance(raw, str) else text for text, raw in zip(side, column, strict=True)]


def _plain(column: list[object]) -> list[object]:
    """Cells as text, but numbers and truth values as they were (they come back as they went in)."""
    return [
        value if isinstance(value, (bool, int, float, list, dict)) else cell_text(value) for value in column
    ]
