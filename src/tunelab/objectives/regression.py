"""Losses over one number a row: squared error and Huber's."""

# B batch

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["huber", "mse"]


def mse(values_B1: Tensor, targets_B: Tensor) -> tuple[Tensor, Tensor]:
    """Summed squared error and the number of rows, in float32.

    >>> total, count = mse(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))
    >>> (total / count).item()  # (1 + 4) / 2
    2.5
    """
    values_B = values_B1.float().squeeze(1)
    return F.mse_loss(values_B, targets_B.float(), reduction="sum"), _rows(targets_B)


def huber(values_B1: Tensor, targets_B: Tensor, *, delta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Summed Huber loss and the number of rows, in float32: e² / 2 up to an error of delta, then
    delta (|e| - delta / 2).

    Huber 1964, Annals of Mathematical Statistics 35:73.

    >>> total, _ = huber(torch.tensor([[0.5], [3.0]]), torch.tensor([0.0, 0.0]))
    >>> total.item()  # 0.125 + 2.5
    2.625
    """
    values_B = values_B1.float().squeeze(1)
    return F.huber_loss(values_B, targets_B.float(), reduction="sum", delta=delta), _rows(targets_B)


def _rows(targets_B: Tensor) -> Tensor:
    return torch.tensor(float(targets_B.numel()), device=targets_B.device)
