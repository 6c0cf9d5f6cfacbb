"""The command line: thin verbs over `tunelab.api`. Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tunelab.config import is_setting, load_settings_file, merge_settings, parse_settings
from tunelab.errors import ConfigError, Stopped, TunelabError

__all__ = ["app", "main"]


class _Verbs(TyperGroup):
    """Typer ends at Ctrl-C without a word; runs that were begun say their own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped("by Ctrl-C; the same command begins again") from None


app = typer.Typer(
    name="tunelab",
    cls=_Verbs,
    help="Which way of fine-tuning is best for your data and your budget? One command trains every method "
    "under the same conditions and tells.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=True,
    epilog="Start: `tunelab compare reviews.csv`",
)

FilesAndSettings = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE... [SECTION.NAME=VALUE...]",
        help="A file, a folder with train/valid/test files, or several files; "
        "then settings such as lora.rank=16",
        show_default=False,
    ),
]
OptionalWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE... [SECTION.NAME=VALUE...]",
        help="A file, a folder with train/valid/test files, several files, or the folder of a study (with "
        "--add); then settings such as lora.rank=16",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Local folder, hub id or packaged alias [default: minilm; Chinese: mini-zh, or mini-zh-lm for "
        "rewrite, instruct, align]",
    ),
]
TaskName = Annotated[str | None, typer.Option(help="What is learnt: `tunelab tasks` [default: classify]")]
Language = Annotated[str, typer.Option(help="Language of the report: en or zh")]
TextColumn = Annotated[str | None, typer.Option("--text", help="Column with the text")]
PairColumn = Annotated[
    str | None, typer.Option("--text-pair", help="Column with the second text (tasks on pairs)")
]
LabelColumn = Annotated[str | None, typer.Option("--label", help="Column with the label")]
GroupColumn = Annotated[str | None, typer.Option("--group", help="Rows with the same value stay together")]
Folds = Annotated[str | None, typer.Option(help="Cross-validation folds; 0: one split [default: auto]")]
FoldsOfRun = Annotated[
    str | None, typer.Option(help="Cross-validation folds, of which one is the test [default: 0, one split]")
]
Fold = Annotated[int | None, typer.Option(help="Which fold is the test [default: 0]")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random [default: 0]")]
Method = Annotated[
    str | None, typer.Option("--method", help="How it is learnt: `tunelab methods` [default: lora]")
]
Rows = Annotated[int | None, typer.Option(help="Train on at most this many rows")]
Augment = Annotated[
    str | None,
    typer.Option(
        help="New training rows from those there are: auto, or ways with commas between "
        "(swap,delete,synonyms,masked,back_translation, ...); settings as augment.copies=2"
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for results [default: tunelab-out/NAME]")
]
Settings = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings")]
Fix = Annotated[bool, typer.Option("--fix", help="Mend what the data doctor can mend safely")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result")]


@app.command(
    epilog="Examples: `tunelab compare reviews.csv --methods full,lora --budget 30m lora.rank=16` — "
    "`tunelab compare --add lora.rank=64 tunelab-out/reviews` extends a study without running anything again"
)
def compare(
    words: OptionalWords = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Names with commas between [default: all]")
    ] = None,
    model: Model = None,
    models: Annotated[
        str | None, typer.Option("--models", help="Several models, each with every method")
    ] = None,
    task: TaskName = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="quick (no tuning), standard (4 trials, 3 seeds), thorough (10, 5) [default: standard]"
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time it may take (30m, 2h): trials, then seeds are left out")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Runs of each method [default: by effort; fewer with folds]")
    ] = None,
    folds: Folds = None,
    rows: Rows = None,
    curve: Annotated[
        str | None, typer.Option(help="Learning curves at percents of the training rows: 10,25,50,100")
    ] = None,
    augment: Augment = None,
    race: Annotated[
        bool, typer.Option("--race", help="Stop methods during training that can no longer win")
    ] = False,
    add: Annotated[
        list[str] | None,
        typer.Option(help="A method once more with other settings (lora.rank=64); may be given again"),
    ] = None,
    language: Language = "en",
    out: Out = None,
    config: Settings = None,
    fix: Fix = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where a stopped study was, or begin again")
    ] = True,
    trust_remote_code: Trust = False,
    workers: Annotated[
        int | None, typer.Option(help="Runs side by side [default: what suits the machine]")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Tune and train every method on your file, judge all on the same rows, say which really differ, and hand
    over the cheapest of the best.

    Leaves in the output folder: `report.html`, `winner/` (a ready model), `table.csv`, `study.json`, and one
    folder a run.
    """
    from tunelab import api
    from tunelab.terminal import console, show_study

    files, tree = _words(words or [], config)
    study = api.compare(
        files,
        methods=methods,
        model=model,
        models=models,
        task=task,
        text=text,
        text_pair=text_pair,
        label=label,
        group=group,
        effort=effort,
        budget=budget,
        seeds=seeds,
        folds=_folds(folds),
        rows=rows,
        curve=curve,
        augment=augment,
        race=race or None,
        add=add or (),
        out=out,
        settings=_options(tree, fix, trust_remote_code),
        workers=workers,
        device=device,
        progress=not quiet,
        fresh=not resume,
        language=language,
    )
    show_study(console(), study, *api.advice(study, language))


@app.command(epilog="Example: `tunelab report tunelab-out/reviews --language zh`")
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a finished study", show_default=False)],
    language: Language = "en",
) -> None:
    """Write report.html of a finished study again, from its records."""
    from tunelab import api
    from tunelab.terminal import console, relative

    console().print(f"report: {relative(api.write_report(study, language))}", markup=False, soft_wrap=True)


@app.command(epilog="Example: `tunelab run reviews.csv --method lora lora.rank=16 train.learning_rate=3e-4`")
def run(
    words: FilesAndSettings,
    method: Method = None,
    model: Model = None,
    task: TaskName = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    seed: Seed = None,
    folds: FoldsOfRun = None,
    fold: Fold = None,
    rows: Rows = None,
    augment: Augment = None,
    out: Out = None,
    config: Settings = None,
    fix: Fix = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where a stopped run was, or begin again")
    ] = True,
    trust_remote_code: Trust = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one method once: its record, predictions and bundle in one folder."""
    from tunelab import api
    from tunelab.terminal import console, relative, span

    files, tree = _words(words, config)
    result = api.run(
        files,
        method=method,
        model=model,
        task=task,
        text=text,
        text_pair=text_pair,
        label=label,
        group=group,
        seed=seed,
        fold=fold,
        folds=_folds(folds),
        rows=rows,
        augment=augment,
        out=out,
        settings=_options(tree, fix, trust_remote_code),
        device=device,
        progress=not quiet,
        fresh=not resume,
    )
    screen = console()
    name = result.record["deciding"]
    cost = result.record["cost"]
    screen.print(
        f"{result.record['method']}: {result.record['judged_on']} {name.replace('_', '-')} "
        f"[bold]{result.scores[name]:.4f}[/], "
        f"{cost['trained_parameters']:,} parameters trained ({100 * cost['trained_share']:.2f} %) "
        f"in {span(cost['train_seconds'])}"
    )
    screen.print(f"record: {relative(result.folder)}", soft_wrap=True)
    screen.print(f"model:  {relative(result.bundle)}", soft_wrap=True)


@app.command(epilog='Example: `tunelab predict tunelab-out/reviews/winner --text "It broke after a day."`')
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder that holds tunelab.json", show_default=False)],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="A text; may be given again")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file with a text column")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV, TSV, JSONL, Parquet or XLSX")] = None,
    text_pair: Annotated[
        list[str] | None,
        typer.Option("--text-pair", help="The second text of each --text, for a model of pairs"),
    ] = None,
    column: Annotated[str | None, typer.Option("--column", help="Column of the file with the text")] = None,
    column_pair: Annotated[
        str | None, typer.Option("--column-pair", help="Column of the file with the second text")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32; auto: bfloat16 where this machine is faster with it")
    ] = "float32",
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:
    """Labels with probabilities, or numbers, for texts or for every row of a file."""
    from tunelab import api
    from tunelab.terminal import console, predictions_table

    if (text is None) == (file is None):
        raise ConfigError("give either --text (one or more) or --file")
    if file is not None and out is None:
        raise ConfigError("--file needs --out, the file to write (predictions.csv, say)")
    of_file = [("--out", out), ("--column", column), ("--column-pair", column_pair)]
    for name, value in of_file if file is None else [("--text-pair", text_pair)]:
        if value is not None:
            raise ConfigError(f"{name} is for {'--file' if file is None else '--text'}, which is not given")
    screen = console()
    if text is not None:
        if text_pair is not None and len(text_pair) != len(text):
            raise ConfigError(f"{len(text)} --text and {len(text_pair)} --text-pair; give as many of both")
        given = text if text_pair is None else list(zip(text, text_pair, strict=True))
        specialist = api.load(bundle, device, trust_remote_code, precision)
        alone = specialist.answers and text_pair is None
        if specialist.pairs != (text_pair is not None) and not alone:
            wanted = "needs" if specialist.pairs else "takes no"
            raise ConfigError(f"{bundle} {wanted} --text-pair: it reads {1 + specialist.pairs} text(s) a row")
        screen.print(predictions_table(text, specialist.predict_frame(given)))
        return
    assert file is not None
    assert out is not None
    notes, count = api.predict_file(
        bundle, file, out, column, device, column_pair, precision, trust_remote_code
    )
    for note in notes:
        screen.print(note, style="dim", markup=False)
    screen.print(f"{count:,} predictions written to {out}", markup=False, soft_wrap=True)


