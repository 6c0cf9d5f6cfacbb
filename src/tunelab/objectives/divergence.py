"""How far two outputs for the same rows are apart: Kullback-Leibler divergence, both ways."""

# B batch, C classes, L labels

import torch.nn.functional as F
from torch import Tensor

__all__ = ["classes_divergence", "labels_divergence", "numbers_divergence"]


def classes_divergence(first_BC: Tensor, second_BC: Tensor) -> Tensor:
    """KL(P1 || P2) + KL(P2 || P1) of the softmax, summed over rows: sum of (p1 - p2) (log p1 - log p2).

    >>> import torch
    >>> first, second = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986123]])  # 1/2, 1/2; 1/4, 3/4
    >>> round(classes_divergence(first, second).item(), 4)  # 1/4 log 2 - 1/4 log 2/3 = 1/4 log 3
    0.2747
    """
    first_BC, second_BC = (logits.float().log_softmax(-1) for logits in (first_BC, second_BC))
    return ((first_BC.exp() - second_BC.exp()) * (first_BC - second_BC)).sum()


def labels_divergence(first_BL: Tensor, second_BL: Tensor) -> Tensor:
    """The same of every label's yes or no by itself, summed over rows and labels: (p1 - p2) (z1 - z2).

    >>> import torch
    >>> round(labels_divergence(torch.tensor([[0.0]]), torch.tensor([[1.0986123]])).item(), 4)
    0.2747
    """
    first_BL, second_BL = first_BL.float(), second_BL.float()
    return ((first_BL.sigmoid() - second_BL.sigmoid()) * (first_BL - second_BL)).sum()


def numbers_divergence(first_B1: Tensor, second_B1: Tensor) -> Tensor:
    """The same of normal distributions of standard deviation 1 around the numbers: the squared difference."""
    return F.mse_loss(first_B1.float(), second_B1.float(), reduction="sum")
