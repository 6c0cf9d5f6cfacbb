"""One process of plain `transformers.Trainer` and `peft`: nothing of tunelab is in it.

`best`: what a user who knows transformers 5 well sets for this machine: bfloat16, batches of like length
(`train_sampling_strategy="group_by_length"`), no logs, no checkpoints. `random`: the same with rows drawn
at random, as tunelab draws them. `defaults`: `TrainingArguments` as they come (float32, logs and checkpoints
every 500 steps), batches of 16. `tutorial`: the same, every text padded to one length. All validate once an
epoch.
"""

import json
import logging
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks._child import child, forget_peak, peak_memory
from benchmarks._methods import attach, param_groups

_BEST: dict[str, Any] = {
    "per_device_eval_batch_size": 64,
    "dataloader_num_workers": 0,
    "logging_strategy": "no",
    "save_strategy": "no",
    "disable_tqdm": True,
}
#: Of a text in the tutorials, where the job itself asks for no length.
_TUTORIAL_LENGTH = 128


def measure(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A training, or the answers for many texts."""
    torch.set_num_threads(spec["threads"])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("peft").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        found = _predict(spec, folder) if spec["kind"] == "predict" else _train(spec, folder)
    cuda = spec["device"] != "cpu"
    return {**found, "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else peak_memory()}


def _train(spec: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Seconds: of `Trainer.train`, from its call to its return, validations included."""
    tokenizer, rows = AutoTokenizer.from_pretrained(spec["model"]), _read(spec)
    parts = {part: _encoded(spec, rows[part], rows["labels"], tokenizer) for part in rows["parts"]}
    forget_peak()
    transformers.set_seed(spec["seed"])  # before the head is drawn; Trainer seeds once more
    model = AutoModelForSequenceClassification.from_pretrained(spec["model"], num_labels=len(rows["labels"]))
    model.config.pad_token_id = tokenizer.pad_token_id
    steps = max(1, round(spec["epochs"] * math.ceil(len(parts["train"]) / _batch_size(spec))))
    model, callbacks = attach(spec["method"], spec["settings"], model, steps)
    rate = spec["learning_rate"]
    groups = param_groups(spec["method"], spec["settings"], model, rate, spec["weight_decay"])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counter = _Counter(model)
    trainer = Trainer(
        model,
        _arguments(spec, folder, steps),
        DataCollatorWithPadding(tokenizer),
        parts["train"],
        parts["valid"],
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
        },
        callbacks=callbacks,
        optimizers=(torch.optim.AdamW(groups, fused=True) if groups else None, None),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    evaluations = [entry["eval_runtime"] for entry in trainer.state.log_history if "eval_runtime" in entry]
    trainer.args.train_sampling_strategy = "random"  # by length, predictions would come in another order
    began = time.monotonic()
    logits_NC = trainer.predict(parts["test"]).predictions
    return {
        "seconds": seconds,
        "test_seconds": time.monotonic() - began,
        "evaluation_seconds": sum(evaluations),
        "steps": trainer.state.global_step,
        "tokens": counter.tokens,
        "padding_share": 1.0 - counter.tokens / max(counter.padded, 1),
        "trained_parameters": trained,
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "predictions": [rows["labels"][i] for i in logits_NC.argmax(1)],
    }


def _arguments(spec: Mapping[str, Any], folder: str, steps: int) -> TrainingArguments:
    """The same schedule on every side, and what the setting adds."""
    by_length = {"train_sampling_strategy": "group_by_length"} if spec["setting"] == "best" else {}
    best = {**_BEST, **by_length, "bf16": spec["bf16"]} if _at_its_best(spec) else {}
    return TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=_batch_size(spec),
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(spec["warmup_ratio"] * steps),
        weight_decay=spec["weight_decay"],
        max_grad_norm=spec["max_grad_norm"],
        eval_strategy="epoch",
        label_names=["labels"],
        seed=spec["seed"],
        use_cpu=spec["device"] == "cpu",
        dataloader_pin_memory=spec["device"] != "cpu",
        report_to="none",
        **best,
    )


def _at_its_best(spec: Mapping[str, Any]) -> bool:
    return spec["setting"] in ("best", "random")


def _batch_size(spec: Mapping[str, Any]) -> int:
    return int(spec["batch_size"]) if _at_its_best(spec) else 16


def _read(spec: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(spec["rows"]).read_text(encoding="utf-8"))
    return rows


def _encoded(
    spec: Mapping[str, Any], part: Mapping[str, Any], labels: Sequence[str], tokenizer: Any
) -> list[dict[str, Any]]:
    if spec["setting"] == "tutorial":
        length = {"padding": "max_length", "max_length": spec["own_length"] or _TUTORIAL_LENGTH}
    else:
        length = {"max_length": spec["max_length"]}
    found = tokenizer(part["texts"], truncation=True, **length)
    numbers = {label: i for i, label in enumerate(labels)}
    columns = {**found, "labels": [numbers[label] for label in part["labels"]]}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class _Counter:
    """Tokens that the model is trained on, without and with padding."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.tokens = self.padded = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: torch.nn.Module, _: Any, inputs: Mapping[str, Any]) -> None:
        if model.training:
            self.tokens += int(inputs["attention_mask"].sum())
            self.padded += inputs["attention_mask"].numel()


# Answers for many texts


def _predict(spec: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Seconds: from texts to classes, tokenizing included, with the model open."""
    texts = _read(spec)["texts"]
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model = AutoModelForSequenceClassification.from_pretrained(spec["model"], num_labels=2)
    answer = _pipeline if spec["setting"] == "pipeline" else _trainer_predict
    answer(spec, folder, model, tokenizer, texts[:64])  # warms up
    began = time.monotonic()
    classes = answer(spec, folder, model, tokenizer, texts)
    seconds = time.monotonic() - began
    assert len(classes) == len(texts)
    return {"seconds": seconds, "rows": len(texts)}


def _pipeline(
    spec: Mapping[str, Any], folder: str, model: Any, tokenizer: Any, texts: Sequence[str]
) -> Sequence[Any]:
    answer = transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, device=spec["device"], batch_size=32
    )
    return answer(list(texts), truncation=True, max_length=spec["max_length"])


def _trainer_predict(
    spec: Mapping[str, Any], folder: str, model: Any, tokenizer: Any, texts: Sequence[str]
) -> Sequence[Any]:
    """`best`: bfloat16, 64 rows at once, the longest texts first (sorted here: with `group_by_length` Trainer
    gives its answers in another order than the rows')."""
    best = spec["setting"] == "best"
    ids = tokenizer(list(texts), truncation=True, max_length=spec["max_length"])["input_ids"]
    order = np.argsort([-len(row) for row in ids], kind="stable") if best else np.arange(len(ids))
    options = {"bf16": spec["bf16"], "per_device_eval_batch_size": 64, "disable_tqdm": True} if best else {}
    cpu = spec["device"] == "cpu"
    arguments = TrainingArguments(
        output_dir=folder, use_cpu=cpu, dataloader_pin_memory=not cpu, report_to="none", **options
    )
    trainer = Trainer(model, arguments, DataCollatorWithPadding(tokenizer))
    rows: Any = [{"input_ids": ids[i]} for i in order]
    found: Any = trainer.predict(rows).predictions
    classes = np.empty(len(ids), dtype=np.int64)
    classes[order] = found.argmax(1)
    return list(classes)


if __name__ == "__main__":
    child(measure)
