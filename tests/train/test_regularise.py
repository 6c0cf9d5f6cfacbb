"""R-Drop and averages of the weights, each against the same computed another way."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models_zoo import make_batch, make_model
from tiny import make_model_folder
from torch import Tensor
from toys import FLOAT32, make_tuned, toy_examples

from tunelab import methods, tasks
from tunelab.config import LossConfig, ModelConfig, TrainConfig
from tunelab.data.batch import Examples
from tunelab.errors import ConfigError, ModelError, Stopped
from tunelab.methods.base import Tuned
from tunelab.models import load_model, locate
from tunelab.objectives.classification import cross_entropy
from tunelab.objectives.divergence import classes_divergence, labels_divergence, numbers_divergence
from tunelab.train.evaluate import predict_logits
from tunelab.train.loop import Trained, train
from tunelab.train.r_drop import r_drop
from tunelab.train.regularise import regularised

STEPS = 24


def stop_after(steps: int) -> Callable[[], bool]:
    """Asks to stop after that many more steps."""
    asked = itertools.count(1)
    return lambda: next(asked) >= steps


def config(**more: Any) -> TrainConfig:
    """60 rows in batches of 8: 8 steps an epoch."""
    return TrainConfig(**{"epochs": 3, "batch_size": 8, "checkpoint_seconds": 0, **more})


def trained(
    tuned: Tuned, own: TrainConfig, folder: Path, seen: list[Any] | None = None, **more: Any
) -> Trained:
    """The loop with what `regularised` makes; `seen`: the judged weights of each validation."""
    examples: Examples = toy_examples()
    folder.mkdir(parents=True, exist_ok=True)

    def judge() -> tuple[dict[str, float], str]:
        if seen is not None:
            seen.append(copied(tuned.state()))
        logits = torch.from_numpy(predict_logits(tuned.model, examples, FLOAT32))
        loss = float(cross_entropy(logits, torch.from_numpy(examples.targets))[0])
        return {"-loss": -loss}, "-loss"

    with regularised(tuned, cross_entropy, classes_divergence, own) as ready:
        return train(
            ready.tuned,
            ready.objective,
            examples,
            ready.judging(judge),
            own,
            learning_rate=1e-3,
            seed=0,
            folder=folder,
            precision=FLOAT32,
            **more,
        )


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def path_of(own: TrainConfig, folder: Path) -> list[dict[str, Tensor]]:
    """The weights after each step of the same training without averages (before the first: at 0)."""
    tuned = make_tuned(dropout=0.1)
    path = [copied(tuned.state())]
    ordinary = tuned.on_progress

    def watch(step: int, total: int) -> None:
        ordinary(step, total)
        if step:
            path.append(copied(tuned.state()))

    tuned.on_progress = watch  # type: ignore[method-assign]
    trained(tuned, own, folder)
    assert len(path) == STEPS + 1
    return path


def test_ema_is_the_plain_recursion(tmp_path: Path) -> None:
    """Averaged by hand over the weights of the same training without it: what is judged after each epoch, and
    what the model is left with, is the average; the training itself is the same."""
    path, decay = path_of(config(), tmp_path / "plain"), 0.9
    average = path[0]
    expected = []
    for step, weights in enumerate(path[1:], start=1):
        d = min(decay, (1 + step) / (10 + step))
        average = {name: d * average[name] + (1 - d) * weights[name] for name in average}
        if step % 8 == 0:
            expected.append(average)
    tuned, seen = make_tuned(dropout=0.1), []
    found = trained(tuned, config(ema=decay), tmp_path / "ema", seen)
    for ours, theirs in zip(seen, expected, strict=True):
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-7)
    best = expected[found.best_step // 8 - 1]
    for name, tensor in tuned.state().items():
        torch.testing.assert_close(tensor, best[name], rtol=1e-5, atol=1e-7)


def test_swa_is_the_mean(tmp_path: Path) -> None:
    """From half of the 24 steps on: the mean of those after steps 13 to 16, and 13 to 24; before, the last."""
    path = path_of(config(), tmp_path / "plain")
    tuned, seen = make_tuned(dropout=0.1), []
    trained(tuned, config(swa=0.5), tmp_path / "swa", seen)
    for ours, part in zip(seen, (path[8:9], path[13:17], path[13:25]), strict=True):
        for name, tensor in ours.items():
            mean = torch.stack([weights[name] for weights in part]).mean(0)
            torch.testing.assert_close(tensor, mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["full", "adalora", "gradual"])
@pytest.mark.parametrize("more", [{"ema": 0.9}, {"swa": 0.3}, {"r_drop": 1.0}])
def test_a_stopped_run_ends_with_the_same_bits(method: str, more: dict[str, float], tmp_path: Path) -> None:
    own = config(**more)
    whole = make_tuned(method, dropout=0.1)
    expected = trained(whole, own, tmp_path / "whole")
    for steps in (5, 7):
        with pytest.raises(Stopped):
            trained(make_tuned(method, dropout=0.1), own, tmp_path / "parts", stop=stop_after(steps))
    last = make_tuned(method, dropout=0.1)
    found = trained(last, own, tmp_path / "parts")
    assert found.resumed_at == [5, 12]
    assert (found.best, found.best_step) == (expected.best, expected.best_step)
    assert all(torch.equal(tensor, last.state()[name]) for name, tensor in whole.state().items())


def test_r_drop_is_equation_4(tmp_path: Path) -> None:
    """Half of L1 + L2 + alpha/2 (KL12 + KL21), with torch's own KL and the masks of the two passes."""
    model, alpha = make_model("bert", dropout=0.3).train(), 3.0
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = torch.arange(len(inputs["input_ids"])) % 3
    torch.manual_seed(5)
    first, second = model(**inputs).logits, model(**inputs).logits
    logs = first.log_softmax(-1), second.log_softmax(-1)
    kl = [F.kl_div(logs[i], logs[1 - i], reduction="sum", log_target=True) for i in (0, 1)]
    losses = [F.cross_entropy(logits, targets, reduction="sum") for logits in (first, second)]
    expected = (sum(losses) + alpha / 2 * sum(kl)) / 2
    torch.manual_seed(5)
    with r_drop(model, cross_entropy, classes_divergence, alpha) as objective:
        total, count = objective(model(**inputs).logits, targets)
    assert float(count) == len(targets)
    torch.testing.assert_close(total, expected)
    model.eval()
    with r_drop(model, cross_entropy, classes_divergence, alpha) as objective:
        logits = model(**inputs).logits
        with pytest.raises(ConfigError, match="drops nothing"):
            objective(logits, targets)
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_r_drop_of_an_update_that_is_still_zero(method: str) -> None:
    """What is dropped before it changes nothing in the first step of a model without other dropout."""
    torch.manual_seed(0)
    tuned = methods.find(method).make({}).attach(make_model("qwen3"))
    model, targets = tuned.model.train(), torch.tensor([0, 1, 2, 0])
    inputs = {
        k: v for k, v in make_batch(lengths=[5, 7, 3, 6]).items() if k in ("input_ids", "attention_mask")
    }
    with r_drop(model, cross_entropy, classes_divergence, 1.0) as objective:
        first, _ = objective(model(**inputs).logits, targets)
        torch.testing.assert_close(first, cross_entropy(model(**inputs).logits, targets)[0])
        with torch.no_grad():
            for tensor in tuned.state().values():
                tensor.add_(0.3)
        logits = model(**inputs).logits
        later, _ = objective(logits, targets)
        assert (later - cross_entropy(logits, targets)[0]).detach().abs() > 1e-4


