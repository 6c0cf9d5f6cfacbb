"""Every setting tunelab has: typed, frozen, with its meaning and unit beside it.

A run is described by a `RunConfig`, a study by a `StudyConfig`. Settings come as keyword
arguments, from a YAML file or as `section.name=value` words; all ways meet in `build`, which
reports every mistake at once, with the nearest known name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tunelab.errors import ConfigError, did_you_mean

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "RunConfig",
    "SearchConfig",
    "Section",
    "SpeedConfig",
    "StudyConfig",
    "TrainConfig",
    "build",
    "is_setting",
    "load_settings_file",
    "merge_settings",
    "parse_settings",
    "seconds_of",
]


def _words(value: object) -> object:
    """A single word, or several with commas between, as from a command line."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Section(BaseModel):
    """A group of settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """Which columns are read and how the rows are divided; a column's number may be given for its name."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    text: str | None = Field(None, description="column with the text; found by its name when not given")
    text_pair: str | None = Field(None, description="column with the second text, for tasks on pairs")
    label: str | None = Field(None, description="column with the label; found by its name when not given")
    group: str | None = Field(None, description="rows with the same value here stay on one side of a split")
    ends: Literal["inclusive", "exclusive"] | None = Field(
        None, description="tag: whether an entity's end is its last character or the one after it"
    )
    input: str | None = Field(None, description="instruct: column with what an instruction is about")
    system: str | None = Field(None, description="instruct: column with the system prompt")
    history: str | None = Field(None, description="instruct: column with earlier questions and answers")
    chosen: str | None = Field(None, description="prefer, align: column with the better answer")
    rejected: str | None = Field(None, description="prefer, align: column with the worse answer")
    votes: str | None = Field(
        None, description="prefer, align: columns with annotators' votes (A,B,C), or one with their share"
    )
    shown: str | None = Field(None, description="feedback: column with the label that was shown")
    reward: str | None = Field(None, description="feedback: column with the reward of that label")
    propensity: str | None = Field(
        None, description="feedback: column with the probability with which it was shown"
    )
    margin: str | None = Field(None, description="prefer: column that says by how much chosen is better")
    labels: str | None = Field(
        None, description="multilabel: columns of 0 and 1, one for each label (toxic,insult,threat)"
    )
    separator: str | None = Field(
        None, description="multilabel: what stands between labels in a cell (bar, comma, semicolon, a sign)"
    )
    valid_ratio: float = Field(0.1, gt=0, lt=0.5, description="share of rows for validation")
    test_ratio: float = Field(0.1, gt=0, lt=0.5, description="share of rows for the test")
    folds: int | Literal["auto"] = Field(
        "auto", description="cross-validation folds; 0 or 1: one split; auto: folds under 2,000 rows"
    )
    rows: int | None = Field(None, ge=20, description="train on at most this many rows (a stratified sample)")
    split_seed: int = Field(0, ge=0, description="seed of the split; the same for every method and run seed")
    fix: bool = Field(False, description="mend what can be mended safely before splitting")

    @model_validator(mode="after")
    def _ranges(self) -> "DataConfig":
        if isinstance(self.folds, int) and not (0 <= self.folds <= 20):
            raise ValueError("folds must be 0 to 20, or auto")
        return self


class ModelConfig(Section):
    """Which pretrained model, and how it is opened."""

    name: str = Field(
        "minilm",
        description="local folder, hub id, or packaged alias (`tunelab models`); for Chinese texts: mini-zh",
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    source: Literal["hub", "modelscope"] = Field(
        "hub", description="where a name that is no folder is looked up"
    )
    max_length: int | None = Field(
        None,
        ge=8,
        le=131072,
        description="tokens of a text that are kept, specials included; None: 256, or what the model knows",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="hidden dropout; None keeps the model's own")
    embedding_dropout: float | None = Field(
        None, ge=0, lt=1, description="of the embeddings alone; None: as dropout, or the model's own"
    )
    attention_dropout: float | None = Field(None, ge=0, lt=1, description="None keeps the model's own")
    classifier_dropout: float | None = Field(None, ge=0, lt=1, description="None keeps the model's own")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto", description="attention implementation; auto takes the faster one for the length and device"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")


