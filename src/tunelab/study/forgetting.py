"""How much of what the pretrained model knew a fine-tuned one forgot, on general sentences.

    causal_lm   rise of the mean loss in nats per token, where the checkpoint has a language model's head
    masked_lm   the same for an encoder with the head of masked language modelling: 15 % of the tokens hidden,
                the same ones for every model (all by the mask token; Devlin et al. 2019, arXiv:1810.04805,
                section 3.1 leave a fifth of them readable, which is for training)
    cka         else 1 - linear CKA between mean-pooled last hidden states (Kornblith et al. 2019,
                arXiv:1905.00414, section 3) of the tuned and of the untouched model

The head is always the pretrained one, also where the method moved the embeddings that it was tied to: what
is asked is whether the trunk's hidden states still say what they said. The trunk is read with the method's
change active, whatever carries it (moved weights, PEFT's layers, hooks), at the text's own positions.
"""

# B batch, T tokens, V vocabulary, N sentences, D hidden

import contextlib
import hashlib
import importlib.resources
import json
import logging
import math
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tunelab.config import ModelConfig
from tunelab.data.batch import collate, sorted_batches
from tunelab.data.encode import Tokens, encode, facts
from tunelab.errors import ConfigError, InputError, NotFiniteError
from tunelab.files import write_atomically
from tunelab.measure.forgetting import linear_cka, masked_positions
from tunelab.methods.base import Tuned
from tunelab.models import Located, fingerprint, load_model, load_tokenizer
from tunelab.records import Forgetting
from tunelab.study.prepare import Prepared
from tunelab.train.evaluate import tokens_at_once
from tunelab.train.precision import in_float32

__all__ = ["Reference", "make_reference", "measure", "measure_forgetting", "reference"]

log = logging.getLogger("tunelab")

#: General sentences that are read, divided among the languages that the tokenizer knows.
SENTENCES = 200
LANGUAGES = ("en", "zh")
#: A language is left out when this share of its tokens is unknown or of its characters lost, or when a
#: character takes this many tokens: it is then spelt in bytes, and what a model says about it is noise (a
#: small English Llama: 3 tokens a Chinese character, 26 nats a token, against 3.3 on English).
UNKNOWN, BYTES = 0.1, 2.0
#: Share of an encoder's tokens that are hidden, and the seed that says which.
MASKED, SEED = 0.15, 0
#: Numbers in one batch of logits: 256 MB (1,024 tokens with a vocabulary of 150,000 would take 600 MB).
LOGITS = 2**26
IGNORED = -100

_FORMAT = "1"  # part of the cache key: raise it when what is stored, or how it is computed, changes


@dataclass(frozen=True)
class _Sentences:
    """What the model reads and, at every position, the token it is asked for (or IGNORED)."""

    inputs: Tokens
    targets: Tokens
    pad_id: int

    def batches(
        self, tokens: int, device: torch.device
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor], Tensor]]:
        """Rows, inputs and targets [B, T], the longest first."""
        longest = max(int(self.inputs.lengths.max()), 1)
        for rows in sorted_batches(self.inputs.lengths, tokens):
            inputs = collate(self.inputs, rows, longest, self.pad_id)
            targets_BT = collate(self.targets, rows, longest, IGNORED)["input_ids"]
            yield rows, {k: v.to(device) for k, v in inputs.items()}, targets_BT.to(device)


@dataclass(frozen=True)
class Reference:
    """What the untouched model does on general sentences; made once per model, the same for every method.

    loss: nats per token, None for cka; features_ND: mean-pooled last hidden states, None for the losses.
    """

    kind: Literal["causal_lm", "masked_lm", "cka"]
    sentences: _Sentences
    loss: float | None = None
    features_ND: np.ndarray | None = None


@dataclass(frozen=True)
class _Head:
    """A language model without weights, and where those of its head are.

    model: on the meta device; sources: names of one tensor in the model -> (file, name there).
    """

    kind: Literal["causal_lm", "masked_lm"]
    model: Any
    sources: Mapping[tuple[str, ...], tuple[Path, str]]


