"""The learning rate over the steps: a pure function, so a continued run needs no state for it."""

import math

from tunelab.config import TrainConfig

__all__ = ["rate", "total_steps"]

#: Without `epochs`: this many passes, but at least so many optimizer steps, within so many passes. Few steps
#: are why fine-tuning on small data fails (Mosbach et al. 2021, arXiv:2006.04884, section 6: 20 epochs).
_EPOCHS, _LEAST_STEPS, _MOST_EPOCHS = 3, 300, 20


def total_steps(rows: int, config: TrainConfig) -> int:
    """Optimizer steps of a training on so many rows, at least 1.

    >>> [total_steps(rows, TrainConfig()) for rows in (64, 2000, 6920)]  # 20, 4.8 and 3 passes
    [40, 300, 651]
    >>> total_steps(6920, TrainConfig(epochs=1))
    217
    """
    per_epoch = math.ceil(rows / config.batch_size)
    if config.epochs is not None:
        return max(1, round(config.epochs * per_epoch))
    return min(max(_EPOCHS * per_epoch, _LEAST_STEPS), _MOST_EPOCHS * per_epoch)


def rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """The share in [0, 1] of the peak learning rate at optimizer step `step` (0 .. total_steps - 1).

    Warm-up: (step + 1) / W over the first W = ceil(warmup_ratio * total) steps, so that the first step
    already moves. Then, with u in [0, 1] running over the rest:
        linear    1 - u
        cosine    (1 + cos(pi u)) / 2        Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5
        constant  1
        wsd       1, then linear to 0 over the last decay_ratio of all steps
                                             Hu et al. 2024, arXiv:2404.06395, section 4

    >>> config = TrainConfig(warmup_ratio=0.2, schedule="linear")
    >>> [round(rate(s, 10, config), 3) for s in range(10)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """
    warmup = math.ceil(config.warmup_ratio * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total_steps - warmup, 1)
    if config.schedule == "linear":
        return 1.0 - done
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if config.schedule == "wsd":
        decay = max(1, math.ceil(config.decay_ratio * total_steps))
        return min(1.0, (total_steps - step) / decay)
    return 1.0
