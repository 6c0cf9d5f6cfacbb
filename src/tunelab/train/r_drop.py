"""R-Drop: every batch goes through the model twice, and what dropout makes of it each time must agree.

Paper: Liang et al., "R-Drop: Regularized Dropout for Neural Networks", 2021, arXiv:2106.14448, equation 4:
    L = L1 + L2 + alpha/2 · (KL(P1 || P2) + KL(P2 || P1))
Here half of it, ½ (L1 + L2) + alpha/4 · (KL12 + KL21): alpha = 0 is the plain loss at the plain rate.
The paper takes alpha from 1 to 5. A step takes twice the time and memory.

P is what the task makes of the logits: a distribution over classes; of labels each by itself, yes or no; of
a number, a normal distribution of standard deviation 1, so that KL12 + KL21 is the squared difference. Where
there are logits of every token, the tokens that have a target count, each as a row does.
"""

# B batch, T tokens, C classes, N tokens with a target

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.data.batch import IGNORED
from tunelab.errors import ConfigError

__all__ = ["r_drop"]

Objective = Callable[[Tensor, Any], tuple[Tensor, Tensor]]
#: (logits, logits of the same rows again) -> KL12 + KL21, summed over rows.
Divergence = Callable[[Tensor, Tensor], Tensor]


@contextlib.contextmanager
def r_drop(
    model: nn.Module, objective: Objective, divergence: Divergence, alpha: float
) -> Iterator[Objective]:
    """Inside, the objective that is given asks `model` once more about the batch whose logits it gets.

    Raises (in training):
        ConfigError: both times the logits are the same, and nothing is there that drops. (A low-rank update
            of zero has dropout before it, and is the same until it has learnt something.)
    """
    asked: dict[str, Any] = {}
    known = [False]

    def remember(_module: nn.Module, _args: Any, named: dict[str, Any]) -> None:
        asked.clear()
        asked.update(named)

    def both(first: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
        second = model(**asked).logits
        if not known[0] and not _drops(model) and torch.equal(first, second):
            raise ConfigError(
                "train.r_drop compares two passes with different dropout, and this model drops nothing where "
                "the method trains: give model.dropout=0.1 and model.classifier_dropout=0.1, or leave it out"
            )
        known[0] = True
        (total, count), (again, _) = objective(first, targets), objective(second, targets)
        apart = divergence(_judged(first, targets), _judged(second, targets))
        return (total + again) / 2 + alpha / 4 * apart, count

    hook = model.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        yield both
    finally:
        hook.remove()


def _drops(model: nn.Module) -> bool:
    """Whether a part of the model drops something now."""
    return any(isinstance(part, nn.Dropout) and part.training and part.p > 0 for part in model.modules())


def _judged(logits: Tensor, targets: Any) -> Tensor:
    """Of logits of every token, [B, T, C], those that the loss counts, [N, C]; others as they are."""
    return logits[targets != IGNORED] if logits.dim() == 3 else logits
