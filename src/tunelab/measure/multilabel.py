"""Scores of rows that may have several labels, or none.

micro_f1           F1 of all decisions together, 2 TP / (2 TP + FP + FN) over rows and labels
macro_f1           mean of the labels' own F1
subset_accuracy    share of rows whose set of labels is exactly right
mcc, ece           Matthews' correlation and calibration error of all decisions together
"""

# R resamples, N test items, L labels

from collections.abc import Sequence

import numpy as np

from tunelab.measure.metrics import expected_calibration_error, matthews
from tunelab.measure.statistics import RunScore

__all__ = ["decision_scores", "multilabel_score_function", "multilabel_scores"]


def multilabel_scores(
    predicted_NL: np.ndarray, targets_NL: np.ndarray, labels: Sequence[str]
) -> dict[str, float]:
    """micro_f1, macro_f1, subset_accuracy and `f1(label)` of every label that occurs.

    predicted_NL, targets_NL: 0 or 1 (or bool). A label that no row has and that was never predicted is left
    out of macro_f1 and of the list, as in `tunelab.measure.metrics.classification_scores` and as
    scikit-learn does with `zero_division=nan`: it would count as a 0 that no model can better. Where no
    label occurs at all, F1 is 0.

    >>> predicted, targets = np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])
    >>> {k: round(v, 4) for k, v in multilabel_scores(predicted, targets, ["late", "dear"]).items()}
    {'micro_f1': 0.8, 'macro_f1': 0.8333, 'subset_accuracy': 0.5, 'f1(late)': 0.6667, 'f1(dear)': 1.0}
    """
    names = ("micro_f1", "macro_f1", "subset_accuracy")
    once = np.ones((1, len(targets_NL)))
    scores = {
        name: float(multilabel_score_function(name, predicted_NL, targets_NL)(once)[0]) for name in names
    }
    f1_L, present_L = (each[0] for each in _f1(*_counts(predicted_NL, targets_NL, once)))
    scores.update({f"f1({label})": float(f1_L[i]) for i, label in enumerate(labels) if present_L[i]})
    return scores


def decision_scores(p_NL: np.ndarray, given_NL: np.ndarray, targets_NL: np.ndarray) -> dict[str, float]:
    """mcc and ece of all N x L decisions together; p_NL: probability that a label applies.

    >>> p = np.array([[0.9, 0.2], [0.8, 0.4]])
    >>> scores = decision_scores(p, p > 0.5, np.array([[1, 0], [1, 1]]))
    >>> {name: round(value, 4) for name, value in scores.items()}
    {'mcc': 0.5774, 'ece': 0.275}
    """
    targets, p = targets_NL.astype(int).ravel(), p_NL.ravel()
    table = np.zeros((2, 2))
    np.add.at(table, (targets, given_NL.astype(int).ravel()), 1.0)
    return {"mcc": matthews(table), "ece": expected_calibration_error(np.stack([1 - p, p], 1), targets)}


def multilabel_score_function(name: str, predicted_NL: np.ndarray, targets_NL: np.ndarray) -> RunScore:
    """The score "micro_f1", "macro_f1" or "subset_accuracy" for many weightings of the rows at once.

    Integer weights give the score of the rows repeated as often.

    >>> score = multilabel_score_function("micro_f1", np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]]))
    >>> score(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [0.8, 1.0]
    """
    assert predicted_NL.shape == targets_NL.shape, (predicted_NL.shape, targets_NL.shape)
    if name == "subset_accuracy":
        correct_N = (predicted_NL.astype(bool) == targets_NL.astype(bool)).all(1)
        right_N = correct_N.astype(np.float64)
        return RunScore(lambda weights_RN: (weights_RN @ right_N) / weights_RN.sum(1), correct_N)
    assert name in ("micro_f1", "macro_f1"), name

    def score(weights_RN: np.ndarray) -> np.ndarray:
        twice_both_RL, either_RL = _counts(predicted_NL, targets_NL, weights_RN)
        if name == "micro_f1":
            return _f1(twice_both_RL.sum(1), either_RL.sum(1))[0]
        f1_RL, present_RL = _f1(twice_both_RL, either_RL)
        return np.asarray(f1_RL.sum(1) / np.maximum(present_RL.sum(1), 1))

    return RunScore(score, support_N=(predicted_NL.astype(bool) | targets_NL.astype(bool)).any(1))


def _counts(
    predicted_NL: np.ndarray, targets_NL: np.ndarray, weights_RN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """2 TP and 2 TP + FP + FN of every label, both [R, L]."""
    predicted, targets = predicted_NL.astype(bool), targets_NL.astype(bool)
    both_NL, either_NL = predicted & targets, predicted.astype(np.float64) + targets
    return 2 * (weights_RN @ both_NL.astype(np.float64)), weights_RN @ either_NL


def _f1(twice_both: np.ndarray, either: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1, 0 where nothing is there to be found or was predicted; and where something is."""
    present = either > 0
    return twice_both / np.where(present, either, 1.0), present
