"""Attention by blocks equals transformers' eager attention: outputs, gradients, every architecture and mask."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from models_zoo import ARCHITECTURES, PAD, VOCABULARY, make_batch, make_model
from torch import Tensor, nn
from toys import FLOAT32, toy_examples
from transformers.models.llama.modeling_llama import eager_attention_forward

from tunelab import methods
from tunelab.config import SpeedConfig
from tunelab.train import attention
from tunelab.train.attention import NAME, NEVER, attend, crossover, register, supports
from tunelab.train.dropout import fast_dropout, share
from tunelab.train.levers import faster

REACHED = [name for name in ARCHITECTURES if name != "deberta-v2"]
FIXED = {(d, k): NEVER for d in (torch.float32, torch.bfloat16) for k in ("train", "predict")}

ONLY_ATTENTION = SpeedConfig(**{**dict.fromkeys(SpeedConfig.model_fields, False), "attention": True})
LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
SCORES: dict[str, Any] = {
    "Gemma2": {**LAYERS, "attn_logit_softcapping": 2.0},
    "GptOss": {
        **LAYERS,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_crossovers", {})
    register(FIXED)  # type: ignore[arg-type]


class Layer(nn.Module):
    """What an attention function asks of a model's layer."""

    num_key_value_groups = 2
    is_causal = False


def heads(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """Query, key and value of the shape [B, H, h, T, S, d], the layout that a projection's output has."""
    rows, query_heads, key_heads, queries, keys, size = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = [(queries, query_heads), (keys, key_heads), (keys, key_heads)]
    made = [torch.randn(rows, n, h, size, generator=generator).transpose(1, 2) for n, h in sizes]
    return [x.to(dtype).requires_grad_() for x in made]


def both_passes(function: Any, tensors: list[Tensor], mask: Tensor | None, p: float = 0.0) -> list[Tensor]:
    """Output and gradients; the weights of the sum are the same at each call."""
    output, _ = function(Layer().train(), *tensors, mask, scaling=0.3, dropout=p)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(9)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), tensors)]


def padding(rows: int, queries: int, keys: int, *, left: bool = False) -> Tensor:
    """[B, 1, T, S]: row i sees all but i of the keys."""
    seen = torch.arange(keys)[None] < keys - torch.arange(rows)[:, None]
    return (seen.flip(1) if left else seen)[:, None, None].expand(rows, 1, queries, keys)


@pytest.mark.parametrize("architecture", REACHED)
def test_every_architecture_is_as_with_eager(architecture: str) -> None:
    batch = make_batch(lengths=[12, 3, 7, 12])
    found = []
    for implementation in ("eager", NAME):
        model = make_model(architecture, attention=implementation).train()
        assert supports(model)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        (logits * torch.arange(1.0, 4)).sum().backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    for expected, got in zip(*found, strict=True):
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(got, expected, atol=2e-6 * scale, rtol=0)


def test_deberta_computes_its_own() -> None:
    assert not supports(make_model("deberta-v2"))


def capped_or_with_sinks(name: str) -> Any:
    """A tiny Gemma 2, whose scores are capped (low enough to show), or GPT-OSS, with a sink for each head."""
    shape = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "hidden_size": 32, "head_dim": 8}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape |= {"intermediate_size": 48, "max_position_embeddings": 64, "num_labels": 3, "sliding_window": 4}
    config = getattr(transformers, f"{name}Config")(**shape, **SCORES[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # the sinks among them
                parameter.data.add_(0.5 * torch.randn_like(parameter))
            else:
                parameter.data.mul_(4.0)
    return model.train()


def step_of(model: Any) -> list[Tensor]:
    """Loss and gradients of a batch."""
    loss = model(**make_batch(lengths=[12, 3, 7, 12])).loss
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)]


@pytest.mark.parametrize("name", ["Gemma2", "GptOss"])
def test_scores_that_are_more_than_products_are_the_models_own(name: str) -> None:
    """Bit by bit what it computes untouched: the lever leaves it alone, and our attention hands it back."""
    model = capped_or_with_sinks(name)
    assert model.config._attn_implementation == "eager"
    untouched = step_of(model)
    rows = toy_examples(4)
    tuned = methods.find("full").make({}).attach(model)
    with faster(tuned, rows, rows, rows, ONLY_ATTENTION, FLOAT32, None, "") as fast:
        with_lever = step_of(model)
    assert fast.told == {"attention": False}
    model.set_attn_implementation(NAME)
    for found in (with_lever, step_of(model)):
        assert all(torch.equal(one, other) for one, other in zip(found, untouched, strict=True))


