"""Tags of words or characters, the entities they spell, and the rules of the schemes they are written in.

A scheme marks where an entity stands by a letter before its type, `B-PER`:

    scheme   first  inside  last  alone   source
    BIO      B      I       I     B       "IOB2", Ratnaparkhi 1998
    IOB1     I*     I       I     I*      Ramshaw & Marcus 1995; *B right after one of the same type
    BMES     B      M       E     S       Xue 2003 (Chinese words); also called BMEO
    IOBES    B      I       E     S       also called BIOES
    BILOU    B      I       L     U       Ratinov & Roth 2009

Reading is that of conlleval (Tjong Kim Sang & De Meulder 2003) and of seqeval's default mode, whatever breaks
the rules: an entity begins at a letter for a first or lone unit, or where the type differs from the one
before, or after a last or lone unit, or after O; it ends before the next one begins, before O, and after a
letter for a last or lone unit. With `strict` an entity counts only if its tags are what the scheme writes,
which is seqeval's `mode="strict"`.

A tag is "O", a letter and a type ("B-PER", "B_PER"), or a letter alone ("B"), whose type is called "entity".
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from tunelab.data.findings import listing
from tunelab.errors import DataError, did_you_mean

__all__ = [
    "SCHEMES",
    "UNTYPED",
    "Entity",
    "Forbidden",
    "Misfit",
    "Recognised",
    "Repairs",
    "entities_of",
    "entities_over_characters",
    "entities_over_units",
    "forbidden",
    "labels_of",
    "recognise",
    "repairs",
    "tags_of",
]

#: Start and end (exclusive) in units or in characters, and the type.
Entity = tuple[int, int, str]

#: Scheme -> its letters for the first, an inner, the last and a lone unit.
SCHEMES = {"BIO": "BIIB", "IOB1": "IIII", "BMES": "BMES", "IOBES": "BIES", "BILOU": "BILU"}

#: The type of entities whose tags name none.
UNTYPED = "entity"

#: What a letter means in every scheme that has it, as the letters of IOBES.
_ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}

#: Share of entities that may begin as in the other scheme before the scheme is in doubt; `repairs` tells all.
_SLIPS = 0.01


@lru_cache(maxsize=65536)
def _parse(tag: str) -> tuple[str, str]:
    """Letter and type; ("O", "") outside. Raises `DataError`.

    >>> _parse("I-creative-work"), _parse("E_ORG"), _parse("S"), _parse("O")
    (('I', 'creative-work'), ('E', 'ORG'), ('S', 'entity'), ('O', ''))
    """
    if tag == "O":
        return "O", ""
    if tag in _ROLES:
        return tag, UNTYPED
    if len(tag) > 2 and tag[0] in _ROLES and tag[1] in "-_":
        return tag[0], tag[2:]
    raise DataError(
        f"{tag!r} is no tag: allowed are O and a letter ({', '.join(_ROLES)}) with a type, as in 'B-PER'. "
        "Write single labels as entities of their own, 'PER' as 'I-PER'."
    )


@dataclass(frozen=True)
class Recognised:
    """The scheme of a file, and in plain words what speaks against it; no doubts where nothing does."""

    scheme: str
    doubts: tuple[str, ...]


def recognise(sequences: Sequence[Sequence[str]]) -> Recognised:
    """The scheme that a list of tag sequences (sentences) is written in.

    Letters decide first; between BIO and IOB1, which share theirs, how entities begin. Raises `DataError` for
    what is no tag, and for letters that no scheme has together.

    >>> recognise([["B-PER", "I-PER", "O"], ["O", "B-LOC"]])
    Recognised(scheme='BIO', doubts=())
    >>> recognise([["I-PER", "B-PER", "O"]]).scheme, recognise([["S", "B", "M", "E"]]).scheme
    ('IOB1', 'BMES')
    """
    counts = _counted(sequences)
    letters = Counter[str]()
    for tag, count in counts.items():
        letters[_parse(tag)[0]] += count
    used = set(letters) - {"O"}
    doubts = _doubtful_types(counts)
    if not used:
        return Recognised("BIO", (*doubts, "no entity is marked anywhere: all tags are O"))
    if used <= {"B", "I"}:
        scheme, doubt = _bio_or_iob1(sequences)
        return Recognised(scheme, doubts + doubt)
    scheme = _with_ends(used, letters)
    if not used & set("BSU"):
        doubts = (*doubts, "no entity is marked as beginning: they are taken to begin after O or another one")
    broken = repairs(sequences, scheme)
    if 2 * broken.sequences > broken.tagged:
        doubts = (*doubts, f"{broken.sequences:,} of {broken.tagged:,} sentences break the rules of {scheme}")
    return Recognised(scheme, doubts)


def _counted(sequences: Sequence[Sequence[str]]) -> Counter[str]:
    """How often each tag occurs; all that are none are told at once, with where the first of them stands."""
    counts = Counter(tag for tags in sequences for tag in tags)
    wrong: list[str] = []
    reason = ""
    for tag in counts:
        try:
            _parse(tag)
        except DataError as error:
            wrong.append(tag)
            reason = reason or str(error)
    if not wrong:
        return counts
    row, column = next((r, tags.index(wrong[0])) for r, tags in enumerate(sequences) if wrong[0] in tags)
    others = f" Others that are none: {listing(wrong[1:])}." if wrong[1:] else ""
    raise DataError(f"sentence {row + 1}, unit {column + 1}: {reason}{others}")


def _doubtful_types(counts: Counter[str]) -> tuple[str, ...]:
    """Several labels in one tag, as in WNUT 17's raw test file: 'B-person,B-group'."""
    several = [
        tag for tag in counts if any(f"{mark}{letter}-" in tag[1:] for mark in ",|;/+" for letter in _ROLES)
    ]
    if not several:
        return ()
    number = sum(counts[tag] for tag in several)
    return (f"{number:,} tags hold several labels, each taken as one type of its own: {listing(several)}",)


