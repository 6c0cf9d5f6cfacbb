"""Whether two methods differ: tests on the same items, their correction, ties, and the items it takes."""

# S seeds, N test items, M methods, R resamples

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from tunelab.measure.statistics import (
    RunScore,
    Score,
    Spread,
    bounds_of,
    counted,
    freedom,
    rows_in_groups,
    spread_of,
    wilson,
)

__all__ = [
    "Comparison",
    "SeedPool",
    "SeedTerm",
    "compare_pair",
    "holm",
    "lost_seeds",
    "mcnemar",
    "more_items",
    "seed_pool",
    "tied_groups",
]

#: Level at which a method's seeds are held to differ more than all others'.
_WILD = 0.01
#: Beyond this many times the present items, "no number of items" is said.
_MOST_TIMES = 1e6


@dataclass(frozen=True)
class SeedTerm:
    """One method's part of a squared standard error: `lasting` stays, `passing` shrinks as 1/items."""

    lasting: float
    passing: float
    freedom: float


@dataclass(frozen=True)
class Comparison:
    """Mean score of the first method minus the second's, with its 95 % interval and a two-sided p-value.

    test "bootstrap": interval and p are the same t test, p < 0.05 if and only if 0 is outside. "mcnemar":
    p is exact, the interval Newcombe's, widened to reach 0 where p >= 0.05; where p < 0.05 it may hold 0.

    shared: squared standard error that both methods' items cause together; least: no squared standard error
    below this is believed. item_variance, seed_variance: the parts of the whole squared standard error that
    further items shrink, and that they do not.
    """

    value: float
    low: float
    high: float
    p: float
    test: Literal["bootstrap", "mcnemar"]
    shared: float
    seeds: tuple[SeedTerm, ...] = ()
    most_freedom: float = float("inf")
    least: float = 0.0

    @property
    def item_variance(self) -> float:
        return self.shared + sum(term.passing for term in self.seeds)

    @property
    def seed_variance(self) -> float:
        return sum(term.lasting for term in self.seeds)


@dataclass(frozen=True)
class SeedPool:
    """What the methods of a study together say about s², the variance between runs of one method.

    variance: mean over the methods. freedom: degrees that it is worth for a single method, fewer the more the
    methods differ. total: degrees of all methods together. methods: how many there were, those that were left
    out among them.
    """

    variance: float
    freedom: float
    total: float
    methods: int = 1

    def holds(self, variance: float, degrees: float) -> bool:
        """Whether a method of this s² may be one of these: its seeds do not differ far more than theirs."""
        return not _beyond(variance, degrees, self.variance, self.total, self.methods)


def seed_pool(
    methods: Sequence[Sequence[Score]], items: int, *, resamples: int = 2000, seed: int = 0
) -> SeedPool | None:
    """Moderation of seed variances, as in limma: methods lend each other degrees of freedom.

    Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3, section 6.2: with s² of M methods drawn around variances
    that follow a scaled inverse chi-square, the variance of log s² beyond trigamma(freedom / 2) gives that
    distribution's degrees. Two deviations, both to the safe side, since M is 9 and not 10,000: the centre is
    the mean of s² and not the geometric one, and `compare_pair` never takes less than a method's own s².

    A method whose seeds differ far more than all the others' (F test, 1 % over all methods) stands for itself
    and lends nothing: one wild method would else hide what is sure of the others (Phipson et al. 2016, Ann.
    Appl. Stat. 10:946). None where fewer than three methods are left, or have several runs that differ.
    """
    spreads = [spread_of(runs, items, resamples, seed) for runs in methods]
    spreads = sorted((own for own in spreads if own.freedom and own.between > 0), key=_variance)
    many = len(spreads)
    while len(spreads) >= 3:
        *calm, wildest = spreads
        usual, degrees = float(np.mean([_variance(own) for own in calm])), sum(own.freedom for own in calm)
        if not _beyond(_variance(wildest), wildest.freedom, usual, degrees, many):
            break
        spreads = calm
    if len(spreads) < 3:
        return None
    half_M = np.array([own.freedom / 2 for own in spreads])
    variances_M = np.array([_variance(own) for own in spreads])
    logs_M = np.log(variances_M) - special.digamma(half_M) + np.log(half_M)
    beyond = float(logs_M.var(ddof=1) - special.polygamma(1, half_M).mean())
    total = float(2 * half_M.sum())
    worth = 2 * _trigamma_inverse(beyond) if beyond > 0 else total
    return SeedPool(float(variances_M.mean()), min(worth, total), total, many)


def _variance(own: Spread) -> float:
    """s² between a method's runs."""
    return own.between * (own.freedom + 1)


def _beyond(variance: float, degrees: float, usual: float, usual_degrees: float, methods: int) -> bool:
    """Whether s² is too large for the methods with these: F test at 1 % for the largest of `methods`."""
    return float(special.fdtrc(degrees, usual_degrees, variance / usual)) < _WILD / methods


