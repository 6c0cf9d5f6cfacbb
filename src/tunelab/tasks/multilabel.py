"""Multi-label classification: any number of labels for a text, each found by itself.

Head: `AutoModelForSequenceClassification` with `problem_type="multi_label_classification"`, so that plain
`transformers` knows what its outputs are. Objective: binary cross-entropy, the mean over rows and labels; a
label is given where its probability is above `multilabel.threshold`.

Deciding score: micro F1, that of all decisions together, 2 TP / (2 TP + FP + FN). It is what is meant by "F1"
where nothing is said, it needs no true negatives (of ninety labels eighty-eight are rightly left out of every
row), and it does not hang on labels of which the test has five rows, as macro F1 does; that one stands beside
it, and `multilabel.decides=macro_f1` takes it instead, where a rare label is worth as much as a frequent one.
"""

# N items, L labels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy.special import expit
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.check_label_lists import check_label_lists
from tunelab.data.check_labels import spellings
from tunelab.data.findings import Finding, Patient
from tunelab.data.items import as_json
from tunelab.data.layout import Encoded, Units
from tunelab.data.long_texts import pooled
from tunelab.data.read import GROUP, TEXT
from tunelab.data.read_labels import LABELS, labels_in, read_labels
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.measure.multilabel import decision_scores, multilabel_score_function, multilabel_scores
from tunelab.measure.statistics import RunScore
from tunelab.objectives.classification import binary_cross_entropy
from tunelab.objectives.divergence import labels_divergence
from tunelab.tasks._classes import natural
from tunelab.tasks._texts import Texts, TextSettings

__all__ = ["Multilabel", "MultilabelSettings"]


class MultilabelSettings(TextSettings):
    """Settings of multilabel."""

    threshold: float = Field(
        0.5, gt=0, lt=1, description="a label is given where its probability is above this"
    )
    decides: Literal["micro_f1", "macro_f1"] = Field(
        "micro_f1", description="the score that decides: over all decisions, or the mean of the labels' own"
    )