def _with_ends(used: set[str], letters: Counter[str]) -> str:
    """BMES, IOBES or BILOU, by their letters."""
    for scheme in ("IOBES", "BMES", "BILOU"):
        if used <= set(SCHEMES[scheme]):
            return scheme
    found = ", ".join(f"{letter} {letters[letter]:,} times" for letter in sorted(used))
    allowed = "; ".join(f"{scheme} {', '.join(_allowed(scheme))}" for scheme in SCHEMES if scheme != "IOB1")
    raise DataError(
        f"the tags mix the letters of several schemes: {found}. A file may use those of one: {allowed}. "
        "Look at the rarest letter first: it may be a slip."
    )


def _bio_or_iob1(sequences: Sequence[Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    """In BIO every entity begins with B; in IOB1 only one that follows another of its type."""
    by_i = by_b = needed = 0  # needed: B that both schemes ask for
    for tags in sequences:
        parsed = [_parse(tag) for tag in tags]
        for start, _, kind in entities_of(tags, "BIO"):
            follows = start > 0 and parsed[start - 1][1] == kind
            by_i += parsed[start][0] == "I"
            by_b += parsed[start][0] == "B" and not follows
            needed += follows
    if by_i == 0:
        return "BIO", ()
    if by_b == 0 and needed:
        return "IOB1", ()
    if by_b == 0:
        return "IOB1", ("only I- tags: neighbouring entities of one type, if there are any, read as one",)
    scheme = "BIO" if by_b >= by_i else "IOB1"
    if min(by_b, by_i) <= _SLIPS * (by_b + by_i):
        return scheme, ()
    doubt = f"{by_i:,} entities begin with I-, {by_b:,} with B- where IOB1 has I-: taken as {scheme}"
    return scheme, (doubt,)


def entities_of(tags: Sequence[str], scheme: str, *, strict: bool = False) -> list[Entity]:
    """The entities that tags spell, over units; raises `DataError` for what is no tag of the scheme.

    >>> entities_of(["B-PER", "I-PER", "I-LOC", "O"], "BIO")
    [(0, 2, 'PER'), (2, 3, 'LOC')]
    >>> entities_of(["B-PER", "I-PER", "I-LOC", "O"], "BIO", strict=True)
    [(0, 2, 'PER')]
    """
    parsed = [_known(tag, scheme) for tag in tags]
    entities: list[Entity] = []
    start, before, kind_before = -1, "O", ""
    for i, (letter, kind) in enumerate([*parsed, ("O", "")]):
        role = _ROLES.get(letter, "O")
        begins = role in ("B", "S") or (role != "O" and (before in ("O", "E", "S") or kind != kind_before))
        if start >= 0 and (begins or role == "O" or before in ("E", "S")):
            entities.append((start, i, kind_before))
            start = -1
        if begins:
            start = i
        before, kind_before = role, kind
    if not strict:
        return entities
    written = _letters(entities, len(tags), scheme)
    return [entity for entity in entities if all(parsed[i] == written[i] for i in range(*entity[:2]))]


def tags_of(entities: Sequence[Entity], units: int, scheme: str) -> list[str]:
    """The tags of `units` units that spell these entities.

    Tags are flat: entities must not overlap. `entities_over_units` sees to it; here it is an error.

    >>> tags_of([(0, 3, "PER"), (3, 4, "PER")], 5, "IOBES")
    ['B-PER', 'I-PER', 'E-PER', 'S-PER', 'O']
    >>> tags_of([(0, 3, "PER"), (3, 4, "PER")], 5, "IOB1")
    ['I-PER', 'I-PER', 'I-PER', 'B-PER', 'O']
    """
    return [f"{letter}-{kind}" if kind else letter for letter, kind in _letters(entities, units, scheme)]


def _letters(entities: Sequence[Entity], units: int, scheme: str) -> list[tuple[str, str]]:
    """Letter and type of each unit."""
    first, inner, last, alone = tuple(SCHEMES[_scheme(scheme)])
    tags = [("O", "")] * units
    reached = 0
    for start, end, kind in sorted(entities):
        assert kind
        assert reached <= start < end <= units, (start, end, kind, units)
        letters = [alone] if end - start == 1 else [first, *[inner] * (end - start - 2), last]
        if scheme == "IOB1" and start > 0 and tags[start - 1][1] == kind:
            letters[0] = "B"
        tags[start:end] = [(letter, kind) for letter in letters]
        reached = end
    return tags


def _known(tag: str, scheme: str) -> tuple[str, str]:
    letter, kind = _parse(tag)
    if letter not in _allowed(scheme):
        raise DataError(f"{tag!r} is no tag of {scheme}, which has {', '.join(_allowed(scheme))}.")
    return letter, kind


@lru_cache
def _allowed(scheme: str) -> str:
    """The letters of a scheme; IOB1 also has a B.

    >>> _allowed("BIO"), _allowed("IOB1")
    ('BIO', 'BIO')
    """
    return "".join(dict.fromkeys("B" + SCHEMES[_scheme(scheme)] + "O"))


def _scheme(name: str) -> str:
    if name not in SCHEMES:
        raise DataError(f"unknown tagging scheme {name!r}; {did_you_mean(name, SCHEMES)}")
    return name


@dataclass(frozen=True)
class Repairs:
    """Where tags break their scheme's rules, and what they are read as.

    sequences: sentences with a broken rule, of `tagged` with any entity; changes: (letter found, letter it is
    read as) -> units, such as ("I", "B"): an inner unit without a beginning is taken as one; rows: positions
    of the sentences.

    >>> repairs([["O", "I-PER"], ["B-PER", "O"]], "BIO")
    Repairs(sequences=1, tagged=2, changes={('I', 'B'): 1}, rows=(0,))
    """

    sequences: int
    tagged: int
    changes: dict[tuple[str, str], int]
    rows: tuple[int, ...]


def repairs(sequences: Sequence[Sequence[str]], scheme: str) -> Repairs:
    """Compares tags with what the scheme writes for the entities they are read as.

    They are the same exactly where no rule is broken (see `forbidden`).
    """
    changes = Counter[tuple[str, str]]()
    rows, tagged = [], 0
    for row, tags in enumerate(sequences):
        entities = entities_of(tags, scheme)
        tagged += bool(entities)
        written = _letters(entities, len(tags), scheme)
        changed = [(_parse(tag)[0], new) for tag, (new, _) in zip(tags, written, strict=True)]
        changed = [(old, new) for old, new in changed if old != new]
        if changed:
            changes.update(changed)
            rows.append(row)
    return Repairs(len(rows), tagged, dict(changes), tuple(rows))


@dataclass(frozen=True)
class Misfit:
    """An entity over characters that units cannot express as it stands, and what is `taken` instead (units).

    "cuts a unit": begins or ends inside one, taken with the whole of it; "beside a unit": begins or ends at
    characters of no unit, such as a blank, taken without them; "no unit": covers none, not taken; "overlap":
    shares a unit with one that begins earlier, or as early and is longer, not taken.
    """

    entity: Entity
    reason: Literal["cuts a unit", "beside a unit", "no unit", "overlap"]
    taken: Entity | None


def entities_over_units(
    entities: Sequence[Entity], units: Sequence[tuple[int, int]]
) -> tuple[list[Entity], list[Misfit]]:
    """Entities over characters as flat entities over units (sorted [start, end) spans), and all that misfit.

    Predictions are scored against the entities over characters: what units cannot express then counts as
    missed, rather than as if it were not there.

    >>> units = [(0, 3), (4, 8), (8, 9)]  # "Ann Lee's"
    >>> entities_over_units([(0, 7, "PER")], units)
    ([(0, 2, 'PER')], [Misfit(entity=(0, 7, 'PER'), reason='cuts a unit', taken=(0, 2, 'PER'))])
    """
    starts, ends = [start for start, _ in units], [end for _, end in units]
    taken: list[Entity] = []
    misfits: list[Misfit] = []
    for entity in sorted(entities, key=lambda entity: (entity[0], -entity[1], entity[2])):
        start, end, kind = entity
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if first >= last:
            misfits.append(Misfit(entity, "no unit", None))
        elif taken and first < taken[-1][1]:
            misfits.append(Misfit(entity, "overlap", None))
        else:
            taken.append((first, last, kind))
            if (starts[first], ends[last - 1]) != (start, end):
                cuts = starts[first] < start or end < ends[last - 1]
                misfits.append(Misfit(entity, "cuts a unit" if cuts else "beside a unit", taken[-1]))
    return taken, misfits


def entities_over_characters(entities: Sequence[Entity], units: Sequence[tuple[int, int]]) -> list[Entity]:
    """Entities over units as entities over characters, from their first unit's start to their last's end.

    >>> entities_over_characters([(0, 2, "PER")], [(0, 3), (4, 7)])
    [(0, 7, 'PER')]
    """
    return [(units[start][0], units[end - 1][1], kind) for start, end, kind in entities]


def labels_of(types: Sequence[str], scheme: str) -> list[str]:
    """All labels of a scheme for these types, "O" first: the classes of a model that tags.

    >>> labels_of(["LOC", "PER"], "BIO")
    ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    letters = [letter for letter in _allowed(scheme) if letter != "O"]
    return ["O", *(f"{letter}-{kind}" for kind in types for letter in letters)]


@dataclass(frozen=True)
class Forbidden:
    """What a scheme rules out, boolean: transitions_CC (from, to), starts_C and ends_C."""

    transitions_CC: np.ndarray
    starts_C: np.ndarray
    ends_C: np.ndarray


def forbidden(labels: Sequence[str], scheme: str) -> Forbidden:
    """Which label may not follow which, nor stand first or last, for C label names.

    >>> rules = forbidden(["O", "B-PER", "I-PER", "I-LOC"], "BIO")
    >>> rules.transitions_CC.astype(int).tolist(), rules.starts_C.astype(int).tolist(), rules.ends_C.any()
    ([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]], [0, 0, 1, 1], np.False_)
    """
    parsed = [_known(label, scheme) for label in labels]
    outside = ("O", "")
    return Forbidden(
        np.array([[_breaks(before, after, scheme) for after in parsed] for before in parsed]),
        np.array([_breaks(outside, label, scheme) for label in parsed]),
        np.array([_breaks(label, outside, scheme) for label in parsed]),
    )


def _breaks(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    """Whether two neighbours break a rule. The border of a sentence is like an O."""
    same = before[1] == after[1] and before[0] != "O"
    if scheme == "IOB1":
        return after[0] == "B" and not same
    continues = _ROLES.get(after[0]) in ("I", "E")
    if scheme == "BIO":
        return continues and not same
    open_before = _ROLES.get(before[0]) in ("B", "I")
    return continues != open_before or (continues and not same)