class LossConfig(Section):
    """What is minimised."""

    kind: Literal["auto", "cross_entropy", "focal", "mse", "huber"] = Field(
        "auto", description="the loss of one row; auto: cross_entropy for classes, mse for numbers"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class weighs rows / (classes x rows of the class)"
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="focusing exponent of the focal loss")
    huber_delta: float = Field(
        1.0, gt=0, description="error from which on the Huber loss is linear, in standard deviations"
    )


class TrainConfig(Section):
    """How long, how fast and how carefully."""

    epochs: float | None = Field(
        None, gt=0, le=1000, description="passes over the training rows; None: 3, more for small data"
    )
    batch_size: int = Field(32, ge=1, le=65536, description="rows per optimizer step")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="rows per forward pass at most, or, where a batch is cut by length, as many tokens as so "
        "many of its longest rows have; None: no limit",
    )
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="peak; None takes the method's own default"
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled; not on biases and norms")
    schedule: Literal["linear", "cosine", "constant", "wsd"] = Field(
        "linear", description="learning rate after the warm-up; wsd: warm-up, stable, decay"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    decay_ratio: float = Field(0.2, gt=0, le=1, description="wsd: share of the steps in which the rate falls")
    max_grad_norm: float = Field(1.0, ge=0, description="gradient norm is clipped to this; 0: not clipped")
    evaluations_per_epoch: int = Field(1, ge=1, le=1000, description="validations per epoch")
    patience: int = Field(
        0, ge=0, description="stop after this many evaluations without a better score; 0: never"
    )
    r_drop: float = Field(
        0.0, ge=0, le=100, description="R-Drop: weight of the divergence between two passes; 1 to 5 are usual"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="judge and keep a moving average of the weights; 0.99 to 0.9999"
    )
    swa: float | None = Field(
        None, ge=0, lt=1, description="judge and keep the mean of the weights from this share of the steps on"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 products where the hardware gains from it, else float32"
    )
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="seconds between checkpoints (more where writing is slow); 0: every step"
    )
    trackers: tuple[str, ...] = Field((), description="further trackers of `accelerate` (wandb, mlflow, ...)")

    _split = field_validator("trackers", mode="before")(_words)

    @model_validator(mode="after")
    def _one_average(self) -> "TrainConfig":
        if self.ema is not None and self.swa is not None:
            raise ValueError("ema and swa are two averages of the weights, of which one is kept; give one")
        return self


class SpeedConfig(Section):
    """The levers that make a run faster: each leaves the result as it is, or says in `docs/performance.md`
    what it changes. They can be switched off one by one, to measure them."""

    asked_tokens: bool = Field(
        True, description="language models: logits of the tokens that the loss asks for, and of no others"
    )
    attention: bool = Field(True, description="on a CPU: the attention that is faster for the batch's length")
    compact_vocabulary: bool = Field(True, description="train the rows of the embedding table that occur")
    fast_dropout: bool = Field(True, description="on a CPU: dropout masks from random bytes")
    first_token: bool = Field(
        True, description="last layer: for the first token alone, where the head reads no other"
    )
    packing: bool = Field(
        False,
        description="causal models: a batch's rows behind one another without padding, kept apart; not where "
        "what frozen layers give is cached",
    )
    trunk_cache: bool = Field(True, description="compute what frozen layers give once for a whole study")
    unpadded: bool = Field(True, description="on a CPU, with `attention`: layers compute no padding")


