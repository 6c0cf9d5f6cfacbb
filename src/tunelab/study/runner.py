"""Jobs in worker processes of their own: a crash of one is a recorded failure, and the others go on.

Workers are forked from a server process that has imported what they need but holds nothing of a run,
so each starts in milliseconds and as fresh as a new interpreter. A worker ends when its parent does.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunelab.errors import Stopped, TunelabError
from tunelab.provenance import cores

__all__ = ["Job", "Outcome", "Pool", "plan_workers"]

#: Modules that the server imports once for all workers.
_PRELOAD = ["tunelab.study.worker"]
#: Seconds a worker may take to reach a step's end and write its checkpoint after Ctrl-C. One that is then in
#: something longer (a validation, judging, frozen layers' states) is ended. It goes on from its last
#: checkpoint, `train.checkpoint_seconds` of training before at most (more where writing is slow).
_GRACE = 60.0


@dataclass(frozen=True)
class Job:
    """A function of an importable module, called in a process of its own.

    It is called as `function(*arguments, listener, stop)`.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass
class Outcome:
    """What became of a job: its value, or the error with its traceback; seconds: since its worker began."""

    job: Job
    value: Any = None
    error: BaseException | None = None
    details: str = ""
    seconds: float = 0.0


@dataclass
class _Worker:
    job: Job
    process: Any
    pipe: multiprocessing.connection.Connection
    outcome: Outcome | None = None
    stopped: bool = field(default=False)
    began: float = field(default_factory=time.monotonic)


