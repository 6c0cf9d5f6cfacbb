"""Runs that may end early: a trial that is clearly behind gives up, a race halts every run at a rung."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunelab.config import RunConfig
from tunelab.errors import Stopped
from tunelab.files import output_errors, write_json
from tunelab.provenance import versions
from tunelab.study.prepare import Prepared
from tunelab.study.run import Bars, Kind, Listener, run_once
from tunelab.study.search import read_curve
from tunelab.train import checkpoint
from tunelab.train.schedule import total_steps

__all__ = ["run_trial", "run_until"]


def run_trial(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    bars: Bars,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains and scores on validation; the record says where it gave up, if it did.

    bars: (step, validation score): a trial whose best score is lower at that step is stopped.
    """
    deciding = prepared.task(config, config.fold, config.share).deciding

    def behind(until: float = math.inf) -> bool:
        curve = read_curve(folder, deciding)
        return any(score < bar for step, score in curve for at, bar in bars if at == step <= until)

    watch = _Watch(listener, stop, behind)
    snapshot, _ = checkpoint.latest(folder / "checkpoints")
    if snapshot is None or not behind(snapshot.step):  # (the log may be ahead of the checkpoint)
        try:
            return run_once(config, prepared, folder, device, watch, watch.stop, kind="trial")
        except Stopped as stopped:
            if not watch.reached:
                raise
            return _given_up(config, folder, deciding, stopped.before_seconds)
    return _given_up(config, folder, deciding)


def run_until(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    kind: Kind,
    reference: Path | None,
    until: float,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains to the first evaluation after a share of the steps and leaves a checkpoint there ("paused")."""
    task = prepared.task(config, config.fold, config.share)
    rows = len(prepared.lengths(prepared.split(config.fold, config.share).train))
    step = until * total_steps(rows, config.train)

    def there(until: float = math.inf) -> bool:
        return any(step <= at <= until for at, _ in read_curve(folder, task.deciding))

    watch = _Watch(listener, stop, there)
    snapshot, _ = checkpoint.latest(folder / "checkpoints")
    if snapshot is None or not there(snapshot.step):
        try:
            return run_once(config, prepared, folder, device, watch, watch.stop, kind, reference)
        except Stopped:
            if not watch.reached:
                raise
    return {"status": "paused", "deciding": task.deciding}


class _Watch:
    """Stands between a run and its listener: after each evaluation it asks whether to stop."""

    def __init__(
        self, listener: Listener | None, stop: Callable[[], bool], reached: Callable[[], bool]
    ) -> None:
        self.reached = False
        self._listener = listener
        self._stop = stop
        self._ask = reached

    def __call__(self, kind: str, values: Mapping[str, Any]) -> None:
        if kind == "evaluation":
            self.reached = self._ask()
        if self._listener is not None:
            self._listener(kind, values)

    def stop(self) -> bool:
        return self.reached or self._stop()


def _given_up(config: RunConfig, folder: Path, deciding: str, before_seconds: float = 0.0) -> dict[str, Any]:
    snapshot, _ = checkpoint.latest(folder / "checkpoints")
    assert snapshot is not None, "the loop writes a checkpoint when it is stopped"
    state = snapshot.values["state"]
    record = {
        "status": "finished",
        "kind": "trial",
        "stopped_early_at": state["steps"],
        "method": config.method,
        "seed": config.seed,
        "fold": config.fold,
        "deciding": deciding,
        "valid": state["best"],
        "cost": {
            "train_seconds": state["seconds"],
            "evaluation_seconds": state["evaluation_seconds"],
            "trunk_seconds": before_seconds,
        },
        "training": {
            "steps": state["steps"],
            "planned_steps": state["total_steps"],
            "learning_rate": config.train.learning_rate,
        },
        "notes": [],
        "provenance": {"versions": versions()},
    }
    with output_errors(folder):
        write_json(folder / "result.json", json.loads(json.dumps(record)))
    checkpoint.discard(folder / "checkpoints")
    return record
