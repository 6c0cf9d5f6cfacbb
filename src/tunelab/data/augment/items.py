"""A row of a task as texts that may be edited, and back again with its labels moved along.

| task | what is edited | what moves along |
|---|---|---|
| classify, multilabel, language | text | |
| regress, match | text or text_pair | |
| rewrite | text, the source; the target stays | |
| tag | text | entities and units |
| answer | the question or the context | the answers' offsets |
| instruct, prefer | the last message of the user | |
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunelab.data.augment.edits import Span

__all__ = ["KINDS", "Item", "items_of", "put"]

KINDS = (
    *("answer", "classify", "instruct", "language", "match", "multilabel", "prefer", "regress", "rewrite"),
    "tag",
)


@dataclass(frozen=True)
class Item:
    """One text that may be edited.

    label: the row's label, as in the table; kind: the task; spans: (start, end) in characters, end exclusive,
    which must keep their characters and move along; units: the words or characters of a "tag" row that
    predictions are made for; names: where names stand (names.py); column: where in the row the text stands;
    copy: which of its row's new versions is asked for, from 0.
    """

    text: str
    label: str
    kind: str = "classify"
    spans: tuple[Span, ...] = ()
    units: tuple[Span, ...] = ()
    names: tuple[Span, ...] = ()
    column: str = "text"
    copy: int = field(default=0, compare=False)


def items_of(row: Mapping[str, str], kind: str) -> list[Item]:
    """The texts of a row that may be edited; none where there is nothing to edit, or its offsets are wrong.

    The spans that its task needs (entities, answers) are known, names are not.
    """
    assert kind in KINDS, f"augmentation knows the tasks {', '.join(KINDS)}, not {kind!r}"
    found = _FIELDS.get(kind, _plain)(row, kind)
    return [item for item in found if item.text.strip() and _inside(item)]


def put(row: Mapping[str, str], old: Item, new: Item) -> dict[str, str]:
    """The row with the new text in the old one's place, its labels moved."""
    changed = dict(row)
    if old.kind in ("instruct", "prefer"):
        changed["text"] = _with_message(row["text"], new.text)
        return changed
    changed[old.column] = new.text
    if old.kind == "tag":
        entities = json.loads(row["label"] or "[]")
        moved = [[start, end, name] for (start, end), (_, _, name) in zip(new.spans, entities, strict=False)]
        changed["label"] = _dump(moved)
        if old.units:
            changed["units"] = _dump([list(unit) for unit in new.units])
    if old.kind == "answer" and old.column == "text_pair":
        answers = json.loads(row["label"] or "[]")
        moved_answers = [
            {**answer, "start": span[0]} for answer, span in zip(answers, new.spans, strict=True)
        ]
        changed["label"] = _dump(moved_answers)
    return changed


def _inside(item: Item) -> bool:
    return all(0 <= start < end <= len(item.text) for start, end in (*item.spans, *item.units))


def _plain(row: Mapping[str, str], kind: str) -> list[Item]:
    return [Item(row["text"], row.get("label", ""), kind)]


def _pair(row: Mapping[str, str], kind: str) -> list[Item]:
    first = _plain(row, kind)
    other = row.get("text_pair", "")
    return [*first, Item(other, row.get("label", ""), kind, column="text_pair")] if other else first


def _tag(row: Mapping[str, str], kind: str) -> list[Item]:
    entities = tuple((start, end) for start, end, _ in json.loads(row["label"] or "[]"))
    units = tuple((start, end) for start, end in json.loads(row.get("units", "") or "[]"))
    return [Item(row["text"], row["label"], kind, entities, units=units)]


def _answer(row: Mapping[str, str], kind: str) -> list[Item]:
    context, answers = row["text_pair"], json.loads(row["label"] or "[]")
    spans = tuple((answer["start"], answer["start"] + len(answer["text"])) for answer in answers)
    question = Item(row["text"], row["label"], kind)
    if any(context[start:end] != answer["text"] for (start, end), answer in zip(spans, answers, strict=True)):
        return [question]  # a wrong offset cannot be moved
    return [question, Item(context, row["label"], kind, spans, column="text_pair")]


def _message(row: Mapping[str, str], kind: str) -> list[Item]:
    messages = json.loads(row["text"])
    place = _last_of_user(messages)
    return [] if place is None else [Item(messages[place]["content"], row.get("label", ""), kind)]


def _last_of_user(messages: list[dict[str, Any]]) -> int | None:
    places = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return places[-1] if places else None


def _with_message(text: str, content: str) -> str:
    messages = json.loads(text)
    place = _last_of_user(messages)
    assert place is not None, "there was a message to edit"
    messages[place] = {**messages[place], "content": content}
    return _dump(messages)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


_FIELDS: dict[str, Callable[[Mapping[str, str], str], list[Item]]] = {
    "answer": _answer,
    "instruct": _message,
    "match": _pair,
    "prefer": _message,
    "regress": _pair,
    "tag": _tag,
}
