"""Logits of the asked tokens alone: the same losses and gradients as with all of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lm_toys import language_model

from tunelab.config import LossConfig, ModelConfig
from tunelab.data.table import Table
from tunelab.models import Located, load_model, load_tokenizer
from tunelab.tasks.language import Language, LanguageSettings
from tunelab.train.asked import asked_only


def toy(folder: Path, kind: str):
    """A random language model, its task and rows of text."""
    import pandas as pd

    found = Located("toy", language_model(folder, kind))
    tokenizer, _ = load_tokenizer(found, ModelConfig())
    task = Language(LossConfig(), LanguageSettings(objective="masked" if kind == "bert" else "causal"))
    texts = ["a short one", "another, a little longer than that", "绝句", "the longest of all of these texts"]
    table = Table(pd.DataFrame({"text": texts, "label": ""}), {})
    encoded = task.encode(table, tokenizer, 40, cache=False)
    targets = task.targets([""] * 4, encoded)
    rows = task.examples(encoded, np.arange(len(encoded.tokens)), targets, 40, tokenizer.pad_token_id)
    return load_model(found, ModelConfig(), task.model_class, {}, 0), task, task.for_training(rows)


def step(model, task, rows) -> tuple[float, float, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model.zero_grad()
    inputs, targets = rows.batch(np.arange(len(rows)), "cpu")
    loss, count = task.objective(model(**inputs).logits, targets)
    loss.backward()
    return (
        float(loss.detach()),
        float(count),
        {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
    )


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_loss_and_gradients_are_the_same_and_the_output_layer_sees_only_what_is_asked(
    tmp_path: Path, kind: str
) -> None:
    model, task, rows = toy(tmp_path, kind)
    model.eval()  # BERT's own dropout would differ from call to call
    widths: list[int] = []
    model.get_output_embeddings().register_forward_hook(
        lambda _m, _i, output: widths.append(output.flatten(0, -2).shape[0])
    )
    wanted = step(model, task, rows)
    state = torch.get_rng_state()
    with asked_only(model, rows) as (asked, used):
        assert used
        assert torch.equal(torch.get_rng_state(), state)
        widths.clear()
        found = step(model, task, asked)
        assert widths == [int(wanted[1])]  # as many tokens as the loss counts
        inputs, _ = rows.batch(np.arange(len(rows)), "cpu")
        assert model(**inputs).logits.shape[:2] == inputs["input_ids"].shape  # judging is as ever
    assert found[:2] == pytest.approx(wanted[:2], rel=1e-6)
    assert found[2].keys() == wanted[2].keys()
    for name, gradient in wanted[2].items():
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_head_that_reads_other_tokens_is_left_as_it_is(tmp_path: Path) -> None:
    model, _, rows = toy(tmp_path, "bert")
    head = model.cls.forward
    model.cls.forward = lambda hidden_BTD: head(hidden_BTD + hidden_BTD.mean(1, keepdim=True))
    with asked_only(model, rows) as (left, used):
        assert not used
        assert left is rows
