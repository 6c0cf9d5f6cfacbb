"""Which runs a study consists of: trials first, then each method's chosen settings with every seed."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelab import methods
from tunelab.config import RunConfig, StudyConfig, TrainConfig, build
from tunelab.errors import ConfigError, NotFiniteError
from tunelab.measure.race import effective_rows
from tunelab.records import Trial
from tunelab.study.candidates import Candidate
from tunelab.study.execute import Executor, Work
from tunelab.study.prepare import Prepared
from tunelab.study.run import Kind, read_record
from tunelab.study.search import Tuner, bars, open_storage, read_curve

__all__ = ["Design", "Tuning", "run_config"]

#: Seeds of trials are not those of judged runs: what was chosen for its luck with a seed is not judged by it.
_TRIAL_SEED = 10_000

#: effort -> trials, seeds with one split, seeds with folds (where every row is judged once a seed)
EFFORTS = {"quick": (1, 2, 1), "standard": (4, 3, 2), "thorough": (10, 5, 3)}


class Design:
    """How many trials and seeds every method gets: the same for all."""

    def __init__(self, config: StudyConfig, folds: int) -> None:
        trials, seeds, with_folds = EFFORTS[config.effort]
        self.folds = folds
        self.trials = config.search.trials or trials
        self.seeds = config.seeds or (with_folds if folds > 1 else seeds)
        self.note: str | None = None
        if config.train.learning_rate is not None and self.trials > 1:
            self.trials = 1
            self.note = "nothing is tuned: train.learning_rate is given, the same for every method"

    @property
    def runs(self) -> int:
        """Of each method."""
        return self.folds * (self.seeds + (self.trials if self.trials > 1 else 0))


def run_config(
    config: StudyConfig,
    candidate: Candidate,
    *,
    seed: int,
    fold: int,
    rate: float | None = None,
    share: float = 1.0,
) -> RunConfig:
    """The configuration of one run of a candidate. rate: its learning rate; None: as set, or the method's."""
    train = build(TrainConfig, {**config.train.model_dump(), **candidate.train}, where="train")
    if rate is not None:
        train = train.model_copy(update={"learning_rate": rate})
    return RunConfig(
        files=config.files,
        task=config.task,
        task_settings=dict(candidate.task_settings),
        method=candidate.method,
        settings=dict(candidate.settings),
        data=config.data,
        augment=candidate.augment,
        model=candidate.model,
        loss=config.loss,
        train=train,
        speed=config.speed,
        share=share,
        seed=seed,
        fold=fold,
    )


def curve_shares(config: StudyConfig, rows: int) -> tuple[float, ...]:
    """Shares of `rows` training rows for the learning curve, each of another number of rows, the whole left
    out; the largest first."""
    by_rows = {max(1, round(percent / 100 * rows)): percent / 100 for percent in sorted(config.curve)}
    by_rows.pop(rows, None)
    return tuple(by_rows[count] for count in sorted(by_rows, reverse=True))


