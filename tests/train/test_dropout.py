"""Dropout by random bytes: its distribution, its gradient, its one random state, and that it leaves no trace."""

import math

import pytest
import torch
from models_zoo import make_batch, make_model
from torch import Tensor, nn

from tunelab.train.dropout import drop, fast_dropout, share


def masks(p: float, shape: tuple[int, ...], steps: int) -> Tensor:
    """1.0 where kept, [steps, *shape]."""
    layer = nn.Dropout(p)
    torch.manual_seed(0)
    with fast_dropout(layer):
        return torch.stack([(layer(torch.ones(shape)) != 0).float() for _ in range(steps)])


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.999])
def test_every_position_is_kept_alike(p: float) -> None:
    """Counts over 400 steps are binomial: no position beyond 5.5 standard deviations (4,130 positions: 1e-4 by
    chance), their variance that of the binomial, the whole share within 4. 5 · 826: no multiple of 8 bytes."""
    kept = 1 - share(p)
    found = masks(p, (5, 14, 59), 400)
    deviation = math.sqrt(kept * (1 - kept))
    assert abs(float(found.mean()) - kept) < 4 * deviation / math.sqrt(found.numel())
    z = (found.sum(0) - 400 * kept) / (deviation * 20)
    assert float(z.abs().max()) < (5.5 if 0.05 < kept < 0.95 else 9)  # rare counts have a longer tail
    assert abs(float(z.var()) - 1) < 0.15


def test_neighbours_rows_and_steps_are_independent() -> None:
    """Correlations of neighbours (1 to 16 bytes apart: within a draw and across), rows and steps are 0 within
    4.5 standard errors."""
    found = masks(0.1, (8, 16, 96), 60)
    centred = (found - found.mean()) / found.std()
    flat = centred.flatten(1)
    pairs = [(flat[:, n:], flat[:, :-n]) for n in range(1, 17)]
    pairs += [(centred[:, n:], centred[:, :-n]) for n in (1, 2)]
    pairs += [(centred[n:], centred[:-n]) for n in (1, 2, 3)]
    for one, other in pairs:
        assert abs(float((one * other).mean())) < 4.5 / math.sqrt(one.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.3])
def test_expectation_is_the_input(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    x = (torch.rand(64, 1000) + 0.5).to(dtype)  # many values, so that bfloat16's roundings even out
    layer = nn.Dropout(p)
    with fast_dropout(layer):
        y = torch.stack([layer(x) for _ in range(20)]).double()
    spread = math.sqrt(share(p) / (1 - share(p)) * float(x.double().pow(2).mean()) / y.numel())
    assert abs(float(y.mean() - x.double().mean())) < 4 * spread


def test_output_and_gradient_are_those_of_the_mask() -> None:
    x = torch.randn(3, 7, 5, requires_grad=True)
    layer = nn.Dropout(0.25)  # 64/256: the scale is exactly 4/3
    with fast_dropout(layer):
        torch.manual_seed(1)
        mask = layer(torch.ones(3, 7, 5)) != 0
        torch.manual_seed(1)
        y = layer(x)
    weights = torch.randn(3, 7, 5)
    (y * weights).sum().backward()
    torch.testing.assert_close(y, x * mask * (4 / 3), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(x.grad, weights * mask * (4 / 3), atol=1e-7, rtol=1e-6)
    assert 0 < mask.sum() < mask.numel()
    transposed = torch.randn(6, 9, requires_grad=True)
    with fast_dropout(layer):
        y = drop(transposed.t(), 0.25, True)
    y.sum().backward()
    torch.testing.assert_close(transposed.grad * transposed, y.t())


def test_torch_random_state_is_the_only_one() -> None:
    """The same state gives the same bits and leaves the same state, whatever the threads; another, others."""
    layer, x = nn.Dropout(0.1), torch.ones(16, 24, 32)
    with fast_dropout(layer):
        torch.manual_seed(3)
        first = layer(x)
        state = torch.get_rng_state()
        second, after = layer(x), torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        with fast_dropout(layer):
            torch.set_rng_state(state)
            again = layer(x)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, second)
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(first, second)


def test_share() -> None:
    """256·0.1 = 25.6, rounded 26; above 0 at least one byte is dropped, below 1 one is kept."""
    assert [share(p) * 256 for p in (0.0, 1e-6, 0.1, 0.5, 0.9999, 1.0)] == [0, 1, 26, 128, 255, 256]


def test_model_is_as_before_afterwards() -> None:
    model, batch = make_model("bert", dropout=0.3).train(), make_batch()
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    model.get_submodule("bert.embeddings").eval()
    before = [dict(module.__dict__) for module in model.modules()]
    torch.manual_seed(0)
    expected = model(**inputs).logits
    try:
        with fast_dropout(model):
            torch.manual_seed(0)
            fast = model(**inputs).logits
            raise KeyError
    except KeyError:
        pass
    assert [dict(module.__dict__) for module in model.modules()] == before
    torch.manual_seed(0)
    assert torch.equal(model(**inputs).logits, expected)
    assert not torch.equal(fast, expected)
    with fast_dropout(model.eval()):
        evaluated = model(**inputs).logits
    assert torch.equal(evaluated, model(**inputs).logits)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT 0.21
def test_lora_dropout_is_fast_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    model = make_model("llama", dropout=0.3)  # its only nn.Dropout are PEFT's
    config = peft.LoraConfig(lora_dropout=0.5, target_modules=["q_proj"], task_type="SEQ_CLS")
    tuned = peft.get_peft_model(model, config).train()
    monkeypatch.setattr(nn.Dropout, "forward", lambda *_: pytest.fail("torch's own dropout ran"))
    batch = make_batch()
    with fast_dropout(tuned):
        tuned(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def test_identity_where_nothing_is_dropped() -> None:
    x = torch.randn(3)
    with fast_dropout(nn.Sequential(nn.Dropout(0.0))):
        assert drop(x, 0.0, True) is x
        assert drop(x, 0.5, False) is x
        assert not drop(x, 1.0, True).any()


def test_other_devices_keep_their_own() -> None:
    layer = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Dropout(0.5))
    with fast_dropout(layer):
        assert "forward" not in layer[1].__dict__
