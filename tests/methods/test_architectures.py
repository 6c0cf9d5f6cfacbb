"""Every method on every architecture: it attaches, moves what it says, stays finite, saves and loads, and a
row's answer does not depend on padding."""

from pathlib import Path

import pytest
import torch
from cases import CASES, Case, attach, inputs, logits, snapshot, train
from models_zoo import ARCHITECTURES, make_batch, make_model
from torch import Tensor

from tunelab.errors import ConfigError
from tunelab.methods import METHODS
from tunelab.methods.structure import find_structure

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
everywhere = pytest.mark.parametrize("architecture", ARCHITECTURES)
LENGTHS = [12, 3, 7, 5]


@everywhere
@every
def test_method_on_architecture(case: Case, architecture: str, tmp_path: Path) -> None:
    if case.kind.name == "prefix" and architecture == "deberta-v2":
        with pytest.raises(ConfigError, match="attention interface"):
            attach(case, architecture)
        return
    batch = make_batch(lengths=LENGTHS)
    base = logits(make_model(architecture), batch)
    tuned = attach(case, architecture)
    start = logits(tuned.model, batch)
    if case.kind.changes_at_start is None:
        torch.testing.assert_close(start, base, atol=1e-5, rtol=0)

    own, before = set(tuned.state()), snapshot(tuned.model.state_dict())
    head = {
        name
        for name in own
        if any(part in name for part in find_structure(make_model(architecture)).head_modules())
    }
    losses = train(case, tuned, 3, batch=batch)
    after = tuned.model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert head
    assert head <= moved <= own
    assert all(torch.tensor(losses).isfinite())

    tuned.model.eval()
    together = logits(tuned.model, batch)
    assert together.isfinite().all()
    assert (together - start).abs().max() > 1e-4
    _check_padding(tuned.model, batch, together)

    tuned.save(tmp_path)
    if case.kind.weights == "transformers":
        model = type(make_model(architecture)).from_pretrained(tmp_path)
    else:
        model = make_model(architecture)
    restored = case.make().restore(model, tmp_path)
    restored.model.eval()
    torch.testing.assert_close(logits(restored.model, batch), together, atol=1e-6, rtol=0)
    if case.kind.no_merge is None:
        torch.testing.assert_close(logits(tuned.merge().eval(), batch), together, atol=1e-5, rtol=0)


def _check_padding(model: torch.nn.Module, batch: dict[str, Tensor], together: Tensor) -> None:
    for row, length in enumerate(LENGTHS):
        alone = {name: batch[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")}
        torch.testing.assert_close(logits(model, alone), together[row : row + 1], atol=1e-5, rtol=0)
    longer = {name: torch.nn.functional.pad(batch[name], (0, 5)) for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(logits(model, longer), together, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------- structure

HEADS = {
    "bert": ["classifier", "bert.pooler"],
    "roberta": ["classifier"],
    "distilbert": ["pre_classifier", "classifier"],
    "deberta-v2": ["pooler", "classifier"],
    "electra": ["classifier"],
    "modernbert": ["head", "classifier"],
    "xlm-r": ["classifier"],
    "gpt2": ["score"],
    "llama": ["score"],
    "qwen2": ["score"],
    "qwen3": ["score"],
}


@everywhere
def test_structure_finds_the_parts(architecture: str) -> None:
    model = make_model(architecture)
    structure = find_structure(model)
    assert structure.head_modules() == HEADS[architecture]
    assert structure.depth == 2
    levels = structure.levels()
    assert levels.keys() == dict(model.named_parameters()).keys()
    assert {levels[n] for n in levels if n.startswith(tuple(HEADS[architecture]))} == {3}
    assert {level for name, level in levels.items() if "embed" in name or "wte" in name or "wpe" in name} == {
        0
    }
    final_norms = {n for n, level in levels.items() if level == 2 and not n.startswith(structure.layers_name)}
    assert bool(final_norms) == (architecture in {"modernbert", "gpt2", "llama", "qwen2", "qwen3"})
    assert all("norm" in name or "ln_f" in name for name in final_norms)
    for layer in structure.layers:
        assert bool(layer.fused) == (architecture in {"modernbert", "gpt2"})
        assert bool(layer.fused) != bool(layer.query and layer.key and layer.value)
        assert layer.attention_output.split(".")[-1] in {"dense", "out_lin", "Wo", "c_proj", "o_proj"}
        assert layer.feedforward_output != layer.attention_output
    absolute = {"bert", "roberta", "distilbert", "electra", "xlm-r", "gpt2"}
    assert (structure.position_table() is not None) == (architecture in absolute)


def test_the_probe_leaves_no_trace() -> None:
    model = make_model("llama")
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before, random = snapshot(model.state_dict()), torch.random.get_rng_state()
    find_structure(model).levels()
    assert all(module.training for module in model.modules())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"deberta-v2"}))
def test_prefix_reads_the_same_with_either_attention(architecture: str, attention: str) -> None:
    """Also without padding, where transformers leaves the mask away."""
    settings = {"num_virtual_tokens": 5}
    for lengths in ([6, 6], [6, 3], [1, 1]):
        batch = make_batch(lengths=lengths)
        outputs = []
        for implementation in ("sdpa", attention):
            model = make_model(architecture, attention=implementation)
            torch.manual_seed(1)
            outputs.append(logits(METHODS["prefix"].make(settings).attach(model).model, batch))
        torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)


