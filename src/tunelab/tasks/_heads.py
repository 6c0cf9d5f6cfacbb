"""A head of given shape above a pretrained trunk: one vector a text, then hidden layers, then the outputs.

    h_0 = first, mean or last of the hidden states that the mask keeps      [B, D]
    h_k = act(W_k · drop(h_(k-1)) + b_k)                                    [B, M], k = 1 to n, `head_layers`
    logits = W_out · drop(h_n) + b_out                                      [B, C]

first: BERT (Devlin et al. 2019, arXiv:1810.04805, section 4.1), there with a pretrained layer above it, the
pooler, which is left out here. mean: Sentence-BERT (Reimers and Gurevych 2019, arXiv:1908.10084, section 3).
last: GPT (Radford et al. 2018, section 3.2), the only token that has seen the whole text in a causal model.
Trains M·D + M numbers for the first hidden layer of width M, M·M + M for each further one, and C·M + C for
the outputs (C·D + C without hidden layers), as `torch.nn.Linear` draws them.
"""

# B batch, T tokens, D hidden, M width of the head's layers, C outputs

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tunelab.config import Section
from tunelab.errors import ConfigError

__all__ = ["HeadSettings", "PooledHead", "check_stack", "make_head", "pooled"]

Pooling = Literal["first", "mean", "last"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}
#: Where a configuration keeps the dropout of the model's own head; without one BERT takes that of its layers.
_DROPOUTS = (
    "classifier_dropout",
    "seq_classif_dropout",
    "cls_dropout",
    "hidden_dropout_prob",
)


class HeadSettings(Section):
    """What stands above the trunk."""

    head: str = Field(
        "",
        description="FILE.py:CLASS or MODULE:CLASS, a head of your own (an nn.Module, see docs/tasks.md)",
    )
    pooling: Literal["auto", "first", "mean", "last"] = Field(
        "auto",
        description="which token's state speaks for the text, or the mean of all; auto: the model's own head",
    )
    head_layers: int = Field(0, ge=0, le=8, description="hidden layers of the head; 0: linear")
    head_size: int | None = Field(
        None, ge=1, le=65536, description="width of the hidden layers; None: the model's hidden size"
    )
    head_activation: Literal["gelu", "relu", "tanh", "silu"] = Field(
        "gelu", description="after each hidden layer"
    )
    head_dropout: float | None = Field(
        None, ge=0, lt=1, description="before each of the head's layers; None: the model's classifier dropout"
    )

    @property
    def shaped(self) -> bool:
        """Whether the head is built from these settings; else it is the model's own, or a user's class."""
        return self.pooling != "auto" or self.head_layers > 0 or self.head_dropout is not None

    @property
    def shape(self) -> str:
        """In words.

        >>> HeadSettings(pooling="mean", head_layers=2).shape
        'mean pooling, 2 hidden layers'
        """
        layers = f"{self.head_layers or 'no'} hidden layer{'' if self.head_layers == 1 else 's'}"
        return layers if self.pooling == "auto" else f"{self.pooling} pooling, {layers}"

    @model_validator(mode="after")
    def _fit_together(self) -> "HeadSettings":
        changed = [name for name in _SHAPE if getattr(self, name) != type(self).model_fields[name].default]
        if self.head and changed:
            raise ValueError(
                f"head={self.head} is a head of your own, which pools and has layers as it likes: leave out "
                f"{', '.join(changed)}, or head"
            )
        idle = [name for name in changed if name in ("head_size", "head_activation")]
        if idle and not self.head_layers:
            raise ValueError(
                f"{' and '.join(idle)} {'is' if len(idle) == 1 else 'are'} of hidden layers, and the head "
                "has none: give head_layers=1 or more too"
            )
        return self


_SHAPE = ("pooling", "head_layers", "head_size", "head_activation", "head_dropout")


