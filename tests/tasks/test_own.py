"""Heads and losses of one's own: tried out first, trained by every method, kept and trusted by the bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, make_batch
from tiny import make_model_folder, write_sentences
from toys import toy_examples

import tunelab
from tunelab import methods
from tunelab.config import LossConfig
from tunelab.data.batch import IGNORED
from tunelab.errors import BundleError, CannotMerge, ConfigError
from tunelab.serve.predict import Specialist
from tunelab.tasks import find
from tunelab.tasks._texts import Texts, TextSettings
from tunelab.tasks.tag import Tag, TagSettings

HEAD = '''
import torch
from torch import nn

class MeanMax(nn.Module):
    """Mean and maximum over a text's tokens."""

    def __init__(self, hidden_size, num_labels):
        super().__init__()
        self.out = nn.Linear(2 * hidden_size, num_labels)

    def forward(self, hidden, mask):
        mask = mask.unsqueeze(-1).bool()
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return self.out(torch.cat([mean, hidden.masked_fill(~mask, -1e4).amax(1)], dim=1))

class OfConfig(nn.Module):
    def __init__(self, config, scale=1.0):
        super().__init__()
        self.out = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden, mask):
        return self.out(hidden[:, 0])

class Wide(OfConfig):
    def forward(self, hidden, mask):
        return self.out(hidden)

class Broken(OfConfig):
    def forward(self, hidden, mask):
        return self.out(hidden[:, 0]) / (mask.sum(1, keepdim=True) - mask.shape[1])

class Fixed(OfConfig):
    def forward(self, hidden, mask):
        return self.out(hidden[:, 0]).detach()

class Three(nn.Module):
    def __init__(self, a, b, c): ...

not_a_class = 3
'''
LOSS = '''
import torch
import torch.nn.functional as F

