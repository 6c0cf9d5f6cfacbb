"""The data doctor on rows that are missing or repeated: empty, doubled, contradicting, leaked."""

from collections.abc import Iterator

import numpy as np

from tunelab.data.findings import PARTS, Finding, Patient, found, percent, rows_of
from tunelab.data.ngrams import distinct

__all__ = ["check_conflicts", "check_missing", "check_repeats", "leaks", "repeats"]

_MANY_EMPTY = 0.2


def check_missing(p: Patient) -> list[Finding]:
    """Rows without a text or a label; such rows are never used."""
    texts = np.array([bool(text) for text in p.texts], dtype=bool)
    labels = np.array([bool(str(label).strip()) for label in p.labels], dtype=bool)
    number = len(texts)
    columns = {role: p.table.columns.get(role, role) for role in ("text", "label")}
    if number == 0 or not texts.any():
        title = "The table has no rows." if number == 0 else f"All {rows_of(number)} have an empty text."
        advice = f"The text was read from column {columns['text']!r}; name the right one with --text."
        return [found(p.table, "no-text", "error", title, np.flatnonzero(~texts), advice, examples=())]
    if not labels.any():
        advice = f"The label was read from column {columns['label']!r}; name the right one with --label."
        title = f"None of the {rows_of(number)} has a label."
        return [found(p.table, "no-label", "error", title, np.flatnonzero(~labels), advice, examples=())]
    findings = []
    empty = np.flatnonzero(~texts)
    if len(empty):
        # A fifth of the texts is no slip of the hand: the wrong column or a broken export is likelier, and
        # what is left may no longer stand for the data. `fix` (or a cleaned file) is the user's word for it.
        many = len(empty) > _MANY_EMPTY * number
        findings.append(
            found(
                p.table,
                "empty-text",
                "error" if many else "warning",
                f"{rows_of(len(empty))} ({percent(len(empty) / number)}) {_have(empty)} an empty text"
                + (": is this the right column?" if many else " and will be left out."),
                empty,
                (
                    f"The text was read from column {columns['text']!r}; name another with --text, or "
                    "run with "
                    "--fix if these rows may be dropped."
                    if many
                    else "Nothing must be done; fill in the texts if they should be there."
                ),
                fixable=True,
                show=lambda row: f"label {str(p.labels[row])!r}, no text",
            )
        )
    bare = np.flatnonzero(~labels & texts)
    if len(bare):
        findings.append(
            found(
                p.table,
                "missing-label",
                "warning",
                f"{rows_of(len(bare))} ({percent(len(bare) / number)}) {_have(bare)} no label and will "
                "be left out.",
                bare,
                "Label these rows, or leave them for `tunelab predict`.",
                fixable=True,
            )
        )
    return findings


def _have(rows: np.ndarray) -> str:
    return "has" if len(rows) == 1 else "have"


def repeats(p: Patient) -> np.ndarray:
    """Positions of usable rows that repeat an earlier one: same characters, same label, same split."""
    rows = np.flatnonzero(p.usable)
    number: dict[str, int] = {}
    parts = np.array(
        [number.setdefault(part, len(number)) for part in p.splits[rows].tolist()], dtype=np.int64
    )
    keys = (p.exact[rows] * len(p.classes) + p.codes[rows]) * len(number) + parts
    _, firsts = np.unique(keys, return_index=True)
    return np.delete(rows, firsts)


