"""Layer-wise learning-rate decay: every parameter moves, the lower ones more slowly.

Paper: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018,
arXiv:1801.06146, section 3.2 (discriminative fine-tuning); for encoders Clark et al., ELECTRA, 2020,
arXiv:2003.10555.
    η_l = η · decay^(L + 1 − l)           l = 0: embeddings, 1 to L: layers, L + 1: head
The head moves with η, the top layer (and the final norm above it) with η · decay, the embeddings with
η · decay^(L + 1).
Trains as many numbers as the model has.
Learning rate: the top's; twice that of full fine-tuning, as the lower layers take less (measured: 1e-4 gave
0.89, 2e-4 gave 0.91; docs/LOG.md). ELECTRA's code takes a decay of 0.9 for its large size and 0.8 for the
others, ULMFiT 1 / 2.6; the default is the mildest.
Search: 3e-5 to 1e-3; twice the range of full fine-tuning, as it is the top's; the lower layers get less.
"""

from typing import Any

from pydantic import Field
from torch import nn

from tunelab.config import Section
from tunelab.methods._selective import SelectiveMethod, SelectiveTuned
from tunelab.methods.base import split_by_decay
from tunelab.methods.structure import Structure, find_structure

__all__ = ["LayerDecay", "LayerDecaySettings"]


class LayerDecaySettings(Section):
    """Settings of layer-wise learning-rate decay."""

    decay: float = Field(
        0.9, gt=0, le=1, description="a layer's learning rate as a share of the one above it"
    )


class LayerDecayTuned(SelectiveTuned):
    """One learning rate a level."""

    def __init__(self, structure: Structure, decay: float) -> None:
        self._levels = structure.levels()
        self._top = structure.depth + 1
        self._decay = decay
        super().__init__(structure.model, self._levels)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = []
        for level in range(self._top, -1, -1):
            named = [(n, p) for n, p in self.named_moving() if self._levels[n] == level]
            if named:
                groups += split_by_decay(
                    named, learning_rate * self._decay ** (self._top - level), weight_decay
                )
        return groups


class LayerDecay(SelectiveMethod):
    """Lower layers learn more slowly."""

    name = "layer_decay"
    summary = "every parameter is trained, lower layers with a smaller learning rate"
    paper = "Howard and Ruder, ULMFiT, 2018, arXiv:1801.06146; Clark et al., ELECTRA, 2020, arXiv:2003.10555"
    Settings = LayerDecaySettings
    learning_rate = 2e-4
    learning_rates = (3e-5, 1e-3)
    settings: LayerDecaySettings

    def attach(self, model: nn.Module) -> SelectiveTuned:
        structure = find_structure(model)
        return LayerDecayTuned(structure, self.settings.decay)
