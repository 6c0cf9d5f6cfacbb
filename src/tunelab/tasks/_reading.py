"""How a task's data come in: the user's files, what the doctor says of them, and the rows of tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd

from tunelab.config import Section
from tunelab.data.check import Labels
from tunelab.data.encode import encode
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded
from tunelab.data.read import read
from tunelab.data.table import Column, Table

__all__ = ["NoSettings", "Reading"]


class NoSettings(Section):
    """A task without settings of its own."""


class Reading(ABC):
    """The part of a task's contract that is about data. An *item* is a row of the user's table; a model may
    read it in several *rows* of tokens (see `data/layout.py`), and what it answers may be about *units* of
    the item."""

    name: ClassVar[str]
    #: One line for `tunelab tasks`.
    summary: ClassVar[str]
    #: What it learns from, in the words of the field.
    paper: ClassVar[str] = ""
    #: Columns that are read from the user's file.
    columns: ClassVar[tuple[Column, ...]] = ()
    #: What its files look like, for `tunelab tasks`, where columns do not say it.
    layouts: ClassVar[str] = ""
    #: Columns of new texts, where they have names of their own; their cells are taken exactly as they are.
    asks: ClassVar[tuple[Column, ...]] = ()
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
    def labels_check(cls) -> Labels:
        """How the data doctor looks at this task's labels."""
        return Labels(cls.check_labels, cls.needs_labels, cls.named_labels)

    @classmethod
    @abstractmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        """What the data doctor has to say of the labels."""

    @classmethod
    @abstractmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        """The stratum of each row: every part of a split gets its share of each."""
