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

_FORMAT = "4"  # part of the cache key: raise it when what is stored changes
_BATCH = 2000  # texts a tokenizer call: bounds memory, and lets Ctrl-C through


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts, ragged: text i is `ids[starts[i]:starts[i + 1]]`, specials included.

    ids: int32, all texts one after the other; starts: int64, N + 1 numbers.
    tail: how many special tokens stand at the end of a text ([SEP], </s>): kept by truncation.
    Of pairs of texts also, seconds: [N] place of the second text's first token in its row, head and middle:
    special tokens before the first text and between the two, types: `token_type_ids` as flat as ids (None
    where the model takes none).
    """

    ids: np.ndarray
    starts: np.ndarray
    tail: int
    seconds: np.ndarray | None = None
    head: int = 0
    middle: int = 0
    types: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text before truncation."""
        lengths: np.ndarray = np.diff(self.starts)
        return lengths

    def row(self, i: int, max_length: int) -> np.ndarray:
        """The ids of text i, cut to `max_length` with the closing specials kept."""
        return self._kept(self.ids, i, max_length)

    def row_types(self, i: int, max_length: int) -> np.ndarray | None:
        """The `token_type_ids` that belong to `row`; None where the model takes none."""
        return None if self.types is None else self._kept(self.types, i, max_length)

    def _kept(self, flat: np.ndarray, i: int, max_length: int) -> np.ndarray:
        own: np.ndarray = flat[self.starts[i] : self.starts[i + 1]]
        if len(own) <= max_length:
            return own
        if self.seconds is None:
            return np.concatenate([own[: max_length - self.tail], own[len(own) - self.tail :]])
        at = int(self.seconds[i])
        first, second = at - self.middle - self.head, len(own) - at - self.tail
        kept_first, kept_second = _both(first, second, max_length - self.head - self.middle - self.tail)
        parts = (
            own[: self.head + kept_first],
            own[at - self.middle : at + kept_second],
            own[len(own) - self.tail :],
        )
        return np.concatenate(parts)

    def digest(self) -> str:
        """SHA-256 of all ids and where each text begins."""
        digest = hashlib.sha256(np.ascontiguousarray(self.starts).data)
        digest.update(np.ascontiguousarray(self.ids).data)
        for part in (self.seconds, self.types):
            if part is not None:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def _both(first: int, second: int, most: int) -> tuple[int, int]:
    """Tokens that are kept of two texts which together are longer than `most`: the longer one gives first
    (transformers' "longest_first").

    >>> _both(10, 2, 8), _both(9, 5, 9), _both(5, 9, 9)
    ((6, 2), (5, 4), (4, 5))
    """
    short, long = min(first, second), max(first, second)
    long = max(short, most - short) if short <= most else short
    if short + long > most:
        short, long = most // 2, most // 2 + most % 2
    return (short, long) if first <= second else (long, short)


def encode(
    texts: Sequence[str], tokenizer: Any, *, pairs: Sequence[str] | None = None, cache: bool = True
) -> Tokens:
    """Token ids of all texts with special tokens, untruncated; from the cache where they are known.

    tokenizer: a `transformers` tokenizer; pairs: the second text of each row.
    """
    path = cache_folder() / "tokens" / f"{_key([*texts, *(pairs or ())], tokenizer, pairs)}.safetensors"
    if cache and (known := _load(path)) is not None:
        return known
    batches = [slice(first, first + _BATCH) for first in range(0, len(texts), _BATCH)]
    if pairs is None:
        found = [_call(tokenizer, list(texts[part])) for part in batches]
    else:
        found = [_call_pairs(tokenizer, list(texts[part]), list(pairs[part])) for part in batches]
    tokens = _flat([row for batch in found for row in batch], tokenizer, pairs is not None)
    if cache:
        _store(path, tokens)
    return tokens


@dataclass(frozen=True)
class _Row:
    """One row of a tokenizer: ids, of a pair also its types and where the second text begins."""

    ids: np.ndarray
    types: np.ndarray | None = None
    second: int = 0


