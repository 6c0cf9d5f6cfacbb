"""What runs in a worker process; importing this module loads everything a run needs."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft  # noqa: F401  imported once in the server, not 4 seconds in every worker
import sklearn.linear_model  # noqa: F401
import torch  # noqa: F401
import transformers
import transformers.models.auto.modeling_auto

from tunelab.config import RunConfig
from tunelab.study import baselines, run
from tunelab.study.prepare import Prepared

__all__ = ["baseline", "train_run", "verify_run"]

Listener = Callable[[str, Mapping[str, Any]], None]
Stop = Callable[[], bool]


def _quiet() -> None:
    hub: Any = transformers.utils.logging
    hub.set_verbosity_error()
    hub.disable_progress_bar()  # a bar for every saved file would tear the study's own
    warnings.filterwarnings("ignore", module=r"(torch|peft|transformers|accelerate)\b.*")


def train_run(
    config: RunConfig, prepared: Prepared, folder: Path, device: str, listener: Listener, stop: Stop
) -> dict[str, Any]:
    """`run.run_once` in this process."""
    _quiet()
    return run.run_once(config, prepared, folder, device, listener, stop)


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
