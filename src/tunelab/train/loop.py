"""The training loop, the only one: every method and every task goes through it.

    batch → forward → objective → backward → clip → optimizer → schedule → method.on_progress → record

and evaluate, save and stop when due. It names no method, no task and no lever.

The batch of a step is a pure function of (seed, step), the learning rate of (step); parameters,
optimizer moments, random states and the method's progress are in the checkpoint. So a run that was
killed and continued ends as one that was not: on a CPU with the same bits, on a GPU up to rounding (some of
its kernels add in an order of their own each time; deterministic ones are not forced).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from tunelab.config import TrainConfig
from tunelab.data.batch import Batches, epoch_batches, parts
from tunelab.errors import NotFiniteError, Stopped, TrainingError
from tunelab.methods.base import Tuned
from tunelab.train import checkpoint
from tunelab.train.journal import Journal, Listener
from tunelab.train.optimizer import adamw, divide_and_clip, set_rate
from tunelab.train.precision import Precision
from tunelab.train.schedule import rate, total_steps

__all__ = ["Trained", "train"]

Objective = Callable[[Tensor, Any], tuple[Tensor, Tensor]]
#: Scores on the validation rows now, and the name of the one that decides (higher is better).
Judge = Callable[[], tuple[dict[str, float], str]]


@dataclass
class Trained:
    """What came out of a training; the model itself is left in its best state.

    best_step: the optimizer step after which validation was best; best: its scores.
    seconds: of training alone; evaluation_seconds: of the validations.
    """

    steps: int = 0
    total_steps: int = 0
    best_step: int = -1
    best: dict[str, float] = field(default_factory=dict)
    deciding: str = ""
    stale: int = 0  # evaluations since the best one
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    micro_batch_size: int = 0
    tokens: int = 0  # seen in training, without padding
    padded_tokens: int = 0  # with padding
    resumed_at: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def train(
    tuned: Tuned,
    objective: Objective,
    examples: Batches,
    judge: Judge,
    config: TrainConfig,
    *,
    learning_rate: float,
    seed: int,
    folder: Path,
    precision: Precision,
    pace: int | None = None,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains `tuned` and leaves it in the state that was best on validation.

    pace: rows that count as one pass where steps and validations are reckoned; None: all of them.

    Goes on from the newest checkpoint in `folder`, if there is one. `stop` is asked after each step.

    Raises:
        NotFiniteError: the loss or its gradient became NaN or infinite.
        TrainingError: memory is out even with one row at a time.
        Stopped: `stop` said so; a checkpoint is on disk.
    """
    counted = pace or len(examples)
    total = total_steps(counted, config)
    due = _evaluation_steps(total, math.ceil(counted / config.batch_size), config.evaluations_per_epoch)
    accelerator = Accelerator(
        cpu=precision.device == "cpu", log_with=["tensorboard", *config.trackers], project_dir=folder
    )
    accelerator.init_trackers("tensorboard")
    model = accelerator.prepare_model(tuned.model, device_placement=False)  # it already lies where it should
    optimizer = adamw(tuned.param_groups(learning_rate, config.weight_decay))
    journal = Journal(folder, accelerator, listener)
    state = Trained(total_steps=total, micro_batch_size=config.micro_batch_size or config.batch_size)
    best = _resume(folder, tuned, optimizer, state, journal)
    batches = _Order(examples, config.batch_size, seed, journal)
    next_save = time.monotonic() + config.checkpoint_seconds

    while state.steps < total and not _stale(state, config):
        began = time.monotonic()
        rows = batches.at(state.steps)
        share = rate(state.steps, total, config)
        set_rate(optimizer, share)
        tuned.model.train()
        for module in tuned.frozen_modules():
            module.eval()
        loss, count = _accumulate(model, accelerator, objective, batches, rows, precision, state, journal)
        extra = tuned.extra_loss()
        if extra is not None:
            accelerator.backward(extra * count)
            loss += float(extra.detach())
        norm = divide_and_clip(optimizer, count, config.max_grad_norm) if count else 0.0
        if not (math.isfinite(loss) and math.isfinite(norm)):
            journal.close()  # the lines before this step are what one looks at now
            raise NotFiniteError(
                _not_finite(loss, norm, state.steps, total, learning_rate * share, precision)
            )
        if count:  # (of rows with nothing to learn in them nothing is learnt, not even by old momentum)
            optimizer.step()
        state.steps += 1
        tuned.on_progress(state.steps, total)
        optimizer.zero_grad(set_to_none=True)
        state.seconds += time.monotonic() - began
        journal.step(state.steps, total, loss, share, norm)

        if state.steps in due and _evaluate(judge, state, journal):
            best = _remembered(best, tuned.judged_state(), last=state.steps == total)
        stopping = stop()
        if stopping or (state.steps < total and time.monotonic() >= next_save):
            began = time.monotonic()
            journal.flush()
            checkpoint.save(folder / "checkpoints", _snapshot(tuned, optimizer, state, best))
            next_save = _next_save(began, config.checkpoint_seconds)
        if stopping:
            journal.close()
            raise Stopped(f"stopped after step {state.steps} of {total}; the same command goes on from there")

    if state.best_step >= 0:
        tuned.load_state(best)
    if state.steps < total:
        journal.note(state.steps, f"stopped early: no better {state.deciding} in {state.stale} evaluations")
    journal.close()
    state.notes = journal.notes
    return state


