"""Texts to token ids, once: untruncated, cached on disk by content hash.

Truncation is applied when a row is taken (`Tokens.row`), so one encoding serves every `max_length`,
and the data doctor knows the full lengths. Padding is dynamic and happens per batch (batch.py).
"""

import hashlib
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from tunelab.data.findings import TokenFacts
from tunelab.data.plain import blocks, code_points
from tunelab.data.token_file import Writer, by_reference, opened, stored
from tunelab.files import cache_folder

__all__ = ["Tokens", "encode", "facts", "kept_of_both", "unrepresentable"]

log = logging.getLogger("tunelab")

_FORMAT = "4"  # part of the cache key: raise it when what is stored changes
_BATCH = 2000  # texts a tokenizer call: bounds memory, and lets Ctrl-C through
_BLOCK = 1_000_000  # characters looked at together
_POINTS = 0x110000  # Unicode's code points
_SAMPLE, _LONG = 500, 2000  # texts, and characters of each, in which tokens a character are counted


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts, ragged: text i is `ids[starts[i]:starts[i + 1]]`, specials included.

    ids: int32, all texts one after the other; starts: int64, N + 1 numbers.
    tail: how many special tokens stand at the end of a text ([SEP], </s>): kept by truncation.
    Of pairs of texts also, seconds: [N] place of the second text's first token in its row, head and middle:
    special tokens before the first text and between the two, types: `token_type_ids` as flat as ids (None
    where the model takes none).

    ids and types of very many tokens are mapped from the cache's file; pickled, they are its name.
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
        return self.cut(self.ids, i, max_length)

    def row_types(self, i: int, max_length: int) -> np.ndarray | None:
        """The `token_type_ids` that belong to `row`; None where the model takes none."""
        return None if self.types is None else self.cut(self.types, i, max_length)

    def cut(self, flat: np.ndarray, i: int, max_length: int) -> np.ndarray:
        """What belongs to `row` of anything that has one entry a token, as `ids` has."""
        own: np.ndarray = flat[self.starts[i] : self.starts[i + 1]]
        if len(own) <= max_length:
            return own
        if self.seconds is None:
            return np.concatenate([own[: max_length - self.tail], own[len(own) - self.tail :]])
        at = int(self.seconds[i])
        first, second = at - self.middle - self.head, len(own) - at - self.tail
        room = max_length - self.head - self.middle - self.tail
        kept_first, kept_second = kept_of_both(first, second, room)
        parts = (
            own[: self.head + kept_first],
            own[at - self.middle : at + kept_second],
            own[len(own) - self.tail :],
        )
        return np.concatenate(parts)

    def __getstate__(self) -> dict[str, Any]:
        return {name: by_reference(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, opened(value))

    def joined(self, other: "Tokens") -> "Tokens":
        """These rows, then those of another encoding by the same tokenizer."""
        around = (self.tail, self.head, self.middle, self.seconds is None, self.types is None)
        assert around == (other.tail, other.head, other.middle, other.seconds is None, other.types is None)
        return replace(
            self,
            ids=np.concatenate([self.ids, other.ids]),
            starts=np.concatenate([self.starts, len(self.ids) + other.starts[1:]]),
            seconds=_after(self.seconds, other.seconds),
            types=_after(self.types, other.types),
        )

    def digest(self) -> str:
        """SHA-256 of all ids and where each text begins."""
        digest = hashlib.sha256(np.ascontiguousarray(self.starts).data)
        digest.update(np.ascontiguousarray(self.ids).data)
        for part in (self.seconds, self.types):
            if part is not None:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def _after(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])


