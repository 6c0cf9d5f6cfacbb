"""Averages of the weights that a training passes through: they are judged and kept, in the place of the last.

ema     average ← d average + (1 - d) weights, after every step; d = min(decay, (1 + t) / (10 + t)) after
        step t, so that the beginning is forgotten soon (the rule of TensorFlow's ExponentialMovingAverage;
        for averaging itself Polyak and Juditsky 1992, SIAM J. Control Optim. 30:838)
swa     the plain mean of the weights after every step from a share of the training on; before it the
        weights themselves (Izmailov et al. 2018, arXiv:1803.05407, who average once an epoch at a constant
        or cyclical rate: train.schedule=constant)

The training itself is not changed. What is averaged is all that a method trains, and lies in the checkpoint.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.methods.base import Tuned

__all__ = ["Averaged", "ema", "swa"]

#: (step, all steps, steps averaged so far) -> how far the average goes towards the weights; None: not begun.
Rule = Callable[[int, int, int], float | None]
Judge = Callable[[], tuple[dict[str, float], str]]

_TENSOR, _COUNT = "average.", "averaged_steps"


def ema(decay: float) -> Rule:
    """
    >>> [round(ema(0.9)(step, 100, step), 4) for step in (1, 10, 100)]
    [0.8182, 0.45, 0.1]
    """
    return lambda step, total, count: 1 - min(decay, (1 + step) / (10 + step))


def swa(start: float) -> Rule:
    """
    >>> [swa(0.5)(step, 4, count) for step, count in ((2, 0), (3, 0), (4, 1))]
    [None, 1.0, 0.5]
    """
    return lambda step, total, count: 1 / (count + 1) if step > start * total else None


class Averaged(Tuned):
    """A model made ready by a method, with the average of its weights beside it."""

    def __init__(self, tuned: Tuned, rule: Rule) -> None:
        super().__init__(tuned.model)
        self._tuned = tuned
        self._rule = rule
        self._average = {name: tensor.clone() for name, tensor in tuned.state().items()}
        self._count = 0

    @property
    def frozen_depth(self) -> int:  # type: ignore[override]
        return self._tuned.frozen_depth

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return self._tuned.param_groups(learning_rate, weight_decay)

    def frozen_modules(self) -> list[nn.Module]:
        return self._tuned.frozen_modules()

    def on_progress(self, step: int, total_steps: int) -> None:
        self._tuned.on_progress(step, total_steps)
        weight = self._rule(step, total_steps, self._count) if step else None
        if weight is None:
            return
        self._count += 1
        with torch.no_grad():
            for name, tensor in self._tuned.state().items():
                self._average[name].lerp_(tensor, weight)

    def extra_loss(self) -> Tensor | None:
        return self._tuned.extra_loss()

    def merge(self) -> nn.Module:
        return self._tuned.merge()

    def state(self) -> dict[str, Tensor]:
        return self._tuned.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._tuned.load_state(state)

    def judged_state(self) -> dict[str, Tensor]:
        return self._average if self._count else self._tuned.state()

    def judging(self, judge: Judge) -> Judge:
        """The judge of the averaged weights; afterwards those of the training are back."""

        def judged() -> tuple[dict[str, float], str]:
            moving = {name: tensor.clone() for name, tensor in self._tuned.state().items()}
            self._tuned.load_state(self.judged_state())
            try:
                return judge()
            finally:
                self._tuned.load_state(moving)

        return judged

    def progress_state(self) -> dict[str, Any]:
        own = {f"{_TENSOR}{name}": tensor for name, tensor in self._average.items()}
        return {**self._tuned.progress_state(), **own, _COUNT: self._count}

    def load_progress_state(self, state: Mapping[str, Any]) -> None:
        self._count = int(state[_COUNT])
        for name, tensor in self._average.items():
            tensor.copy_(state[f"{_TENSOR}{name}"])
        self._tuned.load_progress_state(
            {k: v for k, v in state.items() if k != _COUNT and not k.startswith(_TENSOR)}
        )

    def save(self, folder: Path) -> None:
        self._tuned.save(folder)
