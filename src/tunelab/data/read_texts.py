"""Plain text to learn a language from: paragraphs of text files and Markdown, read line by line.

How a file is laid out is told from its first lines, and said in a note:
    hard-wrapped    lines broken at one width: joined into paragraphs
    blocks          blank lines between paragraphs: the lines of each are kept (speeches, verse, lists)
    lines           neither: every line is a paragraph
Tables (.jsonl, .csv and so on) have one text a row, as for any other task.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tunelab.data.conll import UNSPACED
from tunelab.data.decode import must_exist
from tunelab.data.formats import ending
from tunelab.data.grid import Grid, strip
from tunelab.data.items import Part, gather
from tunelab.data.read import GROUP, TEXT, read
from tunelab.data.sources import Source, find_sources, split_named
from tunelab.data.stream import Lines, open_lines, whole_lines
from tunelab.data.table import Table
from tunelab.errors import DataError

__all__ = ["read_texts"]

_TEXT_ENDINGS = frozenset((".txt", ".text", ".md", ".markdown", ".rst", ""))
_TABLES = frozenset(
    (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".xlsx", ".xlsm")
)
_PAPERS = re.compile(r"(readme|licen[cs]e|notice|changelog|citation|contributing|copying)\b", re.IGNORECASE)
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_MARKED = re.compile(r"\s*([#>|*+\-$`:]|\d+[.)、]\s|!\[)")  # Markdown that a line must begin with
_WRAPPED = 0.6  # share of the lines that end only because the next word would not fit
_WIDTHS = (40, 160)  # columns within which people wrap lines
_BLOCK = 50  # lines: blocks that are longer on average are not what blank lines stand for


def read_texts(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Paragraphs of running text.

    chosen: of tables "text" and "group" -> columns. A folder, or several files, none of which is named train,
    valid or test, are one collection.
    The frame has, besides split, file and row (the paragraph's first line): text; label, "".

    Raises:
        DataError: a file cannot be read, or it is not clear which file is which.
    """
    files = [files] if isinstance(files, str | Path) else list(files)
    sources, notes = _sources(files)
    if all(ending(source.path) in _TABLES for source in sources):
        table = read(files, (TEXT, GROUP), chosen)
        return Table(table.frame.assign(label=""), table.columns, table.notes, table.source)
    if chosen:
        raise DataError(
            f"{sources[0].path.name} is running text without columns: --{next(iter(chosen))} has no meaning "
            "there"
        )
    return gather(files, _read, (sources, notes))


def _sources(files: Sequence[str | Path]) -> tuple[list[Source], list[str]]:
    """The files: as `find_sources` says, or all of them where none is named after a split."""
    paths = [Path(path).expanduser() for path in files]
    for path in paths:
        must_exist(path)
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if folder is not None:
        inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        paths = [
            p for p in inside if p.is_file() and ending(p) in _TEXT_ENDINGS and not _PAPERS.match(p.name)
        ]
        named = [path for path in paths if split_named(path.name)]
        paths = named or paths
        if not paths:
            return find_sources(files)
        left = [p.name + "/" * p.is_dir() for p in inside if p not in paths]
        notes = [f"left out of the folder {folder.name}: {', '.join(left)}"] if left else []
    else:
        notes = []
    if len(paths) < 2 or any(split_named(path.name) for path in paths) or any(map(Path.is_dir, paths)):
        sources, told = find_sources(paths)
        return sources, notes + told
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError(f"a file is given twice: {', '.join(map(str, paths))}")
    names = ", ".join(path.name for path in paths[:6]) + (", …" if len(paths) > 6 else "")
    return [Source(path, "") for path in paths], [*notes, f"{len(paths):,} files are one collection: {names}"]


def _read(path: Path, like: Grid | None) -> Part:
    if ending(path) in _TABLES:
        raise DataError(
            f"{path.name} is a table, and the files beside it are running text: give them in one format"
        )
    lines = open_lines(path)
    try:
        items, told = _items(lines, path)
    except UnicodeDecodeError:
        lines = whole_lines(path)
        items, told = _items(lines, path)
    if not items:
        raise DataError(f"{path.name} is empty: it holds no text")
    characters = sum(len(text) for _, text in items)
    note = f"{path.name}: {told}: {len(items):,} paragraphs, {characters:,} characters"
    return Part(
        name=path.name,
        kind="running text",
        cells={"text": [text for _, text in items], "label": [""] * len(items)},
        lines=[number for number, _ in items],
        columns={"text": "paragraphs"},
        notes=(*lines.notes, note),
    )


