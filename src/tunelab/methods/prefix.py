"""Prefix tuning: every layer attends to N trained keys and values besides the text's; the trunk is frozen.

Paper: Li and Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", 2021,
arXiv:2101.00190; for understanding Liu et al., P-Tuning v2, 2022, arXiv:2110.07602.
    attention(Q, [P_k; K], [P_v; V])      P_k, P_v: [N, H, d] in every attention, H key heads of size d
    projection:  P = W_2 tanh(W_1 V)      V: [N, D], W_1: [M, D], W_2: [2·L·H·d, M], with biases
Trains 2·L·N·H·d numbers, and the head; with projection N·D + M·D + M + 2·L·H·d·(M + 1). L counts layers; a
decoder's layer that also attends to an encoder counts twice (the paper: encoder, decoder, and between them).
P starts as the keys and values of randomly drawn words (the paper: real words are the best start); with
projection it starts random. Only P is saved, in the layout of PEFT's file.
Differs from the paper: the text keeps its own positions (prefix keys are added after rotary positions are).
Needs attention that goes through `transformers`' attention interface. DeBERTa's does not: its scores are
made of relative positions, which a prefix has not. T5's bias for relative positions is 0 for the prefix.
Learning rate: P-Tuning v2's scripts for BERT-large and RoBERTa-large take 5e-3 (BoolQ, RTE) and 1e-2 (COPA);
a small encoder takes more (measured: 1e-2 gave 0.79, 2e-2 gave 0.84; docs/LOG.md). The head takes
`head_ratio` of it.
Search: 1e-3 to 5e-2; a factor of five around those scripts' rates.
"""

# B batch, T tokens, S keys, N prefix length, L layers, H key heads, d size of a head, M width of projection

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tunelab.config import Section
from tunelab.errors import BundleError, ConfigError
from tunelab.methods._added import PREFIX, AddedTuned, load_tensors
from tunelab.methods._files import read_adapter
from tunelab.methods.base import Method
from tunelab.methods.structure import Structure, find_structure, linear_shape

__all__ = ["Prefix", "PrefixSettings"]

MODULE = "prefix"
SAVED = "prompt_embeddings"
IMPLEMENTATIONS = ("sdpa", "eager")


class PrefixSettings(Section):
    """Settings of prefix tuning."""

    num_virtual_tokens: int = Field(20, ge=1, le=1000, description="trained keys and values of every layer")
    projection: bool = Field(False, description="compute the prefix with a small network while training")
    projection_size: int | None = Field(None, ge=1, le=8192, description="its width M; None: the hidden size")
    head_ratio: float = Field(
        0.1, gt=0, le=1, description="the head's learning rate as a share of the method's (which is high)"
    )


class StoredPrefix(nn.Module):
    """Keys and values of all layers, as PEFT lays them out: [N, L · 2 · H · d]."""

    def __init__(self, prompt: Tensor, layers: int, heads: int) -> None:
        super().__init__()
        self.layers, self.heads = layers, heads
        self.prompt_embeddings = nn.Parameter(prompt.clone())
        #: While it is a dictionary, keys and values that pass are noted here and no prefix is added.
        self.noted: dict[int, tuple[Tensor, Tensor]] | None = None

    def everything(self) -> Tensor:
        """[N, L · 2 · H · d]."""
        return self.prompt_embeddings

    def one(self, layer: int) -> Tensor:
        """The columns of one layer, [N, 2 · H · d]."""
        columns = self.prompt_embeddings.shape[1] // self.layers
        return self.prompt_embeddings[:, layer * columns : (layer + 1) * columns]

    def keys_and_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """[H, N, d] each."""
        one = self.one(layer)
        pair = one.reshape(len(one), 2, self.heads, -1).permute(1, 2, 0, 3)
        return pair[0], pair[1]


