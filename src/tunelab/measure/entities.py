"""Precision, recall and F1 of entities: one is found only with its very borders and its very type.

Tjong Kim Sang & De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task", section 2.4. All scores follow
from three counts an item and type, so that items can be resampled without looking at an entity again.
"""

# R resamples, N items (sentences), K types

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.measure.statistics import RunScore

__all__ = [
    "EntityCounts",
    "count_entities",
    "entity_score_function",
    "entity_scores",
]

#: Start, end (exclusive), type; over units or characters, the same for predictions and gold.
Entity = tuple[int, int, str]


@dataclass(frozen=True)
class EntityCounts:
    """Entities of each item and type: those found (true positives), those predicted, those in the gold."""

    types: tuple[str, ...]
    found_NK: np.ndarray
    predicted_NK: np.ndarray
    gold_NK: np.ndarray

    def only(self, kind: str) -> "EntityCounts":
        """Those of one type."""
        k = self.types.index(kind)
        found, predicted, gold = (
            table_NK[:, [k]] for table_NK in (self.found_NK, self.predicted_NK, self.gold_NK)
        )
        return EntityCounts((kind,), found, predicted, gold)


def count_entities(
    predicted: Sequence[Iterable[Entity]], gold: Sequence[Iterable[Entity]], types: Sequence[str] = ()
) -> EntityCounts:
    """Counts of N items; an entity given twice counts once, and one span may have several types.

    types: names that should have a column even where they never occur.

    >>> counts = count_entities([[(0, 2, "PER"), (3, 4, "LOC")]], [[(0, 2, "PER"), (3, 5, "LOC")]])
    >>> counts.types, counts.found_NK.tolist(), counts.gold_NK.tolist()
    (('LOC', 'PER'), [[0, 1]], [[1, 1]])
    """
    assert len(predicted) == len(gold), (len(predicted), len(gold))
    pairs = [(set(ours), set(theirs)) for ours, theirs in zip(predicted, gold, strict=True)]
    occurring = {kind for pair in pairs for entities in pair for _, _, kind in entities}
    names = tuple(sorted(occurring | set(types)))
    column = {name: k for k, name in enumerate(names)}
    found_NK, predicted_NK, gold_NK = (np.zeros((len(pairs), len(names)), dtype=np.int32) for _ in range(3))
    for n, (ours, theirs) in enumerate(pairs):
        for table_NK, entities in ((found_NK, ours & theirs), (predicted_NK, ours), (gold_NK, theirs)):
            for _, _, kind in entities:
                table_NK[n, column[kind]] += 1
    return EntityCounts(names, found_NK, predicted_NK, gold_NK)


def entity_scores(counts: EntityCounts) -> dict[str, float]:
    """f1, precision, recall (micro: over all entities), the macro ones, `f1(type)` and so on of every type.

    0 / 0 is 0, as in seqeval. A type with neither gold nor predicted entities is left out of the means and of
    the list.

    >>> counts = count_entities([[(0, 2, "PER"), (3, 4, "LOC")]], [[(0, 2, "PER"), (3, 5, "LOC")]])
    >>> scores = entity_scores(counts)
    >>> scores["f1"], scores["macro_f1"], scores["f1(PER)"], scores["recall(LOC)"]
    (0.5, 0.5, 1.0, 0.0)
    """
    sums = [
        table.sum(0).astype(np.float64) for table in (counts.found_NK, counts.predicted_NK, counts.gold_NK)
    ]
    present_K = (sums[1] + sums[2]) > 0
    by_type = {name: _ratio(name, *sums) for name in ("f1", "precision", "recall")}
    scores = {name: float(_ratio(name, *(part.sum() for part in sums))) for name in by_type}
    for name, values_K in by_type.items():
        scores[f"macro_{name}"] = float(values_K[present_K].mean()) if present_K.any() else 0.0
    for k in np.flatnonzero(present_K):
        scores.update({f"{name}({counts.types[k]})": float(values[k]) for name, values in by_type.items()})
    return scores


def entity_score_function(name: str, counts: EntityCounts) -> RunScore:
    """The score "f1", "precision", "recall", or one of them with "macro_", of one run for many item weights.

    With weights of one it is what `entity_scores` gives. A type without weighted gold or predicted entities
    is left out of a macro mean; where no entity has weight the score is 0. Texts with no entity, given or
    found, have no part in it.

    >>> counts = count_entities([[(0, 1, "PER")], [(0, 1, "PER")]], [[(0, 1, "PER")], [(0, 2, "PER")]])
    >>> entity_score_function("f1", counts)(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    which, macro = name.removeprefix("macro_"), name.startswith("macro_")
    assert which in ("f1", "precision", "recall"), name
    tables = [table.astype(np.float64) for table in (counts.found_NK, counts.predicted_NK, counts.gold_NK)]
    if not macro:
        tables = [table.sum(1, keepdims=True) for table in tables]

    def score(weights_RN: np.ndarray) -> np.ndarray:
        found_RK, predicted_RK, gold_RK = (weights_RN @ table for table in tables)
        present_RK = (predicted_RK + gold_RK) > 0
        values_RK = _ratio(which, found_RK, predicted_RK, gold_RK)
        means_R: np.ndarray = values_RK.sum(1) / np.maximum(present_RK.sum(1), 1)
        return means_R

    return RunScore(score, support_N=(tables[1] + tables[2]).sum(1) > 0)


def _ratio(name: str, found: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """found / predicted, found / gold, or their harmonic mean 2 found / (predicted + gold); 0 / 0 is 0."""
    above, below = {
        "f1": (2 * found, predicted + gold),
        "precision": (found, predicted),
        "recall": (found, gold),
    }[name]
    ratio: np.ndarray = above / np.where(below > 0, below, 1.0)
    return ratio
