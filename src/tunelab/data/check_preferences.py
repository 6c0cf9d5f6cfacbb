"""The data doctor on pairs of answers: sides that are empty or equal, pairs that contradict each other."""

from collections.abc import Sized

import numpy as np

from tunelab.data.findings import Finding, Patient, excerpt, found, percent, rows_of
from tunelab.data.layout import Encoded
from tunelab.data.table import Table
from tunelab.data.votes import said_of

__all__ = ["check_cut", "check_preferences", "mend_preferences"]

_STRONG = 0.65  # share of pairs that "the longer one is better" gets right, from which on it is a warning


def check_preferences(p: Patient) -> list[Finding]:
    """Findings on the answers of the usable rows."""
    return [*_empty(p.table), *_equal(p.table), *_exchanged(p), *_shared_prompts(p), *_longer(p)]


def mend_preferences(table: Table) -> tuple[Table, list[str]]:
    """The table without pairs that have an empty side or two equal ones, and what was left out."""
    chosen, rejected = _sides(table)
    empty = np.array([not a or not b for a, b in zip(chosen, rejected, strict=True)], dtype=bool)
    equal = np.array([a == b for a, b in zip(chosen, rejected, strict=True)], dtype=bool) & ~empty
    notes = [
        f"left out {rows_of(int(rows.sum()))} {what} ({', '.join(map(table.where, np.flatnonzero(rows)[:3]))}"
        f"{', …' if rows.sum() > 3 else ''})"
        for rows, what in ((empty, "with an empty answer"), (equal, "whose two answers are the same"))
        if rows.any()
    ]
    if not notes:
        return table, []
    frame = table.frame[~(empty | equal)].reset_index(drop=True)
    return Table(frame, table.columns, table.notes, table.source), notes


def check_cut(table: Table, encoded: Encoded) -> list[Finding]:
    """What cutting to the model's length takes from prompts and answers; encoded: two rows a pair."""
    tokens, whole = encoded.tokens, encoded.whole
    assert tokens.seconds is not None
    assert whole.seconds is not None
    sides = len(tokens) // max(len(whole), 1)
    prompts = whole.seconds - tokens.seconds[::sides]
    kept = np.max([tokens.lengths[side::sides] for side in range(sides)], axis=0)
    answers = whole.lengths - kept - prompts
    findings = []
    cut = np.flatnonzero(prompts > 0)
    if len(cut):
        findings.append(
            found(
                table,
                "prompts-cut",
                "warning",
                f"{rows_of(len(cut))} ({percent(len(cut) / len(table))}): the prompt does not fit beside its "
                "answers and loses its beginning.",
                cut,
                "Raise model.max_length, if the model allows it; both sides of a pair keep the same prompt.",
                show=lambda row: f"{int(prompts[row]):,} tokens of the prompt are lost",
            )
        )
    cut = np.flatnonzero(answers > 0)
    if len(cut):
        findings.append(
            found(
                table,
                "answers-cut",
                "warning",
                f"{rows_of(len(cut))} ({percent(len(cut) / len(table))}): the longer answer loses its end, "
                "and with it the end-of-text token.",
                cut,
                "Raise model.max_length, if the model allows it; else where answers end is learnt from the "
                "others alone.",
                show=lambda row: f"{int(answers[row]):,} tokens of the answer are lost",
            )
        )
    return findings + (_equal_once_cut(table, encoded) if sides == 2 else [])


def _equal_once_cut(table: Table, encoded: Encoded) -> list[Finding]:
    ids, starts = encoded.tokens.ids, encoded.tokens.starts
    chosen, rejected = _sides(table)
    rows = [
        i
        for i in range(len(table))
        if chosen[i] != rejected[i]
        and np.array_equal(ids[starts[2 * i] : starts[2 * i + 1]], ids[starts[2 * i + 1] : starts[2 * i + 2]])
    ]
    if not rows:
        return []
    return [
        found(
            table,
            "answers-equal-as-tokens",
            "warning",
            f"{rows_of(len(rows))} ({percent(len(rows) / len(table))}): the two answers are the same to this "
            "model: they differ only after the cut, or in characters that its tokenizer does not know.",
            rows,
            "Raise model.max_length, or take another model; such a pair teaches nothing, and counts half.",
            show=lambda row: f"{excerpt(chosen[row], 35)} | {excerpt(rejected[row], 35)}",
        )
    ]


