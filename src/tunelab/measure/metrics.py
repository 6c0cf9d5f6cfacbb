"""Scores of predictions. All shares are in [0, 1]."""

# N rows, C classes

from collections.abc import Sequence

import numpy as np

__all__ = ["classification_scores", "expected_calibration_error", "matthews", "softmax"]


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    """Probabilities from logits, in float64, stable for large logits."""
    shifted = logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    probabilities: np.ndarray = exp / exp.sum(axis=1, keepdims=True)
    return probabilities


def classification_scores(p_NC: np.ndarray, targets_N: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """accuracy, macro_f1, mcc, ece, loss (mean negative log likelihood) and `f1(label)` of every class.

    A class that is neither in the targets nor predicted is left out of macro_f1 and of the list (as
    scikit-learn does with the labels present); F1 of a class with no correct prediction is 0.

    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> s = classification_scores(p, np.array([0, 1, 1]), ["no", "yes"])
    >>> round(s["accuracy"], 4), round(s["macro_f1"], 4), round(s["f1(yes)"], 4)
    (0.6667, 0.6667, 0.6667)
    """
    predicted_N = p_NC.argmax(1)
    classes = len(labels)
    table = np.zeros((classes, classes), dtype=np.float64)  # [true, predicted]
    np.add.at(table, (targets_N, predicted_N), 1.0)
    correct, true, predicted = np.diag(table), table.sum(1), table.sum(0)
    present = (true + predicted) > 0
    f1 = np.where(present, 2 * correct / np.maximum(true + predicted, 1.0), 0.0)
    own = p_NC[np.arange(len(targets_N)), targets_N]
    scores = {
        "accuracy": float(correct.sum() / len(targets_N)),
        "macro_f1": float(f1[present].mean()),
        "mcc": matthews(table),
        "ece": expected_calibration_error(p_NC, targets_N),
        "loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
    }
    scores.update({f"f1({labels[i]})": float(f1[i]) for i in range(classes) if present[i]})
    return scores


def matthews(table: np.ndarray) -> float:
    """Matthews' correlation for many classes (Gorodkin 2004, equation 8); 0 where it is undefined."""
    n, correct = table.sum(), np.trace(table)
    true, predicted = table.sum(1), table.sum(0)
    above = correct * n - (true * predicted).sum()
    below = np.sqrt(n**2 - (predicted**2).sum()) * np.sqrt(n**2 - (true**2).sum())
    return float(above / below) if below > 0 else 0.0


def expected_calibration_error(p_NC: np.ndarray, targets_N: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by rows.

    Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    confidence = p_NC.max(1)
    right = p_NC.argmax(1) == targets_N
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            gap += inside.mean() * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return float(gap)
