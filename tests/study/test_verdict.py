"""What is advised, and what may be compared at all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tunelab import tasks
from tunelab.config import LossConfig, StudyConfig
from tunelab.errors import ConfigError
from tunelab.records import BaselineGap, Interval
from tunelab.study.compare import _check_like_tokens
from tunelab.study.predictions import _score, groups_of
from tunelab.study.search import bars
from tunelab.study.verdict import _advise
from tunelab.tasks.language import LanguageSettings


def result(name: str, score: float, seconds: float, runs: int = 3) -> Any:
    cost = SimpleNamespace(tuning_seconds=0.0, train_seconds=seconds, evaluation_seconds=0.0)
    return SimpleNamespace(name=name, score=SimpleNamespace(value=score), cost=cost, runs=("run",) * runs)


def gap(baseline: str, difference: float, different: bool) -> BaselineGap:
    found = Interval(value=difference, low=difference - 0.03, high=difference + 0.03)
    return BaselineGap(baseline=baseline, difference=found, p_holm=0.5, different=different)


def advised(results: list[Any], gaps: dict[tuple[str, str], BaselineGap]) -> Any:
    design = SimpleNamespace(seeds=3, folds=1)
    evidence: Any = SimpleNamespace(design=design, failures={}, race=None)
    return _advise(evidence, results, [r.name for r in results], [], gaps, 1000)


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
