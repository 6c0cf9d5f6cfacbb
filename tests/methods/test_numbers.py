"""Each method against PEFT's implementation, or against numbers worked out by hand."""

from typing import Any

import pytest
import torch
from cases import CASES, attach, inputs, logits, optimizer_of, snapshot, train
from models_zoo import make_batch, make_model
from torch import Tensor, nn
from torch.nn.functional import gelu

from tunelab.errors import ConfigError
from tunelab.methods import METHODS
from tunelab.methods.base import Tuned

peft_warning = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
BY_NAME = {case.name: case for case in CASES}


def _named(tuned: Tuned, ending: str) -> nn.Parameter:
    return next(p for n, p in tuned.model.named_parameters() if n.endswith(ending))


def _copy(tuned: Tuned, ending: str, values: Tensor) -> None:
    with torch.no_grad():
        _named(tuned, ending).copy_(values)


# ------------------------------------------------------------------------------------ the selective methods


def test_layer_decay_by_hand() -> None:
    """L = 2, decay 0.5, rate 1: head 1, layer 1 (top) 1/2, layer 0 1/4, embeddings 1/8."""
    model = make_model("bert")
    tuned = METHODS["layer_decay"].make({"decay": 0.5}).attach(model)
    names = {id(p): n for n, p in model.named_parameters()}
    rates = {names[id(p)]: g["lr"] for g in tuned.param_groups(1.0, 0.01) for p in g["params"]}
    expected = {"classifier": 1.0, "bert.pooler": 1.0, "layer.1.": 0.5, "layer.0.": 0.25, "embeddings": 0.125}
    assert len(rates) == len(names)
    for name, rate in rates.items():
        assert rate == next(value for part, value in expected.items() if part in name), name


def test_layer_decay_puts_the_final_norm_with_the_top_layer() -> None:
    model = make_model("llama")
    tuned = METHODS["layer_decay"].make({"decay": 0.5}).attach(model)
    names = {id(p): n for n, p in model.named_parameters()}
    rates = {names[id(p)]: g["lr"] for g in tuned.param_groups(1.0, 0.01) for p in g["params"]}
    assert rates["model.norm.weight"] == rates["model.layers.1.mlp.up_proj.weight"] == 0.5
    assert rates["score.weight"] == 1.0
    assert rates["model.embed_tokens.weight"] == 0.125


def test_gradual_by_hand() -> None:
    """L = 2 layers, so 3 stages (layer 1, layer 0, embeddings) over the first half of 12 steps: one every
    two steps. Frozen depth counts the frozen levels from the bottom, embeddings first."""
    model = make_model("bert")
    tuned = METHODS["gradual"].make({"until": 0.5}).attach(model)
    parts = {"embeddings": 0, "layer.0.": 1, "layer.1.": 2, "classifier": 3}
    for step, depth in enumerate([3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0]):
        tuned.on_progress(step, 12)
        assert tuned.frozen_depth == depth, step
        for part, level in parts.items():
            moves = {p.requires_grad for n, p in model.named_parameters() if part in n}
            assert moves == {level >= depth}, (step, part)
        quiet = {id(m) for top in tuned.frozen_modules() for m in top.modules()}
        assert (id(model.get_submodule("bert.embeddings")) in quiet) == (depth > 0)
        assert (id(model.get_submodule("bert.encoder.layer.1")) in quiet) == (depth == 3)
        assert id(model.get_submodule("bert.pooler")) not in quiet


def test_gradual_keeps_every_parameter_in_the_optimizer() -> None:
    tuned = attach(BY_NAME["gradual"], "llama")
    tuned.on_progress(0, 10)
    in_groups = sum(len(g["params"]) for g in tuned.param_groups(1e-3, 0.0))
    assert in_groups == len(tuned.state()) == len(list(tuned.model.parameters()))
    assert sum(p.requires_grad for p in tuned.model.parameters()) == 1  # the head


@pytest.mark.parametrize(
    ("name", "depth"), [("head", 3), ("top_layers", 2), ("lora-top", 2), ("adapter-top", 2)]
)
@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "gpt2", "llama"])
def test_what_lies_below_the_frozen_depth_never_changes(name: str, depth: int, architecture: str) -> None:
    """With dropout on and the frozen modules in evaluation mode, as the loop has them."""
    case = BY_NAME[name]
    tuned = attach(case, architecture, dropout=0.3)
    assert tuned.frozen_depth == depth
    optimizer = optimizer_of(case, tuned)

    def hidden() -> tuple[Tensor, ...]:
        tuned.model.train()
        for module in tuned.frozen_modules():
            module.eval()
        with torch.no_grad():
            states: tuple[Tensor, ...] = tuned.model(
                **inputs(make_batch()), output_hidden_states=True
            ).hidden_states
        return states

    before = hidden()
    train(case, tuned, 2, optimizer=optimizer)
    after = hidden()
    final_norm = architecture in {"gpt2", "llama"}  # their last hidden state is after it
    for level in range(depth if not (final_norm and depth == 3) else 3):
        assert torch.equal(before[level], after[level])
    if depth < 3:
        assert not torch.equal(before[2], after[2])


