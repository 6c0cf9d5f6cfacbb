"""DoRA: LoRA for the direction of each weight matrix's rows, and a trained length beside it.

Paper: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, arXiv:2402.09353, section 4.1,
equation 5.
    W' = m · (W + (alpha / R) · B A) / ‖W + (alpha / R) · B A‖      norm of each output's weights
Trains R · (D_in + D_out) + D_out numbers per target, and the head. m starts as ‖W‖ and B at zero, so
step 0 equals the base. The norm is treated as a constant in the gradient (section 4.3).
Learning rate: as LoRA.
Search: 0.0001 to 0.005; LoRA's range.
"""

from typing import Any

from tunelab.methods._peft import LowRankSettings, PeftMethod, stored_transposed
from tunelab.methods.structure import Structure

__all__ = ["Dora", "DoraSettings"]


class DoraSettings(LowRankSettings):
    """Settings of DoRA."""


class Dora(PeftMethod):
    """Low-rank direction, trained length."""

    name = "dora"
    summary = "LoRA for the direction of the weights, and a trained magnitude"
    paper = "Liu et al., DoRA, 2024, arXiv:2402.09353"
    Settings = DoraSettings
    learning_rate = 1e-3
    learning_rates = (0.0001, 0.005)
    peft_type = "LORA"
    settings: DoraSettings

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import LoraConfig

        targets = structure.targets(self.settings.targets, "dora.targets")
        return LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=targets,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, targets, "dora.targets"),
            use_dora=True,
        )
