"""How a task's outputs become predictions that a person can read, and how they are scored."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tunelab.data.layout import Encoded, Units
from tunelab.measure.statistics import RunScore
from tunelab.tasks._learning import Learning

__all__ = ["Judging"]


class Judging(Learning):
    """The part of a task's contract by which runs are judged, compared and shown."""

    #: Columns of texts that `decode` reads (workers get no others).
    reads: ClassVar[tuple[str, ...]] = ()
    #: The deciding score is a loss a token: only models that cut texts into the same tokens can be compared.
    judged_by_token: ClassVar[bool] = False
    #: Whether an answer without an error is simply right; of numbers and losses one is only nearer.
    exact: ClassVar[bool] = False
    #: Its baselines (see `study/baselines.py`); None: those for classes, or for numbers.
    baselines: ClassVar[tuple[str, ...] | None] = None

    @classmethod
    def judgeable(cls, encoded: Encoded) -> np.ndarray | None:
        """Which items a model can be judged by, [N] bool: of some everything that counts may be cut off.
        None: all of them."""
        return None

    @property
    @abstractmethod
    def deciding(self) -> str:
        """The name of the score that decides; higher is better."""

    def same(self, outputs: np.ndarray) -> np.ndarray:
        """What of the outputs a reloaded model must give again to 1e-4."""
        return outputs

    def truth(self, labels: Sequence[str]) -> Any:
        """What `scores` holds outputs against, one an item."""
        return self.targets(labels)

    def truth_of(self, items: pd.DataFrame) -> Any:
        """The same from the items' columns (`label`, and those in `reads`)."""
        return self.truth(items["label"].tolist())

    @abstractmethod
    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        """Predictions a person can read, one row an item: a column `prediction`, then what else is known (one
        probability a class). items: the items' columns, as far as the task reads them (`text`); units: as
        `Encoded.units_of` gives them."""

    @abstractmethod
    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        """Every score of these items, the deciding one first."""

    @abstractmethod
    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        """The deciding score as a function of item weights, from a run's predictions: a frame with `label`
        and what `decode` gave."""

    def part_scores(self, predictions: pd.DataFrame) -> dict[str, RunScore]:
        """F1 of each class or type, where answers have such, as `run_score` gives the deciding score."""
        return {}

    @abstractmethod
    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """How wrong each item's prediction is, [N] float64; 0: right. From the same frame as `run_score`."""

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """Predictions as Python values, from what `decode` gave."""
        found: list[Any] = predictions["prediction"].tolist()
        return found

    def remarks(self, predictions: pd.DataFrame) -> list[str]:
        """What a user should know of a run's predictions besides their scores."""
        return []

    def shown(self, label: str, text: str = "") -> str:
        """A label as a person reads it. text: its item's, where a label points into it."""
        return label

    def answer_shown(self, said: Any, text: str = "") -> str:
        """A prediction (of the column that `decode` gives) as a person reads it."""
        return f"{said:.4g}" if isinstance(said, float) else self.shown(str(said), text)
