"""Rewriting: what is read of a source, the loss against transformers' own, what is written, and whole studies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lm_toys import byte_tokenizer, language_model, seq2seq_model
from models_zoo import SEQ2SEQ, make_seq2seq
from safetensors.numpy import load_file
from toys import FLOAT32
from typer.testing import CliRunner

import tunelab
from tunelab import methods
from tunelab.cli import app
from tunelab.config import LossConfig, RunConfig, SpeedConfig, parse_settings
from tunelab.data.batch import IGNORED
from tunelab.data.encode import Tokens
from tunelab.data.layout import Encoded
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.measure.generation import generation_scores
from tunelab.study.plain_rewrites import RULES
from tunelab.study.prepare import prepare
from tunelab.study.run import run_once, verify
from tunelab.tasks._rewriting import SourceTarget, kept
from tunelab.tasks._writing import write
from tunelab.tasks.rewrite import Rewrite, RewriteSettings
from tunelab.train.evaluate import predict_logits

TWO = pytest.mark.parametrize("architecture", sorted(SEQ2SEQ))


def table(*pairs: tuple[str, str]) -> Table:
    frame = pd.DataFrame(pairs, columns=["text", "label"])
    return Table(frame.assign(split="", file="a", row=[str(i) for i in range(len(pairs))]), {})


def task(architecture: str = "seq2seq", **settings: Any) -> Rewrite:
    return Rewrite(LossConfig(), RewriteSettings(architecture=architecture, **settings))


def dressed(own: Rewrite) -> Any:
    tokenizer = byte_tokenizer()
    own.dress(tokenizer, own.settings)
    return tokenizer


def random_items(lengths: list[tuple[int, int]], seed: int = 0) -> Encoded:
    """Sources and targets of so many tokens of the tiny models' vocabulary; 1 ends each."""
    random = np.random.default_rng(seed)
    rows = [np.array([*random.integers(3, 64, n - 1), 1], np.int32) for pair in lengths for n in pair]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    tokens = Tokens(np.concatenate(rows), starts, 0)
    return Encoded(tokens, tokens, np.arange(0, len(rows) + 1, 2), together=True)


# ------------------------------------------------------------------------------------------------ what is read


def test_what_an_encoder_reads_and_a_decoder_learns() -> None:
    """A row each, the end-of-text token behind the target where the tokenizer gives none, the prefix in front."""
    own = task(prefix='to "x": ')
    tokenizer = dressed(own)
    encoded = own.encode(table(("ab", "你"), ("c", "")), tokenizer, 50, cache=False)
    rows = [tokenizer.decode(encoded.tokens.row(i, 99)) for i in range(4)]
    assert rows == ['<s>to "x": ab', "<s>你</s>", '<s>to "x": c', ""]
    assert [tokenizer.decode(ids) for ids in own.prompts_of(encoded, np.array([1]))] == rows[2:3]
    assert encoded.units.spans.tolist() == [[11, 16], [10, 10]]
    examples = own.examples(encoded, np.arange(4), own.blank(encoded), 50, 0)
    inputs, labels = examples.batch(np.array([1, 0]), "cpu")
    assert inputs["attention_mask"].sum(1).tolist() == [10, 11]
    assert (labels != IGNORED).sum(1).tolist() == [0, 5]
    assert own.example(encoded, tokenizer).endswith('<s>to "x": ab⟦<s>你</s>⟧')


def test_what_a_language_model_is_asked_does_not_depend_on_the_target() -> None:
    """Of 80 tokens a quarter is the target's: the prompt has 60, whether the target is long, short or unknown."""
    own = task("causal", template="plain", prefix="p ")
    tokenizer = dressed(own)
    items = table(("x" * 90, "y" * 40), ("x" * 90, "y"), ("x" * 90, ""), ("x", "y"))
    encoded = own.encode(items, tokenizer, 80, cache=False)
    prompts = [tokenizer.decode(ids) for ids in own.prompts_of(encoded, np.arange(4))]
    assert prompts == [*["<s>p " + "x" * 56 + "\n"] * 3, "<s>p x\n"]
    assert [own.tolist() for own in kept(encoded)] == [[60, 60, 60, 5], [20, 2, 0, 2]]
    targets = own.targets((), encoded)
    learnt = [tokenizer.decode(t[t != IGNORED]) for t in np.split(targets, encoded.tokens.starts[1:-1])]
    assert learnt == ["y" * 20, "y</s>", "", "y</s>"]
    findings = {finding.code: finding for finding in own.check_encoded(items, encoded)}
    assert (findings["source-cut"].rows, findings["target-cut"].rows) == ((0, 1, 2), (0,))


