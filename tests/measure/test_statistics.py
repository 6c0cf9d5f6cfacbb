"""Intervals and tests: hand-derived numbers, and error rates in simulated studies whose truth is known.

A simulated method answers item i with seed s correctly with probability clip(p_i + e_s g_i): p_i ~ Beta shared
by its seeds (most items easy or hopeless, as in recorded studies), e_s ~ N(0, SD of the seeds), g_i in
proportion to p_i (1 - p_i) with mean 1: a seed moves the items that are in doubt.
"""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from tunelab.measure.pairs import (
    Comparison,
    SeedTerm,
    compare_pair,
    holm,
    lost_seeds,
    mcnemar,
    more_items,
    seed_pool,
    tied_groups,
)
from tunelab.measure.regression import regression_score_function
from tunelab.measure.reward import mean_score
from tunelab.measure.statistics import (
    RunScore,
    class_f1,
    freedom,
    mean_interval,
    replicates,
    score_function,
    score_of,
    spread_of,
)

#: Shares of the five classes of the macro-F1 settings; a wrong answer is any other class.
SHARES = np.array([0.4, 0.25, 0.15, 0.1, 0.1])


class World:
    """Where studies are drawn from. seeds_sd: in units of the items' standard error of one run."""

    def __init__(
        self, name: str, items: int, accuracy: float, seeds_sd: float, concentration: float = 0.5
    ) -> None:
        self.name, self.items, self.accuracy, self.concentration = name, items, accuracy, concentration
        self.sd = seeds_sd * float(np.sqrt(accuracy * (1 - accuracy) / items))
        self.doubt = accuracy * (1 - accuracy) * concentration / (concentration + 1)

    def difficulty(self, random: np.random.Generator, items: int | None = None) -> np.ndarray:
        a = self.accuracy * self.concentration
        return random.beta(a, self.concentration - a, items or self.items)

    def _chance(self, p_N: np.ndarray, effect_S: np.ndarray) -> np.ndarray:
        return np.clip(p_N + effect_S[:, None] * p_N * (1 - p_N) / self.doubt, 0, 1)

    def targets(self, random: np.random.Generator) -> np.ndarray:
        classes = 2 if self.name == "accuracy" else len(SHARES)
        return random.choice(classes, self.items, p=None if classes == 2 else SHARES)

    def method(
        self,
        random: np.random.Generator,
        seeds: int,
        p_N: np.ndarray,
        targets_N: np.ndarray,
        worse: float = 0.0,
    ) -> list[RunScore]:
        """Runs of one method; `worse`: how much lower its accuracy is."""
        chance_SN = self._chance(p_N, random.normal(size=seeds) * self.sd - worse)
        right_SN = random.random(chance_SN.shape) < chance_SN
        classes = 2 if self.name == "accuracy" else len(SHARES)
        wrong_SN = (targets_N + random.integers(1, classes, size=chance_SN.shape)) % classes
        return [score_function(self.name, p, targets_N) for p in np.where(right_SN, targets_N, wrong_SN)]

    def truth(self) -> float:
        """Expected score of the method over all items and seeds: by quadrature, no run is drawn."""
        p_N = self.difficulty(np.random.default_rng(99), 20_000)
        p_N = p_N + (self.accuracy - p_N.mean()) * p_N * (1 - p_N) / (p_N * (1 - p_N)).mean()
        effects = stats.norm.ppf((np.arange(100) + 0.5) / 100) * self.sd
        right = self._chance(p_N, effects).mean(1)
        if self.name == "accuracy":
            return float(right.mean())
        true = SHARES[None] * right[:, None]
        predicted = true + (1 - SHARES) * (1 - right[:, None]) / (len(SHARES) - 1)
        return float((2 * true / (SHARES + predicted)).mean())


def upper(found: int, of: int) -> float:
    """Clopper and Pearson's one-sided 95 % upper bound of a rate."""
    return float(stats.beta.ppf(0.95, found + 1, of - found)) if found < of else 1.0


def within_noise(found: int, of: int, rate: float = 0.05) -> bool:
    """Whether `found` is what a rate of 5 % gives in all but 1 % of the cases."""
    return found <= stats.binom.ppf(0.99, of, rate)


