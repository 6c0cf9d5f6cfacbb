"""Mended rows in a file that the same command reads as the same table."""

from pathlib import Path

from tunelab import tasks
from tunelab.config import DataConfig
from tunelab.data.table import Table
from tunelab.data.write import check_target, write_frame
from tunelab.data.write_rows import file_rows, told_apart
from tunelab.errors import DataError, OutputError
from tunelab.study.prepare import chosen_of, mended, read_table

__all__ = ["write_mended"]


def write_mended(table: Table, task: str, data: DataConfig, out: Path) -> list[str]:
    """Mends what can be mended safely, writes the rows, and reads them once more.

    Returns a sentence for every change, and for what the format could not hold.
    table: as the files were read with `data`.

    Raises:
        OutputError: the file cannot be written, or its format cannot hold these rows.
    """
    check_target(out)
    kind = tasks.find(task)
    whole, notes = mended(table, kind)
    nested = out.suffix.lower() in (".json", ".jsonl")
    rows = file_rows(whole, kind.held, (*kind.columns, *kind.asks), chosen_of(data), nested)
    notes = [*notes, *write_frame(rows, out)]
    other = f"a name that ends in .jsonl holds them: {out.with_suffix('.jsonl')}"
    try:
        differ = told_apart(whole, read_table((str(out),), kind, data))
    except DataError as error:
        out.unlink()
        raise OutputError(f"these rows cannot be read again from {out.suffix} ({error}); {other}") from None
    if differ:
        notes.append(f"{out.name} does not hold the rows exactly: {differ}; {other}")
    return notes or ["nothing had to be mended"]
