"""The data doctor on questions: answers that are nowhere, contexts on two sides, what a model cannot say."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.data.contexts import cut_questions, windows_of
from tunelab.data.findings import PARTS, Finding, Patient, Severity, found, percent, rows_of
from tunelab.data.layout import Encoded, Units
from tunelab.data.table import Table

__all__ = ["Placed", "answers_in", "check_answers", "check_places", "first_place", "place_answers"]

_FEW_IN_ALL = 20
_FEW_CONTEXTS = 20
#: Share of the answers that nobody can find from which on the file is not what it is taken for.
_TOO_MANY = 0.2
#: Share of the answers in no window from which on a model would learn to say that there is none.
_MOST_MISSED = 0.5
#: As `answer.max_tokens` is when nothing is said.
MOST = 30


def answers_in(label: str) -> list[tuple[str, int]]:
    """(text, start) of each answer that a label's JSON holds; none where the question has no answer.

    >>> answers_in('[{"text": "Rome", "start": 14}]'), answers_in("")
    ([('Rome', 14)], [])
    """
    return [(str(own["text"]), int(own["start"])) for own in json.loads(label)] if label else []


def first_place(answers: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """[start, end) in characters of the first answer whose place is known, without blanks around it; where
    there is none (-1, -1).

    >>> first_place([("Milan", -1), (" Rome", 13)])
    (14, 18)
    """
    for text, start in answers:
        bare = text.strip()
        if start >= 0 and bare:
            begin = start + len(text) - len(text.lstrip())
            return begin, begin + len(bare)
    return -1, -1


@dataclass(frozen=True)
class Placed:
    """Where among the parts the answers of N items are, in R windows.

    first, last: [R] the answer's first and last part where the window shows it whole, else -1; whole: [N]
    whether any window does.
    """

    first: np.ndarray
    last: np.ndarray
    whole: np.ndarray


def place_answers(places: Sequence[tuple[int, int]], units: Units) -> Placed:
    """places: of each item the answer's [start, end) in characters, (-1, -1): none."""
    window_U, item_R = windows_of(units)
    item_U = item_R[window_U]
    begin_N, end_N = np.array(places, dtype=np.int64).reshape(-1, 2).T
    of_it = np.flatnonzero((units.spans[:, 1] > begin_N[item_U]) & (units.spans[:, 0] < end_N[item_U]))
    of_it = of_it[units.spans[of_it, 0] >= 0]  # (not the part that stands for "no answer")
    first_R, last_R = np.full((2, len(item_R)), -1, dtype=np.int64)
    first_R[window_U[of_it[::-1]]] = of_it[::-1]  # the last one written is the first one
    last_R[window_U[of_it]] = of_it
    seen = np.flatnonzero(first_R >= 0)
    # An answer is whole where as much of it is seen as in all windows together.
    least_N = np.full(len(places), np.iinfo(np.int64).max)
    most_N = np.full(len(places), -1, dtype=np.int64)
    np.minimum.at(least_N, item_R[seen], units.spans[first_R[seen], 0])
    np.maximum.at(most_N, item_R[seen], units.spans[last_R[seen], 1])
    torn = seen[
        (units.spans[first_R[seen], 0] > least_N[item_R[seen]])
        | (units.spans[last_R[seen], 1] < most_N[item_R[seen]])
    ]
    first_R[torn] = last_R[torn] = -1
    whole_N = np.zeros(len(places), dtype=bool)
    whole_N[item_R[first_R >= 0]] = True
    return Placed(first_R, last_R, whole_N)


# ---- what the file says --------------------------------------------------------------------------


