"""Entity scores against seqeval, and the score over weights against the counting of repeated items."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import (  # type: ignore[import-untyped]
    get_entities,
)
from seqeval.metrics.sequence_labeling import (
    precision_recall_fscore_support as default_scores,
)
from seqeval.metrics.v1 import (  # type: ignore[import-untyped]
    precision_recall_fscore_support as strict_scores,
)
from seqeval.scheme import BILOU, IOB2, IOBES, Entities  # type: ignore[import-untyped]

from tunelab.data.tags import entities_of, labels_of
from tunelab.measure.entities import count_entities, entity_score_function, entity_scores
from tunelab.measure.statistics import counted, mean_interval

TYPES = ["LOC", "ORG", "PER"]
NAMES = ["precision", "recall", "f1"]


def drawn(seed: int, scheme: str, items: int = 60) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags, both of any labels at all, valid or not; predictions are mostly right."""
    dice, labels = random.Random(seed), labels_of(TYPES, scheme)
    gold = [
        [dice.choice(labels) if dice.random() < 0.6 else "O" for _ in range(dice.randint(1, 12))]
        for _ in range(items)
    ]
    return gold, [[dice.choice(labels) if dice.random() < 0.15 else tag for tag in tags] for tags in gold]


def scored(gold: list[list[str]], predicted: list[list[str]], scheme: str, strict: bool) -> dict[str, float]:
    ours, theirs = ([entities_of(tags, scheme, strict=strict) for tags in side] for side in (predicted, gold))
    return entity_scores(count_entities(ours, theirs))


def assert_same(ours: dict[str, float], theirs: Callable[..., Any]) -> None:
    for average, prefix in (("micro", ""), ("macro", "macro_")):
        for name, value in zip(NAMES, theirs(average=average), strict=False):
            assert ours[prefix + name] == pytest.approx(value), prefix + name
    for name, values in zip(NAMES, theirs(average=None), strict=False):
        assert [ours[f"{name}({kind})"] for kind in TYPES] == pytest.approx(list(values))


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BMES", "IOBES", "BILOU"])
def test_default_reading_is_that_of_seqeval(scheme: str) -> None:
    """seqeval's default mode knows the letters B, I, E, S: the others are written so for it."""
    letters = str.maketrans("MLU", "IES")
    for seed in range(5):
        gold, predicted = drawn(seed, scheme)
        told = [
            [[tag[0].translate(letters) + tag[1:] for tag in tags] for tags in side]
            for side in (gold, predicted)
        ]
        for tags, theirs in zip(gold, told[0], strict=True):
            chunks = [(start, last + 1, kind) for kind, start, last in get_entities(theirs)]
            assert entities_of(tags, scheme) == chunks
        ours = scored(gold, predicted, scheme, strict=False)
        assert_same(ours, lambda average, told=told: default_scores(*told, average=average, zero_division=0))


@pytest.mark.parametrize(("scheme", "theirs"), [("BIO", IOB2), ("IOBES", IOBES), ("BILOU", BILOU)])
def test_strict_reading_is_that_of_seqeval(scheme: str, theirs: type) -> None:
    for seed in range(5):
        gold, predicted = drawn(seed, scheme)
        for tags, found in zip(gold, Entities(gold, theirs).entities, strict=True):
            expected = [(entity.start, entity.end, entity.tag) for entity in found]
            assert entities_of(tags, scheme, strict=True) == expected, tags
        ours = scored(gold, predicted, scheme, strict=True)
        assert_same(
            ours,
            lambda average, gold=gold, predicted=predicted: strict_scores(
                gold, predicted, average=average, zero_division=0, scheme=theirs
            ),
        )


def test_f1_by_hand() -> None:
    """Three predicted, two in the gold, one of them right: P = 1/3, R = 1/2, F1 = 2 * 1 / (3 + 2) = 0.4.

    LOC: none of 1 predicted, no gold: F1 0. PER: 1 of 2 predicted, 2 gold, F1 1/2; their mean is 1/4. ORG has a
    column, but neither: left out.
    """
    predicted = [[(0, 2, "PER"), (2, 3, "PER")], [(0, 1, "LOC")]]
    gold = [[(0, 2, "PER"), (2, 4, "PER")], []]
    scores = entity_scores(count_entities(predicted, gold, TYPES))
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["recall"] == pytest.approx(1 / 2)
    assert scores["f1"] == pytest.approx(0.4)
    assert scores["macro_f1"] == pytest.approx(0.25)
    assert "f1(ORG)" not in scores


def test_nothing_to_find_and_nothing_found_is_zero() -> None:
    scores = entity_scores(count_entities([[]], [[]]))
    assert set(scores.values()) == {0.0}
    assert entity_score_function("macro_f1", count_entities([[]], [[]]))(np.ones((2, 1))).tolist() == [
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("name", [*NAMES, *(f"macro_{name}" for name in NAMES)])
def test_weights_are_how_often_an_item_counts(name: str) -> None:
    """The score of resampled items is the score of a list in which they are repeated."""
    gold, predicted = ([entities_of(tags, "BIO") for tags in side] for side in drawn(1, "BIO", items=8))
    score = entity_score_function(name, count_entities(predicted, gold, ["NEVER"]))
    weights_RN = np.random.default_rng(0).integers(3, size=(50, 8)).astype(float)
    weights_RN[0], weights_RN[1] = 1, 0
    for weights_N, value in zip(weights_RN, score(weights_RN), strict=True):
        order = np.repeat(np.arange(8), weights_N.astype(int))
        repeated = count_entities([predicted[n] for n in order], [gold[n] for n in order])
        assert value == pytest.approx(entity_scores(repeated)[name])


def test_the_verdict_can_resample_it() -> None:
    """The interval of one run holds its score; twenty times the items make it about sqrt(20) as narrow."""
    widths = []
    for items in (60, 1200):
        gold, predicted = ([entities_of(tags, "BIO") for tags in side] for side in drawn(1, "BIO", items))
        counts = count_entities(predicted, gold)
        value, low, high = mean_interval([entity_score_function("f1", counts)], items, resamples=500)
        assert value == pytest.approx(entity_scores(counts)["f1"])
        assert low < value < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(20**0.5, rel=0.25)


def test_texts_without_entities_make_nothing_surer() -> None:
    """A type found in three texts of three: as (un)sure among 1,000 texts that have none as alone."""
    found = [[(0, 1, "PER")]] * 3
    alone = mean_interval([entity_score_function("f1", count_entities(found, found))], 3)
    among = found + [[]] * 997
    widened = mean_interval([entity_score_function("f1", count_entities(among, among))], 1000)
    assert widened == pytest.approx(alone)
    assert widened[1] < 0.6


def test_texts_of_one_group_are_one_thing() -> None:
    """Forty texts with an entity in four groups, sixty without one in groups of their own: four things."""
    found = [[(0, 1, "PER")]] * 40 + [[]] * 60
    score = entity_score_function("f1", count_entities(found, found))
    assert counted([score], 100) == 40
    score.groups_N = np.r_[np.arange(40) // 10, np.arange(4, 64)]
    assert counted([score], 100) == 4
