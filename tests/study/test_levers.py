"""With every lever on, a run ends where it ends with every lever off."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import make_model_folder, write_sentences

from tunelab.config import RunConfig, SpeedConfig
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import run_once, verify
from tunelab.train.checkpoint import latest

OFF = dict.fromkeys(SpeedConfig.model_fields, False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("levers")
    return str(write_sentences(folder / "data.csv", 120)), str(make_model_folder(folder / "model"))


def config(files: tuple[str, str], method: str, speed: dict[str, bool], dropout: float = 0.0) -> RunConfig:
    data, model = files
    return RunConfig.model_validate(
        {
            "files": (data,),
            "method": method,
            "model": {"name": model, "dropout": dropout, "attention_dropout": dropout},
            "train": {"epochs": 2, "batch_size": 16, "precision": "float32", "weight_decay": 0.1},
            "speed": speed,
        }
    )


def run(wanted: RunConfig, folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    prepared: Prepared = prepare(wanted.files, wanted.task, wanted.data, wanted.model)
    record = run_once(wanted, prepared, folder)
    stored = pd.read_parquet(folder / "predictions.parquet")
    return record, stored[[c for c in stored.columns if c.startswith("logit(")]].to_numpy()


@pytest.mark.parametrize("method", ["full", "head", "top_layers", "gradual", "layer_decay", "lora", "prefix"])
def test_a_run_ends_where_it_ends_without_levers(method: str, files: tuple[str, str], tmp_path: Path) -> None:
    """12 steps in float32 without dropout: the same logits on the test rows, to the rounding that AdamW enlarges
    where gradients are tiny."""
    settings = {"layers": 1} if method == "top_layers" else {}
    on = config(files, method, {}).model_copy(update={"settings": settings})
    off = config(files, method, OFF).model_copy(update={"settings": settings})
    record, fast = run(on, tmp_path / "on")
    plain, slow = run(off, tmp_path / "off")
    np.testing.assert_allclose(fast, slow, rtol=0, atol=2e-3 * max(1.0, np.abs(slow).max()))
    told = record["training"]["levers"]
    assert told["first_token"]
    assert (told["trunk_cache"]["note"] == "") == (method in ("head", "top_layers", "gradual"))
    assert told["attention"] == (method != "prefix")  # which has its own
    prepared = prepare(on.files, on.task, on.data, on.model)
    assert verify(tmp_path / "on", prepared)["status"] == "finished"  # the bundle, opened without any lever
    assert plain["training"]["levers"] == {}
    assert record["training"]["tokens"] == plain["training"]["tokens"]


@pytest.mark.parametrize("method", ["full", "gradual"])
def test_a_killed_run_goes_on_with_levers_to_the_same_bits(
    method: str, files: tuple[str, str], tmp_path: Path
) -> None:
    """Dropout, the compact table, and what gradual's phases change are all where they were."""
    wanted = config(files, method, {}, dropout=0.2)
    wanted = wanted.model_copy(update={"train": wanted.train.model_copy(update={"checkpoint_seconds": 0})})
    _, whole = run(wanted, tmp_path / "whole")
    prepared = prepare(wanted.files, wanted.task, wanted.data, wanted.model)
    for steps in (3, 4):
        left = iter(range(steps))
        with pytest.raises(Exception, match="goes on from there"):
            run_once(wanted, prepared, tmp_path / "parts", stop=lambda left=left: next(left, None) is None)
    snapshot, _ = latest(tmp_path / "parts/checkpoints")
    assert snapshot is not None
    assert snapshot.step == 9
    record, parts = run(wanted, tmp_path / "parts")
    assert record["training"]["resumed_at_steps"] == [4, 9]
    assert np.array_equal(parts, whole)
