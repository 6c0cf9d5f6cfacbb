"""benchmarks/quality.py: the Trainer side trains the same methods on the same rows, and its table says so."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny import make_model_folder, write_sentences
from transformers import AutoModel, AutoModelForSequenceClassification

import tunelab
from tunelab import methods


@pytest.fixture(scope="module")
def quality() -> Any:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "quality.py"
    spec = importlib.util.spec_from_file_location("benchmarks_quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with larger weights, so that it learns within a few steps."""
    folder = make_model_folder(tmp_path_factory.mktemp("model") / "tiny")
    trunk = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        for parameter in trunk.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    trunk.config.initializer_range = 0.16
    trunk.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The benchmark sets torch's number of threads: other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def study(model: Path, tmp_path: Path) -> Path:
    found = tunelab.compare(
        write_sentences(tmp_path / "data.csv", rows=240),
        methods="full,lora",
        model=str(model),
        seeds=2,
        folds=0,
        workers=1,
        out=tmp_path / "study",
        device="cpu",
        progress=False,
        settings={"search.trials": 2, "train.epochs": 4, "train.batch_size": 16, "baselines": False},
    )
    return found.folder


def test_quality_end_to_end(
    study: Path, quality: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides: the same rows, steps, numbers of parameters and learning rates; every number of the table
    follows from the files; the second call trains nothing."""
    out = study.parent / "trainer"
    words = ["--study", str(study), "--out", str(out)]
    quality.main(words)
    table = capsys.readouterr().out
    cells = {
        line.split(" | ")[1]: line.split(" | ")
        for line in table.splitlines()
        if line.startswith("| data.csv")
    }
    record = json.loads((study / "study.json").read_text())
    trainer = [json.loads(path.read_text()) for path in out.glob("*.json")]
    for name in ("full", "lora"):
        result = next(r for r in record["results"] if r["name"] == name)
        tried = {
            r["learning_rate"]: r["valid"] for r in trainer if r["method"] == name and r["seed"] == 10_000
        }
        judged = [r for r in trainer if r["method"] == name and r["seed"] < 10_000]
        assert set(tried) == {trial["learning_rate"] for trial in result["trials"]}
        assert {r["seed"] for r in judged} == {0, 1}
        assert {tried[r["learning_rate"]] for r in judged} == {max(tried.values())}
        ours, theirs = [], []
        for run, other in zip(result["runs"], judged, strict=True):
            kept = json.loads((study / "runs" / run / "result.json").read_text())
            assert other["steps"] == kept["training"]["planned_steps"] == 4 * 12
            assert other["trained_parameters"] == kept["cost"]["trained_parameters"]
            frame = pd.read_parquet(study / "runs" / run / "predictions.parquet").set_index("item")
            assert sorted(other["items"]) == sorted(frame.index)
            ours.append((frame["prediction"] == frame["label"]).mean())
            theirs.append((frame["label"].loc[other["items"]] == other["predictions"]).mean())
        assert float(cells[name][2].split()[0]) == pytest.approx(sum(ours) / 2, abs=5e-5)
        assert float(cells[name][3].split()[0]) == pytest.approx(sum(theirs) / 2, abs=5e-5)
        assert float(cells[name][4].split()[0]) == pytest.approx((sum(ours) - sum(theirs)) / 2, abs=5e-5)
        assert cells[name][5] in ("ok", "below")
    assert any(r["valid"] > 0.6 for r in trainer), "nothing was learnt"

    def fail(*_: Any) -> None:
        raise ValueError("a | b")

    monkeypatch.setattr(quality, "train", fail)
    quality.main(words)
    assert capsys.readouterr().out == table
    quality.main(["--study", str(study), "--methods", "full", "--out", str(out / "other")])
    assert r"| fails: ValueError: a \| b |" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["full", "head", "top_layers", "bitfit", "layer_decay", "gradual"])
def test_same_parameters_move(name: str, model: Path, quality: Any) -> None:
    """Written here and in tunelab independently: the same names move, at the same rates, at the same steps."""
    settings = {"top_layers": {"layers": 1}, "gradual": {"until": 0.6}, "layer_decay": {"decay": 0.8}}.get(
        name, {}
    )
    mine, callbacks = quality.attach(name, settings, _head(model), 10)
    tuned = methods.find(name).make(settings).attach(_head(model))
    groups = quality.param_groups(name, settings, mine, 1e-3, 0.01)
    if groups:
        assert _rates(mine, groups) == pytest.approx(_rates(tuned.model, tuned.param_groups(1e-3, 0.01)))
    for step in range(11) if callbacks else [0]:
        tuned.on_progress(step, 10)
        for callback in callbacks:
            state = type("State", (), {"global_step": step, "max_steps": 10})
            (callback.on_step_end if step else callback.on_train_begin)(None, state, None)
        assert _moving(mine) == _moving(tuned.model)


def _head(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)


def _moving(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _rates(model: Any, groups: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        (names[id(parameter)], key): group[key]
        for group in groups
        for parameter in group["params"]
        for key in ("lr", "weight_decay")
    }
