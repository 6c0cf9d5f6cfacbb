"""Learning curves: what further labelled rows would be worth, and which method leads from how many rows on.

    score(n) = a - b n^(-c)        b >= 0, a at most what a score can be, c in [0.1, 1.5]

The power law of Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically", arXiv:1712.00409,
section 3. Mahmood et al. 2022, "How Much More Data Do I Need?", CVPR, arXiv:2207.01725, section 3, found that
several laws fit the same few points and say very different things beyond them. So the interval here is the
union of what the power law, a logarithmic law, a + b log n, and a curve that saturates exponentially,
a - b exp(-n / s), allow.
"""

# K numbers of training rows, R replicates, M curves (the scores and their replicates), G shapes on a grid

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

__all__ = ["Crossing", "crossings", "more_rows"]

_EXPONENTS = np.linspace(0.1, 1.5, 57)
#: Scales of the exponential curve, in units of the largest number of rows: beyond 2 it is a straight line
#: over the measured rows, below 1/8 it is flat before them.
_SCALES = np.geomspace(1 / 8, 2, 33)
#: A law does not fit where it misses a score by more than this many of the replicates' standard deviations.
_MISFIT = 3.0
_TAIL = 2.5  # percent of the replicates on either side of a 95 % interval


def more_rows(
    rows_K: np.ndarray, scores_K: np.ndarray, replicates_RK: np.ndarray, further: int, top: float = 1.0
) -> tuple[float, float, float] | None:
    """Expected gain of the score from `further` training rows beyond the most of `rows_K`, with its interval.

    scores_K: mean test score at each number of training rows; replicates_RK: bootstrap replicates of it, a
    row's columns drawn with the same test items (and seeds); top: no score is above this (infinite: none is
    known), and so is no `a`.

    The value is the power law's, fitted by least squares to the scores. The interval runs from the least
    2.5th to the greatest 97.5th percentile of the gain over the replicates among the laws above, and contains
    the value; where none of the laws fits the scores within their noise (an S-shaped curve), also 0 and the
    straight line through the last two points. Noise of the training is in it only as far as the replicates
    draw seeds.

    None: fewer than 3 points; or the curve does not surely rise: the least-squares slope of
    the score over log n is not above 0 in more than 97.5 % of the replicates.

    >>> rows = np.array([100, 200, 400, 800])
    >>> exact = 0.9 - 2.0 * rows**-0.5
    >>> value, low, high = more_rows(rows, exact, np.tile(exact, (50, 1)), 800)
    >>> f"{value:.4f} of {2.0 * (800**-0.5 - 1600**-0.5):.4f}, in [{low:.3f}, {high:.3f}]"
    '0.0207 of 0.0207, in [0.003, 0.043]'
    """
    rows = np.asarray(rows_K, dtype=float)
    curves = np.vstack([scores_K, replicates_RK]).astype(float)
    assert curves.shape[1] == len(rows)
    assert further > 0
    assert len(np.unique(rows)) == len(rows), "one score for each number of rows"
    if len(rows) < 3:
        return None
    slopes = curves[1:] @ (np.log(rows) - np.log(rows).mean())
    if not (slopes > 0).mean() > 1 - _TAIL / 100:
        return None
    n = np.append(rows, rows.max() + further) / rows.max()  # so that b is of the size of the score
    laws = [
        _fit(curves, n[None, :] ** -_EXPONENTS[:, None], top),
        _fit(curves, -np.log(n)[None, :], np.inf),
        _fit(curves, np.exp(-n[None, :] / _SCALES[:, None]), top),
    ]
    gains = [_gain(law, curves, int(rows.argmax()), top) for law in laws]
    value = float(gains[0][0])
    ends = [value, *np.percentile([gain[1:] for gain in gains], (_TAIL, 100 - _TAIL), axis=1).ravel()]
    if not any(_fits(law[:, :-1] - curves) for law in laws):
        ends += [0.0, *np.percentile(_straight(rows, curves[1:], further, top), (_TAIL, 100 - _TAIL))]
    return value, float(min(ends)), float(max(ends))


