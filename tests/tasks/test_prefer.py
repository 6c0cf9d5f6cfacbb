"""Reward models from the file to the loss: against the formula one answer at a time, by property, by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from answer_pairs import pairs, written
from tiny import BAD, GOOD, make_model_folder
from transformers import AutoModelForSequenceClassification

import tunelab
from tunelab.config import DataConfig, LossConfig, ModelConfig, RunConfig
from tunelab.data.read_conversations import read_preferences
from tunelab.errors import ConfigError, DataError
from tunelab.measure.preference import preference_score_function, preference_scores
from tunelab.study.baselines import run_baseline
from tunelab.study.prepare import prepare
from tunelab.study.run import run_once, verify
from tunelab.tasks.prefer import Prefer, PreferSettings
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision

FLOAT32 = Precision("float32", "cpu", "test")


@pytest.fixture(scope="module", params=["bert", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny", request.param)


def test_the_whole_path_equals_the_formula(folder: Path, tmp_path: Path) -> None:
    """Votes, margins, centring, types and padding: each answer alone through the model. 1e-5."""
    rows = [row | {"margin": i % 3} for i, row in enumerate(pairs(40, votes=True))]
    data = written(tmp_path / "pairs.json", rows)
    prepared = prepare(
        (str(data),), "prefer", DataConfig(folds=0), ModelConfig(name=str(folder), max_length=64)
    )
    task = Prefer(LossConfig(), PreferSettings(centring=0.05, margin=0.5))
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    ).eval()
    model.config.pad_token_id = prepared.pad_id
    items = prepared.splits[0].train[:9]
    examples = prepared.examples(items, task)
    inputs, targets = examples.batch(np.arange(9), "cpu")
    tokens = prepared.encoded.tokens

    def reward(row: int) -> float:
        own = {"input_ids": torch.from_numpy(tokens.row(row, 64).astype(np.int64))[None]}
        if tokens.types is not None:
            own["token_type_ids"] = torch.from_numpy(tokens.row_types(row, 64).astype(np.int64))[None]
        return float(model(**own).logits)

    with torch.no_grad():
        total, count = task.objective(model(**inputs).logits, targets)
        wanted = 0.0
        for item in items:
            a, b = reward(2 * item), reward(2 * item + 1)
            said = json.loads(prepared.table.frame["label"].iloc[item])
            share, margin = said["votes"][0] / sum(said["votes"]), 0.5 * said["margin"]
            wanted += share * math.log(1 + math.exp(margin - (a - b))) + 0.05 * (a + b) ** 2
            wanted += (1 - share) * math.log(1 + math.exp(margin + (a - b)))
        outputs = predict_logits(model, examples, FLOAT32, keep=task.keep_of(model))
    assert (count, total.item()) == (9, pytest.approx(wanted, rel=1e-5))
    scores = task.scores(outputs, task.targets(prepared.labels(items)))
    assert scores["loss"] == pytest.approx(wanted / 9, rel=1e-5)
    frame = task.decode(outputs, prepared.table.frame.iloc[items]).assign(label=prepared.labels(items))
    assert float(task.run_score(frame)(np.ones((1, 9)))[0]) == scores["accuracy"]
    assert 1 - task.errors(frame).mean() == pytest.approx(scores["accuracy"])


def test_scores_by_hand() -> None:
    """Three annotators on four pairs: shares 1, 2/3, 1/3 and 1/2 for the chosen side; differences log 3, -log 3,
    -log 3 and 1.

    accuracy: right, wrong, right (most took the other one), a tie counts half: (1 + 0 + 1 + 1/2) / 4 = 5/8.
    p = 3/4, 1/4, 1/4, .731: brier = ((1/4)^2 + (5/12)^2 + (1/12)^2 + .231^2) / 4.
    agreement: of the model's opinion are 1, 1/3, 2/3 and 1/2, in all 5/8; the majority's: 1, 2/3, 2/3, 1/2.
    "longer is better" (longer, shorter, longer, equal): right, wrong, wrong, half: 3/8; preferred: yes, yes, no.
    """
    differences = np.array([math.log(3), -math.log(3), -math.log(3), 1.0])
    shares, longer = np.array([1, 2 / 3, 1 / 3, 1 / 2]), np.array([1, -1, 1, 0])
    scores = preference_scores(differences, shares, longer, probabilities=True)
    p = 1 / (1 + math.exp(-1))
    assert scores["accuracy"] == 5 / 8
    assert scores["brier"] == pytest.approx(
        ((1 / 4) ** 2 + (5 / 12) ** 2 + (1 / 12) ** 2 + (p - 0.5) ** 2) / 4
    )
    assert scores["agreement"] == pytest.approx((1 + 1 / 3 + 2 / 3 + 1 / 2) / 4)
    assert scores["agreement_limit"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 1 / 2) / 4)
    assert scores["longer_right"] == 3 / 8
    assert scores["longer_preferred"] == pytest.approx(2 / 3)
    weights = np.array([[1.0, 1, 1, 1], [2, 0, 0, 2]])
    assert preference_score_function(differences, shares)(weights).tolist() == [5 / 8, 3 / 4]


@pytest.mark.parametrize(
    ("columns", "chosen", "labels"),
    [
        (
            {"votes_chosen": [3, 0], "votes_rejected": [1, 2], "votes_tie": [2, 1]},
            {},
            [[4.0, 2.0], [0.5, 2.5]],
        ),
        (
            {"a": ["chosen", "rejected"], "b": ["tie", ""], "c": [1, "rejected"]},
            {"votes": "a, b, c"},
            [[2.5, 0.5], [0.0, 2.0]],
        ),
        ({"share": [0.75, 0]}, {"votes": "share"}, [[0.75, 0.25], [0.0, 1.0]]),
        ({"said": [["A", "B", "A"], ["tie"]]}, {"votes": "said"}, [[2.0, 1.0], [0.5, 0.5]]),
    ],
    ids=["counts", "annotators", "a share", "a list"],
)
def test_votes_are_read(columns: dict, chosen: dict, labels: list, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{i}", "chosen": "x", "rejected": "y", **{k: v[i] for k, v in columns.items()}}
        for i in range(2)
    ]
    table = read_preferences([written(tmp_path / "pairs.json", rows)], chosen)
    assert [json.loads(label)["votes"] for label in table.frame["label"]] == labels
    task = Prefer.fit(table.frame["label"].tolist(), [], LossConfig())
    wanted = [own / (own + other) for own, other in labels]
    assert task.targets(table.frame["label"].tolist())[:, 0].tolist() == pytest.approx(wanted)


def test_votes_that_are_none(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "x", "rejected": "y", "ann": vote} for vote in ("chosen", "perhaps")]
    data = written(tmp_path / "pairs.json", rows)
    with pytest.raises(DataError, match=r"row \d+: 'perhaps' is no vote.*chosen, rejected or tie"):
        read_preferences([data], {"votes": "ann"})
    with pytest.raises(DataError, match="task regress"):
        Prefer.read([str(written(tmp_path / "b.json", [{"text": "t", "score": 1.0}]))], {})
    with pytest.raises(ConfigError, match="losses of its own"):
        Prefer.fit([], [], LossConfig(label_smoothing=0.1))


def test_a_prompt_stays_on_one_side(folder: Path, tmp_path: Path) -> None:
    """Three pairs a prompt; and the doctor tells pairs that contradict each other."""
    rows = [row | {"prompt": f"number {i // 3} of the lamp"} for i, row in enumerate(pairs(90))]
    rows[1] |= {"chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}
    data = written(tmp_path / "pairs.json", rows)
    found = prepare((str(data),), "prefer", DataConfig(folds=3), ModelConfig(name=str(folder)))
    for split in found.splits:
        parts = [set(found.table.frame["text"].iloc[rows]) for rows in (split.train, split.valid, split.test)]
        assert len(set.union(*parts)) == sum(map(len, parts))
    told = {finding.code: finding for finding in found.findings}
    assert told["contradicting-pairs"].count == 2
    assert "duplicate" not in told  # one prompt, other answers


def test_a_reward_model_answers(folder: Path, tmp_path: Path) -> None:
    """It learns which words are better, and its bundle scores single answers; the baseline takes the shorter."""
    rows = [
        row | ({"rejected": row["rejected"] + " long and longer"} if i % 3 else {})
        for i, row in enumerate(pairs(120))
    ]
    values = {
        "files": (str(written(tmp_path / "pairs.json", rows)),),
        "task": "prefer",
        "method": "full",
        "model": {"name": str(folder), "max_length": 64},
        "data": {"folds": 0},
        "train": {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3},
    }
    config = RunConfig.model_validate(values)
    prepared = prepare(config.files, config.task, config.data, config.model)
    scores = run_once(config, prepared, tmp_path / "run")["scores"]
    assert scores["accuracy"] > 0.9
    assert scores["longer_right"] < 0.5
    assert verify(tmp_path / "run", prepared)["status"] == "finished"
    frame = pd.read_parquet(tmp_path / "run/predictions.parquet")
    assert ((frame["probability"] > 0.5) == (frame["prediction"] > 0)).all()
    rule = run_baseline("length", config, prepared, tmp_path / "length", "cpu")
    test = prepared.table.frame.iloc[prepared.splits[0].test]
    sizes = [(len(a), len(b)) for a, b in zip(test["chosen"], test["rejected"], strict=True)]
    wanted = [1.0 if a < b else 0.5 if a == b else 0.0 for a, b in sizes]
    assert rule["scores"]["accuracy"] == pytest.approx(np.mean(wanted))
    specialist = tunelab.load(tmp_path / "run/bundle")
    prompt = "the lamp in the hall"
    good, bad = specialist.predict([(prompt, GOOD[0]), (prompt, BAD[0])])
    chat = json.dumps([{"role": "user", "content": prompt}])
    assert good > bad
    assert specialist.predict((chat, GOOD[0])) == [pytest.approx(good)]
