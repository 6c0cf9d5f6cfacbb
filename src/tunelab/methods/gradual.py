"""Gradual unfreezing: training starts with the head alone, then one more layer from the top joins at a time.

Paper: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018,
arXiv:1801.06146, section 3.3 (gradual unfreezing).
    layers that move after step s of S:   u(s) = min(L + 1, floor((L + 1) · s / (U · S)))
u counts from the top; the last to join are the embeddings, as number L + 1. U is the share of the
training after which everything moves (setting `until`). A language model has no head above its layers that
could begin alone: there the top layer moves from the first step on.
Trains as many numbers as the model has, at the end.
Differs from the paper: the stages are shares of the training, not whole epochs, so that a short training
unfreezes everything too; the learning rate follows the run's schedule, not slanted triangles.
Learning rate: as full fine-tuning.
Search: 2e-5 to 5e-4; the range of full fine-tuning, which its last phase is.
"""

from pydantic import Field
from torch import nn

from tunelab.config import Section
from tunelab.methods._selective import SelectiveMethod, SelectiveTuned
from tunelab.methods.structure import Structure, find_structure

__all__ = ["Gradual", "GradualSettings"]


class GradualSettings(Section):
    """Settings of gradual unfreezing."""

    until: float = Field(0.5, gt=0, le=1, description="share of the training after which every layer moves")


class GradualTuned(SelectiveTuned):
    """Toggles `requires_grad` as training goes on."""

    def __init__(self, structure: Structure, until: float) -> None:
        self._structure = structure
        self._levels = structure.levels()
        self._until = until
        self._fewest = 0 if structure.head_parameters() else 1
        super().__init__(structure.model, self._levels)
        self._unfreeze(0)

    def _unfreeze(self, layers: int) -> None:
        lowest = self._structure.depth + 1 - max(layers, self._fewest)
        for name, parameter in self.named_moving():
            if parameter.is_floating_point():
                parameter.requires_grad_(self._levels[name] >= lowest)
        if lowest != self.frozen_depth:
            self.frozen_depth = lowest
            self.quiet = self._structure.quiet_modules(lowest)

    def on_progress(self, step: int, total_steps: int) -> None:
        stages = self._structure.depth + 1
        share = step / (self._until * max(total_steps, 1))
        self._unfreeze(min(stages, int(stages * share + 1e-9)))


class Gradual(SelectiveMethod):
    """Layers join from the top."""

    name = "gradual"
    summary = "layers join the training one by one, from the top (ULMFiT)"
    paper = "Howard and Ruder, ULMFiT, 2018, arXiv:1801.06146"
    Settings = GradualSettings
    learning_rate = 1e-4
    learning_rates = (2e-5, 5e-4)
    settings: GradualSettings

    def attach(self, model: nn.Module) -> SelectiveTuned:
        structure = find_structure(model)
        return GradualTuned(structure, self.settings.until)
