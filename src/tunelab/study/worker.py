"""What runs in a worker process; importing this module loads everything a run needs."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft  # noqa: F401  imported once in the server, not 4 seconds in every worker
import pyarrow.parquet  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch  # noqa: F401
import transformers
import transformers.models.auto.modeling_auto

from tunelab.config import RunConfig
from tunelab.study import baselines, forgetting, latency, plan, run, samples, trial
from tunelab.study.prepare import Prepared

__all__ = [
    "baseline",
    "halted_run",
    "latency_run",
    "probe",
    "reference_run",
    "train_run",
    "trial_run",
    "verify_run",
]

Listener = Callable[[str, Mapping[str, Any]], None]
Stop = Callable[[], bool]


def _quiet() -> None:
    hub: Any = transformers.utils.logging
    hub.set_verbosity_error()
    hub.disable_progress_bar()  # a bar for every saved file would tear the study's own
    warnings.filterwarnings("ignore", module=r"(torch|peft|transformers|accelerate)\b.*")


def train_run(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    kind: run.Kind,
    reference: Path | None,
    listener: Listener,
    stop: Stop,
) -> dict[str, Any]:
    """`run.run_once` in this process."""
    _quiet()
    return run.run_once(config, prepared, folder, device, listener, stop, kind, reference)


def trial_run(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    bars: run.Bars,
    listener: Listener,
    stop: Stop,
) -> dict[str, Any]:
    """`trial.run_trial` in this process."""
    _quiet()
    return trial.run_trial(config, prepared, folder, device, bars, listener, stop)


def halted_run(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    kind: run.Kind,
    reference: Path | None,
    until: float,
    listener: Listener,
    stop: Stop,
) -> dict[str, Any]:
    """`trial.run_until` in this process."""
    _quiet()
    return trial.run_until(config, prepared, folder, device, kind, reference, until, listener, stop)


def probe(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    reference: Path | None,
    listener: Listener,
    stop: Stop,
) -> dict[str, float]:
    """`plan.probe_run` in this process."""
    _quiet()
    return plan.probe_run(config, prepared, folder, device, reference, listener, stop)


def reference_run(prepared: Prepared, path: Path, device: str, listener: Listener, stop: Stop) -> str | None:
    """What the untouched model does on general text, written to `path`; why not, where it cannot be had."""
    _quiet()
    reason: str | None = forgetting.make_reference(prepared, path, device).get("reason")
    return reason


def latency_run(
    folder: Path, prepared: Prepared, device: str, listener: Listener, stop: Stop
) -> dict[str, float]:
    """`latency.measure_latency` in this process; of a model that writes, samples too."""
    _quiet()
    found = latency.measure_latency(folder, prepared, device)
    samples.write_samples(folder, prepared, device)
    return found


def verify_run(
    folder: Path, prepared: Prepared, device: str, listener: Listener, stop: Stop
) -> dict[str, Any]:
    """`run.verify` in this process."""
    _quiet()
    return run.verify(folder, prepared, device)


def baseline(
    name: str,
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    listener: Listener,
    stop: Stop,
) -> dict[str, Any]:
    """`baselines.run_baseline` in this process."""
    _quiet()
    return baselines.run_baseline(name, config, prepared, folder, device)
