"""A race halts every method at the rungs; who is stopped leaves no result, who goes on is as without it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import TrainConfig
from tunelab.measure.race import Decision, Stop
from tunelab.study import race as module
from tunelab.train.schedule import total_steps


def test_there_is_an_evaluation_in_every_eighth() -> None:
    for rows, epochs in ((2000, 1.0), (2000, 3.0), (300, None), (64, 20.0)):
        train = TrainConfig(epochs=epochs)
        every = module.enough_evaluations(train, rows).evaluations_per_epoch
        steps, per_epoch = total_steps(rows, train), -(-rows // train.batch_size)
        assert max(1.0, per_epoch / every) <= max(1.0, steps / 8), (rows, epochs)


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
