r"""Chat templates: a conversation as the one text that a model reads, and which parts of it are answers.

A template is the tokenizer's own, or one of these, which are saved with the tokenizer (BOS and EOS are its
own):
    chatml      <|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n
    alpaca      BOS ### Instruction:\nHello\n\n### Response:\nHi EOS
    plain       BOS Hello\nHi EOS
    continue    BOS Hello Hi EOS (the answer goes on with the prompt's own text, a space between)
What is learnt is the answer and the token that ends it. Where it lies is said by the template's generation
marks (`{% generation %}`); of a template without them by rendering the conversation turn by turn.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunelab.data.messages import Message
from tunelab.data.offsets import with_places
from tunelab.errors import ConfigError, DataError

__all__ = ["Turns", "as_tokens", "dress", "has_marks", "prompt_tokens", "stop_tokens"]

NAMED = ("chatml", "alpaca", "plain", "continue")
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_CHATML = ("<|im_start|>", "<|im_end|>")
_BATCH = 1000  # conversations a tokenizer call
_UNMARKED = (
    "the tokenizer's chat template has no generation marks: what is learnt is what each answer adds to the "
    "conversation before it (look at the row below)"
)


@dataclass(frozen=True)
class Turns:
    """A conversation as token ids, [T] int32, and its answers: [begin, end) among them, each with the token
    that ends it."""

    ids: np.ndarray
    answers: tuple[tuple[int, int], ...]


def dress(tokenizer: Any, wanted: str = "auto", task: str = "instruct") -> str:
    """Gives the tokenizer the template that is wanted ("auto": its own; else chatml where it has those
    tokens, else alpaca); returns what a user should know of it, "" where it is the tokenizer's own and marks
    answers.

    Raises:
        ConfigError: the template needs tokens that the tokenizer has not.
    """
    if wanted == "auto" and tokenizer.chat_template:
        return "" if has_marks(tokenizer) else _UNMARKED
    vocabulary = tokenizer.get_vocab()
    knows_chatml = all(token in vocabulary for token in _CHATML)
    name = wanted if wanted != "auto" else "chatml" if knows_chatml else "alpaca"
    if name == "chatml" and not knows_chatml:
        raise ConfigError(
            f"{task}.template=chatml: this tokenizer has no {' and '.join(_CHATML)}; give alpaca or plain, "
            "which need no tokens of their own"
        )
    if name != "chatml" and not _end(tokenizer):
        raise ConfigError(f"{task}.template={name}: this tokenizer has no token that ends a text (EOS)")
    had = "instead of the tokenizer's own" if tokenizer.chat_template else "the tokenizer has none"
    tokenizer.chat_template = _written(name, _start(tokenizer), _end(tokenizer))
    return f"chat template: {name} ({had})"


def _written(name: str, start: str, end: str) -> str:
    """The template in Jinja, with generation marks."""
    system, user, before, end, between = {
        "chatml": (
            "'<|im_start|>system\\n' + {} + '<|im_end|>\\n'",
            "'<|im_start|>user\\n' + {} + '<|im_end|>\\n'",
            "<|im_start|>assistant\\n",
            "<|im_end|>",
            "\\n",
        ),
        "alpaca": (
            "{} + '\\n\\n'",
            "'### Instruction:\\n' + {} + '\\n\\n'",
            "### Response:\\n",
            end,
            "\\n\\n",
        ),
        "plain": ("{} + '\\n'", "{} + '\\n'", "", end, "\\n"),
        "continue": ("{}", "{}", "", end, ""),
    }[name]
    content = "message['content']"
    lead = "' ' + " if name == "continue" else ""  # (the space belongs to the answer's first token)
    return (
        ("{{ '" + start + "' }}" if start and name != "chatml" else "")
        + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        + ("{{ '" + before + "' }}" if before else "")
        + "{% generation %}{{ "
        + f"{lead}{content} + '{end}'"
        + " }}{% endgeneration %}{% if not loop.last %}{{ '"
        + between
        + "' }}{% endif %}"
        + "{% elif message['role'] == 'system' %}{{ "
        + system.format(content)
        + " }}{% else %}{{ "
        + user.format(content)
        + " }}{% endif %}{% endfor %}"
        + ("{% if add_generation_prompt %}{{ '" + before + "' }}{% endif %}" if before else "")
    )


def _start(tokenizer: Any) -> str:
    """What the tokenizer itself puts before a text."""
    mask = tokenizer("a b", return_special_tokens_mask=True)
    count = next((i for i, special in enumerate(mask["special_tokens_mask"]) if not special), 0)
    return "".join(tokenizer.convert_ids_to_tokens(mask["input_ids"][:count]))


def _end(tokenizer: Any) -> str:
    return str(tokenizer.eos_token or tokenizer.sep_token or "")


def has_marks(tokenizer: Any) -> bool:
    """Whether the template says itself which parts are answers."""
    return _MARK.search(tokenizer.chat_template) is not None


def as_tokens(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], places: Sequence[str] | None = None
) -> list[Turns]:
    """Every conversation as the tokenizer's template has it; one that ends with a user's message ends where
    the answer is to begin.

    places: how a person finds each of them, for messages.

    Raises:
        DataError: the template refuses a conversation (roles that it has not), or has no generation marks and
            writes earlier turns anew, so that nobody can tell which part is the answer.
    """
    found: list[Turns] = []
    ends = _ends(tokenizer)
    for first in range(0, len(conversations), _BATCH):
        part = conversations[first : first + _BATCH]
        rendered = []
        for i, messages in enumerate(part):
            try:
                rendered.append(_render(tokenizer, messages))
            except DataError as error:
                where = f"{places[first + i]}: " if places else ""
                raise DataError(f"{where}{error}") from None
        found += _tokenized(tokenizer, rendered, ends)
    return found


def prompt_tokens(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Token ids up to where the answer is to begin; an answer at the end is left out."""
    asked = [own[:-1] if own[-1]["role"] == "assistant" else own for own in conversations]
    return [turns.ids.tolist() for turns in as_tokens(tokenizer, asked)]


