"""From records to the table: one row a method, with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tunelab.measure.statistics import bootstrap_interval, score_of

__all__ = ["Row", "summarise"]


@dataclass(frozen=True)
class Row:
    """What the table says of one method.

    score: mean over seeds on the test items (over folds: on all rows, each judged once a seed).
    low, high: its 95 % interval over items and seeds; spread: standard deviation over seeds (NaN with
    one); valid: mean validation score, which alone chooses the winner. Costs are means of a run.
    """

    method: str
    baseline: bool
    deciding: str
    score: float
    low: float
    high: float
    spread: float
    valid: float
    valid_loss: float
    runs: int
    failed: int
    train_seconds: float
    peak_memory_bytes: float
    trained_parameters: float
    trained_share: float
    bundle_bytes: float


def summarise(
    records: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    seeds: int,
    folds: int,
    failed: Mapping[str, int],
) -> list[Row]:
    """One row a method, methods by descending score, then the baselines.

    records: of finished runs; folders: where each one's predictions are.
    """
    by_method: dict[str, list[tuple[Mapping[str, Any], Path]]] = {}
    for record, folder in zip(records, folders, strict=True):
        by_method.setdefault(record["method"], []).append((record, folder))
    rows = [_row(name, runs, seeds, folds, failed.get(name, 0)) for name, runs in by_method.items()]
    return sorted(rows, key=lambda row: (row.baseline, -row.score))


def _row(name: str, runs: list[tuple[Mapping[str, Any], Path]], seeds: int, folds: int, failed: int) -> Row:
    deciding = runs[0][0]["deciding"]
    predicted, targets = _predictions(runs, 1 if runs[0][0].get("baseline") else seeds, folds)
    scores = [score_of(deciding, row, targets) for row in predicted]
    low, high = bootstrap_interval(deciding, predicted, targets)

    def mean(section: str, field: str) -> float:
        values = [record[section].get(field) for record, _ in runs]
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else float("nan")

    return Row(
        method=name,
        baseline=bool(runs[0][0].get("baseline")),
        deciding=deciding,
        score=float(np.mean(scores)),
        low=low,
        high=high,
        spread=float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan"),
        valid=mean("valid", deciding),
        valid_loss=mean("valid", "loss"),
        runs=len(runs),
        failed=failed,
        train_seconds=mean("cost", "train_seconds"),
        peak_memory_bytes=mean("cost", "peak_memory_bytes"),
        trained_parameters=mean("cost", "trained_parameters"),
        trained_share=mean("cost", "trained_share"),
        bundle_bytes=mean("cost", "bundle_bytes"),
    )


def _predictions(
    runs: list[tuple[Mapping[str, Any], Path]], seeds: int, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes [S, N] and targets [N] over the items of all folds, in the order of items."""
    by_seed: dict[int, list[pd.DataFrame]] = {}
    for record, folder in runs:
        by_seed.setdefault(record["seed"] // folds, []).append(
            pd.read_parquet(folder / "predictions.parquet")
        )
    frames = [pd.concat(parts).sort_values("item") for parts in by_seed.values() if len(parts) == folds]
    if not frames:  # a fold failed for every seed: what there is, once
        frames = [pd.concat([part for parts in by_seed.values() for part in parts]).drop_duplicates("item")]
    labels = sorted(set(frames[0]["label"]) | {p for f in frames for p in f["prediction"]})
    number = {label: i for i, label in enumerate(labels)}
    targets = frames[0]["label"].map(number).to_numpy(dtype=np.int64)
    predicted = np.stack([f["prediction"].map(number).to_numpy(dtype=np.int64) for f in frames])
    return predicted, targets
