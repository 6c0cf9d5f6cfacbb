"""The data doctor on labels that are numbers: what is none, what does not vary, what lies far outside."""

import math

import numpy as np

from tunelab.data.findings import Finding, Patient, found, percent, rows_of

__all__ = ["check_numbers", "number"]

_FEW_IN_ALL = 20
#: Beyond so many interquartile ranges from the quartiles a number is shown (Tukey's "far out" is 3).
_FAR = 6.0
_FEW_VALUES = 5


def number(label: str) -> float | None:
    """The number that a label is, or None; a comma may stand for the point.

    >>> number("3.5"), number(" 2,75 "), number("high"), number("nan")
    (3.5, 2.75, None, None)
    """
    text = label.strip()
    for written in (text, text.replace(",", ".", 1)):
        try:
            value = float(written)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return None


def check_numbers(p: Patient) -> list[Finding]:
    """Findings on the labels of the usable rows, where they should be numbers."""
    rows = np.flatnonzero(p.usable)
    values = [number(str(p.labels[row])) for row in rows]
    findings = _too_few(p, len(rows))
    wrong = rows[[value is None for value in values]]
    if len(wrong):
        return [*findings, _no_numbers(p, wrong, len(rows))]
    values_N = np.array(values, dtype=np.float64)
    if len(np.unique(values_N)) == 1:
        return [*findings, _constant(p, rows, float(values_N[0]))]
    return [*findings, *_few_values(p, values_N), *_far_out(p, rows, values_N)]


def _too_few(p: Patient, count: int) -> list[Finding]:
    if count >= _FEW_IN_ALL:
        return []
    title = f"Only {rows_of(count)} with a text and a number; a comparison needs at least {_FEW_IN_ALL}."
    advice = "Label more rows: a few hundred give a first answer."
    return [found(p.table, "too-few-rows", "error", title, advice=advice, count=count, examples=())]


def _no_numbers(p: Patient, wrong: np.ndarray, count: int) -> Finding:
    column = p.table.columns.get("label", "label")
    return found(
        p.table,
        "label-no-number",
        "error",
        f"{rows_of(len(wrong))} of {count:,} {'has' if len(wrong) == 1 else 'have'} a label in "
        f"{column!r} that is no number.",
        wrong,
        "Correct or empty these cells (rows without a label are left out), name another column with --label, "
        "or learn the labels as classes (--task classify; --task match for pairs).",
        show=lambda row: f"label {str(p.labels[row])!r}",
    )


def _constant(p: Patient, rows: np.ndarray, value: float) -> Finding:
    title = f"All {rows_of(len(rows))} have the number {value:g}: there is nothing to learn."
    advice = "Name another column with --label."
    return found(p.table, "one-number", "error", title, rows, advice, examples=())


def _few_values(p: Patient, values_N: np.ndarray) -> list[Finding]:
    kinds = np.unique(values_N)
    if len(kinds) > _FEW_VALUES:
        return []
    listed = ", ".join(f"{kind:g}" for kind in kinds)
    title = f"The numbers have {len(kinds)} different values only ({listed})."
    advice = "If they name classes rather than amounts, learn them with --task classify."
    return [found(p.table, "few-values", "info", title, advice=advice, count=len(values_N), examples=())]


def _far_out(p: Patient, rows: np.ndarray, values_N: np.ndarray) -> list[Finding]:
    low, high = np.quantile(values_N, (0.25, 0.75))
    far = np.maximum(low - values_N, values_N - high) > _FAR * (high - low)
    if not far.any() or high == low:
        return []
    return [
        found(
            p.table,
            "far-out",
            "warning",
            f"{rows_of(int(far.sum()))} ({percent(far.mean())}) {'has' if far.sum() == 1 else 'have'} a "
            f"number far from the others (half of them lie between {low:g} and {high:g}).",
            rows[far],
            "Look whether these are slips of the hand; squared errors are ruled by them, loss.kind=huber is "
            "not.",
            show=lambda row: f"{str(p.labels[row])!r}: {p.texts[row]}",
        )
    ]
