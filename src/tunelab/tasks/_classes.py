"""What tasks with one class a row have in common.

Head: the pretrained family's own `AutoModelForSequenceClassification`, so that plain `transformers`
loads what was trained. Objective: cross-entropy (label smoothing, class weights) or the focal loss.
Deciding score: accuracy, or macro-F1 where the largest class has three times the rows of the smallest.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.check_labels import check_labels
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.long_texts import pooled
from tunelab.errors import ConfigError, DataError
from tunelab.measure.metrics import classification_scores, softmax
from tunelab.measure.statistics import RunScore, class_f1, score_function
from tunelab.objectives.classification import cross_entropy, focal
from tunelab.objectives.divergence import classes_divergence
from tunelab.tasks._texts import Texts, TextSettings

__all__ = ["Classes", "natural"]

#: From this ratio of the largest to the smallest class on, macro-F1 decides instead of accuracy.
IMBALANCED = 3.0


class Classes(Texts):
    """One label out of several."""

    named_labels = True
    exact = True

    def __init__(
        self,
        labels: Sequence[str],
        loss: LossConfig,
        weights: Sequence[float],
        deciding: str,
        settings: TextSettings | None = None,
    ) -> None:
        super().__init__(settings or TextSettings())
        if loss.kind not in ("auto", "cross_entropy", "focal"):
            raise ConfigError(
                f"loss.kind={loss.kind} is for numbers; {self.name} learns classes: give cross_entropy "
                "or focal"
            )
        self.classes = tuple(labels)
        self.loss = loss
        self.weights = tuple(weights)
        self._deciding = deciding
        self._number = {label: i for i, label in enumerate(self.classes)}

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        names = sorted(set(labels), key=natural)
        if len(names) < 2:
            raise DataError(f"all rows have the label {names[0]!r}: at least two different labels are needed")
        everywhere, rows = Counter(labels), Counter(train_labels)
        # Judged over all rows, so that every fold is judged by the same score.
        uneven = max(everywhere.values()) >= IMBALANCED * min(everywhere.values())
        deciding = "macro_f1" if uneven else "accuracy"
        total = sum(rows.values())
        weights = [total / (len(names) * max(rows.get(name, 0), 1)) for name in names]
        own = settings or cls.Settings()
        assert isinstance(own, TextSettings)
        return cls(names, loss, weights if loss.class_weights == "balanced" else [], deciding, own)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_labels(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        return list(labels)

    @property
    def deciding(self) -> str:
        return self._deciding

    def model_options(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.classes),
            "id2label": dict(enumerate(self.classes)),
            "label2id": dict(self._number),
            "problem_type": "single_label_classification",
        }

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        targets = np.array([self._number[label] for label in labels], dtype=np.int64)
        return self.rows_of_items(targets, encoded)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.tensor(self.weights, device=logits.device) if self.weights else None
        smoothing = self.loss.label_smoothing
        if self.loss.kind == "focal":
            return focal(
                logits, targets, gamma=self.loss.focal_gamma, label_smoothing=smoothing, weights_C=weights
            )
        return cross_entropy(logits, targets, label_smoothing=smoothing, weights_C=weights)

    def _some_targets(self) -> Tensor:
        return torch.arange(4) % len(self.classes)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        return classes_divergence(first, second)

    def decode(
        self, outputs: np.ndarray, items: pd.DataFrame | None = None, units: Units | None = None
    ) -> pd.DataFrame:
        probabilities = softmax(pooled(outputs, units))
        best = probabilities.argmax(1)
        frame = pd.DataFrame({"prediction": [self.classes[i] for i in best]})
        for i, label in enumerate(self.classes):
            frame[f"p({label})"] = probabilities[:, i]
        return frame

    def scores(self, outputs: np.ndarray, truth: np.ndarray, units: Units | None = None) -> dict[str, float]:
        scores = classification_scores(softmax(pooled(outputs, units)), truth, self.classes)
        return {self.deciding: scores[self.deciding], **scores}

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return score_function(
            self.deciding, self._codes(predictions["prediction"]), self._codes(predictions["label"])
        )

    def part_scores(self, predictions: pd.DataFrame) -> dict[str, RunScore]:
        ours, theirs = self._codes(predictions["prediction"]), self._codes(predictions["label"])
        return {label: class_f1(ours, theirs, code) for code, label in enumerate(self.classes)}

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        wrong: np.ndarray = (predictions["prediction"] != predictions["label"]).to_numpy(np.float64)
        return wrong

    def _codes(self, names: pd.Series) -> np.ndarray:
        return names.map(self._number).to_numpy(dtype=np.int64)

    def told(self) -> str:
        return "Labels: " + ", ".join(f"`{label}`" for label in self.classes) + "."

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self.classes),
            "loss": self.loss.model_dump(),
            "weights": list(self.weights),
            "deciding": self._deciding,
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            values["labels"],
            LossConfig(**values["loss"]),
            values["weights"],
            values["deciding"],
            TextSettings(**values.get("settings", {})),
        )


def natural(label: str) -> tuple[int, float, str]:
    """Numbers by value and before words, so that "10" comes after "9"."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", label):
        return (0, float(label), label)
    return (1, 0.0, label)
