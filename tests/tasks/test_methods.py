"""Methods x heads: every method trains, saves and opens again below a head that labels tokens, with the CRF's
chain beside it (PEFT 0.21's prompt and P-tuning fail there: their logits are longer than the labels), and where
texts are written, by an encoder and a decoder or by a language model."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, make_batch, make_model, make_seq2seq
from torch import Tensor

from tunelab import methods
from tunelab.config import LossConfig
from tunelab.errors import ConfigError
from tunelab.methods.base import Tuned
from tunelab.tasks._chain import chain_of
from tunelab.tasks.answer import Answer, AnswerSettings
from tunelab.tasks.base import Task
from tunelab.tasks.language import Language, LanguageSettings
from tunelab.tasks.multilabel import Multilabel
from tunelab.tasks.regress import Regress
from tunelab.tasks.rewrite import Rewrite, RewriteSettings
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


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_learns_sets_of_labels(name: str, architecture: str, tmp_path: Path) -> None:
    """The second label of three where the first token is odd, the others nowhere."""
    task = Multilabel.fit(['["a", "b", "c"]'], ['["a", "b", "c"]'], LossConfig())

    def fresh() -> Any:
        kind, settings, dropouts = ARCHITECTURES[architecture]
        common = {"vocab_size": 64, "pad_token_id": 0, **dict.fromkeys(dropouts, 0.0)}
        config = getattr(transformers, kind)(**{**common, **settings, **task.model_options()})
        torch.manual_seed(0)
        return transformers.AutoModelForSequenceClassification.from_config(config)

    settings = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings
    method = methods.find(name).make(settings)
    torch.manual_seed(1)
    tuned = method.attach(fresh())
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = torch.zeros(len(inputs["input_ids"]), 3)
    targets[:, 1] = (inputs["input_ids"][:, 0] % 2).float()
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        total, count = task.objective(tuned.model(**inputs).logits, targets)
        (total / count).backward()
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(total.detach() / count))
    assert losses[-1] < losses[0]
    tuned.model.eval()
    with torch.no_grad():
        before = tuned.model(**inputs).logits
    tuned.save(tmp_path)
    if method.weights == "transformers":
        model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert model.config.problem_type == "multi_label_classification"
    else:
        model = fresh()
    again = methods.find(name).make(settings).restore(model, tmp_path)
    again.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(again.model(**inputs).logits, before, rtol=1e-5, atol=1e-5)


def rewriter(architecture: str) -> tuple[Rewrite, Any]:
    kind = "causal" if architecture == "llama" else "seq2seq"
    task = Rewrite(LossConfig(), RewriteSettings(architecture=kind))  # type: ignore[arg-type]
    make = make_seq2seq if kind == "seq2seq" else lambda name: make_model(name, task="CausalLM")
    return task, task.equip(make(architecture))


def written_rows(architecture: str) -> tuple[dict[str, Tensor], Tensor]:
    """Sources of 12, 10, 8 and 6 tokens with targets of 5, 4, 3 and 2 (llama: the last tokens of a row)."""
    batch = make_batch()
    inputs = {k: v for k, v in batch.items() if k in ("input_ids", "attention_mask")}
    if architecture == "llama":
        targets = torch.where(
            inputs["attention_mask"].roll(-1, 1).bool(), inputs["input_ids"].roll(-1, 1), -100
        )
        targets[:, :4] = targets[:, -1] = -100
        return inputs, targets
    labels = make_batch(lengths=[5, 4, 3, 2], seed=1)
    targets = torch.where(labels["attention_mask"].bool(), labels["input_ids"], -100)
    return {**inputs, "labels": targets}, targets


@pytest.mark.parametrize("architecture", ["t5", "bart", "llama"])
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_rewrites(name: str, architecture: str, tmp_path: Path) -> None:
    """Step 0 equals the base (or says why not), the loss falls, only its own parameters move, the bundle's logits
    and the merged model's are the same. The head alone has nothing to train here."""
    settings = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings
    method = methods.find(name).make(settings)
    task, model = rewriter(architecture)
    inputs, targets = written_rows(architecture)

    def logits(one: Any) -> Tensor:
        one.eval()
        with torch.no_grad():
            found: Tensor = one(**inputs).logits
        return found

    base = logits(model)
    pretrained = {n: p.detach().clone() for n, p in model.named_parameters()}
    torch.manual_seed(1)
    if name == "head":
        with pytest.raises(ConfigError, match="nothing to train; use lora, or top_layers"):
            method.attach(model)
        return
    tuned = method.attach(model)
    if method.changes_at_start is None:
        torch.testing.assert_close(logits(tuned.model), base, atol=1e-5, rtol=0)
    else:
        assert (logits(tuned.model) - base).abs().max() > 1e-3
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        loss = task_loss(tuned, task, inputs, targets)
        loss.backward()
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    before, own = logits(tuned.model), set(tuned.state())
    assert tuple(before.shape) == (*targets.shape, 64)
    for parameter_name, parameter in tuned.model.named_parameters():
        if parameter_name not in own and parameter_name in pretrained:
            assert torch.equal(parameter, pretrained[parameter_name])

    tuned.save(tmp_path)
    _, model = rewriter(architecture)
    if method.weights == "transformers":
        plain = type(model).__mro__[1] if task.two else type(model)
        model = task.equip(plain.from_pretrained(tmp_path))  # type: ignore[attr-defined]
    again = methods.find(name).make(settings).restore(model, tmp_path)
    torch.testing.assert_close(logits(again.model), before, rtol=1e-5, atol=1e-5)
    if method.no_merge is None:
        torch.testing.assert_close(logits(tuned.merge()), before, rtol=1e-4, atol=1e-4)


