"""Windows and units: every part is spoken for by a token of its own characters, in the window around it."""

import numpy as np
import pytest
from tiny import dropping_tokenizer, make_model_folder
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import Metaspace, Split
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tunelab.data.check_tags import split_units
from tunelab.data.layout import align, encode_spans, pieces, windows
from tunelab.data.offsets import with_places
from tunelab.errors import DataError

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    return AutoTokenizer.from_pretrained(make_model_folder(tmp_path_factory.mktemp("model") / "tiny"))


def texts() -> list[str]:
    random = np.random.default_rng(3)
    words = ["lamp", "chair", "lovely", "awful", "unheard", "of!", "(great)", "x"]
    return [" ".join(random.choice(words, size)) for size in (1, 3, 40, 0, 75, 8, 23)]


def test_windows_cover_everything_and_fit(tokenizer: object) -> None:
    whole, _ = encode_spans(texts(), tokenizer, "tag")
    tokens, firsts, sources = windows(whole, LENGTH)
    assert tokens.lengths.max() <= LENGTH
    for i in range(len(whole)):
        seen = np.concatenate(
            [sources[tokens.starts[r] : tokens.starts[r + 1]] for r in range(firsts[i], firsts[i + 1])]
        )
        assert set(range(whole.starts[i], whole.starts[i + 1])) == set(seen.tolist())
        for row in range(firsts[i], firsts[i + 1]):  # each is a text of its own, specials around it
            own = tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]
            assert own[0] == whole.ids[whole.starts[i]]
            assert own[-1] == whole.ids[whole.starts[i + 1] - 1]


def test_a_unit_is_spoken_for_by_its_first_character(tokenizer: object) -> None:
    given = texts()
    whole, places = encode_spans(given, tokenizer, "tag")
    units = [split_units(text, "pieces") for text in given]
    encoded = align(whole, places, units, LENGTH)
    assert encoded.units is not None
    assert encoded.firsts is not None
    _, _, sources = windows(whole, LENGTH)
    for item, text in enumerate(given):
        which = encoded.units.of(item)
        assert [text[a:b] for a, b in encoded.units.spans[which]] == [text[a:b] for a, b in units[item]]
        for unit in range(which.start, which.stop):
            token = encoded.units.tokens[unit]
            assert token >= 0
            start, end = places[sources[token]]
            assert start <= encoded.units.spans[unit, 0] < end
            assert encoded.units.owners[token] == unit
            row = np.searchsorted(encoded.tokens.starts, token, side="right") - 1
            assert encoded.firsts[item] <= row < encoded.firsts[item + 1]
            # No other window shows it further from an edge that is not the text's own.
            others = np.flatnonzero(sources == sources[token])
            assert inside(encoded, item, token) == max(inside(encoded, item, other) for other in others)


def inside(encoded: object, item: int, token: int) -> int:
    starts = encoded.tokens.starts  # type: ignore[attr-defined]
    row = int(np.searchsorted(starts, token, side="right") - 1)
    first, last = int(encoded.firsts[item]), int(encoded.firsts[item + 1]) - 1  # type: ignore[attr-defined]
    left = 10**6 if row == first else token - int(starts[row])
    right = 10**6 if row == last else int(starts[row + 1]) - 1 - token
    return min(left, right)


def test_units_of_some_items_point_into_their_rows_alone(tokenizer: object) -> None:
    given = texts()
    whole, places = encode_spans(given, tokenizer, "tag")
    encoded = align(whole, places, [split_units(text, "pieces") for text in given], LENGTH)
    assert encoded.units is not None
    items = np.array([4, 1, 3])
    rows, units = encoded.rows(items), encoded.units_of(items)
    assert units is not None
    outputs = np.concatenate(
        [np.arange(encoded.tokens.starts[row], encoded.tokens.starts[row + 1]) for row in rows]
    )
    for place, item in enumerate(items):
        wanted = encoded.units.tokens[encoded.units.of(int(item))]
        np.testing.assert_array_equal(outputs[units.tokens[units.of(place)]], wanted)


def test_pieces_by_hand() -> None:
    assert pieces(9, 4, 1) == [(0, 4), (3, 7), (5, 9)]
    assert pieces(4, 4, 1) == [(0, 4)]
    assert pieces(0, 4, 1) == [(0, 0)]


def test_a_tokenizer_that_cannot_align_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(DataError, match="fast tokenizer"):
        encode_spans(["a"], Slow(), "tag")


def test_a_sign_that_stands_for_spaces_is_not_dropped() -> None:
    """As Llama's: without an unknown token, ▁ before each word, so that ▁ itself looks like nothing."""
    own = Tokenizer(models.BPE({"▁": 0, "a": 1, "▁a": 2, "b": 3}, [("▁", "a")]))
    own.pre_tokenizer = Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own)
    texts = ["a▁b a", "b"]
    found, plain = with_places(tokenizer, texts), tokenizer(texts, return_offsets_mapping=True)
    assert found["offset_mapping"] == plain["offset_mapping"]


def test_places_after_dropped_characters() -> None:
    """`tokenizers` counts on as if what a model drops were not there: 北京 of ℃北京 would be at 0 to 2."""
    tokenizer = dropping_tokenizer()
    assert tokenizer("℃北京", return_offsets_mapping=True)["offset_mapping"] == [(0, 0), (0, 2)], "the trap"
    texts = ["℃北京℉我爱", "我爱", "北℃京"]
    found = with_places(tokenizer, texts)
    assert found["offset_mapping"] == [[(0, 0), (1, 3), (4, 6)], [(0, 0), (0, 2)], [(0, 0), (0, 3)]]
    assert found["input_ids"] == tokenizer(texts)["input_ids"]
    pairs = with_places(tokenizer, ["℃℃我爱", "我"], ["北京", "<s>℃北京"])
    assert pairs["offset_mapping"] == [
        [(0, 0), (2, 4), (0, 0), (0, 2)], [(0, 0), (0, 1), (0, 0), (0, 3), (4, 6)]
    ]  # fmt: skip
    tokenizer.backend_tokenizer.pre_tokenizer = Split("℃", "isolated")
    with pytest.raises(DataError, match=r"drops characters .*'℃'.* as in '北℃京'.*--model"):
        with_places(tokenizer, ["北℃京"])
