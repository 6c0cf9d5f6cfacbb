"""The plan of a study: every method is probed, memory and the budget are kept to, and the user is told.

What was planned once holds when a study goes on; it is kept in `plan.json`:

    probes     what was measured, by the run's name        seconds    of that, by the same names
    designs    trials, seeds and notes of each budget      threads    of a run, by workers and threads given

Threads are part of what names a run. So where memory holds fewer runs side by side than there are workers,
those that are left get the idle cores' threads once, when a study begins; later only their number may change.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunelab.config import StudyConfig, seconds_of
from tunelab.files import output_errors, write_json
from tunelab.provenance import available_memory, cores
from tunelab.study.budget import Planned, fit_budget
from tunelab.study.candidates import Candidate
from tunelab.study.execute import Executor, Work
from tunelab.study.memory import at_once, expected_bytes, probed
from tunelab.study.plan import Probe
from tunelab.study.prepare import Prepared, which
from tunelab.study.runner import Job, Pool
from tunelab.study.settled import from_anywhere
from tunelab.study.tuning import Design, run_config
from tunelab.study.worker import probe

__all__ = ["Planning", "make_plan"]


def make_plan(planning: "Planning", design: Design) -> tuple[Planned, set[str]]:
    """Probes every method, fits the workers to the memory (in `planning.executor.pool`), keeps within the
    budget (by changing `design`) and tells the plan. Returns it and the methods that cannot be attached."""
    planned, failed, notes = planning.fitted(design)
    config = planning.config
    if config.search.budget is not None and planned.entries:
        left = ("files", "variants", "keep", "workers")
        fitted = {name: value for name, value in from_anywhere(config).items() if name not in left}
        digests = sorted(each.digest for each in planning.prepared.values())
        key = hashlib.sha256(json.dumps([fitted, digests]).encode()).hexdigest()
        designs = planning.known["designs"]
        if key not in designs:  # variants that are added later are given what the others were
            fit_budget(planned, design, seconds_of(config.search.budget), config.search.budget)
            designs[key] = [design.trials, design.seeds, planned.notes]
        design.trials, design.seeds, planned.notes = designs[key]
    planned.settle(design)
    planned.notes = [*notes, *planned.notes, *planned.remarks()]
    planning.keep()
    planning.executor.listener("", "plan", {"planned": planned})
    return planned, failed


@dataclass
class Planning:
    """What a plan is made of. references: of each model's name, to measure forgetting by; known: what
    `plan.json` holds."""

    config: StudyConfig
    entries: Sequence[Candidate]
    prepared: Mapping[str, Prepared]
    executor: Executor
    references: Mapping[str, Path]
    known: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        path = self.executor.root / "plan.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"threads": {}}
        empty: dict[str, Any] = {"probes": {}, "seconds": {}, "designs": {}}
        self.known = {**empty, **known}
        self.known["device"] = torch.device(self.executor.device).type
        # A plan that says nothing of threads was made for those that were given.
        self.known.setdefault("threads", {self._given: self.executor.pool.threads})

    @property
    def _given(self) -> str:
        pool = self.executor.pool
        return f"{pool.workers} workers, {pool.threads} threads"

    def keep(self) -> None:
        """Writes `plan.json`."""
        with output_errors(self.executor.root):
            write_json(self.executor.root / "plan.json", self.known)

    def fitted(self, design: Design) -> tuple[Planned, set[str], list[str]]:
        """The plan for as many runs side by side as memory holds, with all cores at work; the methods that
        failed, and what the user is to know."""
        pool, given, decided = self.executor.pool, self._given, self.known["threads"]
        workers, threads = pool.workers, pool.threads
        _use(pool, workers * threads, decided.get(given, threads))
        planned, failed, took = self._measured(self.entries)
        reason = _fit_memory(planned, design, pool)
        if given not in decided and planned.rows:
            decided[given] = max(threads, min(workers * threads, cores()) // pool.workers)
            self.keep()
            if decided[given] != threads:
                _use(pool, workers * threads, decided[given])
                planned, more, _ = self._measured(planned.entries, took)
                failed |= more
                reason = _fit_memory(planned, design, pool) or reason
        planned.settle(design)
        if pool.workers == workers:
            return planned, failed, []
        each = f", with {pool.threads} threads each" if pool.threads > threads else ""
        reason = reason or "memory held no more when this study began"
        return planned, failed, [f"{pool.workers} instead of {workers} runs side by side{each}: {reason}"]

    def _measured(self, entries: Sequence[Candidate], before: float = 0.0) -> tuple[Planned, set[str], float]:
        """The plan of these rows for the pool as it is, those that failed, and the seconds of the new probes;
        before: seconds of probes that these stand for."""
        executor = self.executor
        works = {
            entry.name: executor.work(entry.name, "judged", run_config(self.config, entry, seed=0, fold=0))
            for entry in entries
        }
        probes, seconds = self.known["probes"], self.known["seconds"]
        missing = {work.name: name for name, work in works.items() if work.name not in probes}
        began, failed = time.monotonic(), set()
        executor.listener("", "probing", {"runs": len(missing)})
        jobs = [self._job(works[name]) for name in missing.values()]
        here = missing if executor.device == "cpu" else {}
        expected = {work: self._expected(works[name]) for work, name in here.items()}
        outcomes = probed(executor.pool, jobs, expected)
        for job, value in executor.probe(outcomes, works):
            if value is None:
                failed.add(missing[job])
            else:
                probes[job] = value
        shutil.rmtree(executor.root / "probes", ignore_errors=True)
        took = before + time.monotonic() - began if missing else 0.0
        seconds.update({name: took / len(missing) for name in missing})
        self.keep()
        planned = Planned(
            {name: Probe(**probes[work.name]) for name, work in works.items() if name not in failed},
            self.config,
            [entry for entry in entries if entry.name not in failed],
            self.prepared,
            executor.device,
            executor.pool.workers,
            probed_seconds=sum(seconds.get(work.name, 0.0) for work in works.values()),
        )
        return planned, failed, took

    def _expected(self, work: Work) -> float:
        own = self.prepared[which(work.config.model, work.config.augment)]
        return expected_bytes(work.config, own, self.executor.device)

    def _job(self, work: Work) -> Job:
        root, own = self.executor.root, self.prepared[which(work.config.model, work.config.augment)]
        reference = self.references.get(work.config.model.name)
        folder = root / "probes" / work.name
        return Job(work.name, probe, (work.config, own.lean(), folder, self.executor.device, reference))


def _use(pool: Pool, all_threads: int, threads: int) -> None:
    pool.threads, pool.workers = threads, max(1, min(pool.workers, all_threads // threads))


def _fit_memory(planned: Planned, design: Design, pool: Pool) -> str:
    """Fewer runs side by side where the memory that is free would not hold them; why, or "" where it does."""
    if planned.device != "cpu":
        return ""
    planned.settle(design)
    free, largest = available_memory(), max((row.memory_bytes for row in planned.rows), default=0.0)
    workers = at_once(pool.workers, largest, free)
    if free is None or workers == pool.workers:
        return ""
    planned.workers = pool.workers = workers
    return f"one needs up to {largest / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