def _flat(rows: Sequence[_Row], tokenizer: Any, pairs: bool) -> Tokens:
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(row.ids) for row in rows])
    ids = np.concatenate([row.ids for row in rows]) if rows else np.zeros(0, dtype=np.int32)
    if not pairs:
        return Tokens(ids, starts, _tail(tokenizer))
    types = [row.types for row in rows if row.types is not None]
    head, middle, tail = _around(tokenizer)
    return Tokens(
        ids,
        starts,
        tail,
        np.array([row.second for row in rows], dtype=np.int64),
        head,
        middle,
        np.concatenate(types) if types else None,
    )


def _call(tokenizer: Any, texts: list[str]) -> list[_Row]:
    found = tokenizer(
        texts,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # no warning about long texts: the doctor tells what truncation loses
    )
    return [_Row(np.asarray(ids, dtype=np.int32)) for ids in found["input_ids"]]


def _call_pairs(tokenizer: Any, texts: list[str], pairs: list[str]) -> list[_Row]:
    with_types = "token_type_ids" in tokenizer.model_input_names
    found = tokenizer(
        texts,
        pairs,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=with_types,
        verbose=False,
    )
    types = found["token_type_ids"] if with_types else [None] * len(texts)
    return [
        _Row(
            np.asarray(ids, dtype=np.int32),
            None if type_ is None else np.asarray(type_, dtype=np.int8),
            second,
        )
        for ids, type_, second in zip(
            found["input_ids"], types, _seconds(found, texts, tokenizer), strict=True
        )
    ]


def _seconds(found: Any, texts: list[str], tokenizer: Any) -> list[int]:
    """Where the second text of each pair begins."""
    if not found.is_fast:
        head, middle, _ = _around(tokenizer)
        firsts = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [head + len(first) + middle for first in firsts["input_ids"]]
    _, _, tail = _around(tokenizer)
    owners = [found.sequence_ids(i) for i in range(len(texts))]
    return [own.index(1) if 1 in own else len(own) - tail for own in owners]


def _around(tokenizer: Any) -> tuple[int, int, int]:
    """How many special tokens stand before, between and after the two texts of a pair."""
    mask = tokenizer("a", "b", return_special_tokens_mask=True)["special_tokens_mask"]
    inner = [i for i, special in enumerate(mask) if not special]
    between = [i for i in range(inner[0], inner[-1]) if mask[i]]
    return inner[0], len(between), len(mask) - 1 - inner[-1]


def _tail(tokenizer: Any) -> int:
    mask = tokenizer("a b", return_special_tokens_mask=True)["special_tokens_mask"]
    count = 0
    while count < len(mask) and mask[-1 - count]:
        count += 1
    return count


def _key(texts: Sequence[str], tokenizer: Any, pairs: Sequence[str] | None) -> str:
    kind = "" if pairs is None else f"pairs-{len(pairs)}:"
    digest = hashlib.sha256(f"{_FORMAT}:{kind}{type(tokenizer).__name__}:".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # how it was last called is none of its properties
        backend.no_truncation()
        backend.no_padding()
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
        tail, head, middle = (int(number) for number in stored["around"])
        return Tokens(
            stored["ids"], stored["starts"], tail, stored.get("seconds"), head, middle, stored.get("types")
        )
    except FileNotFoundError:
        return None
    except (OSError, KeyError, SafetensorError) as error:
        log.warning("cached tokens %s are damaged (%s); encoding again", path, error)
        return None


def _store(path: Path, tokens: Tokens) -> None:
    arrays = {
        "ids": tokens.ids,
        "starts": tokens.starts,
        "around": np.array([tokens.tail, tokens.head, tokens.middle]),
    }
    further = {"seconds": tokens.seconds, "types": tokens.types}
    data = save(arrays | {name: array for name, array in further.items() if array is not None})
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
