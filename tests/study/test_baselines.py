"""Baselines: each belongs to its task, settings and model; what it says of a text is a number, however sure."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_toys import language_model
from sklearn.linear_model import LogisticRegression
from tiny import make_model_folder, sentences

from tunelab.api import study_config
from tunelab.errors import ConfigError
from tunelab.study.baselines import _outputs, _regressor
from tunelab.study.candidates import candidates
from tunelab.study.compare import _baseline_jobs
from tunelab.study.predictions import _confidence
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.trial import run_trial
from tunelab.study.tuning import run_config

CLASSES: Any = SimpleNamespace(classes=("bad", "none", "good"), labels=("bad", "none", "good"))


def data(folder: Path) -> Path:
    """Ratings, which are classes or numbers."""
    frame = sentences(80)
    frame.assign(label=np.where(frame["label"] == "good", 5, 1)).to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def jobs(file: Path, models: list[Path], **tree: Any) -> dict[str, list[str]]:
    """Name in the table -> folders of a study's baselines."""
    names = [str(model) for model in models]
    own = {"model": {"name": names[0]}} if len(names) == 1 else {"models": names}
    config = study_config(file, {"methods": ["head"], "data": {"folds": 2}, **own, **tree})
    prepared: dict[str, Prepared] = {}
    for entry in candidates(config):
        prepared[entry.model.name] = prepare(
            config.files, config.task, config.data, entry.model, config.task_settings
        )
    found = _baseline_jobs(config, candidates(config), prepared, Path("root"), "cpu")
    return {name: [job.name for job in many] for name, many in found.items()}


def test_one_task_never_reads_the_baselines_of_another_or_of_other_settings(tmp_path: Path) -> None:
    file, model = data(tmp_path), make_model_folder(tmp_path / "a")
    classes, numbers = jobs(file, [model], task="classify"), jobs(file, [model], task="regress")
    assert {"tfidf", "embeddings"} <= classes.keys() & numbers.keys()
    assert len(classes["tfidf"]) == 2
    for name in ("tfidf", "embeddings"):
        assert not set(classes[name]) & set(numbers[name])
    assert jobs(file, [model], task="classify") == classes
    frame = pd.read_csv(file).assign(label=["a, b", "b, c", "a", "c"] * 20)
    frame.to_csv(tmp_path / "many.csv", index=False)
    half, fifth = (
        jobs(tmp_path / "many.csv", [model], task="multilabel", multilabel={"threshold": threshold})
        for threshold in (0.5, 0.2)
    )
    assert not set(half["tfidf"]) & set(fifth["tfidf"])


def test_a_baseline_that_is_there_is_another_models_under_that_models_name(tmp_path: Path) -> None:
    file = data(tmp_path)
    first, second = make_model_folder(tmp_path / "first"), make_model_folder(tmp_path / "second", "llama")
    with_both = jobs(file, [first, second])
    assert with_both["embeddings@first"] == jobs(file, [first])["embeddings"]
    assert with_both["embeddings@second"] != with_both["embeddings@first"]
    assert "tfidf" in with_both


def test_a_probability_too_small_for_a_number_is_finite_and_says_nothing() -> None:
    near = np.array([[-1.0], [1.0], [-0.9], [0.9]])
    model = LogisticRegression(C=1e6).fit(near, [0, 2, 0, 2])
    far = np.array([[-1e6], [1e6]])
    with np.errstate(divide="ignore"):
        assert np.isneginf(model.predict_log_proba(far)).any()  # that is what there was to mend
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _outputs(model, far, CLASSES)
    assert np.isfinite(found).all()
    assert found.argmax(1).tolist() == [0, 2]
    ordinary = _outputs(model, np.array([[1e-3]]), CLASSES)[0]
    np.testing.assert_allclose(ordinary[[0, 2]], model.predict_log_proba([[1e-3]])[0], rtol=1e-6)


def test_training_rows_of_one_class_say_that_class() -> None:
    """As in the fold whose test part has all rows of the other."""
    targets = np.full(6, 2)
    model = _regressor(1.0, targets, CLASSES).fit(np.random.default_rng(0).normal(size=(6, 3)), targets)
    found = _outputs(model, np.zeros((4, 3)), CLASSES)
    assert found.argmax(1).tolist() == [2] * 4
    assert np.isfinite(found).all()


def test_every_answer_has_a_confidence_where_some_folds_have_windows() -> None:
    """Rows of windows have no logits of their own: in a table of several folds they are missing for some."""
    nan = float("nan")
    frame = pd.DataFrame(
        {"logit(a)": [0.0, nan], "logit(b)": [np.log(3.0), nan], "p(a)": [0.25, 0.9], "p(b)": [0.75, 0.1]}
    )
    assert _confidence(frame).tolist() == pytest.approx([0.75, 0.9])


def test_what_decides_is_one_for_all_variants(tmp_path: Path) -> None:
    pd.DataFrame(
        {"source": [f"lamp {i}" for i in range(40)], "target": [f"mug {i}" for i in range(40)]}
    ).to_csv(tmp_path / "pairs.csv", index=False)
    model = {"name": str(language_model(tmp_path / "model"))}
    config = study_config(
        tmp_path / "pairs.csv",
        {"task": "rewrite", "methods": ["full"], "model": model, "variants": ["full,rewrite.metric=bleu"]},
    )
    prepared = prepare(config.files, config.task, config.data, config.model, config.task_settings)
    prepared.task(run_config(config, candidates(config)[0], seed=0, fold=0))
    with pytest.raises(ConfigError, match="compare its values in two studies"):
        prepared.task(run_config(config, candidates(config)[1], seed=0, fold=0))


def test_a_trial_that_is_given_up_has_paid_for_its_frozen_layers(tmp_path: Path) -> None:
    config = study_config(
        data(tmp_path),
        {
            "methods": ["head"],
            "data": {"folds": 0},
            "model": {"name": str(make_model_folder(tmp_path / "m"))},
        },
    )
    prepared = prepare(config.files, config.task, config.data, config.model)
    run = run_config(config, candidates(config)[0], seed=0, fold=0)
    whole = run_trial(run, prepared, tmp_path / "whole", "cpu", ())
    above = tuple((step, 2.0) for step in range(1, 400))  # (no score is that good)
    given_up = run_trial(run, prepared, tmp_path / "given-up", "cpu", above)
    assert given_up["stopped_early_at"] < whole["training"]["steps"]
    assert whole["cost"]["trunk_seconds"] > 0
    assert given_up["cost"]["trunk_seconds"] > 0
