"""What tasks with one number a row have in common.

Head: `AutoModelForSequenceClassification` with one output, which is the number in standard deviations of the
training rows from their mean: a score from 0 to 5 and a price in thousands are learnt at the same rates.
Objective: squared error, or Huber's loss. Deciding score: Spearman's rank correlation.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.check_numbers import check_numbers, number
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units
from tunelab.data.long_texts import pooled
from tunelab.errors import ConfigError, DataError
from tunelab.measure.regression import regression_score_function, regression_scores
from tunelab.measure.statistics import RunScore
from tunelab.objectives.divergence import numbers_divergence
from tunelab.objectives.regression import huber, mse
from tunelab.tasks._texts import Texts, TextSettings

__all__ = ["Numbers"]

_STRATA = 10


class Numbers(Texts):
    """One number a row. mean, deviation: of the training rows' numbers."""

    pipeline = ("text-classification", ', function_to_apply="none"')

    def __init__(
        self, loss: LossConfig, mean: float, deviation: float, settings: TextSettings | None = None
    ) -> None:
        super().__init__(settings or TextSettings())
        if loss.kind not in ("auto", "mse", "huber"):
            raise ConfigError(
                f"loss.kind={loss.kind} is for classes; {self.name} learns numbers: give mse or huber"
            )
        self.loss = loss
        self.mean = float(mean)
        self.deviation = float(deviation)

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        values_N = _values(train_labels)
        if values_N.std() == 0:
            raise DataError(f"all training rows have the number {values_N[0]:g}: there is nothing to learn")
        own = settings or cls.Settings()
        assert isinstance(own, TextSettings)
        return cls(loss, float(values_N.mean()), float(values_N.std()), own)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_numbers(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        """Tenths of the rows, from the smallest numbers to the largest."""
        values_N = _values(labels)
        borders = np.quantile(values_N, np.linspace(0, 1, _STRATA + 1)[1:-1])
        return [str(stratum) for stratum in np.searchsorted(borders, values_N)]

    @property
    def deciding(self) -> str:
        return "spearman"

    def model_options(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        targets = ((_values(labels) - self.mean) / self.deviation).astype(np.float32)
        return self.rows_of_items(targets, encoded)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.loss.kind == "huber":
            return huber(logits, targets, delta=self.loss.huber_delta)
        return mse(logits, targets)

    def _some_targets(self) -> Tensor:
        return torch.linspace(-1, 1, 4)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        return numbers_divergence(first, second)

    def decode(
        self, outputs: np.ndarray, items: pd.DataFrame | None = None, units: Units | None = None
    ) -> pd.DataFrame:
        return pd.DataFrame({"prediction": self._numbers(pooled(outputs, units)[:, 0])})

    def scores(self, outputs: np.ndarray, truth: np.ndarray, units: Units | None = None) -> dict[str, float]:
        outputs = pooled(outputs, units)
        found = regression_scores(self._numbers(outputs[:, 0]), self._numbers(truth))
        loss = float(np.mean((outputs[:, 0].astype(np.float64) - truth) ** 2))
        return {self.deciding: found[self.deciding], **found, "loss": loss}

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        predicted_N = predictions["prediction"].to_numpy(np.float64)
        return regression_score_function(self.deciding, predicted_N, _values(predictions["label"].tolist()))

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        difference = predictions["prediction"].to_numpy(np.float64) - _values(predictions["label"].tolist())
        return np.asarray(np.abs(difference))

    def _numbers(self, standard_N: np.ndarray) -> np.ndarray:
        return np.asarray(self.mean + self.deviation * standard_N.astype(np.float64))

    def shown(self, label: str, text: str = "") -> str:
        return f"{_values([label])[0]:.6g}"

    def told(self) -> str:
        return (
            f"It answers with a number. Its raw output is in standard deviations ({self.deviation:g}) from "
            f"the mean ({self.mean:g}) of the training rows: number = {self.mean:g} + {self.deviation:g} × "
            "output, which tunelab does by itself."
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "loss": self.loss.model_dump(),
            "mean": self.mean,
            "deviation": self.deviation,
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        settings = TextSettings(**values.get("settings", {}))
        loss = LossConfig(**values["loss"])
        return cls(loss, float(values["mean"]), float(values["deviation"]), settings)


def _values(labels: Sequence[str]) -> np.ndarray:
    found = [number(label) for label in labels]
    assert None not in found, "the data doctor stops at labels that are no numbers"
    return np.array(found, dtype=np.float64)
