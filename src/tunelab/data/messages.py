"""Messages of a conversation: one form for what tools write in many."""

from collections.abc import Mapping
from typing import Any

from tunelab.data.grid import cell_text, shorten, strip
from tunelab.errors import DataError

__all__ = ["Message", "alternates", "ends_with_answer", "instruct", "said", "text_of", "turns"]

Message = dict[str, str]

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "用户", "人类"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "助手"), "assistant"),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
}


def said(role: str, content: str) -> Message:
    """A message."""
    return {"role": role, "content": content}


def text_of(value: Any) -> str:
    """A cell that must be a text; parts of one (`[{"type": "text", "text": …}]`) are joined.

    Raises:
        DataError: it is another list or an object.
    """
    if isinstance(value, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in value
    ):
        return strip("".join(str(part.get("text", "")) for part in value))
    if isinstance(value, list | dict):
        raise DataError(f"expected a text, got {shorten(repr(value))}")
    return cell_text(value)


def turns(value: Any) -> list[Message]:
    """Messages from `role`/`content` or `from`/`value`.

    >>> turns([{"from": "human", "value": "Hi"}, {"role": "assistant", "content": " Hello "}])
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]

    Raises:
        DataError: a turn is not of this kind, or of a role that is not read.
    """
    if not isinstance(value, list):
        raise DataError(f"the conversation is {shorten(repr(value))}, not a list of messages")
    if not value:
        raise DataError("the conversation has no messages")
    return [_turn(item) for item in value]


def _turn(item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f'a message is {shorten(repr(item))}, not an object with "role" and "content"')
    role = next((item[key] for key in ("role", "from") if key in item), None)
    content = next((item[key] for key in ("content", "value", "text") if key in item), None)
    if role is None or content is None:
        lost = "from" if "value" in item else "role"
        lost = lost if role is None else "value" if "from" in item else "content"
        raise DataError(f"a message has no {lost!r} (its keys: {', '.join(map(str, item)) or 'none'})")
    known = _ROLES.get(str(role).strip().casefold())
    if known is None:
        raise DataError(
            f"a message is of the role {shorten(str(role))!r}; read are system, user (human) and "
            "assistant (gpt)"
        )
    return said(known, text_of(content))


def instruct(head: Any, extra: Any, system: Any, history: Any) -> list[Message]:
    """The messages of one row: its turns, or an instruction with an input on its next line, after the
    earlier questions and answers, under a system prompt.

    >>> [m["content"] for m in instruct("Translate", "Hund", "Be brief", [["Hi", "Hello"]])]
    ['Be brief', 'Hi', 'Hello', 'Translate\\nHund']

    Raises:
        DataError: there is neither, or it is not of this kind.
    """
    first = text_of(system)
    before = [said("system", first)] if first else []
    if isinstance(head, list | dict):
        own = turns(head if isinstance(head, list) else [head])
        return own if own[0]["role"] == "system" else [*before, *own]
    for pair in history or ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"its history has {shorten(repr(pair))}, not a question and its answer")
        before += [said("user", text_of(pair[0])), said("assistant", text_of(pair[1]))]
    if head is None:
        raise DataError("it has no instruction")
    return [*before, said("user", "\n".join(filter(None, [text_of(head), text_of(extra)])))]


def ends_with_answer(messages: list[Message]) -> list[Message]:
    """The messages up to the last answer.

    Raises:
        DataError: there is no answer.
    """
    last = next((i for i in reversed(range(len(messages))) if messages[i]["role"] == "assistant"), None)
    if last is None:
        raise DataError("no message of the assistant: there is no answer to learn")
    return messages[: last + 1]


def alternates(messages: list[Message]) -> bool:
    """Whether user and assistant take turns, the user first, after at most one system prompt."""
    roles = [message["role"] for message in messages]
    roles = roles[1:] if roles[0] == "system" else roles
    return all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))
