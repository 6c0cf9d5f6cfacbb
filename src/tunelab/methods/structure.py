"""The parts of a pretrained transformer, found by its own structure and not by lists of names.

    model                    the pretrained class with its task head
    ├── trunk                `model.base_model`: word embeddings, the stack of layers, a final norm
    │   ├── (below)          what the layers read: embeddings, their norm, relative positions
    │   ├── layers           the longest ModuleList, as long as `config.num_hidden_layers`
    │   ├── (above)          what only the output reads: the final norm
    │   └── pooler           counted as head
    └── head                 every parameter outside the trunk, except a language model's output embeddings

Levels, from the bottom: 0 is below, 1 to L are the layers, and what is above belongs to level L; the head
has level L + 1.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.errors import ConfigError

__all__ = ["Layer", "Structure", "find_structure", "is_linear", "linear_shape", "task_type", "unmatched"]


@cache
def _linear_types() -> tuple[type[nn.Module], ...]:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, its weight stored transposed

    return (nn.Linear, Conv1D)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer (`nn.Linear` or GPT-2's `Conv1D`)."""
    return isinstance(module, _linear_types())


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """(features in, features out) of a linear layer."""
    any_module: Any = module
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return int(any_module.nx), int(any_module.nf)


@dataclass(frozen=True)
class Layer:
    """Names (from the model's root) of one layer's parts."""

    name: str
    #: The module whose `forward` computes attention: it owns the projections below.
    attention: str
    #: Projections of queries, keys and values; all empty where `fused` computes the three at once.
    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    fused: tuple[str, ...]
    attention_output: str
    #: The first linear layer of the feed-forward part (it reads the part's input), and the last.
    feedforward_input: str
    feedforward_output: str
    #: Every linear layer.
    linears: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """A model's parts; modules are looked up at each use, so that a replaced one is found."""

    model: nn.Module
    trunk_name: str
    layers_name: str
    layers: tuple[Layer, ...] = field(default=())

    @property
    def trunk(self) -> nn.Module:
        return self.model.get_submodule(self.trunk_name)

    @property
    def depth(self) -> int:
        """L, how many layers there are."""
        return len(self.layers)

    @property
    def word_embeddings(self) -> nn.Embedding:
        trunk: Any = self.trunk
        embeddings = trunk.get_input_embeddings()
        assert isinstance(embeddings, nn.Embedding), type(embeddings)
        return embeddings

    def head_modules(self) -> list[str]:
        """Names of the modules that make up the head, the trunk's pooler among them."""
        any_model: Any = self.model
        output = any_model.get_output_embeddings() if hasattr(any_model, "get_output_embeddings") else None
        names = [
            part
            for name, module in self.model.named_children()
            if name != self.trunk_name
            for part in _beside(name, module, output)
        ]
        if isinstance(getattr(self.trunk, "pooler", None), nn.Module):
            names.append(f"{self.trunk_name}.pooler")
        return names

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter of the head, by name."""
        prefixes = tuple(f"{name}." for name in self.head_modules())
        return {n: p for n, p in self.model.named_parameters() if n.startswith(prefixes) or "." not in n}

    def freeze_trunk(self) -> None:
        """Only the head is trainable."""
        head = self.head_parameters()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in head)

    def levels(self) -> dict[str, int]:
        """The level of every parameter (see the module's docstring)."""
        head = self.head_parameters()
        above = self._above
        levels: dict[str, int] = {}
        for name, _ in self.model.named_parameters():
            if name in head:
                levels[name] = self.depth + 1
            elif name.startswith(f"{self.layers_name}."):
                levels[name] = 1 + int(name[len(self.layers_name) + 1 :].split(".")[0])
            else:
                levels[name] = self.depth if name in above else 0
        return levels

    @cached_property
    def _above(self) -> set[str]:
        """Trunk parameters that the last layer's output does not depend on, asked of autograd.

        A rule on names or on the order of registration fails on real models: DeBERTa's shared
        `encoder.LayerNorm` is registered after the layers and read by the first one.
        """
        head = self.head_parameters()
        candidates = {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if name.startswith(f"{self.trunk_name}.")
            and not name.startswith(f"{self.layers_name}.")
            and name not in head
            and parameter.is_floating_point()
        }
        reached = self._reaches_last_layer(list(candidates.values()))
        return {name for name, reaches in zip(candidates, reached, strict=True) if not reaches}

    def _reaches_last_layer(self, parameters: list[nn.Parameter]) -> list[bool]:
        caught: list[Tensor] = []
        last = self.model.get_submodule(self.layers[-1].name)
        hook = last.register_forward_hook(
            lambda _module, _args, out: caught.append(out[0] if isinstance(out, tuple) else out)
        )
        modes = {module: module.training for module in self.model.modules()}
        wanted = {parameter: parameter.requires_grad for parameter in parameters}
        ids = torch.tensor([[1, 2]], device=self.word_embeddings.weight.device)
        try:
            self.model.eval()
            for parameter in parameters:
                parameter.requires_grad_(True)
            with torch.enable_grad():
                self.trunk(input_ids=ids, attention_mask=torch.ones_like(ids))
            gradients = torch.autograd.grad(caught[0].sum(), parameters, allow_unused=True)
        finally:
            hook.remove()
            for module, training in modes.items():
                module.training = training
            for parameter, requires_grad in wanted.items():
                parameter.requires_grad_(requires_grad)
        return [gradient is not None for gradient in gradients]

    def quiet_modules(self, frozen_depth: int) -> list[nn.Module]:
        """The largest trunk modules that hold nothing from level `frozen_depth` on, nor the pooler."""
        if frozen_depth == 0:
            return []
        live = [self.model.get_submodule(name) for name in self.head_modules()]
        live += [self.model.get_submodule(layer.name) for layer in self.layers[frozen_depth - 1 :]]
        if frozen_depth <= self.depth:  # the final norm trains with the top layer
            above = self._above
            live += [self.model.get_submodule(name.rpartition(".")[0]) for name in above]
        live_ids = {id(part) for module in live for part in module.modules()}
        return list(_without(self.trunk, live_ids))

    def targets(self, wanted: str | Sequence[str], setting: str) -> list[str]:
        """Names of linear layers: "query_value", "attention", "all_linear", or those with these endings.

        A fused projection of queries, keys and values is taken whole. setting: its path, for messages.

        Raises:
            ConfigError: an ending that no linear layer of the trunk has.
        """
        groups = {
            "query_value": [n for layer in self.layers for n in (*layer.query, *layer.value, *layer.fused)],
            "attention": [
                n
                for layer in self.layers
                for n in (*layer.query, *layer.key, *layer.value, *layer.fused, layer.attention_output)
            ],
            "all_linear": [n for layer in self.layers for n in layer.linears],
        }
        endings = [wanted] if isinstance(wanted, str) else list(wanted)
        if not endings:
            raise ConfigError(
                f"setting {setting!r} is empty; give one of {', '.join(groups)}, or module names"
            )
        chosen: set[str] = set()
        for ending in endings:
            matched = groups.get(ending) or [n for n in groups["all_linear"] if _ends(n, ending)]
            if not matched:
                raise unmatched(setting, ending, groups["all_linear"], tuple(groups), self.layers_name)
            chosen.update(matched)
        return [n for n in groups["all_linear"] if n in chosen]

    def position_table(self) -> nn.Embedding | None:
        """The table of absolute positions, or None where positions are rotary or relative."""
        limit = getattr(getattr(self.model, "config", None), "max_position_embeddings", None)
        for name, module in self.trunk.named_modules():
            called = name.rsplit(".", 1)[-1].lower()
            named = "position" in called or called == "wpe"  # DeBERTa's relative table may be as long
            if isinstance(module, nn.Embedding) and module.num_embeddings == limit and named:
                return module
        return None


def _beside(name: str, module: nn.Module, output: nn.Module | None) -> Iterator[str]:
    """The module, if it has parameters; what lies beside the output embeddings, where those are inside it."""
    if module is output or not any(True for _ in module.parameters()):
        return
    if output is None or all(part is not output for part in module.modules()):
        yield name
        return
    for child, inside in module.named_children():
        yield from _beside(f"{name}.{child}", inside, output)


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _without(module: nn.Module, live: set[int]) -> Iterator[nn.Module]:
    if all(id(part) not in live for part in module.modules()):
        yield module
    elif id(module) not in live or any(id(child) not in live for child in module.children()):
        for child in module.children():
            yield from _without(child, live)


def unmatched(
    setting: str, got: str, names: Sequence[str], words: tuple[str, ...], inside: str
) -> ConfigError:
    """The error for a target that no module has, with the nearest endings."""
    endings = sorted({".".join(n.split(".")[-k:]) for n in names for k in (1, 2)})
    close = difflib.get_close_matches(got, [*words, *endings], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    last = sorted({n.rsplit(".", 1)[-1] for n in names})
    return ConfigError(
        f"setting {setting!r}: no linear layer in {inside!r} has the name {got!r}; {hint}"
        f"(groups: {', '.join(words)}; layers: {', '.join(last)})"
    )


def find_structure(model: nn.Module) -> Structure:
    """The parts of a model.

    Raises:
        ConfigError: the model is no transformer of a kind that is understood (one stack of layers,
            each with an attention part and a feed-forward part).
    """
    prefix = getattr(model, "base_model_prefix", "")
    trunk = getattr(model, prefix, None) if prefix else None
    kind = type(model).__name__
    if not isinstance(trunk, nn.Module):
        raise ConfigError(f"{kind} has no trunk below a task head (`base_model`); load it with its task head")
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise ConfigError(
            f"{kind} has two stacks of layers (encoder and decoder); only method full supports it"
        )
    stack_name = _stack_name(model, trunk, prefix)
    count = len(list(model.get_submodule(stack_name).children()))
    layers = tuple(_layer(model, f"{stack_name}.{i}") for i in range(count))
    return Structure(model, prefix, stack_name, layers)


def _stack_name(model: nn.Module, trunk: nn.Module, prefix: str) -> str:
    stacks = {f"{prefix}.{n}": m for n, m in trunk.named_modules() if isinstance(m, nn.ModuleList)}
    expected = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    if not stacks:
        raise ConfigError(f"{type(model).__name__} has no stack of layers")
    return max(stacks, key=lambda n: (len(stacks[n]) == expected, len(stacks[n]), -len(n)))


def _layer(model: nn.Module, name: str) -> Layer:
    linears = [n for n, m in model.get_submodule(name).named_modules() if is_linear(m)]
    part = linears[0].split(".")[0] if linears else ""
    attention = [n for n in linears if n.split(".")[0] == part]
    feedforward = [n for n in linears if n.split(".")[0] != part]
    if len(attention) < 2 or not feedforward:
        raise ConfigError(
            f"layer {name!r} of {type(model).__name__} has no separate attention and feed-forward part "
            f"(linear layers: {', '.join(linears) or 'none'}); method full works"
        )
    roles = {letter: [n for n in attention if n.split(".")[-1][0].lower() == letter] for letter in "qkv"}
    separate = all(roles.values())
    first = roles["q"][0] if separate else attention[0]

    def full(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}.{n}" for n in names)

    return Layer(
        name=name,
        attention=f"{name}.{first.rpartition('.')[0]}",
        query=full(roles["q"] if separate else ()),
        key=full(roles["k"] if separate else ()),
        value=full(roles["v"] if separate else ()),
        fused=full(() if separate else attention[:1]),
        attention_output=f"{name}.{attention[-1]}",
        feedforward_input=f"{name}.{feedforward[0]}",
        feedforward_output=f"{name}.{feedforward[-1]}",
        linears=full(linears),
    )


def task_type(model: nn.Module) -> str | None:
    """PEFT's word for the kind of head, or None where it has none.

    >>> class TinyForSequenceClassification(nn.Module): ...
    >>> task_type(TinyForSequenceClassification())
    'SEQ_CLS'
    """
    kinds = {
        "ForSequenceClassification": "SEQ_CLS",
        "ForTokenClassification": "TOKEN_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
    }
    name = type(model).__name__
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)
