"""Two files whose lines belong together: line n of one is the source, line n of the other the target.

Such files differ in one word of their names (train.java and train.cs, src-train.txt and tgt-train.txt). Which
is the source is told by that word (src, source), or by the names' own order (train.java-cs.txt.java).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunelab.data.decode import container, decode, file_bytes
from tunelab.data.formats import ending
from tunelab.data.grid import strip
from tunelab.data.items import Part, told_of
from tunelab.data.sources import split_named
from tunelab.errors import DataError

__all__ = ["find_sides", "read_parallel"]

_SOURCE = frozenset(("src", "source", "input", "inputs", "original", "orig", "原文", "源"))
_TARGET = frozenset(("tgt", "trg", "target", "output", "outputs", "reference", "ref", "译文", "目标"))
_TABLES = frozenset(
    (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".xlsx", ".xlsm", ".md")
)
Sides = tuple[str, str]


def find_sides(
    files: Sequence[str | Path], chosen: Mapping[str, str]
) -> tuple[list[tuple[Path, Path]], Sides, list[str]] | None:
    """(source file, target file) of every pair, the words that tell them apart, and notes; None where the
    files are not such pairs. files: one folder, or files.

    chosen: "text" and "label" may be those words.

    Raises:
        DataError: the files are pairs, but which is the source is open.
    """
    paths = [Path(path).expanduser() for path in files]
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if folder is not None:
        paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    paths = [path for path in paths if path.is_file() and ending(path) not in _TABLES]
    found = {
        sides: pairs
        for sides, pairs in _pairs(paths).items()
        if _source(sides, pairs[0], chosen) or all(_as_many_lines(*pair) for pair in pairs)
    }
    if not found:
        return None
    sides = _only(found, chosen)
    rest = [path.name for path in paths if all(path not in pair for pair in found[sides])]
    if rest and folder is None:
        return None
    source = _source(sides, found[sides][0], chosen)
    if not source:
        a, b = (path.name for path in found[sides][0])
        raise DataError(
            f"{a} and {b} are parallel files, but it is not clear which is the source: choose with "
            f"--text {sides[0]} or --text {sides[1]}"
        )
    pairs = [pair if source == sides[0] else pair[::-1] for pair in found[sides]]
    notes = [f"left out of the folder {folder.name}: {', '.join(rest)}"] if folder and rest else []
    return pairs, (sides if source == sides[0] else sides[::-1]), notes


def _words(path: Path) -> list[str]:
    return [word for word in re.split(r"[._\-\s]+", path.name.lower().removesuffix(".gz")) if word]


def _pairs(paths: Sequence[Path]) -> dict[Sides, list[tuple[Path, Path]]]:
    """Files whose names differ in one word that is no split's name, by the two words (in order)."""
    found: dict[Sides, list[tuple[Path, Path]]] = {}
    for i, first in enumerate(paths):
        for second in paths[i + 1 :]:
            a, b = _words(first), _words(second)
            differ = [(x, y) for x, y in zip(a, b, strict=False) if x != y]
            if len(a) != len(b) or len(differ) != 1 or any(map(split_named, differ[0])):
                continue
            x, y = differ[0]
            found.setdefault((min(x, y), max(x, y)), []).append((first, second) if x < y else (second, first))
    return found


def _only(found: Mapping[Sides, object], chosen: Mapping[str, str]) -> Sides:
    """The one kind of pairs that there is, or that was chosen."""
    wanted = {_wanted(chosen, role) for role in ("text", "label")} - {""}
    fit = [sides for sides in found if wanted <= set(sides)] or list(found)
    if len(fit) > 1:
        words = ", ".join(dict.fromkeys(word for sides in fit for word in sides))
        raise DataError(
            f"there are parallel files of more than two kinds ({words}): choose two with --text WORD "
            "--label WORD"
        )
    return fit[0]


def _wanted(chosen: Mapping[str, str], role: str) -> str:
    return chosen.get(role, "").strip().lower().lstrip(".")


def _source(sides: Sides, pair: tuple[Path, Path], chosen: Mapping[str, str]) -> str:
    """The word of the sources: as chosen, by its meaning, or by the names' order; "" where that is open."""
    a, b = sides
    text, label = _wanted(chosen, "text"), _wanted(chosen, "label")
    if text in sides or label in sides:
        return text if text in sides else (a if label == b else b)
    forth, back = a in _SOURCE or b in _TARGET, b in _SOURCE or a in _TARGET
    if forth == back:  # train.java-cs.txt.java, news.en2zh.en
        forth, back = (_between(x, y, pair[0].name.lower()) for x, y in ((a, b), (b, a)))
    return "" if forth == back else a if forth else b


def _between(source: str, target: str, name: str) -> bool:
    return bool(re.search(rf"(?<![a-z]){re.escape(source)}(?:-|_|2|to){re.escape(target)}(?![a-z])", name))


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """A file's lines (ended by line feeds only: code and texts hold other separators), and notes."""
    data = file_bytes(path)
    what = container(data)
    if what:
        raise DataError(f"{path.name} is {what}, not lines of text")
    text, notes = decode(data, path.name)
    lines = text.removeprefix("\ufeff").split("\n")
    return (lines if lines[-1].strip() else lines[:-1]), notes


def _as_many_lines(first: Path, second: Path) -> bool:
    try:
        return len(_lines(first)[0]) == len(_lines(second)[0])
    except DataError:  # no lines of text at all: some other file in the folder
        return False


def read_parallel(source: Path, target: Path, sides: Sides) -> Part:
    """The rows of two files.

    Raises:
        DataError: they have different numbers of lines, or no line.
    """
    (texts, notes), (labels, more) = _lines(source), _lines(target)
    if len(texts) != len(labels):
        raise DataError(
            f"{source.name} has {len(texts):,} lines and {target.name} {len(labels):,}: line by line they "
            "cannot belong together; find the lines that are too many, or give one file with two columns"
        )
    rows = [(i, strip(a), strip(b)) for i, (a, b) in enumerate(zip(texts, labels, strict=True), 1)]
    blank = [i for i, a, b in rows if not a and not b]
    kept = [row for row in rows if row[1] or row[2]]
    half = [i for i, a, b in kept if not a or not b]
    return Part(
        name=source.name,
        kind="parallel lines",
        cells={"text": [a for _, a, _ in kept], "label": [b for _, _, b in kept]},
        lines=[i for i, _, _ in kept],
        columns={"text": sides[0], "label": sides[1]},
        notes=(
            *notes,
            *more,
            f"{source.name}: line by line the source of {target.name}, {len(kept):,} pairs",
            *told_of(source.name, blank, "lines that are empty in both files, left out"),
            *told_of(source.name, half, "lines that are empty in one of the two files"),
        ),
    )