def leaks(p: Patient, groups: np.ndarray) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(part, other, rows of part that are also in other, rows of other that are also in part), where any."""
    parts = {name: p.usable & (p.splits == name) for name in ("train", "valid", "test")}
    parts["train"] |= p.usable & (p.splits == "")
    for part, other in (("test", "train"), ("test", "valid"), ("valid", "train")):
        here, there = parts[part], parts[other]
        if not (here.any() and there.any()):
            continue
        both = np.intersect1d(groups[here], groups[there])
        if len(both):
            shared = np.isin(groups, both)
            yield part, other, np.flatnonzero(here & shared), np.flatnonzero(there & shared)


def check_repeats(p: Patient) -> list[Finding]:
    """Findings on rows with the same or nearly the same text."""
    return [*_duplicates(p), *_leaks(p), *_near(p)]


def _duplicates(p: Patient) -> list[Finding]:
    again = repeats(p)
    if not len(again):
        return []
    return [
        found(
            p.table,
            "duplicate",
            "warning",
            f"{rows_of(len(again))} ({percent(len(again) / p.usable.sum())}) "
            f"{'repeats' if len(again) == 1 else 'repeat'} an earlier row: same text, same label.",
            again,
            "They are kept on one side of every split, but weigh double; run with --fix to keep only "
            "the first.",
            fixable=True,
        )
    ]


def check_conflicts(p: Patient) -> list[Finding]:
    """One text, several labels: not mended, for only a person knows which label is right."""
    rows = np.flatnonzero(p.usable)
    pairs = distinct(p.same[rows] * len(p.classes) + p.codes[rows])
    groups, labels = np.unique(pairs // len(p.classes), return_counts=True)
    torn = groups[labels > 1]
    if not len(torn):
        return []
    rows = rows[np.isin(p.same[rows], torn)]
    rows = rows[np.argsort(p.same[rows], kind="stable")]
    return [
        found(
            p.table,
            "conflicting-labels",
            "warning",
            f"{len(torn):,} {'text occurs' if len(torn) == 1 else 'texts occur'} with more than one label "
            f"({rows_of(len(rows))}).",
            rows,
            "Decide which label is right and correct the file; this is not mended for you. No method can get "
            "all of these rows right: the best possible accuracy is "
            f"{percent(1 - _lost(p, torn) / p.usable.sum())}.",
            show=lambda row: f"{str(p.labels[row])!r}: {p.texts[row]}",
        )
    ]


def _lost(p: Patient, torn: np.ndarray) -> int:
    """Rows that remain wrong when each text gets its most frequent label."""
    rows = np.flatnonzero(p.usable & np.isin(p.same, torn))
    pairs, counts = np.unique(p.same[rows] * len(p.classes) + p.codes[rows], return_counts=True)
    groups = pairs // len(p.classes)
    best = np.zeros(int(groups.max()) + 1, dtype=np.int64)
    np.maximum.at(best, groups, counts)
    return len(rows) - int(best.sum())


def _leaks(p: Patient) -> list[Finding]:
    findings = []
    exact = {(part, other): rows for part, other, rows, _ in leaks(p, p.same)}
    for part, other, rows, there in leaks(p, p.same):
        findings.append(
            found(
                p.table,
                f"{part}-in-{other}",
                "warning",
                f"{rows_of(len(rows))} of the {PARTS[part]} part ({percent(len(rows) / _size(p, part))}) "
                f"{'is' if len(rows) == 1 else 'are'} also in the {PARTS[other]} part "
                "(the same text, but for case, punctuation and spacing).",
                rows,
                f"Scores on them reward memory; run with --fix to drop the {rows_of(len(there))} from the "
                f"{PARTS[other]} part.",
                fixable=True,
            )
        )
    if p.near is None:
        return findings
    for part, other, rows, _ in leaks(p, p.near):
        nearly = np.setdiff1d(rows, exact.get((part, other), ()))
        if len(nearly):
            findings.append(
                found(
                    p.table,
                    f"{part}-near-{other}",
                    "warning",
                    f"{rows_of(len(nearly))} of the {PARTS[part]} part "
                    f"({percent(len(nearly) / _size(p, part))}) "
                    f"{'is' if len(nearly) == 1 else 'are'} nearly the same as a row of the "
                    f"{PARTS[other]} part.",
                    nearly,
                    "The given split is kept as it is; scores may be a little too good. Let tunelab "
                    "divide the rows "
                    "(one file without split) to keep such rows on one side.",
                )
            )
    return findings


def _size(p: Patient, part: str) -> int:
    return max(int((p.usable & (p.splits == part)).sum()), 1)


def _near(p: Patient) -> list[Finding]:
    if p.near is None:
        return []
    rows = np.flatnonzero(p.usable)
    rows = rows[np.unique(p.exact[rows], return_index=True)[1]]
    groups, firsts, sizes = np.unique(p.near[rows], return_index=True, return_counts=True)
    again = np.sort(np.delete(rows, firsts))
    if not len(again):
        return []
    first_of = dict(zip(groups.tolist(), rows[firsts].tolist(), strict=True))
    near = p.near
    share = len(again) / p.usable.sum()
    return [
        found(
            p.table,
            "near-duplicate",
            "warning" if share > 0.1 else "info",
            f"{rows_of(len(again))} ({percent(share)}) {'is' if len(again) == 1 else 'are'} nearly the "
            "same as an "
            f"earlier row (up to {sizes.max()} versions of one text).",
            again,
            "Nothing must be done: rows that are nearly the same stay on one side of every split that "
            "tunelab makes.",
            show=lambda row: (
                f"{p.texts[row]} (like row {p.table.frame['row'].iloc[first_of[int(near[row])]]})"
            ),
        )
    ]
