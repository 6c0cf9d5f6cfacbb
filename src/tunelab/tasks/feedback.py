r"""Feedback on labels: a trained classifier gets better by what people said of the labels it has shown.

A row is a text, the label that was shown, its reward (higher is better: a rating, a thumb up), and, where it
is known, the probability with which that label was shown. The pretrained model is the classifier itself
(`tunelab export`), whose head is kept.

`feedback.method`:
    ips      -w (r - b) with w = min(pi(a | x) / p, cap): inverse-propensity weights, clipped, with the mean
             reward b taken off (Swaminathan & Joachims 2015, arXiv:1502.02362; Joachims et al. 2018,
             BanditNet, ICLR)
    imitate  -(r - least r) log pi(a | x)                    labels that were liked, weighted by how much
    ppo      the clipped surrogate over labels that the model itself draws, by the reward of
             `feedback.reward`, a specialist for (text, label) -> reward (rlhf/labels.py)
All of them pay `feedback.kl` for each nat of KL(pi || p_ref) away from the classifier as it was; over so few
labels it is summed exactly.

Deciding score: as of `classify`, on held-out rows with their true labels, which training never sees.
"""

# B rows, C classes, N items

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import Examples
from tunelab.data.layout import Encoded
from tunelab.data.read import GROUP, TEXT, read
from tunelab.data.table import Column, Table
from tunelab.errors import ConfigError, DataError, did_you_mean
from tunelab.tasks._classes import Classes, natural
from tunelab.tasks._texts import TextSettings

__all__ = ["Feedback", "FeedbackSettings"]

_TRUE = Column("label", ("label", "true_label", "gold", "truth", "category", "标签", "真实标签", "类别"))
_SHOWN = Column("shown", ("shown", "shown_label", "action", "prediction", "predicted", "展示", "展示标签"))
_REWARD = Column("reward", ("reward", "rating", "feedback", "score", "stars", "vote", "奖励", "评分", "反馈"))
_PROPENSITY = Column("propensity", ("propensity", "probability", "p", "prob", "倾向", "概率"), required=False)
#: Columns of a row's targets before the classifier's own log-probabilities.
_TOLD = 3


class FeedbackSettings(TextSettings):
    """Settings of feedback."""

    method: Literal["ips", "imitate", "ppo"] = Field("ips", description="how it is learnt from")
    reward: str = Field(
        "",
        description="ppo: a specialist for (text, label) -> reward: task regress with data.text_pair=shown",
    )
    kl: float = Field(0.1, ge=0, description="how dear a nat away from the classifier as it was is")
    cap: float = Field(10.0, gt=0, description="ips: the largest weight of a row")
    clip: float = Field(0.2, gt=0, lt=1, description="ppo: how far a ratio may go in a round")
    passes: int = Field(2, ge=1, description="ppo: passes over the labels that were drawn")

    @model_validator(mode="after")
    def _rewarded(self) -> "FeedbackSettings":
        if self.method == "ppo" and not self.reward:
            raise ValueError(
                "method ppo learns from a reward model: train one on the same file (tunelab run FILE --task "
                "regress --label reward data.text_pair=shown), and give feedback.reward=ITS/bundle"
            )
        return self