def check_answers(p: Patient) -> list[Finding]:
    """Findings on the answers and contexts of the usable rows."""
    rows = np.flatnonzero(p.usable)
    if len(rows) < _FEW_IN_ALL:
        title = (
            f"Only {rows_of(len(rows))} with question and context; a comparison needs {_FEW_IN_ALL} or more."
        )
        advice = "Ask more: a few hundred questions give a first answer."
        return [found(p.table, "too-few-rows", "error", title, advice=advice, count=len(rows), examples=())]
    answers = {int(row): answers_in(str(p.labels[row])) for row in rows}
    if not any(answers.values()):
        title = f"None of the {len(rows):,} questions has an answer."
        advice = "Look at the column of the answers: --label NAME."
        return [found(p.table, "no-answers", "error", title, rows, advice, examples=())]
    lost = [*_nowhere(p, answers), *_some_nowhere(p, answers)]
    return [*lost, *_unanswerable(p, answers), *_contexts(p, rows), *_leaks(p, rows)]


def _nowhere(p: Patient, answers: dict[int, list[tuple[str, int]]]) -> list[Finding]:
    lost = [row for row, own in answers.items() if own and all(start < 0 for _, start in own)]
    if not lost:
        return []
    share = len(lost) / sum(map(bool, answers.values()))
    title = f"{_answers_of(len(lost))} ({percent(share)}) nowhere in their context."
    advice = "Nothing is learnt from these rows, and no prediction for them is right; mend or remove them."
    return [
        found(
            p.table,
            "answer-not-in-context",
            "error" if share > _TOO_MANY else "warning",
            title,
            lost,
            advice,
            show=lambda row: f"{answers[row][0][0]!r} for {p.table.frame['text'].iloc[row]!r}",
        )
    ]


def _some_nowhere(p: Patient, answers: dict[int, list[tuple[str, int]]]) -> list[Finding]:
    """Answers that nobody can find beside others to the same question that can be found."""
    some = {row: [text for text, start in own if start < 0] for row, own in answers.items()}
    some = {row: lost for row, lost in some.items() if 0 < len(lost) < len(answers[row])}
    if not some:
        return []
    number, whole = sum(map(len, some.values())), sum(map(len, answers.values()))
    title = (
        f"{number:,} of {whole:,} answers ({percent(number / whole)}) are nowhere in their context, beside "
        "others to the same question that are."
    )
    advice = "The others are learnt; a prediction is still held against all of them. Mend or remove these."
    return [
        found(
            p.table,
            "answers-partly-not-in-context",
            "info",
            title,
            list(some),
            advice,
            show=lambda row: f"{some[row][0]!r} for {p.table.frame['text'].iloc[row]!r}",
        )
    ]


def _answers_of(count: int) -> str:
    return "The answer of 1 question is" if count == 1 else f"The answers of {count:,} questions are"


def _unanswerable(p: Patient, answers: dict[int, list[tuple[str, int]]]) -> list[Finding]:
    none = [row for row, own in answers.items() if not own]
    if not none:
        return []
    training = [row for row in none if p.splits[row] in ("train", "")]
    if not training:
        title = f"{len(none):,} questions have no answer, but none of them is in the training part."
        advice = "A model that has seen no such question answers each; move some to the training part."
        return [found(p.table, "unanswerable-unseen", "warning", title, none, advice)]
    title = f"{len(none):,} questions ({percent(len(none) / len(answers))}) have no answer in their context."
    advice = (
        "The model learns to say so (how readily, answer.null_threshold says). Leave them out if they are "
        "only not answered yet."
    )
    return [found(p.table, "unanswerable", "info", title, none, advice)]


def _contexts(p: Patient, rows: np.ndarray) -> list[Finding]:
    counts = Counter(p.table.frame["text_pair"].iloc[rows].tolist())
    few = len(counts) < _FEW_CONTEXTS
    title = (
        f"{len(rows):,} questions are about {len(counts):,} different contexts (up to "
        f"{max(counts.values()):,} about one)."
    )
    advice = "Questions about the same context, or nearly the same, stay on one side of every split." + (
        " So few contexts make an uncertain test: add questions about others." if few else ""
    )
    severity: Severity = "warning" if few else "info"
    return [found(p.table, "contexts", severity, title, advice=advice, count=len(counts), examples=())]


