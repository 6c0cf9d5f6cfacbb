"""From files to the table: `read` is the one door through which data come in.

It finds out what a user would otherwise have to say (format, encoding, separator, header, columns,
which file is the test) and tells all of it in the table's notes. What it cannot find out for certain
it asks for, in one message; it never changes a cell beyond the space around it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tunelab.data.columns import cells, find_columns, known_names, same_columns
from tunelab.data.formats import load_grid
from tunelab.data.grid import Grid, norm
from tunelab.data.items import check_roles
from tunelab.data.sources import Source, find_sources, names_beside, split_column
from tunelab.data.table import Column, Table
from tunelab.errors import DataError

__all__ = ["FIRST", "GROUP", "LABEL", "SCORE", "SECOND", "TEXT", "read"]

TEXT = Column(
    "text",
    (
        *("text", "texts", "sentence", "review", "reviews", "review_text", "content", "comment", "comments"),
        *("comment_text", "tweet", "post", "message", "question", "query", "utterance", "title", "headline"),
        *("body", "description", "document", "input", "feedback"),
        *("文本", "评论", "内容", "句子", "正文", "标题", "评价", "问题", "评论内容", "文本内容", "评价内容"),
        *("微博正文", "留言", "描述", "原文", "语句", "话语", "问句"),
    ),
)
LABEL = Column(
    "label",
    (
        *(
            "label",
            "labels",
            "category",
            "class",
            "sentiment",
            "intent",
            "target",
            "tag",
            "topic",
            "polarity",
        ),
        *("cat", "emotion", "rating", "stars", "label_name", "category_name", "class_name", "y"),
        *(
            "标签",
            "类别",
            "分类",
            "情感",
            "意图",
            "类型",
            "情感倾向",
            "情感标签",
            "情感极性",
            "主题",
            "标注",
            "星级",
        ),
    ),
)
#: The two texts of a pair.
FIRST = Column(
    "text",
    (
        *("text1", "text_1", "sentence1", "sentence_1", "sent1", "s1", "question1", "query1", "premise"),
        *(
            "text_a",
            "sentence_a",
            "first",
            "query",
            "question",
            "source",
            "文本1",
            "句子1",
            "问题1",
            "文本一",
        ),
        *("句子一", "问题一", "前提"),
    ),
)
SECOND = Column(
    "text_pair",
    (
        *("text_pair", "text2", "text_2", "sentence2", "sentence_2", "sent2", "s2", "question2", "query2"),
        *("hypothesis", "text_b", "sentence_b", "second", "candidate", "answer", "passage", "文本2", "句子2"),
        *("问题2", "文本二", "句子二", "问题二", "假设"),
    ),
)
SCORE = Column("label", ("score", "similarity", "value", "分数", "得分", "评分", "相似度", *LABEL.names))
GROUP = Column("group", ("group", "group_id", "分组", "组别"), required=False)


def read(
    paths: Sequence[str | Path], columns: Sequence[Column], chosen: Mapping[str, str] | None = None
) -> Table:
    """The rows of a file, of a folder, or of files that are already split.

    columns: what the task needs; a column that is not required is used only if it is chosen.
    chosen: role -> the column's name in the file, or its number from 1 (`--text`, `--label`, `--group`, ...).

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    chosen = dict(chosen or {})
    check_roles(chosen, (column.role for column in columns))
    known = known_names(columns, chosen)
    sources, notes = find_sources(paths)
    first = load_grid(sources[0].path, known)
    places, found = find_columns(first, columns, chosen)
    notes += [*first.notes, *found]
    frames = [_frame(first, places, sources[0].split)]
    read_from = [sources[0]]
    for source in sources[1:]:
        frame, told = _another(source, first, places, known)
        notes += told
        if frame is not None:
            frames.append(frame)
            read_from.append(source)
    frame, told = _split_column(first, frames, read_from)
    if "label" in frame:
        told = [*told, *names_beside([source.path for source in read_from], frame["label"].unique())]
    return Table(
        frame=frame,
        columns={role: first.names[place] for role, place in places.items()},
        notes=tuple(dict.fromkeys([*notes, *told])),
        source=tuple(str(source.path) for source in read_from),
    )


def _frame(grid: Grid, places: Mapping[str, int], split: str) -> pd.DataFrame:
    values: dict[str, object] = {role: cells(grid, role, place) for role, place in places.items()}
    frame = pd.DataFrame(values | {"split": [split] * len(grid), "file": [grid.name] * len(grid)})
    frame["row"] = grid.lines
    return frame


def _another(
    source: Source, first: Grid, places: Mapping[str, int], known: frozenset[str]
) -> tuple[pd.DataFrame | None, list[str]]:
    """The rows of a further file; None where it was only a candidate and does not fit."""
    name = source.path.name
    try:
        grid = load_grid(source.path, known, like=first)
        if not source.sure and grid.kind != first.kind:
            raise DataError(f"it holds {grid.kind}, and {first.name} {first.kind}")
        there = same_columns(grid, first, places)
        frame = _frame(grid, there, source.split)
    except DataError as error:
        if source.sure:
            raise
        return None, [f"{name} is left out: it does not fit {first.name} ({error})"]
    notes = list(grid.notes)
    if not source.sure:
        notes.append(f"{name} is taken as the test file: it is the only one of its kind beside {first.name}")
    return frame, notes


def _split_column(
    first: Grid, frames: list[pd.DataFrame], sources: list[Source]
) -> tuple[pd.DataFrame, list[str]]:
    """All rows in one frame; a single file's column "split" decides, where it holds splits."""
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    place = next((i for i, name in enumerate(first.header or ()) if norm(name) == "split"), None)
    if place is None:
        return frame, []
    values = cells(first, "split", place) if len(sources) == 1 else []
    splits, notes = split_column(first.name, first.lines, values, len(sources))
    return frame if splits is None else frame.assign(split=splits), notes
