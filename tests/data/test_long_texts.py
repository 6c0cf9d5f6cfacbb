"""Long texts: what is read of them, worked out by hand, and that windows leave nothing out."""

from itertools import chain
from typing import Any

import numpy as np
import pytest

from tunelab.data.encode import Tokens
from tunelab.data.layout import Encoded
from tunelab.data.long_texts import both_ends, in_windows, pooled
from tunelab.errors import DataError

CLS, SEP = 101, 102


def tokenizer(_: str, return_special_tokens_mask: bool) -> Any:
    """One special token before a text and one after it."""
    assert return_special_tokens_mask
    return {"special_tokens_mask": [1, 0, 0, 1]}


def rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.row(i, 10**6).tolist() for i in range(len(tokens))]


def singles(*lengths: int) -> Encoded:
    texts = [[CLS, *range(1, length + 1), SEP] for length in lengths]
    starts = np.cumsum([0, *map(len, texts)])
    tokens = Tokens(np.array(list(chain.from_iterable(texts)), dtype=np.int32), starts, 1)
    return Encoded(tokens, tokens)


def pairs(*lengths: tuple[int, int]) -> Encoded:
    texts, seconds, types = [], [], []
    for a, b in lengths:
        texts.append([CLS, *range(1, a + 1), SEP, *range(1001, 1001 + b), SEP])
        seconds.append(a + 2)
        types.append([0] * (a + 2) + [1] * (b + 1))
    tokens = Tokens(
        np.array(list(chain.from_iterable(texts)), dtype=np.int32),
        np.cumsum([0, *map(len, texts)]),
        1,
        np.array(seconds),
        1,
        1,
        np.array(list(chain.from_iterable(types)), dtype=np.int8),
    )
    return Encoded(tokens, tokens)


def test_both_ends() -> None:
    """Of 7 tokens 5 are text: 1 of the beginning (a quarter, down), 4 of the end."""
    found = both_ends(singles(10, 3), tokenizer, 7)
    assert rows(found.tokens) == [[CLS, 1, 7, 8, 9, 10, SEP], [CLS, 1, 2, 3, SEP]]
    assert rows(found.whole)[0] == [CLS, *range(1, 11), SEP]


def test_both_ends_of_a_pair() -> None:
    """Room for 11 - 3 = 8 tokens of 10 and 3: the longer one gives, so 5 and 3; of the 5, 1 and 4."""
    found = both_ends(pairs((10, 3)), tokenizer, 11)
    assert rows(found.tokens) == [[CLS, 1, 7, 8, 9, 10, SEP, 1001, 1002, 1003, SEP]]
    assert found.tokens.seconds is not None
    assert found.tokens.types is not None
    assert found.tokens.seconds.tolist() == [7]
    assert found.tokens.types.tolist() == [0] * 7 + [1] * 4


def test_windows() -> None:
    """5 tokens of text a window, each beginning 1 before the last one's end; the last as wide as the others."""
    found = in_windows(singles(3, 10, 4), tokenizer, 7)
    inner = [[1, 2, 3], [1, 2, 3, 4, 5], [5, 6, 7, 8, 9], [6, 7, 8, 9, 10], [1, 2, 3, 4]]
    assert rows(found.tokens) == [[CLS, *own, SEP] for own in inner]
    assert found.firsts is not None
    assert found.firsts.tolist() == [0, 1, 4, 5]
    units = found.units_of(np.array([2, 1]))
    assert units is not None
    outputs = np.array([[8.0], [1.0], [2.0], [6.0]], dtype=np.float32)  # of item 2, then of item 1
    assert pooled(outputs, units).tolist() == [[8.0], [3.0]]
    assert pooled(outputs[:2], units).tolist() == [[8.0], [1.0]]  # (of items already)
    assert pooled(outputs, None) is outputs


@pytest.mark.parametrize("lengths", [(40, 6), (6, 40), (30, 30), (2, 3)])
def test_windows_of_a_pair(lengths: tuple[int, int]) -> None:
    """The shorter text (its first half room, at most) is in every window; the longer one is read whole."""
    found = in_windows(pairs(lengths), tokenizer, 19)
    room, long = 16, int(lengths[1] > lengths[0])
    texts = list(range(1, lengths[0] + 1)), list(range(1001, 1001 + lengths[1]))
    seen: set[int] = set()
    assert found.tokens.seconds is not None
    assert found.tokens.types is not None
    for i, row in enumerate(rows(found.tokens)):
        at = int(found.tokens.seconds[i])
        assert len(row) <= 19
        assert (row[0], row[at - 1], row[-1]) == (CLS, SEP, SEP)
        parts = row[1 : at - 1], row[at:-1]
        assert parts[1 - long] == texts[1 - long][: room // 2] or len(found.tokens) == 1
        seen |= set(parts[long])
        assert found.tokens.row_types(i, 99).tolist() == [0] * at + [1] * (len(row) - at)  # type: ignore[union-attr]
    assert seen == set(texts[long])


def test_joined_and_no_room() -> None:
    """Copies of rows (augmentation) lie after the others' windows; and a window must have room for a text."""
    first, second = (in_windows(singles(10, length), tokenizer, 7) for length in (2, 12))
    both = first.joined(second)
    units = both.units_of(np.arange(4))
    assert units is not None
    assert np.diff(units.starts).tolist() == [3, 1, 3, 3]
    with pytest.raises(DataError, match="max_length=5 leaves no room"):
        in_windows(singles(10), tokenizer, 5)
