"""The public functions: what the command line calls and a notebook imports.

Heavy imports stay inside the functions, so that `import tunelab` and `tunelab --help` are instant.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.config import (
    SECTIONS,
    RunConfig,
    StudyConfig,
    build,
    merge_settings,
)
from tunelab.errors import ConfigError, OutputError, did_you_mean

if TYPE_CHECKING:
    from tunelab.data.check import Finding
    from tunelab.data.table import Table
    from tunelab.serve.predict import Specialist
    from tunelab.study.advise import Advice
    from tunelab.study.compare import Study

__all__ = ["Run", "advise", "check", "compare", "load", "run", "write_report"]

Files = str | Path | Sequence[str | Path]


class Run:
    """A finished run: its folder, record, scores, and the specialist it trained."""

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.folder = folder
        self.record = record

    @property
    def scores(self) -> dict[str, float]:
        """Scores on the test rows, the deciding one first."""
        return dict(self.record["scores"])

    @property
    def bundle(self) -> Path:
        """The folder to load, move or serve."""
        return self.folder / "bundle"

    def load(self) -> "Specialist":
        """The trained model, ready to predict."""
        return load(self.bundle)

    def __repr__(self) -> str:
        name = self.record["deciding"]
        return f"<Run {self.record['method']}: {name} {self.scores[name]:.4f}, {self.folder}>"


def compare(
    data: Files,
    *,
    methods: str | Sequence[str] | None = None,
    model: str | None = None,
    models: str | Sequence[str] | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    effort: str | None = None,
    budget: str | None = None,
    seeds: int | None = None,
    folds: int | str | None = None,
    rows: int | None = None,
    curve: str | float | Sequence[float] | None = None,
    augment: str | Sequence[str] | None = None,
    race: bool | None = None,
    add: str | Sequence[str] = (),
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
    fresh: bool = False,
    language: str = "en",
) -> "Study":
    """Tunes and trains every method on your file, judges all on the same test rows, says which differ.

    data: a file, a folder with train/valid/test files, a list of files already split, or the folder of a
    study (with `add`: the study is extended, nothing in it is run again).
    methods: names (`tunelab methods`); None: all. model: local folder, hub id or packaged alias; models:
    several of them, each with every method.
    text, text_pair, label, group: column names; found by themselves where they are unmistakable.
    effort: quick (no tuning), standard (4 trials of each method, 3 seeds) or thorough (10 and 5); budget:
    "30m", the time it may take: trials, then seeds are left out.
    seeds: runs of each method on each split. folds: cross-validation; "auto": under 2,000 rows.
    rows: train on at most this many rows. curve: percents of the training rows, for learning curves.
    augment: each method once more with new training rows, made from those there are: "auto" (by the data's
    language), or names such as ["synonyms", "keyboard"]; the verdict says whether it helped.
    race: stop methods during training that can no longer win. add: methods once more with other settings,
    "lora.rank=64". settings: {"lora.rank": 16, "train.epochs": 5} or nested.
    out: the study's folder; None: tunelab-out/<name of the data>. fresh: forget what is there.
    language: of the report, "en" or "zh".

    Returns a `Study`: `.record` (every number), `.table` (a DataFrame), `.groups`, `.winner` (the advised
    method), `.bundle` (its model), `.report`, `.findings`.

        study = tunelab.compare("reviews.csv", methods=["full", "lora"])
        tunelab.load(study.bundle).predict(["It broke after a day."])

    Raises:
        InputError: before any training, for whatever you can mend (`ConfigError`, `DataError`, ...).
        TrainingError: no run finished.
    """
    check_language(language)
    add = (add,) if isinstance(add, str) else tuple(add)
    tree = merge_settings(
        _nested(settings or {}),
        _given(model=model, text=text, text_pair=text_pair, label=label, group=group, folds=folds, rows=rows),
    )
    options = {
        "methods": _names(methods),
        "models": _names(models),
        "task": task,
        "effort": effort,
        "seeds": seeds,
        "workers": workers,
        "race": race,
        "curve": _percents(curve),
    }
    tree |= {name: value for name, value in options.items() if value is not None and value != ()}
    if budget is not None:
        tree = merge_settings(tree, {"search": {"budget": budget}})
    if augment:
        tree = merge_settings(tree, {"augment": {"recipe": _names(augment)}})
    known = _study_of(data)
    if known is not None:
        out = out or known
        data, tree = _extend(known, tree, add)
    elif add:
        tree["variants"] = (*tree.get("variants", ()), *add)
    config = study_config(data, tree)

    from tunelab.report import write_report as write
    from tunelab.study.compare import compare as run_study
    from tunelab.study.settled import device_of
    from tunelab.terminal import StudyView, console

    device = device_of(known) if known and device == "auto" and not fresh else device
    with StudyView(console(stderr=True), quiet=not progress) as view:
        study = run_study(config, out_folder(out, config.files), pick_device(device), view, fresh)
    write(study.record, study.folder, language)
    return study


def write_report(study: str | Path, language: str = "en") -> Path:
    """Writes `report.html` of a finished study again, from its records; returns its path.

    Raises:
        ConfigError: the folder holds no finished study, or the language is unknown.
    """
    from pydantic import ValidationError

    from tunelab.records import StudyRecord
    from tunelab.report import write_report as write

    check_language(language)
    path = Path(study) / "study.json"
    try:
        record = StudyRecord.model_validate_json(path.read_bytes())
    except OSError:
        raise ConfigError(
            f"{study} holds no finished study (no study.json); give the folder that `tunelab compare` wrote, "
            "such as tunelab-out/reviews"
        ) from None
    except ValidationError as error:
        raise ConfigError(
            f"{path} is damaged or of another version of tunelab; `tunelab compare` with the same data "
            f"writes it again without training: {error.errors()[0]['msg']}"
        ) from None
    written: Path = write(record, Path(study), language)
    return written


def advice(study: "Study", language: str = "en") -> tuple[list[str], list[str]]:
    """The advice in two sentences and whether new training rows helped; and what to be careful about."""
    from tunelab.report import advice_text, augmentation_text, warnings_text

    said = [*advice_text(study.record, language), *augmentation_text(study.record, language)]
    return said, warnings_text(study.record, language)


def check_language(language: str) -> None:
    """Raises `ConfigError` for a language that the report does not speak."""
    if language not in ("en", "zh"):
        raise ConfigError(f"unknown language {language!r}; give en or zh")


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in names.split(",")) if isinstance(names, str) else tuple(names or ())


def _percents(curve: str | float | Sequence[float] | None) -> tuple[float, ...]:
    parts = _names(curve) if isinstance(curve, str) else (curve,) if isinstance(curve, int | float) else curve
    try:
        return tuple(float(part) for part in parts or ())
    except (TypeError, ValueError):
        raise ConfigError(
            f"curve {curve!r}: give percents of the training rows, as in 10,25,50,100"
        ) from None


def _study_of(data: Files) -> Path | None:
    """The folder, where the data given is that of a study."""
    if isinstance(data, (str, Path)):
        return Path(data) if (Path(data) / "study.yaml").is_file() else None
    return _study_of(data[0]) if len(data) == 1 else None


def _extend(known: Path, tree: dict[str, Any], add: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Files and settings of a study that is there, with what is given now on top."""
    from tunelab.config import load_settings_file

    before = load_settings_file(known / "study.yaml")
    files = tuple(before.pop("files"))
    tree = merge_settings(merge_settings(before, before.pop("settings", {})), tree)
    tree["variants"] = tuple(dict.fromkeys((*before.get("variants", ()), *add)))
    return files, tree


