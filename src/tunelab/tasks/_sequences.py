"""Prompts with answers as rows of tokens: what `prefer` and `align` read.

    a language model     prompt answer end                 as its chat template has it (data/templates.py)
    an encoder           [CLS] prompt [SEP] answer [SEP]   types 0 and 1 where the model has them

Of a pair both sides begin with the very same prompt tokens. What is too long loses the beginning of its
prompt (a quarter of the room is always left to it), then the ends of its answers: an answer without its end
has no end-of-text token. Whatever follows the first end-of-text token in an answer is left out: the policy
would have stopped there. So an answer's tokens are actions of the policy, the end among them, and no others.
"""

# N pairs, S sides of a pair, B pairs of a batch, R rows of it (chosen first, then rejected), T tokens

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tunelab.data.batch import IGNORED, Examples
from tunelab.data.encode import Tokens
from tunelab.data.layout import Encoded
from tunelab.data.messages import Message, said
from tunelab.data.templates import as_tokens, dress, stop_tokens
from tunelab.errors import DataError

__all__ = ["Answers", "Sequences", "dress_for_answers", "encode_answers", "is_encoder", "within"]

#: Share of the room that a long prompt keeps when the answers are long, too.
_PROMPT_SHARE = 0.25
_BATCH = 2000  # texts a tokenizer call
_FURTHER = 64  # pairs among which one with another prompt is looked for


class Sequences(NamedTuple):
    """The targets of a batch: R rows, in blocks of B (chosen, rejected, strangers, as far as they are there).

    labels_RT: token ids of the answers, `IGNORED` elsewhere; reference_R: their summed log-probabilities
    under the untouched model (NaN: not known); tokens_R: of each answer; said_B2: the share of annotators who
    took the chosen side, and the margin.
    """

    labels_RT: Tensor
    reference_R: Tensor
    tokens_R: Tensor
    said_B2: Tensor

    @property
    def blocks(self) -> int:
        """How many rows there are of each pair."""
        return len(self.labels_RT) // len(self.said_B2)


