"""Rewards that a user names: a trained specialist, a function of one's own, or one that can be verified.

FOLDER            a bundle of tunelab: a reward model's score (prefer), a number (regress), or the
                  probability of a classifier's last label; one for pairs reads prompt and answer
FOLDER:LABEL      the probability of that label
file.py:function  reward(prompts, completions, rows) -> scores
exact_match[:COLUMN]  number_at_end[:COLUMN]  regex:PATTERN  length:WORDS  length:NUMBERcharacters
0.5*ANY           with a weight; several with " + " between are added
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from tunelab.errors import ConfigError, did_you_mean
from tunelab.rlhf.rewards import (
    Reward,
    Row,
    exact_match,
    length,
    load_reward,
    number_at_end,
    regular_expression,
    score,
    weighted_sum,
)
from tunelab.serve.predict import Specialist
from tunelab.tasks._policy import asked_of, row_of
from tunelab.tasks.base import Task

__all__ = ["check_rewards", "label_reward", "reward_of", "rewards_of", "stamp", "stamps"]

_WEIGHTED = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*\*\s*(.+)")
_LENGTH = re.compile(r"(\d+)\s*(words|characters)?")
_BUILT_IN = ("exact_match", "number_at_end", "regex", "length")


def rewards_of(task: Task, device: str) -> Mapping[str, Reward]:
    """The rewards that the task's settings name. Raises `ConfigError` where one is not to be had."""
    return {name: reward_of(name, device, task.continues) for name in task.rewards()}


def check_rewards(task: Task, frame: pd.DataFrame, device: str) -> None:
    """Asks every reward for a few answers to one prompt, an empty one among them, before anything is trained;
    raises `ConfigError` or `DataError` that says what is wrong with it."""
    made = ["", "Yes.", "It was a dark and stormy night; 42."]
    (item,) = frame.head(1).to_dict("records")
    row = row_of({str(name): cell for name, cell in item.items()})
    for name, reward in rewards_of(task, device).items():
        score(reward, name, [asked_of(item["text"])] * len(made), made, [row] * len(made))
        if name.partition(":")[0] in _BUILT_IN:  # (they cost nothing, and read a column of every row)
            items = [{str(k): v for k, v in own.items()} for own in frame.to_dict("records")]
            score(reward, name, [""] * len(items), [""] * len(items), [row_of(own) for own in items])


def stamp(text: str) -> str:
    """What tells a reward from another one that is written alike: the contents of the files that it names."""
    found = []
    for part in text.split(" + "):
        match = _WEIGHTED.fullmatch(part)
        name = (match[2] if match else part).strip()
        path = Path(name) if Path(name).exists() else Path(name.rpartition(":")[0] or ".")
        if path.suffix == ".py" and path.is_file():
            found.append(hashlib.sha256(path.read_bytes()).hexdigest())
        elif (path / "tunelab.json").is_file() and name:
            found.append(hashlib.sha256((path / "tunelab.json").read_bytes()).hexdigest())
    return " ".join(found)


def stamps(task_settings: Mapping[str, Any]) -> list[str]:
    """`stamp` of every reward that a task's settings name."""
    return [stamp(text) for role in ("reward", "judge") if (text := task_settings.get(role))]


def reward_of(text: str, device: str, continues: bool) -> Reward:
    """The reward that is written so; continues: answers go on with the prompt's own text, so that a judge of
    texts reads both together. It is made once for each content of the files that it names."""
    return _made(text, device, continues, stamp(text))


@cache
def _made(text: str, device: str, continues: bool, content: str) -> Reward:
    parts = [part.strip() for part in text.split(" + ")]
    if not all(parts):
        raise ConfigError(f"a reward is missing in {text!r}; give one, or several with ' + ' between")
    if len(parts) == 1 and not _WEIGHTED.fullmatch(parts[0]):
        return _single(parts[0], device, continues)
    if len(set(parts)) < len(parts):
        raise ConfigError(f"a reward stands twice in {text!r}; give it once, with a weight")
    found = {}
    for part in parts:
        match = _WEIGHTED.fullmatch(part)
        weight, name = (float(match[1]), match[2]) if match else (1.0, part)
        found[part] = (weight, _single(name, device, continues))
    return weighted_sum(found)


