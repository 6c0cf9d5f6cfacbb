"""The bundle: one folder with everything a trained specialist needs.

    tunelab.json        task, labels, method, settings, base model with its fingerprint, versions
    weights             a plain `transformers` model, or an adapter in PEFT's format (adapter_config.json,
                        adapter_model.safetensors), as the method says
    tokenizer files     with the length that was trained
    README.md           a model card
    base/               only in a self-contained bundle of an adapter: the pretrained model itself
    head.py, objective.py   only where the user trained with a head or a loss of their own, from a file

A bundle holds no pickles, and no code but these two; head.py runs only where the caller allows it, and so
does a head of a module that is installed, of which a bundle has the name.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunelab import methods, tasks
from tunelab.config import ModelConfig, build
from tunelab.errors import BundleError, ConfigError, ModelError
from tunelab.files import file_digest, folder_atomically, output_errors, write_json
from tunelab.methods.base import Method, Tuned
from tunelab.models import Located, fingerprint, load_model, load_tokenizer, locate, own_code
from tunelab.provenance import versions
from tunelab.serve.card import model_card
from tunelab.tasks.base import Task

__all__ = ["Opened", "add_base", "bundle_bytes", "open_bundle", "read_manifest", "write_bundle"]

FORMAT = 1
_BASE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


#: What every manifest must have, and of which type; a method checks its own settings.
_FIELDS: dict[str, type] = {
    "method": str,
    "settings": dict,
    "weights": str,
    "task": dict,
    "task.task": str,
    "model": dict,
    "model.max_length": int,
    "base": dict,
    "base.name": str,
    "base.folder": str,
    "base.fingerprint": str,
    "sha256": dict,
}
#: What a task may have; which of them it needs, the task says.
_TASK_FIELDS: dict[str, type] = {
    "labels": list,
    "types": list,
    "settings": dict,
    "loss": dict,
    "weights": list,
    "deciding": str,
    "unanswerable": bool,
    "chinese": bool,
    "mean": float,
    "deviation": float,
}
_KINDS = {
    str: "a text",
    dict: "names with values",
    int: "a whole number",
    list: "a list",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True)
class Opened:
    """A bundle in memory, ready to predict or merge."""

    folder: Path
    manifest: Mapping[str, Any]
    task: Task
    method: Method
    tuned: Tuned
    tokenizer: Any
    max_length: int


def write_bundle(
    folder: Path,
    *,
    tuned: Tuned,
    method: Method,
    task: Task,
    tokenizer: Any,
    base: Located,
    model: ModelConfig,
    scores: Mapping[str, float],
    about: Mapping[str, Any],
) -> None:
    """Writes the bundle atomically: until everything is there, there is no folder of that name.

    scores: the test scores for the model card; about: provenance for `tunelab.json`.
    """
    manifest = {
        "format": FORMAT,
        "task": task.as_dict(),
        "method": method.name,
        "settings": method.settings.model_dump(mode="json"),
        "weights": method.weights,
        "base": {
            "name": base.name,
            "folder": str(base.folder),
            "revision": base.revision,
            "fingerprint": fingerprint(base),
        },
        "model": model.model_dump(mode="json"),
        "scores": dict(scores),
        "versions": versions(),
        "answers": task.answers_too,
        **about,
    }
    with output_errors(folder), folder_atomically(folder) as work:
        tuned.save(work)
        tokenizer.model_max_length = model.max_length
        tokenizer.save_pretrained(work)
        for name, source in task.code.items():
            (work / name).write_text(source, encoding="utf-8")
        manifest["code"] = sorted(task.code)
        (work / "README.md").write_text(model_card(manifest, task), encoding="utf-8")
        manifest["sha256"] = {p.name: file_digest(p) for p in _sealed(work)}
        write_json(work / "tunelab.json", manifest)


def _sealed(folder: Path) -> list[Path]:
    """Files whose checksums a bundle keeps: weights, and code of the user's."""
    return [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.py"))]


def add_base(folder: Path) -> int:
    """Puts the pretrained model into an adapter's bundle, so that it can be moved anywhere; returns the
    bytes added (0 where the bundle already is a whole model).

    Raises:
        BundleError: the pretrained model has changed. ModelError: it cannot be found.
    """
    manifest = read_manifest(folder)
    target = folder / "base"
    if manifest["weights"] == "transformers" or target.is_dir():
        return 0
    source = _base(folder, manifest["base"], _model_config(manifest, folder / "tunelab.json")).folder
    with output_errors(target), folder_atomically(target) as work:
        for path in (*chain(*map(source.glob, _BASE_FILES)), *own_code(source)):
            shutil.copyfile(path, work / path.name)
    return bundle_bytes(target)


def bundle_bytes(folder: Path) -> int:
    """Bytes of all files of a bundle."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_manifest(folder: Path) -> dict[str, Any]:
    """`tunelab.json` of a bundle.

    Raises:
        BundleError: no such folder, no bundle, damaged, or of a newer format.
    """
    if not folder.is_dir():
        raise BundleError(f"bundle {folder} does not exist; give the folder that holds tunelab.json")
    path = folder / "tunelab.json"
    if not path.is_file():
        inner = sorted(p.parent for p in folder.glob("*/tunelab.json"))
        inner += sorted(p.parent for p in folder.glob("*/*/tunelab.json"))
        hint = f"; there is one in {inner[0]}" if inner else ""
        raise BundleError(f"{folder} is no bundle: tunelab.json is missing{hint}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    if not isinstance(manifest, dict):
        raise BundleError(f"{path} is damaged: it holds no names and values")
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT}; update tunelab"
        )
    for field, kind in _FIELDS.items():
        _check_field(manifest, field, kind, path)
    return manifest


def _check_field(manifest: Mapping[str, Any], field: str, kind: type, path: Path) -> None:
    """field: its path with dots; whatever lies above it has been checked before."""
    *above, name = field.split(".")
    values = manifest
    for part in above:
        values = values[part]
    if name not in values:
        raise _damaged(path, f"{field!r} is missing")
    if type(values[name]) is not kind:
        raise _damaged(path, f"{field!r} is {values[name]!r}, not {_KINDS[kind]}")


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(f"{path} is damaged: {what}; copy the bundle again or train it again")


def _task(values: Mapping[str, Any], path: Path) -> Task:
    """The task as the manifest describes it."""
    for name in _TASK_FIELDS.keys() & values.keys():
        _check_field({"task": values}, f"task.{name}", _TASK_FIELDS[name], path)
    if not all(isinstance(label, str) for label in values.get("labels", ())):
        raise _damaged(path, f"'task.labels' is {values['labels']!r}, not a list of texts")
    try:
        return tasks.find(values["task"]).from_dict(values)
    except KeyError as error:
        raise _damaged(path, f"'task.{error.args[0]}' is missing") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise _damaged(path, f"'task' has {where!r}: {problem['msg']}; got {problem['input']!r}") from None
    except (TypeError, ValueError, ConfigError) as error:
        raise _damaged(path, f"'task' cannot be read: {error}") from None


def _method(manifest: Mapping[str, Any], path: Path) -> Method:
    try:
        method = methods.find(manifest["method"]).make(manifest["settings"])
    except ConfigError as error:
        raise _damaged(path, f"'method' or 'settings': {error}") from None
    if manifest["weights"] != method.weights:
        raise _damaged(
            path, f"'weights' is {manifest['weights']!r}, but {method.name} has {method.weights!r}"
        )
    return method


def _model_config(manifest: Mapping[str, Any], path: Path, trust_remote_code: bool = False) -> ModelConfig:
    try:
        values = {**manifest["model"], "trust_remote_code": trust_remote_code}
        config = build(ModelConfig, values, where="model")
    except ConfigError as error:
        raise _damaged(path, f"'model': {error}") from None
    # A bundle answers in float32 on whatever machine: FlashAttention was for its training.
    flash = config.attention == "flash_attention_2"
    return config.model_copy(update={"attention": "auto"}) if flash else config


def open_bundle(
    folder: Path, device: str = "cpu", trust_remote_code: bool = False, own: bool = False
) -> Opened:
    """The trained model, tokenizer and task from a bundle.

    trust_remote_code: run Python code that comes with the model, or with the bundle (a head of one's own).
    What the bundle says of it does not count: a bundle from a stranger must not allow itself to run code.
    own: the caller has written the bundle itself just now, its code among it.

    Raises:
        BundleError: it is damaged, or its base model is not the one it was trained on.
        ModelError: its base model cannot be found.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["sha256"].items():
        path = folder / name
        if not path.is_file() or file_digest(path) != expected:
            state = "is damaged (its checksum differs)" if path.is_file() else "is missing"
            raise BundleError(f"{path} {state}; copy the bundle again or train it again")
    path = folder / "tunelab.json"
    method, task = _method(manifest, path), _task(manifest["task"], path)
    _take_code(task, folder, manifest, trust_remote_code or own)
    config = _model_config(manifest, path, trust_remote_code)
    whole = manifest["weights"] == "transformers"
    source = Located(str(folder), folder) if whole else _base(folder, manifest["base"], config)
    tokenizer, _ = load_tokenizer(Located(str(folder), folder), config)
    model = load_model(source, config, task.model_class, task.model_options(), tokenizer.pad_token_id, device)
    model = task.equip(model, folder if whole else None)
    with warnings.catch_warnings():
        # PEFT warns that the base model lies in another folder; the fingerprint has proved it the same.
        warnings.filterwarnings("ignore", message="The PEFT config's `base_model_name_or_path` was renamed")
        tuned = method.restore(model, folder)
    tuned.model.to(device).eval()
    assert config.max_length is not None, "settled before training"
    return Opened(folder, manifest, task, method, tuned, tokenizer, config.max_length)


def _take_code(task: Task, folder: Path, manifest: Mapping[str, Any], allowed: bool) -> None:
    """A head of the user's, from the bundle's own files or from a module that is installed. (A loss is not
    asked any more.)"""
    if not task.runs:
        return
    held = task.runs == "head.py"
    if not allowed:
        what = "holds Python code, the model's head (head.py)" if held else f"has the head {task.runs}"
        raise BundleError(
            f"{folder} {what}, which runs when it is opened. Read it, and if you trust it allow it with "
            "--trust-remote-code (in Python trust_remote_code=True)"
        )
    if held and "head.py" not in manifest["sha256"]:
        raise _damaged(folder / "tunelab.json", "'sha256' lacks head.py")
    try:
        task.adopt(folder)
    except ConfigError as error:  # of a module that is not here
        raise BundleError(f"{folder} does not hold its head's code: {error}") from None


def _base(folder: Path, base: Mapping[str, str], config: ModelConfig) -> Located:
    places = [folder / "base", Path(base["folder"])]
    found = next((Located(base["name"], p) for p in places if (p / "config.json").is_file()), None)
    if found is None:
        try:
            found = locate(config.model_copy(update={"name": base["name"]}))
        except ModelError as error:
            raise ModelError(f"the base model of {folder} is needed. {error}") from error
    if fingerprint(found) != base["fingerprint"]:
        raise BundleError(
            f"{folder} was trained on another {base['name']}: the weights in {found.folder} differ. Put the "
            f"right ones into {folder / 'base'}"
        )
    return found
