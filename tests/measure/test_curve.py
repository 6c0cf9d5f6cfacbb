"""Learning curves against laws that were planted, and against hand-derived numbers."""

import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from tunelab.measure.curve import crossings, more_rows

ROWS = np.array([100, 250, 500, 1000])
FURTHER = 500
Law = Callable[[np.ndarray], np.ndarray]


def simulate(law: Law, random: np.random.Generator, items: int = 600, resamples: int = 300):
    """A study whose true score is law(rows): the same items at every number of rows, hard ones hard at all.

    Item i is right at n rows if sqrt(.6) h_i + sqrt(.4) e_in < probit(law(n)), which has chance law(n).
    """
    probit = np.array([NormalDist().inv_cdf(p) for p in law(ROWS.astype(float))])
    hard, own = random.normal(size=(items, 1)), random.normal(size=(items, len(ROWS)))
    right = (np.sqrt(0.6) * hard + np.sqrt(0.4) * own < probit).astype(float)
    weights = random.multinomial(items, np.full(items, 1 / items), size=resamples) / items
    return right.mean(0), weights @ right


def coverage(law: Law, studies: int) -> tuple[float, float]:
    """Share of the studies whose interval holds the true gain, and the intervals' mean width."""
    random = np.random.default_rng(0)
    ends = np.array([ROWS[-1], ROWS[-1] + FURTHER], dtype=float)
    true = float(np.diff(law(ends))[0])
    gains = [more_rows(ROWS, *simulate(law, random), FURTHER) for _ in range(studies)]
    held = [gain is not None and gain[1] <= true <= gain[2] for gain in gains]
    return float(np.mean(held)), float(np.mean([gain[2] - gain[1] for gain in gains if gain is not None]))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_exact_power_law_is_recovered(exponent: float) -> None:
    """Without noise the value is a b n^-c difference: b (1000^-c - 1500^-c)."""
    exact = 0.95 - 0.4 * (ROWS / 100) ** -exponent
    gain = more_rows(ROWS, exact, np.tile(exact, (20, 1)), FURTHER)
    assert gain is not None
    assert gain[0] == pytest.approx(0.4 * (10**-exponent - 15**-exponent), abs=2e-4)


@pytest.mark.parametrize(("scale", "offset"), [(0.001, 0.0), (40.0, -7.0), (1.0, -5.0)])
def test_scores_of_any_unit_and_their_top(scale: float, offset: float) -> None:
    """Another unit gives the same gain in that unit; without a known top a rising reward still rises."""
    scores, drawn = simulate(lambda n: 0.92 - 2.5 * n**-0.5, np.random.default_rng(1))
    plain = more_rows(ROWS, scores, drawn, FURTHER)
    other = more_rows(ROWS, scale * scores + offset, scale * drawn + offset, FURTHER, top=scale + offset)
    assert plain is not None
    assert other is not None
    assert np.array(other) / scale == pytest.approx(np.array(plain), abs=1e-6)
    free = more_rows(ROWS, 50 * scores, 50 * drawn, FURTHER, top=np.inf)
    assert free is not None
    assert 0 < free[0] < free[2]


def test_interval_holds_a_planted_power_law() -> None:
    held, width = coverage(lambda n: 0.92 - 2.5 * n**-0.5, 200)
    assert held >= 0.94
    assert width < 0.06  # and it is not the whole range: the true gain is 0.0145


@pytest.mark.parametrize(
    "law",
    [
        lambda n: 0.2 + 0.1 * np.log(n / 10),
        lambda n: 0.85 - 0.4 * np.exp(-n / 300),
        lambda n: 0.5 + 0.4 / (1 + np.exp(-(n - 600) / 150)),
    ],
    ids=["logarithm", "exponential", "logistic"],
)
def test_interval_is_honest_where_the_power_law_does_not_hold(law: Law) -> None:
    held, width = coverage(law, 60)
    assert held >= 0.9
    assert width > coverage(lambda n: 0.92 - 2.5 * n**-0.5, 20)[1]


