"""What a study takes besides its trainings, from the same probes: what is left out here is left out of its
budget.

Estimates, all on the high side: what is read is read in float32 at the speed of judging, and the last
training is that of the dearest method on one worker's threads. The regressions of the baselines are left out
(seconds, with many classes minutes), and so are reading the data and writing the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.config import RunConfig
from tunelab.study.plan import Probe, evaluation_tokens
from tunelab.study.prepare import Prepared
from tunelab.tasks.base import Task

__all__ = ["Beside", "baseline_seconds", "latency_seconds", "span", "verify_seconds"]

#: Rows that a bundle is verified by (run.py), and answers that latency asks for (latency.py, the first of
#: each kind to warm up): one by one, and in batches of 32; the same of answers that are written.
_VERIFIED = 64
_SINGLE, _BATCHED = 21, 5 * 32
_SINGLE_WRITTEN, _BATCHED_WRITTEN = 9, 3 * 32
#: One answer that is written takes at most as long as the sixteen at once that a probe writes (plan.py).
_AS_MANY = 16


@dataclass(frozen=True)
class Beside:
    """Seconds by the clock of what is no training: probes, baselines, verification of the bundles, latency,
    and after folds the advised method on all rows."""

    probes: float
    baselines: float
    verification: float
    latency: float
    refit: float

    @property
    def seconds(self) -> float:
        """Of all together."""
        return self.probes + self.baselines + self.verification + self.latency + self.refit

    def told(self) -> str:
        """The parts that are to be noticed, the longest first.

        >>> Beside(probes=40.0, baselines=0.2, verification=90.0, latency=0.0, refit=600.0).told()
        'the last training on all rows 10 min, verification 1.5 min, probes 40 s'
        """
        names = {"refit": "the last training on all rows"}
        parts = sorted(vars(self).items(), key=lambda part: -part[1])
        return ", ".join(f"{names.get(name, name)} {span(value)}" for name, value in parts if value >= 1.0)


def span(seconds: float) -> str:
    """For a message.

    >>> span(40.0), span(90.0), span(5400.0)
    ('40 s', '1.5 min', '90 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"


def verify_seconds(probe: Probe, config: RunConfig, prepared: Prepared, task: Task, device: str) -> float:
    """Of one bundle: to open it and to read its first rows (of answers that are written, these too are only
    read: training reads as fast, or slower)."""
    rows = _judged(config, prepared)[:_VERIFIED]
    token_seconds = probe.token_seconds if task.written else probe.judge_seconds
    return probe.load_seconds + token_seconds * evaluation_tokens(prepared, rows, device)


def latency_seconds(probe: Probe, config: RunConfig, prepared: Prepared, task: Task, device: str) -> float:
    """Of one method: to open its bundle (twice, where it also writes samples) and to ask it."""
    rows = _judged(config, prepared)
    each = probe.judge_seconds * evaluation_tokens(prepared, rows, device) / max(len(rows), 1)
    if task.written:
        return 2 * probe.load_seconds + each * (_SINGLE_WRITTEN * _AS_MANY + _BATCHED_WRITTEN)
    return probe.load_seconds * (2 if task.writes else 1) + each * (_SINGLE + _BATCHED)


def baseline_seconds(
    names: Sequence[str], probe: Probe, config: RunConfig, prepared: Prepared, device: str
) -> float:
    """Of a fold's baselines: those that ask a model read the fold's rows, or write their answers."""
    split = prepared.split(config.fold)
    seconds = 0.0
    if "embeddings" in names:
        rows = np.concatenate([split.train, split.valid, split.test])
        seconds += probe.load_seconds + probe.judge_seconds * evaluation_tokens(prepared, rows, device)
    if "untouched" in names:
        tokens = sum(evaluation_tokens(prepared, rows, device) for rows in (split.valid, split.test))
        seconds += probe.load_seconds + probe.judge_seconds * tokens
    return seconds


def _judged(config: RunConfig, prepared: Prepared) -> np.ndarray:
    split = prepared.split(config.fold, config.share)
    return split.test if len(split.test) else split.valid
