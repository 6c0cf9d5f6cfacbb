"""How long the finished artefact takes for an answer, measured with nothing else at work."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunelab.files import output_errors, write_json
from tunelab.serve.bundle import Opened, open_bundle
from tunelab.study.asking import Asker
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision, choose

__all__ = ["measure_latency"]

_SINGLE, _BATCHES, _BATCH = 20, 4, 32
#: The same of answers that are written, of which one takes as long as hundreds that are not.
_SINGLE_WRITTEN, _BATCHES_WRITTEN = 8, 2

#: (places among the rows) -> what asks the model for these.
_Ask = Callable[[np.ndarray], Callable[[], object]]


def measure_latency(folder: Path, prepared: Prepared, device: str) -> dict[str, float]:
    """Median seconds a row, one by one and in batches of 32, float32; put into the run's record.

    Test rows in their own order, tokenised already: what is timed is the model. An answer that is written is
    timed as a whole, up to the token that ends it.
    """
    record = read_record(folder)
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code, own=True)
    split = prepared.split(record["fold"])
    rows = split.test if len(split.test) else split.valid
    written = opened.task.written
    ask = (_writing if written else _judging)(opened, prepared, rows, choose("float32", device))
    single, batches = (_SINGLE_WRITTEN, _BATCHES_WRITTEN) if written else (_SINGLE, _BATCHES)
    record["cost"]["latency_1_seconds"] = _median(ask, len(rows), 1, single)
    record["cost"]["latency_32_seconds"] = _median(ask, len(rows), _BATCH, batches)
    with output_errors(folder):
        write_json(folder / "result.json", record)
    return {name: record["cost"][name] for name in ("latency_1_seconds", "latency_32_seconds")}


def _median(ask: _Ask, rows: int, size: int, times: int) -> float:
    """Seconds a row of so many at a time."""
    seconds = []
    for i in range(times + 1):
        answer = ask(np.arange(i * size, (i + 1) * size) % rows)
        began = time.monotonic()
        answer()
        seconds.append((time.monotonic() - began) / size)
    return float(np.median(seconds[1:]))  # the first warms up


def _judging(opened: Opened, prepared: Prepared, rows: np.ndarray, precision: Precision) -> _Ask:
    """Answers that a model gives in one pass."""
    model = opened.tuned.model
    keep = opened.task.keep_of(model)

    def ask(which: np.ndarray) -> Callable[[], object]:
        examples = prepared.examples(rows[which], opened.task)
        return lambda: predict_logits(model, examples, precision, whole=True, keep=keep)

    return ask


def _writing(opened: Opened, prepared: Prepared, rows: np.ndarray, precision: Precision) -> _Ask:
    """Answers that a model writes."""
    asked = Asker(opened.task, prepared, rows, precision).inquiry(at_once=True)

    def ask(which: np.ndarray) -> Callable[[], object]:
        prompts = [asked.prompts[place] for place in which.tolist()]
        part = replace(asked, items=asked.items.iloc[which], prompts=prompts)
        return lambda: opened.task.write(opened.tuned.model, part)

    return ask
