"""Rewards of answers that need no model: verifiable ones, a user's own function, and weighted sums of them.

A reward is a function `reward(prompts, completions, rows) -> scores`: texts of the prompts and of the
answers, and the row of the data that each prompt came from (column -> text); one finite number an answer,
more is better. `score` calls one and refuses what is not that.
"""

import importlib.util
import inspect
import math
import numbers
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tunelab.errors import ConfigError, DataError, did_you_mean

__all__ = [
    "Reward",
    "Row",
    "exact_match",
    "length",
    "load_reward",
    "number_at_end",
    "regular_expression",
    "score",
    "weighted_sum",
]

Row = Mapping[str, str]
Reward = Callable[[Sequence[str], Sequence[str], Sequence[Row]], Sequence[float]]

#: 12 -3 1,234.5 .5 and their like; not what ends a word ("v2"), and no minus in "3-5".
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])[-+−]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")


def exact_match(column: str = "label", *, ignore_case: bool = False) -> Reward:
    """1 where the answer is the text in `column`, else 0; runs of white space count as one space.

    >>> exact_match()(["2 + 2 ="], [" four "], [{"label": "four"}])
    [1.0]
    """

    def tidy(text: str) -> str:
        text = " ".join(text.split())
        return text.casefold() if ignore_case else text

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
        wanted = _column(rows, column)
        return [float(tidy(given) == tidy(right)) for given, right in zip(completions, wanted, strict=True)]

    return reward