def task_loss(tuned: Tuned, task: Rewrite, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    total, count = task.objective_of(tuned.model)(tuned.model(**inputs).logits, targets)
    return total / count


def asked_rows(kind: str, batch: dict[str, Tensor]) -> tuple[Task, Tensor]:
    """A task of this kind, and something to learn from these rows of 12, 10, 8 and 6 tokens."""
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    places = torch.arange(ids.shape[1]).expand_as(ids)
    if kind == "answer":  # from the third token to the fourth; padding is no part of a window
        bits = torch.where(places == 2, 1, torch.where(places == 3, 2, 0))
        return Answer(False, False, AnswerSettings()), torch.where(mask, bits, -100)
    if kind == "regress":
        labels = [str(number) for number in (0.0, 0.3, 0.6, 0.9)]
        task = Regress.fit(labels, labels, LossConfig(), Regress.Settings())
        return task, torch.from_numpy(task.targets(labels))
    masked = Language(LossConfig(), LanguageSettings(objective="masked" if kind == "masked" else "causal"))
    asked = mask & (places % 3 == 1)
    return masked, torch.where(asked, ids if kind == "masked" else ids.roll(-1, 1), -100)


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("answer", "bert"), ("answer", "llama"), ("regress", "bert"), ("masked", "bert"), ("causal", "gpt2")],
)
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_learns_the_other_tasks(name: str, kind: str, architecture: str, tmp_path: Path) -> None:
    """The loss falls, only its own parameters move, and what is saved gives the same outputs again."""
    batch = {k: v for k, v in make_batch().items() if k != "labels"}
    task, targets = asked_rows(kind, batch)

    def fresh() -> Any:
        options = task.model_options()
        config_of, own, dropouts = ARCHITECTURES[architecture]
        common = {"vocab_size": 64, "pad_token_id": 0, **dict.fromkeys(dropouts, 0.0)}
        config = getattr(transformers, config_of)(**{**common, **own, **options})
        torch.manual_seed(0)
        return task.equip(getattr(transformers, task.model_class).from_config(config))

    settings = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings
    method, model = methods.find(name).make(settings), fresh()
    pretrained = {n: p.detach().clone() for n, p in model.named_parameters()}
    torch.manual_seed(1)
    if name == "head" and kind == "causal":
        with pytest.raises(ConfigError, match="nothing to train"):
            method.attach(model)
        return
    tuned = method.attach(model)
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        total, count = task.objective_of(tuned.model)(tuned.model(**batch).logits, targets)
        (total / count).backward()
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(total.detach() / count))
    assert losses[-1] < losses[0]
    own = set(tuned.state())
    for parameter_name, parameter in tuned.model.named_parameters():
        if parameter_name not in own and parameter_name in pretrained:
            assert torch.equal(parameter, pretrained[parameter_name])

    def outputs(one: Tuned) -> Tensor:
        one.model.eval()
        with torch.no_grad():
            found: Tensor = one.model(**batch).logits
        return found

    before = outputs(tuned)
    assert before.shape[:2] == targets.shape[:2] or kind == "regress"
    tuned.save(tmp_path)
    model = fresh()
    if method.weights == "transformers":
        plain = getattr(transformers, task.model_class).from_pretrained(tmp_path)
        model = task.equip(plain)
    again = methods.find(name).make(settings).restore(model, tmp_path)
    torch.testing.assert_close(outputs(again), before, rtol=1e-5, atol=1e-5)
