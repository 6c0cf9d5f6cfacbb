"""Learning from answers that the policy itself gives (PPO, GRPO, RLOO), as a data set for the ordinary loop.

    draw answers → score them → advantages → the loop's passes over them → draw again ...

PPO: Schulman et al. 2017, arXiv:1707.06347, with generalised advantages (arXiv:1506.02438) and the reward of
Ziegler et al. 2019, arXiv:1909.08593 (the score on the last action, less a KL on each). GRPO: Shao et al.
2024, arXiv:2402.03300, no value model, the KL in the loss. RLOO: Ahmadian et al. 2024, arXiv:2402.14740, the
KL in the score.

`Buffer` is what the loop trains on: its rows are answers, and with each new round (`passes` epochs of the
loop) they are others. What a round drew is kept in a file, because a run that goes on from a checkpoint in
the middle of a round needs the answers of the policy that the round began with. The answers of a round are a
function of the policy, the seed and the round's number alone.
"""

# N answers of a round, B rows of a batch, T answer tokens, L prompt and answer together, V vocabulary

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from tunelab.errors import ConfigError, TrainingError
from tunelab.files import write_atomically, write_json
from tunelab.objectives.policy import (
    entropy,
    gae,
    group_advantages,
    grpo_loss,
    kl_estimate,
    ppo_policy_loss,
    rloo_advantages,
    token_rewards,
    value_loss,
    whiten,
)
from tunelab.objectives.preference import IGNORE, selected_logps
from tunelab.rlhf.rewards import Reward, Row, score
from tunelab.rlhf.rollout import Rollout, RolloutSettings, evaluating, join, rollout, token_logps

__all__ = [
    "VALUE",
    "Buffer",
    "OnlineSettings",
    "Prompts",
    "ValueHead",
    "frozen_reference",
    "online_objective",
    "still",
    "value_of",
]

#: Log-probabilities of a round's answers by the untouched model, [N, T].
Reference = Callable[[Rollout], Tensor]


@dataclass(frozen=True)
class OnlineSettings:
    """How the policy is improved.

    Raises:
        ConfigError: lists every setting that is out of range.
    """

    method: Literal["ppo", "grpo", "rloo"] = "ppo"
    prompts: int = 16  #: of each round
    passes: int = 2  #: of the loop over each round's answers
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.05
    kl_target: float = (
        0.0  #: nats an answer; above 0 the coefficient follows it (Ziegler et al., section 2.2)
    )
    kl_stop: float = 0.0  #: nats an action from the policy that drew; rows beyond are passed over; 0: never
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    unended_penalty: float = 0.0  #: taken off the score of an answer without an end

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, allowed is {allowed}"
            for name, holds, allowed in (
                ("prompts", self.prompts >= 1, "1 or more"),
                ("passes", self.passes >= 1, "1 or more"),
                ("clip", 0 < self.clip < 1, "between 0 and 1"),
                ("kl_coefficient", self.kl_coefficient >= 0, "0 or more"),
                ("gamma", 0 < self.gamma <= 1, "more than 0, at most 1"),
                ("lam", 0 <= self.lam <= 1, "0 to 1"),
            )
            if not holds
        ]
        if wrong:
            raise ConfigError(f"the policy cannot be improved so: {'; '.join(wrong)}")


@dataclass(frozen=True)
class Prompts:
    """What is answered: token ids and texts of each prompt, and the row of the data it came from."""

    ids: Sequence[Sequence[int]]
    texts: Sequence[str]
    rows: Sequence[Row]

    def some(self, which: Sequence[int]) -> "Prompts":
        """These prompts, in this order."""
        return Prompts(
            [self.ids[i] for i in which], [self.texts[i] for i in which], [self.rows[i] for i in which]
        )


#: The name under which a policy has its value head.
VALUE = "value"


class ValueHead(nn.Module):
    """The value of the state before each action: linear in the trunk's last hidden state, 0 at first."""

    #: `train/precision.py` leaves it in float32.
    float32 = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, width))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """[B, L] float32."""
        return nn.functional.linear(hidden_BLD.float(), self.weight, self.bias).squeeze(-1)


def value_of(model: nn.Module) -> ValueHead:
    """The value head that trains, wherever a method has wrapped the model."""
    heads = [module for module in model.modules() if isinstance(module, ValueHead)]
    moving = [head for head in heads if head.weight.requires_grad]
    return (moving or heads)[-1]


