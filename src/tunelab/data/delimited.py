"""Text with separators: CSV, TSV and their relatives, and lines whose label stands in front.

The separator is the one that gives rows of equal length; the quoting is the one under which the whole
file is well-formed. Rows keep the number of the line they begin on, also after quoted line breaks.
"""

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import PurePath
from typing import Any

from tunelab.data.grid import Grid, norm, preview, settle
from tunelab.errors import DataError

__all__ = ["labelled_lines", "read_delimited"]

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_SAMPLE = 500  # records looked at to find the separator
_SAMPLE_CHARACTERS = 2_000_000
_PART = 1_000_000  # characters
_END = "\ufdd0"  # a line of its own after the last: swallowed where a quote was left open
_FASTTEXT = re.compile(r"__label__(\S+)\s+(.*)", re.DOTALL)
_TREC = re.compile(r"([A-Z][A-Z0-9_]*):([a-z][a-z0-9_]*)\s+(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Parsed:
    """Records, the line each begins on, and where the file broke the rules of quoting (0: nowhere)."""

    rows: list[list[str]]
    lines: list[int]
    unclosed: int = 0
    broken: int = 0


def read_delimited(text: str, path: PurePath, ending: str, known: frozenset[str], like: Grid | None) -> Grid:
    """A CSV-like text as a grid. ending: the file's, which settles a doubtful separator.

    Raises:
        DataError: rows of unequal length, a quote that is never closed, no rows.
    """
    name = path.name
    separator = _separator(text, ending, known)
    notes: list[str] = []
    if separator is None:
        separator = {".csv": ",", ".tsv": "\t"}.get(ending, "")
    elif separator != {".csv": ",", ".tsv": "\t", ".tab": "\t"}.get(ending, separator):
        notes.append(f"{name}: the separator is the {SEPARATORS[separator]}, in spite of the ending {ending}")
    parsed = _parse(text, separator, name, notes)
    kind = (
        f"{SEPARATORS[separator]}-separated text"
        if separator
        else "lines (no comma, semicolon, tab or pipe divides them evenly)"
    )
    explain = _explain(parsed, separator)
    return settle(name, kind, list(parsed.rows), parsed.lines, known, like, notes, explain)


def _explain(parsed: _Parsed, separator: str) -> Callable[[], str]:
    sign = SEPARATORS.get(separator, "separator")
    hint = f'Probably an unquoted {sign} inside a text: put such texts in double quotes ("…")'
    if parsed.broken:
        hint += f'; in row {parsed.broken} a quote inside a quoted text is not doubled ("")'
    return lambda: hint


def labelled_lines(text: str, path: PurePath) -> Grid | None:
    """fastText's `__label__x text` or TREC's `COARSE:fine text` as a grid; None for other lines. Where a line
    has several `__label__` words its label is a list."""
    for pattern, read in ((_FASTTEXT, _fasttext), (_TREC, _trec)):
        if not pattern.match(text.lstrip()):
            continue
        found: list[re.Match[str]] = []
        lines: list[int] = []
        for number, line in enumerate(_lines(text), 1):
            if not line.strip():
                continue
            match = pattern.fullmatch(line.strip())
            if match is None:
                break
            found.append(match)
            lines.append(number)
        else:
            return read(path.name, found, lines)
    return None


def _fasttext_row(label: str, rest: str) -> tuple[str | list[str], str]:
    """The label, or a list of several, and the text.

    >>> _fasttext_row("b", "__label__c z"), _fasttext_row("a", "x y")
    ((['b', 'c'], 'z'), ('a', 'x y'))
    """
    labels = [label]
    while rest.startswith("__label__"):
        word, _, rest = rest.partition(" ")
        labels.append(word.removeprefix("__label__"))
    return (labels if len(labels) > 1 else label), rest


def _fasttext(name: str, found: list[re.Match[str]], lines: list[int]) -> Grid:
    rows = [_fasttext_row(match[1], match[2]) for match in found]
    columns: list[list[Any]] = [[label for label, _ in rows], [text for _, text in rows]]
    return Grid(
        name, "fastText lines", ("label", "text"), columns, lines, (f"{name}: read as fastText lines",)
    )


def _trec(name: str, found: list[re.Match[str]], lines: list[int]) -> Grid:
    columns: list[list[Any]] = [
        [m[1] for m in found],
        [f"{m[1]}:{m[2]}" for m in found],
        [m[3] for m in found],
    ]
    note = (
        f"{name}: lines of the form COARSE:fine text; the label is the part before the colon "
        "(--label fine: all)"
    )
    return Grid(name, "TREC lines", ("label", "fine", "text"), columns, lines, (note,))


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends, by parts: an `io.StringIO` takes four bytes a character."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PART) + 1 or len(text)
        yield from io.StringIO(text[start:end], newline="")
        start = end


def _separator(text: str, ending: str, known: frozenset[str]) -> str | None:
    """The separator under which the first records are most alike; None: none divides them.

    A known column name that stands alone between separators in the first line outweighs all: a file
    with its texts unquoted is then reported as such, and not read in some other way.
    """
    own = {".csv": ",", ".tsv": "\t", ".tab": "\t"}.get(ending, "")
    best: tuple[bool, float, bool] = (False, 0.0, False)
    chosen: str | None = None
    for separator in SEPARATORS:
        rows = _sample(text, separator, csv.QUOTE_MINIMAL)
        named = bool(rows) and len(rows[0]) > 1 and any(norm(cell) in known for cell in rows[0])
        share = _alike(rows)
        if not named:
            share = max(share, _alike(_sample(text, separator, csv.QUOTE_NONE)))
        score = (named, round(share, 2), separator == own)
        enough = named or share >= (0.5 if separator == own else 0.9)
        if enough and score > best:
            best, chosen = score, separator
    return chosen


def _sample(text: str, separator: str, quoting: int) -> list[list[str]]:
    """The first non-blank records; the last is left out where the text was cut."""
    head = text[:_SAMPLE_CHARACTERS]
    with _wide_fields():
        reader = csv.reader(_lines(head), delimiter=separator, quoting=quoting)  # type: ignore[arg-type]
        rows = [row for row in islice(reader, _SAMPLE) if any(row)]
    return rows[:-1] if len(head) < len(text) and len(rows) > 1 else rows


def _alike(rows: list[list[str]]) -> float:
    """Share of the rows that have the most frequent number of cells, where that is over one."""
    widths = Counter(map(len, rows))
    width, count = max(widths.items(), key=lambda item: item[1], default=(0, 0))
    return count / len(rows) if width > 1 else 0.0


def _parse(text: str, separator: str, name: str, notes: list[str]) -> _Parsed:
    """The records under the first way of quoting that the whole file obeys.

    In lines of equally many cells between tabs or pipes, a quote that would join several lines is taken
    as an ordinary character. Between commas it is not: there, quotes are the rule.

    Raises:
        DataError: a quote is never closed, and ignoring the quotes does not give even rows.
    """
    if '"' not in text or not separator:
        return _records(text, separator, quoting=csv.QUOTE_NONE)
    quoted = _records(text, separator, strict=True)
    if not quoted.broken and separator in ",;":
        return quoted
    plain = _records(text, separator, quoting=csv.QUOTE_NONE)
    share = _alike(plain.rows)
    if not quoted.broken and (share < 1.0 or len(quoted.rows) == len(plain.rows)):
        return quoted
    if '\\"' in text:
        escaped = _records(text, separator, strict=True, doublequote=False, escapechar="\\")
        if not escaped.broken and _alike(escaped.rows) == 1.0:
            notes.append(f'{name}: quotes inside texts are written \\"')
            return escaped
    lenient = _records(text, separator)
    if share == 1.0 or (separator not in ",;" and share > 0.5 and share >= _alike(lenient.rows)):
        notes.append(f"{name}: quotes are read as ordinary characters: here they do not enclose cells")
        return plain
    if lenient.unclosed:
        raise DataError(
            f'{name}: the quote (") that opens in row {lenient.unclosed} is never closed, so the rest of the '
            'file would be one text; close it, or double the quotes inside texts (""). The row begins: '
            f"{preview([cell.removesuffix(_END) for cell in lenient.rows[-1]])}"
        )
    notes.append(f"{name}: row {quoted.broken} has a quote inside a quoted text that is not doubled")
    return _Parsed(lenient.rows, lenient.lines, broken=quoted.broken)


def _records(text: str, separator: str, **options: Any) -> _Parsed:
    """Every non-blank record with the line it begins on; stops at the first broken rule if strict."""
    if not separator:
        numbered = [(i, line) for i, line in enumerate(_lines(text), 1) if line.strip()]
        return _Parsed([[line.rstrip("\r\n")] for _, line in numbered], [i for i, _ in numbered])
    rows: list[list[str]] = []
    starts: list[int] = []
    lines: Iterable[str] = chain(_lines(text), [_END])
    reader = csv.reader(lines, delimiter=separator, **options)
    begin = 1
    with _wide_fields():
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    starts.append(begin)
                begin = reader.line_num + 1
        except csv.Error:
            return _Parsed(rows, starts, broken=begin)
    if rows[-1] == [_END]:
        return _Parsed(rows[:-1], starts[:-1])
    return _Parsed(rows, starts, unclosed=starts[-1])


@contextlib.contextmanager
def _wide_fields() -> Iterator[None]:
    """Lifts the csv module's limit of 131,072 characters a cell, and puts it back."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)
