"""(IA)³: trained vectors that scale keys, values and the feed-forward part's inner activations.

Paper: Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", 2022, arXiv:2205.05638, section 3.3.
    softmax(Q (l_k ⊙ K)ᵀ / √d) (l_v ⊙ V)     and     (l_ff ⊙ act(W_1 x)) W_2
Trains D_k + D_v + D_ff numbers a layer, and the head. The vectors start at one, so step 0 equals the base.
Differs from the paper: where one projection computes queries, keys and values (GPT-2, ModernBERT) its
whole output is scaled, 3 D numbers, the queries' too.
Learning rate: the paper takes 3e-3 with Adafactor (section 3.5); PEFT's examples take up to 8e-3 with AdamW
(measured: 5e-3 gave 0.83, 1e-2 gave 0.88; docs/LOG.md).
Search: 1e-3 to 5e-2; the paper's 3e-3 is for T0 (3 and 11 billion parameters); small encoders take more.
"""

from typing import Any

from tunelab.methods._peft import PeftMethod, stored_transposed
from tunelab.methods.structure import Structure

__all__ = ["Ia3"]


class Ia3(PeftMethod):
    """Scaling vectors."""

    name = "ia3"
    summary = "trained vectors scale keys, values and feed-forward activations"
    paper = "Liu et al., (IA)³, 2022, arXiv:2205.05638"
    learning_rate = 1e-2
    learning_rates = (1e-3, 5e-2)
    peft_type = "IA3"

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import IA3Config

        feedforward = [layer.feedforward_output for layer in structure.layers]
        attention = [n for layer in structure.layers for n in (*layer.key, *layer.value, *layer.fused)]
        return IA3Config(
            target_modules=attention + feedforward,
            feedforward_modules=feedforward,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, attention + feedforward, "ia3"),
        )
