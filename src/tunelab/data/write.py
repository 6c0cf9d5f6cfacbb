"""Rows back to a file of the user's choice, atomically."""

import io
from pathlib import Path

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


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes rows in the format of the file's ending; CSV with a byte-order mark, so that spreadsheets
    show Chinese."""
    buffer = io.BytesIO()
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        text = frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",")
        buffer.write(text.encode("utf-8-sig" if ending == ".csv" else "utf-8"))
    elif ending == ".jsonl":
        buffer.write(frame.to_json(orient="records", lines=True, force_ascii=False).encode())
    elif ending == ".json":
        buffer.write(frame.to_json(orient="records", force_ascii=False, indent=1).encode())
    elif ending == ".parquet":
        frame.to_parquet(buffer, index=False)
    else:
        frame.to_excel(buffer, index=False)
    with output_errors(path):
        write_atomically(path, buffer.getvalue())
