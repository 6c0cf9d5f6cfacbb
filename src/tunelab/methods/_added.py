"""What the methods that add modules of ours to a frozen trunk share: freezing, groups, the two files.

Tensors are named as PEFT names them, `base_model.model.` before the parameter's own name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.errors import BundleError, CannotMerge
from tunelab.methods._files import write_adapter
from tunelab.methods.base import Tuned, split_by_decay
from tunelab.methods.structure import Structure, task_type

__all__ = ["AddedTuned", "load_tensors"]

PREFIX = "base_model.model."


class AddedTuned(Tuned):
    """The pretrained model with modules of ours in it.

    kind: `peft_type` of the saved configuration; settings: what `restore` needs to build the modules;
    head_ratio: the head's learning rate as a share of the method's.
    """

    #: What the loop keeps in evaluation mode.
    quiet: Sequence[nn.Module] = ()

    def __init__(
        self,
        structure: Structure,
        kind: str,
        settings: Mapping[str, Any],
        cannot_merge: CannotMerge,
        head_ratio: float = 1.0,
    ) -> None:
        super().__init__(structure.model)
        self.structure = structure
        self._kind = kind
        self._settings = dict(settings)
        self._cannot_merge = cannot_merge
        self._head_ratio = head_ratio
        self._head = frozenset(structure.head_parameters())

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        head = [(n, p) for n, p in named if n in self._head]
        own = [(n, p) for n, p in named if n not in self._head]
        groups = split_by_decay(own, learning_rate, weight_decay)
        return groups + (split_by_decay(head, learning_rate * self._head_ratio, weight_decay) if head else [])

    def frozen_modules(self) -> list[nn.Module]:
        return list(self.quiet)

    def merge(self) -> nn.Module:
        raise self._cannot_merge

    def tensors(self) -> dict[str, Tensor]:
        """What is saved: every trained parameter, under its own name."""
        return self.state()

    def save(self, folder: Path) -> None:
        config = {
            "peft_type": self._kind,
            "task_type": task_type(self.model),
            "base_model_name_or_path": getattr(self.model, "name_or_path", "") or None,
            "inference_mode": True,
            "settings": self._settings,
        }
        write_adapter(folder, config, {PREFIX + name: tensor for name, tensor in self.tensors().items()})


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Put saved tensors into the trainable parameters; all of them, and nothing else.

    Raises:
        BundleError: a name or a shape differs.
    """
    own = {PREFIX + name: p for name, p in model.named_parameters() if p.requires_grad}
    shapes = {name: tuple(p.shape) for name, p in own.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != found:
        differ = sorted(name for name in {**shapes, **found} if shapes.get(name) != found.get(name))
        name = differ[0]
        here, there = shapes.get(name, "missing"), found.get(name, "missing")
        raise BundleError(
            f"the adapter in {folder} was trained on another base model than {type(model).__name__}: "
            f"{name} is {there} in the file and {here} in the model"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