def regular_expression(pattern: str, *, whole: bool = False) -> Reward:
    """1 where the pattern is found in the answer (`whole`: where it is the whole answer), else 0.

    >>> regular_expression(r"\\bthe end\\b")(["", ""], ["This is the end.", "the endless"], [{}, {}])
    [1.0, 0.0]

    Raises:
        ConfigError: the pattern is not a regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"the reward's pattern {pattern!r} is not a regular expression: {error}; a sign that is meant as "
            "itself, such as ( or *, takes a backslash before it"
        ) from error
    found = compiled.fullmatch if whole else compiled.search

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
        return [float(found(given) is not None) for given in completions]

    return reward


def number_at_end(column: str = "label", *, tolerance: float = 0.0) -> Reward:
    """1 where the last number of the answer is the last number of the text in `column`, else 0.

    Both are read as decimals, thousands with or without commas. An answer without a number scores 0.

    >>> number_at_end()(["6 * 7?"], ["6 * 7 is 6 * 6 + 6, that is 42."], [{"label": "#### 42"}])
    [1.0]
    """

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
        scores = []
        for i, (given, right) in enumerate(zip(completions, _column(rows, column), strict=True)):
            number, wanted = _last_number(given), _last_number(right)
            if wanted is None:
                raise DataError(
                    f"number_at_end: {_where(rows[i], i)} has no number in column {column!r}: {right[:60]!r}"
                )
            near = number is not None and abs(number - wanted) <= Decimal(str(tolerance))
            scores.append(float(near))
        return scores

    return reward


def length(target: int, unit: Literal["words", "characters"] = "words") -> Reward:
    """1 at `target` words or characters, falling in a straight line to 0 at none and at twice as many.

    Characters, white space not among them, are the unit for languages written without spaces.

    >>> length(4)(["", "", ""], ["one two three four", "one two", ""], [{}, {}, {}])
    [1.0, 0.5, 0.0]
    """
    if target < 1 or unit not in ("words", "characters"):
        raise ConfigError(
            f"length: target is {target}, unit {unit!r}; allowed: 1 or more, words or characters"
        )

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
        words = [given.split() for given in completions]
        counts = [len(w) if unit == "words" else sum(map(len, w)) for w in words]
        return [max(0.0, 1.0 - abs(count - target) / target) for count in counts]

    return reward


def weighted_sum(parts: Mapping[str, tuple[float, Reward]]) -> Reward:
    """The sum of weight * reward; the names are for messages.

    >>> both = weighted_sum({"match": (2.0, exact_match()), "length": (-0.5, length(1))})
    >>> both([""], ["four"], [{"label": "four"}])
    [1.5]

    Raises:
        ConfigError: no reward, or a weight that is not finite.
    """
    wrong = [name for name, (weight, _) in parts.items() if not math.isfinite(weight)]
    if wrong or not parts:
        raise ConfigError(f"a weighted sum needs rewards with finite weights; got {wrong or 'none'}")

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
        total = torch.zeros(len(completions), dtype=torch.float64)
        for name, (weight, part) in parts.items():
            total += weight * score(part, name, prompts, completions, rows)
        scores: list[float] = total.tolist()
        return scores

    return reward


def score(
    reward: Reward, name: str, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]
) -> Tensor:
    """The rewards of the answers, [B], float64 on the CPU, or a message that says what is wrong with them.

    Call it before training too, with a few rows and made-up answers, an empty one among them: a function
    that fails then fails early.

    Raises:
        ConfigError: the function raised, or gave another number of scores than there are answers, or
            something that is not a finite number.
    """
    try:
        given = reward(prompts, completions, rows)
    except (ConfigError, DataError):
        raise
    except Exception as error:  # the user's code may raise anything: the message says where it did
        raise ConfigError(
            f"reward {name!r} raised {type(error).__name__}: {error} ({_line_of(error)}), on "
            f"{len(completions)} answers, the first {_quote(completions)}"
        ) from error
    scores = _numbers(given, name)
    if len(scores) != len(completions):
        raise ConfigError(
            f"reward {name!r} gave {len(scores)} scores for {len(completions)} answers; it must give one for "
            "each, in their order"
        )
    for i, value in enumerate(scores):
        if not math.isfinite(value):
            raise ConfigError(
                f"reward {name!r} gave {value} for {_where(rows[i], i)}, answer {_quote(completions[i:])}; "
                "every score must be a finite number: decide what such an answer is worth, an empty one too"
            )
    return torch.tensor(scores, dtype=torch.float64)


def load_reward(place: str) -> Reward:
    """The function that `file.py:name` says; the file is run once, as a module of its own.

    Raises:
        ConfigError: no such file or function, the file cannot be run, or the function does not take
            (prompts, completions, rows).
    """
    file, colon, name = place.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not name.isidentifier():
        raise ConfigError(
            f"a reward of one's own is given as file.py:function, got {place!r}; for example "
            "rewards.py:politeness"
        )
    if not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r} for the reward {place!r}; seen from {Path.cwd()}")
    module = _run(path, place)
    public = {n: v for n, v in vars(module).items() if inspect.isfunction(v) and not n.startswith("_")}
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{path} has no {name!r}; {did_you_mean(name, public)}")
    if not callable(found):
        raise ConfigError(f"{name!r} in {path} is a {type(found).__name__}, not a function")
    try:
        inspect.signature(found).bind([], [], [])
    except TypeError as error:
        raise ConfigError(
            f"the reward {place!r} must take (prompts, completions, rows): {error}; it is written "
            f"{name}{inspect.signature(found)}"
        ) from error
    reward: Reward = found
    return reward


def _run(path: Path, place: str) -> Any:
    """The file as a module, under a name that nothing else has, so that it can be pickled by reference."""
    name = f"tunelab_reward_{path.stem}_{abs(hash(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(
            f"the reward {place!r} cannot be loaded, {path} raised {type(error).__name__}: {error} "
            f"({_line_of(error)})"
        ) from error
    return module


def _numbers(given: Any, name: str) -> list[float]:
    if hasattr(given, "tolist"):  # torch, numpy, pandas
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigError(f"reward {name!r} gave a {type(given).__name__}, not a list of scores")
    for i, value in enumerate(given):
        if not isinstance(value, numbers.Real):
            raise ConfigError(
                f"reward {name!r} gave {value!r}, a {type(value).__name__}, as score {i} (counted from 0); "
                "every score must be a number"
            )
    return [float(value) for value in given]


def _column(rows: Sequence[Row], column: str) -> list[str]:
    for i, row in enumerate(rows):
        if column not in row:
            raise DataError(
                f"the reward reads column {column!r}, which {_where(row, i)} has not; "
                f"{did_you_mean(column, row)}"
            )
    return [row[column] for row in rows]


def _last_number(text: str) -> Decimal | None:
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "").replace("−", "-")) if found else None


def _where(row: Row, index: int) -> str:
    """Where the user finds a row: as the table says it, else its place in the batch."""
    if row.get("file") and row.get("row"):
        return f"{row['file']} row {row['row']}"
    return f"answer {index} of the batch (counted from 0)"


def _quote(completions: Sequence[str]) -> str:
    return repr(completions[0][:80]) if completions else "(none)"


def _line_of(error: BaseException) -> str:
    """File and line in which the user's code raised."""
    trace, last = error.__traceback__, "no line known"
    while trace is not None:
        code = trace.tb_frame.f_code
        if Path(code.co_filename) != Path(__file__) and "importlib" not in code.co_filename:
            last = f"{Path(code.co_filename).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return last
