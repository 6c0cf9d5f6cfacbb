"""What is advised, and what may be compared at all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from tunelab import tasks
from tunelab.config import LossConfig, StudyConfig
from tunelab.errors import ConfigError
from tunelab.measure.pairs import mcnemar
from tunelab.measure.statistics import class_f1, mean_interval
from tunelab.records import BaselineGap, Interval, Pair
from tunelab.study.compare import _check_like_tokens
from tunelab.study.predictions import Judged, _score, gather, groups_of
from tunelab.study.search import bars
from tunelab.study.verdict import _advise, _counts, _mean_scores, _pair, _pareto, _parts
from tunelab.tasks.language import LanguageSettings


def result(name: str, score: float, seconds: float, runs: int = 3) -> Any:
    cost = SimpleNamespace(tuning_seconds=0.0, train_seconds=seconds, evaluation_seconds=0.0)
    return SimpleNamespace(name=name, score=SimpleNamespace(value=score), cost=cost, runs=("run",) * runs)


def gap(baseline: str, difference: float, different: bool) -> BaselineGap:
    found = Interval(value=difference, low=difference - 0.03, high=difference + 0.03)
    return BaselineGap(baseline=baseline, difference=found, p_holm=0.5, different=different)


def advised(
    results: list[Any], gaps: dict[tuple[str, str], BaselineGap], pairs: tuple[Pair, ...] = ()
) -> Any:
    design = SimpleNamespace(seeds=3, folds=1)
    evidence: Any = SimpleNamespace(design=design, failures={}, race=None)
    return _advise(evidence, results, [r.name for r in results], pairs, gaps, 1000, 1000)


def test_the_cheapest_of_the_best_is_advised_only_if_it_beats_the_baselines_that_the_best_beats() -> None:
    results = [result("full", 0.90, 90.0), result("lora", 0.89, 50.0), result("head", 0.855, 5.0)]
    clear = {(name, "tfidf"): gap("tfidf", 0.04, True) for name in ("full", "lora", "head")}
    assert advised(results, clear).method == "head"
    below = clear | {("head", "tfidf"): gap("tfidf", -0.005, False)}
    found = advised(results, below)
    assert (found.method, found.tied, found.baseline) == ("lora", ("full", "lora", "head"), None)
    none = {key: gap("tfidf", 0.01, False) for key in clear}
    found = advised(results, none)
    assert (found.method, found.baseline) == ("head", "tfidf")


def test_a_cheaper_method_that_is_worse_by_itself_is_not_advised() -> None:
    """2 points, p 0.02, of 36 pairs: no difference that the verdict claims, but no reason to take it either."""
    results = [result("full", 0.90, 90.0), result("lora", 0.89, 50.0), result("head", 0.88, 5.0)]

    def pair(second: str, p: float) -> Pair:
        difference = Interval(value=0.02, low=0.0, high=0.04)
        return Pair(
            first="full",
            second=second,
            difference=difference,
            p=p,
            p_holm=0.4,
            different=False,
            test="bootstrap",
        )

    assert advised(results, {}, (pair("lora", 0.3), pair("head", 0.06))).method == "head"
    assert advised(results, {}, (pair("lora", 0.3), pair("head", 0.02))).method == "lora"
    assert advised(results, {}, (pair("lora", 0.03), pair("head", 0.02))).method == "full"


def test_a_failed_seed_makes_no_method_cheaper() -> None:
    """Both take 10 s a run; one of them lost two of its three runs."""
    results = [result("full", 0.90, 10.0), result("lora", 0.89, 10.0, runs=1)]
    found = advised(results, {})
    assert (found.method, found.cost_share) == ("full", 1.0)


def test_losses_of_other_tokens_are_not_compared() -> None:
    config = StudyConfig(files=("a.txt",), task="language")

    def opened(digest: str, objective: Any = "causal") -> Any:
        return SimpleNamespace(token_digest=digest, settings=LanguageSettings(objective=objective))

    _check_like_tokens(config, {"a": opened("x"), "b": opened("x")})
    with pytest.raises(ConfigError, match="'a' and 'b' do not cut the texts into the same tokens"):
        _check_like_tokens(config, {"a": opened("x"), "b": opened("y")})
    with pytest.raises(ConfigError, match="foretell them alike"):
        _check_like_tokens(config, {"a": opened("x"), "b": opened("x", "masked")})


def test_correlations_are_those_within_folds() -> None:
    """Two folds that are each in perfect order, the second one's model 10 lower: together they would not be."""
    labels = ["1", "2", "3", "4", "5", "6"]
    frame = pd.DataFrame(
        {"label": labels, "prediction": [1.0, 2.0, 3.0, -6.0, -5.0, -4.0], "fold": [0, 0, 0, 1, 1, 1]}
    )
    task = tasks.find("regress").fit(labels, labels, LossConfig())
    ones = np.ones((1, 6))
    assert float(task.run_score(frame)(ones)[0]) < 0
    assert float(_score(frame, task)(ones)[0]) == pytest.approx(1)
    assert float(_score(frame.assign(fold=0), task)(ones)[0]) < 0


