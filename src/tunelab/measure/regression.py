"""Scores of predicted numbers: correlation by rank, correlation, and errors in the label's own unit.

    spearman    correlation of midranks (Spearman 1904); ties share their mean rank
    pearson     linear correlation
    neg_rmse    - sqrt(mean squared error)
    neg_mae     - mean absolute error

The deciding score must be higher for the better run, so errors decide with a minus sign. They are not in
[0, 1], and correlations are in [-1, 1].
"""

# R resamples, N test items, K distinct values

from collections.abc import Callable

import numpy as np

from tunelab.measure.statistics import RunScore, Score

__all__ = ["regression_score_function", "regression_scores"]

#: Variances are those of equal numbers where they are below what rounding leaves of them.
_ROUNDING = 1e-26


def regression_scores(predicted_N: np.ndarray, targets_N: np.ndarray) -> dict[str, float]:
    """spearman, pearson, rmse and mae (errors positive here, in the unit of the label).

    A correlation is 0 where the targets or the predictions are all the same: they tell nothing of order.

    >>> regression_scores(np.array([1.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0]))["spearman"]
    1.0
    """
    once = np.ones((1, len(targets_N)))
    found = {name: float(build(predicted_N, targets_N)(once)[0]) for name, build in _SCORES.items()}
    return {
        "spearman": found["spearman"],
        "pearson": found["pearson"],
        "rmse": abs(found["neg_rmse"]),
        "mae": abs(found["neg_mae"]),
    }


def regression_score_function(name: str, predicted_N: np.ndarray, targets_N: np.ndarray) -> RunScore:
    """The score "spearman", "pearson", "neg_rmse" or "neg_mae" for many weightings of the items at once.

    Integer weights give the score of the items repeated as often.

    >>> score = regression_score_function("neg_mae", np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> score(np.array([[1.0, 1.0], [3.0, 1.0]])).tolist()
    [-1.0, -0.5]
    """
    assert name in _SCORES, name
    bounds = (-1.0, 1.0) if name in ("spearman", "pearson") else (-np.inf, 0.0)
    return RunScore(_SCORES[name](predicted_N, targets_N), bounds=bounds)


def _spearman(predicted_N: np.ndarray, targets_N: np.ndarray) -> Score:
    ranks_of_predicted, ranks_of_targets = _ranks(predicted_N), _ranks(targets_N)

    def score(weights_RN: np.ndarray) -> np.ndarray:
        x_RN, y_RN = ranks_of_predicted(weights_RN), ranks_of_targets(weights_RN)
        # Ranks of M items have a mean square of about M²: the measure of what rounding may leave.
        square_R = weights_RN.sum(1) ** 2
        return _correlation(weights_RN, x_RN, y_RN, square_R, square_R)

    return score


def _ranks(values_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights [R, N] to midranks less their weighted mean, [R, N].

    A value before which a weight c is, and which has the weight t itself, has the midrank c + (t + 1) / 2;
    the mean of all is (M + 1) / 2, M the sum of weights.
    """
    values_K, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    starts_K = np.searchsorted(group_N[order_N], np.arange(len(values_K)))

    def ranks(weights_RN: np.ndarray) -> np.ndarray:
        tied_RK = weights_RN[:, order_N]
        if len(starts_K) < len(order_N):
            tied_RK = np.add.reduceat(tied_RK, starts_K, axis=1)
        rank_RK = np.cumsum(tied_RK, axis=1)
        all_R1 = rank_RK[:, -1:].copy()
        rank_RK -= (tied_RK + all_R1) / 2
        return rank_RK[:, group_N]

    return ranks


def _pearson(predicted_N: np.ndarray, targets_N: np.ndarray) -> Score:
    x_N, y_N = predicted_N.astype(np.float64), targets_N.astype(np.float64)

    def score(weights_RN: np.ndarray) -> np.ndarray:
        # Deviations from each resample's own mean: an outlier that was not drawn must not cost digits.
        total_R = weights_RN.sum(1)
        x_RN = x_N - (weights_RN @ x_N / total_R)[:, None]
        y_RN = y_N - (weights_RN @ y_N / total_R)[:, None]
        squares = weights_RN @ x_N**2 / total_R, weights_RN @ y_N**2 / total_R
        return _correlation(weights_RN, x_RN, y_RN, *squares)

    return score


def _correlation(
    weights_RN: np.ndarray, x_RN: np.ndarray, y_RN: np.ndarray, x_square_R: np.ndarray, y_square_R: np.ndarray
) -> np.ndarray:
    """Correlation of what has a weighted mean of 0, [R]; 0 where one of the two does not vary.

    x_square_R, y_square_R: mean squares of the numbers before their mean was taken off.
    """
    weighted_RN = weights_RN * x_RN
    both_R = np.einsum("rn,rn->r", weighted_RN, y_RN)
    x_R = np.einsum("rn,rn->r", weighted_RN, x_RN)
    y_R = np.einsum("rn,rn,rn->r", weights_RN, y_RN, y_RN)
    total_R = weights_RN.sum(1)
    varies_R = (x_R > _ROUNDING * total_R * x_square_R) & (y_R > _ROUNDING * total_R * y_square_R)
    # As a product of slopes: exactly 1 for equal ranks, and numbers of any size do not overflow.
    slopes_R = (both_R / np.where(varies_R, x_R, 1.0)) * (both_R / np.where(varies_R, y_R, 1.0))
    size_R = np.minimum(np.sqrt(slopes_R), 1.0)
    found_R: np.ndarray = np.where(varies_R, np.copysign(size_R, both_R), 0.0)
    return found_R


def _neg_rmse(predicted_N: np.ndarray, targets_N: np.ndarray) -> Score:
    squares_N = (predicted_N.astype(np.float64) - targets_N) ** 2
    return lambda weights_RN: -np.sqrt((weights_RN @ squares_N) / weights_RN.sum(1))


def _neg_mae(predicted_N: np.ndarray, targets_N: np.ndarray) -> Score:
    errors_N = np.abs(predicted_N.astype(np.float64) - targets_N)
    return lambda weights_RN: -(weights_RN @ errors_N) / weights_RN.sum(1)


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], Score]] = {
    "spearman": _spearman,
    "pearson": _pearson,
    "neg_rmse": _neg_rmse,
    "neg_mae": _neg_mae,
}
