"""Before a study: how long every run will take and how much memory it will need, from a few probe steps.

A probe is a real training of a few optimizer steps on the largest batch and on others from the smallest to
it, in a worker like that of a run and with as many probes side by side as there will be runs. With seconds a
step = a + b · tokens fitted to them, and the tokens of every batch of a run known beforehand, its time is a
sum.

A probe does what a run does, in its order: train, judge in float32, (memory is read here,) measure
forgetting, write the bundle. Peaks only rise, so in another order they would be of something else.
"""

import contextlib
import itertools
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from tunelab import methods
from tunelab.config import RunConfig, TrainConfig
from tunelab.data.batch import Examples, epoch_batches, parts, sorted_batches
from tunelab.errors import Stopped
from tunelab.methods.base import Method, Tuned
from tunelab.study import forgetting
from tunelab.study.asking import Asker
from tunelab.study.online import improving
from tunelab.study.prepare import Prepared
from tunelab.study.run import Kind, ask_untouched, attach, judging, peak_memory, save_bundle, speed_up
from tunelab.tasks.base import Task
from tunelab.train.evaluate import predict_logits, tokens_at_once
from tunelab.train.loop import train
from tunelab.train.precision import Precision, choose
from tunelab.train.regularise import regularised
from tunelab.train.schedule import total_steps

__all__ = ["Probe", "evaluation_tokens", "predict_memory", "predict_seconds", "probe_run"]

#: Optimizer steps that are timed. Methods that change while they train (gradual) pass all their phases in
#: them, and most in the few steps before, after which memory grows by new batch sizes alone. (With 3 steps
#: before them gradual's memory rose all through its last phase, and it was told 8 to 25 % too much.)
_STEPS = 16
_WARM = 3
_WARM_CHANGING = 6
_MOST = 64  # steps, where a round has many
_EVALUATED = 6  # batches
_WRITTEN = 16  # answers


@dataclass(frozen=True)
class Probe:
    """What a few steps of a method cost here.

    step_seconds + token_seconds x tokens (with padding) is one optimizer step; evaluate_seconds and
    judge_seconds are per token (with padding) in training's precision and in float32; load_seconds: to open
    and attach; save_seconds: to measure forgetting and write the bundle; trunk_seconds: to compute what
    frozen layers give, by whoever did; memory_bytes: the largest resident memory of training after as many
    different batch sizes as `shapes`, and growth_bytes what every doubling of them adds; checkpoint_bytes:
    what writing a checkpoint adds; judge_bytes: the largest resident memory where judging needs more than
    training did (0: it does not); padded: 1, or 0 where shorter rows cost none;
    one_more: what a further pass counts, in tokens (0: batches are not cut).
    """

    step_seconds: float
    token_seconds: float
    evaluate_seconds: float
    judge_seconds: float
    load_seconds: float
    save_seconds: float
    memory_bytes: float
    shapes: float
    growth_bytes: float
    checkpoint_bytes: float
    trunk_seconds: float = 0.0
    judge_bytes: float = 0.0
    padded: float = 1.0
    one_more: float = 0.0

    @property
    def largest_bytes(self) -> float:
        """The largest resident memory that the probe itself had before it saved."""
        return max(self.memory_bytes + self.checkpoint_bytes, self.judge_bytes)

    def as_dict(self) -> dict[str, float]:
        """Only numbers: ready for JSON."""
        return asdict(self)


def probe_run(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str,
    reference: Path | None,
    listener: Callable[..., None],
    stop: Callable[[], bool],
) -> dict[str, float]:
    """Measures a method in this (fresh) process; `folder` is used for scratch and removed."""
    method = methods.find(config.method).make(config.settings)
    task = prepared.task(config, config.fold, config.share)
    precision = choose(config.train.precision, device)
    prepared, _ = ask_untouched(config, prepared, task, precision, True)
    began = time.monotonic()
    tuned, _ = attach(config, prepared, method, task, device)
    load_seconds = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    learnt = _learning(config, prepared, method, task, tuned, folder, precision, listener, stop)
    shutil.rmtree(folder, ignore_errors=True)
    judge_seconds = _judging_seconds(config, prepared, task, tuned, device)
    peak, before = peak_memory(device), learnt["memory_bytes"] + learnt["checkpoint_bytes"]
    began = time.monotonic()
    if reference is not None:  # (what a run does; a measure that fails there costs no method its place)
        forgetting.measure_forgetting(tuned, reference, prepared, device)
    save_bundle(folder / "bundle", prepared, method, task, tuned, {}, {})
    save_seconds = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    return Probe(
        **learnt,
        judge_seconds=judge_seconds,
        load_seconds=load_seconds,
        save_seconds=save_seconds,
        judge_bytes=peak if peak > before else 0.0,
    ).as_dict()


