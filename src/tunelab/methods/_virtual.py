"""Virtual tokens: trained vectors before the text's embeddings (what `prompt` and `p_tuning` share).

They are put in where the trunk begins and taken out where it ends, so that the head sees the text's own
positions and nothing else: [CLS] is pooled, the last token is pooled by the text's own padding, and
token-level logits have the text's length. PEFT 0.21 puts them in before the model instead: an encoder then
pools the first virtual token, and a decoder with padding on the right pools a padding position.

Positions: where they are absolute (BERT, GPT-2) the text keeps the positions it was pretrained at and the
virtual tokens have the first ones too (a virtual token's position is a constant beside a trained vector);
where they are rotary or relative the virtual tokens come before the text. So no text gets shorter.

An encoder-decoder reads them at the beginning of what its encoder reads, and its decoder attends to them
as to the text (Lester et al. 2021, arXiv:2104.08691, section 2, on T5).
"""

# B batch, T tokens of the text, N virtual tokens, E size of a word's embedding

import inspect
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from tunelab.config import Section
from tunelab.errors import BundleError, ConfigError
from tunelab.methods._added import PREFIX, AddedTuned, load_tensors
from tunelab.methods._files import read_adapter
from tunelab.methods.base import Method
from tunelab.methods.structure import Structure, find_structure

__all__ = ["VirtualMethod", "VirtualSettings", "VirtualTokens", "vocabulary_rows"]

#: The name of the added module inside the trunk, and of its one tensor in the saved file.
MODULE = "virtual_tokens"
SAVED = "prompt_embeddings"


class VirtualSettings(Section):
    """Settings of the methods with virtual tokens."""

    num_virtual_tokens: int = Field(20, ge=1, le=1000, description="trained vectors before every text")
    head_ratio: float = Field(
        0.1, gt=0, le=1, description="the head's learning rate as a share of the method's (which is high)"
    )


class VirtualTokens(nn.Module):
    """Gives the N virtual tokens' embeddings; this one stores them, others compute them."""

    def __init__(self, embeddings_NE: Tensor) -> None:
        super().__init__()
        self.prompt_embeddings = nn.Parameter(embeddings_NE.clone())

    def forward(self) -> Tensor:
        return self.prompt_embeddings


class VirtualTuned(AddedTuned):
    """A model whose trunk reads virtual tokens first."""

    @property
    def caches(self) -> bool:  # type: ignore[override]
        """An encoder reads its virtual tokens once; a decoder would need them before every token again."""
        return bool(self.structure.decoder_name)

    def tensors(self) -> dict[str, Tensor]:
        own = f"{self.structure.reader_name}.{MODULE}."
        tensors = {name: tensor for name, tensor in self.state().items() if not name.startswith(own)}
        with torch.no_grad():
            tensors[own + SAVED] = self.structure.reader.get_submodule(MODULE)()
        return tensors


class VirtualMethod(Method):
    """A method whose only change is what is read before the text."""

    weights = "adapter"
    changes_at_start = "the text attends to the virtual tokens from the first step on"
    no_merge = "it adds inputs to the model, not a change of its weights"
    #: The value of `peft_type` in its saved configuration.
    kind: ClassVar[str]
    settings: VirtualSettings

    def encoder(self, structure: Structure) -> nn.Module:
        """The module whose `forward()` gives the embeddings, [N, E]."""
        raise NotImplementedError

    def attach(self, model: nn.Module) -> VirtualTuned:
        structure = find_structure(model)
        _check_length(structure, self.settings.num_virtual_tokens, f"{self.name}.num_virtual_tokens")
        return self._install(structure, self.encoder(structure), self.settings.num_virtual_tokens)

    def restore(self, model: nn.Module, folder: Path) -> VirtualTuned:
        structure = find_structure(model)
        _, tensors = read_adapter(folder, self.kind)
        saved = tensors.get(f"{PREFIX}{structure.reader_name}.{MODULE}.{SAVED}")
        if saved is None or saved.ndim != 2 or saved.shape[1] != structure.word_embeddings.embedding_dim:
            raise BundleError(f"the virtual tokens in {folder} do not fit {type(model).__name__}")
        tuned = self._install(structure, VirtualTokens(saved.float()), len(saved))
        load_tensors(model, tensors, folder)
        return tuned

    def _install(self, structure: Structure, encoder: nn.Module, count: int) -> VirtualTuned:
        structure.freeze_trunk()
        structure.reader.add_module(MODULE, encoder.to(structure.word_embeddings.weight.device))
        _read_first(structure, count)
        settings = self.settings.model_dump(mode="json")
        return VirtualTuned(structure, self.kind, settings, self.cannot_merge(), self.settings.head_ratio)


def _read_first(structure: Structure, count: int) -> None:
    """The hooks that put them in, and where there is one stack take them out."""
    trunk = structure.trunk
    if structure.decoder_name:
        structure.reader.register_forward_pre_hook(partial(_put_in_front, count), with_kwargs=True)
        structure.decoder.register_forward_pre_hook(partial(_seen_by_the_decoder, count), with_kwargs=True)
        for positions in _encoder_positions(structure):
            positions.register_forward_pre_hook(partial(_positions_of_both, count), with_kwargs=True)
    else:
        # A filled cache would need the virtual tokens before it: transformers' own switch says so.
        structure.model.config.use_cache = False  # type: ignore[union-attr]
        table = structure.position_table()
        start = None if table is None else 0 if table.padding_idx is None else table.padding_idx + 1
        trunk.register_forward_pre_hook(partial(_put_in, count, start), with_kwargs=True)
        trunk.register_forward_hook(partial(_take_out, count))
        pooler = getattr(trunk, "pooler", None)
        if isinstance(pooler, nn.Module):
            pooler.register_forward_pre_hook(partial(_take_out_before, count))


