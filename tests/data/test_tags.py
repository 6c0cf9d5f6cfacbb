"""Tags and entities: round trips as properties, rules by enumeration, real files."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from tunelab.data.tags import (
    SCHEMES,
    Entity,
    entities_of,
    entities_over_characters,
    entities_over_units,
    forbidden,
    labels_of,
    recognise,
    repairs,
    tags_of,
)
from tunelab.errors import DataError


def drawn(seed: int, units: int) -> list[Entity]:
    """Flat entities over `units` units, often side by side and of the same type."""
    dice, entities, at = random.Random(seed), [], 0
    while at < units:
        length = dice.randint(1, 4)
        if dice.random() < 0.7 and at + length <= units:
            entities.append((at, at + length, dice.choice(["PER", "creative-work"])))
        at += length if dice.random() < 0.8 else length + 1
    return entities


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_survive_their_tags(scheme: str) -> None:
    """Also strictly read; and the tags break no rule, nor is a scheme recognised wrongly."""
    sequences, rules = [], forbidden(labels_of(["PER", "creative-work"], scheme), scheme)
    column = {label: c for c, label in enumerate(labels_of(["PER", "creative-work"], scheme))}
    for seed in range(300):
        entities = drawn(seed, seed % 15)
        tags = tags_of(entities, seed % 15, scheme)
        assert entities_of(tags, scheme) == entities_of(tags, scheme, strict=True) == entities
        codes = [column[tag] for tag in tags]
        assert not any(rules.transitions_CC[a, b] for a, b in itertools.pairwise(codes))
        assert not codes or not (rules.starts_C[codes[0]] or rules.ends_C[codes[-1]])
        sequences.append(tags)
    assert repairs(sequences, scheme).sequences == 0
    assert recognise(sequences).scheme == scheme
    assert recognise(sequences).doubts == ()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_forbidden_is_what_is_repaired(scheme: str) -> None:
    """Over every sequence of up to four units (three with many labels) and two types: a rule is broken exactly where the tags differ from
    those written for the entities they are read as; what is written then breaks none."""
    labels = labels_of(["A", "B"], scheme)
    rules = forbidden(labels, scheme)
    valid = 0
    for length in range(1, 5 if len(labels) < 6 else 4):
        for codes in itertools.product(range(len(labels)), repeat=length):
            broken = rules.starts_C[codes[0]] or rules.ends_C[codes[-1]]
            broken = broken or any(rules.transitions_CC[a, b] for a, b in itertools.pairwise(codes))
            tags = [labels[c] for c in codes]
            found = repairs([tags], scheme)
            assert found.sequences == int(broken), tags
            mended = tags_of(entities_of(tags, scheme), length, scheme)
            assert entities_of(mended, scheme, strict=True) == entities_of(tags, scheme)
            changes = Counter((a[0], b[0]) for a, b in zip(tags, mended, strict=True) if a != b)
            assert found.changes == changes
            valid += not broken
    assert valid > 20


@pytest.mark.parametrize(
    ("tags", "scheme", "read", "strict"),
    [
        ("O I-X I-X", "BIO", [(1, 3, "X")], []),
        ("B-X I-Y O", "BIO", [(0, 1, "X"), (1, 2, "Y")], [(0, 1, "X")]),
        ("I-X B-X O", "IOB1", [(0, 1, "X"), (1, 2, "X")], [(0, 1, "X"), (1, 2, "X")]),
        ("O B-X O", "IOB1", [(1, 2, "X")], []),
        ("B-X M-X O", "BMES", [(0, 2, "X")], []),
        ("B-X E-X E-X S-X", "BMES", [(0, 2, "X"), (2, 3, "X"), (3, 4, "X")], [(0, 2, "X"), (3, 4, "X")]),
        ("U-X L-X I_X", "BILOU", [(0, 1, "X"), (1, 2, "X"), (2, 3, "X")], [(0, 1, "X")]),
        ("B M E S", "BMES", [(0, 3, "entity"), (3, 4, "entity")], [(0, 3, "entity"), (3, 4, "entity")]),
    ],
)
def test_reading_by_hand(tags: str, scheme: str, read: list[Entity], strict: list[Entity]) -> None:
    assert entities_of(tags.split(), scheme) == read
    assert entities_of(tags.split(), scheme, strict=True) == strict


@pytest.mark.parametrize(
    ("lines", "scheme", "doubt"),
    [
        (["O O"], "BIO", "no entity"),
        (["I-X I-X O"], "IOB1", "only I- tags"),
        (["B-X I-X", "B-X", "O I-X"], "BIO", "1 entities begin with I-, 2 with B-"),
        (["I-X I-X", "I-X B-X", "O B-X"], "IOB1", "2 entities begin with I-, 1 with B-"),
        (["B-X O", "B-X,B-Y I-X,I-Y"], "BIO", "2 tags hold several labels"),
        (["I-X E-X O", "E-X"], "IOBES", "no entity is marked as beginning"),
        (["B-X I-X S-X", "B-X I-X O"], "IOBES", "2 of 2 sentences break the rules"),
    ],
)
def test_doubts_are_told(lines: list[str], scheme: str, doubt: str) -> None:
    found = recognise([line.split() for line in lines])
    assert found.scheme == scheme
    assert any(doubt in told for told in found.doubts), found.doubts


def test_a_slip_is_repaired_but_raises_no_doubt() -> None:
    """MSRA's sample: 2 of 11,576 entities begin with I-; here 1 of 200."""
    sequences = [["B-X", "I-X"]] * 199 + [["I-X", "O"]]
    assert recognise(sequences).scheme == "BIO"
    assert recognise(sequences).doubts == ()
    assert repairs(sequences, "BIO").rows == (199,)