def label_reward(place: str, device: str) -> Specialist:
    """The specialist that says what a label of a text is worth; raises `ConfigError` where it is none."""
    specialist = Specialist.load(place, device)
    if not specialist.pairs or specialist.task != "regress":
        raise ConfigError(
            f"{place} does not give a text and a label a number: train one with tunelab run FILE --task "
            "regress --label reward data.text_pair=shown"
        )
    return specialist


def _single(text: str, device: str, continues: bool) -> Reward:
    word, _, rest = text.partition(":")
    if word in _BUILT_IN:
        return _built_in(word, rest, text)
    if re.search(r"\.py(:|$)", text):
        return load_reward(text)
    folder, _, label = (text, "", "") if Path(text).is_dir() or ":" not in text else text.rpartition(":")
    if not Path(folder).is_dir():
        raise ConfigError(
            f"unknown reward {text!r}: there is no such folder, and {did_you_mean(word, _BUILT_IN)}. Give a "
            "bundle of tunelab (FOLDER or FOLDER:LABEL), a function (file.py:function), or one of "
            f"{', '.join(_BUILT_IN)}"
        )
    return _of_bundle(Specialist.load(folder, device), folder, label, continues)


def _built_in(word: str, rest: str, text: str) -> Reward:
    if word == "regex":
        return regular_expression(rest)
    if word == "length":
        match = _LENGTH.fullmatch(rest.strip())
        if match is None:
            raise ConfigError(f"{text!r}: give a number, length:40 or length:120characters")
        return length(int(match[1]), "characters" if match[2] == "characters" else "words")
    make: Callable[..., Reward] = exact_match if word == "exact_match" else number_at_end
    return make(rest) if rest else make()


def _of_bundle(specialist: Specialist, folder: str, label: str, continues: bool) -> Reward:
    kind = specialist.task
    if kind == "prefer" and not label:
        return partial(_preferred, specialist)
    if kind not in ("classify", "regress", "match"):
        raise ConfigError(
            f"{folder} is a specialist for {kind}; a reward comes from one for classify, regress or match, "
            "or from a reward model (prefer)"
        )
    if not specialist.labels:
        if label:
            raise ConfigError(f"{folder} gives numbers and has no label {label!r}; leave it out")
        return partial(_number, specialist, continues)
    label = label or specialist.labels[-1]
    if label not in specialist.labels:
        raise ConfigError(f"{folder} has no label {label!r}; {did_you_mean(label, specialist.labels)}")
    return partial(_probability, specialist, label, continues)


def _read(
    specialist: Specialist, prompts: Sequence[str], completions: Sequence[str], continues: bool
) -> list[str] | list[tuple[str, str]]:
    """What a judge reads: of pairs the prompt and the answer; of texts the answers, or with `continues` the
    prompts as they go on."""
    if specialist.pairs:
        return list(zip(prompts, completions, strict=True))
    if not continues:
        return list(completions)
    return [
        p + (" " if c[:1].isascii() and c[:1].isalnum() else "") + c
        for p, c in zip(prompts, completions, strict=True)
    ]


def _probability(
    specialist: Specialist,
    label: str,
    continues: bool,
    prompts: Sequence[str],
    completions: Sequence[str],
    rows: Sequence[Row],
) -> list[float]:
    frame = specialist.predict_proba(_read(specialist, prompts, completions, continues))
    found: list[float] = frame[label].tolist()
    return found


def _number(
    specialist: Specialist,
    continues: bool,
    prompts: Sequence[str],
    completions: Sequence[str],
    rows: Sequence[Row],
) -> list[float]:
    return [float(value) for value in specialist.predict(_read(specialist, prompts, completions, continues))]


def _preferred(
    specialist: Specialist, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]
) -> list[float]:
    asked = [row.get("text", prompt) for prompt, row in zip(prompts, rows, strict=True)]
    frame = specialist.predict_frame(list(zip(asked, completions, strict=True)))
    found: list[float] = frame["prediction"].astype(float).tolist()
    return found