def test_nothing_is_said_of_flat_noise_or_few_points() -> None:
    random = np.random.default_rng(0)
    said = [more_rows(ROWS, *simulate(lambda n: 0.7 + 0 * n, random), FURTHER) for _ in range(60)]
    assert sum(gain is None for gain in said) >= 54  # a true level of 2.5 % allows some
    rising = np.array([[0.5, 0.7]])
    assert more_rows(ROWS[:2], rising[0], rising, FURTHER) is None
    falling = np.array([0.8, 0.7, 0.6, 0.5])
    assert more_rows(ROWS, falling, falling[None], FURTHER) is None


def test_no_score_rises_above_one() -> None:
    """A curve at 0.99 that grew by 0.1 a doubling cannot gain more than 0.01."""
    steep = np.array([0.69, 0.79, 0.89, 0.99])
    gain = more_rows(np.array([100, 200, 400, 800]), steep, np.tile(steep, (20, 1)), 100_000)
    assert gain is not None
    assert gain[2] <= 0.01 + 1e-6


def test_order_of_the_points_does_not_matter() -> None:
    scores, replicates = simulate(lambda n: 0.92 - 2.5 * n**-0.5, np.random.default_rng(3))
    back = more_rows(ROWS[::-1], scores[::-1], replicates[:, ::-1], FURTHER)
    assert back == pytest.approx(more_rows(ROWS, scores, replicates, FURTHER), abs=1e-9)


def test_nine_methods_take_seconds() -> None:
    scores, replicates = simulate(lambda n: 0.92 - 2.5 * n**-0.5, np.random.default_rng(0), 200, 1000)
    began = time.process_time()
    for _ in range(9):
        more_rows(ROWS, scores, replicates, FURTHER)
    assert time.process_time() - began < 5


def test_crossings_by_hand() -> None:
    """a - b is -0.1; -0.02 or 0.1, so 0.04 in the mean; 0.2: ahead from 250 rows on, but not surely there.
    The 2.5th percentile of two numbers is 2.5 % of the way: -0.02 + 0.025 * 0.12 = -0.017."""
    a = np.array([[0.4, 0.58, 0.8], [0.4, 0.70, 0.8]])
    b = np.array([[0.5, 0.60, 0.6], [0.5, 0.60, 0.6]])
    (one,) = crossings(ROWS[:3], {"b": b, "a": a})
    assert (one.first, one.second, one.rows, one.sure, one.overtakes) == ("a", "b", 250, False, True)
    assert one.difference == pytest.approx((0.04, -0.017, 0.097), abs=1e-9)


def test_who_leads_all_along_overtakes_nobody_and_equals_are_left_out() -> None:
    low, high = np.full((5, 4), 0.5), np.full((5, 4), 0.6)
    assert crossings(ROWS, {"x": low, "y": low.copy()}) == ()
    (one,) = crossings(ROWS, {"x": low, "y": high})
    assert (one.first, one.rows, one.sure, one.overtakes) == ("y", 100, True, False)


def test_two_seeds_say_who_leads_although_their_replicates_have_no_mean() -> None:
    """Student's t with one degree of freedom: the mean of a thousand draws is as wild as one draw."""
    for seed in range(50):
        noise = 0.01 * np.random.default_rng(seed).standard_t(1, size=(2, 1000, 3))
        (one,) = crossings(ROWS[:3], {"low": 0.70 + noise[0], "high": 0.75 + noise[1]})
        assert (one.first, one.rows, one.overtakes) == ("high", 100, False)
        assert one.difference[0] == pytest.approx(0.05, abs=0.005)


def test_among_nine_equal_methods_hardly_any_is_surely_ahead() -> None:
    """36 pairs a study: by 95 % intervals alone most studies would have some."""
    random = np.random.default_rng(2)
    plain = sure = 0
    for _ in range(200):
        means = 0.02 * random.normal(size=(9, 1, 1))
        found = crossings(
            ROWS[:2], {str(i): own + 0.02 * random.normal(size=(500, 2)) for i, own in enumerate(means)}
        )
        plain += any(each.difference[1] > 0 for each in found)
        sure += any(each.sure for each in found)
    assert plain > 60
    assert sure < 20