def test_the_template_goes_with_the_tokenizer(tmp_path: Path) -> None:
    for own in (task(prefix="a: "), task("causal", prefix="a: ")):
        tokenizer = dressed(own)
        tokenizer.save_pretrained(tmp_path / own.model_class)
        again = type(tokenizer).from_pretrained(tmp_path / own.model_class)
        one, other = (own.encode(table(("b", "c")), each, 50, cache=False) for each in (tokenizer, again))
        assert one.tokens.ids.tolist() == other.tokens.ids.tolist()


def test_models_that_cannot_write_are_refused(tmp_path: Path) -> None:
    assert Rewrite.settle(RewriteSettings(), "seq2seq", "m") == RewriteSettings(architecture="seq2seq")
    with pytest.raises(ConfigError, match="m is an encoder, which cannot write"):
        Rewrite.settle(RewriteSettings(), "masked", "m")
    with pytest.raises(ConfigError, match="architecture=seq2seq: m is causal"):
        Rewrite.settle(RewriteSettings(architecture="seq2seq"), "causal", "m")
    with pytest.raises(ConfigError, match=r"take rewrite\.metric=chrf"):
        Rewrite.fit(["один", "два"], [], LossConfig(), RewriteSettings())


# -------------------------------------------------------------------------------------------------- the loss


@TWO
def test_loss_is_that_of_transformers(architecture: str) -> None:
    """`model(input_ids, attention_mask, labels=...)`, which shifts labels itself, over rows of unlike length."""
    encoded = random_items([(9, 4), (3, 7), (5, 2)])
    plain, own = make_seq2seq(architecture), task()
    model = own.equip(make_seq2seq(architecture))
    examples = own.examples(encoded, np.arange(6), own.blank(encoded), 50, 0)
    inputs, targets = examples.batch(np.arange(3), "cpu")
    with torch.no_grad():
        wanted = plain(**inputs)
        found = model(**inputs)
        total, count = own.objective(found.logits, targets)
        outputs = predict_logits(model, examples, FLOAT32, keep=own.keep_of(model))
    assert found.loss is None
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-6, rtol=0)
    assert float(total / count) == pytest.approx(float(wanted.loss), abs=1e-6)
    assert outputs[:, 1].tolist() == [4, 7, 2]
    assert outputs[:, 0].sum() / 13 == pytest.approx(float(wanted.loss), abs=1e-5)
    assert examples.lengths.tolist() == [18, 14, 10]
    assert type(model).__name__ == type(plain).__name__


# --------------------------------------------------------------------------------------------- what is written


def writer(architecture: str) -> Any:
    """With an output layer of its own (with one that is tied, a random model repeats what it has just written),
    and strong attention to what the encoder read."""
    model = make_seq2seq(architecture, vocabulary=259)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".encoder_attn." in name and parameter.ndim == 2:
            parameter.data.mul_(10)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    return model


@pytest.mark.parametrize("beams", [1, 3])
@TWO
def test_written_as_transformers_writes(architecture: str, beams: int) -> None:
    """Row by row without padding, by `generate` with its plain settings."""
    model, tokenizer = writer(architecture), byte_tokenizer()
    random = np.random.default_rng(1)
    prompts = [random.integers(3, 259, n).tolist() for n in (3, 9, 5, 9, 4)]
    found = write(model, tokenizer, prompts, [2], 7, beams=beams, at_once=3)
    for prompt, text in zip(prompts, found, strict=True):
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=7, num_beams=beams, do_sample=False, eos_token_id=2
        )
        assert text == tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    assert len(set(found)) > 1 or architecture == "pegasus"  # (whose random attention is nearly even)


@pytest.mark.parametrize("method", ["lora", "adapter", "prefix", "prompt", "p_tuning"])
@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_what_is_written_is_the_likeliest_token_each_time(architecture: str, method: str) -> None:
    """With the cache of `generate` and padding, against a loop that reads everything again for every token."""
    torch.manual_seed(0)
    tuned = methods.find(method).make({}).attach(writer(architecture))
    for parameter in tuned.state().values():
        parameter.add_(0.1 * torch.randn_like(parameter))
    tuned.model.eval()
    tokenizer = byte_tokenizer()
    prompts = [[7, 50, 90], [7, 7, 8, 30, 200]]
    wanted = []
    for prompt in prompts:
        ids = [0]
        while len(ids) < 8:
            with torch.no_grad():
                logits = tuned.model(
                    input_ids=torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                    decoder_input_ids=torch.tensor([ids]),
                ).logits
            best = int(logits[0, -1].argmax())
            if best == 2:
                break
            ids.append(best)
        wanted.append(tokenizer.decode(ids[1:], skip_special_tokens=True).strip())
    assert write(tuned.model, tokenizer, prompts, [2], 7, caches=tuned.caches) == wanted


