"""The data doctor on labels: classes that cannot be learnt or judged, and labels that are no classes."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tunelab.data.check_repeats import check_conflicts
from tunelab.data.findings import PARTS, Finding, Patient, excerpt, found, listing, percent, rows_of

__all__ = ["check_labels", "is_scale", "spelling", "spellings"]

_FEW_IN_ALL = 20
_FEW_IN_CLASS = 10
_IMBALANCE = 3.0
#: Signs that stand between the labels of a list, as `read_labels.SEPARATORS` has them.
_SEPARATORS = ("|", ";", ",", "\t", "，", "；", "、")
_MISSING_WORDS = {"nan", "null", "n/a", "#n/a", "na", "<na>", "?", "-"}


def spelling(label: str) -> str:
    """The label without case, width and surrounding space: labels equal in this are meant as one.

    >>> spelling(" Ｇood ") == spelling("GOOD")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def spellings(labels: Sequence[str], counts: Sequence[int]) -> dict[str, str]:
    """Label -> the most frequent spelling of it (the first in order among equals), where that is another.

    >>> spellings(["Good", "good", "bad"], [3, 9, 5])
    {'Good': 'good'}
    """
    together: Mapping[str, list[tuple[int, str]]] = defaultdict(list)
    for label, count in zip(labels, counts, strict=True):
        together[spelling(label)].append((-count, label))
    best = {key: min(found)[1] for key, found in together.items()}
    return {label: best[spelling(label)] for label in labels if best[spelling(label)] != label}


def check_labels(patient: Patient) -> list[Finding]:
    """Findings on the labels of the usable rows."""
    found_ = [*_too_few(patient), *_lists(patient)]
    strange = _no_classes(patient)
    if strange:
        return [*found_, strange]
    found_ += _single_rows(patient)
    found_ += _spellings(patient)
    found_ += _missing_words(patient)
    found_ += _rare(patient)
    found_ += _imbalance(patient)
    return [*found_, *_over_splits(patient), *check_conflicts(patient)]


def _too_few(p: Patient) -> list[Finding]:
    number = int(p.usable.sum())
    findings = []
    if number < _FEW_IN_ALL:
        findings.append(
            found(
                p.table,
                "too-few-rows",
                "error",
                f"Only {rows_of(number)} with a text and a label; a comparison needs at least {_FEW_IN_ALL}.",
                advice="Label more rows: about 50 a class give a first answer, 200 a class a reliable one.",
                count=number,
                examples=(),
            )
        )
    if len(p.classes) == 1:
        findings.append(
            found(
                p.table,
                "one-class",
                "error",
                f"All {rows_of(number)} have the same label, {p.classes[0]!r}: there is nothing to tell "
                "apart.",
                np.flatnonzero(p.usable),
                f"Add rows of at least one other class, or name another label column with --label "
                f"(labels were read from {p.table.columns.get('label', 'label')!r}).",
                examples=(),
            )
        )
    return findings


def _no_classes(p: Patient) -> Finding | None:
    """Labels that are numbers on a scale, or names of rows."""
    number, kinds = int(p.usable.sum()), len(p.classes)
    column = p.table.columns.get("label", "label")
    rows = np.flatnonzero(p.usable)
    shown = [f"{p.table.where(int(row))}: label {excerpt(str(p.labels[row]))!r}" for row in rows[:5]]
    if is_scale(p.classes, number):
        return found(
            p.table,
            "labels-are-numbers",
            "error",
            f"The labels in {column!r} are numbers on a scale ({kinds:,} different values in "
            f"{rows_of(number)}): "
            "predicting them is regression, not classification.",
            rows,
            "Learn them as numbers with --task regress, turn them into classes (for example low, middle, "
            "high), or name another column with --label.",
            examples=shown,
        )
    if number >= _FEW_IN_ALL and kinds > 0.5 * number:
        return found(
            p.table,
            "labels-are-unique",
            "error",
            f"{kinds:,} different labels in {rows_of(number)}: column {column!r} looks like an "
            "identifier or a "
            "text, not like classes.",
            rows,
            "Name the column that holds the classes with --label.",
            examples=shown,
        )
    return None


