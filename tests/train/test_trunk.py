"""Reading what frozen layers give, instead of computing it, changes the time of a training and nothing else."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models_zoo import ARCHITECTURES, make_model
from toys import FLOAT32, toy_examples, train_toy

from tunelab import methods
from tunelab.config import SpeedConfig, TrainConfig
from tunelab.data.batch import PASS
from tunelab.methods.base import Tuned
from tunelab.methods.structure import find_structure
from tunelab.train import trunk as trunk_file
from tunelab.train.evaluate import predict_logits
from tunelab.train.levers import faster_judging
from tunelab.train.precision import Precision
from tunelab.train.trunk import cached_trunk

CONFIG = TrainConfig(epochs=1, batch_size=8, micro_batch_size=3)
SETTINGS = {"head": {}, "top_layers": {"layers": 1}, "gradual": {"until": 1.0}}

#: Attention does not depend on a bias of its keys: the gradient is rounding, which AdamW makes as large as any.
NO_GRADIENT = (".key.bias", ".k_lin.bias", ".c_attn.bias")


def make(method: str, architecture: str = "bert", dropout: float = 0.1) -> Tuned:
    torch.manual_seed(0)
    return (
        methods.find(method).make(SETTINGS.get(method, {})).attach(make_model(architecture, dropout=dropout))
    )


@contextlib.contextmanager
def computed(tuned: Tuned) -> Iterator[list[int]]:
    """One number for each time that the lowest layer really computes: how many rows."""
    rows: list[int] = []
    model = tuned.model.get_base_model() if hasattr(tuned.model, "get_base_model") else tuned.model
    part = model.get_submodule(find_structure(model).layers[0].attention_output)
    hook = part.register_forward_hook(lambda _module, args, _output: rows.append(len(args[0])))
    yield rows
    hook.remove()


def assert_as_before(tuned: Tuned) -> None:
    for name, module in tuned.model.named_modules():
        assert "forward" not in module.__dict__, name
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_is_the_ordinary_one(architecture: str, method: str, tmp_path: Path) -> None:
    """8 steps of the real loop with dropout, in micro-batches of ragged rows, validation included. The lowest
    layer computes nothing, but for gradual, which begins to move the layers on the way."""
    ordinary = make(method, architecture)
    whole = replace(toy_examples(), one_more=None)  # (where passes cost more, batches are cut otherwise)
    wanted = train_toy(ordinary, tmp_path / "a", CONFIG, examples=whole)

    cached = make(method, architecture)
    random = torch.get_rng_state()
    with cached_trunk(cached, [whole], FLOAT32, tmp_path, "key") as trunk:
        assert trunk.note == ""
        assert torch.equal(torch.get_rng_state(), random)
        with computed(cached) as forwards:
            found = train_toy(cached, tmp_path / "b", CONFIG, examples=trunk.examples[0])
    assert_as_before(cached)
    # Of gradual's 8 steps, the last 5 find the top layer moving: 3 micro-batches each, and one validation.
    assert len(forwards) in ([15, 16] if method == "gradual" else [0])
    assert found.best == pytest.approx(wanted.best, rel=1e-5)
    after = cached.model.state_dict()
    for name, tensor in ordinary.model.state_dict().items():
        if not name.endswith(NO_GRADIENT):
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_rows_are_judged_alike_in_any_batch(name: str) -> None:
    """Stored among all rows, then read in other company: parts of two sets of rows, in an order of their own."""
    precision = Precision(name, "cpu", "test")
    tuned, examples = make("head"), toy_examples(300)
    parts = [replace(examples, rows=np.arange(40, 20, -1)), replace(examples, rows=np.arange(10, 300, 3))]
    wanted = [predict_logits(tuned.model, part, precision) for part in parts]
    with cached_trunk(tuned, parts, precision, None, "key") as trunk:
        halves = [replace(part, rows=part.rows[::2]) for part in trunk.examples]
        with computed(tuned) as forwards:
            found = [predict_logits(tuned.model, part, precision) for part in [*trunk.examples, *halves]]
        assert forwards == []
    stored = np.unique(np.concatenate([part.rows for part in parts]))
    assert trunk.bytes == 4096 + examples.lengths[stored].sum() * 32 * (4 if name == "float32" else 2)
    tolerance = 1e-6 if name == "float32" else 0.01
    for got, want in zip(found, [*wanted, *(w[::2] for w in wanted)], strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_above_are_not_computed_for_the_file(architecture: str, tmp_path: Path) -> None:
    """But for the three forwards that ask the model whether it can be done."""
    tuned = make("top_layers", architecture)
    top = tuned.model.get_submodule(find_structure(tuned.model).layers[-1].name)
    forwards: list[int] = []
    hook = top.register_forward_hook(lambda _module, args, _output: forwards.append(len(args[0])))
    with cached_trunk(tuned, [toy_examples(300)], FLOAT32, tmp_path, "key") as trunk:
        assert trunk.built
    hook.remove()
    assert len(forwards) <= 3
    assert_as_before(tuned)


def test_a_forward_on_other_rows_is_an_ordinary_one(tmp_path: Path) -> None:
    """Rows that are not in the file, and token ids that no batch handed out, even if they are the same."""
    tuned, examples = make("head"), toy_examples()
    wanted = predict_logits(tuned.model, examples, FLOAT32, whole=True)
    known = replace(examples, rows=np.arange(30))
    with cached_trunk(tuned, [known], FLOAT32, tmp_path, "key") as trunk, computed(tuned) as forwards:
        more = replace(trunk.examples[0], rows=np.arange(60))
        np.testing.assert_array_equal(predict_logits(tuned.model, more, FLOAT32, whole=True), wanted)
        trunk.examples[0].batch(np.arange(30), "cpu")
        plain = predict_logits(tuned.model, known, FLOAT32, whole=True)
        np.testing.assert_allclose(plain, wanted[:30], rtol=0, atol=1e-6)
    assert forwards == [60, 30]


def test_it_stays_off_once_layers_below_have_moved(tmp_path: Path) -> None:
    tuned = make("gradual")
    with (
        cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "key") as trunk,
        computed(tuned) as forwards,
    ):
        for step in (0, 10, 0):
            tuned.on_progress(step, 10)
            predict_logits(tuned.model, trunk.examples[0], FLOAT32, whole=True)
    assert forwards == [60, 60]


@pytest.mark.parametrize("method", ["lora", "dora", "adapter"])
def test_an_adapter_on_the_upper_layers_reads_it_too(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tuned = methods.find(method).make({"layers": 1}).attach(make_model("bert"))
    wanted = predict_logits(tuned.model, toy_examples(), FLOAT32)
    with (
        cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "key") as trunk,
        computed(tuned) as forwards,
    ):
        assert trunk.note == ""
        found = predict_logits(tuned.model, trunk.examples[0], FLOAT32)
    assert forwards == []
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------- the file


def test_it_is_built_once_for_all_who_want_it_at_the_same_time(tmp_path: Path) -> None:
    def use(tuned: Tuned) -> tuple[bool, str, float, bytes]:
        with cached_trunk(tuned, [toy_examples(400)], FLOAT32, tmp_path, "key") as trunk:
            logits = predict_logits(tuned.model, trunk.examples[0], FLOAT32)
        return trunk.built, trunk.note, trunk.seconds, logits.tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(use, [make("head") for _ in range(4)]))
    assert sum(built for built, *_ in found) == 1
    assert len({(note, seconds, logits) for _, note, seconds, logits in found}) == 1
    assert found[0][1] == ""
    assert len(list(tmp_path.glob("trunk-*"))) == 1


def test_who_waits_for_another_s_computation_does_not_count_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What judging took and what it was spared add up to what it takes alone, whoever computed it."""

    def slow(plan: Any, path: Path, states: Callable[[], Any]) -> None:
        build(plan, path, lambda: (time.sleep(1), states())[1])

    build = trunk_file._build
    monkeypatch.setattr(trunk_file, "_build", slow)

    def judge(tuned: Tuned) -> float:
        began = time.monotonic()
        with faster_judging(tuned, toy_examples(), SpeedConfig(), FLOAT32, tmp_path, "key") as (_, spared):
            return time.monotonic() - began + spared

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(judge, [make("head") for _ in range(3)]))
    (path,) = tmp_path.glob("trunk-*")
    assert all(1 <= seconds < 1.7 for seconds in [*found, judge(make("head"))]), (path, found)


