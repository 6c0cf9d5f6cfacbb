"""rsLoRA: LoRA with a scale that lets higher ranks learn as fast as low ones.

Paper: Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023,
arXiv:2312.03732, section 3.2, theorem 3.2.
    h = W x + (alpha / √R) · B A x        A: [R, D_in] random, B: [D_out, R] zero
Trains R · (D_in + D_out) numbers per target, and the head. B starts at zero, so step 0 equals the base.
The default rank is higher than LoRA's: that is what the scale is for.
Learning rate: LoRA's, as in the paper.
Search: 0.0001 to 0.005; LoRA's range; its scale grows with the rank, so large ranks end lower in
it.
"""

from typing import Any

from pydantic import Field

from tunelab.methods._peft import LowRankSettings, PeftMethod, stored_transposed
from tunelab.methods.structure import Structure

__all__ = ["RsLora", "RsLoraSettings"]


class RsLoraSettings(LowRankSettings):
    """Settings of rsLoRA."""

    rank: int = Field(32, ge=1, le=1024, description="rank R of the update of each weight matrix")


class RsLora(PeftMethod):
    """LoRA scaled by the root of its rank."""

    name = "rslora"
    summary = "LoRA scaled by the square root of its rank, for higher ranks"
    paper = "Kalajdzievski, rsLoRA, 2023, arXiv:2312.03732"
    Settings = RsLoraSettings
    learning_rate = 1e-3
    learning_rates = (0.0001, 0.005)
    peft_type = "LORA"
    settings: RsLoraSettings

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import LoraConfig

        targets = structure.targets(self.settings.targets, "rslora.targets")
        return LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=targets,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, targets, "rslora.targets"),
            use_rslora=True,
        )