def plan_workers(wanted: int, device: str) -> tuple[int, int]:
    """How many runs go side by side, and how many threads each has.

    On a CPU one thread a run and as many runs as cores: two one-thread runs give 1.2 to 1.4 times the
    throughput of one run on two threads. On a GPU one run at a time.
    """
    available = cores()
    if device != "cpu":
        return (wanted or 1, max(1, available // (wanted or 1)))
    count = wanted or available
    return count, max(1, available // count)


class Pool:
    """Runs jobs side by side; `run` yields each outcome as it comes.

    The listener is called in this process with (job name, kind, values).
    """

    def __init__(self, workers: int, threads: int, listener: Callable[[str, str, Mapping[str, Any]], None]):
        self.workers = workers
        self.threads = threads
        self._listener = listener
        self._context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
        if sys.platform != "win32":
            self._context.set_forkserver_preload(_PRELOAD)

    def warm_up(self) -> None:
        """Starts the server now, so that its imports run while the data is being read."""
        if sys.platform == "win32":
            return
        from multiprocessing import forkserver

        with _environment(self.threads), _without_main():
            forkserver.ensure_running()

    def run(self, jobs: "deque[Job]") -> Generator[Outcome, None, None]:
        """Takes jobs from the left; the caller may append more while outcomes come.

        Raises:
            Stopped: on Ctrl-C, after the workers have written their checkpoints (or `_GRACE` is over).
        """
        active: list[_Worker] = []
        try:
            while jobs or active:
                while jobs and len(active) < self.workers:
                    active.append(self._start(jobs.popleft()))
                self._wait(active)
                for worker in [w for w in active if w.outcome is not None]:
                    active.remove(worker)
                    worker.process.join()
                    assert worker.outcome is not None
                    worker.outcome.seconds = time.monotonic() - worker.began
                    yield worker.outcome
        except KeyboardInterrupt:  # here, or thrown in by the caller
            self._stop(active)
            raise Stopped("stopped; the same command goes on from there") from None
        finally:
            for worker in active:
                if worker.process.is_alive():
                    worker.process.kill()

    def _start(self, job: Job) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_child,
            args=(theirs, job.function, job.arguments, self.threads),
            name=job.name,
            daemon=True,
        )
        with _environment(self.threads), _without_main():
            process.start()
        theirs.close()
        return _Worker(job, process, ours)

    def _wait(self, active: list[_Worker], timeout: float | None = None) -> None:
        pipes = {worker.pipe: worker for worker in active if worker.outcome is None}
        for ready in multiprocessing.connection.wait(list(pipes), timeout):
            worker = pipes[ready]  # type: ignore[index]
            try:
                kind, payload = worker.pipe.recv()
            except EOFError:
                worker.process.join(5)
                worker.outcome = Outcome(worker.job, error=_death(worker.process.exitcode))
                continue
            if kind == "event":
                self._listener(worker.job.name, *payload)
            elif kind == "value":
                worker.outcome = Outcome(worker.job, value=payload)
            else:
                error, details = payload
                worker.outcome = Outcome(worker.job, error=error, details=details)

    def _stop(self, active: list[_Worker]) -> None:
        for worker in active:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGINT)
        end = time.monotonic() + _GRACE
        while any(w.outcome is None for w in active) and time.monotonic() < end:
            self._wait(active, timeout=0.5)


def _death(exitcode: int | None) -> TunelabError:
    if exitcode == -signal.SIGKILL:
        return TunelabError(
            "the worker was killed (signal 9), most likely because memory ran out: "
            "use --workers 1, a smaller train.micro_batch_size or a smaller model.max_length"
        )
    return TunelabError(f"the worker died with exit code {exitcode}")


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Threads of the workers: few, and waiting without burning a core that somebody else needs."""
    ours = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # But not at once: products follow one another closely, and a thread that is put to sleep after each
        # is late for the next. With 1,000 turns 32 steps on two threads took 5.3 s instead of 7.1 (2,000:
        # 5.0), beside a busy core 9.7 s instead of 8.0 (2,000: 11.5, 10,000: 22.8).
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000"),
        "TOKENIZERS_PARALLELISM": "false",
        # Every length of a batch is a new shape, for which oneDNN keeps a compiled product with its memory:
        # 1,024 of them by default. With 32 a run's peak was 8 to 12 % lower, and not slower.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"),
        # And once more in ideep, between PyTorch and oneDNN: 1,024 again, though hardly a batch has as many
        # tokens as one before. With 32 a run's peak is 35 to 41 % lower, and nothing is slower.
        "LRU_CACHE_CAPACITY": os.environ.get("LRU_CACHE_CAPACITY", "32"),
        # glibc gives large blocks back to the system at once and asks for them again at the next step, page
        # by page: kept, a step takes 5 to 10 % less, and a run's peak is 2 % higher.
        "MALLOC_MMAP_THRESHOLD_": os.environ.get("MALLOC_MMAP_THRESHOLD_", "4000000000"),
        "MALLOC_TRIM_THRESHOLD_": os.environ.get("MALLOC_TRIM_THRESHOLD_", "4000000000"),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hides the user's script from multiprocessing, which would run it again in every worker."""
    main = sys.modules["__main__"]
    names: tuple[str, ...] = ("__file__", "__spec__")
    hidden = {name: main.__dict__.pop(name) for name in names if name in main.__dict__}
    main.__dict__["__spec__"] = None
    try:
        yield
    finally:
        main.__dict__.pop("__spec__", None)
        main.__dict__.update(hidden)


def _child(
    pipe: multiprocessing.connection.Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    threads: int,
) -> None:
    import torch

    torch.set_num_threads(threads)
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    sent = 0.0

    def listener(kind: str, values: Mapping[str, Any]) -> None:
        nonlocal sent
        if kind == "step" and time.monotonic() - sent < 0.2 and values["step"] < values["total"]:
            return
        sent = time.monotonic()
        pipe.send(("event", (kind, dict(values))))

    try:
        pipe.send(("value", function(*arguments, listener, stop.is_set)))
    except BaseException as error:  # reported to the parent, which records it; nothing is swallowed
        details = traceback.format_exc()
        safe = error if isinstance(error, TunelabError) else TunelabError(f"{type(error).__name__}: {error}")
        safe.__cause__ = None
        pipe.send(("error", (safe, details)))
    finally:
        pipe.close()


def _end_with_parent(pipe: multiprocessing.connection.Connection) -> None:
    """The parent never sends anything: the pipe becomes readable only when the parent is gone."""
    with contextlib.suppress(OSError, EOFError):
        multiprocessing.connection.wait([pipe])
        os._exit(1)
