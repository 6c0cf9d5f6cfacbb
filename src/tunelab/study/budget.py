"""What the whole study will take, and what fits into the time that the user gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tunelab.config import RunConfig, StudyConfig
from tunelab.errors import ConfigError
from tunelab.records import PlannedRun
from tunelab.study.baselines import baselines_of
from tunelab.study.beside import Beside, baseline_seconds, latency_seconds, span, verify_seconds
from tunelab.study.candidates import Candidate, firsts_of
from tunelab.study.execute import Work
from tunelab.study.plan import Probe, predict_memory, predict_seconds
from tunelab.study.prepare import Prepared, which
from tunelab.study.run import Kind, read_record
from tunelab.study.tuning import Design, curve_shares, run_config

__all__ = ["Planned", "fit_budget", "table_of_runs"]

#: Share of the study's time from which on the user is told what is no training.
_LARGE = 0.15


@dataclass(frozen=True)
class PlannedMethod:
    """What one method will take: seconds and bytes of one run, how many runs, seconds of all its runs."""

    name: str
    one_seconds: float
    memory_bytes: float
    trials: int
    judged: int
    seconds: float


@dataclass
class Planned:
    """The probes of all methods and what follows from them.

    probes: by the row of the table; rows: one a method, for the screen; seconds: of the whole study, with
    `workers` runs side by side, the plan and all else included; beside: of these what is no training; runs:
    how many there are; probed_seconds: what the probes took.
    """

    probes: Mapping[str, Probe]
    config: StudyConfig
    entries: Sequence[Candidate]
    prepared: Mapping[str, Prepared]
    device: str
    workers: int
    rows: list[PlannedMethod] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0
    probed_seconds: float = 0.0
    beside: Beside | None = None

    def predict(self, name: str, config: RunConfig, kind: Kind) -> tuple[float, float]:
        """Seconds and bytes of a run."""
        probe, own = self.probes[name], self.prepared[which(config.model, config.augment)]
        seconds = predict_seconds(probe, config, own, kind, self.device)
        return seconds, predict_memory(probe, config, own, seconds, kind)

    def total(self, design: Design) -> float:
        """Seconds of the whole study under a design: the probes, then work shared by the workers (but trials
        of one method and fold wait for one another), then what is done with nothing beside it."""
        rows, beside = list(self._rows(design)), self._beside(design)
        chains = [row.trials / design.folds * row.one_seconds + row.one_seconds for row in rows]
        return max(sum(row.seconds for row in rows) / self.workers, max(chains, default=0.0)) + beside.seconds

    def settle(self, design: Design) -> None:
        """Fixes rows, seconds and runs for the design that is going to be done."""
        self.rows = list(self._rows(design))
        self.seconds, self.beside = self.total(design), self._beside(design)
        shares = len(self._shares())
        each = design.runs + design.folds * design.seeds * shares
        self.runs = each * len(self.entries)

    def remarks(self) -> list[str]:
        """What the total contains besides trainings, where that is a large part."""
        if self.beside is None or self.beside.seconds < _LARGE * self.seconds:
            return []
        said = f"planned: about {span(self.seconds)}, of which {span(self.beside.seconds)} are no trainings"
        return [f"{said} ({self.beside.told()})" if self.beside.told() else said]

    def _beside(self, design: Design) -> Beside:
        """What is no training, under a design: its bundles are as many as its runs."""
        once = self._once
        return replace(
            once,
            baselines=once.baselines / self.workers,
            verification=once.verification * design.seeds * design.folds / self.workers,
        )

    @cached_property
    def _once(self) -> Beside:
        """The same with one bundle of each method, on one worker: a budget is tried with many designs."""
        verifying, asking, refits = [], [], [0.0]
        for entry in self.entries:
            probe = self.probes[entry.name]
            config = run_config(self.config, entry, seed=0, fold=0)
            own = self.prepared[which(config.model, config.augment)]
            task = own.task(config)
            verifying.append(verify_seconds(probe, config, own, task, self.device))
            asking.append(latency_seconds(probe, config, own, task, self.device))
            if len(own.splits) > 1:  # on other threads: what frozen layers give is computed anew
                last = run_config(self.config, entry, seed=0, fold=-1)
                trained, _ = self.predict(entry.name, last, "refit")
                refits.append(trained + probe.trunk_seconds + verifying[-1])
        return Beside(self.probed_seconds, self._baselines(), sum(verifying), sum(asking), max(refits))

    def _baselines(self) -> float:
        """Of all folds: they ask each model as it is, which its fastest judge is nearest to."""
        seconds = 0.0
        for at, entry in enumerate(firsts_of(self.entries) if self.config.baselines else ()):
            own = self.prepared[entry.model.name]
            like = [self.probes[e.name] for e in self.entries if e.model.name == entry.model.name]
            fastest = min(like, key=lambda probe: probe.judge_seconds)
            for fold in range(len(own.splits)):
                config = run_config(self.config, entry, seed=0, fold=fold)
                names = baselines_of(own.task(config, fold), first=at == 0)
                seconds += baseline_seconds(names, fastest, config, own, self.device)
        return seconds

    def _shares(self) -> tuple[float, ...]:
        first = next(iter(self.prepared.values()))
        return curve_shares(self.config, len(first.split(0).train))

    def _rows(self, design: Design) -> Iterator[PlannedMethod]:
        for entry in self.entries:
            judged = run_config(self.config, entry, seed=0, fold=0)
            one, memory = self.predict(entry.name, judged, "judged")
            trial, _ = self.predict(entry.name, judged, "trial")
            trials = design.trials if design.trials > 1 else 0
            seconds = design.folds * (trials * trial + design.seeds * one)
            for share in self._shares():
                part = run_config(self.config, entry, seed=0, fold=0, share=share)
                seconds += design.folds * design.seeds * self.predict(entry.name, part, "curve")[0]
            yield PlannedMethod(
                name=entry.name,
                one_seconds=one,
                memory_bytes=memory,
                trials=trials * design.folds,
                judged=design.seeds * design.folds,
                seconds=seconds,
            )


def fit_budget(planned: Planned, design: Design, seconds: float, told: str) -> None:
    """Takes away trials, then seeds, until the study fits.

    Raises:
        ConfigError: even one trial and one seed take longer; the message says how long.
    """
    while planned.total(design) > seconds:
        if design.trials > 1:
            design.trials -= 1
        elif design.seeds > 1:
            design.seeds -= 1
        else:
            rows = sorted(planned._rows(design), key=lambda row: -row.seconds)
            slowest = ", ".join(f"{r.name} {r.seconds / planned.workers / 60:.0f} min" for r in rows[:3])
            beside = planned._beside(design).told()
            raise ConfigError(
                f"the smallest study takes about {planned.total(design) / 60:.0f} min, more than the "
                f"budget of {told}. Compare fewer methods (--methods; slowest: {slowest}), train on "
                "fewer rows (--rows), or shorter (train.epochs)"
                + (f". Besides trainings it takes: {beside}" if beside else "")
            )
    trials = (
        f"{design.trials} trials" if design.trials > 1 else "no tuning (every method's default learning rate)"
    )
    planned.notes.append(
        f"within the budget of {told}: {trials} and {design.seeds} seed{'s' if design.seeds > 1 else ''}"
    )


def table_of_runs(planned: Planned, works: Sequence[Work]) -> tuple[PlannedRun, ...]:
    """What was predicted and what was measured. Runs that were continued, or stopped early, have no
    measured time; continued ones no measured memory."""
    rows = []
    for work in works:
        seconds, memory = planned.predict(work.candidate, work.config, work.kind)
        record = read_record(work.folder)
        cost = record.get("cost", {})
        resumed = bool(record.get("training", {}).get("resumed_at_steps"))
        whole = "stopped_early_at" not in record and record["status"] == "finished" and not resumed
        spent = [
            cost.get(part)
            for part in (
                "load_seconds",
                "train_seconds",
                "evaluation_seconds",
                "test_seconds",
                "save_seconds",
            )
        ]
        rows.append(
            PlannedRun(
                run=work.name,
                name=work.candidate,
                kind=work.kind,
                predicted_seconds=seconds,
                predicted_memory_bytes=memory,
                seconds=sum(part for part in spent if part is not None) if whole else None,
                memory_bytes=cost.get("peak_memory_bytes") if whole else None,
            )
        )
    return tuple(rows)
