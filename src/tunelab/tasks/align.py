"""Alignment: a language model learns to give the answers that people prefer, from pairs of answers.

`align.method`: sft   cross-entropy of the chosen answers alone: what the others must beat
                dpo   -log sigmoid(beta h)           Rafailov et al. 2023, arXiv:2305.18290, equation 7
                cdpo  the same, believing that a share `label_noise` of the pairs is the wrong way round
                ipo   (h - 1 / (2 beta))^2, h a token Azar et al. 2023, arXiv:2310.12036, equation 17
                kto   every answer by itself         Ethayarajh et al. 2024, arXiv:2402.01306, equations 7, 8
    h = (log p - log p_ref)(chosen) - (log p - log p_ref)(rejected)
p_ref is the untouched pretrained model, whatever the method: its log-probabilities are computed once for all
runs of a study (study/untouched.py), not by a second model beside the one that trains. Votes count: a share
s for the chosen side is DPO's label with probability s, scales IPO's target by 2s - 1, and is KTO's weight of
"desirable".

An answer's tokens alone are scored, the end-of-text token among them; prompt, padding and whatever follows
the end never enter a sum. KTO's reference point is a mean over answers to other prompts; which ones is fixed,
the mean is that of a micro-batch, as in TRL.

Deciding score: accuracy of the implicit reward log p - log p_ref on held-out pairs, the same for every method
(the untouched model has 0.5). It measures the ranking of given answers, not the quality of what the model
writes by itself. `chosen_log_ratio` and `rejected_log_ratio` (nats a token) say how far the policy has moved
on these answers; they are no KL divergence, which is a mean over what the policy itself writes.
"""

# N pairs, B pairs of a batch, R rows of it, T tokens, V vocabulary

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from tunelab.config import Section
from tunelab.data.batch import Examples
from tunelab.data.layout import Units
from tunelab.errors import ConfigError
from tunelab.measure.preference import preference_scores
from tunelab.objectives.preference import conservative_dpo, ipo, kto, kto_kl, sequence_logps
from tunelab.tasks._pairs import Pairs
from tunelab.tasks._sequences import Answers, Sequences
from tunelab.tasks.base import Keep

__all__ = ["Align", "AlignSettings"]

_NOTHING = 1e-3  # nats


class AlignSettings(Section):
    """Settings of align."""

    method: Literal["sft", "dpo", "ipo", "cdpo", "kto"] = Field(
        "dpo", description="the loss: imitation, or one of preferences"
    )
    beta: float = Field(
        0.1, gt=0, le=100, description="how dear it is to leave the pretrained model (ipo: its tau)"
    )
    label_noise: float = Field(
        0.1, ge=0, lt=0.5, description="cdpo: share of pairs believed to be the wrong way round"
    )
    desirable_weight: float = Field(1.0, gt=0, description="kto: weight of the chosen answers")
    undesirable_weight: float = Field(1.0, gt=0, description="kto: weight of the rejected answers")


class Align(Pairs):
    """A policy that prefers the better answer more than the pretrained model does."""

    name = "align"
    layouts = "prompt, chosen, rejected"
    summary = "a language model that gives the preferred answers: sft, dpo, ipo, cdpo, kto"
    paper = "Rafailov et al., Direct Preference Optimization, 2023, arXiv:2305.18290"
    model_class = "AutoModelForCausalLM"
    pipeline = ("text-generation", "")
    Settings = AlignSettings
    settings: AlignSettings

    @property
    def deciding(self) -> str:
        return "preference_accuracy"

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
        if self.settings.method == "sft":
            return replace(examples, sides=1)
        return examples.with_strangers() if self.settings.method == "kto" else examples

    def refers(self, training: bool) -> bool:
        return not training or self.settings.method != "sft"

    def referred(self, examples: Examples, outputs: np.ndarray) -> Examples:
        assert isinstance(examples, Answers)
        return examples.with_reference(outputs[:, : outputs.shape[1] // 3])

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
        """Of a pair h, in nats; of one answer its mean log-probability a token."""
        if outputs.shape[1] == 3:
            return pd.DataFrame(
                {"prediction": outputs[:, 0].astype(np.float64) / np.maximum(outputs[:, 2], 1)}
            )
        return pd.DataFrame({"prediction": _preference(_ratios(outputs))})

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
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
            "Asked with a prompt and an answer it gives the answer's mean log-probability a token; it writes "
            "answers with `transformers`' text generation."
        )


def _preference(ratios_N2: np.ndarray) -> np.ndarray:
    """h, 0 where it is no more than roundings of sums over hundreds of tokens."""
    h_N = ratios_N2[:, 0] - ratios_N2[:, 1]
    return np.where(np.abs(h_N) < _NOTHING, 0.0, h_N)


def _ratios(outputs: np.ndarray) -> np.ndarray:
    """log p - log p_ref of both answers, [N, 2]."""
    found: np.ndarray = outputs[:, 0:2].astype(np.float64) - outputs[:, 2:4]
    return found
