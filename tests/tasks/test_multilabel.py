"""Any number of labels a text: reading, loss, scores and the doctor, against scikit-learn and transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from models_zoo import make_batch
from sklearn.metrics import f1_score

from tunelab import tasks
from tunelab.config import LossConfig
from tunelab.data.check import check, fix
from tunelab.data.read_labels import labels_in
from tunelab.data.table import Table
from tunelab.errors import ConfigError, DataError
from tunelab.tasks.multilabel import Multilabel, MultilabelSettings

NAMES = ["broken", "dear", "late"]


def fitted(labels: list[str], settings: MultilabelSettings | None = None, **loss: Any) -> Multilabel:
    return Multilabel.fit(labels, labels, LossConfig(**loss), settings)


def cells(rows: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [json.dumps([name for name in NAMES if random.random() < 0.4]) for _ in range(rows)]


def read(folder: Path, text: str, name: str = "a.csv", **chosen: str) -> Table:
    (folder / name).write_text(text, encoding="utf-8")
    return tasks.find("multilabel").read([str(folder / name)], chosen)


# Reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "text,labels\none,late|broken\ntwo,\nthree,late\n",
        'text,tags\none,"late, broken"\ntwo,\nthree,late\n',
        'text,labels\none,"[""late"", ""broken""]"\ntwo,[]\nthree,"[""late""]"\n',
        "text,labels\none,\"['late', 'broken']\"\ntwo,[]\nthree,['late']\n",
        "text,late,broken\none,1,1\ntwo,0,0\nthree,1,0\n",
        "id,text,late,broken\n7,one,1.0,true\n9,two,0,False\n4,three,1,0\n",
    ],
    ids=["bar", "comma", "json", "python", "columns", "columns-beside-an-id"],
)
def test_every_way_to_write_labels(text: str, tmp_path: Path) -> None:
    table = read(tmp_path, text)
    found = [labels_in(cell) for cell in table.frame["label"]]
    assert found == [["broken", "late"], [], ["late"]]
    assert table.frame["text"].tolist() == ["one", "two", "three"]


def test_lists_in_json_lines(tmp_path: Path) -> None:
    lines = [{"text": "one", "labels": ["late", "late", " dear"]}, {"text": "two", "labels": []}]
    table = read(tmp_path, "\n".join(map(json.dumps, lines)), "a.jsonl")
    assert table.frame["label"].tolist() == ['["dear", "late"]', "[]"]


def test_lists_in_fasttext_lines(tmp_path: Path) -> None:
    text = "__label__late It came late.\n__label__dear __label__late Late and dear.\n" * 3
    table = read(tmp_path, text, "a.txt")
    assert table.frame["label"].tolist()[:2] == ['["late"]', '["dear", "late"]']
    assert table.frame["text"].tolist()[:2] == ["It came late.", "Late and dear."]


def test_nothing_is_guessed(tmp_path: Path) -> None:
    two = 'text,labels\none,"a|b, c"\ntwo,a\n'
    with pytest.raises(DataError, match=r"data\.separator=bar or data\.separator=comma"):
        read(tmp_path, two)
    assert labels_in(read(tmp_path, two, separator="bar").frame["label"][0]) == ["a", "b, c"]
    with pytest.raises(DataError, match=r"row 3: broken is 'maybe', neither 0 nor 1"):
        read(tmp_path, "text,late,broken\none,1,1\ntwo,0,maybe\n", labels="late,broken")
    with pytest.raises(DataError, match=r"did you mean 'late'"):
        read(tmp_path, "text,late,broken\none,1,1\n", labels="lat,broken")
    (tmp_path / "b.jsonl").write_text('{"text": "one", "label": ["a", "b"]}\n{"text": "x", "label": ["a"]}')
    with pytest.raises(DataError, match="--task multilabel"):
        tasks.find("classify").read([str(tmp_path / "b.jsonl")], {})


# Learning -----------------------------------------------------------------------------------------------------


def test_loss_is_that_of_transformers() -> None:
    """The model's own loss for problem_type="multi_label_classification", which its configuration says."""
    labels = cells(8)
    task = fitted(labels)
    options = task.model_options()
    assert options["problem_type"] == "multi_label_classification"
    shape = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**shape, **options)).eval()
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = torch.from_numpy(task.targets(labels))[: len(inputs["input_ids"])]
    found = model(**inputs, labels=targets)
    total, count = task.objective(found.logits, targets)
    torch.testing.assert_close(total / count, found.loss)


def test_positive_weights_and_focal_by_hand() -> None:
    """4 rows, "late" in 1: weight 3. At logit 0 each decision costs log 2, a found label three times that; with
    gamma 2 a quarter. "dear" is in 2: weight 1."""
    labels = ['["late"]', "[]", '["dear"]', '["dear"]']
    logits, targets = torch.zeros(4, 2), torch.from_numpy(fitted(labels).targets(labels))
    total, count = fitted(labels, class_weights="balanced").objective(logits, targets)
    assert (float(total), float(count)) == (pytest.approx((7 + 3) * np.log(2), rel=1e-6), 8)
    total, _ = fitted(labels, kind="focal").objective(logits, targets)
    assert float(total) == pytest.approx(8 * np.log(2) / 4, rel=1e-6)
    with pytest.raises(ConfigError, match="is for numbers"):
        fitted(labels, kind="mse")


