"""Questions with their contexts as a model reads them: long contexts in windows, the whole question in each.

    whole       [CLS] q q [SEP] a b c d e f g [SEP]
    windows     [CLS] q q [SEP] a b c d [SEP]     [CLS] q q [SEP] d e f g [SEP]

Devlin et al. 2019, arXiv:1810.04805, sections 4.2 and 4.3; windows as in their `run_squad.py`.

The parts of an item (`Units`) are, window by window, the token that stands for "no answer here" ([CLS], or
the first one) and the window's context tokens. A context token that two windows show is a part of each.
"""

# U parts, R rows of tokens (windows)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunelab.data.encode import Tokens
from tunelab.data.layout import OVERLAP, Encoded, Units, pieces
from tunelab.data.offsets import with_places
from tunelab.errors import DataError

__all__ = ["NOWHERE", "cut_questions", "encode_contexts", "is_null", "windows_of"]

_BATCH = 1000  # pairs a tokenizer call: bounds memory, and lets Ctrl-C through
#: The place, in characters, of the part that stands for "no answer here".
NOWHERE = -1
#: Windows overlap by so many tokens where there is room: an answer of this length is whole in one of them.
_SHARED = 30


@dataclass(frozen=True)
class _Frame:
    """Special tokens around a pair, and where the one for "no answer" is: so many from a row's beginning, or
    (below 0) from its end."""

    head: int
    middle: int
    tail: int
    null: int