@app.command(epilog="Example: `tunelab check reviews.csv --model minilm --fix --out mended.csv`")
def check(
    words: FilesAndSettings,
    model: Model = None,
    task: TaskName = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    config: Settings = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely; needs --out")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the mended rows")] = None,
    trust_remote_code: Trust = False,
) -> None:
    """Let the data doctor look at a file: what is wrong, how bad, where, and what to do."""
    from tunelab import api
    from tunelab.terminal import console, findings_table

    files, tree = _words(words, config)
    tree = _options(tree, False, trust_remote_code)
    if fix != (out is not None):
        raise ConfigError(
            "--fix needs --out, the file for the mended rows; your own file is never changed"
            if fix
            else "--out is the file for mended rows: it needs --fix"
        )
    columns = {"text": text, "text_pair": text_pair, "label": label, "group": group}
    model = model or api.model_name(tree) or "auto"
    table, findings = api.check(files, model=model, task=task, **columns, settings=tree)
    screen = console()
    for note in table.notes:
        screen.print(f"· {note}", style="dim", markup=False)
    screen.print(f"{len(table):,} rows")
    screen.print(findings_table(findings))
    if fix:
        assert out is not None
        for note in api.write_fixed(table, out, task, **columns, settings=tree):
            screen.print(f"· {note}", markup=False)
        screen.print(f"mended rows: {out}", markup=False)
        _, findings = api.check(str(out), model=model, task=task, **columns, settings=tree)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and fix:
        screen.print("what nobody can mend but you:")
        screen.print(findings_table(errors))
    if errors:
        raise typer.Exit(2)


