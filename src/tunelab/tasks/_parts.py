"""Weights of what a task has put beside a pretrained model, from a saved one."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

__all__ = ["load_part"]


def load_part(module: nn.Module, name: str, folder: Path) -> None:
    """Puts into `module` the weights that the saved model in `folder` has of its part `name`, if it has
    them."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            stored = set(file.keys())
            with torch.no_grad():
                for own, parameter in module.named_parameters():
                    if f"{name}.{own}" in stored:
                        parameter.copy_(file.get_tensor(f"{name}.{own}"))
