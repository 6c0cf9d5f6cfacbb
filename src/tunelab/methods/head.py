"""Head only: the trunk is frozen, and what lies above it (pooler, classifier) is trained.

Paper: Peters et al., "To Tune or Not to Tune? Adapting Pretrained Representations to Diverse Tasks",
2019, arXiv:1903.05987 (there: feature extraction).
    logits = head(trunk(x))               only the head's parameters move
Trains the head's parameters: D·D + D for a pooler, C·D + C for a classifier of C classes.
Differs from the paper: the features are the last layer's, not a learnt mix of all layers.
Learning rate: 1e-3 is Adam's usual default (Kingma and Ba 2015, arXiv:1412.6980); a new head on fixed
features in few steps takes more (measured: 1e-3 gave 0.48, 3e-3 gave 0.51; docs/LOG.md).
Search: 3e-4 to 3e-2; a factor of ten either way: fixed features cannot be spoilt, so high rates are safe.
"""

from torch import nn

from tunelab.errors import ConfigError
from tunelab.methods._selective import SelectiveMethod, SelectiveTuned
from tunelab.methods.structure import find_structure

__all__ = ["Head"]


#: Classes whose output layer is the word embeddings, or as good as: no head above the trunk.
_WITHOUT = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")


def _nothing_to_train(what: str) -> ConfigError:
    return ConfigError(
        f"{what} has no task head, so method head has nothing to train; use lora, or top_layers"
    )


class Head(SelectiveMethod):
    """Only the head moves."""

    name = "head"
    summary = "the pretrained trunk is frozen; only the head is trained"
    paper = "Peters et al., To Tune or Not to Tune?, 2019, arXiv:1903.05987"
    learning_rate = 3e-3
    learning_rates = (3e-4, 3e-2)

    def check(self, model_class: str) -> None:
        if model_class in _WITHOUT:
            raise _nothing_to_train("a model that writes")

    def attach(self, model: nn.Module) -> SelectiveTuned:
        structure = find_structure(model)
        if not structure.head_parameters():
            raise _nothing_to_train(type(model).__name__)
        depth = structure.depth + 1
        return SelectiveTuned(model, structure.head_parameters(), depth, structure.quiet_modules(depth))