def test_other_rows_levels_precisions_and_keys_have_files_of_their_own(tmp_path: Path) -> None:
    examples, low = toy_examples(), Precision("bfloat16", "cpu", "test")
    few, short = replace(examples, rows=np.arange(9)), replace(examples, max_length=8)
    for method, part, precision, key in [
        ("head", examples, FLOAT32, "key"),
        ("top_layers", examples, FLOAT32, "key"),
        ("head", few, FLOAT32, "key"),
        ("head", short, FLOAT32, "key"),
        ("head", examples, low, "key"),
        ("head", examples, FLOAT32, "other"),
    ]:
        with cached_trunk(make(method), [part], precision, tmp_path, key) as trunk:
            assert trunk.built
        with cached_trunk(make(method), [part, part], precision, tmp_path, key) as trunk:
            assert (trunk.built, trunk.note) == (False, "")
    assert len(list(tmp_path.glob("trunk-*"))) == 6


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def zero(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def strange(path: Path) -> None:
    path.write_bytes(b"[]".ljust(4096) + path.read_bytes()[4096:])


@pytest.mark.parametrize("damage", [cut, zero, empty, strange])
def test_a_damaged_file_is_built_again(damage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with cached_trunk(make("head"), [toy_examples()], FLOAT32, tmp_path, "key"):
        (path,) = tmp_path.glob("trunk-*")
    whole = path.read_bytes()
    damage(path)
    with cached_trunk(make("head"), [toy_examples()], FLOAT32, tmp_path, "key") as trunk:
        assert (trunk.built, trunk.note) == (True, "")
    assert path.read_bytes()[4096:] == whole[4096:]
    assert "computing it again" in caplog.text


def test_an_interrupted_builder_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    """The first is stopped by an error in its third forward; the second was killed, so that its part lies there."""
    tuned, forwards = make("head"), []

    def fail(_module, _args) -> None:
        forwards.append(None)
        if len(forwards) == 3:
            raise KeyboardInterrupt

    tuned.model.base_model.embeddings.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt), cached_trunk(tuned, [toy_examples(400)], FLOAT32, tmp_path, "key"):
        pass
    assert not list(tmp_path.glob("*trunk-*[0-9a-f]"))
    (lock,) = tmp_path.iterdir()
    part = lock.with_suffix(".part")
    part.write_bytes(b"x" * 10**6)
    with cached_trunk(make("head"), [toy_examples(400)], FLOAT32, tmp_path, "key") as trunk:
        assert (trunk.built, trunk.note) == (True, "")
        predict_logits(trunk.examples[0].switch.model, trunk.examples[0], FLOAT32)
    assert not part.exists()


# ------------------------------------------------------------------------------------------- where it is off


def test_over_the_limit_it_is_off_and_tells_both_numbers(tmp_path: Path) -> None:
    examples = toy_examples()
    size = 4096 + examples.lengths.sum() * 32 * 4
    with cached_trunk(make("head"), [examples], FLOAT32, tmp_path, "key", size) as trunk:
        assert (trunk.note, trunk.bytes) == ("", size)
    tuned = make("head")
    with cached_trunk(tuned, [examples], FLOAT32, tmp_path, "key", 50_000) as trunk:
        assert_as_before(tuned)
    assert trunk.examples == (examples,)
    assert trunk.note.endswith(f"for 60 rows takes {size / 1e6:.1f} MB, more than 0.1 MB (allowed)")
    json.dumps(trunk.told(), allow_nan=False)


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with cached_trunk(make("head"), [toy_examples()], FLOAT32, tmp_path / "file", "key") as trunk:
        assert "could not be stored" in trunk.note


@pytest.mark.parametrize(("method", "note"), [("full", "no layer frozen"), ("lora", "no layer frozen")])
def test_a_method_without_frozen_layers_has_nothing_to_store(method: str, note: str, tmp_path: Path) -> None:
    examples = [toy_examples()]
    with cached_trunk(make(method), examples, FLOAT32, tmp_path, "key") as trunk:
        assert trunk.examples == tuple(examples)
        assert note in trunk.note
    assert not list(tmp_path.iterdir())


def test_only_embeddings_frozen_is_not_worth_a_file(tmp_path: Path) -> None:
    tuned = methods.find("top_layers").make({"layers": 2}).attach(make_model("bert"))
    with cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "key") as trunk:
        assert "only the embeddings" in trunk.note


