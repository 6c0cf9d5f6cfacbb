"""One file of any known format as a grid of cells: CSV and its relatives, JSON, Parquet, Excel.

The ending says the format; where it says nothing, the content does. A file that is not what its
ending says is refused by name, never read as something else in silence.
"""

import contextlib
import gc
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunelab.data.decode import container, decode, file_bytes
from tunelab.data.delimited import labelled_lines, read_delimited
from tunelab.data.grid import MISSING, Grid, cell_text, settle, shorten
from tunelab.errors import DataError

__all__ = ["KNOWN", "ending", "load_grid"]

KNOWN = ".csv, .tsv, .txt, .json, .jsonl, .parquet, .xlsx, also gzipped (.gz)"
_FORMATS = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
_UNKNOWN = {
    ".xls": "open it in a spreadsheet program and save it as .xlsx or .csv",
    ".ods": "open it in a spreadsheet program and save it as .xlsx or .csv",
    ".numbers": "export it as .xlsx or .csv",
    ".docx": "save its table as .csv",
    ".pdf": "save its table as .csv",
    ".xml": "turn it into .jsonl or .csv",
    ".html": "turn it into .jsonl or .csv",
    ".yaml": "turn it into .jsonl or .csv",
    ".yml": "turn it into .jsonl or .csv",
    ".pkl": "save the data as .parquet or .csv",
    ".pickle": "save the data as .parquet or .csv",
    ".arrow": "save the data as .parquet",
    ".feather": "save the data as .parquet",
    ".npy": "save the data as .parquet or .csv",
    ".pt": "save the data as .parquet or .csv",
    ".py": "give the data file itself",
}
_KEYS = 500  # more different keys than this are no columns


