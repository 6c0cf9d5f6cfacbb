"""One run outside a study: `tunelab run`."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunelab import methods
from tunelab.config import RunConfig
from tunelab.errors import ConfigError
from tunelab.study.asking import check_asking
from tunelab.study.augmented import augmented, uses_of
from tunelab.study.common import check_attention, check_trackers, locked
from tunelab.study.default_model import with_model
from tunelab.study.disk import check_disk, float32_bytes, share_of
from tunelab.study.execute import Executor, Listener
from tunelab.study.prepare import prepare, which
from tunelab.study.recipes import check_recipe
from tunelab.study.run import read_record, restore_bundle
from tunelab.study.runner import Pool, plan_workers

__all__ = ["run_single"]


def run_single(
    config: RunConfig,
    root: Path,
    device: str = "cpu",
    listener: Listener = lambda *_: None,
    fresh: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """One run in `root`; returns its folder and record. With folds, fold `config.fold` is the test.

    fresh: begin again even where there is a checkpoint or a result.

    Raises:
        InputError, TrainingError, Stopped: as `tunelab.study.compare.compare`.
    """
    methods.find(config.method).make(config.settings)
    check_recipe(config.augment, config.task)
    check_trackers(config.train)
    check_attention(config.model, config.train, device)
    config, told = with_model(config)
    with locked(root):
        pool = Pool(1, plan_workers(1, device)[1], listener)
        pool.warm_up()
        prepared = prepare(config.files, config.task, config.data, config.model, config.task_settings)
        prepared = replace(prepared, features=root / "features")
        check_asking(prepared.task(config), prepared, device)
        share = share_of(config.method, config.settings, prepared)
        check_disk(root, [share], float32_bytes(prepared), 1)
        if config.fold >= len(prepared.splits):
            raise ConfigError(f"there is no fold {config.fold}: this study has {len(prepared.splits)}")
        if config.augment.recipe:
            listener("", "augmenting", {"recipe": config.augment.recipe})
            own = [(config.fold, 1.0), (config.fold, config.share)]
            uses = list(dict.fromkeys([*uses_of(len(prepared.splits)), *own]))
            prepared = augmented(prepared, config.augment, config.task, uses, root / "augmented", device)
        listener(
            "",
            "prepared",
            {"prepared": prepared, "notes": [*told, *prepared.notes], "workers": 1, "threads": pool.threads},
        )
        executor = Executor(pool, root, {which(config.model, config.augment): prepared}, device, listener)
        work = executor.work(config.method, "judged" if config.fold >= 0 else "refit", config)
        if fresh and work.folder.exists():
            shutil.rmtree(work.folder)
        restore_bundle(work.folder)
        listener("", "planned", {"runs": 1})
        executor.run([work])
        if work.name in executor.problems:
            raise executor.problems[work.name]
        shutil.rmtree(root / "features", ignore_errors=True)
        return work.folder, read_record(work.folder)