# --- scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_weights_are_repetitions_of_items(name: str) -> None:
    """scikit-learn on the items repeated as often as their weight says."""
    random = np.random.default_rng(1)
    targets, predicted = random.integers(0, 6, 40), random.integers(0, 7, 40)
    weights = random.multinomial(40, np.ones(40) / 40, size=50)
    found = score_function(name, predicted, targets)(weights.astype(np.float64))
    for row, value in zip(weights, found, strict=True):
        again = np.repeat(targets, row), np.repeat(predicted, row)
        expected = accuracy_score(*again) if name == "accuracy" else f1_score(*again, average="macro")
        assert value == pytest.approx(expected, abs=1e-12)
        assert score_of(name, predicted, targets, row.astype(np.float64)) == value


def test_the_item_bootstrap_of_four_items_by_enumeration() -> None:
    """All 4^4 = 256 draws are as likely; accuracy 3/4 has variance (3/4)(1/4)/4 = 3/64 over them, and drawing
    four of four has 3/4 of the variance that other items would bring."""
    targets, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    draws = [np.array(d) for d in itertools.product(range(4), repeat=4)]
    every = [f1_score(targets[d], predicted[d], average="macro") for d in draws]
    for name, expected in (("accuracy", 3 / 64), ("macro_f1", np.var(every))):
        found = spread_of([score_function(name, predicted, targets)], 4, 40_000, 0)
        assert found.items == pytest.approx(4 / 3 * expected, rel=0.03), name


def test_the_variance_is_that_of_the_two_way_anova() -> None:
    """(MS_items + MS_seeds - MS_rest) / (N S), from sums of squares, for correct or not by seed and item."""
    world = World("accuracy", 400, 0.8, 2.0)
    random = np.random.default_rng(3)
    runs = world.method(random, 4, world.difficulty(random), np.zeros(400, dtype=int))
    y = np.stack([run.correct_N for run in runs]).astype(float)
    seeds, items = y.shape
    by_item, by_seed = y.mean(0, keepdims=True), y.mean(1, keepdims=True)
    ms_items = seeds * ((by_item - y.mean()) ** 2).sum() / (items - 1)
    ms_seeds = items * ((by_seed - y.mean()) ** 2).sum() / (seeds - 1)
    ms_rest = ((y - by_item - by_seed + y.mean()) ** 2).sum() / ((items - 1) * (seeds - 1))
    own = spread_of(runs, items, 20_000, 0)
    assert own.items == pytest.approx((ms_items - ms_rest) / (items * seeds), rel=0.05)
    assert own.between == pytest.approx(ms_seeds / (items * seeds), rel=1e-9)
    assert own.rest == pytest.approx(ms_rest / (items * seeds), rel=0.05)


# --- intervals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "seeds"),
    [
        (World("accuracy", 300, 0.85, 0.5), 3),
        (World("accuracy", 2000, 0.85, 1.0), 3),
        (World("macro_f1", 300, 0.8, 0.5), 3),
    ],
    ids=["accuracy-300", "accuracy-2000", "macro_f1-300"],
)
def test_intervals_hold_the_truth_in_95_of_100_studies(world: World, seeds: int) -> None:
    truth, held = world.truth(), 0
    random = np.random.default_rng(11)
    for _ in range(1000):
        runs = world.method(random, seeds, world.difficulty(random), world.targets(random))
        _, low, high = mean_interval(runs, world.items, resamples=300)
        held += low <= truth <= high
    print(f"coverage {held / 10:.1f} %")
    assert 930 <= held <= 970, held


def test_resampling_three_seeds_would_not_do() -> None:
    """With noisy seeds the percentiles of a bootstrap over items and 3 seeds cover far below 95 %."""
    world = World("accuracy", 300, 0.85, 2.0)
    random, truth, held, naive = np.random.default_rng(5), world.truth(), 0, 0
    for _ in range(300):
        runs = world.method(random, 3, world.difficulty(random), np.zeros(300, dtype=int))
        _, low, high = mean_interval(runs, 300, resamples=300)
        held += low <= truth <= high
        means = spread_of(runs, 300, 300, 0)
        own = np.array([run(np.ones((1, 300)))[0] for run in runs])
        drawn = (own - own.mean())[random.integers(3, size=(300, 3))].mean(1)
        low, high = np.percentile(means.value + means.drawn_SR.mean(0) + drawn, [2.5, 97.5])
        naive += low <= truth <= high
    print(f"of 300: {held}, naively {naive}")
    assert naive < 0.9 * 300
    assert held > 0.93 * 300