def test_what_is_no_tag_is_told_with_its_place() -> None:
    with pytest.raises(DataError, match=r"sentence 2, unit 3: 'PER' is no tag.* Others that are none: 'LOC'"):
        recognise([["O"], ["B-PER", "O", "PER"], ["LOC"]])
    with pytest.raises(
        DataError, match="mix the letters of several schemes: B 1 times, L 1 times, M 1 times"
    ):
        recognise([["B-X", "M-X", "L-X"]])
    with pytest.raises(DataError, match="'M-X' is no tag of BIO, which has B, I, O"):
        entities_of(["M-X"], "BIO")
    with pytest.raises(DataError, match="unknown tagging scheme 'BIOS'; did you mean 'BIO'"):
        forbidden(["O"], "BIOS")


def test_entities_over_units_and_back() -> None:
    """Words of random lengths with random gaps: what ends at their borders comes back; nothing else is silent."""
    for seed in range(200):
        dice, units, at = random.Random(seed), [], 0
        for _ in range(dice.randint(1, 12)):
            at += dice.randint(0, 2)
            units.append((at, at := at + dice.randint(1, 5)))
        entities = entities_over_characters(drawn(seed, len(units)), units)
        assert entities_over_units(entities, units) == (drawn(seed, len(units)), [])
        anywhere = sorted({(a, a + dice.randint(1, 6), "X") for a in dice.sample(range(at + 1), 2)})
        taken, misfits = entities_over_units(anywhere, units)
        told = {misfit.entity for misfit in misfits}
        fitting = set(entities_over_characters(taken, units)) & set(anywhere) - told
        assert set(anywhere) == fitting | told
        assert len(taken) == len(fitting) + sum(misfit.taken is not None for misfit in misfits)
        assert tags_of(taken, len(units), "BIO")


def test_misfits_by_hand() -> None:
    """ "Ann Lee, Rome" in words: a blank too many, half a word, only a blank, one inside another."""
    units = [(0, 3), (4, 7), (7, 8), (9, 13)]
    given = [(0, 7, "PER"), (4, 7, "FAMILY"), (8, 9, "X"), (9, 12, "LOC")]
    taken, misfits = entities_over_units(given, units)
    assert taken == [(0, 2, "PER"), (3, 4, "LOC")]
    assert [(misfit.entity, misfit.reason, misfit.taken) for misfit in misfits] == [
        ((4, 7, "FAMILY"), "overlap", None),
        ((8, 9, "X"), "no unit", None),
        ((9, 12, "LOC"), "cuts a unit", (3, 4, "LOC")),
    ]
    (misfit,) = entities_over_units([(3, 7, "PER")], units)[1]
    assert (misfit.reason, misfit.taken) == ("beside a unit", (1, 2, "PER"))


def conll(path: Path, separator: str) -> list[list[tuple[str, str]]]:
    """Sentences of (unit, tag); blank lines, and WNUT's lines of a lone tab, end a sentence."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for line in path.read_text(encoding="utf-8").split("\n"):
        unit, _, tag = line.rstrip("\r").partition(separator)
        if unit:
            sentences[-1].append((unit, tag))
        elif sentences[-1]:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


#: File -> separator, scheme, sentences, entities of each type. The counts are those of ../shared/data/README.md,
#: which counts B- and S- tags, but for ORG of resume_ner: 4,611 there (see the test).
REAL = {
    "wnut17/wnut17train.conll": (
        "\t",
        "BIO",
        3394,
        {
            "person": 660,
            "location": 548,
            "group": 264,
            "corporation": 221,
            "product": 142,
            "creative-work": 140,
        },
    ),
    "resume_ner/train.char.bmes": (
        " ",
        "BMES",
        3821,
        {
            "TITLE": 6308,
            "ORG": 4613,
            "NAME": 952,
            "EDU": 858,
            "PRO": 287,
            "CONT": 260,
            "RACE": 115,
            "LOC": 47,
        },
    ),
    "msra_ner/val.bio": ("\t", "BIO", 3000, {"LOC": 2414, "ORG": 1394, "PER": 1203}),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    """Recognised without a doubt, counted as published, and through characters and every scheme unchanged.

    resume_ner has a blank line within an organisation, twice: each reads as two, and both halves are told.
    """
    separator, scheme, count, types = REAL[name]
    sentences = conll(shared_data / name, separator)
    tags = [[tag for _, tag in sentence] for sentence in sentences]
    assert len(sentences) == count
    assert recognise(tags).scheme == scheme
    assert recognise(tags).doubts == ()
    entities = [entities_of(own, scheme) for own in tags]
    assert Counter(kind for own in entities for _, _, kind in own) == types
    broken = repairs(tags, scheme)
    cut = "resume" in name
    assert broken.changes == ({("M", "E"): 2, ("M", "B"): 2} if cut else {})
    assert broken.rows == ((1835, 1836, 1892, 1893) if cut else ())
    for sentence, own in zip(sentences, entities, strict=True):
        blank, units, at = int(separator == "\t" and scheme == "BIO" and "wnut" in name), [], 0
        for unit, _ in sentence:
            units.append((at, at + len(unit)))
            at += len(unit) + blank
        assert entities_over_units(entities_over_characters(own, units), units) == (own, [])
        for other in SCHEMES:
            assert entities_of(tags_of(own, len(units), other), other, strict=True) == own


@pytest.mark.real_data
def test_several_labels_a_tag_are_told(shared_data: Path) -> None:
    """WNUT's raw test file: 'B-corporation,B-product' is not a type that anybody meant."""
    sentences = conll(shared_data / "wnut17/emerging.test.conll", "\t")
    found = recognise([[tag for _, tag in sentence] for sentence in sentences])
    assert found.scheme == "BIO"
    assert any("tags hold several labels" in doubt for doubt in found.doubts)
