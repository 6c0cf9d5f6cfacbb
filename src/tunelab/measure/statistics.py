"""How sure a score is: bootstrap intervals over test items and seeds."""

# S seeds, N test items, C classes, R resamples

import numpy as np

__all__ = ["bootstrap_interval", "score_of"]


def score_of(
    name: str, predicted_N: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None = None
) -> float:
    """A score from predicted classes alone ("accuracy" or "macro_f1"), items weighted.

    The same number as `tunelab.measure.metrics.classification_scores` gives for weights of one.
    """
    weights = np.ones(len(targets_N)) if weights_N is None else weights_N
    if name == "accuracy":
        return float(weights[predicted_N == targets_N].sum() / weights.sum())
    assert name == "macro_f1", name
    classes = int(max(predicted_N.max(), targets_N.max())) + 1
    both = np.bincount(targets_N[predicted_N == targets_N], weights[predicted_N == targets_N], classes)
    either = np.bincount(targets_N, weights, classes) + np.bincount(predicted_N, weights, classes)
    present = either > 0
    return float((2 * both[present] / either[present]).mean())


def bootstrap_interval(
    name: str, predicted_SN: np.ndarray, targets_N: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean score over seeds.

    Hierarchical: each resample draws S seeds and N items with replacement, the same items for every
    seed (Davison & Hinkley 1997, section 3.8). With one seed only the items vary, so the interval is
    that of this one model and too narrow for the method.
    """
    random = np.random.default_rng(seed)
    seeds, items = predicted_SN.shape
    means = np.empty(resamples)
    for r in range(resamples):
        weights = np.bincount(random.integers(items, size=items), minlength=items).astype(np.float64)
        drawn, times = np.unique(random.integers(seeds, size=seeds), return_counts=True)
        scores = [score_of(name, predicted_SN[s], targets_N, weights) for s in drawn]
        means[r] = float(np.average(scores, weights=times))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
