"""Methods x heads: every method trains, saves and opens again below a head that labels tokens, with the CRF's
chain beside it (PEFT 0.21's prompt and P-tuning fail there: their logits are longer than the labels)."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, make_batch
from torch import Tensor

from tunelab import methods
from tunelab.config import LossConfig
from tunelab.methods.base import Tuned
from tunelab.tasks._chain import chain_of
from tunelab.tasks.tag import Tag, TagSettings

LABELS = ['[[0, 1, "A"], [2, 3, "B"]]']


def tag(head: str) -> Tag:
    return Tag.fit(LABELS, LABELS, LossConfig(), TagSettings(head=head))  # type: ignore[arg-type]


def made(task: Tag, architecture: str) -> Any:
    kind, settings, dropouts = ARCHITECTURES[architecture]
    common = {"vocab_size": 64, "pad_token_id": 0, **dict.fromkeys(dropouts, 0.0)}
    config = getattr(transformers, kind)(**{**common, **settings, **task.model_options()})
    torch.manual_seed(0)
    return task.equip(transformers.AutoModelForTokenClassification.from_config(config))


def labels(mask_BT: Tensor, task: Tag) -> Tensor:
    """A, A, B in turn, each entity of one unit; every third token speaks for none."""
    steps = torch.arange(mask_BT.shape[1])
    names = ["B-A", "O", "B-B"]
    codes = torch.tensor([task.tags.index(names[int(t) % 3]) for t in steps])
    codes = torch.where(steps % 4 == 3, -100, codes)
    return torch.where(mask_BT.bool(), codes, -100)


def loss_of(tuned: Tuned, task: Tag, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    total, count = task.objective_of(tuned.model)(tuned.model(**inputs).logits, targets)
    return total / count


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_tags(name: str, head: str, architecture: str, tmp_path: Path) -> None:
    task = tag(head)
    settings = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings
    method = methods.find(name).make(settings)
    torch.manual_seed(1)
    tuned = method.attach(made(task, architecture))
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = labels(inputs["attention_mask"], task)
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        loss = loss_of(tuned, task, inputs, targets)
        assert tuple(tuned.model(**inputs).logits.shape) == (*targets.shape, len(task.tags))
        loss.backward()
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    if head == "crf":
        assert chain_of(tuned.model).transitions.abs().max() > 0

    def outputs(one: Tuned) -> Tensor:
        one.model.eval()
        with torch.no_grad():
            logits = one.model(**inputs).logits
            keep = task.keep_of(one.model)
            return logits if keep is None else keep(logits, targets)

    before = outputs(tuned)
    tuned.save(tmp_path)
    if method.weights == "transformers":
        model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path)
        model = task.equip(model, tmp_path)
    else:
        model = made(task, architecture)
    again = methods.find(name).make(settings).restore(model, tmp_path)
    torch.testing.assert_close(outputs(again), before, rtol=1e-5, atol=1e-5)
