"""Runs killed with SIGKILL at random moments end with the same bytes as runs that were not."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from killing import whole_run
from tiny import make_model_folder, write_sentences


@pytest.fixture(scope="module")
def server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tunelab.study.worker"])
    return context


def run_and_kill(context, arguments: tuple[str, ...], folder: Path, kills: int) -> int:
    """Kills the run `kills` times at random moments and counts them: two by the clock, while it starts, the
    others once it has passed a random optimizer step (256 in all), so that no machine is too fast for them."""
    rng = random.Random(0)
    steps = [None, None, *sorted(rng.sample(range(1, 236), 8))][:kills]
    for step in steps:
        process = context.Process(target=whole_run, args=arguments)
        process.start()
        if step is None:
            process.join(rng.uniform(0.1, 0.7))
        else:
            while process.is_alive() and passed(folder) < step:
                time.sleep(0.002)
        assert process.is_alive(), f"it ended before step {step}"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process = context.Process(target=whole_run, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode == 0
    return len(steps)


def passed(folder: Path) -> int:
    """The step of the newest checkpoint."""
    names = [path.stem for path in (folder / "checkpoints").glob("step-*.json")]
    return max((int(name.removeprefix("step-")) for name in names), default=-1)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kills"), [("full", 10), ("lora", 4)])
def test_kills_change_no_byte(method: str, kills: int, server, tmp_path: Path) -> None:
    data = write_sentences(tmp_path / "data.csv", rows=160)
    model = make_model_folder(tmp_path / "model")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_and_kill(server, (str(data), str(model), str(whole), method), whole, 0)
    assert run_and_kill(server, (str(data), str(model), str(killed), method), killed, kills) == kills
    weights = [p.name for p in (whole / "bundle").glob("*.safetensors")]
    assert weights
    for name in ["predictions.parquet", *[f"bundle/{w}" for w in weights]]:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    records = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    assert records[0]["scores"] == records[1]["scores"]
    assert records[0]["status"] == records[1]["status"] == "finished"
    assert len(records[1]["training"]["resumed_at_steps"]) >= 1, "kills fell into the training"
