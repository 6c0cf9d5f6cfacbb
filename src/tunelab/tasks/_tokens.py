"""Foretelling tokens, as `language` and `instruct` do: the loss, what is kept of the logits, and the scores.

    targets[t] = the token that is to be foretold from position t, IGNORED where nothing is asked
    loss = sum over asked t of -log p(targets[t]) / number of asked t          nats a token
A causal model is asked at t for token t + 1. Logits are [B, T, V] with a vocabulary V of up to 250,000, so
they are made float32 a few tokens at a time, in training again in the backward pass instead of being kept,
and of a judged row nothing is kept but three numbers.
"""

# B batch, T tokens, V vocabulary, K tokens that are asked for, N items, W rows (windows of items)

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tunelab.config import LossConfig, Section
from tunelab.data.batch import IGNORED, Examples
from tunelab.data.encode import Tokens
from tunelab.data.layout import Encoded, Units
from tunelab.errors import ConfigError
from tunelab.measure.language import language_score_function, language_scores
from tunelab.measure.statistics import RunScore
from tunelab.objectives.classification import cross_entropy
from tunelab.tasks.base import Keep, Task

__all__ = ["Foretelling", "after", "foretold", "summed_loss"]

#: Logits that are float32 at a time: 128 MB.
_LOGITS = 2**25


def after(tokens: Tokens, learnt: np.ndarray) -> np.ndarray:
    """Targets of a causal model, flat beside `tokens.ids`: at each token the next one of its row, where that
    is learnt.

    >>> row = Tokens(np.array([7, 8, 9, 5, 6]), np.array([0, 3, 5]), 0)
    >>> after(row, np.array([False, False, True, True, True])).tolist()
    [-100, 9, -100, 6, -100]
    """
    targets = np.full(len(tokens.ids), IGNORED, dtype=np.int64)
    targets[:-1] = np.where(learnt[1:], tokens.ids[1:], IGNORED)
    targets[tokens.starts[1:][tokens.lengths > 0] - 1] = IGNORED
    return targets


def summed_loss(
    logits_BTV: Tensor, targets_BT: Tensor, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of the tokens that are asked for, and how many those are."""
    known_BT = targets_BT != IGNORED
    logits_KV, targets_K = logits_BTV[known_BT], targets_BT[known_BT]
    size = max(1, _LOGITS // logits_BTV.shape[-1])
    if len(targets_K) <= size:
        return cross_entropy(logits_KV, targets_K, label_smoothing=label_smoothing)

    def part(logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets, label_smoothing=label_smoothing)[0]

    total = logits_BTV.new_zeros((), dtype=torch.float32)
    for pair in zip(torch.split(logits_KV, size), torch.split(targets_K, size), strict=True):
        found: Any = checkpoint(part, *pair, use_reentrant=False, preserve_rng_state=False)
        total = total + found
    return total, torch.tensor(float(len(targets_K)), device=total.device)


def foretold(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Of each row the summed loss, how many tokens are asked for, and how many of them are the likeliest, [B,
    3] float32."""
    kept_B3 = torch.zeros(len(targets_BT), 3, device=logits_BTV.device)
    places_K = (targets_BT != IGNORED).flatten().nonzero().squeeze(1)
    flat_V, flat = logits_BTV.flatten(0, 1), targets_BT.flatten()
    for part in torch.split(places_K, max(1, _LOGITS // logits_BTV.shape[-1])):
        logits_KV, targets_K = flat_V[part].float(), flat[part]
        losses_K = F.cross_entropy(logits_KV, targets_K, reduction="none")
        right_K = (logits_KV.argmax(1) == targets_K).float()
        rows_K = part // targets_BT.shape[1]
        kept_B3.index_add_(0, rows_K, torch.stack([losses_K, torch.ones_like(losses_K), right_K], 1))
    return kept_B3


class Foretelling(Task):
    """A task whose targets are tokens. Outputs are [W, 3], see `foretold`."""

    per_token = True
    token_by_token = True
    judged_by_token = True
    needs_labels = False
    baselines: ClassVar[tuple[str, ...] | None] = ("untouched",)
    pipeline = ("text-generation", "")
    #: Whether bits per byte say something: every token of the text is foretold.
    whole_texts: ClassVar[bool] = False

    def __init__(self, loss: LossConfig, settings: Section) -> None:
        if loss.kind not in ("auto", "cross_entropy") or loss.class_weights != "none":
            raise ConfigError(
                f"{self.name} learns tokens by cross-entropy: leave out loss.kind and loss.class_weights"
            )
        self.loss = loss
        self.settings = settings

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        return cls(loss, settings or cls.Settings())

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        return [""] * len(labels)

    @property
    def deciding(self) -> str:
        return "-loss"

    def model_options(self) -> dict[str, Any]:
        return {}

    def blank(self, encoded: Encoded) -> np.ndarray:
        return self.targets((), encoded)

    def for_training(self, examples: Examples) -> Examples:
        """Rows without anything to learn are left out (the data doctor tells)."""
        tokens, width = examples.tokens, examples.max_length
        kept = [(tokens.cut(examples.targets, int(row), width) != IGNORED).any() for row in examples.rows]
        return replace(examples, rows=examples.rows[np.array(kept, dtype=bool)])

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return summed_loss(logits, targets, self.loss.label_smoothing)

    def keep_of(self, model: Any) -> Keep | None:
        return foretold

    def truth(self, labels: Sequence[str]) -> Any:
        return None

    def same(self, outputs: np.ndarray) -> np.ndarray:
        """Of each row the loss a token: which token is the likeliest may turn on a rounding."""
        found: np.ndarray = outputs[:, :1] / np.maximum(outputs[:, 1:2], 1)
        return found

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        sums_N3, bytes_N = self._items(outputs, units)
        frame = pd.DataFrame(
            {
                "prediction": sums_N3[:, 0] / np.maximum(sums_N3[:, 1], 1),
                "loss_sum": sums_N3[:, 0],
                "tokens": sums_N3[:, 1],
                "right": sums_N3[:, 2],
            }
        )
        return frame if bytes_N is None else frame.assign(bytes=bytes_N)

    def _items(self, outputs: np.ndarray, units: Units | None) -> tuple[np.ndarray, np.ndarray | None]:
        """What `foretold` gives of whole items, [N, 3] float64, and bytes of their texts where they are
        known."""
        return outputs.astype(np.float64), None

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        sums_N3, bytes_N = self._items(outputs, units)
        tokens = sums_N3[:, 1].sum()
        assert tokens, "items without a token to judge by are refused before any training"
        known = bytes_N if bytes_N is not None else np.ones(len(sums_N3))
        found = language_scores(sums_N3[:, 0], sums_N3[:, 1], known)
        if bytes_N is None:
            del found["bits_per_byte"]
        accuracy = float(sums_N3[:, 2].sum() / tokens)
        return {self.deciding: -found["loss"], **found, "token_accuracy": accuracy}

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        sums_N, tokens_N = (predictions[name].to_numpy(dtype=np.float64) for name in ("loss_sum", "tokens"))
        return language_score_function("neg_loss", sums_N, tokens_N)

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """The loss a token."""
        found: np.ndarray = predictions["prediction"].to_numpy(dtype=np.float64)
        return found

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "loss": self.loss.model_dump(),
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(LossConfig(**values["loss"]), cls.Settings(**values["settings"]))
