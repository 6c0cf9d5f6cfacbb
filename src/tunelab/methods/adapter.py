"""Bottleneck adapters: a small two-layer network at each sub-layer, the trunk frozen.

Papers: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019, arXiv:1902.00751, section
2.1; Pfeiffer et al., "AdapterFusion", 2021, arXiv:2005.00247; He et al., "Towards a Unified View of
Parameter-Efficient Transfer Learning", 2022, arXiv:2110.04366.
    f(x) = s · (W_up act(W_down x + b_down) + b_up)    W_down: [K, D], W_up: [D, K], K << D
    houlsby:   h + f(h) after the attention's output projection and after the feed-forward part's
    pfeiffer:  h + f(h) after the feed-forward part's output projection only
    parallel:  FFN(x) + f(x)              f reads what the feed-forward part reads
Trains 2·K·D + K + D numbers per adapter, and the head; two adapters a layer for houlsby (three where a
decoder attends to an encoder, too), else one. W_up starts at zero, so step 0 equals the base.
Differs from the papers: layer norms stay frozen unless `train_norms` (Houlsby trains them); an adapter
stands before the sub-layer's dropout, not after.
Learning rate: Houlsby searches 3e-5 to 3e-3 (section 3.2), Pfeiffer takes 1e-4; a small encoder takes
more.
Search: 1e-4 to 5e-3; Houlsby's 3e-5 to 3e-3 are for BERT-large; smaller models take more (2e-3 was better
than 1e-3 here; docs/LOG.md).
"""

import threading
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from tunelab.config import Section, build
from tunelab.methods._added import AddedTuned, load_tensors
from tunelab.methods._files import read_adapter
from tunelab.methods.base import Method
from tunelab.methods.structure import Structure, find_structure, is_linear, linear_shape

__all__ = ["Adapter", "AdapterSettings"]

MODULE = "adapter"
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class AdapterSettings(Section):
    """Settings of bottleneck adapters."""

    placement: Literal["houlsby", "pfeiffer", "parallel"] = Field(
        "pfeiffer", description="after attention and feed-forward, after feed-forward only, or beside it"
    )
    bottleneck: int | None = Field(None, ge=1, le=16384, description="width K; None: from `reduction`")
    reduction: float = Field(16.0, ge=1, le=4096, description="K is the hidden size divided by this")
    activation: Literal["gelu", "relu", "silu", "tanh"] = Field("gelu", description="between the two layers")
    scale: float = Field(
        1.0, gt=0, le=100, description="s: factor of the output (He et al. take 4 in parallel)"
    )
    train_norms: bool = Field(False, description="also train the layers' norms, as Houlsby et al. do")
    layers: int | None = Field(
        None, ge=1, le=1000, description="layers that get adapters, counted from the top; None: all"
    )


class Bottleneck(nn.Module):
    """W_down, an activation, W_up; in parallel it notes its input until the sub-layer's output is there."""

    def __init__(self, size_in: int, size_out: int, width: int, settings: AdapterSettings) -> None:
        super().__init__()
        self.down = nn.Linear(size_in, width)
        self.up = nn.Linear(width, size_out)
        self.activation = ACTIVATIONS[settings.activation]()
        self.scale = settings.scale
        self.parallel = settings.placement == "parallel"
        #: Input of the sub-layer that is being computed, of each thread: a model may answer in several.
        self._inputs: dict[int, Tensor] = {}
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.activation(self.down(hidden.to(self.down.weight.dtype)))
        change: Tensor = self.scale * self.up(inner)
        return change.to(hidden.dtype)

    def note(self, hidden: Tensor) -> None:
        self._inputs[threading.get_ident()] = hidden

    def noted(self) -> Tensor:
        return self._inputs.pop(threading.get_ident())


class Adapter(Method):
    """Bottleneck adapters."""

    name = "adapter"
    summary = "a small two-layer network at each sub-layer, the trunk frozen"
    paper = "Houlsby et al., Parameter-Efficient Transfer Learning for NLP, 2019, arXiv:1902.00751"
    Settings = AdapterSettings
    learning_rate = 1e-3
    learning_rates = (1e-4, 5e-3)
    weights = "adapter"
    kind = "TUNELAB_BOTTLENECK"
    no_merge = "it adds a network with a nonlinearity, which no change of the weights equals"
    settings: AdapterSettings

    def attach(self, model: nn.Module) -> AddedTuned:
        structure = find_structure(model)
        structure.freeze_trunk()
        layers = self.settings.layers
        lowest = structure.lowest(layers, "adapter.layers") if layers is not None else 0
        _insert(structure, self.settings, max(lowest - 1, 0))
        settings = self.settings.model_dump(mode="json")
        tuned = AddedTuned(structure, self.kind, settings, self.cannot_merge())
        tuned.frozen_depth, tuned.quiet = lowest, structure.quiet_modules(lowest)
        return tuned

    def restore(self, model: nn.Module, folder: Path) -> AddedTuned:
        config, tensors = read_adapter(folder, self.kind)
        saved = build(AdapterSettings, config.get("settings") or {}, where=f"{folder}: settings")
        tuned = type(self)(saved).attach(model)
        load_tensors(model, tensors, folder)
        return tuned


def _insert(structure: Structure, settings: AdapterSettings, below: int) -> None:
    """below: layers from the bottom that get none."""
    device = structure.word_embeddings.weight.device
    for layer in structure.layers[below:]:
        places = [layer.feedforward_output]
        if settings.placement == "houlsby":
            places = [*layer.attention_outputs, *places]
        for place in places:
            linear = structure.model.get_submodule(place)
            size = linear_shape(linear)[1]
            width = settings.bottleneck or max(1, int(size / settings.reduction))
            if settings.placement == "parallel":
                entrance: Any = structure.model.get_submodule(layer.feedforward_input)
                adapter = Bottleneck(linear_shape(entrance)[0], size, width, settings)
                entrance.tunelab_adapter = (adapter,)  # a tuple: not registered a second time
                entrance.register_forward_pre_hook(_note)
            else:
                adapter = Bottleneck(size, size, width, settings)
            linear.add_module(MODULE, adapter.to(device))
            linear.register_forward_hook(_add)
    if settings.train_norms:
        for parameter in _norms(structure, below):
            parameter.requires_grad_(True)


def _norms(structure: Structure, below: int) -> list[nn.Parameter]:
    """Scales and biases of the layers' norms, those `below` left out: their vectors that belong to no linear
    layer."""
    return [
        parameter
        for layer in structure.layers[below:]
        for module in structure.model.get_submodule(layer.name).modules()
        if not is_linear(module)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 1
    ]


def _note(entrance: Any, args: tuple[Any, ...]) -> None:
    entrance.tunelab_adapter[0].note(args[0])


def _add(linear: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    adapter: Any = linear.get_submodule(MODULE)
    hidden: Tensor = adapter(adapter.noted() if adapter.parallel else output)
    return output + hidden
