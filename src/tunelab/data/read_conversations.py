"""Conversations to learn from: instructions with answers, chats, and pairs of a better and a worse answer.

Told by the names and by what the cells hold:
    instruction, input, output[, history, system]     Alpaca
    prompt, completion                                also question and answer, 指令 and 输出
    messages: [{"role": "user", "content": …}, …]     OpenAI; ShareGPT: conversations with from and value
    instruction, instances: [{"input", "output"}]     Alpaca's seed tasks: one row an instance
    any of these as the prompt, with chosen and rejected beside it, or whole conversations as both
All become lists of messages with the roles system, user and assistant.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tunelab.data.columns import option
from tunelab.data.grid import Grid, norm, shorten
from tunelab.data.items import (
    Part,
    as_json,
    check_roles,
    each,
    filled,
    gather,
    load_nested,
    opened,
    pick,
    split_cells,
    told_of,
    values,
)
from tunelab.data.messages import (
    Message,
    alternates,
    ends_with_answer,
    instruct,
    said,
    text_of,
    turns,
)
from tunelab.data.table import Table
from tunelab.data.votes import pair_labels
from tunelab.errors import DataError

__all__ = ["CHATS", "PROMPTS", "lost", "prompts_in", "read_conversations", "read_preferences"]

CHATS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "对话", "会话")
PROMPTS = ("instruction", "prompt", "question", "query", "指令", "提示", "问题", "input", "输入")
_INPUTS = ("input", "inputs", "context", "输入")
_ANSWERS = (
    *("output", "response", "completion", "answer", "reply", "target", "label"),
    *("输出", "回答", "回复", "答案"),
)
_CHOSEN = ("chosen", "preferred", "accepted", "win", "better")
_REJECTED = ("rejected", "dispreferred", "lose", "worse")
_SYSTEM = ("system", "system_prompt", "系统")
_KNOWN = (
    'Known layouts: instruction, input, output; prompt, completion; messages with "role" and "content"; '
    'conversations with "from" and "value"'
)
_MEND = "Mend these rows, or remove them"


def read_conversations(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Conversations that end with an answer.

    chosen: "text" (the messages, or the instruction), "input", "label" (the answer), "system", "history" and
    "group" -> columns.
    The frame has, besides split, file and row: text, JSON `[{"role": …, "content": …}, …]`; label, "".

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    check_roles(chosen, ("text", "input", "label", "system", "history", "group"))
    return gather(files, partial(_read, chosen))


def read_preferences(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Prompts, each with a better and a worse answer.

    chosen: "text" (the prompt), "input", "chosen", "rejected", "system", "history", "group", "margin" and
    "votes" (one or several, with commas) -> columns.
    The frame has, besides split, file and row: text, JSON list of messages (the prompt); chosen and rejected,
    the two answers; label, what annotators said of them (see votes.py), "" where that is nothing.

    Raises:
        DataError: a file cannot be read, or it is not clear what is meant; nothing is guessed.
    """
    own = ("chosen", "rejected", "votes", "margin")
    check_roles(chosen, ("text", "input", "system", "history", "group", *own))
    return gather(files, partial(_read_pairs, chosen))


# Conversations --------------------------------------------------------------------------------------------


def _read(chosen: Mapping[str, str], path: Path, like: Grid | None) -> Part:
    grid = load_nested(path, (*CHATS, *PROMPTS, *_INPUTS, *_ANSWERS, *_SYSTEM), like)
    at = pick(grid, "text", (*CHATS, *PROMPTS), chosen)
    if at is None:
        raise DataError(lost(grid, "the conversations or instructions", "text"))
    prompts = prompts_in(grid, at, chosen)
    columns = {"text": grid.names[at]}
    places = list(range(len(grid)))
    notes: list[str] = []
    if "instances" in (grid.header or ()) and "label" not in chosen:
        tasks = each(grid.name, grid.lines, values(grid, grid.names.index("instances")), _instances, _KNOWN)
        places = [i for i, own in enumerate(tasks) for _ in own]
        lines = [grid.lines[i] for i in places]
        pairs = [(prompts[i], item) for i, own in zip(range(len(tasks)), tasks, strict=True) for item in own]
        made = each(grid.name, lines, pairs, _of_instance, _MEND)
        columns["label"] = "instances"
        notes.append(f"{grid.name}: {len(tasks):,} tasks with {len(lines):,} instances: one row an instance")
    elif _holds_turns(grid, at) and not _answers_apart(grid, at, chosen):
        made = prompts
        lines = list(grid.lines)
    else:
        made, answer = _with_answers(grid, prompts, chosen)
        lines = list(grid.lines)
        columns["label"] = grid.names[answer]
        notes.append(f"{grid.name}: the answers are taken from column {grid.names[answer]!r}")
    texts, told = _finish(grid.name, lines, made)
    group, splits = _group(grid, chosen), split_cells(grid)
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={
            "text": texts,
            "label": [""] * len(texts),
            **{role: [cells[i] for i in places] for role, cells in group.items()},
        },
        lines=lines,
        columns=columns,
        notes=(*grid.notes, *_input_note(grid, at, chosen), *notes, *told),
        splits=[splits[i] for i in places] if splits else (),
        grid=grid,
    )


