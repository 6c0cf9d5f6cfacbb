"""The plan: what it counts is what the loop does, and a budget takes trials before seeds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import RunConfig, StudyConfig, seconds_of
from tunelab.data.batch import epoch_batches, sorted_batches
from tunelab.errors import ConfigError
from tunelab.study import plan as plan_module
from tunelab.study.beside import Beside, span
from tunelab.study.budget import Planned, fit_budget
from tunelab.study.candidates import candidates
from tunelab.study.plan import Probe, _training_size, predict_memory, predict_seconds, probe_run
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.tuning import Design
from tunelab.train import loop
from tunelab.train.evaluate import tokens_at_once

PROBE = Probe(
    step_seconds=0.1,
    token_seconds=0.001,
    evaluate_seconds=0.0,
    judge_seconds=0.0,
    load_seconds=2.0,
    save_seconds=3.0,
    memory_bytes=1e9,
    shapes=4,
    growth_bytes=1e8,
    checkpoint_bytes=5e8,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("plan")
    return str(write_sentences(folder / "data.csv", 200)), str(make_model_folder(folder / "model"))


@pytest.fixture(scope="module")
def config(files: tuple[str, str]) -> StudyConfig:
    data, model = files
    return StudyConfig.model_validate(
        {"files": (data,), "methods": ("full", "lora"), "data": {"folds": 0}, "model": {"name": model}}
    )


@pytest.fixture(scope="module")
def prepared(config: StudyConfig) -> Prepared:
    return prepare(config.files, config.task, config.data, config.model)


def test_steps_and_tokens_are_those_of_the_run(
    files: tuple[str, str], prepared: Prepared, tmp_path: Path
) -> None:
    """The plan's count of padded tokens equals what the loop counted while it trained."""
    data, model = files
    settings = {"train.epochs": 2.5, "train.batch_size": 16}
    run = tunelab.run(data, method="head", model=model, out=tmp_path, settings=settings, progress=False)
    training = run.record["training"]
    config = RunConfig.model_validate(
        {"files": (data,), "method": "head", "train": {"epochs": 2.5, "batch_size": 16}}
    )
    steps, tokens, _ = _training_size(prepared, config, PROBE)
    assert steps == training["steps"] == 25
    assert tokens == pytest.approx(training["tokens"] / (1 - training["padding_share"]))


def test_seconds_are_a_sum(prepared: Prepared) -> None:
    """2 s opening, 20 steps of 0.1 s, every padded token 1 ms, 3 s saving where there is a bundle."""
    config = RunConfig.model_validate({"files": ("x",), "train": {"epochs": 2, "batch_size": 16}})
    steps, tokens, _ = _training_size(prepared, config, PROBE)
    expected = 2.0 + 0.1 * steps + 0.001 * tokens
    assert predict_seconds(PROBE, config, prepared, "trial", "cpu") == pytest.approx(expected)
    assert predict_seconds(PROBE, config, prepared, "judged", "cpu") == pytest.approx(expected + 3.0)


def test_memory_grows_with_doublings_of_shapes_and_with_checkpoints(prepared: Prepared) -> None:
    """Of the batches that the model is really given, not of its rows' lengths."""
    config = RunConfig.model_validate({"files": ("x",), "train": {"epochs": 50, "batch_size": 4}})
    examples = prepared.examples(prepared.split(0).train, prepared.task(config))
    shapes = {
        tuple(examples.batch(rows, "cpu")[0]["input_ids"].shape)
        for epoch in range(50)
        for rows in epoch_batches(examples.lengths, 4, config.seed, epoch)
    }
    assert 4 < len(shapes) < len(np.unique(examples.lengths))
    growth = 1e8 * np.log2(len(shapes) / 4)
    assert predict_memory(PROBE, config, prepared, seconds=10.0) == pytest.approx(1e9 + growth)
    assert predict_memory(PROBE, config, prepared, seconds=60.0) == pytest.approx(1.5e9 + growth)


def planned(config: StudyConfig, prepared: Prepared) -> Planned:
    entries = candidates(config)
    return Planned({e.name: PROBE for e in entries}, config, entries, {config.model.name: prepared}, "cpu", 2)