def test_scores_are_scikit_learns() -> None:
    labels = cells(60)
    task = fitted(labels)
    truth = task.targets(labels)
    outputs = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32) + truth
    frame = task.decode(outputs).assign(label=labels)
    given = outputs > 0
    scores = task.scores(outputs, truth)
    assert next(iter(scores)) == "micro_f1" == task.deciding
    for average in ("micro", "macro"):
        assert scores[f"{average}_f1"] == pytest.approx(f1_score(truth, given, average=average))
    assert scores["subset_accuracy"] == pytest.approx((truth == given).all(1).mean())
    assert task.run_score(frame)(np.ones((1, 60)))[0] == pytest.approx(scores["micro_f1"])
    for i, name in enumerate(NAMES):
        expected = f1_score(truth[:, i], given[:, i])
        assert task.part_scores(frame)[name](np.ones((1, 60)))[0] == pytest.approx(expected)
    weights = np.random.default_rng(2).integers(0, 4, size=60)
    again = np.repeat(np.arange(60), weights)
    assert task.run_score(frame)(weights[None].astype(float))[0] == pytest.approx(
        f1_score(truth[again], given[again], average="micro")
    )
    assert task.errors(frame).tolist() == (truth != given).sum(1).tolist()
    macro = fitted(labels, MultilabelSettings(decides="macro_f1"))
    assert next(iter(macro.scores(outputs, truth))) == "macro_f1"


def test_what_is_answered() -> None:
    task = fitted(cells(30), MultilabelSettings(threshold=0.7))
    frame = task.decode(np.array([[2.0, 0.0, 1.0], [0.5, -1.0, -9.0]], dtype=np.float32))
    assert task.answers(frame) == [["broken", "late"], []]  # of 1.0 the probability is 0.731, of 0.5 0.622
    assert frame["p(late)"].tolist() == pytest.approx([0.7311, 0.0001], abs=1e-4)
    assert task.labels == tuple(NAMES)
    assert task.classes == ()
    again = Multilabel.from_dict(json.loads(json.dumps(task.as_dict())))
    assert again.as_dict() == task.as_dict()


# The doctor ---------------------------------------------------------------------------------------------------


def codes(labels: list[str], task: str = "multilabel", splits: list[str] | None = None) -> dict[str, str]:
    frame = pd.DataFrame(
        {
            "text": [f"a text of its own, number {i}" for i in range(len(labels))],
            "label": labels,
            "split": splits or "",
            "file": "a.csv",
            "row": range(2, len(labels) + 2),
        }
    )
    table = Table(frame, {"text": "text", "label": "labels"})
    return {f.code: f.title for f in check(table, labels=tasks.find(task).labels_check())}


def test_what_the_doctor_says() -> None:
    some = ['["late"]', '["dear", "late"]', '["dear"]'] * 20
    assert not {"single-labels", "no-labels-in-row", "rare-label", "constant-label"} & set(codes(some))
    assert "20 rows (25 %) have no label" in codes([*some, *["[]"] * 20])["no-labels-in-row"]
    assert "'odd' (1)" in codes([*some, '["odd"]'])["rare-label"]
    assert "1 row spells a label differently" in codes([*some, '["Late"]'])["label-spelling"]
    assert "one-label" in codes(['["late"]'] * 30)
    assert "single-labels" in codes(['["late"]', '["dear"]'] * 20)
    assert "constant-label" in codes(['["all", "late"]', '["all"]'] * 20)
    parts = ["train"] * 60 + ["test"] * 2
    assert "'new'" in codes([*some, '["new"]', '["late"]'], splits=parts)["label-only-in-test"]
    lists = ["a|b", "a|c", "b|c", "a", "b", "c"] * 10
    assert "look like lists of labels" in codes(lists, "classify")["labels-are-lists"]
    assert "labels-are-lists" not in codes(["Home, Garden", "Rock, Pop", "Arts, Crafts"] * 10, "classify")


def test_spellings_are_mended() -> None:
    frame = pd.DataFrame({"text": ["x", "y", "z"], "label": ['["late"]', '["Late", "late"]', '["late"]']})
    table, told = Multilabel.mend(Table(frame.assign(split="", file="a.csv", row=[2, 3, 4]), {}))
    assert table.frame["label"].tolist() == ['["late"]'] * 3
    assert told == ["unified the label spelling of 1 rows ('Late' → 'late')"]
    assert fix(table, Multilabel.labels_check())[0].frame["label"].tolist() == ['["late"]'] * 3