@app.command(epilog="Example: `tunelab advise reviews.csv`")
def advise(
    words: FilesAndSettings,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Judge this one too: a local folder, or a known name")
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Names with commas between [default: those worth it]")
    ] = None,
    task: TaskName = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    effort: Annotated[
        str | None, typer.Option(help="quick, standard or thorough [default: standard]")
    ] = None,
    config: Settings = None,
    trust_remote_code: Trust = False,
    device: Device = "auto",
) -> None:
    """Say which models and methods are worth a study of a file here, what each would cost, and why.

    Nothing is downloaded or trained; times and memory are estimates.
    """
    from tunelab import api
    from tunelab.terminal import console, show_advice

    files, tree = _words(words, config)
    advice = api.advise(
        files,
        model=model,
        methods=methods,
        task=task,
        text=text,
        text_pair=text_pair,
        label=label,
        group=group,
        effort=effort,
        settings=_options(tree, False, trust_remote_code),
        device=device,
    )
    show_advice(console(), advice)


@app.command(epilog="Example: `tunelab export tunelab-out/reviews/winner my-model`")
def export(
    bundle: Annotated[Path, typer.Argument(help="Folder that holds tunelab.json", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder to write", show_default=False)],
    trust_remote_code: Trust = False,
) -> None:
    """Write a plain `transformers` model, adapters merged into the weights, that loads anywhere."""
    from tunelab import api
    from tunelab.terminal import console

    api.load(bundle, "cpu", trust_remote_code).export(folder)
    console().print(f"plain transformers model: {folder}", markup=False)


@app.command(epilog="Example: `tunelab methods lora` shows the settings of lora")
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, for its settings", show_default=False)] = None,
) -> None:
    """The methods: one line and the paper each."""
    from tunelab.methods import METHODS, find
    from tunelab.terminal import console, methods_table, settings_table

    if name is None:
        console().print(methods_table(METHODS))
    else:
        console().print(settings_table(find(name)))


@app.command(epilog="Example: `tunelab tasks`")
def tasks() -> None:
    """The tasks: what can be learnt, one line each."""
    from tunelab.tasks import TASKS
    from tunelab.terminal import console, tasks_table

    console().print(tasks_table(TASKS))


@app.command(epilog="Example: `tunelab models`")
def models() -> None:
    """Packaged models, and what else --model takes."""
    from tunelab.models import PACKAGED
    from tunelab.terminal import console, models_table

    console().print(models_table(PACKAGED))


def _words(words: list[str], config: Path | None) -> tuple[list[str], dict[str, Any]]:
    """Files and settings from the words of the command line; they may stand in any order."""
    files = [word for word in words if not is_setting(word)]
    tree = parse_settings(word for word in words if is_setting(word))
    if config is not None:
        tree = merge_settings(load_settings_file(config), tree)
    before = tree.pop("files", None)  # a study.yaml says which files it was made from, and has all settings
    tree = merge_settings(tree.pop("settings", None) or {}, tree) if before else tree
    files = files or list(before or ())
    if not files:
        raise ConfigError("no data file is given; as in: tunelab compare reviews.csv")
    return files, tree


def _options(tree: dict[str, Any], fix: bool, trust: bool) -> dict[str, Any]:
    if fix:
        tree = merge_settings(tree, {"data": {"fix": True}})
    if trust:
        tree = merge_settings(tree, {"model": {"trust_remote_code": True}})
    return tree


def _folds(value: str | None) -> int | str | None:
    return int(value) if value is not None and value.isdigit() else value


def main() -> None:
    """Runs the command line; errors made on purpose become one message and an exit code."""
    try:
        app(standalone_mode=True)
    except TunelabError as error:
        from rich.markup import escape

        from tunelab.terminal import console

        word = "stopped" if error.exit_code == 130 else "error"
        console(stderr=True).print(f"[bold red]{word}:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
