"""Rows back to a file of the user's choice, atomically."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from tunelab.errors import OutputError, did_you_mean
from tunelab.files import output_errors, write_atomically

__all__ = ["check_target", "write_frame"]

#: What one worksheet of an XLSX file holds: rows with the header, and characters a cell.
_XLSX_ROWS = 1_048_576
_XLSX_CHARACTERS = 32_767
_FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")


def check_target(path: Path) -> None:
    """Raises `OutputError` for a format that cannot be written or a place that cannot be written to."""
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(
            f"cannot write {path}: unknown ending {path.suffix!r}; {did_you_mean(path.suffix, _FORMATS)}"
        )
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def write_frame(frame: pd.DataFrame, path: Path) -> list[str]:
    """Writes rows in the format of the file's ending; CSV with a byte-order mark, so that spreadsheets
    show Chinese; floats in JSON with 15 decimal places, the most pandas has. Returns notes on what had to be
    changed because the format cannot hold it.

    Raises:
        OutputError: the place cannot be written to, or the rows are too many for the format.
    """
    buffer = io.BytesIO()
    ending = path.suffix.lower()
    notes: list[str] = []
    if ending in (".csv", ".tsv"):
        text = frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",")
        buffer.write(text.encode("utf-8-sig" if ending == ".csv" else "utf-8"))
    elif ending in (".jsonl", ".json"):
        lines: dict[str, Any] = {"lines": True} if ending == ".jsonl" else {"indent": 1}
        text = frame.to_json(orient="records", force_ascii=False, double_precision=15, **lines)
        buffer.write(text.encode())
    elif ending == ".parquet":
        frame, notes = _one_type_a_column(frame)
        frame.to_parquet(buffer, index=False)
    else:
        notes = _write_sheet(frame, path, buffer)
    with output_errors(path):
        write_atomically(path, buffer.getvalue())
    return notes


def _one_type_a_column(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Parquet has one type a column: what is neither numbers nor truth values throughout becomes text.

    An empty cell of a column of numbers is a missing number there, not a text.
    """
    columns: dict[Any, pd.Series] = {}
    changed = []
    for name in frame.columns:
        values = frame[name]
        if not _fits_parquet(values):
            values = values.mask(values.map(lambda value: isinstance(value, str) and not value), None)
        if not _fits_parquet(values):
            values = frame[name].map(_as_text, na_action="ignore").astype("string")
            changed.append(str(name))
        columns[name] = values
    notes = [f"columns of mixed types were written as text: {', '.join(changed)}"] if changed else []
    return pd.DataFrame(columns), notes


def _fits_parquet(values: pd.Series) -> bool:
    """Asked of the writer itself: its rules (whole numbers with fractions, nested lists) are its own."""
    from pyarrow import ArrowException

    if values.dtype != object:
        return True
    try:
        values.to_frame("x").to_parquet(io.BytesIO())
    except (ArrowException, OverflowError):
        return False
    return True


def _as_text(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
    )


def _write_sheet(frame: pd.DataFrame, path: Path, buffer: io.BytesIO) -> list[str]:
    if len(frame) >= _XLSX_ROWS:
        raise OutputError(
            f"cannot write {path}: XLSX holds {_XLSX_ROWS - 1:,} rows, these are {len(frame):,}; "
            "give a name that ends in .csv or .parquet"
        )
    frame, notes = _for_a_sheet(frame)
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        frame.to_excel(writer, index=False, sheet_name="Sheet1")
        for row in writer.sheets["Sheet1"].iter_rows():
            for cell in row:
                if cell.data_type == "f":  # a text that begins with "=" is a text, not a formula
                    cell.data_type = "s"
    return notes


def _for_a_sheet(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Characters that a spreadsheet file must not hold are taken out and long texts cut; both are counted."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    taken = cut = 0

    def clean(value: Any) -> Any:
        nonlocal taken, cut
        if not isinstance(value, str):
            return value
        text, count = ILLEGAL_CHARACTERS_RE.subn("", value)
        taken += count
        cut += len(text) > _XLSX_CHARACTERS
        return text[:_XLSX_CHARACTERS]

    cleaned = frame.map(clean).set_axis([clean(name) for name in frame.columns], axis=1)
    notes = []
    if taken:
        notes.append(f"control characters that XLSX cannot hold were taken out: {taken:,}")
    if cut:
        notes.append(
            f"texts longer than the {_XLSX_CHARACTERS:,} characters of an XLSX cell were cut: {cut:,}"
        )
    return cleaned, notes