def stop_tokens(tokenizer: Any) -> list[int]:
    """Ids of the tokens that end an answer: EOS, and what the template puts there."""
    example = as_tokens(
        tokenizer, [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]
    )[0]
    last = int(example.ids[example.answers[-1][1] - 1])
    found = {last} & _ends(tokenizer)
    if tokenizer.eos_token_id is not None:
        found.add(int(tokenizer.eos_token_id))
    return sorted(found)


def _ends(tokenizer: Any) -> set[int]:
    """Tokens that stand for themselves alone and may end an answer."""
    return {*map(int, tokenizer.all_special_ids), *map(int, tokenizer.added_tokens_decoder)}


@dataclass(frozen=True)
class _Rendered:
    """A conversation as one text and its answers, [begin, end) in characters."""

    text: str
    answers: tuple[tuple[int, int], ...]
    whole: bool  # it ends with an answer


def _render(tokenizer: Any, messages: Sequence[Message]) -> _Rendered:
    from jinja2.exceptions import TemplateError

    try:
        if messages[-1]["role"] != "assistant":
            return _Rendered(_text(tokenizer, messages, answer=True), (), False)
        return _marked(tokenizer, messages) if has_marks(tokenizer) else _located(tokenizer, messages)
    except TemplateError as error:
        raise DataError(
            f"the chat template refuses this conversation: {error}. Take the row out, or give another "
            "template (instruct.template=alpaca)"
        ) from None


def _text(tokenizer: Any, messages: Sequence[Message], answer: bool = False) -> str:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer)
    assert isinstance(text, str)
    return text


def _marked(tokenizer: Any, messages: Sequence[Message]) -> _Rendered:
    from transformers.utils.chat_template_utils import render_jinja_template

    found: Any = render_jinja_template(
        conversations=[list(messages)],
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    texts, spans = found
    return _Rendered(texts[0], tuple((int(a), int(b)) for a, b in spans[0]), True)


def _located(tokenizer: Any, messages: Sequence[Message]) -> _Rendered:
    """Turn by turn: an answer begins where the prompt before it ends, and ends where the next turn begins."""
    whole = _text(tokenizer, messages)
    closing = tuple(token for token in tokenizer.get_added_vocab()) + tuple(tokenizer.all_special_tokens)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _text(tokenizer, messages[:i], answer=True) if i else ""
        upto = _text(tokenizer, messages[: i + 1])
        if not whole.startswith(before):
            raise DataError(_anew("the beginning of an answer"))
        if not whole.startswith(upto):
            raise DataError(_anew("an answer"))
        bare = upto.rstrip()
        end = len(bare) if bare.endswith(closing) and len(bare) > len(before) else len(upto)
        spans.append((len(before), end))
    return _Rendered(whole, tuple(spans), True)


def _anew(what: str) -> str:
    return (
        "the tokenizer's chat template has no generation marks ({% generation %}) and writes "
        f"{what} differently once the conversation goes on, so nobody can tell which tokens it has to learn. "
        "Give another template (instruct.template=chatml or alpaca), or one with marks in the tokenizer's "
        "files"
    )


def _tokenized(tokenizer: Any, rendered: Sequence[_Rendered], ends: set[int]) -> list[Turns]:
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} does not say which characters a token stands for, so "
            "answers cannot be found among the tokens: instruct needs a fast tokenizer (tokenizer.json)"
        )
    texts = [each.text for each in rendered]
    found = with_places(tokenizer, texts, add_special_tokens=False, return_token_type_ids=False)
    end = tokenizer.eos_token_id
    return [
        _turns(np.asarray(ids, dtype=np.int32), np.asarray(offsets, dtype=np.int64), each, ends, end)
        for ids, offsets, each in zip(found["input_ids"], found["offset_mapping"], rendered, strict=True)
    ]


def _turns(ids: np.ndarray, offsets: np.ndarray, each: _Rendered, ends: set[int], end: int | None) -> Turns:
    """The answers' tokens: those that begin in their characters, and the one that ends them."""
    begins = np.maximum.accumulate(offsets.reshape(-1, 2)[:, 0]) if len(ids) else np.zeros(0, dtype=np.int64)
    answers = []
    for a, b in each.answers:
        first, last = (int(np.searchsorted(begins, place, side="left")) for place in (a, b))
        closed = last > first and int(ids[last - 1]) in ends
        if not closed and last < len(ids) and int(ids[last]) in ends:
            last += 1  # the marks leave it out
        elif not closed and last == len(ids) and end is not None:
            ids, last = np.append(ids, np.int32(end)), last + 1
        answers.append((first, last))
    return Turns(ids, tuple(answers))
