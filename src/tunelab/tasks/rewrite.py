"""Rewriting: from a source its summary, title, translation, correction, or the same in another language.

    an encoder-decoder   reads prefix and source; the decoder learns the target
                         (Raffel et al. 2020, T5, arXiv:1910.10683; Lewis et al. 2020, BART, arXiv:1910.13461)
    a language model     reads the source as its chat template has a question, and learns the target
    loss                 cross-entropy of the target's tokens and the one that ends it, nats a token

It is judged by what it writes, the likeliest token each time (or beams), against one or more references:
ROUGE, BLEU, chrF or exact match, in Chinese by characters (measure/generation.py). Validation writes, too:
the step that is kept is the one whose texts score best. That a bundle is what was trained is checked by the
loss of given targets, which does not turn on a rounding.
"""

# B items of a batch, T tokens, N items, R resamples

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from tunelab.config import LossConfig, Section
from tunelab.data.batch import Examples
from tunelab.data.check_rewrites import MOST, check_cut, check_rewrites
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.read_pairs import read_rewrites
from tunelab.data.table import Table
from tunelab.data.templates import dress, stop_tokens
from tunelab.errors import ConfigError
from tunelab.measure.generation import (
    generation_items,
    generation_score_function,
    generation_scores,
    has_words,
    is_chinese,
)
from tunelab.measure.statistics import RunScore
from tunelab.tasks._rewriting import (
    SourceTarget,
    encode_rewrites,
    for_encoder,
    kept,
    prompts_of,
    with_prefix,
)
from tunelab.tasks._tokens import Foretelling, after
from tunelab.tasks._writing import AT_ONCE, write
from tunelab.tasks.base import Inquiry

__all__ = ["Rewrite", "RewriteSettings"]

log = logging.getLogger("tunelab")

_SHOWN = 1500  # characters of the example that is shown before training
#: What decides, by the setting's word.
_DECIDING = {"rouge": "rougeL", "bleu": "bleu", "chrf": "chrf", "exact_match": "exact_match"}
#: What of an item by itself says how wrong it is (BLEU of one text says little).
_OF_AN_ITEM = {"rouge": "rougeL", "bleu": "chrf", "chrf": "chrf", "exact_match": "exact_match"}

_PLAIN_USE = """\
from transformers import {kind}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = {kind}.from_pretrained("path/to/this/folder")
asked = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "a text"}}], tokenize=False, add_generation_prompt=True
)
read = tokenizer(asked, {options}return_tensors="pt")
written = model.generate(**read, max_new_tokens={most}, num_beams={beams}, do_sample=False)
tokenizer.decode(written[0]{after}, skip_special_tokens=True)"""


class RewriteSettings(Section):
    """Settings of rewrite."""

    metric: Literal["rouge", "bleu", "chrf", "exact_match"] = Field(
        "rouge", description="the score that decides: ROUGE-L, BLEU, chrF or exact match"
    )
    prefix: str = Field(
        "", description='stands before every source, such as "summarize: ", where a model was taught with one'
    )
    max_new_tokens: int = Field(MOST, ge=1, le=32768, description="tokens that are written, at most")
    beams: int = Field(1, ge=1, le=64, description="beams of the search (1: the likeliest token each time)")
    template: Literal["auto", "chatml", "alpaca", "plain"] = Field(
        "auto", description="of a language model: how it is asked, see instruct.template"
    )
    architecture: Literal["auto", "causal", "seq2seq"] = Field(
        "auto", description="a language model, or an encoder and a decoder; auto: by the model"
    )

    @field_validator("prefix", mode="before")
    @classmethod
    def _not_yaml(cls, value: Any) -> Any:
        """`rewrite.prefix=summarize: ` on a command line is read as a name without a value."""
        if isinstance(value, dict) and list(value.values()) == [None]:
            return f"{next(iter(value))}: "
        return value


