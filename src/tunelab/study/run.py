"""One run: a method trained on one split with one seed, judged once on its test rows, and recorded.

Kinds of runs: "judged" and "refit" leave a bundle; "curve" is judged only; "trial" sees no test row.
"""

import contextlib
import hashlib
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.numpy import load, save

from tunelab import methods, tasks
from tunelab.config import ModelConfig, RunConfig, SpeedConfig, build
from tunelab.data.batch import Examples
from tunelab.errors import Stopped
from tunelab.files import output_errors, write_atomically, write_json
from tunelab.methods.base import Method, Tuned
from tunelab.models import load_model, load_tokenizer
from tunelab.provenance import code_digest, machine, versions
from tunelab.serve.bundle import bundle_bytes, open_bundle, write_bundle
from tunelab.study import forgetting
from tunelab.study.asking import Asker
from tunelab.study.candidates import OWN_OF_MODEL
from tunelab.study.online import ROUNDS, improving
from tunelab.study.own_files import in_settings, named
from tunelab.study.prepare import Prepared
from tunelab.study.rewarding import stamps
from tunelab.study.untouched import Wanted, with_untouched
from tunelab.tasks.base import Task
from tunelab.train import checkpoint
from tunelab.train.evaluate import predict_logits
from tunelab.train.levers import Faster, faster, faster_judging
from tunelab.train.loop import Trained, train
from tunelab.train.precision import Precision, choose, in_float32
from tunelab.train.regularise import regularised
from tunelab.train.schedule import total_steps

__all__ = [
    "TOLERANCE",
    "Bars",
    "Kind",
    "ask_untouched",
    "attach",
    "judge_of",
    "judging",
    "model_of",
    "peak_memory",
    "read_record",
    "remove_bundle",
    "restore_bundle",
    "run_folder",
    "run_once",
    "save_bundle",
    "seed_everything",
    "speed_up",
    "verify",
    "write_predictions",
]

Listener = Callable[[str, Mapping[str, Any]], None]
Kind = Literal["judged", "refit", "curve", "trial"]
#: (step, validation score) that a trial must have reached by then to go on.
Bars = tuple[tuple[int, float], ...]

#: Largest difference of a logit between the bundle reloaded in a fresh process and training: the
#: padding of a batch changes the order of float32 sums, nothing more.
TOLERANCE = 1e-4
_VERIFIED_ROWS = 64  # every weight takes part in every row


def run_folder(
    root: Path,
    config: RunConfig,
    prepared: Prepared,
    threads: int,
    device: str = "cpu",
    kind: Kind = "judged",
    bars: Bars = (),
) -> Path:
    """The run's folder, named by what decides its result to the bit (on a GPU to rounding): settings, data,
    split, weights, tokens, version, device, precision, and the number of threads (sums over threads are added
    in another order)."""
    key: dict[str, Any] = {
        "config": config.model_dump(mode="json", exclude={"files", "data"}),
        "settings": methods.find(config.method).make(config.settings).settings.model_dump(mode="json"),
        "data": prepared.digest,
        "split": prepared.split(config.fold, config.share).digest,
        "model": prepared.model_digest,
        "tokens": prepared.token_digest,
        "tunelab": versions()["tunelab"],
        "threads": threads,
        "device": torch.device(device).type,
        "precision": choose(config.train.precision, device).name,
        "kind": kind,
        "bars": bars,
    }
    task = tasks.find(config.task)
    if own := task.own_code(build(task.Settings, config.task_settings, where=task.name)):
        key["code"] = own
    if rewards := stamps(config.task_settings):
        key["rewards"] = rewards
    # (what stands in the user's own files is part of it, and where they lie is not)
    key["config"]["task_settings"] = in_settings(named, key["config"]["task_settings"])
    train = key["config"]["train"]
    train["learning_rate"] = train["learning_rate"] or methods.find(config.method).learning_rate
    key["config"].pop("augment")  # what it made is among the data; what of it is learnt from:
    if prepared.copies is not None:
        learnt = np.ascontiguousarray(prepared.training(config.fold, config.share), dtype=np.int64)
        key["learnt"] = hashlib.sha256(learnt.data).hexdigest()
    # How often a run writes checkpoints or where its model lies changes nothing of its result.
    train.pop("checkpoint_seconds")
    key["config"]["model"] = model_of(config, prepared).model_dump(mode="json", exclude={"name"})
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    fold = "all" if config.fold < 0 else f"f{config.fold}"
    start = {"judged": "", "refit": "", "curve": "curve-", "trial": "trial-"}[kind]
    return root / f"{start}{config.method}-s{config.seed}-{fold}-{digest[:10]}"