def pooled(hidden_BTD: Tensor, mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """One vector a text, [B, D], wherever its padding stands; padded positions are not read.

    Of a row without any token the mean is 0, and first and last are position 0.

    >>> hidden = torch.tensor([[[9.0], [1.0], [2.0], [6.0]]])
    >>> mask = torch.tensor([[0, 1, 1, 1]])
    >>> [pooled(hidden, mask, how).item() for how in ("first", "mean", "last")]
    [1.0, 3.0, 6.0]
    """
    keep_BT = mask_BT.bool()
    if pooling == "mean":
        return hidden_BTD.masked_fill(~keep_BT.unsqueeze(-1), 0).sum(1) / keep_BT.sum(1, True).clamp(min=1)
    rows_B = torch.arange(len(hidden_BTD), device=hidden_BTD.device)
    if pooling == "first":
        # (Where the last layer was computed for the first token alone, T is 1: see train/first_token.py.)
        return hidden_BTD[rows_B, keep_BT.int().argmax(1).clamp(max=hidden_BTD.shape[1] - 1)]
    if hidden_BTD.shape[1] != keep_BT.shape[1]:  # (on a GPU an index out of range could not be caught)
        raise RuntimeError(f"hidden states of {hidden_BTD.shape[1]} tokens, a mask of {keep_BT.shape[1]}")
    places_T = torch.arange(keep_BT.shape[1], device=hidden_BTD.device)
    return hidden_BTD[rows_B, (places_T * keep_BT).argmax(1)]


class PooledHead(nn.Module):
    """Pooling, then layers; sizes: D, the widths of the hidden layers, C."""

    def __init__(self, pooling: Pooling, sizes: list[int], activation: str, dropout: float) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers += [nn.Dropout(dropout), nn.Linear(width, following), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1])  # (no activation after the outputs)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        logits_BC: Tensor = self.layers(pooled(hidden_BTD, mask_BT, self.pooling))
        return logits_BC


def make_head(model: Any, settings: HeadSettings, where: str) -> PooledHead:
    """The head for a model with a sequence classifier's configuration; where: the task's name, for messages.
    Draws from the global random state, as a model's own new head does.

    Raises:
        ConfigError: the model has an encoder and a decoder, whose states no pooling here is meant for.
    """
    config = model.config
    check_stack(config, where)
    size, width = int(config.hidden_size), settings.head_size or int(config.hidden_size)
    sizes = [size, *[width] * settings.head_layers, int(config.num_labels)]
    pooling = _usual(model) if settings.pooling == "auto" else settings.pooling
    dropout = _dropout(config) if settings.head_dropout is None else settings.head_dropout
    return PooledHead(pooling, sizes, settings.head_activation, dropout)


def check_stack(config: Any, where: str) -> None:
    """Raises `ConfigError` where a model of this configuration has two stacks of layers."""
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{where}.pooling and {where}.head_… are for models with one stack of layers; "
            f"{config.model_type} has an encoder and a decoder: leave them out, or take another model"
        )


def _dropout(config: Any) -> float:
    shares = (getattr(config, name, None) for name in _DROPOUTS)
    return float(next((share for share in shares if share is not None), 0.0))


def _usual(model: Any) -> Pooling:
    """As the model's own kind is pooled: as its configuration says (ModernBERT's does), else the token that
    has seen all others, the last of a causal model and the first of an encoder."""
    named: dict[str, Pooling] = {"cls": "first", "mean": "mean"}
    said = named.get(getattr(model.config, "classifier_pooling", ""))
    return said or ("last" if _causal(model) else "first")


def _causal(model: Any) -> bool:
    """Whether its first token does not see the ones after it, asked of the model itself: what a configuration
    says of it differs from family to family. With eight tokens from all over the vocabulary, since some may
    have equal rows. Draws no random number."""
    modes = {module: module.training for module in model.modules()}
    last_B = torch.linspace(1, int(model.config.vocab_size) - 1, 8, device=model.device).long()
    ids_BT = torch.stack([torch.full_like(last_B, 1), torch.full_like(last_B, 2), last_B], dim=1)
    model.eval()
    try:
        with torch.no_grad():
            hidden_BTD = model.base_model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))[0]
    finally:
        for module, mode in modes.items():
            module.training = mode
    first_BD = hidden_BTD[:, 0].float()
    return bool((first_BD - first_BD[:1]).abs().max() <= 1e-5 * first_BD.abs().max())
