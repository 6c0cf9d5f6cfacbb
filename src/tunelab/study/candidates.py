"""What is compared: methods, their variants, and models, each with a name of its own in the table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunelab import methods, tasks
from tunelab.config import (
    AugmentConfig,
    ModelConfig,
    StudyConfig,
    TrainConfig,
    build,
    merge_settings,
    parse_settings,
)
from tunelab.errors import ConfigError
from tunelab.study.recipes import check_recipe

__all__ = ["OWN", "Candidate", "candidates"]

#: Settings of the training in which variants may differ: all else is alike, or methods are not compared.
OWN = ("r_drop", "ema", "swa", "weight_decay")


@dataclass(frozen=True)
class Candidate:
    """One row of the table: a method with its own settings on one model, with new training rows or without.

    plain: the row that differs in nothing but its training rows; "" where this is it. train: settings of the
    training that it has for itself, of `OWN`.
    """

    name: str
    method: str
    settings: Mapping[str, Any]
    task_settings: Mapping[str, Any]
    model: ModelConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    plain: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)


def candidates(config: StudyConfig) -> list[Candidate]:
    """Methods, then variants, on each model, and with a recipe of augmentation each once more with new rows;
    every name and setting is checked before anything is read.

    >>> config = StudyConfig(files=("a.csv",), methods=("lora",), variants=("lora.rank=64",))
    >>> [candidate.name for candidate in candidates(config)]
    ['lora', 'lora.rank=64']

    >>> config = StudyConfig(files=("a.csv",), methods=("lora",), augment={"recipe": "auto"})
    >>> [candidate.name for candidate in candidates(config)]
    ['lora', 'lora+augment']

    Raises:
        ConfigError: an unknown method, setting, value or way of augmentation, or a variant that is no
            METHOD.NAME=VALUE.
    """
    check_recipe(config.augment, config.task)
    names = tuple(dict.fromkeys(config.methods)) or tuple(methods.METHODS)
    kind = tasks.find(config.task)
    ordinary = dict(config.task_settings)
    none: dict[str, Any] = {}
    pairs = [(name, name, dict(config.settings.get(name, {})), ordinary, none) for name in names]
    for variant in dict.fromkeys(config.variants):
        method, own, of_task, of_train = _variant(variant, config.task)
        build(TrainConfig, {**config.train.model_dump(), **of_train}, where="train")
        own = merge_settings(config.settings.get(method, {}), own)
        pairs.append((variant, method, own, merge_settings(ordinary, of_task), of_train))
    known: dict[str, str] = {}
    for name, method, settings, of_task, of_train in pairs:
        shown = build(kind.Settings, of_task, where=config.task)
        resolved = f"{method} {methods.find(method).make(settings).settings!r} {shown!r} {of_train!r}"
        if resolved in known:
            raise ConfigError(f"{name!r} is the same as {known[resolved]!r}: there is nothing to compare")
        known[resolved] = name
    models = tuple(dict.fromkeys(config.models)) or (config.model.name,)
    found = []
    for model in models:
        at = "" if len(models) == 1 else f"@{_short(model, models)}"
        opened = config.model.model_copy(update={"name": model})
        for name, method, settings, of_task, of_train in pairs:
            plain = Candidate(f"{name}{at}", method, settings, of_task, opened, train=of_train)
            found.append(plain)
            if config.augment.recipe:
                new = f"{name}+augment{at}"
                found.append(replace(plain, name=new, augment=config.augment, plain=plain.name))
    return found


def _variant(text: str, task: str) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The method, its settings, the task's (`full,tag.head=crf`), the training's (`full,train.ema=0.99`)."""
    words = re.split(r",(?=\w+\.\w+=)", text)
    bare = words.pop(0) if "=" not in words[0] else ""
    tree = parse_settings(words)
    of_task = tree.pop(task, {})
    of_train = tree.pop("train", {})
    if not isinstance(of_train, dict) or set(of_train) - set(OWN):
        raise ConfigError(
            f"variant {text!r}: of the training's settings variants may differ in "
            f"{', '.join(f'train.{name}' for name in OWN)}; the others are one for a whole study"
        )
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
    return method, own, of_task, of_train


def _short(model: str, models: tuple[str, ...]) -> str:
    """The last part of a model's name, where that tells it from the others."""
    last = [Path(m).name for m in models]
    return Path(model).name if len(set(last)) == len(models) else model
