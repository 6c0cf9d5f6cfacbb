"""Losses over classes: cross-entropy with label smoothing and class weights, and the focal loss; for one
label out of several, and for any number of labels."""

# B batch, C classes, L labels

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["binary_cross_entropy", "cross_entropy", "focal"]


def cross_entropy(
    logits_BC: Tensor,
    labels_B: Tensor,
    *,
    label_smoothing: float = 0.0,
    weights_C: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy and its count, in float32.

    Each row's target is (1 - s) on its label and s / C on every class (Szegedy et al. 2016,
    arXiv:1512.00567, section 7). With class weights w the count is the sum of w over the labels,
    so that sum / count is the weighted mean, as in `torch.nn.functional.cross_entropy`.

    >>> total, count = cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    >>> round((total / count).item(), 4)  # log 4
    1.3863
    """
    logits_BC = logits_BC.float()
    total = F.cross_entropy(
        logits_BC, labels_B, weight=weights_C, label_smoothing=label_smoothing, reduction="sum"
    )
    return total, _count(labels_B, weights_C)


def focal(
    logits_BC: Tensor,
    labels_B: Tensor,
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    weights_C: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed focal loss and its count, in float32: -(1 - p)^gamma log p for the label's p.

    Lin et al. 2017, arXiv:1708.02002, equation 4; with class weights their alpha (equation 5). Label
    smoothing is applied to the cross-entropy that the factor multiplies.

    >>> total, count = focal(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0)
    >>> round(total.item(), 4)  # 0.25 * log 2
    0.1733
    """
    logits_BC = logits_BC.float()
    rows_B = F.cross_entropy(
        logits_BC, labels_B, weight=weights_C, label_smoothing=label_smoothing, reduction="none"
    )
    p_B = logits_BC.softmax(-1).gather(1, labels_B[:, None]).squeeze(1)
    return ((1.0 - p_B) ** gamma * rows_B).sum(), _count(labels_B, weights_C)


def binary_cross_entropy(
    logits_BL: Tensor,
    targets_BL: Tensor,
    *,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
    weights_L: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed binary cross-entropy over rows and labels, and their number, in float32; each label by itself.

    As `transformers` has it for `problem_type="multi_label_classification"`: sum / count is the mean over
    rows and labels. weights_L: of a label where it applies (torch's `pos_weight`); label_smoothing s: targets
    are (1 - s) y + s / 2; gamma: of the focal loss, -(1 - p)^gamma log p of the decision that is right (Lin
    et al. 2017, arXiv:1708.02002, equation 4).

    >>> total, count = binary_cross_entropy(torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 0, 0]]))
    >>> round((total / count).item(), 4), int(count)  # log 2
    (0.6931, 6)
    """
    logits_BL, targets_BL = logits_BL.float(), targets_BL.float()
    smooth_BL = targets_BL * (1 - label_smoothing) + label_smoothing / 2
    each_BL = F.binary_cross_entropy_with_logits(logits_BL, smooth_BL, pos_weight=weights_L, reduction="none")
    if gamma:
        wrong_BL = torch.sigmoid(logits_BL * (1 - 2 * targets_BL))
        each_BL = wrong_BL**gamma * each_BL
    return each_BL.sum(), torch.tensor(float(targets_BL.numel()), device=logits_BL.device)


def _count(labels_B: Tensor, weights_C: Tensor | None) -> Tensor:
    if weights_C is None:
        return torch.tensor(float(labels_B.numel()), device=labels_B.device)
    return weights_C[labels_B].sum()
