"""Learning from what the model itself writes (PPO, GRPO, RLOO): a study's rows as what the loop takes."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tunelab.config import RunConfig
from tunelab.methods.base import Tuned
from tunelab.models import load_tokenizer
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
from tunelab.study.rewarding import reward_of
from tunelab.tasks._policy import asked_of, drawing_of, row_of
from tunelab.tasks.base import Task
from tunelab.train.precision import Precision

__all__ = ["ROUNDS", "Improving", "improving"]

#: Where a run keeps what was drawn.
ROUNDS = "rounds"
_SECONDS = ("rollout_seconds", "reward_seconds")


@dataclass(frozen=True)
class Improving:
    """What the loop trains on, and by which objective; rows: prompts that count as one pass."""

    buffer: Buffer
    objective: Callable[[Tensor, Any], tuple[Tensor, Tensor]]
    rows: int

    def steps(self, batch_size: int) -> int:
        """Optimizer steps of a round."""
        return self.buffer.settings.passes * math.ceil(len(self.buffer) / batch_size)

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
    still(tuned.model)
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
    return Improving(buffer, online_objective(tuned.model, online, drawing, sums), len(items))


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
