"""The study: every method tuned alike, judged on the same rows, what differs, and the advised one ready."""

import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tunelab import methods, tasks
from tunelab.config import RunConfig, StudyConfig, build
from tunelab.data.check import Finding
from tunelab.errors import ConfigError, OutputError, TrainingError
from tunelab.files import output_errors, write_atomically, write_json
from tunelab.models import model_settings
from tunelab.provenance import versions
from tunelab.records import Race, StudyRecord
from tunelab.study.asking import check_asking
from tunelab.study.augmented import augmented, uses_of
from tunelab.study.baselines import OF_A_MODEL, baselines_of
from tunelab.study.budget import Planned
from tunelab.study.candidates import Candidate, candidates, firsts_of
from tunelab.study.common import check_attention, check_trackers, locked
from tunelab.study.default_model import with_model
from tunelab.study.disk import check_disk, float32_bytes, share_of
from tunelab.study.earlier import replaced
from tunelab.study.execute import After, Executor, Listener, Work, finished
from tunelab.study.handover import best_run, hand_over, prune, refit_work
from tunelab.study.planning import Planning, make_plan
from tunelab.study.prepare import Prepared, prepare, which
from tunelab.study.race import enough_evaluations, run_race
from tunelab.study.rewarding import stamps
from tunelab.study.run import read_record
from tunelab.study.runner import Job, Pool, plan_workers
from tunelab.study.settled import from_anywhere, judged_in
from tunelab.study.tuning import Design, Tuning, run_config
from tunelab.study.untouched import key_of
from tunelab.study.verdict import Evidence, conclude
from tunelab.study.worker import baseline, latency_run, reference_run

__all__ = ["Study", "compare"]


