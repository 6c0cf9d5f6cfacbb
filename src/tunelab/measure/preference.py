"""Scores of preferences: how often the better answer is preferred, how sure that is, what length explains.

The better answer of a pair is the one that most annotators took; their share may lie between 0 and 1. A pair
that they left undecided, and a model that prefers neither side, count half: both are used, none is dropped.
"""

# N pairs, R weightings

import numpy as np

from tunelab.measure.statistics import RunScore

__all__ = ["preference_score_function", "preference_scores", "right"]

_BINS = 15


def right(difference_N: np.ndarray, share_N: np.ndarray) -> np.ndarray:
    """1 where the side that more annotators took has the higher score, 0 where the other, 0.5 undecided.

    difference_N: score of the chosen answer minus that of the rejected one; share_N: of the annotators who
    took the chosen one.

    >>> right(np.array([2.0, -1.0, 0.0, 3.0]), np.array([1.0, 1.0, 1.0, 0.5])).tolist()
    [1.0, 0.0, 0.5, 0.5]
    """
    found: np.ndarray = (1.0 + np.sign(difference_N) * np.sign(share_N - 0.5)) / 2.0
    return found


def preference_score_function(difference_N: np.ndarray, share_N: np.ndarray) -> RunScore:
    """Accuracy as a function of the pairs' weights, [R, N] to [R]."""
    right_N = right(difference_N, share_N)
    clear = bool(np.isin(right_N, (0.0, 1.0)).all())
    return RunScore(
        lambda weights_RN: (weights_RN @ right_N) / weights_RN.sum(1), right_N == 1.0 if clear else None
    )


def preference_scores(
    difference_N: np.ndarray, share_N: np.ndarray, longer_N: np.ndarray, *, probabilities: bool
) -> dict[str, float]:
    """accuracy, and where a length says something: `longer_right`, how often "the longer one is better" alone
    would be right, and `longer_preferred`, how often the model prefers the longer one.

    longer_N: positive where the chosen answer is the longer one, negative where the other, 0: equally long.
    probabilities: the logistic function of a difference is the probability that the chosen answer is the
    better one (Bradley and Terry 1952); then also `brier`, the mean squared distance of that probability from
    the annotators' share, and `ece` (Guo et al. 2017, arXiv:1706.04599, equation 3, of the side preferred).
    Where annotators disagree: `agreement`, the share of them that is of the model's opinion, and
    `agreement_limit`, that of whoever always sides with the majority.

    >>> s = preference_scores(np.array([3.0, -1.0]), np.ones(2), np.array([1, 1]), probabilities=False)
    >>> s
    {'accuracy': 0.5, 'longer_right': 1.0, 'longer_preferred': 0.5}
    """
    scores = {"accuracy": float(right(difference_N, share_N).mean())}
    if probabilities:
        p_N = 1.0 / (1.0 + np.exp(-np.clip(difference_N.astype(np.float64), -500, 500)))
        scores["brier"] = float(((p_N - share_N) ** 2).mean())
        scores["ece"] = _calibration_error(p_N, share_N)
    if ((share_N > 0) & (share_N < 1)).any():
        said_N = (1.0 + np.sign(difference_N)) / 2.0
        scores["agreement"] = float((said_N * share_N + (1 - said_N) * (1 - share_N)).mean())
        scores["agreement_limit"] = float(np.maximum(share_N, 1 - share_N).mean())
    if np.any(longer_N):
        scores["longer_right"] = float(right(longer_N, share_N).mean())
        differ_N = longer_N != 0
        scores["longer_preferred"] = float(right(difference_N, (1 + np.sign(longer_N)) / 2)[differ_N].mean())
    return scores


def _calibration_error(p_N: np.ndarray, share_N: np.ndarray) -> float:
    """Mean gap between the probability of the preferred side and the share of annotators that took it."""
    confidence_N = np.maximum(p_N, 1 - p_N)
    agreed_N = np.where(p_N >= 0.5, share_N, 1 - share_N)
    which_N = np.minimum((confidence_N * _BINS).astype(int), _BINS - 1)
    rows = np.bincount(which_N, minlength=_BINS)
    gaps = np.bincount(which_N, weights=confidence_N - agreed_N, minlength=_BINS)
    return float(np.abs(gaps).sum() / rows.sum())