def test_bitfit_moves_biases_where_there_are_some() -> None:
    names = set(METHODS["bitfit"]().attach(make_model("bert")).state())
    assert all(n.endswith(".bias") or n.startswith(("classifier", "bert.pooler")) for n in names)
    qwen = set(METHODS["bitfit"]().attach(make_model("qwen2")).state()) - {"score.weight"}
    assert {n.split(".")[-2] for n in qwen} == {"q_proj", "k_proj", "v_proj"}
    modern = set(METHODS["bitfit"]().attach(make_model("modernbert")).state())
    assert {n for n in modern if "norm" not in n} == {
        "head.dense.weight",
        "classifier.weight",
        "classifier.bias",
    }
    everything = set(METHODS["bitfit"].make({"norm_scales": "always"}).attach(make_model("bert")).state())
    assert set(everything - names) == {n for n in everything if n.endswith("LayerNorm.weight")}


# -------------------------------------------------------------------------------------------------- PEFT


@peft_warning
@pytest.mark.parametrize("name", ["lora", "dora", "rslora", "ia3"])
def test_trained_count_is_pefts(name: str) -> None:
    tuned = attach(BY_NAME[name], "bert")
    trained, _ = tuned.model.get_nb_trainable_parameters()
    assert trained == BY_NAME[name].bert


def test_vectors_are_not_decayed() -> None:
    for name, part in (("ia3", "ia3_l"), ("adalora", "lora_E"), ("dora", "lora_magnitude_vector")):
        tuned = attach(BY_NAME[name], "bert")
        decayed = {id(p) for g in tuned.param_groups(1.0, 0.01) if g["weight_decay"] > 0 for p in g["params"]}
        vectors = [p for n, p in tuned.model.named_parameters() if part in n and p.requires_grad]
        assert vectors
        assert all(id(p) not in decayed for p in vectors)


def test_rslora_scale_by_hand() -> None:
    """alpha 8, rank 4: LoRA scales by 8 / 4 = 2, rsLoRA by 8 / √4 = 4."""
    for name, scale in (("lora", 2.0), ("rslora", 4.0)):
        tuned = METHODS[name].make({"rank": 4, "alpha": 8}).attach(make_model("bert"))
        scales = {
            m.scaling["default"]
            for m in tuned.model.modules()
            if hasattr(m, "scaling") and isinstance(m.scaling, dict)
        }
        assert scales == {scale}


def test_adalora_extra_loss_is_pefts() -> None:
    """PEFT adds it to the loss that the model computes when it is given labels (through AdaLoraModel)."""
    tuned = METHODS["adalora"].make({"orthogonal_weight": 0.3}).attach(make_model("bert"))
    tuned.model.eval()
    batch = make_batch()
    plain = nn.functional.cross_entropy(logits(tuned.model, batch), batch["labels"])
    adalora: Any = tuned.model.base_model
    with_extra = adalora(**batch).loss
    extra = tuned.extra_loss()
    assert extra is not None
    torch.testing.assert_close(plain + extra, with_extra)
    none = METHODS["adalora"].make({"orthogonal_weight": 0}).attach(make_model("bert"))
    assert none.extra_loss() is None


def test_adalora_ranks_by_hand() -> None:
    """4 targets of rank 4, so 16 directions; 8 are left at the end, and each cut gives up a few more.
    20 steps: t_i = 2, t_f = 6, cubic between: after step s it keeps 8 + 8 (1 - (s - 2)/12)³, and the last cut is
    after step 14."""
    case = BY_NAME["adalora"]
    tuned = attach(case, "bert")
    optimizer = optimizer_of(case, tuned)
    tuned.on_progress(0, 20)
    kept = []
    for step in range(20):
        train(case, tuned, 1, total=20, done=step, optimizer=optimizer)
        pattern = tuned.progress_state()["rank_pattern"]
        kept.append(16 if pattern is None else sum(sum(mask) for mask in pattern.values()))
    expected = [16 if s <= 2 else int(8 + 8 * (1 - (s - 2) / 12) ** 3) if s < 14 else 8 for s in range(1, 21)]
    assert kept == expected
    values = [p for n, p in tuned.model.named_parameters() if ".lora_E." in n]
    assert sum(int((p != 0).sum()) for p in values) == 8


