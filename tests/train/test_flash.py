"""FlashAttention in training and float32 in judging: a stand-in for its kernels, which refuses float32 as they do
("FlashAttention only support fp16 and bf16 data type", flash_api.cpp), runs on a CPU in plain products."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models_zoo import make_batch, make_model, make_seq2seq
from tiny import make_model_folder, write_sentences
from torch import Tensor
from toys import FLOAT32, toy_examples
from transformers import AttentionInterface

from tunelab import methods
from tunelab.config import ModelConfig, RunConfig, TrainConfig
from tunelab.errors import ConfigError
from tunelab.study.common import check_attention
from tunelab.study.prepare import prepare
from tunelab.study.run import run_once, verify
from tunelab.train.evaluate import predict_logits
from tunelab.train.first_token import first_token_only
from tunelab.train.packing import packed
from tunelab.train.precision import Precision, in_float32

FLASH = "flash_attention_2"
LOW = Precision("bfloat16", "cpu", "test")


def kernel(calls: list[torch.dtype], apart: bool = True) -> Callable[..., Any]:
    """The stand-in; apart: it keeps rows of a packed batch apart, whose positions begin anew."""

    def attend(
        module: Any,
        query_BHTd: Tensor,
        key_BhSd: Tensor,
        value_BhSd: Tensor,
        mask_BS: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        is_causal: bool | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        if query_BHTd.dtype == torch.float32:
            raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
        calls.append(query_BHTd.dtype)
        groups = query_BHTd.shape[1] // key_BhSd.shape[1]
        query, key, value = query_BHTd, *(x.repeat_interleave(groups, 1) for x in (key_BhSd, value_BhSd))
        allowed = torch.ones(query.shape[0], 1, query.shape[2], key.shape[2], dtype=torch.bool)
        if mask_BS is not None:
            allowed &= mask_BS.bool()[:, None, None]
        if module.is_causal if is_causal is None else is_causal:
            allowed = allowed.tril(key.shape[2] - query.shape[2])
        elif mask_BS is not None:  # (a query of the padding may look at nothing: zeros)
            allowed |= ~allowed.any(-1, keepdim=True)
        if apart and mask_BS is None and position_ids is not None and len(query) == 1:
            row_T = (position_ids[0] == 0).cumsum(0)
            allowed &= row_T[:, None] == row_T
        scores = (query @ key.transpose(2, 3)).float() * (scaling or query.shape[-1] ** -0.5)
        weights = scores.masked_fill(~allowed, -1e9).softmax(-1)
        return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None

    return attend


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Number formats in which the stand-in was called."""
    found: list[torch.dtype] = []
    monkeypatch.setitem(AttentionInterface._global_mapping, FLASH, kernel(found))
    return found


def with_flash(model: Any) -> Any:
    """As transformers would open it on a GPU."""
    for part in transformed(model):
        part.config._attn_implementation = FLASH
    return model


def transformed(model: Any) -> Iterator[Any]:
    return (part for part in model.modules() if isinstance(part, transformers.PreTrainedModel))


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "gpt2", "llama", "qwen3", "bart"])
def test_float32_is_what_sdpa_gives_and_flash_is_back_afterwards(
    architecture: str, calls: list[torch.dtype]
) -> None:
    """Bit for bit; without the context it fails as it does on a GPU; in bfloat16 the kernels are used."""
    two = architecture == "bart"
    make = make_seq2seq if two else make_model
    batch = {k: v for k, v in make_batch().items() if k != "labels"}
    batch |= {"decoder_input_ids": batch["input_ids"]} if two else {}
    plain, model = make(architecture, attention="sdpa"), with_flash(make(architecture, attention="sdpa"))
    with torch.no_grad():
        wanted = plain(**batch).logits
        with pytest.raises(RuntimeError, match="only support"):
            model(**batch)
        with in_float32(model), in_float32(model):  # (a study's contexts may lie in one another)
            assert torch.equal(model(**batch).logits, wanted)
        assert {part.config._attn_implementation for part in transformed(model)} == {FLASH}
        assert not calls
        with LOW(model):
            low = model(**batch).logits.float()
    assert calls
    assert float((low - wanted).abs().max()) < 0.1 * float(wanted.abs().max())