def vocabulary_rows(structure: Structure, count: int) -> Tensor:
    """Embeddings of randomly drawn words of the vocabulary, [N, E]."""
    table = structure.read_embeddings
    ids = torch.randint(0, len(table.weight), (count,))
    with torch.no_grad():  # (looked up: some models scale what they look up)
        found: Tensor = table(ids.to(table.weight.device))
    return found.float().cpu()


def _check_length(structure: Structure, count: int, setting: str) -> None:
    table = structure.position_table()
    limit = getattr(getattr(structure.model, "config", None), "max_position_embeddings", None)
    if table is not None:
        limit = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    if limit is not None and count >= limit:
        raise ConfigError(
            f"setting {setting!r} is {count}, but {type(structure.model).__name__} has {limit} positions "
            f"for virtual tokens and text together; give fewer"
        )


@cache
def _argument_names(kind: type[nn.Module]) -> tuple[str, ...]:
    parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def _put_in(
    count: int, start: int | None, trunk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before the trunk: embeddings, mask, positions and token types get N entries more, in front."""
    given, mask_BT = _with_virtual(count, trunk, args, kwargs)
    cache_ = given.get("past_key_values")
    assert cache_ is None or cache_.get_seq_length() == 0, "virtual tokens do not support a filled cache"
    given["position_ids"] = _positions(count, start, mask_BT, given.get("position_ids"))
    if given.get("token_type_ids") is not None:
        types_BT = given["token_type_ids"]
        given["token_type_ids"] = torch.cat([types_BT.new_zeros(len(types_BT), count), types_BT], 1)
    return (), given


def _put_in_front(
    count: int, encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before an encoder: embeddings and mask get N entries more, in front."""
    return (), _with_virtual(count, encoder, args, kwargs)[0]


def _with_virtual(
    count: int, reader: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Tensor]:
    """What the reader is called with, longer embeddings and mask among it, and the mask of the text alone."""
    given = {**dict(zip(_argument_names(reader.__class__), args, strict=False)), **kwargs}
    text_BTE = given.pop("inputs_embeds", None)
    ids_BT = given.pop("input_ids", None)
    if text_BTE is None:
        text_BTE = reader.get_input_embeddings()(ids_BT)
    rows, tokens = text_BTE.shape[:2]
    virtual_NE = reader.get_submodule(MODULE)().to(text_BTE.dtype)
    mask_BT = given.get("attention_mask")
    if mask_BT is None:
        mask_BT = torch.ones(rows, tokens, dtype=torch.long, device=text_BTE.device)
    given["input_ids"] = None
    given["inputs_embeds"] = torch.cat([virtual_NE.expand(rows, -1, -1), text_BTE], 1)
    given["attention_mask"] = torch.cat([mask_BT.new_ones(rows, count), mask_BT], 1)
    return given, mask_BT


def _seen_by_the_decoder(
    count: int, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before a decoder: the mask of what the encoder gave covers the virtual tokens, too."""
    mask_BT = kwargs.get("encoder_attention_mask")
    if mask_BT is not None:
        kwargs = {**kwargs, "encoder_attention_mask": nn.functional.pad(mask_BT, (count, 0), value=1)}
    return args, kwargs


def _encoder_positions(structure: Structure) -> list[nn.Module]:
    """The encoder's tables of absolute positions (T5 has none: its positions are relative)."""
    words = structure.word_embeddings.weight
    found: list[nn.Module] = []
    for name, module in structure.reader.named_children():
        if "position" not in name or not isinstance(module, nn.Embedding) or module.weight is words:
            continue
        if "position_ids" not in inspect.signature(module.forward).parameters:
            raise ConfigError(
                f"{type(structure.model).__name__} cannot be told the positions of what its encoder reads, "
                "which virtual tokens need; prefix, adapter and lora work with it"
            )
        found.append(module)
    return found


def _positions_of_both(
    count: int, table: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before a table of positions: virtual tokens and text both have the first ones."""
    shape = args[0] if isinstance(args[0], torch.Size) else args[0].shape
    parts = [torch.arange(size, device=table.weight.device) for size in (count, shape[1] - count)]
    return args, {**kwargs, "position_ids": torch.cat(parts)}


def _positions(count: int, start: int | None, mask_BT: Tensor, given_BT: Tensor | None) -> Tensor:
    """Positions of virtual tokens and text; counted over the mask, so that padding shifts nothing."""
    virtual_N = torch.arange(count, device=mask_BT.device)
    text_BT = given_BT
    if text_BT is None:
        text_BT = (mask_BT.long().cumsum(1) - 1).clamp_min(0) + (start or 0)
    if start is None:
        text_BT = text_BT + count
    else:
        virtual_N = virtual_N + start
    return torch.cat([virtual_N.expand(len(mask_BT), -1), text_BT.expand(len(mask_BT), -1)], 1)


def _take_out(count: int, trunk: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """After the trunk: hidden states of the text alone."""
    if isinstance(output, tuple):
        return (output[0][:, count:], *output[1:])
    output.last_hidden_state = output.last_hidden_state[:, count:]
    if getattr(output, "hidden_states", None) is not None:
        output.hidden_states = tuple(hidden[:, count:] for hidden in output.hidden_states)
    return output


def _take_out_before(count: int, pooler: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A pooler inside the trunk reads the text alone, if it is given all states and not one of each row."""
    return (args[0][:, count:], *args[1:]) if args[0].dim() == 3 else args