@dataclass
class Study:
    """What a study found.

    folder: where everything is; record: every number (also in study.json); bundle: the advised method's;
    findings: of the data doctor.
    """

    folder: Path
    record: StudyRecord
    bundle: Path
    findings: tuple[Finding, ...]
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def winner(self) -> str:
        """The advised method: the cheapest of those that are not worse than the best."""
        return self.record.advice.method

    @property
    def groups(self) -> list[list[str]]:
        """Methods in tied groups, the best group first."""
        found: dict[int, list[str]] = {}
        for result in self.record.results:
            if result.group is not None:
                found.setdefault(result.group, []).append(result.name)
        return [found[number] for number in sorted(found)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return self.record.notes

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report.html"

    @property
    def table(self) -> pd.DataFrame:
        """One row a method, best first, baselines last: group, score with its interval, cost."""
        return table_of(self.record)


def table_of(record: StudyRecord) -> pd.DataFrame:
    """The results as a flat frame."""
    rows = []
    for result in record.results:
        cost = result.cost.model_dump()
        rows.append(
            {
                "method": result.name,
                "baseline": result.baseline,
                "group": result.group,
                "deciding": record.deciding,
                "score": result.score.value,
                "low": result.score.low,
                "high": result.score.high,
                "spread": result.spread,
                "valid": result.valid,
                "runs": len(result.runs),
                "failed": len(result.failures),
                **cost,
                "forgetting": result.forgetting.value if result.forgetting else None,
                "learning_rate": result.learning_rates[0] if len(set(result.learning_rates)) == 1 else None,
            }
        )
    return pd.DataFrame(rows)


def compare(
    config: StudyConfig,
    root: Path,
    device: str = "cpu",
    listener: Listener = lambda *_: None,
    fresh: bool = False,
) -> Study:
    """Runs the study in `root`; what is finished there is not run again.

    fresh: forget what an earlier study left there.

    Raises:
        InputError: before any training, for whatever the user can mend.
        TrainingError: no method finished.
        Stopped: Ctrl-C; the same command goes on from there.
    """
    entries = candidates(config)
    check_trackers(config.train)
    check_attention(config.model, config.train, device)
    unused = sorted(set(config.settings) - {entry.method for entry in entries})
    for name in unused:
        methods.find(name)
    config, told = with_model(config)
    with locked(root):
        opened = _open(config, root, device, listener, fresh)
        notes = [
            *told,
            *replaced(root, opened.config),
            *dict.fromkeys(note for each in opened.every.values() for note in each.notes),
            *(f"settings of {name} are unused: it is not compared" for name in unused),
            *([opened.design.note] if opened.design.note else []),
        ]
        done = _carry_out(opened, notes)
        record = conclude(_evidence(opened, done))
        with output_errors(root):
            _write_record(root, record)
        bundle = _winner(opened, done, record)
        shutil.rmtree(root / "features", ignore_errors=True)
        return Study(root, record, bundle, opened.first.findings, dict(record.failures))


@dataclass
class _Opened:
    """A study whose data are read and whose workers wait. prepared: of each model's name; more: the same with
    new training rows; cores: of all workers together."""

    config: StudyConfig
    entries: list[Candidate]
    root: Path
    device: str
    listener: Listener
    pool: Pool
    prepared: dict[str, Prepared]
    more: dict[str, Prepared]
    design: Design
    cores: int

    @property
    def every(self) -> dict[str, Prepared]:
        """All data that runs are made of."""
        return {**self.prepared, **self.more}

    @property
    def first(self) -> Prepared:
        """The first model's: rows, splits and findings are the same in all."""
        return next(iter(self.prepared.values()))


@dataclass
class _Done:
    """What a study's runs have left. judged: each candidate's finished runs; baselines: name in the table ->
    folders."""

    entries: list[Candidate]
    executor: Executor
    planned: Planned
    tuning: Tuning
    race: Race | None
    judged: dict[str, list[Work]]
    baselines: dict[str, list[Path]]
    notes: list[str]


def _open(config: StudyConfig, root: Path, device: str, listener: Listener, fresh: bool) -> _Opened:
    """Reads and checks everything that can be wrong before a training."""
    entries = candidates(config)
    workers, threads = plan_workers(config.workers, device)
    pool = Pool(workers, threads, listener)
    pool.warm_up()
    prepared = _prepare_all(config, entries, root)
    first = next(iter(prepared.values()))
    _check_tasks(config, entries, prepared, device)
    if fresh:
        _clear(root)
    _check_other_data(root, config)
    more = _augment_all(config, prepared, root, device, listener)
    design = Design(config, len(first.splits))
    kept = 1 if config.keep == "best" else design.folds * design.seeds
    shares = [share_of(row.method, row.settings, prepared[row.model.name]) for row in entries]
    check_disk(root, shares, max(map(float32_bytes, prepared.values())), workers, kept)
    if config.race and not first.task(config).classes:
        raise ConfigError(
            f"race: task {config.task} answers with numbers here, and the race's limits are made for "
            "shares of right answers; leave --race out"
        )
    if config.race:
        rows = len(first.rows(first.splits[0].train))
        config = config.model_copy(update={"train": enough_evaluations(config.train, rows)})
    return _Opened(config, entries, root, device, listener, pool, prepared, more, design, workers * threads)


def _carry_out(opened: _Opened, notes: list[str]) -> _Done:
    """Plans, tunes, races, trains and judges; `notes` is gone on with."""
    config, root, pool, device = opened.config, opened.root, opened.pool, opened.device
    told = {"notes": notes, "workers": pool.workers, "threads": pool.threads}
    opened.listener("", "prepared", {"prepared": opened.first, **told})
    with output_errors(root):
        _write_study(root, config, opened.first)
    references = _references(pool, opened.listener, opened.prepared, root, device, notes)
    executor = Executor(pool, root, opened.every, device, opened.listener, references)
    planning = Planning(config, opened.entries, opened.every, executor, references)
    planned, failed = make_plan(planning, opened.design)
    entries = [entry for entry in opened.entries if entry.name not in failed]
    if not entries:
        raise TrainingError(_all_failed(executor.failures))
    notes += planned.notes
    tuning = Tuning(config, opened.design, entries, opened.prepared, executor, root)
    race = None
    if config.race:
        scouts = tuning.scouts()
        kept = {name for name in judged_in(root) if name in scouts and finished(scouts[name].folder)}
        left, race = run_race(scouts, executor, opened.prepared, opened.design, planned, kept)
        stopped = {entry.name for entry in entries} - left
        tuning.leave(stopped)
        entries = [entry for entry in entries if entry.name in left]
        notes += [f"{name} was stopped by the race" for name in sorted(stopped)]
    extra = _baseline_jobs(config, entries, opened.prepared, root, device) if config.baselines else {}
    opened.listener("", "planned", {"runs": planned.runs})
    unfinished = [job for job in chain(*extra.values()) if not _finished(job)]
    executor.run(tuning.first(), _keeping_the_best(config, tuning), unfinished)
    judged = {
        name: [work for work in works if work.name not in executor.failures]
        for name, works in tuning.judged.items()
    }
    judged = {name: works for name, works in judged.items() if works}
    if not judged:
        raise TrainingError(_all_failed(executor.failures | tuning.failures))
    _measure_latency(executor, judged, opened.prepared)
    baselines = {
        name: [root / "runs" / job.name for job in jobs if job.name not in executor.failures]
        for name, jobs in extra.items()
    }
    return _Done(entries, executor, planned, tuning, race, judged, baselines, notes)


def _keeping_the_best(config: StudyConfig, tuning: Tuning) -> After:
    """What follows a run. Of a method's finished ones the best keeps its bundle: no disk need hold all."""

    def after(work: Work, record: dict[str, Any] | None) -> list[Work]:
        if config.keep == "best" and work.kind == "judged" and finished(work.folder):
            prune([each for each in tuning.judged[work.candidate] if finished(each.folder)])
        return tuning.after(work, record)

    return after


def _evidence(opened: _Opened, done: _Done) -> Evidence:
    return Evidence(
        config=opened.config,
        design=opened.design,
        entries=tuple(done.entries),
        prepared=opened.prepared,
        augmented=opened.more,
        begun=done.tuning.judged,
        judged=done.judged,
        curve=done.tuning.curve,
        trials={entry.name: done.tuning.trials(entry.name) for entry in done.entries},
        chosen=done.tuning.chosen,
        baselines=done.baselines,
        planned=done.planned,
        failures={**done.executor.failures, **done.tuning.failures},
        notes=tuple(done.notes),
        race=done.race,
        root=opened.root,
        device=opened.device,
    )


def _prepare_all(config: StudyConfig, entries: Sequence[Candidate], root: Path) -> dict[str, Prepared]:
    """The data, once a model: each has its own tokenizer, and the same rows on the same sides."""
    found = {}
    for name in dict.fromkeys(entry.model.name for entry in entries):
        model = config.model.model_copy(update={"name": name})
        whole = prepare(config.files, config.task, config.data, model, config.task_settings)
        found[name] = replace(whole, features=root / "features")
    known: dict[str, str] = {}
    for name, each in found.items():
        weights = f"{each.model_digest} {each.token_digest} {each.model.max_length}"
        if weights in known:
            raise ConfigError(f"models {known[weights]!r} and {name!r} are the same: nothing to compare")
        known[weights] = name
    if tasks.find(config.task).judged_by_token:
        _check_like_tokens(config, found)
    digests = {split.digest for each in found.values() for split in each.splits[:1]}
    assert len(digests) == 1, "a split depends on the rows and the seed alone"
    return found


def _check_like_tokens(config: StudyConfig, prepared: Mapping[str, Prepared]) -> None:
    """Losses a token are of one kind: the same tokens, foretold in the same way."""
    first, *others = prepared
    for name in others:
        same = prepared[name].token_digest == prepared[first].token_digest
        if not same or prepared[name].settings != prepared[first].settings:
            raise ConfigError(
                f"{config.task}: {first!r} and {name!r} do not cut the texts into the same tokens, or do not "
                "foretell them alike, so a loss a token says nothing about which of them is better; compare "
                "models with one tokenizer and of one kind, or make a study of each"
            )


def _check_tasks(
    config: StudyConfig, entries: Sequence[Candidate], prepared: Mapping[str, Prepared], device: str
) -> None:
    """What each row's settings of the task and the training ask for is to be had."""
    kind = tasks.find(config.task)
    for entry in entries:
        known, train = prepared[entry.model.name], run_config(config, entry, seed=0, fold=0).train
        own = config.model_copy(update={"task_settings": dict(entry.task_settings), "train": train})
        settings = build(kind.Settings, entry.task_settings, where=kind.name)
        settings = kind.settle(settings, known.head, known.base.name)
        kind.check_code(settings, model_settings(known.base, known.model))
        check_asking(known.task(own), known, device)


def _augment_all(
    config: StudyConfig, prepared: Mapping[str, Prepared], root: Path, device: str, listener: Listener
) -> dict[str, Prepared]:
    """The same with copies of the training rows, under names of their own; none without a recipe."""
    if not config.augment.recipe:
        return {}
    listener("", "augmenting", {"recipe": config.augment.recipe})
    return {
        which(each.model, config.augment): augmented(
            each,
            config.augment,
            config.task,
            uses_of(len(each.splits), config.curve),
            root / "augmented",
            device,
        )
        for each in prepared.values()
    }


def _references(
    pool: Pool,
    listener: Listener,
    prepared: Mapping[str, Prepared],
    root: Path,
    device: str,
    notes: list[str],
) -> dict[str, Path]:
    """What each untouched model does on general text: the baseline of forgetting."""
    paths = {name: root / "reference" / f"{each.model_digest[:16]}.npz" for name, each in prepared.items()}
    jobs = deque(
        Job(f"reference-{path.stem}", reference_run, (prepared[name].lean(), path, device))
        for name, path in paths.items()
        if not path.is_file()
    )
    for outcome in Pool(1, pool.threads, listener).run(jobs):  # (memory is not planned yet)
        if isinstance(outcome.error, OutputError):
            raise outcome.error
        if outcome.error is not None:
            notes.append(f"forgetting is not measured: {outcome.error}")
            listener(outcome.job.name, "note", {"note": notes[-1]})
        elif outcome.value is not None:
            notes.append(outcome.value)
    return {name: path for name, path in paths.items() if path.is_file()}


def _baseline_jobs(
    config: StudyConfig,
    entries: Sequence[Candidate],
    prepared: Mapping[str, Prepared],
    root: Path,
    device: str,
) -> dict[str, list[Job]]:
    """By the name in the table. Of the first model all, of the others those that ask the model."""
    jobs: dict[str, list[Job]] = {}
    for at, entry in enumerate(firsts_of(entries)):
        own = prepared[entry.model.name]
        for fold in range(len(own.splits)):
            for name in baselines_of(own.task(config, fold), first=at == 0):
                run = run_config(config, entry, seed=0, fold=fold)
                folder = root / "runs" / f"baseline-{name}-f{fold}-{_baseline_key(run, own, fold)}"
                told = f"{name}@{entry.at}" if entry.at and name in OF_A_MODEL else name
                jobs.setdefault(told, []).append(Job(folder.name, baseline, (name, run, own, folder, device)))
    return jobs


def _baseline_key(run: RunConfig, prepared: Prepared, fold: int) -> str:
    """What decides a baseline's result: rows, model, tokens, the task with its settings, the version."""
    return key_of(
        versions()["tunelab"],
        run.task,
        prepared.digest,
        prepared.split(fold).digest,
        prepared.model_digest,
        prepared.token_digest,
        prepared.model.max_length,
        prepared.settings.model_dump_json(),
        *stamps(run.task_settings),
    )


def _finished(job: Job) -> bool:
    folder: Path = job.arguments[3]
    return (folder / "result.json").is_file()


def _measure_latency(
    executor: Executor, judged: Mapping[str, Sequence[Work]], prepared: Mapping[str, Prepared]
) -> None:
    """Of each method's best artefact, one at a time, with nothing else at work."""
    jobs = []
    for works in judged.values():
        kept = [work for work in works if (work.folder / "bundle").is_dir()]
        if any("latency_1_seconds" in read_record(work.folder)["cost"] for work in works) or not kept:
            continue
        work = best_run(kept)
        lean = prepared[work.config.model.name].lean()
        jobs.append(Job(f"latency-{work.candidate}", latency_run, (work.folder, lean, executor.device)))
    executor.alone(jobs)


def _winner(opened: _Opened, done: _Done, record: StudyRecord) -> Path:
    """The bundle of the advised method, trained on all rows where there were folds."""
    config, root, executor = opened.config, opened.root, done.executor
    name = record.advice.method
    entry = next(entry for entry in candidates(config) if entry.name == name)
    own = opened.every[entry.model.name]
    if len(own.splits) == 1:
        return hand_over(executor, best_run(done.judged[name]), own, root)
    if opened.device == "cpu":  # the refit is alone: it has the whole machine
        alone = Pool(1, opened.cores, executor.listener)
        executor = Executor(alone, root, opened.every, opened.device, executor.listener)
    rates = [done.tuning.chosen[name, fold] for fold in range(len(own.splits))]
    work = refit_work(config, entry, rates, executor)
    executor.listener("", "refit", {"method": name, "rows": len(own.refit.train)})
    return hand_over(executor, work, own, root)


def _all_failed(failures: Mapping[str, str]) -> str:
    name, error = next(iter(failures.items()))
    return f"no run finished ({len(failures)} failed). The first, {name}: {error}"


def _clear(folder: Path) -> None:
    """Removes a study's own files, and nothing that is not tunelab's."""
    if not (folder / "study.yaml").is_file():
        if (folder / "runs").exists():
            raise ConfigError(
                f"--fresh: {folder} holds no study of tunelab's (no study.yaml), so its runs/ stays; "
                "give another folder with --out"
            )
        return
    for name in ("runs", "winner", "reference", "probes", "features", "augmented"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "study.json",
        "study.yaml",
        "table.csv",
        "findings.json",
        "plan.json",
        "tuning.db",
        "report.html",
    ):
        (folder / name).unlink(missing_ok=True)


def _check_other_data(root: Path, config: StudyConfig) -> None:
    """Raises `ConfigError` where the folder holds the study of another file of the same name."""
    path = root / "study.yaml"
    if path.is_file():
        before = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("files", [])
        if before != [str(Path(f).resolve()) for f in config.files]:
            raise ConfigError(
                f"{root} holds a study of {', '.join(before)}; give another folder with --out, or --fresh to "
                "forget it"
            )


def _write_study(root: Path, config: StudyConfig, prepared: Prepared) -> None:
    text = yaml.safe_dump(from_anywhere(config), sort_keys=False, allow_unicode=True)
    write_atomically(root / "study.yaml", text.encode("utf-8"))
    write_json(root / "findings.json", [finding.as_dict() for finding in prepared.findings])


def _write_record(root: Path, record: StudyRecord) -> None:
    table = table_of(record)
    write_atomically(root / "table.csv", table.to_csv(index=False).encode("utf-8-sig"))
    write_json(root / "study.json", record.model_dump(mode="json"))
