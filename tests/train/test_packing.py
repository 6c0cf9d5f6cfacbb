"""Packed batches: the same losses and gradients as with padding, and rows that do not see their neighbours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lm_toys import conversations
from models_zoo import ARCHITECTURES, make_batch, make_model
from toys import toy_examples

from tunelab import methods
from tunelab.train.asked import asked_only
from tunelab.train.packing import packed

CAUSAL = {"gpt2", "llama", "qwen2", "qwen3"}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    batch = make_batch()
    batch.pop("labels")
    model.zero_grad()
    model(**batch).logits.square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def widths_of(model: torch.nn.Module) -> list[tuple[int, ...]]:
    """Fills with the shapes that the first layer's projections are given."""
    seen: list[tuple[int, ...]] = []
    linear = next(m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear))
    linear.register_forward_pre_hook(lambda _module, inputs: seen.append(tuple(inputs[0].shape[:2])))
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_the_same_wherever_it_is_used(architecture: str) -> None:
    """And it is used for models that look back alone: others see all tokens, whatever their places are."""
    model = make_model(architecture)
    wanted = gradients(model)
    with packed(model, toy_examples()) as used:
        found = gradients(model)
    assert used == (architecture in CAUSAL)
    assert_same(found, wanted)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_methods_keep_their_gradients(method: str, attention: str) -> None:
    torch.manual_seed(0)
    tuned = methods.find(method).make({}).attach(make_model("llama", attention=attention))
    tuned.model.eval()
    wanted = gradients(tuned.model)
    with packed(tuned.model, toy_examples()) as used:
        found = gradients(tuned.model)
    assert used == (method not in ("prompt", "p_tuning"))  # they put tokens before each row, inside the trunk
    assert_same(found, wanted)


def test_the_loss_of_packed_instructions_is_that_of_unpacked_ones(tmp_path: Path) -> None:
    """With the output layer for asked tokens alone around it, and in training mode."""
    model, task, rows = conversations(tmp_path)
    seen, state = widths_of(model), torch.get_rng_state()
    model.train()

    def step(examples):
        model.zero_grad()
        given, targets = examples.batch(np.arange(len(rows)), "cpu")
        loss, count = task.objective(model(**given).logits, targets)
        loss.backward()
        kept = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return float(loss.detach()), float(count), kept

    wanted = step(rows)
    with packed(model, rows) as used, asked_only(model, rows) as (asked, also):
        assert used
        assert also
        assert torch.equal(torch.get_rng_state(), state)
        assert model.training
        seen.clear()
        found = step(asked)
        assert seen == [(1, int(rows.lengths.sum()))]  # not one token of padding
    assert found[:2] == pytest.approx(wanted[:2], rel=1e-6)
    assert_same(found[2], wanted[2])
    seen.clear()
    step(rows)
    assert seen == [(len(rows), int(rows.lengths.max()))]


def test_what_a_neighbour_says_changes_nothing() -> None:
    model = make_model("llama")
    batch = make_batch()
    other = {**batch, "input_ids": batch["input_ids"].clone()}
    other["input_ids"][0] = 5  # the longest row, which lies before all others
    with torch.no_grad(), packed(model, toy_examples()):
        one, two = (
            model(**{k: b[k] for k in ("input_ids", "attention_mask")}).logits for b in (batch, other)
        )
    assert not torch.equal(one[0], two[0])
    assert torch.equal(one[1:], two[1:])


def test_rows_of_one_length_have_nothing_to_spare() -> None:
    model, rows = make_model("llama"), toy_examples()
    rows.tokens.starts[:] = np.arange(len(rows) + 1) * 4
    with packed(model, rows) as used:
        assert not used
