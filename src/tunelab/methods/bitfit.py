"""BitFit: only the bias terms move (and the head).

Paper: Ben Zaken, Goldberg and Ravfogel, "BitFit: Simple Parameter-efficient Fine-tuning for
Transformer-based Masked Language-models", 2022, arXiv:2106.10199, section 3.
    h = W x + b                           b moves, W is frozen; likewise the bias of every norm
Trains the sum of the trunk's biases' sizes, and the head.
Differs from the paper: many newer models have no bias at all (Llama, Qwen3, ModernBERT). There the scales
of the norms move instead (setting `norm_scales`), the nearest thing: one number a feature, as in Zhao et
al., "Tuning LayerNorm in Attention", 2023, arXiv:2312.11420. Qwen2 has biases at its queries, keys and
values only, and only those move.
Learning rate: the paper searches 1e-4 to 1e-3 (appendix A.2), higher than for full fine-tuning; a small
encoder takes more (measured: 1e-3 gave 0.85, 3e-3 gave 0.88; docs/LOG.md).
Search: 3e-4 to 1e-2; the paper's range moved up, as small encoders and few steps want more; Hu et al. 2022
(arXiv:2106.09685, table 12) take 1.6e-3.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from tunelab.config import Section
from tunelab.errors import ConfigError
from tunelab.methods._selective import SelectiveMethod, SelectiveTuned
from tunelab.methods.structure import find_structure

__all__ = ["BitFit", "BitFitSettings"]


class BitFitSettings(Section):
    """Settings of BitFit."""

    norm_scales: Literal["auto", "always", "never"] = Field(
        "auto", description="also train the scales of the norms; auto: only where the trunk has no biases"
    )


class BitFit(SelectiveMethod):
    """Biases move."""

    name = "bitfit"
    summary = "only the bias terms and the head are trained (norm scales where a model has no biases)"
    paper = "Ben Zaken et al., BitFit, 2022, arXiv:2106.10199"
    Settings = BitFitSettings
    learning_rate = 2e-3
    learning_rates = (3e-4, 1e-2)
    settings: BitFitSettings

    def attach(self, model: nn.Module) -> SelectiveTuned:
        structure = find_structure(model)
        head = structure.head_parameters()
        vectors = {
            name for name, parameter in model.named_parameters() if parameter.ndim == 1 and name not in head
        }
        biases = {name for name in vectors if name.rsplit(".", 1)[-1] == "bias"}
        wanted = self.settings.norm_scales
        if not biases and wanted == "never":
            raise ConfigError(
                f"{type(model).__name__} has no bias terms, so bitfit has nothing to train; "
                "set bitfit.norm_scales=auto to train the scales of its norms, or use ia3 or lora"
            )
        scales = vectors - biases if wanted == "always" or (wanted == "auto" and not biases) else set()
        return SelectiveTuned(model, biases | scales | set(head))
