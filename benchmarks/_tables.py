"""Numbers of measured processes as cells and rows of Markdown tables."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks._bench import OURS, Bench, Training, layer_parameters
from tunelab.measure.pairs import SeedPool, compare_pair, seed_pool
from tunelab.measure.statistics import RunScore, mean_interval, score_function

__all__ = ["Measured", "cells", "failure", "ratios", "spread", "table", "versus_table"]

Record = dict[str, Any]
#: Passes a matrix takes part in, by method: forward, gradient to inputs, gradient of weights; 2 operations a
#: number and token each. What a method adds (LoRA 0.7 %) and products between tokens are not counted.
_WHOLE, _THROUGH, _FORWARD = 6, 4, 2
_THROUGH_METHODS = ("lora", "adapter", "prefix", "prompt")


class Measured:
    """What the sides of one job gave; a side that failed has its error."""

    def __init__(self, job: str, training: Training, records: Mapping[str, Sequence[Record]]) -> None:
        self.job = job
        self.training = training
        self.records = {side: list(found) for side, found in records.items()}

    def failed(self, side: str) -> str:
        return failure(self.records[side])


def failure(records: Sequence[Record]) -> str:
    """The first error, or nothing."""
    error = next((record["error"] for record in records if "error" in record), "")
    return f"fails: {error}".replace("|", "\\|") if error else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """Median, and in brackets the smallest and largest.

    >>> spread([2.0, 1.0, 9.0]), spread([2.0])
    ('2.00 (1.00-9.00)', '2.00')
    """
    low, middle, high = (_short(pick(values) * scale) for pick in (min, median, max))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(records: Sequence[Record], *names: str) -> list[str]:
    """Median and range of what was measured; bytes as MB."""
    scales = {name: 1e-6 if name.endswith("_bytes") else 1.0 for name in names}
    return [spread([record[name] for record in records], scales[name]) for name in names]


def ratios(theirs: Sequence[Record], ours: Sequence[Record], name: str = "seconds") -> str:
    """Theirs over ours, repeat by repeat."""
    return spread([a[name] / b[name] for a, b in zip(theirs, ours, strict=True)])


def versus_table(bench: Bench, found: Sequence[Measured]) -> str:
    """Both sides of every job: one row a side."""
    pools = _pools(bench, found)
    head = ["job", "side", "seconds", "times tunelab", "of it validation", "whole process", "peak MB"]
    head += ["padding", "of products' ceiling", "accuracy", "tunelab minus it [95 %]"]
    rows = []
    for measured in found:
        pool = pools[_items_of(bench, measured)]
        rows += [_row(bench, measured, side, pool) for side in measured.records]
    return table(head, rows)


def _row(bench: Bench, measured: Measured, side: str, pool: SeedPool | None) -> list[str]:
    error, records = measured.failed(side), measured.records[side]
    if error:
        return [measured.job, side, error, *[""] * 8]
    seconds, validation, whole, memory = cells(
        records, "seconds", "evaluation_seconds", "whole_seconds", "peak_memory_bytes"
    )
    padding = f"{100 * median(record['padding_share'] for record in records):.1f} %"
    runs = _scores(bench, measured, side)
    items = len(bench.test_rows(measured.training)[0])
    accuracy, low, high = mean_interval(runs, items)
    ratio, difference = "1", ""
    if side != OURS and OURS in measured.records and not measured.failed(OURS):
        ratio = ratios(records, measured.records[OURS])
        pair = compare_pair(_scores(bench, measured, OURS), runs, items, pool=pool)
        difference = f"{pair.value:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]"
    share = _share(bench, measured, side)
    score = f"{accuracy:.4f} [{low:.3f}, {high:.3f}]"
    return [measured.job, side, seconds, ratio, validation, whole, memory, padding, share, score, difference]


def _scores(bench: Bench, measured: Measured, side: str) -> list[RunScore]:
    items, labels = bench.test_rows(measured.training)
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    targets_N = np.array([numbers[label] for label in labels])
    found = []
    for record in measured.records[side]:
        assert record.get("items", items) == items, "judged on other rows"
        predicted_N = np.array([numbers.get(label, -1) for label in record["predictions"]])
        found.append(score_function("accuracy", predicted_N, targets_N))
    return found


def _items_of(bench: Bench, measured: Measured) -> str:
    training = measured.training
    return f"{bench.prepared(training).digest} {training.device}"


def _pools(bench: Bench, found: Sequence[Measured]) -> dict[str, SeedPool | None]:
    """Seeds' variances, pooled over everything that was judged on the same rows, as a study does."""
    groups: dict[str, list[list[RunScore]]] = {}
    for measured in found:
        group = groups.setdefault(_items_of(bench, measured), [])
        group += [_scores(bench, measured, s) for s in measured.records if not measured.failed(s)]
    sizes = {_items_of(bench, m): len(bench.test_rows(m.training)[0]) for m in found}
    return {key: seed_pool(group, sizes[key]) for key, group in groups.items()}


# Of what the machine can


def operations(training: Training, folder: str, tokens: int) -> float:
    """Floating-point operations of a training on so many tokens (without padding), done as it is written
    down: a side that leaves out what cannot change the result has a larger share of the ceiling for it."""
    layer, depth = layer_parameters(folder)
    if training.method in ("full", "layer_decay"):
        each = _WHOLE * layer * depth
    elif training.method in _THROUGH_METHODS:
        each = _THROUGH * layer * depth
    elif training.method == "top_layers":
        top = min(training.settings.get("layers", 2), depth)
        each = _FORWARD * layer * (depth - top) + _WHOLE * layer * top
    elif training.method == "head":
        each = _FORWARD * layer * depth
    else:
        return math.nan
    return float(each * tokens)


def _share(bench: Bench, measured: Measured, side: str) -> str:
    """Of the products' ceiling in the number format that the side trains in, validation left out."""
    ceiling, training = bench.ceiling(measured.training.device), measured.training
    if failure([ceiling]):
        return ""
    precision = measured.records[side][0]["precision"]
    folder = str(bench.prepared(training).base.folder)
    shares = [
        operations(training, folder, record["tokens"])
        / (record["seconds"] - record["evaluation_seconds"])
        / ceiling[precision]
        for record in measured.records[side]
    ]
    return f"{100 * median(shares):.0f} % of {precision}"