class _Order:
    """Which rows a step takes, and which of them at once. Steps are asked for in their order, from anywhere
    on."""

    def __init__(self, examples: Batches, batch_size: int, seed: int, journal: Journal) -> None:
        self.examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._journal = journal
        self._per_epoch = math.ceil(len(examples) / batch_size)
        self._epoch = -1
        self._lengths = np.zeros(0, dtype=np.int64)
        self._batches: list[np.ndarray] = []

    def at(self, step: int) -> np.ndarray:
        """The rows of the step after `step` others; begins its epoch, if that is another one."""
        epoch, place = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            told = self.examples.begin(epoch)
            self._journal.told(step, {} if place else told)
            self._lengths = self.examples.lengths
            self._batches = epoch_batches(self._lengths, self._batch_size, self._seed, epoch)
        return self._batches[place]

    def parts(self, rows: np.ndarray, at_most: int) -> list[np.ndarray]:
        """A step's rows in micro-batches of so many at most."""
        return [rows[part] for part in self._cut(rows, at_most)]

    def smaller(self, rows: np.ndarray, at_most: int) -> int:
        """Half of that, as often as it takes until micro-batches become smaller; 1 at least."""
        before, found = self._cut(rows, at_most), max(1, min(at_most, len(rows)) // 2)
        while found > 1 and self._cut(rows, found) == before:
            found //= 2
        return found

    def _cut(self, rows: np.ndarray, at_most: int) -> list[slice]:
        return parts(self._lengths[rows], at_most, self.examples.one_more)


def _evaluate(judge: Judge, state: Trained, journal: Journal) -> bool:
    """Validates, and says whether this is the best state so far."""
    began = time.monotonic()
    scores, deciding = judge()
    state.evaluation_seconds += time.monotonic() - began
    journal.evaluation(state.steps, state.total_steps, scores)
    if not _better(scores, state.best, deciding):
        state.stale += 1
        return False
    state.best, state.best_step, state.deciding, state.stale = scores, state.steps, deciding, 0
    return True


def _evaluation_steps(total: int, per_epoch: int, times: int) -> set[int]:
    """Steps after which validation is due: evenly within an epoch, and the last one."""
    every = max(1.0, per_epoch / times)
    count = math.floor(total / every)
    return {round(every * i) for i in range(1, count + 1)} | {total}


def _next_save(began: float, every: float) -> float:
    """When the next checkpoint is due, if the last was begun at `began` and is written now: after `every`
    seconds, or later where writing it takes more than a twentieth of that (0: after every step)."""
    now = time.monotonic()
    return now + max(every, 20 * (now - began)) if every else now


def _stale(state: Trained, config: TrainConfig) -> bool:
    return config.patience > 0 and state.stale >= config.patience


def _better(scores: Mapping[str, float], best: Mapping[str, float], deciding: str) -> bool:
    """Higher deciding score; between equal ones the lower loss (small validation sets tie often)."""
    if not best:
        return True
    if scores[deciding] != best[deciding]:
        return scores[deciding] > best[deciding]
    return scores.get("loss", 0.0) < best.get("loss", 0.0)


def _accumulate(
    model: Any,
    accelerator: Accelerator,
    objective: Objective,
    batches: "_Order",
    rows: np.ndarray,
    precision: Precision,
    state: Trained,
    journal: Journal,
) -> tuple[float, float]:
    """Gradients of the summed loss over `rows`, in micro-batches; returns the mean loss and the count.

    Sums are accumulated and divided once by the whole step's count, so any split gives the same
    gradient. When memory runs out the micro-batch is halved (until that cuts otherwise) and the step begins
    again.
    """
    while True:
        random = checkpoint.random_state(precision.device)
        try:
            return _micro_batches(model, accelerator, objective, batches, rows, precision, state)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if state.micro_batch_size == 1:
                raise TrainingError(
                    "memory is out even with one row at a time: give a smaller model.max_length or a smaller "
                    "model, or use a method that trains fewer parameters (head, lora)"
                ) from error
        for parameter in model.parameters():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        checkpoint.set_random_state(*random, precision.device)
        before = state.micro_batch_size
        state.micro_batch_size = batches.smaller(rows, before)
        journal.note(
            state.steps,
            f"out of memory at step {state.steps + 1}: the micro-batch is {state.micro_batch_size} rows from "
            f"here (was {before}); the batch of an optimizer step stays {len(rows)} rows",
        )


def _micro_batches(
    model: Any,
    accelerator: Accelerator,
    objective: Objective,
    batches: "_Order",
    rows: np.ndarray,
    precision: Precision,
    state: Trained,
) -> tuple[float, float]:
    total, count = 0.0, 0.0
    seen = padded = 0
    for part in batches.parts(rows, state.micro_batch_size):
        inputs, targets = batches.examples.batch(part, precision.device)
        with precision(model):
            logits = model(**inputs).logits
            loss, weight = objective(logits, targets)
            accelerator.backward(loss)
        total += float(loss.detach())
        count += float(weight)
        seen += int(inputs["attention_mask"].sum())
        padded += inputs["attention_mask"].numel()
    state.tokens += seen
    state.padded_tokens += padded
    return (total / count if count else 0.0), count


#: What torch's allocators and the libraries below it say: the CPU's ("DefaultCPUAllocator: can't allocate
#: memory", "not enough memory"), the driver's ("CUDA error: out of memory", "HIP out of memory") and those
#: that keep memory of their own beside torch's (cuBLAS, cuDNN, cuSPARSE, hipBLAS).
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "_status_alloc_failed")


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return any(words in text for words in _NO_MEMORY)