class Feedback(Classes):
    """One label out of several, learnt from rewards of labels that were shown."""

    name = "feedback"
    layouts = "text, label (the true one, for the verdict), shown, reward, and perhaps propensity"
    summary = "a trained classifier, and what people said of the labels it has shown: ips, imitate, ppo"
    paper = "Swaminathan & Joachims, Counterfactual Risk Minimization, 2015, arXiv:1502.02362"
    columns = (TEXT, _TRUE, _SHOWN, _REWARD, _PROPENSITY, GROUP)
    Settings: ClassVar[type[Section]] = FeedbackSettings
    baselines = ("untouched",)
    reads = ("text",)
    keeps_head = True
    settings: FeedbackSettings

    @property
    def online(self) -> bool:
        return self.settings.method == "ppo"

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        table = _read(files, cls.columns, chosen)
        labels = set(table.frame["label"])
        for row, shown in enumerate(table.frame["shown"]):
            if shown not in labels:
                raise DataError(
                    f"{table.where(row)}: the label that was shown, {shown!r}, is the true one of no row; "
                    f"{did_you_mean(shown, labels)}"
                )
        _numbers(table, "reward", -np.inf, np.inf, "a number")
        if "propensity" in table.frame:
            _numbers(table, "propensity", 1e-6, 1.0, "a probability, more than 0 and at most 1")
            return table
        note = "no column with the probability of the label that was shown: each is taken as 1"
        return Table(table.frame, table.columns, (*table.notes, note), table.source)

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        encoded = super().encode(table, tokenizer, max_length, cache)
        frame = table.frame
        if "shown" not in frame:  # (new texts)
            return encoded
        number = {label: i for i, label in enumerate(sorted(set(frame["label"]), key=natural))}
        told = [frame["shown"].map(number), frame["reward"].map(float)]
        told.append(frame["propensity"].map(float) if "propensity" in frame else told[1] * 0 + 1)
        return replace(encoded, beside=np.stack([part.to_numpy(np.float64) for part in told], axis=1))

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        if loss != LossConfig():
            raise ConfigError("feedback has losses of its own: leave out the settings of loss")
        return super().fit(labels, train_labels, loss, settings)

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """[rows, 3]: the label that was shown, its reward, its propensity; without rows the true labels."""
        if encoded is None or encoded.beside is None:
            return super().targets(labels, encoded)
        return self.rows_of_items(encoded.beside.astype(np.float32), encoded)

    def truth(self, labels: Sequence[str]) -> Any:
        return super().targets(labels)

    def refers(self, training: bool) -> bool:
        return training

    def referred(self, examples: Examples, outputs: np.ndarray) -> Examples:
        """The same rows; their targets also have the log-probabilities of the classifier as it was."""
        logps = torch.from_numpy(outputs).log_softmax(-1).numpy()
        targets = np.zeros((len(examples.targets), _TOLD + logps.shape[1]), dtype=np.float32)
        targets[:, :_TOLD] = examples.targets[:, :_TOLD]  # (they may have them already)
        targets[examples.rows, _TOLD:] = logps
        return replace(examples, targets=targets)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """targets: [B, 3 + C], rewards as `for_training` has made them; without the classifier's own
        log-probabilities, [B, 3], nothing is paid."""
        logps_BC = logits.float().log_softmax(-1)
        shown_B, reward_B, propensity_B = targets[:, 0].long(), targets[:, 1], targets[:, 2]
        own_B = logps_BC.gather(1, shown_B[:, None]).squeeze(1)
        count = torch.tensor(float(len(targets)), device=logits.device)
        if self.settings.method == "imitate":
            loss_B = -reward_B * own_B
        else:
            weight_B = (own_B.exp() / propensity_B).clamp(max=self.settings.cap)
            loss_B = -weight_B * reward_B
        return loss_B.sum() + self.settings.kl * self.moved(logps_BC, targets[:, _TOLD:]), count

    def moved(self, logps_BC: Tensor, reference_BC: Tensor) -> Tensor:
        """KL(pi || p_ref) in nats, summed over rows; 0 where the classifier as it was is not known."""
        if not reference_BC.shape[1]:
            return logps_BC.new_zeros(())
        return (logps_BC.exp() * (logps_BC - reference_BC)).sum()

    def for_training(self, examples: Examples) -> Examples:
        """Rewards less the mean of these rows (ips), or less the least of them (imitate)."""
        targets = examples.targets.copy()
        rewards = targets[examples.rows, 1]
        targets[:, 1] -= rewards.min() if self.settings.method == "imitate" else rewards.mean()
        return replace(examples, targets=targets)

    def told(self) -> str:
        return f"It was improved by feedback on the labels that it had shown. {super().told()}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        settings = FeedbackSettings(**values.get("settings", {}))
        return cls(values["labels"], LossConfig(), values["weights"], values["deciding"], settings)


def _read(files: Sequence[str], columns: Sequence[Column], chosen: Mapping[str, str]) -> Table:
    """With the propensities where a column is named so, else without."""
    whole = [replace(column, required=True) if column is _PROPENSITY else column for column in columns]
    try:
        return read(files, whole, chosen)
    except DataError:
        if "propensity" in chosen:
            raise
        return read(files, columns, chosen)


def _numbers(table: Table, name: str, least: float, most: float, what: str) -> None:
    for row, cell in enumerate(table.frame[name]):
        try:
            value = float(cell)
        except ValueError:
            value = np.nan
        if not least <= value <= most or not np.isfinite(value):
            raise DataError(f"{table.where(row)}: {name} is {cell!r}, not {what}")
