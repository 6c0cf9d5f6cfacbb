"""Preferences: a reward model, which gives every answer to a prompt a score, learnt from pairs of answers.

Head: `AutoModelForSequenceClassification` with one output r. Bradley & Terry 1952; Ouyang et al. 2022,
arXiv:2203.02155, equation 1:
    loss = -log sigmoid(r_chosen - r_rejected - margin)
Votes are not thrown together: with a share s of annotators for the chosen side the loss is the cross-entropy
with s, so that a tie pulls two scores together. Deciding score: accuracy, the share of pairs whose better
answer scores higher. sigmoid(r_chosen - r_rejected) is a probability, and is held against the votes (brier,
ece).

A batch is B pairs, so both sides of a pair go through the model together: R = 2B rows. Ratings of single
answers (a text and a number) are task `regress`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from tunelab.config import Section
from tunelab.data.layout import Units
from tunelab.measure.preference import preference_scores
from tunelab.objectives.preference import bradley_terry
from tunelab.tasks._pairs import Pairs
from tunelab.tasks._sequences import Sequences, is_encoder
from tunelab.tasks.base import Keep

__all__ = ["Prefer", "PreferSettings"]


class PreferSettings(Section):
    """Settings of prefer."""

    centring: float = Field(
        0.0,
        ge=0,
        le=10,
        description="weight of (r_chosen + r_rejected)^2, which keeps scores around 0 (0.01 is usual)",
    )
    margin: float = Field(
        0.0, ge=0, description="the column margin times this is by how much the scores must differ; 0: unused"
    )


class Prefer(Pairs):
    """A score for answers."""

    name = "prefer"
    layouts = "prompt, chosen, rejected (or votes of annotators)"
    summary = "which of two answers is better: a reward model, from preferences or votes"
    paper = "Bradley & Terry, 1952; Ouyang et al., 2022, arXiv:2203.02155, equation 1"
    model_class = "AutoModelForSequenceClassification"
    pipeline = ("text-classification", ', function_to_apply="none"')
    Settings = PreferSettings
    settings: PreferSettings

    @classmethod
    def separators(cls, tokenizer: Any) -> bool:
        return is_encoder(tokenizer)

    @property
    def deciding(self) -> str:
        return "accuracy"

    def model_options(self) -> dict[str, Any]:
        return {"num_labels": 1}

    def objective(self, logits: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = logits[:, 0].float().chunk(2)
        total, count, _ = bradley_terry(
            chosen_B,
            rejected_B,
            preferred_B=targets.said_B2[:, 0],
            margin_B=self.settings.margin * targets.said_B2[:, 1],
            centring=self.settings.centring,
        )
        return total, count

    def keep_of(self, model: Any) -> Keep | None:
        """Of a pair [3]: both scores, and the logarithm of how many times longer the chosen answer is."""

        def keep(logits_R1: Tensor, targets: Any) -> Tensor:
            assert isinstance(targets, Sequences)
            scores = logits_R1[:, 0].float().chunk(targets.blocks)
            if targets.blocks == 1:
                return scores[0][:, None]
            tokens = targets.tokens_R.clamp(min=1).float().log().chunk(2)
            return torch.stack([*scores, tokens[0] - tokens[1]], dim=1)

        return keep

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        """The score of an answer; of a pair by how much the chosen one's is higher."""
        if outputs.shape[1] == 1:
            return pd.DataFrame({"prediction": outputs[:, 0].astype(np.float64)})
        difference_N = _difference(outputs)
        return pd.DataFrame(
            {"prediction": difference_N, "probability": 1 / (1 + np.exp(-np.clip(difference_N, -500, 500)))}
        )

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        difference_N = _difference(outputs)
        found = preference_scores(difference_N, truth[:, 0], outputs[:, 2], probabilities=True)
        chosen_N, rejected_N = (torch.from_numpy(outputs[:, side]) for side in (0, 1))
        loss, count, _ = bradley_terry(
            chosen_N,
            rejected_N,
            preferred_B=torch.from_numpy(truth[:, 0]),
            margin_B=self.settings.margin * torch.from_numpy(truth[:, 1]),
            centring=self.settings.centring,
        )
        return {
            **found,
            "margin": float(difference_N.mean()),
            "mean_score": float(outputs[:, :2].mean()),
            "loss": float(loss / count),
        }

    def outputs_of(self, preference_N: np.ndarray, lengths: Sequence[np.ndarray]) -> np.ndarray:
        ratio_N = np.log(np.maximum(lengths[0], 1) / np.maximum(lengths[1], 1))
        return np.stack([preference_N / 2, -preference_N / 2, ratio_N], axis=1).astype(np.float32)

    def told(self) -> str:
        return (
            "It scores answers: of two answers to one prompt the one with the higher score is the better, "
            "with the probability sigmoid(difference). The first text is the prompt, the second the answer. "
            "Scores of answers to different prompts are not comparable."
        )


def _difference(outputs: np.ndarray) -> np.ndarray:
    found: np.ndarray = outputs[:, 0].astype(np.float64) - outputs[:, 1]
    return found
