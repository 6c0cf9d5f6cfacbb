"""The packaged Chinese models: small enough, they open offline, they read Chinese, and nobody's test rows are in them."""

import doctest
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open

import tunelab
from tunelab.config import ModelConfig
from tunelab.data.similar import normalise
from tunelab.models import language_head, load_model, load_tokenizer, locate, settle_length
from tunelab.study.catalogue import find_known, shape_of

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "src/tunelab/samples"
HEADS = {"mini-zh": ("masked", "AutoModelForMaskedLM"), "mini-zh-lm": ("causal", "AutoModelForCausalLM")}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch):
    """The builder of the text that they are pretrained on."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import small_corpus

    yield small_corpus
    sys.modules.pop("small_corpus")


@pytest.mark.parametrize("name", HEADS)
def test_they_are_small_open_offline_and_have_their_heads(name: str) -> None:
    config = ModelConfig(name=name)
    found = locate(config)
    weights = found.folder / "model.safetensors"
    assert weights.stat().st_size <= 12e6
    with safe_open(weights, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    head, model_class = HEADS[name]
    assert language_head(found) == head
    assert settle_length(found, config).max_length == 256
    tokenizer, notes = load_tokenizer(found, config)
    assert not notes  # it has a padding token
    model = load_model(found, config, model_class, {}, tokenizer.pad_token_id)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert shape_of(json.loads((found.folder / "config.json").read_text())) == find_known(name).shape


@pytest.mark.parametrize("name", HEADS)
def test_they_read_chinese_a_character_a_token(name: str) -> None:
    config = ModelConfig(name=name)
    tokenizer, _ = load_tokenizer(locate(config), config)
    texts = pd.read_csv(SAMPLES / "reviews.zh.csv")["评论"].tolist()
    ids = [token for row in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in row]
    assert len(ids) > 5000
    assert ids.count(tokenizer.unk_token_id) < 0.01 * len(ids)
    text = "房间很大，abc也好。"
    assert tokenizer.tokenize(text)[:5] == ["房", "间", "很", "大", "，"]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_card_names_every_source_with_its_licence(corpus) -> None:
    for name in HEADS:
        card = (locate(ModelConfig(name=name)).folder / "README.md").read_text(encoding="utf-8")
        for source in corpus.SOURCES:
            assert f"| {source.title} | {source.licence} |" in card
        assert "not for** production" in card


def test_no_source_is_held_out_and_every_test_file_is(corpus) -> None:
    held = {path for _, path, _ in corpus.HELD_OUT}
    assert not held & {source.path for source in corpus.SOURCES}
    one_file = {"chnsenticorp_htl", "weibo_senti", "online_shopping_10_cats", "cluener"}
    assert not one_file & {source.path.split("/")[0] for source in corpus.SOURCES}


def test_long_texts_are_cut_at_sentences_and_nothing_is_lost(corpus) -> None:
    assert doctest.testmod(corpus) == (0, 1)
    text = "".join("一二三四五六七"[: i % 7] + "这是一句话。" for i in range(300))
    rows = list(corpus.rows_of(text))
    assert "".join(rows) == text
    assert all(row.endswith("。") and len(row) <= max(corpus.LENGTHS) for row in rows)
    assert max(map(len, rows)) > 400  # so that late positions are learnt


def test_the_filter_leaves_out_what_is_tested_on_and_what_is_there_twice(corpus) -> None:
    held = ["酒店的早餐品种很多，服务员也很热情，下次还会再来住的", "位置不好"]
    texts = [
        "酒店的早餐品种很多；服务员也很热情。下次还会再来住的！",  # but for punctuation
        "酒店的早餐品种很多，服务员也很热情，下次还会再来住",  # nearly
        "朋友写道：酒店的早餐品种很多，服务员也很热情，下次还会再来住的。我倒觉得这家店一般，价格偏高，也没有停车的地方，不推荐带老人去",
        "位置不好找，但是老板很热心",  # holds a short one, as anyone may write it
        "手机屏幕清晰，电池耐用",
        "手机屏幕清晰，电池耐用。",
        "位置不好",
    ]
    assert corpus.clean(texts, held) == [False, False, False, True, True, False, False]


@pytest.mark.real_data
def test_no_test_text_is_in_the_corpus(corpus, shared_data: Path) -> None:
    """By other means than the filter's: sets of normalised texts, for one source and one data set."""
    source = next(s for s in corpus.SOURCES if s.path == "thucnews_titles/dev.txt")
    rows = list(corpus.read(shared_data, source))
    test = (shared_data / "thucnews_titles/test.txt").read_text(encoding="utf-8").splitlines()
    held = {normalise(line.split("\t")[0]) for line in test}
    assert any(normalise(row) in held for row in rows)  # or this test could not fail
    kept = [
        row for row, ok in zip(rows, corpus.clean(rows, [t.split("\t")[0] for t in test]), strict=True) if ok
    ]
    assert not any(normalise(row) in held for row in kept)
    assert len(kept) > 0.98 * len(rows)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_chinese_file_gets_it_unasked_and_its_bundle_comes_back(name: str, tmp_path: Path) -> None:
    """`run` verifies in a fresh process that the bundle gives training's outputs; the export opens without tunelab."""
    rows = pd.read_csv(SAMPLES / "reviews.zh.csv").iloc[:60]
    rows.to_csv(tmp_path / "reviews.csv", index=False)
    result = tunelab.run(
        tmp_path / "reviews.csv",
        method=name,
        out=tmp_path / "out",
        settings={"train.epochs": 1},
        device="cpu",
        progress=False,
    )
    assert result.record["provenance"]["model"]["name"] == "mini-zh"
    assert result.record["verified"]["equal"]
    assert set(tunelab.load(result.bundle, "cpu").predict(["味道很好", "太难吃了"])) <= {"正面", "负面"}


def test_the_doctor_looks_with_it_and_an_english_file_keeps_minilm(tmp_path: Path) -> None:
    from tunelab.config import StudyConfig
    from tunelab.study.default_model import with_model

    _, findings = tunelab.check(SAMPLES / "reviews.zh.csv", model="auto")
    assert not [finding for finding in findings if finding.severity == "error"]
    english = StudyConfig(files=(str(SAMPLES / "reviews.csv"),))
    assert with_model(english) == (english, ())
    chinese, told = with_model(english.model_copy(update={"files": (str(SAMPLES / "reviews.zh.csv"),)}))
    assert chinese.model.name == "mini-zh"
    assert "--model" in told[0]
    named = chinese.model_copy(update={"model": ModelConfig(name="minilm")})
    assert with_model(named) == (named, ())


def test_the_chinese_sample_is_compared_and_answered_offline_without_naming_a_model(tmp_path: Path) -> None:
    """`tunelab compare reviews.zh.csv`: columns, model and language are found, and the winner reads Chinese."""
    study = tunelab.compare(
        SAMPLES / "reviews.zh.csv",
        methods="head",
        effort="quick",
        seeds=1,
        folds=0,
        out=tmp_path / "study",
        settings={"train.epochs": 1},
        progress=False,
        language="zh",
    )
    assert study.record.config["model"]["name"] == "mini-zh"
    assert any("mini-zh" in note for note in study.notes)
    assert all(finding.severity != "error" for finding in study.findings)
    specialist = tunelab.load(study.bundle)
    assert set(specialist.predict(["房间很干净，服务也好", "太吵了，再也不来"])) <= set(study.record.labels)
    assert 'lang="zh' in study.report.read_text(encoding="utf-8")
