"""Top layers only: the lowest layers and the embeddings are frozen, the top K layers move.

Paper: Lee, Tang and Lin, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning", 2019,
arXiv:1911.03090 (a quarter of the layers is enough for about 90 % of the quality).
    θ_l ← θ_l − η · AdamW(∇ loss)         for l > L − K; the others stay as pretrained
Trains the top K of L layers, the final norm where there is one, and the head. With K = L only the
embeddings stay frozen.
Learning rate: twice that of full fine-tuning, as fewer layers move (measured: 2e-4 gave 0.90, 5e-4 0.89;
docs/LOG.md).
Search: 3e-5 to 1e-3; twice the range of full fine-tuning: fewer layers move.
"""

from pydantic import Field
from torch import nn

from tunelab.config import Section
from tunelab.methods._selective import SelectiveMethod, SelectiveTuned
from tunelab.methods.structure import find_structure

__all__ = ["TopLayers", "TopLayersSettings"]


class TopLayersSettings(Section):
    """Settings of top_layers."""

    layers: int = Field(2, ge=1, le=1000, description="layers that move, counted from the top")


class TopLayers(SelectiveMethod):
    """The top K layers move."""

    name = "top_layers"
    summary = "only the top layers and the head are trained"
    paper = "Lee et al., What Would Elsa Do?, 2019, arXiv:1911.03090"
    Settings = TopLayersSettings
    learning_rate = 2e-4
    learning_rates = (3e-5, 1e-3)
    settings: TopLayersSettings

    def attach(self, model: nn.Module) -> SelectiveTuned:
        structure = find_structure(model)
        lowest = structure.lowest(self.settings.layers, "top_layers.layers")
        moving = [name for name, level in structure.levels().items() if level >= lowest]
        return SelectiveTuned(model, moving, lowest, structure.quiet_modules(lowest))
