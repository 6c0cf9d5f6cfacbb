"""Extractive question answering: a question's answer is a span of its context, or there is none.

Head: `AutoModelForQuestionAnswering`, two numbers a token, the logits of an answer's start and end (Devlin et
al. 2019, arXiv:1810.04805, section 4.2); an answer that is not in a window starts and ends at its first token
(section 4.3; questions without an answer: Rajpurkar et al. 2018, arXiv:1806.03822). Long contexts are read in
overlapping windows, see data/contexts.py.
    loss = ½ (- log p_start(first token) - log p_end(last token))      p: softmax over a window's tokens
Over windows, spans are compared by log p_start + log p_end, each within its window: logits of different
windows have no common zero. Deciding score: F1 of words as SQuAD's own script has it; in Chinese that of
CMRC 2018, by characters.
"""

# B windows, T tokens, U parts (context tokens of all windows, and one for "no answer" each), N items

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import IGNORED
from tunelab.data.check_answers import (
    MOST,
    answers_in,
    check_answers,
    check_places,
    first_place,
    place_answers,
)
from tunelab.data.check_content import SCRIPTS, script_counts
from tunelab.data.contexts import cut_questions, encode_contexts, is_null, windows_of
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.read_questions import CONTEXT, QUESTION, read_questions
from tunelab.data.table import Table
from tunelab.errors import ConfigError, DataError
from tunelab.measure.answers import answer_items, answer_score_function, answer_scores
from tunelab.measure.statistics import RunScore
from tunelab.tasks.base import Keep, Task

__all__ = ["Answer", "AnswerSettings"]

#: What a token is, as a target: bits, so that an answer of one token is 3.
_START, _END = 1, 2

#: (`transformers` 5 has no pipeline for it.)
_PLAIN_USE = """\
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForQuestionAnswering.from_pretrained("path/to/this/folder")
read = tokenizer("a question", "its context", return_tensors="pt")  # in one window
said = model(**read)
start, end = int(said.start_logits.argmax()), int(said.end_logits.argmax())
tokenizer.decode(read["input_ids"][0, start : end + 1])"""


class AnswerSettings(Section):
    """Settings of answer."""

    max_tokens: int = Field(MOST, ge=1, le=1000, description="an answer has at most so many tokens")
    null_threshold: float = Field(
        0.0,
        description="no answer is given where its log-probability is above the best one's by more than "
        "this (only where training questions have none)",
    )