def encode_contexts(
    questions: Sequence[str], contexts: Sequence[str], tokenizer: Any, max_length: int
) -> Encoded:
    """Each question with its context, in as many windows as it needs.

    A question that is longer than half a window and whose context does not fit beside it is cut: nobody may
    go on with that (`cut_questions`).

    Raises:
        DataError: the tokenizer cannot tell which characters a token stands for; `max_length` is too small.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} does not say which characters a token stands for, so "
            "answers cannot be found among its tokens: answer needs a model with a fast tokenizer "
            "(tokenizer.json), as most have"
        )
    frame = _frame(tokenizer)
    whole, places = _whole(questions, contexts, tokenizer, frame)
    tokens, firsts, sources = _windows(whole, max_length)
    return Encoded(tokens, whole, firsts, _units(tokens, firsts, places[sources], frame))


def is_null(units: Units) -> np.ndarray:
    """[U] whether a part stands for "no answer in this window"; each window begins with one."""
    null: np.ndarray = units.spans[:, 0] == NOWHERE
    return null


def windows_of(units: Units) -> tuple[np.ndarray, np.ndarray]:
    """[U] the window of each part, and [R] the item of each window."""
    null_U = is_null(units)
    window_U = np.cumsum(null_U) - 1
    item_R = np.searchsorted(units.starts, np.flatnonzero(null_U), side="right") - 1
    return window_U, item_R


def cut_questions(encoded: Encoded) -> np.ndarray:
    """Positions of the items whose question did not fit."""
    assert encoded.firsts is not None
    assert encoded.tokens.seconds is not None
    assert encoded.whole.seconds is not None
    cut: np.ndarray = np.flatnonzero(encoded.tokens.seconds[encoded.firsts[:-1]] < encoded.whole.seconds)
    return cut


def _frame(tokenizer: Any) -> _Frame:
    found = tokenizer("a", "b", return_special_tokens_mask=True)
    mask, ids = found["special_tokens_mask"], found["input_ids"]
    inner = [i for i, special in enumerate(mask) if not special]
    head, tail = inner[0], len(mask) - 1 - inner[-1]
    middle = sum(mask[inner[0] : inner[-1]])
    cls = getattr(tokenizer, "cls_token_id", None)
    at = ids.index(cls) if cls is not None and cls in ids else 0
    return _Frame(head, middle, tail, at if at < inner[-1] else at - len(ids))


def _whole(
    questions: Sequence[str], contexts: Sequence[str], tokenizer: Any, frame: _Frame
) -> tuple[Tokens, np.ndarray]:
    """Untruncated, and the characters that each token stands for, [all tokens, 2]."""
    with_types = "token_type_ids" in tokenizer.model_input_names
    ids: list[np.ndarray] = []
    spans: list[np.ndarray] = []
    types: list[np.ndarray] = []
    seconds: list[int] = []
    for first in range(0, len(questions), _BATCH):
        part = slice(first, first + _BATCH)
        found = with_places(tokenizer, questions[part], contexts[part], return_token_type_ids=with_types)
        ids += [np.asarray(row, dtype=np.int32) for row in found["input_ids"]]
        spans += [np.asarray(row, dtype=np.int32).reshape(-1, 2) for row in found["offset_mapping"]]
        types += [np.asarray(row, dtype=np.int8) for row in found["token_type_ids"]] if with_types else []
        owners = [found.sequence_ids(i) for i in range(len(found["input_ids"]))]
        seconds += [own.index(1) if 1 in own else len(own) - frame.tail for own in owners]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    places = np.concatenate(spans) if spans else np.zeros((0, 2), dtype=np.int32)
    kinds = np.concatenate(types) if types else None
    at = np.array(seconds, dtype=np.int64)
    return Tokens(flat, starts, frame.tail, at, frame.head, frame.middle, kinds), places


def _windows(whole: Tokens, max_length: int) -> tuple[Tokens, np.ndarray, np.ndarray]:
    """The new rows, [N + 1] where each item's begin, and [all new tokens] the place of each in `whole`."""
    assert whole.seconds is not None
    head, middle, tail = whole.head, whole.middle, whole.tail
    room = max_length - head - middle - tail
    if room < 4:
        raise DataError(f"model.max_length={max_length} leaves no room for text beside the special tokens")
    rows: list[np.ndarray] = []
    seconds: list[int] = []
    firsts = np.zeros(len(whole) + 1, dtype=np.int64)
    bounds = zip(whole.starts[:-1].tolist(), whole.starts[1:].tolist(), whole.seconds.tolist(), strict=True)
    for i, (begin, end, second) in enumerate(bounds):
        question, cut = second - middle - head, [(0, end - begin - second - tail)]
        if end - begin > max_length:
            question = min(question, room // 2)
            cut = pieces(cut[0][1], room - question, _overlap(room - question))
        for a, b in cut:
            inner = np.arange(begin + second - middle, begin + second), begin + second + np.arange(a, b)
            rows.append(
                np.concatenate(
                    [np.arange(begin, begin + head + question), *inner, np.arange(end - tail, end)]
                )
            )
            seconds.append(head + question + middle)
        firsts[i + 1] = firsts[i] + len(cut)
    sources = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    tokens = Tokens(
        whole.ids[sources],
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        tail,
        np.array(seconds, dtype=np.int64),
        head,
        middle,
        None if whole.types is None else whole.types[sources],
    )
    return tokens, firsts, sources


def _overlap(width: int) -> int:
    """Context tokens that a window of `width` has in common with the next one.

    >>> [_overlap(width) for width in (400, 80, 20)]
    [100, 30, 10]
    """
    return min(max(int(OVERLAP * width), _SHARED), width // 2)


def _units(tokens: Tokens, firsts: np.ndarray, places: np.ndarray, frame: _Frame) -> Units:
    """places: [all tokens of `tokens`, 2] their characters."""
    assert tokens.seconds is not None
    begins, ends = tokens.starts[:-1], tokens.starts[1:]
    counts_R = 1 + tokens.lengths - tokens.seconds - tokens.tail
    starts_R = np.concatenate([[0], np.cumsum(counts_R)]).astype(np.int64)
    row_U = np.repeat(np.arange(len(tokens)), counts_R)
    inside_U = np.arange(len(row_U)) - starts_R[row_U]
    null_R = begins + frame.null if frame.null >= 0 else ends + frame.null
    tokens_U = np.where(inside_U == 0, null_R[row_U], (begins + tokens.seconds - 1)[row_U] + inside_U)
    spans_U2 = places[tokens_U]
    spans_U2[inside_U == 0] = NOWHERE
    return Units(starts_R[firsts], spans_U2, tokens_U, np.zeros(0, dtype=np.int64))
