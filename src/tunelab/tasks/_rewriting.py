"""Sources with targets as rows of tokens: what `rewrite` reads.

    an encoder-decoder   two rows an item: prefix source end | target end
    a language model     one row: the source as its chat template has a question, then target end

What a model is asked is written by the tokenizer's chat template, which the bundle keeps: a prefix stands in
it, and an encoder's is nothing but that. Of a language model's `max_length` tokens a quarter is kept for the
target, whatever its length (a new source has none): the source loses its end, then the target its own. An
encoder and its decoder have `max_length` tokens each. A target without its end has no end-of-text token.
"""

# N items, B items of a batch, T tokens of a source, U tokens of a target

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelab.data.batch import IGNORED, Examples, collate
from tunelab.data.encode import Tokens, encode
from tunelab.data.layout import Encoded, Units
from tunelab.data.messages import Message, said
from tunelab.data.templates import Turns, as_tokens, prompt_tokens
from tunelab.errors import DataError

__all__ = [
    "SourceTarget",
    "encode_rewrites",
    "for_encoder",
    "is_for_encoder",
    "kept",
    "prompts_of",
    "with_prefix",
]

#: Share of a language model's tokens that is left to the target.
_TARGET_SHARE = 0.25
_BATCH = 1000  # texts a tokenizer call
_ROUNDS = 8
_ENCODER = "{#- tunelab: read by an encoder -#}"


def with_prefix(template: str, prefix: str) -> str:
    """The template with a prefix before the source.

    >>> with_prefix("{{ messages[0]['content'] }}", "")
    "{{ messages[0]['content'] }}"
    """
    if not prefix:
        return template
    text = json.dumps(prefix, ensure_ascii=False)
    first = f"{{'role': 'user', 'content': {text} + messages[0]['content']}}"
    start = f"{{% set messages = [{first}] + messages[1:] %}}"
    return template if template.startswith(start) else start + template


def for_encoder(prefix: str) -> str:
    """The template of what an encoder reads: prefix and source."""
    return _ENCODER + with_prefix("{{ messages[0]['content'] }}", prefix)


def is_for_encoder(tokenizer: Any) -> bool:
    """Whether the tokenizer is dressed for an encoder-decoder."""
    template = tokenizer.chat_template
    return isinstance(template, str) and template.startswith(_ENCODER)


def encode_rewrites(
    sources: Sequence[str],
    targets: Sequence[str],
    tokenizer: Any,
    max_length: int,
    places: Sequence[str] | None = None,
    cache: bool = True,
) -> Encoded:
    """Items as the model reads them; a target "" is not known. `whole` are source and target uncut, one after
    the other; `units` are the targets, their spans [begin, end) there. places: how a person finds each item.

    Raises:
        DataError: the tokenizer has no end-of-text token, or cannot tell where a target begins, or
            `max_length` leaves no room.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} has no end-of-text token, so the model cannot learn "
            "where a target ends: take a model whose tokenizer has one (eos_token in tokenizer_config.json)"
        )
    if max_length < 8:
        raise DataError(f"model.max_length={max_length} leaves no room for source and target; give 8 or more")
    if is_for_encoder(tokenizer):
        return _two_rows(sources, targets, tokenizer, max_length, cache)
    return _one_row(sources, targets, tokenizer, max_length, places)


def kept(encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each item's source and target that a model is shown, [N] each."""
    lengths = encoded.tokens.lengths
    if encoded.firsts is not None:
        return lengths[::2], lengths[1::2]
    units = encoded.units
    assert units is not None
    prompts = np.where(units.tokens < 0, lengths, units.tokens - encoded.tokens.starts[:-1])
    return prompts, lengths - prompts


def prompts_of(encoded: Encoded, items: np.ndarray) -> list[np.ndarray]:
    """Token ids of what the model is given to write these items' targets."""
    rows = items if encoded.firsts is None else encoded.firsts[items]
    starts, lengths = encoded.tokens.starts[rows], kept(encoded)[0][items]
    return [encoded.tokens.ids[a : a + n] for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class SourceTarget(Examples):
    """Items of an encoder-decoder: `rows` are the sources' rows, the target of each is the row after it."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens with padding of each item: of its longer side, twice."""
        lengths = self.tokens.lengths
        longest = np.maximum(lengths[self.rows], lengths[self.rows + 1])
        found: np.ndarray = 2 * np.minimum(longest, self.max_length)
        return found

    @property
    def shown(self) -> np.ndarray:
        return np.concatenate([self.rows, self.rows + 1])

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Tensor]:
        """`input_ids`, `attention_mask` [B, T] and `labels`, the targets [B, U], of which the model makes
        what its decoder reads."""
        rows = self.rows[which]
        inputs = collate(self.tokens, rows, self.max_length, self.pad_id)
        own = collate(self.tokens, rows + 1, self.max_length, self.pad_id)
        labels_BU = torch.where(own["attention_mask"].bool(), own["input_ids"], IGNORED).to(device)
        return {**{k: v.to(device) for k, v in inputs.items()}, "labels": labels_BU}, labels_BU


# ------------------------------------------------------------------------------------- an encoder-decoder


