"""Computing the last layer for the first token alone changes nothing that the head reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, PAD, VOCABULARY, make_batch, make_model
from toys import FLOAT32, toy_examples

from tunelab import methods
from tunelab.config import SpeedConfig
from tunelab.data.batch import Examples
from tunelab.data.encode import Tokens
from tunelab.methods.structure import find_structure
from tunelab.train.first_token import first_token_only
from tunelab.train.levers import faster

READ_THE_FIRST = {"bert", "roberta", "xlm-r", "electra", "deberta-v2"}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    batch = make_batch()
    batch.pop("labels")
    model.zero_grad()
    model(**batch).logits.square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_the_same_wherever_it_is_used(architecture: str) -> None:
    """And it is used for the models that are known to classify by their first token, and for no other."""
    model = make_model(architecture)
    wanted = gradients(model)
    with first_token_only(model, toy_examples()) as used:
        found = gradients(model)
    assert used == (architecture in READ_THE_FIRST)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_methods_keep_their_gradients(method: str) -> None:
    torch.manual_seed(0)
    tuned = methods.find(method).make({}).attach(make_model("bert"))
    tuned.model.eval()  # LoRA's own dropout would differ from call to call
    wanted = gradients(tuned.model)
    with first_token_only(tuned.model, toy_examples()) as used:
        found = gradients(tuned.model)
    assert used == (method not in ("prompt", "p_tuning"))  # virtual tokens stand before the first one
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_the_last_layer_really_computes_one_token_and_is_whole_again_afterwards() -> None:
    model, widths = make_model("bert", dropout=0.1), []
    last = model.get_submodule(find_structure(model).layers[-1].feedforward_input)
    last.register_forward_hook(lambda _module, _inputs, output: widths.append(output.shape[1]))
    state = torch.get_rng_state()
    model.train()
    with first_token_only(model, toy_examples()):
        assert torch.equal(torch.get_rng_state(), state)
        assert model.training
        widths.clear()
        gradients(model)
    gradients(model)
    assert widths == [1, 12]


def ragged(longest: int) -> Examples:
    """Texts of 4 to 12 tokens, so many of them of the greatest length."""
    random = np.random.default_rng(1)
    lengths = [12] * longest + [4, 7, 9, 5]
    texts = [random.integers(3, VOCABULARY, size=length).astype(np.int32) for length in lengths]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    targets = np.zeros(len(texts), dtype=np.int64)
    return Examples(Tokens(np.concatenate(texts), starts, 0), targets, np.arange(len(texts)), 12, PAD)


def test_without_padding_it_is_asked_with_padding(tmp_path: Path) -> None:
    """MobileBERT's last layer adds what it was given to what is left of it: with rows that lie behind one
    another that is no sum. The longest rows alone, all as long as is allowed, would not show it."""
    shape = {"embedding_size": 16, "intra_bottleneck_size": 16, "vocab_size": VOCABULARY, "pad_token_id": PAD}
    config = transformers.MobileBertConfig(
        **shape, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    model = transformers.MobileBertForSequenceClassification(config).eval()
    examples, wanted = ragged(longest=4), gradients(model)
    tuned = methods.find("full").make({}).attach(model)
    settings = SpeedConfig(trunk_cache=False, compact_vocabulary=False, fast_dropout=False)
    with faster(tuned, examples, examples, examples, settings, FLOAT32, None, "") as fast:
        assert fast.told["unpadded"]
        model.eval()
        found = gradients(model)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_a_head_that_objects_is_left_as_it_is() -> None:
    """As one's own may: it was promised the states of all tokens."""
    model = make_model("bert")

    def strict(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].shape[1] == 1:
            raise ValueError("all tokens, please")

    model.bert.pooler.register_forward_pre_hook(strict)
    wanted = gradients(model)
    with first_token_only(model, toy_examples()) as used:
        assert not used
        found = gradients(model)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