class AugmentConfig(Section):
    """New training rows from those there are: of training rows alone, after the split."""

    recipe: tuple[str, ...] = Field(
        (), description="auto, or names with commas between (swap,delete,keyboard); empty: no new rows"
    )
    copies: int = Field(1, ge=1, le=20, description="new rows that are asked for of each training row")
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="of the words that swap, delete, insert, synonyms, masked change; None: each one's own",
    )
    synonyms: tuple[str, ...] = Field(
        (), description="lexicon files: JSON lines with word and synonyms, or Cilin (Aa01A01= ...)"
    )
    keep: tuple[str, ...] = Field(
        (), description="files of words that stay as they are (names, negations of your own), one a line"
    )
    translators: tuple[str, ...] = Field(
        (), description="back_translation: two models, there and back (folders or hub ids)"
    )
    prefixes: tuple[str, ...] = Field(
        (), description="back_translation: what each of the two wants before a sentence, as T5 does"
    )
    languages: tuple[str, ...] = Field(
        (), description="back_translation: codes of the texts' language and the other, as NLLB and M2M want"
    )
    masked: str | None = Field(
        None, description="masked: the masked language model that fills in; None: the one that is tuned"
    )
    check: Literal["auto", "always", "never"] = Field(
        "auto",
        description="drop new rows that a first classifier gives another label; auto: those of a model",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of what is changed in a row")

    _split = field_validator(
        "recipe", "synonyms", "keep", "translators", "prefixes", "languages", mode="before"
    )(_words)

    @model_validator(mode="after")
    def _two(self) -> "AugmentConfig":
        for name in ("translators", "prefixes", "languages"):
            if len(getattr(self, name)) not in (0, 2):
                raise ValueError(f"{name} must be two, with a comma between, not {len(getattr(self, name))}")
        return self


class RunConfig(Section):
    """One run: a method, a model, a task, its data and a seed."""

    files: tuple[str, ...] = Field(min_length=1, description="data file, folder, or files already split")
    task: str = Field("classify", description="what is learnt (`tunelab tasks`)")
    task_settings: dict[str, Any] = Field(default_factory=dict, description="the task's own settings")
    method: str = Field("lora", description="how it is learnt (`tunelab methods`)")
    settings: dict[str, Any] = Field(default_factory=dict, description="the method's own settings")
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    speed: SpeedConfig = SpeedConfig()
    share: float = Field(
        1.0, gt=0, le=1, description="share of the training rows that is used (nested subsets)"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of everything random in the run")
    fold: int = Field(0, ge=-1, description="which fold is the test; 0 with one split; -1: refit on all rows")


class SearchConfig(Section):
    """How each method's learning rate is found, on validation rows only."""

    trials: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="trials of each method on each fold; 1: its default, untuned; None: by effort",
    )
    early_stop: bool = Field(True, description="stop trials that are clearly worse than the best one so far")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the search")
    budget: str | None = Field(
        None, description="time the whole study may take (30m, 2h): fewer trials, then fewer seeds"
    )

    @field_validator("budget")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_of(value)
        return value


class StudyConfig(Section):
    """One study: many runs over the same data."""

    files: tuple[str, ...] = Field(min_length=1)
    task: str = "classify"
    task_settings: dict[str, Any] = Field(default_factory=dict, description="the task's own settings")
    methods: tuple[str, ...] = Field(default=(), description="empty: every method")
    models: tuple[str, ...] = Field(
        default=(), description="several models to compare; empty: model.name alone"
    )
    variants: tuple[str, ...] = Field(
        default=(),
        description="methods once more with other settings: lora.rank=64, or lora.rank=64,lora.alpha=128",
    )
    baselines: bool = Field(
        True, description="also what fine-tuning must beat (for classes: majority, TF-IDF, frozen embeddings)"
    )
    effort: Literal["quick", "standard", "thorough"] = Field(
        "standard", description="trials and seeds: quick 1 and 2, standard 4 and 3, thorough 10 and 5"
    )
    seeds: int | None = Field(
        None,
        ge=1,
        le=100,
        description="runs of each method on each split; None: by effort (fewer with folds)",
    )
    curve: tuple[float, ...] = Field(
        default=(), description="percents of the training rows for learning curves: 10,25,50,100"
    )
    race: bool = Field(False, description="stop methods during training that can no longer win")
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="method -> its settings")
    search: SearchConfig = SearchConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    speed: SpeedConfig = SpeedConfig()
    keep: Literal["best", "all"] = Field(
        "best", description="bundles kept on disk: one of each method (best on validation), or of every run"
    )
    workers: int = Field(0, ge=0, le=256, description="runs side by side; 0: what suits the machine")

    @field_validator("curve")
    @classmethod
    def _percents(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for percent in value:
            if not 0 < percent <= 100:
                raise ValueError(f"{percent:g} is no percentage of the training rows; as in 10,25,50,100")
        return value


_TIME = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)\s*$")


def seconds_of(text: str) -> float:
    """A time span in seconds.

    >>> seconds_of("30m"), seconds_of("1.5h")
    (1800.0, 5400.0)

    Raises:
        ValueError: it is no number with s, m or h.
    """
    found = _TIME.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no time; give 90s, 30m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "speed": SpeedConfig,
    "search": SearchConfig,
}

S = TypeVar("S", bound=BaseModel)
_SIGNS = ("|", ">")
_SETTING = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*=.*$", re.DOTALL)