class Answer(Task):
    """Answers that are spans of a context.

    unanswerable: some training questions have no answer, so the model may say so; chinese: scores are by
    characters.
    """

    name = "answer"
    layouts = "SQuAD JSON, or columns question, context, answer"
    summary = "the answer to a question, found in a text (or none); long texts in windows"
    paper = (
        "Devlin et al., BERT, 2019, arXiv:1810.04805, section 4.2; Rajpurkar et al., 2018, arXiv:1806.03822"
    )
    asks = (QUESTION, CONTEXT)
    exact = True
    model_class = "AutoModelForQuestionAnswering"
    pipeline = ("question-answering", "")
    said_as = ("a question", "its context")
    Settings = AnswerSettings
    windowed = True
    reads = ("text_pair",)
    held = MappingProxyType({"label": "answers"})
    per_token = True
    usual = frozenset(
        {"near-duplicate", "test-near-train", "test-near-valid", "valid-near-train"}  # told by contexts
    )

    def __init__(self, unanswerable: bool, chinese: bool, settings: AnswerSettings) -> None:
        self.unanswerable = unanswerable
        self.chinese = chinese
        self.settings = settings

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        return read_questions(files, chosen)

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        frame = table.frame
        return encode_contexts(frame["text"].tolist(), frame["text_pair"].tolist(), tokenizer, max_length)

    @classmethod
    def refused(cls, encoded: Encoded) -> str:
        cut = cut_questions(encoded)
        return f"question {cut[0]} is longer than half a window of this model; shorten it" if len(cut) else ""

    @classmethod
    def grouping(cls, table: Table) -> list[str]:
        """By context: what is asked about it in training must not be asked in the test."""
        contexts: list[str] = table.frame["text_pair"].tolist()
        return contexts

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        return check_places(table, encoded)

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        own = settings or AnswerSettings()
        assert isinstance(own, AnswerSettings)
        if loss.kind not in ("auto", "cross_entropy") or loss.label_smoothing or loss.class_weights != "none":
            raise ConfigError(
                "answer learns places, by cross-entropy: leave out loss.kind, loss.label_smoothing and "
                "loss.class_weights"
            )
        answers = [answers_in(label) for label in labels]
        if not any(answers):
            raise DataError("no question has an answer: there is nothing to learn")
        texts = [text for own_answers in answers for text, _ in own_answers]
        letters = script_counts(texts).sum(axis=0)
        chinese = bool(2 * letters[SCRIPTS.index("Han")] > letters.sum())
        return cls(any(not answers_in(label) for label in train_labels), chinese, own)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_answers(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        return ["answer" if answers_in(label) else "no answer" for label in labels]

    @property
    def deciding(self) -> str:
        return "f1"

    def model_options(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        """Its outputs also have `logits`, [B, T, 2]: start and end."""
        model.__class__ = _with_logits(type(model))
        return model

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """Bits of each token: 1, an answer starts here; 2, it ends here. A row without either is not learnt
        from: its question has an answer, but it is not known where, or no window shows it whole."""
        assert encoded is not None
        assert encoded.units is not None
        units, targets = encoded.units, self.blank(encoded)
        answers = [answers_in(label) for label in labels]
        placed = place_answers([first_place(own) for own in answers], units)
        none_N = np.array([not own for own in answers], dtype=bool)
        _, item_R = windows_of(units)
        here_R = placed.first >= 0
        absent_R = ~here_R & (none_N | placed.whole)[item_R]
        null_R = np.flatnonzero(is_null(units))
        targets[units.tokens[np.where(here_R, placed.first, null_R)[here_R | absent_R]]] += _START
        targets[units.tokens[np.where(here_R, placed.last, null_R)[here_R | absent_R]]] += _END
        return targets

    def blank(self, encoded: Encoded) -> np.ndarray:
        return np.zeros(len(encoded.tokens.ids), dtype=np.int64)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As in `transformers`, but that padding is no token of a window."""
        known_B = (targets > 0).any(1)
        logs_BT2 = _log_softmax(logits[known_B], targets[known_B])
        start_B = ((targets[known_B] & _START) > 0).long().argmax(1)
        end_B = ((targets[known_B] & _END) > 0).long().argmax(1)
        found_B2 = [logs_BT2[..., i].gather(1, at_B[:, None]) for i, at_B in enumerate((start_B, end_B))]
        return -torch.cat(found_B2).sum() / 2, known_B.sum()

    def keep_of(self, model: Any) -> Keep | None:
        """Log-probabilities within each window."""
        return _log_softmax

    def truth_of(self, items: pd.DataFrame) -> Any:
        """The contexts, and the references of each question."""
        return items["text_pair"].tolist(), [_texts(label) for label in items["label"]]

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        assert units is not None
        found = [
            _words(text, *span)
            for text, span in zip(items["text_pair"], self._spans(outputs, units), strict=True)
        ]
        return pd.DataFrame(found, columns=["prediction", "start", "end", "score"])

    def _spans(self, outputs: np.ndarray, units: Units) -> list[tuple[int, int, float]]:
        """[start, end) in characters and probability of each item's best answer; (-1, -1): none."""
        best = best_spans(outputs, units, self.settings.max_tokens)
        given_N = best.first >= 0
        if self.unanswerable:
            given_N &= best.null - best.score <= self.settings.null_threshold
        starts = np.where(given_N, units.spans[best.first, 0], -1).tolist()
        ends = np.where(given_N, units.spans[best.last, 1], -1).tolist()
        shares = np.exp(np.where(given_N, best.score, best.null)).tolist()
        return list(zip(starts, ends, shares, strict=True))

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        assert units is not None
        contexts, references = truth
        spans = self._spans(outputs, units)
        said = [_words(text, *span)[0] for text, span in zip(contexts, spans, strict=True)]
        return answer_scores(said, references, chinese=self.chinese)

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        references = [_texts(label) for label in predictions["label"]]
        return answer_score_function(
            "f1", predictions["prediction"].tolist(), references, chinese=self.chinese
        )

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """1 - F1."""
        references = [_texts(label) for label in predictions["label"]]
        items = answer_items(predictions["prediction"].tolist(), references, chinese=self.chinese)
        missing: np.ndarray = 1.0 - items["f1"]
        return missing

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """Of each question its answer: text, start and end (after the last character) in the context, score
        (its probability); where there is none the text is empty, and start and end are None."""
        columns = [predictions[name].tolist() for name in ("prediction", "start", "end", "score")]
        return [
            {"text": text, "start": start, "end": end, "score": score}
            if text
            else {"text": "", "start": None, "end": None, "score": score}
            for text, start, end, score in zip(*columns, strict=True)
        ]

    def shown(self, label: str, text: str = "") -> str:
        return " | ".join(dict.fromkeys(_texts(label))) or "–"

    def answer_shown(self, said: Any, text: str = "") -> str:
        return str(said) or "–"

    def told(self) -> str:
        none = " or says that there is none" if self.unanswerable else ""
        return (
            f"It answers a question with a span of a text{none}: the text's own characters, at most "
            f"{self.settings.max_tokens} tokens."
        )

    def plain_use(self, pairs: bool) -> str:
        return _PLAIN_USE

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "unanswerable": self.unanswerable,
            "chinese": self.chinese,
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        settings = AnswerSettings(**values["settings"])
        return cls(bool(values["unanswerable"]), bool(values["chinese"]), settings)


@dataclass(frozen=True)
class Best:
    """Of N items: the first and last part of the best span (-1: the item has no context token), its
    log-probability, and that of "no answer" in the window which is least sure of it."""

    first: np.ndarray
    last: np.ndarray
    score: np.ndarray
    null: np.ndarray


def best_spans(outputs: np.ndarray, units: Units, most: int) -> Best:
    """The best spans over all windows of each item, of at most `most` tokens; between equals the first, and
    the shorter. outputs: [all tokens, 2] log-probabilities of start and end."""
    start_U, end_U = outputs[units.tokens].T.astype(np.float64)
    null_U = is_null(units)
    window_U, item_R = windows_of(units)
    item_U = item_R[window_U]
    count = len(units)
    null_N = np.full(count, np.inf)
    np.minimum.at(null_N, item_U[null_U], (start_U + end_U)[null_U])
    score_U = np.where(null_U, -np.inf, start_U + end_U)
    last_U = np.arange(len(start_U))
    for more in range(1, min(most, len(start_U))):
        total = start_U[:-more] + end_U[more:]
        better = (window_U[:-more] == window_U[more:]) & ~null_U[:-more] & (total > score_U[:-more])
        score_U[:-more][better] = total[better]
        last_U[:-more][better] = np.flatnonzero(better) + more
    order = np.lexsort((-np.arange(len(score_U)), score_U, item_U))  # an item's best one comes last
    at_N = order[np.searchsorted(item_U[order], np.arange(count), side="right") - 1]
    known = np.isfinite(score_U[at_N])
    return Best(np.where(known, at_N, -1), np.where(known, last_U[at_N], -1), score_U[at_N], null_N)


def _log_softmax(logits_BT2: Tensor, targets_BT: Tensor) -> Tensor:
    """Over a window's own tokens (padding, whose target is IGNORED, is far below)."""
    padding_BT1 = (targets_BT == IGNORED)[..., None]
    return logits_BT2.float().masked_fill(padding_BT1, -1e30).log_softmax(1)


def _with_logits(kind: type[Any]) -> type[Any]:
    """The class itself, but that its outputs have `logits` beside `start_logits` and `end_logits`. (No hook:
    PEFT calls a model's `forward` past its hooks.)"""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = kind.forward(self, *args, **kwargs)
        found.logits = torch.stack([found.start_logits, found.end_logits], dim=-1)
        return found

    own = {"forward": functools.wraps(kind.forward)(forward), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)


def _words(context: str, start: int, end: int, score: float) -> tuple[str, int, int, float]:
    """The span's text without blanks around it, and its place; an empty text where there is none."""
    text = context[start:end] if start >= 0 else ""
    bare = text.strip()
    if not bare:
        return "", -1, -1, score
    begin = start + len(text) - len(text.lstrip())
    return bare, begin, begin + len(bare), score


def _texts(label: str) -> list[str]:
    return [text for text, _ in answers_in(label)]
