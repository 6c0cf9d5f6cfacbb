"""Layers without padding: the same losses and gradients, whatever the lengths, and padding really taken out."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_toys import conversations
from models_zoo import make_model
from torch import Tensor, nn
from toys import FLOAT32, toy_examples

from tunelab import methods
from tunelab.config import SpeedConfig
from tunelab.methods.base import Tuned
from tunelab.train.attention import NAME, register
from tunelab.train.dropout import fast_dropout
from tunelab.train.first_token import first_token_only
from tunelab.train.levers import faster
from tunelab.train.unpadded import Rows, unpadded

MODELS = [
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "modernbert",
    "xlm-r",
    "gpt2",
    "llama",
    "qwen2",
    "qwen3",
]
ROWS = np.array([3, 9, 17, 21, 40, 41, 55])


@pytest.fixture(autouse=True)
def ours() -> None:
    register()


def make(architecture: str, method: str = "full", dropout: float = 0.0) -> Tuned:
    torch.manual_seed(0)
    settings = {"dropout": 0.0} if method == "lora" else {}
    tuned = methods.find(method).make(settings).attach(make_model(architecture, dropout=dropout))
    plain = tuned.model.get_base_model() if hasattr(tuned.model, "get_base_model") else tuned.model
    plain.set_attn_implementation(NAME)
    return tuned


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of a loss of all logits, of rows of all lengths in no order."""
    inputs, _ = toy_examples().batch(ROWS, "cpu")
    model.zero_grad()
    model(**inputs).logits.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextlib.contextmanager
def tokens_of(module: nn.Module) -> Iterator[set[int]]:
    """How many tokens a module is given."""
    seen: set[int] = set()
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].shape[:-1].numel()))
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("method", ["full", "lora", "prompt", "adapter"])
def test_gradients_are_those_with_padding(
    architecture: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention in as many groups as there are lengths, of rows in no order."""
    monkeypatch.setattr("tunelab.train.unpadded._ONE_MORE", 0)
    tuned = make(architecture, method)
    tuned.model.train()
    wanted = gradients(tuned.model)
    with unpadded(tuned.model, toy_examples()) as on:
        assert on
        found = gradients(tuned.model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    after = gradients(tuned.model)
    assert all(torch.equal(after[name], gradient) for name, gradient in wanted.items())


def test_padding_is_not_computed() -> None:
    """The feed-forward part sees as many tokens as the rows have."""
    tuned, examples = make("bert"), toy_examples()
    layer: nn.Module = tuned.model.bert.encoder.layer[-1]
    with unpadded(tuned.model, examples), tokens_of(layer.intermediate.dense) as seen:
        gradients(tuned.model)
    assert seen == {int(examples.lengths[ROWS].sum())}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "xlm-r"])
def test_with_the_first_token_alone(architecture: str) -> None:
    tuned = make(architecture)
    tuned.model.train()
    wanted = gradients(tuned.model)
    with unpadded(tuned.model, toy_examples()) as on, first_token_only(tuned.model, toy_examples()) as first:
        assert on
        assert first
        found = gradients(tuned.model)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_dropout_is_of_real_tokens() -> None:
    """The means of many draws are those with padding; two draws differ."""
    tuned = make("bert", dropout=0.1)
    tuned.model.train()
    examples = toy_examples()
    inputs, _ = examples.batch(np.argsort(examples.lengths, kind="stable")[::6], "cpu")

    def mean() -> Tensor:
        with torch.no_grad():
            return torch.stack([tuned.model(**inputs).logits for _ in range(600)]).mean(0)

    with fast_dropout(tuned.model):
        wanted, again = mean(), mean()
        with unpadded(tuned.model, examples) as on:
            assert on
            found = mean()
    noise = (wanted - again).abs().max()
    assert (found - wanted).abs().max() < 2 * noise


def test_off_where_nothing_is_spared_or_the_model_is_another() -> None:
    tuned = make("bert")
    lengths = toy_examples().lengths
    alike = replace(toy_examples(), rows=np.flatnonzero(lengths == lengths[0]))
    with unpadded(tuned.model, alike) as on:
        assert not on
    assert "forward" not in tuned.model.bert.encoder.layer[0].__dict__
    with unpadded(make_model("deberta-v2"), toy_examples()) as on:
        assert not on


@pytest.mark.parametrize("token_by_token", [False, True])
def test_batches_stay_cut_where_padded_logits_are_dear(token_by_token: bool, tmp_path: Path) -> None:
    """A vocabulary's logits of padding cost as ever, but where they are asked for one by one."""
    model, _, examples = conversations(tmp_path)
    tuned = methods.find("full").make({}).attach(model)
    with faster(
        tuned, examples, examples, examples, SpeedConfig(), FLOAT32, None, "", token_by_token=token_by_token
    ) as fast:
        assert fast.told["unpadded"]
        assert (fast.train.one_more is None) == token_by_token
        assert fast.train.padded != token_by_token


def test_rows_with_padding_before_them_are_left_alone() -> None:
    assert Rows.of(torch.tensor([[0, 1, 1], [1, 1, 1]])) is None
    assert Rows.of(torch.ones(2, 3)) is None
    rows = Rows.of(torch.tensor([[1, 0, 0], [1, 1, 1]]))
    assert rows is not None
    assert (rows.places_N.tolist(), rows.starts_B.tolist()) == ([0, 3, 4, 5], [0, 1])
    turned = Rows.of(torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert turned is not None
    assert (turned.places_N.tolist(), turned.starts_B.tolist()) == ([3, 0, 1, 2], [1, 0])
    assert Rows.of(torch.tensor([[0, 0], [1, 1]])) is None
    x_BTD = torch.arange(12.0).view(2, 3, 2)
    back = rows.padded(rows.packed(x_BTD))
    assert torch.equal(back, x_BTD * torch.tensor([[1.0, 0, 0], [1, 1, 1]])[..., None])
