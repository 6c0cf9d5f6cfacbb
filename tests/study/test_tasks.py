"""A whole study of every task: from a file to a verdict, a report, and a model that answers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import BAD, GOOD, PLACES, THINGS, make_model_folder
from typer.testing import CliRunner

import tunelab
from tunelab.cli import app
from tunelab.errors import ConfigError, InputError

SETTINGS = {"train.epochs": 2, "train.batch_size": 16, "search.trials": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def regress(rows: int) -> pd.DataFrame:
    """How many of three adjectives are good."""
    random, found = np.random.default_rng(0), {}
    while len(found) < rows:
        good = int(random.integers(4))
        words = [*random.choice(GOOD, good), *random.choice(BAD, 3 - good)]
        found[
            f"{random.choice(PLACES)} {random.choice(THINGS)} {' '.join(words)} {random.integers(10**6)}"
        ] = good + round(float(random.normal(0, 0.1)), 2)
    return pd.DataFrame({"text": list(found), "score": list(found.values())})


def match(rows: int) -> pd.DataFrame:
    """Whether two texts are of the same thing."""
    random, found = np.random.default_rng(0), []
    for i in range(rows):
        thing, other = random.choice(THINGS, 2, replace=False)
        second = thing if i % 2 else other
        numbers = random.integers(10**6, size=2)
        found.append((f"my {thing} {numbers[0]}", f"the {second} {numbers[1]}", "same" if i % 2 else "other"))
    return pd.DataFrame(found, columns=["sentence1", "sentence2", "label"])


def scored(rows: int) -> pd.DataFrame:
    frame = match(rows)
    noise = np.random.default_rng(1).normal(0, 0.1, rows)
    return frame.assign(label=((frame["label"] == "same") + noise).round(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "make", "deciding", "given", "folds"),
    [
        ("regress", regress, "spearman", ["office lamp lovely great warm"], 2),
        ("match", match, "accuracy", [("my lamp", "the lamp")], 0),
        ("match", scored, "spearman", [("my lamp", "the lamp")], 0),
    ],
    ids=["regress", "match-labels", "match-scores"],
)
def test_a_study(
    task: str, make, deciding: str, given: list, folds: int, model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    make(150).to_csv(data, index=False)
    study = tunelab.compare(
        data,
        task=task,
        methods=["full", "lora", "prefix"],
        model=str(model),
        folds=folds,
        seeds=1 if folds else 2,
        out=tmp_path / "out",
        settings={**SETTINGS, "search.trials": 1},
        progress=False,
    )
    record = study.record
    assert (record.task, record.deciding) == (task, deciding)
    assert {r.name for r in record.results if not r.baseline} == {"full", "lora", "prefix"}
    assert all(r.score.low <= r.score.value <= r.score.high for r in record.results)
    baselines = {r.name for r in record.results if r.baseline}
    assert baselines == {"tfidf", "embeddings"} | ({"majority"} if record.labels else set())
    assert bool(record.results[0].confusion) == bool(record.labels)
    page = study.report.read_text(encoding="utf-8")
    assert ("Confusion matrix" in page) == bool(record.labels)

    specialist = tunelab.load(study.bundle)
    (answer,) = specialist.predict(given)
    assert isinstance(answer, str if record.labels else float)
    assert specialist.pairs == (task == "match")
    if not record.labels:
        with pytest.raises(InputError, match="no labels"):
            specialist.predict_proba(given)
    out = tmp_path / "answers.csv"
    found = CliRunner().invoke(app, ["predict", str(study.bundle), "--file", str(data), "--out", str(out)])
    assert found.exit_code == 0, found.output
    answers = pd.read_csv(out)
    assert len(answers) == 150
    texts = pd.read_csv(data)[["sentence1", "sentence2"] if task == "match" else ["text"]].head(4)
    rows = list(texts.itertuples(index=False, name=None)) if task == "match" else texts["text"].tolist()
    wanted = specialist.predict(rows)
    if record.labels:
        assert answers["prediction"].head(4).tolist() == wanted
    else:
        assert answers["prediction"].head(4).tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_model_of_pairs_wants_pairs(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    match(60).to_csv(data, index=False)
    run = tunelab.run(
        data, task="match", method="head", model=str(model), out=tmp_path / "out", settings={"train.epochs": 1},
        progress=False,
    )  # fmt: skip
    specialist = run.load()
    assert specialist.predict(("my lamp", "the lamp")) == specialist.predict([("my lamp", "the lamp")])
    for wrong in ("my lamp", ["my lamp"], [("my lamp", 3)], []):
        with pytest.raises(InputError, match="this model reads pairs"):
            specialist.predict(wrong)
    words = ["predict", str(run.bundle), "--text", "my lamp"]
    assert isinstance(CliRunner().invoke(app, words).exception, ConfigError)
    assert CliRunner().invoke(app, [*words, "--text-pair", "the lamp"]).exit_code == 0


def test_a_race_needs_shares(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    regress(60).to_csv(data, index=False)
    with pytest.raises(ConfigError, match="race: task regress answers with numbers"):
        tunelab.compare(
            data, task="regress", methods=["full", "head"], model=str(model), race=True, folds=0,
            out=tmp_path / "out", settings=SETTINGS, progress=False,
        )  # fmt: skip


def tagged(rows: int) -> list[dict]:
    """Things and places of sentences; places are entities."""
    random, found = np.random.default_rng(0), []
    for i in range(rows):
        place, thing = str(random.choice(PLACES)), str(random.choice(THINGS))
        start = f"my {thing} from the "
        text = f"{start}{place} is {random.choice(GOOD)} {i}"
        spans = [[start.index(thing), start.index(thing) + len(thing), "THING"]]
        spans.append([len(start), len(start) + len(place), "PLACE"])
        found.append({"text": text, "label": spans})
    return found


@pytest.mark.slow
def test_a_study_of_tags(model: Path, tmp_path: Path) -> None:
    """Methods and heads in one verdict; what is said of a new text is where its words are."""
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(item) for item in tagged(150)), encoding="utf-8")
    study = tunelab.compare(
        data,
        task="tag",
        methods=["full", "lora", "prompt", "adapter"],
        add=["full,tag.head=crf", "lora,tag.head=crf"],
        model=str(model),
        folds=0,
        seeds=2,
        out=tmp_path / "out",
        settings={**SETTINGS, "train.epochs": 4, "train.learning_rate": 5e-3, "search.trials": 1},
        progress=False,
    )
    record = study.record
    assert not record.failures
    assert record.deciding == "f1"
    names = {r.name: r for r in record.results}
    methods = {"full", "lora", "prompt", "adapter", "full,tag.head=crf", "lora,tag.head=crf"}
    assert set(names) == methods | {"dictionary"}
    assert names["full"].score.value > 0.8
    assert names["full,tag.head=crf"].score.value > 0.8
    assert "f1(PLACE)" in names["full"].scores
    assert study.report.read_text(encoding="utf-8")
    text = f"the {PLACES[0]} is near"
    for run in ("full,tag.head=crf", "lora,tag.head=crf", "full"):
        specialist = tunelab.load(study.folder / "runs" / kept(study.folder, names[run].runs) / "bundle")
        (found,) = specialist.predict([text])
        assert all(text[e["start"] : e["end"]].strip() and 0 < e["confidence"] <= 1 for e in found)
    with pytest.raises(InputError, match="no labels"):
        specialist.predict_proba([text])
    asked, out = tmp_path / "asked.csv", tmp_path / "answers.csv"
    pd.DataFrame({"text": [text, "nothing here"]}).to_csv(asked, index=False)
    found = CliRunner().invoke(app, ["predict", str(study.bundle), "--file", str(asked), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert json.loads(pd.read_csv(out)["prediction"][0]) == [
        [e["start"], e["end"], e["type"]] for e in tunelab.load(study.bundle).predict([text])[0]
    ]


def kept(folder: Path, runs: tuple[str, ...]) -> str:
    return next(run for run in runs if (folder / "runs" / run / "bundle").is_dir())
