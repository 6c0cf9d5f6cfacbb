"""Before a study: how long every run will take and how much memory it will need, from a few probe steps.

A probe is a real training of a few optimizer steps on the longest batch and on one of medium length, in a
worker like that of a run and with as many probes side by side as there will be runs. With seconds a step
= a + b · tokens through the two lengths, and the tokens of every batch of a run known beforehand, its time
is a sum.
"""

import itertools
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tunelab import methods
from tunelab.config import RunConfig
from tunelab.data.batch import Examples, epoch_batches, sorted_batches
from tunelab.errors import Stopped
from tunelab.models import load_tokenizer
from tunelab.serve.bundle import write_bundle
from tunelab.study.prepare import Prepared
from tunelab.study.run import Kind, attach, peak_memory
from tunelab.train.evaluate import predict_logits, tokens_at_once
from tunelab.train.loop import train
from tunelab.train.precision import choose
from tunelab.train.schedule import total_steps

__all__ = ["Probe", "predict_memory", "predict_seconds", "probe_run"]

_STEPS = 6  # the first warms caches and is not counted; methods that change during training pass all phases
_EVALUATED = 6  # batches


@dataclass(frozen=True)
class Probe:
    """What a few steps of a method cost here.

    step_seconds + token_seconds x tokens (with padding) is one optimizer step; evaluate_seconds and
    judge_seconds are per token (with padding) in training's precision and in float32; load_seconds: to open
    and attach; save_seconds: to write the bundle; memory_bytes: the largest resident memory, without and with
    a checkpoint written.
    """

    step_seconds: float
    token_seconds: float
    evaluate_seconds: float
    judge_seconds: float
    load_seconds: float
    save_seconds: float
    memory_bytes: float
    checkpoint_memory_bytes: float

    def as_dict(self) -> dict[str, float]:
        """Only numbers: ready for JSON."""
        return asdict(self)


def probe_run(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    listener: Callable[..., None],
    stop: Callable[[], bool],
) -> dict[str, float]:
    """Measures a method in this (fresh) process; `folder` is used for scratch and removed."""
    method = methods.find(config.method).make(config.settings)
    task = prepared.task(config.task, config.fold, config.loss, config.share)
    began = time.monotonic()
    tuned, _ = attach(config, prepared, method, task, device)
    load_seconds = time.monotonic() - began
    split = prepared.split(config.fold, config.share)
    precision = choose(config.train.precision, device)
    examples = prepared.examples(split.train, task)
    medium, longest = _two_batches(examples, config)
    shutil.rmtree(folder, ignore_errors=True)

    def steps(rows: np.ndarray, name: str, checkpoint: bool) -> float:
        """Mean seconds of a step on these rows."""
        times: list[float] = []

        def note(kind: str, values: Mapping[str, Any]) -> None:
            if kind == "step":
                times.append(time.monotonic())

        quick = config.train.model_copy(
            update={
                "epochs": float(_STEPS),
                "batch_size": max(len(rows), 1),
                "evaluations_per_epoch": 1,
                "patience": 0,
                "checkpoint_seconds": 1e9,
                "trackers": (),
            }
        )
        try:
            train(
                tuned,
                task.objective,
                Examples(examples.tokens, examples.targets, rows, examples.max_length, examples.pad_id),
                lambda: ({"loss": 0.0}, "loss"),
                quick,
                learning_rate=config.train.learning_rate or method.learning_rate,
                seed=config.seed,
                folder=folder / name,
                precision=precision,
                listener=note,
                stop=lambda: stop() or (checkpoint and len(times) == _STEPS - 1),
            )
        except Stopped:
            if stop():
                raise
        gaps = np.diff(times)
        return float(np.mean(gaps))

    long_seconds = steps(longest, "longest", checkpoint=False)
    evaluate_seconds = _forward(tuned.model, prepared.examples(split.valid, task), precision)
    judged = split.test if len(split.test) else split.valid
    judge_seconds = _forward(tuned.model, prepared.examples(judged, task), choose("float32", device))
    began = time.monotonic()
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
    write_bundle(
        folder / "bundle",
        tuned=tuned,
        method=method,
        task=task,
        tokenizer=tokenizer,
        base=prepared.base,
        model=prepared.model,
        scores={},
        about={},
    )
    save_seconds = time.monotonic() - began
    memory = peak_memory(device)
    medium_seconds = steps(medium, "medium", checkpoint=True)
    with_checkpoint = peak_memory(device)
    shutil.rmtree(folder, ignore_errors=True)
    a, b = _line(_padded(examples, medium), medium_seconds, _padded(examples, longest), long_seconds)
    return Probe(
        a, b, evaluate_seconds, judge_seconds, load_seconds, save_seconds, memory, with_checkpoint
    ).as_dict()