@contextlib.contextmanager
def _told_when_stopped(seconds: float) -> Iterator[None]:
    """What a run had spent before its first step, should it be stopped."""
    try:
        yield
    except Stopped as stopped:
        stopped.before_seconds = seconds
        raise


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
    kind: Kind = "judged",
    reference: Path | None = None,
) -> dict[str, Any]:
    """Trains, judges, writes the bundle and the record; returns the record ("unverified" as yet, where there
    is a bundle). Goes on from a checkpoint in `folder`. Raises what `tunelab.train.loop.train` raises.

    reference: what the untouched model does on general text, to measure forgetting by; None: not measured.
    """
    began = time.time()
    _write_config(config, folder)
    method = methods.find(config.method).make(config.settings)
    task = prepared.task(config, config.fold, config.share)
    precision = choose(config.train.precision, device)
    prepared, untouched_seconds = ask_untouched(config, prepared, task, precision, kind != "trial")
    clock = time.monotonic()
    tuned, total = attach(config, prepared, method, task, device)
    load_seconds = time.monotonic() - clock
    own = improving(config, prepared, task, tuned, folder, precision) if task.online else None
    objective = own.objective if own else task.objective_of(tuned.model)
    with (
        speed_up(config, prepared, tuned, task, precision) as fast,
        _told_when_stopped(fast.trunk_seconds + untouched_seconds),
        regularised(tuned, objective, task.divergence, config.train) as with_all,
    ):
        trained = train(
            with_all.tuned,
            with_all.objective,
            own.buffer if own else fast.train,
            with_all.judging(judge_of(config, prepared, tuned, task, fast.valid, precision)),
            config.train,
            learning_rate=config.train.learning_rate or method.learning_rate,
            seed=config.seed,
            folder=folder,
            precision=precision,
            pace=own.rows if own else _pace(config, prepared, task),
            listener=listener,
            stop=stop,
        )
    record: dict[str, Any] = {
        "status": "finished",
        "kind": kind,
        **_settings_of(config, method),
        "deciding": task.deciding,
        "valid": trained.best,
        "cost": {
            **_cost(trained, tuned, total, load_seconds),
            "trunk_seconds": fast.trunk_seconds + untouched_seconds,
        },
        "training": {
            **_training(trained, config, method, precision),
            "levers": fast.told,
            **({"online": own.told()} if own else {}),
        },
        "notes": trained.notes,
        "provenance": _provenance(config, prepared, precision, began),
    }
    if kind != "trial":
        _judge_test(record, config, prepared, task, tuned, folder, device)
    record["cost"]["peak_memory_bytes"] = peak_memory(device)
    clock = time.monotonic()
    if reference is not None:
        found = forgetting.measure_forgetting(tuned, reference, prepared, device)
        record["forgetting"] = found.model_dump() if found is not None else None
    if kind in ("judged", "refit"):
        about = _about(config, prepared, precision.name)
        saved = replace(prepared, model=model_of(config, prepared))
        save_bundle(folder / "bundle", saved, method, task, tuned, record["scores"], about)
        record["status"] = "unverified"
        record["cost"]["bundle_bytes"] = bundle_bytes(folder / "bundle")
    record["cost"]["save_seconds"] = time.monotonic() - clock
    record["provenance"]["finished"] = time.time()
    with output_errors(folder):
        write_json(folder / "result.json", record)
    checkpoint.discard(folder / "checkpoints")
    shutil.rmtree(folder / ROUNDS, ignore_errors=True)
    return record