@dataclass(frozen=True)
class Answers(Examples):
    """Pairs, one an item: `rows` are the pairs' first rows; `batch` gives a pair's rows together.

    targets: [N, 2], of each pair (see `Sequences.said_B2`); width: rows of tokens that a pair has; sides: how
    many of them are shown. reference: [all rows] summed log-probabilities under the untouched model.
    strangers: [all rows] at a pair's first row the row whose answer is shown after its prompt as well (KTO's
    reference point), with `strange_reference`; None: there are none.
    """

    width: int = 2
    sides: int = 2
    reference: np.ndarray | None = None
    strangers: np.ndarray | None = None
    strange_reference: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens with padding of each pair: its longest side, as often as there are sides."""
        lengths = self.tokens.lengths
        longest = np.max([lengths[self.rows + side] for side in range(self.sides)], axis=0)
        if self.strangers is not None:
            assert self.tokens.seconds is not None
            others = self.strangers[self.rows]
            strange = self.tokens.seconds[self.rows] + lengths[others] - self.tokens.seconds[others]
            longest = np.maximum(longest, np.minimum(strange, self.max_length))
        found: np.ndarray = longest * (self.sides + (self.strangers is not None))
        return found

    @property
    def shown(self) -> np.ndarray:
        sides = [self.rows + side for side in range(self.sides)]
        strangers = [] if self.strangers is None else [self.strangers[self.rows]]
        found: np.ndarray = np.concatenate([*sides, *strangers])
        return found

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Any]:
        """Inputs [R, T], right-padded, and `Sequences`."""
        first = self.rows[which]
        numbers = np.concatenate([first + side for side in range(self.sides)])
        rows = [self._row(row) for row in numbers.tolist()]
        known = [_of(self.reference, numbers)]
        if self.strangers is not None:
            rows += [self._stranger(row) for row in first.tolist()]
            known.append(_of(self.strange_reference, first))
        inputs, labels_RT = self._padded_rows(rows)
        targets = Sequences(
            labels_RT,
            torch.from_numpy(np.concatenate(known)),
            (labels_RT != IGNORED).sum(1),
            torch.from_numpy(self.targets[first // self.width]),
        )
        return {k: v.to(device) for k, v in inputs.items()}, Sequences(*(part.to(device) for part in targets))

    def with_strangers(self) -> Self:
        """The same pairs, each with an answer to another prompt: the next pair's, chosen and rejected in turn
        (Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1). Which it is does not depend on batches, which
        are not cut: the reference point is a mean over one."""
        strangers = np.zeros(len(self.tokens), dtype=np.int64)
        order = self.rows.tolist()
        prompts = [bytes(self._prompt(row).data) for row in order]
        for i, row in enumerate(order):
            others = ((i + step) % len(order) for step in range(1, min(len(order), _FURTHER)))
            j = next((j for j in others if prompts[j] != prompts[i]), i)
            strangers[row] = order[j] + i % 2
        return replace(self, strangers=strangers, one_more=None)

    def with_reference(self, logps_NK: np.ndarray) -> Self:
        """The same pairs with the log-probabilities that the untouched model gives their K rows each."""
        reference, strange = (np.full(len(self.tokens), np.nan, np.float32) for _ in range(2))
        for side in range(self.sides):
            reference[self.rows + side] = logps_NK[:, side]
        if self.strangers is None:
            return replace(self, reference=reference)
        strange[self.rows] = logps_NK[:, self.sides]
        return replace(self, reference=reference, strange_reference=strange)

    def _prompt(self, row: int) -> np.ndarray:
        start, second = int(self.tokens.starts[row]), self._second(row)
        found: np.ndarray = self.tokens.ids[start : start + second]
        return found

    def _second(self, row: int) -> int:
        assert self.tokens.seconds is not None
        return int(self.tokens.seconds[row])

    def _row(self, row: int) -> tuple[np.ndarray, int, np.ndarray | None]:
        """Ids, where the answer begins, types."""
        own = slice(int(self.tokens.starts[row]), int(self.tokens.starts[row + 1]))
        types = None if self.tokens.types is None else self.tokens.types[own]
        return self.tokens.ids[own], self._second(row), types

    def _stranger(self, row: int) -> tuple[np.ndarray, int, np.ndarray | None]:
        assert self.strangers is not None
        prompt = self._prompt(row)
        ids, second, _ = self._row(int(self.strangers[row]))
        answer = ids[second:][: self.max_length - len(prompt)]
        return np.concatenate([prompt, answer]), len(prompt), None

    def _padded_rows(
        self, rows: Sequence[tuple[np.ndarray, int, np.ndarray | None]]
    ) -> tuple[dict[str, Tensor], Tensor]:
        shape = (len(rows), max(len(ids) for ids, _, _ in rows))
        ids_RT, mask_RT = np.full(shape, self.pad_id, np.int64), np.zeros(shape, np.int64)
        types_RT, labels_RT = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        for i, (ids, second, types) in enumerate(rows):
            ids_RT[i, : len(ids)], mask_RT[i, : len(ids)] = ids, 1
            labels_RT[i, second : len(ids)] = ids[second:]
            if types is not None:
                types_RT[i, : len(ids)] = types
        inputs = {"input_ids": torch.from_numpy(ids_RT), "attention_mask": torch.from_numpy(mask_RT)}
        if self.tokens.types is not None:
            inputs["token_type_ids"] = torch.from_numpy(types_RT)
        return inputs, torch.from_numpy(labels_RT)


def _of(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), np.nan, np.float32) if values is None else values[rows].astype(np.float32)


# --------------------------------------------------------------------------------------------- to tokens


@dataclass(frozen=True)
class _Pieces:
    """A prompt and its answers as token ids, and what stands around them; start: of the prompt's first tokens
    so many are never cut (the start of the text)."""

    prompt: np.ndarray
    answers: list[np.ndarray]
    start: int = 0


def encode_answers(
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[Sequence[str]],
    tokenizer: Any,
    max_length: int,
    places: Sequence[str] | None = None,
    *,
    separators: bool,
) -> Encoded:
    """Every prompt with each of its answers, cut to `max_length`: S rows a prompt, one after the other, and
    in `whole` the prompt with its longest answer, uncut. places: how a person finds each prompt;
    separators: as an encoder reads them.

    Raises:
        DataError: the tokenizer has no end-of-text token, the chat template refuses a conversation, or
            `max_length` leaves no room for prompt and answer.
    """
    sides = len(answers[0]) if answers else 1
    if separators:
        around, typed = _around(tokenizer), "token_type_ids" in tokenizer.model_input_names
        found = _with_separators(prompts, answers, tokenizer)
    else:
        around, typed = (_NONE, _NONE, _NONE), False
        found = _as_conversations(prompts, answers, tokenizer, places)
    room = max_length - sum(map(len, around))
    if room < 4:
        raise DataError(
            f"model.max_length={max_length} leaves no room for prompt and answer beside the special tokens"
        )
    rows, whole = [], []
    for own in found:
        longest = max(own.answers, key=len)
        kept, most = within(len(own.prompt), len(longest), room)
        begin = own.prompt[: own.start]
        prompt = np.concatenate([begin, own.prompt[len(own.prompt) - kept + len(begin) :]])
        rows += [(prompt, answer[:most]) for answer in own.answers]
        whole.append((own.prompt, longest))
    firsts = np.arange(0, len(rows) + 1, sides, dtype=np.int64)
    return Encoded(
        _flat(rows, around, typed),
        _flat(whole, around, typed),
        firsts if sides > 1 else None,
        together=sides > 1,
    )


_NONE = np.zeros(0, dtype=np.int32)


def within(prompt: int, answer: int, room: int) -> tuple[int, int]:
    """Tokens that are kept of a prompt (its last ones) and of its longest answer (the first ones).

    >>> within(10, 5, 20), within(18, 5, 20), within(18, 30, 20), within(2, 30, 20)
    ((10, 5), (15, 5), (5, 15), (2, 18))
    """
    kept = min(prompt, max(room - answer, int(_PROMPT_SHARE * room)))
    return kept, min(answer, room - kept)


def is_encoder(tokenizer: Any) -> bool:
    """Whether a second text is told apart by separators, as BERT and its kin do, and no language model."""
    return tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None


def _flat(rows: Sequence[tuple[np.ndarray, np.ndarray]], around: Sequence[np.ndarray], typed: bool) -> Tokens:
    head, middle, tail = around
    ids, types, seconds, starts = [_NONE], [np.zeros(0, np.int8)], [], [0]
    for prompt, answer in rows:
        first = len(head) + len(prompt) + len(middle)
        ids += [head, prompt, middle, answer, tail]
        types += [np.zeros(first, np.int8), np.ones(len(answer) + len(tail), np.int8)]
        seconds.append(first)
        starts.append(starts[-1] + first + len(answer) + len(tail))
    return Tokens(
        np.concatenate(ids),
        np.array(starts, dtype=np.int64),
        len(tail),
        np.array(seconds, dtype=np.int64),
        len(head),
        len(middle),
        np.concatenate(types) if typed else None,
    )


# An encoder: two texts with separators


def _around(tokenizer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The special tokens before the first text, between the two, and after the second."""
    found = tokenizer("a", "b", return_special_tokens_mask=True)
    ids, mask = np.array(found["input_ids"], dtype=np.int32), found["special_tokens_mask"]
    inner = [i for i, special in enumerate(mask) if not special]
    gap = next(i for i in range(inner[0], inner[-1]) if mask[i])
    last = next(i for i in range(gap, len(mask)) if not mask[i])
    return ids[: inner[0]], ids[gap:last], ids[inner[-1] + 1 :]


