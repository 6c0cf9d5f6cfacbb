"""The study: every method on the same rows, its table, and the winner as a ready bundle."""

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import yaml

from tunelab import methods
from tunelab.config import RunConfig, StudyConfig, TrainConfig
from tunelab.data.check import Finding
from tunelab.errors import ConfigError, OutputError, TrainingError, did_you_mean
from tunelab.files import check_writable, folder_atomically, output_errors, write_atomically, write_json
from tunelab.measure.cost import check_disk
from tunelab.provenance import versions
from tunelab.serve.bundle import add_base
from tunelab.study.baselines import BASELINES
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import remove_bundle, run_folder
from tunelab.study.runner import Job, Outcome, Pool, plan_workers
from tunelab.study.summary import Row, summarise
from tunelab.study.worker import baseline, train_run, verify_run

__all__ = ["Study", "compare", "run_single"]

#: (run name or "", kind, values): see `tunelab.terminal`.
Listener = Callable[[str, str, Mapping[str, Any]], None]

#: A base model up to this size is put into the winner's bundle, so that it can be moved anywhere.
_BASE_LIMIT = 1_000_000_000


@dataclass
class Study:
    """What a study found.

    folder: where everything is; table: one row a method (see `Row`); winner: the method that was best
    on validation, and its bundle; failures: run -> what went wrong.
    """

    folder: Path
    rows: list[Row]
    winner: str
    bundle: Path
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def better_baseline(self) -> str | None:
        """The best baseline, where its score is above that of every method."""
        best = max(self.rows, key=lambda row: (row.score, not row.baseline))
        return best.method if best.baseline else None

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame, best score first, baselines last."""
        return pd.DataFrame([asdict(row) for row in self.rows])


@dataclass
class _Plan:
    """A run to be done: its configuration and folder."""

    config: RunConfig
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name


def compare(
    config: StudyConfig, root: Path, device: str = "cpu", listener: Listener = lambda *_: None
) -> Study:
    """Runs the study in `root`; what is finished there is not run again.

    Raises:
        InputError: before any training, for whatever the user can mend.
        TrainingError: no run of any method finished.
        Stopped: Ctrl-C; the same command goes on from there.
    """
    names = tuple(dict.fromkeys(config.methods)) or tuple(methods.METHODS)
    for name in names:  # unknown methods and settings are told before anything is read
        methods.find(name).make(config.settings.get(name, {}))
    _check_trackers(config.train)
    unused = set(config.settings) - set(names)
    for name in unused:
        methods.find(name)
    with _locked(root):
        workers, threads = plan_workers(config.workers, device)
        pool = Pool(workers, threads, listener)
        pool.warm_up()
        prepared = prepare(config.files, config.task, config.data, config.model)
        check_disk(root, _model_bytes(prepared), workers)
        notes = [
            *prepared.notes,
            *(f"settings of {n} are unused: it is not compared" for n in sorted(unused)),
        ]
        listener(
            "", "prepared", {"prepared": prepared, "notes": notes, "workers": workers, "threads": threads}
        )
        with output_errors(root):
            _write_study(root, config, prepared)
        folds = len(prepared.splits)
        seeds = config.seeds or (1 if folds > 1 else 3)
        plans = [
            _plan(config, name, seed * folds + fold, fold, root, prepared, threads)
            for seed in range(seeds)
            for fold in range(folds)
            for name in names
        ]
        extra = _baseline_jobs(config, prepared, root, device) if config.baselines else []
        listener("", "planned", {"runs": len(plans), "baselines": len(extra), "folds": folds, "seeds": seeds})
        failures = _execute(pool, plans, extra, prepared, device, listener)
        done = [plan for plan in plans if plan.name not in failures]
        if not done:
            raise TrainingError(_all_failed(failures))
        rows = _table(root, done, extra, seeds, folds, failures)
        winner = _winner(rows)
        if folds > 1 and device == "cpu":  # the refit is alone: it has the whole machine
            pool = Pool(1, workers * threads, listener)
        bundle = _hand_over(pool, winner, done, config, prepared, root, device, listener)
        if config.keep == "best":
            _prune(done)
        study = Study(root, rows, winner, bundle, prepared.findings, tuple(notes), failures)
        with output_errors(root):
            _write_summary(study)
        return study


def run_single(
    config: RunConfig,
    root: Path,
    device: str = "cpu",
    listener: Listener = lambda *_: None,
    fresh: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """One run in `root`; returns its folder and record. With folds, fold `config.fold` is the test.

    fresh: begin again even where there is a checkpoint or a result.

    Raises:
        InputError, TrainingError, Stopped: as `compare`.
    """
    methods.find(config.method).make(config.settings)
    _check_trackers(config.train)
    with _locked(root):
        pool = Pool(1, plan_workers(1, device)[1], listener)
        pool.warm_up()
        prepared = prepare(config.files, config.task, config.data, config.model)
        check_disk(root, _model_bytes(prepared), 1)
        if config.fold >= len(prepared.splits):
            raise TrainingError(f"there is no fold {config.fold}: this study has {len(prepared.splits)}")
        notes = list(prepared.notes)
        listener(
            "", "prepared", {"prepared": prepared, "notes": notes, "workers": 1, "threads": pool.threads}
        )
        plan = _Plan(config, run_folder(root / "runs", config, prepared, pool.threads))
        if fresh and plan.folder.exists():
            shutil.rmtree(plan.folder)
        listener("", "planned", {"runs": 1, "baselines": 0, "folds": 1, "seeds": 1})
        problems: dict[str, BaseException] = {}
        failures = _execute(pool, [_with_bundle(plan)], [], prepared, device, listener, problems)
        if failures:
            raise problems[plan.name]
        return plan.folder, _record(plan.folder)


def _check_trackers(config: TrainConfig) -> None:
    """Raises `ConfigError` for a tracker that `accelerate` does not know or whose package is missing."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    ready = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    known = {str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS}
    for name in config.trackers:
        if name not in known:
            raise ConfigError(
                f"setting 'train.trackers': unknown tracker {name!r}; {did_you_mean(name, known)}"
            )
        if name not in ready:
            raise ConfigError(f"setting 'train.trackers': {name!r} needs its package: pip install {name}")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Two tunelabs in one folder would write over each other."""
    check_writable(root)
    lock = filelock.FileLock(root / ".lock", timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise OutputError(
            f"another tunelab is at work in {root}; wait for it, or give another folder with --out"
        ) from None


def _plan(
    config: StudyConfig, name: str, seed: int, fold: int, root: Path, prepared: Prepared, threads: int
) -> _Plan:
    run = RunConfig(
        files=config.files,
        task=config.task,
        method=name,
        settings=config.settings.get(name, {}),
        data=config.data,
        model=config.model,
        loss=config.loss,
        train=config.train,
        seed=seed,
        fold=fold,
    )
    return _Plan(run, run_folder(root / "runs", run, prepared, threads))


def _baseline_jobs(config: StudyConfig, prepared: Prepared, root: Path, device: str) -> list[Job]:
    jobs = []
    for fold in range(len(prepared.splits)):
        for name in BASELINES:
            run = _plan(config, "head", 0, fold, root, prepared, 1).config
            key = prepared.split(fold).digest[:10] + prepared.model_digest[:4]
            folder = root / "runs" / f"baseline-{name}-f{fold}-{key}"
            jobs.append(Job(folder.name, baseline, (name, run, prepared, folder, device)))
    return jobs


def _execute(
    pool: Pool,
    plans: Sequence[_Plan],
    extra: Sequence[Job],
    prepared: Prepared,
    device: str,
    listener: Listener,
    problems: dict[str, BaseException] | None = None,
) -> dict[str, str]:
    """Does what is not done yet, verifying each run's bundle in a fresh process; returns failures."""
    failures: dict[str, str] = {}
    jobs: deque[Job] = deque(job for job in extra if not (job.arguments[3] / "result.json").is_file())
    by_name = {plan.name: plan for plan in plans}
    for plan in plans:
        status = _status(plan.folder)
        if status == "finished":
            listener(plan.name, "finished", {"record": _record(plan.folder), "again": True})
        elif status == "unverified":
            jobs.append(_verification(plan, prepared, device))
        else:
            jobs.append(Job(plan.name, train_run, (plan.config, prepared, plan.folder, device)))
    for outcome in pool.run(jobs):
        name = outcome.job.name
        if outcome.error is not None:
            failures[name] = str(outcome.error)
            if problems is not None:
                problems[name] = outcome.error
            if name in by_name:
                _record_failure(by_name[name], outcome)
            listener(name, "failed", {"error": outcome.error, "details": outcome.details})
        elif outcome.job.function is train_run:
            jobs.appendleft(_verification(by_name[name], prepared, device))
            listener(name, "trained", {"record": outcome.value})
        else:
            if outcome.value["status"] == "failed":
                failures[name] = outcome.value["error"]
                if problems is not None:
                    problems[name] = TrainingError(outcome.value["error"])
            listener(name, outcome.value["status"], {"record": outcome.value, "again": False})
    return failures


