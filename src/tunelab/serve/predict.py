"""Answers from a bundle."""

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tunelab.config import SpeedConfig
from tunelab.data.layout import Encoded
from tunelab.data.table import Column, Table
from tunelab.errors import CannotMerge, ConfigError, InputError, OutputError
from tunelab.files import folder_atomically, output_errors
from tunelab.serve.bundle import Opened, open_bundle
from tunelab.serve.generate import generate
from tunelab.tasks.base import NoSettings
from tunelab.train.evaluate import predict_logits
from tunelab.train.levers import faster_judging
from tunelab.train.precision import choose

__all__ = ["Specialist"]

log = logging.getLogger("tunelab")

#: One text or many; of a model for pairs, one pair or many.
Texts = str | Sequence[str] | tuple[str, str] | Sequence[tuple[str, str]]


#: Names as given, by themselves.
_PRECISIONS: dict[str, Literal["float32", "auto", "bfloat16"]] = {
    "float32": "float32",
    "auto": "auto",
    "bfloat16": "bfloat16",
}
#: From so many rows on the levers are put on the model: what they first try out costs two small batches.
_MANY = 256


class Specialist:
    """A trained model from a bundle.

    specialist = tunelab.load("tunelab-out/reviews/winner")
    specialist.predict(["It broke after a day."])         # ["negative"]
    specialist.predict_proba(["It broke after a day."])   # a column for every label

    A model for pairs is given pairs: specialist.predict([("a text", "another one")]).

    precision: "float32", the numbers it was judged by; "auto": bfloat16 where the machine gains from it (a
    few labels in a thousand that were near a tie may turn, see docs/performance.md); "bfloat16".
    """

    def __init__(self, opened: Opened, device: str = "cpu", precision: str = "float32") -> None:
        self._opened = opened
        self._device = device
        if precision not in _PRECISIONS:
            raise ConfigError(f"unknown precision {precision!r}; give {', '.join(_PRECISIONS)}")
        self._precision = choose(_PRECISIONS[precision], device)
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "cpu",
        trust_remote_code: bool = False,
        precision: str = "float32",
    ) -> "Specialist":
        """Opens a bundle; raises `BundleError` or `ModelError` where it cannot be, `ConfigError` for an
        unknown precision."""
        return cls(open_bundle(Path(folder), device, trust_remote_code), device, precision)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the model's outputs; none where it answers with numbers."""
        return self._opened.task.labels

    @property
    def pairs(self) -> bool:
        """Whether it reads two texts at a time."""
        return bool(self._opened.manifest.get("pairs", False))

    @property
    def answers(self) -> bool:
        """Whether it writes an answer to a prompt that comes alone."""
        return self._opened.task.answers_too

    @property
    def asks(self) -> tuple[Column, ...]:
        """Columns of new texts in a file, where they have names of their own."""
        return self._opened.task.asks

    @property
    def task(self) -> str:
        """What it does, by the name that `tunelab tasks` lists."""
        return self._opened.task.name

    @property
    def method(self) -> str:
        """How it was trained."""
        return self._opened.method.name

    def predict(self, texts: Texts) -> list[Any]:
        """The most probable label of each text (`str`), all that apply (a list), its number (`float`), or its
        entities (a list of
        `{"start", "end", "type", "confidence"}`, characters, end exclusive), or the answer to a question in
        its context (`{"text", "start", "end", "score"}`); what a model writes after an instruction (`str`;
        one that is aligned judges pairs of a prompt and an answer, and writes after prompts alone);
        of a language model how well it foretells each text (`{"loss", "perplexity", ...}`)."""
        return self._opened.task.answers(self.predict_frame(texts))

    def predict_proba(self, texts: Texts) -> pd.DataFrame:
        """Probabilities, one row a text and one column a label; rows sum to 1, except where a text may have
        several labels, each with a probability of its own.

        Raises:
            InputError: the answers are numbers, which have none.
        """
        if not self.labels:
            raise InputError("this model's answers are no labels, so they have no probabilities; use predict")
        frame = self.predict_frame(texts).drop(columns="prediction")
        frame.columns = pd.Index(self.labels)
        return frame

    def predict_frame(self, texts: Texts) -> pd.DataFrame:
        """`prediction` and what else is known (the probability of every label), one row a text, in the order
        given."""
        task = self._opened.task
        if task.writes or (task.answers_too and not _paired(texts)):
            return pd.DataFrame({"prediction": self._written(texts)})
        table, encoded = self._read(texts)
        self._tell_cut(encoded)
        units = encoded.units_of(np.arange(len(table)))
        return self._opened.task.decode(self._outputs(encoded), table.frame, units)

    def logits(self, texts: Texts) -> np.ndarray:
        """The model's raw outputs in float32, [N, C]; of a model that labels units [all tokens, C].

        Raises:
            InputError: no texts, or something that is no text (of a model for pairs: no pair of texts).
        """
        return self._outputs(self._read(texts)[1])

    def _read(self, texts: Texts) -> tuple[Table, Encoded]:
        rows, pairs = (_pairs if self.pairs else _singles)(texts)
        opened = self._opened
        table = opened.task.asked(rows, pairs, opened.manifest.get("form", {}))
        encoded = opened.task.encode_asked(table, opened.tokenizer, opened.max_length)
        if reason := opened.task.refused(encoded):
            raise InputError(reason)
        return table, encoded

    def _tell_cut(self, encoded: Encoded) -> None:
        """Says how many texts were not read whole."""
        opened = self._opened
        long = int((encoded.whole.lengths > opened.max_length).sum())
        if long and opened.task.cuts(getattr(opened.task, "settings", NoSettings())):
            log.warning(
                "%d of %d texts are longer than the %d tokens that this model was trained to read: the rest "
                "of them does not count",
                long,
                len(encoded.whole),
                opened.max_length,
            )

    def _written(self, texts: Texts) -> list[str]:
        """What the model writes after each text."""
        opened, task = self._opened, self._opened.task
        table = task.asked(_singles(texts)[0], None, opened.manifest.get("form", {}))
        prompts, stops = task.prompts(table, opened.tokenizer), task.stops(opened.tokenizer)
        with self._lock:
            most = task.writes or task.room
            return generate(
                opened.tuned, opened.tokenizer, prompts, stops, most, self._device, beams=task.beams
            )

    def _outputs(self, encoded: Encoded) -> np.ndarray:
        opened = self._opened
        task, model = opened.task, opened.tuned.model
        rows, pad_id = np.arange(len(encoded.tokens)), opened.tokenizer.pad_token_id
        examples = task.examples(encoded, rows, task.blank(encoded), opened.max_length, pad_id)
        keep = task.keep_of(model)
        with self._lock, contextlib.ExitStack() as stack:  # (levers and precision change the model itself)
            if len(rows) >= _MANY:
                fast = faster_judging(opened.tuned, examples, SpeedConfig(), self._precision, None, "")
                examples, _ = stack.enter_context(fast)
            return predict_logits(model, examples, self._precision, keep=keep)

    def export(self, folder: str | Path) -> Path:
        """Writes a plain `transformers` model (adapters merged) that `from_pretrained` loads anywhere.

        Raises:
            CannotMerge: the method is no change of weights; the message says why.
            OutputError: the folder exists and is not empty, or cannot be written.
        """
        target = Path(folder)
        if target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise OutputError(f"{target} exists and is not empty; give a new folder to export to")
        if own := self._opened.task.own_head:
            raise CannotMerge(
                f"this model has {own}, for which `transformers` has no class: it cannot be exported; load "
                "the bundle with tunelab"
            )
        model = self._opened.tuned.merge()
        with output_errors(target), folder_atomically(target) as work:
            model.save_pretrained(work)  # type: ignore[operator]
            self._opened.tokenizer.save_pretrained(work)
        return target


