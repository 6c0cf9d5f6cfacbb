"""The contract every task keeps: what is learnt, and everything that differs between kinds of work.

A task never sees a method or the loop. It says which columns it needs, which model class carries it,
how labels become numbers, what is minimised, how outputs become predictions that a person can read,
and how they are scored, with the one score that decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import Examples
from tunelab.data.check import Labels
from tunelab.data.encode import encode
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.read import read
from tunelab.data.table import Column, Table
from tunelab.errors import ConfigError
from tunelab.measure.statistics import RunScore
from tunelab.rlhf.rewards import Reward

__all__ = ["Inquiry", "Keep", "NoSettings", "Objective", "Task"]

#: (logits, targets) -> summed loss and count of a micro-batch.
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
#: (logits, targets) -> what is kept of a batch's outputs, [B, ...] or [B, T, C].
Keep = Callable[[Tensor, Tensor], Tensor]


class NoSettings(Section):
    """A task without settings of its own."""


@dataclass(frozen=True)
class Inquiry:
    """Items whose answers a model is to write.

    items: their columns, as far as the task reads them; prompts: token ids of what each answer goes on from
    (of an encoder-decoder: of what the encoder reads), without padding; untouched: the context in which the
    pretrained model is to be had as it was before this one was trained; remember: gives what a function
    computes, once for all that are asked the same (a name tells apart what is computed); context: in which a
    model runs in the precision that is wanted; rewards: those that the task's settings name; at_once: all in
    one batch.
    """

    items: pd.DataFrame
    prompts: Sequence[Sequence[int]]
    tokenizer: Any
    untouched: Callable[[Any], AbstractContextManager[Any]]
    remember: Callable[[str, Callable[[], np.ndarray]], np.ndarray]
    context: Callable[[Any], AbstractContextManager[Any]]
    device: str = "cpu"
    rewards: Mapping[str, Reward] = field(default_factory=dict)
    at_once: bool = False


class Task(ABC):
    """One kind of work, fitted to one data set (its labels are known).

    An *item* is a row of the user's table; a model may read it in several *rows* of tokens (see
    `data/layout.py`), and what it answers may be about *units* of the item.
    """

    name: ClassVar[str]
    #: One line for `tunelab tasks`.
    summary: ClassVar[str]
    #: What it learns from, in the words of the field.
    paper: ClassVar[str] = ""
    #: Columns that are read from the user's file.
    columns: ClassVar[tuple[Column, ...]] = ()
    #: What its files look like, for `tunelab tasks`, where columns do not say it.
    layouts: ClassVar[str] = ""
    #: Of pairs of a prompt and an answer it judges the answer; to prompts alone it writes one.
    answers_too: ClassVar[bool] = False
    #: Columns of new texts, where they have names of their own; their cells are taken exactly as they are.
    asks: ClassVar[tuple[Column, ...]] = ()
    #: Its name among the `pipeline`s of `transformers`, and what is given there besides the model.
    pipeline: tuple[str, str] = ("text-classification", "")
    #: What is asked in the model card's example: a text, and the second one of a pair.
    said_as: ClassVar[tuple[str, str]] = ("a text", "another one")
    #: The `transformers` class that loads the pretrained model with this task's head; an instance may have
    #: one of its own, where `settle` chose by the model.
    model_class: str
    #: The task's own settings (`tag.head=crf`).
    Settings: ClassVar[type[Section]] = NoSettings
    #: Settings that decide how the rows are read: they are the same in a whole study.
    read_by: ClassVar[tuple[str, ...]] = ()
    #: A row without a label is of no use.
    needs_labels: ClassVar[bool] = True
    #: Labels are names, whose spellings may be unified.
    named_labels: ClassVar[bool] = False
    #: Long items are cut into windows, so that none of them is truncated.
    windowed: bool = False
    #: Findings of the data doctor that say nothing of such data (the task tells what matters itself).
    usual: ClassVar[frozenset[str]] = frozenset()
    #: Role -> how its cells are held where they are no plain texts (see data/write_rows.py), so that mended
    #: rows can be read again.
    held: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Columns of texts that `decode` reads (workers get no others).
    reads: ClassVar[tuple[str, ...]] = ()
    #: Targets are one a token, not one a row.
    per_token: ClassVar[bool] = False
    #: The loss is a sum over tokens that are asked for, each by its own logits over the vocabulary.
    token_by_token: ClassVar[bool] = False
    #: Its baselines (see `study/baselines.py`); None: those for classes, or for numbers.
    baselines: ClassVar[tuple[str, ...] | None] = None
    #: Names of the classes where a row's answer is one of them; else none.
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what an answer has probabilities for, in the order of the model's outputs."""
        return self.classes

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        """The user's files as a table; raises `DataError`."""
        return read(files, cls.columns, chosen)

    @classmethod
    def settle(cls, settings: Section, head: str, name: str) -> Section:
        """The settings with what they leave to the model; head: which language model's head it comes with
        ("causal", "masked" or ""); name: of the model. Raises `ConfigError` where the model cannot do it."""
        return settings

    @classmethod
    def dress(cls, tokenizer: Any, settings: Section) -> list[str]:
        """Gives the tokenizer, in place, what this task's rows are written with and a bundle keeps; returns
        what the user should know. Raises `ConfigError` where it cannot be."""
        return []

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        """The items as a model reads them (cache: kept on disk); raises `DataError` where it cannot."""
        frame = table.frame
        pairs = frame["text_pair"].tolist() if "text_pair" in frame else None
        tokens = encode(frame["text"].tolist(), tokenizer, pairs=pairs, cache=cache)
        return Encoded(tokens, tokens)

    @classmethod
    def cuts(cls, settings: Section) -> bool:
        """Whether items longer than a model reads lose something."""
        return not cls.windowed

    @classmethod
    def lay_out(cls, encoded: Encoded, tokenizer: Any, max_length: int, settings: Section) -> Encoded:
        """The same items, the long ones shown as the settings say."""
        return encoded

    def encode_asked(self, table: Table, tokenizer: Any, max_length: int) -> Encoded:
        """New items as this task's model reads them."""
        return self.encode(table, tokenizer, max_length, cache=False)

    @classmethod
    def check_length(
        cls, table: Table, encoded: Encoded, tokenizer: Any, max_length: int, settings: Section
    ) -> list[Finding]:
        """What the data doctor has to say of long items, beside what is cut."""
        return []

    @classmethod
    def form(cls, table: Table) -> dict[str, Any]:
        """What of the data's form a bundle must keep to read new texts as the training ones (JSON)."""
        return {}

    @classmethod
    def asked(cls, texts: Sequence[str], pairs: Sequence[str] | None, form: Mapping[str, Any]) -> Table:
        """New texts as a table without labels; form: as `form` gave it."""
        frame = pd.DataFrame({"text": list(texts)})
        if pairs is not None:
            frame["text_pair"] = list(pairs)
        return Table(frame.assign(label="", split=""), {})

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        """What the data doctor has to say of what the tokenizer makes of the labels."""
        return []

    @classmethod
    def example(cls, encoded: Encoded, tokenizer: Any) -> str:
        """A row as the model reads it, to be shown before training; "": nothing to see."""
        return ""

    @classmethod
    def mend(cls, table: Table) -> tuple[Table, list[str]]:
        """What `fix` does beyond what it does for every task, and a sentence for every change."""
        return table, []

    @classmethod
    def refused(cls, encoded: Encoded) -> str:
        """Why new texts cannot be read whole; "" where they can."""
        return ""

    @classmethod
    def grouping(cls, table: Table) -> list[str] | None:
        """A text of each row: rows of which it is (nearly) the same stay on one side of every split; None:
        all that a model reads."""
        return None

    @classmethod
    def own_code(cls, settings: Section) -> dict[str, str]:
        """Python files of the user's that the settings name: what a bundle calls them, and their text. Raises
        `ConfigError` where one cannot be read."""
        return {}

    @classmethod  # noqa: B027 (most tasks have none)
    def check_code(cls, settings: Section, config: Any) -> None:
        """Tries out a head of the user's; config: the model's. Raises `ConfigError`."""

    def take_code(self) -> None:  # noqa: B027 (most tasks have none)
        """Reads and tries out the files that the settings name, before a training. Raises `ConfigError`."""

    def adopt(self, folder: Path) -> None:  # noqa: B027 (as above)
        """Reads them from a bundle that may run its code."""

    @property
    def code(self) -> dict[str, str]:
        """What a bundle must hold of them."""
        return {}

    @classmethod
    def labels_check(cls) -> Labels:
        """How the data doctor looks at this task's labels."""
        return Labels(cls.check_labels, cls.needs_labels, cls.named_labels)

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
        """How far two outputs for the same rows are apart, KL both ways, summed over rows (`train.r_drop`).

        Raises:
            ConfigError: this task's outputs are no distribution.
        """
        raise ConfigError(
            f"train.r_drop is for tasks whose outputs are classes, labels or numbers; {self.name} has none "
            "of these: leave it out"
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

    @property
    def written(self) -> bool:
        """Whether it is judged by what a model writes (`respond`), not by what it makes of given rows."""
        return False

    @property
    def room(self) -> int:
        """Tokens among a model's positions that a written answer takes, at most."""
        return 0

    def rewards(self) -> tuple[str, ...]:
        """Names of the rewards by which answers are judged or improved (see study/rewarding.py)."""
        return ()

    @property
    def online(self) -> bool:
        """Whether it learns from what the model itself writes."""
        return False

    def remarks(self, predictions: pd.DataFrame) -> list[str]:
        """What a user should know of a run's predictions besides their scores."""
        return []

    @property
    def continues(self) -> bool:
        """Whether an answer goes on with the text of its prompt."""
        return False

    def prompts_of(self, encoded: Encoded, items: np.ndarray) -> list[np.ndarray]:
        """Token ids of what the answers to these items go on from, where answers are written."""
        raise NotImplementedError

    def respond(self, model: Any, asked: Inquiry) -> np.ndarray:
        """What the model writes and what is to be said of it, one row an item, [N, K] object: `decode` and
        `scores` read it in the place of outputs. Equal for equal weights; draws on no global generator."""
        raise NotImplementedError

    def write(self, model: Any, asked: Inquiry) -> None:
        """The same as far as the model has a part in it: what is timed."""
        self.respond(model, asked)

    @property
    def writes(self) -> int:
        """How many tokens an answer has at most that the model writes; 0: it writes none."""
        return 0

    def prompts(self, table: Table, tokenizer: Any) -> list[list[int]]:
        """Token ids of what the model is to go on from, one an item."""
        raise NotImplementedError

    def halves(self, text: str, label: str) -> tuple[str, str]:
        """Of an item what the model is given and what it is to write, as a person reads them."""
        return text, self.shown(label)

    def stops(self, tokenizer: Any) -> list[int]:
        """Ids of tokens that end what it writes."""
        raise NotImplementedError

    def shown(self, label: str) -> str:
        """A label as a person reads it."""
        return label

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