def _verification(plan: _Plan, prepared: Prepared, device: str) -> Job:
    return Job(plan.name, verify_run, (plan.folder, prepared, device))


def _status(folder: Path) -> str:
    try:
        return str(_record(folder)["status"])
    except (OSError, ValueError, KeyError):
        return "new"


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return record


def _record_failure(plan: _Plan, outcome: Outcome) -> None:
    with output_errors(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            plan.folder / "result.json",
            {
                "status": "failed",
                "method": plan.config.method,
                "seed": plan.config.seed,
                "fold": plan.config.fold,
                "error": str(outcome.error),
                "traceback": outcome.details,
                "provenance": {"versions": versions()},
            },
        )


def _all_failed(failures: Mapping[str, str]) -> str:
    name, error = next(iter(failures.items()))
    return f"no run finished ({len(failures)} failed). The first, {name}: {error}"


def _table(
    root: Path,
    done: Sequence[_Plan],
    extra: Sequence[Job],
    seeds: int,
    folds: int,
    failures: Mapping[str, str],
) -> list[Row]:
    folders = [plan.folder for plan in done]
    folders += [root / "runs" / job.name for job in extra if job.name not in failures]
    failed: dict[str, int] = {}
    for name in failures:
        method = name.split("-")[0]
        failed[method] = failed.get(method, 0) + 1
    return summarise([_record(f) for f in folders], folders, seeds, folds, failed)