def test_scores_at_the_border_keep_an_interval_within_0_and_1() -> None:
    """All of 50 right: Wilson's lower limit is n / (n + t²) with t of 49 degrees, 2.0096."""
    right = np.zeros(50, dtype=int)
    value, low, high = mean_interval([score_function("accuracy", right, right)], 50)
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(50 / (50 + 2.0096**2), abs=1e-4)


def test_replicates_are_paired_and_hold_the_seeds_noise() -> None:
    """Two single models: the difference's variance is McNemar's (b + c - (b - c)²/N) / N². Three seeds that
    differ widely: quartiles of t with 2 degrees, 0.8165, times s / √3."""
    random = np.random.default_rng(8)
    base = random.random(500) < 0.8
    other = np.where(random.random(500) < 0.1, ~base, base)
    one, two = (
        [score_function("accuracy", (~r).astype(int), np.zeros(500, dtype=int))] for r in (base, other)
    )
    b, c = int((base & ~other).sum()), int((other & ~base).sum())
    apart = replicates(one, 500, resamples=8000, seed=4) - replicates(two, 500, resamples=8000, seed=4)
    assert apart.var() == pytest.approx((b + c - (b - c) ** 2 / 500) / 500**2, rel=0.06)

    targets = np.zeros(20_000, dtype=int)
    wide = [
        score_function("accuracy", (np.arange(20_000) >= n).astype(int), targets)
        for n in (14_000, 15_000, 16_000)
    ]
    low, high = np.percentile(replicates(wide, 20_000, resamples=1000), [25, 75])
    assert (high - low) / 2 == pytest.approx(0.8165 * 0.05 / np.sqrt(3), rel=0.15)


def test_nothing_depends_on_or_moves_the_global_random_state() -> None:
    world = World("macro_f1", 120, 0.7, 1.0)
    random = np.random.default_rng(2)
    p_N, targets_N = world.difficulty(random), world.targets(random)
    a, b = (world.method(random, 3, p_N, targets_N) for _ in range(2))
    state = np.random.get_state()[1].copy()
    found = [
        compare_pair(a, b, 120),
        mean_interval(a, 120),
        replicates(a, 120).tolist(),
        seed_pool([a, b, a], 120),
    ]
    bare = [[run._score for run in runs] for runs in (a, b)]  # nothing remembered between calls
    again = [
        compare_pair(bare[0], bare[1], 120),
        mean_interval(bare[0], 120),
        replicates(bare[0], 120).tolist(),
        seed_pool([bare[0], bare[1], bare[0]], 120),
    ]
    assert found == again
    assert (np.random.get_state()[1] == state).all()


# --- pairs ----------------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    """9 items that just one gets right, 8 of them the first: p = 2 (1 + 9) / 2^9 = 0.0390625.
    Newcombe's example (1998, table II): 36 both, 12, 2, none neither: +0.0569 to +0.3404."""
    first, second = np.array([1] * 8 + [0] + [1] * 41), np.array([0] * 8 + [1] + [1] * 41)
    assert mcnemar(first, second).p == pytest.approx(0.0390625, abs=1e-15)
    found = mcnemar(np.array([1] * 48 + [0] * 2), np.array([1] * 36 + [0] * 12 + [1] * 2))
    assert (found.low, found.high) == (pytest.approx(0.0569, abs=5e-5), pytest.approx(0.3404, abs=5e-5))


def test_mcnemar_is_the_binomial_test_and_its_interval_agrees() -> None:
    for items, both, b, c in itertools.product((60, 400), (10, 30), range(15), range(15)):
        first = np.repeat([True, True, False, False], [both, b, c, items - both - b - c])
        second = np.repeat([True, False, True, False], [both, b, c, items - both - b - c])
        found = mcnemar(first, second)
        expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert found.p == pytest.approx(expected, abs=1e-13)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_single_runs_of_accuracy_take_mcnemar_and_all_others_do_not() -> None:
    world = World("accuracy", 200, 0.8, 0.5)
    random = np.random.default_rng(0)
    p_N = world.difficulty(random)
    a, b = (world.method(random, 2, p_N, np.zeros(200, dtype=int)) for _ in range(2))
    assert compare_pair(a[:1], b[:1], 200).test == "mcnemar"
    assert compare_pair(a, b[:1], 200).test == "bootstrap"
    assert compare_pair([a[0]._score], b[:1], 200).test == "bootstrap"