def _leaks(p: Patient, rows: np.ndarray) -> list[Finding]:
    """Contexts that are on two sides of the split that the files give."""
    sides: dict[str, set[str]] = {}
    contexts = p.table.frame["text_pair"].tolist()
    for row in rows.tolist():
        sides.setdefault(contexts[row], set()).add(str(p.splits[row]) or "train")
    findings = []
    for part, other in (("test", "train"), ("test", "valid"), ("valid", "train")):
        shared = [
            row
            for row in rows.tolist()
            if (str(p.splits[row]) or "train") == part and other in sides[contexts[row]]
        ]
        if shared:
            title = (
                f"{len(shared):,} questions of the {PARTS[part]} part are about contexts that are also in "
                f"the {PARTS[other]} part."
            )
            advice = (
                "The given split is kept as it is; scores may be too good. Let tunelab divide the rows "
                "(files without a split) to keep a context on one side."
            )
            findings.append(found(p.table, f"{part}-context-in-{other}", "warning", title, shared, advice))
    return findings


# ---- what the tokenizer makes of it --------------------------------------------------------------


def check_places(table: Table, encoded: Encoded) -> list[Finding]:
    """Findings on questions that do not fit, and on answers that cannot be found exactly."""
    cut = cut_questions(encoded)
    if len(cut):
        title = f"{rows_of(len(cut))} with a question that is longer than half a window of this model."
        advice = "Raise model.max_length (if the model allows it), or shorten these questions."
        return [found(table, "question-too-long", "error", title, cut, advice)]
    assert encoded.units is not None
    labels = table.frame["label"].tolist()
    places = [first_place(answers_in(label)) for label in labels]
    placed = place_answers(places, encoded.units)
    known = np.array([begin >= 0 for begin, _ in places], dtype=bool)
    missed = np.flatnonzero(known & ~placed.whole)
    return [*_missed(table, missed, int(known.sum())), *_lengths(table, encoded.units, placed, places)]


def _missed(table: Table, missed: np.ndarray, known: int) -> list[Finding]:
    if not len(missed):
        return []
    title = (
        f"{_answers_of(len(missed))} ({percent(len(missed) / known)}) in no window as a whole, or dropped by "
        "the tokenizer."
    )
    advice = "Nothing is learnt from these rows. A larger model.max_length shows more of a context at a time."
    share = len(missed) / known
    severity: Severity = "error" if share > _MOST_MISSED else "warning" if share > 0.05 else "info"
    return [found(table, "answer-not-whole", severity, title, missed, advice)]


def _lengths(table: Table, units: Units, placed: Placed, places: Sequence[tuple[int, int]]) -> list[Finding]:
    """Answers in tokens, and those whose ends lie within a token."""
    windows = np.flatnonzero(placed.first >= 0)
    if not len(windows):
        return []
    _, item_R = windows_of(units)
    items, at = np.unique(item_R[windows], return_index=True)
    first, last = placed.first[windows[at]], placed.last[windows[at]]
    lengths = last - first + 1
    median, high = (int(np.percentile(lengths, q)) for q in (50, 95))
    long = items[lengths > MOST]
    title = (
        f"The answers are {median:,} tokens long at the median, {high:,} at the 95th percentile, "
        f"{int(lengths.max()):,} at most."
    )
    advice = (
        f"{_answers_of(len(long))} longer than {MOST} tokens: never found whole unless answer.max_tokens is "
        "raised."
        if len(long)
        else ""
    )
    severity: Severity = "warning" if len(long) > 0.05 * len(items) else "info"
    findings = [
        found(table, "answer-lengths", severity, title, long, advice, examples=None if len(long) else ())
    ]
    contexts = table.frame["text_pair"].tolist()
    torn = []
    for item, a, b in zip(items.tolist(), units.spans[first, 0], units.spans[last, 1], strict=True):
        begin, end = places[item]
        torn += [item] if contexts[item][a:b].strip() != contexts[item][begin:end] else []
    if torn:
        share = len(torn) / len(items)
        title = f"{_answers_of(len(torn))} ({percent(share)}) not made of whole tokens of this model."
        advice = "They begin or end inside one, so they are never found exactly; look at their places."
        bad: Severity = "warning" if share > 0.05 else "info"
        findings.append(found(table, "answer-within-token", bad, title, torn, advice))
    return findings