# ------------------------------------------------------------------------------------- prompts and prefixes


@peft_warning
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_prompt_is_pefts_where_peft_pools_the_right_token(architecture: str) -> None:
    """PEFT pools the last position, which is a text's last token only where no row is padded."""
    import peft

    batch = make_batch(lengths=[8, 8, 8])
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=5)
    theirs: Any = peft.get_peft_model(make_model(architecture), config).eval()
    tuned = METHODS["prompt"].make({"num_virtual_tokens": 5}).attach(make_model(architecture))
    _copy(tuned, ".prompt_embeddings", theirs.prompt_encoder["default"].embedding.weight)
    torch.testing.assert_close(logits(tuned.model, batch), logits(theirs, batch), atol=1e-5, rtol=0)


@peft_warning
@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_p_tuning_network_is_pefts(encoder: str) -> None:
    import peft

    batch = make_batch(lengths=[8, 8])
    config = peft.PromptEncoderConfig(
        task_type="SEQ_CLS",
        num_virtual_tokens=5,
        encoder_hidden_size=16,
        encoder_reparameterization_type=encoder.upper(),
        encoder_num_layers=2,
        encoder_dropout=0.0,
    )
    theirs: Any = peft.get_peft_model(make_model("llama"), config).eval()
    source = theirs.prompt_encoder["default"]
    settings = {"num_virtual_tokens": 5, "hidden_size": 16, "encoder": encoder}
    tuned = METHODS["p_tuning"].make(settings).attach(make_model("llama"))
    target = tuned.model.get_submodule("model.virtual_tokens")
    _copy(tuned, "virtual_tokens.inputs", source.embedding.weight)
    target.mlp.load_state_dict(source.mlp_head.state_dict())
    if encoder == "lstm":
        target.lstm.load_state_dict(source.lstm_head.state_dict())
    torch.testing.assert_close(logits(tuned.model, batch), logits(theirs, batch), atol=1e-5, rtol=0)