def test_a_pair_turned_round_and_p_beside_its_interval() -> None:
    world = World("macro_f1", 150, 0.8, 1.0)
    random = np.random.default_rng(6)
    for trial in range(20):
        p_N, targets_N = world.difficulty(random), world.targets(random)
        a = world.method(random, 3, p_N, targets_N)
        b = world.method(random, 1 + trial % 4, p_N, targets_N, worse=0.01 * trial)
        one, other = compare_pair(a, b, 150, resamples=200), compare_pair(b, a, 150, resamples=200)
        assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
        assert one.p == pytest.approx(other.p, rel=1e-9)
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)
    assert compare_pair(a, a, 150).p == 1.0


def test_two_methods_with_seeds_alone_are_welch_s_test() -> None:
    """Items that do not matter (each run right or wrong on whole blocks would; here the score ignores them)."""
    first, second = (0.8, 0.82, 0.87), (0.7, 0.71, 0.76, 0.72)
    runs = [[RunScore(lambda w, v=v: np.full(len(w), v)) for v in values] for values in (first, second)]
    found = compare_pair(*runs, 10_000)
    # Welch's own degrees lack the factors 1 + 4/freedom of `freedom`: 3 and 7/3.
    parts = [np.var(v, ddof=1) / len(v) for v in (first, second)]
    degrees = (3 * parts[0] + 7 / 3 * parts[1]) ** 2 / ((3 * parts[0]) ** 2 / 2 + (7 / 3 * parts[1]) ** 2 / 3)
    t = (np.mean(first) - np.mean(second)) / np.sqrt(sum(parts))
    assert t == pytest.approx(stats.ttest_ind(first, second, equal_var=False).statistic)
    assert found.p == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-9)
    assert freedom(0.0, [(0.2, 2), (0.2, 2)], 100) == pytest.approx(4.0)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_a_method_is_not_different_from_itself(name: str, seeds: int) -> None:
    world = World(name, 500, 0.85, 0.7 if seeds > 1 else 0.0)
    random = np.random.default_rng(21)
    found = 0
    for _ in range(200):
        p_N, targets_N = world.difficulty(random), world.targets(random)
        a, b = (world.method(random, seeds, p_N, targets_N) for _ in range(2))
        found += compare_pair(a, b, 500, resamples=300).p < 0.05
    print(f"{name}, {seeds} seeds: {found} of 200, 95 % upper bound {upper(found, 200):.3f}")
    assert within_noise(found, 200), found