def test_items_belong_together_by_the_user_s_word_or_the_task_s() -> None:
    table: Any = SimpleNamespace(
        frame=pd.DataFrame({"text": ["a", "b", "c", "d"], "text_pair": ["x", "x", "y", "x"]})
    )
    prepared: Any = SimpleNamespace(table=table)
    answer, classify = tasks.find("answer"), tasks.find("classify")
    found = groups_of(prepared, answer)
    assert found is not None
    assert found.tolist() == [0, 0, 1, 0]
    assert groups_of(prepared, classify) is None
    table.frame["group"] = ["ann", "", "ann", ""]
    found = groups_of(prepared, classify)
    assert found is not None
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


def test_a_trial_is_stopped_by_the_noise_of_its_own_score() -> None:
    """Spearman 0.3 on 200 rows: two standard errors are 2 (1 - 0.09) / sqrt(197) = 0.1297."""
    curve = [(10, 0.1), (20, 0.3), (30, 0.4)]
    assert bars(curve, 200, 30, "spearman") == ((20, pytest.approx(0.3 - 0.1297, abs=1e-4)),)
    assert bars([(s, 40 * v) for s, v in curve], 200, 30, "reward") == ()


def judged_runs(folder: Path, labels: list[str], said: list[list[str]], groups: Any = None) -> Judged:
    """Runs whose predictions are these, one a seed, as a study leaves them."""
    kinds = [*sorted(set(labels)), "never"]
    task = tasks.find("classify").fit(kinds, kinds, LossConfig())
    for seed, own in enumerate(said):
        run = folder / f"run{seed}"
        run.mkdir()
        (run / "result.json").write_text(json.dumps({"seed": seed}))
        sure = {f"p({kind})": [float(kind == one) for one in own] for kind in task.classes}
        frame = pd.DataFrame({"item": range(len(own)), "label": labels, "prediction": own, **sure})
        frame.to_parquet(run / "predictions.parquet")
    found = gather("m", [folder / f"run{seed}" for seed in range(len(said))], task, 1, groups)
    assert found is not None
    return found


@pytest.mark.parametrize("grouped", [False, True])
def test_f1_by_class_has_the_interval_of_its_own_runs(tmp_path: Path, grouped: bool) -> None:
    """30 classes, three seeds: the 20 weakest, by scikit-learn's F1; the limits are those that `mean_interval`
    gives for each class alone, in groups of four items where items belong together."""
    random = np.random.default_rng(3)
    truth = np.concatenate([np.arange(30), random.integers(30, size=370)])
    said = [np.where(random.random(400) < 0.7, truth, random.integers(30, size=400)) for _ in range(3)]
    groups = np.arange(400) // 4 if grouped else None
    names = np.array([f"c{code:02}" for code in range(30)])
    judged = judged_runs(tmp_path, names[truth].tolist(), [names[own].tolist() for own in said], groups)
    found = _parts(judged)
    means = np.mean([f1_score(truth, own, average=None) for own in said], axis=0)
    weakest = np.argsort(means, kind="stable")[:20]
    assert [part.label for part in found] == names[weakest].tolist()
    for part, code in zip(found, weakest, strict=True):
        runs = [class_f1(own, truth, int(code)) for own in said]
        for run in runs:
            run.groups_N = groups
        limits = mean_interval(runs, 400)
        assert (part.score.value, part.score.low, part.score.high) == pytest.approx(limits, abs=1e-12)
        assert part.score.value == pytest.approx(means[code])
        assert part.score.low < part.score.value < part.score.high