class Tuning:
    """Gives the executor its runs: trial after trial of each (candidate, fold), then the judged ones.

    `judged` and `curve`: the runs that were planned, by candidate; `chosen`: the learning rate of each
    (candidate, fold).
    """

    def __init__(
        self,
        config: StudyConfig,
        design: Design,
        entries: Sequence[Candidate],
        prepared: Mapping[str, Prepared],
        executor: Executor,
        root: Path,
    ) -> None:
        self._config = config
        self._design = design
        self._entries = {entry.name: entry for entry in entries}
        self._prepared = prepared
        self._executor = executor
        self._runs = root / "runs"
        self._storage = open_storage(root / "tuning.db") if design.trials > 1 else None
        self._tuners: dict[tuple[str, int], Tuner] = {}
        self.chosen: dict[tuple[str, int], float] = {}
        self.judged: dict[str, list[Work]] = {name: [] for name in self._entries}
        self.curve: dict[str, list[Work]] = {name: [] for name in self._entries}
        self.failures: dict[str, str] = {}

    def scouts(self) -> dict[str, Work]:
        """The first training of every method on the first fold: what a race is run over."""
        kind: Kind = "judged" if self._storage is None else "trial"
        seed = 0 if self._storage is None else _TRIAL_SEED
        found = {}
        for name, entry in self._entries.items():  # the same works, however far the study is already
            rate = self._config.train.learning_rate or methods.find(entry.method).learning_rate
            config = run_config(self._config, entry, seed=seed, fold=0, rate=rate)
            found[name] = self._executor.work(name, kind, config)
        return found

    def leave(self, names: Collection[str]) -> None:
        """Methods that are not to be done."""
        for name in names:
            del self._entries[name], self.judged[name], self.curve[name]

    def first(self) -> list[Work]:
        """What can begin at once."""
        works: list[Work] = []
        for fold in range(self._design.folds):
            for entry in self._entries.values():
                works += self._begin(entry, fold)
        return works

    def after(self, work: Work, record: dict[str, Any] | None) -> list[Work]:
        """What follows a finished run; None: it failed."""
        if work.kind != "trial":
            return []
        fold = work.config.fold
        tuner = self._tuners[work.candidate, fold]
        if record is None:
            problem = self._executor.problems.get(work.name)
            if not isinstance(problem, (NotFiniteError, ConfigError)):
                # The machine's fault (memory, disk, a signal): the same command tries this trial again.
                self.failures[work.candidate] = f"a trial of {work.candidate} failed: {problem}"
                return []
            lost = self._executor.lost.get(work.name, 0.0)  # (with its start: a lost run has no other count)
            about = {"seconds": lost, "score": None, "loss": None, "state": "failed", "run": work.name}
            tuner.tell(work.number, None, "failed", about)
        else:
            valid, cost = record["valid"], record["cost"]
            state = "stopped_early" if "stopped_early_at" in record else "complete"
            score = valid[record["deciding"]]
            about = {
                "seconds": sum(cost.get(f"{part}_seconds", 0.0) for part in ("train", "evaluation", "trunk")),
                "score": score,
                "loss": valid.get("loss", 0.0),
                "state": state,
                "run": work.name,
                "steps": record["training"]["steps"],
            }
            tuner.tell(work.number, score, "stopped_early" if state == "stopped_early" else "complete", about)
        return self._next(self._entries[work.candidate], fold)

    def trials(self, name: str) -> list[Trial]:
        """Every trial of a candidate, fold by fold."""
        return [
            trial
            for fold in range(self._design.folds)
            if (name, fold) in self._tuners
            for trial in self._tuners[name, fold].trials(fold)
        ]

    def _begin(self, entry: Candidate, fold: int) -> list[Work]:
        method = methods.find(entry.method)
        self.judged[entry.name] = [w for w in self.judged[entry.name] if w.config.fold != fold]
        self.curve[entry.name] = [w for w in self.curve[entry.name] if w.config.fold != fold]
        if self._storage is None:
            self.chosen[entry.name, fold] = self._config.train.learning_rate or method.learning_rate
            return self._judged(entry, fold)
        config = run_config(self._config, entry, seed=_TRIAL_SEED + fold, fold=fold)
        search = self._config.search
        name = self._executor.work(entry.name, "trial", config).name
        name += f" seed {search.seed}" + ("" if search.early_stop else " to the end")
        low, high = method.learning_rates
        self._tuners[entry.name, fold] = Tuner(
            self._storage,
            name,
            low,
            high,
            method.learning_rate,
            self._design.trials,
            self._config.search.seed,
        )
        for trial in self._tuners[entry.name, fold].trials(fold):
            self._executor.listener(trial.run, "recalled", {})
        return self._next(entry, fold)

    def _next(self, entry: Candidate, fold: int) -> list[Work]:
        """The next trial, or the judged runs when the trials are done."""
        tuner = self._tuners[entry.name, fold]
        asked = tuner.ask()
        if asked is not None:
            number, rate = asked
            config = run_config(self._config, entry, seed=_TRIAL_SEED + fold, fold=fold, rate=rate)
            return [self._executor.work(entry.name, "trial", config, self._bars(entry, fold), number)]
        best = tuner.best()
        if best is None:
            self.failures[entry.name] = f"every trial of {entry.name} failed (fold {fold})"
            return []
        self.chosen[entry.name, fold] = best[0]
        return self._judged(entry, fold)

    def _bars(self, entry: Candidate, fold: int) -> tuple[tuple[int, float], ...]:
        best = self._tuners[entry.name, fold].best() if self._config.search.early_stop else None
        if best is None:
            return ()
        folder = self._runs / best[1]
        record = read_record(folder)
        prepared, deciding = self._prepared[entry.model.name], record["deciding"]
        valid = prepared.split(fold).valid
        rows: float = len(valid)
        if deciding == "macro_f1":
            rows = effective_rows(list(Counter(prepared.labels(valid)).values()))
        return bars(read_curve(folder, deciding), rows, record["training"]["planned_steps"], deciding)

    def _judged(self, entry: Candidate, fold: int) -> list[Work]:
        folds, works = self._design.folds, []
        rows = len(self._prepared[entry.model.name].split(fold).train)
        for share in (1.0, *curve_shares(self._config, rows)):
            for seed in range(self._design.seeds):
                config = run_config(
                    self._config,
                    entry,
                    seed=seed * folds + fold,
                    fold=fold,
                    rate=self.chosen[entry.name, fold],
                    share=share,
                )
                work = self._executor.work(entry.name, "judged" if share == 1.0 else "curve", config)
                (self.judged if share == 1.0 else self.curve)[entry.name].append(work)
                works.append(work)
        return works
