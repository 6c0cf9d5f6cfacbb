"""Does runs: what is finished is not done again, what fails is recorded, and each bundle is verified."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelab.config import RunConfig
from tunelab.errors import OutputError, Stopped, TrainingError
from tunelab.files import output_errors, write_json
from tunelab.provenance import versions
from tunelab.study.prepare import Prepared, which
from tunelab.study.run import Bars, Kind, read_record, run_folder
from tunelab.study.runner import Job, Outcome, Pool
from tunelab.study.worker import halted_run, train_run, trial_run, verify_run

__all__ = ["After", "Executor", "Listener", "Work", "finished"]

#: (run name or "", kind, values): see `tunelab.terminal`.
Listener = Callable[[str, str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Work:
    """A run to be done: the row of the table it belongs to, its kind, configuration and folder."""

    candidate: str
    kind: Kind
    config: RunConfig
    folder: Path
    bars: Bars = ()
    number: int = 0  # of a trial
    halt: float | None = None  # share of the steps after which it is to pause

    def until(self, share: float) -> "Work":
        """The same run, to be paused after a share of its steps."""
        return replace(self, halt=share)

    @property
    def name(self) -> str:
        return self.folder.name


#: Called with a finished run (the record is None where it failed); gives what is to be done next.
After = Callable[[Work, dict[str, Any] | None], Iterable[Work]]


class Executor:
    """Keeps the workers busy. `failures`: run -> what went wrong; `problems`: the errors themselves; `lost`:
    the seconds of those that failed."""

    def __init__(
        self,
        pool: Pool,
        root: Path,
        prepared: Mapping[str, Prepared],
        device: str,
        listener: Listener,
        references: Mapping[str, Path] | None = None,
    ) -> None:
        self.pool = pool
        self.root = root
        self.device = device
        self.listener = listener
        self.failures: dict[str, str] = {}
        self.problems: dict[str, BaseException] = {}
        self.lost: dict[str, float] = {}
        self._prepared = prepared
        self._lean = {name: value.lean() for name, value in prepared.items()}
        self._references = references or {}

    def work(self, candidate: str, kind: Kind, config: RunConfig, bars: Bars = (), number: int = 0) -> Work:
        """A run with its folder."""
        folder = run_folder(
            self.root / "runs",
            config,
            self._prepared[which(config.model, config.augment)],
            self.pool.threads,
            self.device,
            kind,
            bars,
        )
        return Work(candidate, kind, config, folder, bars, number)

    def run(self, works: Iterable[Work], after: After = lambda *_: (), extra: Iterable[Job] = ()) -> None:
        """Does all runs, and those that `after` adds; `extra`: jobs of other kinds, done first.

        Raises:
            Stopped: on Ctrl-C, as `Pool.run`.
            OutputError: the folder cannot be written, as every other run would find; those at work are
                stopped as on Ctrl-C.
        """
        jobs: deque[Job] = deque(extra)
        by_name: dict[str, Work] = {}

        def admit(work: Work) -> None:
            by_name[work.name] = work
            status = _status(work.folder)
            if status == "finished":
                record = read_record(work.folder)
                self.listener(work.name, "finished", {"record": record, "again": True, "work": work})
                for follower in after(work, record):
                    admit(follower)
            elif status == "unverified":
                jobs.append(self._verification(work))
            else:
                jobs.append(self._job(work))

        def done(work: Work, record: dict[str, Any] | None) -> None:
            if record is not None:
                self.failures.pop(work.name, None)
            for follower in after(work, record):
                admit(follower)

        for first in works:
            admit(first)
        outcomes = self.pool.run(jobs)
        with self._in_order(outcomes):
            for outcome in outcomes:
                work = by_name.get(outcome.job.name)
                if outcome.error is not None:
                    self._failed(outcome, work)
                    if work is not None:
                        done(work, None)
                elif work is None:
                    self.listener(outcome.job.name, "finished", {"record": outcome.value, "again": False})
                elif outcome.value["status"] == "paused":
                    self.listener(work.name, "paused", {})
                    done(work, outcome.value)
                elif outcome.value["status"] == "unverified":
                    jobs.appendleft(self._verification(work))
                    self.listener(work.name, "trained", {"record": outcome.value})
                elif outcome.value["status"] == "failed":
                    self._note_failure(work.name, TrainingError(outcome.value["error"]))
                    self.listener(work.name, "failed", {"record": outcome.value})
                    done(work, None)
                else:
                    about = {"record": outcome.value, "again": False, "work": work}
                    self.listener(work.name, "finished", about)
                    done(work, outcome.value)

    @contextlib.contextmanager
    def _in_order(self, outcomes: Generator[Outcome, None, None]) -> Iterator[None]:
        """Stops the workers in order where the caller is stopped between two outcomes, or cannot write."""
        try:
            with output_errors(self.root):
                yield
        except KeyboardInterrupt as error:
            outcomes.throw(error)
        except OutputError:
            with contextlib.suppress(Stopped, StopIteration):
                outcomes.throw(KeyboardInterrupt())
            raise

    def probe(self, outcomes: Iterable[Outcome], works: Mapping[str, Work]) -> Iterator[tuple[str, Any]]:
        """What became of probes; gives (name, what was measured), or None where the method failed already:
        that is recorded as the failure of the run it was to be."""
        by_name = {work.name: work for work in works.values()}
        for outcome in outcomes:
            if outcome.error is not None:
                self._failed(outcome, by_name[outcome.job.name])
            yield outcome.job.name, None if outcome.error is not None else outcome.value

    def alone(self, jobs: Sequence[Job]) -> None:
        """Runs jobs one after the other with nothing beside them; a failure is told and goes no further."""
        pool = Pool(1, self.pool.threads, self.listener)
        for outcome in pool.run(deque(jobs)):
            if outcome.error is not None:
                self._failed(outcome, None)

    def _job(self, work: Work) -> Job:
        prepared = self._lean[which(work.config.model, work.config.augment)]
        reference = self._references.get(work.config.model.name) if work.kind == "judged" else None
        if work.halt is not None:
            arguments = (work.config, prepared, work.folder, self.device, work.kind, reference, work.halt)
            return Job(work.name, halted_run, arguments)
        if work.kind == "trial":
            return Job(work.name, trial_run, (work.config, prepared, work.folder, self.device, work.bars))
        return Job(
            work.name, train_run, (work.config, prepared, work.folder, self.device, work.kind, reference)
        )

    def _verification(self, work: Work) -> Job:
        prepared = self._lean[which(work.config.model, work.config.augment)]
        return Job(work.name, verify_run, (work.folder, prepared, self.device))

    def _failed(self, outcome: Outcome, work: Work | None) -> None:
        assert outcome.error is not None
        if isinstance(outcome.error, OutputError):  # the folder's fault: every other run would fail by it
            raise outcome.error
        self.lost[outcome.job.name] = outcome.seconds
        self._note_failure(outcome.job.name, outcome.error)
        if work is not None and _status(work.folder) != "unverified":  # what is trained is not thrown away
            _record_failure(work, outcome)
        self.listener(outcome.job.name, "failed", {"error": outcome.error, "details": outcome.details})

    def _note_failure(self, name: str, error: BaseException) -> None:
        self.failures[name] = str(error)
        self.problems[name] = error


def finished(folder: Path) -> bool:
    """Whether the run in a folder is done and verified."""
    return _status(folder) == "finished"


def _status(folder: Path) -> str:
    try:
        return str(read_record(folder)["status"])
    except (OSError, ValueError, KeyError):
        return "new"


def _record_failure(work: Work, outcome: Outcome) -> None:
    with output_errors(work.folder):
        work.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            work.folder / "result.json",
            {
                "status": "failed",
                "kind": work.kind,
                "method": work.config.method,
                "seed": work.config.seed,
                "fold": work.config.fold,
                "error": str(outcome.error),
                "traceback": outcome.details,
                "provenance": {"versions": versions()},
            },
        )
