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

A language model with an encoder and a decoder (T5, BART) has two stacks, counted as one: the encoder's layers
are 1 to E, the decoder's E + 1 to L, and what is above the encoder's stack belongs to level E. The embeddings
that the two share are below both. In a decoder's layer the roles below are those of both its attentions.
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
    #: The module whose `forward` computes (self-)attention: it owns the projections below.
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
    #: Of a decoder's layer that reads an encoder: the module that does, and its output projection; else "".
    cross_attention: str = ""
    cross_output: str = ""

    @property
    def attention_outputs(self) -> tuple[str, ...]:
        """The output projections of its attentions."""
        return (self.attention_output, *filter(None, [self.cross_output]))


@dataclass(frozen=True)
class Structure:
    """A model's parts; modules are looked up at each use, so that a replaced one is found.

    trunk_name: "" where the model itself is its trunk; layers_name: of the stack of layers, of two the
    encoder's; decoder_name: of the decoder's stack where there are two, else "".
    """

    model: nn.Module
    trunk_name: str
    layers_name: str
    layers: tuple[Layer, ...] = field(default=())
    decoder_name: str = ""

    @property
    def trunk(self) -> nn.Module:
        return self.model.get_submodule(self.trunk_name)

    @property
    def reader_name(self) -> str:
        """The module that reads a text: the trunk, of two stacks the encoder."""
        return self.layers_name.rpartition(".")[0] if self.decoder_name else self.trunk_name

    @property
    def reader(self) -> nn.Module:
        return self.model.get_submodule(self.reader_name)

    @property
    def decoder(self) -> nn.Module:
        """The module that writes, where there are two stacks."""
        assert self.decoder_name, "one stack"
        return self.model.get_submodule(self.decoder_name.rpartition(".")[0])

    def run(self, ids_BT: Tensor) -> None:
        """A forward pass of the trunk (of two stacks both read the same)."""
        further = {"decoder_input_ids": ids_BT} if self.decoder_name else {}
        self.trunk(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), **further)

    @cached_property
    def _stacks(self) -> list[tuple[str, int, int]]:
        """Of each stack its name, and the layers before and up to its last one."""
        if not self.decoder_name:
            return [(self.layers_name, 0, self.depth)]
        encoder = sum(layer.name.startswith(f"{self.layers_name}.") for layer in self.layers)
        return [(self.layers_name, 0, encoder), (self.decoder_name, encoder, self.depth)]

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

    @property
    def read_embeddings(self) -> nn.Embedding:
        """The table that the reader looks words up in (BART's encoder scales what its own gives)."""
        reader: Any = self.reader
        embeddings = reader.get_input_embeddings()
        assert isinstance(embeddings, nn.Embedding), type(embeddings)
        return embeddings

    def head_modules(self) -> list[str]:
        """Names of the modules that make up the head, the trunk's pooler among them."""
        if not self.trunk_name:
            return []
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
            inside = [(stack, first) for stack, first, _ in self._stacks if name.startswith(f"{stack}.")]
            if name in head:
                levels[name] = self.depth + 1
            elif inside:
                ((stack, first),) = inside
                levels[name] = first + 1 + int(name[len(stack) + 1 :].split(".")[0])
            else:
                levels[name] = above.get(name, 0)
        return levels

    @cached_property
    def _above(self) -> dict[str, int]:
        """Trunk parameters that the output of a stack's last layer does not depend on, asked of autograd, and
        the level of that layer.

        A rule on names or on the order of registration fails on real models: DeBERTa's shared
        `encoder.LayerNorm` is registered after the layers and read by the first one.
        """
        head = self.head_parameters()
        found: dict[str, int] = {}
        for stack, _, level in self._stacks:
            owner = stack.rpartition(".")[0] if self.decoder_name else self.trunk_name
            candidates = {
                name: parameter
                for name, parameter in self.model.named_parameters()
                if name.startswith(f"{owner}.")
                and not name.startswith(f"{stack}.")
                and name not in head
                and parameter.is_floating_point()
            }
            reached = self._reach(self.layers[level - 1].name, list(candidates.values()))
            found |= {n: level for n, reaches in zip(candidates, reached, strict=True) if not reaches}
        return found

    def _reach(self, layer: str, parameters: list[nn.Parameter]) -> list[bool]:
        """Whether the layer's output depends on each of the parameters."""
        if not parameters:
            return []
        caught: list[Tensor] = []
        last = self.model.get_submodule(layer)
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
                self.run(ids)
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
            above = [name for name, level in self._above.items() if level >= frozen_depth]
            live += [self.model.get_submodule(name.rpartition(".")[0]) for name in above]
        live_ids = {id(part) for module in live for part in module.modules()}
        return list(_without(self.trunk, live_ids))

    def lowest(self, layers: int, setting: str) -> int:
        """The level of the lowest of so many layers from the top (the embeddings are level 0).

        Raises:
            ConfigError: the model has fewer.
        """
        if layers > self.depth:
            raise ConfigError(
                f"setting {setting!r} is {layers}, but the model ({type(self.model).__name__}) has "
                f"{self.depth} layers; give 1 to {self.depth}"
            )
        return self.depth - layers + 1

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
                for n in (*layer.query, *layer.key, *layer.value, *layer.fused, *layer.attention_outputs)
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

    def attentions(self) -> list[str]:
        """The modules that compute attention: of every layer its own, then those to an encoder."""
        own = [layer.attention for layer in self.layers]
        return own + [layer.cross_attention for layer in self.layers if layer.cross_attention]

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
        ConfigError: the model is no transformer of a kind that is understood (one stack of layers, or an
            encoder and a decoder below a language model's head, each layer with an attention part and a
            feed-forward part).
    """
    prefix = getattr(model, "base_model_prefix", "")
    trunk = getattr(model, prefix, None) if prefix else None
    kind = type(model).__name__
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return _two_stacks(model, prefix if isinstance(trunk, nn.Module) else "")
    if not isinstance(trunk, nn.Module):
        raise ConfigError(f"{kind} has no trunk below a task head (`base_model`); load it with its task head")
    stack_name = _stack_name(model, trunk, prefix)
    count = len(list(model.get_submodule(stack_name).children()))
    layers = tuple(_layer(model, f"{stack_name}.{i}") for i in range(count))
    return Structure(model, prefix, stack_name, layers)


def _two_stacks(model: Any, trunk: str) -> Structure:
    """An encoder and a decoder below a language model's head (T5, BART and their kin)."""
    kind = type(model).__name__
    if not hasattr(model, "generate") or model.get_output_embeddings() is None:
        raise ConfigError(
            f"{kind} has two stacks of layers (encoder and decoder) and no language model's head; only "
            "method full supports it (the task rewrite has that head, and takes them all)"
        )
    stacks = []
    for part in (model.get_encoder(), model.get_decoder()):
        name = next(name for name, module in model.named_modules() if module is part)
        lists = [(len(m), f"{name}.{n}") for n, m in part.named_children() if isinstance(m, nn.ModuleList)]
        if not lists:
            raise ConfigError(f"{kind} has no stack of layers in {name!r}; method full works")
        stacks.append(max(lists))
    layers = tuple(_layer_of_two(model, f"{name}.{i}") for count, name in stacks for i in range(count))
    return Structure(model, trunk, stacks[0][1], layers, stacks[1][1])