def _settings_of(config: RunConfig, method: Method) -> dict[str, Any]:
    return {
        "method": config.method,
        "settings": method.settings.model_dump(mode="json"),
        "seed": config.seed,
        "fold": config.fold,
        "share": config.share,
    }


def _provenance(config: RunConfig, prepared: Prepared, precision: Precision, began: float) -> dict[str, Any]:
    return {
        **_about(config, prepared, precision.name),
        "model": {"name": prepared.base.name, "digest": prepared.model_digest},
        "versions": versions(),
        "code": code_digest(),
        "machine": machine(precision.device),
        "threads": torch.get_num_threads(),
        "started": began,
    }


def model_of(config: RunConfig, prepared: Prepared) -> ModelConfig:
    """How this run opens the model: as all runs of the study do, but with dropouts of its own."""
    return prepared.model.model_copy(update={name: getattr(config.model, name) for name in OWN_OF_MODEL})


def attach(
    config: RunConfig, prepared: Prepared, method: Method, task: Task, device: str
) -> tuple[Tuned, int]:
    """The model with the method attached, and how many parameters the model alone has. Seeds everything."""
    method.check(task.model_class)
    seed_everything(config.seed)
    model = load_model(
        prepared.base,
        model_of(config, prepared),
        task.model_class,
        task.model_options(),
        prepared.pad_id,
        device,
    )
    with in_float32(model):  # (some look at what depends on what by a pass of their own)
        model = task.equip(model)
        total = sum(p.numel() for p in model.parameters())
        return method.attach(model), total


def ask_untouched(
    config: RunConfig, prepared: Prepared, task: Task, precision: Precision, judged: bool
) -> tuple[Prepared, float]:
    """See `with_untouched`: what a run trains on, validates on and (judged) is judged on."""
    split = prepared.split(config.fold, config.share)
    last = split.test if len(split.test) else split.valid
    learnt = prepared.training(config.fold, config.share)
    wanted: list[Wanted] = [(learnt, precision, True), (split.valid, precision, False)]
    if judged:
        wanted.append((last, choose("float32", precision.device), False))
    return with_untouched(prepared, task, wanted)


def speed_up(
    config: RunConfig, prepared: Prepared, tuned: Tuned, task: Task, precision: Precision
) -> contextlib.AbstractContextManager[Faster]:
    """The context in which a run is trained and validated, and the rows to do it with."""
    split = prepared.split(config.fold, config.share)
    learnt = prepared.training(config.fold, config.share)
    return faster(
        tuned,
        prepared.held(task.for_training(prepared.examples(learnt, task)), task),
        prepared.examples(split.valid, task),
        prepared.examples(prepared.trained_rows(config.fold), task),
        _speed(config, prepared, task),
        precision,
        prepared.features,
        features_key(config, prepared),
        task.token_by_token,
    )


def _speed(config: RunConfig, prepared: Prepared, task: Task | None = None) -> SpeedConfig:
    """The levers, less the attention where the user has chosen one, and less those that know rows beforehand
    where a model writes its own."""
    off = {"attention": False} if prepared.model.attention != "auto" else {}
    if task is not None and (task.written or task.online):
        off |= {"trunk_cache": False, "compact_vocabulary": False}
    return config.speed.model_copy(update=off)


def features_key(config: RunConfig, prepared: Prepared) -> str:
    """What decides the output of frozen layers for a row, besides which layers, rows and precision."""
    parts = (
        prepared.model_digest,
        prepared.token_digest,
        prepared.model.model_dump_json(exclude={"name"}),
        _speed(config, prepared).attention,
        torch.get_num_threads(),
    )
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def judge_of(
    config: RunConfig, prepared: Prepared, tuned: Tuned, task: Task, valid: Examples, precision: Precision
) -> Callable[[], tuple[dict[str, float], str]]:
    """What the loop calls to score the validation items, of which `valid` are the rows."""
    items = prepared.split(config.fold, config.share).valid
    truth, units = task.truth_of(prepared.table.frame.iloc[items]), prepared.units(items)
    ask = Asker(task, prepared, items, precision)

    def judge() -> tuple[dict[str, float], str]:
        outputs = ask(tuned.model, valid)
        return task.scores(outputs, truth, units), task.deciding

    return judge