def is_setting(word: str) -> bool:
    """Whether a command-line word is a setting rather than a file.

    >>> is_setting("lora.rank=16"), is_setting("reviews.csv")
    (True, False)
    """
    return bool(_SETTING.match(word)) and not Path(word).exists()


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """`section.name=value` words as a nested mapping; values are read as YAML.

    >>> parse_settings(["lora.rank=16", "train.learning_rate=3e-4"])
    {'lora': {'rank': 16}, 'train': {'learning_rate': 0.0003}}

    Raises:
        ConfigError: a word has no "=", or sets the same name twice.
    """
    tree: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"setting {word!r} is not of the form section.name=value (as in lora.rank=16)")
        *parents, leaf = path.strip().split(".")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"setting {path!r}: {name!r} already has a value of its own")
        if leaf in branch:
            raise ConfigError(f"setting {path!r} is given twice")
        branch[leaf] = _value(text)
    return tree


def _value(text: str) -> Any:
    if text.strip() in _SIGNS:  # (YAML's own, for more than one line)
        return text.strip()
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:  # a word with signs of its own, such as @label
        return text
    if isinstance(value, str):  # YAML 1.1 reads 3e-4 as a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def load_settings_file(path: Path) -> dict[str, Any]:
    """A YAML file of settings as a nested mapping.

    Raises:
        ConfigError: the file is missing, is no YAML or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"settings file {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"settings file {path} is not UTF-8 text; save it as UTF-8") from None
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"settings file {path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"settings file {path} must hold names and values (train: {{epochs: 5}}), not a list"
        )
    found: dict[str, Any] = _numbers(tree)
    return found


def _numbers(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(k): _numbers(v) for k, v in tree.items()}
    if isinstance(tree, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", tree):
        return float(tree)
    return tree


def merge_settings(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; where both have a value, `high` wins.

    >>> merge_settings({"train": {"epochs": 3, "batch_size": 8}}, {"train": {"epochs": 5}})
    {'train': {'epochs': 5, 'batch_size': 8}}
    """
    merged = dict(low)
    for name, value in high.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = merge_settings(old, value) if both else value  # type: ignore[arg-type]
    return merged


def build(cls: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """An instance of `cls`, or one `ConfigError` that lists every mistake.

    where: prefix for setting names in messages ("lora", "train").
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        lines = _explained(cls, [{**problem} for problem in error.errors()], where)
        raise ConfigError("\n".join(lines)) from None


def _explained(cls: type[BaseModel], problems: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    """A line for each setting; of one that may be this or that, what it may be."""
    lines: dict[str, list[str]] = {}
    for problem in problems:
        steps = tuple(problem["loc"])
        if len(steps) > 1 and problem["type"] != "extra_forbidden":
            fields = _owner(cls, [str(step) for step in steps[:-1]]).model_fields
            if steps[-1] not in fields:  # (it says which of several kinds, or which of a list)
                steps = steps[:-1]
        line = _explain(cls, {**problem, "loc": steps}, where)
        lines.setdefault(line.partition(" should be ")[0], []).append(line)
    return [_either(own) for own in lines.values()]


def _either(lines: Sequence[str]) -> str:
    """
    >>> _either(["x should be a valid integer, unable to parse it; got 'a'", "x should be 'auto'; got 'a'"])
    "x should be a valid integer or 'auto'; got 'a'"
    """
    if len(lines) == 1:
        return lines[0]
    path, _, first = lines[0].partition(" should be ")
    wanted = [line.partition(" should be ")[2].rpartition("; got ")[0].partition(", ")[0] for line in lines]
    return f"{path} should be {' or '.join(dict.fromkeys(wanted))}; got {first.rpartition('; got ')[2]}"


def _explain(cls: type[BaseModel], problem: dict[str, Any], where: str) -> str:
    steps = [str(step) for step in problem["loc"]]
    path = ".".join(([where] if where else []) + steps)
    if problem["type"] == "extra_forbidden":
        owner = _owner(cls, steps[:-1])
        return f"unknown setting {path!r}; {did_you_mean(steps[-1], owner.model_fields)}"
    if not steps:
        return f"settings of {where or cls.__name__}: {problem['msg'].removeprefix('Value error, ')}"
    got = problem.get("input")
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return f"setting {path!r} {message}" + ("" if isinstance(got, Mapping) else f"; got {got!r}")


def _owner(cls: type[BaseModel], steps: list[str]) -> type[BaseModel]:
    for step in steps:
        field = cls.model_fields.get(step)
        kind = field.annotation if field else None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            cls = kind
    return cls
