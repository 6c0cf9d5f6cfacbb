"""Prompts without answers, for a model that learns from the reward of what it writes itself."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tunelab.data.grid import MISSING, Grid, cell_text
from tunelab.data.items import Part, as_json, check_roles, gather, load_nested, pick, split_cells, told_of
from tunelab.data.messages import Message
from tunelab.data.read_conversations import CHATS, PROMPTS, lost, prompts_in
from tunelab.data.table import Table
from tunelab.errors import DataError

__all__ = ["PROMPT_ALONE", "read_prompts"]

#: The label of a row that has a prompt alone.
PROMPT_ALONE = "prompt"
_NAMES = (*CHATS, *PROMPTS, "text", "文本")


def read_prompts(files: Sequence[str | Path], chosen: Mapping[str, str]) -> Table:
    """Prompts, instructions, or conversations up to the last message of the user.

    chosen: "text" (the prompt), "input", "system", "history" and "group" -> columns.
    The frame has, besides split, file and row: text, JSON list of messages; chosen and rejected, ""; label,
    `PROMPT_ALONE`; given, JSON of all cells of the row by their columns' names, for rewards that read them.

    Raises:
        DataError: a file cannot be read, or it is not clear which column has the prompts.
    """
    check_roles(chosen, ("text", "input", "system", "history", "group"))
    return gather(files, partial(_read, chosen))


def _read(chosen: Mapping[str, str], path: Path, like: Grid | None) -> Part:
    grid = load_nested(path, _NAMES, like)
    at = pick(grid, "text", _NAMES, chosen)
    if at is None and len(grid.names) == 1:
        at = 0
    if at is None:
        raise DataError(lost(grid, "the prompts", "text"))
    prompts = [_asked(messages) for messages in prompts_in(grid, at, chosen)]
    texts = [as_json(messages) for messages in prompts]
    answered = [line for line, own in zip(grid.lines, prompts, strict=True) if own[-1]["role"] != "user"]
    empty = [""] * len(texts)
    return Part(
        name=grid.name,
        kind=grid.kind,
        cells={
            "text": texts,
            "label": [PROMPT_ALONE] * len(texts),
            "chosen": empty,
            "rejected": empty,
            "given": _given(grid),
        },
        lines=list(grid.lines),
        columns={"text": grid.names[at]},
        notes=(
            *grid.notes,
            f"{grid.name}: {len(texts):,} prompts without answers",
            *told_of(grid.name, answered, "prompts that do not end with the user's message"),
        ),
        splits=split_cells(grid),
        grid=grid,
    )


def _asked(messages: list[Message]) -> list[Message]:
    """Up to the last message that is not an answer."""
    last = max((i for i, own in enumerate(messages) if own["role"] != "assistant"), default=-1)
    return messages[: last + 1] or messages


def _given(grid: Grid) -> list[str]:
    """Each row's cells by name, as JSON of texts."""
    rows = zip(*grid.columns, strict=True)
    return [
        json.dumps(
            {name: _cell(cell) for name, cell in zip(grid.names, row, strict=True)},
            ensure_ascii=False,
        )
        for row in rows
    ]


def _cell(cell: Any) -> str:
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False)
    return "" if cell is MISSING else cell_text(cell)
