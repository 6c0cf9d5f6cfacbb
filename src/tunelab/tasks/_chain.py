"""A chain over a model's token labels: the CRF that `tag.head=crf` puts above them.

Its scores are kept a hundred times smaller than they are used: one learning rate serves the whole model, and
a transition has to move by units while a pretrained weight moves by thousandths (bert4keras' `lr_multiplier`
of its `ConditionalRandomField` is the same device).
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NAME", "Chain", "chain_of"]

NAME = "chain"
#: How much a transition's score moves with its parameter.
SCALE = 100.0


class Chain(nn.Module):
    """C * C + 2 C numbers: how well labels follow each other, begin and end a row; 0 at first."""

    #: `train/precision.py` leaves these in float32.
    float32 = True

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """transitions_CC, start_C, end_C."""
        return SCALE * self.transitions, SCALE * self.start, SCALE * self.end


def chain_of(model: Any) -> Chain:
    """The chain that trains, wherever a method has wrapped the model (PEFT copies what it trains)."""
    chains = [module for module in model.modules() if isinstance(module, Chain)]
    moving = [chain for chain in chains if chain.transitions.requires_grad]
    return (moving or chains)[-1]