@pytest.mark.parametrize("block", [1, 1200, 2**20])
@pytest.mark.parametrize(
    "shape", [(3, 4, 4, 7, 7, 8), (3, 4, 2, 7, 7, 8), (3, 4, 2, 5, 9, 8), (1, 2, 1, 1, 6, 4)]
)
@pytest.mark.parametrize("kind", ["none", "right", "left", "causal", "additive"])
def test_shapes_and_masks(
    block: int, shape: tuple[int, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped heads, more keys than queries (a prefix), blocks of one head, of some and of all."""
    monkeypatch.setattr(attention, "_BLOCK", block)
    rows, query_heads, key_heads, queries, keys, _ = shape
    mask = {
        "none": None,
        "right": padding(rows, queries, keys),
        "left": padding(rows, queries, keys, left=True),
        "causal": torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)[None, None],
        "additive": torch.randn(rows, 1, queries, keys),
    }[kind]
    tensors = heads(*shape)
    monkeypatch.setattr(Layer, "num_key_value_groups", query_heads // key_heads)
    additive = mask if mask is None or mask.dtype != torch.bool else torch.where(mask, 0.0, -1e30)
    expected = both_passes(eager_attention_forward, tensors, additive)
    for got, wanted in zip(both_passes(attend, tensors, mask), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)


def test_causal_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layer, "is_causal", True)
    tensors = heads(2, 4, 2, 6, 6, 8)
    low = torch.full((6, 6), -1e30).triu(1)[None, None]
    expected = both_passes(eager_attention_forward, tensors, low)
    for got, wanted in zip(both_passes(attend, tensors, None), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("tokens", [24, 96])
def test_bfloat16_is_at_least_as_exact_as_eager(tokens: int) -> None:
    """Against the same bfloat16 inputs computed in float64; both round the probabilities and the output."""
    low = heads(4, 4, 2, tokens, tokens, 32, dtype=torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in low]
    mask = torch.where(padding(4, tokens, tokens), 0.0, -1e30)
    truth = both_passes(eager_attention_forward, exact, mask.double())
    eager = both_passes(eager_attention_forward, low, mask.bfloat16())
    for got, theirs, wanted in zip(both_passes(attend, low, mask == 0), eager, truth, strict=True):
        assert float((got - wanted).norm()) <= 1.05 * float((theirs - wanted).norm())
        assert float((got - wanted).norm()) < 0.01 * float(wanted.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_that_of_the_probabilities(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask is read off with a value that names the keys; with it, P · mask · scale V and its gradients are
    written out. Computing the probabilities again gives the same bits as keeping them."""
    monkeypatch.setattr(attention, "_BLOCK", 800)
    tensors = heads(3, 4, 2, 8, 8, 8, dtype=dtype)
    names = torch.eye(8, dtype=dtype).expand(3, 2, 8, 8)
    bias, p, state = padding(3, 8, 8), 0.3, torch.get_rng_state()
    layer = Layer().train()
    with fast_dropout(layer):
        torch.set_rng_state(state)
        dropped = attend(layer, *tensors[:2], names, bias, scaling=0.3, dropout=p)[0].transpose(1, 2)
        torch.set_rng_state(state)
        kept = both_passes(attend, tensors, bias, p)
        monkeypatch.setattr(attention, "_KEPT", 0)
        torch.set_rng_state(state)
        again = both_passes(attend, tensors, bias, p)
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))

    def reference(module: nn.Module, *given: Any, scaling: float, dropout: float) -> tuple[Tensor, None]:
        query, key, value, mask = given
        key, value = (x.repeat_interleave(2, 1) for x in (key, value))
        low = torch.where(mask, 0.0, -1e30)
        weights = torch.softmax((query @ key.mT).float() * scaling + low, -1).to(query.dtype)
        mask = (dropped != 0).to(query.dtype).float() / (1 - share(dropout))
        return ((weights.float() * mask).to(query.dtype) @ value).transpose(1, 2), None

    share_of_seen = (dropped != 0).float().sum() / (bias.sum() * 4)
    assert abs(float(share_of_seen) - (1 - share(p))) < 0.1
    tolerance = 2e-6 if dtype == torch.float32 else 0.05
    for got, wanted in zip(kept, both_passes(reference, tensors, bias, p), strict=True):
        torch.testing.assert_close(got, wanted, atol=tolerance, rtol=tolerance)


def test_dropout_elsewhere_is_the_models_own() -> None:
    """Outside `fast_dropout` the layer's eager attention runs, bit for bit."""
    batch = make_batch()
    found = []
    for implementation in ("eager", NAME):
        model = make_model("bert", attention=implementation, dropout=0.2).train()
        torch.manual_seed(5)
        found.append(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits)
    assert torch.equal(*found)


def test_weights_where_they_are_asked_for() -> None:
    tensors, mask = heads(2, 4, 2, 6, 6, 8), padding(2, 6, 6)
    expected = eager_attention_forward(Layer(), *tensors, torch.where(mask, 0.0, -1e30), scaling=0.3)
    Layer.__module__, own = eager_attention_forward.__module__, Layer.__module__
    try:
        found = attend(Layer(), *tensors, mask, scaling=0.3, output_attentions=True)
    finally:
        Layer.__module__ = own
    torch.testing.assert_close(found, expected)
    assert attend(Layer(), *tensors, mask, scaling=0.3)[1] is None


def test_fused_kernel_from_the_crossover_on() -> None:
    tensors = heads(2, 4, 2, 70, 70, 8)
    plain = both_passes(attend, tensors, padding(2, 70, 70))
    register({(torch.float32, "train"): 70})
    fused = both_passes(attend, tensors, padding(2, 70, 70))
    for got, wanted in zip(fused, plain, strict=True):
        torch.testing.assert_close(got, wanted, atol=2e-6, rtol=1e-5)
    assert not torch.equal(fused[0], plain[0])


def test_crossover_stays_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path))
    monkeypatch.setattr(attention, "_crossovers", {})
    monkeypatch.setattr(attention, "_LENGTHS", (64, 128))
    state = torch.get_rng_state()
    first = crossover(torch.bfloat16, "predict")
    assert torch.equal(torch.get_rng_state(), state)
    (path,) = (tmp_path / "attention").iterdir()
    written = path.read_bytes()
    assert json.loads(written)["crossover"] == first
    attention._write_first(path, b"another process was later")
    assert path.read_bytes() == written
    path.write_text(json.dumps({"crossover": 77}))
    monkeypatch.setattr(attention, "_crossovers", {})
    monkeypatch.setattr(attention, "_measure", lambda *_: pytest.fail("measured again"))
    assert crossover(torch.bfloat16, "predict") == 77
    assert list(path.parent.iterdir()) == [path]


def test_saved_model_does_not_name_it(tmp_path: Path) -> None:
    model: Any = make_model("modernbert", attention=NAME)
    assert model.config._attn_implementation == NAME
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