def test_a_budget_takes_trials_then_seeds(config: StudyConfig, prepared: Prepared) -> None:
    plan, design = planned(config, prepared), Design(config, 1)
    assert (design.trials, design.seeds) == (4, 3)
    whole = plan.total(design)
    fit_budget(plan, design, whole, "x")
    assert (design.trials, design.seeds) == (4, 3)
    fit_budget(plan, design, 0.9 * whole, "x")
    assert design.seeds == 3
    assert 1 <= design.trials < 4
    fit_budget(plan, design, whole / 6, "x")
    assert (design.trials, design.seeds) == (1, 1)
    assert plan.total(design) <= whole / 6
    assert any("no tuning" in note for note in plan.notes)


def test_a_budget_that_nothing_fits_into_says_how_long_it_takes(
    config: StudyConfig, prepared: Prepared
) -> None:
    with pytest.raises(
        ConfigError, match=r"about \d+ min, more than the budget of 1s.*--methods; slowest: full"
    ):
        fit_budget(planned(config, prepared), Design(config, 1), seconds_of("1s"), "1s")


def test_a_total_contains_what_is_no_training(config: StudyConfig, prepared: Prepared) -> None:
    """Two methods with one seed and no trials on two workers. Each bundle takes 2 s to open: to verify it (side
    by side), for its latency (one after the other); the embeddings open a model once."""
    plan = planned(config.model_copy(update={"seeds": 1, "effort": "quick"}), prepared)
    plan.probed_seconds = 30.0
    design = Design(plan.config, 1)
    plan.settle(design)
    one = predict_seconds(PROBE, RunConfig(files=("x",)), prepared, "judged", "cpu")
    assert plan.beside == Beside(
        probes=30.0, baselines=2 / 2, verification=2 * 2 / 2, latency=2 * 2, refit=0.0
    )
    assert plan.seconds == plan.total(design) == pytest.approx(2 * one / 2 + 30 + 1 + 2 + 4)
    assert plan.remarks() == [
        f"planned: about {span(plan.seconds)}, of which 37 s are no trainings (probes 30 s, latency 4 s, "
        "verification 2 s, baselines 1 s)"
    ]
    with pytest.raises(ConfigError, match="Besides trainings it takes: probes 30 s, latency 4 s"):
        fit_budget(plan, design, plan.seconds - 1, "x")

    without = planned(plan.config.model_copy(update={"baselines": False}), prepared)
    assert without.total(design) == pytest.approx(plan.seconds - 30 - 1)
    long = planned(plan.config, prepared)
    long.probes = {name: replace(PROBE, step_seconds=10.0) for name in plan.probes}
    long.settle(design)
    assert long.remarks() == []  # a small part of much


def test_what_is_judged_is_charged_by_its_tokens(config: StudyConfig, prepared: Prepared) -> None:
    """1 ms a token that the model is given: the embeddings read every row, verification the first 64 test rows,
    latency 181 rows of the test rows' mean length; padded in the loop's own batches."""

    def tokens(rows: np.ndarray) -> int:
        examples = prepared.examples(rows, prepared.task(config))
        shapes = [
            examples.batch(batch, "cpu")[0]["input_ids"].shape
            for batch in sorted_batches(examples.lengths, tokens_at_once("cpu"))
        ]
        return sum(rows * width for rows, width in shapes)

    plan = planned(config.model_copy(update={"methods": ("lora",)}), prepared)
    plan.probes = {"lora": replace(PROBE, judge_seconds=0.001)}
    plan.settle(Design(plan.config, 1))  # 3 seeds, one method, two workers
    split, beside = prepared.split(0), plan.beside
    every = np.concatenate([split.train, split.valid, split.test])
    assert beside is not None
    assert beside.baselines == pytest.approx((2 + 0.001 * tokens(every)) / 2)
    assert beside.verification == pytest.approx(3 * (2 + 0.001 * tokens(split.test[:64])) / 2)
    assert beside.latency == pytest.approx(2 + 0.001 * 181 * tokens(split.test) / len(split.test))


