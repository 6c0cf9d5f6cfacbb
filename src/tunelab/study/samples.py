"""A handful of test prompts with what the finished model writes after them, for the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tunelab.files import output_errors, write_json
from tunelab.serve.bundle import Opened, open_bundle
from tunelab.serve.generate import generate
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record

__all__ = ["write_samples"]

_PROMPTS = 6
_TOKENS = 128


def write_samples(folder: Path, prepared: Prepared, device: str) -> list[dict[str, Any]]:
    """Answers to some test items' prompts, put into the run's record: `item` and `prediction` of each; of
    a task that is judged by what is written those that were judged. Nothing for a task that does not write.
    The prompts are those that the judged rows have, cut as they are cut."""
    record = read_record(folder)
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code, own=True)
    if not opened.task.writes:
        return []
    samples = _judged(folder) if opened.task.written else _fresh(opened, prepared, record["fold"], device)
    record["samples"] = samples
    with output_errors(folder):
        write_json(folder / "result.json", record)
    return samples


def _judged(folder: Path) -> list[dict[str, Any]]:
    """Some of the run's predictions."""
    frame = pd.read_parquet(folder / "predictions.parquet", columns=["item", "prediction"])
    some = frame.iloc[_spread(len(frame))]
    return [
        {"item": int(item), "prediction": str(text)}
        for item, text in zip(some["item"], some["prediction"], strict=True)
    ]


def _spread(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(_PROMPTS, count)).astype(int)


def _fresh(opened: Opened, prepared: Prepared, fold: int, device: str) -> list[dict[str, Any]]:
    """What the model writes now."""
    split = prepared.split(fold)
    items = split.test if len(split.test) else split.valid
    prompts = {int(item): prompt for item in items if len(prompt := _prompt(prepared, int(item)))}
    chosen = [list(prompts)[i] for i in _spread(len(prompts))]
    written = generate(
        opened.tuned,
        opened.tokenizer,
        [prompts[item] for item in chosen],
        opened.task.stops(opened.tokenizer),
        min(opened.task.writes, _TOKENS),
        device,
    )
    return [{"item": item, "prediction": text} for item, text in zip(chosen, written, strict=True)]


def _prompt(prepared: Prepared, item: int) -> list[int]:
    """Token ids before an item's last answer; none where the answer was cut off."""
    encoded = prepared.encoded
    units = encoded.units
    assert units is not None
    own = units.of(item)
    begin = int(units.tokens[own][-1]) if own.stop > own.start else -1
    return encoded.tokens.ids[int(encoded.tokens.starts[item]) : begin].tolist() if begin >= 0 else []
