"""How sure a score is, and whether two methods differ: test items and seeds are both drawn at random.

A run (a method with one seed) is a function from item weights to its score, so that any task can be
resampled. The model is the two-way random one, score = method + item + seed + item-by-seed rest; resampling
the items, with the same draws for all runs, gives the covariances between runs that tell its parts apart.
"""

# S seeds, N test items, C classes, R resamples, K cells (pairs of true and predicted class)

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = [
    "RunScore",
    "Score",
    "Spread",
    "bounds_of",
    "class_f1",
    "counted",
    "freedom",
    "mean_interval",
    "replicates",
    "rows_in_groups",
    "score_function",
    "score_of",
    "spread_of",
    "wilson",
]

#: Weights of items [R, N] to scores [R].
Score = Callable[[np.ndarray], np.ndarray]

#: Weights that are held at a time, 16 MB of float64.
_WEIGHTS_AT_ONCE = 2_000_000


def score_of(
    name: str, predicted_N: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None = None
) -> float:
    """A score from predicted classes alone ("accuracy" or "macro_f1"), items weighted.

    The same number as `tunelab.measure.metrics.classification_scores` gives for weights of one.
    """
    weights = np.ones(len(targets_N)) if weights_N is None else weights_N
    return float(score_function(name, predicted_N, targets_N)(weights[None])[0])


class RunScore:
    """The score of one run as a function of item weights, [R, N] to [R]. It keeps what was asked for.

    correct_N: which items are right, given only where the score is their share: then two single runs can be
    compared by McNemar's exact test. bounds: the least and the largest value that the score can have.
    support_N: which items have a part in it (None: all). groups_N: number of each item's group, where items
    belong together (questions on one text): whole groups are drawn, and they are what is counted.
    """

    def __init__(
        self,
        score: Score,
        correct_N: np.ndarray | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        support_N: np.ndarray | None = None,
    ) -> None:
        self.correct_N = correct_N
        self.bounds = bounds
        self.support_N = support_N
        self.groups_N: np.ndarray | None = None
        self._score = score
        self._known: dict[tuple[int, int, int], np.ndarray] = {}

    def __call__(self, weights_RN: np.ndarray) -> np.ndarray:
        return self._score(weights_RN)

    def resampled(self, items: int, resamples: int, seed: int) -> np.ndarray | None:
        """What `remember` was given for these draws, [1 + R]: the score itself, then the resamples."""
        return self._known.get((items, resamples, seed))

    def remember(self, items: int, resamples: int, seed: int, scores_R: np.ndarray) -> None:
        self._known[items, resamples, seed] = scores_R


def score_function(name: str, predicted_N: np.ndarray, targets_N: np.ndarray) -> RunScore:
    """The score "accuracy" or "macro_f1" of predicted classes, for many weightings of the items at once.

    A class with neither weighted targets nor weighted predictions is left out of macro_f1.

    >>> score = score_function("accuracy", np.array([0, 1, 1]), np.array([0, 1, 0]))
    >>> score(np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 2.0]])).round(4).tolist()
    [0.6667, 0.5]
    """
    correct_N = predicted_N == targets_N
    if name == "accuracy":
        right_N = correct_N.astype(np.float64)
        return RunScore(lambda weights_RN: (weights_RN @ right_N) / weights_RN.sum(1), correct_N)
    assert name == "macro_f1", name
    return RunScore(_macro_f1(predicted_N, targets_N))


def class_f1(predicted_N: np.ndarray, targets_N: np.ndarray, code: int) -> RunScore:
    """F1 of one class as a function of item weights; 0 where it has neither targets nor predictions.

    >>> f1 = class_f1(np.array([0, 1, 1]), np.array([0, 1, 0]), 1)
    >>> f1(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])).round(4).tolist()
    [0.6667, 0.0]
    """
    ours_N, theirs_N = predicted_N == code, targets_N == code
    above_N = 2.0 * (ours_N & theirs_N)
    below_N = ours_N.astype(np.float64) + theirs_N

    def score(weights_RN: np.ndarray) -> np.ndarray:
        below_R = weights_RN @ below_N
        found_R: np.ndarray = weights_RN @ above_N / np.where(below_R > 0, below_R, 1.0)
        return found_R

    return RunScore(score, support_N=below_N > 0)


