"""Correlations and errors of numbers against scipy and scikit-learn, weights against repeated items."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from tunelab.measure.regression import regression_score_function, regression_scores
from tunelab.measure.statistics import spread_of

REFERENCE = {
    "spearman": lambda predicted, targets: stats.spearmanr(predicted, targets).statistic,
    "pearson": lambda predicted, targets: stats.pearsonr(predicted, targets).statistic,
    "neg_rmse": lambda predicted, targets: -root_mean_squared_error(targets, predicted),
    "neg_mae": lambda predicted, targets: -mean_absolute_error(targets, predicted),
}


@pytest.mark.parametrize("ties", [None, 1, 0], ids=["no ties", "some", "many"])
@pytest.mark.parametrize("name", list(REFERENCE))
def test_weights_are_repetitions_of_items(name: str, ties: int | None) -> None:
    """ties: decimals that predictions and targets are rounded to."""
    random = np.random.default_rng(3)
    targets = random.normal(size=60) * 2
    predicted = targets + random.normal(size=60)
    if ties is not None:
        targets, predicted = targets.round(ties), predicted.round(ties)
    weights = np.vstack([np.ones(60, dtype=int), random.multinomial(60, np.ones(60) / 60, size=40)])
    found = regression_score_function(name, predicted, targets)(weights.astype(np.float64))
    for row, value in zip(weights, found, strict=True):
        again = np.repeat(predicted, row), np.repeat(targets, row)
        assert value == pytest.approx(REFERENCE[name](*again), abs=1e-12)


def test_plain_scores_are_those_of_weights_of_one() -> None:
    random = np.random.default_rng(4)
    predicted, targets = random.normal(size=50), random.integers(0, 6, 50).astype(float)
    found = regression_scores(predicted, targets)
    assert list(found) == ["spearman", "pearson", "rmse", "mae"]
    for name, value in (*list(found.items())[:2], ("neg_rmse", -found["rmse"]), ("neg_mae", -found["mae"])):
        once = regression_score_function(name, predicted, targets)(np.ones((1, 50)))
        assert value == once[0]
        assert value == pytest.approx(REFERENCE[name](predicted, targets), abs=1e-12)


def test_spearman_by_hand() -> None:
    """Differences of ranks 1, -1, 0, 1, -1: 1 - 6 · 4 / (5 · 24) = 0.8. Error 1 of three items, 0 of two:
    mean absolute error 0.6, root of 3/5."""
    found = regression_scores(np.array([2.0, 1.0, 3.0, 5.0, 3.5]), np.array([1.0, 2.0, 3.0, 4.0, 4.5]))
    assert found["spearman"] == pytest.approx(0.8)
    found = regression_scores(np.array([2.0, 1.0, 3.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (found["mae"], found["rmse"]) == (pytest.approx(0.6), pytest.approx(np.sqrt(0.6)))


@pytest.mark.parametrize("name", ["spearman", "pearson"])
def test_numbers_that_do_not_vary_have_a_correlation_of_0(name: str) -> None:
    """As in a resample that drew a single item, whatever the weights (0.1 has no exact float)."""
    random = np.random.default_rng(0)
    varied, same = random.normal(size=30), np.full(30, 0.1)
    weights = np.vstack([random.random((5, 30)), np.eye(30)[:2] * 0.3])
    for one, other in ((varied, same), (same, varied), (same, same)):
        assert (regression_score_function(name, one, other)(weights) == 0).all()
    assert (regression_score_function(name, varied, varied)(np.eye(30)) == 0).all()
    assert regression_score_function(name, varied, -varied)(weights)[:5] == pytest.approx(-1)


def test_an_outlier_that_was_not_drawn_costs_no_digits() -> None:
    random = np.random.default_rng(5)
    targets = np.append(random.normal(size=20), 1e12)
    predicted = np.append(targets[:-1] + random.normal(size=20), -1e12)
    weights = np.append(np.ones(20), 0.0)[None]
    for name in ("spearman", "pearson"):
        found = regression_score_function(name, predicted, targets)(weights)[0]
        assert found == pytest.approx(REFERENCE[name](predicted[:-1], targets[:-1]), abs=1e-12)


def test_the_item_variance_of_pearson_is_fisher_s() -> None:
    """Of normal pairs: (1 - rho²)² / N (Fisher 1915)."""
    random = np.random.default_rng(6)
    targets = random.normal(size=4000)
    predicted = 0.8 * targets + 0.6 * random.normal(size=4000)
    found = spread_of([regression_score_function("pearson", predicted, targets)], 4000, 2000, 0)
    assert found.items == pytest.approx((1 - 0.8**2) ** 2 / 4000, rel=0.12)


@pytest.mark.real_data
def test_stsb(shared_data) -> None:
    """Word overlap as a prediction of similarity: many ties on both sides, as models of few words give."""
    lines = (shared_data / "stsb_en" / "sts-test.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    targets = np.array([float(row[4]) for row in rows])
    bags = [tuple(set(text.lower().split()) for text in row[5:7]) for row in rows]
    predicted = np.array([len(a & b) / len(a | b) for a, b in bags])
    random = np.random.default_rng(0)
    weights = random.multinomial(len(rows), np.ones(len(rows)) / len(rows), size=20)
    for name in REFERENCE:
        found = regression_score_function(name, predicted, targets)(weights.astype(np.float64))
        expected = [REFERENCE[name](np.repeat(predicted, row), np.repeat(targets, row)) for row in weights]
        assert found == pytest.approx(expected, abs=1e-12)
