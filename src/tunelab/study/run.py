"""One run: a method trained on one split with one seed, judged once on its test rows, and recorded."""

import hashlib
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from tunelab import methods
from tunelab.config import RunConfig
from tunelab.files import output_errors, write_atomically, write_json
from tunelab.methods.base import Method, Tuned
from tunelab.models import load_model, load_tokenizer
from tunelab.provenance import code_digest, machine, versions
from tunelab.serve.bundle import bundle_bytes, open_bundle, write_bundle
from tunelab.study.prepare import Prepared
from tunelab.tasks.base import Task
from tunelab.train import checkpoint
from tunelab.train.evaluate import predict_logits
from tunelab.train.loop import Trained, train
from tunelab.train.precision import choose
from tunelab.train.schedule import total_steps

__all__ = ["TOLERANCE", "run_folder", "run_once", "seed_everything", "verify"]

Listener = Callable[[str, Mapping[str, Any]], None]

#: Largest difference of a logit between the bundle reloaded in a fresh process and training: the
#: padding of a batch changes the order of float32 sums, nothing more.
TOLERANCE = 1e-4
_VERIFIED_ROWS = 64  # every weight takes part in every row


def run_folder(root: Path, config: RunConfig, prepared: Prepared, threads: int) -> Path:
    """The run's folder, named by what decides its result to the bit: settings, data, split, weights,
    version, and the number of threads (sums over threads are added in another order)."""
    key: dict[str, Any] = {
        "config": config.model_dump(mode="json", exclude={"files", "data"}),
        "settings": methods.find(config.method).make(config.settings).settings.model_dump(mode="json"),
        "data": prepared.digest,
        "split": prepared.split(config.fold).digest,
        "model": prepared.model_digest,
        "tunelab": versions()["tunelab"],
        "threads": threads,
    }
    # How often a run writes checkpoints or where its model lies changes nothing of its result.
    key["config"]["train"].pop("checkpoint_seconds")
    key["config"]["model"] = prepared.model.model_dump(mode="json", exclude={"name"})
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    fold = "all" if config.fold < 0 else f"f{config.fold}"
    return root / f"{config.method}-s{config.seed}-{fold}-{digest[:10]}"


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def run_once(
    config: RunConfig,
    prepared: Prepared,
    folder: Path,
    device: str = "cpu",
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains, judges, writes the bundle and the record; returns the record ("unverified" as yet).

    Goes on from a checkpoint in `folder`. Raises what `tunelab.train.loop.train` raises.
    """
    began = time.time()
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(folder / "config.yaml", text.encode("utf-8"))
    method = methods.find(config.method).make(config.settings)
    task = prepared.task(config.task, config.fold, config.loss)
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)

    seed_everything(config.seed)
    model = load_model(
        prepared.base, prepared.model, task.model_class, task.model_options(), prepared.pad_id, device
    )
    total = sum(p.numel() for p in model.parameters())
    tuned = method.attach(model)
    split = prepared.split(config.fold)
    precision = choose(config.train.precision, device)
    valid = prepared.examples(split.valid, task)
    valid_targets = valid.targets[split.valid]

    def judge() -> tuple[dict[str, float], str]:
        return task.scores(predict_logits(tuned.model, valid, precision), valid_targets), task.deciding

    trained = train(
        tuned,
        task.objective,
        prepared.examples(split.train, task),
        judge,
        config.train,
        learning_rate=config.train.learning_rate or method.learning_rate,
        seed=config.seed,
        folder=folder,
        precision=precision,
        listener=listener,
        stop=stop,
    )
    judged_on = split.test if len(split.test) else split.valid
    began_test = time.monotonic()
    logits = predict_logits(tuned.model, prepared.examples(judged_on, task), choose("float32", device))
    test_seconds = time.monotonic() - began_test
    scores = task.scores(logits, task.targets(prepared.table.frame["label"].iloc[judged_on].tolist()))

    with output_errors(folder):
        _write_predictions(folder / "predictions.parquet", prepared, task, judged_on, logits)
    write_bundle(
        folder / "bundle",
        tuned=tuned,
        method=method,
        task=task,
        tokenizer=tokenizer,
        base=prepared.base,
        model=prepared.model,
        scores=scores,
        about=_about(config, prepared, precision.name),
    )
    record = {
        "status": "unverified",
        "method": config.method,
        "settings": method.settings.model_dump(mode="json"),
        "seed": config.seed,
        "fold": config.fold,
        "deciding": task.deciding,
        "judged_on": "test" if len(split.test) else "valid",
        "scores": scores,
        "valid": trained.best,
        "cost": _cost(trained, tuned, total, folder / "bundle", test_seconds, device),
        "training": _training(trained, config, method, precision),
        "notes": trained.notes,
        "provenance": {
            **_about(config, prepared, precision.name),
            "model": {"name": prepared.base.name, "digest": prepared.model_digest},
            "versions": versions(),
            "code": code_digest(),
            "machine": machine(),
            "threads": torch.get_num_threads(),
            "started": began,
            "finished": time.time(),
        },
    }
    with output_errors(folder):
        write_json(folder / "result.json", record)
    checkpoint.discard(folder / "checkpoints")
    return record


def _about(config: RunConfig, prepared: Prepared, precision: str) -> dict[str, Any]:
    split = prepared.split(config.fold)
    return {
        "data": ", ".join(Path(f).name for f in config.files),
        "data_digest": prepared.digest,
        "split": split.name,
        "split_digest": split.digest,
        "seed": config.seed,
        "judged_on": "test rows"
        if len(split.test)
        else "validation rows (they also chose the best step; the study's table has the honest score)",
        "training": (
            f"{len(split.train)} rows, validated on {len(split.valid)}, "
            f"{total_steps(len(split.train), config.train)} steps of {config.train.batch_size}, {precision}"
        ),
    }


def _cost(
    trained: Trained, tuned: Tuned, total: int, bundle: Path, test_seconds: float, device: str
) -> dict[str, Any]:
    moved = sum(tensor.numel() for tensor in tuned.state().values())
    return {
        "train_seconds": trained.seconds,
        "evaluation_seconds": trained.evaluation_seconds,
        "test_seconds": test_seconds,
        "peak_memory_bytes": _peak_memory(device),
        "trained_parameters": moved,
        "model_parameters": total,
        "trained_share": moved / total,
        "bundle_bytes": bundle_bytes(bundle),
    }


def _peak_memory(device: str) -> int:
    """Largest resident memory of this process so far (or of the GPU, where one is used), bytes."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _training(trained: Trained, config: RunConfig, method: Method, precision: Any) -> dict[str, Any]:
    return {
        "steps": trained.steps,
        "planned_steps": trained.total_steps,
        "best_step": trained.best_step,
        "learning_rate": config.train.learning_rate or method.learning_rate,
        "micro_batch_size": trained.micro_batch_size,
        "tokens": trained.tokens,
        "padding_share": 1.0 - trained.tokens / max(trained.padded_tokens, 1),
        "precision": precision.name,
        "precision_reason": precision.reason,
        "resumed_at_steps": trained.resumed_at,
    }


def _write_predictions(
    path: Path, prepared: Prepared, task: Task, rows: np.ndarray, logits: np.ndarray
) -> None:
    frame = prepared.table.frame.iloc[rows]
    parts = [
        pd.DataFrame(
            {
                "item": rows,
                "file": frame["file"].to_numpy(),
                "row": frame["row"].to_numpy(),
                "label": frame["label"].to_numpy(),
            }
        ),
        task.decode(logits),
        pd.DataFrame(logits, columns=[f"logit({i})" for i in range(logits.shape[1])]),
    ]
    data = pd.concat(parts, axis=1).to_parquet(index=False)
    assert isinstance(data, bytes)
    write_atomically(path, data)


def verify(folder: Path, prepared: Prepared, device: str = "cpu") -> dict[str, Any]:
    """Reloads the bundle, compares its outputs with those of training, and seals the record.

    To be called in a fresh process. A run whose bundle differs is recorded as failed.
    """
    record: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    stored = pd.read_parquet(folder / "predictions.parquet")
    columns = [c for c in stored.columns if c.startswith("logit(")]
    rows = stored["item"].to_numpy()[:_VERIFIED_ROWS]
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code)
    logits = predict_logits(
        opened.tuned.model, prepared.examples(rows, opened.task), choose("float32", device)
    )
    difference = float(np.abs(logits - stored[columns].to_numpy()[: len(rows)]).max())
    scale = max(1.0, float(np.abs(logits).max()))
    same = difference <= TOLERANCE * scale
    record["verified"] = {"rows": len(rows), "largest_difference": difference, "equal": same}
    record["status"] = "finished" if same else "failed"
    if not same:
        record["error"] = (
            f"the reloaded bundle's outputs differ from training's by up to {difference:.3g}; "
            "please report this"
        )
    with output_errors(folder):
        write_json(folder / "result.json", record)
    return record


def remove_bundle(folder: Path, reason: str) -> None:
    """Removes a run's weights and writes into its record that and why."""
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    record["bundle"] = f"removed: {reason}"
    write_json(folder / "result.json", record)