class ProjectedPrefix(StoredPrefix):
    """The same, computed by a network of two layers."""

    def __init__(self, count: int, size: int, width: int, layers: int, heads: int, columns: int) -> None:
        super().__init__(torch.empty(0), layers, heads)
        del self.prompt_embeddings
        self.inputs = nn.Parameter(torch.randn(count, size))
        self.first = nn.Linear(size, width)
        self.second = nn.Linear(width, columns)

    def everything(self) -> Tensor:
        whole: Tensor = self.second(torch.tanh(self.first(self.inputs)))
        return whole

    def one(self, layer: int) -> Tensor:
        hidden_NM = torch.tanh(self.first(self.inputs))
        columns = self.second.out_features // self.layers
        rows = slice(layer * columns, (layer + 1) * columns)
        return nn.functional.linear(hidden_NM, self.second.weight[rows], self.second.bias[rows])


class PrefixTuned(AddedTuned):
    """A model whose attention reads a prefix."""

    def tensors(self) -> dict[str, Tensor]:
        own = f"{self.structure.reader_name}.{MODULE}."
        tensors = {name: tensor for name, tensor in self.state().items() if not name.startswith(own)}
        encoder: Any = self.structure.reader.get_submodule(MODULE)
        with torch.no_grad():
            tensors[own + SAVED] = encoder.everything()
        return tensors


class Prefix(Method):
    """Trained keys and values in every layer."""

    name = "prefix"
    summary = "every layer attends to trained keys and values, the trunk frozen"
    paper = "Li and Liang, Prefix-Tuning, 2021, arXiv:2101.00190"
    Settings = PrefixSettings
    learning_rate = 2e-2
    learning_rates = (1e-3, 5e-2)
    weights = "adapter"
    kind = "TUNELAB_PREFIX"
    changes_at_start = "the prefix takes a share of the attention from the first step on"
    no_merge = "it adds keys and values to the attention, not a change of its weights"
    settings: PrefixSettings

    def attach(self, model: nn.Module) -> PrefixTuned:
        structure = find_structure(model)
        layers, heads, columns = _sizes(structure)
        count, settings = self.settings.num_virtual_tokens, self.settings
        limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if limit is not None and count >= limit:
            raise ConfigError(
                f"setting 'prefix.num_virtual_tokens' is {count}, but {type(model).__name__} reads at most "
                f"{limit} tokens; give fewer"
            )
        if settings.projection:
            size = linear_shape(model.get_submodule(structure.layers[0].attention_output))[1]
            width = settings.projection_size or size
            encoder: StoredPrefix = ProjectedPrefix(count, size, width, layers, heads, columns)
        else:
            encoder = StoredPrefix(torch.zeros(count, columns), layers, heads)
        tuned = self._install(structure, encoder)
        words = torch.randint(0, structure.word_embeddings.num_embeddings, (1, count))
        noted = _note(structure, encoder, words)
        if not settings.projection:
            pairs = [torch.stack(noted[i]) for i in range(layers)]  # [2, H, N, d] of each layer
            with torch.no_grad():
                encoder.prompt_embeddings.copy_(torch.stack(pairs).permute(3, 0, 1, 2, 4).flatten(1))
        return tuned

    def restore(self, model: nn.Module, folder: Path) -> PrefixTuned:
        structure = find_structure(model)
        _, tensors = read_adapter(folder, self.kind)
        layers, heads, columns = _sizes(structure)
        saved = tensors.get(f"{PREFIX}{structure.reader_name}.{MODULE}.{SAVED}")
        if saved is None or saved.ndim != 2 or saved.shape[1] != columns:
            raise BundleError(f"the prefix in {folder} does not fit {type(model).__name__}")
        encoder = StoredPrefix(saved.float(), layers, heads)
        tuned = self._install(structure, encoder)
        _note(structure, encoder, torch.ones(1, 2, dtype=torch.long))
        load_tensors(model, tensors, folder)
        return tuned

    def _install(self, structure: Structure, encoder: StoredPrefix) -> PrefixTuned:
        model: Any = structure.model
        current = getattr(model.config, "_attn_implementation", None)
        if current not in IMPLEMENTATIONS:
            raise ConfigError(
                f"prefix works with attention sdpa or eager, not {current!r}; set model.attention=sdpa"
            )
        structure.freeze_trunk()
        structure.reader.add_module(MODULE, encoder.to(structure.word_embeddings.weight.device))
        for index, attention in enumerate(structure.attentions()):
            # A tuple, so that the module is not registered a second time.
            model.get_submodule(attention).tunelab_prefix = (encoder, index)
        name = _register(current)
        for module in model.modules():  # a trunk may hold a configuration of its own
            if hasattr(module, "config"):
                module.config._attn_implementation = name
        settings = self.settings.model_dump(mode="json")
        return PrefixTuned(structure, self.kind, settings, self.cannot_merge(), self.settings.head_ratio)