# ------------------------------------------------------------------------ other heads than classification


@pytest.mark.parametrize(
    "name", ["full", "head", "lora", "adalora", "ia3", "prompt", "p_tuning", "prefix", "adapter"]
)
@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("bert", "TokenClassification"),
        ("modernbert", "TokenClassification"),
        ("gpt2", "CausalLM"),
        ("llama", "CausalLM"),
    ],
)
def test_token_level_logits_have_the_texts_length(
    name: str, architecture: str, task: str, tmp_path: Path
) -> None:
    if name == "head" and task == "CausalLM":
        return  # a language model has no head of its own to train
    batch = make_batch(lengths=[9, 4])
    model = make_model(architecture, task=task)
    torch.manual_seed(1)
    tuned = METHODS[name]().attach(model)
    tuned.model.eval()
    out = tuned.model(**inputs(batch)).logits
    assert out.shape[:2] == (2, 9)
    out[batch["attention_mask"].bool()].square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in tuned.model.parameters())
    alone = {key: batch[key][1:, :4] for key in ("input_ids", "attention_mask")}
    torch.testing.assert_close(logits(tuned.model, alone), out[1:, :4].detach(), atol=1e-4, rtol=1e-4)
    tuned.save(tmp_path)
    if METHODS[name].weights != "transformers":
        restored = METHODS[name]().restore(make_model(architecture, task=task), tmp_path)
        restored.model.eval()
        torch.testing.assert_close(logits(restored.model, batch), out.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("Phi3", "prefix"),
        ("Phi3", "prompt"),
        ("GPTBigCode", "prefix"),
        ("BigBird", "prompt"),
        ("BigBird", "p_tuning"),
    ],
)
def test_fewer_keys_in_one_projection_and_poolers_of_one_token(kind: str, method: str) -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    own = {
        "Phi3": {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2},
        "GPTBigCode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48},
        "BigBird": {"attention_type": "original_full"},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        **{**shape, **own}, vocab_size=64, pad_token_id=0, num_labels=3
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    tuned = METHODS[method].make({}).attach(model)
    batch = make_batch(lengths=LENGTHS)
    tuned.model.eval()
    together = logits(tuned.model, batch)
    assert together.isfinite().all()
    _check_padding(tuned.model, batch, together)
    tuned.model(**batch).loss.backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in tuned.state().values() if p.requires_grad
    )
