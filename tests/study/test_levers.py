"""With every lever on, a run ends where it ends with every lever off."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import make_model_folder, write_sentences

from tunelab import methods
from tunelab.config import RunConfig, SpeedConfig
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import run_once, verify
from tunelab.train.checkpoint import latest

OFF = dict.fromkeys(SpeedConfig.model_fields, False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("levers")
    return str(write_sentences(folder / "data.csv", 120)), str(make_model_folder(folder / "model"))


def config(
    files: tuple[str, str], method: str, speed: dict[str, bool], dropout: float | None = 0.0
) -> RunConfig:
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


@pytest.fixture(scope="module")
def causal(files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return files[0], str(make_model_folder(tmp_path_factory.mktemp("causal") / "model", "llama"))


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_run_ends_where_it_ends_without_levers(method: str, files: tuple[str, str], tmp_path: Path) -> None:
    """12 steps in float32 without dropout: the same logits on the test rows, to the rounding that AdamW enlarges
    where gradients are tiny."""
    told = with_and_without(method, files, tmp_path)
    assert told["first_token"] == (method not in ("prompt", "p_tuning"))  # whose virtual tokens stand first
    assert (told["trunk_cache"]["note"] == "") == (method in ("head", "top_layers", "gradual"))
    assert told["attention"] == (method != "prefix")  # which has its own


@pytest.mark.parametrize("method", ["full", "head", "top_layers", "lora", "prefix", "adapter"])
def test_the_same_of_a_causal_model(method: str, causal: tuple[str, str], tmp_path: Path) -> None:
    told = with_and_without(method, causal, tmp_path, None)  # (it has no dropout)
    assert not told["first_token"]  # its head reads the last one
    assert (told["trunk_cache"]["note"] == "") == (method in ("head", "top_layers"))


def with_and_without(
    method: str, files: tuple[str, str], folder: Path, dropout: float | None = 0.0
) -> dict[str, Any]:
    """What the levers of the faster run say of themselves."""
    settings: dict[str, Any] = {"layers": 1} if method == "top_layers" else {}
    if "dropout" in methods.METHODS[method].Settings.model_fields:
        settings["dropout"] = 0.0
    on = config(files, method, {}, dropout).model_copy(update={"settings": settings})
    off = config(files, method, OFF, dropout).model_copy(update={"settings": settings})
    record, fast = run(on, folder / "on")
    plain, slow = run(off, folder / "off")
    np.testing.assert_allclose(fast, slow, rtol=0, atol=2e-3 * max(1.0, np.abs(slow).max()))
    prepared = prepare(on.files, on.task, on.data, on.model)
    assert verify(folder / "on", prepared)["status"] == "finished"  # the bundle, opened without any lever
    assert plain["training"]["levers"] == {}
    assert record["training"]["tokens"] == plain["training"]["tokens"]
    told: dict[str, Any] = record["training"]["levers"]
    return told


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
