"""What the methods that train some of the model's own parameters share; nothing is added to the model."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tunelab.methods.base import Method, Tuned, split_by_decay

__all__ = ["SelectiveMethod", "SelectiveTuned"]


class SelectiveTuned(Tuned):
    """The plain model, of which the named parameters may move at some time of the training."""

    def __init__(
        self,
        model: nn.Module,
        moving: Collection[str],
        frozen_depth: int = 0,
        quiet: Collection[nn.Module] = (),
    ) -> None:
        super().__init__(model)
        self.moving = frozenset(moving)
        self.frozen_depth = frozen_depth
        self.quiet = list(quiet)
        for name, parameter in self.model.named_parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(name in self.moving)

    def named_moving(self) -> list[tuple[str, nn.Parameter]]:
        """Every parameter that may ever move, whether or not it moves now."""
        return [(n, p) for n, p in self.model.named_parameters() if n in self.moving]

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_by_decay(self.named_moving(), learning_rate, weight_decay)

    def frozen_modules(self) -> list[nn.Module]:
        return list(self.quiet)

    def state(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.named_moving()}

    def merge(self) -> nn.Module:
        return self.model

    def save(self, folder: Path) -> None:
        model: Any = self.model
        model.save_pretrained(folder)  # safetensors, as always since transformers 5


class SelectiveMethod(Method):
    """A method whose trained model is the plain pretrained class."""

    weights = "transformers"

    def restore(self, model: nn.Module, folder: Path) -> Tuned:
        return self.attach(model)  # the model already is the loaded folder
