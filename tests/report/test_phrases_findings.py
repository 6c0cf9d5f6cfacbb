"""What the data doctor says of texts, labels and repeats, in Chinese: on tables with planted faults."""

import json
import random
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tunelab.data import check as check_module
from tunelab.data.check import Finding, Labels, TokenFacts, check
from tunelab.data.check_label_lists import check_label_lists
from tunelab.data.check_numbers import check_numbers
from tunelab.data.table import Table
from tunelab.report.translate import in_chinese

CLASSES = Labels()
LISTS, NUMBERS = Labels(check_label_lists, named=False), Labels(check_numbers, named=False)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
Rows = list[tuple[str, ...]]
HAN: Rows = [(f"房间{a}{b}服务{b}{a}", "good") for a in "很不太真最" for b in "好坏大小新旧"]


def told(rows: Rows, tokens: TokenFacts | None = None, labels: Labels = CLASSES) -> list[Finding]:
    """What the doctor says of rows of (text, label) or (text, label, part)."""
    frame = pd.DataFrame([(*row, "")[:3] for row in rows], columns=["text", "label", "split"]).astype(str)
    frame["file"], frame["row"] = "reviews.csv", np.arange(2, len(rows) + 2)
    return check(Table(frame, {"text": "review", "label": "stars"}), tokens, 50, labels=labels)


def some(number: int, *labels: str, seed: int = 0, part: str = "", end: str = "") -> Rows:
    """Texts of which no two are nearly the same, with these labels in turn."""
    letter = random.Random(seed).choice
    words = ["".join(letter("bdfghklmnprstvz") + letter("aeiou") for _ in range(12)) for _ in range(number)]
    return [(f"{word} came {word[::-1]}{end}", labels[i % len(labels)], part) for i, word in enumerate(words)]


def of_texts() -> list[Finding]:
    rows = some(100, "good", "bad")
    rows[10], rows[11], rows[12] = ("", "good"), (rows[11][0], ""), (rows[12][0], "GOOD ")
    rows[20], rows[21] = (f"<p>{rows[20][0]}", "good"), (f"CafÃ© {rows[21][0]}", "bad")
    rows[22], rows[23] = (f"{rows[22][0]}\x07", "n/a"), (f"{rows[23][0]} https://example.org", "n/a")
    rows[24] = (rows[24][0] + " word" * 5000, "good")
    rows += [rows[0], (rows[2][0], "bad"), (f"{rows[4][0]}s", "good")]
    given_away = some(40, "card_arrival", end=" about card arrival") + some(40, "other", seed=1)
    return [*told(rows), *told(some(170, "good", "bad") + HAN), *told(given_away)]


def of_parts() -> list[Finding]:
    train, test = some(40, "good", "bad", part="train"), some(10, "good", "new", seed=1, part="test")
    valid = some(10, "good", "meh", seed=2, part="valid")
    again = [(train[0][0].upper(), "good", "test"), (train[2][0] + "s", "good", "test")]
    rows = [*train, *test, *valid, *again, (train[4][0], "good", "valid")]
    return [*told(rows), *told([(text, json.dumps([name]), part) for text, name, part in rows], labels=LISTS)]


def of_labels() -> list[Finding]:
    found = [*told([]), *told([("", "good")] * 30), *told(some(30, "")), *told(some(12, "good"))]
    found += told(some(40, "a", "b") + [("", "a")] * 20)
    found += told([*some(40, "good", "bad"), ("the odd one out", "odd"), ("in capitals", "GOOD")])
    found += [*told(some(40, *map(hex, range(40)))), *told(some(200, *(f"{i / 7:.2f}" for i in range(37))))]
    return [*found, *told(some(60, "a|b", "b|c", "a|c", "c|b", "a", "b"))]


def of_lists() -> list[Finding]:
    found = [*told(some(12, '["a"]'), labels=LISTS), *told(some(40, "[]"), labels=LISTS)]
    found += told(some(40, '["a", "b"]', '["A", "a"]', '["a"]'), labels=LISTS)
    torn = some(40, '["a"]', "[]")
    return [*found, *told([*torn, (torn[0][0], '["b"]'), ("rarely", '["c"]')], labels=LISTS)]


def of_numbers() -> list[Finding]:
    found = [*told(some(12, "7"), labels=NUMBERS), *told(some(40, "7", "high"), labels=NUMBERS)]
    found += told(some(40, "1", "2.5", "3", "4", "5000000"), labels=NUMBERS)
    return [*found, *told([*some(40, *map(str, range(20))), ("far", "900")], labels=NUMBERS)]


def of_tokens() -> list[Finding]:
    found, none, rows = [], np.zeros(60, dtype=np.int64), some(60, "short", "short", "long")
    long, one = np.where(np.arange(60) % 3 == 2, 100, 20), np.arange(60) // 59
    for times, characters in ((none + 2, "ж"), (none + 20, "店"), (one * 30, "م"), (none + 3, "")):
        for lost, unknown in ((times, none), (none, times)):
            common = dict.fromkeys(characters, 60)
            found += told(rows, TokenFacts(long, unknown, common, lost, none + 30, "minilm", None, 2.9))
    part = none[:30]
    drawn = TokenFacts(long[:30], part, {}, part, part + 30, "minilm", np.arange(30))
    return [*found, *told(rows, drawn)]


@pytest.mark.parametrize(
    ("found", "codes"),
    [(of_texts, 18), (of_parts, 11), (of_labels, 12), (of_lists, 7), (of_numbers, 5), (of_tokens, 6)],
)
def test_every_finding_is_said_in_chinese(found: Callable[[], list[Finding]], codes: int) -> None:
    """With the numbers that it has in English. codes: at least so many kinds of findings are there."""
    findings = found()
    assert len({finding.code for finding in findings}) >= codes
    for english in [text for finding in findings for text in (finding.title, finding.advice) if text]:
        chinese = in_chinese(english)
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        assert set(NUMBER.findall(chinese)) == set(NUMBER.findall(english)), chinese


def test_near_duplicates_that_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "NEAR_CHARACTERS", 100)
    (finding,) = told(some(60, "good", "bad"))
    assert in_chinese(finding.title).startswith("未查找近似重复：")
    assert in_chinese(finding.advice)


def test_scripts_have_chinese_names_where_they_are_two() -> None:
    (two,) = [finding for finding in told(some(70, "a", "b") + HAN * 4) if finding.code == "scripts"]
    assert in_chinese(two.title) == "文本使用 2 种文字：汉字 63%、拉丁字母 37%。"