def _items(lines: Lines, path: Path) -> tuple[list[tuple[int, str]], str]:
    """(number of its first line, text) of each paragraph, and the layout in words."""
    layout = _layout(lines.head, markdown=ending(path) in (".md", ".markdown"))
    found = ((number, strip(text)) for number, text in _paragraphs(lines, layout))
    return [(number, text) for number, text in found if text], layout.told


# Layout -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How a file's lines make paragraphs. width: columns at which its lines are wrapped, 0: they are not.
    blocks: blank lines divide paragraphs. markdown: fenced code keeps its blank lines."""

    width: int
    blocks: bool
    markdown: bool

    @property
    def told(self) -> str:
        """The layout in words."""
        if self.width:
            return f"lines wrapped at {self.width} columns are joined into paragraphs"
        if self.blocks:
            return "blank lines divide the paragraphs, whose lines are kept"
        return "every line is a paragraph"


def _layout(head: Sequence[str], markdown: bool) -> _Layout:
    full = sum(bool(line.strip()) for line in head)
    blank = sum(not line.strip() and bool(after.strip()) for line, after in pairwise(head))
    blocks = markdown or blank * _BLOCK > full
    return _Layout(_wrap(head), blocks, markdown)


def _wrap(head: Sequence[str]) -> int:
    """The width in columns at which the lines are wrapped; 0 where they are not.

    A line of wrapped text ends because the next line's first word would not have fitted.
    """
    widths = sorted(_columns(line) for line in head if line.strip())
    if len(widths) < 20:
        return 0
    width = widths[int(0.98 * (len(widths) - 1))]
    if sum(UNSPACED.search(line) is not None for line in head) > 0.5 * len(head):
        width = Counter(widths).most_common(1)[0][0]  # characters fill a line, and punctuation hangs over
    if not _WIDTHS[0] <= width <= _WIDTHS[1] or sum(w > 1.5 * width for w in widths) > 0.01 * len(widths):
        return 0
    pairs = [(a, b) for a, b in pairwise(head) if a.strip() and b.strip() and not _opens(b)]
    full = sum(_full(a, b, width) for a, b in pairs)
    return width if len(pairs) >= 20 and full >= _WRAPPED * len(pairs) else 0


def _columns(line: str) -> int:
    """Columns a line takes on a screen: characters of scripts without spaces take two."""
    line = line.rstrip()
    if not UNSPACED.search(line):
        return len(line)
    return 2 * len(line) - len(line.encode("ascii", "ignore"))  # there, quotation marks are wide, too


def _opens(line: str) -> bool:
    """Whether a line begins a paragraph by itself: it is indented."""
    return line[:1] in (" ", "\t", "\u3000")


def _full(line: str, after: str, width: int) -> bool:
    """Whether the next line's first word would not have fitted on a line."""
    first = after.split(maxsplit=1)[0]
    if UNSPACED.match(first):
        return _columns(line) + 2 > width - 4  # no line begins with a full stop: up to two characters less
    return _columns(line) + 1 + len(first) > width


# Paragraphs -----------------------------------------------------------------------------------------------


def _paragraphs(lines: Lines, layout: _Layout) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each paragraph."""
    block: list[str] = []
    begin, fenced = 1, False
    for number, line in enumerate(lines, 1):
        if not line.strip() and not fenced:
            if block:
                yield begin, "".join(block)
            block = []
            continue
        joint = "\n" if fenced else _joint(block[-1], line, layout) if block else ""
        fenced ^= layout.markdown and _FENCE.match(line) is not None
        if block and joint is None:
            yield begin, "".join(block)
            block = []
        if block:
            block += [joint or "", line.lstrip() if joint != "\n" else line]
        else:
            begin, block = number, [line]
    rest = "".join(block)
    for part in re.split(r"\n(?=[ \t]*\n)", rest) if fenced else [rest]:  # a fence that nothing closes
        yield begin, part
        begin += part.count("\n") + 1


def _joint(line: str, after: str, layout: _Layout) -> str | None:
    """What stands between two lines; None where a new paragraph begins."""
    apart = "\n" if layout.blocks else None
    if not layout.width:
        return apart
    if layout.markdown and (_MARKED.match(after) or _MARKED.match(line)):
        return "\n"
    if _opens(after):
        return "\n" if layout.blocks and after[0] != "\u3000" else None  # verse in a block, or an indent
    if not _full(line, after, layout.width):
        return apart
    return "" if UNSPACED.match(line.rstrip()[-1]) or UNSPACED.match(after.lstrip()[0]) else " "
