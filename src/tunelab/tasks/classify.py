"""Text classification: one text, one label out of several.

Head: the pretrained family's own `AutoModelForSequenceClassification`, so that plain `transformers`
loads what was trained. Objective: cross-entropy (label smoothing, class weights) or the focal loss.
Deciding score: accuracy, or macro-F1 where the largest class has three times the rows of the smallest.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tunelab.config import LossConfig
from tunelab.data.read import GROUP, LABEL, TEXT
from tunelab.errors import DataError
from tunelab.measure.metrics import classification_scores, softmax
from tunelab.objectives.classification import cross_entropy, focal
from tunelab.tasks.base import Task

__all__ = ["Classify"]

#: From this ratio of the largest to the smallest class on, macro-F1 decides instead of accuracy.
IMBALANCED = 3.0


class Classify(Task):
    """One text, one label."""

    name = "classify"
    summary = "one text, one label (sentiment, topic, intent)"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805, section 4.1"
    columns = (TEXT, LABEL, GROUP)
    model_class = "AutoModelForSequenceClassification"

    def __init__(
        self, labels: Sequence[str], loss: LossConfig, weights: Sequence[float], deciding: str
    ) -> None:
        self.labels = tuple(labels)
        self.loss = loss
        self.weights = tuple(weights)
        self._deciding = deciding
        self._number = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def fit(cls, labels: Sequence[str], train_labels: Sequence[str], loss: LossConfig) -> "Classify":
        names = sorted(set(labels), key=_natural)
        if len(names) < 2:
            raise DataError(f"all rows have the label {names[0]!r}: at least two different labels are needed")
        everywhere, rows = Counter(labels), Counter(train_labels)
        # Judged over all rows, so that every fold is judged by the same score.
        uneven = max(everywhere.values()) >= IMBALANCED * min(everywhere.values())
        deciding = "macro_f1" if uneven else "accuracy"
        total = sum(rows.values())
        weights = [total / (len(names) * max(rows.get(name, 0), 1)) for name in names]
        return cls(names, loss, weights if loss.class_weights == "balanced" else [], deciding)

    @property
    def deciding(self) -> str:
        return self._deciding

    def model_options(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": dict(self._number),
            "problem_type": "single_label_classification",
        }

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        return np.array([self._number[label] for label in labels], dtype=np.int64)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.tensor(self.weights, device=logits.device) if self.weights else None
        smoothing = self.loss.label_smoothing
        if self.loss.kind == "focal":
            return focal(
                logits, targets, gamma=self.loss.focal_gamma, label_smoothing=smoothing, weights_C=weights
            )
        return cross_entropy(logits, targets, label_smoothing=smoothing, weights_C=weights)

    def decode(self, logits: np.ndarray) -> pd.DataFrame:
        probabilities = softmax(logits)
        best = probabilities.argmax(1)
        frame = pd.DataFrame({"prediction": [self.labels[i] for i in best]})
        for i, label in enumerate(self.labels):
            frame[f"p({label})"] = probabilities[:, i]
        return frame

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        scores = classification_scores(softmax(logits), targets, self.labels)
        return {self.deciding: scores[self.deciding], **scores}

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self.labels),
            "loss": self.loss.model_dump(),
            "weights": list(self.weights),
            "deciding": self._deciding,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Classify":
        return cls(values["labels"], LossConfig(**values["loss"]), values["weights"], values["deciding"])


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by value and before words, so that "10" comes after "9"."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", label):
        return (0, float(label), label)
    return (1, 0.0, label)