def _two_rows(
    sources: Sequence[str], targets: Sequence[str], tokenizer: Any, max_length: int, cache: bool
) -> Encoded:
    asked = [str(tokenizer.apply_chat_template([said("user", text)], tokenize=False)) for text in sources]
    read = encode(asked, tokenizer, cache=cache)
    written = _target_ids(targets, tokenizer)
    rows, whole = [], []
    for i, target in enumerate(written):
        rows += [read.row(i, max_length), target[:max_length]]
        whole.append(np.concatenate([read.row(i, 2**62), target]))
    lengths = np.array([len(target) for target in written], dtype=np.int64)
    tokens, both = _flat(rows), _flat(whole)
    spans = np.stack([read.lengths, read.lengths + lengths], axis=1).reshape(-1, 2)
    counts = np.minimum(lengths, max_length)
    owners = np.full(len(tokens.ids), -1, dtype=np.int64)
    for i, (begin, end) in enumerate(
        zip(tokens.starts[1:-1:2].tolist(), tokens.starts[2::2].tolist(), strict=True)
    ):
        owners[begin:end] = i
    units = Units(_numbers(len(written)), spans, np.where(counts > 0, tokens.starts[1:-1:2], -1), owners)
    firsts = np.arange(0, len(rows) + 1, 2, dtype=np.int64)
    return Encoded(tokens, both, firsts, units, together=True)


def _target_ids(texts: Sequence[str], tokenizer: Any) -> list[np.ndarray]:
    """Each target with the token that ends it, as the tokenizer writes what a decoder is to give; nothing
    where it is not known."""
    end = int(tokenizer.eos_token_id)
    found: list[np.ndarray] = []
    for first in range(0, len(texts), _BATCH):
        part = list(texts[first : first + _BATCH])
        rows = tokenizer(text_target=part, return_attention_mask=False, verbose=False)["input_ids"]
        for text, ids in zip(part, rows, strict=True):
            closed = ids if ids and ids[-1] == end else [*ids, end]
            found.append(np.asarray(closed if text else [], dtype=np.int32))
    return found


# -------------------------------------------------------------------------------------- a language model


def _one_row(
    sources: Sequence[str],
    targets: Sequence[str],
    tokenizer: Any,
    max_length: int,
    places: Sequence[str] | None,
) -> Encoded:
    whole = as_tokens(tokenizer, _conversations(sources, targets), places)
    most = max_length - int(_TARGET_SHARE * max_length)
    long = [i for i, turns in enumerate(whole) if _begin(turns) > most]
    cut = _shortened([sources[i] for i in long], tokenizer, most)
    shown = list(whole)
    for i, turns in zip(
        long, as_tokens(tokenizer, _conversations(cut, [targets[i] for i in long])), strict=True
    ):
        shown[i] = turns
    rows = [turns.ids[: max_length if turns.answers else most] for turns in shown]
    tokens = _flat(rows)
    owners, places_N = np.full(len(tokens.ids), -1, dtype=np.int64), np.full(len(rows), -1, dtype=np.int64)
    for i, (row, turns) in enumerate(zip(rows, shown, strict=True)):
        start, begin = int(tokens.starts[i]), _begin(turns)
        if begin < len(row):
            owners[start + begin : start + len(row)], places_N[i] = i, start + begin
    spans = [(_begin(turns), turns.answers[-1][1] if turns.answers else _begin(turns)) for turns in whole]
    units = Units(_numbers(len(rows)), np.array(spans, dtype=np.int64).reshape(-1, 2), places_N, owners)
    return Encoded(tokens, _flat([turns.ids for turns in whole]), None, units)


def _conversations(sources: Sequence[str], targets: Sequence[str]) -> list[list[Message]]:
    return [
        [said("user", source), said("assistant", target)] if target else [said("user", source)]
        for source, target in zip(sources, targets, strict=True)
    ]


def _begin(turns: Turns) -> int:
    """Where the target begins; the row's end where it is not known."""
    return turns.answers[-1][0] if turns.answers else len(turns.ids)


def _shortened(sources: Sequence[str], tokenizer: Any, most: int) -> list[str]:
    """The sources without their ends, so that what the model is asked has at most so many tokens."""
    cut = list(sources)
    waiting = list(range(len(cut)))
    for _ in range(_ROUNDS):
        asked = prompt_tokens(tokenizer, [[said("user", cut[i])] for i in waiting])
        over = {i: len(ids) - most for i, ids in zip(waiting, asked, strict=True) if len(ids) > most}
        if not over:
            return cut
        for i, tokens in over.items():
            cut[i] = _without_end(cut[i], tokenizer, tokens)
        waiting = list(over)
    raise DataError(
        f"model.max_length leaves {most} tokens to the source and what the chat template writes around it, "
        "which is more than that; raise model.max_length"
    )


def _without_end(text: str, tokenizer: Any, tokens: int) -> str:
    """The text without its last tokens, and without a character of which some are a part."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    left = len(found["input_ids"]) - tokens
    return text[: found["offset_mapping"][left][0]] if left > 0 else ""


def _numbers(count: int) -> np.ndarray:
    return np.arange(count + 1, dtype=np.int64)


def _flat(rows: Sequence[np.ndarray]) -> Tokens:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32), starts, 0)