def prompts_in(grid: Grid, at: int, chosen: Mapping[str, str]) -> list[list[Message]]:
    """The messages of every row: the turns it has, or its instruction with what goes with it."""
    heads = _opened_turns(grid, at)
    system = values(grid, pick(grid, "system", _SYSTEM, chosen))
    history = values(grid, pick(grid, "history", ("history", "历史"), chosen))
    inputs = _input_column(grid, at, chosen)
    rows = zip(heads, values(grid, inputs), system, map(opened, history), strict=True)
    return each(grid.name, grid.lines, rows, lambda row: instruct(*row), _KNOWN)


def _holds_turns(grid: Grid, at: int) -> bool:
    cell = opened(filled(values(grid, at)))
    items = cell if isinstance(cell, list) else [cell]
    return all(isinstance(item, dict) and ("role" in item or "from" in item) for item in items)


def _opened_turns(grid: Grid, at: int) -> list[Any]:
    """A column's cells; those that hold turns as JSON in a text as lists. A text may well begin with "["."""
    cells = values(grid, at)
    return list(map(opened, cells)) if _holds_turns(grid, at) else cells


def _answers_apart(grid: Grid, at: int, chosen: Mapping[str, str]) -> bool:
    """Whether a column of turns is only the prompt of an answer in another column (prompt, completion)."""
    if "label" in chosen:
        return True
    return norm(grid.names[at]) in PROMPTS and pick(grid, "label", _ANSWERS, {}) is not None


def _input_column(grid: Grid, at: int, chosen: Mapping[str, str]) -> int | None:
    found = pick(grid, "input", _INPUTS, chosen)
    return None if found == at or _holds_turns(grid, at) else found


def _input_note(grid: Grid, at: int, chosen: Mapping[str, str]) -> list[str]:
    place = _input_column(grid, at, chosen)
    used = 0 if place is None else sum(cell not in (None, "") for cell in values(grid, place))
    if place is None or not used:
        return []
    name = grid.names[place]
    return [f"{grid.name}: {used:,} instructions have an input (column {name!r}): it is put on the next line"]


def _instances(cell: Any) -> list[dict[str, Any]]:
    if not isinstance(cell, list) or not cell or not all(isinstance(item, dict) for item in cell):
        raise DataError(
            f"its instances are {shorten(repr(cell))}, not a list of objects with input and output"
        )
    return cell


def _of_instance(pair: tuple[list[Message], dict[str, Any]]) -> list[Message]:
    prompt, instance = pair
    if "output" not in instance:
        raise DataError(f"an instance has no 'output' (its keys: {', '.join(instance) or 'none'})")
    whole = "\n".join(filter(None, [prompt[-1]["content"], text_of(instance.get("input"))]))
    return [*prompt[:-1], said("user", whole), said("assistant", text_of(instance["output"]))]


def _with_answers(
    grid: Grid, prompts: Sequence[list[Message]], chosen: Mapping[str, str]
) -> tuple[list[list[Message]], int]:
    place = pick(grid, "label", _ANSWERS, chosen)
    if place is None:
        raise DataError(lost(grid, "the answers", "label"))
    cells = _opened_turns(grid, place)

    def joined(row: tuple[list[Message], Any]) -> list[Message]:
        prompt, cell = row
        return [*prompt, *_answer(cell, grid.names[place])]

    return each(grid.name, grid.lines, zip(prompts, cells, strict=True), joined, _MEND), place


def _answer(cell: Any, name: str) -> list[Message]:
    """The messages of an answer: a text, one turn, or a list of turns."""
    if cell is None:
        raise DataError(f"it has no {name!r}")
    if isinstance(cell, dict):
        return turns([cell])
    return turns(cell) if isinstance(cell, list) else [said("assistant", text_of(cell))]


