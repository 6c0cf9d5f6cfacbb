"""Bundles: they reload to the same outputs, damage is told, and others' tools read them."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_model_folder, sentences

import tunelab
from tunelab.config import LossConfig, ModelConfig
from tunelab.errors import BundleError, CannotMerge, ConfigError, InputError, ModelError, TunelabError
from tunelab.methods import METHODS, find
from tunelab.models import load_model, load_tokenizer, locate, settle_length
from tunelab.serve.bundle import add_base, open_bundle, write_bundle
from tunelab.tasks.classify import Classify

TEXTS = sentences(12)["text"].tolist()
MANY = sentences(300)["text"].tolist()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("base") / "tiny")


def make_bundle(base: Path, folder: Path, method: str) -> tuple[Path, np.ndarray]:
    """A bundle of a method whose parameters were all moved at random, and its logits in this process."""
    task = Classify.fit(["bad", "good", "so-so"], ["bad", "good", "so-so"], LossConfig())
    config = ModelConfig(name=str(base))
    found = locate(config)
    config = settle_length(found, config)
    tokenizer, _ = load_tokenizer(found, config)
    torch.manual_seed(1)
    model = load_model(found, config, task.model_class, task.model_options(), tokenizer.pad_token_id)
    chosen = find(method).make({})
    tuned = chosen.attach(model)
    tuned.on_progress(0, 10)
    with torch.no_grad():
        for tensor in tuned.state().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn_like(tensor))
    tuned.model.eval()
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = tuned.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits.numpy()
    write_bundle(
        folder,
        tuned=tuned,
        method=chosen,
        task=task,
        tokenizer=tokenizer,
        base=found,
        model=config,
        scores={"accuracy": 0.5},
        about={"data": "toy.csv", "seed": 1},
    )
    return folder, logits


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_reloads_to_the_same_logits(method: str, base: Path, tmp_path: Path) -> None:
    folder, logits = make_bundle(base, tmp_path / "bundle", method)
    np.testing.assert_allclose(tunelab.load(folder, "cpu").logits(TEXTS), logits, atol=1e-5)
    assert not [p for p in folder.rglob("*") if p.suffix in {".bin", ".pt", ".pkl"}], "no pickles"


def test_a_full_bundle_is_a_plain_transformers_model(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    folder, logits = make_bundle(base, tmp_path / "bundle", "full")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.numpy()
    np.testing.assert_allclose(found, logits, atol=1e-5)
    answers = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")(TEXTS)
    ours = tunelab.load(folder, "cpu")
    assert [a["label"] for a in answers] == ours.predict(TEXTS)
    np.testing.assert_allclose(
        [a["score"] for a in answers], ours.predict_proba(TEXTS).max(axis=1), atol=1e-5
    )


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # PEFT 0.21's call
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_a_peft_bundle_loads_with_plain_peft(method: str, base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, logits = make_bundle(base, tmp_path / "bundle", method)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    plain.config.pad_token_id = 0
    model = PeftModel.from_pretrained(plain, str(folder)).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.numpy()
    np.testing.assert_allclose(found, logits, atol=1e-5)


def test_an_exported_lora_is_a_plain_model_with_the_same_answers(base: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    folder, _ = make_bundle(base, tmp_path / "bundle", "lora")
    specialist = tunelab.load(folder, "cpu")
    expected = specialist.predict_proba(TEXTS).max(axis=1)
    labels = specialist.predict(TEXTS)
    specialist.export(tmp_path / "plain")
    assert not (tmp_path / "plain/adapter_config.json").exists()
    answers = pipeline("text-classification", model=str(tmp_path / "plain"), device="cpu")(TEXTS)
    assert [a["label"] for a in answers] == labels
    np.testing.assert_allclose([a["score"] for a in answers], expected, atol=1e-4)


def test_a_prompt_cannot_be_exported_and_says_why(base: Path, tmp_path: Path) -> None:
    folder, _ = make_bundle(base, tmp_path / "bundle", "prompt")
    with pytest.raises(CannotMerge, match="prompt cannot be merged"):
        tunelab.load(folder, "cpu").export(tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


def test_an_adapter_with_its_base_can_be_moved(base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(base, copy)
    (copy / "finetune.py").write_text("a script that lies beside the model")
    folder, logits = make_bundle(copy, tmp_path / "bundle", "lora")
    assert add_base(folder) > 0
    assert not list((folder / "base").glob("*.py"))
    shutil.rmtree(copy)
    moved = folder.rename(tmp_path / "elsewhere")
    np.testing.assert_allclose(tunelab.load(moved, "cpu").logits(TEXTS), logits, atol=1e-5)


def test_code_of_a_base_goes_with_it(base: Path, tmp_path: Path) -> None:
    """(Of a type that transformers knows too, so that it opens without running it.)"""
    copy = tmp_path / "model"
    shutil.copytree(base, copy)
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**values, "auto_map": {"AutoModel": "code.Model"}}))
    (copy / "code.py").write_text("class Model: ...")
    folder, logits = make_bundle(copy, tmp_path / "bundle", "lora")
    add_base(folder)
    shutil.rmtree(copy)
    assert (folder / "base" / "code.py").is_file()
    np.testing.assert_allclose(tunelab.load(folder, "cpu").logits(TEXTS), logits, atol=1e-5)


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(base, copy)
    folder, _ = make_bundle(copy, tmp_path / "bundle", "lora")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="was trained on another"):
        tunelab.load(folder, "cpu")


def test_damage_is_told(base: Path, tmp_path: Path) -> None:
    folder, _ = make_bundle(base, tmp_path / "bundle", "lora")
    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match=r"adapter_model.safetensors is damaged"):
        tunelab.load(folder, "cpu")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"adapter_model.safetensors is missing"):
        tunelab.load(folder, "cpu")


def test_what_is_no_bundle_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        tunelab.load(tmp_path / "nowhere", "cpu")
    with pytest.raises(BundleError, match=r"tunelab\.json is missing"):
        tunelab.load(base, "cpu")
    make_bundle(base, tmp_path / "run/bundle", "head")
    with pytest.raises(BundleError, match=r"there is one in .*run/bundle"):
        tunelab.load(tmp_path / "run", "cpu")
    manifest = json.loads((tmp_path / "run/bundle/tunelab.json").read_text())
    (tmp_path / "run/bundle/tunelab.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(BundleError, match=r"format 99, this version reads 1; update tunelab"):
        tunelab.load(tmp_path / "run/bundle", "cpu")


GONE = object()


@pytest.fixture(scope="module")
def sound(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(base, tmp_path_factory.mktemp("sound") / "bundle", "lora")[0]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("format", GONE, "format None"),
        ("method", GONE, "'method' is missing"),
        ("method", 3, "'method' is 3, not a text"),
        ("method", "lorra", "unknown method 'lorra'.*'lora'"),
        ("method", "bitfit", "unknown setting 'bitfit.rank'"),
        ("settings", GONE, "'settings' is missing"),
        ("settings", {"rnk": 3}, "unknown setting 'lora.rnk'.*'rank'"),
        ("settings.rank", "eight", "'lora.rank' should be a valid integer.*'eight'"),
        ("weights", GONE, "'weights' is missing"),
        ("weights", "transformers", "'weights' is 'transformers', but lora has 'peft'"),
        ("task", [], r"'task' is \[\], not names with values"),
        ("task", {}, "'task.task' is missing"),
        ("task.task", 3, "'task.task' is 3, not a text"),
        ("task.task", "classfy", "unknown task 'classfy'.*'classify'"),
        ("task.labels", GONE, "'task.labels' is missing"),
        ("task.labels", "abc", "'task.labels' is 'abc', not a list"),
        ("task.labels", [1, 2, 3], r"'task.labels' is \[1, 2, 3\], not a list of texts"),
        ("task.loss", 3, "'task.loss' is 3, not names with values"),
        ("task.loss", {"knd": 1}, "'task' has 'knd'"),
        ("task.deciding", GONE, "'task.deciding' is missing"),
        ("model", [], r"'model' is \[\], not names with values"),
        ("model.max_length", GONE, "'model.max_length' is missing"),
        ("model.max_length", None, "'model.max_length' is None, not a whole number"),
        ("model.max_length", "long", "'model.max_length' is 'long', not a whole number"),
        ("model.dropuot", 0.1, "unknown setting 'model.dropuot'.*'dropout'"),
        ("base", {}, "'base.name' is missing"),
        ("base.folder", None, "'base.folder' is None, not a text"),
        ("base.fingerprint", GONE, "'base.fingerprint' is missing"),
        ("sha256", GONE, "'sha256' is missing"),
        ("sha256", ["x"], r"'sha256' is \['x'\], not names with values"),
    ],
)
def test_a_damaged_manifest_is_told_with_its_field(
    field: str, value: object, told: str, sound: Path, tmp_path: Path
) -> None:
    manifest = json.loads((sound / "tunelab.json").read_text())
    *above, name = field.split(".")
    values = manifest
    for part in above:
        values = values[part]
    if value is GONE:
        del values[name]
    else:
        values[name] = value
    folder = shutil.copytree(sound, tmp_path / "bundle")
    (folder / "tunelab.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"(?s)tunelab\.json .*{told}"):
        open_bundle(folder)


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"format": 1', "null", '"x"'])
def test_a_manifest_that_is_no_object_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "tunelab.json").write_text(text)
    with pytest.raises(BundleError, match=r"tunelab\.json is damaged"):
        open_bundle(tmp_path)


def test_a_base_that_has_gone_is_not_added(base: Path, tmp_path: Path) -> None:
    """Before, `base/` was made, and empty."""
    copy = shutil.copytree(base, tmp_path / "model")
    folder, _ = make_bundle(copy, tmp_path / "bundle", "lora")
    shutil.rmtree(copy)
    with pytest.raises(ModelError, match=r"the base model of .*bundle is needed"):
        add_base(folder)
    assert not (folder / "base").exists()


def test_a_bundle_cannot_allow_itself_to_run_code(base: Path, tmp_path: Path) -> None:
    """A stranger's bundle that says trust_remote_code and brings code: the code is not run."""
    folder, _ = make_bundle(base, tmp_path / "bundle", "full")
    manifest = json.loads((folder / "tunelab.json").read_text())
    manifest["model"]["trust_remote_code"] = True
    (folder / "tunelab.json").write_text(json.dumps(manifest))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "stranger",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForSequenceClassification": "code.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(TunelabError):
        tunelab.load(folder, "cpu")
    assert not (tmp_path / "ran").exists()


