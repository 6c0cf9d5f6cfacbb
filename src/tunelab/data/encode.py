"""Texts to token ids, once: untruncated, cached on disk by content hash.

Truncation is applied when a row is taken (`Tokens.row`), so one encoding serves every `max_length`,
and the data doctor knows the full lengths. Padding is dynamic and happens per batch (batch.py).
"""

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tunelab.data.check import TokenFacts
from tunelab.files import cache_folder, write_atomically

__all__ = ["Tokens", "encode", "facts"]

log = logging.getLogger("tunelab")

_FORMAT = "3"  # part of the cache key: raise it when what is stored changes
_BATCH = 2000  # texts a tokenizer call: bounds memory, and lets Ctrl-C through


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts, ragged: text i is `ids[starts[i]:starts[i + 1]]`, specials included.

    ids: int32, all texts one after the other; starts: int64, N + 1 numbers.
    tail: how many special tokens stand at the end of a text ([SEP], </s>): kept by truncation.
    """

    ids: np.ndarray
    starts: np.ndarray
    tail: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text before truncation."""
        lengths: np.ndarray = np.diff(self.starts)
        return lengths

    def row(self, i: int, max_length: int) -> np.ndarray:
        """The ids of text i, cut to `max_length` with the closing specials kept."""
        ids: np.ndarray = self.ids[self.starts[i] : self.starts[i + 1]]
        if len(ids) <= max_length:
            return ids
        return np.concatenate([ids[: max_length - self.tail], ids[len(ids) - self.tail :]])

    def digest(self) -> str:
        """SHA-256 of all ids and where each text begins."""
        digest = hashlib.sha256(np.ascontiguousarray(self.starts).data)
        digest.update(np.ascontiguousarray(self.ids).data)
        return digest.hexdigest()


def encode(texts: Sequence[str], tokenizer: Any, *, cache: bool = True) -> Tokens:
    """Token ids of all texts with special tokens, untruncated; from the cache where they are known.

    tokenizer: a `transformers` tokenizer.
    """
    path = cache_folder() / "tokens" / f"{_key(texts, tokenizer)}.safetensors"
    if cache and (known := _load(path)) is not None:
        return known
    ids: list[np.ndarray] = []
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    for first in range(0, len(texts), _BATCH):
        rows = _call(tokenizer, list(texts[first : first + _BATCH]))
        ids.extend(np.asarray(row, dtype=np.int32) for row in rows)
    starts[1:] = np.cumsum([len(row) for row in ids])
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    tokens = Tokens(flat, starts, _tail(tokenizer))
    if cache:
        _store(path, tokens)
    return tokens


def _call(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(
        texts,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # no warning about long texts: the doctor tells what truncation loses
    )["input_ids"]
    return found


def _tail(tokenizer: Any) -> int:
    mask = tokenizer("a b", return_special_tokens_mask=True)["special_tokens_mask"]
    count = 0
    while count < len(mask) and mask[-1 - count]:
        count += 1
    return count


def _key(texts: Sequence[str], tokenizer: Any) -> str:
    digest = hashlib.sha256(f"{_FORMAT}:{type(tokenizer).__name__}:".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    digest.update(described.encode("utf-8", "surrogatepass"))
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _load(path: Path) -> Tokens | None:
    try:
        stored = load(path.read_bytes())
        return Tokens(stored["ids"], stored["starts"], int(stored["tail"][0]))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, SafetensorError) as error:
        log.warning("cached tokens %s are damaged (%s); encoding again", path, error)
        return None


def _store(path: Path, tokens: Tokens) -> None:
    data = save({"ids": tokens.ids, "starts": tokens.starts, "tail": np.array([tokens.tail])})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:  # a cache that cannot be written costs time, not the run
        log.warning("tokens are not cached in %s: %s", path.parent, os.strerror(error.errno or 0))


def facts(texts: Sequence[str], tokens: Tokens, tokenizer: Any, name: str) -> TokenFacts:
    """What the data doctor needs to know of an encoding: lengths, unknown tokens, lost characters.

    A character is lost when the tokenizer gives nothing or its unknown token for it standing alone;
    marks, control and format characters are not counted (normalisers may drop them on purpose).
    """
    unknown_id = tokenizer.unk_token_id
    unknown = _per_row(tokens.ids == unknown_id, tokens.starts) if unknown_id is not None else None
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    visible = {c for c in counts if not c.isspace() and unicodedata.category(c)[0] not in "MC"}
    bad = _unrepresentable(sorted(visible), tokenizer, unknown_id)
    return TokenFacts(
        lengths=tokens.lengths,
        unknown=unknown if unknown is not None else np.zeros(len(tokens), dtype=np.int64),
        lost_characters={c: counts[c] for c in sorted(bad, key=lambda c: (-counts[c], c))},
        lost=np.array([sum(c in bad for c in text) if bad else 0 for text in texts], dtype=np.int64),
        visible=np.array([sum(c in visible for c in text) for text in texts], dtype=np.int64),
        tokenizer_name=name,
    )


def _per_row(hits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(hits)])
    rows: np.ndarray = total[starts[1:]] - total[starts[:-1]]
    return rows


def _unrepresentable(characters: list[str], tokenizer: Any, unknown_id: int | None) -> set[str]:
    if not characters:
        return set()
    rows = tokenizer(characters, add_special_tokens=False, return_attention_mask=False, verbose=False)
    nothing = set(tokenizer("", add_special_tokens=False)["input_ids"])
    space = set(tokenizer(" ", add_special_tokens=False)["input_ids"])  # SentencePiece's lone word mark
    bad = set()
    for character, ids in zip(characters, rows["input_ids"], strict=True):
        content = set(ids) - nothing - space
        if not content or (unknown_id is not None and unknown_id in content):
            bad.add(character)
    return bad