def _not_finite(
    loss: float, norm: float, step: int, total: int, learning_rate: float, precision: Precision
) -> str:
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
    return (
        f"{what} at step {step + 1} of {total} (learning rate {learning_rate:.3g}, {precision.name}). "
        "Likely causes, in this order: the learning rate is too high (try a tenth: train.learning_rate); no "
        "warm-up (train.warmup_ratio=0.1); clipping is off (train.max_grad_norm=1); bfloat16 overflows "
        "in this model (train.precision=float32)"
    )


def _remembered(best: Mapping[str, Tensor], state: Mapping[str, Tensor], last: bool) -> Mapping[str, Tensor]:
    """The state as the best one, in the memory of the one before; of the last step itself: nothing changes it
    any more."""
    if last:
        return state
    for name, tensor in state.items():
        if name in best:
            best[name].copy_(tensor.detach())
    return {n: best[n] if n in best else tensor.detach().clone() for n, tensor in state.items()}


def _snapshot(
    tuned: Tuned, optimizer: torch.optim.Optimizer, state: Trained, best: Mapping[str, Tensor]
) -> checkpoint.Snapshot:
    tensors = {f"state.{name}": tensor for name, tensor in tuned.state().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    progress = tuned.progress_state()
    tensors |= {f"progress.{k}": v for k, v in progress.items() if isinstance(v, Tensor)}
    random, values = checkpoint.random_state(_device(tuned))
    kept = {k: v for k, v in vars(state).items() if k not in {"notes"}}
    plain = {k: v for k, v in progress.items() if not isinstance(v, Tensor)}
    return checkpoint.Snapshot(
        state.steps, _unshared(tensors | random), {"state": kept, "random": values, "progress": plain}
    )


def _device(tuned: Tuned) -> torch.device:
    return next(tuned.model.parameters()).device


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where two share their memory (safetensors refuses those) and only there: a copy of
    everything would double what a checkpoint needs."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        found[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return found


def _resume(
    folder: Path, tuned: Tuned, optimizer: torch.optim.Optimizer, state: Trained, journal: Journal
) -> Mapping[str, Tensor]:
    """Puts back what the newest checkpoint has, if there is one; returns the best state so far."""
    best: Mapping[str, Tensor] = {}
    tuned.on_progress(0, state.total_steps)
    snapshot, notes = checkpoint.latest(folder / "checkpoints")
    if snapshot is not None:
        best = _restore(snapshot, tuned, optimizer, state)
        tuned.on_progress(state.steps, state.total_steps)
        _load_progress(snapshot, tuned)
        checkpoint.set_random_state(snapshot.tensors, snapshot.values["random"], _device(tuned))
        state.resumed_at.append(state.steps)
    journal.resume(state.steps)
    for note in notes:
        journal.note(state.steps, note)
    return best


def _restore(
    snapshot: checkpoint.Snapshot, tuned: Tuned, optimizer: torch.optim.Optimizer, state: Trained
) -> dict[str, Tensor]:
    """Puts parameters, moments and counters back; returns the best state so far."""

    def under(start: str) -> dict[str, Tensor]:
        return {k.removeprefix(start): v for k, v in snapshot.tensors.items() if k.startswith(start)}

    tuned.load_state(under("state."))
    moments: dict[int, dict[str, Tensor]] = {}
    for path, value in under("optimizer.").items():
        index, name = path.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for name, value in snapshot.values["state"].items():
        setattr(state, name, value)
    return under("best.")


def _load_progress(snapshot: checkpoint.Snapshot, tuned: Tuned) -> None:
    start = "progress."
    tensors = {k.removeprefix(start): v for k, v in snapshot.tensors.items() if k.startswith(start)}
    tuned.load_progress_state({**snapshot.values["progress"], **tensors})
