"""Documents as rows of tokens that do not overlap: what a language model foretells.

document   "one long text …"
parts      at most 20,000 characters each, cut at line ends or blanks: no tokenizer is given a whole book
windows    [BOS] a b c    [BOS] d e f    [BOS] g h         of one part, of like length
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tunelab.data.encode import Tokens, encode
from tunelab.data.layout import Encoded, Units
from tunelab.errors import DataError

__all__ = ["encode_documents", "parts_of", "windows_of"]

#: Characters of a text that a tokenizer is given at a time.
LONG = 20_000


def encode_documents(texts: Sequence[str], tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
    """The texts in windows. `units` are the windows: `owners` says which tokens are text (-1: special
    tokens), and spans are bytes of the text's UTF-8, a part's all on its first window.

    Raises:
        DataError: `max_length` leaves no room for text.
    """
    parts = [list(parts_of(text)) for text in texts]
    tokens = _started(encode([part for own in parts for part in own], tokenizer, cache=cache), tokenizer)
    bounds = np.concatenate([[0], np.cumsum([len(own) for own in parts])]).astype(np.int64)
    whole = Tokens(tokens.ids, tokens.starts[bounds], tokens.tail, head=tokens.head)
    rows, firsts, sources = windows_of(tokens, max_length)
    inside = _inner(tokens)[sources]
    row = np.repeat(np.arange(len(rows)), rows.lengths)
    owners = np.where(inside, row, -1)
    first = np.where(rows.lengths > 0, rows.starts[:-1], -1)
    units = Units(firsts[bounds], _bytes(parts, firsts), first, owners)
    mask = -1 if tokenizer.mask_token_id is None else int(tokenizer.mask_token_id)
    return Encoded(rows, whole, firsts[bounds], units, mask=(mask, len(tokenizer)))


def parts_of(text: str) -> Iterator[str]:
    """The text in parts that a tokenizer is given; nothing is lost.

    >>> [len(part) for part in parts_of(("word " * 5000) + "end")], "".join(parts_of("a b")) == "a b"
    ([20000, 5003], True)
    """
    begin = 0
    while len(text) - begin > LONG:
        end = begin + LONG
        cut = max(text.rfind("\n", begin + LONG // 2, end), 0) or max(
            text.rfind(" ", begin + LONG // 2, end), 0
        )
        end = cut + 1 if cut else end
        yield text[begin:end]
        begin = end
    yield text[begin:]


def windows_of(tokens: Tokens, max_length: int) -> tuple[Tokens, np.ndarray, np.ndarray]:
    """Long rows cut into as few of like length as there must be, with the special tokens around each.

    Returns the new rows, [N + 1] where each old row's new ones begin, and [all new tokens] the place of each
    in `tokens`.

    >>> row = Tokens(np.array([1, 10, 11, 12, 13, 14]), np.array([0, 6]), 0, head=1)
    >>> rows, firsts, _ = windows_of(row, 4)
    >>> [rows.row(i, 9).tolist() for i in range(len(rows))], firsts.tolist()
    ([[1, 10, 11, 12], [1, 13, 14]], [0, 2])
    """
    head, tail = tokens.head, tokens.tail
    width = max_length - head - tail
    if width < 2:
        raise DataError(f"model.max_length={max_length} leaves no room for text beside the special tokens")
    sources: list[np.ndarray] = []
    firsts = np.zeros(len(tokens) + 1, dtype=np.int64)
    bounds = zip(tokens.starts[:-1].tolist(), tokens.starts[1:].tolist(), strict=True)
    for i, (begin, end) in enumerate(bounds):
        inner = np.arange(begin + head, max(begin + head, end - tail))
        before, behind = np.arange(begin, begin + head), np.arange(end - tail, end)
        cut = np.array_split(inner, max(1, -(-len(inner) // width)))
        sources += [np.concatenate([before, part, behind]) for part in cut]
        firsts[i + 1] = firsts[i] + len(cut)
    flat = np.concatenate(sources) if sources else np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum([len(own) for own in sources])]).astype(np.int64)
    return Tokens(tokens.ids[flat], starts, tail, head=head), firsts, flat


def _started(tokens: Tokens, tokenizer: Any) -> Tokens:
    """Rows that begin with a special token, so that the first token of the text can be foretold, too."""
    mask = tokenizer("a b", return_special_tokens_mask=True)["special_tokens_mask"]
    head = next((i for i, special in enumerate(mask) if not special), 0)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if head or start is None:
        return Tokens(tokens.ids, tokens.starts, tokens.tail, head=head)
    ids = np.insert(tokens.ids, tokens.starts[:-1], start)
    return Tokens(ids.astype(np.int32), tokens.starts + np.arange(len(tokens.starts)), tokens.tail, head=1)


def _inner(tokens: Tokens) -> np.ndarray:
    """Which tokens are text, [all tokens] bool."""
    place = np.arange(len(tokens.ids)) - np.repeat(tokens.starts[:-1], tokens.lengths)
    behind = np.repeat(tokens.lengths, tokens.lengths) - 1 - place
    inner: np.ndarray = (place >= tokens.head) & (behind >= tokens.tail)
    return inner


def _bytes(parts: Sequence[Sequence[str]], firsts: np.ndarray) -> np.ndarray:
    """[W, 2] bytes of its text that a window speaks for."""
    spans = np.zeros((int(firsts[-1]), 2), dtype=np.int64)
    place = 0
    for own in parts:
        begin = 0
        for part in own:
            end = begin + len(part.encode("utf-8", "surrogatepass"))
            spans[firsts[place] : firsts[place + 1]] = end
            spans[firsts[place]] = begin, end
            begin, place = end, place + 1
    return spans
