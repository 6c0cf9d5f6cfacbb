"""DoRA: LoRA for the direction of each weight matrix's rows, and a trained length beside it.

Paper: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, arXiv:2402.09353, section 4.1,
equation 5.
    W' = m · (W + (alpha / R) · B A) / ‖W + (alpha / R) · B A‖      norm of each output's weights
Trains R · (D_in + D_out) + D_out numbers per target, and the head. m starts as ‖W‖ and B at zero, so
step 0 equals the base. The norm is treated as a constant in the gradient (section 4.3).
Learning rate: as LoRA.
Search: 1e-4 to 5e-3; LoRA's range, as the low-rank part is LoRA's (measured at 2e-3: 0.90; docs/LOG.md).
"""

from tunelab.methods._peft import LowRankMethod

__all__ = ["Dora"]


class Dora(LowRankMethod):
    """Low-rank direction, trained length."""

    name = "dora"
    summary = "LoRA for the direction of the weights, and a trained magnitude"
    paper = "Liu et al., DoRA, 2024, arXiv:2402.09353"
    learning_rate = 1e-3
    learning_rates = (1e-4, 5e-3)
    use_dora = True
