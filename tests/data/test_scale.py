"""A million rows: the ways that are taken only then give what the plain ways give."""

import io
import random
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tunelab.data import check_content, delimited, findings, minhash, plain, similar
from tunelab.data.check import TokenFacts, check
from tunelab.data.plain import normalise, normalised
from tunelab.data.similar import near_groups
from tunelab.data.table import Table

CHINESE = [chr(code) for code in range(0x4E00, 0x9000)]


def test_texts_normalised_together_are_those_normalised_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every character of the first plane between letters, digits and itself; then random texts of what joins:
    accents, Korean letters, Indic vowels, half-width kana, points in numbers, spaces."""
    monkeypatch.setattr(plain, "_FEW", 0)
    texts = [f"a{chr(code)}1{chr(code)}2 {chr(code)}" for code in range(0x10000)]
    texts += [chr(code) for code in range(0x1F000, 0x20100)] + ["", " ", "?!", "\ue001", "a\ue001b", "½…3.5"]
    rng = random.Random(0)
    joining = [*range(0x300, 0x370), *range(0x1100, 0x1200), *range(0x900, 0x980), *range(0xFF60, 0xFFA0)]
    pool = [*map(chr, [*joining, *range(0x20, 0x100), *range(0x2000, 0x2070)]), *"12 .,:/，。…" * 30]
    texts += ["".join(rng.choices(pool, k=rng.randint(0, 12))) for _ in range(20_000)]
    assert normalised(texts) == [normalise(text) for text in texts]


def test_lines_read_by_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    for part in (1, 2, 7):
        monkeypatch.setattr(delimited, "_PART", part)
        for _ in range(300):
            text = "".join(
                rng.choices(["a", "好", "\n", "\r", "\r\n", "\u2028", '"', ","], k=rng.randint(0, 30))
            )
            assert list(delimited._lines(text)) == list(io.StringIO(text, newline=""))


def test_what_a_pattern_finds_has_its_sign() -> None:
    """The quick look may let a text through in vain, but never keep one back."""
    rng = random.Random(0)
    pieces = [
        "Ã",
        "©",
        "â€",
        "œ",
        "é",
        "\u0083",
        "\u00a0",
        "锟斤拷",
        "烫",
        "屯屯",
        "\ufffd",
        "<",
        "BR",
        "/>",
        "&",
        "nbsp;",
    ]
    pieces += ["hTTp", "s", "ſ", "://", "x", " ", "WWW", "www.", ".", "a", "\u200b", "div class='a'", "#38;"]
    hits = dict.fromkeys(check_content._SIGNS, 0)
    for _ in range(30_000):
        text = "".join(rng.choices(pieces, k=6))
        for code, pattern, *_ in check_content._LEFTOVERS:
            if code in hits and pattern.search(text):
                hits[code] += 1
                assert check_content._SIGNS[code](text), (code, text)
    assert min(hits.values()) > 300


def pairs_at(shared: int, own: int, number: int) -> list[str]:
    """Pairs of texts of random characters with `shared` bigrams in common and `own` in one alone, each."""
    rng = random.Random(0)
    texts = []
    for _ in range(number):
        letters = rng.sample(CHINESE, shared + 1 + 2 * own)
        first = letters[: shared + 1 + own]
        texts += ["".join(first), "".join(letters[: shared + 1] + letters[shared + 1 + own :])]
    return texts


def test_pairs_at_the_threshold_are_missed_as_seldom_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 shared bigrams of 40 are a similarity of exactly 0.8; (1 - 0.8^5)^25 = 4.9e-5 of such pairs are missed.

    Of 20,000 pairs that is 1 at the mean; more than 6 come with probability 1e-4 (Poisson). With one shared
    bigram less (31 of 41) no pair may be found.
    """
    monkeypatch.setattr(similar, "_GRAMS", 0)
    texts = pairs_at(32, 4, 20_000)
    groups = near_groups(texts, largest=1.0)
    assert (groups[::2] != groups[1::2]).sum() <= 6
    assert groups.max() + 1 >= 20_000, "and no two of different pairs are one group"
    assert len(set(near_groups(pairs_at(31, 5, 2000)).tolist())) == 4000


def test_too_many_candidates_make_no_false_group(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = "was shipped and will reach you soon; thank you for buying from us and please tell your friends"
    texts = [f"dear customer your order {i * 7919 % 99991} {rest}" for i in range(400)]
    whole = near_groups(texts, largest=1.0)
    monkeypatch.setattr(similar, "_GRAMS", 0)
    monkeypatch.setattr(minhash, "_PAIRS", 100)
    windowed = near_groups(texts, largest=1.0)
    for group in range(windowed.max() + 1):
        assert len(set(whole[windowed == group].tolist())) == 1
    assert np.bincount(windowed).max() > 200


def test_the_tokens_of_drawn_rows_speak_for_the_table() -> None:
    """70,000 rows of which every tenth is too long: the share is known, the rows are those of the table."""
    drawn = findings.drawn(70_000)
    assert drawn is not None
    assert len(set(drawn.tolist())) == 50_000
    assert findings.drawn(50_000) is None
    frame = pd.DataFrame({"text": [f"{chr(0x4E00 + i % 7919)}{i}" for i in range(70_000)]})
    frame = frame.assign(label=["a", "b"] * 35_000, split="", file="r.csv", row=range(2, 70_002))
    lengths = np.where(drawn % 10 == 0, 300, 20)
    none = np.zeros(50_000, dtype=np.int64)
    facts = TokenFacts(lengths, none, {}, none, none + 9, "minilm", rows=drawn)
    found = {finding.code: finding for finding in check(Table(frame, {}), facts, 256, np.arange(70_000))}
    finding = found["truncation"]
    assert all(row % 10 == 0 for row in finding.rows)
    assert finding.examples[0].startswith(f"r.csv row {finding.rows[0] + 2}: 300 tokens")
    assert re.match(r"(4,9|5,0)\d\d rows \(10 %\) are longer .*\(In 50,000 rows drawn", finding.title)
    assert replace(finding, rows=()).share == pytest.approx(0.1, abs=0.005)
