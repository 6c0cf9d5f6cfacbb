"""The predictions of finished runs, read back: what the verdict is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tunelab.measure.statistics import RunScore
from tunelab.study.prepare import Prepared
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

    def class_runs(self) -> dict[str, list[RunScore]]:
        """F1 of each class or type that some item has, or is said to have, one a seed."""
        runs = {label: [own[label] for own in self.parts] for label in (self.parts or ({},))[0]}
        return {
            label: of
            for label, of in runs.items()
            if any(run.support_N is None or run.support_N.any() for run in of)
        }


def groups_of(prepared: Prepared, task: Task) -> np.ndarray | None:
    """The number of each item's group, where items belong together by the user's word or by the task's
    (questions on one text, pairs of one prompt); None: each stands for itself."""
    frame = prepared.table.frame
    by_task = task.grouping(prepared.table)
    if "group" in frame and (frame["group"] != "").any():
        keys = [own or f"row {i}" for i, own in enumerate(frame["group"])]
    elif by_task is not None:
        keys = list(by_task)
    else:
        return None
    codes_N: np.ndarray = np.unique(np.array(keys, dtype=object), return_inverse=True)[1]
    return codes_N


def gather(
    name: str, folders: Sequence[Path], task: Task, folds: int, groups: np.ndarray | None = None
) -> Judged | None:
    """Predictions of one method, seed by seed; seeds that lack a fold are left out, None: all do. groups: as
    `groups_of` gives them."""
    by_seed: dict[int, list[Path]] = {}
    for folder in folders:
        by_seed.setdefault(read_record(folder)["seed"] // folds, []).append(folder)
    whole = [parts for _, parts in sorted(by_seed.items()) if len(parts) == folds]
    if not whole:
        return None
    frames = [_frame(parts) for parts in whole]
    known = bool(task.classes)
    scores = tuple(_score(frame, task) for frame in frames)
    parts = tuple(task.part_scores(frame) for frame in frames)
    if groups is not None:
        own_N = np.unique(groups[frames[0]["item"].to_numpy()], return_inverse=True)[1]
        if own_N.max() + 1 < len(own_N):
            for score in (*scores, *(part for own in parts for part in own.values())):
                score.groups_N = own_N
    return Judged(
        name=name,
        scores=scores,
        errors_SN=np.stack([task.errors(frame) for frame in frames]),
        said_SN=np.stack([frame["prediction"].to_numpy() for frame in frames]),
        predicted_SN=np.stack([_codes(frame["prediction"], task) for frame in frames]) if known else None,
        confidence_SN=np.stack([_confidence(frame) for frame in frames]) if known else None,
        folders=tuple(folder for parts in whole for folder in parts),
        parts=parts,
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
    best: np.ndarray = frame[[c for c in frame.columns if c.startswith("p(")]].to_numpy().max(1)
    return best


def _score(frame: pd.DataFrame, task: Task) -> RunScore:
    """The deciding score; a correlation within each fold, whose models have offsets and scales of their own,
    and the folds weighed by their items."""
    folds_N = frame["fold"].to_numpy()
    if task.deciding != "spearman" or not folds_N.max():
        return task.run_score(frame)
    places = [np.flatnonzero(folds_N == fold) for fold in np.unique(folds_N)]
    parts = [(at, task.run_score(frame.iloc[at])) for at in places]

    def score(weights_RN: np.ndarray) -> np.ndarray:
        sums = [(weights_RN[:, at].sum(1), own(weights_RN[:, at])) for at, own in parts]
        found: np.ndarray = sum(weight * value for weight, value in sums) / weights_RN.sum(1)
        return found

    return RunScore(score, bounds=parts[0][1].bounds)


def _frame(folders: Sequence[Path]) -> pd.DataFrame:
    parts = [pd.read_parquet(f / "predictions.parquet").assign(fold=i) for i, f in enumerate(folders)]
    return pd.concat(parts).sort_values("item")
