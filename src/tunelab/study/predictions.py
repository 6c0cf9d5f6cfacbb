"""The predictions of finished runs, read back: what the verdict is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tunelab.measure.metrics import softmax
from tunelab.measure.statistics import RunScore, score_function
from tunelab.study.run import read_record

__all__ = ["Judged", "gather", "targets_of"]


@dataclass(frozen=True)
class Judged:
    """A method's predictions: one score function a seed, over the same N items for all methods.

    predicted_SN: classes; confidence_SN: probability of the predicted class; folders: of its runs.
    """

    name: str
    scores: tuple[RunScore, ...]
    predicted_SN: np.ndarray
    confidence_SN: np.ndarray
    folders: tuple[Path, ...]


def gather(
    name: str, folders: Sequence[Path], labels: Sequence[str], deciding: str, folds: int
) -> Judged | None:
    """Predictions of one method, seed by seed; seeds that lack a fold are left out, None: all do."""
    by_seed: dict[int, list[Path]] = {}
    for folder in folders:
        by_seed.setdefault(read_record(folder)["seed"] // folds, []).append(folder)
    whole = [parts for _, parts in sorted(by_seed.items()) if len(parts) == folds]
    if not whole:
        return None
    number = {label: i for i, label in enumerate(labels)}
    predicted, confidence, scores = [], [], []
    for parts in whole:
        frame = _frame(parts)
        classes = frame["prediction"].map(number).to_numpy(dtype=np.int64)
        targets = frame["label"].map(number).to_numpy(dtype=np.int64)
        logits = frame[[c for c in frame.columns if c.startswith("logit(")]].to_numpy()
        predicted.append(classes)
        confidence.append(softmax(logits).max(1))
        scores.append(score_function(deciding, classes, targets))
    return Judged(
        name, tuple(scores), np.stack(predicted), np.stack(confidence), tuple(f for p in whole for f in p)
    )


def targets_of(folders: Sequence[Path], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True classes and positions in the table of the items of these folders, in the order of positions."""
    number = {label: i for i, label in enumerate(labels)}
    frame = _frame(folders).drop_duplicates("item")
    return frame["label"].map(number).to_numpy(dtype=np.int64), frame["item"].to_numpy()


def _frame(folders: Sequence[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(f / "predictions.parquet") for f in folders]).sort_values("item")
