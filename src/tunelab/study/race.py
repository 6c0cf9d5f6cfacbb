"""`--race`: methods that can hardly win any more are stopped during their first training.

The first training of every method (its first trial, or its first judged run where nothing is tuned) is
halted at each rung with a checkpoint; who goes on is decided by `tunelab.measure.race`. A method that is
stopped gets no further trial and no seed, and is not in the table. Those that go on lose nothing: their runs
are the same, to the bit, as they would be had they raced against nobody.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tunelab.config import TrainConfig
from tunelab.measure.race import RUNGS, Entry, Stop, decide, effective_rows, risk
from tunelab.records import Interval, Race, RaceStop
from tunelab.study.budget import Planned
from tunelab.study.execute import Executor, Work
from tunelab.study.prepare import Prepared
from tunelab.study.search import evaluations_of
from tunelab.study.tuning import Design
from tunelab.train.schedule import total_steps

__all__ = ["enough_evaluations", "run_race"]


def enough_evaluations(train: TrainConfig, rows: int) -> TrainConfig:
    """With as many validations as the rungs want: one in each eighth of the training, for all methods."""
    steps = total_steps(rows, train)
    per_epoch = max(1, -(-rows // train.batch_size))
    wanted = -(-8 * per_epoch // steps)
    return train.model_copy(update={"evaluations_per_epoch": max(train.evaluations_per_epoch, wanted)})


def run_race(
    scouts: Mapping[str, Work],
    executor: Executor,
    prepared: Mapping[str, Prepared],
    design: Design,
    planned: Planned,
    kept: Collection[str] = (),
) -> tuple[set[str], Race]:
    """Runs every method's first training rung by rung; returns who is left, and what was saved.

    kept: methods that have been judged already (the study is extended): the others are held against them, and
    nothing is saved by stopping them. A method whose training fails goes on: its failure is found and told
    where all others are.
    """
    alive = dict(scouts)
    stops: list[Stop] = []
    records: list[RaceStop] = []
    saved = 0.0
    failed: set[str] = set()
    for rung in RUNGS:
        if len(alive) < 2:
            break
        found: dict[str, dict[str, Any]] = {}

        def after(
            work: Work, record: dict[str, Any] | None, found: dict[str, dict[str, Any]] = found
        ) -> Sequence[Work]:
            if record is not None:
                found[work.candidate] = record
            return ()

        executor.run([work.until(rung.share) for name, work in alive.items() if name not in failed], after)
        failed |= set(alive) - set(found)
        entries = [_entry(name, alive[name], record, rung.share, prepared) for name, record in found.items()]
        decision = decide(entries, rung.share)
        for stop in decision.stops:
            if stop.name in kept:
                continue
            work = alive.pop(stop.name)
            own = prepared[work.config.model.name]
            steps = total_steps(len(own.rows(own.split(work.config.fold).train)), work.config.train)
            whole = next(row.seconds for row in planned.rows if row.name == stop.name)
            one = next(row.one_seconds for row in planned.rows if row.name == stop.name)
            saved += max(0.0, whole - rung.share * one)
            stops.append(stop)
            records.append(
                RaceStop(
                    name=stop.name,
                    step=rung.step(steps),
                    of_steps=steps,
                    behind=Interval(value=stop.behind, low=stop.low, high=stop.high),
                )
            )
    total = sum(row.seconds for row in planned.rows)
    return set(alive), Race(stops=tuple(records), saved_share=saved / total, risk=risk(stops))


def _entry(
    name: str, work: Work, record: Mapping[str, Any], share: float, prepared: Mapping[str, Prepared]
) -> Entry:
    """A method's best validation score at the rung with the loss that it had then, from its run's own log."""
    own = prepared[work.config.model.name]
    split = own.split(work.config.fold)
    steps = total_steps(len(own.rows(split.train)), work.config.train)
    score, loss = _best(evaluations_of(work.folder), record["deciding"], share * steps)
    rows = float(len(split.valid))
    if record["deciding"] == "macro_f1":
        labels = own.table.frame["label"].to_numpy()[split.valid]
        rows = effective_rows(np.unique(labels, return_counts=True)[1].tolist())
    return Entry(name, score, rows, loss)


def _best(
    evaluations: Sequence[Mapping[str, Any]], deciding: str, until: float
) -> tuple[float, float | None]:
    """The highest score up to a step (at least that of the first validation), and its validation loss; of
    equal scores the one with the lower loss, as in the loop.

    >>> log = [{"step": s, "valid/accuracy": a, "valid/loss": l} for s, a, l in
    ...        [(2, 0.5, 0.9), (4, 0.7, 0.6), (6, 0.7, 0.5), (8, 0.9, 0.3)]]
    >>> _best(log, "accuracy", until=6), _best(log, "accuracy", until=1)
    ((0.7, 0.5), (0.5, 0.9))
    """
    reached = [entry for entry in evaluations if entry["step"] <= max(until, evaluations[0]["step"])]
    best = min(reached, key=lambda entry: (-entry[f"valid/{deciding}"], entry.get("valid/loss", 0.0)))
    return best[f"valid/{deciding}"], best.get("valid/loss")
