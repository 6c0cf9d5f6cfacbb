"""The data doctor on conversations: empty answers, several answers to one instruction, what truncation
loses."""

import json
from collections.abc import Callable, Sequence

import numpy as np

from tunelab.data.findings import Finding, Patient, Severity, excerpt, found, percent, rows_of
from tunelab.data.layout import Encoded
from tunelab.data.messages import Message
from tunelab.data.plain import normalised
from tunelab.data.table import Table

__all__ = ["check_answered", "check_conversations", "messages_in", "prompt_of", "written"]

_FEW_IN_ALL = 20
_MANY_LOST = 0.2


def messages_in(text: str) -> list[Message]:
    """The messages that a row's JSON holds."""
    found_: list[Message] = json.loads(text)
    return found_


def written(messages: Sequence[Message]) -> str:
    """A conversation as a person reads it.

    >>> written([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    'user: Hi\\nassistant: Hello'
    """
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def prompt_of(messages: Sequence[Message]) -> str:
    """All that is said before the last answer; of two alike the same, whatever the system prompt."""
    before = messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
    return "\n".join(message["content"] for message in before if message["role"] != "system")


def check_conversations(p: Patient) -> list[Finding]:
    """Findings on the conversations of the usable rows."""
    rows = np.flatnonzero(p.usable)
    if len(rows) < _FEW_IN_ALL:
        title = f"Only {rows_of(len(rows))}; a comparison needs at least {_FEW_IN_ALL}."
        advice = "Write more of them: a few hundred give a first answer."
        return [found(p.table, "too-few-rows", "error", title, advice=advice, count=len(rows), examples=())]
    texts = p.table.frame["text"]
    own = {int(row): messages_in(texts.iloc[row]) for row in rows}
    return [*_empty(p, own), *_several(p, own)]


def _empty(p: Patient, own: dict[int, list[Message]]) -> list[Finding]:
    """Rows with an answer that says nothing."""
    rows = [
        row
        for row, messages in own.items()
        if any(m["role"] == "assistant" and not m["content"].strip() for m in messages)
    ]
    if not rows:
        return []
    share = len(rows) / len(own)
    title = f"{rows_of(len(rows))} ({percent(share)}) {'has' if len(rows) == 1 else 'have'} an empty answer."
    advice = "They teach to say nothing; remove them, unless that is what is meant."
    severity: Severity = "error" if share > 0.5 else "warning"
    return [found(p.table, "empty-answer", severity, title, rows, advice, show=_shown(own))]


def _several(p: Patient, own: dict[int, list[Message]]) -> list[Finding]:
    """The same instruction, answered differently."""
    keys = normalised([prompt_of(messages) for messages in own.values()])
    answers: dict[str, dict[str, int]] = {}
    for key, (row, messages) in zip(keys, own.items(), strict=True):
        answers.setdefault(key, {}).setdefault(messages[-1]["content"], row)
    several = [rows for rows in answers.values() if len(rows) > 1]
    if not several:
        return []
    rows = [row for own_rows in several for row in own_rows.values()]
    title = (
        f"{len(several):,} {'instruction has' if len(several) == 1 else 'instructions have'} several "
        f"different answers ({rows_of(len(rows))})."
    )
    advice = (
        "That is fine where all of them are good (they stay on one side of every split); where they "
        "contradict each other, keep the right one."
    )
    severity: Severity = "warning" if len(rows) > 0.05 * len(own) else "info"
    return [found(p.table, "several-answers", severity, title, rows, advice, show=_shown(own))]


def _shown(own: dict[int, list[Message]]) -> Callable[[int], str]:
    return lambda row: excerpt(f"{prompt_of(own[row])} → {own[row][-1]['content']!r}", 160)


def check_answered(table: Table, encoded: Encoded) -> list[Finding]:
    """What is left of the answers when rows are cut: ends that are lost, and rows without anything to learn.

    encoded: `units` are the answers, their spans [begin, end) among the whole row's tokens.
    """
    units, lengths = encoded.units, encoded.tokens.lengths
    assert units is not None
    item = np.repeat(np.arange(len(units)), np.diff(units.starts))
    kept = np.clip(lengths[item] - units.spans[:, 0], 0, units.spans[:, 1] - units.spans[:, 0])
    learnt = np.bincount(item, weights=kept, minlength=len(units))
    cut = np.bincount(item, weights=units.spans[:, 1] - units.spans[:, 0] - kept, minlength=len(units)) > 0
    bare = np.flatnonzero(learnt == 0)
    if len(bare) == len(units):
        title = "Nothing would be trained: no token of an answer is left in any row."
        advice = (
            "Raise model.max_length where the answers are cut off; else look at the template "
            "(instruct.template)."
        )
        return [found(table, "nothing-to-train", "error", title, bare, advice)]
    return [*_lost(table, bare, len(units)), *_ended(table, cut & (learnt > 0), units.spans, item, kept)]


def _lost(table: Table, bare: np.ndarray, rows: int) -> list[Finding]:
    if not len(bare):
        return []
    share = len(bare) / rows
    title = (
        f"{rows_of(len(bare))} ({percent(share)}) {'loses its' if len(bare) == 1 else 'lose their'} whole "
        "answer: the prompt alone is longer than model.max_length. They are left out of the training, and "
        "are no part of any score."
    )
    advice = "Raise model.max_length, or shorten the prompts."
    return [found(table, "answer-lost", "error" if share > _MANY_LOST else "warning", title, bare, advice)]


def _ended(
    table: Table, cut: np.ndarray, spans: np.ndarray, item: np.ndarray, kept: np.ndarray
) -> list[Finding]:
    rows = np.flatnonzero(cut)
    if not len(rows):
        return []
    own = np.isin(item, rows)
    lost = 1 - kept[own].sum() / (spans[own, 1] - spans[own, 0]).sum()
    title = (
        f"{rows_of(len(rows))} ({percent(len(rows) / len(cut))}) {'loses' if len(rows) == 1 else 'lose'} "
        f"the end of {'its' if len(rows) == 1 else 'their'} last answer, {percent(lost)} of it: there the "
        "model does not learn to stop."
    )
    advice = "Raise model.max_length if the model allows it; time and memory grow with it."
    severity: Severity = "warning" if len(rows) > 0.05 * len(cut) else "info"
    return [found(table, "answer-cut", severity, title, rows, advice)]