def _trigamma_inverse(value: float) -> float:
    """x > 0 with trigamma(x) = value > 0, by bisection of log x."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if special.polygamma(1, np.exp(middle)) > value else (low, middle)
    return float(np.exp(low))


def lost_seeds(spreads: Sequence[Spread], pool: SeedPool | None) -> tuple[float, float] | None:
    """s² of a single run whose method's other seeds failed, and its degrees of freedom: those of the pool,
    else of the method that varies most. None: no method has several runs."""
    if pool is not None:
        return pool.variance, min(pool.freedom, pool.total)
    known = [own for own in spreads if own.freedom]
    widest = max(known, key=_variance, default=None)
    return None if widest is None else (_variance(widest), float(widest.freedom))


def _seed_term(own: Spread, pool: SeedPool | None, lost: tuple[float, float] | None) -> SeedTerm | None:
    """None with one run, whose seed is not in question, unless others of its method were `lost`. Runs that
    are equal in all have no seed at all."""
    if own.freedom == 0:
        return None if lost is None else SeedTerm(lost[0], 0.0, lost[1])
    between, degrees = own.between, float(own.freedom)
    alike = pool is not None and pool.holds(_variance(own), own.freedom)
    if pool is not None and alike and np.ptp(own.drawn_SR, axis=0).max() > 0:
        mine, lent = between * degrees, pool.variance / (degrees + 1) * pool.freedom
        between = max(between, (mine + lent) / (degrees + pool.freedom))
        degrees = min(degrees + pool.freedom, pool.total)
    return SeedTerm(max(between - own.rest, 0.0), min(between, own.rest), degrees)


def compare_pair(
    first: Sequence[Score],
    second: Sequence[Score],
    items: int,
    *,
    pool: SeedPool | None = None,
    seeded: tuple[bool, bool] = (False, False),
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares two methods' runs over the same N items; their seeds have nothing in common.

    Two single runs of accuracy: McNemar's exact test, on these two models. Otherwise t = difference /
    standard error, the squared standard error being that of the items (c of each method less twice the mean
    covariance of their runs, see `Spread`) plus s²/S of each, which Welch's test adds up likewise; degrees by
    `freedom`. A method with one run is taken as that model, without seeds. A standard error below one item's
    worth is not believed: 1/N, or of a score without bounds, whose unit is anyone's, an item's usual distance
    from the mean, over N. Of G groups it is a group's usual distance over G.

    seeded: of each side, whether a single run stands for a method whose other seeds failed (a baseline's has
    none). Items in groups are drawn and counted by groups.

    pool: of all methods of the study. Without it two methods with 3 seeds have 2-4 degrees of freedom, and
    Holm's correction over many pairs then hides large differences.
    """
    right = [run.correct_N for run in (*first, *second) if isinstance(run, RunScore)]
    single = len(first) == len(second) == 1 and not (any(seeded) and pool is not None)
    alone = min(counted(first, items), counted(second, items)) == items
    if single and alone and len(right) == 2 and right[0] is not None and right[1] is not None:
        return mcnemar(right[0], right[1])
    a, b = (spread_of(runs, items, resamples, seed) for runs in (first, second))
    rows, items = items, max(counted(first, items), counted(second, items))
    both = float(a.drawn_SR.mean(0) @ b.drawn_SR.mean(0)) / (resamples - 1)
    shared = max(a.items + b.items - 2 * both, 0.0)
    sides = zip((a, b), seeded, strict=True)
    lost = lost_seeds((a, b), pool)
    found = [_seed_term(own, pool, lost if failed else None) for own, failed in sides]
    terms = tuple(term for term in found if term is not None)
    between = [(term.lasting + term.passing, term.freedom) for term in terms]
    least = _least([*first, *second], rows, items, (a.single + b.single) / 2)
    error = max(shared + sum(part for part, _ in between), least) ** 0.5
    if not error or items < 2:
        return _without_spread(a.value - b.value, items)
    most = pool.total if pool is not None else float("inf")
    degrees = freedom(shared, between, items, most)
    value = a.value - b.value
    half = float(special.stdtrit(degrees, 0.975)) * error
    p = 2 * float(special.stdtr(degrees, -abs(value) / error))
    return Comparison(value, value - half, value + half, p, "bootstrap", shared, terms, most, least)


def _least(runs: Sequence[Score], rows: int, items: int, single: float) -> float:
    """The squared standard error of one item's worth. single: that of one run's score.

    A whole group never goes from wrong to right, so 1/G is far above what one is worth, unless the groups do
    not differ at all.
    """
    usual = single / items
    if not np.isfinite(bounds_of(runs)).all():
        return usual
    grouped = rows_in_groups(runs, rows)
    return max(usual, float(grouped) ** -2) if usual and grouped is not None else float(items) ** -2