def run(
    data: Files,
    *,
    method: str | None = None,
    model: str | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    fold: int | None = None,
    folds: int | str | None = None,
    rows: int | None = None,
    augment: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: bool = True,
    fresh: bool = False,
) -> Run:
    """Trains one method once on your file; a run that was stopped goes on, a finished one is returned.

    The arguments are those of `compare`; method: None is lora, seed and fold: None is 0, where the settings
    say nothing else. folds: None trains on one split. augment: trained on new rows too. fresh: begin again.

        result = tunelab.run("reviews.csv", method="lora", settings={"lora.rank": 16})
        result.scores["accuracy"]

    Raises:
        InputError: before any training, for whatever you can mend.
        TrainingError: the run cannot go on; the message says why.
    """
    tree = merge_settings(
        _nested(settings or {}),
        _given(model=model, text=text, text_pair=text_pair, label=label, group=group, folds=folds, rows=rows),
    )
    tree = merge_settings({"data": {"folds": 0}}, tree)  # one split, where nothing else is said
    given = {"task": task, "method": method, "seed": seed, "fold": fold}
    tree |= {name: value for name, value in given.items() if value is not None}
    tree = merge_settings(tree, {"augment": {"recipe": _names(augment)}} if augment else {})
    config = run_config(data, tree)

    from tunelab.study.single import run_single
    from tunelab.terminal import StudyView, console

    with StudyView(console(stderr=True), quiet=not progress) as view:
        folder, record = run_single(config, out_folder(out, config.files), pick_device(device), view, fresh)
    return Run(folder, record)


