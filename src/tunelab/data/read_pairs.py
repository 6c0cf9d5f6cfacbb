"""Sources and targets for rewriting (translation, summaries, titles): two columns, or two files line by line.

A target may be given several times (summary1, summary2, summary3, or a list): the first is learnt, all count
as references when a model is judged.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tunelab.data.columns import cells, find_columns
from tunelab.data.grid import MISSING, Grid, cell_text, norm, shorten
from tunelab.data.items import (
    Part,
    as_json,
    check_roles,
    each,
    gather,
    load_nested,
    opened,
    split_cells,
    told_of,
)
from tunelab.data.parallel import Sides, find_sides, read_parallel
from tunelab.data.sources import find_sources
from tunelab.data.table import Column, Table
from tunelab.errors import DataError

__all__ = ["read_rewrites"]

_SOURCE = Column(
    "text",
    (
        *("source", "src", "source_text", "input", "input_text", "text", "document", "article", "dialogue"),
        *(
            "dialog",
            "original",
            "original_text",
            "sentence",
            "content",
            "body",
            "abstract",
            "complex",
            "noisy",
        ),
        *("原文", "源", "源文本", "源语言", "输入", "正文", "文章", "对话", "内容", "文本", "原句"),
    ),
)
_TARGET = Column(
    "label",
    (
        *("target", "tgt", "target_text", "output", "output_text", "summary", "summaries", "highlights"),
        *(
            "translation",
            "title",
            "headline",
            "reference",
            "references",
            "rewrite",
            "rewritten",
            "paraphrase",
        ),
        *("simple", "simplified", "correction", "corrected", "label"),
        *("译文", "目标", "目标文本", "目标语言", "输出", "摘要", "标题", "改写", "参考", "改写后", "修改后"),
    ),
)
_GROUP = Column("group", (), required=False)


def read_rewrites(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Sources and targets.

    chosen: "text" (the source), "label" (the target) and "group" -> columns; of parallel files, the word
    that tells the sources' or the targets' names ("java", "cs").
    The frame has, besides split, file and row: text; label, the first target; references, JSON list of all
    targets of a row, where some row has several ("" where one has one).

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    check_roles(chosen, ("text", "label", "group"))
    files = [files] if isinstance(files, str | Path) else list(files)
    sides = find_sides(files, chosen) if files else None
    if sides is not None:
        return _parallel(*sides)
    sources, notes = find_sources(files)
    return gather(files, partial(_read, chosen), (sources, notes))


def _parallel(pairs: Sequence[tuple[Path, Path]], sides: Sides, told: Sequence[str]) -> Table:
    targets = dict(pairs)
    sources, notes = find_sources(list(targets))
    return gather(
        list(targets),
        lambda path, like: read_parallel(path, targets[path], sides),
        (sources, [*told, *notes]),
    )


def _read(chosen: Mapping[str, str], path: Path, like: Grid | None) -> Part:
    known = (*_SOURCE.names, *_TARGET.names, *(f"{name}1" for name in _TARGET.names))
    grid, told = _several_as_one(load_nested(path, known, like), chosen)
    places, notes = _places(grid, chosen)
    labels = grid.columns[places["label"]]
    references = each(grid.name, grid.lines, labels, _references, "Mend these rows, or remove them")
    texts = cells(grid, "text", places["text"])
    group = {"group": cells(grid, "group", places["group"])} if "group" in places else {}
    several = [line for line, own in zip(grid.lines, references, strict=True) if len(own) > 1]
    if several:
        group["references"] = [as_json(own) if len(own) > 1 else "" for own in references]
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={"text": texts, "label": [own[0] if own else "" for own in references], **group},
        lines=list(grid.lines),
        columns={role: grid.names[place] for role, place in places.items()},
        notes=(
            *grid.notes,
            *told,
            *notes,
            *told_of(grid.name, several, "rows with several targets, the first is learnt"),
        ),
        splits=split_cells(grid),
        grid=grid,
    )


def _references(cell: Any) -> list[str]:
    """All targets of a row; empty ones are none."""
    if cell is MISSING:
        raise DataError("it has no target")
    cell = opened(cell) if isinstance(cell, str) and cell.startswith('["') else cell
    items = cell if isinstance(cell, list) else [cell]
    if any(isinstance(item, list | dict) for item in items):
        raise DataError(f"its target is {shorten(repr(cell))}, not a text or a list of texts")
    return [text for text in map(cell_text, items) if text]


def _several_as_one(grid: Grid, chosen: Mapping[str, str]) -> tuple[Grid, list[str]]:
    """summary1, summary2, … as one column "summary" of lists, unless one of them is chosen."""
    header = grid.header or ()
    if not header:
        return grid, []
    taken = {norm(name) for name in chosen.values()}
    targets = {norm(name) for name in _TARGET.names} | taken
    stems: dict[str, list[int]] = {}
    for i, name in enumerate(header):
        match = re.fullmatch(r"(.*?\D)_?(\d+)", norm(name))
        if match and match[1].rstrip("_") in targets and norm(name) not in taken:
            stems.setdefault(match[1].rstrip("_"), []).append(i)
    stems = {s: own for s, own in stems.items() if len(own) > 1 and s not in map(norm, header)}
    if not stems:
        return grid, []
    merged = {i for own in stems.values() for i in own}
    kept = [i for i in range(len(header)) if i not in merged]
    names = tuple(header[i] for i in kept) + tuple(stems)
    lists = [_lists([grid.columns[i] for i in own]) for own in stems.values()]
    notes = [
        f"{grid.name}: {', '.join(header[i] for i in own)} are taken as several targets of a row"
        for own in stems.values()
    ]
    return Grid(
        grid.name, grid.kind, names, [grid.columns[i] for i in kept] + lists, grid.lines, grid.notes
    ), notes


def _lists(columns: Sequence[Sequence[Any]]) -> list[Any]:
    return [[cell for cell in row if cell is not MISSING] for row in zip(*columns, strict=True)]


def _places(grid: Grid, chosen: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """The columns of source and target, by choice or name; without a header by their order.

    Raises:
        DataError: an unknown column, or a doubt.
    """
    if grid.header is None and not {"text", "label"} & set(chosen):
        varied = [i for i, column in enumerate(grid.columns) if not _idle(column)]
        if len(varied) == 2:
            text, label = varied
            places, notes = find_columns(grid, (_GROUP,), {r: n for r, n in chosen.items() if r == "group"})
            note = (
                f"{grid.name}: by their order, column {text + 1} is taken as the source and {label + 1} as "
                f"the target; if it is the other way round: --text {label + 1} --label {text + 1}"
            )
            return {"text": text, "label": label, **places}, [*notes, note]
    return find_columns(grid, (_SOURCE, _TARGET, _GROUP), chosen)


def _idle(column: Sequence[Any]) -> bool:
    """Whether a column can be neither source nor target: it is the same throughout, or counts the rows."""
    texts = [cell if isinstance(cell, list) else cell_text(cell) for cell in column]
    if len(texts) > 1 and all(text == texts[0] for text in texts):
        return True
    first = texts[0]
    if not isinstance(first, str) or not first.isdecimal() or len(texts) < 3:
        return False
    return all(text == str(int(first) + i) for i, text in enumerate(texts))
