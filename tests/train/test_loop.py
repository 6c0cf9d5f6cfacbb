"""The loop: bit-identical continuation, equal gradients however a batch is split, honest stops."""

import ast
import errno
import json
import math
import os
import resource
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from models_zoo import make_model
from safetensors import SafetensorError
from toys import FLOAT32, make_tuned, toy_examples, train_toy

from tunelab.config import SpeedConfig, TrainConfig
from tunelab.errors import NotFiniteError, OutputError, Stopped, TrainingError
from tunelab.objectives.classification import cross_entropy
from tunelab.study.plan import _sizes, _Steps
from tunelab.train import checkpoint, levers
from tunelab.train.evaluate import predict_logits
from tunelab.train.loop import _evaluation_steps, train
from tunelab.train.schedule import rate

CONFIG = TrainConfig(epochs=3, batch_size=8, checkpoint_seconds=0)  # 60 rows: 8 steps an epoch, 24 in all


def stop_after(steps: int):
    """Asks to stop after that many more steps."""
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count >= steps

    return stop


@pytest.mark.parametrize("method", ["full", "lora", "adalora", "gradual", "prefix", "adapter"])
def test_a_stopped_run_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    """Stopped after 5, then 7 more steps, and continued by new objects each time: equal to one go, in
    parameters, in what is told and in the best score; with dropout, so the random state counts."""
    whole = make_tuned(method, dropout=0.1)
    expected = train_toy(whole, tmp_path / "whole", CONFIG)
    for steps in (5, 7):
        with pytest.raises(Stopped):
            train_toy(make_tuned(method, dropout=0.1), tmp_path / "parts", CONFIG, stop=stop_after(steps))
    last = make_tuned(method, dropout=0.1, seed=0)
    torch.manual_seed(999)  # whatever the random state is before, the checkpoint's counts
    found = train_toy(last, tmp_path / "parts", CONFIG)
    assert found.resumed_at == [5, 12]
    assert (found.best, found.best_step, found.steps) == (expected.best, expected.best_step, expected.steps)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, last.state()[name]), name
    assert (tmp_path / "parts/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    whole = make_tuned(dropout=0.1)
    train_toy(whole, tmp_path / "whole", CONFIG)
    with pytest.raises(Stopped):
        train_toy(make_tuned(dropout=0.1), tmp_path / "parts", CONFIG, stop=stop_after(9))
    files = sorted((tmp_path / "parts/checkpoints").glob("*.safetensors"))
    assert [f.stem for f in files] == ["step-00000008", "step-00000009"]
    data = bytearray(files[-1].read_bytes())
    data[len(data) // 2] ^= 1  # one bit
    files[-1].write_bytes(data)
    last = make_tuned(dropout=0.1)
    found = train_toy(last, tmp_path / "parts", CONFIG)
    assert found.resumed_at == [8]
    assert any("step-00000009 is damaged" in note for note in found.notes)
    assert all(torch.equal(t, last.state()[n]) for n, t in whole.state().items())


@pytest.mark.parametrize("damage", ["cut", "empty", "values"])
def test_every_kind_of_damage_is_recognised(damage: str, tmp_path: Path) -> None:
    snapshot = checkpoint.Snapshot(3, {"a": torch.arange(4.0)}, {"x": 1})
    path = checkpoint.save(tmp_path, snapshot)
    tensors = path.with_suffix(".safetensors")
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_text(path.read_text().replace('"x": 1', '"x": 2'))
    found, notes = checkpoint.latest(tmp_path)
    assert found is None
    assert len(notes) == 1
    assert "damaged" in notes[0]


def test_a_checkpoint_is_not_built_in_memory(tmp_path: Path) -> None:
    """32 MB are written and read again; what Python holds besides the tensors stays below an eighth of that."""
    tensors = {name: torch.randn(2048, 2048) for name in "ab"}
    tracemalloc.start()
    checkpoint.save(tmp_path, checkpoint.Snapshot(1, tensors, {}))
    found, _ = checkpoint.latest(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    assert peak < 4 * 2**20


def test_a_checkpoint_that_finds_no_room_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have 1 MB, tensors have 4: the system's own error, and the checkpoint before stays as it is.
    A full disk, told in the same words with its own number, is told as one."""
    kept = checkpoint.save(tmp_path, checkpoint.Snapshot(1, {"a": torch.arange(4.0)}, {}))
    files, large = sorted(tmp_path.iterdir()), checkpoint.Snapshot(2, {"a": torch.zeros(2**20)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot be written: File too large.*--out"):
            checkpoint.save(tmp_path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def full(*_: object) -> None:
        raise SafetensorError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        checkpoint.save(tmp_path, large)
    assert sorted(tmp_path.iterdir()) == files
    found, notes = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.step, notes, kept.exists()) == (1, [], True)


def test_micro_batches_give_the_same_training(tmp_path: Path) -> None:
    """8 rows at once, or 2 at a time: the same weights to float32's rounding, as sums are divided once."""
    states = []
    for size in (8, 2):
        tuned = make_tuned()
        train_toy(
            tuned, tmp_path / str(size), CONFIG.model_copy(update={"micro_batch_size": size, "epochs": 1})
        )
        states.append(tuned.state())
    for name, tensor in states[0].items():
        torch.testing.assert_close(
            tensor, states[1][name], rtol=1e-3, atol=1e-4
        )  # Adam enlarges rounding where gradients are tiny


def test_parts_of_like_length_give_the_same_training(tmp_path: Path) -> None:
    """A batch at once, or cut wherever lengths differ; and the plan's sizes are those of what was computed."""
    states = []
    for cost in (10**6, 1):
        examples, tuned, shown = replace(toy_examples(), one_more=cost), make_tuned(), []
        forward = tuned.model.forward

        def noted(*args, _forward=forward, _tuned=tuned, _shown=shown, **kwargs):
            if _tuned.model.training:
                _shown.append(kwargs["input_ids"].numel())
            return _forward(*args, **kwargs)

        tuned.model.forward = noted
        train_toy(tuned, tmp_path / str(cost), CONFIG.model_copy(update={"epochs": 1}), examples=examples)
        planned = _sizes(examples.lengths, _Steps(8, 8, 0, cost, True), 8)
        assert shown == [size for step in planned for size in step]
        states.append((len(shown), tuned.state()))
    (whole, expected), (cut, found) = states
    assert (whole, cut > 20) == (8, True)
    for name, tensor in expected.items():
        torch.testing.assert_close(tensor, found[name], rtol=1e-3, atol=1e-4)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(tmp_path: Path) -> None:
    """A model that cannot hold more than 3 rows ends like one trained with micro-batches of 3."""
    tuned, small = make_tuned(), make_tuned()
    config = CONFIG.model_copy(update={"epochs": 1, "batch_size": 12})
    forward, calls = tuned.model.forward, []

    def tight(*args, **kwargs):
        if tuned.model.training:
            calls.append(len(kwargs["input_ids"]))
            if len(kwargs["input_ids"]) > 3:
                raise MemoryError
        return forward(*args, **kwargs)

    tuned.model.forward = tight
    whole = replace(toy_examples(), one_more=None)
    found = train_toy(tuned, tmp_path / "tight", config, examples=whole)
    assert calls == [12, 6] + [3] * 20  # 5 steps of 12 rows
    assert found.micro_batch_size == 3
    assert [note for note in found.notes if "the micro-batch is 3 rows" in note]
    train_toy(small, tmp_path / "small", config.model_copy(update={"micro_batch_size": 3}), examples=whole)
    assert all(torch.equal(t, small.state()[n]) for n, t in tuned.state().items())


def test_out_of_memory_makes_parts_smaller(tmp_path: Path) -> None:
    """A model that cannot hold more than 40 tokens, where rows of like length go together: each retry cuts
    otherwise, and the end is that of a run told to."""
    config = CONFIG.model_copy(update={"epochs": 1, "batch_size": 12})
    examples, tuned, told = replace(toy_examples(), one_more=20), make_tuned(), make_tuned()
    forward, refused = tuned.model.forward, []

    def tight(*args, **kwargs):
        if tuned.model.training and kwargs["input_ids"].numel() > 40:
            refused.append(kwargs["input_ids"].numel())
            raise MemoryError
        return forward(*args, **kwargs)

    tuned.model.forward = tight
    found = train_toy(tuned, tmp_path / "tight", config, examples=examples)
    assert found.micro_batch_size == 3
    assert 0 < len(refused) <= 2
    same = config.model_copy(update={"micro_batch_size": 3})
    train_toy(told, tmp_path / "told", same, examples=examples)
    for name, tensor in tuned.state().items():  # (steps before the first refusal were cut otherwise)
        torch.testing.assert_close(tensor, told.state()[name], rtol=1e-3, atol=1e-4)


def test_memory_out_with_one_row_says_what_to_do(tmp_path: Path) -> None:
    tuned = make_tuned()

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    tuned.model.forward = full
    with pytest.raises(TrainingError, match=r"even with one row at a time.*max_length"):
        train_toy(tuned, tmp_path, CONFIG)


def test_a_loss_that_is_not_finite_stops_with_step_and_causes(tmp_path: Path) -> None:
    seen = 0

    def objective(logits, labels):
        nonlocal seen
        seen += 1
        total, count = cross_entropy(logits, labels)
        return (total * float("nan") if seen == 3 else total), count

    with pytest.raises(
        NotFiniteError, match=r"the loss is nan at step 3 of 24 .*learning rate is too high.*no warm-up"
    ):
        train_toy(make_tuned(), tmp_path, CONFIG, objective=objective)


def test_early_stopping_keeps_the_best_state(tmp_path: Path) -> None:
    """Scores 0.1, 0.5, then worse: with patience 2 it stops after 4 evaluations, in the state of the 2nd."""
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    tuned, states = make_tuned(), []

    def judge():
        states.append({n: t.clone() for n, t in tuned.state().items()})
        return {"accuracy": next(scores), "loss": 1.0}, "accuracy"

    config = CONFIG.model_copy(update={"patience": 2, "evaluations_per_epoch": 2})
    found = train_toy(tuned, tmp_path, config, judge=judge)
    assert (found.steps, found.best_step, found.best["accuracy"]) == (16, 8, 0.5)
    assert all(torch.equal(t, states[1][n]) for n, t in tuned.state().items())
    assert "stopped early" in found.notes[-1]


def test_a_tie_goes_to_the_lower_loss(tmp_path: Path) -> None:
    answers = iter([(0.5, 1.0), (0.5, 0.8), (0.5, 0.9)])

    def judge():
        score, loss = next(answers)
        return {"accuracy": score, "loss": loss}, "accuracy"

    assert train_toy(make_tuned(), tmp_path, CONFIG, judge=judge).best_step == 16


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_schedules_equal_those_of_transformers(name: str) -> None:
    """Ours is theirs one step on: theirs begins with a step of rate 0, which trains nothing."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    kind = {"constant": "constant_with_warmup"}.get(name, name)
    theirs = transformers.get_scheduler(kind, optimizer, num_warmup_steps=10, num_training_steps=100)
    config = TrainConfig(schedule=name, warmup_ratio=0.1)
    for step in range(100):
        expected = theirs.get_last_lr()[0]
        if step >= 10:
            assert rate(step, 100, config) == pytest.approx(expected, abs=1e-12)
        else:
            assert rate(step, 100, config) == pytest.approx(expected + 0.1, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_wsd_is_flat_then_falls_over_the_last_share() -> None:
    """100 steps, warm-up 10, decay 20: step 79 still at the peak; step 80 + k at (20 - k) / 20."""
    config = TrainConfig(schedule="wsd", warmup_ratio=0.1, decay_ratio=0.2)
    values = [rate(s, 100, config) for s in range(100)]
    assert values[9:81] == [1.0] * 72
    assert values[80:] == pytest.approx([(20 - k) / 20 for k in range(20)])


def test_evaluations_fall_evenly_and_on_the_last_step() -> None:
    assert _evaluation_steps(24, 8, 1) == {8, 16, 24}
    assert _evaluation_steps(24, 8, 2) == {4, 8, 12, 16, 20, 24}
    assert _evaluation_steps(5, 8, 1) == {5}  # less than an epoch
    assert _evaluation_steps(20, 8, 1) == {8, 16, 20}
    assert max(_evaluation_steps(3, 2, 7)) == 3


def test_one_step_equals_torch_written_out(tmp_path: Path) -> None:
    """One batch of all rows, weight decay on matrices only, clipped to norm 1: the same as plain torch."""
    config = TrainConfig(epochs=1, batch_size=60, warmup_ratio=0, weight_decay=0.1, schedule="constant")
    tuned = make_tuned()
    train_toy(tuned, tmp_path, config, learning_rate=0.01)

    model = make_model("bert").train()
    examples = toy_examples()
    inputs, labels = examples.batch(np.arange(60), "cpu")
    torch.nn.functional.cross_entropy(model(**inputs).logits, labels).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.01
    ).step()
    for (name, expected), found in zip(model.named_parameters(), tuned.model.parameters(), strict=True):
        # Adam's first step has the size of the rate whatever the gradient's, so where a gradient is
        # rounding noise (keys' biases have none at all) its sign is, too.
        noisy = expected.grad is None or expected.grad.abs().max() < 1e-6
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0.021 if noisy else 1e-4, msg=name)


def test_metrics_hold_every_step_and_evaluation(tmp_path: Path) -> None:
    train_toy(make_tuned(), tmp_path, CONFIG)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in lines if e["kind"] == "step"] == list(range(1, 25))
    assert [e["step"] for e in lines if e["kind"] == "evaluation"] == [8, 16, 24]
    assert all(math.isfinite(e["loss"]) for e in lines if e["kind"] == "step")
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*")), "TensorBoard is always on"


def test_golden_curve(tmp_path: Path) -> None:
    """The first 20 losses as recorded: a change in the numbers must be meant.

    To renew it remove the file, run this test, which writes it and fails, and say why in the commit.
    """
    config = TrainConfig(epochs=2.5, batch_size=8, weight_decay=0.01)
    train_toy(make_tuned(), tmp_path, config)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [e["loss"] for e in lines if e["kind"] == "step"]
    assert len(losses) == 20
    golden = Path(__file__).parents[1] / "golden/loop.json"
    if not golden.exists():
        golden.write_text(json.dumps(losses, indent=0) + "\n")
        pytest.fail(f"{golden} was missing and has been written anew")
    # Another processor adds in another order; a wrong update shows in the first digits.
    assert losses == pytest.approx(json.loads(golden.read_text()), rel=1e-4)


def test_frozen_layers_are_in_evaluation_mode_while_training(tmp_path: Path) -> None:
    """The head's trunk has no dropout, so its features are the same at every step; `full` has dropout."""
    for method, expected in (("head", False), ("full", True)):
        tuned = make_tuned(method, dropout=0.5)
        modes: set[bool] = set()
        layer = tuned.model.base_model.encoder.layer[0]
        layer.register_forward_hook(
            lambda module, *_, modes=modes, t=tuned: modes.add(module.training) if t.model.training else None
        )
        train_toy(tuned, tmp_path / method, TrainConfig(epochs=1, batch_size=8))
        assert modes == {expected}


def test_predictions_are_in_the_order_of_the_rows() -> None:
    tuned, examples = make_tuned(), toy_examples()
    together = predict_logits(tuned.model, examples, FLOAT32)
    for i in (0, 7, 59):
        inputs, _ = examples.batch(np.array([i]), "cpu")
        with torch.no_grad():
            alone = tuned.model(**inputs).logits.numpy()[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-5)


def test_the_loop_names_no_method_no_task_and_no_lever() -> None:
    from tunelab.methods import METHODS
    from tunelab.tasks import TASKS

    tree = ast.parse(Path(train.__code__.co_filename).read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    words |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {node.arg for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.keyword))}
    for module, names in imported(tree):
        words |= {*module.split("."), *names}
    assert not (set(METHODS) | set(TASKS) | lever_names()) & words


def imported(tree: ast.Module) -> list[tuple[str, set[str]]]:
    """Modules that a file imports from, each with the names that it takes."""
    nodes = list(ast.walk(tree))
    plain = [(a.name, set()) for node in nodes if isinstance(node, ast.Import) for a in node.names]
    taken = [
        (n.module, {a.name for a in n.names}) for n in nodes if isinstance(n, ast.ImportFrom) and n.module
    ]
    return [*plain, *taken]


def lever_names() -> set[str]:
    """The levers' settings, their files in `train/`, and what `levers.py` takes from those."""
    path = Path(levers.__file__)
    files = {
        module.removeprefix("tunelab.train."): names
        for module, names in imported(ast.parse(path.read_text()))
        if module.startswith("tunelab.train.") and module != "tunelab.train.precision"  # (which is no lever)
    }
    settings = set(SpeedConfig.model_fields)
    assert len(files) == len(settings), "each lever is switched by one setting"
    return {"levers", *settings, *files, *set().union(*files.values())}