@peft_warning
@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "qwen2"])
def test_prefix_is_pefts_where_peft_has_it(architecture: str, projection: bool) -> None:
    """With the same numbers; PEFT starts the text at position N, so ours is told to as well."""
    import peft

    batch = make_batch(lengths=[8, 5, 3])
    config = peft.PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=5, prefix_projection=projection, encoder_hidden_size=16
    )
    theirs: Any = peft.get_peft_model(make_model(architecture), config).eval()
    source = theirs.prompt_encoder["default"]
    # PEFT's own V has the size of the keys (D = 16 here), ours that of the hidden states: no network to
    # compare, so the computed prefix is.
    tuned = METHODS["prefix"].make({"num_virtual_tokens": 5}).attach(make_model(architecture))
    with torch.no_grad():
        _copy(tuned, ".prompt_embeddings", source(torch.arange(5)))
        positions = torch.arange(5, 13)[None].expand(3, -1)
        ours = tuned.model(**inputs(batch), position_ids=positions).logits
    torch.testing.assert_close(ours, logits(theirs, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
def test_prompt_by_hand_where_positions_are_absolute(architecture: str) -> None:
    """The model on [P; E(x)] with positions written out; then its head on the text's hidden states."""
    N, length = 5, 7
    model: Any = make_model(architecture)
    first = 1 if architecture == "roberta" else 0  # fairseq counts from padding_idx + 1
    batch = make_batch(lengths=[length])
    positions = torch.cat([torch.arange(N), torch.arange(length)])[None] + first
    vectors = torch.randn(N, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        words = model.get_input_embeddings()(batch["input_ids"])
        out = model.base_model(inputs_embeds=torch.cat([vectors[None], words], 1), position_ids=positions)
        text = out.last_hidden_state[:, N:]
        expected = {
            "bert": lambda: model.classifier(model.bert.pooler(text)),
            "roberta": lambda: model.classifier(text),
            "gpt2": lambda: model.score(text[:, -1]),
        }[architecture]()
    tuned = METHODS["prompt"].make({"num_virtual_tokens": N}).attach(make_model(architecture))
    _copy(tuned, ".prompt_embeddings", vectors)
    torch.testing.assert_close(logits(tuned.model, batch), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_prompt_does_not_depend_on_the_side_of_the_padding(architecture: str) -> None:
    tuned = attach(BY_NAME["prompt"], architecture)
    right = make_batch(lengths=[9, 4])
    left = {name: torch.stack([t[0], t[1].roll(5)]) for name, t in inputs(right).items()}
    torch.testing.assert_close(logits(tuned.model, left), logits(tuned.model, right), atol=1e-5, rtol=0)


def test_prompt_takes_token_types() -> None:
    tuned, batch = attach(BY_NAME["prompt"], "bert"), make_batch(lengths=[6])
    zeros = torch.zeros_like(batch["input_ids"])
    with torch.no_grad():
        same = tuned.model(**inputs(batch), token_type_ids=zeros).logits
        other = tuned.model(**inputs(batch), token_type_ids=zeros + 1).logits
    torch.testing.assert_close(same, logits(tuned.model, batch))
    assert (same - other).abs().max() > 1e-4


def test_prefix_starts_as_the_keys_and_values_of_words() -> None:
    """In layer 0 of BERT the first prefix key is that of the drawn word, computed by hand."""
    model: Any = make_model("bert")
    torch.manual_seed(5)
    word = torch.randint(0, 64, (1, 3))
    with torch.no_grad():
        hidden = model.bert.embeddings(word)
        attention = model.bert.encoder.layer[0].attention.self
        keys = attention.key(hidden)[0]
        values = attention.value(hidden)[0]
    torch.manual_seed(5)
    tuned = METHODS["prefix"].make({"num_virtual_tokens": 3}).attach(make_model("bert"))
    prefix = _named(tuned, ".prompt_embeddings")
    torch.testing.assert_close(prefix[:, :32], keys)
    torch.testing.assert_close(prefix[:, 32:64], values)


def test_the_head_learns_more_slowly_than_the_prompt() -> None:
    tuned = METHODS["prompt"].make({"head_ratio": 0.25}).attach(make_model("bert"))
    rates = {id(p): g["lr"] for g in tuned.param_groups(1.0, 0.0) for p in g["params"]}
    assert rates[id(_named(tuned, ".prompt_embeddings"))] == 1.0
    assert rates[id(_named(tuned, "classifier.weight"))] == 0.25


# ------------------------------------------------------------------------------------------------ adapters


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_adapter_by_hand(placement: str) -> None:
    """The last layer of BERT, computed from its parts, with random adapters in it."""
    settings = {"placement": placement, "bottleneck": 4, "scale": 2.0}
    torch.manual_seed(3)
    tuned = METHODS["adapter"].make(settings).attach(make_model("bert"))
    with torch.no_grad():
        for name, parameter in tuned.model.named_parameters():
            if ".adapter." in name:
                parameter.normal_(std=0.5)
    layer = tuned.model.get_submodule("bert.encoder.layer.1")
    plain: Any = make_model("bert").get_submodule("bert.encoder.layer.1")
    hidden = torch.randn(2, 6, 32)

    def f(linear: Any, x: Tensor) -> Tensor:
        adapter = linear.adapter
        change: Tensor = 2.0 * adapter.up(gelu(adapter.down(x)))
        return change

    with torch.no_grad():
        attended = plain.attention.output.dense(plain.attention.self(hidden)[0])
        if placement == "houlsby":
            attended = attended + f(layer.attention.output.dense, attended)
        attended = plain.attention.output.LayerNorm(attended + hidden)
        fed = plain.output.dense(plain.intermediate(attended))
        fed = fed + f(layer.output.dense, attended if placement == "parallel" else fed)
        expected = plain.output.LayerNorm(fed + attended)
        torch.testing.assert_close(layer(hidden), expected)


def test_parallel_adapters_answer_in_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    case = BY_NAME["adapter-parallel"]
    tuned = attach(case, "bert")
    train(case, tuned, 3)
    tuned.model.eval()
    batches = [make_batch(lengths=[n]) for n in (3, 5, 7, 9)] * 8
    expected = [logits(tuned.model, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda batch: logits(tuned.model, batch), batches))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_full_supports_any_model_and_the_others_say_so() -> None:
    import transformers

    config = transformers.FNetConfig(hidden_size=16, num_hidden_layers=1, intermediate_size=16, vocab_size=32)
    model = transformers.FNetForMaskedLM(config)  # (it has no attention)
    tuned = METHODS["full"]().attach(model)
    assert snapshot(tuned.state()).keys() == dict(model.named_parameters()).keys()
    with pytest.raises(ConfigError):
        METHODS["lora"]().attach(model)
    with pytest.raises(ConfigError, match="no task head"):
        METHODS["head"]().attach(make_model("gpt2", task="CausalLM"))