def _paired(texts: Any) -> bool:
    """Whether these are pairs: a tuple of two, or several of them."""
    if isinstance(texts, str):
        return False
    rows = list(texts)
    return isinstance(texts, tuple) or any(not isinstance(row, str) for row in rows)


def _singles(texts: Any) -> tuple[list[str], None]:
    rows = [texts] if isinstance(texts, str) else list(texts)
    if not rows:
        raise InputError("nothing to predict: the list of texts is empty")
    wrong = next((i for i, t in enumerate(rows) if not isinstance(t, str)), None)
    if wrong is not None:
        raise InputError(f"text {wrong} is {type(rows[wrong]).__name__}, not a string: {rows[wrong]!r}")
    return rows, None


def _pairs(texts: Any) -> tuple[list[str], list[str]]:
    """First texts and second texts; two strings alone are one pair."""
    rows = [] if isinstance(texts, str) else list(texts)
    if len(rows) == 2 and all(isinstance(text, str) for text in rows):
        rows = [rows]
    if not rows:
        raise InputError(f"this model reads pairs: give a list of pairs of texts, got {texts!r}")
    for i, pair in enumerate(rows):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InputError(f"row {i} is {pair!r}; this model reads pairs: two texts a row")
    return [first for first, _ in rows], [second for _, second in rows]
