"""The plan: what it counts is what the loop does, and a budget takes trials before seeds."""

from pathlib import Path

import numpy as np
import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import RunConfig, StudyConfig, seconds_of
from tunelab.data.batch import epoch_batches
from tunelab.errors import ConfigError
from tunelab.study.budget import Planned, fit_budget
from tunelab.study.candidates import candidates
from tunelab.study.plan import Probe, _training_size, predict_memory, predict_seconds
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.tuning import Design

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
    steps, tokens, _ = _training_size(prepared, config)
    assert steps == training["steps"] == 25
    assert tokens == pytest.approx(training["tokens"] / (1 - training["padding_share"]))


def test_seconds_are_a_sum(prepared: Prepared) -> None:
    """2 s opening, 20 steps of 0.1 s, every padded token 1 ms, 3 s saving where there is a bundle."""
    config = RunConfig.model_validate({"files": ("x",), "train": {"epochs": 2, "batch_size": 16}})
    steps, tokens, _ = _training_size(prepared, config)
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