def _learning(
    config: RunConfig,
    prepared: Prepared,
    method: Method,
    task: Task,
    tuned: Tuned,
    folder: Path,
    precision: Precision,
    listener: Callable[..., None],
    stop: Callable[[], bool],
) -> dict[str, float]:
    """What training costs, of a probe's fields, by training a few steps."""
    split = prepared.split(config.fold, config.share)
    watch = _Watch(precision.device)
    own = improving(config, prepared, task, tuned, folder, precision) if task.online else None
    period = own.steps(config.train.batch_size) if own else 0
    warm = _WARM if type(tuned).on_progress is Tuned.on_progress else _WARM_CHANGING
    planned = max(_STEPS, min(2 * period, _MOST) + 1)
    objective = own.objective if own else task.objective_of(tuned.model)
    evaluations = _evaluations(prepared, config)
    with (
        speed_up(config, prepared, tuned, task, precision) as fast,
        regularised(tuned, objective, task.divergence, config.train) as with_all,
    ):
        evaluate_seconds = _evaluation(tuned.model, fast.valid, precision, task, prepared, split.valid)
        rows: tuple[Any, Any] = (own.buffer, own.buffer) if own else _spread(fast.train, config)
        examples, largest = rows

        def steps(count: int, examples: Any, where: Path, until: Callable[[], bool]) -> None:
            train(
                with_all.tuned,
                with_all.objective,
                examples,
                with_all.judging(lambda: ({"loss": 0.0}, "loss")),
                _few(config.train, count, len(examples), evaluations > 1),
                learning_rate=config.train.learning_rate or method.learning_rate,
                seed=config.seed,
                folder=where,
                precision=precision,
                listener=watch,
                stop=lambda: stop() or until(),
            )

        with contextlib.suppress(Stopped):
            steps(warm, largest, folder / "warm", lambda: False)
            watch.clear()
            if own:
                own.forget()
            # Stopped one step early, so that it writes a checkpoint.
            steps(planned, examples, folder, lambda: len(watch.times) == planned - 1)
    if stop():
        raise Stopped("stopped while the plan was measured")
    with_checkpoint = peak_memory(precision.device)
    if own:
        sizes, token_seconds = [[1]] * len(watch.times), 0.0
        step_seconds = own.step_seconds(watch.times, period)
    else:
        how = _Steps.of(config, fast.train.one_more, fast.train.padded)
        sizes = _sizes(examples.lengths, how, len(watch.times))
        step_seconds, token_seconds = _fit([how.cost(step) for step in sizes[1:]], np.diff(watch.times))
    last, shapes, growth = _growth(watch.peaks, sizes)
    return {
        "step_seconds": step_seconds,
        "token_seconds": token_seconds,
        "evaluate_seconds": evaluate_seconds,
        "trunk_seconds": fast.trunk_seconds,
        "padded": float(fast.train.padded),
        "one_more": float(fast.train.one_more or 0),
        "memory_bytes": last,
        "shapes": shapes,
        "growth_bytes": growth,
        "checkpoint_bytes": with_checkpoint - last,
    }


def _judging_seconds(config: RunConfig, prepared: Prepared, task: Task, tuned: Tuned, device: str) -> float:
    """A token of the rows that a run is judged on, in float32 and without what others have computed."""
    split = prepared.split(config.fold, config.share)
    tested = split.test if len(split.test) else split.valid
    alone = config.model_copy(update={"speed": config.speed.model_copy(update={"trunk_cache": False})})
    with judging(alone, prepared, tuned, task, prepared.examples(tested, task), device) as (rows, _):
        return _evaluation(tuned.model, rows, choose("float32", device), task, prepared, tested)


def _growth(peaks: Sequence[int], sizes: Sequence[Sequence[int]]) -> tuple[int, int, float]:
    """The last peak, how many batch sizes it has seen, and how much every doubling of them adds: from the
    second half of the steps. sizes: of what each step computed at once.

    >>> _growth([100, 110, 130, 150], [[8], [16], [24], [32, 8]])
    (150, 4, 40.0)
    """
    half = len(peaks) // 2
    shapes, before = _distinct(sizes), _distinct(sizes[:half])
    doublings = math.log2(shapes / before) if shapes > before else 1.0
    return peaks[-1], shapes, (peaks[-1] - peaks[half - 1]) / doublings


