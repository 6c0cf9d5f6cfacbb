"""AdamW over a method's parameter groups."""

from typing import Any

import torch

__all__ = ["adamw", "divide_and_clip", "set_rate"]


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


def divide_and_clip(optimizer: torch.optim.Optimizer, count: float, max_norm: float) -> float:
    """Divides summed gradients by `count` and scales them together to at most `max_norm` (0: not clipped);
    returns the norm of the mean gradient before clipping.

    Both are one multiplication, so the gradients are read and written once. Clipping: Pascanu et al. 2013,
    arXiv:1211.5063, section 3.2.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return 0.0
    norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True)) / count
    scale = min(1.0, max_norm / (norm + 1e-6)) if max_norm > 0 else 1.0
    torch._foreach_mul_(gradients, scale / count)
    return norm
