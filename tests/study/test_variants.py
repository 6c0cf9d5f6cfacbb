"""Variants of a study: what they may set, which runs they are, and what each of them really trains with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import StudyConfig, load_settings_file
from tunelab.errors import ConfigError
from tunelab.study.candidates import OWN_OF_MODEL, candidates
from tunelab.study.compare import _write_study
from tunelab.study.earlier import replaced
from tunelab.study.own_files import named, resolved
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import features_key, run_folder
from tunelab.study.settled import device_of
from tunelab.study.tuning import run_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("variants")
    data, model = write_sentences(folder / "data.csv", 100), make_model_folder(folder / "model")
    return StudyConfig.model_validate(
        {"files": (str(data),), "methods": ("full",), "data": {"folds": 0}, "model": {"name": str(model)}}
    )


@pytest.fixture(scope="module")
def prepared(config: StudyConfig) -> Prepared:
    return prepare(config.files, config.task, config.data, config.model)


def with_variants(config: StudyConfig, *variants: str, **model: float) -> StudyConfig:
    own = config.model.model_copy(update=model)
    return config.model_copy(update={"variants": variants, "model": own})


def test_dropouts_may_differ(config: StudyConfig) -> None:
    plain, found = candidates(
        with_variants(config, "full,model.dropout=0,train.ema=0.9,model.attention_dropout=0.2", dropout=0.3)
    )
    assert (plain.model.dropout, plain.own) == (0.3, {})
    assert (found.model.dropout, found.model.attention_dropout) == (0.0, 0.2)
    assert found.model.name == plain.model.name
    assert found.own == {"train.ema": 0.9, "model.dropout": 0.0, "model.attention_dropout": 0.2}


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("full,model.max_length=64", r"may differ in model\.dropout, .*the others are one for a whole study"),
        ("full,model.dropout=1.5", r"'model\.dropout' should be less than 1"),
        ("full,model=0.1", "form"),
        ("full,model.dropout=0.3", "is the same as 'full'"),
        ("full,train.weight_decay=0.01", "is the same as 'full'"),
    ],
)
def test_what_a_variant_may_not_be(config: StudyConfig, variant: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        candidates(with_variants(config, variant, dropout=0.3))


@pytest.mark.parametrize("name", OWN_OF_MODEL)
def test_a_variant_is_the_run_of_a_study_that_is_so(
    name: str, config: StudyConfig, prepared: Prepared, tmp_path: Path
) -> None:
    """Its folder is that of the plain method where the whole study has this dropout; it is not that of the
    method beside it, with which it shares what frozen layers give."""
    plain, found = candidates(with_variants(config, f"full,model.{name}=0.25"))
    runs = [run_config(config, each, seed=0, fold=0) for each in (plain, found)]
    folders = [run_folder(tmp_path, run, prepared, 1) for run in runs]
    assert folders[0] != folders[1]
    whole = with_variants(config, **{name: 0.25})
    other = replace(prepared, model=prepared.model.model_copy(update={name: 0.25}))
    (alone,) = candidates(whole)
    assert run_folder(tmp_path, run_config(whole, alone, seed=0, fold=0), other, 1) == folders[1]
    assert features_key(runs[0], prepared) == features_key(runs[1], prepared)


@pytest.mark.slow
def test_a_variant_trains_with_its_dropout(config: StudyConfig, tmp_path: Path) -> None:
    """Without dropout a variant of a study with 0.5 says other things than the plain method, and the very
    same, bit by bit, as a run whose model has none."""
    settings = {"train.epochs": 1, "train.batch_size": 16}
    drop = ("dropout", "attention_dropout")
    study = tunelab.compare(
        config.files[0],
        methods=["full"],
        add=["full,model.dropout=0,model.attention_dropout=0"],
        model=config.model.name,
        folds=0,
        seeds=1,
        workers=1,
        out=tmp_path / "study",
        settings={
            **settings,
            "search.trials": 1,
            "baselines": False,
            **{f"model.{name}": 0.5 for name in drop},
        },
        progress=False,
    )
    results = {result.name: result for result in study.record.results}
    own = results["full,model.dropout=0,model.attention_dropout=0"]
    assert own.settings["model.dropout"] == 0.0
    assert "model.dropout" not in results["full"].settings
    folder, plain = (study.folder / "runs" / each.runs[0] for each in (own, results["full"]))
    alone = tunelab.run(
        config.files[0],
        method="full",
        model=config.model.name,
        folds=0,
        out=tmp_path / "alone",
        settings={**settings, **{f"model.{name}": 0.0 for name in drop}},
        progress=False,
    )
    assert alone.folder.name == folder.name
    said = [pd.read_parquet(each / "predictions.parquet") for each in (folder, alone.folder, plain)]
    pd.testing.assert_frame_equal(said[0], said[1])
    assert not said[0]["logit(0)"].equals(said[2]["logit(0)"])
    for run, share in ((folder, 0.0), (plain, 0.5)):
        kept = json.loads((run / "bundle" / "tunelab.json").read_text(encoding="utf-8"))
        assert kept["model"]["dropout"] == share


HEAD = """
from torch import nn

class H(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.out = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden, mask):
        return self.out(hidden[:, 0])
