"""The table: every method with small settings, and how many numbers it trains, written out by hand.

A new method is its file, its line in `METHODS`, and its line here.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from models_zoo import make_batch, make_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tunelab.methods import METHODS, Method
from tunelab.methods.base import Tuned

# The tiny models: vocabulary V, positions P, hidden D, feed-forward F, layers L, classes C, and the size
# of Llama's keys G (two heads of 8, grouped).
V, P, D, F, L, C, G = 64, 64, 32, 48, 2, 3, 16
BERT_HEAD = D * D + D + C * D + C
LLAMA_HEAD = C * D
BERT_LAYER = 4 * (D * D + D) + (F * D + F) + (D * F + D) + 4 * D
LLAMA_LAYER = 2 * D * D + 2 * G * D + 3 * F * D + 2 * D
BERT = V * D + P * D + 2 * D + 2 * D + L * BERT_LAYER + BERT_HEAD
LLAMA = V * D + L * LLAMA_LAYER + D + LLAMA_HEAD
R, K, N, H = 4, 4, 5, 16  # rank, bottleneck, virtual tokens, width of a network


@dataclass(frozen=True)
class Case:
    """One row: settings, and numbers trained on the tiny BERT and Llama."""

    name: str
    bert: int
    llama: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""

    @property
    def kind(self) -> type[Method]:
        return METHODS[self.method or self.name]

    def make(self) -> Method:
        return self.kind.make(self.settings)

    def count(self, architecture: str) -> int:
        return {"bert": self.bert, "llama": self.llama}[architecture]


def _low_rank(bert: int, llama: int) -> dict[str, int]:
    return {"bert": L * bert + BERT_HEAD, "llama": L * llama + LLAMA_HEAD}


_VIRTUAL = {"num_virtual_tokens": N}
_LOW = {"rank": R, "dropout": 0.0}
_MLP = N * D + (H * D + H) + (H * H + H) + (D * H + D)
_LSTM = N * D + 8 * H * (D + H + 2) + 8 * H * (2 * H + H + 2) + 4 * H * H + 2 * H + 2 * H * D + D
_ADAPTER = 2 * K * D + K + D

CASES = [
    Case("full", BERT, LLAMA),
    Case("head", BERT_HEAD, LLAMA_HEAD),
    Case("top_layers", BERT_LAYER + BERT_HEAD, LLAMA_LAYER + D + LLAMA_HEAD, {"layers": 1}),
    Case("gradual", BERT, LLAMA),
    Case("layer_decay", BERT, LLAMA),
    # BERT: biases of the embeddings' norm, of six linear layers and two norms; Llama has none: norm scales.
    Case("bitfit", D + L * (4 * D + F + D + 2 * D) + BERT_HEAD, L * 2 * D + D + LLAMA_HEAD),
    Case("lora", settings=_LOW, **_low_rank(2 * R * (D + D), R * (D + D) + R * (D + G))),
    Case(
        "lora-everywhere",
        settings={**_LOW, "targets": "all_linear"},
        method="lora",
        **_low_rank(4 * R * (D + D) + 2 * R * (D + F), 2 * R * (D + D) + 2 * R * (D + G) + 3 * R * (D + F)),
    ),
    Case(
        "lora-top",
        2 * R * (D + D) + BERT_HEAD,
        R * (D + D) + R * (D + G) + LLAMA_HEAD,
        {**_LOW, "layers": 1},
        "lora",
    ),
    Case("dora", settings=_LOW, **_low_rank(2 * (R * 2 * D + D), R * 2 * D + D + R * (D + G) + G)),
    Case("rslora", settings=_LOW, **_low_rank(2 * R * (D + D), R * (D + D) + R * (D + G))),
    Case(
        "adalora",
        settings={"init_rank": R, "target_rank": 2, "dropout": 0.0},
        **_low_rank(2 * R * (D + D + 1), R * (D + D + 1) + R * (D + G + 1)),
    ),
    Case("ia3", **_low_rank(D + D + F, G + G + F)),
    Case("prompt", N * D + BERT_HEAD, N * D + LLAMA_HEAD, _VIRTUAL),
    Case("p_tuning", _MLP + BERT_HEAD, _MLP + LLAMA_HEAD, {**_VIRTUAL, "hidden_size": H}),
    Case(
        "p_tuning-lstm",
        _LSTM + BERT_HEAD,
        _LSTM + LLAMA_HEAD,
        {**_VIRTUAL, "hidden_size": H, "encoder": "lstm"},
        "p_tuning",
    ),
    Case("prefix", 2 * L * N * D + BERT_HEAD, 2 * L * N * G + LLAMA_HEAD, _VIRTUAL),
    Case(
        "prefix-projection",
        N * D + H * D + H + 2 * L * D * (H + 1) + BERT_HEAD,
        N * D + H * D + H + 2 * L * G * (H + 1) + LLAMA_HEAD,
        {**_VIRTUAL, "projection": True, "projection_size": H},
        "prefix",
    ),
    Case("adapter", settings={"reduction": 8}, **_low_rank(_ADAPTER, _ADAPTER)),
    Case(
        "adapter-top", _ADAPTER + BERT_HEAD, _ADAPTER + LLAMA_HEAD, {"reduction": 8, "layers": 1}, "adapter"
    ),
    Case(
        "adapter-houlsby",  # two adapters a layer, and the norms: scale and bias in BERT, scale in Llama
        settings={"placement": "houlsby", "bottleneck": K, "train_norms": True},
        method="adapter",
        **_low_rank(2 * _ADAPTER + 4 * D, 2 * _ADAPTER + 2 * D),
    ),
    Case(
        "adapter-parallel",
        settings={"placement": "parallel", "bottleneck": K, "scale": 4.0},
        method="adapter",
        **_low_rank(_ADAPTER, _ADAPTER),
    ),
]


def attach(case: Case, architecture: str, *, seed: int = 1, dropout: float = 0.0) -> Tuned:
    """The method on a fresh tiny model, in evaluation mode."""
    model = make_model(architecture, dropout=dropout)
    torch.manual_seed(seed)
    tuned = case.make().attach(model)
    tuned.model.eval()
    return tuned


def inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**inputs(batch)).logits
    return out


def optimizer_of(case: Case, tuned: Tuned) -> torch.optim.AdamW:
    return torch.optim.AdamW(tuned.param_groups(case.kind.learning_rate, 0.01))


def train(
    case: Case,
    tuned: Tuned,
    steps: int,
    *,
    total: int | None = None,
    done: int = 0,
    optimizer: torch.optim.AdamW | None = None,
    batch: Mapping[str, Tensor] | None = None,
) -> list[float]:
    """A few steps as the loop does them; the loss before each."""
    batch = make_batch() if batch is None else batch
    total = total or steps
    optimizer = optimizer or optimizer_of(case, tuned)
    losses = []
    if done == 0:
        tuned.on_progress(0, total)
    for step in range(done, done + steps):
        loss = cross_entropy(tuned.model(**inputs(batch)).logits, batch["labels"])
        losses.append(float(loss.detach()))
        extra = tuned.extra_loss()
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        tuned.on_progress(step + 1, total)
        optimizer.zero_grad()
    return losses


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def plain_name(name: str) -> str:
    """A parameter's name in the pretrained model, from its name inside PEFT's wrappers."""
    return (
        name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".original_module.", ".")
    )


def base_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The pretrained model's own tensors, wherever a method has put them."""
    state = model.state_dict()
    return {plain_name(name): tensor for name, tensor in copy.copy(state).items()}