def is_scale(labels: Sequence[str], rows: int) -> bool:
    """Whether nearly all labels are numbers, and too many to be codes of classes."""
    values = []
    for label in labels:
        try:
            values.append(float(label.strip().replace(",", ".")))
        except ValueError:
            continue
    numbers = np.array([value for value in values if np.isfinite(value)])
    if len(numbers) < max(0.95 * len(labels), 11):
        return False
    if np.any(numbers != np.round(numbers)):
        return len(numbers) > 20 or len(numbers) > 0.3 * rows
    codes = numbers.max() - numbers.min() + 1 == len(numbers) and rows >= 3 * len(numbers)
    return len(numbers) > 50 and len(numbers) > 0.2 * rows and not codes


def _lists(p: Patient) -> list[Finding]:
    """Labels that are lists: their parts come again in other labels. Names of classes have commas in them too
    ("Home, Garden"): with those there must be fewer parts than labels."""
    for sign in _SEPARATORS:
        several = [label for label in p.classes if sign in label]
        parts = Counter(part.strip() for label in p.classes for part in set(label.split(sign)))
        again = sum(count > 1 for count in parts.values())
        sure = len(parts) < len(p.classes) or (sign not in ",，" and again > 1)
        if len(several) < 3 or not sure or "" in parts:
            continue
        rows = np.flatnonzero(p.usable & np.isin(p.labels, several))
        return [
            found(
                p.table,
                "labels-are-lists",
                "warning",
                f"{rows_of(len(rows))} have a label with {sign!r} in it, made of {len(parts)} parts of which "
                f"{again} come again ({listing([part for part, _ in parts.most_common(4)])}): they look like "
                "lists of labels.",
                rows,
                "Learn them with --task multilabel, which finds each by itself; here every combination is a "
                "class of its own.",
                show=lambda row: f"label {str(p.labels[row])!r}",
            )
        ]
    return []


def _single_rows(p: Patient) -> list[Finding]:
    single = np.flatnonzero(p.counts == 1)
    if not len(single) or len(p.classes) == 1:
        return []
    rows = np.flatnonzero(np.isin(p.codes, single))
    names = [p.classes[i] for i in single]
    spelt = set(names) <= set(spellings(p.classes, p.counts.tolist()))
    return [
        found(
            p.table,
            "single-row-class",
            "error",
            f"{len(single)} of {len(p.classes)} classes "
            f"{'has' if len(single) == 1 else 'have'} a single row ({listing(names)}): "
            "it cannot be both learnt and tested.",
            rows,
            "They are spellings of other labels: run with --fix to unify them, or correct the file."
            if spelt
            else "Add rows of these classes, merge them into a broader class, or remove them.",
            fixable=spelt,
            show=lambda row: f"{p.labels[row]!r}: {p.texts[row]}",
        )
    ]


def _spellings(p: Patient) -> list[Finding]:
    other = spellings(p.classes, p.counts.tolist())
    if not other:
        return []
    rows = np.flatnonzero(p.usable & np.isin(p.labels, list(other)))
    pairs = [f"{old!r} → {new!r}" for old, new in other.items()]
    return [
        found(
            p.table,
            "label-spelling",
            "warning",
            f"{rows_of(len(rows))} {'spells' if len(rows) == 1 else 'spell'} a label differently in case, "
            f"width or spaces ({', '.join(pairs[:4])}{' …' if len(pairs) > 4 else ''}); as it stands each "
            "spelling is a class of its own.",
            rows,
            "Run with --fix to take the most frequent spelling of each, or correct the file.",
            fixable=True,
            show=lambda row: f"label {str(p.labels[row])!r}",
        )
    ]


