"""AdamW over a method's parameter groups."""

from typing import Any

import torch

__all__ = ["adamw", "clip", "set_rate"]


def adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101), betas 0.9 and
    0.999, epsilon 1e-8; one fused kernel for all parameters. Each group keeps its peak rate in
    "peak".
    """
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Sets every group's learning rate to `share` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def clip(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Scales all gradients together to at most `max_norm` (0: leaves them); returns their norm.

    Pascanu et al. 2013, arXiv:1211.5063, section 3.2.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not parameters:
        return 0.0
    limit = max_norm if max_norm > 0 else float("inf")
    return float(torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True))