def _with_separators(
    prompts: Sequence[Sequence[Message]], answers: Sequence[Sequence[str]], tokenizer: Any
) -> list[_Pieces]:
    firsts = _ids(tokenizer, [_plainly(prompt) for prompt in prompts])
    seconds = iter(_ids(tokenizer, [answer for own in answers for answer in own]))
    return [
        _Pieces(prompt, [next(seconds) for _ in own]) for prompt, own in zip(firsts, answers, strict=True)
    ]


def _plainly(messages: Sequence[Message]) -> str:
    """A conversation as a plain text; a single question stands for itself.

    >>> _plainly([said("user", "Hi"), said("assistant", "Hello"), said("user", "Why?")])
    'user: Hi\\nassistant: Hello\\nuser: Why?'
    """
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids without the special tokens that a tokenizer puts around a text."""
    found: list[np.ndarray] = []
    for first in range(0, len(texts), _BATCH):
        rows = tokenizer(
            list(texts[first : first + _BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        found += [np.asarray(row, dtype=np.int32) for row in rows]
    return found


# A language model: a conversation


def _as_conversations(
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[Sequence[str]],
    tokenizer: Any,
    places: Sequence[str] | None,
) -> list[_Pieces]:
    dress_for_answers(tokenizer)
    ends = np.array(stop_tokens(tokenizer), dtype=np.int32)
    flat = [
        [*prompt, said("assistant", text)]
        for prompt, own in zip(prompts, answers, strict=True)
        for text in own
    ]
    where = None
    if places is not None:
        where = [place for place, own in zip(places, answers, strict=True) for _ in own]
    turns = iter(as_tokens(tokenizer, flat, where))
    found = []
    for own in answers:
        rows = [next(turns) for _ in own]
        at = min(_same(rows[0].ids, row.ids, row.answers[-1][0]) for row in rows)
        prompt = rows[0].ids[:at]
        start = int(len(prompt) > 0 and prompt[0] == tokenizer.bos_token_id)
        cut = [_until_end(row.ids[at : row.answers[-1][1]], ends) for row in rows]
        found.append(_Pieces(prompt, cut, start))
    return found


def dress_for_answers(tokenizer: Any) -> str:
    """Gives a language model's tokenizer a chat template where it has none, and says so; raises `DataError`
    where it has no end-of-text token."""
    check_end(tokenizer)
    return dress(tokenizer)


def check_end(tokenizer: Any) -> None:
    """Raises `DataError` where a language model's tokenizer has no end-of-text token."""
    if not (tokenizer.eos_token or tokenizer.sep_token):
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} has no end-of-text token, so the model cannot learn "
            "where an answer ends: take a model whose tokenizer has one (eos_token in tokenizer_config.json)"
        )


def _same(first: np.ndarray, second: np.ndarray, most: int) -> int:
    """How many tokens, up to `most`, two rows have in common at their beginning: a tokenizer may join the
    prompt's last characters with the answer's first ones."""
    most = min(most, len(first))
    differ = np.flatnonzero(first[:most] != second[:most])
    return int(differ[0]) if len(differ) else most


def _until_end(ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """An answer up to its first end-of-text token.

    >>> _until_end(np.array([5, 2, 7], np.int32), np.array([2])).tolist()
    [5, 2]
    """
    at = np.flatnonzero(np.isin(ids, ends))
    return ids[: at[0] + 1] if len(at) else ids
