"""A handful of test prompts with what the finished model writes after them, for the report."""

from pathlib import Path
from typing import Any

import numpy as np

from tunelab.files import output_errors, write_json
from tunelab.serve.bundle import open_bundle
from tunelab.serve.generate import generate
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record

__all__ = ["write_samples"]

_PROMPTS = 6
_TOKENS = 128


def write_samples(folder: Path, prepared: Prepared, device: str) -> list[dict[str, Any]]:
    """Answers to some test items' prompts, put into the run's record: `item` and `prediction` of each.
    Nothing for a task that does not write. The prompts are those that the judged rows have, cut as they are
    cut."""
    record = read_record(folder)
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code)
    if not opened.task.writes:
        return []
    split = prepared.split(record["fold"])
    items = split.test if len(split.test) else split.valid
    prompts = {int(item): prompt for item in items if len(prompt := _prompt(prepared, int(item)))}
    chosen = [
        list(prompts)[i] for i in np.linspace(0, len(prompts) - 1, min(_PROMPTS, len(prompts))).astype(int)
    ]
    written = generate(
        opened.tuned,
        opened.tokenizer,
        [prompts[item] for item in chosen],
        opened.task.stops(opened.tokenizer),
        min(opened.task.writes, _TOKENS),
        device,
    )
    samples = [{"item": item, "prediction": text} for item, text in zip(chosen, written, strict=True)]
    record["samples"] = samples
    with output_errors(folder):
        write_json(folder / "result.json", record)
    return samples


def _prompt(prepared: Prepared, item: int) -> list[int]:
    """Token ids before an item's last answer; none where the answer was cut off."""
    encoded = prepared.encoded
    units = encoded.units
    assert units is not None
    own = units.of(item)
    begin = int(units.tokens[own][-1]) if own.stop > own.start else -1
    return encoded.tokens.ids[int(encoded.tokens.starts[item]) : begin].tolist() if begin >= 0 else []
