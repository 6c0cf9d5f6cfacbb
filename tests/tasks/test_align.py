"""DPO and its kin from the file to the loss: against the formulas one sequence at a time, by property, and
through runs that are killed and go on."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from answer_pairs import pairs, written
from tiny import BAD, GOOD, make_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

import tunelab
from tunelab.config import DataConfig, LossConfig, ModelConfig, RunConfig
from tunelab.data.batch import IGNORED
from tunelab.errors import ConfigError, DataError, InputError, Stopped
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import run_once, verify
from tunelab.study.untouched import with_untouched
from tunelab.tasks._sequences import Answers
from tunelab.tasks.align import Align, AlignSettings
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision

FLOAT32 = Precision("float32", "cpu", "test")
METHODS = ("sft", "dpo", "ipo", "cdpo", "kto")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny", "llama")


@pytest.fixture(scope="module")
def prepared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = written(tmp_path_factory.mktemp("data") / "pairs.json", pairs(60, votes=True))
    model = ModelConfig(name=str(folder), max_length=64)
    return prepare((str(data),), "align", DataConfig(folds=0), model)


def made(method: str, **settings: float) -> Align:
    return Align(LossConfig(), AlignSettings(method=method, **settings))  # type: ignore[arg-type]


def policy(folder: Path) -> torch.nn.Module:
    """The tiny model, moved a little away from what it was."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def logp(model: torch.nn.Module, ids: np.ndarray, answer: int) -> torch.Tensor:
    """log p of the tokens from `answer` on, of one sequence without any padding."""
    ids_T = torch.from_numpy(ids.astype(np.int64))
    logps_TV = F.log_softmax(model(input_ids=ids_T[None]).logits[0].double(), -1)
    return logps_TV[:-1].gather(1, ids_T[1:, None])[answer - 1 :].sum()


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_path_equals_the_formula(method: str, prepared: Prepared, folder: Path) -> None:
    """File, template, cut, batch, padding, reference, votes, loss: as if each sequence stood alone. 1e-5."""
    task, items = made(method, beta=0.3, desirable_weight=1.5), prepared.splits[0].train[:7]
    before = replace(prepared, features=None)
    known, _ = with_untouched(before, task, [(items, FLOAT32, True)])
    examples = known.held(task.for_training(known.examples(items, task)), task)
    assert isinstance(examples, Answers)
    model, untouched = policy(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs, targets = examples.batch(np.arange(7), "cpu")
    with torch.no_grad():
        total, count = task.objective(model(**inputs).logits, targets)

    tokens = prepared.encoded.tokens
    assert tokens.seconds is not None

    def both(ids: np.ndarray, answer: int) -> tuple[float, float, int]:
        with torch.no_grad():
            ours, theirs = logp(model, ids, answer), logp(untouched, ids, answer)
        return float(ours), float(theirs), len(ids) - answer

    sides = [
        [both(tokens.row(2 * i + side, 64), int(tokens.seconds[2 * i + side])) for side in (0, 1)]
        for i in items
    ]
    shares = [
        v[0] / sum(v) for v in (json.loads(prepared.table.frame["label"].iloc[i])["votes"] for i in items)
    ]
    assert any(0 < share < 1 for share in shares)
    wanted, losses = 0.0, []
    ratio = [[own - ref for own, ref, _ in pair] for pair in sides]
    if method == "sft":
        assert count == sum(pair[0][2] for pair in sides)
        wanted = -sum(pair[0][0] for pair in sides)
    elif method in ("dpo", "cdpo"):
        for (a, b), share in zip(ratio, shares, strict=True):
            flipped = 0.1 * share + 0.9 * (1 - share) if method == "cdpo" else 1 - share
            p = 1 / (1 + math.exp(-0.3 * (a - b)))
            losses.append(-(1 - flipped) * math.log(p) - flipped * math.log(1 - p))
    elif method == "ipo":
        for (a, b), share, pair in zip(ratio, shares, sides, strict=True):
            losses.append((a / pair[0][2] - b / pair[1][2] - (2 * share - 1) / (2 * 0.3)) ** 2)
    else:
        strangers = []
        for n, i in enumerate(
            items
        ):  # all prompts differ: the next pair's answer, chosen and rejected in turn
            j = 2 * items[(n + 1) % 7] + n % 2
            prompt = tokens.row(2 * i, 64)[: tokens.seconds[2 * i]]
            ids = np.concatenate([prompt, tokens.row(j, 64)[tokens.seconds[j] :]])[:64]
            strangers.append(both(ids, len(prompt)))
        kl = max(0.0, sum(own - ref for own, ref, _ in strangers) / 7)
        for (a, b), share in zip(ratio, shares, strict=True):
            for value, good in ((a, share), (b, 1 - share)):
                v = 1 / (1 + math.exp(-0.3 * (value - kl)))
                losses.append(1.5 * good * (1 - v) + (1 - good) * v)
    if losses:
        assert count == len(losses)
        wanted = sum(losses)
    assert total.item() == pytest.approx(wanted, rel=1e-5)


def test_nothing_but_the_answer_is_scored(prepared: Prepared, folder: Path) -> None:
    """Every scored token is an action of the policy: of the answer, up to and with its first end. What the
    logits say elsewhere (prompt, padding, after the end) changes neither loss nor gradient: even NaN."""
    task, end = made("kto"), AutoTokenizer.from_pretrained(folder).sep_token_id
    examples = task.for_training(prepared.examples(prepared.splits[0].train, task))
    assert isinstance(examples, Answers)
    examples = examples.with_reference(np.random.default_rng(0).normal(-9, 1, (len(examples), 3)))
    inputs, targets = examples.batch(np.arange(len(examples)), "cpu")
    labels_RT, ids_RT, mask_RT = targets.labels_RT, inputs["input_ids"], inputs["attention_mask"]
    scored_RT = labels_RT != IGNORED
    assert (labels_RT[scored_RT] == ids_RT[scored_RT]).all()
    assert not scored_RT[mask_RT == 0].any()
    for labels_T, ids_T, mask_T in zip(labels_RT, ids_RT, mask_RT, strict=True):
        places = (labels_T != IGNORED).nonzero().squeeze(1)
        assert places.tolist() == list(range(int(places[0]), int(mask_T.sum())))  # to the last token
        assert (ids_T[places[:-1]] != end).all()
        assert int(mask_T.sum()) == 64 or ids_T[places[-1]] == end  # the end itself is learnt, unless cut off
    assert (labels_RT[:, 1:] == end).any()
    logits = torch.randn(*ids_RT.shape, 200, requires_grad=True)
    total, _ = task.objective(logits, targets)
    (gradient,) = torch.autograd.grad(total, logits)
    says_RT = F.pad(scored_RT[:, 1:], (0, 1))  # the logits before a scored token
    assert (gradient[~says_RT] == 0).all()
    assert (gradient[says_RT].abs().sum(1) > 0).float().mean() > 0.6  # (strangers have none)
    poisoned = torch.where(says_RT[:, :, None], logits.detach(), torch.nan)
    assert task.objective(poisoned, targets)[0] == total


def test_what_follows_the_end_is_left_out(folder: Path, tmp_path: Path) -> None:
    """An answer that holds the end-of-text token in its middle is the answer up to there."""
    rows = pairs(30)
    model = ModelConfig(name=str(folder), max_length=64)
    plain = prepare((str(written(tmp_path / "a.json", rows)),), "align", DataConfig(folds=0), model)
    for row in rows:
        row["chosen"] += " [SEP] more that nobody says"
    more = prepare((str(written(tmp_path / "b.json", rows)),), "align", DataConfig(folds=0), model)
    assert more.encoded.tokens.digest() == plain.encoded.tokens.digest()


def test_the_untouched_model_prefers_nothing(prepared: Prepared, folder: Path) -> None:
    """h is 0 for every pair: accuracy 0.5, DPO's loss log 2, IPO's (1 / (2 beta))^2, KTO's 1 - sigmoid(0)."""
    items = prepared.splits[0].test
    plain = AutoModelForCausalLM.from_pretrained(folder)
    given = [("dpo", math.log(2)), ("cdpo", math.log(2)), ("ipo", 25.0), ("kto", 0.5)]
    for method, wanted in given:
        task = made(method)
        known, _ = with_untouched(replace(prepared, features=None), task, [(items, FLOAT32, False)])
        outputs = predict_logits(plain, known.examples(items, task), FLOAT32, keep=task.keep_of(plain))
        truth = np.tile(np.array([1.0, 0.0], np.float32), (len(items), 1))
        scores = task.scores(outputs, truth)
        assert scores["preference_accuracy"] == 0.5
        assert scores["margin"] == 0.0
        assert scores["chosen_log_ratio"] == pytest.approx(0, abs=1e-6)
        assert scores["loss"] == pytest.approx(wanted, rel=1e-6)


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> RunConfig:
    data = written(tmp_path / "pairs.json", pairs(40))
    values = {
        "files": (str(data),),
        "task": "align",
        "model": {"name": str(folder), "max_length": 64},
        "data": {"folds": 0},
        "train": {"epochs": 2, "batch_size": 8, "checkpoint_seconds": 0, "learning_rate": 0.01},
    }
    return RunConfig.model_validate(values)


def ready(config: RunConfig, features: Path | None = None) -> Prepared:
    found = prepare(config.files, config.task, config.data, config.model)
    return replace(found, features=features)


@pytest.mark.parametrize("method", ["lora", "prefix", "full"])
def test_the_reference_stays_the_pretrained_model(
    method: str, config: RunConfig, folder: Path, tmp_path: Path
) -> None:
    """Training moves the policy (and prefix changes it from the start), the reference is what it was; the bundle
    gives the same again."""
    config = config.model_copy(update={"method": method})
    prepared = ready(config, tmp_path / "features")
    record = run_once(config, prepared, tmp_path / "run")
    frame = pd.read_parquet(tmp_path / "run/predictions.parquet")
    untouched = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = prepared.encoded.tokens
    assert tokens.seconds is not None
    for item, chosen, rejected in zip(frame["item"], frame["logit(2)"], frame["logit(3)"], strict=True):
        for row, said in ((2 * item, chosen), (2 * item + 1, rejected)):
            with torch.no_grad():
                wanted = float(logp(untouched, tokens.row(row, 64), int(tokens.seconds[row])))
            assert said == pytest.approx(wanted, rel=1e-5)
    assert (frame["logit(0)"] - frame["logit(2)"]).abs().min() > 1e-3
    assert record["scores"]["preference_accuracy"] == float((frame["prediction"] > 0).mean())
    files = list((tmp_path / "features").glob("untouched-*"))
    assert len(files) == 3  # training, validation, test
    assert verify(tmp_path / "run", prepared)["status"] == "finished"


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_stopped_run_goes_on_to_the_same_bits(method: str, config: RunConfig, tmp_path: Path) -> None:
    """Stopped twice, once with what the untouched model said lost in between."""
    config = config.model_copy(update={"task_settings": {"method": method}, "method": "lora"})
    whole = run_once(config, ready(config, tmp_path / "f0"), tmp_path / "whole")
    for steps in (2, 5):
        seen: list[int] = []
        with pytest.raises(Stopped):
            run_once(
                config, ready(config, tmp_path / f"f{steps}"), tmp_path / "parts",
                listener=lambda kind, values, seen=seen: seen.append(kind == "step"),
                stop=lambda seen=seen, steps=steps: sum(seen) >= (steps if steps == 2 else 3),
            )  # fmt: skip
    parts = run_once(config, ready(config), tmp_path / "parts")
    assert len(parts["training"]["resumed_at_steps"]) == 2
    assert parts["scores"] == whole["scores"]
    for name in ("predictions.parquet", "bundle/adapter_model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.slow
def test_one_verdict_over_the_losses(folder: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "pairs.json", pairs(120))
    study = tunelab.compare(
        data,
        task="align",
        methods=["full"],
        add=["full,align.method=sft", "lora,align.method=kto", "full,align.method=ipo"],
        model=str(folder),
        folds=0,
        seeds=1,
        out=tmp_path / "out",
        settings={"train.epochs": 2, "train.batch_size": 16, "search.trials": 1, "train.learning_rate": 5e-3},
        progress=False,
        workers=1,
    )
    record = study.record
    assert not record.failures
    assert record.deciding == "preference_accuracy"
    names = {r.name: r for r in record.results}
    assert {"full", "full,align.method=sft", "lora,align.method=kto", "full,align.method=ipo", "length"} == {
        *names
    }
    assert names["full"].score.value > 0.9
    assert study.report.is_file()
    specialist = tunelab.load(study.bundle)
    good, bad = specialist.predict([("the lamp in the hall", GOOD[0]), ("the lamp in the hall", BAD[0])])
    assert isinstance(good, float)
    assert good > bad
    (text,) = specialist.predict(["the lamp in the hall"])  # to a prompt alone it writes an answer
    assert isinstance(text, str)
    with pytest.raises(InputError, match="pairs"):
        specialist.predict([("the lamp", "is", "on")])


@pytest.mark.parametrize(
    ("change", "code"),
    [({"rejected": None}, "same-answers"), ({"chosen": "  "}, "empty-answer")],
    ids=["equal sides", "an empty answer"],
)
def test_pairs_that_teach_nothing(change: dict, code: str, folder: Path, tmp_path: Path) -> None:
    """They stop a study before training, by file and row; --fix leaves them out and says so."""
    rows = pairs(40)
    rows[6] |= {name: rows[6]["chosen"] if value is None else value for name, value in change.items()}
    data, model = str(written(tmp_path / "pairs.json", rows)), ModelConfig(name=str(folder))
    with pytest.raises(DataError, match=rf"\[{code}\]\n +pairs.json row") as caught:
        prepare((data,), "align", DataConfig(folds=0), model)
    assert "--fix" in str(caught.value)
    found = prepare((data,), "align", DataConfig(folds=0, fix=True), model)
    assert len(found.table) == 39
    assert any("left out 1 row" in note for note in found.notes)


def test_what_is_cut_is_told(folder: Path, prepared: Prepared) -> None:
    """Both sides of a pair keep the same last words of their prompt, and the answer its end."""
    tokens = prepared.encoded.tokens
    assert tokens.seconds is not None
    assert int(tokens.lengths.max()) <= 64
    cut = {f.code: f for f in prepared.findings}["prompts-cut"]
    assert cut.count == 7
    assert "tokens of the prompt are lost" in cut.examples[0]
    for row in range(0, len(tokens), 2):
        a, b = tokens.row(row, 64), tokens.row(row + 1, 64)
        assert (a[: tokens.seconds[row]] == b[: tokens.seconds[row + 1]]).all()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(DataError, match="no room"):
        Align.encode(prepared.table, tokenizer, 3)


def test_models_that_cannot(folder: Path, tmp_path: Path) -> None:
    data = str(written(tmp_path / "pairs.json", pairs(30)))
    encoder = make_model_folder(tmp_path / "bert")
    with pytest.raises(ConfigError, match="a language model that writes answers"):
        prepare((data,), "align", DataConfig(folds=0), ModelConfig(name=str(encoder)))
    endless = make_model_folder(tmp_path / "endless", "llama")
    path = endless / "tokenizer_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in ("sep_token", "cls_token")}))
    with pytest.raises(DataError, match="no end-of-text token"):
        prepare((data,), "align", DataConfig(folds=0), ModelConfig(name=str(endless)))
    with pytest.raises(ConfigError, match="losses of its own"):
        Align.fit([], [], LossConfig(kind="focal"), AlignSettings())
