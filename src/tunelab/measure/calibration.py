"""Where predictions go wrong: the confusion matrix, and confidence against accuracy."""

# S seeds, N test items

import numpy as np

__all__ = ["calibration_bins", "confusion"]


def confusion(predicted_SN: np.ndarray, targets_N: np.ndarray, classes: int) -> tuple[tuple[float, ...], ...]:
    """Rows of each true class by predicted class, mean over seeds.

    >>> confusion(np.array([[0, 1, 1], [0, 0, 1]]), np.array([0, 1, 1]), 2)
    ((1.0, 0.0), (0.5, 1.5))
    """
    seeds = len(predicted_SN)
    table = np.zeros((classes, classes))
    np.add.at(table, (np.tile(targets_N, seeds), predicted_SN.ravel()), 1 / seeds)
    return tuple(tuple(round(float(v), 6) for v in row) for row in table)


def calibration_bins(
    confidence_N: np.ndarray, right_N: np.ndarray, bins: int = 10
) -> list[tuple[float, float, float]]:
    """(mean confidence, accuracy, rows) of every bin of equal width that has rows.

    Guo et al. 2017, arXiv:1706.04599, figure 1.

    >>> calibration_bins(np.array([0.95, 0.91, 0.55]), np.array([True, False, True]))
    [(0.55, 1.0, 1.0), (0.93, 0.5, 2.0)]
    """
    which = np.minimum((confidence_N * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        inside = which == b
        if inside.any():
            found.append(
                (
                    round(float(confidence_N[inside].mean()), 12),
                    float(right_N[inside].mean()),
                    float(inside.sum()),
                )
            )
    return found
