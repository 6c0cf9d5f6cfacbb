"""Duplicate and near-duplicate groups, against a count over all pairs written independently."""

import csv
import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tunelab.data import similar
from tunelab.data.similar import duplicate_groups, exact_groups, near_groups, normalise

ENGLISH = [
    "the",
    "card",
    "payment",
    "was",
    "declined",
    "again",
    "today",
    "although",
    "my",
    "account",
    "balance",
    "is",
    "fine",
    "please",
    "help",
    "me",
    "now",
]
CHINESE = "房间很大但是服务态度太差了早餐不好吃离地铁站近价格便宜下次还会再来住"


def grams(text: str) -> set[str]:
    """The module's words: 5 characters, 2 from a Chinese one; shorter at the end where no whole one reaches."""
    spans = [(i, i + (2 if "CJK" in unicodedata.name(c, "") else 5)) for i, c in enumerate(text)]
    reached = {i for start, end in spans if end <= len(text) for i in range(start, end)}
    return {text[start:end] for start, end in spans if end <= len(text) or start not in reached}


def brute_force(texts: list[str], threshold: float) -> list[int]:
    same = [normalise(text).replace(" ", "") for text in texts]
    sets = [grams(text) for text in same]
    group = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if same[i] == same[j] or len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]):
                group = [group[j] if g == group[i] else g for g in group]
    return group


def partition(groups) -> set[frozenset[int]]:
    members: dict[int, set[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(int(group), set()).add(position)
    return {frozenset(rows) for rows in members.values()}


def mutated(seed: int, number: int) -> list[str]:
    """Random texts, half of them copies of earlier ones with a few characters or words changed."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(number):
        if texts and rng.random() < 0.5:
            letters = list(rng.choice(texts))
            for _ in range(rng.randint(0, 4)):
                at = rng.randrange(len(letters))
                letters[at : at + rng.randint(0, 2)] = rng.choice("abc很好! ")
            texts.append("".join(letters) or "x")
        elif rng.random() < 0.5:
            texts.append(" ".join(rng.choices(ENGLISH, k=rng.randint(1, 14))))
        else:
            texts.append("".join(rng.choices(CHINESE, k=rng.randint(1, 30))))
    return texts


@pytest.mark.parametrize("by", ["prefixes", "signatures"])
@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_near_groups_are_exactly_those_of_all_pairs(seed, threshold, by, monkeypatch):
    if by == "signatures":  # as for very many texts
        monkeypatch.setattr(similar, "_GRAMS", 0)
    texts = mutated(seed, 250)
    found = near_groups(texts, threshold, largest=1.0)
    assert partition(found) == partition(brute_force(texts, threshold))
    assert len(partition(found)) < len(texts) - 20, "the test has near-duplicates to find"


def test_groups_are_numbered_by_appearance_and_do_not_depend_on_the_order():
    texts = mutated(7, 300)
    groups = near_groups(texts)
    assert groups[0] == 0
    assert np.all(groups <= np.maximum.accumulate(groups))
    assert np.all(np.diff(np.maximum.accumulate(groups)) <= 1)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = near_groups([texts[i] for i in order])
    assert partition(groups) == {frozenset(order[list(rows)].tolist()) for rows in partition(shuffled)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good, really good!", "good really GOOD"),
        ("ＡＢＣ１２", "abc12"),
        ("更博了", "\ufeff更博了"),
        ("log-in", "log in"),
        ("很好，不错。", "很好 不错"),
        ("a\u00a0\tb\n", "a b"),
        ("Straße", "STRASSE"),
    ],
)
def test_duplicates_but_for_case_width_punctuation_and_spacing(one, other):
    assert duplicate_groups([one, "something else", other]).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("?", "!"), ("3.5 stars", "35 stars"), ("good 😀", "good 😡"), ("", "?"), ("हिंदी", "हदी")],
)
def test_texts_that_must_stay_apart(one, other):
    assert duplicate_groups([one, other]).tolist() == [0, 1]
    assert near_groups([one, other]).tolist() == [0, 1]


def test_exact_groups_differ_only_in_spacing_and_invisible_characters():
    assert exact_groups(["a b", " a  b\u200b", "A b", "a, b"]).tolist() == [0, 0, 1, 2]


def test_a_chain_is_one_group_until_it_holds_too_many_rows():
    """Each text shares 38 of 42 bigrams with the next, the ends share nothing."""
    chain = ["".join(chr(0x4E00 + i) for i in range(start, start + 41)) for start in range(0, 60, 2)]
    ends = grams(chain[0]), grams(chain[-1])
    assert not ends[0] & ends[1]
    others = [f"{chr(0x6000 + 7 * i)}{chr(0x7000 + 3 * i)}" for i in range(400)]
    whole = near_groups(chain + others)
    assert len(set(whole[:30].tolist())) == 1, "30 of 430 rows may be one group"
    torn = near_groups(chain + others, largest=0.05)
    assert len(set(torn[:30].tolist())) == 30, "30 of 430 rows may not"
    assert len(set(near_groups(["same"] * 100).tolist())) == 1, "duplicates stay together whatever they weigh"


def test_signatures_make_no_false_pair_and_lose_few(monkeypatch):
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=300)) for _ in range(150)]
    texts += [text[:200] + "new" + text[203:] for text in texts[:100]]
    monkeypatch.setattr(similar, "_GRAMS", 15_000)  # of 75,000 characters
    found, true = near_groups(texts), partition(brute_force(texts, 0.8))
    assert all(any(group <= whole for whole in true) for group in partition(found))
    assert sum(found[i] == found[150 + i] for i in range(100)) >= 98


def test_a_window_over_long_posting_lists_makes_no_false_pair(monkeypatch):
    rest = "was shipped and will reach you soon; thank you for buying from us and please tell your friends"
    texts = [f"dear customer your order {i * 7919 % 99991} {rest}" for i in range(300)]
    whole = partition(near_groups(texts, largest=1.0))
    monkeypatch.setattr(similar, "_PAIRS", 2000)
    windowed = partition(near_groups(texts, largest=1.0))
    assert all(any(group <= other for other in whole) for group in windowed)
    assert max(map(len, windowed)) > 150


def test_odd_input():
    assert near_groups([]).tolist() == []
    assert near_groups(["a"]).tolist() == [0]
    assert near_groups(["", " ", "\ud800", "\0"]).tolist()[:2] == [0, 0]
    with pytest.raises(ValueError, match="threshold"):
        near_groups(["a"], 0.3)


@pytest.mark.real_data
def test_repeats_known_of_real_data(shared_data: Path):
    def columns(path: str, column: int) -> list[str]:
        with (shared_data / path).open(encoding="utf-8", newline="") as file:
            return [row[column] for row in list(csv.reader(file))[1:]]

    train, test = columns("banking77/train.csv", 0), columns("banking77/test.csv", 0)
    groups = duplicate_groups(train + test)
    assert np.isin(groups[len(train) :], groups[: len(train)]).sum() == 29
