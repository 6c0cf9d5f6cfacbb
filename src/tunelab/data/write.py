"""Rows back to a file of the user's choice, atomically."""

import io
from pathlib import Path
from typing import Any

import pandas as pd

from tunelab.errors import OutputError, did_you_mean
from tunelab.files import output_errors, write_atomically

__all__ = ["check_target", "write_frame"]

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
    show Chinese. Returns what had to be changed because the format cannot hold it."""
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
        frame, notes = _without_control_characters(frame)
        frame.to_excel(buffer, index=False)
    with output_errors(path):
        write_atomically(path, buffer.getvalue())
    return notes


def _one_type_a_column(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns of mixed types as text: Parquet has one type a column."""
    mixed = [name for name in frame if frame[name].map(type).nunique() > 1 and frame[name].dtype == object]
    for name in mixed:
        values = frame[name]
        frame = frame.assign(**{str(name): values.map(str, na_action="ignore").astype("string")})
    if not mixed:
        return frame, []
    return frame, [f"columns of mixed types were written as text: {', '.join(map(str, mixed))}"]


def _without_control_characters(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Characters that a spreadsheet file must not hold are taken out, and counted."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    taken = 0

    def clean(value: Any) -> Any:
        nonlocal taken
        if not isinstance(value, str):
            return value
        text, count = ILLEGAL_CHARACTERS_RE.subn("", value)
        taken += count
        return text

    cleaned = frame.map(clean)
    return cleaned, [f"{taken:,} control characters that XLSX cannot hold were taken out"] if taken else []
