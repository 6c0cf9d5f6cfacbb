"""A file to be predicted: all its columns are kept, and one of them holds the texts."""

from pathlib import Path

import pandas as pd

from tunelab.data.columns import cells, find_columns, known_names
from tunelab.data.formats import load_grid
from tunelab.data.grid import cell_text
from tunelab.data.read import TEXT

__all__ = ["read_texts"]


def read_texts(path: Path, column: str | None = None) -> tuple[pd.DataFrame, list[str], list[str]]:
    """All rows as they are, the texts, and notes for the user; no row is dropped.

    column: the text's column; None: found by its name.

    Raises:
        DataError: the file cannot be read, or it is not clear which column is meant.
    """
    chosen = {"text": column} if column is not None else {}
    known = known_names([TEXT], chosen)
    grid = load_grid(path, known)
    places, notes = find_columns(grid, [TEXT], chosen)
    texts = cells(grid, "text", places["text"])
    frame = pd.DataFrame(
        {name: _plain(cells_) for name, cells_ in zip(grid.names, grid.columns, strict=True)}
    )
    empty = [grid.lines[i] for i, text in enumerate(texts) if not text]
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
        notes = [*notes, f"{len(empty):,} rows have no text (row {shown}); their predictions mean nothing"]
    return frame, texts, [*grid.notes, *notes]


def _plain(column: list[object]) -> list[object]:
    """Cells as text, but numbers and truth values as they were (they come back as they went in)."""
    return [
        value if isinstance(value, (bool, int, float, list, dict)) else cell_text(value) for value in column
    ]
