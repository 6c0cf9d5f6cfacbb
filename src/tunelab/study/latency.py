"""How long the finished artefact takes for an answer, measured with nothing else at work."""

import time
from pathlib import Path

import numpy as np

from tunelab.files import output_errors, write_json
from tunelab.serve.bundle import open_bundle
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import choose

__all__ = ["measure_latency"]

_SINGLE, _BATCHES, _BATCH = 20, 4, 32


def measure_latency(folder: Path, prepared: Prepared, device: str) -> dict[str, float]:
    """Median seconds a row, one by one and in batches of 32, float32; put into the run's record.

    Test rows in their own order, tokenised already: what is timed is the model.
    """
    record = read_record(folder)
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code)
    precision = choose("float32", device)
    keep = opened.task.keep_of(opened.tuned.model)
    split = prepared.split(record["fold"])
    rows = split.test if len(split.test) else split.valid

    def median(size: int, times: int) -> float:
        seconds = []
        for i in range(times + 1):
            which = np.resize(rows, (times + 1) * size)[i * size : (i + 1) * size]
            examples = prepared.examples(which, opened.task)
            began = time.monotonic()
            predict_logits(opened.tuned.model, examples, precision, whole=True, keep=keep)
            seconds.append((time.monotonic() - began) / size)
        return float(np.median(seconds[1:]))  # the first warms up

    record["cost"]["latency_1_seconds"] = median(1, _SINGLE)
    record["cost"]["latency_32_seconds"] = median(_BATCH, _BATCHES)
    with output_errors(folder):
        write_json(folder / "result.json", record)
    return {name: record["cost"][name] for name in ("latency_1_seconds", "latency_32_seconds")}
