"""What a training does besides minimising its loss, put around what the loop is given: the loop knows none of
it. (What a model drops is its own, see `models.py`; weight decay is the optimizer's.)"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunelab.config import TrainConfig
from tunelab.methods.base import Tuned
from tunelab.train.averaging import Averaged, Judge, ema, swa
from tunelab.train.r_drop import Divergence, Objective, r_drop

__all__ = ["Regularised", "regularised"]


@dataclass(frozen=True)
class Regularised:
    """What the loop is given in the place of a method's model, a task's objective and a judge."""

    tuned: Tuned
    objective: Objective
    judging: Callable[[Judge], Judge]


@contextlib.contextmanager
def regularised(
    tuned: Tuned, objective: Objective, divergence: Divergence, config: TrainConfig
) -> Iterator[Regularised]:
    """Inside, `tuned` is trained with what `config` asks for; divergence: see `r_drop`."""
    with contextlib.ExitStack() as stack:
        if config.r_drop:
            objective = stack.enter_context(r_drop(tuned.model, objective, divergence, config.r_drop))
        if config.ema is None and config.swa is None:
            yield Regularised(tuned, objective, lambda judge: judge)
            return
        averaged = Averaged(tuned, swa(config.swa) if config.swa is not None else ema(config.ema or 0.0))
        yield Regularised(averaged, objective, averaged.judging)
