"""LoRA: each chosen weight matrix gets a trained update of low rank, the matrix itself is frozen.

Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022, arXiv:2106.09685,
section 4.1, equation 3.
    h = W x + (alpha / R) · B A x         A: [R, D_in] random, B: [D_out, R] zero
Trains R · (D_in + D_out) numbers per target, and the head. B starts at zero, so step 0 equals the base.
A projection that computes queries, keys and values at once (GPT-2, ModernBERT) is adapted whole.
Learning rate: the paper takes 4e-4 to 5e-4 for RoBERTa-base (table 9); a small encoder takes more.
Search: 0.0001 to 0.005; ten times the range of full fine-tuning; the paper takes 4e-4 to 5e-4.
"""

from typing import Any

from tunelab.methods._peft import LowRankSettings, PeftMethod, stored_transposed
from tunelab.methods.structure import Structure

__all__ = ["Lora", "LoraSettings"]


class LoraSettings(LowRankSettings):
    """Settings of LoRA."""


class Lora(PeftMethod):
    """Low-rank updates of frozen weights."""

    name = "lora"
    summary = "low-rank updates of the attention weights, the trunk frozen"
    paper = "Hu et al., LoRA, 2022, arXiv:2106.09685"
    Settings = LoraSettings
    learning_rate = 1e-3
    learning_rates = (0.0001, 0.005)
    peft_type = "LORA"
    settings: LoraSettings

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import LoraConfig

        targets = structure.targets(self.settings.targets, "lora.targets")
        return LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=targets,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, targets, "lora.targets"),
        )
