"""Tokens: the tokenizer's own truncation, a cache that is told apart by content, lost characters."""

from pathlib import Path

import numpy as np
import pytest
from lm_toys import byte_tokenizer
from tiny import make_model_folder
from transformers import AutoTokenizer

from tunelab.data.batch import PASS, collate, epoch_batches, parts, sorted_batches
from tunelab.data.encode import encode, facts

TEXTS = ["office lamp lovely", "", "hall " * 80, "kitchen 好 lamp", "é mug", "!?"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return AutoTokenizer.from_pretrained(make_model_folder(tmp_path_factory.mktemp("m") / "tiny"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("length", [8, 16, 500])
def test_truncation_is_the_tokenizers_own(length: int, tokenizer) -> None:
    tokens = encode(TEXTS, tokenizer)
    expected = tokenizer(TEXTS, truncation=True, max_length=length)["input_ids"]
    assert [tokens.row(i, length).tolist() for i in range(len(TEXTS))] == expected
    assert tokens.lengths.tolist() == [len(ids) for ids in tokenizer(TEXTS)["input_ids"]]


PAIRS = ["kitchen lamp", "attic " * 9, "mug " * 70, "", "garden not lovely", "hall " * 12]


@pytest.mark.parametrize("length", [*range(8, 40), 500])
def test_pairs_are_cut_as_the_tokenizer_cuts_them(length: int, tokenizer) -> None:
    """The longer text gives first (transformers' "longest_first"), whichever it is, and types stay in step."""
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokens = encode(TEXTS, tokenizer, pairs=PAIRS)
    expected = tokenizer(TEXTS, PAIRS, truncation="longest_first", max_length=length)
    for i in range(len(TEXTS)):
        assert tokens.row(i, length).tolist() == expected["input_ids"][i], i
        assert tokens.row_types(i, length).tolist() == expected["token_type_ids"][i], i
    batch = collate(tokens, range(len(TEXTS)), length, 0)
    padded = tokenizer(TEXTS, PAIRS, truncation="longest_first", max_length=length, padding=True)
    assert batch["token_type_ids"].tolist() == padded["token_type_ids"]
    assert batch["attention_mask"].tolist() == padded["attention_mask"]


def test_pairs_are_remembered_apart_from_texts(own_cache: Path, tokenizer) -> None:
    pairs = encode(TEXTS[:3], tokenizer, pairs=TEXTS[3:])
    encode(TEXTS, tokenizer)
    again = encode(TEXTS[:3], tokenizer, pairs=TEXTS[3:])
    assert again.digest() == pairs.digest()
    assert again.seconds is not None
    assert np.array_equal(again.seconds, pairs.seconds)
    assert len(list(own_cache.rglob("*.safetensors"))) == 2


def test_the_cache_answers_the_second_time_and_never_for_other_texts(
    own_cache: Path, tokenizer, monkeypatch
) -> None:
    first = encode(TEXTS, tokenizer)
    other = encode([*TEXTS[:-1], "!!"], tokenizer)
    assert not np.array_equal(first.ids, other.ids)
    assert len(list(own_cache.rglob("*.safetensors"))) == 2
    monkeypatch.setattr("tunelab.data.encode._call", lambda *_: pytest.fail("encoded again"))
    again = encode(TEXTS, tokenizer)
    assert np.array_equal(first.ids, again.ids)
    assert again.tail == first.tail == 1


def test_a_damaged_cache_is_made_again(own_cache: Path, tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    first = encode(TEXTS, tokenizer)
    (path,) = own_cache.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(encode(TEXTS, tokenizer).ids, first.ids)
    assert "damaged" in caplog.text


def test_joined_texts_are_another_content(tokenizer) -> None:
    assert len(encode(["a", "b"], tokenizer)) == 2
    assert len(encode(["ab"], tokenizer)) == 1


def test_lost_characters_and_unknown_tokens(tokenizer) -> None:
    """The tiny vocabulary has no Chinese; its normaliser turns é into e, so nothing is lost there."""
    found = facts(TEXTS, encode(TEXTS, tokenizer), tokenizer, "tiny")
    assert found.lost_characters == {"好": 1}
    assert found.lost.tolist() == [0, 0, 0, 1, 0, 0]
    assert found.unknown.tolist() == [0, 0, 0, 1, 0, 0]
    assert found.visible.tolist() == [16, 0, 320, 12, 4, 2]


def test_tokens_a_character_are_without_special_tokens() -> None:
    """Bytes in UTF-8: 3 of a Chinese character, 1 of a letter or a space."""
    tokenizer = byte_tokenizer()
    for texts, tokens in (
        (["从前有"] * 3, 3.0),
        (["abc"], 1.0),
        (["从a", "b c"], (3 + 1 + 3) / 5),
        ([""], 0.0),
    ):
        found = facts(texts, encode(texts, tokenizer, cache=False), tokenizer, "bytes")
        assert found.per_character == pytest.approx(tokens)


@pytest.mark.real_data
def test_a_tokenizer_that_drops_characters_in_silence(shared_data: Path) -> None:
    """tinystories-656k gives nothing at all for what it does not know: no unknown token to count."""
    folder = shared_data.parent / "models/tinystories-656k"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    silent = AutoTokenizer.from_pretrained(folder)
    texts = ["Once upon a time", "从前有一个小女孩"]
    found = facts(texts, encode(texts, silent, cache=False), silent, "tinystories")
    assert found.lost[0] == 0
    assert found.lost[1] == found.visible[1] == 8


def test_batches_hold_every_row_once_and_depend_on_seed_and_epoch_only() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=333)
    first = epoch_batches(lengths, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(first).tolist()) == list(range(333))
    assert sorted(map(len, first)) == [5] + [8] * 41
    assert all(
        np.array_equal(a, b) for a, b in zip(first, epoch_batches(lengths, 8, seed=1, epoch=0), strict=True)
    )
    assert not np.array_equal(
        np.concatenate(first), np.concatenate(epoch_batches(lengths, 8, seed=1, epoch=1))
    )
    assert not np.array_equal(
        np.concatenate(first), np.concatenate(epoch_batches(lengths, 8, seed=2, epoch=0))
    )


def test_batches_have_rows_of_all_lengths() -> None:
    """Their mean lengths vary as those of 16 rows drawn at random do, a quarter of what single rows do."""
    lengths = np.random.default_rng(0).integers(1, 500, size=8000)
    batches = epoch_batches(lengths, 16, seed=0, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(8000))
    assert all((np.diff(lengths[b]) >= 0).all() for b in batches)
    assert np.std([lengths[b].mean() for b in batches]) / lengths.std() == pytest.approx(1 / 4, rel=0.1)


@pytest.mark.parametrize("at_most", [2, 8])
def test_parts_cost_the_least_of_all_ways_to_cut(at_most: int) -> None:
    random = np.random.default_rng(at_most)

    def cost(cut: list[slice], lengths: np.ndarray) -> int:
        return sum(len(lengths[p]) * int(lengths[p][-1]) + 30 for p in cut)

    def most(cut: list[slice], lengths: np.ndarray) -> int:
        return max(len(lengths[p]) * int(lengths[p][-1]) for p in cut)

    cuts = set()
    for _ in range(50):
        lengths = np.sort(random.integers(1, 60, size=8))
        ways = []
        for inner in range(2**7):
            ends = [i + 1 for i in range(7) if inner >> i & 1] + [8]
            way = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
            if most(way, lengths) <= at_most * lengths[-1]:
                ways.append(cost(way, lengths))
        found = parts(lengths, at_most, one_more=30)
        assert [i for p in found for i in range(8)[p]] == list(range(8))
        assert most(found, lengths) <= at_most * lengths[-1]
        assert most(parts(lengths, at_most - 1, one_more=30), lengths) <= most(found, lengths)
        assert cost(found, lengths) == min(ways)
        cuts.add(len(found))
    assert len(cuts) > 1


def test_parts_save_most_of_the_padding() -> None:
    """Random batches of 32 from 1..100 are padded by half; their parts leave a fifth, in four passes."""
    lengths = np.random.default_rng(0).integers(1, 101, size=6400)
    steps = [lengths[b] for b in epoch_batches(lengths, 32, seed=0, epoch=0)]
    cut = [step[part] for step in steps for part in parts(step, 32, PASS)]
    assert lengths.sum() / sum(len(s) * s[-1] for s in steps) < 0.55
    assert lengths.sum() / sum(len(p) * p[-1] for p in cut) > 0.8
    assert len(cut) < 5 * len(steps)


def test_sorted_batches_have_a_limit_of_tokens() -> None:
    lengths = np.random.default_rng(0).integers(1, 101, size=6400)
    batches = sorted_batches(lengths, 1000)
    assert sorted(np.concatenate(batches).tolist()) == list(range(6400))
    assert max(lengths[b].max() * len(b) for b in batches) <= 1000


def test_padding_is_masked(tokenizer) -> None:
    tokens = encode(TEXTS, tokenizer)
    batch = collate(tokens, [0, 5], 16, pad_id=0)
    assert batch["attention_mask"].sum(1).tolist() == tokens.lengths[[0, 5]].tolist()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()