def _two_batches(examples: Examples, config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the batch of median padded size and of the largest one, of the first epoch."""
    lengths = examples.lengths
    batches = epoch_batches(lengths, config.train.batch_size, config.seed, 0)
    batches = [b for b in batches if len(b) == len(batches[0])] or batches
    order = sorted(batches, key=lambda b: (int(lengths[b].max()) * len(b), int(b[0])))
    return examples.rows[order[len(order) // 2]], examples.rows[order[-1]]


def _padded(examples: Examples, rows: np.ndarray) -> int:
    lengths = np.minimum(examples.tokens.lengths[rows], examples.max_length)
    return int(lengths.max()) * len(rows)


def _line(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float]:
    """Seconds a step and seconds a token through two points; no negative part.

    >>> _line(100, 2.0, 300, 4.0)
    (1.0, 0.01)
    >>> _line(100, 2.0, 100, 2.0)
    (0.0, 0.02)
    """
    slope = (y2 - y1) / (x2 - x1) if x2 > x1 else y1 / x1
    slope = min(max(slope, 0.0), y1 / x1)
    return y1 - slope * x1, slope


def _forward(model: Any, examples: Examples, precision: Any) -> float:
    """Seconds a token (with padding) of an evaluation."""
    lengths = examples.lengths
    batches = sorted_batches(lengths, tokens_at_once(precision.device))
    chosen = [batches[i] for i in np.linspace(0, len(batches) - 1, min(_EVALUATED, len(batches))).astype(int)]
    seconds, tokens = 0.0, 0
    for repeat, which in enumerate([chosen[0], *chosen]):
        part = Examples(
            examples.tokens, examples.targets, examples.rows[which], examples.max_length, examples.pad_id
        )
        began = time.monotonic()
        predict_logits(model, part, precision)
        if repeat:  # the first warms up
            seconds += time.monotonic() - began
            tokens += int(lengths[which].max()) * len(which)
    return seconds / max(tokens, 1)


def predict_seconds(probe: Probe, config: RunConfig, prepared: Prepared, kind: Kind, device: str) -> float:
    """Seconds of one run: opening, training, evaluations, judging and saving."""
    split = prepared.split(config.fold, config.share)
    steps, tokens = _training_size(prepared, config)
    per_epoch = math.ceil(len(split.train) / config.train.batch_size)
    evaluations = max(1.0, steps / per_epoch * config.train.evaluations_per_epoch)
    seconds = probe.load_seconds + probe.step_seconds * steps + probe.token_seconds * tokens
    seconds += evaluations * probe.evaluate_seconds * _evaluation_tokens(prepared, split.valid, device)
    if kind != "trial":
        rows = split.test if len(split.test) else split.valid
        seconds += probe.judge_seconds * _evaluation_tokens(prepared, rows, device)
    if kind in ("judged", "refit"):
        seconds += probe.save_seconds
    return seconds


def predict_memory(probe: Probe, config: RunConfig, seconds: float) -> float:
    """Largest resident memory of one run, bytes; longer ones also write checkpoints."""
    long = seconds - probe.load_seconds > config.train.checkpoint_seconds
    return probe.checkpoint_memory_bytes if long else probe.memory_bytes


def _training_size(prepared: Prepared, config: RunConfig) -> tuple[int, int]:
    """Optimizer steps, and tokens with padding over all of them."""
    split = prepared.split(config.fold, config.share)
    assert prepared.model.max_length is not None, "settled in prepare"
    lengths = np.minimum(prepared.tokens.lengths[split.train], prepared.model.max_length)
    total = total_steps(len(split.train), config.train)
    return total, _tokens(lengths.tobytes(), config.train.batch_size, config.seed, total)


@lru_cache(maxsize=256)
def _tokens(lengths_as_bytes: bytes, batch_size: int, seed: int, total: int) -> int:
    lengths = np.frombuffer(lengths_as_bytes, dtype=np.int64)
    sizes = (
        int(lengths[batch].max()) * len(batch)
        for epoch in itertools.count()
        for batch in epoch_batches(lengths, batch_size, seed, epoch)
    )
    return sum(itertools.islice(sizes, total))


def _evaluation_tokens(prepared: Prepared, rows: np.ndarray, device: str) -> int:
    lengths = np.minimum(prepared.tokens.lengths[rows], prepared.model.max_length or 0)
    return sum(int(lengths[b].max()) * len(b) for b in sorted_batches(lengths, tokens_at_once(device)))
