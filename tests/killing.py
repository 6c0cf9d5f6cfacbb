"""What the kill tests run in processes of their own (imported there, so it is no test module)."""

import contextlib
import os
import sys
from collections.abc import Sequence
from multiprocessing import util
from pathlib import Path

from tunelab.cli import main
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
            "train": {"epochs": 8, "batch_size": 4, "checkpoint_seconds": 0, "evaluations_per_epoch": 2},
        }
    )
    prepared = prepare(config.files, config.task, config.data, config.model)
    target = Path(folder)
    if not (target / "result.json").exists():
        run_once(config, prepared, target)
    verify(target, prepared)


def typed(words: Sequence[str]) -> None:
    """A command line, in a process group of its own. The server of its workers, which would be a new
    interpreter that imports torch once more, is a copy of this process, which has."""
    os.setsid()
    util.spawnv_passfds = _forked
    sys.argv = ["tunelab", *words]
    main()


def _forked(path: object, arguments: Sequence[str], kept: Sequence[int]) -> int:
    """As `multiprocessing.util.spawnv_passfds`: Python that runs arguments[-1], with these files open."""
    child = os.fork()
    if child:
        return child
    try:
        for file in list(Path("/proc/self/fd").iterdir()):
            with contextlib.suppress(OSError):
                if int(file.name) not in (0, 1, 2, *kept):
                    os.close(int(file.name))
        exec(arguments[-1], {"__name__": "server"})
    finally:
        os._exit(0)
