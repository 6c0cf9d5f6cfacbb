"""The contract every task keeps: what is learnt, and everything that differs between kinds of work.

A task never sees a method or the loop. It says which columns it needs, which model class carries it,
how labels become numbers, what is minimised, how outputs become predictions that a person can read,
and how they are scored, with the one score that decides. The contract has four parts, each in a file of its
own and on top of the one before: reading, learning, judging, responding (answers that are written).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunelab.config import LossConfig, Section
from tunelab.tasks._learning import Keep, Objective
from tunelab.tasks._reading import NoSettings
from tunelab.tasks._responding import Inquiry, Responding

__all__ = ["Inquiry", "Keep", "NoSettings", "Objective", "Task"]


class Task(Responding):
    """One kind of work, fitted to one data set (its labels are known)."""

    #: Its name among the `pipeline`s of `transformers`, and what is given there besides the model.
    pipeline: tuple[str, str] = ("text-classification", "")
    #: What is asked in the model card's example: a text, and the second one of a pair.
    said_as: ClassVar[tuple[str, str]] = ("a text", "another one")
    #: Names of the classes where a row's answer is one of them; else none.
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what an answer has probabilities for, in the order of the model's outputs."""
        return self.classes

    @classmethod
    @abstractmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> "Task":
        """The task for these data: `labels` of all rows name the classes, `train_labels` give the
        weights; settings: an instance of `Settings` (None: as they are by default). Raises `DataError` where
        the labels cannot be learnt, `ConfigError` where the loss cannot learn them."""

    @abstractmethod
    def told(self) -> str:
        """What it answers, in a sentence or two of the model card."""

    def plain_use(self, pairs: bool) -> str:
        """Python for the model card: how the plain `transformers` model is asked."""
        kind, options = self.pipeline
        text = '{"text": "a text", "text_pair": "another one"}' if pairs else '"a text"'
        return (
            "from transformers import pipeline\n\n"
            f'pipeline("{kind}", model="path/to/this/folder"{options})({text})'
        )

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """What a bundle keeps of the task (JSON)."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The task from `as_dict`."""
