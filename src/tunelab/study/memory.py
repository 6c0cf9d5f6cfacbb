"""How many probes and runs go side by side, so that the machine's memory holds them all.

Before anything is measured only arithmetic (`estimate`) says what a run may need. Where that might be too
much for as many as there are workers, the one that needs most is probed alone, and what it took bounds the
others.
"""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from tunelab import tasks
from tunelab.config import RunConfig
from tunelab.models import configuration
from tunelab.provenance import available_memory
from tunelab.study.catalogue import Shape, shape_of
from tunelab.study.estimate import FACTOR, Load, Machine, cost, family_of
from tunelab.study.plan import Probe
from tunelab.study.prepare import Prepared
from tunelab.study.runner import Job, Outcome, Pool
from tunelab.train.precision import choose

__all__ = ["at_once", "expected_bytes", "probed"]

#: Others may need a little more than the one that is expected to need most.
_MARGIN = 1.25
#: Of a model that the estimate cannot count: more than any machine has, so that one probe is alone first.
_UNKNOWN = 1e18


def expected_bytes(config: RunConfig, prepared: Prepared, device: str) -> float:
    """What one run may need at most, told without running it: the estimate times the factor it may err by."""
    shape = _shape(prepared)
    if shape is None:
        return _UNKNOWN * (2.0 if family_of(config.method) == "all" else 1.0)
    split = prepared.split(config.fold, config.share)
    heads = ("Classification", "QuestionAnswering")
    load = Load(
        train=prepared.lengths(prepared.training(config.fold, config.share)),
        valid=prepared.lengths(split.valid),
        test=prepared.lengths(split.test),
        steps=1,
        batch=config.train.micro_batch_size or config.train.batch_size,
        evaluations=1,
        generates=not any(head in tasks.find(config.task).model_class for head in heads),
    )
    precision = choose(config.train.precision, device).name
    here = Machine(device, "", 1, 0.0, 1, 1, precision, rate=1.0, judge_rate=1.0)  # (of memory no rate tells)
    return FACTOR * cost(shape, config.method, load, here).memory_bytes


def _shape(prepared: Prepared) -> Shape | None:
    """Of the pretrained model, where its family is counted."""
    values = configuration(prepared.base.folder)
    with contextlib.suppress(KeyError):  # a known family whose file leaves to a default what is counted by
        return shape_of(values)
    return None


def at_once(workers: int, bytes_each: float, free: float | None) -> int:
    """How many runs of so many bytes are held; at least one is tried. free: None where it is not known.

    >>> at_once(4, 3e9, 7e9), at_once(4, 3e9, 100e9), at_once(4, 3e9, 2e9), at_once(4, 3e9, None)
    (2, 4, 1, 4)
    """
    if free is None or not bytes_each:
        return workers
    return max(1, min(workers, int(free / bytes_each)))


def probed(pool: Pool, jobs: Sequence[Job], expected: Mapping[str, float]) -> Iterator[Outcome]:
    """What becomes of every probe; one that runs out of memory beside others is tried once more, alone.

    expected: bytes of each by its name, at most; empty: they take the memory of another device.
    """
    waiting, together = list(jobs), pool.workers
    if not _held(pool.workers, list(expected.values())):
        waiting.sort(key=lambda job: -expected[job.name])
        together = 1
        while waiting:
            (outcome,) = _run(pool, waiting[:1], 1)
            if outcome.error is None:
                needed = _MARGIN * Probe(**outcome.value).largest_bytes
                together = at_once(pool.workers, needed, available_memory())
            if outcome.error is not None or together == 1:
                yield outcome
                del waiting[0]
            if outcome.error is None:  # (beside others it is slower, as runs will be: it is measured again)
                break
    crowded = []
    for outcome in _run(pool, waiting, together):
        if min(together, len(waiting)) > 1 and _ran_out(outcome):
            crowded.append(outcome.job)
        else:
            yield outcome
    yield from _run(pool, crowded, 1)


def _held(workers: int, expected: Sequence[float]) -> bool:
    """Whether memory surely holds those of the probes that may be at work at the same time."""
    free = available_memory()
    largest = sorted(expected)[-workers:]
    return free is None or len(largest) < 2 or sum(largest) <= free


def _ran_out(outcome: Outcome) -> bool:
    """Whether memory may have been the reason: a worker that is killed leaves no traceback."""
    text = str(outcome.error).lower()
    return outcome.error is not None and (not outcome.details or "memory" in text or "bad_alloc" in text)


def _run(pool: Pool, jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    before, pool.workers = pool.workers, workers
    try:
        yield from pool.run(deque(jobs))
    finally:
        pool.workers = before
