"""Alignment: a language model learns to give the answers that people prefer, from pairs of answers, or the
answers that a reward is high for, from prompts.

`align.method`: sft   cross-entropy of the chosen answers alone: what the others must beat
                dpo   -log sigmoid(beta h)           Rafailov et al. 2023, arXiv:2305.18290, equation 7
                cdpo  the same, believing that a share `label_noise` of the pairs is the wrong way round
                ipo   (h - 1 / (2 beta))^2, h a token Azar et al. 2023, arXiv:2310.12036, equation 17
                kto   every answer by itself         Ethayarajh et al. 2024, arXiv:2402.01306, equations 7, 8
                ppo, grpo, rloo    answers that the model writes itself, by `align.reward` (rlhf/online.py)
    h = (log p - log p_ref)(chosen) - (log p - log p_ref)(rejected)
p_ref is the untouched pretrained model, whatever the method: its log-probabilities are computed once for all
runs of a study (study/untouched.py), not by a second model beside the one that trains. Votes count: a share
s for the chosen side is DPO's label with probability s, scales IPO's target by 2s - 1, and is KTO's weight of
"desirable".

An answer's tokens alone are scored, the end-of-text token among them; prompt, padding and whatever follows
the end never enter a sum. KTO's reference point is a mean over answers to other prompts; which ones is fixed,
the mean is that of a micro-batch, as in TRL.

Deciding score, where `align.reward` is given: the mean reward of an answer that the model writes to each
held-out prompt, by `align.judge` (by the reward itself where none is held out), the same for every method;
each item's draw is fixed, and wins are counted against the untouched model's answer with the same draw.
Else: accuracy of the implicit reward log p - log p_ref on held-out pairs, the same for every method (the
untouched model has 0.5). It measures the ranking of given answers, not the quality of what the model writes
by itself. `chosen_log_ratio` and `rejected_log_ratio` (nats a token) say how far the policy has moved
on these answers; they are no KL divergence, which is a mean over what the policy itself writes.
"""

# N pairs, B pairs of a batch, R rows of it, T tokens, V vocabulary

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import Examples
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.read_prompts import PROMPT_ALONE, read_prompts
from tunelab.data.table import Table
from tunelab.data.templates import dress, prompt_tokens, stop_tokens
from tunelab.errors import ConfigError, DataError
from tunelab.measure.preference import preference_scores
from tunelab.measure.reward import mean_score, wins
from tunelab.measure.statistics import RunScore
from tunelab.objectives.preference import conservative_dpo, ipo, kto, kto_kl, sequence_logps
from tunelab.rlhf.online import VALUE, ValueHead
from tunelab.tasks._pairs import Pairs, readable
from tunelab.tasks._parts import load_part
from tunelab.tasks._policy import COLUMNS, PolicySettings, draw, flags, respond, written_scores
from tunelab.tasks._sequences import Answers, Sequences, check_end
from tunelab.tasks.base import Inquiry, Keep

__all__ = ["Align", "AlignSettings"]

_NOTHING = 1e-3  # nats


ONLINE = ("ppo", "grpo", "rloo")


