"""A race halts every method at the rungs; who is stopped leaves no result, who goes on is as without it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import RunConfig, TrainConfig
from tunelab.measure.race import Decision, Stop
from tunelab.study import race as module
from tunelab.study.execute import Work
from tunelab.train.schedule import total_steps


def test_there_is_an_evaluation_in_every_eighth() -> None:
    for rows, epochs in ((2000, 1.0), (2000, 3.0), (300, None), (64, 20.0)):
        train = TrainConfig(epochs=epochs)
        every = module.enough_evaluations(train, rows).evaluations_per_epoch
        steps, per_epoch = total_steps(rows, train), -(-rows // train.batch_size)
        assert max(1.0, per_epoch / every) <= max(1.0, steps / 8), (rows, epochs)


def test_the_lower_loss_decides_between_equal_scores(tmp_path: Path) -> None:
    """Of four methods the better half goes on: the leader, 0.9, and one of two that are equal at 0.8, 4
    standard errors behind it. It is `c`, with the lower loss when that score was reached; `b` comes first by
    name, and has the lower loss by its last validation. At half of the steps `c` is the worse of two."""
    logs = {
        "a": [(4, 0.9, 0.3)],
        "b": [(2, 0.8, 0.6), (4, 0.7, 0.1)],
        "c": [(2, 0.8, 0.5), (4, 0.7, 0.9)],
        "d": [(4, 0.3, 0.0)],
    }
    scouts = {}
    for name, log in logs.items():
        (tmp_path / name).mkdir()
        entries = [{"kind": "evaluation", "step": s, "valid/accuracy": a, "valid/loss": x} for s, a, x in log]
        text = "".join(json.dumps(entry) + "\n" for entry in entries) + '{"kind": "evalua'
        (tmp_path / name / "metrics.jsonl").write_text(text)
        config = RunConfig.model_validate(
            {"files": ("x",), "train": {"epochs": 4, "batch_size": 16}, "model": {"name": "m"}}
        )
        scouts[name] = Work(name, "trial", config, tmp_path / name)
    split = SimpleNamespace(train=np.arange(64), valid=np.arange(400))  # 16 steps, rungs at 4, 8 and 12
    prepared: Any = {"m": SimpleNamespace(split=lambda fold: split, rows=lambda items: items)}

    def run(works: Sequence[Work], after: Callable[[Work, dict[str, Any]], object]) -> None:
        for work in works:
            after(work, {"deciding": "accuracy"})

    rows = [SimpleNamespace(name=name, seconds=4.0, one_seconds=1.0) for name in logs]
    executor: Any = SimpleNamespace(run=run)
    planned: Any = SimpleNamespace(rows=rows)
    left, race = module.run_race(scouts, executor, prepared, SimpleNamespace(), planned)  # type: ignore[arg-type]
    assert [(stop.name, stop.step) for stop in race.stops] == [("b", 4), ("d", 4), ("c", 8)]
    assert left == {"a"}
    # those that an earlier verdict has are yardsticks: the study is extended, and keeps its table
    left, race = module.run_race(scouts, executor, prepared, SimpleNamespace(), planned, {"c", "d"})  # type: ignore[arg-type]
    assert (left, [stop.name for stop in race.stops]) == ({"a", "c", "d"}, ["b"])


@pytest.mark.slow
def test_who_is_stopped_and_who_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first rung `head` is stopped; the others' runs equal those of a race that stops nobody."""
    shares = []

    def decide(entries, share):
        shares.append((share, sorted(entry.name for entry in entries)))
        names = tuple(entry.name for entry in entries if entry.name != "head")
        gone = tuple(Stop("head", 0.2, 0.1, 0.3) for entry in entries if entry.name == "head")
        return Decision(names, gone)

    data, model = write_sentences(tmp_path / "data.csv", 120), make_model_folder(tmp_path / "model")

    def study(out: Path) -> "tunelab.study.compare.Study":
        return tunelab.compare(
            data,
            methods=["full", "head", "lora"],
            model=str(model),
            folds=0,
            seeds=1,
            race=True,
            out=out,
            settings={"train.epochs": 4, "train.batch_size": 8, "search.trials": 2},
            progress=False,
        )

    monkeypatch.setattr(module, "decide", decide)
    raced = study(tmp_path / "raced")
    assert [share for share, _ in shares] == [1 / 4, 1 / 2, 3 / 4]
    assert [names for _, names in shares] == [["full", "head", "lora"], ["full", "lora"], ["full", "lora"]]
    assert {r.name for r in raced.record.results if not r.baseline} == {"full", "lora"}
    assert [stop.name for stop in raced.record.race.stops] == ["head"]
    assert 0 < raced.record.race.saved_share < 1
    assert "raced" in raced.record.advice.warnings
    (stopped,) = (tmp_path / "raced/runs").glob("trial-head-*")
    assert not (stopped / "result.json").exists()
    assert not list((tmp_path / "raced/runs").glob("head-*"))

    runs = {p: p.stat().st_mtime_ns for p in (tmp_path / "raced/runs").glob("*/metrics.jsonl")}
    again = study(tmp_path / "raced")  # the race is run over the same trainings, however far the study is
    assert again.record.race == raced.record.race
    assert again.record.pairs == raced.record.pairs
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "raced/runs").glob("*/metrics.jsonl")} == runs

    monkeypatch.setattr(module, "decide", lambda entries, share: Decision(tuple(e.name for e in entries), ()))
    whole = study(tmp_path / "whole")
    for result in raced.record.results:
        for run in result.runs:
            if not result.baseline:
                ours, theirs = (
                    pd.read_parquet(s.folder / "runs" / run / "predictions.parquet") for s in (raced, whole)
                )
                pd.testing.assert_frame_equal(ours, theirs)
    for trial in (t for r in raced.record.results for t in r.trials):
        records = [
            json.loads((s.folder / "runs" / trial.run / "result.json").read_text()) for s in (raced, whole)
        ]
        assert records[0]["valid"] == records[1]["valid"]