def test_predictions_of_a_model_inside_an_adapter(calls: list[torch.dtype]) -> None:
    torch.manual_seed(0)
    tuned = methods.find("lora").make({}).attach(make_model("llama", attention="sdpa"))
    wanted = predict_logits(tuned.model, toy_examples(), FLOAT32)
    found = predict_logits(with_flash(tuned.model), toy_examples(), FLOAT32)
    np.testing.assert_array_equal(found, wanted)
    assert not calls


def test_a_model_that_cannot_change_its_attention_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_flash(make_model("llama"))
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", lambda *_: False)
    with pytest.raises(ConfigError, match=r"model\.attention=sdpa"):
        in_float32(model).__enter__()


def test_levers_are_asked_and_used(calls: list[torch.dtype]) -> None:
    model, rows = with_flash(make_model("llama")), toy_examples()
    with packed(model, rows, LOW) as used:
        assert used
        assert set(calls) == {torch.bfloat16}  # the kernels themselves were asked
    with first_token_only(with_flash(make_model("bert")), rows) as used:
        assert used


def test_packing_is_off_where_the_kernels_mix_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AttentionInterface._global_mapping, FLASH, kernel([], apart=False))
    with packed(with_flash(make_model("llama")), toy_examples(), LOW) as used:
        assert not used


@pytest.mark.parametrize(
    ("architecture", "task", "method", "levers"),
    [
        ("bert", "classify", "full", ["first_token"]),
        ("llama", "language", "lora", ["packing", "asked_tokens"]),
    ],
)
def test_a_run_ends(
    architecture: str,
    task: str,
    method: str,
    levers: list[str],
    tmp_path: Path,
    calls: list[torch.dtype],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trained, judged, forgetting measured, and its bundle opened where there is no FlashAttention."""

    def taken(_self: Any, name: str | None, *_: Any, **__: Any) -> str:
        return name or "sdpa"

    monkeypatch.setattr(transformers.PreTrainedModel, "_check_and_adjust_attn_implementation", taken)
    folder = make_model_folder(tmp_path / "model", architecture)
    values = {
        "files": (str(write_sentences(tmp_path / "data.csv", 40)),),
        "task": task,
        "method": method,
        "model": {"name": str(folder), "attention": FLASH},
        "data": {"folds": 0},
        "train": {"epochs": 1, "batch_size": 8, "precision": "bfloat16"},
        "speed": dict.fromkeys(levers, True),
    }
    config = RunConfig.model_validate(values)
    prepared = prepare(config.files, config.task, config.data, config.model)
    target = tmp_path / "run"
    record = run_once(config, prepared, target, reference=tmp_path / "reference.npz")
    assert [record["training"]["levers"][lever] for lever in levers] == [True] * len(levers)
    assert record["forgetting"]["kind"] == ("cka" if architecture == "bert" else "causal_lm")
    used = len(calls)
    assert used
    assert verify(target, prepared)["status"] == "finished"
    assert len(calls) == used


def test_what_cannot_be_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ModelConfig(attention=FLASH)
    check_attention(ModelConfig(), TrainConfig(), "cpu")
    with pytest.raises(ConfigError, match=r"'model.attention'.* works on a GPU alone.* on cpu"):
        check_attention(wanted, TrainConfig(), "cpu")
    with pytest.raises(ConfigError, match=r"has no float32.*\(as set\).*train\.precision=bfloat16"):
        check_attention(wanted, TrainConfig(precision="float32"), "cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install flash-attn"):
        check_attention(wanted, TrainConfig(precision="bfloat16"), "cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "flash_attn" or None)
    check_attention(wanted, TrainConfig(precision="bfloat16"), "cuda")