def test_a_layer_with_hooks_is_not_passed_over(tmp_path: Path) -> None:
    tuned = make("head")
    with computed(tuned), cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "key") as trunk:
        assert "'bert.encoder.layer.0' has hooks" in trunk.note


def test_a_model_that_reads_more_than_the_last_layer_is_found_out(tmp_path: Path) -> None:
    """Here the head also looks at the embeddings, which the cache replaces; and the file of another model."""
    tuned = make("head")
    embeddings, classifier = tuned.model.bert.embeddings, tuned.model.classifier
    seen = []
    with contextlib.ExitStack() as stack:
        stack.callback(embeddings.register_forward_hook(lambda _m, _a, out: seen.append(out)).remove)
        stack.callback(
            classifier.register_forward_hook(lambda _m, _a, out: out + seen.pop()[:, 0, :3]).remove
        )
        with cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "a") as trunk:
            assert "gives other logits" in trunk.note
    with cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "b") as trunk:
        assert trunk.note == ""
    with torch.no_grad():
        embeddings.word_embeddings.weight.mul_(1.1)
    with cached_trunk(tuned, [toy_examples()], FLOAT32, tmp_path, "b") as trunk:
        assert "stored states differ" in trunk.note
    assert_as_before(tuned)


def test_token_labels_are_those_of_an_ordinary_forward(tmp_path: Path) -> None:
    """What is stored holds nothing for padding, which no label belongs to: only real tokens are compared."""
    torch.manual_seed(0)
    tuned = methods.find("head").make({}).attach(make_model("bert", task="TokenClassification"))
    rows = toy_examples()
    plain = predict_logits(tuned.model, rows, FLOAT32)
    assert plain.shape == (rows.lengths.sum(), 3)
    with cached_trunk(tuned, [rows], FLOAT32, tmp_path, "key") as trunk:
        assert trunk.note == ""
        with computed(tuned) as busy:
            found = predict_logits(tuned.model, trunk.examples[0], FLOAT32)
        assert not busy
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_a_pass_costs_more_where_layers_are_passed_over(tmp_path: Path) -> None:
    """Half of them: twice as many tokens; all: batches are not cut for what costs nothing."""
    for method, expected in (("top_layers", 2 * PASS), ("head", None)):
        with cached_trunk(make(method), [toy_examples()], FLOAT32, tmp_path, "key") as trunk:
            assert trunk.examples[0].one_more == expected