def test_only_texts_are_predicted(base: Path, tmp_path: Path) -> None:
    specialist = tunelab.load(make_bundle(base, tmp_path / "bundle", "head")[0], "cpu")
    with pytest.raises(InputError, match="empty"):
        specialist.predict([])
    with pytest.raises(InputError, match="text 1 is float"):
        specialist.predict(["fine", float("nan")])
    assert len(specialist.predict("one text alone")) == 1
    assert specialist.predict_proba(TEXTS).sum(axis=1).to_numpy() == pytest.approx(np.ones(len(TEXTS)))


def test_a_long_text_is_cut_with_its_closing_token_kept(base: Path, tmp_path: Path) -> None:
    folder, _ = make_bundle(base, tmp_path / "bundle", "head")
    specialist = tunelab.load(folder, "cpu")
    text = " ".join(["kettle"] * 500)
    tokenizer = specialist._opened.tokenizer
    cut = tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        expected = specialist._opened.tuned.model(
            input_ids=cut["input_ids"], attention_mask=cut["attention_mask"]
        ).logits.numpy()
    np.testing.assert_allclose(specialist.logits(text), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "prefix"])
def test_many_rows_get_the_answers_of_few(method: str, base: Path, tmp_path: Path) -> None:
    """Many rows are answered with the levers on: the numbers are the same but for float32's rounding; in
    bfloat16 they are close, and an unknown number format is refused."""
    bundle, _ = make_bundle(base, tmp_path / "bundle", method)
    specialist = tunelab.load(bundle, "cpu")
    few = np.concatenate([specialist.logits(MANY[i : i + 50]) for i in range(0, 300, 50)])
    assert np.abs(specialist.logits(MANY) - few).max() < 1e-5
    assert np.abs(specialist.logits(MANY[:50]) - few[:50]).max() < 1e-6  # nothing was left on the model
    rough = tunelab.load(bundle, "cpu", precision="bfloat16").logits(MANY)
    assert 0 < np.abs(rough - few).max() < 0.005 + 0.05 * np.abs(few).max()
    with pytest.raises(ConfigError, match="unknown precision 'half'; give float32, auto, bfloat16"):
        tunelab.load(bundle, "cpu", precision="half")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_several_threads_get_the_answers_of_one(precision: str, base: Path, tmp_path: Path) -> None:
    """Levers and number formats change the model itself while it is asked: nobody else may ask it meanwhile."""
    bundle, _ = make_bundle(base, tmp_path / "bundle", "full")
    specialist = tunelab.load(bundle, "cpu", precision=precision)
    asked = [MANY, *(MANY[i : i + 3] for i in range(0, 60, 3))] * 2
    alone = [specialist.logits(texts) for texts in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(specialist.logits, asked))
    for found, wanted in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found, wanted)
