"""What the kill test runs in a process of its own (imported there, so it is no test module)."""

from pathlib import Path

from tunelab.config import RunConfig
from tunelab.study.prepare import prepare
from tunelab.study.run import run_once, verify


def whole_run(data: str, model: str, folder: str, method: str) -> None:
    """Prepares, trains, judges and verifies one run; goes on from whatever is in `folder`."""
    import torch

    torch.set_num_threads(1)
    config = RunConfig.model_validate(
        {
            "files": (data,),
            "method": method,
            "model": {"name": model, "dropout": 0.1},
            "data": {"folds": 0},
            "train": {"epochs": 25, "batch_size": 4, "checkpoint_seconds": 0, "evaluations_per_epoch": 2},
        }
    )
    prepared = prepare(config.files, config.task, config.data, config.model)
    target = Path(folder)
    if not (target / "result.json").exists():
        run_once(config, prepared, target)
    verify(target, prepared)
