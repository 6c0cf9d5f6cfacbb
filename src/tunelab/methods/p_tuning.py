"""P-tuning: the vectors read before every text come from a small trained network; the trunk is frozen.

Paper: Liu et al., "GPT Understands, Too", 2021, arXiv:2103.10385.
    P = encoder(V)                        V: [N, E] trained
    mlp:   W_3 relu(W_2 relu(W_1 V))      W_1: [H, E], W_2: [H, H], W_3: [E, H], with biases
    lstm:  W_2 relu(W_1 BiLSTM(V))        two layers of H each way; W_1: [2H, 2H], W_2: [E, 2H], with biases
Trains N·E and the network, and the head. mlp: E·H + H + H·H + H + H·E + E. lstm: 8·H·(E + H + 2) for the
first layer, 8·H·(2H + H + 2) for each further one, and 4·H·H + 2·H + 2·H·E + E.
Only P is saved: the network is needed in training alone.
Differs from the paper: all vectors come before the text, none between its parts.
Learning rate: PEFT's examples with a frozen trunk take 1e-3 to 3e-2. The head takes `head_ratio` of it.
Search: 1e-3 to 1e-1; below prompt tuning's: weights of a network move, not the prompt itself (3e-2 was
already worse than 1e-2 here; docs/LOG.md).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tunelab.methods._virtual import VirtualMethod, VirtualSettings
from tunelab.methods.structure import Structure

__all__ = ["PTuning", "PTuningSettings"]


class PTuningSettings(VirtualSettings):
    """Settings of P-tuning."""

    encoder: Literal["mlp", "lstm"] = Field("mlp", description="the network that gives the vectors")
    hidden_size: int | None = Field(
        None, ge=1, le=8192, description="its width H; None: the embeddings' size"
    )
    lstm_layers: int = Field(2, ge=1, le=4, description="layers of the lstm")


class PromptNetwork(nn.Module):
    """V and the network that reads it."""

    def __init__(self, count: int, size: int, settings: PTuningSettings) -> None:
        super().__init__()
        width = settings.hidden_size or size
        self.inputs = nn.Parameter(torch.randn(count, size))
        self.lstm: nn.LSTM | None = None
        if settings.encoder == "lstm":
            self.lstm = nn.LSTM(size, width, settings.lstm_layers, bidirectional=True)
            self.mlp = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, size))
        else:
            self.mlp = nn.Sequential(
                nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size)
            )

    def forward(self) -> Tensor:
        hidden_NH = self.inputs if self.lstm is None else self.lstm(self.inputs)[0]
        prompt_NE: Tensor = self.mlp(hidden_NH)
        return prompt_NE


class PTuning(VirtualMethod):
    """Vectors from a network before the text."""

    name = "p_tuning"
    summary = "as prompt, the vectors coming from a small trained network"
    paper = "Liu et al., GPT Understands, Too, 2021, arXiv:2103.10385"
    Settings = PTuningSettings
    learning_rate = 1e-2
    learning_rates = (1e-3, 1e-1)
    kind = "TUNELAB_P_TUNING"
    settings: PTuningSettings

    def encoder(self, structure: Structure) -> nn.Module:
        size = structure.word_embeddings.embedding_dim
        return PromptNetwork(self.settings.num_virtual_tokens, size, self.settings)
