"""Full fine-tuning: every parameter of the pretrained model moves.

Paper: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", 2019, arXiv:1810.04805, appendix A.3.
    θ ← θ − η · AdamW(∇_θ loss)           θ: all parameters, trunk and head
Trains as many numbers as the model has.
Learning rate: the paper searches 5e-5, 3e-5, 2e-5 for 110M and 340M parameters. Smaller encoders take
more: ELECTRA (Clark et al. 2020, arXiv:2003.10555) takes 5e-5 for its large, 1e-4 for its base and 3e-4 for
its small size (14M).
Search: 2e-5 to 5e-4; the papers above take 2e-5 (large models) to 3e-4 (14M parameters).
"""

from torch import nn

from tunelab.methods._selective import SelectiveMethod, SelectiveTuned

__all__ = ["Full"]


class Full(SelectiveMethod):
    """Every parameter moves."""

    name = "full"
    summary = "every parameter of the model is trained"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805"
    learning_rate = 1e-4
    learning_rates = (2e-5, 5e-4)

    def attach(self, model: nn.Module) -> SelectiveTuned:
        return SelectiveTuned(model, [name for name, _ in model.named_parameters()])
