"""The tuning: what trials there are, and that a killed search goes on with the very same ones."""

import json
import math
from pathlib import Path

import pytest

from tunelab.study.search import Tuner, bars, open_storage, read_curve


def tuner(folder: Path, trials: int = 6, name: str = "lora") -> Tuner:
    return Tuner(open_storage(folder / "tuning.db"), name, 1e-4, 1e-2, 1e-3, trials, seed=0)


def score(rate: float) -> float:
    """A smooth hill over the logarithm of the rate, highest at 2e-3."""
    return 0.9 - 0.1 * (math.log10(rate) - math.log10(2e-3)) ** 2


def tell(search: Tuner, number: int, rate: float, state: str = "complete") -> None:
    about = {
        "seconds": 1.0,
        "score": score(rate),
        "loss": 0.5,
        "state": state,
        "run": f"run-{number}",
        "steps": 9,
    }
    search.tell(number, score(rate), state, about)


def finish(search: Tuner) -> list[float]:
    rates = []
    while (asked := search.ask()) is not None:
        tell(search, *asked)
        rates.append(asked[1])
    return rates


def test_the_default_first_then_around_it_then_within_the_range(tmp_path: Path) -> None:
    rates = finish(tuner(tmp_path))
    assert len(rates) == 6
    assert rates[:3] == pytest.approx([1e-3, 3e-3, 1e-3 / 3])
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len(set(rates)) == 6


def test_killed_at_any_moment_the_search_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    """After each ask, and after each answer, everything is forgotten but the file."""
    whole = finish(tuner(tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path))
    (tmp_path / "b").mkdir()
    rates = []
    while (asked := tuner(tmp_path / "b").ask()) is not None:
        assert tuner(tmp_path / "b").ask() == asked, "a trial that was begun is begun again"
        tell(tuner(tmp_path / "b"), *asked)
        rates.append(asked[1])
    assert rates == whole


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    first = finish(tuner(tmp_path, trials=4))
    more = finish(tuner(tmp_path, trials=6))
    assert len(first) == 4
    assert len(more) == 2
    assert len(tuner(tmp_path, trials=4).trials(0)) == 4


def test_the_best_is_complete_and_ties_go_to_the_lower_loss(tmp_path: Path) -> None:
    search = tuner(tmp_path, trials=4)
    answers = [
        ("complete", 0.8, 0.5),
        ("stopped_early", 0.9, 0.1),
        ("complete", 0.8, 0.4),
        ("failed", None, None),
    ]
    for state, value, loss in answers:
        asked = search.ask()
        assert asked is not None
        about = {
            "seconds": 1.0,
            "score": value,
            "loss": loss,
            "state": state,
            "run": str(asked[0]),
            "steps": 9,
        }
        search.tell(asked[0], value, state, about)
    assert search.ask() is None
    assert search.best() == (pytest.approx(1e-3 / 3), "2")
    assert [t.state for t in search.trials(0)] == ["complete", "stopped_early", "complete", "failed"]


def test_no_best_where_all_failed(tmp_path: Path) -> None:
    search = tuner(tmp_path, trials=1)
    number, _ = search.ask()
    about = {"seconds": 0.0, "score": None, "loss": None, "state": "failed", "run": "x"}
    search.tell(number, None, "failed", about)
    assert search.best() is None


def test_a_bar_is_two_standard_errors_below_the_best_trial_after_a_third(tmp_path: Path) -> None:
    """At 0.8 on 400 rows one standard error is sqrt(0.8 x 0.2 / 400) = 0.02."""
    curve = [(10, 0.5), (40, 0.8), (90, 0.8), (100, 0.9)]
    assert bars(curve, rows=400, total=100) == ((40, pytest.approx(0.76)), (90, pytest.approx(0.76)))


def test_a_curve_is_the_best_so_far_and_survives_half_a_line(tmp_path: Path) -> None:
    lines = [
        {"kind": "evaluation", "step": s, "valid/accuracy": v} for s, v in ((1, 0.6), (2, 0.5), (3, 0.7))
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"kind": "evalu'
    (tmp_path / "metrics.jsonl").write_text(text)
    assert read_curve(tmp_path, "accuracy") == [(1, 0.6), (2, 0.6), (3, 0.7)]
