"""Embedding tables of a model: which are plain, and which nobody reads but by looking rows up."""

from typing import Any

from torch import nn

__all__ = ["input_table", "is_plain_table"]


def is_plain_table(module: nn.Module) -> bool:
    """A table of embeddings that looks rows up and does nothing else (subclasses may)."""
    return (
        type(module) is nn.Embedding
        and module.max_norm is None
        and not (module.sparse or module.scale_grad_by_freq)
    )


def input_table(model: Any) -> Any | None:
    """The plain table of the input tokens; None where another module (a tied output layer) shares it."""
    table = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if table is None or not is_plain_table(table):
        return None
    owners = [m for m in model.modules() if any(p is table.weight for p in m._parameters.values())]
    return table if owners == [table] else None