def _winner(rows: Sequence[Row]) -> str:
    """Best on validation, the lower validation loss where that ties: the test rows choose nothing."""
    trained = [row for row in rows if not row.baseline]
    return max(trained, key=lambda row: (row.valid, -row.valid_loss)).method


def _hand_over(
    pool: Pool,
    winner: str,
    done: Sequence[_Plan],
    config: StudyConfig,
    prepared: Prepared,
    root: Path,
    device: str,
    listener: Listener,
) -> Path:
    """The winner's bundle in `root / "winner"`: of its best run, or after folds refitted on all rows."""
    plan = _best_run([p for p in done if p.config.method == winner])
    if len(prepared.splits) > 1:
        plan = _plan_refit(config, winner, root, prepared, pool.threads)
        listener("", "refit", {"method": winner, "rows": len(prepared.refit.train)})
    if _status(_with_bundle(plan).folder) != "finished":
        failures = _execute(pool, [plan], [], prepared, device, listener)
        if failures:
            raise TrainingError(f"the winner {winner} could not be trained once more: {failures[plan.name]}")
    target = root / "winner"
    with output_errors(target):
        with folder_atomically(target) as work:
            shutil.copytree(plan.folder / "bundle", work, dirs_exist_ok=True)
        if _model_bytes(prepared) <= _BASE_LIMIT:
            add_base(target)
    return target


def _with_bundle(plan: _Plan) -> _Plan:
    """The plan; a finished run whose bundle an earlier study removed is to be done again."""
    if _status(plan.folder) == "finished" and not (plan.folder / "bundle").is_dir():
        (plan.folder / "result.json").unlink()
    return plan


def _plan_refit(config: StudyConfig, name: str, root: Path, prepared: Prepared, threads: int) -> _Plan:
    plan = _plan(config, name, 0, 0, root, prepared, threads)
    run = plan.config.model_copy(update={"fold": -1})
    return _Plan(run, run_folder(root / "runs", run, prepared, threads))


def _best_run(plans: Sequence[_Plan]) -> _Plan:
    def key(plan: _Plan) -> tuple[float, float]:
        record = _record(plan.folder)
        return record["valid"][record["deciding"]], -record["valid"]["loss"]

    return max(plans, key=key)


def _prune(done: Sequence[_Plan]) -> None:
    """Of each method only the run that was best on validation keeps its bundle on disk."""
    for name in {plan.config.method for plan in done}:
        plans = [plan for plan in done if plan.config.method == name and (plan.folder / "bundle").is_dir()]
        if not plans:
            continue
        best = _best_run(plans)
        for plan in plans:
            if plan is not best:
                remove_bundle(plan.folder, f"study.keep=best: {best.name} was better on validation")


def _model_bytes(prepared: Prepared) -> int:
    return sum(path.stat().st_size for path in prepared.base.folder.glob("*.safetensors"))


def _write_study(root: Path, config: StudyConfig, prepared: Prepared) -> None:
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(root / "study.yaml", text.encode("utf-8"))
    write_json(root / "findings.json", [finding.as_dict() for finding in prepared.findings])


def _write_summary(study: Study) -> None:
    table = study.table
    write_atomically(study.folder / "table.csv", table.to_csv(index=False).encode("utf-8-sig"))
    rows = json.loads(table.to_json(orient="records"))
    write_json(
        study.folder / "study.json",
        {
            "winner": study.winner,
            "chosen_by": "the best validation score; the test rows chose nothing",
            "rows": rows,
            "notes": list(study.notes),
            "failures": study.failures,
            "versions": versions(),
        },
    )
