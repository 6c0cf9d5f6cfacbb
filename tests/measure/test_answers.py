"""Answers against numbers by hand, the official scripts' steps written out, and NLTK's tokenizer."""

import json
import re
import string
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from tunelab.measure.answers import _segments, answer_items, answer_score_function, answer_scores


def squad(own: str, references: list[str]) -> tuple[float, float]:
    """F1 and exact match by the steps of evaluate-v2.0.py."""

    def normal(text: str) -> str:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(known: str) -> float:
        right, mine = normal(known).split(), normal(own).split()
        same = sum((Counter(right) & Counter(mine)).values())
        if not right or not mine:
            return float(right == mine)
        if not same:
            return 0.0
        precision, recall = same / len(mine), same / len(right)
        return 2 * precision * recall / (precision + recall)

    known = [r for r in references if normal(r)] or [""]
    return max(map(f1, known)), float(max(normal(r) == normal(own) for r in known))


def answers_of(file: Path) -> list[list[str]]:
    """The answers to every question of a file in SQuAD's form."""
    content = json.loads(file.read_text(encoding="utf-8"))
    questions = [q for entry in content["data"] for p in entry["paragraphs"] for q in p["qas"]]
    return [[answer["text"] for answer in question["answers"]] for question in questions]


def random_answers(letters: list[str], size: int) -> tuple[list[str], list[list[str]]]:
    random = np.random.default_rng(7)

    def text() -> str:
        return "".join(random.choice(letters, random.integers(0, 7)))

    own = [text() for _ in range(size)]
    return own, [[text() for _ in range(random.integers(0, 4))] for _ in own]


def test_english_equals_the_official_script() -> None:
    letters = ["cat ", "Cat", " sat ", "the ", "The", "a ", "an", ".", "-", "'s ", "  ", "U.S. ", "é "]
    own, references = random_answers(letters, 1500)
    found = answer_items(own, references, chinese=False)
    expected = np.array([squad(p, r) for p, r in zip(own, references, strict=True)])
    assert found["f1"] == pytest.approx(expected[:, 0], abs=1e-12)
    assert found["exact_match"].tolist() == expected[:, 1].tolist()
    assert 0.1 < expected[:, 0].mean() < 0.9


def test_english_by_hand() -> None:
    """ "in Paris , France" and "Paris": precision 1/3, recall 1, F1 = 2/4; the better reference is taken."""
    found = answer_items(["in Paris, France", "The Paris!"], [["Rome", "Paris"]] * 2, chinese=False)
    assert found["f1"].tolist() == pytest.approx([0.5, 1.0])
    assert found["exact_match"].tolist() == [0.0, 1.0]


def test_chinese_takes_the_longest_run_not_the_subsequence() -> None:
    """北,京,大,学 and 北,大: one character in a row is shared, 2 · 1 / 6 (a subsequence would give 4 / 6).
    《光荣》和 ω-force: its marks go, so 光,荣,和,ωforce; of 光,荣,和,ω,force three are shared in a row:
    2 · 3 / (4 + 5), written with a space."""
    found = answer_items(
        ["北大", "光荣和ω force", "光荣和ω-Force。", "长江"],
        [["北京大学"], ["《光荣》和ω-force"], ["《光荣》和ω-force"], ["黄河"]],
        chinese=True,
    )
    assert found["f1"].tolist() == pytest.approx([1 / 3, 2 / 3, 1.0, 0.0])
    assert found["exact_match"].tolist() == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("chinese", [False, True])
