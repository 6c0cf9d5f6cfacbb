"""Mended rows in a file that the same command reads as the same table."""

import secrets
from pathlib import Path

from tunelab import tasks
from tunelab.config import DataConfig
from tunelab.data.formats import load_grid
from tunelab.data.grid import norm
from tunelab.data.sources import find_sources
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
    _not_read_from(out, table)
    kind = tasks.find(task)
    whole, notes = mended(table, kind)
    nested = out.suffix.lower() in (".json", ".jsonl")
    rows = file_rows(whole, kind.held, (*kind.columns, *kind.asks), chosen_of(data), nested)
    left = [] if kind.held else _left_out(table)
    other = f"a name that ends in .jsonl holds them: {out.with_suffix('.jsonl')}"
    trial = out.with_name(f"{out.stem}-{secrets.token_hex(4)}{out.suffix}")
    try:
        told = write_frame(rows, trial)
        differ = told_apart(whole, read_table((str(trial),), kind, data)).replace(trial.name, out.name)
        trial.replace(out)
    except DataError as error:
        why = str(error).replace(trial.name, out.name)
        raise OutputError(f"these rows cannot be read again from {out.suffix} ({why}); {other}") from None
    finally:
        trial.unlink(missing_ok=True)
    if differ:
        told.append(f"{out.name} does not hold the rows exactly: {differ}; {other}")
    return [*notes, *told, *left] or ["nothing had to be mended"]


def _not_read_from(out: Path, table: Table) -> None:
    """Raises `OutputError` for a file that was read."""
    if out.resolve() in {Path(source).resolve() for source in table.source}:
        raise OutputError(f"{out} is the file that was read, which stays as it is; give another name")


def _left_out(table: Table) -> list[str]:
    """Columns of the file that the table does not have, in a sentence. (Of tasks whose cells are texts: where
    several columns become one cell, all that was read is written.)"""
    try:
        sources, _ = find_sources(table.source)
        header = load_grid(sources[0].path, frozenset(map(norm, table.columns.values()))).header or ()
    except DataError:  # (a format without columns)
        return []
    if not set(table.columns.values()) & set(header):
        return []
    known = {*table.columns.values(), "split"}
    left = [name for name in header if name and name not in known]
    if not left:
        return []
    return [
        f"not taken over: column{'s' * (len(left) > 1)} {', '.join(left)} (rows that belong together stay "
        "together with --group COLUMN, which is taken over)"
    ]
