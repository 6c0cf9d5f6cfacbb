"""Quality against plain `transformers.Trainer` (with `peft` where it has the method), as a Markdown table.

    tunelab compare ../shared/data/sst2 --rows 2000 --out /tmp/sst2
    python -m benchmarks.quality --study /tmp/sst2 --workers 2
    python -m benchmarks.quality ../shared/data/banking77 --rows 2000 --methods full,lora --out /tmp/banking

The Trainer side gets the study's rows, steps, batch size, schedule and decay, tries the very learning rates
that the study's trials tried, takes the best on validation and is judged once a seed on the same test rows.
Each of its runs is one file in --out, kept when the same command goes on. CPU only.
"""

import argparse
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import yaml
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import tunelab
from benchmarks._methods import attach, param_groups
from tunelab.config import LossConfig, StudyConfig
from tunelab.files import write_json
from tunelab.measure.pairs import Comparison, compare_pair, holm, seed_pool
from tunelab.measure.statistics import RunScore, mean_interval, score_function
from tunelab.provenance import machine, versions
from tunelab.records import MethodResult, StudyRecord
from tunelab.study.prepare import Prepared, prepare
from tunelab.train.schedule import total_steps

#: As in a study: what was chosen for its luck with a seed is not judged by it. From here on they are trials'.
TRIAL_SEED = 10_000
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
_PACKAGES = ("torch", "transformers", "peft", "accelerate")
#: Methods that neither transformers nor peft has, and why.
_NONE = {"adapter": "no library has it for transformers 5"}
#: Methods whose last epoch is taken: peft cuts AdaLoRA's ranks on saving, and Trainer cannot reload it then.
_LAST = {"adalora"}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", help="where no study is given, one of these data is made")
    parser.add_argument("--study", type=Path, help="folder of a finished study with one split")
    parser.add_argument("--methods", help="names with commas between; default: all of the study")
    parser.add_argument("--model", help="for a new study")
    parser.add_argument("--rows", type=int, help="for a new study: training rows")
    parser.add_argument("--trials", type=int, help="default: as many as the study's")
    parser.add_argument("--seeds", type=int, help="default: as many as the study's")
    parser.add_argument("--out", type=Path, help="the Trainer's runs; default: STUDY-trainer")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--workers", type=int, default=1, help="methods side by side")
    parser.add_argument("--bf16", action="store_true", help="the Trainer's bf16=True; default: float32")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no further run is begun after these")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    until = time.monotonic() + 60 * args.minutes
    if args.study is None:
        args.study = _make_study(parser, args)
    args.out = args.out or Path(f"{args.study}-trainer")
    torch.set_num_threads(args.threads)
    side = open_side(args)
    if args.only:
        run_method(side, args.only, until)
        return
    names = [result.name for result in side.results]
    if args.workers == 1:
        for name in names:
            run_method(side, name, until)
    else:
        with ThreadPoolExecutor(args.workers) as pool:
            list(pool.map(lambda name: _worker(args, name, until), names))
    print(report(side))


