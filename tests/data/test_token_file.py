"""Tokens on disk: the same as in memory, whole or not there at all, and light to hand on."""

import errno
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import make_model_folder
from transformers import AutoTokenizer

from tunelab.data import encode as encode_module
from tunelab.data import token_file
from tunelab.data.encode import Tokens, encode, facts
from tunelab.errors import DataError

TEXTS = ["office lamp lovely", "", "hall " * 80, "kitchen 好 lamp", "é mug", "!?"] * 9
PAIRS = ["kitchen lamp", "attic " * 9, "mug " * 70, "", "garden not lovely", "hall"] * 9


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = AutoTokenizer.from_pretrained(make_model_folder(tmp_path_factory.mktemp("m") / "tiny"))
    found.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 100 tokens are many, in batches of 5 rows."""
    monkeypatch.setattr(token_file, "HELD", 100)
    monkeypatch.setattr(encode_module, "_BATCH", 5)


def same(one: Tokens, other: Tokens) -> bool:
    around = [(t.head, t.middle, t.tail, len(t)) for t in (one, other)]
    return one.digest() == other.digest() and around[0] == around[1]


@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_tokens_on_disk_are_those_in_memory(
    pairs: list[str] | None, tokenizer: Any, own_cache: Path, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = encode(TEXTS, tokenizer, pairs=pairs, cache=False)
    assert not isinstance(held.ids, np.memmap)
    on_disk = encode(TEXTS, tokenizer, pairs=pairs)
    assert isinstance(on_disk.ids, np.memmap)
    assert isinstance(on_disk.types, np.memmap) == (pairs is not None)
    assert same(on_disk, held)
    (path,) = [file for file in own_cache.rglob("*") if file.is_file()]
    assert np.array_equal(load_file(path)["ids"], held.ids), "any reader of safetensors can open it"
    monkeypatch.setattr(encode_module, "_call", lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(encode_module, "_call_pairs", lambda *_: pytest.fail("encoded again"))
    assert same(encode(TEXTS, tokenizer, pairs=pairs), held)
    monkeypatch.setattr(token_file, "HELD", 10**9)
    read = encode(TEXTS, tokenizer, pairs=pairs)
    assert same(read, held)
    assert not isinstance(read.ids, np.memmap), "few tokens are read whole, however they were written"


def test_mapped_tokens_are_handed_on_by_their_files_name(tokenizer: Any, own_cache: Path, many: None) -> None:
    tokens = encode(TEXTS * 20, tokenizer, pairs=PAIRS * 20)
    data = pickle.dumps(tokens)
    rows = tokens.starts.nbytes + (0 if tokens.seconds is None else tokens.seconds.nbytes)
    assert len(data) < rows + 2000 < tokens.ids.nbytes
    again = pickle.loads(data)
    assert isinstance(again.ids, np.memmap)
    assert same(again, tokens)
    part = Tokens(tokens.ids[5:9], np.array([0, 4]), 1)
    assert pickle.loads(pickle.dumps(part)).ids.tolist() == tokens.ids[5:9].tolist()
    (path,) = own_cache.rglob("*.safetensors")
    path.unlink()
    with pytest.raises(DataError, match="are gone or cut short"):
        pickle.loads(data)


def test_a_file_cut_short_is_made_again(
    tokenizer: Any, own_cache: Path, many: None, caplog: pytest.LogCaptureFixture
) -> None:
    first = encode(TEXTS, tokenizer, cache=False)
    encode(TEXTS, tokenizer)
    (path,) = own_cache.rglob("*.safetensors")
    whole = path.read_bytes()
    for cut in (0, 7, 500, 1100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        caplog.clear()
        assert same(encode(TEXTS, tokenizer), first)
        assert "damaged" in caplog.text
        assert path.read_bytes() == whole


@pytest.mark.parametrize("failing", range(1, 14))
def test_a_full_disk_costs_the_file_and_no_token(
    failing: int,
    tokenizer: Any,
    own_cache: Path,
    many: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever write it is that fails, half done: what was written before comes back."""
    write, calls = token_file._write, []

    def full(file: Any, data: bytes) -> None:
        calls.append(len(data))
        if len(calls) == failing:
            write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, data)

    monkeypatch.setattr(token_file, "_write", full)
    tokens = encode(TEXTS, tokenizer, pairs=PAIRS)
    assert len(calls) == failing
    assert "are not cached" in caplog.text
    assert [file for file in own_cache.rglob("*") if file.is_file()] == []
    assert same(tokens, encode(TEXTS, tokenizer, pairs=PAIRS, cache=False))


def test_a_folder_that_cannot_be_made_costs_the_file_and_no_token(
    tokenizer: Any, own_cache: Path, many: None, caplog: pytest.LogCaptureFixture
) -> None:
    own_cache.write_text("a file where the folder should be")
    assert same(encode(TEXTS, tokenizer), encode(TEXTS, tokenizer, cache=False))
    assert "are not cached" in caplog.text


def test_nothing_is_left_of_an_encoding_that_was_stopped(
    tokenizer: Any, own_cache: Path, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, calls = encode_module._call, []

    def stopped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return call(*args)

    monkeypatch.setattr(encode_module, "_call", stopped)
    with pytest.raises(KeyboardInterrupt):
        encode(TEXTS, tokenizer)
    assert [file for file in own_cache.rglob("*") if file.is_file()] == []


class Counting:
    """A tokenizer that makes 1,000 tokens of any text."""

    model_input_names = ("input_ids",)
    is_fast = False

    def get_vocab(self) -> dict[str, int]:
        return {"a": 1}

    def __call__(self, texts: Any, **options: Any) -> dict[str, Any]:
        if isinstance(texts, str):
            return {"special_tokens_mask": [0, 1]}
        return {"input_ids": [list(range(1000)) for _ in texts]}


def test_memory_does_not_grow_with_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000,000 tokens are 4 MB; 50,000 of them at a time 0.2 MB (a batch as lists is 0.2 MB more)."""
    monkeypatch.setattr(token_file, "HELD", 50_000)
    monkeypatch.setattr(encode_module, "_BATCH", 20)
    tracemalloc.start()
    tokens = encode(["x"] * 1000, Counting())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tokens.ids) == 1_000_000
    assert peak < 1_500_000, peak


def test_facts_by_parts_are_those_of_all(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS, "好 店 ж lamp", "\t"]
    tokens = encode(texts, tokenizer)
    whole = facts(texts, tokens, tokenizer, "tiny")
    monkeypatch.setattr(encode_module, "_BLOCK", 7)
    monkeypatch.setattr(encode_module, "_BATCH", 2)
    parts = facts(texts, tokens, tokenizer, "tiny")
    assert parts.lost_characters == whole.lost_characters == {"好": 10, "ж": 1, "店": 1}
    for name in ("unknown", "lost", "visible"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name
    unknown = [int((tokens.row(i, 10**6) == tokenizer.unk_token_id).sum()) for i in range(len(tokens))]
    assert whole.unknown.tolist() == unknown
    assert whole.visible.tolist() == [sum(not c.isspace() for c in text) for text in texts]
