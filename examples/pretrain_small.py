"""`mini-zh` and `mini-zh-lm`, the packaged Chinese-and-English models, from public text to model card.

1. python examples/small_corpus.py ../shared/data small/corpus.jsonl         the text, without test rows
2. python examples/pretrain_small.py start small                             tokenizer, two random models
3. tunelab run small/corpus.jsonl --task language --method full --model small/start/mini-zh \
       --config examples/pretrain_small.yaml --out small/mini-zh              about an hour on one core
   tunelab run small/corpus.jsonl --task language --method full --model small/start/mini-zh-lm \
       --config examples/pretrain_small.yaml --out small/mini-zh-lm train.epochs=1 train.batch_size=16
4. python examples/pretrain_small.py pack small src/tunelab/pretrained        bfloat16 weights and a card

A run that was stopped goes on when the same command is given again.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>")
PIECES = 2500  # of everything that is no Chinese character
NEAR = 5  # tokens to either side that are neighbours
LEAST = 2  # times that a Chinese character stands in the text
HAN = "[\u4e00-\u9fff]"
SIZE = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 512}


def start(folder: Path) -> None:
    """Tokenizers and random models in `folder`/start, from `folder`/corpus.jsonl."""
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    vocabulary = vocabulary_of(texts)
    table = neighbours(texts, vocabulary)
    torch.manual_seed(0)
    size: dict[str, Any] = {**SIZE, "vocab_size": len(vocabulary), "pad_token_id": vocabulary["[PAD]"]}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # few passes over much text
    encoder = BertForMaskedLM(BertConfig(**size, **none, intermediate_size=768))
    ends = {"bos_token_id": vocabulary["<s>"], "eos_token_id": vocabulary["</s>"]}
    decoder = LlamaForCausalLM(
        LlamaConfig(**size, **ends, intermediate_size=512, tie_word_embeddings=True, rope_theta=10000.0)
    )
    for name, model, causal in (("mini-zh", encoder, False), ("mini-zh-lm", decoder, True)):
        model.save_pretrained(folder / "random" / name)
        tokenizer_of(vocabulary, causal).save_pretrained(folder / "random" / name)
        with torch.no_grad():
            model.get_input_embeddings().weight.copy_(table)
        model.save_pretrained(folder / "start" / name)
        tokenizer_of(vocabulary, causal).save_pretrained(folder / "start" / name)
        print(name, f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(vocabulary):,} tokens")


def neighbours(texts: list[str], vocabulary: dict[str, int]) -> torch.Tensor:
    """A first table of embeddings, [V, D], as large as a random one: like neighbours make tokens alike.

    The D largest singular vectors of the positive pointwise mutual information of tokens up to `NEAR` apart
    (Levy and Goldberg, 2014, "Neural Word Embedding as Implicit Matrix Factorization", section 5): half a
    minute, in place of the first part of pretraining.
    """
    tokenizer = tokenizer_of(vocabulary, causal=True)
    rows = [np.array(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    gap = np.full(NEAR, -1)
    flat = np.concatenate([part for row in rows for part in (row, gap)])
    size = len(vocabulary)
    counts = sparse.csr_matrix((size, size))
    for away in range(1, NEAR + 1):
        left, right = flat[:-away], flat[away:]
        both = (left >= 0) & (right >= 0)
        ones = np.full(int(both.sum()), 1.0 / away)
        counts = counts + sparse.coo_matrix((ones, (left[both], right[both])), (size, size)).tocsr()
    pairs = (counts + counts.T).tocoo()
    total = np.asarray(pairs.sum(1)).ravel() + 1.0
    context = total**0.75
    information = np.log(pairs.data * context.sum() / (total[pairs.row] * context[pairs.col]))
    positive = sparse.coo_matrix((np.maximum(information, 0.0), (pairs.row, pairs.col)), (size, size)).tocsr()
    left, values, _ = svds(positive, k=SIZE["hidden_size"], random_state=0)
    table = left * np.sqrt(values)
    random = np.random.default_rng(0).normal(size=table.shape)
    table = table / table.std() + 0.3 * random  # (tokens without neighbours would be zero)
    return torch.tensor(0.02 * table / table.std(), dtype=torch.float32)


def vocabulary_of(texts: list[str]) -> dict[str, int]:
    """Special tokens, every Chinese character that is not rare, pieces of all other writing."""
    counts = Counter(character for text in texts for character in re.findall(HAN, text))
    han = sorted(character for character, count in counts.items() if count >= LEAST)
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=True)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    printable = [chr(code) for code in range(33, 127)]
    trainer = trainers.WordPieceTrainer(vocab_size=PIECES, initial_alphabet=printable, show_progress=False)
    trained.train_from_iterator(_without_han(texts), trainer)
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__)
    tokens = dict.fromkeys([*SPECIAL, *pieces, *han])
    return {token: i for i, token in enumerate(tokens)}


def _without_han(texts: list[str]) -> Iterator[str]:
    return (re.sub(f"{HAN}+", " ", text) for text in texts)


def tokenizer_of(vocabulary: dict[str, int], causal: bool) -> PreTrainedTokenizerFast:
    """WordPiece in which every Chinese character is a token of its own. [CLS] text [SEP], or <s> text."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    between = Regex("(?<=[^\\x00-\\x7f]) | (?=[^\\x00-\\x7f])")  # no blanks beside Chinese
    tokenizer.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=True), decoders.Fuse(), decoders.Replace(between, "")]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    single, pair = "<s> $A", "<s> $A $B"
    if not causal:
        names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"
    used = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]", "<s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=used)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=SIZE["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names,
    )


