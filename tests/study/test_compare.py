"""A whole study on a tiny model: what it leaves, what it repeats, and what it does with failures."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.cli import main
from tunelab.config import StudyConfig
from tunelab.errors import OutputError, TrainingError
from tunelab.report import warnings_text
from tunelab.study.compare import compare
from tunelab.study.handover import best_run, prune
from tunelab.terminal import StudyView

METHODS = ["full", "lora", "prefix"]
SETTINGS = {"train": {"epochs": 2, "batch_size": 16}, "search": {"trials": 2}}
QUICK = {"train": {"epochs": 2, "batch_size": 16}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("data") / "data.csv", 120)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path):
    return tunelab.compare(
        data,
        methods=METHODS,
        model=str(model),
        folds=2,
        seeds=2,
        out=tmp_path_factory.mktemp("study"),
        settings=SETTINGS,
        progress=False,
    )


def records(folder: Path) -> dict[str, dict]:
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((folder / "runs").glob("*/result.json"))}


@pytest.mark.slow
def test_every_run_is_finished_and_verified(study) -> None:
    runs = {n: r for n, r in records(study.folder).items() if r.get("kind") in ("judged", "refit")}
    assert len(runs) == 3 * 2 * 2 + 1  # methods x folds x seeds, and the refit of the advised method
    for name, record in runs.items():
        assert record["status"] == "finished", name
        assert record["verified"]["equal"], name
        assert record["verified"]["largest_difference"] < 1e-5, name
    assert {r["method"] for r in records(study.folder).values() if r.get("baseline")} == {
        "majority",
        "tfidf",
        "embeddings",
    }


def test_no_trial_sees_a_test_row(study) -> None:
    """Each method has two trials on each fold, and no predictions, scores or bundle of them."""
    trials = {n: r for n, r in records(study.folder).items() if r.get("kind") == "trial"}
    assert len(trials) == 3 * 2 * 2
    for name, record in trials.items():
        assert "scores" not in record, name
        names = {p.name for p in (study.folder / "runs" / name).iterdir()}
        assert not names & {"predictions.parquet", "bundle"}, name
    for result in study.record.results:
        if not result.baseline:
            assert len(result.trials) == 4
            for fold, rate in enumerate(result.learning_rates):
                mine = [t for t in result.trials if t.fold == fold and t.state == "complete"]
                best = max(t.score for t in mine)
                assert rate in [t.learning_rate for t in mine if t.score == best]


def test_judged_seeds_are_not_those_of_trials(study) -> None:
    by_kind: dict[str, set[int]] = {}
    for record in records(study.folder).values():
        by_kind.setdefault(record.get("kind", "baseline"), set()).add(record["seed"])
    assert not by_kind["trial"] & by_kind["judged"]


def test_each_row_is_judged_once_a_seed(study) -> None:
    by_seed: dict[int, list[int]] = {}
    for name, record in records(study.folder).items():
        if record["method"] == "full" and record.get("kind") == "judged":
            frame = pd.read_parquet(study.folder / "runs" / name / "predictions.parquet")
            by_seed.setdefault(record["seed"] // 2, []).extend(frame["item"])
    assert sorted(by_seed) == [0, 1]
    for items in by_seed.values():
        assert sorted(items) == list(range(120))


def test_the_table_is_made_of_the_predictions(study) -> None:
    """The score of `full`, from its parquet files alone: the mean over seeds of the share of right rows."""
    shares: dict[int, list[float]] = {}
    for name, record in records(study.folder).items():
        if record["method"] == "full" and record.get("kind") == "judged":
            frame = pd.read_parquet(study.folder / "runs" / name / "predictions.parquet")
            shares.setdefault(record["seed"] // 2, []).extend(frame["label"] == frame["prediction"])
    expected = np.mean([np.mean(right) for right in shares.values()])
    row = study.table.set_index("method").loc["full"]
    assert row["score"] == pytest.approx(expected)
    assert row["low"] <= row["score"] <= row["high"]
    assert pd.read_csv(study.folder / "table.csv").set_index("method").loc["full", "score"] == pytest.approx(
        expected
    )


def test_a_baseline_that_is_not_beaten_is_told(study) -> None:
    """The sentences give their label away by one word: TF-IDF is better than a random tiny model."""
    assert study.table.set_index("method")["score"].idxmax() == "tfidf"
    assert study.record.advice.baseline == "tfidf"


def test_the_advised_method_is_of_the_best_group_and_ready(study) -> None:
    assert study.winner in study.groups[0]
    assert sorted(name for group in study.groups for name in group) == sorted(METHODS)
    specialist = tunelab.load(study.bundle)
    assert specialist.method == study.winner
    assert set(specialist.predict(["office lamp lovely", "hall mug broken"])) <= {"good", "bad"}


def test_the_report_is_rebuilt_from_the_records(study) -> None:
    before = study.report.read_bytes()
    study.report.unlink()
    assert tunelab.write_report(study.folder) == study.report
    assert study.report.read_bytes() == before


def test_forgetting_and_latency_are_measured(study) -> None:
    for result in study.record.results:
        if not result.baseline:
            assert result.forgetting is not None, result.name
            assert result.cost.latency_1_seconds > result.cost.latency_32_seconds > 0


def test_a_mean_over_some_runs_alone_is_told(study, model: Path, data: Path, tmp_path: Path) -> None:
    """Forgetting of one run of four is not known: the mean is over three, and a note says so."""
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    (before,) = [r for r in study.record.results if r.name == "full"]
    values = []
    for number, name in enumerate(before.runs):
        path = folder / "runs" / name / "result.json"
        record = json.loads(path.read_text())
        values.append(record["forgetting"]["value"])
        path.write_text(json.dumps({**record, "forgetting": record["forgetting"] if number else None}))
    again = tunelab.compare(
        data,
        methods=METHODS,
        model=str(model),
        folds=2,
        seeds=2,
        out=folder,
        settings=SETTINGS,
        progress=False,
    )
    (after,) = [r for r in again.record.results if r.name == "full"]
    assert before.forgetting.value == pytest.approx(np.mean(values))
    assert after.forgetting.value == pytest.approx(np.mean(values[1:]))
    assert [note for note in again.notes if "forgetting" in note] == [
        "forgetting of full is the mean over 3 of its 4 runs: of the others it is not known"
    ]
    assert not [note for note in study.notes if "forgetting" in note]


def test_another_variant_runs_nothing_again(study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--add lora.rank=2 STUDY`: only the variant's trials and runs are new, where the others were made."""
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    before = {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/metrics.jsonl")}
    wanted = []
    monkeypatch.setattr(tunelab.api, "pick_device", lambda device: wanted.append(device) or "cpu")
    more = tunelab.compare(folder, add=["lora.rank=2"], progress=False)
    assert wanted == ["cpu"]
    after = {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/metrics.jsonl")}
    assert {p: after[p] for p in before} == before
    new = {p.parent.name.rsplit("-s", 1)[0] for p in set(after) - set(before)}
    assert {"lora", "trial-lora"} <= new <= {"lora", "trial-lora", study.winner, more.winner.split(".")[0]}
    (result,) = [r for r in more.record.results if r.name == "lora.rank=2"]
    assert result.settings["rank"] == 2
    assert len(more.record.pairs) == 6


def test_each_method_keeps_one_bundle_and_the_others_say_why(study) -> None:
    for method in METHODS:
        folders = [
            study.folder / "runs" / run for r in study.record.results if r.name == method for run in r.runs
        ]
        assert len(folders) == 4
        kept = [p for p in folders if (p / "bundle/tunelab.json").exists()]
        assert len(kept) == 1, method
        for folder in set(folders) - set(kept):
            assert json.loads((folder / "result.json").read_text())["bundle"].startswith("removed: keep=best")
    assert not list(study.folder.rglob("checkpoints")), "no checkpoint is left of a finished run"


def test_no_disk_need_hold_every_bundle(model: Path, data: Path, tmp_path: Path) -> None:
    """Of a method there are two at most: the best so far, and the one that is just finished."""
    config = StudyConfig(
        files=(str(data),),
        methods=("head",),
        model={"name": str(model)},
        data={"folds": 2},
        effort="quick",
        seeds=3,
        workers=1,
        baselines=False,
        train={**QUICK["train"], "learning_rate": 0.001},
    )
    counts = []

    def listener(run: str, kind: str, values: object) -> None:
        if kind == "finished" and run.startswith("head-"):
            counts.append(len(list(tmp_path.glob("runs/head-*/bundle"))))

    found = compare(config, tmp_path, listener=listener)
    assert counts == [1, 2, 2, 2, 2, 2, 2]  # two folds, three seeds; the refit
    (kept,) = [path for path in tmp_path.glob("runs/head-*/bundle") if not is_refit(path.parent)]
    best = max(
        (record["valid"][record["deciding"]], -record["valid"]["loss"], name)
        for name, record in records(tmp_path).items()
        if record["kind"] == "judged"
    )
    assert kept.parent.name == best[-1]
    assert found.record.results[0].cost.bundle_bytes > 0


def test_a_study_that_goes_on_counts_the_trials_that_are_there(
    model: Path, data: Path, tmp_path: Path
) -> None:
    config = StudyConfig(
        files=(str(data),),
        methods=("head",),
        model={"name": str(model)},
        data={"folds": 0},
        search={"trials": 2},
        seeds=1,
        baselines=False,
        train=QUICK["train"],
    )
    for how in ("s)", "(was there)"):
        text = io.StringIO()
        with StudyView(Console(file=text, width=200)) as view:
            compare(config, tmp_path, listener=view)
        (line,) = [line for line in text.getvalue().splitlines() if "3/3" in line]
        assert " head-s0-" in line
        assert line.endswith(how)


def test_of_equal_runs_the_one_with_a_bundle_is_the_best(tmp_path: Path) -> None:
    """Elsewhere the bundle of the only one that has it would be removed, and none were left."""
    works = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        record = {"status": "finished", "deciding": "exact", "valid": {"exact": 0.5}}
        (folder / "result.json").write_text(json.dumps(record))
        works.append(SimpleNamespace(folder=folder, name=name))
    (tmp_path / "two" / "bundle").mkdir()
    assert best_run(works).name == "two"
    prune(works)
    assert (tmp_path / "two" / "bundle").is_dir()
    (tmp_path / "one" / "bundle").mkdir()
    (tmp_path / "two" / "bundle-removed" / "half").mkdir(parents=True)  # (a start was killed there)
    prune(works)
    assert [path.name for path in sorted(tmp_path.glob("*/*"))] == ["bundle", "result.json", "result.json"]


def is_refit(folder: Path) -> bool:
    return json.loads((folder / "result.json").read_text())["kind"] == "refit"


def test_a_finished_study_is_not_run_again(study, model: Path, data: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in study.folder.glob("runs/*/metrics.jsonl")}
    again = tunelab.compare(
        data,
        methods=METHODS,
        model=str(model),
        folds=2,
        seeds=2,
        out=study.folder,
        settings=SETTINGS,
        progress=False,
    )
    assert {p: p.stat().st_mtime_ns for p in study.folder.glob("runs/*/metrics.jsonl")} == before
    assert again.record.pairs == study.record.pairs
    assert again.record.advice == study.record.advice


def test_a_run_repeats_to_the_byte(model: Path, data: Path, tmp_path: Path) -> None:
    """The same command in two folders: the same name, predictions and weights."""
    first, second = (
        tunelab.run(
            data, method="lora", model=str(model), out=tmp_path / name, settings=QUICK, progress=False
        )
        for name in ("a", "b")
    )
    assert first.folder.name == second.folder.name
    for name in ("predictions.parquet", "bundle/adapter_model.safetensors", "metrics.jsonl"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_a_removed_bundle_comes_back_when_it_is_wanted(study, model: Path, data: Path) -> None:
    """The winner's weights are gone: the same command trains it again, to the same predictions."""
    (refit,) = (study.folder / "runs").glob("*-all-*")
    before = (refit / "predictions.parquet").read_bytes()
    shutil.rmtree(refit / "bundle")
    shutil.rmtree(study.folder / "winner")
    again = tunelab.compare(
        data,
        methods=METHODS,
        model=str(model),
        folds=2,
        seeds=2,
        out=study.folder,
        settings=SETTINGS,
        progress=False,
    )
    assert again.winner == study.winner
    assert tunelab.load(again.bundle).predict("office lamp lovely")
    assert (refit / "predictions.parquet").read_bytes() == before


def test_what_is_in_a_record(study) -> None:
    found = records(study.folder).values()
    record = next(r for r in found if r["method"] == "lora" and r.get("kind") == "judged")
    assert record["deciding"] in record["scores"]
    assert next(iter(record["scores"])) == record["deciding"]
    assert record["provenance"]["data_digest"]
    assert record["provenance"]["split_digest"]
    assert record["provenance"]["versions"]["torch"]
    assert record["cost"]["peak_memory_bytes"] > 1e6
    assert 0 < record["cost"]["trained_share"] < 1
    assert record["training"]["learning_rate"] > 0


def test_a_failure_is_recorded_and_the_study_goes_on(model: Path, data: Path, tmp_path: Path) -> None:
    """LoRA on a projection that the model lacks fails where it is attached; head finishes."""
    study = tunelab.compare(
        data,
        methods=["head", "lora"],
        model=str(model),
        folds=0,
        seeds=1,
        out=tmp_path,
        settings={**QUICK, "effort": "quick", "lora.targets": ["no_such_projection"]},
        progress=False,
    )
    assert study.table["method"].tolist()[0] == "head"
    ((name, error),) = study.failures.items()
    assert name.startswith("lora-")
    assert "no_such_projection" in error
    (record,) = [r for r in records(tmp_path).values() if r["method"] == "lora"]
    assert "lora" not in study.table["method"].tolist()
    assert record["status"] == "failed"
    assert "Traceback" in record["traceback"]


def with_loss(code: str, data: Path, model: Path, tmp_path: Path, trials: int | None = None, **more):
    """A study whose loss is the user's own."""
    own = tmp_path / "own.py"
    own.write_text(code)
    settings = {**QUICK, "search.trials": trials, "classify.objective": f"{own}:loss"}
    return tunelab.compare(
        data, model=str(model), folds=0, out=tmp_path / "out", settings=settings, progress=False, **more
    )


def test_a_seed_that_fails_is_told_beside_its_method(model: Path, data: Path, tmp_path: Path) -> None:
    """A loss that refuses seed 1: of each method the other two are left, and the row says so."""
    code = (
        "import torch\n\n\ndef loss(logits, targets):\n"
        "    assert torch.initial_seed() != 1, 'not with seed 1'\n"
        "    return torch.nn.functional.cross_entropy(logits, targets)\n"
    )
    study = with_loss(code, data, model, tmp_path, methods=["head", "full"], seeds=3, effort="quick")
    assert len(study.failures) == 2
    for result in study.record.results[:2]:
        ((run, why),) = result.failures.items()
        assert run.startswith(f"{result.name}-s1-")
        assert "not with seed 1" in why
        assert f"{result.name} rests on 2 of 3 seeds: of each other a run failed" in study.record.notes
    assert study.table["failed"].tolist()[:2] == [1, 1]
    (warning,) = [text for text in warnings_text(study.record, "en") if "Failed runs" in text]
    assert "2 (" in warning
    assert all(name in warning for name in ("head", "full"))
    assert "-s1-" not in warning


def test_a_run_that_diverges_says_so(model: Path, data: Path, tmp_path: Path) -> None:
    """Weights with a NaN in them: the first loss is no number."""
    from safetensors.torch import load_file, save_file

    broken = make_model_folder(tmp_path / "model")
    weights = load_file(broken / "model.safetensors")
    next(iter(weights.values())).view(-1)[:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 of .*learning rate"):
        tunelab.run(
            data, method="full", model=str(broken), out=tmp_path / "out", settings=QUICK, progress=False
        )


def test_a_trial_that_diverges_is_one_that_took_its_time(model: Path, data: Path, tmp_path: Path) -> None:
    """A loss that is no number in the first trial: its setting is lost, its time is counted."""
    code = (
        "import pathlib\nimport torch\n\nlost = None\n\n\n"
        "def loss(logits, targets):\n"
        "    global lost\n"
        f"    mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "    if lost is None and 10_000 <= torch.initial_seed() < 20_000:\n"
        "        lost = not mark.exists()\n"
        "        mark.touch()\n"
        "    found = torch.nn.functional.cross_entropy(logits, targets)\n"
        "    return found * float('nan') if lost else found\n"
    )
    study = with_loss(code, data, model, tmp_path, methods=["head"], seeds=1, workers=1, trials=2)
    result = study.record.results[0]
    assert sorted(trial.state for trial in result.trials) == ["complete", "failed"]
    assert all(trial.seconds > 0 for trial in result.trials)
    assert result.cost.tuning_seconds == pytest.approx(sum(trial.seconds for trial in result.trials))


def test_two_at_once_in_one_folder_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    import filelock

    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(OutputError, match="another tunelab is at work"),
    ):
        tunelab.run(data, method="head", model=str(model), out=tmp_path, progress=False)


def test_a_script_without_a_main_guard_works(model: Path, data: Path, tmp_path: Path) -> None:
    """multiprocessing would run the user's script again in every worker; tunelab hides it."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
print("begins")
import tunelab
result = tunelab.run({str(data)!r}, method="head", model={str(model)!r}, out={str(tmp_path / "out")!r},
                     settings={{"train.epochs": 1}}, progress=False)
print("ends", sorted(result.scores)[0])
"""
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begins", "ends", "accuracy"]


@pytest.mark.slow
def test_ctrl_c_stops_and_the_same_command_goes_on(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the middle of training, with a checkpoint; continued, it equals an unhindered run.

    Only what is interrupted has a process of its own.
    """
    words = ["run", data, "--method", "full", "--model", model, "train.epochs=10", "train.batch_size=4"]
    stopped, whole = ([*map(str, words), "--out", str(tmp_path / name)] for name in ("stopped", "whole"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelab.cli", *stopped],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        journals = list((tmp_path / "stopped").glob("runs/full-*/metrics.jsonl"))
        if journals and journals[0].read_bytes().count(b"\n") >= 5:  # of 240 steps
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal sends: to every process of the group
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "stopped" in err
    assert "Traceback" not in err
    assert list((tmp_path / "stopped").glob("runs/full-*/checkpoints/step-*.json"))
    for words in ([*stopped, "--resume"], whole):
        monkeypatch.setattr(sys, "argv", ["tunelab", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    (run,) = (tmp_path / "stopped").glob("runs/full-*")
    assert json.loads((run / "result.json").read_text())["training"]["resumed_at_steps"]
    for name in ("predictions.parquet", "bundle/model.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "whole/runs" / run.name / name).read_bytes()


def test_a_worker_that_is_killed_is_a_recorded_failure(tmp_path: Path) -> None:
    from collections import deque

    from victims import die, live

    from tunelab.study.runner import Job, Pool

    pool = Pool(2, 1, lambda *_: None)
    outcomes = {o.job.name: o for o in pool.run(deque([Job("dies", die, ()), Job("lives", live, (41,))]))}
    assert outcomes["lives"].value == 42
    assert "signal 9" in str(outcomes["dies"].error)
    assert "memory" in str(outcomes["dies"].error)


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="without bfloat16 in the CPU oneDNN keeps nothing",
)
def test_products_of_sizes_that_are_gone_are_not_kept() -> None:
    """Every batch has another number of tokens, and oneDNN and ideep would keep 1,024 shapes each."""
    from collections import deque

    from victims import many_shapes

    from tunelab.study.runner import Job, Pool

    (outcome,) = Pool(1, 1, lambda *_: None).run(deque([Job("sizes", many_shapes, ())]))
    assert outcome.error is None
    words = [sys.executable, "-c", "import victims; print(victims.many_shapes(None, None))"]
    of_their_own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        of_their_own.pop(name, None)
    kept = int(subprocess.run(words, env=of_their_own, check=True, capture_output=True, text=True).stdout)
    assert outcome.value < kept / 2


@pytest.mark.slow
def test_models_are_an_experiment_too(model: Path, data: Path, tmp_path: Path) -> None:
    """Two models times two methods in one verdict; the winner is handed over with its own model."""
    other = make_model_folder(tmp_path / "decoder", "llama")
    study = tunelab.compare(
        data,
        methods=["full", "head"],
        models=[str(model), str(other)],
        folds=0,
        seeds=2,
        out=tmp_path / "out",
        settings={**SETTINGS, "search": {"trials": 1}},
        progress=False,
    )
    assert not study.record.failures
    found = {r.name: r for r in study.record.results if not r.baseline}
    assert set(found) == {"full@tiny", "head@tiny", "full@decoder", "head@decoder"}
    assert len(study.record.pairs) == 6
    for name, result in found.items():
        assert Path(result.model).name == name.partition("@")[2]
        for run in result.runs:
            record = json.loads((study.folder / "runs" / run / "result.json").read_text(encoding="utf-8"))
            assert record["provenance"]["model"]["name"] == result.model
        (kept,) = [
            b for run in result.runs if (b := study.folder / "runs" / run / "bundle/config.json").is_file()
        ]
        wanted = "llama" if name.endswith("decoder") else "bert"
        assert json.loads(kept.read_text(encoding="utf-8"))["model_type"] == wanted
    baselines = {r.name: r for r in study.record.results if r.baseline}
    assert set(baselines) == {"majority", "tfidf", "embeddings@tiny", "embeddings@decoder"}
    assert Path(baselines["embeddings@decoder"].model).name == "decoder"
    assert baselines["embeddings@tiny"].scores != baselines["embeddings@decoder"].scores
    advised = found[study.record.advice.method]
    manifest = json.loads((study.bundle / "config.json").read_text(encoding="utf-8"))
    assert manifest["model_type"] == ("llama" if advised.name.endswith("decoder") else "bert")
    assert set(tunelab.load(study.bundle).predict(["kitchen lamp broken 12"])) <= {"good", "bad"}
    page = study.report.read_text(encoding="utf-8")
    assert all(name in page for name in found)
