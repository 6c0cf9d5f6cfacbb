"""Whether new training rows helped: every method with and without them, on the same test rows.

Three families of tests, each with a correction of its own: all methods together (one test, the question that
was asked), each method (Holm over methods), each class of each method (Holm over all of those). The groups of
the table rest on all pairs of the study and are stricter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tunelab.measure.pairs import Comparison, SeedPool, compare_pair, holm, lost_seeds, seed_pool
from tunelab.measure.statistics import RunScore, mean_interval, spread_of
from tunelab.records import Augmentation, AugmentEffect, ClassEffect, Copy, Interval
from tunelab.study.augmented import examples_of
from tunelab.study.candidates import Candidate
from tunelab.study.predictions import Judged
from tunelab.study.prepare import Prepared
from tunelab.tasks.base import Task

__all__ = ["augmentation_of", "effects_of"]

_ALPHA = 0.05
_RESAMPLES = 2000  # as everywhere: draws that are known are not drawn again
_MOST_TESTS = 400  # classes of all methods: of more the classes are not tested one by one


def augmentation_of(
    prepared: Prepared,
    task: Task,
    entries: Sequence[Candidate],
    found: Sequence[Judged],
    pool: SeedPool | None,
    seeded: bool = False,
) -> Augmentation:
    """What the record says of a study's new rows; prepared: with them; pool: of the study's seeds."""
    copies = prepared.copies
    assert copies is not None
    overall, effects = effects_of({e.name: e.plain for e in entries if e.plain}, found, pool, seeded)
    rows = prepared.split(0).train
    return Augmentation(
        recipe=copies.recipe,
        rows=len(rows),
        copies=len(copies.of((0, 1.0), rows)),
        asked=copies.asked,
        lost=dict(copies.lost or {}),
        examples=tuple(
            Copy(original=before, changed=after, label=task.shown(label))
            for before, after, label in examples_of(prepared, task.name)
        ),
        overall=overall,
        effects=effects,
    )


def effects_of(
    plain_of: Mapping[str, str],
    found: Sequence[Judged],
    pool: SeedPool | None,
    seeded: bool = False,
) -> tuple[AugmentEffect | None, tuple[AugmentEffect, ...]]:
    """(all methods together, each by itself); plain_of: row of the table -> the one without new rows. Where
    one of the two is missing the method is left out. seeded: the study has several seeds of each."""
    by_name = {judged.name: judged for judged in found}
    pairs = [
        (by_name[plain], by_name[new])
        for new, plain in plain_of.items()
        if new in by_name and plain in by_name
    ]
    if not pairs:
        return None, ()
    items = found[0].items
    both = (seeded, seeded)
    tests = [compare_pair(new.scores, plain.scores, items, pool=pool, seeded=both) for plain, new in pairs]
    classes = _classes(pairs, items, seeded)
    effects = tuple(
        _effect(plain.name, new.name, test, p, of_class)
        for (plain, new), test, p, of_class in zip(
            pairs, tests, holm([test.p for test in tests]), classes, strict=True
        )
    )
    return _together(pairs, items, pool), effects


def _effect(
    plain: str, new: str, test: Comparison, p_holm: float, classes: tuple[ClassEffect, ...] = ()
) -> AugmentEffect:
    return AugmentEffect(
        plain=plain,
        augmented=new,
        difference=_interval((test.value, test.low, test.high)),
        p=test.p,
        p_holm=p_holm,
        different=p_holm < _ALPHA,
        classes=classes,
    )


def _together(
    pairs: Sequence[tuple[Judged, Judged]], items: int, pool: SeedPool | None
) -> AugmentEffect | None:
    """The mean over the methods; each seed's is a run of its own, so whatever they have in common counts. The
    variance between such runs is a mean's: that of one method's runs over their number."""
    if len(pairs) < 2:
        return None
    seeds = max(len(judged.scores) for pair in pairs for judged in pair)
    pairs = [pair for pair in pairs if all(len(judged.scores) == seeds for judged in pair)]
    if not pairs:
        return None
    first, second = (
        [_mean([pair[side].scores[seed] for pair in pairs]) for seed in range(seeds)] for side in (1, 0)
    )
    shared = None if pool is None else replace(pool, variance=pool.variance / len(pairs))
    test = compare_pair(first, second, items, pool=shared)
    return _effect("", "", test, test.p)


def _mean(runs: Sequence[RunScore]) -> RunScore:
    def score(weights_RN: np.ndarray) -> np.ndarray:
        found_R: np.ndarray = np.mean([run(weights_RN) for run in runs], axis=0)
        return found_R

    found = RunScore(score, bounds=runs[0].bounds)
    found.groups_N = runs[0].groups_N
    return found


def _classes(
    pairs: Sequence[tuple[Judged, Judged]], items: int, seeded: bool
) -> list[tuple[ClassEffect, ...]]:
    """Of each pair, every class that some test item has, or is said to have; none where answers have no
    classes, or there are too many to test."""
    labels = [list(plain.class_runs() | new.class_runs()) for plain, new in pairs]
    if sum(map(len, labels)) > _MOST_TESTS:
        return [() for _ in pairs]
    runs = [run for pair in pairs for judged in pair for part in judged.parts for run in part.values()]
    if runs:  # items are drawn once for all of them
        spread_of(runs, items, _RESAMPLES, 0)
    pool = _class_pool([judged for pair in pairs for judged in pair if judged.parts], items)
    tested = []
    for (plain, new), own in zip(pairs, labels, strict=True):
        for label in own:
            before, after = _runs(plain, label), _runs(new, label)
            test = compare_pair(after, before, items, pool=pool, seeded=(seeded, seeded))
            tested.append((label, before, after, test))
    lost = lost_seeds((), pool) if seeded else None
    corrected = iter(zip(tested, holm([test.p for *_, test in tested]), strict=True))
    return [tuple(_class(*next(corrected), items, lost) for _ in own) for own in labels]


def _class_pool(found: Sequence[Judged], items: int) -> SeedPool | None:
    """What all classes of all methods say about the variance between runs: with two seeds one class in a few
    seems steady by luck. The classes of a run are no runs of their own, so they bring no degrees."""
    pool = seed_pool([_runs(judged, label) for judged in found for label in judged.parts[0]], items)
    if pool is None:
        return None
    degrees = float(sum(len(judged.parts) - 1 for judged in found))
    return replace(pool, freedom=min(pool.freedom, degrees), total=degrees)


def _runs(judged: Judged, label: str) -> list[RunScore]:
    return [part[label] for part in judged.parts]


def _class(
    tested: tuple[str, list[RunScore], list[RunScore], Comparison],
    p_holm: float,
    items: int,
    lost: tuple[float, float] | None,
) -> ClassEffect:
    label, before, after, test = tested
    return ClassEffect(
        label=label,
        plain_score=_interval(mean_interval(before, items, lost=lost)),
        augmented_score=_interval(mean_interval(after, items, lost=lost)),
        difference=_interval((test.value, max(test.low, -1.0), min(test.high, 1.0))),
        p_holm=p_holm,
        different=p_holm < _ALPHA,
    )


def _interval(limits: tuple[float, float, float]) -> Interval:
    return Interval(value=limits[0], low=limits[1], high=limits[2])