class Multilabel(Texts):
    """One text, any number of labels."""

    name = "multilabel"
    summary = "one text, any number of labels (topics, complaints, kinds of abuse)"
    paper = "Zhang, Zhou, A Review on Multi-Label Learning Algorithms, 2014, doi:10.1109/TKDE.2013.39"
    layouts = "a column with lists (a|b, JSON), or a column of 0 and 1 for every label"
    columns = (TEXT, LABELS, GROUP)
    pipeline = ("text-classification", ", top_k=None")
    Settings = MultilabelSettings
    exact = True
    read_by = ("long", "decides")
    held = MappingProxyType({"label": "names"})
    baselines = ("majority", "tfidf", "embeddings")
    settings: MultilabelSettings
    usual = frozenset({"label-in-text", "script-tells-label", "truncation-by-class"})  # a list is no class

    def __init__(
        self,
        labels: Sequence[str],
        loss: LossConfig,
        weights: Sequence[float],
        settings: MultilabelSettings,
    ) -> None:
        if loss.kind not in ("auto", "cross_entropy", "focal"):
            raise ConfigError(
                f"loss.kind={loss.kind} is for numbers; multilabel learns labels: give cross_entropy (of "
                "each label's yes or no) or focal"
            )
        super().__init__(settings)
        self._labels = tuple(labels)
        self.loss = loss
        self.weights = tuple(weights)
        self._number = {label: i for i, label in enumerate(self._labels)}

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        return read_labels(files, chosen)

    @classmethod
    def mend(cls, table: Table) -> tuple[Table, list[str]]:
        """Unifies spellings of labels."""
        own = [labels_in(str(cell)) for cell in table.frame["label"]]
        counts = Counter(label for labels in own for label in labels)
        other = spellings(list(counts), list(counts.values()))
        if not other:
            return table, []
        changed = sum(bool(other.keys() & set(labels)) for labels in own)
        pairs = ", ".join(f"{old!r} → {new!r}" for old, new in sorted(other.items()))
        mended = [as_json(sorted({other.get(label, label) for label in labels})) for labels in own]
        return (
            replace(table, frame=table.frame.assign(label=mended)),
            [f"unified the label spelling of {changed:,} rows ({pairs})"],
        )

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        own = settings or MultilabelSettings()
        assert isinstance(own, MultilabelSettings)
        names = sorted({label for cell in labels for label in labels_in(cell)}, key=natural)
        rows = Counter(label for cell in train_labels for label in labels_in(cell))
        none = len(train_labels)  # (a label that no training row has is not weighed)
        weights = [(none - rows[name]) / rows[name] if rows[name] else 1.0 for name in names]
        weights = [max(weight, 1 / max(none, 1)) for weight in weights]
        return cls(names, loss, weights if loss.class_weights == "balanced" else [], own)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_label_lists(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        """The rarest label of each row, so that every part gets its share of it."""
        own = [labels_in(cell) for cell in labels]
        rows = Counter(label for found in own for label in found)
        return [min(found, key=lambda label: (rows[label], label)) if found else "" for found in own]

    @property
    def deciding(self) -> str:
        return self.settings.decides

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def model_options(self) -> dict[str, Any]:
        return {
            "num_labels": len(self._labels),
            "id2label": dict(enumerate(self._labels)),
            "label2id": dict(self._number),
            "problem_type": "multi_label_classification",
        }

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """1 where a label applies, [N, L] float32."""
        targets_NL = np.zeros((len(labels), len(self._labels)), dtype=np.float32)
        for i, cell in enumerate(labels):
            targets_NL[i, [self._number[label] for label in labels_in(cell)]] = 1.0
        return self.rows_of_items(targets_NL, encoded)

    def blank(self, encoded: Encoded) -> np.ndarray:
        return np.zeros((len(encoded.tokens), len(self._labels)), dtype=np.float32)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return binary_cross_entropy(
            logits,
            targets,
            gamma=self.loss.focal_gamma if self.loss.kind == "focal" else 0.0,
            label_smoothing=self.loss.label_smoothing,
            weights_L=torch.tensor(self.weights, device=logits.device) if self.weights else None,
        )

    def _some_targets(self) -> Tensor:
        places = torch.arange(4 * len(self._labels))
        return (places % 3 == 0).float().reshape(4, len(self._labels))

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        return labels_divergence(first, second)

    def _given(self, outputs: np.ndarray) -> np.ndarray:
        found: np.ndarray = expit(outputs.astype(np.float64)) > self.settings.threshold
        return found

    def decode(
        self, outputs: np.ndarray, items: pd.DataFrame | None = None, units: Units | None = None
    ) -> pd.DataFrame:
        """The labels given (a JSON list), and the probability of every label."""
        outputs = pooled(outputs, units)
        probabilities_NL, given_NL = expit(outputs.astype(np.float64)), self._given(outputs)
        said = [as_json([self._labels[i] for i in np.flatnonzero(row)]) for row in given_NL]
        frame = pd.DataFrame({"prediction": pd.Series(said, dtype=object)})
        shares = {f"p({label})": probabilities_NL[:, i] for i, label in enumerate(self._labels)}
        return pd.concat([frame, pd.DataFrame(shares)], axis=1)

    def scores(self, outputs: np.ndarray, truth: np.ndarray, units: Units | None = None) -> dict[str, float]:
        outputs = pooled(outputs, units)
        given_NL, logits_NL = self._given(outputs), outputs.astype(np.float64)
        found = multilabel_scores(given_NL, truth, self._labels)
        found |= decision_scores(expit(logits_NL), given_NL, truth)
        loss = float(np.mean(np.logaddexp(0, logits_NL) - truth * logits_NL))
        return {self.deciding: found[self.deciding], **found, "loss": loss}

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return multilabel_score_function(self.deciding, *self._both(predictions))

    def part_scores(self, predictions: pd.DataFrame) -> dict[str, RunScore]:
        given_NL, truth_NL = self._both(predictions)
        return {
            label: multilabel_score_function("micro_f1", given_NL[:, i : i + 1], truth_NL[:, i : i + 1])
            for i, label in enumerate(self._labels)
        }

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """Labels missed and labels that do not apply."""
        given_NL, truth_NL = self._both(predictions)
        wrong: np.ndarray = (given_NL != truth_NL).sum(1).astype(np.float64)
        return wrong

    def _both(self, predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Labels given and labels that apply, [N, L] bool."""
        columns = (predictions[name].tolist() for name in ("prediction", "label"))
        given_NL, truth_NL = (self.targets(cells).astype(bool) for cells in columns)
        return given_NL, truth_NL

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """Of each text its labels, a list of names."""
        return [labels_in(cell) for cell in predictions["prediction"]]

    def shown(self, label: str, text: str = "") -> str:
        return ", ".join(labels_in(label)) or "–"

    def told(self) -> str:
        names = ", ".join(f"`{label}`" for label in self._labels)
        return (
            f"It gives a text any number of labels: {names}. Each has a probability of its own (they do not "
            f"sum to 1), and is given where that is above {self.settings.threshold:g}."
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self._labels),
            "loss": self.loss.model_dump(),
            "weights": list(self.weights),
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            values["labels"],
            LossConfig(**values["loss"]),
            values["weights"],
            MultilabelSettings(**values["settings"]),
        )
