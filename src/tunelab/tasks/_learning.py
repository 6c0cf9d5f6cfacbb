"""What a task teaches: the model's class and head, targets, and what is minimised."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from tunelab.config import Section
from tunelab.data.batch import Examples
from tunelab.data.layout import Encoded
from tunelab.errors import ConfigError
from tunelab.tasks._reading import Reading

__all__ = ["Keep", "Learning", "Objective"]

#: (logits, targets) -> summed loss and count of a micro-batch.
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
#: (logits, targets) -> what is kept of a batch's outputs, [B, ...] or [B, T, C].
Keep = Callable[[Tensor, Tensor], Tensor]


class Learning(Reading):
    """The part of a task's contract that a training needs."""

    #: The `transformers` class that loads the pretrained model with this task's head; an instance may have
    #: one of its own, where `settle` chose by the model.
    model_class: str
    #: Targets are one a token, not one a row.
    per_token: ClassVar[bool] = False
    #: The loss is a sum over tokens that are asked for, each by its own logits over the vocabulary.
    token_by_token: ClassVar[bool] = False

    @classmethod
    def own_code(cls, settings: Section) -> dict[str, str]:
        """Python files of the user's that the settings name: what a bundle calls them, and their text. Raises
        `ConfigError` where one cannot be read."""
        return {}

    @classmethod
    def check_code(cls, settings: Section, config: Any) -> None:
        """Tries out a head of the user's; config: the model's. Raises `ConfigError`."""

    def take_code(self) -> None:
        """Reads and tries out the files that the settings name, before a training. Raises `ConfigError`."""

    def adopt(self, folder: Path) -> None:
        """Reads them from a bundle that may run its code."""

    @property
    def code(self) -> dict[str, str]:
        """What a bundle must hold of them."""
        return {}

    @property
    def runs(self) -> str:
        """Code of the user's that runs when a bundle is opened: "head.py", which it holds, or a module's
        MODULE:NAME; "": none."""
        return ""

    @property
    def own_head(self) -> str:
        """What its head is, where no class of `transformers` has it; else ""."""
        return ""

    @abstractmethod
    def model_options(self) -> dict[str, Any]:
        """Options for the model's configuration (number and names of labels)."""

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        """The pretrained class with what this task's head has besides, in place; its weights are taken from
        `folder` where that is a saved model that has them. Draws no random number."""
        return model

    @abstractmethod
    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """Labels as the numbers the objective wants: one a row of tokens, or (`per_token`) one a token."""

    def blank(self, encoded: Encoded) -> np.ndarray:
        """Targets of items whose labels are not known, for prediction."""
        return np.zeros(len(encoded.tokens), dtype=np.int64)

    def examples(
        self, encoded: Encoded, rows: np.ndarray, targets: np.ndarray, max_length: int, pad_id: int
    ) -> Examples:
        """Rows of tokens ready for the loop."""
        return Examples(encoded.tokens, targets, rows, max_length, pad_id, self.per_token)

    def for_training(self, examples: Examples) -> Examples:
        """The same rows as the loop trains on them."""
        return examples

    @abstractmethod
    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss and count of a micro-batch."""

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """How far two outputs for the same rows (`per_token`: the same tokens that have a target, [N, C]) are
        apart, KL both ways, summed over them (`train.r_drop`).

        Raises:
            ConfigError: this task's outputs are no distribution.
        """
        raise ConfigError(
            "train.r_drop is for tasks whose outputs are classes, labels, entities or numbers; "
            f"{self.name} has none of these: leave it out"
        )

    def objective_of(self, model: Any) -> Objective:
        """The objective of this model, where it has parameters of its own."""
        return self.objective

    def keep_of(self, model: Any) -> Keep | None:
        """What is kept of this model's outputs; None: its logits."""
        return None

    def refers(self, training: bool) -> bool:
        """Whether rows (training: those that are trained on) are held against the untouched model."""
        return False

    def referred(self, examples: Examples, outputs: np.ndarray) -> Examples:
        """Rows that know what the untouched model says of them; outputs: as `keep_of` keeps them."""
        raise NotImplementedError

    def outputs_of(self, preference_N: np.ndarray, lengths: Sequence[np.ndarray]) -> np.ndarray:
        """Outputs of a rule that prefers one of two answers by so much; lengths: of both."""
        raise NotImplementedError

    @property
    def online(self) -> bool:
        """Whether it learns from what the model itself writes."""
        return False
