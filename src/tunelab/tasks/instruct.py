r"""Instructions: a causal language model learns to answer, from instructions or conversations of many turns.

    rendered    ### Instruction:\nName a fruit.\n\n### Response:\n[An apple.</s>]     learnt: what is in [ ]
    loss        causal cross-entropy on the answers and the tokens that end them (Wei et al. 2022,
                arXiv:2109.01652; Ouyang et al. 2022, arXiv:2203.02155, section 3.5), nats a token
The chat template is the tokenizer's own, or a named one that is saved with the bundle (data/templates.py).
All answers of a conversation are learnt, each after what was said before it. Rows that are too long lose
their end. Deciding score: minus the loss a token on the answers of the test rows.

A batch's conversations may lie behind one another in one row (`speed.packing`, train/packing.py), kept apart
in attention and positions. Off by default: parts of like length (data/batch.py) have little padding as it is.
"""

# T tokens of a row, N items, U answers

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tunelab.config import Section
from tunelab.data.check_conversations import (
    check_answered,
    check_conversations,
    messages_in,
    prompt_of,
    written,
)
from tunelab.data.encode import Tokens
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.messages import said
from tunelab.data.read_conversations import read_conversations
from tunelab.data.table import Table
from tunelab.data.templates import as_tokens, dress, prompt_tokens, stop_tokens
from tunelab.errors import ConfigError
from tunelab.tasks._tokens import Foretelling, after

__all__ = ["Instruct", "InstructSettings"]

_SHOWN = 1500  # characters of the example that is shown before training


class InstructSettings(Section):
    """Settings of instruct."""

    template: Literal["auto", "chatml", "alpaca", "plain"] = Field(
        "auto",
        description="how a conversation is written; auto: the tokenizer's own template, else chatml where it "
        "has those tokens, else alpaca",
    )
    max_new_tokens: int = Field(
        256, ge=1, le=32768, description="tokens of an answer that is generated, at most"
    )


