"""What a tagger must beat: a list of the entities seen in training, as the baseline of CoNLL-2003 (Tjong Kim
Sang and De Meulder 2003). A phrase that had one type only is an entity wherever it stands; of phrases that
overlap the longest, from the left. Phrases that are mostly no entities in the training rows may be left out;
how many is chosen on validation."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.data.check_tags import entities_in
from tunelab.data.tags import Entity, entities_over_characters, entities_over_units
from tunelab.study.prepare import Prepared

__all__ = ["SHARES", "KnownEntities", "known_entities"]

#: How often a phrase must be an entity where it stands in the training rows.
SHARES = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class KnownEntities:
    """kinds: phrase, as its units' texts -> its type; shares: how often it was an entity where it stood."""

    kinds: Mapping[tuple[str, ...], str]
    shares: Mapping[tuple[str, ...], float]

    def within(self, share: float) -> "KnownEntities":
        """Those that were entities at least so often."""
        kept = {phrase: kind for phrase, kind in self.kinds.items() if self.shares[phrase] >= share}
        return KnownEntities(kept, self.shares)

    def __len__(self) -> int:
        return len(self.kinds)

    def labels(self, prepared: Prepared, items: np.ndarray) -> list[str]:
        """The entities found in these items, as their labels would be written."""
        sizes, found = _sizes(self.kinds), []
        for parts, spans, _ in _items(prepared, items):
            entities = [(a, b, self.kinds[parts[a:b]]) for a, b in _matches(parts, self.kinds, sizes)]
            found.append(json.dumps(entities_over_characters(entities, spans), ensure_ascii=False))
        return found


def known_entities(prepared: Prepared, train: np.ndarray) -> KnownEntities:
    """The list of these rows' entities."""
    rows = list(_items(prepared, train))
    kinds: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for parts, _, entities in rows:
        for start, end, kind in entities:
            kinds[parts[start:end]].add(kind)
    sure = {phrase: next(iter(own)) for phrase, own in kinds.items() if len(own) == 1}
    sizes, stood, was = _sizes(sure), Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for parts, _, entities in rows:
        marked = {(start, end) for start, end, _ in entities}
        for start, end in _matches(parts, sure, sizes):
            stood[parts[start:end]] += 1
            was[parts[start:end]] += (start, end) in marked
    # (A phrase that only ever stood within a longer one says nothing against itself.)
    return KnownEntities(
        sure, {phrase: was[phrase] / stood[phrase] if stood[phrase] else 1.0 for phrase in sure}
    )


def _items(
    prepared: Prepared, items: Iterable[int]
) -> Iterable[tuple[tuple[str, ...], list[tuple[int, int]], list[Entity]]]:
    """Of each item its units' texts, their places, and its entities over units."""
    frame, units = prepared.table.frame, prepared.encoded.units
    assert units is not None
    texts, labels = frame["text"].tolist(), frame["label"].tolist()
    for item in items:
        spans = [(int(a), int(b)) for a, b in units.spans[units.of(int(item))]]
        parts = tuple(texts[item][a:b] for a, b in spans)
        yield parts, spans, entities_over_units(entities_in(labels[item]), spans)[0]


def _sizes(phrases: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], list[int]]:
    """First two parts (of one alone: it) -> how long phrases with them are, the longest first."""
    sizes: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for phrase in phrases:
        sizes[phrase[:2]].add(len(phrase))
    return {begin: sorted(own, reverse=True) for begin, own in sizes.items()}


def _matches(
    parts: tuple[str, ...],
    known: Mapping[tuple[str, ...], str],
    sizes: Mapping[tuple[str, ...], Sequence[int]],
) -> Iterable[tuple[int, int]]:
    """The longest known phrases from the left, none over another. sizes: as `_sizes` gives them.

    >>> known = {("New", "York"): "LOC", ("York",): "LOC"}
    >>> list(_matches(("New", "York", "Times", "in", "York"), known, _sizes(known)))
    [(0, 2), (4, 5)]
    >>> longer = {("New", "York"): "LOC", ("New", "York", "Times"): "ORG"}
    >>> list(_matches(("in", "New", "York"), longer, _sizes(longer)))
    [(1, 3)]
    """
    at = 0
    while at < len(parts):
        some = (*sizes.get(parts[at : at + 2], ()), *sizes.get(parts[at : at + 1], ()))
        ends = (at + size for size in some if at + size <= len(parts))
        end = next((end for end in ends if parts[at:end] in known), None)
        if end is not None:
            yield at, end
        at = end or at + 1
