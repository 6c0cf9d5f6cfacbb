"""One process of tunelab, by the way that every user goes: `tunelab.run`, `tunelab.compare`, `tunelab.load`.

Seconds of a training are those between the opened model and the trained one, taken from the run's record by
subtraction: levers that are put on, frozen layers computed, tracker, checkpoints, validations, the best state
put back. The record's own `train_seconds` + `evaluation_seconds` + `trunk_seconds` stand beside, as `steps`.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._child import child, peak_memory


def measure(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A training, a whole study, or the answers for many texts."""
    kinds = {"train": _train, "study": _study, "predict": _predict}
    found = kinds[spec["kind"]](spec)
    return {**found, "own_memory_bytes": peak_memory()}


def _train(spec: Mapping[str, Any]) -> dict[str, Any]:
    import tunelab

    with tempfile.TemporaryDirectory() as folder:
        run = tunelab.run(
            spec["files"],
            method=spec["method"],
            model=spec["model"],
            text=spec["text"],
            label=spec["label"],
            rows=spec["rows"],
            seed=spec["seed"],
            out=folder,
            device=spec["device"],
            settings=spec["options"],
            progress=False,
        )
        return {**of_record(run.record), **_predictions(run.folder)}


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's record says of its training."""
    cost, training, whole = record["cost"], record["training"], record["provenance"]
    around = cost["load_seconds"] + cost["test_seconds"] + cost["save_seconds"]
    return {
        "seconds": whole["finished"] - whole["started"] - around,
        "steps_seconds": cost["train_seconds"] + cost["evaluation_seconds"] + cost.get("trunk_seconds", 0.0),
        "evaluation_seconds": cost["evaluation_seconds"],
        "steps": training["steps"],
        "tokens": training["tokens"],
        "padding_share": training["padding_share"],
        "trained_parameters": cost["trained_parameters"],
        "peak_memory_bytes": cost["peak_memory_bytes"],
        "precision": training["precision"],
        "levers": training.get("levers", {}),
    }


def _predictions(folder: Path) -> dict[str, Any]:
    """The judged rows in the table's order, as the other side has them."""
    import pandas as pd

    frame = pd.read_parquet(folder / "predictions.parquet", columns=["item", "prediction"]).sort_values(
        "item"
    )
    return {"items": frame["item"].tolist(), "predictions": frame["prediction"].tolist()}


def _study(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of the judged runs, from the first one's start to the last one's verified bundle. What frozen
    layers give is computed by the plan already, so those seconds are added."""
    from tunelab.api import study_config
    from tunelab.study.compare import compare

    config = study_config(spec["files"], spec["tree"])
    marks: dict[str, float] = {}
    records: list[dict[str, Any]] = []

    def listener(run: str, kind: str, values: Mapping[str, Any]) -> None:
        marks[kind] = time.monotonic()
        if kind == "finished" and values.get("work") is not None:
            records.append(values["record"])
            marks["last"] = time.monotonic()

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = compare(config, Path(folder), spec["device"], listener)
    plan_only = _planned_trunks(records)
    each = [of_record(record) for record in records]
    return {
        "seconds": marks["last"] - marks["planned"] + plan_only,
        "trunk_seconds": plan_only,
        "plan_seconds": marks["planned"] - marks["prepared"],
        "command_seconds": time.monotonic() - began,
        "runs": len(records),
        "training_seconds": sum(one["seconds"] for one in each),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in each),
        "failures": dict(study.failures),
        "methods": {
            record["method"]: [
                [one["steps_seconds"], other["scores"]["accuracy"]]
                for one, other in zip(each, records, strict=True)
                if other["method"] == record["method"]
            ]
            for record in records
        },
    }


def _planned_trunks(records: list[dict[str, Any]]) -> float:
    """Seconds that the plan's probes spent on caches which the judged runs found ready."""
    built: set[int] = set()
    found: dict[int, float] = {}
    for record in records:
        trunk = record["training"].get("levers", {}).get("trunk_cache", {})
        if trunk.get("level"):
            found[trunk["level"]] = trunk["seconds"]
            built |= {trunk["level"]} if trunk["built"] else set()
    return sum(seconds for level, seconds in found.items() if level not in built)


def _predict(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds: from texts to labels, tokenizing included, with the bundle open."""
    import tunelab

    texts = json.loads(Path(spec["rows"]).read_text(encoding="utf-8"))["texts"]
    specialist = tunelab.load(spec["bundle"], spec["device"], precision=spec["precision"])
    specialist.predict(texts[:64])  # warms up
    began = time.monotonic()
    answers = specialist.predict(texts)
    seconds = time.monotonic() - began
    assert len(answers) == len(texts)
    return {"seconds": seconds, "rows": len(texts), "peak_memory_bytes": peak_memory()}


if __name__ == "__main__":
    child(measure)
