"""Models of a given shape with random weights, and texts of a given length: for what sizes cost."""

import itertools
import random
from pathlib import Path
from typing import Any

import torch
import transformers

from tunelab.config import ModelConfig
from tunelab.models import load_tokenizer, locate

#: Name -> configuration class of transformers, and what differs from its defaults.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_base": ("BertConfig", {"vocab_size": 30522}),
    "multilingual_minilm": (
        "XLMRobertaConfig",
        {
            "vocab_size": 250_002,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
    ),
    "llama_1b": (
        "LlamaConfig",
        {
            "vocab_size": 32000,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
        },
    ),
    **{
        f"minilm_{layers}_layers": (
            "BertConfig",
            {
                "vocab_size": 30522,
                "hidden_size": 384,
                "intermediate_size": 1536,
                "num_attention_heads": 12,
                "num_hidden_layers": layers,
            },
        )
        for layers in (1, 2, 3, 6, 12)
    },
}


def make_model(shape: str, folder: Path) -> Path:
    """The shape with random weights and the packaged tokenizer, as `save_pretrained` writes it."""
    kind, values = SHAPES[shape]
    transformers.logging.disable_progress_bar()
    tokenizer = packaged_tokenizer()
    config = getattr(transformers, kind)(**{**values, "pad_token_id": tokenizer.pad_token_id})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        **tokenizer.special_tokens_map,
    ).save_pretrained(folder)
    return folder


def packaged_tokenizer() -> Any:
    config = ModelConfig()
    return load_tokenizer(locate(config), config)[0]


def make_texts(rows: int, tokens: int, folder: Path, vary: bool = False) -> Path:
    """train.csv with so many rows, valid.csv and test.csv with 200 each. Every text has `tokens` tokens, the
    two special ones included (vary: between a quarter and all of them); a word in it decides the label."""
    folder.mkdir(parents=True)
    words = sorted(w for w in packaged_tokenizer().get_vocab() if w.isascii() and w.isalpha() and len(w) > 3)
    draw = random.Random(0)
    signs = {"good": words[:200], "bad": words[200:400]}
    for name, count in (("train", rows), ("valid", 200), ("test", 200)):
        lines = ["text,label"]
        for label in itertools.islice(itertools.cycle(signs), count):
            length = draw.randint(max(tokens // 4, 3), tokens) if vary else tokens
            chosen = [draw.choice(signs[label]), *draw.choices(words[400:], k=length - 3)]
            lines.append(f"{' '.join(chosen)},{label}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
