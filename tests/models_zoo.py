"""Tiny random models of every architecture that the methods are tested on, and batches for them.

Two layers, hidden size 32, three classes, no dropout unless asked for: built from a configuration in
milliseconds, without files or a network. Token ids are random, padded on the right with id 0.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "CLASSES", "PAD", "SEQ2SEQ", "make_batch", "make_model", "make_seq2seq"]

PAD = 0
CLASSES = 3
VOCABULARY = 64
HIDDEN = 32
LAYERS = 2

_COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "num_labels": CLASSES}
_BLOCKS: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_GROUPED: dict[str, Any] = {**_BLOCKS, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}

#: Architecture -> (configuration class of transformers, its own settings, names of its dropout settings).
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "bert": ("BertConfig", _BLOCKS, ("hidden_dropout_prob", "attention_probs_dropout_prob")),
    "roberta": ("RobertaConfig", _BLOCKS, ("hidden_dropout_prob", "attention_probs_dropout_prob")),
    "distilbert": (
        "DistilBertConfig",
        {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
        ("dropout", "attention_dropout", "seq_classif_dropout"),
    ),
    "deberta-v2": (
        "DebertaV2Config",
        {  # as microsoft/deberta-v3-base
            **_BLOCKS,
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "pooler_hidden_size": HIDDEN,
            "pooler_hidden_act": "gelu",
        },
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout"),
    ),
    "electra": (  # embeddings narrower than the layers, as google/electra-small
        "ElectraConfig",
        {**_BLOCKS, "embedding_size": 16},
        ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
    "modernbert": (
        "ModernBertConfig",
        {
            **_BLOCKS,
            "local_attention": 8,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        ("attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
    ),
    "xlm-r": ("XLMRobertaConfig", _BLOCKS, ("hidden_dropout_prob", "attention_probs_dropout_prob")),
    "gpt2": (
        "GPT2Config",
        {
            "n_embd": HIDDEN,
            "n_layer": LAYERS,
            "n_head": 4,
            "n_positions": 64,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    ),
    "llama": ("LlamaConfig", _GROUPED, ("attention_dropout",)),
    "qwen2": ("Qwen2Config", _GROUPED, ("attention_dropout",)),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}, ("attention_dropout",)),
}


_TWO: dict[str, Any] = {"d_model": HIDDEN, "eos_token_id": 1, "decoder_start_token_id": PAD}
_BART: dict[str, Any] = {
    **_TWO,
    **{f"{part}_layers": LAYERS for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "forced_eos_token_id": None,
}
#: Encoder-decoders, as above. "t5": as google-t5/t5-small, "t5-gated": as google/flan-t5 and google/mt5.
SEQ2SEQ: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "t5": ("T5Config", {**_TWO, "d_kv": 8, "d_ff": 48, "num_layers": LAYERS, "num_heads": 4}, ("dropout_rate",)),
    "t5-gated": (
        "T5Config",
        {
            **_TWO, "d_kv": 8, "d_ff": 48, "num_layers": LAYERS, "num_heads": 4, "num_decoder_layers": 1,
            "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
        },
        ("dropout_rate",),
    ),
    "bart": ("BartConfig", _BART, ("dropout", "attention_dropout")),
    "pegasus": ("PegasusConfig", {**_BART, "scale_embedding": True}, ("dropout", "attention_dropout")),
}  # fmt: skip


def make_seq2seq(
    architecture: str,
    *,
    seed: int = 0,
    dropout: float = 0.0,
    attention: str = "sdpa",
    vocabulary: int = VOCABULARY,
) -> Any:
    """A tiny random encoder-decoder with a language model's head, in evaluation mode; ids as `make_batch` has
    them: 0 pads and starts the decoder, 1 ends."""
    import transformers

    name, own, dropouts = SEQ2SEQ[architecture]
    common = {"vocab_size": vocabulary, "pad_token_id": PAD, **dict.fromkeys(dropouts, dropout)}
    config = getattr(transformers, name)(**{**common, **own})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            elif not architecture.startswith("t5"):
                parameter.data.mul_(4.0)
    return model.eval()


def make_model(
    architecture: str,
    *,
    seed: int = 0,
    dropout: float = 0.0,
    attention: str = "sdpa",
    task: str = "SequenceClassification",
) -> nn.Module:
    """A tiny random model in evaluation mode; the same seed gives the same weights."""
    import transformers

    name, own, dropouts = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**{**_COMMON, **own, **dict.fromkeys(dropouts, dropout)})
    if architecture == "deberta-v2":
        attention = "eager"  # it has no other
    auto = getattr(transformers, f"AutoModelFor{task}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():  # biases and norms away from 0 and 1, where an error would hide
            if parameter.ndim == 1:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.data.mul_(4.0)
    built: nn.Module = model.eval()
    return built


def make_batch(
    rows: int = 4, *, seed: int = 0, longest: int = 12, lengths: list[int] | None = None
) -> dict[str, Tensor]:
    """Token ids and mask, padded on the right, and one label a row."""
    generator = torch.Generator().manual_seed(seed)
    if lengths is None:
        lengths = [longest - 2 * (i % 4) for i in range(rows)]
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, VOCABULARY, (length,), generator=generator)
    labels = torch.randint(0, CLASSES, (len(lengths),), generator=generator)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": labels}