class _Watch:
    """Notes when each step ended, and the largest memory until then."""

    def __init__(self, device: str) -> None:
        self.times: list[float] = []
        self.peaks: list[int] = []
        self._device = device

    def __call__(self, kind: str, values: Mapping[str, Any]) -> None:
        if kind == "step":
            self.times.append(time.monotonic())
            self.peaks.append(peak_memory(self._device))

    def clear(self) -> None:
        self.times.clear()
        self.peaks.clear()


def _few(config: TrainConfig, steps: int, rows: int, early: bool = False) -> TrainConfig:
    """The same training, of so many steps and no checkpoint, with one validation at its end.

    early: with others before, the first within the first half: the loop then keeps the best state beside the
    one that is trained, as it does in a run that validates more than once.
    """
    per_epoch = math.ceil(rows / config.batch_size)
    return config.model_copy(
        update={
            "epochs": steps / per_epoch,
            "evaluations_per_epoch": math.ceil(4 * per_epoch / steps) if early else 1,
            "patience": 0,
            "checkpoint_seconds": 1e9,
            "trackers": (),
        }
    )


def _spread(examples: Examples, config: RunConfig) -> tuple[Examples, Examples]:
    """The rows of batches of the first epoch, from the smallest to the largest (by what is computed at once),
    and those of the largest alone."""
    lengths = examples.lengths
    how = _Steps.of(config, examples.one_more, examples.padded)
    batches = epoch_batches(lengths, config.train.batch_size, config.seed, 0)
    batches = [b for b in batches if len(b) == config.train.batch_size] or batches
    order = sorted(batches, key=lambda b: (max(how.sizes(lengths[b])), int(b[0])))
    chosen = {int(i) for i in np.linspace(0, len(order) - 1, min(_STEPS, len(order))).round()}
    rows = np.concatenate([order[i] for i in sorted(chosen)])
    return replace(examples, rows=examples.rows[rows]), replace(examples, rows=examples.rows[order[-1]])


class _Steps(NamedTuple):
    """What decides which rows meet."""

    batch_size: int
    at_once: int
    seed: int
    one_more: int | None
    padded: bool

    @classmethod
    def of(cls, config: RunConfig, one_more: int | None, padded: bool) -> Self:
        """Those of a training; one_more, padded: see `Examples`."""
        size = config.train.batch_size
        return cls(size, config.train.micro_batch_size or size, config.seed, one_more, padded)

    def sizes(self, lengths: np.ndarray) -> list[int]:
        """Tokens with padding of what a step computes at once; lengths: of its rows, ascending."""
        cut = (lengths[part] for part in parts(lengths, self.at_once, self.one_more))
        return [int(own[-1]) * len(own) if self.padded else int(own.sum()) for own in cut]

    def cost(self, step: Sequence[int]) -> int:
        """What a step's passes take together, in tokens with padding."""
        return sum(step) + (self.one_more or 0) * (len(step) - 1)


def _sizes(lengths: np.ndarray, how: _Steps, steps: int) -> list[list[int]]:
    """Tokens with padding of what each of the first steps computes at once: the loop's own batches."""
    batches = (
        lengths[batch]
        for epoch in itertools.count()
        for batch in epoch_batches(lengths, how.batch_size, how.seed, epoch)
    )
    return [how.sizes(own) for own in itertools.islice(batches, steps)]


def _distinct(sizes: Sequence[Sequence[int]]) -> int:
    return len(set(itertools.chain.from_iterable(sizes)))


def _fit(sizes: Sequence[int], seconds: np.ndarray) -> tuple[float, float]:
    """Seconds a step and seconds a token, by least squares; no negative part.

    >>> [round(part, 6) for part in _fit([100, 300, 200], np.array([2.0, 4.0, 3.0]))]
    [1.0, 0.01]
    >>> [round(part, 6) for part in _fit([100, 100], np.array([2.0, 2.0]))]
    [0.0, 0.02]
    """
    x = np.asarray(sizes, dtype=np.float64)
    spread = ((x - x.mean()) ** 2).sum()
    proportional = float(seconds.mean() / x.mean())
    slope = float(((x - x.mean()) * (seconds - seconds.mean())).sum() / spread) if spread else proportional
    slope = min(max(slope, 0.0), proportional)
    return float(seconds.mean() - slope * x.mean()), slope


def _evaluation(
    model: Any, examples: Examples, precision: Precision, task: Task, prepared: Prepared, items: np.ndarray
) -> float:
    """Seconds a token (with padding) of an evaluation of these items, of which `examples` are the rows."""
    if not task.written:
        return _forward(model, examples, precision, task)
    tokens = evaluation_tokens(prepared, items, precision.device)
    return _writing(model, precision, task, prepared, items) * len(items) / tokens


