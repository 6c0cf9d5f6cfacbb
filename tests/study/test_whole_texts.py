"""Whole studies of tasks with one answer a text: any number of labels, long texts, averages of the weights."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import BAD, GOOD, PLACES, THINGS, make_model_folder, write_sentences
from typer.testing import CliRunner

import tunelab
from tunelab.cli import app
from tunelab.config import StudyConfig
from tunelab.errors import ConfigError
from tunelab.study.candidates import candidates


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def labelled(rows: int) -> pd.DataFrame:
    """Whether a good word, a bad word, a place is named; some rows have none of them. 6 to 40 words."""
    random, found = np.random.default_rng(0), {}
    while len(found) < rows:
        has = {"good": random.random() < 0.5, "bad": random.random() < 0.4, "place": random.random() < 0.3}
        words = [*random.choice(THINGS, random.integers(2, 20)), str(random.integers(10**6))]
        for name, names in (("good", GOOD), ("bad", BAD), ("place", PLACES)):
            words += [*random.choice(names, 1)] if has[name] else []
        random.shuffle(words)
        found[" ".join(words)] = "|".join(name for name, is_so in has.items() if is_so)
    return pd.DataFrame({"text": list(found), "labels": list(found.values())})


def test_a_study_of_labels_in_windows(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    labelled(100).to_csv(data, index=False)
    study = tunelab.compare(
        data,
        task="multilabel",
        methods=["full"],
        add=["full,train.ema=0.9"],
        model=str(model),
        folds=0,
        seeds=1,
        out=tmp_path / "out",
        settings={
            "train.epochs": 2,
            "train.batch_size": 16,
            "search.trials": 1,
            "model.max_length": 16,
            "multilabel.long": "windows",
        },
        progress=False,
    )
    record = study.record
    assert record.deciding == "micro_f1"
    assert {r.name for r in record.results if r.baseline} == {"majority", "tfidf", "embeddings"}
    assert {r.name for r in record.results if not r.baseline} == {"full", "full,train.ema=0.9"}
    assert "all labels right" in study.report.read_text(encoding="utf-8")
    codes = {finding["code"] for finding in record.findings}
    assert {"long-texts", "no-labels-in-row"} <= codes
    assert "truncation" not in codes

    specialist = tunelab.load(study.bundle)
    assert specialist.labels == ("bad", "good", "place")
    text = "my lamp is great " + "kettle " * 40
    shares = specialist.predict_proba([text, "lamp"])
    assert list(shares.columns) == ["bad", "good", "place"]
    (said, _) = specialist.predict([text, "lamp"])
    assert said == [name for name in shares.columns if shares[name][0] > 0.5]
    # The mean over the windows, asked one by one of plain transformers.
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain = AutoModelForSequenceClassification.from_pretrained(study.bundle)
    assert plain.config.problem_type == "multi_label_classification"
    ids = AutoTokenizer.from_pretrained(study.bundle)(text, truncation=False)["input_ids"][1:-1]
    begins = [*range(0, len(ids) - 14, 14 - 3), len(ids) - 14]
    rows = [torch.tensor([[2, *ids[begin : begin + 14], 3]]) for begin in begins]
    with torch.no_grad():
        logits = torch.stack([plain(input_ids=row).logits[0] for row in rows]).mean(0)
    assert shares.iloc[0].tolist() == pytest.approx(logits.sigmoid().tolist(), abs=1e-4)
    out = tmp_path / "answers.jsonl"
    found = CliRunner().invoke(app, ["predict", str(study.bundle), "--file", str(data), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert len(pd.read_json(out, lines=True)) == 100


@pytest.mark.parametrize("task", ["classify", "match"])
def test_long_texts_are_read_as_asked(task: str, model: Path, tmp_path: Path) -> None:
    """Both ways through a run, its bundle verified in a fresh process."""
    data = write_sentences(tmp_path / "a.csv", 60)
    frame = pd.read_csv(data)
    if task == "match":
        frame = frame.rename(columns={"text": "text1"}).assign(text2=frame["text"].str.upper())
    frame.to_csv(data, index=False)
    for how in ("head_tail", "windows"):
        run = tunelab.run(
            data,
            task=task,
            method="head",
            model=str(model),
            out=tmp_path / how,
            settings={f"{task}.long": how, "train.epochs": 1, "model.max_length": 12},
            progress=False,
        )
        kept = json.loads((run.bundle / "tunelab.json").read_text(encoding="utf-8"))
        assert kept["task"]["settings"]["long"] == how
        given = ("my lamp is lovely " * 9, "the lamp") if task == "match" else "my lamp is lovely " * 9
        (answer,) = run.load().predict([given])
        assert answer in ("good", "bad")


def test_variants_of_the_training() -> None:
    """What regularises may differ between rows of the table; what paces a training may not."""
    both = StudyConfig(files=("a.csv",), methods=("lora",), variants=("lora,train.r_drop=2,lora.rank=4",))
    found = candidates(both)[1]
    assert (found.train, found.settings) == ({"r_drop": 2}, {"rank": 4})
    for wrong, said in (("train.epochs=3", "may differ in"), ("train.ema=2", r"'train\.ema' should be less")):
        with pytest.raises(ConfigError, match=said):
            candidates(StudyConfig(files=("a.csv",), methods=("lora",), variants=(f"lora,{wrong}",)))