def kept_of_both(first: int, second: int, most: int) -> tuple[int, int]:
    """Tokens that are kept of two texts which together are longer than `most`: the longer one gives first
    (transformers' "longest_first").

    >>> kept_of_both(10, 2, 8), kept_of_both(9, 5, 9), kept_of_both(5, 9, 9)
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

    They go to the cache's disk as they come: of more than `HELD` tokens only what is asked for is in memory.

    tokenizer: a `transformers` tokenizer; pairs: the second text of each row.
    """
    path = cache_folder() / "tokens" / f"{_key([*texts, *(pairs or ())], tokenizer, pairs)}.safetensors"
    if cache and (known := _load(path)) is not None:
        return known
    with Writer(path if cache else None) as writer:
        writer.add(ids=np.zeros(0, dtype=np.int32))
        lengths, seconds = [np.zeros(1, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for first in range(0, len(texts), _BATCH):
            part = slice(first, first + _BATCH)
            own = list(texts[part])
            batch = _call(tokenizer, own) if pairs is None else _call_pairs(tokenizer, own, list(pairs[part]))
            writer.add(**batch.flat)
            lengths.append(batch.lengths)
            seconds.append(batch.seconds)
        head, middle, tail = (0, 0, _tail(tokenizer)) if pairs is None else _around(tokenizer)
        further = {
            "starts": np.cumsum(np.concatenate(lengths)),
            "around": np.array([tail, head, middle], dtype=np.int64),
        }
        if pairs is not None:
            further["seconds"] = np.concatenate(seconds)
        return _tokens(writer.finish(further))


@dataclass(frozen=True)
class _Batch:
    """Some rows of a tokenizer: what there is of every token, each row's length, and (of pairs) the place of
    its second text."""

    flat: dict[str, np.ndarray]
    lengths: np.ndarray
    seconds: np.ndarray

    @classmethod
    def of(cls, found: Any, seconds: Sequence[int] = ()) -> "_Batch":
        kinds = {"ids": ("input_ids", np.int32), "types": ("token_type_ids", np.int8)}
        flat = {
            name: np.fromiter(chain.from_iterable(found[key]), dtype=kind)
            for name, (key, kind) in kinds.items()
            if key in found
        }
        lengths = np.array([len(row) for row in found["input_ids"]], dtype=np.int64)
        return cls(flat, lengths, np.array(seconds, dtype=np.int64))


def _tokens(arrays: Mapping[str, np.ndarray]) -> Tokens:
    tail, head, middle = (int(number) for number in arrays["around"])
    return Tokens(
        arrays["ids"], arrays["starts"], tail, arrays.get("seconds"), head, middle, arrays.get("types")
    )


def _call(tokenizer: Any, texts: list[str]) -> _Batch:
    found = tokenizer(
        texts,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # no warning about long texts: the doctor tells what truncation loses
    )
    return _Batch.of(found)


def _call_pairs(tokenizer: Any, texts: list[str], pairs: list[str]) -> _Batch:
    found = tokenizer(
        texts,
        pairs,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids="token_type_ids" in tokenizer.model_input_names,
        verbose=False,
    )
    return _Batch.of(found, _seconds(found, texts, tokenizer))


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
        return _tokens(stored(path))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        log.warning("cached tokens %s are damaged (%s); encoding again", path, error)
        return None


def facts(texts: Sequence[str], tokens: Tokens, tokenizer: Any, name: str) -> TokenFacts:
    """What the data doctor needs to know of an encoding: lengths, unknown tokens, lost characters.

    A character is lost when the tokenizer gives nothing or its unknown token for it standing alone;
    marks, control and format characters are not counted (normalisers may drop them on purpose).
    """
    unknown_id = tokenizer.unk_token_id
    counts = np.zeros(_POINTS, dtype=np.int64)
    for _, block in blocks(texts, _BLOCK):
        counts += np.bincount(code_points("".join(block)), minlength=_POINTS)
    there = [chr(code) for code in np.flatnonzero(counts)]
    visible = [c for c in there if not c.isspace() and unicodedata.category(c)[0] not in "MC"]
    bad = sorted(unrepresentable(visible, tokenizer, unknown_id), key=lambda c: (-counts[ord(c)], c))
    return TokenFacts(
        lengths=tokens.lengths,
        unknown=_unknown(tokens, unknown_id),
        lost_characters={c: int(counts[ord(c)]) for c in bad},
        lost=_of_these(texts, bad),
        visible=_of_these(texts, visible),
        tokenizer_name=name,
        per_character=_per_character(texts, tokenizer),
    )


def _per_character(texts: Sequence[str], tokenizer: Any) -> float:
    """Tokens for each character, without special tokens, in texts from the first to the last."""
    places = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), _SAMPLE)).astype(np.int64))
    some = [texts[i][:_LONG] for i in places]
    characters = sum(map(len, some))
    if not characters:
        return 0.0
    rows = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return sum(map(len, rows["input_ids"])) / characters


def _unknown(tokens: Tokens, unknown_id: int | None) -> np.ndarray:
    """[N] unknown tokens of each text, some texts at a time."""
    found = np.zeros(len(tokens), dtype=np.int64)
    if unknown_id is None:
        return found
    for first in range(0, len(tokens), _BATCH):
        starts = tokens.starts[first : first + _BATCH + 1]
        found[first : first + _BATCH] = _per_row(
            tokens.ids[starts[0] : starts[-1]] == unknown_id, starts - starts[0]
        )
    return found


def _of_these(texts: Sequence[str], characters: Sequence[str]) -> np.ndarray:
    """[N] how many characters of each text are among these."""
    found = np.zeros(len(texts), dtype=np.int64)
    if not characters:
        return found
    among = np.zeros(_POINTS, dtype=bool)
    among[[ord(c) for c in characters]] = True
    for first, block in blocks(texts, _BLOCK):
        ends = np.cumsum([0, *map(len, block)])
        found[first : first + len(block)] = _per_row(among[code_points("".join(block))], ends)
    return found


def _per_row(hits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(hits)])
    rows: np.ndarray = total[starts[1:]] - total[starts[:-1]]
    return rows


def unrepresentable(characters: list[str], tokenizer: Any, unknown_id: int | None) -> set[str]:
    """Those of which the tokenizer makes nothing, or (where it has one) its unknown token, each by itself."""
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
