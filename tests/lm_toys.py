"""A tokenizer of bytes and tiny language models on disk, for tests of `language` and `instruct`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tunelab.config import LossConfig, ModelConfig
from tunelab.data.table import Table
from tunelab.models import Located, load_model, load_tokenizer
from tunelab.tasks.instruct import Instruct, InstructSettings

CHATML = ("<|im_start|>", "<|im_end|>")
SAID = [
    ("Name a fruit.", "An apple."),
    ("绝句", "两个黄鹂鸣翠柳"),
    ("Count.", "1 2 3 4 5 6 7 8 9"),
    ("Hi", "Ho"),
]


def byte_tokenizer(*added: str, bert: bool = False) -> Any:
    """One token a byte; <s> before a text (bert: [CLS] and [SEP] around it, and [MASK])."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    own = ["<pad>", "[CLS]", "[SEP]", "[MASK]"] if bert else ["<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*own, *added, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    before, behind = own[1], own[2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {behind}" if bert else f"{before} $A",
        special_tokens=[(before, vocabulary[before]), (behind, vocabulary[behind])],
    )
    names = (
        {"cls_token": before, "sep_token": behind, "mask_token": "[MASK]"}
        if bert
        else {"bos_token": before, "eos_token": behind}
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", extra_special_tokens=list(added), **names
    )


def language_model(folder: Path, kind: str = "llama", *added: str) -> Path:
    """A random model of two layers with its language model's head, and the tokenizer of bytes."""
    from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer(*added, bert=kind == "bert")
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 160,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "bert":
            model: Any = BertForMaskedLM(BertConfig(**shape))
        else:
            grouped = {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
            model = LlamaForCausalLM(LlamaConfig(**shape, **grouped, tie_word_embeddings=True))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def seq2seq_model(folder: Path, kind: str = "t5") -> Path:
    """A random encoder-decoder of `models_zoo` with the byte tokenizer."""
    from models_zoo import make_seq2seq

    tokenizer = byte_tokenizer()
    model = make_seq2seq(kind, vocabulary=len(tokenizer))
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.bos_token_id = tokenizer.eos_token_id, tokenizer.bos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conversations(folder: Path):
    """A random language model, its task and conversations of unlike length."""
    found = Located("toy", language_model(folder))
    tokenizer, _ = load_tokenizer(found, ModelConfig())
    Instruct.dress(tokenizer, InstructSettings(template="alpaca"))
    task = Instruct(LossConfig(), InstructSettings(template="alpaca"))
    table = pd.DataFrame(
        {
            "text": [
                json.dumps([{"role": "user", "content": a}, {"role": "assistant", "content": b}])
                for a, b in SAID
            ],
            "label": "",
        }
    )
    encoded = task.encode(Table(table, {}), tokenizer, 160, cache=False)
    targets = task.targets([""] * len(SAID), encoded)
    rows = task.examples(encoded, np.arange(len(encoded.tokens)), targets, 160, tokenizer.pad_token_id)
    return load_model(found, ModelConfig(), task.model_class, {}, 0), task, task.for_training(rows)