@pytest.mark.parametrize("pooled", [False, True], ids=["alone", "pooled"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_nine_equal_methods_are_not_told_apart(seeds: int, pooled: bool) -> None:
    """Family-wise: any of the 36 pairs "different". Items are partly each method's own."""
    world = World("accuracy", 500, 0.85, 0.7 if seeds > 1 else 0.0)
    random = np.random.default_rng(31)
    found = 0
    for _ in range(200):
        base_N = world.difficulty(random)
        methods = []
        for _ in range(9):
            p_N = np.where(random.random(500) < 0.2, world.difficulty(random), base_N)
            methods.append(world.method(random, seeds, p_N, np.zeros(500, dtype=int)))
        pool = seed_pool(methods, 500, resamples=300) if pooled else None
        tests = [
            compare_pair(a, b, 500, pool=pool, resamples=300) for a, b in itertools.combinations(methods, 2)
        ]
        found += min(holm([test.p for test in tests])) < 0.05
    print(f"9 methods, {seeds} seeds, pooled {pooled}: {found} of 200, bound {upper(found, 200):.3f}")
    assert within_noise(found, 200), found


def shifts(random: np.random.Generator, sd: float, mean: float, items_N: np.ndarray) -> list[RunScore]:
    """Three runs: what the items have in common, and a seed's own shift."""
    shared = 0.01 * float(items_N.mean())
    return [
        RunScore(
            lambda w, at=mean + shift: at + 0.01 * (w @ items_N) / w.sum(1) - shared, bounds=(-np.inf, np.inf)
        )
        for shift in random.normal(0, sd, 3)
    ]


@pytest.mark.parametrize("wild", [4.0, 20.0, 1000.0])
def test_one_wild_method_neither_hides_the_others_nor_makes_them_differ(wild: float) -> None:
    """Four methods, the last one's seeds `wild` times as far apart. The first two differ by ten times what
    seeds do; where all are equal, any pair of the family is called different in 5 % of the studies."""
    random, sure, false = np.random.default_rng(int(wild)), 0, 0
    pairs = list(itertools.combinations(range(4), 2))
    for study in range(200):
        items_N = random.normal(size=100)
        for lead in (0.01, 0.0):
            methods = [
                shifts(random, 0.001 * (wild if k == 3 else 1), lead * (k == 0), items_N) for k in range(4)
            ]
            pool = seed_pool(methods, 100, resamples=100, seed=study)
            tests = [
                compare_pair(methods[i], methods[j], 100, pool=pool, resamples=100, seed=study).p
                for i, j in pairs
            ]
            sure += bool(lead) and holm(tests)[0] < 0.05
            false += not lead and min(holm(tests)) < 0.05
    print(f"wild {wild:g}: the difference is seen in {sure} of 200, one that is none in {false}")
    assert within_noise(false, 200), false
    assert sure >= (190 if wild >= 20 else 150), sure


def test_three_points_on_2000_items_are_found() -> None:
    world = World("accuracy", 2000, 0.85, 0.5)
    random = np.random.default_rng(41)
    found = 0
    for _ in range(200):
        p_N, targets_N = world.difficulty(random), np.zeros(2000, dtype=int)
        a = world.method(random, 3, p_N, targets_N)
        found += (
            compare_pair(a, world.method(random, 3, p_N, targets_N, worse=0.03), 2000, resamples=200).p < 0.05
        )
    print(f"3 points found in {found} of 200")
    assert found >= 160, found


def test_the_pool_finds_three_points_among_nine_methods() -> None:
    """Holm over 36 pairs: with 2-4 degrees of freedom a pair, most stay hidden; pooled, most are found."""
    world = World("accuracy", 2000, 0.85, 0.5)
    random = np.random.default_rng(51)
    found = {True: 0, False: 0}
    for _ in range(25):
        p_N, targets_N = world.difficulty(random), np.zeros(2000, dtype=int)
        methods = [world.method(random, 3, p_N, targets_N, worse=0.03 * (k == 8)) for k in range(9)]
        for pooled in found:
            pool = seed_pool(methods, 2000, resamples=200) if pooled else None
            pairs = list(itertools.combinations(range(9), 2))
            tests = [compare_pair(methods[i], methods[j], 2000, pool=pool, resamples=200).p for i, j in pairs]
            found[pooled] += sum(p < 0.05 for p, (_, j) in zip(holm(tests), pairs, strict=True) if j == 8)
    print(f"of 200 pairs: pooled {found[True]}, alone {found[False]}")
    assert found[True] > 130
    assert found[True] > 2 * found[False]


def test_the_pool_never_lowers_a_method_s_own_seed_variance_nor_gives_one_to_equal_runs() -> None:
    values = [(0.8, 0.801, 0.802), (0.7, 0.71, 0.72), (0.58, 0.6, 0.614), (0.6, 0.62, 0.645)]
    methods = [[RunScore(lambda w, v=v: v + 1e-3 * w[:, 0]) for v in each] for each in values]
    pool = seed_pool(methods, 100)
    assert pool is not None
    assert pool.variance == pytest.approx(np.mean([np.var(v, ddof=1) for v in values]))
    assert 0 < pool.freedom < pool.total == 8.0
    assert seed_pool(methods[:2], 100) is None
    one = RunScore(lambda w: w @ np.full(100, 0.005) / 100)
    for method in methods:
        alone = compare_pair(method, [one], 100)
        helped = compare_pair(method, [one], 100, pool=pool)
        assert helped.seed_variance >= alone.seed_variance * (1 - 1e-12)
    assert compare_pair([one, one], [one, one], 100, pool=pool).seed_variance == 0.0


# --- many pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_rewards_of_any_unit_are_compared_as_in_a_paired_t_test(unit: float) -> None:
    """A reward has no scale of its own: in thousandths or thousands the same p, which two single models share
    with scipy's paired t test; and what differs by less than its noise is not found."""
    random = np.random.default_rng(3)
    base_N = random.normal(size=200)
    one_N, other_N = base_N + 0.2 * random.normal(size=200) + 0.08, base_N + 0.2 * random.normal(size=200)
    found = compare_pair([mean_score(unit * one_N)], [mean_score(unit * other_N)], 200, resamples=20_000)
    right = stats.ttest_rel(one_N, other_N)
    assert found.p == pytest.approx(float(right.pvalue), rel=0.1)
    assert found.p < 0.05
    low, high = right.confidence_interval()
    assert (found.low / unit, found.high / unit) == pytest.approx((low, high), abs=2e-3)
    equal = compare_pair([mean_score(unit * one_N)], [mean_score(unit * one_N)], 200)
    assert (equal.value, equal.p) == (0.0, 1.0)


@pytest.mark.parametrize("copies", [1, 4])
def test_items_of_a_group_count_once(copies: int) -> None:
    """Every item several times over, told as groups, is what the items by themselves are: nothing is gained by
    asking the same thing again. Not told, the interval would be half as wide."""
    random = np.random.default_rng(5)
    base = [random.normal(size=60) for _ in range(6)]

    def runs(values: list[np.ndarray]) -> list[RunScore]:
        found = [mean_score(np.repeat(own, copies)) for own in values]
        for score in found:
            score.groups_N = np.repeat(np.arange(60), copies)
        return found

    plain = compare_pair([mean_score(v) for v in base[:3]], [mean_score(v) for v in base[3:]], 60)
    grouped = compare_pair(runs(base[:3]), runs(base[3:]), 60 * copies)
    assert (grouped.value, grouped.low, grouped.high, grouped.p) == pytest.approx(
        (plain.value, plain.low, plain.high, plain.p)
    )
    one = mean_interval([mean_score(v) for v in base[:3]], 60)
    assert mean_interval(runs(base[:3]), 60 * copies) == pytest.approx(one)


def test_single_models_on_grouped_items_do_not_take_mcnemar() -> None:
    right_N, other_N = np.repeat([1, 0, 1, 1], 25), np.repeat([1, 1, 0, 0], 25)
    scores = [score_function("accuracy", own, np.ones(100)) for own in (right_N, other_N)]
    assert compare_pair([scores[0]], [scores[1]], 100).test == "mcnemar"
    for score in scores:
        score.groups_N = np.repeat(np.arange(4), 25)
    found = compare_pair([scores[0]], [scores[1]], 100)
    assert found.test == "bootstrap"
    assert found.p > 0.3  # four texts


def test_three_rows_of_a_class_prove_nothing() -> None:
    """Among 400 test rows a class has 3. One method finds all of them with every seed, the other none."""
    targets_N = np.zeros(400, dtype=int)
    targets_N[:3] = 1
    none, every = np.zeros(400, dtype=int), targets_N.copy()
    found = compare_pair([class_f1(every, targets_N, 1)] * 2, [class_f1(none, targets_N, 1)] * 2, 400)
    assert found.value == 1
    assert found.p > 0.05
    low = mean_interval([class_f1(every, targets_N, 1)] * 2, 400)[1]
    assert low < 0.6


def test_a_method_of_which_one_seed_is_left_is_as_unsure_as_the_others() -> None:
    random = np.random.default_rng(7)
    hard_N = random.normal(size=400)

    def runs(shift: float, seeds: int) -> list[RunScore]:
        own = [shift + 0.3 * random.normal() for _ in range(seeds)]
        return [mean_score(hard_N + value + 0.1 * random.normal(size=400)) for value in own]

    many = [runs(0.0, 3) for _ in range(4)]
    pool, left = seed_pool(many, 400), runs(0.6, 1)
    sure = compare_pair(left, many[0], 400, pool=pool)
    unsure = compare_pair(left, many[0], 400, pool=pool, seeded=(True, True))
    assert unsure.high - unsure.low > 1.3 * (sure.high - sure.low)
    assert unsure.value == sure.value
    assert pool is not None
    lost = lost_seeds([], pool)
    alone, whole = mean_interval(left, 400), mean_interval(left, 400, lost=lost)
    assert whole[2] - whole[1] > 1.3 * (alone[2] - alone[1])
    assert np.std(replicates(left, 400, lost=lost)) > 1.3 * np.std(replicates(left, 400))


def test_of_two_methods_the_one_with_seeds_lends_its_variance_to_the_one_without() -> None:
    """No pool of two: s² of the three runs, 1, with its 2 degrees, stands for the single run's lost seeds too.
    Squared standard errors 1/3 + 1, and of items nothing: Satterthwaite by hand."""
    many = [mean_score(np.full(50, shift)) for shift in (-1.0, 0.0, 1.0)]
    found = compare_pair([mean_score(np.full(50, 2.0))], many, 50, seeded=(True, True))
    assert [(round(term.lasting, 9), term.freedom) for term in found.seeds] == [
        (1.0, 2.0),
        (0.333333333, 2.0),
    ]
    degrees = (4 / 3) ** 2 / ((1 / 3) ** 2 / 2 + 1 / 2)
    assert found.p == pytest.approx(2 * stats.t.sf(2 / (4 / 3) ** 0.5, degrees), rel=1e-6)


def test_without_any_spread_it_is_the_sign_test() -> None:
    """A rule that is always worth 1 against one that is always worth -1, on 3 prompts and on 10."""
    few, many = (compare_pair([mean_score(np.ones(n))], [mean_score(-np.ones(n))], n) for n in (3, 10))
    assert few.p == 0.25
    assert few.low <= 0
    assert many.p == 2**-9
    assert many.low > 0
    one = compare_pair([mean_score(np.ones(1))], [mean_score(np.zeros(1))], 1)
    assert (one.p, one.low) == (1.0, 0.0)


def test_a_correlation_of_one_on_five_rows_is_not_sure() -> None:
    numbers = np.arange(5.0)
    value, low, high = mean_interval([regression_score_function("spearman", numbers, numbers)], 5)
    assert value == pytest.approx(1)
    assert low < 0.97
    assert high == pytest.approx(1)


def test_holm_by_hand() -> None:
    """Sorted 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04 but not below 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """A hypothesis falls when every intersection that holds it falls by Bonferroni (Marcus et al. 1976)."""
    random = np.random.default_rng(0)
    for _ in range(30):
        p = random.random(6) ** 3
        sets = [s for n in range(1, 7) for s in itertools.combinations(range(6), n)]
        closed = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(6)]
        assert holm(p.tolist()) == pytest.approx(closed, abs=1e-14)


def test_groups_of_ties() -> None:
    random = np.random.default_rng(0)
    names = list("abcdefghi")
    for share in (0.0, 0.3, 0.7, 1.0):
        apart = {frozenset(pair): random.random() < share for pair in itertools.combinations(names, 2)}
        groups = tied_groups(names, lambda a, b, apart=apart: apart[frozenset((a, b))])
        assert sorted(name for group in groups for name in group) == names
        assert [group[0] for group in groups] == sorted(group[0] for group in groups)
        for number, (leader, *rest) in enumerate(groups):
            assert not any(apart[frozenset((leader, name))] for name in rest)
            later = [name for group in groups[number + 1 :] for name in group]
            assert all(apart[frozenset((leader, name))] for name in later)
    assert tied_groups([], lambda a, b: True) == []


def test_more_items_by_hand() -> None:
    """Items only: N' = N v (1.960 + 0.842)² / d², v = 0.0004, d = 0.04, N = 10^6: 1.9624 times N.
    A lasting seed variance of (d / 2)² cannot be removed: t of 2 degrees alone asks for 4.3 standard errors."""
    found = Comparison(0.04, 0, 0, 0.05, "bootstrap", 0.0004)
    assert more_items(found, 10**6) == pytest.approx(0.9622e6, rel=1e-3)
    noisy = Comparison(0.04, 0, 0, 0.5, "bootstrap", 0.0004, (SeedTerm(0.0004, 0.0002, 2),))
    assert more_items(noisy, 10**6) is None
    assert more_items(Comparison(0.0, 0, 0, 1.0, "bootstrap", 0.0004), 1000) is None
    assert more_items(Comparison(0.5, 0, 0, 0.0, "bootstrap", 0.0004), 1000) == 0


def test_with_more_items_the_promised_share_is_found() -> None:
    """Two models that alone get 8 % and 5 % of the items right: 80 % of studies of the told size tell them
    apart (McNemar's exact test keeps a little below its level, so a little fewer)."""
    first = np.repeat([True, True, False, False], [70, 8, 5, 17])
    second = np.repeat([True, False, True, False], [70, 8, 5, 17])
    more = more_items(mcnemar(first, second), 100)
    assert more is not None
    random, found = np.random.default_rng(0), 0
    for _ in range(1000):
        _, b, c, _ = random.multinomial(100 + more, [0.7, 0.08, 0.05, 0.17])
        found += stats.binomtest(int(b), int(b + c)).pvalue < 0.05
    assert 0.74 < found / 1000 < 0.84, (more, found)
