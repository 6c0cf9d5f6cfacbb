"""Heads built from settings: pooled and layered as the formulas say, trained by every method, kept by the bundle."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, CLASSES, HIDDEN, make_batch, make_model, make_seq2seq
from tiny import make_model_folder, write_sentences
from torch import Tensor, nn
from toys import toy_examples

import tunelab
from tunelab import methods
from tunelab.config import LossConfig, build
from tunelab.errors import BundleError, CannotMerge, ConfigError
from tunelab.serve.predict import Specialist
from tunelab.tasks import find
from tunelab.tasks._heads import PooledHead, make_head, pooled
from tunelab.tasks._own import NAME, load_head
from tunelab.tasks._texts import Texts, TextSettings
from tunelab.train.first_token import first_token_only

#: Rows of one, some and all of six tokens, padded on the right, on the left, on both sides.
MASK_BT = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0], [1] * 6])


def task(name: str = "classify", **settings: Any) -> Texts:
    own = find(name).fit(("a", "b", "c"), ("a", "b", "c"), LossConfig(), TextSettings(**settings))
    assert isinstance(own, Texts)
    own.take_code()
    return own


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def numpy_pooled(hidden_BTD: np.ndarray, mask_BT: np.ndarray, pooling: str) -> np.ndarray:
    """Row by row, from the definition: of the states that the mask keeps the first, the last, or the mean."""
    rows = [hidden_TD[mask_T > 0] for hidden_TD, mask_T in zip(hidden_BTD, mask_BT, strict=True)]
    choose = {"first": lambda x: x[0], "last": lambda x: x[-1], "mean": lambda x: x.mean(0)}
    return np.stack([choose[pooling](kept) for kept in rows])


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_pooling_is_what_numpy_gives_and_reads_no_padding(pooling: Any) -> None:
    hidden_BTD = np.random.default_rng(0).normal(size=(*MASK_BT.shape, 4))
    wanted_BD = numpy_pooled(hidden_BTD, MASK_BT, pooling)
    hidden_BTD[MASK_BT == 0] = np.nan  # whatever stands there
    given = torch.from_numpy(hidden_BTD).requires_grad_()
    found_BD = pooled(given, torch.from_numpy(MASK_BT), pooling)
    np.testing.assert_allclose(found_BD.detach().numpy(), wanted_BD, rtol=1e-12)
    (gradient,) = torch.autograd.grad(found_BD.sum(), given)
    shares_BT = gradient[..., 0].numpy()  # of each token in its row's vector: they add up to one
    np.testing.assert_allclose(shares_BT.sum(1), 1.0)
    assert not shares_BT[MASK_BT == 0].any()
    low_BD = pooled(given.detach().bfloat16(), torch.from_numpy(MASK_BT), pooling)
    assert low_BD.dtype == torch.bfloat16
    nothing_BT = torch.zeros(2, 6, dtype=torch.int64)
    assert torch.isfinite(pooled(torch.randn(2, 6, 4), nothing_BT, pooling)).all()


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh", "silu"])
def test_layers_are_those_of_torch(activation: Any) -> None:
    """W_out act(W_2 act(W_1 h + b_1) + b_2) + b_out with the same weights."""
    own = make_head(
        make_model("bert"),
        TextSettings(
            pooling="mean", head_layers=2, head_size=24, head_activation=activation, head_dropout=0.3
        ),
        "classify",
    )
    act = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}[activation]
    plain = nn.Sequential(nn.Linear(HIDDEN, 24), act(), nn.Linear(24, 24), act(), nn.Linear(24, CLASSES))
    with torch.no_grad():
        for mine, theirs in zip(own.parameters(), plain.parameters(), strict=True):
            theirs.copy_(mine)
    hidden_BTD, mask_BT = torch.randn(len(MASK_BT), 6, HIDDEN), torch.from_numpy(MASK_BT)
    wanted = plain(torch.from_numpy(numpy_pooled(hidden_BTD.numpy(), MASK_BT, "mean")))
    torch.testing.assert_close(own.eval()(hidden_BTD, mask_BT), wanted, rtol=1e-5, atol=1e-6)
    dropouts = [module.p for module in own.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.3, 0.3, 0.3]  # before every layer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_left_out_is_as_the_model_has_it(architecture: str) -> None:
    """Causal models are pooled at their last token, encoders at their first; widths and dropout are theirs."""
    model = make_model(architecture, dropout=0.25)
    state = torch.get_rng_state()
    head = make_head(model, TextSettings(head_layers=1), "classify")
    causal = architecture in ("gpt2", "llama", "qwen2", "qwen3")
    assert head.pooling == ("last" if causal else "first")
    assert not torch.equal(torch.get_rng_state(), state)  # (a new head's weights depend on the seed)
    assert head.layers[1].out_features == HIDDEN
    if architecture in ("bert", "roberta", "distilbert", "modernbert"):
        assert head.layers[0].p == 0.25
    if architecture in ("llama", "qwen3"):
        assert head.layers[0].p == 0


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_do_not_depend_on_padding(architecture: str, pooling: Any) -> None:
    """Rows alone, without any padding, give what they give in a batch that is padded on the right."""
    model = task(pooling=pooling).equip(make_model(architecture)).eval()
    batch = inputs_of(make_batch())
    with torch.no_grad():
        together = model(**batch).logits
        for row, ids_T in enumerate(batch["input_ids"]):
            ids_BT = ids_T[batch["attention_mask"][row].bool()][None]
            alone = model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).logits
            torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_padding_on_the_left_is_not_read_either(pooling: Any) -> None:
    """Llama's rotary positions are relative, so that with positions counted over the mask both sides agree."""
    model = task(pooling=pooling, head_layers=1).equip(make_model("llama")).eval()
    right = inputs_of(make_batch())
    left = {name: torch.zeros_like(value) for name, value in right.items()}
    for row, length in enumerate(right["attention_mask"].sum(1).tolist()):
        for name, value in right.items():
            left[name][row, value.shape[1] - length :] = value[row, :length]
    positions_BT = (left["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        found = model(**left, position_ids=positions_BT).logits
        torch.testing.assert_close(found, model(**right).logits, rtol=1e-4, atol=1e-5)


def test_a_linear_head_on_the_last_token_is_llama_s_own() -> None:
    """A linear head on the last token with Llama's weights and no bias gives Llama's own logits."""
    model = make_model("llama")
    batch = inputs_of(make_batch())
    with torch.no_grad():
        wanted = model(**batch).logits
        score = model.score.weight.clone()
        ours = task(pooling="last").equip(model).eval()
        out = getattr(ours, NAME).layers[1]
        out.weight.copy_(score)
        out.bias.zero_()
        torch.testing.assert_close(ours(**batch).logits, wanted)


@pytest.mark.parametrize(
    ("architecture", "pooling"), [("bert", "mean"), ("bert", "first"), ("llama", "mean"), ("llama", "last")]
)
@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_trains_it_and_gives_it_back(
    name: str, architecture: str, pooling: str, tmp_path: Path
) -> None:
    """Its weights are all that the head trains: D·M + M and C·M + C, no pooler that no one reads."""
    own = task(pooling=pooling, head_layers=1, head_size=12)
    settings: dict[str, Any] = {"num_virtual_tokens": 4} if name in ("prompt", "p_tuning", "prefix") else {}
    settings = {"layers": 1} if name == "top_layers" else settings

    def fresh() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return own.equip(make_model(architecture))

    method = methods.find(name).make(settings)
    torch.manual_seed(1)
    tuned = method.attach(fresh())
    inputs, targets = inputs_of(make_batch()), make_batch()["labels"]
    tuned.on_progress(0, 8)
    optimizer = torch.optim.AdamW(tuned.param_groups(1e-2, 0.0))
    losses = []
    for step in range(8):
        tuned.model.train()
        total, count = own.objective(tuned.model(**inputs).logits, targets)
        (total / count).backward()
        if not step:
            touched = sum(p.numel() for p in tuned.model.parameters() if p.grad is not None)
        optimizer.step()
        tuned.on_progress(step + 1, 8)
        optimizer.zero_grad()
        losses.append(float(total.detach() / count))
    assert losses[-1] < losses[0]
    head = (HIDDEN + 1) * 12 + 13 * CLASSES
    if name == "head":
        assert sum(p.numel() for p in tuned.model.parameters() if p.requires_grad) == touched == head
    trained = [(n, p) for n, p in tuned.model.named_parameters() if NAME in n and p.requires_grad]
    assert sum(p.numel() for _, p in trained) == head
    tuned.model.eval()
    with torch.no_grad():
        before = tuned.model(**inputs).logits
    tuned.save(tmp_path)
    model = fresh()
    if method.weights == "transformers":
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
        model = own.equip(loaded, tmp_path)
    again = methods.find(name).make(settings).restore(model, tmp_path)
    again.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(again.model(**inputs).logits, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_the_first_token_lever_is_used_for_the_first_token_alone(pooling: Any) -> None:
    model = task(pooling=pooling).equip(make_model("bert")).eval()
    with first_token_only(model, toy_examples()) as used:
        assert used == (pooling == "first")


@pytest.mark.parametrize(
    ("name", "labels", "outputs"),
    [
        ("regress", ("0.5", "1.5", "2.5"), 1),
        ("multilabel", ('["a"]', '["a", "b"]', "[]"), 2),
        ("match", ("same", "other", "same"), 2),
        ("match", tuple(f"{i / 10}" for i in range(40)), 1),
    ],
)
def test_the_other_tasks_have_it_and_a_bundle_keeps_it(
    name: str, labels: tuple[str, ...], outputs: int
) -> None:
    kind = find(name)
    own = kind.fit(labels, labels, LossConfig(), build(kind.Settings, {"pooling": "mean", "head_layers": 1}))
    again = kind.from_dict(json.loads(json.dumps(own.as_dict())))
    model = make_model("bert")
    model.config.num_labels = own.model_options()["num_labels"]
    for each in (own, again):
        assert each.own_head == "a head of its own (mean pooling, 1 hidden layer)"
        assert not each.runs
    equipped = again.equip(model).eval()
    with torch.no_grad():
        assert equipped(**inputs_of(make_batch())).logits.shape == (4, outputs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head": "my.py:H", "pooling": "mean"}, "is a head of your own.*leave out pooling, or head"),
        ({"head_size": 64}, "head_size is of hidden layers.*give head_layers=1"),
        ({"head_size": 64, "head_activation": "relu"}, "head_size and head_activation are of hidden layers"),
        ({"pooling": "max"}, "'classify.pooling'.*'first', 'mean'"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(TextSettings, settings, where="classify")


def test_models_and_tasks_without_room_for_it() -> None:
    with pytest.raises(ConfigError, match="t5 has an encoder and a decoder"):
        find("classify").check_code(TextSettings(pooling="mean"), make_seq2seq("t5").config)
    kind = find("feedback")
    with pytest.raises(ConfigError, match="whose head is kept"):
        kind.check_code(build(kind.Settings, {"pooling": "mean"}), make_model("bert").config)


def test_weights_of_another_head_are_not_taken(tmp_path: Path) -> None:
    model = task(pooling="mean").equip(make_model("bert"))
    model.save_pretrained(tmp_path)
    with pytest.raises(BundleError, match=r"layers.1.bias is \[3\] in the file and \[32\] in PooledHead"):
        load_head(PooledHead("mean", [HIDDEN, HIDDEN, CLASSES], "gelu", 0.0), tmp_path)


ANSWERS = """
import json, sys
import tunelab
specialist = tunelab.load(sys.argv[1], device="cpu")
print(json.dumps(specialist.predict_proba(json.loads(sys.argv[2])).to_numpy().tolist()))
"""


def test_a_bundle_needs_no_trust(tmp_path: Path) -> None:
    """A fresh process opens it as it is and gives the same answers; no plain model is made of it."""
    run = tunelab.run(
        write_sentences(tmp_path / "a.csv", 60),
        method="full",
        model=str(make_model_folder(tmp_path / "model")),
        out=tmp_path / "out",
        settings={"classify.pooling": "mean", "classify.head_layers": 1, "train.epochs": 1, "data.folds": 1},
        progress=False,
    )
    texts = ["kitchen lamp broken 12", "garden mug great 7"]
    specialist = Specialist.load(run.bundle)
    told = subprocess.run(
        [sys.executable, "-c", ANSWERS, str(run.bundle), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert json.loads(told.stdout.splitlines()[-1]) == specialist.predict_proba(texts).to_numpy().tolist()
    with pytest.raises(CannotMerge, match=r"a head of its own \(mean pooling, 1 hidden layer\)"):
        specialist.export(tmp_path / "plain")
    card = (run.bundle / "README.md").read_text(encoding="utf-8")
    assert "It has a head of its own (mean pooling, 1 hidden layer): only tunelab puts it on." in card
    assert "trust_remote_code" not in card


@pytest.mark.slow
def test_a_study_compares_heads(tmp_path: Path) -> None:
    """Three heads in one study have rows, plans, runs, parameters and records of their own."""
    study = tunelab.compare(
        write_sentences(tmp_path / "a.csv", 80),
        methods=["full"],
        add=["full,classify.pooling=mean", "full,classify.head_layers=1"],
        model=str(make_model_folder(tmp_path / "model")),
        folds=0,
        seeds=1,
        out=tmp_path / "out",
        settings={"train.epochs": 1, "search.trials": 1},
        progress=False,
    )
    assert not study.failures
    names = {"full", "full,classify.pooling=mean", "full,classify.head_layers=1"}
    assert names <= set(study.table["method"])
    records = [json.loads(path.read_text()) for path in (tmp_path / "out/runs").glob("full-*/result.json")]
    # D = 32, 2 classes: BERT's pooler and classifier (or a hidden layer and the outputs), or outputs alone.
    sizes = sorted(record["cost"]["model_parameters"] for record in records)
    assert sizes[1:] == [sizes[0] + 32 * 33] * 2
    assert all(record["cost"]["trained_share"] == 1 for record in records)
    assert all(record["status"] == "finished" for record in records)  # (reloaded in a fresh process)
    probes = json.loads((tmp_path / "out/plan.json").read_text())["probes"]
    assert len(probes) == 3


PACKAGE = """
import torch
from torch import nn
import torch.nn.functional as F

class First(nn.Module):
    def __init__(self, hidden_size, num_labels):
        super().__init__()
        self.out = nn.Linear(hidden_size, num_labels)

    def forward(self, hidden, mask):
        return self.out(hidden[:, 0])

def loss(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's that can be imported."""
    folder = tmp_path / "site/our_heads_for_test"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "parts.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder
    for name in [name for name in sys.modules if name.startswith("our_heads_for_test")]:
        del sys.modules[name]


def test_a_head_and_a_loss_of_a_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle has its name: opened, the package must be there, and be allowed."""
    run = tunelab.run(
        write_sentences(tmp_path / "a.csv", 60),
        method="lora",
        model=str(make_model_folder(tmp_path / "model")),
        out=tmp_path / "out",
        settings={
            "classify.head": "our_heads_for_test.parts:First",
            "classify.objective": "our_heads_for_test.parts:loss",
            "train.epochs": 1,
            "data.folds": 1,
        },
        progress=False,
    )
    assert not list(run.bundle.glob("*.py"))
    with pytest.raises(BundleError, match=r"has the head our_heads_for_test\.parts:First.*trust-remote-code"):
        Specialist.load(run.bundle)
    specialist = Specialist.load(run.bundle, trust_remote_code=True)
    assert set(specialist.predict(["kitchen lamp broken 12", "garden mug great 7"])) <= {"good", "bad"}
    with pytest.raises(CannotMerge, match="our_heads_for_test"):
        specialist.export(tmp_path / "plain")
    for name in [name for name in sys.modules if name.startswith("our_heads_for_test")]:
        del sys.modules[name]
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(package.parent)])
    with pytest.raises(BundleError, match=r"no module 'our_heads_for_test\.parts' can be imported here"):
        Specialist.load(run.bundle, trust_remote_code=True)


def test_modules_that_cannot_be(package: Path) -> None:
    config = make_model("bert").config
    for named, said in [
        ("our_heads_for_test.parts:Frist", "did you mean 'First'"),
        ("our_heads_for_test.part:First", "no module 'our_heads_for_test.part' can be imported here"),
        ("no_such_package.parts:First", "no module 'no_such_package.parts' can be imported here"),
        ("our heads:First", "must be FILE.py:NAME.*or MODULE:NAME"),
    ]:
        with pytest.raises(ConfigError, match=said):
            find("classify").check_code(TextSettings(head=named), config)
    (package / "broken.py").write_text("raise OSError('no disk')", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be imported: OSError: no disk"):
        find("classify").check_code(TextSettings(head="our_heads_for_test.broken:First"), config)