def reference(
    base: Located, model: ModelConfig, tokenizer: Any, device: str = "cpu", cache: Path | None = None
) -> Reference:
    """The untouched model on the general sentences; from the file `cache` where that is of the same model,
    sentences and settings, else written there.

    model: with its length settled. Draws no random number. Two processes may write the file at once: both
    write the same, each whole.

    Raises:
        ConfigError: nothing can be measured: two stacks of layers, or no language that the tokenizer knows.
        ModelError: the model cannot be opened.
    """
    head = _find_head(base, model)
    if head is not None and head.kind == "masked_lm" and tokenizer.mask_token_id is None:
        head = None
    kind = head.kind if head is not None else "cka"
    sentences = _sentences(kind, model, tokenizer, base.name)
    key = _key(base, model, kind, sentences, device) if cache else ""
    stored = _load(cache, key)
    if stored is None:
        with _random_state_kept():
            trunk = load_model(base, model, "AutoModel", {}, int(tokenizer.pad_token_id), device).eval()
        with in_float32(trunk):
            if head is not None:
                stored = np.array([_loss(_with_head(head, trunk), sentences)])
            else:
                stored = _features(trunk, sentences)
        _finite(stored, base.name)
        _store(cache, key, stored)
    if kind == "cka":
        return Reference(kind, sentences, features_ND=stored)
    return Reference(kind, sentences, loss=float(stored[0]))


def measure(tuned: Tuned, reference: Reference, base: Located, model: ModelConfig) -> Forgetting:
    """How much the tuned model forgot, on the device where it is; it is unchanged afterwards.

    base, model: as for `reference`; a language model's head is read from there. Draws no random number. For
    the losses a little below 0 is possible: a model may have got better.

    Raises:
        ConfigError: the model has no trunk below its task head, or another one than its language model has.
        NotFiniteError: its outputs are NaN or infinite.
    """
    trunk = _trunk(tuned.model)
    count = len(reference.sentences.inputs)
    with _evaluating(tuned.model), in_float32(tuned.model):
        if reference.kind == "cka":
            assert reference.features_ND is not None
            features_ND = _features(trunk, reference.sentences)
            _finite(features_ND, base.name)
            value = max(0.0, 1.0 - linear_cka(reference.features_ND, features_ND))
            return Forgetting(kind="cka", value=value, sentences=count)
        head = _find_head(base, model)
        assert head is not None, "the model's files changed since `reference`"
        assert reference.loss is not None
        loss = _loss(_with_head(head, trunk), reference.sentences)
    _finite(np.array([loss]), base.name)
    return Forgetting(kind=reference.kind, value=loss - reference.loss, base=reference.loss, sentences=count)


def make_reference(prepared: Prepared, path: Path, device: str = "cpu") -> dict[str, Any]:
    """`reference` of a study's model, written to `path`; tells the kind, or the reason why there is none."""
    try:
        made = _reference_of(prepared, path, device)
    except (InputError, NotFiniteError) as error:
        return {"kind": None, "reason": str(error)}
    return {"kind": made.kind, "sentences": len(made.sentences.inputs)}


def measure_forgetting(
    tuned: Tuned, path: Path, prepared: Prepared, device: str = "cpu"
) -> Forgetting | None:
    """`measure` against the reference at `path` (made if it is not there); None, with a warning that says
    why, where it cannot be measured: a study is not lost for it."""
    try:
        return measure(tuned, _reference_of(prepared, path, device), prepared.base, prepared.model)
    except (InputError, NotFiniteError) as error:
        log.warning("%s", error)
        return None


def _reference_of(prepared: Prepared, path: Path, device: str) -> Reference:
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
    return reference(prepared.base, prepared.model, tokenizer, device, path)


def _finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError(f"forgetting cannot be measured: outputs of {name} are not finite")


# The model


