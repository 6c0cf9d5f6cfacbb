"""The data doctor on rows with any number of labels: rare, constant or unseen, or none at all."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tunelab.data.check_labels import spellings
from tunelab.data.findings import PARTS, Finding, Patient, Severity, excerpt, found, listing, percent, rows_of
from tunelab.data.read_labels import labels_in

__all__ = ["check_label_lists"]

_FEW_IN_ALL = 20
_RARE = 10  # rows of a label under which its F1 is nearly chance
_MANY_BARE = 0.5


def check_label_lists(p: Patient) -> list[Finding]:
    """Findings on the lists of labels of the usable rows."""
    rows = np.flatnonzero(p.usable)
    own = {int(row): labels_in(str(p.labels[row])) for row in rows}
    counts = Counter(label for labels in own.values() for label in labels)
    findings = _too_few(p, own, counts)
    if any(finding.severity == "error" for finding in findings):
        return findings
    findings += [*_single(p, own), *_bare(p, own), *_spellings(p, own, counts), *_rare(p, counts)]
    return [*findings, *_constant(p, own, counts), *_over_splits(p, own), *_conflicts(p, own)]


def _too_few(p: Patient, own: dict[int, list[str]], counts: Counter[str]) -> list[Finding]:
    findings = []
    if len(own) < _FEW_IN_ALL:
        title = f"Only {rows_of(len(own))} with a text; a comparison needs at least {_FEW_IN_ALL}."
        advice = "Label more rows: about 50 a label give a first answer, 200 a label a reliable one."
        findings.append(
            found(p.table, "too-few-rows", "error", title, (), advice, count=len(own), examples=())
        )
    if len(counts) < 2:
        what = f"The only label is {next(iter(counts))!r}" if counts else "No row has a label"
        advice = (
            f"Labels were read from {p.table.columns.get('label', 'label')!r}; name another column with "
            "--label, or columns of 0 and 1 with data.labels=NAME,NAME. Whether a text has one certain label "
            "is learnt with --task classify and two names."
        )
        title = f"{what}: there is nothing to tell apart."
        findings.append(found(p.table, "one-label", "error", title, sorted(own), advice, examples=()))
    return findings


def _single(p: Patient, own: dict[int, list[str]]) -> list[Finding]:
    if any(len(labels) != 1 for labels in own.values()):
        return []
    title = "Every row has exactly one label."
    advice = (
        "If that is so by nature, --task classify learns it better: it knows that labels exclude each other."
    )
    return [found(p.table, "single-labels", "warning", title, sorted(own), advice, examples=())]


def _bare(p: Patient, own: dict[int, list[str]]) -> list[Finding]:
    rows = [row for row, labels in own.items() if not labels]
    if not rows:
        return []
    share = len(rows) / len(own)
    severity: Severity = "warning" if share > _MANY_BARE else "info"
    title = f"{rows_of(len(rows))} ({percent(share)}) {_have(rows)} no label: it is learnt that none applies."
    advice = "Leave these rows out if they have not been labelled yet."
    return [found(p.table, "no-labels-in-row", severity, title, rows, advice)]


def _spellings(p: Patient, own: dict[int, list[str]], counts: Counter[str]) -> list[Finding]:
    other = spellings(list(counts), list(counts.values()))
    if not other:
        return []
    rows = [row for row, labels in own.items() if other.keys() & set(labels)]
    pairs = [f"{old!r} → {new!r}" for old, new in other.items()]
    title = (
        f"{rows_of(len(rows))} {'spells' if len(rows) == 1 else 'spell'} a label differently in case, "
        f"width or spaces ({', '.join(pairs[:4])}{' …' if len(pairs) > 4 else ''}); as it stands each "
        "spelling is a label of its own."
    )
    advice = "Run with --fix to take the most frequent spelling of each, or correct the file."
    return [
        found(
            p.table, "label-spelling", "warning", title, rows, advice, fixable=True,
            show=lambda row: ", ".join(own[row]),
        )
    ]  # fmt: skip


def _rare(p: Patient, counts: Counter[str]) -> list[Finding]:
    rare = sorted((count, label) for label, count in counts.items() if count < _RARE)
    if not rare:
        return []
    names = ", ".join(f"{excerpt(label, 40)!r} ({count})" for count, label in rare[:5])
    title = (
        f"{len(rare)} of {len(counts)} labels {_have(rare)} fewer than {_RARE} rows: {names}"
        f"{' …' if len(rare) > 5 else ''}."
    )
    advice = "Their own F1 is nearly chance, and macro-F1 with it; add rows, merge labels, or leave them out."
    return [found(p.table, "rare-label", "warning", title, (), advice, count=len(rare), examples=())]


def _constant(p: Patient, own: dict[int, list[str]], counts: Counter[str]) -> list[Finding]:
    names = [label for label, count in counts.items() if count == len(own)]
    if not names:
        return []
    title = f"Every row has the label {listing(names)}: it tells nothing apart and flatters every score."
    return [
        found(p.table, "constant-label", "warning", title, (), "Leave it out.", count=len(own), examples=())
    ]


def _over_splits(p: Patient, own: dict[int, list[str]]) -> list[Finding]:
    """Labels that a given test or validation part has and the training part has not, or the other way."""
    has: dict[str, set[str]] = defaultdict(set)
    for row, labels in own.items():
        has[str(p.splits[row]) or "train"] |= set(labels)
    findings = []
    for part in ("test", "valid"):
        unseen = sorted(has[part] - has["train"])
        rows = [row for row, labels in own.items() if p.splits[row] == part and set(labels) & set(unseen)]
        if unseen:
            title = (
                f"{rows_of(len(rows))} of the {PARTS[part]} part {_have(rows)} labels that never occur in "
                f"the training part: {listing(unseen)}. No method can find them; they count as missed."
            )
            advice = "Check the spelling, add such rows to the training file, or leave these labels out."
            code = f"label-only-in-{part}"
            findings.append(
                found(p.table, code, "warning", title, rows, advice, show=lambda row: ", ".join(own[row]))
            )
    untested = sorted(has["train"] - has["test"]) if has["test"] else []
    if untested:
        title = (
            f"{len(untested)} labels do not occur in the test part and cannot be judged: {listing(untested)}."
        )
        advice = "Add rows of these labels to the test file, or let tunelab divide the rows (one file)."
        findings.append(
            found(
                p.table, "label-not-in-test", "warning", title, (), advice, count=len(untested), examples=()
            )
        )
    return findings


def _conflicts(p: Patient, own: dict[int, list[str]]) -> list[Finding]:
    """One text, several sets of labels."""
    sets: dict[int, dict[tuple[str, ...], int]] = defaultdict(dict)
    for row, labels in own.items():
        sets[int(p.same[row])].setdefault(tuple(labels), row)
    torn = [rows for rows in sets.values() if len(rows) > 1]
    if not torn:
        return []
    rows = [row for found_rows in torn for row in found_rows.values()]
    what = "text occurs" if len(torn) == 1 else "texts occur"
    title = f"{len(torn):,} {what} with more than one set of labels."
    advice = "Decide which is right and correct the file; this is not mended for you."
    return [
        found(
            p.table, "conflicting-labels", "warning", title, rows, advice,
            show=lambda row: f"{', '.join(own[row]) or 'none'}: {p.texts[row]}",
        )
    ]  # fmt: skip


def _have(rows: Sequence[object]) -> str:
    return "has" if len(rows) == 1 else "have"
