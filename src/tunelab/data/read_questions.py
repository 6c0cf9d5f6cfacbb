"""Questions with the text that answers them: SQuAD's nested JSON, or one question a row.

    {"data": [{"paragraphs": [{"context": …, "qas": [{"question": …, "answers":
        [{"text": …, "answer_start": 7}]}]}]}]}
    {"context": …, "question": …, "answers": {"text": ["Rome"], "answer_start": [7]}}
    context,question,answer,answer_start

An answer is a place in its context. One that is not where it is said to be is looked for in the context, and
the nearest place is taken; one that is nowhere stays, with start -1. Both are counted and told.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tunelab.data.columns import find_columns
from tunelab.data.decode import decode, file_bytes
from tunelab.data.grid import Grid, cell_text, shorten, strip
from tunelab.data.items import (
    Part,
    as_json,
    check_roles,
    each,
    filled,
    gather,
    load_nested,
    nearest,
    opened,
    pick,
    split_cells,
    told_of,
    values,
)
from tunelab.data.table import Column, Table
from tunelab.errors import DataError

__all__ = ["CONTEXT", "QUESTION", "read_questions"]

QUESTION = Column("text", ("question", "questions", "query", "query_text", "问题", "提问"))
CONTEXT = Column(
    "text_pair",
    (
        *("context", "passage", "paragraph", "context_text", "document", "article", "story", "text"),
        *("上下文", "段落", "文章", "原文", "材料", "正文"),
    ),
)
_ANSWER = Column("label", ("answers", "answer", "answer_text", "label", "target", "答案", "回答", "参考答案"))
_START = ("answer_start", "start", "start_position", "answer_offset", "答案位置", "起始位置")
_KEY = re.compile(r'"(?:question|query_text|query)"\s*:')
_KNOWN = (
    'Known layouts: SQuAD ({"data": [{"paragraphs": [{"context", "qas": [{"question", "answers": [{"text", '
    '"answer_start"}]}]}]}]}), or rows with context, question, answer and perhaps answer_start'
)
_MEND = "Mend these rows, or remove them"


def read_questions(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Questions, their contexts and the answers' places.

    chosen: "text" (the question), "text_pair" (the context), "label" (the answer) and "group" -> columns.
    The frame has, besides split, file and row: text, the question; text_pair, the context exactly as it is;
    label, JSON `[{"text": …, "start": 7}, ...]`, offsets in characters, empty where there is no answer.

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    check_roles(chosen, ("text", "text_pair", "label", "group"))
    return gather(files, partial(_read, chosen))


@dataclass(frozen=True)
class _Question:
    """One question as the file gives it. answers: (text, start), None where no start is given."""

    question: str
    context: str
    answers: list[tuple[str, int | None]]


@dataclass
class _Told:
    """Rows of answers that something had to be said about."""

    moved: list[int] = field(default_factory=list)
    nowhere: list[int] = field(default_factory=list)
    several: list[int] = field(default_factory=list)
    no_answer: list[int] = field(default_factory=list)


def _read(chosen: Mapping[str, str], path: Path, like: Grid | None) -> Part:
    known = [name for column in (QUESTION, CONTEXT, _ANSWER) for name in column.names]
    grid = load_nested(path, known, like)
    paragraphs = _paragraphs(grid)
    if paragraphs is not None:
        lines, questions, more, notes = _nested(grid, paragraphs, path)
        columns = {"text": "question", "text_pair": "context", "label": "answers"}
        splits: list[str] = []
    else:
        lines, questions, more, columns, notes = _flat(grid, chosen)
        splits = split_cells(grid)
    labels, told = _labels(lines, questions)
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={
            "text": [q.question for q in questions],
            "text_pair": [q.context for q in questions],
            "label": labels,
            **more,
        },
        lines=lines,
        columns=columns,
        notes=(*grid.notes, *notes, *_notes(grid.name, told, questions)),
        splits=splits,
        grid=grid,
    )


def _labels(lines: Sequence[int], questions: Sequence[_Question]) -> tuple[list[str], _Told]:
    told = _Told()
    labels = []
    for line, question in zip(lines, questions, strict=True):
        found = [_placed(text, start, question.context, line, told) for text, start in question.answers]
        told.no_answer += [] if found else [line]
        labels.append(as_json(found))
    return labels, told


def _placed(text: str, start: int | None, context: str, line: int, told: _Told) -> dict[str, Any]:
    """The answer at its place: the one given, else the nearest, else -1."""
    if start is not None and start >= 0 and context.startswith(text, start):
        return {"text": text, "start": start}
    part = text if text in context else strip(text)
    place = nearest(context, part, start or 0) if part else -1
    if place < 0:
        told.nowhere.append(line)
        return {"text": text, "start": -1}
    if start is None:
        told.several += [line] if context.count(part) > 1 else []
    else:
        told.moved.append(line)
    return {"text": part, "start": place}


def _notes(name: str, told: _Told, questions: Sequence[_Question]) -> list[str]:
    answers = sum(len(question.answers) for question in questions)
    return [
        f"{name}: questions: {len(questions):,}, answers: {answers:,}",
        *told_of(
            name,
            told.moved,
            "answers that were not at their offset, moved to the nearest place with their text",
        ),
        *told_of(name, told.nowhere, "answers that are nowhere in their context, kept with start -1"),
        *told_of(
            name, told.several, "answers that stand several times in their context, the first place is taken"
        ),
        *told_of(name, told.no_answer, "questions without an answer, they count as unanswerable"),
    ]


# Nested ---------------------------------------------------------------------------------------------------


def _paragraphs(grid: Grid) -> list[tuple[int, Any]] | None:
    """(line of its item, paragraph) of all paragraphs; None where the file is not nested."""
    names = grid.header or ()
    if "paragraphs" in names:
        cells = values(grid, names.index("paragraphs"))
        made = each(grid.name, grid.lines, cells, _list_of_objects, _KNOWN)
        return [(line, p) for line, own in zip(grid.lines, made, strict=True) for p in own]
    if "qas" in names:
        rows = zip(*grid.columns, strict=True)
        return [(line, dict(zip(names, r, strict=True))) for line, r in zip(grid.lines, rows, strict=True)]
    return None


def _list_of_objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise DataError(f"expected a list of objects, got {shorten(repr(value))}")
    return value


def _nested(
    grid: Grid, paragraphs: Sequence[tuple[int, Any]], path: Path
) -> tuple[list[int], list[_Question], dict[str, list[str]], list[str]]:
    lines = [line for line, _ in paragraphs]
    made = each(grid.name, lines, [p for _, p in paragraphs], _of_paragraph, _KNOWN)
    questions = [question for own in made for question in own]
    if not questions:
        raise DataError(f"{grid.name} is empty: it holds no questions. {_KNOWN}")
    found = _question_lines(path, len(questions))
    notes = [] if found else [f"{grid.name}: rows are counted by question, from 1"]
    return found or list(range(1, len(questions) + 1)), questions, {}, notes


def _of_paragraph(paragraph: Mapping[str, Any]) -> list[_Question]:
    context = _first(paragraph, ("context", "context_text"))
    if not isinstance(context, str):
        raise DataError(f"a paragraph's context is {shorten(repr(context))}, not a text")
    return [_of_question(item, context) for item in _list_of_objects(paragraph.get("qas"))]


def _of_question(item: Mapping[str, Any], context: str) -> _Question:
    question = _first(item, ("question", "query_text", "query"))
    if not isinstance(question, str):
        raise DataError(f"a question is {shorten(repr(question))}, not a text")
    if item.get("is_impossible") is True:  # SQuAD 2: what it gives then is plausible, not right
        return _Question(strip(question), context, [])
    if "answers" not in item and "answer" not in item:
        raise DataError(f"the question {shorten(question)!r} has no 'answers'")
    return _Question(strip(question), context, list(_answers(_first(item, ("answers", "answer")), None)))


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if name in item), None)


def _question_lines(path: Path, count: int) -> list[int]:
    """The line of each question; nothing where several share one.

    A key stands in a JSON text as itself: inside a text its quotes would be escaped.
    """
    text, _ = decode(file_bytes(path), path.name)
    lines: list[int] = []
    line, last = 1, 0
    for match in _KEY.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        lines.append(line)
    return lines if len(lines) == count == len(set(lines)) else []


# One question a row ---------------------------------------------------------------------------------------


def _flat(
    grid: Grid, chosen: Mapping[str, str]
) -> tuple[list[int], list[_Question], dict[str, list[str]], dict[str, str], list[str]]:
    columns = [QUESTION, CONTEXT, _ANSWER, Column("group", (), required=False)]
    try:
        places, notes = find_columns(grid, columns, chosen)
    except DataError as error:
        raise DataError(f"{error}. {_KNOWN}") from None
    starts = values(grid, pick(grid, "start", _START, {}))
    cells = [values(grid, places[role]) for role in ("text", "text_pair", "label")]
    impossible = values(grid, pick(grid, "impossible", ("is_impossible",), {}))
    rows = zip(*cells, starts, impossible, strict=True)
    questions = each(grid.name, grid.lines, rows, _of_row, _MEND)
    if all(start is None for start in starts) and not isinstance(filled(map(opened, cells[2])), list | dict):
        notes = [*notes, f"{grid.name}: no answer_start is given: answers are looked for in their context"]
    more = {"group": [cell_text(v) for v in values(grid, places["group"])]} if "group" in places else {}
    names = {role: grid.names[place] for role, place in places.items()}
    return list(grid.lines), questions, more, names, notes


def _of_row(row: tuple[Any, Any, Any, Any, Any]) -> _Question:
    question, context, answer, start, impossible = row
    for what, value in (("question", question), ("context", context)):
        if value is None or isinstance(value, list | dict):
            raise DataError(f"the {what} is {shorten(repr(value))}, not a text")
    context = context if isinstance(context, str) else cell_text(context)
    if impossible is True or (isinstance(impossible, str) and impossible.casefold() == "true"):
        return _Question(cell_text(question), context, [])
    value = opened(answer)
    if isinstance(value, list) and not all(isinstance(item, dict | str) for item in value):
        value = answer  # "[3]" is a text
    value = _written(value)
    return _Question(cell_text(question), context, list(_answers(value, _offset(start))))


def _written(value: Any) -> Any:
    """What a table shows of an object when Python wrote it: {'text': ['Rome'], 'answer_start': [7]}."""
    if isinstance(value, str) and value.startswith("{'text'"):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise DataError(f"the answer {shorten(value)!r} is an object in no readable form") from None
    return value


def _answers(value: Any, start: int | None) -> Iterator[tuple[str, int | None]]:
    """(text, start) of each answer in any of the layouts; an empty text is no answer."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        texts = value["text"]
        starts = _first(value, ("answer_start", "start")) or [None] * len(texts)
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise DataError(f"an answer has {len(texts)} texts and the starts {shorten(repr(starts))}")
        pairs = list(zip(texts, starts, strict=True))
    elif isinstance(value, dict):
        if "text" not in value:
            raise DataError(f"an answer has no 'text' (its keys: {', '.join(map(str, value)) or 'none'})")
        pairs = [(value["text"], _first(value, ("answer_start", "start")))]
    elif isinstance(value, list):
        for item in value:
            yield from _answers(item, start if len(value) == 1 else None)
        return
    else:
        pairs = [(value, start)]
    for text, place in pairs:
        if isinstance(text, list | dict):
            raise DataError(f"an answer's text is {shorten(repr(text))}, not a text")
        answer = text if isinstance(text, str) else cell_text(text)
        if strip(answer):
            yield answer, _offset(place)


def _offset(value: Any) -> int | None:
    """A start as a number; None where there is none.

    Raises:
        DataError: it is neither empty nor a whole number.
    """
    text = cell_text(value) if not isinstance(value, list) else shorten(repr(value))
    if not text:
        return None
    if not re.fullmatch(r"-?\d+", text):
        raise DataError(f"an answer's start is {text!r}, not a whole number")
    return int(text)
