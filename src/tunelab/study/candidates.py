"""What is compared: methods, their variants, and models, each with a name of its own in the table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tunelab import methods, tasks
from tunelab.config import (
    AugmentConfig,
    ModelConfig,
    Section,
    StudyConfig,
    TrainConfig,
    build,
    merge_settings,
    parse_settings,
)
from tunelab.errors import ConfigError
from tunelab.study.own_files import in_settings, in_variant, named, resolved
from tunelab.study.recipes import check_recipe
from tunelab.study.rewarding import stamps

__all__ = ["OWN", "OWN_OF_MODEL", "Candidate", "candidates", "firsts_of"]

S = TypeVar("S", bound=Section)

#: Settings of the training in which variants may differ: all else is alike, or methods are not compared.
OWN = ("r_drop", "ema", "swa", "weight_decay")
#: Those of the model: they change neither tokens nor what frozen layers give, so that variants share both.
OWN_OF_MODEL = ("dropout", "embedding_dropout", "attention_dropout", "classifier_dropout")


@dataclass(frozen=True)
class Candidate:
    """One row of the table: a method with its own settings on one model, with new training rows or without.

    plain: the row that differs in nothing but its training rows; "" where this is it. train: settings of the
    training that it has for itself, of `OWN`; those of the model are in `model`. own: what a variant has for
    itself besides its method's settings, by path ("train.ema"), for the record. at: what its model is called
    where there are several.
    """

    name: str
    method: str
    settings: Mapping[str, Any]
    task_settings: Mapping[str, Any]
    model: ModelConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    plain: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""


def firsts_of(entries: Sequence[Candidate]) -> list[Candidate]:
    """The first row of each model."""
    found: dict[str, Candidate] = {}
    for entry in entries:
        found.setdefault(entry.model.name, entry)
    return list(found.values())


@dataclass(frozen=True)
class _Row:
    """A method or a variant of one: what it sets of the method, the task, the training and the model."""

    name: str
    method: str
    settings: Mapping[str, Any]
    task: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    def own(self, task: str) -> dict[str, Any]:
        """What it sets besides its method, by path."""
        parts = {task: in_settings(named, self.task), "train": self.train, "model": self.model}
        return {f"{part}.{name}": value for part, of in parts.items() for name, value in of.items()}


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
    rows = [_Row(name, name, dict(config.settings.get(name, {}))) for name in names]
    for variant in dict.fromkeys(in_variant(resolved, text) for text in config.variants):
        row = _variant(variant, config)
        rows.append(replace(row, settings=merge_settings(config.settings.get(row.method, {}), row.settings)))
    _check_different(rows, config)
    rows = _with_short_names(rows)
    models = tuple(dict.fromkeys(config.models)) or (config.model.name,)
    found = []
    for model in models:
        short = "" if len(models) == 1 else _short(model, models)
        at = f"@{short}" if short else ""
        for row in rows:
            plain = Candidate(
                name=f"{row.name}{at}",
                method=row.method,
                settings=row.settings,
                task_settings=merge_settings(config.task_settings, row.task),
                model=config.model.model_copy(update={**row.model, "name": model}),
                train=row.train,
                own=row.own(config.task),
                at=short,
            )
            found.append(plain)
            if config.augment.recipe:
                new = f"{row.name}+augment{at}"
                found.append(replace(plain, name=new, augment=config.augment, plain=plain.name))
    return found


def _check_different(rows: Sequence[_Row], config: StudyConfig) -> None:
    """No two rows may come to the same settings, a default that is written out among them, nor to files of
    the same name with the same text: their runs would be one."""
    kind = tasks.find(config.task)
    known: dict[str, str] = {}
    for row in rows:
        whole = merge_settings(config.task_settings, row.task)
        code = kind.own_code(build(kind.Settings, whole, where=config.task)), stamps(whole)
        of_task = build(kind.Settings, in_settings(named, whole), where=config.task)
        of_train = _with_own(config.train, row.train, "train")
        of_model = _with_own(config.model, row.model, "model")
        of_method = methods.find(row.method).make(row.settings).settings
        settings = f"{row.method} {of_method!r} {of_task!r} {of_train!r} {of_model!r} {code!r}"
        if settings in known:
            raise ConfigError(f"{row.name!r} is the same as {known[settings]!r}: there is nothing to compare")
        known[settings] = row.name


def _with_short_names(rows: Sequence[_Row]) -> list[_Row]:
    """Files of the user's by their names alone, where these tell the rows apart."""
    short = [in_variant(named, row.name) for row in rows]
    return [
        replace(row, name=name if short.count(name) == 1 else row.name)
        for row, name in zip(rows, short, strict=True)
    ]


def _with_own(shared: S, own: Mapping[str, Any], where: str) -> S:
    """A study's settings with a variant's own. Raises `ConfigError`, with the setting's path."""
    return build(type(shared), {**shared.model_dump(), **own}, where=where)


def _variant(text: str, config: StudyConfig) -> _Row:
    """What is written so: `lora.rank=64`, `full,tag.head=crf`, `full,train.ema=0.99`, `lora,model.dropout=0`.

    Raises:
        ConfigError: it is no variant, or sets what is one for a whole study.
    """
    words = re.split(r",(?=\w+\.\w+=)", text)
    bare = words.pop(0) if "=" not in words[0] else ""
    tree = parse_settings(words)
    of_task = tree.pop(config.task, {})
    of_train = _own(tree.pop("train", {}), config.train, text)
    of_model = _own(tree.pop("model", {}), config.model, text)
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
    return _Row(text, method, own, of_task, of_train, of_model)


def _own(given: Any, shared: TrainConfig | ModelConfig, variant: str) -> dict[str, Any]:
    """What a variant sets of the training or the model, checked."""
    kind = "training" if isinstance(shared, TrainConfig) else "model"
    where, allowed = ("train", OWN) if kind == "training" else ("model", OWN_OF_MODEL)
    if not isinstance(given, dict) or set(given) - set(allowed):
        raise ConfigError(
            f"variant {variant!r}: of the {kind}'s settings variants may differ in "
            f"{', '.join(f'{where}.{name}' for name in allowed)}; the others are one for a whole study"
        )
    checked = _with_own(shared, given, where)
    return {name: getattr(checked, name) for name in given}


def _short(model: str, models: tuple[str, ...]) -> str:
    """The last part of a model's name, where that tells it from the others."""
    last = [Path(m).name for m in models]
    return Path(model).name if len(set(last)) == len(models) else model
