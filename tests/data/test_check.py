"""The data doctor on tables with planted faults, whose counts are known by construction."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tunelab.data import check as check_module
from tunelab.data.check import Finding, TokenFacts, check, drop_unusable, fix, stop_on_errors
from tunelab.data.table import Table
from tunelab.errors import DataError

NOUNS = ["lamp", "kettle", "chair", "radio", "coat", "novel", "piano", "ladder", "basket"]
VERBS = ["arrived", "broke", "works", "shines", "leaks", "hums", "burned", "rattles"]
ENDS = ["yesterday", "again", "in Rome", "at home", "by accident", "after lunch", "for nothing"]


def table(rows: list[tuple[str, ...]]) -> Table:
    """Rows of (text, label) or (text, label, split) as read from a file with a header."""
    full = [(*row, "")[:3] for row in rows]
    frame = pd.DataFrame(full, columns=["text", "label", "split"]).astype(str)
    frame["file"] = "reviews.csv"
    frame["row"] = np.arange(2, len(rows) + 2)
    return Table(frame, {"text": "review", "label": "stars"})


def sentences(number: int, seed: int = 0) -> list[str]:
    """Texts of which no two are nearly the same."""
    rng = random.Random(seed)
    letters = "bcdfghjklmnpqrstvwz"
    made = []
    for _ in range(number):
        word = "".join(rng.choice(letters) + rng.choice("aeiou") for _ in range(6))
        made.append(f"{rng.choice(NOUNS)} {word} {rng.choice(VERBS)} {rng.choice(ENDS)} {word[::-1]}")
    return made


def healthy(
    number: int = 60, labels: tuple[str, ...] = ("good", "bad"), seed: int = 0
) -> list[tuple[str, ...]]:
    return [(text, labels[i % len(labels)]) for i, text in enumerate(sentences(number, seed))]


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def only(findings: list[Finding], code: str) -> Finding:
    matching = [finding for finding in findings if finding.code == code]
    assert len(matching) == 1, f"{code} not once in {codes(findings)}"
    return matching[0]


def facts(rows: int, **changes: object) -> TokenFacts:
    known: dict[str, object] = {
        "lengths": np.full(rows, 12),
        "unknown": np.zeros(rows, dtype=np.int64),
        "lost_characters": {},
        "lost": np.zeros(rows, dtype=np.int64),
        "visible": np.full(rows, 30),
        "tokenizer_name": "minilm",
    }
    return TokenFacts(**(known | changes))  # type: ignore[arg-type]


def test_healthy_data_have_nothing_but_their_lengths():
    data = table(healthy())
    assert check(data) == []
    findings = check(data, facts(60), max_length=64)
    assert codes(findings) == ["token-lengths"]
    stop_on_errors(findings)
    mended, notes = fix(data)
    assert mended is data
    assert notes == []


def test_every_planted_fault_is_counted():
    rows = healthy(100)
    rows[10] = ("  \ufeff ", "good")
    rows[11] = ("", "bad")
    rows[12] = (rows[12][0], " ")
    rows += [rows[0], rows[1], rows[1]]  # 3 copies
    rows += [(rows[2][0], "bad")]  # rows[2] is good: a conflict
    rows += [(rows[5][0].replace(" ", "  ", 1) + "s", "bad")]  # nearly rows[5]
    rows[20] = (rows[20][0], "GOOD ")
    rows[21] = (rows[21][0], "ｂａｄ")
    rows[30] = ("<p>" + rows[30][0] + "&nbsp;</p>", "good")
    rows[31] = ("CafÃ© " + rows[31][0], "bad")
    rows[32] = (rows[32][0] + "\x07", "good")
    rows[33] = (rows[33][0] + " https://example.org/x", "bad")
    findings = check(table(rows))
    counts = {finding.code: finding.count for finding in findings}
    assert counts == {
        "empty-text": 2,
        "missing-label": 1,
        "label-spelling": 2,
        "single-row-class": 2,
        "duplicate": 3,
        "conflicting-labels": 2,
        "near-duplicate": 1,
        "markup": 1,
        "mojibake": 1,
        "control-characters": 1,
        "url": 1,
        "imbalance": counts["imbalance"],
    }
    assert [f.severity for f in findings] == sorted(
        (f.severity for f in findings), key=["error", "warning", "info"].index
    )
    near = only(findings, "near-duplicate")
    assert near.rows == (104,)
    assert near.examples[0].startswith("reviews.csv row 106: ")
    assert near.examples[0].endswith("(like row 7)")
    assert only(findings, "conflicting-labels").rows == (2, 103)
    assert only(findings, "single-row-class").fixable, "both are spellings of other labels"
    assert only(findings, "empty-text").share == pytest.approx(2 / 105)
    json.dumps([finding.as_dict() for finding in findings])


def test_fix_mends_just_what_is_safe_and_tells_it():
    rows = healthy(100)
    rows[11] = ("", "bad")
    rows[12] = (rows[12][0], "")
    rows += [rows[0], (rows[2][0], "bad"), (rows[3][0].upper(), "bad")]
    rows[20] = (rows[20][0], "GOOD ")
    mended, notes = fix(table(rows))
    frame = mended.frame
    assert len(mended) == 103 - 3
    assert list(frame.index) == list(range(100))
    assert set(frame["label"]) == {"good", "bad"}
    assert (frame["text"] == rows[2][0]).sum() == 2, "a text with two labels stays"
    assert rows[3][0].upper() in set(frame["text"]), "a copy that differs in case stays"
    assert "reviews.csv row 13" in notes[0]
    assert "reviews.csv row 14" in notes[1]
    assert "'GOOD ' → 'good'" in notes[2]
    assert "reviews.csv row 102" in notes[3]
    assert len(notes) == 4
    assert codes(check(mended)) == ["conflicting-labels", "near-duplicate"], "the copy in capitals is near"
    assert fix(mended)[1] == []


def test_rows_in_two_given_parts_are_found_and_dropped_from_the_lesser():
    texts = sentences(80)
    rows = [(text, ("good", "bad")[i % 2], "train") for i, text in enumerate(texts[:40])]
    rows += [(text, ("good", "bad")[i % 2], "valid") for i, text in enumerate(texts[40:60])]
    rows += [(text, ("good", "bad")[i % 2], "test") for i, text in enumerate(texts[60:])]
    rows += [
        (texts[0].title() + "!", "good", "test"),
        (texts[40], "good", "test"),
        (texts[1], "bad", "valid"),
    ]
    rows += [(texts[2] + "s", "good", "test")]
    data = table(rows)
    findings = check(data)
    assert {f.code: f.count for f in findings} == {
        "test-in-train": 1,
        "test-in-valid": 1,
        "valid-in-train": 1,
        "test-near-train": 1,
        "near-duplicate": 2,
    }
    mended, notes = fix(data)
    assert mended.frame["split"].value_counts().to_dict() == {"train": 38, "test": 23, "valid": 20}
    assert len(notes) == 3
    left = {f.code for f in check(mended)}
    assert left == {"test-near-train", "near-duplicate"}


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ([], "no-text", "no rows"),
        ([("", "good")] * 30, "no-text", "--text"),
        ([(text, "") for text in sentences(30)], "no-label", "'stars'"),
        (healthy(12), "too-few-rows", "Only 12 rows"),
        (healthy(30, ("good",)), "one-class", "'good'"),
        ([*healthy(40), ("the odd one out", "odd")], "single-row-class", "'odd'"),
        (
            [(text, f"id{i}") for i, text in enumerate(sentences(40))],
            "labels-are-unique",
            "40 different labels",
        ),
        (
            [(text, f"{i % 37 / 7:.2f}") for i, text in enumerate(sentences(200))],
            "labels-are-numbers",
            "regression",
        ),
        (
            [(text, str(i * 17 % 997)) for i, text in enumerate(sentences(200))],
            "labels-are-numbers",
            "regression",
        ),
        (healthy(40) + [("", "good")] * 20, "empty-text", "right column"),
    ],
)
def test_what_stops_a_study(rows, code, words):
    findings = check(table(rows))
    finding = only(findings, code)
    assert finding.severity == "error"
    assert findings[0].severity == "error"
    with pytest.raises(DataError) as caught:
        stop_on_errors(findings)
    assert words in str(caught.value)
    assert f"[{code}]" in str(caught.value)
    assert finding.advice in str(caught.value)


def test_all_errors_come_in_one_message():
    rows = [(text, "good", "train") for text in sentences(10)] + [("a singular thing", "new", "test")]
    with pytest.raises(DataError) as caught:
        stop_on_errors(check(table(rows)))
    assert all(
        f"[{code}]" in str(caught.value)
        for code in ("too-few-rows", "single-row-class", "label-only-in-test")
    )


@pytest.mark.parametrize(
    "labels",
    [("1", "2", "3", "4", "5"), ("0.5", "1.0", "1.5", "2.0"), tuple(str(i) for i in range(60)), ("0", "1")],
)
def test_codes_of_classes_are_not_taken_for_numbers_on_a_scale(labels):
    assert not {"labels-are-numbers", "labels-are-unique"} & set(codes(check(table(healthy(240, labels)))))


def test_uneven_and_rare_classes():
    rows = healthy(80, ("common",)) + healthy(20, ("seldom",), 1) + healthy(4, ("rare",), 2)
    findings = check(table(rows))
    uneven = only(findings, "imbalance")
    assert "77 %" in uneven.title
    assert "20.0 times" in uneven.title
    assert "macro-F1" in uneven.advice
    assert only(findings, "rare-class").count == 4
    assert "imbalance" not in codes(check(table(healthy(60, ("a", "a", "a", "b"))))), "3:1 is not over 3:1"


def test_labels_of_given_parts_must_meet():
    rows = [(text, ("good", "bad")[i % 2], "train") for i, text in enumerate(sentences(40))]
    rows += [(text, ("good", "fine")[i % 2], "test") for i, text in enumerate(sentences(10, 1))]
    rows += [(text, ("good", "meh")[i % 2], "valid") for i, text in enumerate(sentences(10, 2))]
    findings = check(table(rows))
    assert only(findings, "label-only-in-test").severity == "error"
    assert only(findings, "label-only-in-test").count == 5
    assert only(findings, "label-only-in-valid").severity == "warning"
    assert "'bad'" in only(findings, "label-not-in-test").title


def test_a_script_confined_to_a_class_is_a_shortcut():
    chinese = [f"房间{a}{b}服务{b}{a}" for a in "很不太真最" for b in "好坏大小新旧"]
    mixed = healthy(170) + [(text, "good") for text in chinese]
    findings = check(table(mixed))
    assert "15 % Chinese characters" in only(findings, "scripts").title
    assert only(findings, "script-tells-label").count == 30
    fair = healthy(170) + [(text, ("good", "bad")[i % 2]) for i, text in enumerate(chinese)]
    assert "script-tells-label" not in codes(check(table(fair)))


@pytest.mark.parametrize(("label", "phrase"), [("card_arrival", "about card arrival"), ("财经", "财经新闻")])
def test_a_label_written_in_its_texts_is_a_leak(label, phrase):
    rows = healthy(60, (label, "other"))
    rows = [
        (f"{text} {phrase}" if name == label and i < 40 else text, name)
        for i, (text, name) in enumerate(rows)
    ]
    assert only(check(table(rows)), "label-in-text").count == 20
    everywhere = [(f"{text} {phrase}", name) for text, name in rows]
    assert "label-in-text" not in codes(check(table(everywhere)))


@pytest.mark.parametrize(
    "text",
    ["Ça va «café» à Zürich, señor", "São Paulo é ótimo — coração", "a < b and c > d &", "naïve fiancée…"],
)
def test_ordinary_text_is_not_suspicious(text):
    assert check(table([*healthy(), (text, "good")])) == []


@pytest.mark.parametrize("text", ["cafÃ©", "itâ€™s", "å¥½è¯„", "锟斤拷", "so\ufffd"])
def test_mojibake(text):
    assert only(check(table([*healthy(), (text, "good")])), "mojibake").count == 1


def test_truncation_is_told_over_all_and_by_class():
    """40 rows of 20 tokens and 20 rows of 100: cut at 50 the latter lose half, 1000 of 2800 tokens."""
    rows = healthy(60, ("short", "short", "long"))
    lengths = np.where(np.arange(60) % 3 == 2, 100, 20)
    findings = check(table(rows), facts(60, lengths=lengths), max_length=50)
    whole = only(findings, "truncation")
    assert whole.count == 20
    assert "36 % of all tokens" in whole.title
    assert "'long' 50 %" in only(findings, "truncation-by-class").title
    assert "20 tokens long at the median" in only(findings, "token-lengths").title
    assert codes(check(table(rows), facts(60, lengths=lengths), max_length=100)) == ["token-lengths"]


@pytest.mark.parametrize(("lost", "severity"), [(20, "error"), (2, "warning"), (0.05, "info")])
def test_characters_that_the_tokenizer_cannot_represent(lost, severity):
    counts = np.zeros(60, dtype=np.int64)
    counts[:] = int(lost)
    counts[0] += round(lost % 1 * 60)
    known = facts(60, unknown=counts // 3, lost=counts, lost_characters={"店": 900, "好": 300, "é": 9})
    finding = only(check(table(healthy()), known), "unknown-tokens")
    assert finding.severity == severity
    assert "'店' (900)" in finding.examples[0]
    if severity != "info":
        assert "minilm" in finding.title
        assert "bert-base-chinese" in finding.advice


def test_characters_that_are_spelt_out_in_bytes():
    chinese = [
        (f"房间{a}{b}服务{b}{a}", "ab"[i % 2]) for i, a in enumerate("很不太真最") for b in "好坏大小新旧"
    ]
    known = facts(30, per_character=2.94)
    finding = only(check(table(chinese), known), "characters-in-pieces")
    assert finding.severity == "warning"
    assert finding.title.startswith("minilm reads 2.9 tokens a character")
    assert "2.9 times fewer tokens" in finding.advice
    assert "bert-base-chinese" in finding.advice
    assert "characters-in-pieces" not in codes(check(table(chinese), facts(30, per_character=1.1)))


def test_rows_that_the_tokenizer_empties():
    lost = np.zeros(60, dtype=np.int64)
    lost[3] = 30
    finding = only(
        check(table(healthy()), facts(60, lost=lost, lost_characters={"ж": 30})), "emptied-by-tokenizer"
    )
    assert (finding.severity, finding.rows) == ("warning", (3,))
    assert "rubert" in finding.advice


def test_near_duplicates_that_are_not_looked_for_are_told(monkeypatch):
    monkeypatch.setattr(check_module, "NEAR_CHARACTERS", 100)
    assert codes(check(table(healthy()))) == ["near-duplicates-skipped"]


def test_drop_unusable_keeps_order_and_says_where():
    kept, notes = drop_unusable(table([("a", "x"), (" ", "x"), ("b", " "), ("c", "y")]))
    assert kept.frame["text"].tolist() == ["a", "c"]
    assert notes == [
        "left out 1 row with an empty text (reviews.csv row 3)",
        "left out 1 row without a label (reviews.csv row 4)",
    ]


def from_csv(path: Path, text: int, label: int, split: str = "") -> list[tuple[str, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[text], row[label], split) for row in list(csv.reader(file))[1:]]


@pytest.mark.real_data
def test_traps_known_of_real_data(shared_data: Path):
    banking = from_csv(shared_data / "banking77/train.csv", 0, 1, "train")
    banking += from_csv(shared_data / "banking77/test.csv", 0, 1, "test")
    found = only(check(table(banking)), "test-in-train")
    assert found.count == 29

    trec = []
    for name, split in (("train_5500.label", "train"), ("TREC_10.label", "test")):
        for line in (shared_data / "trec6" / name).read_text(encoding="latin-1").splitlines():
            label, text = line.split(" ", 1)
            trec.append((text, label.split(":")[0], split))
    assert only(check(table(trec)), "test-in-train").count == 11

    weibo = from_csv(shared_data / "weibo_senti/weibo_senti_100k.csv", 1, 0)
    findings = check(table(weibo))
    assert only(findings, "conflicting-labels").title.startswith(
        "33 texts occur with more than one label (66 rows)"
    )
    assert only(findings, "control-characters").rows[0] == 0

    hotels = from_csv(shared_data / "chnsenticorp_htl/ChnSentiCorp_htl_all.csv", 1, 0)
    assert only(check(table(hotels)), "empty-text").count == 1
