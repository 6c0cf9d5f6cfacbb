"""Differences between methods where test rows come in groups: what a group is worth, and what it is not."""

import numpy as np
import pytest
from scipy import stats

from tunelab.measure.multilabel import multilabel_score_function
from tunelab.measure.pairs import compare_pair
from tunelab.measure.statistics import RunScore, score_function


def by_groups(right_N: np.ndarray, groups_N: np.ndarray) -> RunScore:
    score = score_function("accuracy", right_N.astype(int), np.ones(len(right_N)))
    score.groups_N = groups_N
    return score


def drawn_by_groups(
    random: np.random.Generator, groups: int, size: int, share: float, better: float
) -> tuple[RunScore, RunScore]:
    """Two models' answers where texts of a group are alike: a group's own share of right ones is drawn first."""
    own_G = np.clip(random.normal(share, 0.05, groups), 0, 1)
    groups_N = np.repeat(np.arange(groups), size)
    first, second = (random.random(groups * size) < np.repeat(own_G + more, size) for more in (better, 0.0))
    return by_groups(first, groups_N), by_groups(second, groups_N)


def test_a_clear_difference_between_groups_is_seen() -> None:
    """Four points in each of a dozen groups of 800 texts, which the paired t test of the groups' shares sees:
    a standard error of one whole group in twelve was made of it."""
    random = np.random.default_rng(3)
    first, second = drawn_by_groups(random, 12, 800, 0.85, 0.04)
    shares = [own.correct_N.reshape(12, 800).mean(1) for own in (first, second) if own.correct_N is not None]
    wanted = stats.ttest_rel(*shares)
    assert wanted.pvalue < 0.001
    found = compare_pair([first], [second], 9600)
    assert found.p < 0.001
    low, high = wanted.confidence_interval()
    assert found.high - found.low == pytest.approx(high - low, rel=0.06)  # (2,000 resamples: 1.6 % of it)


def test_a_clear_difference_is_seen_where_a_score_has_rows_without_a_part() -> None:
    """The same of F1 over labels, in which rows have no part that have no label and get none: two of ten."""
    random = np.random.default_rng(3)
    truth_NL = (np.arange(9600)[:, None] % 10 < 8) * np.ones((1, 2))
    groups_N = np.repeat(np.arange(12), 800)
    runs = []
    for share in (0.89, 0.85):
        own_G = np.clip(random.normal(share, 0.01, 12), 0, 1)
        found_NL = truth_NL * (random.random((9600, 2)) < np.repeat(own_G, 800)[:, None])
        score = multilabel_score_function("micro_f1", found_NL, truth_NL)
        score.groups_N = groups_N
        runs.append(score)
    found = compare_pair(runs[:1], runs[1:], 9600)
    assert found.value > 0.01
    assert found.high - found.low < 0.03
    assert found.p < 0.01


def test_equal_models_on_groups_are_rarely_found_different() -> None:
    random, found = np.random.default_rng(7), 0
    for seed in range(200):
        first, second = drawn_by_groups(random, 12, 50, 0.85, 0.0)
        found += compare_pair([first], [second], 600, resamples=500, seed=seed).p < 0.05
    assert found <= stats.binom.ppf(0.99, 200, 0.05), found


def test_three_groups_that_do_not_differ_in_themselves_prove_nothing() -> None:
    groups_N = np.repeat(np.arange(3), 100)
    found = compare_pair([by_groups(np.ones(300), groups_N)], [by_groups(np.zeros(300), groups_N)], 300)
    assert found.p > 0.05
