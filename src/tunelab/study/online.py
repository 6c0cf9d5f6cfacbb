"""Learning from what the model itself writes (PPO, GRPO, RLOO): a study's rows as what the loop takes."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelab.config import RunConfig
from tunelab.errors import ConfigError
from tunelab.methods.base import Tuned
from tunelab.models import load_tokenizer
from tunelab.rlhf.labels import Labels, labels_objective
from tunelab.rlhf.online import (
    Buffer,
    OnlineSettings,
    Prompts,
    frozen_reference,
    online_objective,
    still,
)
from tunelab.rlhf.rollout import Rollout
from tunelab.study.asking import Asker
from tunelab.study.prepare import Prepared
from tunelab.study.rewarding import label_reward, reward_of, stamp
from tunelab.study.untouched import key_of, shared, untouched_model
from tunelab.tasks._policy import asked_of, drawing_of, row_of
from tunelab.tasks.base import Task
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision

__all__ = ["ROUNDS", "Improving", "improving"]

#: Where a run keeps what was drawn.
ROUNDS = "rounds"
_SECONDS = ("rollout_seconds", "reward_seconds")


@dataclass(frozen=True)
class Improving:
    """What the loop trains on, and by which objective; rows: prompts that count as one pass."""

    buffer: Buffer | Labels
    objective: Callable[[Tensor, Any], tuple[Tensor, Tensor]]
    rows: int
    passes: int

    def steps(self, batch_size: int) -> int:
        """Optimizer steps of a round."""
        return self.passes * math.ceil(len(self.buffer) / batch_size)

    def forget(self) -> None:
        """The next epoch draws anew."""
        shutil.rmtree(self.buffer.folder, ignore_errors=True)
        self.buffer.forget()

    def step_seconds(self, times: Sequence[float], period: int) -> float:
        """Of an optimizer step, from when each of the first ones ended, the first round's drawing before
        them: with its share of the drawing."""
        steps = np.diff(times)
        whole = len(steps) // period * period
        if whole:
            return float(np.mean(steps[-whole:]))
        rounds = [json.loads(p.read_text(encoding="utf-8")) for p in self.buffer.folder.glob("*.json")]
        drawing = float(sum(own[name] for own in rounds[:1] for name in _SECONDS))
        return float(np.mean(steps)) + drawing / period

    def told(self) -> dict[str, Any]:
        """For the record: what the buffer told of all rounds, those before a stop too, and the seconds of
        drawing answers and of scoring them."""
        rounds = [
            json.loads(p.read_text(encoding="utf-8")) for p in sorted(self.buffer.folder.glob("*.json"))
        ]
        return {"rounds": rounds, **{name: sum(own[name] for own in rounds) for name in _SECONDS}}


def improving(
    config: RunConfig, prepared: Prepared, task: Task, tuned: Tuned, folder: Path, precision: Precision
) -> Improving:
    """Raises `ConfigError` where the reward is not to be had. Switches the model's dropout off."""
    if config.train.r_drop:
        raise ConfigError(
            "train.r_drop needs dropout, which is off where a model learns from what it draws itself"
        )
    still(tuned.model)
    make = _writing if task.written else _labelling
    return make(config, prepared, task, tuned, folder, precision)


def _labelling(
    config: RunConfig, prepared: Prepared, task: Task, tuned: Tuned, folder: Path, precision: Precision
) -> Improving:
    settings: Any = getattr(task, "settings", None)
    items = prepared.split(config.fold, config.share).train
    examples = prepared.examples(items, task)
    plain = untouched_model(task, prepared, precision.device)
    labels = Labels(
        rows=examples,
        ask=lambda: predict_logits(tuned.model, examples, precision),
        worth_NC=_worth(settings.reward, task, prepared, items, precision.device),
        reference_NC=torch.from_numpy(predict_logits(plain, examples, precision)).log_softmax(-1).numpy(),
        folder=folder / ROUNDS,
        seed=config.seed,
        passes=settings.passes,
    )
    return Improving(labels, labels_objective(settings.clip, settings.kl), len(items), settings.passes)


def _worth(place: str, task: Task, prepared: Prepared, items: np.ndarray, device: str) -> np.ndarray:
    """What the reward model says of every label of every row, [N, C]; once for all runs of a study."""

    def compute() -> tuple[np.ndarray, float]:
        began = time.monotonic()
        specialist = label_reward(place, device)
        texts = prepared.table.frame["text"].iloc[items].tolist()
        pairs = [(text, label) for text in texts for label in task.classes]
        found = np.array(specialist.predict(pairs), dtype=np.float64)
        return found.reshape(len(texts), len(task.classes)), time.monotonic() - began

    rows = hashlib.sha256(np.ascontiguousarray(items, dtype=np.int64).data).hexdigest()
    key = key_of(place, stamp(place), prepared.digest, rows, *task.classes, torch.get_num_threads())
    return shared(prepared.features, f"worth-{key}", compute)[0]


def _writing(
    config: RunConfig, prepared: Prepared, task: Task, tuned: Tuned, folder: Path, precision: Precision
) -> Improving:
    settings: Any = getattr(task, "settings", None)
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
    task.dress(tokenizer, prepared.settings)
    items = prepared.split(config.fold, config.share).train
    rows = prepared.table.frame.iloc[items].to_dict("records")
    prompts = Prompts(
        [ids.tolist() for ids in task.prompts_of(prepared.encoded, items)],
        [asked_of(str(row["text"])) for row in rows],
        [row_of({str(k): v for k, v in row.items()}) for row in rows],
    )
    drawing = drawing_of(settings, tokenizer, settings.answers)
    online = _online(settings)
    asker = Asker(task, prepared, items, precision)
    sums: dict[str, float] = {}
    buffer = Buffer(
        model=tuned.model,
        prompts=prompts,
        settings=online,
        drawing=drawing,
        reward=reward_of(settings.reward, precision.device, task.continues),
        reference=_reference(asker, tuned.model, settings.temperature),
        context=precision,
        decode=lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
        folder=folder / ROUNDS,
        seed=config.seed,
        name=settings.reward,
        sums=sums,
    )
    objective = online_objective(tuned.model, online, drawing, sums)
    return Improving(buffer, objective, len(items), online.passes)


def _reference(asker: Asker, model: Any, temperature: float) -> Callable[[Rollout], Any]:
    """The untouched model's log-probabilities: of the same model with its adapter off, where that is all it
    has been given."""

    def reference(drawn: Rollout) -> Any:
        with asker.untouched(model) as plain, asker.precision(plain):
            return frozen_reference(plain, temperature)(drawn)

    return reference


def _online(settings: Any) -> OnlineSettings:
    return OnlineSettings(
        method=settings.method,
        prompts=settings.prompts,
        passes=settings.passes,
        clip=settings.clip,
        value_clip=settings.clip,
        entropy_coefficient=settings.entropy,
        kl_coefficient=settings.kl,
        kl_target=settings.kl_target,
        kl_stop=settings.kl_stop,
        lam=settings.gae_lambda,
        whiten_rewards=settings.whiten_rewards,
        unended_penalty=settings.unended_penalty,
    )
