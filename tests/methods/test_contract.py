"""Every method keeps the contract: one table (cases.py), one test a property, on a tiny BERT and a tiny Llama."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Case, attach, base_tensors, inputs, logits, optimizer_of, snapshot, train
from models_zoo import make_batch, make_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from tunelab.errors import CannotMerge, ConfigError
from tunelab.methods import METHODS, find
from tunelab.methods.base import Tuned

ARCHITECTURES = ["bert", "llama"]
#: PEFT 0.21 reads an attribute that transformers 5.23 has renamed; tunelab silences it around its own calls.
peft_warning = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

both = pytest.mark.parametrize("architecture", ARCHITECTURES)
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_table_has_every_method() -> None:
    assert {case.kind.name for case in CASES} == set(METHODS)
    assert all(METHODS[name].name == name for name in METHODS)


@every
def test_describes_itself(case: Case) -> None:
    kind = case.kind
    module = sys.modules[kind.__module__]
    assert kind.summary
    assert "arXiv:" in kind.paper
    assert "Learning rate:" in (module.__doc__ or "")
    assert "Trains" in (module.__doc__ or "")
    assert all(f.description for f in kind.Settings.model_fields.values())


@pytest.mark.parametrize("name", METHODS)
def test_learning_rates_are_a_range_with_its_reason(name: str) -> None:
    """The default lies inside; one to two orders of magnitude; the docstring says the same numbers and why."""
    kind = METHODS[name]
    low, high = kind.learning_rates
    assert low < kind.learning_rate < high
    assert 10 <= high / low <= 100.001
    text = sys.modules[kind.__module__].__doc__ or ""
    found = re.search(r"^Search: (\S+) to (\S+); (.+)", text, re.MULTILINE | re.DOTALL)
    assert found, "no line 'Search: LOW to HIGH; reason or source'"
    assert (float(found[1]), float(found[2])) == (low, high)
    assert len(found[3].split()) >= 5, "no reason"


@both
@every
def test_step_0_equals_the_base(case: Case, architecture: str) -> None:
    batch = make_batch()
    expected = logits(make_model(architecture), batch)
    got = logits(attach(case, architecture).model, batch)
    if case.kind.changes_at_start is None:
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    else:
        assert (got - expected).abs().max() > 1e-4


@both
@every
def test_only_its_own_parameters_move(case: Case, architecture: str) -> None:
    pretrained = make_model(architecture).state_dict()
    tuned = attach(case, architecture)
    own = set(tuned.state())
    before = snapshot(tuned.model.state_dict())
    for name, tensor in base_tensors(tuned.model).items():
        if name in pretrained:
            assert torch.equal(tensor, pretrained[name]), f"attaching changed {name}"
    train(case, tuned, 3)
    after = tuned.model.state_dict()
    assert before.keys() == after.keys()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved <= own
    # AdaLoRA gives up whole matrices: their singular values are back at zero.
    assert all(".lora_E." in name and not after[name].any() for name in own - moved)


@both
@every
def test_loss_falls_on_one_batch(case: Case, architecture: str) -> None:
    losses = train(case, attach(case, architecture), 20)
    assert losses[-1] < losses[0] - 0.01
    assert min(losses) >= losses[-1] - 0.05, "it rises again"


@both
@every
def test_trained_count_is_the_formula(case: Case, architecture: str) -> None:
    tuned = attach(case, architecture)
    groups = tuned.param_groups(1e-3, 0.01)
    in_groups = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in in_groups}) == len(in_groups)
    assert sum(p.numel() for p in in_groups) == case.count(architecture)
    assert sum(t.numel() for t in tuned.state().values()) == case.count(architecture)
    assert all(g["weight_decay"] in (0.0, 0.01) for g in groups)
    undecayed = [p for g in groups if g["weight_decay"] == 0.0 for p in g["params"]]
    assert all(p.ndim == 1 or min(p.shape) == 1 for p in undecayed)


@both
@every
def test_finite_in_bfloat16(case: Case, architecture: str) -> None:
    tuned, batch = attach(case, architecture), make_batch()
    tuned.on_progress(1, 1) if case.kind.name == "gradual" else tuned.on_progress(0, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = tuned.model(**inputs(batch)).logits
    cross_entropy(out.float(), batch["labels"]).backward()
    assert out.isfinite().all()
    gradients = [p.grad for p in tuned.model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


@both
@every
def test_two_runs_are_bitwise_equal(case: Case, architecture: str) -> None:
    def run() -> dict[str, Tensor]:
        settings = {**case.settings, "dropout": 0.1} if "dropout" in case.settings else case.settings
        tuned = attach(Case(case.name, 0, 0, settings, case.kind.name), architecture, seed=7, dropout=0.1)
        tuned.model.train()
        train(case, tuned, 3)
        return snapshot(tuned.state())

    first, second = run(), run()
    assert all(torch.equal(first[name], second[name]) for name in first)


@both
@every
def test_micro_batches_give_the_same_gradient(case: Case, architecture: str) -> None:
    batch = make_batch(rows=4)

    def gradients(rows_at_once: int) -> dict[str, Tensor]:
        tuned = attach(case, architecture)
        tuned.on_progress(0, 4)
        for first in range(0, 4, rows_at_once):
            part = {name: tensor[first : first + rows_at_once] for name, tensor in batch.items()}
            longest = int(
                part["attention_mask"].sum(1).max()
            )  # each micro-batch is padded to its own longest
            out = tuned.model(**{name: t[:, :longest] for name, t in inputs(part).items()}).logits
            cross_entropy(out, part["labels"], reduction="sum").backward()
        return {n: p.grad / 4 for n, p in tuned.model.named_parameters() if p.grad is not None}

    whole, parts = gradients(4), gradients(1)
    assert whole.keys() == parts.keys()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-5, rtol=1e-5)


@both
@every
def test_a_row_does_not_depend_on_the_rest_of_its_batch(case: Case, architecture: str) -> None:
    tuned = attach(case, architecture)
    train(case, tuned, 3)
    tuned.model.eval()
    batch = make_batch(lengths=[12, 3, 7, 5], seed=3)
    together = logits(tuned.model, batch)
    for row, length in enumerate([12, 3, 7, 5]):
        alone = {name: batch[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")}
        torch.testing.assert_close(logits(tuned.model, alone), together[row : row + 1], atol=1e-5, rtol=0)


@both
@every
def test_goes_on_from_a_checkpoint_bitwise(case: Case, architecture: str) -> None:
    tuned = attach(case, architecture)
    optimizer = optimizer_of(case, tuned)
    train(case, tuned, 2, total=6, optimizer=optimizer)
    state, moments = snapshot(tuned.state()), optimizer.state_dict()
    progress = {
        n: v.clone() if isinstance(v, Tensor) else json.dumps(v) for n, v in tuned.progress_state().items()
    }
    moments = {
        "state": {k: snapshot(v) for k, v in moments["state"].items()},
        "param_groups": moments["param_groups"],
    }
    train(case, tuned, 4, total=6, done=2, optimizer=optimizer)

    resumed = attach(case, architecture, seed=99)
    optimizer = optimizer_of(case, resumed)
    resumed.on_progress(0, 6)
    resumed.load_state(state)
    optimizer.load_state_dict(moments)
    resumed.on_progress(2, 6)
    resumed.load_progress_state(
        {n: v if isinstance(v, Tensor) else json.loads(v) for n, v in progress.items()}
    )
    train(case, resumed, 4, total=6, done=2, optimizer=optimizer)
    for name, tensor in tuned.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name


@both
@every
def test_merge_equals_unmerged_or_says_why_not(case: Case, architecture: str) -> None:
    tuned, batch = attach(case, architecture), make_batch()
    train(case, tuned, 3)
    tuned.model.eval()
    before = logits(tuned.model, batch)
    if case.kind.no_merge is not None:
        with pytest.raises(CannotMerge, match=case.kind.no_merge[:20]):
            tuned.merge()
        return
    merged = tuned.merge().eval()
    plain = make_model(architecture)
    assert type(merged) is type(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(logits(merged, batch), before, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------- save and load

FRESH = """
import json, sys
import tunelab.methods
assert "peft" not in sys.modules, "importing the methods imports peft"
from pathlib import Path
import transformers
from cases import CASES, logits
from models_zoo import make_batch, make_model
from safetensors.torch import save_file
for case in CASES:
    for architecture in ("bert", "llama"):
        folder = Path(sys.argv[1]) / f"{case.name}-{architecture}"
        if case.kind.weights == "transformers":
            model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        else:
            model = make_model(architecture)
        tuned = case.make().restore(model, folder)
        tuned.model.eval()
        save_file({"logits": logits(tuned.model, make_batch())}, folder / "fresh.safetensors")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained, saved, and loaded again by one fresh process, which notes its outputs."""
    root = tmp_path_factory.mktemp("saved")
    for case in CASES:
        for architecture in ARCHITECTURES:
            tuned = attach(case, architecture)
            train(case, tuned, 6)
            tuned.model.eval()
            tuned.save(root / f"{case.name}-{architecture}")
            out = {"logits": logits(tuned.model, make_batch())}
            save_file(out, root / f"{case.name}-{architecture}.safetensors")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    environment = {"PYTHONPATH": ":".join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(root)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def _saved_logits(saved: Path, case: Case, architecture: str) -> Tensor:
    return load_file(saved / f"{case.name}-{architecture}.safetensors")["logits"]


@both
@every
def test_loads_in_a_fresh_process(case: Case, architecture: str, saved: Path) -> None:
    fresh = load_file(saved / f"{case.name}-{architecture}" / "fresh.safetensors")["logits"]
    torch.testing.assert_close(fresh, _saved_logits(saved, case, architecture), atol=1e-6, rtol=0)


@both
@every
def test_writes_the_files_it_says(case: Case, architecture: str, saved: Path) -> None:
    names = {p.name for p in (saved / f"{case.name}-{architecture}").iterdir()} - {"fresh.safetensors"}
    if case.kind.weights == "transformers":
        assert names == {"config.json", "model.safetensors"}
    else:
        assert names == {"adapter_config.json", "adapter_model.safetensors"}
        folder = saved / f"{case.name}-{architecture}"
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["peft_type"]
        assert config["task_type"] == "SEQ_CLS"
        tensors = load_file(folder / "adapter_model.safetensors")
        assert all(name.startswith("base_model.model.") for name in tensors)


@peft_warning
@both
@every
def test_loads_with_the_library_it_names(case: Case, architecture: str, saved: Path) -> None:
    folder = saved / f"{case.name}-{architecture}"
    if case.kind.weights == "adapter":
        assert "TUNELAB" in (folder / "adapter_config.json").read_text()  # PEFT refuses it by its kind
        return
    model: Any
    if case.kind.weights == "peft":
        import peft

        model = peft.PeftModel.from_pretrained(make_model(architecture), str(folder))
    else:
        import transformers

        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    got = logits(model.eval(), make_batch())
    torch.testing.assert_close(got, _saved_logits(saved, case, architecture), atol=1e-6, rtol=0)


def test_same_training_writes_the_same_bytes(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "lora")
    for name in ("a", "b"):
        tuned = attach(case, "bert")
        train(case, tuned, 2)
        tuned.save(tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("name", ["lora", "dora", "rslora", "adalora"])
def test_an_unmatched_target_raises(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}.targets'.*'querry'.*did you mean 'query'"):
        METHODS[name].make({"targets": ["querry", "value"]}).attach(make_model("bert"))
    with pytest.raises(ConfigError, match="did you mean 'query_value'"):
        METHODS[name].make({"targets": "query_valu"}).attach(make_model("bert"))
    with pytest.raises(ConfigError, match="is empty"):
        METHODS[name].make({"targets": []}).attach(make_model("bert"))


def test_unknown_method_names_the_nearest() -> None:
    assert find("lora") is METHODS["lora"]
    with pytest.raises(ConfigError, match="unknown method 'lorra'; did you mean 'lora'"):
        find("lorra")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lora", {"rnk": 4}, "unknown setting 'lora.rnk'; did you mean 'rank'"),
        ("lora", {"rank": 0}, "greater than or equal to 1"),
        ("adalora", {"init_rank": 4, "target_rank": 4}, "must be below init_rank"),
        ("adapter", {"placement": "pfeifer"}, "'houlsby', 'pfeiffer' or 'parallel'"),
        ("gradual", {"until": 0}, "greater than 0"),
        ("head", {"layers": 1}, "unknown setting 'head.layers'"),
    ],
)
def test_a_wrong_setting_raises(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        METHODS[name].make(settings)


@pytest.mark.parametrize(
    ("name", "settings", "architecture", "message"),
    [
        ("top_layers", {"layers": 3}, "bert", "has 2 layers; give 1 to 2"),
        ("bitfit", {"norm_scales": "never"}, "llama", "no bias terms.*bitfit.norm_scales=auto"),
        ("prompt", {"num_virtual_tokens": 64}, "bert", "'prompt.num_virtual_tokens' is 64.*has 64 positions"),
        ("prompt", {"num_virtual_tokens": 63}, "roberta", "has 63 positions"),
        ("prefix", {"num_virtual_tokens": 64}, "llama", "reads at most 64 tokens"),
        ("prefix", {}, "deberta-v2", "attention interface.*prompt and p_tuning work"),
    ],
)
def test_what_a_model_cannot_do_raises(
    name: str, settings: dict[str, Any], architecture: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        METHODS[name].make(settings).attach(make_model(architecture))


def test_an_adapter_of_another_kind_or_model_raises(tmp_path: Path) -> None:
    from tunelab.errors import BundleError

    for name in ("lora", "prompt", "prefix", "adapter"):
        folder = tmp_path / name
        METHODS[name]().attach(make_model("bert")).save(folder)
        with pytest.raises(BundleError):
            METHODS[name]().restore(make_model("llama"), folder)
        with pytest.raises(BundleError, match="kind"):
            METHODS["ia3"]().restore(make_model("bert"), folder)
        (folder / "adapter_model.safetensors").write_bytes(b"damaged")
        with pytest.raises(BundleError, match="cannot be read"):
            METHODS[name]().restore(make_model("bert"), folder)


def test_tuned_is_what_the_loop_expects() -> None:
    for case in CASES:
        tuned = attach(case, "bert")
        assert isinstance(tuned, Tuned)
        tuned.on_progress(0, 10)
        assert all(not p.requires_grad for m in tuned.frozen_modules() for p in m.parameters())
        assert (tuned.frozen_depth == 0) == (tuned.frozen_modules() == [])
