"""Losses against torch and numbers derived by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from tunelab.objectives.classification import cross_entropy, focal

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-3.0, 0.0, 4.0]])
LABELS = torch.tensor([0, 2, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 1.5])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_mean_equals_torch(smoothing: float, weights: torch.Tensor | None) -> None:
    total, count = cross_entropy(LOGITS, LABELS, label_smoothing=smoothing, weights_C=weights)
    expected = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(total / count, expected)


def test_sums_add_up_over_any_split() -> None:
    whole = cross_entropy(LOGITS, LABELS, weights_C=WEIGHTS)
    parts = [cross_entropy(LOGITS[i : i + 1], LABELS[i : i + 1], weights_C=WEIGHTS) for i in range(3)]
    for i in (0, 1):
        torch.testing.assert_close(whole[i], torch.stack([part[i] for part in parts]).sum())


def test_focal_by_hand() -> None:
    """Two classes, logits (log 3, 0): p = 3/4, so (1/4)^2 * -log(3/4) = 0.0625 * 0.28768 = 0.01798."""
    total, count = focal(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]), gamma=2.0)
    assert total.item() == pytest.approx(0.0625 * -math.log(0.75))
    assert count.item() == 1


def test_focal_without_focus_is_cross_entropy() -> None:
    ours = focal(LOGITS, LABELS, gamma=0.0, label_smoothing=0.1, weights_C=WEIGHTS)
    torch.testing.assert_close(ours, cross_entropy(LOGITS, LABELS, label_smoothing=0.1, weights_C=WEIGHTS))


def test_half_precision_logits_are_summed_in_float32() -> None:
    total, _ = cross_entropy(LOGITS.bfloat16(), LABELS)
    assert total.dtype == torch.float32