class AlignSettings(PolicySettings):
    """Settings of align."""

    method: Literal["sft", "dpo", "ipo", "cdpo", "kto", "ppo", "grpo", "rloo"] = Field(
        "dpo",
        description="imitation (sft), a loss of preferences, or learning from a reward (ppo, grpo, rloo)",
    )
    template: Literal["auto", "chatml", "alpaca", "plain", "continue"] = Field(
        "auto",
        description="how prompt and answer are written; auto: the tokenizer's own chat template, else chatml "
        "or alpaca; continue: the answer goes on with the prompt's own text",
    )
    beta: float = Field(
        0.1, gt=0, le=100, description="how dear it is to leave the pretrained model (ipo: its tau)"
    )
    label_noise: float = Field(
        0.1, ge=0, lt=0.5, description="cdpo: share of pairs believed to be the wrong way round"
    )
    desirable_weight: float = Field(1.0, gt=0, description="kto: weight of the chosen answers")
    undesirable_weight: float = Field(1.0, gt=0, description="kto: weight of the rejected answers")
    prompts: int = Field(16, ge=1, description="ppo, grpo, rloo: prompts of each round")
    answers: int = Field(4, ge=1, description="ppo, grpo, rloo: answers that are drawn to each of them")
    passes: int = Field(2, ge=1, description="ppo, grpo, rloo: passes over a round's answers")
    kl: float = Field(
        0.05, ge=0, description="ppo, grpo, rloo: how dear a nat away from the pretrained model is"
    )
    kl_target: float = Field(
        0.0, ge=0, description="ppo, grpo, rloo: nats an answer that `kl` is adapted to; 0: it stays"
    )
    kl_stop: float = Field(
        0.0,
        ge=0,
        description="ppo, grpo, rloo: nats a token from which on a micro-batch is passed over; 0: never",
    )
    clip: float = Field(0.2, gt=0, lt=1, description="ppo, grpo, rloo: how far a ratio may go in a round")
    entropy: float = Field(0.0, ge=0, description="ppo, grpo, rloo: weight of the entropy")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="ppo: of the generalised advantages")
    whiten_rewards: bool = Field(False, description="ppo: rewards of a round to variance 1")
    unended_penalty: float = Field(
        0.0, ge=0, description="ppo, grpo, rloo: taken off the reward of an answer that does not end"
    )

    @model_validator(mode="after")
    def _rewarded(self) -> "AlignSettings":
        if self.method in ONLINE and not self.reward:
            raise ValueError(
                f"method {self.method} learns from a reward: give align.reward=... (a bundle of tunelab, "
                "file.py:function, length:40, ...; see docs/rlhf.md)"
            )
        if self.judge and not self.reward:
            raise ValueError("judge is the held-out reward beside align.reward, which is not given")
        if self.kl_target and not self.kl:
            raise ValueError(
                "kl_target changes kl step by step from where it begins, which is 0: give kl=0.05"
            )
        if self.method in ("grpo", "rloo") and self.answers < 2:
            raise ValueError(
                f"method {self.method} compares answers to one prompt: answers must be 2 or more"
            )
        return self


