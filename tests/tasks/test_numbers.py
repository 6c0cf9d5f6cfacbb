"""Tasks with numbers: learnt in standard deviations, told in the labels' own unit, judged by rank."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from tunelab import tasks
from tunelab.config import LossConfig
from tunelab.data.check import check
from tunelab.data.check_numbers import number
from tunelab.data.table import Table
from tunelab.errors import ConfigError, DataError
from tunelab.measure.statistics import RunScore, mean_interval
from tunelab.tasks import Task


def fitted(labels: list[str], loss: LossConfig | None = None) -> Task:
    return tasks.find("regress").fit(labels, labels, loss or LossConfig())


def test_numbers_go_in_and_come_out() -> None:
    """Labels 1, 2, 3, 6: mean 3, deviation sqrt((4 + 1 + 0 + 9) / 4) = sqrt(3.5)."""
    labels = ["1", "2,0", " 3", "6.0"]
    task = fitted(labels)
    targets_N = task.targets(labels)
    assert targets_N == pytest.approx([-2 / 3.5**0.5, -1 / 3.5**0.5, 0, 3 / 3.5**0.5])
    assert targets_N.dtype == np.float32
    assert task.decode(targets_N[:, None])["prediction"].tolist() == pytest.approx([1, 2, 3, 6], abs=1e-6)
    again = type(task).from_dict(task.as_dict())
    assert again.as_dict() == task.as_dict()


def test_loss_is_that_of_torch() -> None:
    logits, targets = torch.randn(7, 1), torch.randn(7)
    for kind, loss in (("auto", torch.nn.MSELoss()), ("huber", torch.nn.HuberLoss(delta=0.7))):
        total, count = fitted(["1", "2"], LossConfig(kind=kind, huber_delta=0.7)).objective(logits, targets)
        assert float(total / count) == pytest.approx(float(loss(logits[:, 0], targets)), rel=1e-6)


def test_losses_and_labels_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"loss.kind=focal is for classes; regress learns numbers"):
        fitted(["1", "2"], LossConfig(kind="focal"))
    with pytest.raises(ConfigError, match=r"loss.kind=mse is for numbers; classify learns classes"):
        tasks.find("classify").fit(["a", "b"], ["a", "b"], LossConfig(kind="mse"))
    with pytest.raises(DataError, match="all training rows have the number 4"):
        fitted(["4", "4.0"])


def test_deciding_score_is_scipys() -> None:
    random = np.random.default_rng(0)
    labels = [f"{x:.1f}" for x in random.normal(size=200)]
    frame = pd.DataFrame(
        {"label": labels, "prediction": random.normal(size=200) + [float(x) for x in labels]}
    )
    score = fitted(labels).run_score(frame)
    wanted = stats.spearmanr(frame["prediction"], frame["label"].astype(float)).statistic
    assert score(np.ones((1, 200)))[0] == pytest.approx(wanted, abs=1e-12)
    assert fitted(labels).errors(frame) == pytest.approx(
        abs(frame["prediction"] - frame["label"].astype(float))
    )


def test_interval_of_a_correlation_covers_the_truth() -> None:
    """Normal pairs with correlation 0.8, so Spearman's is 6 / pi asin(0.4) = 0.7859 (Pearson 1907); 150 items.
    Of 400 intervals 93 to 97 % should hold it; the binomial's own 99 % range around 95 % is 2.8 points."""
    truth, random, inside = 6 / np.pi * np.arcsin(0.4), np.random.default_rng(1), 0
    task = fitted(["0", "1"])
    for _ in range(400):
        x, y = random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=150).T
        run: RunScore = task.run_score(pd.DataFrame({"label": x.astype(str), "prediction": y}))
        _, low, high = mean_interval([run], 150, resamples=300)
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_strata_are_tenths() -> None:
    strata = tasks.find("regress").strata([str(i) for i in range(1000)])
    assert sorted(map(strata.count, set(strata))) == [100] * 10
    assert len(set(strata[:100])) == 1


def table(labels: list[str]) -> Table:
    rows = len(labels)
    frame = pd.DataFrame(
        {
            "text": [f"a text of its own, number {i}" for i in range(rows)],
            "label": labels,
            "split": "",
            "file": "a.csv",
            "row": range(2, rows + 2),
        }
    )
    return Table(frame, {"text": "text", "label": "price"})


def codes(labels: list[str], task: str = "regress") -> dict[str, str]:
    return {f.code: f.title for f in check(table(labels), labels=tasks.find(task).labels_check())}


def test_what_the_doctor_says_of_numbers() -> None:
    fine = [str(i / 7) for i in range(100)]
    assert not {"label-no-number", "far-out", "few-values", "one-number", "labels-are-numbers"} & set(
        codes(fine)
    )
    assert "2 rows of 102" in codes([*fine, "high", "nan"])["label-no-number"]
    assert "one-number" in codes(["3"] * 30)
    assert "few-values" in codes(["1", "2", "3"] * 20)
    assert "1 row (1.0 %) has a number far from the others" in codes([*fine, "900"])["far-out"]
    assert "labels-are-numbers" in codes(fine, "classify")
    assert number("1e3") == 1000
    assert number("inf") is None


def test_a_pair_task_learns_what_its_labels_are() -> None:
    match = tasks.find("match")
    scores, names = [f"{i / 9:.2f}" for i in range(90)], ["0", "1"] * 45
    assert match.fit(scores, scores, LossConfig()).deciding == "spearman"
    assert match.fit(names, names, LossConfig()).classes == ("0", "1")
    assert len(set(match.strata(scores))) == 10
    assert match.strata(names) == names
    for labels in (scores, names):
        task = match.fit(labels, labels, LossConfig())
        assert match.from_dict(task.as_dict()).as_dict() == task.as_dict()
        assert task.name == "match"
