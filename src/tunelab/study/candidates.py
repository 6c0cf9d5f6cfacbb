"""What is compared: methods, their variants, and models, each with a name of its own in the table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab import methods
from tunelab.config import ModelConfig, StudyConfig, merge_settings, parse_settings
from tunelab.errors import ConfigError

__all__ = ["Candidate", "candidates"]


@dataclass(frozen=True)
class Candidate:
    """One row of the table: a method with its own settings on one model."""

    name: str
    method: str
    settings: Mapping[str, Any]
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
    pairs = [(name, name, dict(config.settings.get(name, {}))) for name in names]
    for variant in dict.fromkeys(config.variants):
        method, own = _variant(variant)
        pairs.append((variant, method, merge_settings(config.settings.get(method, {}), own)))
    known: dict[str, str] = {}
    for name, method, settings in pairs:
        resolved = f"{method} {methods.find(method).make(settings).settings!r}"
        if resolved in known:
            raise ConfigError(f"{name!r} is the same as {known[resolved]!r}: there is nothing to compare")
        known[resolved] = name
    models = tuple(dict.fromkeys(config.models)) or (config.model.name,)
    return [
        Candidate(
            name if len(models) == 1 else f"{name}@{_short(model, models)}",
            method,
            settings,
            config.model.model_copy(update={"name": model}),
        )
        for model in models
        for name, method, settings in pairs
    ]


def _variant(text: str) -> tuple[str, dict[str, Any]]:
    tree = parse_settings(re.split(r",(?=\w+\.\w+=)", text))
    if len(tree) != 1 or not isinstance(own := next(iter(tree.values())), dict):
        raise ConfigError(
            f"variant {text!r} is not of the form METHOD.NAME=VALUE, as in lora.rank=64 or "
            "lora.rank=64,lora.alpha=128"
        )
    method = next(iter(tree))
    methods.find(method)
    return method, own


def _short(model: str, models: tuple[str, ...]) -> str:
    """The last part of a model's name, where that tells it from the others."""
    last = [Path(m).name for m in models]
    return Path(model).name if len(set(last)) == len(models) else model