def _sizes(structure: Structure) -> tuple[int, int, int]:
    """Attentions L, key heads H, and L · 2 · H · d."""
    layer, config = structure.layers[0], getattr(structure.model, "config", None)
    count = len(structure.attentions())
    query_heads = int(getattr(config, "num_attention_heads", 1))
    if layer.fused:
        width, all_three = linear_shape(structure.model.get_submodule(layer.fused[0]))
        head_size = getattr(config, "head_dim", None) or width // query_heads
        heads = (all_three // head_size - query_heads) // 2  # (keys may be fewer than queries)
        size = heads * head_size
    else:
        head_size = linear_shape(structure.model.get_submodule(layer.query[0]))[1] // query_heads
        size = linear_shape(structure.model.get_submodule(layer.key[0]))[1]
        heads = size // head_size
    widths = {linear_shape(structure.model.get_submodule(n))[1] for own in structure.layers for n in own.key}
    if len(widths) > 1:
        raise ConfigError(
            f"prefix needs keys of one width in all layers; {type(structure.model).__name__} has "
            f"{', '.join(map(str, sorted(widths)))}; lora and adapter work with it"
        )
    return count, heads, count * 2 * size


def _note(structure: Structure, encoder: StoredPrefix, words_BT: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Keys and values that each layer computes for these words, [H, T, d].

    Raises:
        ConfigError: the model's attention does not go through the interface.
    """
    modes = {module: module.training for module in structure.trunk.modules()}
    encoder.noted = {}
    words_BT = words_BT.to(structure.word_embeddings.weight.device)
    try:
        structure.trunk.eval()
        with torch.no_grad():
            structure.run(words_BT)
        noted = encoder.noted
    finally:
        encoder.noted = None
        for module, training in modes.items():
            module.training = training
    if len(noted) < len(structure.attentions()):
        raise ConfigError(
            f"prefix needs attention that goes through transformers' attention interface; "
            f"{type(structure.model).__name__} computes its own (DeBERTa: from relative positions, which a "
            "prefix has not); prompt and p_tuning work with it"
        )
    return noted


def _register(base: str) -> str:
    """The name of the attention that reads a prefix and then does what `base` does."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    name = f"tunelab_prefix_{base}"
    AttentionInterface.register(name, partial(_attend, base))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _attend(
    base: str,
    module: Any,
    query_BHTd: Tensor,
    key_BHSd: Tensor,
    value_BHSd: Tensor,
    attention_mask: Tensor | None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    attend: Any = sdpa_attention_forward if base == "sdpa" else own
    encoder, index = module.tunelab_prefix
    if encoder.noted is not None:
        encoder.noted[index] = (key_BHSd[0].float(), value_BHSd[0].float())
        return attend(module, query_BHTd, key_BHSd, value_BHSd, attention_mask, *args, **kwargs)
    prefix_key, prefix_value = encoder.keys_and_values(index)
    rows, tokens, count = len(key_BHSd), query_BHTd.shape[2], prefix_key.shape[1]
    key = torch.cat([prefix_key.to(key_BHSd.dtype).expand(rows, -1, -1, -1), key_BHSd], 2)
    value = torch.cat([prefix_value.to(value_BHSd.dtype).expand(rows, -1, -1, -1), value_BHSd], 2)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = nn.functional.pad(kwargs["position_bias"], (count, 0))
    causal = kwargs.get("is_causal")
    if attention_mask is not None:
        everyone = True if attention_mask.dtype == torch.bool else 0.0
        attention_mask = nn.functional.pad(attention_mask, (count, 0), value=everyone)
    elif (causal if causal is not None else getattr(module, "is_causal", True)) and tokens > 1:
        seen = torch.ones(tokens, key.shape[2], dtype=torch.bool, device=key.device)
        attention_mask = seen.tril(key.shape[2] - tokens)[None, None]
    return attend(module, query_BHTd, key, value, attention_mask, *args, **kwargs)
