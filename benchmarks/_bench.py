"""Measured processes one after another: what each is told, and the file that its result is kept in."""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tunelab
from benchmarks._made import SHAPES, make_model, make_texts
from tunelab import methods
from tunelab.api import run_config
from tunelab.config import RunConfig, merge_settings
from tunelab.provenance import code_digest, versions
from tunelab.study.prepare import Prepared, prepare
from tunelab.train.precision import choose

__all__ = ["OURS", "Bench", "Training"]

ROOT = Path(__file__).resolve().parents[1]
#: The name of tunelab's side; every other one is a setting of `benchmarks._trainer`.
OURS = "tunelab"
_PACKAGES = ("python", "torch", "transformers", "peft", "accelerate", "tokenizers")
_BUSY = "while True: pass"

Record = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One training, the same on every side.

    data: a folder under --data, "texts-ROWS-TOKENS" (made) or a path. model: a packaged name, one of
    `_made.SHAPES` or a folder. own_length: tokens of a text that are kept, None for tunelab's default.
    settings: the method's; options: further settings of tunelab alone, "speed.fast_dropout": False.
    """

    data: str
    model: str = "minilm"
    method: str = "full"
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    epochs: float = 3.0
    batch_size: int = 32
    own_length: int | None = None
    text: str | None = None
    label: str | None = None
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    def all_options(self) -> dict[str, Any]:
        """Settings as `tunelab.run` takes them."""
        own = {f"{self.method}.{name}": value for name, value in self.settings.items()}
        length = {} if self.own_length is None else {"model.max_length": self.own_length}
        train = {"train.epochs": self.epochs, "train.batch_size": self.batch_size}
        return {**train, **length, **own, **self.options}


class Bench:
    """made: a folder for models and data that are made for this call; it is gone afterwards."""

    def __init__(self, args: argparse.Namespace, made: Path) -> None:
        self.args = args
        self.out: Path = args.out
        self.made = made
        self._prepared: dict[str, Prepared] = {}
        self.out.mkdir(parents=True, exist_ok=True)

    # What is measured

    def sized(self, training: Training) -> Training:
        """With --rows, --epochs, --batch-size and --steps: that many batches of rows in one epoch."""
        given = {name: getattr(self.args, name) for name in ("rows", "epochs", "batch_size")}
        sized = replace(training, **{name: value for name, value in given.items() if value is not None})
        if self.args.steps is None:
            return sized
        return replace(sized, rows=self.args.steps * sized.batch_size, epochs=1.0)

    def alternating(
        self, name: str, training: Training, sides: Sequence[str], repeats: int | None = None
    ) -> dict[str, list[Record]]:
        """Repeat i of every side has seed i, and every second repeat goes backwards."""
        found: dict[str, list[Record]] = {side: [] for side in sides}
        for repeat in range(repeats or self.args.repeats):
            for side in sides if repeat % 2 == 0 else reversed(sides):
                found[side].append(self.train(f"{name}-{side}", training, side, repeat))
        return found

    def train(self, name: str, training: Training, side: str, seed: int, busy: bool = False) -> Record:
        """One training in a process of its own."""
        config, prepared = self.config(training), self.prepared(training)
        shared = {"kind": "train", "method": training.method, "seed": seed, "device": training.device}
        if side == OURS:
            own = {
                "files": list(config.files),
                "model": config.model.name,
                "text": training.text,
                "label": training.label,
                "rows": training.rows,
                "options": training.all_options(),
            }
            spec, module = {**shared, **own, "data": prepared.digest}, "_tunelab"
        else:
            spec, module = {**shared, **self._theirs(training, side)}, "_trainer"
        return self.measure(f"{name}-s{seed}", module, spec, busy)

    def _theirs(self, training: Training, side: str) -> dict[str, Any]:
        config, prepared = self.config(training), self.prepared(training)
        method = methods.find(training.method).make(config.settings)
        return {
            "setting": side,
            "settings": method.settings.model_dump(mode="json"),
            "learning_rate": config.train.learning_rate or method.learning_rate,
            "model": str(prepared.base.folder),
            "rows": str(self._rows_file(prepared)),
            "epochs": training.epochs,
            "bf16": self.low_precision(training.device),
            "max_length": prepared.model.max_length,
            "own_length": training.own_length,
            **config.train.model_dump(
                include={"batch_size", "warmup_ratio", "weight_decay", "max_grad_norm"}
            ),
        }

    def _rows_file(self, prepared: Prepared) -> Path:
        """What tunelab trains, validates and tests on, as texts with labels."""
        frame, split = prepared.table.frame, prepared.split(0)
        parts = {"train": split.train, "valid": split.valid, "test": np.sort(split.test)}
        rows: dict[str, Any] = {
            part: {"texts": frame["text"].iloc[at].tolist(), "labels": frame["label"].iloc[at].tolist()}
            for part, at in parts.items()
        }
        labels = sorted(set(rows["train"]["labels"]))
        return self.json_file({**rows, "parts": list(parts), "labels": labels})

    def json_file(self, value: Any) -> Path:
        """A file for measured processes to read, named by what is in it."""
        text = json.dumps(value)
        path = self.made / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        path.write_text(text, encoding="utf-8")
        return path

    def test_rows(self, training: Training) -> tuple[list[int], list[str]]:
        """Numbers and labels of the rows that every side is judged on."""
        prepared = self.prepared(training)
        rows = np.sort(prepared.split(0).test)
        return rows.tolist(), prepared.table.frame["label"].iloc[rows].tolist()

    def bundle(self, training: Training) -> str:
        """The folder of a finished tunelab model; made by a training that is not measured."""
        folder = self.made / "bundle"
        if not folder.exists():
            config = self.config(training)
            tunelab.run(
                config.files[0],
                method=training.method,
                model=config.model.name,
                rows=training.rows,
                out=self.made / "bundle-runs",
                device=training.device,
                settings=training.all_options(),
                progress=False,
            ).bundle.rename(folder)
        return str(folder)

    @staticmethod
    def low_precision(device: str) -> bool:
        """Whether bfloat16 is the faster one on this machine."""
        return choose("auto", device).name == "bfloat16"

    # Data and models

    def prepared(self, training: Training) -> Prepared:
        """As tunelab itself reads and divides the data."""
        config = self.config(training)
        key = json.dumps([config.files, config.data.model_dump(), config.model.model_dump()])
        if key not in self._prepared:
            self._prepared[key] = prepare(config.files, config.task, config.data, config.model)
        return self._prepared[key]

    def config(self, training: Training) -> RunConfig:
        given = {"text": training.text, "label": training.label, "rows": training.rows}
        data = {name: value for name, value in given.items() if value is not None}
        tree: dict[str, Any] = {"data": {"folds": 0, **data}, "model": {"name": self.model(training.model)}}
        for path, value in training.all_options().items():
            section, _, name = path.partition(".")
            tree = merge_settings(tree, {section: {name: value}})
        return run_config(str(self.data(training.data)), {**tree, "method": training.method})

    def data(self, name: str) -> Path:
        if not name.startswith("texts-"):
            folder: Path = self.args.data / name
            return folder.resolve() if folder.exists() else Path(name).resolve()
        folder = self.made / name
        if not folder.exists():
            rows, tokens, *vary = name.split("-")[1:]
            make_texts(int(rows), int(tokens), folder, bool(vary))
        return folder

    def model(self, name: str) -> str:
        if name not in SHAPES:
            return name
        folder = self.made / name
        return str(folder if folder.exists() else make_model(name, folder))

    # Processes

    def ceiling(self, device: str = "cpu") -> Record:
        """Floating-point operations a second that products reach here, by number format."""
        size = self.args.gemm_size or (2048 if device == "cpu" else 8192)
        return self.measure(f"gemm-{device}", "_gemm", {"size": size, "device": device, "least_seconds": 3.0})

    def measure(self, name: str, module: str, spec: Mapping[str, Any], busy: bool = False) -> Record:
        """The result of one process: from its file, or made now. One that failed is tried again."""
        spec = {**spec, "threads": self.args.threads}
        path, key = self.out / f"{name}.json", self._key(module, spec, busy)
        if path.is_file():
            known: Record = json.loads(path.read_text(encoding="utf-8"))
            if known["key"] == key and "error" not in known:
                return known
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        with _busy_core() if busy else contextlib.nullcontext():
            record = {"key": key, **self.launch(module, spec)}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")
        part.replace(path)
        print(record.get("error") or f"{record.get('seconds', 0):.1f} s", file=sys.stderr, flush=True)
        return record

    def _key(self, module: str, spec: Mapping[str, Any], busy: bool) -> str:
        """Of all that decides the result; where made files happen to lie does not."""
        code = code_digest() if module == "_tunelab" else ""
        parts = [module, spec, busy, code, [versions()[package] for package in _PACKAGES]]
        text = json.dumps(parts, sort_keys=True).replace(str(self.made), "")
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def launch(self, module: str, spec: Mapping[str, Any]) -> Record:
        """Runs the process alone; adds its whole time, from start to end."""
        number = len(list(self.made.glob("spec-*")))
        told, found = self.made / f"spec-{number}.json", self.made / f"found-{number}.json"
        told.write_text(json.dumps(spec), encoding="utf-8")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.args.threads),
            "HF_HUB_OFFLINE": "1",
            "TUNELAB_CACHE": str(self._cache(number)),
        }
        command = [sys.executable, "-m", f"benchmarks.{module}", str(told), str(found)]
        began = time.monotonic()
        with (self.out / "stderr.txt").open("a", encoding="utf-8") as log:
            ended = subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log, check=False)
        whole = time.monotonic() - began
        if not found.is_file():
            return {"error": f"the process ended with code {ended.returncode} (see stderr.txt)"}
        return {**json.loads(found.read_text(encoding="utf-8")), "whole_seconds": whole}

    def _cache(self, number: int) -> Path:
        """A cache folder where nobody finds his texts tokenized, but what is measured once a machine."""
        own, shared = self.made / f"cache-{number}", self.out / "machine"
        for folder in (own, shared):
            folder.mkdir(parents=True, exist_ok=True)
        (own / "attention").symlink_to(shared.resolve())
        return own


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    """Somebody else's process that never rests."""
    other = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield
    finally:
        other.kill()
        other.wait()


@functools.cache
def layer_parameters(folder: str) -> tuple[int, int]:
    """Numbers in the matrices of one layer, and layers, of the model in a folder."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from benchmarks._methods import level

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    depth = int(config.num_hidden_layers)
    inside = [p.numel() for n, p in model.named_parameters() if 1 <= level(model, n) <= depth and p.ndim > 1]
    return sum(inside) // depth, depth