def test_a_question_without_an_answer_asks_for_silence(chinese: bool) -> None:
    own, references = ["", "猫 cat", "", "猫 cat"], [[], [], ["猫 cat"], ["猫 cat"]]
    found = answer_items(own, references, chinese=chinese)
    assert found["f1"].tolist() == found["exact_match"].tolist() == [1.0, 0.0, 0.0, 1.0]
    scores = answer_scores(["", "cat", "cat"], [[], [], ["cat"]], chinese=chinese)
    assert (scores["f1(no answer)"], scores["f1(answer)"], scores["f1"]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert list(answer_scores(["cat"], [["cat"]], chinese=chinese)) == ["f1", "exact_match"]


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("name", ["f1", "exact_match"])
def test_weights_are_repetitions_of_questions(name: str, chinese: bool) -> None:
    own, references = random_answers(["猫", "狗 ", "cat ", "the ", "。", "3.5"], 40)
    random = np.random.default_rng(2)
    weights = np.vstack([np.ones(40, dtype=int), random.multinomial(40, np.ones(40) / 40, size=20)])
    score = answer_score_function(name, own, references, chinese=chinese)
    assert (score.correct_N is not None) == (name == "exact_match")
    for row, value in zip(weights, score(weights.astype(np.float64)), strict=True):
        drawn = np.repeat(np.arange(40), row)
        again = answer_scores([own[i] for i in drawn], [references[i] for i in drawn], chinese=chinese)
        assert value == pytest.approx(again[name], abs=1e-12)


@pytest.mark.real_data
def test_cmrc2018_is_cut_as_with_nltk(shared_data) -> None:
    """The official script's segments, with NLTK's word tokenizer for what is not Chinese, quotes turned back."""
    tokenizer = pytest.importorskip("nltk.tokenize.destructive", reason="NLTK").NLTKWordTokenizer()
    marks = [*"-:_*^/\\~`+=", *"，。：？！“”；’《》", "……", *"·、「」（）－～『』"]

    def official(text: str) -> list[str]:
        segments, stretch = [], ""
        for char in text.lower().strip():
            if char in marks:
                continue
            if "\u4e00" <= char <= "\u9fa5":
                segments += [*tokenizer.tokenize(stretch), char]
                stretch = ""
            else:
                stretch += char
        segments += tokenizer.tokenize(stretch)
        return ['"' if segment in ("``", "''") else segment for segment in segments]

    files = [shared_data / "cmrc2018" / f"cmrc2018_{part}.json" for part in ("dev", "trial")]
    texts = {text for file in files for known in answers_of(file) for text in known}
    apart = [text for text in texts if official(text) != _segments(text)]
    print(f"{len(apart)} of {len(texts)} are cut otherwise: {apart}")
    assert not apart


@pytest.mark.real_data
def test_an_annotator_against_another(shared_data) -> None:
    """CMRC 2018's last annotator against the first; the longest shared run by difflib."""
    answers = answers_of(shared_data / "cmrc2018" / "cmrc2018_dev.json")
    found = answer_items([known[-1] for known in answers], [known[:1] for known in answers], chinese=True)
    print({name: round(each.mean(), 4) for name, each in found.items()})
    pairs = [(_segments(known[-1]), _segments(known[0])) for known in answers]
    runs = [SequenceMatcher(None, *pair, autojunk=False).find_longest_match().size for pair in pairs]
    expected = [2 * run / sum(map(len, pair)) for run, pair in zip(runs, pairs, strict=True)]
    assert found["f1"] == pytest.approx(expected, abs=1e-12)
    assert (found["exact_match"] <= found["f1"]).all()
    assert found["exact_match"].mean() < found["f1"].mean() < 1


@pytest.mark.real_data
def test_xquad(shared_data) -> None:
    """Its answers are right; each against the next question's, as the official script has it."""
    answers = answers_of(shared_data / "xquad_en" / "xquad.en.json")
    own = [known[0] for known in answers]
    assert answer_scores(own, answers, chinese=False) == {"f1": 1.0, "exact_match": 1.0}
    found = answer_items(own[1:] + own[:1], answers, chinese=False)
    expected = [squad(p, r)[0] for p, r in zip(own[1:] + own[:1], answers, strict=True)]
    assert found["f1"] == pytest.approx(expected, abs=1e-12)
    assert 0 < found["f1"].mean() < 0.1
