"""rsLoRA: LoRA with a scale that lets higher ranks learn as fast as low ones.

Paper: Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023,
arXiv:2312.03732.
    h = W x + (alpha / √R) · B A x        A: [R, D_in] random, B: [D_out, R] zero
Trains R · (D_in + D_out) numbers per target, and the head. B starts at zero, so step 0 equals the base.
The default rank is higher than LoRA's: that is what the scale is for.
Learning rate: LoRA's, as in the paper.
Search: 1e-4 to 5e-3; LoRA's range: the scale is made so that the rank does not move the best rate.
"""

from pydantic import Field

from tunelab.methods._peft import LowRankMethod, LowRankSettings

__all__ = ["RsLora", "RsLoraSettings"]


class RsLoraSettings(LowRankSettings):
    """Settings of rsLoRA."""

    rank: int = Field(32, ge=1, le=1024, description="rank R of the update of each weight matrix")


class RsLora(LowRankMethod):
    """LoRA scaled by the root of its rank."""

    name = "rslora"
    summary = "LoRA scaled by the square root of its rank, for higher ranks"
    paper = "Kalajdzievski, rsLoRA, 2023, arXiv:2312.03732"
    Settings = RsLoraSettings
    learning_rate = 1e-3
    learning_rates = (1e-4, 5e-3)
    use_rslora = True
