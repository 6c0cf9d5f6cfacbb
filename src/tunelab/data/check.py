"""The data doctor: what is wrong with a table, what it means, what to do, and what can be mended safely."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.data.check_content import check_content
from tunelab.data.check_labels import check_labels, spellings
from tunelab.data.check_repeats import check_missing, check_repeats, leaks, repeats
from tunelab.data.check_tokens import check_tokens
from tunelab.data.findings import PARTS, Finding, Patient, TokenFacts, found, rows_of
from tunelab.data.plain import says_something
from tunelab.data.similar import duplicate_groups, exact_groups, near_groups
from tunelab.data.table import Table
from tunelab.errors import DataError

__all__ = [
    "NEAR_CHARACTERS",
    "ORDER",
    "Finding",
    "Labels",
    "TokenFacts",
    "check",
    "drop_unusable",
    "fix",
    "stop_on_errors",
]


@dataclass(frozen=True)
class Labels:
    """How a task's labels are looked at.

    check: its own findings; needed: a row without a label is of no use; named: they are names of classes, of
    which `fix` may unify the spellings.
    """

    check: Callable[[Patient], list[Finding]] = check_labels
    needed: bool = True
    named: bool = True


#: The worst first.
ORDER = {"error": 0, "warning": 1, "info": 2}
NEAR_CHARACTERS = 100_000_000  # near-duplicates are not looked for in more text than this (about 1 minute)


def check(
    table: Table,
    tokens: TokenFacts | None = None,
    max_length: int | None = None,
    groups: np.ndarray | None = None,
    labels: Labels = Labels(),
) -> list[Finding]:
    """Everything the user should know about the data: errors, then warnings, then information.

    tokens: what the model's tokenizer makes of the rows; max_length: tokens of a text that are kept;
    groups: near-duplicate groups of the rows, where the caller has them already (else they are looked for);
    labels: how the task looks at them.
    About 5 s for 100,000 short rows on one core and 30 s for a million, half of it for near-duplicates.
    """
    patient = _examine(table, groups, look_for_near=True, needed=labels.needed)
    findings = check_missing(patient)
    if not any(finding.code in ("no-text", "no-label") for finding in findings) and patient.usable.any():
        findings += labels.check(patient)
        findings += check_repeats(patient)
        findings += _near_skipped(patient)
        findings += check_content(patient)
        if tokens is not None:
            findings += check_tokens(patient, tokens, max_length)
    return sorted(findings, key=lambda finding: ORDER[finding.severity])


def _examine(
    table: Table, groups: np.ndarray | None = None, *, look_for_near: bool, needed: bool = True
) -> Patient:
    frame = table.frame
    texts = [str(text) for text in table.texts]
    said = _said(table)
    bare = "" if needed else "-"  # what has no label needs none
    labels = np.array([str(label) or bare for label in frame["label"]], dtype=object)
    splits = np.array([str(split) for split in frame["split"]], dtype=object)
    if groups is None and look_for_near and sum(map(len, texts)) <= NEAR_CHARACTERS:
        groups = near_groups(texts)
    return Patient(
        table,
        [text if bare else "" for text, bare in zip(texts, said, strict=True)],
        labels,
        splits,
        said & np.array([bool(label.strip()) for label in labels], dtype=bool),
        exact_groups(texts),
        duplicate_groups(texts),
        groups,
    )


def _said(table: Table) -> np.ndarray:
    """Rows whose text (of a pair: both texts) holds anything at all."""
    parts = [table.frame[name] for name in ("text", "text_pair") if name in table.frame]
    return np.array(
        [all(says_something(str(text)) for text in texts) for texts in zip(*parts, strict=True)], dtype=bool
    )


def _near_skipped(p: Patient) -> list[Finding]:
    if p.near is not None:
        return []
    size = sum(map(len, p.texts))
    title = f"Near-duplicates were not looked for: {size:,} characters are more than {NEAR_CHARACTERS:,}."
    advice = "Texts that differ only in case, punctuation and spacing were found all the same."
    return [found(p.table, "near-duplicates-skipped", "info", title, advice=advice)]


def stop_on_errors(findings: Sequence[Finding]) -> None:
    """Raise one `DataError` that lists every finding of severity "error"; return where there is none."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    lines = []
    for finding in errors:
        lines.append(f"{finding.title} [{finding.code}]")
        lines += [f"    {example}" for example in finding.examples]
        lines += [f"  → {finding.advice}"] if finding.advice else []
    head = "the data cannot be used as they are" + (f" ({len(errors)} reasons)" if len(errors) > 1 else "")
    raise DataError("\n".join([f"{head}:", *lines]))


def drop_unusable(table: Table, needed: bool = True) -> tuple[Table, list[str]]:
    """The table without rows that have no text or (where one is needed) no label, and what was left out."""
    texts = _said(table)
    labels = np.array([not needed or bool(str(label).strip()) for label in table.frame["label"]], dtype=bool)
    notes = []
    if not texts.all():
        notes.append(f"left out {rows_of(int((~texts).sum()))} with an empty text{_where(table, ~texts)}")
    if not labels[texts].all():
        notes.append(
            f"left out {rows_of(int((texts & ~labels).sum()))} without a "
            f"label{_where(table, texts & ~labels)}"
        )
    return _keep(table, texts & labels), notes


def fix(table: Table, how: Labels = Labels()) -> tuple[Table, list[str]]:
    """The table with what can be mended safely, and a sentence for every change.

    Left out: rows without text or label; later copies of a row (same characters, same label, same
    split); rows of the training part whose text is in the validation or test part, and of the
    validation part whose text is in the test part (case, punctuation and spacing aside). Label
    spellings that differ only in case, width or spaces become the most frequent one. The test part
    loses only unusable rows and copies within itself.
    One text with two labels is left as it is: which label is right only a person knows, and dropping
    the rows would hide that the labelling is uncertain just there. `check` reports them.
    """
    table, notes = drop_unusable(table, how.needed)
    frame = table.frame
    counts = frame["label"].value_counts()
    other = spellings([str(name) for name in counts.index], counts.tolist()) if how.named else {}
    if other:
        changed = int(frame["label"].isin(list(other)).sum())
        pairs = ", ".join(f"{old!r} → {new!r}" for old, new in sorted(other.items()))
        notes.append(f"unified the label spelling of {rows_of(changed)} ({pairs})")
        frame = frame.assign(label=[other.get(str(label), str(label)) for label in frame["label"]])
        table = Table(frame, table.columns, table.notes, table.source)
    patient = _examine(table, look_for_near=False, needed=how.needed)
    gone = np.zeros(len(table), dtype=bool)
    gone[repeats(patient)] = True
    if gone.any():
        notes.append(f"left out {rows_of(int(gone.sum()))} that repeat an earlier row{_where(table, gone)}")
    for part, where, _, there in leaks(patient, patient.same):
        again = np.zeros(len(table), dtype=bool)
        again[there] = True
        again &= ~gone
        if again.any():
            notes.append(
                f"left out {rows_of(int(again.sum()))} of the {PARTS[where]} part whose text is also in the "
                f"{PARTS[part]} part{_where(table, again)}"
            )
        gone |= again
    return _keep(table, ~gone), notes


def _where(table: Table, rows: np.ndarray) -> str:
    positions = np.flatnonzero(rows)
    return (
        f" ({', '.join(table.where(int(row)) for row in positions[:3])}{', …' if len(positions) > 3 else ''})"
    )


def _keep(table: Table, rows: np.ndarray) -> Table:
    if rows.all():
        return table
    return Table(table.frame[rows].reset_index(drop=True), table.columns, table.notes, table.source)