class _Hidden:
    """Notes the last hidden states that the output layer of a language model reads."""

    def __init__(self, model: Any) -> None:
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.states_BLD: Tensor | None = None
        self.handle = plain.get_output_embeddings().register_forward_pre_hook(self._note)

    def _note(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.states_BLD = inputs[0]


def still(model: nn.Module) -> None:
    """Dropout off for good: under training an action must have the probability it was drawn with."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout_prob", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@dataclass
class Buffer:
    """Answers to learn from: in the loop's eyes rows with lengths, of which `batch` gives inputs and targets.

    model: the policy, with its method attached and `still`. decode: token ids of an answer to its text.
    folder: where each round's answers are kept until the run ends. context: in which the model draws, for the
    precision that it is trained in. sums: to which `online_objective` adds; told and emptied with each round.
    """

    model: nn.Module
    prompts: Prompts
    settings: OnlineSettings
    drawing: RolloutSettings
    reward: Reward
    reference: Reference
    decode: Callable[[Sequence[int]], str]
    folder: Path
    seed: int
    name: str = "reward"
    sums: dict[str, float] = field(default_factory=dict)
    context: Callable[[nn.Module], AbstractContextManager[None]] = lambda model: nullcontext()
    one_more: ClassVar[int | None] = None  # (`kl_stop` looks at what is computed at once)
    _round: int = -1
    _seen: bool = False
    _held: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return min(self.settings.prompts, len(self.prompts.ids)) * self.drawing.answers

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt with its answer."""
        held = self._held
        if not held:  # before the first round
            return np.ones(len(self), dtype=np.int64)
        lengths: np.ndarray = (held["prompt_mask"].sum(1) + held["mask"].sum(1)).cpu().numpy()
        return lengths

    def begin(self, epoch: int) -> dict[str, float]:
        """Draws a new round where one is due, or takes up the one that this epoch belongs to; what is to be
        told of a round (nothing on its further passes)."""
        told: dict[str, float]
        wanted, first = divmod(epoch, self.settings.passes)
        if wanted == self._round:
            return {}
        path = self._path(wanted)
        drawn = not path.is_file()
        if not drawn:
            self._held = load(path.read_bytes())
            told = {} if first else _read(path.with_suffix(".json"))
        elif first:
            raise TrainingError(
                f"{path} is missing: the run cannot go on in the middle of a round; begin anew"
            )
        else:
            last = self._last()
            self._held, told = self._drawn(wanted)
            told |= last
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path.with_suffix(".json"), told)  # (the other file says that the round is whole)
            write_atomically(path, save({k: v.contiguous().cpu() for k, v in self._held.items()}))
        self._round, self._seen = wanted, drawn
        return told

    def forget(self) -> None:
        """Nothing has been drawn."""
        self._round, self._held = -1, {}
        self.sums.clear()

    def _last(self) -> dict[str, float]:
        """What the objective has added up in the last round, a mean each; nothing where this process has not
        seen all of it."""
        if not self._seen:
            self.sums.clear()
            return {}
        known, actions = dict(self.sums), max(self.sums.get("actions", 0.0), 1.0)
        self.sums.clear()
        names = {"clipped": "last_clipped", "kl_old": "last_kl_old", "value_error": "last_value_error"}
        return {told: known[name] / actions for name, told in names.items() if name in known}

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prompts and answers, right-padded, and what the objective needs of the answers' tokens, [B, T]."""
        held = {name: value[torch.from_numpy(which)].to(device) for name, value in self._held.items()}
        longest = int(held["mask"].sum(1).max())
        held = {k: v[:, :longest] if k in _TOKENS else v for k, v in held.items()}
        joined = join(held["prompt_ids"], held["prompt_mask"], held["ids"], held["mask"])
        inputs = {"input_ids": joined.input_ids_BL, "attention_mask": joined.attention_mask_BL.long()}
        return inputs, {**held, "at": joined.at_BT}

    def coefficient(self, number: int) -> float:
        """Of the KL in a round: as set, or following `kl_target` by the rounds before."""
        value, settings = self.settings.kl_coefficient, self.settings
        if not settings.kl_target:
            return value
        for before in range(number):
            told = _read(self._path(before).with_suffix(".json"))
            error = min(max(told["kl"] / settings.kl_target - 1.0, -0.2), 0.2)
            value *= 1.0 + 0.1 * error
        return value

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.safetensors"

    def _chosen(self, number: int) -> list[int]:
        """The prompts of a round: all in turn, in an order of their own for each time through."""
        size, many = min(self.settings.prompts, len(self.prompts.ids)), len(self.prompts.ids)
        found: list[int] = []
        for place in range(number * size, (number + 1) * size):
            order = np.random.default_rng([self.seed, 1, place // many]).permutation(many)
            found.append(int(order[place % many]))
        return found

    def _drawn(self, number: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        began = time.monotonic()
        prompts = self.prompts.some(self._chosen(number))
        draws = torch.Generator().manual_seed(
            int(np.random.default_rng([self.seed, 2, number]).integers(2**62))
        )
        with self.context(self.model):
            drawn = rollout(self.model, prompts.ids, self.drawing, draws)
        reference_BT = self.reference(drawn)
        rolled_out = time.monotonic()
        scores_B = self._scores(prompts, drawn)
        rewarded = time.monotonic()
        held = {
            "prompt_ids": drawn.prompt_ids_BP,
            "prompt_mask": drawn.prompt_mask_BP,
            "ids": drawn.completion_ids_BT,
            "mask": drawn.mask_BT,
            "old_logps": drawn.logps_BT,
            "reference_logps": reference_BT,
        }
        coefficient = self.coefficient(number)
        kl_BT = kl_estimate(drawn.logps_BT, reference_BT, "k1") * drawn.mask_BT
        held |= self._advantages(drawn, scores_B, kl_BT, coefficient)
        held["coefficient"] = torch.full((len(scores_B),), coefficient)
        return held, {
            "reward": float(scores_B.mean()),
            "kl": float(kl_BT.sum(1).mean()),
            "kl_coefficient": coefficient,
            "entropy": -float(
                drawn.logps_BT.sum() / drawn.mask_BT.sum()
            ),  # (log-probabilities are 0 outside)
            "length": float(drawn.lengths_B.float().mean()),
            "ended": float(drawn.ended_B.float().mean()),
            "rollout_seconds": rolled_out - began,
            "reward_seconds": rewarded - rolled_out,
        }

    def _scores(self, prompts: Prompts, drawn: Rollout) -> Tensor:
        answers = self.drawing.answers
        texts = [
            self.decode(ids[mask].tolist())
            for ids, mask in zip(drawn.completion_ids_BT, drawn.mask_BT, strict=True)
        ]
        asked = [text for text in prompts.texts for _ in range(answers)]
        rows = [row for row in prompts.rows for _ in range(answers)]
        found = score(self.reward, self.name, asked, texts, rows).float().to(drawn.mask_BT.device)
        return found - self.settings.unended_penalty * (~drawn.ended_B).float()

    def _advantages(
        self, drawn: Rollout, scores_B: Tensor, kl_BT: Tensor, coefficient: float
    ) -> dict[str, Tensor]:
        settings, answers = self.settings, self.drawing.answers
        if settings.method == "grpo":
            return {"advantages": group_advantages(scores_B, answers)}
        if settings.method == "rloo":
            return {"advantages": rloo_advantages(scores_B - coefficient * kl_BT.sum(1), answers)}
        rewards_BT = token_rewards(scores_B, kl_BT, drawn.mask_BT, coefficient)
        if settings.whiten_rewards:
            rewards_BT = whiten(rewards_BT, drawn.mask_BT, shift_mean=False)
        values_BT = self._values(drawn)
        # An answer that was cut has had its score: nothing is to come for it either.
        advantages_BT, returns_BT = gae(
            rewards_BT, values_BT, drawn.mask_BT, gamma=settings.gamma, lam=settings.lam
        )
        return {
            "advantages": whiten(advantages_BT, drawn.mask_BT),
            "returns": returns_BT,
            "old_values": values_BT,
        }

    @torch.no_grad()
    def _values(self, drawn: Rollout) -> Tensor:
        """The value head's numbers for a round's states, [N, T], a few rows at a time."""
        noted, found = _Hidden(self.model), []
        try:
            with evaluating(self.model), self.context(self.model):
                for rows in _slices(len(drawn.mask_BT), self.drawing.batch_rows):
                    prompt_ids, prompt_mask, ids, mask = (part[rows] for part in _parts(drawn))
                    joined = join(prompt_ids, prompt_mask, ids, mask)
                    self.model(
                        input_ids=joined.input_ids_BL,
                        attention_mask=joined.attention_mask_BL,
                        use_cache=False,
                    )
                    assert noted.states_BLD is not None
                    found.append(value_of(self.model)(noted.states_BLD).gather(1, joined.at_BT))
        finally:
            noted.handle.remove()
        return torch.where(drawn.mask_BT, torch.cat(found), 0.0)


_TOKENS = ("ids", "mask", "old_logps", "reference_logps", "returns", "old_values")


def _parts(drawn: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return drawn.prompt_ids_BP, drawn.prompt_mask_BP, drawn.completion_ids_BT, drawn.mask_BT


def _slices(rows: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, rows, size)]


def _read(path: Path) -> dict[str, float]:
    told: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return told


def frozen_reference(model: nn.Module, temperature: float = 1.0, batch_rows: int = 64) -> Reference:
    """The log-probabilities that a model which never moves gives, a few rows at a time; temperature: of the
    drawing, as in `rollout`."""

    @torch.no_grad()
    def reference(drawn: Rollout) -> Tensor:
        with evaluating(model):
            found = []
            for rows in _slices(len(drawn.mask_BT), batch_rows):
                prompt_ids, prompt_mask, ids, mask = (part[rows] for part in _parts(drawn))
                found.append(
                    token_logps(model, prompt_ids, prompt_mask, ids, mask, temperature=temperature or 1.0)
                )
        return torch.cat(found)

    return reference


def online_objective(
    model: nn.Module, settings: OnlineSettings, drawing: RolloutSettings, sums: dict[str, float]
) -> Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]:
    """The objective of a batch of `Buffer`: summed loss and count of actions (0 and 0 for rows that are
    passed over because the policy has moved too far from the one that drew them).

    sums: to which diagnostics are added: clipped, kl_old, actions, value_error, entropy.
    """
    hidden = _Hidden(model) if settings.method == "ppo" else None
    temperature = drawing.temperature or 1.0

    def objective(logits_BLV: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        at_BT, mask_BT = batch["at"], batch["mask"]
        labels_BL = torch.full(logits_BLV.shape[:2], IGNORE, device=at_BT.device)
        labels_BL.scatter_(1, at_BT, batch["ids"].masked_fill(~mask_BT, IGNORE))
        logps_BL = selected_logps(logits_BLV, labels_BL, temperature=temperature)
        logps_BT = torch.where(mask_BT, logps_BL.gather(1, at_BT), 0.0)
        total, count, more = _policy(logps_BT, batch, settings)
        if hidden is not None:
            assert hidden.states_BLD is not None
            values_BT = value_of(model)(hidden.states_BLD).gather(1, at_BT)
            error, _, told = value_loss(
                values_BT, batch["old_values"], batch["returns"], mask_BT, clip=settings.value_clip
            )
            total = total + settings.value_coefficient * error
            more["value_error"] = told["error"]
        if settings.entropy_coefficient:
            spread, _ = entropy(logits_BLV, labels_BL != IGNORE, temperature=temperature)
            total = total - settings.entropy_coefficient * spread
            more["entropy"] = spread.detach()
        for name in ("clipped", "kl_old", "actions", "value_error", "entropy"):
            if name in more:
                sums[name] = sums.get(name, 0.0) + float(more[name])
        if settings.kl_stop and float(more["kl_old"]) > settings.kl_stop * float(more["actions"]):
            return 0.0 * total, torch.zeros_like(count)
        return total, count

    return objective


def _policy(
    logps_BT: Tensor, batch: Mapping[str, Tensor], settings: OnlineSettings
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    mask_BT, advantages = batch["mask"], batch["advantages"]
    if settings.method == "grpo":
        return grpo_loss(
            logps_BT,
            batch["old_logps"],
            advantages,
            mask_BT,
            clip=settings.clip,
            reference_logps_BT=batch["reference_logps"],
            kl_coefficient=float(batch["coefficient"][0]),
        )
    if advantages.ndim == 1:
        advantages = advantages[:, None].expand(mask_BT.shape)
    return ppo_policy_loss(
        logps_BT, batch["old_logps"], advantages[:, : mask_BT.shape[1]], mask_BT, clip=settings.clip
    )
