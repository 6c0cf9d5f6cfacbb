"""What tasks on pairs of answers have in common: how they are read, checked, encoded and grouped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from tunelab.config import LossConfig, Section
from tunelab.data.check_preferences import check_cut, check_preferences, mend_preferences
from tunelab.data.findings import Finding, Patient
from tunelab.data.items import as_json
from tunelab.data.layout import Encoded
from tunelab.data.messages import said, turns
from tunelab.data.read_conversations import read_preferences
from tunelab.data.table import Column, Table
from tunelab.data.votes import said_of, votes_in
from tunelab.errors import ConfigError, DataError, InputError
from tunelab.measure.preference import preference_score_function, right
from tunelab.measure.statistics import RunScore
from tunelab.tasks._sequences import Answers, dress_for_answers, encode_answers
from tunelab.tasks.base import Task

__all__ = ["Pairs", "readable"]

#: Columns of a file whose answers are to be judged.
PROMPT = Column("text", ("prompt", "instruction", "question", "query", "text", "指令", "问题"))
ANSWER = Column("text_pair", ("answer", "response", "output", "completion", "chosen", "回答", "答案", "输出"))


class Pairs(Task):
    """An item is a prompt with two answers, of which one was preferred; the prediction is by how much the
    model prefers it."""

    needs_labels = False
    baselines = ("length",)
    said_as = ("a prompt", "an answer")
    asks = (PROMPT, ANSWER)
    held = MappingProxyType({"text": "messages", "label": "votes"})
    #: Prompts are JSON, and a prompt may have many pairs.
    usual = frozenset({"near-duplicate", "truncation-by-class"})

    def __init__(self, loss: LossConfig, settings: Section) -> None:
        if loss != LossConfig():
            changed = sorted(loss.model_dump(exclude_defaults=True))
            raise ConfigError(
                f"loss.{changed[0]} is for labels and numbers; {self.name} has losses of its own: see "
                f"{self.name}'s settings"
            )
        self.loss = loss
        self.settings = settings

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        try:
            return readable(read_preferences(files, chosen))
        except DataError as error:
            if "as the better answers" not in str(error):
                raise
            raise DataError(
                f"{error}. (Ratings of single answers, a text and a score, are task regress; whole "
                "conversations to imitate are task instruct)"
            ) from None

    @classmethod
    def mend(cls, table: Table) -> tuple[Table, list[str]]:
        return mend_preferences(table)

    @classmethod
    def dress(cls, tokenizer: Any, settings: Section) -> list[str]:
        return [] if cls.separators(tokenizer) else list(filter(None, [dress_for_answers(tokenizer)]))

    @classmethod
    def separators(cls, tokenizer: Any) -> bool:
        """Whether prompt and answer are told apart by separators; else they are a conversation."""
        return False

    @classmethod
    def grouping(cls, table: Table) -> list[str] | None:
        """Prompts: all pairs of one stay on one side of a split."""
        return [_prompt_text(cell) for cell in table.frame["text"]]

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        frame = table.frame
        prompts = [json.loads(cell) for cell in frame["text"]]
        sides = [frame[name].tolist() for name in ("chosen", "rejected") if name in frame]
        places = None
        if "file" in frame:
            places = [f"{file} row {row}" for file, row in zip(frame["file"], frame["row"], strict=True)]
        answers, apart = list(zip(*sides, strict=True)), cls.separators(tokenizer)
        return encode_answers(prompts, answers, tokenizer, max_length, places, separators=apart)

    @classmethod
    def asked(cls, texts: Sequence[str], pairs: Sequence[str] | None, form: Mapping[str, Any]) -> Table:
        """Prompts (texts, or conversations as JSON lists of messages) and an answer to each."""
        if pairs is None:
            raise InputError(f"{cls.name} judges answers: give pairs of a prompt and an answer")
        return Table(
            pd.DataFrame(
                {
                    "text": [as_json(_messages(text)) for text in texts],
                    "chosen": list(pairs),
                    "label": "",
                    "split": "",
                }
            ),
            {},
        )

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        return cls(loss, settings or cls.Settings())

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_preferences(patient)

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        return check_cut(table, encoded)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        return [""] * len(labels)

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """[N, 2] of each pair: the share of annotators who took the chosen side, and the margin."""
        return np.array([said_of(label) for label in labels], dtype=np.float32).reshape(-1, 2)

    def blank(self, encoded: Encoded) -> np.ndarray:
        items = len(encoded.tokens) if encoded.firsts is None else len(encoded.firsts) - 1
        return np.tile(np.array([1.0, 0.0], dtype=np.float32), (items, 1))

    def examples(
        self, encoded: Encoded, rows: np.ndarray, targets: np.ndarray, max_length: int, pad_id: int
    ) -> Answers:
        sides = 1 if encoded.firsts is None else 2
        return Answers(encoded.tokens, targets, rows[::sides], max_length, pad_id, width=sides, sides=sides)

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return preference_score_function(*_judged(predictions))

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        return 1.0 - right(*_judged(predictions))

    def shown(self, label: str, text: str = "") -> str:
        return " : ".join(f"{votes:g}" for votes in votes_in(label))

    def as_dict(self) -> dict[str, Any]:
        return {"task": self.name, "settings": self.settings.model_dump()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(LossConfig(), cls.Settings(**values["settings"]))


def _judged(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """By how much the chosen side is preferred, and the share of annotators who took it."""
    shares = [said_of(label)[0] for label in predictions["label"]]
    return predictions["prediction"].to_numpy(np.float64), np.array(shares)


def readable(table: Table) -> Table:
    """The same with prompts as a person reads them (`said`), beside their messages."""
    return replace(table, frame=table.frame.assign(said=[_prompt_text(cell) for cell in table.frame["text"]]))


def _prompt_text(cell: str) -> str:
    return "\n".join(message["content"] for message in json.loads(cell))


def _messages(text: str) -> list[dict[str, str]]:
    """A prompt: a conversation as JSON, or the words of a user."""
    if text.lstrip().startswith("[{"):
        try:
            return turns(json.loads(text))
        except (ValueError, DataError):
            pass
    return [said("user", text)]
