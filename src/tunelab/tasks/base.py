"""The contract every task keeps: what is learnt, and everything that differs between kinds of work.

A task never sees a method or the loop. It says which columns it needs, which model class carries it,
how labels become numbers, what is minimised, how outputs become predictions that a person can read,
and how they are scored, with the one score that decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from tunelab.config import LossConfig
from tunelab.data.findings import Finding, Patient
from tunelab.data.table import Column
from tunelab.measure.statistics import RunScore

__all__ = ["Task"]


class Task(ABC):
    """One kind of work, fitted to one data set (its labels are known)."""

    name: ClassVar[str]
    #: One line for `tunelab tasks`.
    summary: ClassVar[str]
    #: What it learns from, in the words of the field.
    paper: ClassVar[str] = ""
    #: Columns that are read from the user's file.
    columns: ClassVar[tuple[Column, ...]]
    #: The `transformers` class that loads the pretrained model with this task's head.
    model_class: ClassVar[str]
    #: Names of the classes where a row's answer is one of them; else none.
    classes: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def fit(cls, labels: Sequence[str], train_labels: Sequence[str], loss: LossConfig) -> "Task":
        """The task for these data: `labels` of all rows name the classes, `train_labels` give the
        weights. Raises `DataError` where the labels cannot be learnt, `ConfigError` where the loss cannot
        learn them."""

    @classmethod
    @abstractmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        """What the data doctor has to say of the labels."""

    @classmethod
    @abstractmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        """The stratum of each row: every part of a split gets its share of each."""

    @property
    @abstractmethod
    def deciding(self) -> str:
        """The name of the score that decides; higher is better."""

    @abstractmethod
    def model_options(self) -> dict[str, Any]:
        """Options for the model's configuration (number and names of labels)."""

    @abstractmethod
    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """Labels as the numbers the objective wants, one row each."""

    @abstractmethod
    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss and count of a micro-batch."""

    @abstractmethod
    def decode(self, logits: np.ndarray) -> pd.DataFrame:
        """Predictions a person can read: a column `prediction`, then what else is known (one probability a
        class)."""

    @abstractmethod
    def scores(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Every score of these rows, the deciding one first."""

    @abstractmethod
    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        """The deciding score as a function of item weights, from a run's predictions: a frame with `label`
        and what `decode` gave."""

    @abstractmethod
    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """How wrong each row's prediction is, [N] float64; 0: right. From the same frame as `run_score`."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """What a bundle keeps of the task (JSON)."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The task from `as_dict`."""