def _macro_f1(predicted_N: np.ndarray, targets_N: np.ndarray) -> Score:
    """Weights are summed within each occurring cell of the confusion matrix: F1 needs no more."""
    classes = int(max(predicted_N.max(), targets_N.max())) + 1
    cells_K, cell_N = np.unique(targets_N.astype(np.int64) * classes + predicted_N, return_inverse=True)
    order_N = np.argsort(cell_N, kind="stable")
    starts_K = np.searchsorted(cell_N[order_N], np.arange(len(cells_K)))
    true_KC, predicted_KC = np.eye(classes)[cells_K // classes], np.eye(classes)[cells_K % classes]
    twice_both_KC, either_KC = 2 * true_KC * predicted_KC, true_KC + predicted_KC

    def score(weights_RN: np.ndarray) -> np.ndarray:
        cells_RK = np.add.reduceat(weights_RN[:, order_N], starts_K, axis=1)
        either_RC = cells_RK @ either_KC
        present_RC = either_RC > 0
        f1_RC = cells_RK @ twice_both_KC / np.where(present_RC, either_RC, 1.0)
        means_R: np.ndarray = f1_RC.sum(1) / present_RC.sum(1)
        return means_R

    return score


def _resampled(runs: Sequence[Score], items: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores [S] and their resamples [S, R]: N items (or their groups) drawn with replacement, the same for
    all runs."""
    found: list[np.ndarray | None] = [
        run.resampled(items, resamples, seed) if isinstance(run, RunScore) else None for run in runs
    ]
    missing = [s for s, known in enumerate(found) if known is None]
    if missing:
        parts: list[list[np.ndarray]] = [[runs[s](np.ones((1, items)))] for s in missing]
        random = np.random.default_rng(seed)
        at_once = max(1, _WEIGHTS_AT_ONCE // items)
        groups_N = _groups(runs)
        drawable = items if groups_N is None else int(groups_N.max()) + 1
        for first in range(0, resamples, at_once):
            rows = min(at_once, resamples - first)
            drawn = random.integers(drawable, size=(rows, drawable)) + np.arange(rows)[:, None] * drawable
            counts: np.ndarray = np.bincount(drawn.ravel(), minlength=rows * drawable)
            weights_RN = counts.reshape(rows, drawable).astype(np.float64)
            if groups_N is not None:
                weights_RN = weights_RN[:, groups_N]
            for s, part in zip(missing, parts, strict=True):
                part.append(runs[s](weights_RN))
        for s, part in zip(missing, parts, strict=True):
            scores_R = np.concatenate(part)
            found[s] = scores_R
            run = runs[s]
            if isinstance(run, RunScore):
                run.remember(items, resamples, seed, scores_R)
    table = np.stack([scores_R for scores_R in found if scores_R is not None])
    return table[:, 0], table[:, 1:]


def _groups(runs: Sequence[Score]) -> np.ndarray | None:
    return next((r.groups_N for r in runs if isinstance(r, RunScore) and r.groups_N is not None), None)


def rows_in_groups(runs: Sequence[Score], items: int) -> int | None:
    """How many items have a part in the score, where they are drawn by groups; None: they are not."""
    if _groups(runs) is None:
        return None
    supports = [r.support_N for r in runs if isinstance(r, RunScore) and r.support_N is not None]
    return max(1, *(int(own_N.sum()) for own_N in supports)) if supports else items


def counted(runs: Sequence[Score], items: int) -> int:
    """How many independent things a method's score rests on: its items, fewer where they come in groups or
    only some have a part in the score."""
    groups_N = _groups(runs)
    found = items if groups_N is None else int(groups_N.max()) + 1
    supports = [r.support_N for r in runs if isinstance(r, RunScore) and r.support_N is not None]
    if not supports:
        return found
    things_N = np.arange(items) if groups_N is None else groups_N
    return max(1, *(len(np.unique(things_N[own_N])) for own_N in supports))


@dataclass(frozen=True)
class Spread:
    """A method's mean score and the parts of its variance; drawn_SR are the resamples less their means, made
    as wide as those of so few items (or groups) are.

    With v the mean over seeds of the items' variance of one run's score, c the mean covariance of two runs
    and s² the variance between the runs' scores, E s² = seed variance + (v - c), so that the variance of the
    mean is c + s²/S. For the mean of S columns this is the two-way ANOVA's (MS_items + MS_seeds - MS_rest)
    / (N S). Squared standard errors, all of them:

    items: c, or v with a single run. between: s² / S. rest: (v - c) / S, what `between` would be on average
    if seeds did not matter. freedom: S - 1.
    """

    value: float
    items: float
    between: float
    rest: float
    freedom: int
    drawn_SR: np.ndarray

    @property
    def single(self) -> float:
        """v: the items' part of one run's squared standard error."""
        return self.items + self.rest * (self.freedom + 1)


def spread_of(runs: Sequence[Score], items: int, resamples: int, seed: int) -> Spread:
    """Measures one method from its runs over the same N items."""
    values_S, drawn_SR = _resampled(runs, items, resamples, seed)
    number = counted(runs, items)  # (drawing n of n with replacement has (n - 1) / n of the variance)
    drawn_SR = (drawn_SR - drawn_SR.mean(1, keepdims=True)) * (number / max(number - 1, 1)) ** 0.5
    seeds = len(runs)
    own = float((drawn_SR**2).sum(1).mean()) / (resamples - 1)
    if seeds == 1:
        return Spread(float(values_S[0]), own, 0.0, 0.0, 0, drawn_SR)
    of_sum = float((drawn_SR.sum(0) ** 2).sum()) / (resamples - 1)
    shared = (of_sum - seeds * own) / (seeds * (seeds - 1))
    return Spread(
        value=float(values_S.mean()),
        items=max(shared, 0.0),
        between=float(values_S.var(ddof=1)) / seeds,
        rest=max(own - max(shared, 0.0), 0.0) / seeds,
        freedom=seeds - 1,
        drawn_SR=drawn_SR,
    )


def freedom(
    shared: float, between: Sequence[tuple[float, float]], items: int, most: float = float("inf")
) -> float:
    """Degrees of freedom of shared + the sum of `between`, which are (squared standard error, freedom).

    Satterthwaite 1946, Biometrics 2:110. With 2 or 4 degrees a variance that is small by luck takes its own
    weight out of the formula, and intervals get too short (92.2 % instead of 95 % at worst with 3 seeds,
    normal effects). Each part therefore enters it 1 + 4/freedom times as large, a factor found by simulation:
    94.6-96.2 % with 3 seeds, and still exact where one part is all there is.

    most: the degrees of all of `between` together, where they were estimated from something in common.

    >>> freedom(0.0, [(0.1, 2)], 1000), round(freedom(0.2, [(0.1, 2)], 1000), 4)
    (2.0, 5.5506)
    """
    grown = [(part * (1 + 4 / degrees), degrees) for part, degrees in between]
    total = shared + sum(part for part, _ in grown)
    own = sum(part**2 / degrees for part, degrees in grown)
    below = shared**2 / max(items - 1, 1) + max(own, (total - shared) ** 2 / most)
    return float(total**2 / below) if below > 0 else float(max(items - 1, 1))


def wilson(share: float, items: float, quantile: float) -> tuple[float, float]:
    """Score interval of a share of `items` draws (Wilson 1927, JASA 22:209); it stays in [0, 1].

    >>> tuple(round(limit, 4) for limit in wilson(0.9, 100, 1.96))
    (0.8256, 0.9448)
    """
    square = quantile**2 / items
    middle = (share + square / 2) / (1 + square)
    half = (square * share * (1 - share) + square**2 / 4) ** 0.5 / (1 + square)
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def mean_interval(
    runs: Sequence[Score],
    items: int,
    *,
    lost: tuple[float, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """A method's mean score over its runs and the 95 % interval of its expectation over seeds and items.

    Variance as in `Spread`, quantile of Student's t, limits as Wilson's for a share with that variance: they
    stay in [0, 1] and miss the truth on either side about as often. A score between -1 and 1 has its limits
    from Fisher's z (1915, Biometrika 10:507), one without such bounds lies in the middle of its interval.
    With one run only the items vary: the interval is that of this model, not of the method.

    lost: of a single run whose method's other seeds failed, s² and its degrees of freedom, as the other
    methods have them.
    """
    own, items = spread_of(runs, items, resamples, seed), counted(runs, items)
    between: list[tuple[float, float]] = [(own.between, own.freedom)] if own.freedom else []
    if not between and lost is not None:
        between = [lost]
    quantile = float(special.stdtrit(freedom(own.items, between, items), 0.975))
    variance, bounds = own.items + sum(part for part, _ in between), bounds_of(runs)
    if bounds == (-1.0, 1.0):
        return own.value, *_fisher(own.value, quantile * variance**0.5, quantile / max(items - 3, 1) ** 0.5)
    if bounds != (0.0, 1.0):
        half = quantile * variance**0.5
        return own.value, max(own.value - half, bounds[0]), min(own.value + half, bounds[1])
    binomial = own.value * (1 - own.value)
    known = variance > 0 and binomial > 0
    return own.value, *wilson(own.value, binomial / variance if known else items, quantile)


def bounds_of(runs: Sequence[Score]) -> tuple[float, float]:
    """The least and the largest value of a score; of one that is no `RunScore` those of a share."""
    return next((run.bounds for run in runs if isinstance(run, RunScore)), (0.0, 1.0))


def _fisher(value: float, half: float, least: float) -> tuple[float, float]:
    """Limits of a correlation that is `value` give or take `half`, on the scale of its inverse
    hyperbolic tangent, where its spread does not depend on it; least: half the width there of one without
    any spread (-1 or 1 in every resample).

    >>> tuple(round(limit, 4) for limit in _fisher(0.8, 0.05, 0.1))
    (0.7442, 0.8447)
    """
    inner = min(max(value, -1 + 1e-3), 1 - 1e-3) if not half else min(max(value, -1 + 1e-9), 1 - 1e-9)
    middle, width = float(np.arctanh(inner)), half / (1 - inner**2) if half else least
    return min(float(np.tanh(middle - width)), value), max(float(np.tanh(middle + width)), value)


def replicates(
    runs: Sequence[Score],
    items: int,
    *,
    lost: tuple[float, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """What the mean score over runs might as well have been, [R]: items resampled, and other seeds.

    The same `seed` gives the same draws of items to every method, so that differences of replicates are
    paired. The seeds' effect is added on top: t with S - 1 degrees of freedom, as large as the runs differ
    beyond what items by themselves explain. It is drawn anew for other runs: seeds of two methods, or of one
    method on less data, have nothing in common. lost: as in `mean_interval`.
    """
    own = spread_of(runs, items, resamples, seed)
    means_R: np.ndarray = own.value + own.drawn_SR.mean(0)
    between, degrees = own.between, float(own.freedom)
    if not degrees and lost is not None:
        between, degrees = lost
    if degrees:
        found = np.array([own.value, between]).view(np.uint64)
        random = np.random.default_rng([seed, int(found[0]), int(found[1])])
        lasting = max(between - own.rest, 0.0)
        means_R = means_R + lasting**0.5 * random.standard_t(degrees, size=resamples)
    return means_R