def _missing_words(p: Patient) -> list[Finding]:
    words = [label for label in p.classes if spelling(label) in _MISSING_WORDS]
    if not words:
        return []
    rows = np.flatnonzero(p.usable & np.isin(p.labels, words))
    return [
        found(
            p.table,
            "label-means-missing",
            "warning",
            f"{rows_of(len(rows))} {'has' if len(rows) == 1 else 'have'} the label {listing(words)}, which "
            "usually means that the label is missing; it is learnt as a class.",
            rows,
            "Empty these cells if the label is missing (such rows are left out), or give the class a "
            "clearer name.",
        )
    ]


def _rare(p: Patient) -> list[Finding]:
    rare = np.flatnonzero((p.counts > 1) & (p.counts < _FEW_IN_CLASS))
    if not len(rare):
        return []
    order = rare[np.argsort(p.counts[rare], kind="stable")]
    names = [f"{excerpt(p.classes[i], 40)!r} ({p.counts[i]})" for i in order]
    return [
        found(
            p.table,
            "rare-class",
            "warning",
            f"{len(rare)} of {len(p.classes)} classes {'has' if len(rare) == 1 else 'have'} fewer than "
            f"{_FEW_IN_CLASS} rows: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}.",
            np.flatnonzero(np.isin(p.codes, rare)),
            "Scores of such classes are nearly chance; add rows, merge classes, or read macro-F1 with care.",
            examples=(),
        )
    ]


def _imbalance(p: Patient) -> list[Finding]:
    if len(p.classes) < 2:
        return []
    large, small = int(p.counts.argmax()), int(p.counts.argmin())
    ratio = p.counts[large] / p.counts[small]
    if ratio <= _IMBALANCE:
        return []
    share = p.counts[large] / p.counts.sum()
    return [
        found(
            p.table,
            "imbalance",
            "warning",
            f"The classes are uneven: {p.classes[large]!r} has {p.counts[large]:,} rows ({percent(share)}), "
            f"{p.classes[small]!r} has {p.counts[small]:,} ({ratio:.1f} times fewer).",
            p.of_class(large),
            "Methods are compared by macro-F1, in which every class counts alike; accuracy alone would "
            "reward "
            "always answering the largest class. loss.class_weights=balanced may help the small classes.",
            examples=(),
        )
    ]


def _over_splits(p: Patient) -> list[Finding]:
    """Classes that a given test or validation part has and the training part has not, or the other way."""
    has = {part: set(p.labels[p.usable & (p.splits == part)].tolist()) for part in ("train", "valid", "test")}
    has["train"] |= set(p.labels[p.usable & (p.splits == "")].tolist())
    findings = []
    for part in ("test", "valid"):
        unseen = sorted(has[part] - has["train"])
        if unseen:
            rows = np.flatnonzero(p.usable & (p.splits == part) & np.isin(p.labels, unseen))
            findings.append(
                found(
                    p.table,
                    f"label-only-in-{part}",
                    "error" if part == "test" else "warning",
                    f"{rows_of(len(rows))} of the {PARTS[part]} part "
                    f"{'has a label' if len(rows) == 1 else 'have labels'} "
                    f"that never occur{'s' if len(rows) == 1 else ''} in the training part: "
                    f"{listing(unseen)}.",
                    rows,
                    "Check the spelling of the labels, add such rows to the training file, or remove these.",
                    show=lambda row: f"{p.labels[row]!r}: {p.texts[row]}",
                )
            )
    untested = sorted(has["train"] - has["test"]) if has["test"] else []
    if untested:
        rows = np.flatnonzero(p.usable & (p.splits != "test") & np.isin(p.labels, untested))
        findings.append(
            found(
                p.table,
                "label-not-in-test",
                "warning",
                f"{len(untested)} of {len(p.classes)} classes do not occur in the test part and cannot "
                "be judged: "
                f"{listing(untested)}.",
                rows,
                "Add rows of these classes to the test file, or let tunelab divide the rows (one file "
                "without split).",
                examples=(),
            )
        )
    return findings
