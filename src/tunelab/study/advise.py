"""Before a study: which models and methods are worth one, what each would cost here, and why.

Facts of the data (read as `check` reads them) and of the machine (measured in under a second) go through
rules that every row's reason tells. Nothing is downloaded and nothing is trained: what is said of time and
memory is arithmetic (estimate.py), what is said of quality is expectation (rules.py).
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab import tasks
from tunelab.config import ModelConfig, StudyConfig
from tunelab.data.check import Finding, drop_unusable, stop_on_errors
from tunelab.errors import ConfigError, DataError
from tunelab.models import DEFAULT_LENGTH, PACKAGED, locate
from tunelab.study.catalogue import CATALOGUE, Known, find_known, kind_of, shape_of
from tunelab.study.estimate import Machine, measure_machine
from tunelab.study.facts import DataFacts, facts_of
from tunelab.study.prepare import examine
from tunelab.study.rules import NIGHT, MethodAdvice, ModelAdvice, Rules

__all__ = ["Advice", "advise"]


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
    effort, chosen, seconds = rules.shorten(first)
    return Advice(
        data=facts,
        machine=rules.here,
        models=models,
        methods=rules.methods(known, first),
        notes=tuple(_notes(rules, first, effort, chosen)),
        command=_command(config, first, chosen, effort),
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
            f"{error}\nMend the file first; `tunelab check {shlex.join(config.files)}` shows every finding"
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
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = shape_of(values)
    if shape is None:
        raise ConfigError(
            f"advise cannot count the parameters of {name!r} (model type {values.get('model_type')!r}); "
            "`tunelab compare` measures any model before it trains"
        )
    most = int(values.get("max_position_embeddings") or values.get("n_positions") or DEFAULT_LENGTH)
    unused = 2 if shape.family in ("roberta", "xlm-roberta") else 0
    return Known(name, shape, kind_of(values), (), most - unused, local=True)


def _notes(rules: Rules, first: ModelAdvice, effort: str, chosen: Sequence[str]) -> Iterable[str]:
    """What else to know, a sentence each."""
    facts, config = rules.facts, rules.config
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
            f"tunelab check {shlex.join(config.files)}"
        )
    if not first.ready:
        yield f"If the page of {first.name} has no safetensors, take the next model of the list."


def _command(config: StudyConfig, first: ModelAdvice, chosen: Sequence[str], effort: str) -> str:
    """What to type next; without a model that fits, to look for a smaller one."""
    if not first.fits:
        return "tunelab models"
    words = ["tunelab", "compare", *config.files, "--model", first.name, "--methods", ",".join(chosen)]
    words += ["--task", config.task] if config.task != "classify" else []
    for role in ("text", "text_pair", "label", "group"):
        column = getattr(config.data, role)
        words += [f"--{role.replace('_', '-')}", column] if column is not None else []
    words += ["--effort", effort] if effort != "standard" else []
    words += ["--rows", str(config.data.rows)] if config.data.rows is not None else []
    length = config.model.max_length
    if length is not None or first.max_length > DEFAULT_LENGTH:
        words.append(f"model.max_length={first.max_length}")
    return shlex.join(words)
