"""A whole study killed with SIGKILL ten times ends with the same verdict and the same bytes."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from killing import typed
from tiny import make_model_folder, write_sentences

from tunelab.records import StudyRecord

RUNS = 3 * (2 + 2)  # methods x (trials + seeds)


def started(data: Path, model: Path, out: Path) -> multiprocessing.process.BaseProcess:
    """The study, at work; forked from a process that has imported what a command imports."""
    words = ["compare", str(data), "--model", str(model), "--methods", "full,head,lora", "--folds", "0"]
    words += ["--seeds", "2", "search.trials=2", "train.epochs=4", "train.batch_size=8", "--out", str(out)]
    words += ["train.checkpoint_seconds=0", "train.evaluations_per_epoch=2", "--quiet"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tunelab.study.worker"])
    process = context.Process(target=typed, args=(words,))
    process.start()
    while os.getpgid(process.pid) != process.pid:  # until it has its own group
        time.sleep(0.001)
    return process


def to_its_end(data: Path, model: Path, out: Path) -> None:
    process = started(data, model, out)
    process.join(300)
    assert process.exitcode == 0


def verdict(out: Path) -> dict:
    """All of the verdict but what clocks say."""
    record = StudyRecord.model_validate_json((out / "study.json").read_bytes())
    results = [
        {
            **result.model_dump(exclude={"cost", "trials"}),
            "trials": [trial.model_dump(exclude={"seconds"}) for trial in result.trials],
        }
        for result in record.results
    ]
    return {
        "results": results,
        "pairs": record.pairs,
        "baselines": record.baselines,
        "tied": record.advice.tied,
        "best": record.advice.best,
        "disagreements": record.disagreements,
    }


@pytest.mark.slow
def test_ten_kills_change_no_verdict(tmp_path: Path) -> None:
    data, model = write_sentences(tmp_path / "data.csv", rows=160), make_model_folder(tmp_path / "model")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    to_its_end(data, model, whole)

    rng = random.Random(1)
    for target in sorted(rng.choices(range(RUNS), k=10)):
        process = started(data, model, killed)
        while process.is_alive() and len(list(killed.glob("runs/[!b]*/result.json"))) < target:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.5) if target else rng.uniform(0.5, 4.0))
        assert process.is_alive(), target
        if rng.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)  # all its workers too
        else:
            process.kill()  # the workers must notice by themselves
        process.join()
    to_its_end(data, model, killed)

    assert verdict(killed) == verdict(whole)
    files = {p.relative_to(whole) for p in whole.glob("runs/*/predictions.parquet")}
    assert len(files) == 3 * 2 + 3  # judged runs and baselines
    assert files == {p.relative_to(killed) for p in killed.glob("runs/*/predictions.parquet")}
    for name in files:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