def save_bundle(
    folder: Path,
    prepared: Prepared,
    method: Method,
    task: Task,
    tuned: Tuned,
    scores: Mapping[str, float],
    about: Mapping[str, Any],
) -> None:
    """The bundle of a method trained on this study's data."""
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
    task.dress(tokenizer, prepared.settings)
    write_bundle(
        folder,
        tuned=tuned,
        method=method,
        task=task,
        tokenizer=tokenizer,
        base=prepared.base,
        model=prepared.model,
        scores=scores,
        about=about,
    )


def _write_config(config: RunConfig, folder: Path) -> None:
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(folder / "config.yaml", text.encode("utf-8"))


def _judge_test(
    record: dict[str, Any],
    config: RunConfig,
    prepared: Prepared,
    task: Task,
    tuned: Tuned,
    folder: Path,
    device: str,
) -> None:
    """Scores and predictions on the test rows (a refit has none: on its validation rows)."""
    split = prepared.split(config.fold, config.share)
    rows = split.test if len(split.test) else split.valid
    began = time.monotonic()
    with judging(config, prepared, tuned, task, prepared.examples(rows, task), device) as (examples, spared):
        outputs = Asker(task, prepared, rows, choose("float32", device))(tuned.model, examples)
    record["cost"]["test_seconds"] = time.monotonic() - began + spared  # as if it had been alone
    record["judged_on"] = "test" if len(split.test) else "valid"
    truth = task.truth_of(prepared.table.frame.iloc[rows])
    record["scores"] = task.scores(outputs, truth, prepared.units(rows))
    with output_errors(folder):
        found = write_predictions(folder / "predictions.parquet", prepared, task, rows, outputs)
        record["notes"] = [*record["notes"], *task.remarks(found)]
        if task.written:  # (what is written may hang on the last bit of a logit; the logits do not)
            _write_outputs(folder, _outputs_for(task, tuned.model, examples, device)[:_VERIFIED_ROWS])


def judging(
    config: RunConfig, prepared: Prepared, tuned: Tuned, task: Task, examples: Examples, device: str
) -> contextlib.AbstractContextManager[tuple[Examples, float]]:
    """The context in which rows are judged in float32, the rows to do it with, and the seconds that another
    run has spent on them."""
    precision = choose("float32", device)
    key, speed = features_key(config, prepared), _speed(config, prepared, task)
    return faster_judging(tuned, examples, speed, precision, prepared.features, key)


def _about(config: RunConfig, prepared: Prepared, precision: str) -> dict[str, Any]:
    split = prepared.split(config.fold, config.share)
    return {
        "data": ", ".join(Path(f).name for f in config.files),
        "pairs": prepared.pairs,
        "form": dict(prepared.form),
        "data_digest": prepared.digest,
        "split": split.name,
        "split_digest": split.digest,
        "seed": config.seed,
        "judged_on": "test rows"
        if len(split.test)
        else "validation rows (they also chose the best step; the study's table has the honest score)",
        "training": (
            f"{len(split.train)} rows{_copies(config, prepared)}, validated on {len(split.valid)}, "
            f"{total_steps(len(prepared.lengths(split.train)), config.train)} steps of "
            f"{config.train.batch_size}, {precision}"
        ),
    }


def _pace(config: RunConfig, prepared: Prepared, task: Task) -> int | None:
    """The rows of an epoch without copies: with them a training has as many steps and validations as without,
    so that what is compared differs in its rows alone."""
    if prepared.copies is None:
        return None
    rows = prepared.split(config.fold, config.share).train
    return len(task.for_training(prepared.examples(rows, task)))


def _copies(config: RunConfig, prepared: Prepared) -> str:
    if prepared.copies is None:
        return ""
    split = prepared.split(config.fold, config.share)
    new = len(prepared.training(config.fold, config.share)) - len(split.train)
    return f" and {new} made from them ({', '.join(prepared.copies.recipe)})"


