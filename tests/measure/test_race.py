"""The race's rule, by hand and against simulated trainings."""

from itertools import permutations
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from tunelab.measure.race import RUNGS, Entry, Rung, Stop, decide, effective_rows, risk


def test_interval_by_hand() -> None:
    """p = 0.8, q = 0.5, n = 100, half of the steps left:
    sigma^2 = (0.16 + 0.25) / 100 + (0.13 / 2)^2 = 0.0041 + 0.004225 = 0.008325, 1.96 sigma = 0.1788."""
    (stop,) = decide([Entry("a", 0.8, 100), Entry("b", 0.5, 100)], 0.5).stops
    assert (stop.name, stop.behind) == ("b", pytest.approx(0.3))
    assert (stop.low, stop.high) == pytest.approx((0.3 - 0.17883, 0.3 + 0.17883), abs=1e-4)


def test_half_goes_on_and_who_is_level_too() -> None:
    """With n = 100 around 0.6 0.3 standard errors are 0.3 sqrt(0.48 / 100) = 0.021."""
    scores = {"a": 0.60, "b": 0.55, "c": 0.55, "d": 0.50}
    entries = [Entry(name, score, 100) for name, score in scores.items()]
    assert decide(entries, 0.5).keep == ("a", "b")
    assert decide([*entries, Entry("e", 0.58, 100), Entry("f", 0.57, 100)], 0.5).keep == ("a", "e", "f")
    level = [Entry(name, score, 100) for name, score in zip("abcd", (0.60, 0.595, 0.59, 0.58), strict=True)]
    assert decide(level, 0.5).keep == ("a", "b", "c", "d")


def test_hopeless_methods_of_the_better_half_are_stopped() -> None:
    entries = [Entry("a", 0.9, 1000), Entry("b", 0.4, 1000), Entry("c", 0.3, 1000), Entry("d", 0.2, 1000)]
    decision = decide(entries, 0.75)
    assert decision.keep == ("a",)
    assert [stop.name for stop in decision.stops] == ["b", "c", "d"]
    assert all(stop.low > 0 for stop in decision.stops)


def test_equal_scores_are_decided_by_the_loss_then_the_name_whatever_the_order() -> None:
    """Far apart from the leader, so that level methods are not kept for being level."""
    entries = [Entry("a", 0.70, 400, 0.9), Entry("b", 0.60, 400, 0.8), Entry("c", 0.60, 400, 0.7)]
    entries.append(Entry("d", 0.60, 400, 0.8))
    found = {decide(order, 0.25) for order in permutations(entries)}
    assert len(found) == 1
    assert found.pop().keep == ("a", "c")


@pytest.mark.parametrize("scores", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_nothing_learnt_or_all_learnt_stops_nobody(scores: tuple[float, ...]) -> None:
    decision = decide([Entry(name, s, 50) for name, s in zip("abc", scores, strict=True)], 0.25)
    assert (decision.keep, decision.stops) == (("a", "b", "c"), ())


def test_the_leader_always_goes_on() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        entries = [Entry(str(i), float(s), 60) for i, s in enumerate(random.random(random.integers(1, 9)))]
        decision = decide(entries, float(random.uniform(0.05, 0.95)))
        best = max(entries, key=lambda entry: entry.score)
        assert decision.keep[0] == best.name
        assert sorted((*decision.keep, *(stop.name for stop in decision.stops))) == sorted(
            entry.name for entry in entries
        )
    assert decide([], 0.5).keep == ()


def test_risk_by_hand() -> None:
    """Behind by exactly its interval's half: 2.5 %; level with the leader: 50 %; the sum, at most 1."""
    edge, even = Stop("a", 0.1, 0.0, 0.2), Stop("b", 0.0, -0.1, 0.1)
    assert risk([]) == 0
    assert risk([edge]) == pytest.approx(NormalDist().cdf(-1.96))
    assert risk([edge, even]) == pytest.approx(0.525, abs=1e-3)
    assert risk([edge], level=0.1) == pytest.approx(0.5)
    assert risk([even] * 3) == 1


def test_risk_bounds_how_often_a_stopped_method_would_have_won() -> None:
    """Trainings that are as the rule supposes: a score at the rung is the final one, less what is still to come
    (independent, standard deviation 0.13 / sqrt 2 of each half at the start), plus noise of 200 rows; three of
    six methods are stopped. Known: how often one of those is the best in the end."""
    random = np.random.default_rng(1)
    bounds, lost = [], []
    for _ in range(2000):
        now = random.uniform(0.3, 0.9, size=6)
        final = now + random.normal(scale=0.13 / 2 / sqrt(2), size=6)
        seen = np.clip(random.binomial(200, now) / 200, 0, 1)
        decision = decide([Entry(str(i), float(s), 200) for i, s in enumerate(seen)], 0.5)
        bounds.append(risk(decision.stops))
        lost.append(int(final.argmax()) in {int(stop.name) for stop in decision.stops})
    assert 0.01 < np.mean(lost) < np.mean(bounds) < 0.5


def test_effective_rows_are_those_of_macro_recall() -> None:
    """Recalls of classes with 90 and 10 rows, both right with chance 0.7: variance of their mean, simulated."""
    random = np.random.default_rng(0)
    macro = (random.binomial(90, 0.7, 100_000) / 90 + random.binomial(10, 0.7, 100_000) / 10) / 2
    assert 0.7 * 0.3 / macro.var() == pytest.approx(effective_rows([90, 10, 0]), rel=0.02)


def test_rungs_lie_within_the_training() -> None:
    assert [rung.step(100) for rung in RUNGS] == [25, 50, 75]
    assert Rung(1 / 8).step(3) == 1
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match="a rung lies between"):
            Rung(share)
