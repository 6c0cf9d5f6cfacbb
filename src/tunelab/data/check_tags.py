"""The data doctor on entities: what is missing, rare, crossed or badly bordered; and units of texts."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from tunelab.data.conll import UNSPACED
from tunelab.data.findings import Finding, Patient, Severity, found, listing, percent, rows_of
from tunelab.data.layout import Encoded
from tunelab.data.table import Table
from tunelab.data.tags import Entity, entities_over_units

__all__ = ["check_fit", "check_tags", "entities_in", "split_units"]

_FEW_IN_ALL = 20
#: A type with fewer entities than this cannot be judged, and hardly learnt.
_RARE = 10
#: Share of the entities that a model's tokens may fail to express before it is no model for these texts.
_TOO_MANY_LOST = 0.5

_BY_CHARACTER = re.compile(r"\S")
#: Characters of scripts without spaces one by one, other letters and digits together, the rest one by one.
_PIECE = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\w)+|[^\w\s]")
_RUN = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")
#: Letters of a tag and of what it is read as, as conll.py writes them.
_CHANGED = re.compile(r"(\w)\S*→(\w)")
_EDGES = re.compile(r"(?P<before>[^\w\s]*)(?P<word>.*?)(?P<after>[^\w\s]*)", re.DOTALL)


def split_units(text: str, rule: str) -> list[tuple[int, int]]:
    """The units of a text, where none are given: what labels are predicted for.

    rule: "characters", all but blanks; "pieces", words without any punctuation in them; "words", as people
    cut them who label words: punctuation at their ends stands alone.

    >>> [t[a:b] for t in ["Mr. O'Neil's, 北京"] for a, b in split_units(t, "words")]
    ['Mr', '.', "O'Neil's", ',', '北', '京']
    >>> [t[a:b] for t in ["O'Neil's"] for a, b in split_units(t, "pieces")]
    ['O', "'", 'Neil', "'", 's']
    """
    if rule == "words":
        return [span for run in _RUN.finditer(text) for span in _edged(run)]
    pattern = _BY_CHARACTER if rule == "characters" else _PIECE
    return [match.span() for match in pattern.finditer(text)]


def _edged(run: re.Match[str]) -> Iterator[tuple[int, int]]:
    """A word, and the punctuation before and after it one by one."""
    parts = _EDGES.fullmatch(run[0])
    assert parts is not None
    first = run.start()
    for name in ("before", "word", "after"):
        start, end = parts.span(name)
        if name == "word" and start < end:
            yield first + start, first + end
        elif name != "word":
            yield from ((first + i, first + i + 1) for i in range(start, end))


def entities_in(label: str) -> list[Entity]:
    """The entities that a label's JSON holds; none where it is empty.

    >>> entities_in('[[0, 3, "PER"]]'), entities_in("")
    ([(0, 3, 'PER')], [])
    """
    return [(int(start), int(end), str(kind)) for start, end, kind in json.loads(label)] if label else []


def check_tags(p: Patient) -> list[Finding]:
    """Findings on the entities of the usable rows."""
    rows = np.flatnonzero(p.usable)
    if len(rows) < _FEW_IN_ALL:
        title = f"Only {rows_of(len(rows))} with a text; a comparison needs at least {_FEW_IN_ALL}."
        advice = "Label more rows: a few hundred sentences give a first answer."
        return [found(p.table, "too-few-rows", "error", title, advice=advice, count=len(rows), examples=())]
    entities = {int(row): entities_in(str(p.labels[row])) for row in rows}
    if not any(entities.values()):
        title = f"No entity is marked in any of the {rows_of(len(rows))}."
        advice = "Look at the column of the tags: --label NAME (a number from 1 where there is no header)."
        return [found(p.table, "no-entities", "error", title, rows, advice, examples=())]
    return [
        *_types(p, entities),
        *_broken(p),
        *_crossed(p, entities),
        *_bordered(p, entities),
        *_without(p, entities),
    ]


def _types(p: Patient, entities: dict[int, list[Entity]]) -> list[Finding]:
    parts = {str(part) for part in p.splits if part} or {""}
    counts = {part: Counter[str]() for part in parts}
    for row, own in entities.items():
        counts[str(p.splits[row])].update(kind for _, _, kind in own)
    training = counts.get("train", counts.get("", Counter()))
    every = sum(counts.values(), Counter[str]())
    findings = []
    unseen = sorted(kind for kind in every if kind not in training)
    if unseen:
        rows = [row for row, own in entities.items() if any(kind in unseen for _, _, kind in own)]
        title = (
            f"{len(unseen)} {'type is' if len(unseen) == 1 else 'types are'} not in the training part: "
            f"{listing(unseen)}."
        )
        advice = (
            "No method can learn them; look whether they are misspelt, or merge the files and split anew."
        )
        findings.append(found(p.table, "unseen-type", "warning", title, rows, advice))
    rare = sorted((kind for kind in every if 0 < training[kind] < _RARE), key=lambda kind: training[kind])
    if rare:
        named = ", ".join(f"{kind!r} ({training[kind]})" for kind in rare[:5])
        title = f"{len(rare)} of {len(every)} types have fewer than {_RARE} entities to learn from: {named}."
        advice = "Their scores will be little more than chance; label more of them, or merge types."
        findings.append(found(p.table, "rare-type", "warning", title, advice=advice, count=len(rare)))
    return findings


def _broken(p: Patient) -> list[Finding]:
    """Tags that their scheme does not write, as an inner one without a first one."""
    if "broken" not in p.table.frame:
        return []
    cells = p.table.frame["broken"].tolist()
    rows = [int(row) for row in np.flatnonzero(p.usable) if cells[row]]
    if not rows:
        return []
    changes = Counter(pair for row in rows for pair in _CHANGED.findall(cells[row]))
    told = ", ".join(f"{count:,} {old}- read as {new}-" for (old, new), count in changes.most_common())
    title = (
        f"{rows_of(len(rows))} ({percent(len(rows) / p.usable.sum())}) {'has' if len(rows) == 1 else 'have'} "
        f"tags that break the rules of their scheme ({told})."
    )
    advice = (
        "They are read as conlleval reads them, which need not be what was meant: look whether a tag is "
        "missing, or of another type than the one before it."
    )
    return [found(p.table, "broken-tags", "warning", title, rows, advice, show=cells.__getitem__)]


def _crossed(p: Patient, entities: dict[int, list[Entity]]) -> list[Finding]:
    rows = [
        row
        for row, own in entities.items()
        if any(a[1] > b[0] for a, b in zip(sorted(own), sorted(own)[1:], strict=False))
    ]
    if not rows:
        return []
    title = f"{rows_of(len(rows))} {'has' if len(rows) == 1 else 'have'} entities that overlap."
    advice = (
        "Each unit gets one label: of two that overlap the one that begins first is learnt (the longer, "
        "where both do), and the other counts as missed. Keep one of them where you can."
    )
    return [found(p.table, "overlapping-entities", "warning", title, rows, advice)]


def _bordered(p: Patient, entities: dict[int, list[Entity]]) -> list[Finding]:
    rows = [
        row
        for row, own in entities.items()
        if any(p.texts[row][start:end] != p.texts[row][start:end].strip() for start, end, _ in own)
    ]
    if not rows:
        return []
    title = (
        f"{rows_of(len(rows))} {'has' if len(rows) == 1 else 'have'} entities that begin or end at a blank."
    )
    advice = (
        "A prediction never includes it, so these count as missed; take the blanks off (often all ends are "
        "one too far: data.ends=)."
    )
    return [found(p.table, "entity-at-blank", "warning", title, rows, advice)]


def _without(p: Patient, entities: dict[int, list[Entity]]) -> list[Finding]:
    bare = sum(not own for own in entities.values())
    if bare < 0.9 * len(entities):
        return []
    title = f"{rows_of(bare)} ({percent(bare / len(entities))}) have no entity at all."
    advice = (
        "That is fine where it is so in use too; otherwise sample fewer of them, training will be faster."
    )
    return [found(p.table, "few-with-entities", "info", title, advice=advice, count=bare, examples=())]


def check_fit(table: Table, encoded: Encoded) -> list[Finding]:
    """Entities that the units, or a model's tokens, cannot express: they are missed whatever is learnt."""
    units = encoded.units
    assert units is not None
    begins, ends = (np.isin(np.arange(len(units.spans)), which) for which in units.spoken())
    cut, gone, within, count = [], [], [], 0
    for row, label in enumerate(table.frame["label"].tolist()):
        own = entities_in(label)
        count += len(own)
        which = units.of(row)
        taken, misfits = entities_over_units(own, [(int(a), int(b)) for a, b in units.spans[which]])
        cut += [row] * sum(misfit.reason != "overlap" for misfit in misfits)
        for start, end, _ in taken:
            first, last = which.start + start, which.start + end - 1
            if min(units.tokens[first], units.tokens[last]) < 0:
                gone.append(row)
            elif not (begins[first] and ends[last]):
                within.append(row)
    return [*_cut(table, cut, count), *_gone(table, gone, count), *_within(table, within, count)]


