"""Rewards: what they score, and that faults of a user's function are told before they cost anything."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunelab.errors import ConfigError, DataError
from tunelab.rlhf.rewards import (
    Reward,
    exact_match,
    length,
    load_reward,
    number_at_end,
    regular_expression,
    score,
    weighted_sum,
)


def scores(reward: Reward, completions: Sequence[str], labels: Sequence[str] | None = None) -> list[float]:
    rows = [{"label": label} for label in (labels or [""] * len(completions))]
    return score(reward, "tested", [""] * len(completions), completions, rows).tolist()


def test_exact_match() -> None:
    given = ["Paris", " paris\n", "Paris, France", "", "New  York"]
    assert scores(exact_match(), given, ["Paris", "Paris", "Paris", "", "New York"]) == [1, 0, 0, 1, 1]
    assert scores(exact_match(ignore_case=True), given[:2], ["PARIS", "Paris"]) == [1, 1]


def test_regular_expression() -> None:
    given = ["<answer>4</answer>", "the <answer>4</answer>", "4"]
    pattern = r"<answer>\d+</answer>"
    assert scores(regular_expression(pattern), given) == [1, 1, 0]
    assert scores(regular_expression(pattern, whole=True), given) == [1, 0, 0]
    with pytest.raises(ConfigError, match="not a regular expression"):
        regular_expression("(unclosed")


@pytest.mark.parametrize(
    ("answer", "label", "right"),
    [
        ("so it is 42.", "42", 1),
        ("42, not 43", "42", 0),
        ("He pays $1,234.50 in all", "1234.5", 1),
        ("1234567", "1,234,567", 1),
        ("minus: -7", "-7", 1),
        ("minus: −7", "-7", 1),  # the sign that typography uses
        ("from 3-5", "5", 1),  # a range, no minus
        ("3 apples for version v2", "3", 1),
        ("答案是42。", "#### 42", 1),
        ("about .5", "0.5", 1),
        ("0.1 + 0.2 = 0.3", "0.30", 1),
        ("I do not know", "42", 0),
        ("", "42", 0),
    ],
)
def test_number_at_end(answer: str, label: str, right: int) -> None:
    assert scores(number_at_end(), [answer], [label]) == [right]


def test_number_within_tolerance() -> None:
    given = ["3.14", "3.15", "3.16"]
    assert scores(number_at_end(tolerance=0.01), given, ["3.15"] * 3) == [1, 1, 1]
    assert scores(number_at_end(tolerance=0.005), given, ["3.15"] * 3) == [0, 1, 0]


def test_length() -> None:
    given = ["", "one", "one two", "one two three", "one two three four", "a b c d e f"]
    assert scores(length(2), given) == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    assert scores(length(4, "characters"), ["天气 很好", "天气", "天气很好吗"]) == [1.0, 0.5, 0.75]
    with pytest.raises(ConfigError, match="target is 0"):
        length(0)


def test_weighted_sum() -> None:
    mixed = weighted_sum({"match": (2.0, exact_match()), "short": (-0.5, length(1))})
    assert scores(mixed, ["four", "a b", "five"], ["four"] * 3) == [1.5, 0.0, -0.5]
    bad = weighted_sum({"match": (1.0, exact_match()), "mine": (1.0, lambda p, c, r: [math.nan])})
    with pytest.raises(ConfigError, match="reward 'mine' gave nan"):
        scores(bad, ["x"])
    with pytest.raises(ConfigError, match=r"finite weights; got \['match'\]"):
        weighted_sum({"match": (math.inf, exact_match())})
    with pytest.raises(ConfigError, match="got none"):
        weighted_sum({})


@pytest.mark.parametrize(
    "given",
    [[0.5, 1], (0.5, True), np.array([0.5, 1.0], np.float32), torch.tensor([0.5, 1.0], requires_grad=True)],
)
def test_many_kinds_of_numbers_are_scores(given: Any) -> None:
    found = score(lambda p, c, r: given, "mine", ["", ""], ["a", "b"], [{}, {}])
    assert found.dtype == torch.float64
    assert found.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0], "gave 1 scores for 2 answers"),
        ([1.0] * 3, "gave 3 scores for 2 answers"),
        ([1.0, math.nan], "gave nan for reviews.csv row 7, answer 'second'"),
        ([math.inf, 1.0], "gave inf for answer 0 of the batch (counted from 0), answer 'first'"),
        ([1.0, None], "gave None, a NoneType, as score 1"),
        ([1.0, "good"], "gave 'good', a str, as score 1"),
        ([[1.0], [2.0]], "gave [1.0], a list, as score 0"),
        (np.ones((2, 2)), "gave [1.0, 1.0], a list, as score 0"),
        (1.0, "gave a float, not a list"),
        ("11", "gave a str, not a list"),
        (None, "gave a NoneType, not a list"),
    ],
)
def test_what_is_not_a_score_is_refused(given: Any, words: str) -> None:
    rows = [{}, {"file": "reviews.csv", "row": "7"}]
    with pytest.raises(ConfigError) as caught:
        score(lambda p, c, r: given, "mine", ["", ""], ["first", "second"], rows)
    assert "reward 'mine'" in str(caught.value)
    assert words in str(caught.value)


def test_rows_without_what_a_reward_reads() -> None:
    with pytest.raises(DataError, match=r"column 'labl', which s\.csv row 3 has not; did you mean 'label'"):
        score(exact_match("labl"), "m", [""], ["a"], [{"label": "a", "file": "s.csv", "row": "3"}])
    with pytest.raises(DataError, match="has no number in column 'label': 'four'"):
        scores(number_at_end(), ["4"], ["four"])


OWN = """
def polite(prompts, completions, rows):
    return [float("please" in c) for c in completions]

def strict(prompts, completions):
    return []

def failing(prompts, completions, rows):
    return [1 / len(c) for c in completions]

limit = 3
"""


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    assert scores(load_reward(f"{file}:polite"), ["yes please", "no"]) == [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"ZeroDivisionError.* \(own.py, line 9\), on 2 answers") as caught:
        score(load_reward(f"{file}:failing"), "failing", [""] * 2, ["", "b"], [{}] * 2)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("own.py", "given as file.py:function"),
        ("own.txt:polite", "given as file.py:function"),
        ("none.py:polite", "there is no file"),
        ("own.py:polit", "did you mean 'polite'"),
        ("own.py:limit", "'limit' in .*own.py is a int, not a function"),
        ("own.py:strict", r"must take \(prompts, completions, rows\).*strict\(prompts, completions\)"),
        ("broken.py:polite", r"raised NameError: .* \(broken.py, line 2\)"),
        ("syntax.py:polite", r"raised SyntaxError: .*"),
    ],
)
def test_what_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, words: str
) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import math\nnothing_known\n", encoding="utf-8")
    (tmp_path / "syntax.py").write_text("def polite(:\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        load_reward(place)