def _trunk(model: nn.Module) -> nn.Module:
    """The pretrained trunk, with the method's change in it, wherever a method has wrapped the model."""
    from transformers import PreTrainedModel

    plain: Any = next((m for m in model.modules() if isinstance(m, PreTrainedModel)), None)
    if plain is None or plain.base_model is plain:
        raise ConfigError(
            f"forgetting cannot be measured: {type(model).__name__} has no trunk below a task head "
            "(`base_model`)"
        )
    trunk: nn.Module = plain.base_model
    return trunk


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, every module's own mode put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """Parts that are not in the file (an unused pooler) are drawn; no one else should notice."""
    python, numpy = random.getstate(), np.random.get_state()
    cuda: Any = torch.cuda
    devices = range(cuda.device_count()) if cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def _find_head(base: Located, model: ModelConfig) -> _Head | None:
    """The head that predicts tokens, if every tensor of it is in the checkpoint or is the embeddings'.

    Code that comes with a model is not asked for a head: its architecture is in none of the lists.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(base.folder, trust_remote_code=model.trust_remote_code)
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"forgetting cannot be measured: {base.name} has two stacks of layers (encoder and decoder)"
        )
    auto: Any
    kind: Literal["causal_lm", "masked_lm"]
    # Many encoders can also be built as decoders, no decoder as a masked language model: that is asked first.
    if type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        auto, kind = transformers.AutoModelForMaskedLM, "masked_lm"
    elif type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        auto, kind = transformers.AutoModelForCausalLM, "causal_lm"
    else:
        return None
    with _random_state_kept(), torch.device("meta"):
        empty = auto.from_config(config, dtype=torch.float32).eval()
    sources = _sources(empty, _stored_tensors(base.folder))
    return None if sources is None else _Head(kind, empty, sources)


def _stored_tensors(folder: Path) -> dict[str, Path]:
    """Names of all tensors of a checkpoint -> the file that holds each."""
    files = [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not files[0].is_file() and index.is_file():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / name for name in sorted(set(shards))]
    found: dict[str, Path] = {}
    for path in files:
        if path.is_file():
            with safe_open(path, "pt") as opened:
                found.update(dict.fromkeys(opened.keys(), path))
    return found


def _sources(empty: Any, stored: Mapping[str, Path]) -> dict[tuple[str, ...], tuple[Path, str]] | None:
    """Where every tensor outside the trunk comes from; None where one is nowhere (it would be random)."""
    trunk = f"{empty.base_model_prefix}."
    names: dict[int, list[str]] = {}
    tensors = [*empty.named_parameters(remove_duplicate=False), *empty.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        names.setdefault(id(tensor), []).append(name)
    sources: dict[tuple[str, ...], tuple[Path, str]] = {}
    for tied in names.values():
        own = tuple(name for name in tied if not name.startswith(trunk))
        if not own:
            continue
        inside = [name for name in tied if name.startswith(trunk)]
        known = [*own, *map(_old_name, own), *inside, *(name.removeprefix(trunk) for name in inside)]
        key = next((name for name in known if name in stored), None)
        if key is None:
            return None
        sources[own] = (stored[key], key)
    return sources


def _old_name(name: str) -> str:
    """As BERT's first checkpoints call a norm's scale and bias; transformers reads them to this day."""
    if name.endswith("LayerNorm.weight"):
        return f"{name.removesuffix('weight')}gamma"
    return f"{name.removesuffix('bias')}beta" if name.endswith("LayerNorm.bias") else name


def _with_head(head: _Head, trunk: nn.Module) -> nn.Module:
    """The pretrained language model's head on this trunk, which is not touched."""
    model = head.model
    if not isinstance(trunk, type(model.base_model)):
        raise ConfigError(
            f"forgetting cannot be measured: {type(model).__name__} is built on "
            f"{type(model.base_model).__name__}, the tuned model on {type(trunk).__name__}"
        )
    device = _device(trunk)
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    for names, (path, key) in head.sources.items():
        with safe_open(path, "pt") as opened:
            tensor = opened.get_tensor(key).float().to(device)
        filled = tensor if names[0] in buffers else nn.Parameter(tensor, requires_grad=False)
        for name in names:
            place, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(place), leaf, filled)
    setattr(model, model.base_model_prefix, trunk)
    whole: nn.Module = model
    return whole


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


