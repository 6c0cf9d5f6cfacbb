"""A tiny pretrained model on disk with a tokenizer of its own, and files of labelled sentences."""

import random
import string
from pathlib import Path
from typing import Any

import pandas as pd

GOOD = ["lovely", "great", "solid", "bright", "quiet", "warm", "sturdy", "cheerful"]
BAD = ["broken", "dull", "noisy", "cold", "flimsy", "sour", "ugly", "late"]
THINGS = [
    "lamp",
    "kettle",
    "chair",
    "radio",
    "coat",
    "novel",
    "mug",
    "clock",
    "tent",
    "broom",
    "bench",
    "phone",
]
PLACES = ["kitchen", "garden", "office", "hall", "attic", "car", "shed", "cellar", "porch", "studio"]


def make_model_folder(folder: Path, architecture: str = "bert") -> Path:
    """A 2-layer random model with a character-level tokenizer (letters, digits, a few marks)."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    characters = string.ascii_lowercase + string.digits + ".,!?'-"
    words = [*GOOD, *BAD, *THINGS, *PLACES, "the", "is", "in", "my", "a", "was", "and", "not"]
    vocabulary = [*specials, *characters, *[f"##{c}" for c in characters], *[w for w in words if len(w) > 1]]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    shape = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if architecture == "bert":
            model = BertModel(BertConfig(**shape))
        else:
            model = LlamaForCausalLM(
                LlamaConfig(**shape, num_key_value_heads=2, bos_token_id=2, eos_token_id=3)
            )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def dropping_tokenizer() -> Any:
    """Words of a text without blanks, <s> before them; what it does not know it drops, without a trace."""
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    merges = [("北", "京"), ("天", "安"), ("天安", "门"), ("我", "爱")]
    pieces = ["[PAD]", "<s>", *"ab北京天安门我爱", *("".join(pair) for pair in merges)]
    bare = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    bare.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="[PAD]", bos_token="<s>")


def sentences(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """Distinct short sentences; the adjective says whether the label is good or bad."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        label = rng.choice(["good", "bad"])
        word, other = rng.choice(GOOD if label == "good" else BAD), rng.choice(THINGS)
        tail = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 9)))
        found[f"{rng.choice(PLACES)} {tail} {other} {word} {rng.randint(10, 99999)}"] = label
    return pd.DataFrame({"text": list(found), "label": list(found.values())})


def write_sentences(path: Path, rows: int = 120, seed: int = 0) -> Path:
    """`sentences` as a CSV file."""
    sentences(rows, seed).to_csv(path, index=False)
    return path