class Instruct(Foretelling):
    """Conversations whose answers are learnt."""

    name = "instruct"
    layouts = "Alpaca, ShareGPT, OpenAI messages, or prompt and completion"
    summary = "instructions with answers, or conversations: a language model learns to answer"
    paper = "Ouyang et al., InstructGPT, 2022, arXiv:2203.02155, section 3.5"
    model_class = "AutoModelForCausalLM"
    Settings = InstructSettings
    read_by = ("template",)
    held = MappingProxyType({"text": "messages"})
    usual = frozenset(("truncation", "truncation-by-class"))
    settings: InstructSettings

    @classmethod
    def settle(cls, settings: Section, head: str, name: str) -> Section:
        if head != "causal":
            what = {
                "masked": "an encoder, which cannot write",
                "seq2seq": "an encoder and a decoder, which task rewrite teaches",
            }.get(head, "without a language model's head")
            raise ConfigError(
                "instruct needs a causal language model (Qwen/Qwen3-0.6B, HuggingFaceTB/SmolLM2-135M, or "
                f"your own folder); {name} is {what}"
            )
        return settings

    @classmethod
    def dress(cls, tokenizer: Any, settings: Section) -> list[str]:
        assert isinstance(settings, InstructSettings)
        told = dress(tokenizer, settings.template)
        return [told] if told else []

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        table = read_conversations(files, chosen)
        texts = [written(messages_in(text)) for text in table.frame["text"]]
        return Table(table.frame.assign(said=texts), table.columns, table.notes, table.source)

    @classmethod
    def grouping(cls, table: Table) -> list[str]:
        return [prompt_of(messages_in(text)) for text in table.frame["text"]]

    @classmethod
    def asked(cls, texts: Sequence[str], pairs: Sequence[str] | None, form: Mapping[str, Any]) -> Table:
        """Instructions; or conversations so far, each as the JSON of its messages."""
        rows = [t if _is_conversation(t) else _json_of(t) for t in texts]
        return super().asked(rows, None, form)

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        """Conversations, one row each, cut at the end. `units` are the answers, their spans [begin, end)
        among the tokens of the whole row."""
        conversations = [messages_in(text) for text in table.frame["text"]]
        places = [table.where(i) for i in range(len(table))] if "row" in table.frame else None
        turns = as_tokens(tokenizer, conversations, places)
        whole = _flat([own.ids for own in turns])
        rows = _flat([own.ids[:max_length] for own in turns])
        counts = np.array([len(own.answers) for own in turns], dtype=np.int64)
        spans = np.array([span for own in turns for span in own.answers], dtype=np.int64).reshape(-1, 2)
        item = np.repeat(np.arange(len(turns)), counts)
        begin, end = (rows.starts[item] + np.minimum(spans[:, i], rows.lengths[item]) for i in (0, 1))
        owners = np.full(len(rows.ids), -1, dtype=np.int64)
        for unit, (a, b) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            owners[a:b] = unit
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Encoded(rows, whole, None, Units(starts, spans, np.where(begin < end, begin, -1), owners))

    @classmethod
    def example(cls, encoded: Encoded, tokenizer: Any) -> str:
        """The first row as the model reads it."""
        units = encoded.units
        assert units is not None
        some = [i for i in range(len(units)) if (encoded.tokens.cut(units.owners, i, 2**62) >= 0).any()]
        if not some:
            return ""
        uncut = encoded.tokens.lengths == encoded.whole.lengths
        row = next((i for i in some if uncut[i]), some[0])
        learnt_T = encoded.tokens.cut(units.owners, row, 2**62) >= 0
        ids_T = encoded.tokens.row(row, 2**62)
        bounds = [0, *(np.flatnonzero(np.diff(learnt_T)) + 1).tolist(), len(ids_T)]
        text = ""
        for a, b in pairwise(bounds):
            part = tokenizer.decode(ids_T[a:b])
            text += f"⟦{part}⟧" if learnt_T[a] else part
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
        return f"a row as the model reads it, what is learnt between ⟦ and ⟧:\n{shown}"

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_conversations(patient)

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        return check_answered(table, encoded)

    @classmethod
    def judgeable(cls, encoded: Encoded) -> np.ndarray:
        """Those with an answer of which something is left."""
        assert encoded.units is not None
        units = encoded.units
        item = np.repeat(np.arange(len(units)), np.diff(units.starts))
        left: np.ndarray = np.bincount(item[units.tokens >= 0], minlength=len(units)) > 0
        return left

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """The next token, where that belongs to an answer."""
        assert encoded is not None
        assert encoded.units is not None
        return after(encoded.tokens, encoded.units.owners >= 0)

    @property
    def writes(self) -> int:
        return self.settings.max_new_tokens

    def prompts(self, table: Table, tokenizer: Any) -> list[list[int]]:
        return prompt_tokens(tokenizer, [messages_in(text) for text in table.frame["text"]])

    def halves(self, text: str, label: str) -> tuple[str, str]:
        *before, last = messages_in(text)
        return before[-1]["content"] if len(before) == 1 else written(before), last["content"]

    def stops(self, tokenizer: Any) -> list[int]:
        return stop_tokens(tokenizer)

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """The texts that were written."""
        found: list[Any] = predictions["prediction"].tolist()
        return found

    def told(self) -> str:
        return (
            "It answers instructions, written as its tokenizer's chat template has them "
            "(`tokenizer.apply_chat_template`)."
        )


def _flat(rows: Sequence[np.ndarray]) -> Tokens:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32), starts, 0)


def _is_conversation(text: str) -> bool:
    if not text.lstrip().startswith('[{"'):
        return False
    try:
        messages = messages_in(text)
    except ValueError:
        return False
    return all(isinstance(own, dict) and {"role", "content"} <= own.keys() for own in messages)


def _json_of(text: str) -> str:
    return json.dumps([said("user", text)], ensure_ascii=False)