def _make_study(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Path:
    if args.data is None or args.out is None:
        parser.error("give --study FOLDER, or data and --out")
    study = tunelab.compare(
        args.data,
        methods=args.methods,
        model=args.model,
        rows=args.rows,
        seeds=args.seeds,
        folds=0,
        workers=args.workers,
        out=args.out / "study",
        device="cpu",
        settings={"search.trials": args.trials} if args.trials else None,
    )
    return study.folder


def _worker(args: argparse.Namespace, name: str, until: float) -> None:
    """One method in a process of its own."""
    left = max((until - time.monotonic()) / 60, 0.0)
    command: list[object] = ["--only", name, "--study", args.study, "--out", args.out]
    command += ["--threads", args.threads, "--minutes", left, *(["--bf16"] if args.bf16 else [])]
    for option in ("trials", "seeds"):
        if getattr(args, option):
            command += [f"--{option}", getattr(args, option)]
    in_a_process("benchmarks.quality", command, args.threads)


def in_a_process(module: str, words: Sequence[object], threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", module, *map(str, words)]
    subprocess.run(command, env=environment, check=True)


# What both sides share


@dataclass(frozen=True)
class Side:
    """All that the Trainer's runs need.

    results: the study's methods that are compared; targets: class numbers of the whole table; rows: part of
    the split -> positions in the table, the test rows in the table's order; steps: of one run.
    """

    out: Path
    study: Path
    record: StudyRecord
    results: tuple[MethodResult, ...]
    config: StudyConfig
    prepared: Prepared
    labels: tuple[str, ...]
    targets: np.ndarray
    trials: int
    seeds: int
    bf16: bool

    @property
    def rows(self) -> dict[str, np.ndarray]:
        split = self.prepared.split(0)
        return {"train": split.train, "valid": split.valid, "test": np.sort(split.test)}

    @property
    def steps(self) -> int:
        return total_steps(len(self.rows["train"]), self.config.train)


def open_side(args: argparse.Namespace) -> Side:
    """Reads the study and prepares its rows again; nothing else of tunelab is used on the Trainer's side."""
    text = (args.study / "study.json").read_text(encoding="utf-8")
    record = StudyRecord.model_validate_json(text)
    config = StudyConfig(**yaml.safe_load((args.study / "study.yaml").read_text(encoding="utf-8")))
    unlike = _unlike(config, record)
    if unlike:
        raise SystemExit(f"this study cannot be compared with Trainer: {'; '.join(unlike)}")
    prepared = prepare(config.files, config.task, config.data, config.model)
    if record.digests["split"] != prepared.split(0).digest:
        raise SystemExit(f"the data of {args.study} have changed since: {', '.join(config.files)}")
    wanted = args.methods.split(",") if args.methods else None
    found = [r for r in record.results if not r.baseline and (wanted is None or r.name in wanted)]
    task = prepared.task(config)
    return Side(
        out=args.out,
        study=args.study,
        record=record,
        results=tuple(found),
        config=config,
        prepared=prepared,
        labels=record.labels,
        targets=task.targets(prepared.table.frame["label"].tolist()),
        trials=args.trials or record.trials_each,
        seeds=args.seeds or record.seeds,
        bf16=args.bf16,
    )


def _unlike(config: StudyConfig, record: StudyRecord) -> list[str]:
    """Settings of the study that the Trainer side here has no counterpart of."""
    train, model = config.train, config.model
    reasons = {
        "folds (give data.folds=0)": record.folds > 1,
        f"task {config.task}": config.task != "classify",
        "several models": len(config.models) > 1,
        "a loss other than cross-entropy": config.loss != LossConfig(),
        f"train.schedule={train.schedule}": train.schedule not in _SCHEDULES,
        "train.patience": train.patience > 0,
        "train.evaluations_per_epoch": train.evaluations_per_epoch != 1,
        "a dropout of its own": any(
            value is not None for value in (model.dropout, model.attention_dropout, model.classifier_dropout)
        ),
    }
    return [reason for reason, holds in reasons.items() if holds]


# The Trainer's runs


def run_method(side: Side, name: str, until: float) -> None:
    """Trials, then every seed with the learning rate that was best on validation. An error ends the method:
    what the libraries cannot do here is told in the table."""
    result = next(result for result in side.results if result.name == name)
    if result.method in _NONE:
        return
    rates = learning_rates(side, result)
    plan = [(rate, TRIAL_SEED) for rate in rates] if len(rates) > 1 else []
    for rate, seed in plan:
        if time.monotonic() > until or "error" in run(side, result, rate, seed):
            return
    rate = rates[0] if len(rates) == 1 else best_rate(side, result)
    assert rate is not None, "every trial is there"
    for seed in range(side.seeds):
        if time.monotonic() > until or "error" in run(side, result, rate, seed):
            return


def learning_rates(side: Side, result: MethodResult) -> list[float]:
    """What the study's trials tried, in their order; without trials, what it trained with."""
    if side.trials == 1 or not result.trials:
        return [result.trials[0].learning_rate if result.trials else result.learning_rates[0]]
    return list(dict.fromkeys(trial.learning_rate for trial in result.trials[: side.trials]))


def best_rate(side: Side, result: MethodResult, seed: int = TRIAL_SEED) -> float | None:
    """The learning rate of the best trial on validation, ties to the lower loss as in a study; None: a trial
    is missing."""
    rates = learning_rates(side, result)
    found = [known(side, result, rate, seed) for rate in rates]
    if any(trial is None or "error" in trial for trial in found):
        return None

    def order(at: int) -> tuple[float, float]:
        trial = found[at]
        assert trial is not None
        loss = trial["valid_loss"]
        return trial["valid"], -loss if math.isfinite(loss) else -math.inf

    return rates[max(range(len(rates)), key=order)]


def run(side: Side, result: MethodResult, rate: float, seed: int) -> dict[str, Any]:
    """The record of one run: from its file, or made now. A failed one is tried again."""
    record = known(side, result, rate, seed)
    if record is None or "error" in record:
        began = time.monotonic()
        try:
            record = train(side, result, rate, seed)
        except Exception as error:  # whatever Trainer or peft raises for this method is the finding
            traceback.print_exc()
            record = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"}
        path = _path(side, result, rate, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"key": _key(side, result), "method": result.name, **record})
        about = record.get("error") or f"valid {record['valid']:.4f}"
        print(f"{path.stem}: {about}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return record


def known(side: Side, result: MethodResult, rate: float, seed: int) -> dict[str, Any] | None:
    """A run's record, if it was made from the same data, model and settings."""
    path = _path(side, result, rate, seed)
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record["key"] == _key(side, result) else None


def _path(side: Side, result: MethodResult, rate: float, seed: int) -> Path:
    return side.out / f"{result.name.replace('/', '_')}-lr{rate:.6g}-s{seed}.json"


def _key(side: Side, result: MethodResult) -> str:
    """Of all that decides a run besides learning rate and seed."""
    parts = {
        "split": side.prepared.split(0).digest,
        "data": side.prepared.digest,
        "model": side.prepared.model_digest,
        "max_length": side.prepared.model.max_length,
        "settings": result.settings,
        "train": side.config.train.model_dump(mode="json"),
        "bf16": side.bf16,
        "threads": torch.get_num_threads(),
        "versions": {package: versions()[package] for package in _PACKAGES},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def train(side: Side, result: MethodResult, rate: float, seed: int) -> dict[str, Any]:
    """One training as the documentation of transformers shows it; a judged one predicts the test rows."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("peft").setLevel(logging.ERROR)
    config, deciding, judged = side.config.train, side.record.deciding, seed < TRIAL_SEED
    source = side.prepared.base.folder
    tokenizer = AutoTokenizer.from_pretrained(source)
    parts = {part: _encoded(side, part, tokenizer) for part in ("train", "valid", "test")}
    transformers.set_seed(seed)  # before the head is drawn; Trainer seeds once more
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=len(side.labels))
    model, callbacks = attach(result.method, result.settings, model, side.steps)
    groups = param_groups(result.method, result.settings, model, rate, config.weight_decay)
    saving, keeps = _Saving(), result.method not in _LAST
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            _arguments(side, folder, rate, seed, keeps),
            DataCollatorWithPadding(tokenizer),
            parts["train"],
            parts["valid"],
            compute_metrics=lambda predicted: {
                deciding: _score(deciding, predicted.predictions, predicted.label_ids)
            },
            callbacks=[*callbacks, saving],
            optimizers=(torch.optim.AdamW(groups, fused=True) if groups else None, None),
        )
        trainer.remove_callback(PrinterCallback)
        moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
        seconds = trainer.train().metrics["train_runtime"]
        logits = trainer.predict(parts["test"]).predictions if judged else None
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    chosen = trainer.state.best_global_step if keeps else evaluations[-1]["step"]
    taken = next(entry for entry in evaluations if entry["step"] == chosen)
    record = {
        "learning_rate": rate,
        "seed": seed,
        "steps": trainer.state.global_step,
        "best_step": chosen,
        "valid": taken[f"eval_{deciding}"],
        "valid_loss": taken["eval_loss"],
        "seconds": seconds - saving.seconds,
        "saving_seconds": saving.seconds,
        "trained_parameters": moving,
    }
    if logits is not None:
        record["items"] = side.rows["test"].tolist()
        record["predictions"] = [side.labels[i] for i in logits.argmax(1)]
    return record


def _arguments(side: Side, folder: str, rate: float, seed: int, keeps: bool) -> TrainingArguments:
    config, deciding = side.config.train, side.record.deciding
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=64,
        max_steps=side.steps,
        learning_rate=rate,
        lr_scheduler_type=_SCHEDULES[config.schedule],
        warmup_steps=math.ceil(config.warmup_ratio * side.steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        eval_strategy="epoch",
        save_strategy="epoch" if keeps else "no",
        logging_strategy="no",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=keeps,
        metric_for_best_model=deciding,
        greater_is_better=True,
        label_names=["labels"],
        seed=seed,
        bf16=side.bf16,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )


def _encoded(side: Side, part: str, tokenizer: Any) -> list[dict[str, Any]]:
    rows = side.rows[part]
    texts = side.prepared.table.frame["text"].iloc[rows].tolist()
    found = tokenizer(texts, truncation=True, max_length=side.prepared.model.max_length)
    columns = {**found, "labels": side.targets[rows].tolist()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _score(name: str, logits_NC: np.ndarray, targets_N: np.ndarray) -> float:
    predicted_N = logits_NC.argmax(1)
    if name == "accuracy":
        return float(accuracy_score(targets_N, predicted_N))
    return float(f1_score(targets_N, predicted_N, average="macro"))


class _Saving(TrainerCallback):
    """Seconds between the end of an evaluation and of the checkpoint that follows it: the study's seconds of
    training do not count its own files either."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self._began = time.monotonic()

    def on_save(self, *_: Any, **__: Any) -> None:
        self.seconds += time.monotonic() - self._began


# The table


@dataclass(frozen=True)
class Line:
    """A method on both sides. theirs: None, and `missing` says why, where Trainer's runs are not there."""

    name: str
    ours: list[RunScore]
    our_seconds: tuple[float, float]
    theirs: list[RunScore] | None = None
    their_seconds: tuple[float, float] = (math.nan, math.nan)
    missing: str = ""


def read_line(side: Side, result: MethodResult) -> Line:
    """Seconds: of one judged run, and of all trials and judged runs; training and validations."""
    ours = [our_score(side, side.study / "runs" / name) for name in result.runs]
    each = result.cost.train_seconds + result.cost.evaluation_seconds
    seconds = each, result.cost.tuning_seconds + each * len(result.runs)
    trials, judged, missing = _their_runs(side, result)
    if missing:
        return Line(result.name, ours, seconds, missing=missing)
    theirs = [score_of_run(side, record["items"], record["predictions"]) for record in judged]
    own = float(np.mean([record["seconds"] for record in judged]))
    whole = own * len(judged) + sum(record["seconds"] for record in trials)
    return Line(result.name, ours, seconds, theirs, (own, whole))


def _their_runs(side: Side, result: MethodResult) -> tuple[list[Any], list[Any], str]:
    """Trials, judged runs, and why they are not all there."""
    if result.method in _NONE:
        return [], [], f"none: {_NONE[result.method]}"
    rates = learning_rates(side, result)
    trials = [known(side, result, rate, TRIAL_SEED) for rate in rates] if len(rates) > 1 else []
    rate = best_rate(side, result) if trials else rates[0]
    judged = [known(side, result, rate, seed) if rate else None for seed in range(side.seeds)]
    everything = [*trials, *judged]
    error = next((record["error"] for record in everything if record and "error" in record), None)
    if error:
        return [], [], f"fails: {error}".replace("|", "\\|")
    return trials, judged, "not finished" if None in everything else ""


def our_score(side: Side, folder: Path) -> RunScore:
    frame = pd.read_parquet(folder / "predictions.parquet", columns=["item", "prediction"])
    return score_of_run(side, frame["item"].tolist(), frame["prediction"].tolist())


def score_of_run(side: Side, items: Sequence[int], predictions: Sequence[str]) -> RunScore:
    """The score of a run's predictions, its items in one order for all runs."""
    numbers = {label: i for i, label in enumerate(side.labels)}
    order = np.argsort(items)
    assert np.array_equal(np.asarray(items)[order], side.rows["test"]), "judged on other rows"
    predicted_N = np.array([numbers[label] for label in predictions])[order]
    return score_function(side.record.deciding, predicted_N, side.targets[side.rows["test"]])


def verdict(found: Comparison) -> str:
    """ "below" where the difference to Trainer is negative and its 95 % interval excludes 0."""
    return "below" if found.value < 0 and found.p < 0.05 else "ok"


def cells(line: Line, data: str, items: int, found: Comparison | None, p_holm: float) -> list[str]:
    """One row of the table. found: None, and p_holm is not looked at, where Trainer's runs are missing."""
    seconds = [f"{one:.0f} ({whole:.0f})" for one, whole in (line.our_seconds, line.their_seconds)]
    start = [data, line.name, _interval(*mean_interval(line.ours, items))]
    if line.theirs is None or found is None:
        return [*start, line.missing, "", "", "", seconds[0], "", ""]
    return [
        *start,
        _interval(*mean_interval(line.theirs, items)),
        f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        f"{p_holm:.2f}",
        verdict(found),
        *seconds,
        f"{line.their_seconds[0] / line.our_seconds[0]:.2f}",
    ]


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"


def report(side: Side) -> str:
    """The table with what it was measured on. Seeds' variances are pooled over all methods of both sides, so
    that the intervals of three seeds are not too wide to find a loss."""
    lines = [read_line(side, result) for result in side.results]
    items = len(side.rows["test"])
    pool = seed_pool([runs for line in lines for runs in (line.ours, line.theirs) if runs], items)
    found = {
        line.name: compare_pair(line.ours, line.theirs, items, pool=pool) for line in lines if line.theirs
    }
    corrected = dict(zip(found, holm([pair.p for pair in found.values()]), strict=True))
    rows = [
        cells(line, side.record.title, items, found.get(line.name), corrected.get(line.name, math.nan))
        for line in lines
    ]
    below = [name for name, pair in found.items() if verdict(pair) == "below"]
    surely = sum(corrected[name] < 0.05 for name in below)
    head = ["data", "method", f"tunelab {side.record.deciding}", f"Trainer {side.record.deciding}"]
    head += ["difference [95 %]", "p (Holm)", "verdict", "tunelab seconds a run (whole)", "Trainer", "ratio"]
    last = [line.name for line, result in zip(lines, side.results, strict=True) if result.method in _LAST]
    note = (
        f" Trainer cannot reload an earlier epoch of {', '.join(last)}: its last one counts." if last else ""
    )
    return "\n".join(
        [
            "",
            *_header(side, items),
            "",
            *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
            "",
            f"{len(below)} of {len(found)} compared methods below Trainer by more than the 95 % interval, "
            f"{surely} after Holm's correction for {len(found)} tests. The luck of tuning on "
            f"{len(side.rows['valid'])} validation rows is in neither. Seconds: training and validations, "
            "files not counted; in brackets all trials and judged runs; ratio: Trainer's over tunelab's, of "
            f"one run.{note}",
        ]
    )


def _header(side: Side, items: int) -> list[str]:
    record, config, here = side.record, side.config.train, machine()
    folder = side.study / "runs" / side.results[0].runs[0]
    training = json.loads((folder / "result.json").read_text(encoding="utf-8"))["training"]
    differs = "" if record.machine.get("processor") == here["processor"] else "; the study on another machine"
    packages = ", ".join(f"{package} {versions()[package]}" for package in ("tunelab", *_PACKAGES))
    counts = {"tunelab": (record.trials_each, record.seeds), "Trainer": (side.trials, side.seeds)}
    budgets = ", ".join(f"{who} {t} trials and {s} seeds" for who, (t, s) in counts.items())
    return [
        f"{record.title}, {model_name(side)}: {len(side.rows['train'])} training, "
        f"{len(side.rows['valid'])} validation and {items} test rows, {side.steps} steps of "
        f"{config.batch_size}; {budgets}; tunelab {training['precision']}, "
        f"Trainer {'bf16' if side.bf16 else 'float32'}, {torch.get_num_threads()} thread(s) a run",
        f"({here['processor']}, {here['cores']} cores, {here['capability']}{differs}; {packages})",
    ]


def model_name(side: Side) -> str:
    """The model as the user names it, without the folder it lies in."""
    return Path(side.config.model.name).name


if __name__ == "__main__":
    main()