def load(
    bundle: str | Path, device: str = "auto", trust_remote_code: bool = False, precision: str = "float32"
) -> "Specialist":
    """A trained model from its bundle, ready to `predict`.

    trust_remote_code: run Python code that comes with its model, or a head of one's own that the bundle holds
    (never allowed by the bundle itself).
    precision: float32, the numbers it was judged by; auto: bfloat16 where this machine is faster with it.

    Raises:
        BundleError: there is none, or it is damaged. ModelError: its base model is not to be had.
        ConfigError: an unknown device or precision.
    """
    from tunelab.serve.predict import Specialist

    return Specialist.load(bundle, pick_device(device), trust_remote_code, precision)


def check(
    data: Files,
    *,
    model: str | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple["Table", list["Finding"]]:
    """Reads your file and lets the data doctor look at it; nothing is trained or changed.

    model: also look at token lengths and lost characters with this model's tokenizer; None: without; "auto":
    with the packaged one that reads the texts' language.

    Returns the rows as read and the findings, the worst first.
    """
    tree = merge_settings(
        _nested(settings or {}),
        _given(
            model=None if model == "auto" else model, text=text, text_pair=text_pair, label=label, group=group
        ),
    )
    config = study_config(data, {**tree, **({"task": task} if task else {})})

    from tunelab.study.prepare import examine

    return examine(
        config.files, config.task, config.data, config.model if model else None, config.task_settings
    )


def advise(
    data: Files,
    *,
    model: str | None = None,
    methods: str | Sequence[str] | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    effort: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> "Advice":
    """Which models and methods are worth a study of your file on this machine, what each would cost, and why;
    nothing is downloaded or trained, and the costs are estimates (within a factor of about 2).

    model: one of yours that is judged too, and first (a local folder, or a well-known name). methods: that
    the study must have; None: those worth it. The other arguments are those of `compare`.

    Returns an `Advice`: `.data`, `.machine`, `.models` (the one to take first), `.methods`, `.notes`, and
    `.command`, what to type next.

        tunelab.advise("reviews.csv").models[0].name

    Raises:
        DataError: the file cannot be read, or must be mended first. ConfigError: `model` is not to be judged
            without a network.
    """
    tree = merge_settings(
        _nested(settings or {}), _given(text=text, text_pair=text_pair, label=label, group=group)
    )
    named = model_name(tree)
    given = {"task": task, "effort": effort, "methods": _names(methods) or None}
    tree |= {name: value for name, value in given.items() if value is not None}
    config = study_config(data, tree)

    from tunelab.methods import find
    from tunelab.study.advise import advise as advise_on

    for name in config.methods:
        find(name)
    return advise_on(config, pick_device(device), model or named)


def model_name(tree: Mapping[str, Any]) -> str | None:
    """The model that nested settings name, if they name one."""
    section = tree.get("model")
    return section.get("name") if isinstance(section, Mapping) else None


def study_config(data: Files, tree: Mapping[str, Any]) -> StudyConfig:
    """A study's configuration from nested settings; one `ConfigError` lists every mistake."""
    from tunelab.methods import find

    values, own = _sections(tree, set(StudyConfig.model_fields))
    for name, settings in own.items():
        find(name).make(settings)
    return build(StudyConfig, {**values, "files": _files(data), "settings": own})


def run_config(data: Files, tree: Mapping[str, Any]) -> RunConfig:
    """A run's configuration from nested settings; settings of other methods are an error here."""
    values, own = _sections(tree, set(RunConfig.model_fields))
    method = values.get("method", "lora")
    for name in own:
        if name != method:
            raise ConfigError(f"settings of {name!r} are given, but the run's method is {method!r}")
    return build(RunConfig, {**values, "files": _files(data), "settings": own.get(method, {})})


def _sections(tree: Mapping[str, Any], fields: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of tunelab (the task's own among them), and settings of methods by the method's name."""
    from tunelab.methods import METHODS
    from tunelab.tasks import TASKS

    tree = dict(tree)
    task = tree.get("task") or "classify"
    given = [name for name in tree if name in TASKS and name not in fields]
    wrong = [name for name in given if name != task]
    if wrong:
        raise ConfigError(
            f"settings of task {wrong[0]!r} are given, but the task is {task!r}: --task {wrong[0]}"
        )
    for name in given:
        own_settings = tree.pop(name)
        if not isinstance(own_settings, Mapping):
            raise ConfigError(
                f"setting {name!r} is a task: give one of its settings, as in {name}.NAME=VALUE"
            )
        tree["task_settings"] = merge_settings(tree.get("task_settings", {}), own_settings)
    values: dict[str, Any] = {}
    own: dict[str, Any] = {}
    problems = []
    for name, value in tree.items():
        if name in METHODS:
            if isinstance(value, Mapping):
                own[name] = dict(value)
            else:
                problems.append(
                    f"setting {name!r} is a method: give one of its settings, as in {name}.NAME=VALUE"
                )
        elif name in fields - {"files", "settings"}:
            if name in SECTIONS and not isinstance(value, Mapping):
                problems.append(
                    f"setting {name!r} is a section: give one of its settings, as in {name}.NAME=VALUE"
                )
            else:
                values[name] = value
        else:
            problems.append(_unknown(name, value, fields, task))
    if problems:
        raise ConfigError("\n".join(problems))
    return values, own


def _unknown(name: str, value: Any, fields: set[str], task: str) -> str:
    """What is wrong with a name that is no section, method or plain setting."""
    from tunelab.methods import METHODS
    from tunelab.tasks import TASKS

    shown = f"{name}.{next(iter(value))}" if isinstance(value, Mapping) and value else name
    if name in set(StudyConfig.model_fields) - set(RunConfig.model_fields):
        return f"setting {shown!r} is for a study of several methods (tunelab compare); a run has one method"
    kinds = [(part, kind.model_fields) for part, kind in SECTIONS.items()]
    if task in TASKS:
        kinds.append((task, TASKS[task].Settings.model_fields))
    kinds += [(part, kind.Settings.model_fields) for part, kind in METHODS.items()]
    inside = [f"{part}.{name}" for part, known in kinds if name in known]
    if inside and not isinstance(value, Mapping):
        more = f", or one of {len(inside) - 3} more" if len(inside) > 3 else ""
        return f"unknown setting {name!r}; did you mean {' or '.join(inside[:3])}{more}?"
    return f"unknown setting {shown!r}; {did_you_mean(name, [*(fields - {'files', 'settings'}), *METHODS])}"


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"lora.rank": 16} as {"lora": {"rank": 16}}; nested mappings stay."""
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        branch: Any = value
        for name in reversed(path.split(".")):
            branch = {name: branch}
        tree = merge_settings(tree, branch)
    return tree


def _given(**options: Any) -> dict[str, Any]:
    """Options that were given, as settings."""
    data = {
        k: options[k]
        for k in ("text", "text_pair", "label", "group", "folds", "rows")
        if options.get(k) is not None
    }
    tree: dict[str, Any] = {"data": data} if data else {}
    if options.get("model") is not None:
        tree["model"] = {"name": options["model"]}
    return tree


def _files(data: Files) -> tuple[str, ...]:
    if hasattr(data, "to_csv"):
        raise ConfigError(
            "data is a table in memory, and tunelab reads files: frame.to_csv('data.csv', index=False), then "
            "give 'data.csv'"
        )
    return (str(data),) if isinstance(data, (str, Path)) else tuple(str(f) for f in data)


def out_folder(out: str | Path | None, files: Sequence[str]) -> Path:
    """Where results go: as given, else tunelab-out/<name of the data>."""
    if out is not None:
        return Path(out)
    first = Path(files[0])
    named = first if first.is_dir() else first.with_suffix("")
    if len(files) > 1:
        named = first.parent
    return Path("tunelab-out") / (named.resolve().name or "data")


def pick_device(device: str) -> str:
    """ "auto" is the GPU where there is one, else the CPU; "cpu:0" is "cpu".

    Raises:
        ConfigError: no such device here, or one that tunelab does not train on.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        asked = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"unknown device {device!r}; give auto, cpu, cuda or cuda:0") from None
    if asked.type == "mps":
        raise ConfigError(
            f"device {device!r}: tunelab does not use a Mac's GPU; there the CPU is taken: give "
            "--device cpu, or leave it out"
        )
    if asked.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r}: this machine has no GPU that torch can use; give --device cpu")
    if asked.type == "cuda" and (asked.index or 0) >= torch.cuda.device_count():
        known = ", ".join(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        raise ConfigError(f"device {device!r}: torch sees no such GPU here; there are {known}")
    return "cpu" if asked.type == "cpu" else device


def predict_file(
    bundle: str | Path,
    file: str | Path,
    out: str | Path,
    column: str | None = None,
    device: str = "auto",
    column_pair: str | None = None,
    precision: str = "float32",
    trust_remote_code: bool = False,
) -> tuple[list[str], int]:
    """Predicts every row of a file; writes all its rows with prediction and probabilities added.

    column, column_pair: of the texts and, for a model of pairs, of the second ones; found by their names.
    precision, trust_remote_code: as of `load`.

    Returns notes for the user and the number of rows.

    Raises:
        DataError: the file cannot be read. OutputError: the result cannot be written.
    """
    from tunelab.data.inputs import read_texts
    from tunelab.data.write import check_target, write_frame

    target = Path(out)
    check_target(target)
    if target.resolve() == Path(file).resolve():
        raise OutputError(f"{out} is the file with the texts, which stays as it is; give another name")
    specialist = load(bundle, device, trust_remote_code, precision)
    frame, texts, notes = read_texts(Path(file), column, column_pair, specialist.pairs, specialist.asks)
    answers = specialist.predict_frame(texts)
    clash = [c for c in answers.columns if c in frame.columns]
    answers = answers.rename(columns={c: f"tunelab_{c}" for c in clash})
    for column_name in answers.columns:
        frame[column_name] = answers[column_name].to_numpy()
    notes = [*notes, *write_frame(frame, target)]
    return notes, len(frame)


def write_fixed(
    table: "Table",
    out: str | Path,
    task: str | None = None,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Mends what can be mended safely and writes the rows to a file that the same command reads again.

    Returns what was done. table: as `check` gave it, of the same task (None: classify), columns and settings.

    Raises:
        OutputError: the file cannot be written, or its format cannot hold the rows.
    """
    tree = merge_settings(
        _nested(settings or {}), _given(text=text, text_pair=text_pair, label=label, group=group)
    )
    config = study_config(table.source, {**tree, **({"task": task} if task else {})})

    from tunelab.study.mending import write_mended

    return write_mended(table, config.task, config.data, Path(out))