def test_after_folds_the_dearest_method_may_be_trained_once_more(config: StudyConfig) -> None:
    """On 150 of 200 rows or more, where a fold has fewer; with 5 s for what its frozen layers give, and 2 s to
    verify it."""
    config = config.model_copy(update={"data": config.data.model_copy(update={"folds": 2})})
    whole = prepare(config.files, config.task, config.data, config.model)
    plan = planned(config, whole)
    plan.probes = {"full": replace(PROBE, step_seconds=1.0, trunk_seconds=5.0), "lora": PROBE}
    plan.settle(Design(config, 2))
    refit = RunConfig.model_validate({"files": ("x",), "fold": -1})
    assert len(whole.split(-1).train) >= 150 > len(whole.split(0).train)
    dearest = predict_seconds(plan.probes["full"], refit, whole, "refit", "cpu") + 5 + 2
    assert plan.beside is not None
    assert plan.beside.refit == pytest.approx(dearest)


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_probe_does_what_a_run_does_in_its_order(
    config: StudyConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A machine whose memory peaks at 1,000 bytes, and in float32 judging at 1,500; forgetting and the bundle,
    after which a run's record is made, would need 9,000 and are not in the prediction. What the loop keeps as
    the best state is there before the second half of the steps, whose peaks tell the growth."""
    done: list[str] = []
    peak = {"bytes": 0}

    def passing(name: str, needs: int, returns: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            done.append(name)
            found = returns(*arguments, **named)
            peak["bytes"] = max(peak["bytes"], needs)
            return found

        return step

    kept: list[int] = []
    steps: list[object] = []
    before = loop._remembered

    class Watch(plan_module._Watch):
        def __call__(self, kind: str, values: Any) -> None:
            steps.extend([values] if kind == "step" else [])
            super().__call__(kind, values)

    def remembered(*arguments: Any, **named: Any) -> Any:
        kept.append(len(steps))
        return before(*arguments, **named)

    monkeypatch.setattr(loop, "_remembered", remembered)
    monkeypatch.setattr(plan_module, "_Watch", Watch)
    monkeypatch.setattr(plan_module, "peak_memory", lambda device: peak["bytes"])
    monkeypatch.setattr(plan_module, "train", passing("train", 1000, plan_module.train))
    monkeypatch.setattr(plan_module, "_judging_seconds", passing("judge", 1500, plan_module._judging_seconds))
    monkeypatch.setattr(
        plan_module.forgetting, "measure_forgetting", passing("forgetting", 9000, lambda *_: None)
    )
    monkeypatch.setattr(plan_module, "save_bundle", passing("save", 9000, plan_module.save_bundle))
    run = RunConfig.model_validate(
        {
            "files": config.files,
            "method": method,
            "model": config.model,
            "train": {"epochs": 3, "batch_size": 8},
        }
    )
    found = Probe(**probe_run(run, prepared, tmp_path / "p", "cpu", tmp_path, lambda *_: None, lambda: False))
    assert done == ["train", "train", "judge", "forgetting", "save"]
    assert found.memory_bytes == 1000  # (of the warm-up: peaks only rise)
    assert found.judge_bytes == found.largest_bytes == 1500
    assert predict_memory(found, run, prepared, seconds=0.0) == 1500
    assert predict_memory(found, run, prepared, seconds=0.0, kind="trial") == 1000
    assert min(found.judge_seconds, found.save_seconds, found.evaluate_seconds) > 0
    assert not (tmp_path / "p").exists()
    assert any(3 < at <= 3 + 8 for at in kept)  # after the 3 steps of the warm-up, in the first half of 16


def test_a_given_learning_rate_is_not_tuned(config: StudyConfig) -> None:
    fixed = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": 1e-3})})
    design = Design(fixed, 1)
    assert design.trials == 1
    assert design.note is not None


def test_smaller_shares_are_within_larger_ones(prepared: Prepared) -> None:
    whole, half, tenth = (prepared.split(0, share) for share in (1.0, 0.5, 0.1))
    assert set(tenth.train) < set(half.train) < set(whole.train)
    assert len(half.train) == round(0.5 * len(whole.train))
    assert (half.test == whole.test).all()
    labels = prepared.table.frame["label"].to_numpy()
    assert abs((labels[half.train] == "good").mean() - (labels[whole.train] == "good").mean()) < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variants": ("lora.rnk=4",)}, "did you mean 'rank'"),
        ({"variants": ("rank=4",)}, "METHOD.NAME=VALUE"),
        ({"variants": ("lora.rank=8",)}, "the same as 'lora'"),
        ({"variants": ("lorra.rank=4",)}, "unknown method 'lorra'"),
    ],
)
def test_a_wrong_variant_is_told_before_anything(config: StudyConfig, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        candidates(config.model_copy(update=settings))


def test_methods_times_models(config: StudyConfig) -> None:
    names = [c.name for c in candidates(config.model_copy(update={"models": ("a/bert", "b/gpt")}))]
    assert names == ["full@bert", "lora@bert", "full@gpt", "lora@gpt"]
