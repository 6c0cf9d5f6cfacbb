"""What the untouched pretrained model says of the rows, for tasks that hold the trained one against it.

It is computed before a method is attached, by the plain model (some methods change the outputs from the
start), in evaluation mode and in the precision in which the rows will be read, so that both are rounded
alike. All runs of a study share it through a file in `Prepared.features`, and a continued run reads what it
read before.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from safetensors.numpy import load, save

from tunelab.data.batch import Examples
from tunelab.files import output_errors, write_atomically
from tunelab.models import load_model
from tunelab.study.prepare import Prepared
from tunelab.tasks.base import Task
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision

__all__ = ["Wanted", "key_of", "shared", "untouched_model", "with_untouched"]

#: Items, the precision in which they will be read, and whether they are trained on.
Wanted = tuple[np.ndarray, Precision, bool]


def with_untouched(prepared: Prepared, task: Task, wanted: Sequence[Wanted]) -> tuple[Prepared, float]:
    """`prepared` whose examples know what the untouched model says of them, and the seconds that it took to
    compute what is needed for training, by whoever did.

    Where the same items are wanted in two precisions (a final run has no test), the last one counts.
    """
    known, seconds = dict(prepared.untouched), 0.0
    for items, precision, training in wanted:
        if not task.refers(training) or not len(items):
            continue
        examples = prepared.examples(items, task)
        examples = task.for_training(examples) if training else examples
        key = examples.key()
        outputs, spent = shared(
            prepared.features,
            _name(prepared, task, key, precision),
            partial(_outputs, prepared, task, examples, precision),
        )
        known[key] = outputs
        seconds += spent if training else 0.0
    return replace(prepared, untouched=known), seconds


def _name(prepared: Prepared, task: Task, key: str, precision: Precision) -> str:
    """What decides the numbers: weights, tokens, rows, precision, device, and how sums are divided."""
    parts = (
        task.name,
        prepared.model_digest,
        prepared.token_digest,
        prepared.model.model_dump_json(exclude={"name"}),
        key,
        precision.name,
        torch.device(precision.device).type,
        torch.get_num_threads(),
    )
    return f"untouched-{key_of(*parts)}"


def key_of(*parts: object) -> str:
    """A short name for what has these parts."""
    return hashlib.sha256(chr(10).join(map(str, parts)).encode()).hexdigest()[:20]


def shared(
    folder: Path | None, name: str, compute: Callable[[], tuple[np.ndarray, float]]
) -> tuple[np.ndarray, float]:
    """Outputs and the seconds they took; who wants the same at the same time waits and finds them."""
    if folder is None:
        return compute()
    path = folder / name
    with output_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{name}.lock"):
            if path.is_file():
                stored = load(path.read_bytes())
                return stored["outputs"], float(stored["seconds"][0])
            outputs, seconds = compute()
            write_atomically(path, save({"outputs": outputs, "seconds": np.array([seconds])}))
    return outputs, seconds


def untouched_model(task: Task, prepared: Prepared, device: str) -> Any:
    """The pretrained model as it was before any training, in evaluation mode."""
    options = task.model_options()
    model = load_model(prepared.base, prepared.model, task.model_class, options, prepared.pad_id, device)
    return model.eval()


def _outputs(
    prepared: Prepared, task: Task, examples: Examples, precision: Precision
) -> tuple[np.ndarray, float]:
    began = time.monotonic()
    model = untouched_model(task, prepared, precision.device)
    outputs = predict_logits(model, examples, precision, keep=task.keep_of(model))
    return np.ascontiguousarray(outputs), time.monotonic() - began