def _cut(table: Table, rows: Sequence[int], count: int) -> list[Finding]:
    if not rows:
        return []
    title = f"{_told(rows, count)} begin or end inside a word."
    advice = "Words are labelled whole, so these can never be found exactly; look at their places."
    return [
        _of(table, "entity-cuts-word", title, rows, advice, "warning" if len(rows) > 0.05 * count else "info")
    ]


def _gone(table: Table, rows: Sequence[int], count: int) -> list[Finding]:
    if not rows:
        return []
    title = f"{_told(rows, count)} begin or end with characters that the tokenizer drops."
    advice = "They cannot be found with this model, and count as missed; another tokenizer may keep them."
    return [_of(table, "entity-not-tokenized", title, rows, advice, _severity(rows, count))]


def _within(table: Table, rows: Sequence[int], count: int) -> list[Finding]:
    if not rows:
        return []
    title = (
        f"{_told(rows, count)} begin or end within a token of this model, which holds more than one of the "
        "labelled units."
    )
    advice = (
        "They cannot be found exactly with this model, and count as missed; one with smaller tokens, or with "
        "tokens that end where words do, can."
    )
    return [_of(table, "entity-within-token", title, rows, advice, _severity(rows, count))]


def _told(rows: Sequence[int], count: int) -> str:
    return f"{len(rows):,} of {count:,} entities ({percent(len(rows) / count)})"


def _severity(rows: Sequence[int], count: int) -> Severity:
    return "error" if len(rows) > _TOO_MANY_LOST * count else "warning"


def _of(table: Table, code: str, title: str, rows: Sequence[int], advice: str, severity: Severity) -> Finding:
    return found(table, code, severity, title, list(dict.fromkeys(rows)), advice, count=len(rows))