def _finish(name: str, lines: Sequence[int], made: Sequence[list[Message]]) -> tuple[list[str], list[str]]:
    """The cells: conversations that end with an answer, and what is unusual in them."""
    whole = each(name, lines, made, ends_with_answer, _MEND)
    cut = [line for line, a, b in zip(lines, made, whole, strict=True) if len(a) > len(b)]
    odd = [line for line, messages in zip(lines, whole, strict=True) if not alternates(messages)]
    empty = [
        line for line, own in zip(lines, whole, strict=True) if any(not message["content"] for message in own)
    ]
    turns_each = Counter(sum(message["role"] == "assistant" for message in own) for own in whole)
    several = sum(n for count, n in turns_each.items() if count > 1)
    return [as_json(messages) for messages in whole], [
        *([f"{name}: {several:,} of {len(whole):,} conversations have several answers"] if several else []),
        *told_of(name, cut, "conversations that go on after their last answer, the rest is left out"),
        *told_of(
            name, odd, "conversations that do not alternate between user and assistant, kept as they are"
        ),
        *told_of(name, empty, "conversations with an empty message"),
    ]


def _group(grid: Grid, chosen: Mapping[str, str]) -> dict[str, list[str]]:
    if "group" not in chosen:
        return {}
    return {"group": [text_of(cell) for cell in values(grid, pick(grid, "group", (), chosen))]}


def lost(grid: Grid, what: str, role: str) -> str:
    """What is said where a column is not found."""
    listing = ", ".join(repr(name) for name in grid.names)
    return (
        f"{grid.name}: no column is recognised as {what}; the columns are {listing}. {_KNOWN}. "
        f"Choose with {option(role, 'NAME' if grid.header else 'NUMBER')}"
    )


# Preferences ----------------------------------------------------------------------------------------------


def _read_pairs(chosen: Mapping[str, str], path: Path, like: Grid | None) -> Part:
    known = (*CHATS, *PROMPTS, *_INPUTS, *_SYSTEM, *_CHOSEN, *_REJECTED)
    grid = load_nested(path, known, like)
    better, worse = pick(grid, "chosen", _CHOSEN, chosen), pick(grid, "rejected", _REJECTED, chosen)
    if better is None or worse is None:
        what, role = ("the better", "chosen") if better is None else ("the worse", "rejected")
        raise DataError(lost(grid, f"{what} answers", role))
    at = pick(grid, "text", (*CHATS, *PROMPTS), chosen)
    prompts = [[] for _ in grid.lines] if at is None else prompts_in(grid, at, chosen)
    columns = [_opened_turns(grid, place) for place in (better, worse)]
    rows = each(grid.name, grid.lines, zip(prompts, *columns, strict=True), _pair, _MEND)
    same = [line for line, row in zip(grid.lines, rows, strict=True) if row[1] == row[2]]
    odd = [line for line, row in zip(grid.lines, rows, strict=True) if row[0][-1]["role"] != "user"]
    names = {"chosen": grid.names[better], "rejected": grid.names[worse]}
    labels, told = pair_labels(grid, chosen)
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={
            "text": [as_json(prompt) for prompt, _, _ in rows],
            "label": labels,
            "chosen": [answer for _, answer, _ in rows],
            "rejected": [answer for _, _, answer in rows],
            **_group(grid, chosen),
        },
        lines=list(grid.lines),
        columns={"text": grid.names[better if at is None else at], **names},
        notes=(
            *grid.notes,
            *([] if at is None else _input_note(grid, at, chosen)),
            *told,
            *told_of(grid.name, same, "rows with the same answer as chosen and as rejected"),
            *told_of(grid.name, odd, "prompts that do not end with the user's message, kept as they are"),
        ),
        splits=split_cells(grid),
        grid=grid,
    )


def _pair(row: tuple[list[Message], Any, Any]) -> tuple[list[Message], str, str]:
    """(prompt, better answer, worse answer), where whole conversations may stand for the answers."""
    prompt, *cells = row
    better, worse = _answer(cells[0], "chosen"), _answer(cells[1], "rejected")
    for own in (better, worse):
        if own[-1]["role"] != "assistant":
            raise DataError(f"an answer ends with a message of the {own[-1]['role']}, not of the assistant")
    if len(better) > 1 or len(worse) > 1:
        start = better[:-1]
        if start != worse[:-1]:
            raise DataError("chosen and rejected differ in more than their last message")
        if prompt and start[: len(prompt)] != prompt and start:
            raise DataError("chosen and rejected are whole conversations that do not begin with the prompt")
        prompt = start
    if not prompt:
        raise DataError("it has no prompt")
    return prompt, better[-1]["content"], worse[-1]["content"]