@torch.no_grad()
def _loss(model: nn.Module, sentences: _Sentences) -> float:
    """Mean cross entropy of the asked-for tokens, nats."""
    config: Any = model.config
    device = _device(model)
    tokens = min(tokens_at_once(str(device)), max(1, LOGITS // int(config.vocab_size)))
    losses, asked = [], 0
    for _, inputs, targets_BT in sentences.batches(tokens, device):
        logits_BTV = model(**inputs).logits.float()
        flat = logits_BTV.flatten(0, 1), targets_BT.flatten()
        total = cross_entropy(*flat, ignore_index=IGNORED, reduction="sum")
        losses.append(float(total))
        asked += int((targets_BT != IGNORED).sum())
    return math.fsum(losses) / asked


@torch.no_grad()
def _features(trunk: nn.Module, sentences: _Sentences) -> np.ndarray:
    """Last hidden states, the mean over each sentence's tokens, [N, D] float32."""
    device = _device(trunk)
    found: np.ndarray | None = None
    for rows, inputs, _ in sentences.batches(tokens_at_once(str(device)), device):
        hidden_BTD = trunk(**inputs).last_hidden_state.float()
        mask_BT1 = inputs["attention_mask"][:, :, None].float()
        pooled = ((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)).cpu().numpy()
        if found is None:
            found = np.zeros((len(sentences.inputs), pooled.shape[1]), dtype=np.float32)
        found[rows] = pooled
    assert found is not None, "no sentences"
    return found


# The sentences


def _sentences(kind: str, model: ModelConfig, tokenizer: Any, name: str) -> _Sentences:
    tokens = encode(_usable(tokenizer, name), tokenizer, cache=False)
    assert model.max_length is not None, "settled in prepare"
    rows = [tokens.row(i, model.max_length) for i in range(len(tokens))]
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    ids = np.concatenate(rows)
    targets = np.full_like(ids, IGNORED)
    if kind == "causal_lm":
        targets[:-1] = ids[1:]
        targets[starts[1:] - 1] = IGNORED  # after a sentence's last token nothing is known
    elif kind == "masked_lm":
        hidden = masked_positions(~np.isin(ids, tokenizer.all_special_ids), starts, MASKED, SEED)
        targets[hidden] = ids[hidden]
        ids = np.where(hidden, tokenizer.mask_token_id, ids).astype(np.int32)
    pad_id = int(tokenizer.pad_token_id)
    return _Sentences(Tokens(ids, starts, tokens.tail), Tokens(targets, starts, tokens.tail), pad_id)


def _usable(tokenizer: Any, name: str) -> list[str]:
    """The sentences of every language that the tokenizer knows, as many of each."""
    known = [lines for language in LANGUAGES if _knows(tokenizer, lines := _read(language), name)]
    if not known:
        raise ConfigError(
            f"forgetting cannot be measured: the tokenizer of {name} knows no language of the general "
            f"sentences ({', '.join(LANGUAGES)})"
        )
    return [line for lines in known for line in lines[: SENTENCES // len(known)]]


def _read(language: str) -> list[str]:
    file = importlib.resources.files("tunelab") / "samples" / f"general.{language}.txt"
    return file.read_text(encoding="utf-8").splitlines()


def _knows(tokenizer: Any, lines: list[str], name: str) -> bool:
    tokens = encode(lines, tokenizer, cache=False)
    found = facts(lines, tokens, tokenizer, name)
    own = ~np.isin(tokens.ids, tokenizer.all_special_ids)
    unknown = found.unknown.sum() / max(own.sum() + found.unknown.sum(), 1)
    lost, length = found.lost.sum() / found.visible.sum(), own.sum() / found.visible.sum()
    return bool(max(unknown, lost) < UNKNOWN and length < BYTES)


# The cache


def _key(base: Located, model: ModelConfig, kind: str, sentences: _Sentences, device: str) -> str:
    digest = hashlib.sha256()
    how = (_FORMAT, kind, model.attention, str(model.max_length), torch.device(device).type)
    for word in (fingerprint(base), *how):
        digest.update(f"{word}\n".encode())
    for tokens in (sentences.inputs, sentences.targets):
        digest.update(tokens.ids.tobytes() + tokens.starts.tobytes())
    return digest.hexdigest()


def _load(path: Path | None, key: str) -> np.ndarray | None:
    """What was stored under this key: the file's one tensor has it as its name."""
    if path is None:
        return None
    try:
        return load(path.read_bytes()).get(key)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        log.warning("%s is damaged (%s); it is made again", path, error)
        return None


def _store(path: Path | None, key: str, values: np.ndarray) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({key: values}))
    except OSError as error:  # a cache that cannot be written costs time, not the run
        log.warning("%s cannot be written: %s", path, os.strerror(error.errno or 0))