def _without_spread(value: float, items: int) -> Comparison:
    """Where nothing tells how noisy the items are, the sign test: all N differ to one side, or none does."""
    p = min(1.0, 2.0 ** (1 - items)) if value else 1.0
    half = abs(value) * (1.0 if p >= 0.05 else 0.5)
    return Comparison(value, value - half, value + half, p, "bootstrap", value**2)


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> Comparison:
    """McNemar's exact test of two models' right answers, with Newcombe's interval of the difference.

    p is the two-sided binomial one for the items that just one gets right (McNemar 1947; Dietterich 1998
    for classifiers). Interval: Newcombe 1998, Statistics in Medicine 17:2635, method 10.

    >>> found = mcnemar(np.array([1] * 48 + [0] * 2), np.array([1] * 36 + [0] * 12 + [1] * 2))
    >>> round(found.p, 4), round(found.low, 4), round(found.high, 4)
    (0.0129, 0.0569, 0.3404)
    """
    one, other = np.asarray(first_N, dtype=bool), np.asarray(second_N, dtype=bool)
    items = len(one)
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    discordant, fewer = only_one + only_other, min(only_one, only_other)
    p = min(1.0, 2 * float(special.bdtr(fewer, discordant, 0.5))) if discordant else 1.0
    value = (only_one - only_other) / items
    low, high = _newcombe(int((one & other).sum()), only_one, only_other, items)
    if p >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    variance = max((discordant - items * value**2) / items**2, items**-2.0)
    return Comparison(value, low, high, p, "mcnemar", variance)


def _newcombe(both: int, only_first: int, only_second: int, items: int) -> tuple[float, float]:
    """Wilson's limits of each share, put together with the correlation phi (continuity-corrected)."""
    neither = items - both - only_first - only_second
    right_1, right_2 = both + only_first, both + only_second
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - items / 2, 0.0)
    size = float(right_1) * (items - right_1) * right_2 * (items - right_2)
    phi = product / size**0.5 if size else 0.0
    share_1, share_2 = right_1 / items, right_2 / items
    quantile = float(special.ndtri(0.975))
    (low_1, high_1), (low_2, high_2) = (wilson(share, items, quantile) for share in (share_1, share_2))

    def apart(x: float, y: float) -> float:
        return float(max(x**2 - 2 * phi * x * y + y**2, 0.0) ** 0.5)

    difference = share_1 - share_2
    return (
        difference - apart(share_1 - low_1, high_2 - share_2),
        difference + apart(high_1 - share_1, share_2 - low_2),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order given (Holm 1979, Scand. J. Statist. 6:65).

    The k-th smallest of m is multiplied by m - k + 1, is no smaller than the one before it and at most 1.
    The chance of calling any equal pair different stays below the level, however the tests depend on each
    other.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = largest
    return adjusted


def tied_groups(names: Sequence[str], different: Callable[[str, str], bool]) -> list[list[str]]:
    """Groups of names, best first: the best not yet placed leads and takes all that do not differ from it.

    Every method of a later group differs from the leader of every earlier one. Within a group only the
    leader is known not to differ from each member: two members may differ from one another, and a member
    may not differ from one of another group ("not different" is not transitive). A group need not be a
    run of the ranking: a noisy method may be tied with a leader that a better but steadier one is not.

    >>> tied_groups(["a", "b", "c"], lambda one, other: (one, other) == ("a", "c"))
    [['a', 'b'], ['c']]
    """
    groups: list[list[str]] = []
    left = list(names)
    while left:
        leader = left[0]
        group = [leader, *(name for name in left[1:] if not different(leader, name))]
        groups.append(group)
        left = [name for name in left if name not in group]
    return groups


def more_items(comparison: Comparison, items: int, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Further test items with which this difference, were it the true one, would be found.

    With n times the items the squared standard error is item_variance / n + seed_variance, and the degrees of
    freedom follow; wanted is |difference| > (t of 1 - alpha/2 + t of power) standard errors. None: no number
    of items would do (no difference at all, or seeds differ too much: more seeds are needed).

    alpha: two-sided; for one of m pairs 0.05 / m is what Holm asks of the first.
    """

    def enough(times: float) -> bool:
        shared = comparison.shared / times
        between = [(term.lasting + term.passing / times, term.freedom) for term in comparison.seeds]
        error = max(shared + sum(part for part, _ in between), comparison.least / times**2) ** 0.5
        degrees = freedom(shared, between, items, comparison.most_freedom)
        quantiles = special.stdtrit(degrees, 1 - alpha / 2) + special.stdtrit(degrees, power)
        return bool(abs(comparison.value) > float(quantiles) * error)

    times = 1.0
    while not enough(times):
        times *= 1.25
        if times > _MOST_TIMES:
            return None
    fewer, most = times / 1.25, times
    while times > 1 and (most - fewer) * items > 0.5:
        middle = (fewer + most) / 2
        fewer, most = (fewer, middle) if enough(middle) else (middle, most)
    return int(np.ceil((most - 1) * items))