def test_settings_that_a_model_came_with_do_not_count() -> None:
    model, tokenizer = writer("bart"), byte_tokenizer()
    before = write(model, tokenizer, [[5, 6, 7]], [2], 9)
    own = model.generation_config
    own.no_repeat_ngram_size, own.repetition_penalty, own.min_length = 1, 3.0, 5
    assert write(model, tokenizer, [[5, 6, 7]], [2], 9) == before


# -------------------------------------------------------------------------------------------------- the scores


def test_scores_count_all_references() -> None:
    """ROUGE-L of "the cat sat" against its better reference, "a cat sat down": 2 words in common of 3 and 4, F1 =
    4 / 7; the second text is right: (4/7 + 1) / 2. Weighted 2 to 0: 4 / 7."""
    own = task(metric="rouge")
    items = pd.DataFrame(
        {"label": ["dogs", "yes"], "references": ['["dogs", "a cat sat down"]', ""], "text": ["", ""]}
    )
    outputs = np.array([["the cat sat"], ["yes"]], dtype=object)
    scores = own.scores(outputs, own.truth_of(items))
    assert scores["rougeL"] == pytest.approx((4 / 7 + 1) / 2)
    frame = own.decode(outputs, items).assign(label=items["label"])
    assert own.run_score(frame)(np.array([[1.0, 1.0], [2.0, 0.0]])) == pytest.approx(
        [scores["rougeL"], 4 / 7]
    )
    assert own.errors(frame) == pytest.approx([3 / 7, 0])
    for metric in ("bleu", "chrf", "exact_match"):
        other = task(metric=metric)
        assert next(iter(other.scores(outputs, own.truth_of(items)))) == other.deciding == metric
        once = other.run_score(frame)(np.ones((1, 2)))
        assert once == pytest.approx([scores[metric]])


def test_rules_without_a_model(tmp_path: Path) -> None:
    rows = [{"source": f"The {a} ate. It was {b}.", "target": f"{a} {b}"} for a in "abcdef" for b in "uvwxyz"]
    prepared = prepared_of(tmp_path, rows, "t5")
    train, row = np.arange(30), np.array([7])
    source = rows[7]["source"]
    assert RULES["copy"](prepared, train, row) == [source]
    assert RULES["lead"](prepared, train, row) == [source.split(" It")[0]]
    assert RULES["nearest"](prepared, train, row) == [rows[7]["target"]]  # the row itself is known


# --------------------------------------------------------------------------------------------------- the study

WORDS = ("cat", "dog", "owl")


def items(count: int = 60) -> list[dict[str, Any]]:
    made = [(WORDS[i % 3], i) for i in range(count)]
    return [{"source": f"a {word} in {i}", "target": [f"the {word} {i % 7}", word]} for word, i in made]


def prepared_of(folder: Path, rows: list[dict[str, Any]], kind: str, **settings: Any) -> Any:
    path = folder / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    wanted = config(folder, kind, {}, **settings)
    return prepare(wanted.files, "rewrite", wanted.data, wanted.model, settings)


def config(
    folder: Path, kind: str, speed: dict[str, bool], method: str = "full", **settings: Any
) -> RunConfig:
    model = folder / kind
    if not model.is_dir():
        (language_model(model) if kind == "llama" else seq2seq_model(model, kind))
    return RunConfig.model_validate(
        {
            "files": (str(folder / "data.json"),),
            "task": "rewrite",
            "task_settings": {"max_new_tokens": 6, **settings},
            "method": method,
            "model": {"name": str(model), "max_length": 64, "dropout": 0.0, "attention_dropout": None},
            "train": {"epochs": 1, "batch_size": 16, "precision": "float32"},
            "speed": speed,
        }
    )