"""


def test_own_files_are_found_from_anywhere(
    config: StudyConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that names heads by relative paths, read again from its study.yaml in another working
    directory: the same rows of the table, and the same runs in the same folders. Another text in the file
    makes another run."""
    here, root = tmp_path / "here", tmp_path / "out"
    (here / "heads").mkdir(parents=True)
    root.mkdir()
    for name in ("mine.py", "heads/other.py"):
        (here / name).write_text(HEAD, encoding="utf-8")
    monkeypatch.chdir(here)
    own = with_variants(config, "full,classify.head=heads/other.py:H", "lora.rank=4")
    own = own.model_copy(update={"task_settings": {"head": "mine.py:H"}})

    def runs(study: StudyConfig) -> dict[str, str]:
        return {
            each.name: run_folder(root, run_config(study, each, seed=0, fold=0), prepared, 1).name
            for each in candidates(study)
        }

    before = runs(own)
    assert list(before) == ["full", "full,classify.head=other.py:H", "lora.rank=4"]
    _write_study(root, own, prepared)
    monkeypatch.chdir(tmp_path)
    again = StudyConfig.model_validate(load_settings_file(root / "study.yaml"))
    assert runs(again) == before
    assert again.task_settings["head"] == f"{here / 'mine.py'}:H"
    (here / "mine.py").write_text(HEAD + "# changed", encoding="utf-8")
    assert {name for name, run in runs(again).items() if run != before[name]} == {"full", "lora.rank=4"}


def test_two_files_with_one_name_and_one_text_are_one_row(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their runs would have one name, and two workers one folder; with another text they are two."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(HEAD, encoding="utf-8")
    both = with_variants(config, "full,classify.head=a/mine.py:H", "full,classify.head=b/mine.py:H")
    with pytest.raises(ConfigError, match="is the same as"):
        candidates(both)
    (tmp_path / "b" / "mine.py").write_text(f"{HEAD}\n# another one\n", encoding="utf-8")
    assert len(candidates(both)) == 3


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("full,classify.head=broken.py:H", "broken.py:? .*|setting 'classify.head'"),
        ("full,train.r_drop=1,classify.objective=loss.py:f", "setting 'classify.objective'|loss.py"),
    ],
)
def test_what_a_variant_names_is_tried_out_before_anything_is_trained(
    variant: str, said: str, config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("class H: pass", encoding="utf-8")
    (tmp_path / "loss.py").write_text("def f(logits, targets): return 1.0", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        tunelab.compare(
            config.files[0], methods=["full"], add=[variant], model=config.model.name, folds=0,
            out=tmp_path / "out", progress=False,
        )  # fmt: skip
    assert not list((tmp_path / "out").glob("runs/*"))


def test_only_files_that_are_there_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b.py").touch()
    monkeypatch.chdir(tmp_path)
    for given in ("regex:x.py:y", "exact_match:a b.py", "length:40", "./gone.py:f", "grpo", "folder:LABEL"):
        assert resolved(given) == given
    given = "0.5*a b.py:f + -2 * a b.py:g + length:9"
    assert resolved(given) == f"0.5*{tmp_path}/a b.py:f + -2 * {tmp_path}/a b.py:g + length:9"
    assert named(resolved(given)) == given


def test_a_study_in_the_place_of_another_is_told(config: StudyConfig, tmp_path: Path) -> None:
    """What is added to a table is no other table; what is left out of it, or set otherwise, is."""
    first = with_variants(config, "full,train.ema=0.9").model_copy(update={"methods": ("full", "lora")})
    assert replaced(tmp_path, first) == ()
    rows = {"full": False, "full,train.ema=0.9": False, "majority": True}
    results = [{"name": name, "baseline": baseline} for name, baseline in rows.items()]
    record = {"config": first.model_dump(mode="json"), "results": results, "effort": first.effort}
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")

    more = {"methods": ("full", "lora", "bitfit"), "variants": (*first.variants, "lora.rank=4")}
    elsewhere = first.model.model_copy(update={"name": f"somewhere/{Path(first.model.name).name}"})
    same: list[dict[str, Any]] = [{}, more, {"methods": ()}, {"keep": "all"}, {"model": elsewhere}]
    for change in same:
        assert replaced(tmp_path, first.model_copy(update=change)) == ()
    others: dict[str, dict[str, Any]] = {
        "methods": {"methods": ("full",)},
        "variants": {"variants": ()},
        "effort": {"effort": "quick"},
        "curve": {"curve": (50.0,)},
        "models": {"models": ("a", "b")},
        "train": {"train": first.train.model_copy(update={"epochs": 1.0})},
    }
    for name, change in others.items():
        (note,) = replaced(tmp_path, first.model_copy(update=change))
        assert (
            f"in {tmp_path} (methods full, 'full,train.ema=0.9'; effort standard), which differs in " in note
        )
        assert f"differs in {name}: " in note
    record["config"]["no_such_setting"] = 1
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
    assert "settings that this version does not know" in replaced(tmp_path, first)[0]


def test_a_study_that_is_extended_stays_on_its_device(tmp_path: Path) -> None:
    """Runs of another device are other runs: all would be made again."""
    assert device_of(tmp_path) == "auto"
    (tmp_path / "plan.json").write_text(json.dumps({"threads": {}}))
    assert device_of(tmp_path) == "auto"
    (tmp_path / "plan.json").write_text(json.dumps({"device": "cpu"}))
    assert device_of(tmp_path) == "cpu"