def _empty(table: Table) -> list[Finding]:
    chosen, rejected = _sides(table)
    rows = [i for i, (a, b) in enumerate(zip(chosen, rejected, strict=True)) if not a or not b]
    if not rows:
        return []
    return [
        found(
            table,
            "empty-answer",
            "error",
            f"{rows_of(len(rows))} ({percent(len(rows) / len(table))}) {_have(rows)} an empty answer.",
            rows,
            "Fill them in or remove these rows, or run with --fix to leave them out.",
            fixable=True,
            show=lambda row: "chosen is empty" if not chosen[row] else "rejected is empty",
        )
    ]


def _equal(table: Table) -> list[Finding]:
    chosen, rejected = _sides(table)
    rows = [i for i, (a, b) in enumerate(zip(chosen, rejected, strict=True)) if a and a == b]
    if not rows:
        return []
    return [
        found(
            table,
            "same-answers",
            "error",
            f"{rows_of(len(rows))} ({percent(len(rows) / len(table))}) {_have(rows)} the same answer as "
            "chosen and as rejected: nothing can be learnt from them.",
            rows,
            "Mend or remove these rows, or run with --fix to leave them out.",
            fixable=True,
            show=lambda row: chosen[row],
        )
    ]


def _have(rows: Sized) -> str:
    return "has" if len(rows) == 1 else "have"


def _exchanged(p: Patient) -> list[Finding]:
    """One prompt and two answers, once the one and once the other better."""
    prompts = p.table.frame["text"].tolist()
    chosen, rejected = _sides(p.table)
    keys = list(zip(prompts, chosen, rejected, strict=True))
    known = set(keys)
    rows = [i for i, (prompt, a, b) in enumerate(keys) if a != b and (prompt, b, a) in known]
    if not rows:
        return []
    return [
        found(
            p.table,
            "contradicting-pairs",
            "warning",
            f"{rows_of(len(rows))} {'is' if len(rows) == 1 else 'are'} contradicted by another: the same "
            "prompt and answers, the other one chosen.",
            rows,
            "If these are votes of several annotators, put them into one row with columns votes_chosen and "
            "votes_rejected; else decide which is right.",
            show=lambda row: f"{excerpt(chosen[row], 35)} | {excerpt(rejected[row], 35)}",
        )
    ]


def _shared_prompts(p: Patient) -> list[Finding]:
    """Prompts of a given test part that are also trained on."""
    prompts = np.array(p.table.frame["text"].tolist(), dtype=object)
    trained = set(prompts[(p.splits == "train") | (p.splits == "")])
    rows = np.array(
        [i for i in np.flatnonzero(p.splits == "test") if prompts[i] in trained and p.usable[i]],
        dtype=np.int64,
    )
    if not len(rows):
        return []
    return [
        found(
            p.table,
            "prompts-in-test-and-train",
            "warning",
            f"{rows_of(len(rows))} of the test part {_have(rows)} a prompt that is also trained on.",
            rows,
            "Scores on them say less of new prompts; where tunelab divides the rows, its pairs stay "
            "together.",
        )
    ]


def _longer(p: Patient) -> list[Finding]:
    """How far length alone tells the better answer."""
    chosen, rejected = _sides(p.table)
    shares = [said_of(str(label))[0] for label in p.table.frame["label"]]
    pairs = [
        (np.sign(len(a) - len(b)) * np.sign(share - 0.5) + 1) / 2
        for a, b, share in zip(chosen, rejected, shares, strict=True)
    ]
    share = float(np.mean(pairs))
    strong = max(share, 1 - share) >= _STRONG
    return [
        found(
            p.table,
            "length-bias",
            "warning" if strong else "info",
            f'"The longer answer is better" is right in {percent(share)} of the pairs (characters).',
            (),
            "A model can score this much without reading: see the scores longer_right and longer_preferred."
            if strong
            else "",
            count=len(pairs),
        )
    ]


def _sides(table: Table) -> tuple[list[str], list[str]]:
    chosen, rejected = ([str(text).strip() for text in table.frame[name]] for name in ("chosen", "rejected"))
    return chosen, rejected
