"""Checkpoints: a run's whole state on disk, written atomically, with checksums, two kept.

A checkpoint is one safetensors file of tensors and one JSON file of plain values with the tensors'
SHA-256; the JSON file is written last and names the step, so a checkpoint without a fitting JSON file
does not exist. A damaged one is told and the one before is used.
"""

import hashlib
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunelab.files import file_atomically, file_digest, output_errors, write_atomically

__all__ = ["Snapshot", "discard", "latest", "random_state", "save", "set_random_state"]

log = logging.getLogger("tunelab")

_KEPT = 2


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to go on: tensors by name, and plain values (JSON)."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Writes a checkpoint and removes all but the newest two; returns its JSON file."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{snapshot.step:08d}"
        digest = _write(folder / f"{name}.safetensors", snapshot.tensors)
        record = {"step": snapshot.step, "sha256": digest, "values": snapshot.values}
        text = json.dumps(record)
        sealed = json.dumps({"record": record, "seal": hashlib.sha256(text.encode()).hexdigest()})
        write_atomically(folder / f"{name}.json", sealed.encode())
    for old in sorted(folder.glob("step-*.json"))[:-_KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return folder / f"{name}.json"


def latest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest undamaged checkpoint, and a note for every damaged one that was passed over."""
    notes: list[str] = []
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return _read(path), notes
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"checkpoint {path.stem} is damaged ({error}); the one before is used")
            log.warning("%s", notes[-1])
    return None, notes


def _read(path: Path) -> Snapshot:
    sealed = json.loads(path.read_bytes())
    record = sealed["record"]
    if hashlib.sha256(json.dumps(record).encode()).hexdigest() != sealed["seal"]:
        raise ValueError("its values do not fit their checksum")
    stored = path.with_suffix(".safetensors")
    if file_digest(stored) != record["sha256"]:
        raise ValueError("its tensors do not fit their checksum")
    # (What is loaded is the file itself, mapped: copied, so that it can go when a newer checkpoint comes.)
    tensors = {name: tensor.clone() for name, tensor in load_file(stored).items()}
    return Snapshot(record["step"], tensors, record["values"])


def _write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes tensors from where they lie in memory (from a GPU by a copy), and returns the file's SHA-256."""
    with file_atomically(path) as work:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, work)
        return file_digest(work)


def discard(folder: Path) -> None:
    """Removes all checkpoints (the run is finished and its bundle written)."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def random_state(device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every random state that a training on `device` may draw from, as tensors and plain values."""
    version, words, gauss = random.getstate()
    state: Any = np.random.get_state()
    kind, keys, position, has_gauss, cached = state
    tensors = {"random.torch": torch.get_rng_state(), "random.numpy": torch.from_numpy(keys.astype(np.int64))}
    where = torch.device(device)
    if where.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(where)
    values = {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), int(position), int(has_gauss), float(cached)],
    }
    return tensors, values


def set_random_state(
    tensors: Mapping[str, Tensor], values: Mapping[str, Any], device: str | torch.device = "cpu"
) -> None:
    """Puts back what `random_state` gave; the training may have moved to another GPU meanwhile."""
    version, words, gauss = values["python"]
    random.setstate((version, tuple(words), gauss))
    kind, position, has_gauss, cached = values["numpy"]
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, cached))
    torch.set_rng_state(tensors["random.torch"])
    where = torch.device(device)
    if where.type == "cuda" and (drawn := _of_gpu(tensors, where)) is not None:
        torch.cuda.set_rng_state(drawn, where)


def _of_gpu(tensors: Mapping[str, Tensor], device: torch.device) -> Tensor | None:
    """The GPU's random state. Checkpoints used to have every GPU's by number: the same one's, else the
    first's."""
    index = torch.cuda.current_device() if device.index is None else device.index
    names = ("random.cuda", f"random.cuda.{index}", "random.cuda.0")
    return next((tensors[name] for name in names if name in tensors), None)