@pytest.mark.parametrize(("kind", "method"), [("t5", "full"), ("bart", "top_layers"), ("bart", "lora")])
def test_a_run_ends_where_it_ends_without_levers(kind: str, method: str, tmp_path: Path) -> None:
    """Three steps in float32: the same losses of given targets and the same texts; the bundle gives them again."""
    (tmp_path / "data.json").write_text(json.dumps(items()), encoding="utf-8")
    off = dict.fromkeys(SpeedConfig.model_fields, False)
    found = {}
    for name, speed in (("on", {}), ("off", off)):
        wanted = config(tmp_path, kind, speed, method)
        prepared = prepare(wanted.files, "rewrite", wanted.data, wanted.model, wanted.task_settings)
        record = run_once(wanted, prepared, tmp_path / name)
        assert verify(tmp_path / name, prepared)["status"] == "finished"
        outputs = load_file(tmp_path / name / "predictions.safetensors")["outputs"]
        texts = pd.read_parquet(tmp_path / name / "predictions.parquet")["prediction"].tolist()
        found[name] = outputs, texts, record
    np.testing.assert_allclose(found["on"][0], found["off"][0], rtol=1e-3)
    assert found["on"][1] == found["off"][1]
    told = found["on"][2]["training"]["levers"]
    assert told["attention"]
    assert not told["first_token"]
    assert "trunk_cache" not in told
    assert found["off"][2]["training"]["levers"] == {}


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_a_study_of_rewriting(kind: str, tmp_path: Path) -> None:
    """From a file with two references a row to a model that writes; its scores are those of what the plain
    transformers model writes, asked as its card says."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    data, beams = tmp_path / "data.json", 1 if kind == "llama" else 3
    rows = items(60)
    data.write_text(json.dumps(rows), encoding="utf-8")
    config(tmp_path, kind, {})
    study = tunelab.compare(
        data, task="rewrite", methods=["full", "head", "prompt"], model=str(tmp_path / kind), folds=0, seeds=1,
        effort="quick", out=tmp_path / "out", progress=False,
        settings={
            "train.epochs": 12, "train.batch_size": 8, "train.learning_rate": 1e-2, "model.max_length": 64,
            "rewrite.max_new_tokens": 10, "rewrite.metric": "chrf", "rewrite.template": "plain",
            "rewrite.beams": beams,
        },
    )  # fmt: skip
    record = study.record
    assert record.deciding == "chrf"
    assert {result.name for result in record.results} == {"full", "prompt", *Rewrite.baselines}
    assert any("no task head" in why for why in record.failures.values())
    best = next(result for result in record.results if result.name == "full")
    assert best.score.value > 0.3  # "the ..." at least
    page = study.report.read_text(encoding="utf-8")
    assert "What it writes" in page
    folder = study.folder / "runs" / best.runs[0]
    told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert {"latency_1_seconds", "latency_32_seconds"} <= told["cost"].keys() or study.winner != "full"

    bundle = study.bundle if study.winner == "full" else folder / "bundle"
    auto = AutoModelForCausalLM if kind == "llama" else AutoModelForSeq2SeqLM
    tokenizer, model = AutoTokenizer.from_pretrained(bundle), auto.from_pretrained(bundle)
    stored = pd.read_parquet(folder / "predictions.parquet")
    written = []
    for item in stored["item"]:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": rows[item]["source"]}], tokenize=False, add_generation_prompt=True
        )
        read = tokenizer(asked, add_special_tokens=kind != "llama", return_tensors="pt")
        read.pop("token_type_ids", None)
        ids = model.generate(**read, max_new_tokens=10, do_sample=False, num_beams=beams)[0]
        begin = read["input_ids"].shape[1] if kind == "llama" else 0
        written.append(tokenizer.decode(ids[begin:], skip_special_tokens=True).strip())
    assert stored["prediction"].tolist() == written
    references = [rows[item]["target"] for item in stored["item"]]
    scores = generation_scores(written, references, chinese=False)
    assert told["scores"]["chrf"] == pytest.approx(scores["chrf"])

    sources = [rows[item]["source"] for item in stored["item"][:3]]
    assert tunelab.load(bundle).predict(sources) == written[:3]
    asked_file, out = tmp_path / "asked.csv", tmp_path / "answers.csv"
    pd.DataFrame({"source": sources}).to_csv(asked_file, index=False)
    words = ["predict", str(bundle), "--file", str(asked_file), "--column", "source", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out)["prediction"].tolist() == written[:3]


def test_the_doctor_on_sources_and_targets(tmp_path: Path) -> None:
    rows = [{"source": f"say {i}", "target": f"say  {i}" if i < 3 else f"it {i}"} for i in range(40)]
    rows += [{"source": f"and {i}", "target": ""} for i in range(2)]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    _, findings = tunelab.check(path, task="rewrite")
    codes = {finding.code: finding for finding in findings}
    assert codes["target-is-source"].count == 3
    assert any(finding.count == 2 and "label" in finding.code for finding in findings)


def test_lengths_of_the_plan_are_those_of_the_rows(tmp_path: Path) -> None:
    """What the plan counts (`Prepared.lengths`) is what the loop batches by."""
    prepared = prepared_of(tmp_path, items(), "bart")
    own = prepared.task(config(tmp_path, "bart", {}))
    chosen = np.array([3, 10, 59])
    examples = prepared.examples(chosen, own)
    assert isinstance(examples, SourceTarget)
    assert examples.lengths.tolist() == prepared.lengths(chosen).tolist()


def test_a_prefix_as_it_is_typed() -> None:
    for typed in ("rewrite.prefix=summarize: ", 'rewrite.prefix="summarize: "'):
        values = parse_settings([typed])["rewrite"]
        assert RewriteSettings.model_validate(values).prefix == "summarize: "