def _layer_of_two(model: nn.Module, name: str) -> Layer:
    """A layer of an encoder or a decoder: its linear layers by the module that owns them, of which those with
    queries, keys and values are attentions, a decoder's own before that to the encoder."""
    parts: dict[str, list[str]] = {}
    for own, module in model.get_submodule(name).named_modules():
        if is_linear(module):
            parts.setdefault(own.rpartition(".")[0], []).append(f"{name}.{own}")
    roles = {part: [_role(linear) for linear in linears] for part, linears in parts.items()}
    attentions = [part for part in parts if sorted(filter(None, roles[part])) == ["k", "q", "v"]]
    rest = [linear for part in parts if part not in attentions for linear in parts[part]]
    outputs = [[n for n in parts[part] if not _role(n)] for part in attentions]
    if len(attentions) not in (1, 2) or not rest or any(len(each) != 1 for each in outputs):
        linears = ", ".join(n for own in parts.values() for n in own) or "none"
        raise ConfigError(
            f"layer {name!r} of {type(model).__name__} has no attention and feed-forward part that are "
            f"understood (linear layers: {linears}); method full works"
        )

    def of(letter: str) -> tuple[str, ...]:
        return tuple(n for part in attentions for n in parts[part] if _role(n) == letter)

    crossed = len(attentions) == 2
    return Layer(
        name=name,
        attention=f"{name}.{attentions[0]}",
        query=of("q"),
        key=of("k"),
        value=of("v"),
        fused=(),
        attention_output=outputs[0][0],
        feedforward_input=rest[0],
        feedforward_output=rest[-1],
        linears=tuple(linear for own in parts.values() for linear in own),
        cross_attention=f"{name}.{attentions[1]}" if crossed else "",
        cross_output=outputs[1][0] if crossed else "",
    )


def _role(linear: str) -> str:
    """
    >>> [_role(f"decoder.layers.0.self_attn.{name}") for name in ("q_proj", "v", "key", "out_proj", "o")]
    ['q', 'v', 'k', '', '']
    """
    last = linear.rpartition(".")[2].lower()
    return last[0] if last in {f"{r}{end}" for r in "qkv" for end in ("", "_proj")} | _ROLES else ""


_ROLES = {"query", "key", "value"}


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
    # (three in one is the widest, wherever it stands: Phi-3 has its output projection first)
    widest = max(attention, key=lambda n: linear_shape(model.get_submodule(f"{name}.{n}"))[1])
    first = roles["q"][0] if separate else widest
    output = attention[-1] if separate else next(n for n in reversed(attention) if n != widest)

    def full(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}.{n}" for n in names)

    return Layer(
        name=name,
        attention=f"{name}.{first.rpartition('.')[0]}",
        query=full(roles["q"] if separate else ()),
        key=full(roles["k"] if separate else ()),
        value=full(roles["v"] if separate else ()),
        fused=full(() if separate else (widest,)),
        attention_output=f"{name}.{output}",
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
        "ForConditionalGeneration": "SEQ_2_SEQ_LM",
        "MTModel": "SEQ_2_SEQ_LM",
    }
    name = type(model).__name__
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)