def _cost(trained: Trained, tuned: Tuned, total: int, load_seconds: float) -> dict[str, Any]:
    moved = sum(tensor.numel() for tensor in tuned.state().values())
    return {
        "load_seconds": load_seconds,
        "train_seconds": trained.seconds,
        "evaluation_seconds": trained.evaluation_seconds,
        "trained_parameters": moved,
        "model_parameters": total,
        "trained_share": moved / total,
    }


def peak_memory(device: str) -> int:
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


def write_predictions(
    path: Path, prepared: Prepared, task: Task, rows: np.ndarray, outputs: np.ndarray
) -> pd.DataFrame:
    """Writes and returns what was said of each item; and the outputs themselves, where those are not one row
    an item for the first items only (in a file beside it)."""
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
        task.decode(outputs, frame, prepared.units(rows)),
    ]
    if len(outputs) != len(rows):
        own = prepared.rows(rows[:_VERIFIED_ROWS])
        per_row = len(outputs) == len(prepared.rows(rows))
        first = outputs[: len(own) if per_row else int(prepared.lengths(rows[:_VERIFIED_ROWS]).sum())]
        _write_outputs(path.parent, first)
    elif not task.written:
        parts.append(pd.DataFrame(outputs, columns=[f"logit({i})" for i in range(outputs.shape[1])]))
    whole = pd.concat(parts, axis=1)
    data = whole.to_parquet(index=False)
    assert isinstance(data, bytes)
    write_atomically(path, data)
    return whole


def _write_outputs(folder: Path, outputs: np.ndarray) -> None:
    path = folder / "predictions.safetensors"
    write_atomically(path, save({"outputs": np.ascontiguousarray(outputs)}))


def _outputs_for(task: Task, model: Any, examples: Examples, device: str) -> np.ndarray:
    """The model's outputs for rows, in float32."""
    return predict_logits(model, examples, choose("float32", device), keep=task.keep_of(model))


def verify(folder: Path, prepared: Prepared, device: str = "cpu") -> dict[str, Any]:
    """Reloads the bundle, compares its outputs with those of training, and seals the record.

    To be called in a fresh process. A run whose bundle differs is recorded as failed.
    """
    record = read_record(folder)
    rows, stored = _stored(folder)
    opened = open_bundle(folder / "bundle", device, prepared.model.trust_remote_code, own=True)
    prepared, _ = with_untouched(prepared, opened.task, [(rows, choose("float32", device), False)])
    examples = prepared.examples(rows, opened.task)
    outputs = _outputs_for(opened.task, opened.tuned.model, examples, device)
    outputs, stored = opened.task.same(outputs), opened.task.same(stored)
    difference = float(np.abs(outputs - stored).max())
    scale = max(1.0, float(np.abs(outputs).max()))
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


def _stored(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first items judged, and the model's outputs for them."""
    stored = pd.read_parquet(folder / "predictions.parquet")
    rows = stored["item"].to_numpy()[:_VERIFIED_ROWS]
    path = folder / "predictions.safetensors"
    if path.is_file():
        return rows, load(path.read_bytes())["outputs"]
    columns = [c for c in stored.columns if c.startswith("logit(")]
    return rows, stored[columns].to_numpy()[: len(rows)]


def read_record(folder: Path) -> dict[str, Any]:
    """A run's record."""
    record: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return record


def restore_bundle(folder: Path) -> None:
    """A finished run whose bundle was removed is to be done again: its record is taken away."""
    path = folder / "result.json"
    if path.is_file() and not (folder / "bundle").is_dir() and read_record(folder)["status"] == "finished":
        path.unlink()


def remove_bundle(folder: Path, reason: str) -> None:
    """Removes a run's weights and writes into its record that and why."""
    record = read_record(folder)
    away = folder / "bundle-removed"
    shutil.rmtree(away, ignore_errors=True)  # (of a start that was killed just here)
    (folder / "bundle").replace(away)  # (so that no half of a bundle is taken for one)
    shutil.rmtree(away, ignore_errors=True)
    record["bundle"] = f"removed: {reason}"
    write_json(folder / "result.json", record)
