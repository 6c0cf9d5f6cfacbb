"""bfloat16 in training: the model's own bfloat16 numbers inside, float32 outside, nothing left behind."""

import copy
from pathlib import Path

import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, VOCABULARY, make_batch, make_model
from toys import FLOAT32, make_tuned, train_toy

from tunelab.config import TrainConfig
from tunelab.train.precision import Precision


def inputs() -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in make_batch().items() if name != "labels"}


def low() -> Precision:
    return Precision("bfloat16", "cpu", "test")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_numbers_are_those_of_the_model_in_bfloat16(architecture: str) -> None:
    """Bit for bit what the model with weights in bfloat16 gives; outside, bit for bit what it gave before."""
    model = make_model(architecture).eval()
    batch = inputs()
    plain = copy.deepcopy(model)
    for parameter in plain.parameters():  # (buffers, as the frequencies of rotary positions, stay float32)
        parameter.data = parameter.data.bfloat16()
    before = model(**batch).logits
    with torch.no_grad(), low()(model):
        inside = model(**batch).logits
    assert inside.dtype == torch.bfloat16
    assert torch.equal(inside, plain(**batch).logits)
    assert torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "gpt2", "llama", "modernbert"])
def test_gradients_are_float32_and_near_those_of_float32(architecture: str) -> None:
    """Within 8 bits of a number's length, all parameters together; added to what was there."""
    model, reference = make_model(architecture), make_model(architecture)
    reference.load_state_dict(model.state_dict())
    batch = inputs()
    reference(**batch).logits.square().sum().backward()
    precision = low()
    for _ in range(2):
        with precision(model):
            model(**batch).logits.float().square().sum().backward()
    for (name, one), two in zip(reference.named_parameters(), model.parameters(), strict=True):
        assert two.dtype == torch.float32
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None:
            assert two.grad.dtype == torch.float32
    ones = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None])
    twos = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert torch.nn.functional.cosine_similarity(ones, twos, dim=0) > 0.999
    assert twos.norm() / (2 * ones.norm()) == pytest.approx(1, abs=0.02)


def test_the_gradient_of_a_row_that_is_looked_up_often_is_a_float32_sum() -> None:
    """4,096 equal gradients of 1: bfloat16 would stop counting at 256, where 256 + 1 is 256 again."""
    model = torch.nn.Module()
    model.table = torch.nn.Embedding(3, 2)
    with low()(model):
        model.table(torch.full((8, 512), 1)).float().sum().backward()
    assert model.table.weight.grad.tolist() == [[0, 0], [4096, 4096], [0, 0]]
    plain = torch.nn.Embedding(3, 2).to(torch.bfloat16)
    plain(torch.full((8, 512), 1)).float().sum().backward()
    assert plain.weight.grad[1, 0] != 4096  # (what would happen otherwise)


def test_a_table_that_the_output_layer_shares_gets_both_gradients() -> None:
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY)
    model = transformers.GPT2LMHeadModel(config).eval()
    reference = copy.deepcopy(model)
    ids = torch.randint(0, VOCABULARY, (4, 9))
    for one, precision in ((model, low()), (reference, FLOAT32)):
        with precision(one):
            logits = one(input_ids=ids).logits.float()
            torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    found, wanted = (m.transformer.wte.weight.grad.flatten() for m in (model, reference))
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.999
    assert found.norm() / wanted.norm() == pytest.approx(1, abs=0.02)


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    model = make_model("bert")
    pointers = [p.data_ptr() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="memory"), low()(model):
        raise RuntimeError("memory")
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_memory_that_runs_out_among_the_gradients_loses_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second gradient to be added finds no memory: every parameter is float32 again, bit by bit as before."""
    model, calls = make_model("bert").train(), []
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def added(*gradients: torch.Tensor | None) -> torch.Tensor | None:
        calls.append(gradients)
        if len(calls) == 2:
            raise MemoryError
        return gradients[1]

    monkeypatch.setattr("tunelab.train.precision._added", added)
    with pytest.raises(MemoryError), low()(model):
        model(**inputs()).logits.float().square().sum().backward()
    assert len(calls) == 2
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name]), name


def test_an_error_after_the_backward_pass_adds_no_gradient() -> None:
    """Those of the step before stay as they are, bit by bit; where there was none there is none."""
    model = make_model("bert").train()
    first = model.classifier.weight
    first.grad = torch.full_like(first, 7.0)

    def fails() -> None:
        model(**inputs()).logits.float().square().sum().backward()
        raise RuntimeError("memory")

    with pytest.raises(RuntimeError, match="memory"), low()(model):
        fails()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(first.grad, torch.full_like(first, 7.0))
    assert all(p.grad is None for p in model.parameters() if p is not first)


@pytest.mark.parametrize("method", ["full", "lora", "gradual", "prompt", "prefix", "adapter", "adalora"])
def test_training_learns_as_float32_does(method: str, tmp_path: Path) -> None:
    """Every kind of method; what phases (gradual) or masks (AdaLoRA) change between steps is seen inside."""
    config = TrainConfig(epochs=6, batch_size=8, checkpoint_seconds=1e9)
    losses = []
    for precision in (FLOAT32, low()):
        tuned = make_tuned(method)
        found = train_toy(tuned, tmp_path / precision.name, config, learning_rate=3e-3, precision=precision)
        losses.append(found.best["loss"])
        assert all(t.dtype == torch.float32 for t in tuned.state().values())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
