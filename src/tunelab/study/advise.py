"""Before a study: which models and methods are worth one, what each would cost here, and why.

Facts of the data (read as `check` reads them) and of the machine (measured in under a second) go through
rules that every row's reason tells. Nothing is downloaded and nothing is trained: what is said of time and
memory is arithmetic (estimate.py), what is said of quality is expectation (rules.py).
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunelab import tasks
from tunelab.config import ModelConfig, StudyConfig, parse_settings
from tunelab.data.check import Finding, drop_unusable, stop_on_errors
from tunelab.errors import ConfigError, DataError
from tunelab.models import DEFAULT_LENGTH, PACKAGED, configuration, locate
from tunelab.study.catalogue import CATALOGUE, Known, find_known, kind_of, shape_of
from tunelab.study.estimate import Machine, measure_machine
from tunelab.study.facts import DataFacts, facts_of
from tunelab.study.prepare import examine
from tunelab.study.rules import NIGHT, MethodAdvice, ModelAdvice, Rules

__all__ = ["Advice", "advise"]

#: Settings of columns that `check` and `compare` also take as an option.
_OPTIONS = {f"data.{role}": f"--{role.replace('_', '-')}" for role in ("text", "text_pair", "label", "group")}
#: Settings of a study that stand in no section; methods, models and effort are the advice's own.
_OF_A_STUDY = ("settings", "variants", "baselines", "seeds", "curve", "race", "keep", "workers")


@dataclass(frozen=True)
class Advice:
    """Facts, models (the one to take first), methods, notes, and the command to type next.

    effort: that the models' study times are for; command_seconds: what the command takes, roughly; findings:
    the data doctor's.
    """

    data: DataFacts
    machine: Machine
    models: tuple[ModelAdvice, ...]
    methods: tuple[MethodAdvice, ...]
    notes: tuple[str, ...]
    command: str
    command_seconds: float
    effort: str
    findings: tuple[Finding, ...]


def advise(
    config: StudyConfig, device: str, own: str | None = None, machine: Machine | None = None
) -> Advice:
    """The advice for a study's files.

    own: a model that is judged too, and first: a local folder, a packaged or a well-known one; machine: as
    measured before; None: measured now.

    Raises:
        DataError: the data cannot be read, or must be mended first. ConfigError: `own` cannot be judged
            without a network, or no known model suits the task.
    """
    kind = tasks.find(config.task)
    mine = None if own is None else _own(own)
    table, findings = examine(config.files, config.task, config.data, None)
    _stop(findings, config)
    table, _ = drop_unusable(table, kind.needs_labels)
    facts, load = facts_of(table, kind, config, findings)
    rules = Rules(config, facts, load, machine or measure_machine(device), kind)
    models = rules.models(mine)
    if not models:
        raise ConfigError(f"no well-known model suits task {config.task}; give your own with --model")
    first = models[0]
    known = mine if mine is not None else find_known(first.name)
    effort, chosen, _ = rules.shorten(first)
    compared, seconds = rules.worth(models, chosen, effort)
    return Advice(
        data=facts,
        machine=rules.here,
        models=models,
        methods=rules.methods(known, first),
        notes=tuple(_notes(rules, compared, effort, chosen)),
        command=_command(config, compared, chosen, effort, device),
        command_seconds=seconds,
        effort=config.effort,
        findings=tuple(findings),
    )


def _stop(findings: Sequence[Finding], config: StudyConfig) -> None:
    """Raises `DataError` where the file must be mended first."""
    try:
        stop_on_errors(findings)
    except DataError as error:
        raise DataError(
            f"{error}\nMend the file first; `{_check_command(config)}` shows every finding"
        ) from None


def _own(name: str) -> Known:
    """The user's model: a folder, whose configuration is read, or a well-known one.

    Raises:
        ConfigError: it is neither. ModelError: the folder holds no model.
    """
    is_folder = Path(name).expanduser().is_dir()
    if not is_folder and name.lower() in {known.name.lower() for known in CATALOGUE}:
        return find_known(name)
    if not is_folder and name.lower() not in PACKAGED:
        raise ConfigError(
            f"advise downloads nothing, so it cannot look at model {name!r}: give a local folder, or one of "
            f"{', '.join(known.name for known in CATALOGUE)}"
        )
    folder = locate(ModelConfig(name=name)).folder
    values = configuration(folder)
    shape = shape_of(values)
    if shape is None:
        raise ConfigError(
            f"advise cannot count the parameters of {name!r} (model type {values.get('model_type')!r}); "
            "`tunelab compare` measures any model before it trains"
        )
    most = int(values.get("max_position_embeddings") or values.get("n_positions") or DEFAULT_LENGTH)
    unused = 2 if shape.family in ("roberta", "xlm-roberta") else 0
    return Known(name, shape, kind_of(values), (), most - unused, local=True)


def _notes(
    rules: Rules, compared: Sequence[ModelAdvice], effort: str, chosen: Sequence[str]
) -> Iterable[str]:
    """What else to know, a sentence each."""
    facts, config, first = rules.facts, rules.config, compared[0]
    if config.models:
        yield f"The models are those you gave ({', '.join(config.models)}); the time is that of {first.name}."
    elif len(compared) > 1:
        yield (
            f"{first.name} and {compared[1].name} are both worth a study: which suits your texts cannot be "
            f"told beforehand. --model {shlex.quote(first.name)} instead of --models takes less time."
        )
    if facts.folds > 1:
        yield (
            f"Every row is judged once, in {facts.folds} folds: with so few rows a tenth for the test would "
            "tell no methods apart."
        )
    if rules.few:
        yield (
            "Few rows a class: prefer methods with few trained numbers, and expect wide intervals. More "
            "labelled rows may be worth more than a better method (compare --curve 25,50,100 tells)."
        )
    if config.model.max_length is None and first.max_length > DEFAULT_LENGTH:
        yield (
            f"{100 * rules.share_over(DEFAULT_LENGTH):.0f} % of the texts have more than {DEFAULT_LENGTH} "
            "tokens, where they are cut by default, so the command raises model.max_length. Leave that out "
            "if the beginning of a text tells its label: it takes less time."
        )
    over = rules.share_over(first.max_length)
    if over > 0.05 and config.model.max_length is None:
        yield (
            f"{100 * over:.0f} % of the texts are still cut at {first.max_length} tokens. Models that read "
            "more (ModernBERT 8,192, Qwen3 32,768) can be given more with model.max_length and a small "
            "train.micro_batch_size; time and memory grow with it."
        )
    left_out = [name for name in first.costs if name not in chosen]
    if effort != config.effort or left_out:
        yield (
            f"At {config.effort} effort with every method above it would take more than "
            f"{NIGHT / 3600:.0f} hours, so the command is shorter: {effort} effort"
            + (f", without {', '.join(left_out)}" if left_out else "")
            + ". --rows 1000, train.epochs=1 or a smaller model shorten it further."
        )
    if facts.warnings:
        yield (
            f"The data doctor has {facts.warnings} warning{'s' if facts.warnings > 1 else ''}: "
            f"{_check_command(config)}"
        )
    if not first.ready:
        yield (
            f"If the page of {first.name} has no safetensors, `compare` says how they are to be had; or take "
            "the next model of the list."
        )


def _command(
    config: StudyConfig, compared: Sequence[ModelAdvice], chosen: Sequence[str], effort: str, device: str
) -> str:
    """What to type next, with every setting that was given; without a model that fits, to look for a smaller
    one."""
    first = compared[0]
    if not first.fits:
        return "tunelab models"
    names = config.models or [model.name for model in compared]
    words = ["tunelab", "compare", *config.files]
    words += ["--models" if len(names) > 1 else "--model", ",".join(names), "--methods", ",".join(chosen)]
    words += ["--task", config.task] if config.task != "classify" else []
    words += ["--effort", effort] if effort != "standard" else []
    words += ["--device", device] if device != ("cuda" if torch.cuda.is_available() else "cpu") else []
    given = _given(config, "data", "augment", "model", "loss", "train", "search", "speed", *_OF_A_STUDY)
    length = config.model.max_length
    given.pop("model.name", None)
    if not config.models and (length is not None or first.max_length > DEFAULT_LENGTH):
        given["model.max_length"] = first.max_length
    return shlex.join([*words, *_words(given)])


def _check_command(config: StudyConfig) -> str:
    """What shows the data doctor's findings on the same rows."""
    task = ["--task", config.task] if config.task != "classify" else []
    return shlex.join(["tunelab", "check", *config.files, *task, *_words(_given(config, "data"))])


