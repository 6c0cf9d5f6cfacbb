"""One trial of the tuning: a run that sees no test row and gives up when it is clearly behind."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunelab.config import RunConfig
from tunelab.errors import Stopped
from tunelab.files import output_errors, write_json
from tunelab.provenance import versions
from tunelab.study.prepare import Prepared
from tunelab.study.run import Bars, Listener, run_once
from tunelab.study.search import read_curve
from tunelab.train import checkpoint

__all__ = ["run_trial"]


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

    bars: (step, validation score): a trial whose best score is lower at the first evaluation from that step
    on is stopped.
    """
    deciding = prepared.task(config.task, config.fold, config.loss, config.share).deciding

    def behind() -> bool:
        curve = read_curve(folder, deciding)
        return any(score < bar for step, score in curve for at, bar in bars if at == step)

    gave_up = False

    def watch(kind: str, values: Mapping[str, Any]) -> None:
        nonlocal gave_up
        if kind == "evaluation":
            gave_up = behind()
        if listener is not None:
            listener(kind, values)

    snapshot, _ = checkpoint.latest(folder / "checkpoints")
    if snapshot is None or not behind():  # a trial may be killed between giving up and its record
        try:
            return run_once(config, prepared, folder, device, watch, lambda: gave_up or stop(), kind="trial")
        except Stopped:
            if not gave_up:
                raise
    return _given_up(config, folder, deciding)


def _given_up(config: RunConfig, folder: Path, deciding: str) -> dict[str, Any]:
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
        "cost": {"train_seconds": state["seconds"], "evaluation_seconds": state["evaluation_seconds"]},
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
