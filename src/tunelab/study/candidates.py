"""What is compared: methods, their variants, and models, each with a name of its own in the table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab import methods, tasks
from tunelab.config import ModelConfig, StudyConfig, build, merge_settings, parse_settings
from tunelab.errors import ConfigError

__all__ = ["Candidate", "candidates"]


@dataclass(frozen=True)
class Candidate:
    """One row of the table: a method with its own settings on one model."""

    name: str
    method: str
    settings: Mapping[str, Any]
    task_settings: Mapping[str, Any]
    model: ModelConfig


def candidates(config: StudyConfig) -> list[Candidate]:
    """Methods, then variants, on each model; every name and setting is checked before anything is read.

    >>> config = StudyConfig(files=("a.csv",), methods=("lora",), variants=("lora.rank=64",))
    >>> [candidate.name for candidate in candidates(config)]
    ['lora', 'lora.rank=64']

    Raises:
        ConfigError: an unknown method, setting or value, or a variant that is no METHOD.NAME=VALUE.
    """
    names = tuple(dict.fromkeys(config.methods)) or tuple(methods.METHODS)
    kind = tasks.find(config.task)
    ordinary = dict(config.task_settings)
    pairs = [(name, name, dict(config.settings.get(name, {})), ordinary) for name in names]
    for variant in dict.fromkeys(config.variants):
        method, own, of_task = _variant(variant, config.task)
        own = merge_settings(config.settings.get(method, {}), own)
        pairs.append((variant, method, own, merge_settings(ordinary, of_task)))
    known: dict[str, str] = {}
    for name, method, settings, of_task in pairs:
        shown = build(kind.Settings, of_task, where=config.task)
        resolved = f"{method} {methods.find(method).make(settings).settings!r} {shown!r}"
        if resolved in known:
            raise ConfigError(f"{name!r} is the same as {known[resolved]!r}: there is nothing to compare")
        known[resolved] = name
    models = tuple(dict.fromkeys(config.models)) or (config.model.name,)
    return [
        Candidate(
            name if len(models) == 1 else f"{name}@{_short(model, models)}",
            method,
            settings,
            of_task,
            config.model.model_copy(update={"name": model}),
        )
        for model in models
        for name, method, settings, of_task in pairs
    ]


def _variant(text: str, task: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The method, its settings, and the task's (`full,tag.head=crf`)."""
    words = re.split(r",(?=\w+\.\w+=)", text)
    bare = words.pop(0) if "=" not in words[0] else ""
    tree = parse_settings(words)
    of_task = tree.pop(task, {})
    tree = tree or {bare: {}}
    own = next(iter(tree.values()))
    fits = len(tree) == 1 and isinstance(own, dict) and isinstance(of_task, dict) and bare in ("", *tree)
    if not fits or tree == {"": {}}:
        raise ConfigError(
            f"variant {text!r} is not of the form METHOD.NAME=VALUE, as in lora.rank=64, "
            "lora.rank=64,lora.alpha=128, or METHOD,TASK.NAME=VALUE, as in full,tag.head=crf"
        )
    method = next(iter(tree))
    methods.find(method)
    return method, own, of_task


def _short(model: str, models: tuple[str, ...]) -> str:
    """The last part of a model's name, where that tells it from the others."""
    last = [Path(m).name for m in models]
    return Path(model).name if len(set(last)) == len(models) else model
