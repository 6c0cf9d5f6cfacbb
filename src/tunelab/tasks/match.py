"""Pairs of texts: how they relate, as a label or as a score; both are read together (a cross-encoder)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.config import LossConfig, Section
from tunelab.data.check_labels import is_scale
from tunelab.data.findings import Finding, Patient
from tunelab.data.read import FIRST, GROUP, SCORE, SECOND
from tunelab.tasks._classes import Classes
from tunelab.tasks._numbers import Numbers
from tunelab.tasks.base import Task

__all__ = ["Match"]


class _Scored(Numbers):
    """Two texts, one number."""

    name = "match"
    columns = (FIRST, SECOND, SCORE, GROUP)


class Match(Classes):
    """Two texts, one label; labels that are numbers on a scale are learnt as numbers."""

    name = "match"
    summary = "two texts, one label or score (paraphrase, entailment, relevance)"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805, section 4.1 (MNLI, QQP, STS-B)"
    columns = (FIRST, SECOND, SCORE, GROUP)

    @classmethod
    def fit(  # type: ignore[override]
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Task:
        if _scale(labels):
            return _Scored.fit(labels, train_labels, loss, settings)
        return super().fit(labels, train_labels, loss, settings)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        if is_scale(patient.classes, int(patient.usable.sum())):
            return _Scored.check_labels(patient)
        return super().check_labels(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        return _Scored.strata(labels) if _scale(labels) else super().strata(labels)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:  # type: ignore[override]
        return _Scored.from_dict(values) if "mean" in values else super().from_dict(values)


def _scale(labels: Sequence[str]) -> bool:
    return is_scale(sorted(Counter(labels)), len(labels))