def ending(path: Path) -> str:
    """The ending that says the format, lower case, without .gz.

    >>> ending(Path("a/Train.CSV.gz"))
    '.csv'
    """
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def load_grid(path: Path, known: frozenset[str], like: Grid | None = None) -> Grid:
    """All cells of a file.

    known: column names (as by `norm`) that mark a header. like: the grid of the training file, whose
    header convention this file must share.

    Raises:
        DataError: the file cannot be read as what it is.
    """
    with _without_collector():
        return _grid(path, known, like)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """No search for reference cycles meanwhile: there are none, and it takes as long as reading itself."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _grid(path: Path, known: frozenset[str], like: Grid | None) -> Grid:
    suffix = ending(path)
    data = file_bytes(path)
    found = container(data)
    expected = _FORMATS.get(suffix, "")
    if found in ("parquet", "xlsx") and expected in ("", found):
        return _parquet(data, path.name) if found == "parquet" else _xlsx(data, path.name, known, like)
    if found in ("parquet", "xlsx"):
        title = "Parquet data" if found == "parquet" else "an Excel workbook"
        raise DataError(f"{path.name} ends in {suffix} but holds {title}; rename it to {path.stem}.{found}")
    if suffix in _UNKNOWN:
        raise DataError(
            f"{path.name}: the format {suffix} is not one that tunelab reads; "
            f"{_UNKNOWN[suffix]} (known: {KNOWN})"
        )
    if found:
        raise DataError(f"{path.name} is {found} (known formats: {KNOWN})")
    if expected in ("parquet", "xlsx"):
        raise DataError(
            f"{path.name} ends in {suffix} but does not hold such data: it begins with "
            f"{shorten(repr(data[:24]), 60)}; is it damaged, or text with another ending?"
        )
    text, notes = decode(data, path.name)
    del data
    grid = _text(text, path, suffix, known, like)
    marks = text.count("\ufeff")
    if marks:
        line = text[: text.index("\ufeff")].count("\n") + 1
        notes.append(
            f"{path.name}: {marks} byte-order mark(s) inside the file (first in line {line}); "
            "they are taken off the ends of cells"
        )
    return Grid(grid.name, grid.kind, grid.header, grid.columns, grid.lines, (*notes, *grid.notes))


def _text(text: str, path: Path, suffix: str, known: frozenset[str], like: Grid | None) -> Grid:
    expected = _FORMATS.get(suffix, "")
    if expected == "json":
        return _json(text, path.name, suffix)
    if _looks_like_json(text):
        if not expected:
            return _json(text, path.name, suffix)
        right = ".json" if text.lstrip()[0] == "[" else ".jsonl"
        raise DataError(f"{path.name} ends in {suffix} but holds JSON; rename it to {path.stem}{right}")
    lines = None if expected else labelled_lines(text, path)
    if lines is None:
        lines = read_delimited(text, path, suffix, known, like)
    return lines


# JSON -------------------------------------------------------------------------------------------------

_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_Scan = Callable[[str, int], tuple[Any, int]]
_scan: _Scan = json.JSONDecoder().raw_decode


def _looks_like_json(text: str) -> bool:
    start = _skip(text, 0)
    if text[start : start + 1] not in ("{", "["):
        return False
    try:
        value, _ = _scan(text, start)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or (bool(value) and all(isinstance(item, dict) for item in value))


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _json(text: str, name: str, suffix: str) -> Grid:
    notes: list[str] = []
    try:
        items, starts, kind = _items(text, name, suffix)
    except json.JSONDecodeError as error:
        broken = text[max(error.pos - error.colno + 1, error.pos - 50) : error.pos + 30].split("\n")[0]
        raise DataError(
            f"{name} line {error.lineno} column {error.colno} is not valid JSON: {error.msg}. "
            f"It reads: {shorten(broken, 80)!r}. {_json_advice(text)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} cannot be read as JSON: {error}") from None
    if not items:
        raise DataError(f"{name} is empty: it holds no items")
    if suffix in _FORMATS and (kind == "JSON") != (suffix == ".json"):
        notes.append(f"{name}: holds {kind}, in spite of its ending {suffix}")
    lines, told = _item_lines(text, starts)
    if told:
        notes.append(f"{name}: {told}")
    for item, line in zip(items, lines, strict=True):
        if not isinstance(item, dict):
            raise DataError(
                f"{name} row {line}: expected an object like "
                f'{{"text": "…", "label": "…"}}, got {shorten(json.dumps(item, ensure_ascii=False))}'
            )
    keys = list(dict.fromkeys(key for item in items for key in item))
    if len(keys) > _KEYS:
        raise DataError(
            f"{name}: the objects have {len(keys):,} different keys; are they one object, not items?"
        )
    columns = [[item.get(key, MISSING) for item in items] for key in keys]
    columns = [_sound(column) for column in columns]
    if "\\ud" in text.lower() and any(
        "\ufffd" in cell for c in columns for cell in c if isinstance(cell, str)
    ):
        notes.append(f"{name}: halves of characters (lone surrogates) were replaced by \ufffd")
    return Grid(name, kind, tuple(_sound(keys)), columns, lines, tuple(notes))


def _sound(column: list[Any]) -> list[Any]:
    r"""The cells with lone surrogates ("\ud83d" without its other half) replaced: no tokenizer takes them."""
    return [
        cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if isinstance(cell, str) and not cell.isascii() and re.search("[\ud800-\udfff]", cell)
        else cell
        for cell in column
    ]


def _json_advice(text: str) -> str:
    head = text.lstrip()[:1]
    if head not in ("{", "["):
        return "Is it CSV or another format? Then rename it"
    return "Mend it there, or write the file again with a JSON library"


def _items(text: str, name: str, suffix: str) -> tuple[list[Any], list[int], str]:
    """The items of a JSON list, of JSON lines or of the one list inside an object, and their positions."""
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        items, starts, end = _list(text, start)
        rest = _skip(text, end)
        if rest < len(text):
            raise json.JSONDecodeError("Extra data", text, rest)
        return items, starts, "JSON"
    items, starts = [], []
    while start < len(text):
        value, end = _scan(text, start)
        items.append(value)
        starts.append(start)
        start = _skip(text, end)
    if len(items) == 1 and isinstance(items[0], dict):
        nested = [key for key, value in items[0].items() if _is_items(value)]
        if len(nested) > 1:
            raise DataError(
                f"{name} holds several lists ({', '.join(nested)}), and tunelab reads one; "
                "save each as a file of "
                "its own (train.json, test.json in one folder)"
            )
        if nested:
            begin = next(at for key, at in _members(text, starts[0]) if key == nested[0])
            items, starts, _ = _list(text, begin)
            return items, starts, "JSON"
        if suffix == ".json" and any(isinstance(value, dict | list) for value in items[0].values()):
            raise DataError(
                f"{name} holds one object ({shorten(', '.join(items[0]))}), not items; allowed are a list of "
                "objects, one object a line, or an object with one such list"
            )
    return items, starts, "JSON lines"


def _is_items(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _list(text: str, at: int) -> tuple[list[Any], list[int], int]:
    """The items of the list that opens at `at`, where each begins, and where the list ends."""
    items: list[Any] = []
    starts: list[int] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return items, starts, at + 1
    while True:
        value, end = _scan(text, at)
        items.append(value)
        starts.append(at)
        at = _skip(text, end)
        if text[at : at + 1] == "]":
            return items, starts, at + 1
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or ']' after an item", text, at)
        at = _skip(text, at + 1)


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Keys of the (valid) object that opens at `at`, and where their values begin."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, end = _scan(text, at)
        at = _skip(text, _skip(text, end) + 1)
        yield key, at
        at = _skip(text, _scan(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)


def _item_lines(text: str, starts: list[int]) -> tuple[list[int], str]:
    """The line of each item; or its number, where several share a line."""
    lines: list[int] = []
    line, last = 1, 0
    for start in starts:
        line += text.count("\n", last, start)
        last = start
        lines.append(line)
    if len(set(lines)) < len(lines):
        return list(range(1, len(lines) + 1)), "several items share a line: rows are counted by item, from 1"
    return lines, ""


# Parquet and Excel --------------------------------------------------------------------------------------


def _parquet(data: bytes, name: str) -> Grid:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        keep = [n for n in table.column_names if not re.fullmatch(r"__index_level_\d+__", n)]
        columns = [table.column(table.column_names.index(n)).to_pylist() for n in keep]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{name} is damaged Parquet ({shorten(str(error), 120)}); write it again") from None
    if not keep or not table.num_rows:
        raise DataError(f"{name} is empty: it has no rows")
    return Grid(name, "Parquet", tuple(keep), columns, list(range(1, table.num_rows + 1)))


def _xlsx(data: bytes, name: str, known: frozenset[str], like: Grid | None) -> Grid:
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about fonts, validations and charts
        try:
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            sheets = [(sheet.title, _sheet(sheet)) for sheet in book.worksheets]
        except Exception as error:  # openpyxl passes on whatever its parsers of zip and XML stumble over
            raise DataError(
                f"{name} is a damaged Excel workbook ({shorten(str(error), 120)}); save it again"
            ) from None
    filled = [(title, rows) for title, rows in sheets if rows]
    if not filled:
        raise DataError(f"{name} is empty: no sheet has a filled cell")
    title, numbered = filled[0]
    notes = []
    if len(filled) > 1:
        others = ", ".join(repr(other) for other, _ in filled[1:])
        notes.append(
            f"{name}: sheet {title!r} is read, not {others}; save another as a file of its own to use it"
        )
    lines = [line for line, _ in numbered]
    rows = [row for _, row in numbered]
    return settle(name, "Excel", rows, lines, known, like, notes, pad=True)


def _sheet(sheet: Any) -> list[tuple[int, list[Any]]]:
    """Row number and cells of every row that has a filled cell."""
    sheet.reset_dimensions()  # programs write wrong ones
    found = []
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = list(row)
        while cells and (cells[-1] is None or cell_text(cells[-1]) == ""):
            cells.pop()
        if cells:
            found.append((number, cells))
    return found
