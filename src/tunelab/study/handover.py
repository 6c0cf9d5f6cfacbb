"""The advised method as a bundle of its own: `winner/`."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from tunelab.config import StudyConfig
from tunelab.errors import TrainingError
from tunelab.files import folder_atomically, output_errors
from tunelab.serve.bundle import add_base
from tunelab.study.candidates import Candidate
from tunelab.study.common import model_bytes
from tunelab.study.execute import Executor, Work, finished
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record, remove_bundle, restore_bundle
from tunelab.study.tuning import run_config

__all__ = ["best_run", "hand_over", "prune", "refit_work"]

#: A base model up to this size is put into the winner's bundle, so that it can be moved anywhere.
_BASE_LIMIT = 1_000_000_000


def refit_work(config: StudyConfig, entry: Candidate, rates: Sequence[float], executor: Executor) -> Work:
    """After folds: the method once more on all rows but a validation slice, with the geometric mean of the
    learning rates that the folds chose."""
    rate = math.exp(sum(map(math.log, rates)) / len(rates))
    return executor.work(entry.name, "refit", run_config(config, entry, seed=0, fold=-1, rate=rate))


def hand_over(executor: Executor, work: Work, prepared: Prepared, root: Path) -> Path:
    """The bundle of `work` in `root / "winner"`; a run without its bundle is done again.

    Raises:
        TrainingError: it could not be trained (again).
    """
    restore_bundle(work.folder)
    if not finished(work.folder):
        executor.run([work])
    if work.name in executor.failures:
        raise TrainingError(
            f"{work.candidate} could not be trained for the hand-over: {executor.failures[work.name]}. "
            "The table and study.json are written; the same command tries again"
        )
    target = root / "winner"
    with output_errors(target):
        with folder_atomically(target) as scratch:
            shutil.copytree(work.folder / "bundle", scratch, dirs_exist_ok=True)
        if model_bytes(prepared) <= _BASE_LIMIT:
            add_base(target)
    return target


def best_run(works: Sequence[Work]) -> Work:
    """The run that was best on validation; of equal ones of the lower loss, then with a bundle."""

    def key(work: Work) -> tuple[float, float, bool]:
        record, kept = read_record(work.folder), (work.folder / "bundle").is_dir()
        return record["valid"][record["deciding"]], -record["valid"].get("loss", 0.0), kept

    return max(works, key=key)


def prune(works: Sequence[Work]) -> None:
    """Of one method's finished runs only the one that was best on validation keeps its bundle on disk."""
    best = best_run(works)
    for work in works:
        if work is not best and (work.folder / "bundle").is_dir():
            remove_bundle(work.folder, f"keep=best: {best.name} was better on validation")