def rows(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")

def total(logits, targets):
    return F.cross_entropy(logits, targets, reduction="sum")

def mean(logits, targets):
    return F.cross_entropy(logits, targets)

def tversky(logits, targets):
    """Focal Tversky (Abraham and Khan 2019) of the last class, a ratio over the batch."""
    p, y = logits.softmax(-1)[:, -1], (targets == logits.shape[1] - 1).float()
    index = (p * y).sum() / ((p * y).sum() + 0.7 * ((1 - p) * y).sum() + 0.3 * (p * (1 - y)).sum() + 1e-6)
    return (1 - index) ** 0.75

def weighted(logits, targets):
    """A mean by the weights of the classes, which no mean of the parts' means is."""
    return F.cross_entropy(logits, targets, weight=torch.linspace(0.1, 3, logits.shape[1]))

def square(logits, targets):
    return total(logits, targets) ** 2

def nan(logits, targets):
    return rows(logits, targets) / 0

def flat(logits, targets):
    return (logits * 0).sum()

def number(logits, targets):
    return 3.0
'''


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "my_head.py").write_text(HEAD, encoding="utf-8")
    (tmp_path / "my_loss.py").write_text(LOSS, encoding="utf-8")
    return str(tmp_path / "my_head.py"), str(tmp_path / "my_loss.py")


def task(
    head: str = "", objective: str = "", labels: tuple[str, ...] = ("a", "b", "c"), **loss: Any
) -> Texts:
    own = find("classify").fit(
        labels, labels, LossConfig(**loss), TextSettings(head=head, objective=objective)
    )
    assert isinstance(own, Texts)
    own.take_code()
    return own


@pytest.mark.parametrize("name", ["rows", "total", "mean"])
def test_a_loss_of_one_s_own_is_summed_however_it_is_given(name: str, files: tuple[str, str]) -> None:
    own = task(objective=f"{files[1]}:{name}")
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    total, count = own.objective_of(None)(logits, targets)
    torch.testing.assert_close(total / count, torch.nn.functional.cross_entropy(logits, targets))
    assert count == 6
    assert task(objective=f"{files[1]}:tversky").objective_of(None)(logits, targets)[1] == 6


@pytest.mark.parametrize(
    ("name", "whole"),
    [("rows", False), ("total", False), ("mean", False), ("weighted", True), ("tversky", True)],
)
def test_a_batch_is_cut_only_where_the_loss_is_that_of_its_parts(
    name: str, whole: bool, files: tuple[str, str]
) -> None:
    own = task(objective=f"{files[1]}:{name}")
    tags = Tag.fit(['[[0, 3, "PER"]]'], [], LossConfig(), TagSettings(objective=f"{files[1]}:{name}"))
    tags.take_code()
    examples = toy_examples()
    assert (own.for_training(examples).one_more is None) == whole
    by_token = replace(examples, targets=np.zeros(len(examples.tokens.ids), dtype=np.int64), per_token=True)
    assert (tags.for_training(by_token).one_more is None) == whole
    objective = own.objective_of(None)
    logits, targets = torch.randn(8, 3), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    parts = [objective(logits[part], targets[part]) for part in (slice(0, 3), slice(3, 8))]
    alike = torch.isclose(sum(total for total, _ in parts), objective(logits, targets)[0], rtol=1e-4)
    assert bool(alike) != whole


@pytest.mark.parametrize("name", ["rows", "total", "mean"])
def test_tags_have_a_loss_of_one_s_own_over_units(name: str, files: tuple[str, str]) -> None:
    """Tokens that speak for no word have no part in it."""
    labels = ['[[0, 3, "PER"]]']
    own = Tag.fit(labels, labels, LossConfig(), TagSettings(objective=f"{files[1]}:{name}"))
    own.take_code()
    assert own.code == {"objective.py": LOSS}
    logits, targets = torch.randn(2, 4, 3), torch.tensor([[0, 1, IGNORED, 2], [IGNORED, 2, 0, IGNORED]])
    total, count = own.objective_of(None)(logits, targets)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(total / count, wanted)
    assert count == 5
    total, count = own.objective_of(None)(logits, torch.full_like(targets, IGNORED))
    assert (float(total), float(count)) == (0.0, 0.0)
    for wrong in (TagSettings(objective=f"{files[1]}:{name}", head="crf"), own.settings):
        loss = LossConfig(label_smoothing=0.1) if wrong is own.settings else LossConfig()
        with pytest.raises(ConfigError, match=r"tag\.objective is the whole loss"):
            Tag.fit(labels, labels, loss, wrong)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("square", "neither the sum over rows nor their mean"),
        ("nan", "not finite on logits"),
        ("flat", "no gradient to the logits"),
        ("number", "must give a tensor with a gradient"),
        ("toral", "did you mean 'total'"),
    ],
)
def test_losses_that_cannot_be(name: str, said: str, files: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=said):
        task(objective=f"{files[1]}:{name}")


def test_a_loss_is_the_whole_loss(files: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="is the whole loss"):
        task(objective=f"{files[1]}:rows", label_smoothing=0.1)
    with pytest.raises(ConfigError, match=r"must be FILE\.py:NAME"):
        task(objective="focal")
    with pytest.raises(ConfigError, match=r"no\.py cannot be read"):
        task(objective="no.py:rows")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Wide", r"must give logits \[3, 3\] for 3 rows; it gave \[3, 5, 3\]"),
        ("Broken", "not finite"),
        ("Fixed", "nothing to learn"),
        ("Three", r"it takes \(a, b, c\)"),
        ("not_a_class", "no class of torch.nn.Module"),
        ("MeanMex", "did you mean 'MeanMax'"),
    ],
)
def test_heads_that_cannot_be(name: str, said: str, files: tuple[str, str]) -> None:
    config = transformers.BertConfig(hidden_size=16, num_attention_heads=2, num_labels=3)
    with pytest.raises(ConfigError, match=said):
        find("classify").check_code(TextSettings(head=f"{files[0]}:{name}"), config)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_trains_a_head_of_one_s_own(
    name: str, architecture: str, files: tuple[str, str], tmp_path: Path
) -> None:
    own = task(head=f"{files[0]}:MeanMax")

    def fresh() -> Any:
        kind, settings, dropouts = ARCHITECTURES[architecture]
        common = {"vocab_size": 64, "pad_token_id": 0, **dict.fromkeys(dropouts, 0.0)}
        config = getattr(transformers, kind)(**{**common, **settings, **own.model_options()})
        torch.manual_seed(0)
        return own.equip(transformers.AutoModelForSequenceClassification.from_config(config))

    settings = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings
    method = methods.find(name).make(settings)
    torch.manual_seed(1)
    tuned = method.attach(fresh())
    inputs = {k: v for k, v in make_batch().items() if k in ("input_ids", "attention_mask")}
    targets = torch.arange(len(inputs["input_ids"])) % 3
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        total, count = own.objective(tuned.model(**inputs).logits, targets)
        (total / count).backward()
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(total.detach() / count))
    assert losses[-1] < losses[0]
    tuned.model.eval()
    with torch.no_grad():
        before = tuned.model(**inputs).logits
    folder = tmp_path / "saved"
    folder.mkdir()
    tuned.save(folder)
    if method.weights == "transformers":
        model = own.equip(transformers.AutoModelForSequenceClassification.from_pretrained(folder), folder)
    else:
        model = fresh()
    again = methods.find(name).make(settings).restore(model, folder)
    again.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(again.model(**inputs).logits, before, rtol=1e-5, atol=1e-5)


def test_a_run_with_both_and_its_bundle(files: tuple[str, str], tmp_path: Path) -> None:
    """From the file to answers: the bundle holds the code, runs it only where that is allowed, and from
    nowhere else."""
    data = write_sentences(tmp_path / "a.csv", 60)
    model = make_model_folder(tmp_path / "model")
    settings = {"head": f"{files[0]}:MeanMax", "objective": f"{files[1]}:tversky"}
    run = tunelab.run(
        data,
        method="lora",
        model=str(model),
        out=tmp_path / "out",
        settings={"classify": settings, "train": {"epochs": 1, "ema": 0.9}, "data": {"folds": 1}},
    )
    bundle = run.bundle
    Path(files[0]).unlink()  # the bundle has its own
    with pytest.raises(BundleError, match="trust-remote-code"):
        Specialist.load(bundle)
    specialist = Specialist.load(bundle, trust_remote_code=True)
    assert set(specialist.predict(["kitchen lamp broken 12", "garden mug great 7"])) <= {"good", "bad"}
    with pytest.raises(CannotMerge, match="head of its own"):
        specialist.export(tmp_path / "plain")
    code = bundle / "head.py"
    code.write_text(code.read_text(encoding="utf-8") + "\n# more", encoding="utf-8")
    with pytest.raises(BundleError, match=r"head\.py is damaged"):
        Specialist.load(bundle, trust_remote_code=True)