def _given(config: StudyConfig, *sections: str) -> dict[str, Any]:
    """Path -> value of what is not as by default in these sections, and in the task's own settings."""
    tree = config.model_dump(mode="json", exclude_defaults=True, include={*sections, "task_settings"})
    own, of_methods = tree.pop("task_settings", {}), tree.pop("settings", {})
    return dict(_paths({**tree, config.task: own, **of_methods}))


def _paths(tree: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """
    >>> list(_paths({"lora": {"rank": 16}, "seeds": 2}))
    [('lora.rank', 16), ('seeds', 2)]
    """
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.")
        else:
            yield before + name, value


def _words(given: Mapping[str, Any]) -> Iterable[str]:
    """Settings as words of the command line; columns that have an option by it."""
    for path, value in given.items():
        if path in _OPTIONS:
            yield from (_OPTIONS[path], str(value))
        else:
            yield f"{path}={_yaml(value)}"


def _yaml(value: Any) -> str:
    """A value as the command line reads it: a text bare where it stays one.

    >>> _yaml("bar"), _yaml("|"), _yaml("yes"), _yaml(True), _yaml(["a,b"])
    ('bar', '|', '"yes"', 'true', '["a,b"]')
    """
    quoted = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return quoted
    read = {text: parse_settings([f"x={text}"])["x"] for text in (value, quoted)}
    return quoted if read[quoted] == value != read[value] else value