def test_a_class_that_no_item_has_is_not_the_weakest(tmp_path: Path) -> None:
    """ "never" has no F1; "a" is right in 2 of 3 and given twice, F1 = 2 * 2 / (3 + 2) = 0.8; "b" is found and
    once too often, 2 * 1 / (1 + 2) = 0.667."""
    found = _parts(judged_runs(tmp_path, ["a", "a", "a", "b"], [["a", "a", "b", "b"]]))
    assert [(part.label, round(part.score.value, 4)) for part in found] == [("b", 0.6667), ("a", 0.8)]


def test_a_pair_that_is_not_told_apart_wants_more_items() -> None:
    """5 : 0 among ten is p = 0.0625, which the approximation behind the number would call separated already."""
    test = mcnemar(np.array([1] * 10), np.array([1] * 5 + [0] * 5))
    assert test.p == pytest.approx(0.0625)
    assert _pair("a", "b", test, test.p, 1, 10, 10).more_items == 1


def test_what_is_counted_is_told_for_what_it_is(tmp_path: Path) -> None:
    labels = ["a", "b"] * 10
    (tmp_path / "groups").mkdir()
    (tmp_path / "parts").mkdir()
    grouped = judged_runs(tmp_path / "groups", labels, [labels], np.arange(20) // 4)
    assert _counts(grouped)[0].startswith("the 20 test items belong to 5 groups")
    alone = judged_runs(tmp_path / "parts", labels, [labels])
    assert _counts(alone) == []
    alone.scores[0].support_N = np.arange(20) < 12
    assert _counts(alone)[0].startswith("in 12 of the 20 test items there is something to find")


def test_scores_of_folds_are_those_of_all_their_items(tmp_path: Path) -> None:
    """Class "b" has one item in each of two folds, found in the first, missed in the second and never given
    wrongly: F1 = 2 * 1 / (1 + 2), where the mean of the folds' own is (1 + 0) / 2."""
    judged = judged_runs(tmp_path, ["a", "b", "a", "b"], [["a", "b", "a", "a"]])
    task = tasks.find("classify").fit(["a", "b", "never"], ["a", "b", "never"], LossConfig())
    records = [
        {"fold": 0, "scores": {task.deciding: 1.0, "f1(b)": 1.0, "ece": 0.3}},
        {"fold": 1, "scores": {task.deciding: 0.0, "f1(b)": 0.0, "ece": 0.6}},
    ]
    splits = [SimpleNamespace(test=np.arange(n)) for n in (2, 1)]
    design, prepared = SimpleNamespace(folds=2), {"m": SimpleNamespace(splits=splits)}
    evidence: Any = SimpleNamespace(design=design, prepared=prepared)
    found = _mean_scores(records, judged, evidence, task)
    assert found["f1(b)"] == pytest.approx(2 / 3)
    assert found[task.deciding] == pytest.approx(float(judged.scores[0](np.ones((1, 4)))[0]))
    assert found["ece"] == pytest.approx((2 * 0.3 + 0.6) / 3)


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_else_dominates(seed: int) -> None:
    """By brute force, with many ties; of equals the first stands for all. What has no price is not on it."""
    random = np.random.default_rng(seed)
    rows: list[Any] = [
        SimpleNamespace(
            name=f"m{i}",
            score=SimpleNamespace(value=float(random.integers(6))),
            price=None if random.random() < 0.2 else float(random.integers(6)),
        )
        for i in range(12)
    ]
    priced = [row for row in rows if row.price is not None]

    def dominated(row: Any) -> bool:
        return any(
            other.price <= row.price
            and other.score.value >= row.score.value
            and (
                (other.price, other.score.value) != (row.price, row.score.value)
                or rows.index(other) < rows.index(row)
            )
            for other in priced
        )

    expected = sorted((row for row in priced if not dominated(row)), key=lambda row: row.price)
    assert _pareto(rows, lambda row: row.price) == tuple(row.name for row in expected)