def test_r_drop_of_entities_counts_units(tmp_path: Path) -> None:
    """As above, for the tokens that speak for a unit alone, one by one; what is said of the others (the rest of
    a word, special tokens, padding) moves nothing."""
    folder = make_model_folder(tmp_path / "tiny")
    task = tasks.find("tag").fit(['[[0, 3, "PER"]]'], [], LossConfig())
    opened = ModelConfig(name=str(folder), dropout=0.3, classifier_dropout=0.3)
    torch.manual_seed(0)
    model = load_model(locate(opened), opened, task.model_class, task.model_options(), 0).train()
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = torch.arange(inputs["input_ids"].numel()).reshape(inputs["input_ids"].shape) % 5
    targets = torch.where((targets < 3) & inputs["attention_mask"].bool(), targets, -100)
    torch.manual_seed(5)
    first, second = model(**inputs).logits, model(**inputs).logits
    total = torch.tensor(0.0)
    units = (targets >= 0).nonzero().tolist()
    for row, place in units:
        one, other = (torch.distributions.Categorical(logits=z[row, place]) for z in (first, second))
        label = targets[row, place]
        kl = [torch.distributions.kl_divergence(*pair) for pair in ((one, other), (other, one))]
        total = total - (one.log_prob(label) + other.log_prob(label)) / 2 + 2.0 / 4 * sum(kl)
    torch.manual_seed(5)
    with r_drop(model, task.objective_of(model), task.divergence, 2.0) as objective:
        found, count = objective(model(**inputs).logits, targets)
    assert float(count) == len(units) < targets.numel()
    torch.testing.assert_close(found, total)


def test_divergences_are_those_of_torchs_distributions() -> None:
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 4, generator=random), torch.randn(5, 4, generator=random)
    kinds = {
        classes_divergence: lambda z: torch.distributions.Categorical(logits=z),
        labels_divergence: lambda z: torch.distributions.Bernoulli(logits=z),
        numbers_divergence: lambda z: torch.distributions.Normal(z, 1.0),
    }
    for ours, of in kinds.items():
        both = (of(first), of(second)), (of(second), of(first))
        expected = sum(torch.distributions.kl_divergence(a, b).sum() for a, b in both)
        torch.testing.assert_close(ours(first, second), expected)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="two averages"):
        TrainConfig(ema=0.9, swa=0.5)
    answer = tasks.find("answer").fit(['[{"text": "a", "start": 0}]'], [], LossConfig())
    with pytest.raises(ConfigError, match="answer has none"):
        answer.divergence(torch.zeros(1), torch.zeros(1))
    chain = tasks.find("tag")
    crf = chain.fit(['[[0, 1, "A"]]'], [], LossConfig(), chain.Settings(head="crf"))
    with pytest.raises(ConfigError, match="leave one of them out"):
        crf.divergence(torch.zeros(1, 1), torch.zeros(1, 1))


def test_each_part_has_its_dropout(tmp_path: Path) -> None:
    shares = {
        "dropout": 0.31,
        "embedding_dropout": 0.11,
        "attention_dropout": 0.21,
        "classifier_dropout": 0.41,
    }
    options = {"num_labels": 2}

    def opened(architecture: str, **own: float) -> Any:
        folder = make_model_folder(tmp_path / architecture, architecture)
        settings = ModelConfig(name=str(folder), **own)
        return load_model(locate(settings), settings, "AutoModelForSequenceClassification", options, 0)

    model = opened("bert", **shares)
    found = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert found["bert.embeddings.dropout"] == 0.11
    assert found["dropout"] == 0.41
    layer = {name.split("layer.0.")[1]: p for name, p in found.items() if "layer.0." in name}
    assert layer == {"attention.self.dropout": 0.21, "attention.output.dropout": 0.31, "output.dropout": 0.31}
    with pytest.raises(ModelError, match=r"model\.embedding_dropout"):
        opened("llama", embedding_dropout=0.1)
