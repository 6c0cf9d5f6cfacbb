"""LoRA: each chosen weight matrix gets a trained update of low rank, the matrix itself is frozen.

Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022, arXiv:2106.09685,
section 4.1, equation 3.
    h = W x + (alpha / R) · B A x         A: [R, D_in] random, B: [D_out, R] zero
Trains R · (D_in + D_out) numbers per target, and the head. B starts at zero, so step 0 equals the base.
A projection that computes queries, keys and values at once (GPT-2, ModernBERT) is adapted whole.
`lora.layers=2` adapts the top two layers alone; all below is frozen, and computed once for a study.
Learning rate: the paper takes 4e-4 to 5e-4 for RoBERTa-base (table 9); a small encoder takes more.
Search: 1e-4 to 5e-3; the paper's 2e-4 (GPT-2, table 11) to 5e-4 lie in its lower half, and a small encoder
in few steps was still better at 2e-3 than at 1e-3 (docs/LOG.md).
"""

from tunelab.methods._peft import LowRankMethod

__all__ = ["Lora"]


class Lora(LowRankMethod):
    """Low-rank updates of frozen weights."""

    name = "lora"
    summary = "low-rank updates of the attention weights, the trunk frozen"
    paper = "Hu et al., LoRA, 2022, arXiv:2106.09685"
    learning_rate = 1e-3
    learning_rates = (1e-4, 5e-3)
