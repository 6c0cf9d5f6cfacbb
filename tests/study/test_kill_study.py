"""A whole study killed with SIGKILL ten times ends with the same verdict and the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import make_model_folder, write_sentences

from tunelab.records import StudyRecord

RUNS = 3 * (2 + 2)  # methods x (trials + seeds)


def command(data: Path, model: Path, out: Path) -> list[str]:
    words = ["compare", str(data), "--model", str(model), "--methods", "full,head,lora", "--folds", "0"]
    words += ["--seeds", "2", "search.trials=2", "train.epochs=8", "train.batch_size=8", "--out", str(out)]
    words += ["train.checkpoint_seconds=0", "train.evaluations_per_epoch=2", "--quiet"]
    return [sys.executable, "-m", "tunelab.cli", *words]


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
    data, model = write_sentences(tmp_path / "data.csv", rows=240), make_model_folder(tmp_path / "model")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = subprocess.run(command(data, model, whole), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    rng = random.Random(1)
    for target in sorted(rng.choices(range(RUNS), k=10)):
        process = subprocess.Popen(
            command(data, model, killed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while process.poll() is None and len(list(killed.glob("runs/[!b]*/result.json"))) < target:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.5) if target else rng.uniform(1.0, 8.0))
        assert process.poll() is None, process.stderr.read()
        if rng.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)  # all its workers too
        else:
            process.kill()  # the workers must notice by themselves
        process.communicate()
    done = subprocess.run(command(data, model, killed), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    assert verdict(killed) == verdict(whole)
    files = {p.relative_to(whole) for p in whole.glob("runs/*/predictions.parquet")}
    assert len(files) == 3 * 2 + 3  # judged runs and baselines
    assert files == {p.relative_to(killed) for p in killed.glob("runs/*/predictions.parquet")}
    for name in files:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
