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
    """Kills the run `kills` times, each at a random moment of what an unhindered run takes; counts them."""
    rng = random.Random(0)
    done = 0
    for attempt in range(100):
        process = context.Process(target=whole_run, args=arguments)
        process.start()
        if done < kills:
            process.join(rng.uniform(0.5, 1.5))
        else:
            process.join(120)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            done += 1
        elif done >= kills or (folder / "result.json").exists():
            assert process.exitcode == 0, f"attempt {attempt}"
            return done
    raise AssertionError("the run never ended")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_ten_kills_change_no_byte(method: str, server, tmp_path: Path) -> None:
    data = write_sentences(tmp_path / "data.csv", rows=160)
    model = make_model_folder(tmp_path / "model")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    run_and_kill(server, (str(data), str(model), str(whole), method), whole, 0)
    print(f"unhindered: {time.monotonic() - began:.1f} s")
    assert run_and_kill(server, (str(data), str(model), str(killed), method), killed, 10) == 10
    weights = [p.name for p in (whole / "bundle").glob("*.safetensors")]
    assert weights
    for name in ["predictions.parquet", *[f"bundle/{w}" for w in weights]]:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    records = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    assert records[0]["scores"] == records[1]["scores"]
    assert records[0]["status"] == records[1]["status"] == "finished"
    assert len(records[1]["training"]["resumed_at_steps"]) >= 1, "no kill fell into the training"