def pack(folder: Path, out: Path) -> None:
    """The trained models of `folder` as packaged ones in `out`: bfloat16 weights, tokenizer, card."""
    for name, kind in (("mini-zh", AutoModelForMaskedLM), ("mini-zh-lm", AutoModelForCausalLM)):
        run = max((folder / name / "runs").glob("*/bundle"), key=lambda path: path.stat().st_mtime).parent
        model = kind.from_pretrained(run / "bundle", dtype=torch.bfloat16)
        if name == "mini-zh":  # as BERT has it, for the fine-tuning that follows
            model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
        model.save_pretrained(out / name)
        (out / name / "model.safetensors").chmod(0o644)
        AutoTokenizer.from_pretrained(folder / "start" / name).save_pretrained(out / name)
        (out / name / "README.md").write_text(card(name, model, run, folder), encoding="utf-8")
        print(name, f"{(out / name / 'model.safetensors').stat().st_size:,} bytes")


def card(name: str, model: Any, run: Path, folder: Path) -> str:
    """The model's README."""
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    training, scores = record["training"], record["scores"]
    first = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    size = model.config
    values = {
        "name": name,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "layers": size.num_hidden_layers,
        "hidden": size.hidden_size,
        "vocabulary": f"{size.vocab_size:,}",
        "guess": f"{np.log(size.vocab_size):.2f}",
        "first": f"{first['loss']:.2f}",
        "loss": f"{scores['loss']:.2f}",
        "accuracy": f"{100 * scores['token_accuracy']:.0f} %",
        "tokens": f"{training['tokens'] / 1e6:.1f} million",
        "steps": f"{training['steps']:,}",
        "hours": f"{record['cost']['train_seconds'] / 60:.0f} minutes",
        "sources": (folder / "corpus.md").read_text(encoding="utf-8").strip(),
        "asked": "hidden tokens" if name == "mini-zh" else "the next token",
        **(ENCODER if name == "mini-zh" else DECODER),
    }
    return CARD.format(**values)


ENCODER = {
    "auto": "fill-mask",
    "what": "encoder (BERT)",
    "for": "classifying, tagging and comparing short Chinese texts with nothing to download",
}
DECODER = {
    "auto": "text-generation",
    "what": "causal language model (Llama)",
    "for": "seeing that a Chinese instruction, preference or language study runs, from end to end",
}
CARD = """---
language: [zh, en]
license: apache-2.0
pipeline_tag: {auto}
---

# {name}

A tiny Chinese-and-English {what}: {parameters} parameters, {layers} layers, {hidden} wide, {vocabulary}
tokens (every Chinese character is one; Latin letters are lowercased), 512 positions. tunelab pretrained
it with its own command, in {hours} on one shared core, so that its Chinese samples and examples run
offline.

**It is for** {for}: samples, tests, courses, first tries.

**It is not for** production, facts, or generating text for anyone to read. It has seen {tokens} tokens
of few kinds of text; a model such as bert-base-chinese has seen hundreds of times as many and is far
better. It repeats the tastes and prejudices of shop reviews, an 18th-century novel and synthetic
instructions.

## How it was made

`examples/pretrain_small.py` and `examples/pretrain_small.yaml` in tunelab's repository: token embeddings
from the neighbours of each token (PPMI and singular vectors), then {steps} steps on {tokens} tokens.
Loss a token, of {asked}, in nats:

| guessing | at the first step | on held-out rows, at the end |
|---|---|---|
| {guess} | {first} | {loss} (right {accuracy} of the time) |

## Text it has read

{sources}

Left out: every row of chnsenticorp_htl, weibo_senti, online_shopping_10_cats (the labelled sample),
cluener, msra_ner, resume_ner and afqmc; the test rows of thucnews_titles and csl_title, the dev and test
rows of csl_category, the trial rows of cmrc2018; and whatever equals, nearly equals or holds one of
these. Rows were left out for that, or because they came twice. Every other row of every source above is
text that this model has read (never with a label): all of the novel, of Tiny Shakespeare, of both Alpaca
demos and of the DPO demos' chosen answers too. A study on those is no test of it; judge it on what is left
out.

The weights are given under Apache-2.0. Where a source states no licence, or one for research, whoever
ships the weights has to judge that for themselves; CMRC 2018 asks for attribution and sharing alike.
"""


if __name__ == "__main__":
    {"start": start, "pack": pack}[sys.argv[1]](*map(Path, sys.argv[2:]))
