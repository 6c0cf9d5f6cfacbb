"""The data doctor on sources and targets: what says nothing, and what a model's length cuts off."""

from collections import Counter

import numpy as np

from tunelab.data.findings import Finding, Patient, Severity, found, percent, rows_of
from tunelab.data.layout import Encoded
from tunelab.data.table import Table

__all__ = ["MOST", "check_cut", "check_rewrites"]

#: As `rewrite.max_new_tokens` is when nothing is said.
MOST = 128
_FEW_IN_ALL = 20
#: Share of rows from which on something is no slip any more.
_MANY = 0.05
#: So many rows with one target are not a coincidence.
_REPEATED = 5


def check_rewrites(p: Patient) -> list[Finding]:
    """Findings on the sources and targets of the usable rows."""
    rows = np.flatnonzero(p.usable)
    if len(rows) < _FEW_IN_ALL:
        title = f"Only {rows_of(len(rows))} with source and target; a comparison needs {_FEW_IN_ALL} or more."
        advice = "A few hundred rows give a first answer."
        return [found(p.table, "too-few-rows", "error", title, advice=advice, count=len(rows), examples=())]
    return [*_unchanged(p, rows), *_repeated(p, rows), *_lengths(p, rows)]


def _unchanged(p: Patient, rows: np.ndarray) -> list[Finding]:
    same = [row for row in rows.tolist() if str(p.labels[row]).split() == p.texts[row].split()]
    if not same:
        return []
    share = len(same) / len(rows)
    title = f"{rows_of(len(same))} ({percent(share)}) with a target that is its source, unchanged."
    advice = (
        "Right where nothing was to be changed (a correction); else the columns or files may be mixed up."
    )
    severity: Severity = "warning" if share > _MANY else "info"
    return [found(p.table, "target-is-source", severity, title, same, advice)]


def _repeated(p: Patient, rows: np.ndarray) -> list[Finding]:
    counts = Counter(str(p.labels[row]) for row in rows)
    often = {target for target, count in counts.items() if count >= _REPEATED}
    repeated = [row for row in rows.tolist() if str(p.labels[row]) in often]
    share = len(repeated) / len(rows)
    if share <= _MANY:
        return []
    most, count = counts.most_common(1)[0]
    title = (
        f"{rows_of(len(repeated))} ({percent(share)}) share their target with {_REPEATED - 1} others or "
        f"more; the most frequent one stands {count:,} times: {most[:60]!r}."
    )
    advice = (
        "Few different answers are classes: look at --task classify. Else look whether they are mistakes."
    )
    return [found(p.table, "repeated-targets", "warning", title, repeated, advice)]


def _lengths(p: Patient, rows: np.ndarray) -> list[Finding]:
    source_N = np.array([len(p.texts[row]) for row in rows])
    target_N = np.array([len(str(p.labels[row])) for row in rows])
    title = (
        f"Sources have {int(np.median(source_N)):,} characters at the median "
        f"({int(np.percentile(source_N, 95)):,} at the 95th percentile), targets "
        f"{int(np.median(target_N)):,} ({int(np.percentile(target_N, 95)):,})."
    )
    return [found(p.table, "rewrite-lengths", "info", title, count=len(rows), examples=())]


def check_cut(table: Table, encoded: Encoded, source_N: np.ndarray, target_N: np.ndarray) -> list[Finding]:
    """Findings on what the model's length cuts off. source_N, target_N: tokens of each item that a model is
    shown; `encoded.units`: see tasks/_rewriting.py."""
    assert encoded.units is not None
    begin_N, end_N = encoded.units.spans.T
    whole_N = end_N - begin_N
    findings = []
    for code, side, shown_N, all_N, advice in (
        ("source-cut", "source", source_N, begin_N, "The model does not see how these end."),
        ("target-cut", "target", target_N, whole_N, "The ends of these are not learnt, nor where they end."),
    ):
        cut = np.flatnonzero(shown_N < all_N)
        if len(cut):
            share = len(cut) / len(all_N)
            title = (
                f"{rows_of(len(cut))} ({percent(share)}) with a {side} that is longer than the model is "
                f"given here (the longest has {int(all_N.max()):,} tokens): its end is cut off."
            )
            severity: Severity = "warning" if share > _MANY else "info"
            advice = f"{advice} Raise model.max_length (time and memory grow with it), or shorten them."
            findings.append(found(table, code, severity, title, cut, advice))
    return [*findings, *_written(table, begin_N, whole_N)]


def _written(table: Table, source_N: np.ndarray, whole_N: np.ndarray) -> list[Finding]:
    """Both sides in tokens, and targets longer than what a model writes when nothing is said."""
    known = whole_N[whole_N > 0]
    if not len(known):
        return []
    long = np.flatnonzero(whole_N > MOST)
    (source, long_source), (target, long_target) = (
        (int(np.median(side)), int(np.percentile(side, 95))) for side in (source_N, known)
    )
    title = (
        f"Sources, with what the model is given around them, are {source:,} tokens long at the median "
        f"({long_source:,} at the 95th percentile), targets {target:,} ({long_target:,})."
    )
    advice = (
        f"{rows_of(len(long))} with more than {MOST} tokens: never written whole unless "
        "rewrite.max_new_tokens is raised."
        if len(long)
        else ""
    )
    severity: Severity = "warning" if len(long) > _MANY * len(known) else "info"
    examples = None if len(long) else ()
    return [found(table, "target-lengths", severity, title, long, advice, examples=examples)]
