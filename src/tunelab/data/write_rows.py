"""A table's rows as its task's reader reads them again: names of columns, and cells with lists and objects.

| held as | a table's cell | a file's cell |
|---|---|---|
| entities | [[0, 6, "LOC"]] | [{"start": 0, "end": 6, "label": "LOC", "text": "Berlin"}] |
| places | [[0, 2], [3, 9]], or nothing | the same |
| answers | [{"text": "Rome", "start": 7}] | [{"text": "Rome", "answer_start": 7}] |
| messages | [{"role": "user", "content": "Hi"}] | the same |
| names | ["late", "broken"] | the same, or 0 and 1 in a column of its own each |
| references | the target, and ["one", "two"] beside it | ["one", "two"] as the target |
| votes | {"votes": [2, 1], "margin": 0.5} | columns votes_chosen, votes_rejected, margin, or as chosen |
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tunelab.data.grid import norm
from tunelab.data.items import as_json
from tunelab.data.table import Column, Table

__all__ = ["file_rows", "told_apart"]

#: Columns of a table that a reader makes by itself.
_MADE = frozenset(("split", "file", "row", "said", "given", "broken"))
#: Names that readers know, where the task has no `Column` that says one.
_NAMES = {
    "entities": "entities",
    "places": "units",
    "answers": "answers",
    "messages": "messages",
    "names": "labels",
}
#: Parts of a conversation, which stand in it when it has been read; their columns stay, empty.
_PARTS = ("system", "history", "input")


@dataclass(frozen=True)
class _Column:
    """A column to be written. place: its number from 1, where the user named it so."""

    name: str
    cells: Sequence[Any]
    place: int | None = None


def file_rows(
    table: Table, held: Mapping[str, str], known: Sequence[Column], chosen: Mapping[str, str], nested: bool
) -> pd.DataFrame:
    """The rows as a file with them is read: with the same `chosen`, they are the same table.

    held: role -> how its cells are held (see above), where they are no plain texts. known: the task's
    columns. chosen: role -> name or number of a column, as the user gave it. nested: the file can hold lists
    and objects; else they are JSON in a text. A file's name of a column stays where it is recognised or was
    chosen.
    """
    frame = table.frame
    if "given" in frame and (frame["given"] != "").all():  # prompts: the file's own cells
        rows = pd.DataFrame([json.loads(cell) for cell in frame["given"]]).fillna("")
        return _with_split(rows, frame)
    columns: list[_Column] = []
    for role in (str(role) for role in frame if role not in _MADE):
        if held.get(role) == "references":  # they are in the label's column
            continue
        if role == "label" and held.get(role) == "votes":
            columns += _votes(frame["label"].tolist(), chosen)
        elif role == "label" and held.get(role) == "names" and "labels" in chosen:
            columns += _marks(frame["label"].tolist(), chosen["labels"])
        elif role != "label" or held.get(role) or (frame["label"] != "").any():
            columns += _plain(table, role, held.get(role, ""), known, chosen)
    columns += [_named(chosen[role], role, [""] * len(frame)) for role in _PARTS if role in chosen]
    if not nested:
        columns = [_Column(own.name, list(map(_flat, own.cells)), own.place) for own in columns]
    return _with_split(_in_place(columns, len(frame)), frame)


def told_apart(before: Table, after: Table) -> str:
    """What of the rows is not the same in two tables, in words; "" where nothing is."""
    if len(before) != len(after):
        return f"{len(after):,} rows are read instead of {len(before):,}"
    for role in (role for role in before.frame if role not in _MADE - {"split"}):
        there = after.frame[role].tolist() if role in after.frame else [""] * len(after)
        differ = [i for i, (a, b) in enumerate(zip(before.frame[role], there, strict=True)) if a != b]
        if differ:
            return (
                f"in {len(differ):,} rows {role!r} is read differently (the first: {after.where(differ[0])})"
            )
    return ""


def _with_split(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(split=frame["split"].tolist()) if (frame["split"] != "").any() else rows


def _flat(cell: Any) -> Any:
    return as_json(cell) if isinstance(cell, list | dict) else cell


def _in_place(columns: Sequence[_Column], rows: int) -> pd.DataFrame:
    """The columns, those with a number at their place; the others, and empty ones, fill what is between."""
    at = {own.place: own for own in columns if own.place is not None}
    free = [own for own in columns if own.place is None]
    ordered: list[_Column] = []
    for place in range(1, max(at, default=0) + 1):
        ordered.append(at.get(place) or (free.pop(0) if free else _Column(f"column {place}", [""] * rows)))
    return pd.DataFrame({own.name: list(own.cells) for own in (*ordered, *free)})


# Columns --------------------------------------------------------------------------------------------------


def _named(chosen: str, name: str, cells: Sequence[Any]) -> _Column:
    """A column that the user named, by its name or number; name: what it is called where it has a number."""
    chosen = chosen.strip()
    return _Column(name, cells, int(chosen)) if chosen.isdecimal() else _Column(chosen, cells)


def _plain(
    table: Table, role: str, kind: str, known: Sequence[Column], chosen: Mapping[str, str]
) -> list[_Column]:
    """The column of a role; of conversations whose answer was chosen, that too."""
    texts = table.frame[role].tolist()
    cells = [_cell(kind, text, row, chosen) for text, row in zip(texts, table.frame["text"], strict=True)]
    if role == "label" and "references" in table.frame:
        several = table.frame["references"].tolist()
        cells = [json.loads(own) if own else cell for cell, own in zip(cells, several, strict=True)]
    name = _name(table, role, kind, known, chosen)
    if kind == "messages" and "label" in chosen:  # prompt and answer, each in its column
        answers = [messages[-1]["content"] for messages in cells]
        prompts = [messages[:-1] for messages in cells]
        return [_placed(role, name, prompts, chosen), _named(chosen["label"], "answer", answers)]
    return [_placed(role, name, cells, chosen)]


def _placed(role: str, name: str, cells: Sequence[Any], chosen: Mapping[str, str]) -> _Column:
    place = chosen.get(role, "").strip()
    return _Column(name, cells, int(place) if place.isdecimal() else None)


def _name(table: Table, role: str, kind: str, known: Sequence[Column], chosen: Mapping[str, str]) -> str:
    column = next((own for own in known if own.role == role), Column(role, ()))
    own = table.columns.get(role, "")
    if role in chosen and not chosen[role].strip().isdecimal():
        return own or chosen[role]
    if norm(own) in set(map(norm, column.names)):
        return own
    return _NAMES.get(kind) or next(iter(column.names), role)


def _cell(kind: str, text: str, sentence: str, chosen: Mapping[str, str]) -> Any:
    if not kind or not text:
        return text
    value = json.loads(text)
    if kind == "entities":
        last = int(chosen.get("ends") == "inclusive")
        return [{"start": a, "end": b - last, "label": name, "text": sentence[a:b]} for a, b, name in value]
    if kind == "answers":
        return [{"text": own["text"], "answer_start": own["start"]} for own in value]
    return value


def _marks(cells: Sequence[str], chosen: str) -> list[_Column]:
    """Labels in a column of 0 and 1 each, as they were chosen."""
    found = [set(json.loads(cell)) for cell in cells]
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if not any(name.isdecimal() for name in names):
        return [_Column(name, [int(name in own) for own in found]) for name in names]
    titles = sorted({label for own in found for label in own})
    numbers = dict(zip(titles, names, strict=False))  # numbered columns have no names but their labels
    return [_named(numbers[t], t, [int(t in own) for own in found]) for t in titles if t in numbers]


def _votes(cells: Sequence[str], chosen: Mapping[str, str]) -> list[_Column]:
    """What annotators said, as `votes.pair_labels` reads it: chosen columns, or counts; and margins."""
    said = [json.loads(cell) if cell else {} for cell in cells]
    votes = [own.get("votes") for own in said]
    margins = [_number(own["margin"]) if "margin" in own else "" for own in said]
    columns: list[_Column] = []
    names = [name.strip() for name in chosen.get("votes", "").split(",") if name.strip()]
    if len(names) == 1:
        columns.append(_named(names[0], "votes", [_share(pair) for pair in votes]))
    elif names:
        ballots = [_ballots(pair) if pair else [] for pair in votes]
        for i, name in enumerate(names):
            own = [_number(ballot[i]) if i < len(ballot) else "" for ballot in ballots]
            columns.append(_named(name, f"vote {i + 1}", own))
    elif any(votes):
        for side, name in enumerate(("votes_chosen", "votes_rejected")):
            columns.append(_Column(name, [_number(pair[side]) if pair else "" for pair in votes]))
    if "margin" in chosen:
        columns.append(_named(chosen["margin"], "margin", margins))
    elif any(margin != "" for margin in margins):
        columns.append(_Column("margin", margins))
    return [_Column(own.name, _alike(own.cells), own.place) for own in columns]


def _alike(cells: Sequence[Any]) -> list[Any]:
    """Whole numbers throughout; else texts (and lists): some formats have one type a column."""
    if all(isinstance(cell, int) for cell in cells):
        return list(cells)
    return [str(cell) if isinstance(cell, int) else cell for cell in cells]


def _share(pair: Sequence[float] | None) -> Any:
    """One cell: a share, or a list of votes."""
    if not pair:
        return ""
    return _number(pair[0]) if sum(pair) == 1 else [_number(vote) for vote in _ballots(pair)]


def _ballots(pair: Sequence[float]) -> list[float]:
    """Votes that give this count, a half of one being a tie.

    >>> _ballots([2.5, 0.5])
    [1.0, 1.0, 0.5]
    """
    own, other = int(pair[0]), int(pair[1])
    return [1.0] * own + [0.0] * other + [0.5] * round(sum(pair) - own - other)


def _number(value: float) -> Any:
    """A number that a file gives back bit by bit."""
    return int(value) if float(value).is_integer() else repr(value)