def _writing(model: Any, precision: Precision, task: Task, prepared: Prepared, items: np.ndarray) -> float:
    """Seconds an answer that is written. An untrained model may not know where to end: this is the most."""
    lengths = np.array([len(ids) for ids in task.prompts_of(prepared.encoded, items)])
    order = items[np.argsort(lengths, kind="stable")]
    first = max(0, (len(order) - _WRITTEN) // 2)
    chosen, alone = order[first : first + _WRITTEN], replace(prepared, features=None)
    task.respond(model, Asker(task, alone, chosen[:1], precision).inquiry())  # warms up
    asked = Asker(task, alone, chosen, precision).inquiry()
    began = time.monotonic()
    task.respond(model, asked)
    return (time.monotonic() - began) / len(asked.prompts)


def _forward(model: Any, examples: Examples, precision: Precision, task: Task) -> float:
    """Seconds a token (with padding) of an evaluation."""
    lengths = examples.lengths
    batches = sorted_batches(lengths, tokens_at_once(precision.device))
    chosen = [batches[i] for i in np.linspace(0, len(batches) - 1, min(_EVALUATED, len(batches))).astype(int)]
    seconds, tokens = 0.0, 0
    for repeat, which in enumerate([chosen[0], *chosen]):
        part = replace(examples, rows=examples.rows[which])
        began = time.monotonic()
        predict_logits(model, part, precision, keep=task.keep_of(model))
        if repeat:  # the first warms up
            seconds += time.monotonic() - began
            tokens += int(lengths[which].max()) * len(which)
    return seconds / max(tokens, 1)


def predict_seconds(probe: Probe, config: RunConfig, prepared: Prepared, kind: Kind, device: str) -> float:
    """Seconds of one run: opening, training, evaluations, judging and saving."""
    split = prepared.split(config.fold, config.share)
    steps, tokens, _ = _training_size(prepared, config, probe)
    evaluations = _evaluations(prepared, config)
    seconds = probe.load_seconds + probe.step_seconds * steps + probe.token_seconds * tokens
    seconds += evaluations * probe.evaluate_seconds * evaluation_tokens(prepared, split.valid, device)
    if kind != "trial":
        rows = split.test if len(split.test) else split.valid
        seconds += probe.judge_seconds * evaluation_tokens(prepared, rows, device)
    if kind in ("judged", "refit"):
        seconds += probe.save_seconds
    return seconds


def predict_memory(
    probe: Probe, config: RunConfig, prepared: Prepared, seconds: float, kind: Kind = "judged"
) -> float:
    """Largest resident memory of one run until it is judged, bytes: more sizes of batches take more, and so
    do checkpoints; judging comes after them."""
    _, _, shapes = _training_size(prepared, config, probe)
    memory = probe.memory_bytes + probe.growth_bytes * max(0.0, math.log2(shapes / probe.shapes))
    long = seconds - probe.load_seconds > config.train.checkpoint_seconds
    training = memory + (probe.checkpoint_bytes if long else 0.0)
    return max(training, probe.judge_bytes if kind != "trial" else 0.0)


def _evaluations(prepared: Prepared, config: RunConfig) -> float:
    """How often a run validates."""
    rows = len(prepared.lengths(prepared.split(config.fold, config.share).train))
    steps, per_epoch = total_steps(rows, config.train), math.ceil(rows / config.train.batch_size)
    return max(1.0, steps / per_epoch * config.train.evaluations_per_epoch)


def _training_size(prepared: Prepared, config: RunConfig, probe: Probe) -> tuple[int, int, int]:
    """Optimizer steps, what they take in tokens with padding, and how many sizes of batches they have."""
    lengths = prepared.lengths(prepared.training(config.fold, config.share))
    total = total_steps(len(prepared.lengths(prepared.split(config.fold, config.share).train)), config.train)
    how = _Steps.of(config, int(probe.one_more) or None, bool(probe.padded))
    return total, *_tokens(lengths.tobytes(), how, total)


@lru_cache(maxsize=256)
def _tokens(lengths_as_bytes: bytes, how: _Steps, total: int) -> tuple[int, int]:
    sizes = _sizes(np.frombuffer(lengths_as_bytes, dtype=np.int64), how, total)
    return sum(map(how.cost, sizes)), _distinct(sizes)


def evaluation_tokens(prepared: Prepared, rows: np.ndarray, device: str) -> int:
    """Tokens with padding of an evaluation of these items."""
    lengths = prepared.lengths(rows)
    return sum(int(lengths[b].max()) * len(b) for b in sorted_batches(lengths, tokens_at_once(device)))
