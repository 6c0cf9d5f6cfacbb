"""The table every later step works on: rows with roles, wherever they came from."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

__all__ = ["SPLITS", "Column", "Table"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Column:
    """A column that a task needs.

    role: the name tunelab uses for it everywhere ("text", "text_pair", "label", "group").
    names: header names that are recognised without asking, lower case, best first.
    required: whether reading stops without it.
    """

    role: str
    names: tuple[str, ...]
    required: bool = True


@dataclass(frozen=True)
class Table:
    """Labelled rows, read and named; immutable by convention (functions return a new one).

    frame: one row per item, index 0..n-1, with the columns
        one per role ("text", "label", perhaps "text_pair", "group"), all `str` ("" where a cell was empty);
        perhaps "said": the text as a person reads it, where "text" is written for machines;
        "split": "train", "valid", "test" or "" where the file gave no split;
        "file": the file's name; "row": its row number there as an editor or spreadsheet
        shows it (the first line of the file is 1, so with a header the first item is 2).
    columns: role -> the column's name in the file (or its number, from 1, without a header).
    notes: what reading found out and the user should know (encoding, separator, columns taken).
    source: the files read, as given.
    """

    frame: pd.DataFrame
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def texts(self) -> list[str]:
        """All that a model reads of each row: the text, on further lines its second text or the answers."""
        first = "said" if "said" in self.frame else "text"
        names = (first, "text_pair", "chosen", "rejected")
        parts = [self.frame[name] for name in names if name in self.frame]
        return ["\n".join(texts) for texts in zip(*parts, strict=True)]

    def where(self, position: int) -> str:
        """How a person finds row `position`: "reviews.csv row 17"."""
        return f"{self.frame['file'].iloc[position]} row {self.frame['row'].iloc[position]}"
