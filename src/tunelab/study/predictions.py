"""The predictions of finished runs, read back: what the verdict is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tunelab.measure.metrics import softmax
from tunelab.measure.statistics import RunScore
from tunelab.study.run import read_record
from tunelab.tasks.base import Task

__all__ = ["Judged", "codes_of", "frames_of", "gather", "truth"]


@dataclass(frozen=True)
class Judged:
    """A method's predictions over the same N items for all methods, one score function a seed.

    errors_SN: how wrong each prediction is (0: right); said_SN: the predictions themselves. Of tasks with
    classes also, predicted_SN: their numbers, confidence_SN: the probability of the predicted class; else
    both are None. parts: of each seed, F1 by class or type. folders: of the runs.
    """

    name: str
    scores: tuple[RunScore, ...]
    errors_SN: np.ndarray
    said_SN: np.ndarray
    predicted_SN: np.ndarray | None
    confidence_SN: np.ndarray | None
    folders: tuple[Path, ...]
    parts: tuple[Mapping[str, RunScore], ...] = ()

    @property
    def items(self) -> int:
        """N."""
        return int(self.errors_SN.shape[1])


def gather(name: str, folders: Sequence[Path], task: Task, folds: int) -> Judged | None:
    """Predictions of one method, seed by seed; seeds that lack a fold are left out, None: all do."""
    by_seed: dict[int, list[Path]] = {}
    for folder in folders:
        by_seed.setdefault(read_record(folder)["seed"] // folds, []).append(folder)
    whole = [parts for _, parts in sorted(by_seed.items()) if len(parts) == folds]
    if not whole:
        return None
    frames = [_frame(parts) for parts in whole]
    known = bool(task.classes)
    return Judged(
        name=name,
        scores=tuple(task.run_score(frame) for frame in frames),
        errors_SN=np.stack([task.errors(frame) for frame in frames]),
        said_SN=np.stack([frame["prediction"].to_numpy() for frame in frames]),
        predicted_SN=np.stack([_codes(frame["prediction"], task) for frame in frames]) if known else None,
        confidence_SN=np.stack([_confidence(frame) for frame in frames]) if known else None,
        folders=tuple(folder for parts in whole for folder in parts),
        parts=tuple(task.part_scores(frame) for frame in frames),
    )


def frames_of(folders: Sequence[Path], folds: int) -> list[pd.DataFrame]:
    """The predictions of `Judged.folders`, one frame a seed."""
    return [_frame(folders[first : first + folds]) for first in range(0, len(folders), folds)]


def truth(folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and positions in the table of the items of these folders, in the order of positions."""
    frame = _frame(folders).drop_duplicates("item")
    return frame["label"].to_numpy(), frame["item"].to_numpy()


def codes_of(labels_N: np.ndarray, task: Task) -> np.ndarray:
    """Class numbers of labels."""
    return _codes(pd.Series(labels_N), task)


def _codes(names: pd.Series, task: Task) -> np.ndarray:
    return names.map({label: i for i, label in enumerate(task.classes)}).to_numpy(dtype=np.int64)


def _confidence(frame: pd.DataFrame) -> np.ndarray:
    logits = frame[[c for c in frame.columns if c.startswith("logit(")]].to_numpy()
    if not logits.shape[1]:  # (of items in windows there is no one row of them)
        logits = np.log(frame[[c for c in frame.columns if c.startswith("p(")]].to_numpy())
    best: np.ndarray = softmax(logits).max(1)
    return best


def _frame(folders: Sequence[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(f / "predictions.parquet") for f in folders]).sort_values("item")
