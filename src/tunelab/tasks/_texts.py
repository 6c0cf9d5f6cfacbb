"""What tasks with one answer for a whole text (or two) have in common: how long texts are read."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunelab.config import LossConfig, Section
from tunelab.data.batch import Examples
from tunelab.data.findings import Finding, found, percent, rows_of
from tunelab.data.layout import Encoded
from tunelab.data.long_texts import both_ends, in_windows
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.tasks._heads import HeadSettings, check_stack, make_head
from tunelab.tasks._own import (
    OwnLoss,
    build_head,
    in_file,
    kept,
    load_head,
    loss_of,
    made_from,
    put_on,
    source_of,
)
from tunelab.tasks.base import Objective, Task

__all__ = ["TextSettings", "Texts"]

_READ = {
    "head": "their beginning is read",
    "head_tail": "their beginning and their end are read",
    "windows": "they are read in windows, whose outputs are averaged",
}


class TextSettings(HeadSettings):
    """Settings of tasks with one answer for a whole text."""

    long: Literal["head", "head_tail", "windows"] = Field(
        "head",
        description="of texts longer than model.max_length: the beginning, beginning and end, or all of "
        "it in windows that overlap (the mean of their outputs decides)",
    )
    objective: str = Field(
        "", description="FILE.py:FUNCTION or MODULE:FUNCTION, a loss of your own: (logits, targets)"
    )


class Texts(Task):
    """One answer for a whole text (or two)."""

    loss: LossConfig
    model_class = "AutoModelForSequenceClassification"
    Settings: ClassVar[type[Section]] = TextSettings
    read_by: ClassVar[tuple[str, ...]] = ("long",)
    #: The pretrained model is a classifier whose head is kept.
    keeps_head: ClassVar[bool] = False

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings
        self.windowed = settings.long == "windows"
        self._code: dict[str, str] = {}
        self._loss: OwnLoss | None = None

    @classmethod
    def own_code(cls, settings: Section) -> dict[str, str]:
        assert isinstance(settings, TextSettings)
        named = {name: getattr(settings, name) for name in ("head", "objective")}
        return {kept(name, own): source_of(own, f"{cls.name}.{name}") for name, own in named.items() if own}

    def take_code(self) -> None:
        self._code = self.own_code(self.settings)
        if self.settings.objective:
            self._check_loss()
            setting = f"{self.name}.objective"
            named = self.settings.objective
            function = made_from(self._code[kept("objective", named)], named, setting)
            outputs = int(self.model_options()["num_labels"])
            self._loss = loss_of(function, outputs, self._some_targets(), setting)

    def for_training(self, examples: Examples) -> Examples:
        rows = super().for_training(examples)
        return replace(rows, one_more=None) if self._loss is not None and self._loss.whole else rows

    def _check_loss(self) -> None:
        if self.loss != LossConfig():
            raise ConfigError(
                f"{self.name}.objective is the whole loss: leave out loss.kind and the other settings of loss"
            )

    @abstractmethod
    def _some_targets(self) -> Tensor:
        """Targets of four rows, to try a loss with."""

    @property
    def code(self) -> dict[str, str]:
        return {name: text for name, text in self._code.items() if name.endswith(".py")}

    @property
    def runs(self) -> str:
        return self.settings.head and (self.settings.head if not in_file(self.settings.head) else "head.py")

    @property
    def own_head(self) -> str:
        if not (self.settings.head or self.settings.shaped):
            return ""
        return f"a head of its own ({self.runs or self.settings.shape})"

    def adopt(self, folder: Path) -> None:
        names = ("head.py", "objective.py")
        self._code = {n: (folder / n).read_text(encoding="utf-8") for n in names if (folder / n).is_file()}
        if self.runs not in ("", "head.py"):
            self._code["head"] = source_of(self.runs, f"{self.name}.head")

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        if not (self.settings.head or self.settings.shaped):
            return model
        if self.settings.head:
            head = self._users_head(model)
        else:
            head = make_head(model, self.settings, self.name)
            # (asked of the pretrained model once: a bundle says it)
            self.settings = self.settings.model_copy(update={"pooling": head.pooling})
        if folder is not None:
            load_head(head, folder)
        return put_on(model, head)

    def _users_head(self, model: Any) -> nn.Module:
        setting, named = f"{self.name}.head", self.settings.head
        if kept("head", named) not in self._code:
            raise ConfigError(f"setting {setting!r}: its code has not been read")
        return build_head(made_from(self._code[kept("head", named)], named, setting), model.config, setting)

    @classmethod
    def check_code(cls, settings: Section, config: Any) -> None:
        assert isinstance(settings, TextSettings)
        cls._check_head(settings)
        if settings.shaped:
            check_stack(config, cls.name)
        if settings.head:
            setting = f"{cls.name}.head"
            source = cls.own_code(settings)[kept("head", settings.head)]
            with torch.random.fork_rng():
                build_head(made_from(source, settings.head, setting), config, setting)

    @classmethod
    def _check_head(cls, settings: TextSettings) -> None:
        if cls.keeps_head and (settings.head or settings.shaped):
            raise ConfigError(
                f"{cls.name} goes on with a trained classifier, whose head is kept: leave out "
                f"{cls.name}.head, {cls.name}.pooling and {cls.name}.head_…"
            )

    def objective_of(self, model: Any) -> Objective:
        return self._loss or self.objective

    def plain_use(self, pairs: bool) -> str:
        if self.own_head:
            return f"# it has {self.own_head}: only tunelab puts it on"
        return super().plain_use(pairs)

    @classmethod
    def cuts(cls, settings: Section) -> bool:
        assert isinstance(settings, TextSettings)
        return settings.long != "windows"

    @classmethod
    def lay_out(cls, encoded: Encoded, tokenizer: Any, max_length: int, settings: Section) -> Encoded:
        assert isinstance(settings, TextSettings)
        if settings.long == "head":
            return encoded
        return (both_ends if settings.long == "head_tail" else in_windows)(encoded, tokenizer, max_length)

    def encode_asked(self, table: Table, tokenizer: Any, max_length: int) -> Encoded:
        encoded = super().encode_asked(table, tokenizer, max_length)
        return self.lay_out(encoded, tokenizer, max_length, self.settings)

    @classmethod
    def check_length(
        cls, table: Table, encoded: Encoded, tokenizer: Any, max_length: int, settings: Section
    ) -> list[Finding]:
        """What each choice would read of the long rows."""
        assert isinstance(settings, TextSettings)
        lengths = encoded.whole.lengths
        rows = np.flatnonzero(lengths > max_length)
        if not len(rows):
            return []
        windows = in_windows(encoded, tokenizer, max_length)
        number = np.diff(windows.firsts)[rows].sum() if windows.firsts is not None else len(rows)
        lost = np.maximum(lengths - max_length, 0).sum()
        cut = np.minimum(lengths, max_length).sum()
        title = (
            f"{rows_of(len(rows))} ({percent(len(rows) / len(lengths))}) "
            f"{'is' if len(rows) == 1 else 'are'} longer than {max_length:,} tokens; with "
            f"{cls.name}.long={settings.long} {_READ[settings.long]}. head loses "
            f"the ends and head_tail the middles, {lost:,} tokens ({percent(lost / lengths.sum())} of all) "
            f"either way; windows loses none, and reads these rows as {number:,} windows in "
            f"{windows.tokens.lengths.sum() / cut:.1f} times the time of all."
        )
        advice = f"Choose with {cls.name}.long=head, head_tail or windows."
        return [found(table, "long-texts", "info", title, rows, advice, examples=())]

    @staticmethod
    def rows_of_items(targets: np.ndarray, encoded: Encoded | None) -> np.ndarray:
        """One target a row of tokens, of one an item."""
        if encoded is None or encoded.firsts is None:
            return targets
        return np.repeat(targets, np.diff(encoded.firsts), axis=0)