def _fit(curves_MK: np.ndarray, shapes_GL: np.ndarray, top: float) -> np.ndarray:
    """The score = a - b x of least squared error to each curve, [M, L]; L: the K measured numbers of rows,
    and the one asked for.

    shapes_GL: falling shapes x. For each, a <= top and b >= 0 have a closed form, and the
    best of the shapes is taken.
    """
    x_GK = shapes_GL[:, :-1]
    y_M1, x_G = curves_MK.mean(1, keepdims=True), x_GK.mean(1)
    falling_GK = x_GK - x_G[:, None]
    b_MG = np.maximum(-curves_MK @ falling_GK.T / (falling_GK**2).sum(1), 0.0)
    a_MG = y_M1 + b_MG * x_G
    if np.isfinite(top):
        # The squared error is convex: where its least point has a > top, the best allowed one has a = top.
        over_MG = a_MG > top
        b_MG = np.where(over_MG, (top - curves_MK) @ x_GK.T / (x_GK**2).sum(1), b_MG)
        a_MG = np.where(over_MG, top, a_MG)
    errors_MG = ((curves_MK[:, None, :] - a_MG[:, :, None] + b_MG[:, :, None] * x_GK) ** 2).sum(2)
    best_M = errors_MG.argmin(1)[:, None]
    a_M1, b_M1 = (np.take_along_axis(each, best_M, 1) for each in (a_MG, b_MG))
    return np.asarray(a_M1 - b_M1 * shapes_GL[best_M[:, 0]])


def _gain(law_ML: np.ndarray, curves_MK: np.ndarray, largest: int, top: float) -> np.ndarray:
    """From the largest measured number of rows to the one asked for, [M]; no score rises above `top`."""
    return np.asarray(np.clip(law_ML[:, -1] - law_ML[:, largest], 0, top - curves_MK[:, largest]))


def _fits(residuals_MK: np.ndarray) -> bool:
    """Whether a law is as near to the scores (the first of the M curves) as the replicates' noise allows."""
    noise_K = residuals_MK[1:].std(0)
    return bool((np.abs(residuals_MK[0]) <= _MISFIT * noise_K + 1e-9).all())


def _straight(rows_K: np.ndarray, curves_MK: np.ndarray, further: int, top: float) -> np.ndarray:
    """Gain along the line through the last two points, at most to `top`."""
    before, last = np.argsort(rows_K)[-2:]
    slope_M = (curves_MK[:, last] - curves_MK[:, before]) / (rows_K[last] - rows_K[before])
    return np.asarray(np.minimum(slope_M * further, top - curves_MK[:, last]))


@dataclass(frozen=True)
class Crossing:
    """From `rows` training rows on `first` is ahead of `second`, at every number of rows that was measured.

    difference: score of first minus score of second at `rows`, with its 95 % interval; sure: it excludes 0
    with Bonferroni's correction for all pairs, too; overtakes: with fewer rows first was not ahead.
    """

    first: str
    second: str
    rows: int
    difference: tuple[float, float, float]
    sure: bool
    overtakes: bool


def crossings(rows_K: np.ndarray, replicates: Mapping[str, np.ndarray]) -> tuple[Crossing, ...]:
    """For every pair of methods: which is ahead with the most rows, and from how many rows on.

    replicates: method -> [R, K] bootstrap replicates of its mean test score at each number of training rows;
    all methods' replicates drawn with the same test items. Ahead: the median over the replicates is higher
    (with two seeds a replicate's share of the seeds has no mean). Pairs that are exactly level with the most
    rows are left out; nothing is said between or beyond the measured points.

    >>> rows = np.array([100, 200, 400])
    >>> full = np.array([[0.50, 0.70, 0.80], [0.54, 0.72, 0.82]])
    >>> lora = np.array([[0.60, 0.69, 0.75], [0.62, 0.73, 0.76]])
    >>> [(c.first, c.rows, c.sure, c.overtakes) for c in crossings(rows, {"full": full, "lora": lora})]
    [('full', 400, True, True)]
    """
    order = np.argsort(rows_K)
    found = []
    pairs = len(replicates) * (len(replicates) - 1) // 2
    # What the draws are too few to tell of a small percentile, the normal one of their middle has to say.
    needed = float(special.ndtri(1 - _TAIL / 100 / max(pairs, 1)))
    for one, other in combinations(replicates, 2):
        drawn = (replicates[one] - replicates[other])[:, order]
        lead = np.median(drawn, axis=0)
        # Sums of many shares differ in the last bits.
        lead[np.abs(lead) < 1e-12] = 0.0
        if lead[-1] == 0:
            continue
        first, second, sign = (one, other, 1) if lead[-1] > 0 else (other, one, -1)
        behind = np.flatnonzero(sign * lead <= 0)
        at = int(behind[-1]) + 1 if len(behind) else 0
        least, low, high = np.percentile(sign * drawn[:, at], (_TAIL / pairs, _TAIL, 100 - _TAIL))
        rows = int(rows_K[order[at]])
        value = float(sign * lead[at])
        below, above = np.percentile(drawn[:, at], (15.87, 84.13))
        sure = bool(least > 0 and value > needed * (above - below) / 2)
        found.append(Crossing(first, second, rows, (value, float(low), float(high)), sure, len(behind) > 0))
    return tuple(found)