class Align(Pairs):
    """A policy that prefers the better answer more than the pretrained model does."""

    name = "align"
    layouts = "prompt, chosen, rejected; or prompts alone (with align.reward)"
    summary = "a language model that gives the preferred answers: sft, dpo, ipo, cdpo, kto, ppo, grpo, rloo"
    paper = "Rafailov et al., Direct Preference Optimization, 2023, arXiv:2305.18290"
    model_class = "AutoModelForCausalLM"
    pipeline = ("text-generation", "")
    Settings = AlignSettings
    read_by = ("template", "reward", "judge", "max_new_tokens", "temperature")
    reads = ("text", "chosen", "rejected", "given")
    answers_too = True
    settings: AlignSettings

    @property
    def deciding(self) -> str:
        return "reward" if self.written else "preference_accuracy"

    @property
    def written(self) -> bool:
        return bool(self.settings.reward)

    @property
    def online(self) -> bool:
        return self.settings.method in ONLINE

    @property
    def room(self) -> int:
        return self.settings.max_new_tokens

    @property
    def continues(self) -> bool:
        return self.settings.template == "continue"

    def rewards(self) -> tuple[str, ...]:
        own = self.settings
        return tuple(dict.fromkeys(filter(None, (own.reward, own.judge))))

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        try:
            return super().read(files, chosen)
        except DataError as error:
            if "as the better answers" not in str(error):
                raise
            try:
                return readable(read_prompts(files, chosen))
            except DataError:
                raise error from None

    @classmethod
    def mend(cls, table: Table) -> tuple[Table, list[str]]:
        return (table, []) if _prompts_alone(table.frame["label"]) else super().mend(table)

    @classmethod
    def dress(cls, tokenizer: Any, settings: Section) -> list[str]:
        assert isinstance(settings, AlignSettings)
        check_end(tokenizer)
        told = dress(tokenizer, settings.template, cls.name)
        return [told] if told else []

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return [] if _prompts_alone(patient.table.frame["label"]) else super().check_labels(patient)

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> "Align":
        task = super().fit(labels, train_labels, loss, settings)
        if _prompts_alone(labels) and not task.online:
            raise ConfigError(
                f"the file has prompts alone, and align.method={task.settings.method} learns from pairs of "
                "answers (chosen, rejected): give such a file, or align.method=ppo, grpo or rloo with "
                "align.reward=..."
            )
        return task

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        return super().targets(["" if label == PROMPT_ALONE else label for label in labels], encoded)

    def model_options(self) -> dict[str, Any]:
        return {}

    @classmethod
    def settle(cls, settings: Section, head: str, name: str) -> Section:
        if head != "causal":
            raise ConfigError(
                f"align teaches a language model that writes answers, and {name} is none: take one that does "
                "(Qwen/Qwen3-0.6B, HuggingFaceTB/SmolLM2-135M); a score for answers is learnt by task prefer"
            )
        return settings

    def for_training(self, examples: Examples) -> Examples:
        assert isinstance(examples, Answers)
        if self.settings.method == "sft" or self.online:
            return replace(examples, sides=1)
        return examples.with_strangers() if self.settings.method == "kto" else examples

    def refers(self, training: bool) -> bool:
        return not training or not (self.settings.method == "sft" or self.online)

    def referred(self, examples: Examples, outputs: np.ndarray) -> Examples:
        assert isinstance(examples, Answers)
        return examples.with_reference(outputs[:, : outputs.shape[1] // 3])

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        if self.settings.method == "ppo":
            value = ValueHead(model.config.get_text_config().hidden_size).to(model.device)
            if folder is not None:
                load_part(value, VALUE, folder)
            model.add_module(VALUE, value)
        return model

    @classmethod
    def asked(cls, texts: Sequence[str], pairs: Sequence[str] | None, form: Mapping[str, Any]) -> Table:
        """Prompts (texts, or conversations as JSON lists of messages), perhaps each with an answer."""
        return super().asked(texts, [""] * len(texts) if pairs is None else pairs, form)

    def prompts(self, table: Table, tokenizer: Any) -> list[list[int]]:
        return prompt_tokens(tokenizer, [json.loads(cell) for cell in table.frame["text"]])

    def stops(self, tokenizer: Any) -> list[int]:
        return stop_tokens(tokenizer)

    def prompts_of(self, encoded: Encoded, items: np.ndarray) -> list[np.ndarray]:
        tokens = encoded.tokens
        assert tokens.seconds is not None
        assert encoded.firsts is not None
        rows = encoded.firsts[items]
        starts = tokens.starts[rows].tolist()
        return [tokens.ids[a : a + b] for a, b in zip(starts, tokens.seconds[rows].tolist(), strict=True)]

    def respond(self, model: Any, asked: Inquiry) -> np.ndarray:
        return respond(self.settings, model, asked)

    def write(self, model: Any, asked: Inquiry) -> None:
        draw(self.settings, model, asked)

    def objective(self, logits: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
        assert isinstance(targets, Sequences)
        logps_R, tokens_R = sequence_logps(logits, targets.labels_RT)
        if self.settings.method == "sft":
            return -logps_R.sum(), tokens_R.sum()
        share_B = targets.said_B2[:, 0]
        return self._loss(logps_R, targets.reference_R, tokens_R, share_B, targets.blocks)

    def _loss(
        self, logps_R: Tensor, reference_R: Tensor, tokens_R: Tensor, share_B: Tensor, blocks: int
    ) -> tuple[Tensor, Tensor]:
        """Sum and count; rows in blocks: chosen, rejected and, for KTO, answers to other prompts."""
        own = self.settings
        policy, reference, tokens = (part.chunk(blocks) for part in (logps_R, reference_R, tokens_R))
        sides = policy[0], policy[1], reference[0], reference[1]
        if own.method == "kto":
            kl = kto_kl(policy[2], reference[2]) if blocks > 2 else 0.0
            return self._kto(torch.cat(policy[:2]), torch.cat(reference[:2]), share_B, kl)
        if own.method == "ipo":
            tau_B = own.beta / (2 * share_B - 1)
            total, count, _ = ipo(*sides, tau=tau_B, chosen_tokens_B=tokens[0], rejected_tokens_B=tokens[1])
            return total, count
        noise = own.label_noise if own.method == "cdpo" else 0.0
        flipped_B = noise * share_B + (1 - noise) * (1 - share_B)
        total, count, _ = conservative_dpo(*sides, beta=own.beta, flipped=flipped_B)
        return total, count

    def _kto(
        self, policy_R: Tensor, reference_R: Tensor, share_B: Tensor, kl: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Each answer as desirable and as undesirable, by the share of annotators who found it so."""
        good_R = torch.cat([share_B, 1 - share_B])
        yes_R = torch.ones_like(good_R, dtype=torch.bool)
        own = self.settings
        good, count, _ = kto(
            policy_R, reference_R, yes_R, kl, beta=own.beta, desirable_weight=own.desirable_weight * good_R
        )
        bad, _, _ = kto(
            policy_R, reference_R, ~yes_R, kl, beta=own.beta,
            undesirable_weight=own.undesirable_weight * (1 - good_R),
        )  # fmt: skip
        return good + bad, count

    def keep_of(self, model: Any) -> Keep | None:
        """Of a pair: its answers' log-probabilities, the untouched model's, and their tokens, [3 K]."""

        def keep(logits_RTV: Tensor, targets: Any) -> Tensor:
            assert isinstance(targets, Sequences)
            logps_R, tokens_R = sequence_logps(logits_RTV, targets.labels_RT)
            parts = [logps_R.float(), targets.reference_R.float(), tokens_R.float()]
            return torch.cat([part.reshape(targets.blocks, -1) for part in parts]).T

        return keep

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        """Of a pair h, in nats; of one answer its mean log-probability a token; else what was written."""
        if outputs.dtype == object:
            found = pd.DataFrame(outputs, columns=list(COLUMNS)).infer_objects()
            own, other = (found[n].to_numpy(np.float64) for n in ("reward", "untouched_reward"))
            return found.assign(won=wins(own, other))
        if outputs.shape[1] == 3:
            return pd.DataFrame(
                {"prediction": outputs[:, 0].astype(np.float64) / np.maximum(outputs[:, 2], 1)}
            )
        return pd.DataFrame({"prediction": _preference(_ratios(outputs))})

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return (
            mean_score(predictions["reward"].to_numpy(np.float64))
            if self.written
            else super().run_score(predictions)
        )

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """By how much the untouched model's answer was worth more, or h is on the wrong side."""
        if not self.written:
            return super().errors(predictions)
        own, other = (predictions[n].to_numpy(np.float64) for n in ("reward", "untouched_reward"))
        worse: np.ndarray = np.maximum(other - own, 0.0)
        return worse

    def remarks(self, predictions: pd.DataFrame) -> list[str]:
        found = flags(predictions) if self.written else []
        return [f"may have gamed its reward: {'; '.join(found)}"] if found else []

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        if outputs.dtype == object:
            return written_scores(outputs)
        ratios_N2, tokens_N2 = _ratios(outputs), outputs[:, 4:6].astype(np.float64)
        h_N = _preference(ratios_N2)
        share_N = truth[:, 0]
        found = preference_scores(h_N, share_N, tokens_N2[:, 0] - tokens_N2[:, 1], probabilities=False)
        sums = {
            "chosen_log_probability": outputs[:, 0],
            "rejected_log_probability": outputs[:, 1],
            "chosen_log_ratio": ratios_N2[:, 0],
            "rejected_log_ratio": ratios_N2[:, 1],
        }
        per_token = {
            name: float(values.sum() / tokens_N2[:, int(name.startswith("rejected"))].sum())
            for name, values in sums.items()
        }
        scores = {self.deciding: found.pop("accuracy"), **found, "margin": float(h_N.mean()), **per_token}
        return {**scores, "loss": self._held_out_loss(outputs, share_N)}

    def _held_out_loss(self, outputs: np.ndarray, share_N: np.ndarray) -> float:
        """The method's own loss (KTO's with a reference point of 0)."""
        if self.settings.method == "sft":
            return float(-outputs[:, 0].sum() / outputs[:, 4].sum())
        logps, reference, tokens = (
            torch.from_numpy(np.ascontiguousarray(outputs[:, i : i + 2].T)).reshape(-1) for i in (0, 2, 4)
        )
        total, count = self._loss(logps, reference, tokens, torch.from_numpy(share_N), 2)
        return float(total / count)

    def outputs_of(self, preference_N: np.ndarray, lengths: Sequence[np.ndarray]) -> np.ndarray:
        half_N, zero_N = preference_N / 2, np.zeros(len(preference_N))
        return np.stack([half_N, -half_N, zero_N, zero_N, *lengths], axis=1).astype(np.float32)

    def plain_use(self, pairs: bool) -> str:
        return (
            "from transformers import pipeline\n\n"
            'pipeline("text-generation", model="path/to/this/folder")'
            '([{"role": "user", "content": "a question"}])'
        )

    def told(self) -> str:
        return (
            f"It is a language model that was taught to prefer better answers ({self.settings.method}). "
            "Asked with a prompt it writes an answer, the likeliest token each time; with a prompt and an "
            "answer it gives the answer's mean log-probability a token."
        )


def _prompts_alone(labels: Iterable[str]) -> bool:
    return PROMPT_ALONE in set(labels)


def _preference(ratios_N2: np.ndarray) -> np.ndarray:
    """h, 0 where it is no more than roundings of sums over hundreds of tokens."""
    h_N = ratios_N2[:, 0] - ratios_N2[:, 1]
    return np.where(np.abs(h_N) < _NOTHING, 0.0, h_N)


def _ratios(outputs: np.ndarray) -> np.ndarray:
    """log p - log p_ref of both answers, [N, 2]."""
    found: np.ndarray = outputs[:, 0:2].astype(np.float64) - outputs[:, 2:4]
    return found
