"""Computing the last layer for the first token alone changes nothing that the head reads."""

import pytest
import torch
from models_zoo import ARCHITECTURES, make_batch, make_model
from toys import toy_examples

from tunelab import methods
from tunelab.methods.structure import find_structure
from tunelab.train.first_token import first_token_only

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