class Rewrite(Foretelling):
    """Sources whose targets are learnt and written. chinese: scores are by characters."""

    name = "rewrite"
    layouts = "columns of sources and targets, or two files line by line"
    summary = "a text from a text: summaries, titles, translation, correction, code"
    paper = "Raffel et al., T5, 2020, arXiv:1910.10683; Lewis et al., BART, 2020, arXiv:1910.13461"
    model_class = "AutoModelForSeq2SeqLM"
    pipeline = ("text-generation", "")
    Settings = RewriteSettings
    exact = True
    read_by = ("template", "prefix", "architecture", "metric")
    needs_labels = True
    usual = frozenset(
        ("truncation", "truncation-by-class", "token-lengths", "label-in-text", "script-tells-label")
    )
    held = MappingProxyType({"references": "references"})
    reads = ("references",)
    baselines = ("copy", "lead", "nearest", "untouched")
    judged_by_token = False  # by what it writes
    settings: RewriteSettings

    def __init__(self, loss: LossConfig, settings: Section, chinese: bool = False) -> None:
        super().__init__(loss, settings)
        self.chinese = chinese
        if self.two:
            self.pipeline = ("text2text-generation", "")
        else:
            self.model_class = "AutoModelForCausalLM"

    @property
    def two(self) -> bool:
        """Whether an encoder reads and a decoder writes."""
        return self.settings.architecture == "seq2seq"

    @property
    def token_by_token(self) -> bool:  # type: ignore[override]
        """(Of an encoder-decoder every token of the decoder is asked for.)"""
        return not self.two

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        return read_rewrites(files, chosen)

    @classmethod
    def settle(cls, settings: Section, head: str, name: str) -> Section:
        """By what the model is.

        Raises:
            ConfigError: it cannot write.
        """
        assert isinstance(settings, RewriteSettings)
        if head not in ("causal", "seq2seq"):
            what = "an encoder, which cannot write" if head == "masked" else "without a language model's head"
            raise ConfigError(
                "rewrite needs an encoder-decoder (google-t5/t5-small, google/mt5-small, facebook/bart-base, "
                f"fnlp/bart-base-chinese) or a causal language model (Qwen/Qwen3-0.6B); {name} is {what}"
            )
        if settings.architecture not in ("auto", head):
            raise ConfigError(
                f"rewrite.architecture={settings.architecture}: {name} is {head}; leave it out (auto)"
            )
        return settings.model_copy(update={"architecture": head})

    @classmethod
    def dress(cls, tokenizer: Any, settings: Section) -> list[str]:
        assert isinstance(settings, RewriteSettings)
        if settings.architecture == "seq2seq":
            tokenizer.chat_template = for_encoder(settings.prefix)
            return []
        told = dress(tokenizer, settings.template, cls.name)
        tokenizer.chat_template = with_prefix(tokenizer.chat_template, settings.prefix)
        return [told] if told else []

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        frame = table.frame
        places = [table.where(i) for i in range(len(table))] if "row" in frame else None
        sources, targets = frame["text"].tolist(), frame["label"].tolist()
        return encode_rewrites(sources, targets, tokenizer, max_length, places, cache)

    @classmethod
    def example(cls, encoded: Encoded, tokenizer: Any) -> str:
        """The first item as the model reads it."""
        _, target_N = kept(encoded)
        items = np.flatnonzero(target_N > 0)
        if not len(items):
            return ""
        item = int(items[0])
        units = encoded.units
        assert units is not None
        begin = int(units.tokens[item])
        source = tokenizer.decode(prompts_of(encoded, np.array([item]))[0])
        target = tokenizer.decode(encoded.tokens.ids[begin : begin + int(target_N[item])])
        source = source if len(source) <= _SHOWN else f"{source[:_SHOWN]} …"
        return f"an item as the model reads it, what is learnt between ⟦ and ⟧:\n{source}⟦{target}⟧"

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_rewrites(patient)

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        return check_cut(table, encoded, *kept(encoded))

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        own = settings or RewriteSettings()
        assert isinstance(own, RewriteSettings)
        chinese = is_chinese(labels)
        if own.metric == "rouge" and not chinese:
            mute = sum(not has_words(label) for label in labels)
            if 2 * mute > len(labels):
                raise ConfigError(
                    f"rewrite.metric=rouge counts words of English letters, or Chinese characters, and "
                    f"{mute:,} of {len(labels):,} targets have none: take rewrite.metric=chrf"
                )
        return cls(loss, own, chinese)

    @property
    def deciding(self) -> str:
        return _DECIDING[self.settings.metric]

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        """An encoder-decoder also takes `labels`, of which it makes what its decoder reads, and computes no
        loss of its own."""
        if self.two:
            model.__class__ = _with_targets(type(model))
        return model

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """Of a language model the next token, where that belongs to a target; an encoder-decoder's are rows
        of their own."""
        assert encoded is not None
        if self.two:
            return np.zeros(len(encoded.tokens), dtype=np.int64)
        assert encoded.units is not None
        return after(encoded.tokens, encoded.units.owners >= 0)

    def examples(
        self, encoded: Encoded, rows: np.ndarray, targets: np.ndarray, max_length: int, pad_id: int
    ) -> Examples:
        if not self.two:
            return super().examples(encoded, rows, targets, max_length, pad_id)
        return SourceTarget(encoded.tokens, targets, rows[::2], max_length, pad_id)

    def for_training(self, examples: Examples) -> Examples:
        return examples if self.two else super().for_training(examples)

    # What is written

    @property
    def written(self) -> bool:
        return True

    @property
    def writes(self) -> int:
        return self.settings.max_new_tokens

    def prompts_of(self, encoded: Encoded, items: np.ndarray) -> list[np.ndarray]:
        return prompts_of(encoded, items)

    def prompts(self, table: Table, tokenizer: Any) -> list[list[int]]:
        """Cut as the sources were that it learnt from (the tokenizer of a bundle knows their length)."""
        encoded = self.encode(table, tokenizer, tokenizer.model_max_length, cache=False)
        assert encoded.units is not None
        cut = int((kept(encoded)[0] < encoded.units.spans[:, 0]).sum())
        if cut:
            log.warning(
                "%d of %d texts are longer than this model reads: their ends are not seen", cut, len(table)
            )
        return [ids.tolist() for ids in prompts_of(encoded, np.arange(len(table)))]

    def stops(self, tokenizer: Any) -> list[int]:
        return [int(tokenizer.eos_token_id)] if self.two else stop_tokens(tokenizer)

    @property
    def beams(self) -> int:
        return self.settings.beams

    def respond(self, model: Any, asked: Inquiry) -> np.ndarray:
        """The texts, [N, 1]."""
        with asked.context(model):
            texts = write(
                model,
                asked.tokenizer,
                asked.prompts,
                self.stops(asked.tokenizer),
                self.writes,
                asked.device,
                beams=self.beams,
                at_once=max(len(asked.prompts), 1) if asked.at_once else AT_ONCE,
            )
        return np.array(texts, dtype=object).reshape(-1, 1)

    def truth_of(self, items: pd.DataFrame) -> Any:
        """The references of each item."""
        return _references(items)

    def truth(self, labels: Sequence[str]) -> Any:
        return [[label] for label in labels]

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        frame = pd.DataFrame({"prediction": outputs[:, 0].astype(str)})
        if "references" in items:
            frame["references"] = items["references"].to_numpy()
        return frame

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        found = generation_scores(outputs[:, 0].tolist(), truth, chinese=self.chinese)
        return {self.deciding: found[self.deciding], **found}

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return generation_score_function(
            self.deciding, predictions["prediction"].tolist(), _references(predictions), chinese=self.chinese
        )

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """1 less the item's own score: ROUGE-L, chrF (also where BLEU decides) or exact match."""
        items = generation_items(
            predictions["prediction"].tolist(), _references(predictions), chinese=self.chinese
        )
        missing: np.ndarray = 1.0 - items[_OF_AN_ITEM[self.settings.metric]]
        return missing

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """The texts that were written."""
        found: list[Any] = predictions["prediction"].tolist()
        return found

    def told(self) -> str:
        how = f"with {self.beams} beams" if self.beams > 1 else "the likeliest token each time"
        before = f" after {self.settings.prefix!r}" if self.settings.prefix else ""
        return (
            f"It writes a text to a text that it reads{before}, {how}, at most {self.writes} tokens. The "
            "chat template of its tokenizer says how the text is put to it."
        )

    def plain_use(self, pairs: bool) -> str:
        return _PLAIN_USE.format(
            kind=self.model_class,
            options="" if self.two else "add_special_tokens=False, ",
            after="" if self.two else '[read["input_ids"].shape[1] :]',
            most=self.writes,
            beams=self.beams,
        )

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "chinese": self.chinese}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        settings = RewriteSettings(**values["settings"])
        return cls(LossConfig(**values["loss"]), settings, bool(values["chinese"]))


def _references(items: pd.DataFrame) -> list[list[str]]:
    """All targets of each item, the first of them its label."""
    labels = items["label"].tolist()
    several = items["references"].tolist() if "references" in items else [""] * len(labels)
    return [json.loads(own) if own else [label] for label, own in zip(labels, several, strict=True)]


def _with_targets(kind: type[Any]) -> type[Any]:
    """The class itself, but that of `labels` alone it makes what its decoder reads, by its own rule. (No
    hook: PEFT calls a model's `forward` past its hooks.)"""

    def forward(self: Any, *args: Any, labels: Any = None, **kwargs: Any) -> Any:
        if labels is not None:
            kwargs["decoder_input_ids"] = self.prepare_decoder_input_ids_from_labels(labels)
            kwargs.setdefault("use_cache", False)
        return kind.forward(self, *args, **kwargs)

    own = {"forward": functools.wraps(kind.forward)(forward), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)
