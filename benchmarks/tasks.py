"""Every task on real data: a study of tunelab's, and `full` trained by `transformers.Trainer` likewise.

    python -m benchmarks.tasks --out /tmp/tasks
    python -m benchmarks.tasks --sets stsb_en,wnut17 --out /tmp/tasks

The Trainer side gets the study's rows of tokens, targets, steps, batch size, learning rate, schedule, decay
and precision, computes the loss of the model's own class in `transformers`, and keeps the epoch that was best
on validation. Both sides are judged by the same code on the same test rows. Not tuned: each method trains at
its default rate. What is finished in --out is not run again. CPU only.
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import yaml
from transformers import PrinterCallback, Trainer, TrainingArguments

import tunelab
from benchmarks._bench import ROOT
from tunelab import tasks
from tunelab.config import RunConfig, StudyConfig, TrainConfig
from tunelab.data.batch import IGNORED, Examples
from tunelab.files import write_json
from tunelab.measure.pairs import SeedPool, compare_pair, seed_pool
from tunelab.measure.statistics import RunScore, mean_interval
from tunelab.models import load_model
from tunelab.provenance import machine, versions
from tunelab.records import MethodResult, StudyRecord
from tunelab.study.asking import Asker
from tunelab.study.candidates import candidates
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import read_record, write_predictions
from tunelab.study.tuning import run_config
from tunelab.tasks.base import Task
from tunelab.train.precision import choose

_PACKAGES = ("tunelab", "python", "torch", "transformers", "peft")
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
_FOUR = ("full", "lora", "adapter", "head")
_THREE = ("full", "lora", "head")  # where a run takes minutes
_CRF = tuple(f"{method},tag.head=crf" for method in _FOUR)


@dataclass(frozen=True)
class Set:
    """One data set and how it is trained.

    folder: of the data, where the set's name is not it; parts: name of a part -> file, and how many lines
    of it at most, where the folder is not read as it is.
    rows: of the training rows at most so many. add: variants. own: settings of the study.
    """

    task: str
    model: str
    epochs: float
    folder: str = ""
    parts: Mapping[str, str | tuple[str, int]] = field(default_factory=dict)
    methods: tuple[str, ...] = ("full", "lora", "adapter", "head")
    add: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    seeds: int = 3
    own: Mapping[str, Any] = field(default_factory=dict)


_STORIES = "stories260K-hf"  # (in ../shared/models)
_CODE, _DEMO = "code_trans_java_cs", "llamafactory_demo"
_LM = ("full", "lora", "adapter", "top_layers")
_WRITING = ("full", "lora", "top_layers")
SETS: dict[str, Set] = {
    "wnut17": Set(
        "tag",
        "minilm",
        4,
        "",
        {
            "train.conll": "wnut17train.conll",
            "dev.conll": "emerging.dev.conll",
            "test.conll": "emerging.test.annotated",
        },
        add=_CRF,
        rows=1500,
    ),
    "resume_ner": Set("tag", "mini-zh", 5, add=_CRF),
    "cluener": Set("tag", "mini-zh", 3, rows=6000),
    "msra_ner": Set("tag", "mini-zh", 3, rows=4000),
    "stsb_en": Set("regress", "minilm", 2, columns={"text": "6", "text_pair": "7", "label": "5"}, seeds=2),
    "afqmc": Set("match", "mini-zh", 3, columns={"text": "1", "text_pair": "2", "label": "3"}, rows=8000),
    "xquad_en": Set("answer", "minilm", 2, "", {"all.json": "xquad.en.json"}, _THREE, seeds=2),
    "cmrc2018": Set(
        "answer",
        "mini-zh",
        2,
        "",
        {"train.json": "cmrc2018_dev.json", "test.json": "cmrc2018_trial.json"},
        _THREE,
        rows=1500,
        own={"answer.max_tokens": 60},
        seeds=2,
    ),
    "csl_title": Set(
        "rewrite",
        "mini-zh-lm",
        3,
        "",
        {"train.tsv": "dev.tsv", "test.tsv": ("test.tsv", 300)},
        _WRITING,
        seeds=2,
    ),
    _CODE: Set(
        "rewrite",
        _STORIES,
        3,
        "",
        {
            f"{part}.{end}": (f"{name}.java-cs.txt.{end}", most)
            for part, name, most in (("train", "train", 1000), ("valid", "valid", 50), ("test", "test", 200))
            for end in ("java", "cs")
        },
        _WRITING,
        columns={"text": "java", "label": "cs"},
        own={"rewrite.metric": "bleu", "rewrite.max_new_tokens": 64},
        seeds=2,
    ),
    "alpaca_en": Set("instruct", _STORIES, 3, _DEMO, {"all.json": "alpaca_en_demo.json"}, _LM),
    "alpaca_zh": Set("instruct", _STORIES, 3, _DEMO, {"all.json": "alpaca_zh_demo.json"}, _LM),
    "tinyshakespeare": Set("language", _STORIES, 1, "", {}, _LM),
    # (mini-zh-lm has read this novel; to stories260K it is bytes)
    "zh_hongloumeng": Set("language", _STORIES, 1, "", {}, _LM, rows=1000),
    "codexglue_defect": Set(
        "classify",
        "minilm",
        2,
        "",
        {"train.jsonl": "train.jsonl", "dev.jsonl": ("dev.jsonl", 150), "test.jsonl": "test.jsonl"},
        _THREE,
        columns={"text": "func", "label": "target"},
        rows=200,
        own={"classify.long": "windows", "model.max_length": 256},
        seeds=2,
    ),
    "csl_category": Set("classify", "mini-zh", 5),
    "online_shopping_10_cats": Set(
        "classify", "mini-zh", 3, columns={"text": "review", "label": "cat"}, rows=4000
    ),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", help=f"of {', '.join(SETS)}; default: all")
    parser.add_argument(
        "--shared", type=Path, default=ROOT.parent / "shared", help="folder of data and models"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="of the Trainer side, as of a study's runs")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no further set is begun after these")
    parser.add_argument("--table", action="store_true", help="only print what is finished")
    args = parser.parse_args(words)
    names = args.sets.split(",") if args.sets else list(SETS)
    unknown = set(names) - set(SETS)
    if unknown:
        parser.error(f"unknown set {', '.join(sorted(unknown))}; known: {', '.join(SETS)}")
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    for name in names:
        if args.table or time.monotonic() - began > 60 * args.minutes:
            break
        print(f"{name} ...", file=sys.stderr, flush=True)
        study(args, name)
        for seed in range(SETS[name].seeds):
            trainer_run(args, name, seed)
    print(report(args, [name for name in names if (args.out / name / "study.json").is_file()]))


# Both sides


def study(args: argparse.Namespace, name: str) -> None:
    """tunelab's side; what is there of it is kept."""
    own = SETS[name]
    if (args.out / name / "study.json").is_file():
        return
    tunelab.compare(
        _files(args, name),
        task=own.task,
        model=_model(args, own),
        methods=own.methods,
        add=own.add,
        rows=own.rows,
        effort="quick",
        seeds=own.seeds,
        folds=0,
        workers=1,
        out=args.out / name,
        device="cpu",
        progress=False,
        settings={"train.epochs": own.epochs, **own.own},
        **own.columns,
    )


def _model(args: argparse.Namespace, own: Set) -> str:
    return str(args.shared / "models" / _STORIES) if own.model == _STORIES else own.model


def _files(args: argparse.Namespace, name: str) -> list[str]:
    """The set's folder, or one with the parts under names that say what they are."""
    own = SETS[name]
    source = args.shared / "data" / (own.folder or name)
    if not own.parts:
        return [str(source)]
    folder = args.out / f"{name}-files"
    folder.mkdir(parents=True, exist_ok=True)
    for part, taken in own.parts.items():
        file, most = (taken, None) if isinstance(taken, str) else taken
        with (source / file).open(encoding="utf-8") as lines:
            (folder / part).write_text("".join(itertools.islice(lines, most)), encoding="utf-8")
    files = sorted(folder.iterdir())
    return [str(files[0])] if len(files) == 1 else [str(folder)]


@dataclass(frozen=True)
class Opened:
    """A finished study with its rows."""

    record: StudyRecord
    run: RunConfig
    prepared: Prepared
    task: Task

    @property
    def full(self) -> MethodResult:
        """The study's `full`."""
        return next(result for result in self.record.results if result.name == "full")


def opened(folder: Path) -> Opened:
    """Reads the study and prepares its rows again."""
    record = StudyRecord.model_validate_json((folder / "study.json").read_text(encoding="utf-8"))
    config = StudyConfig(**yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8")))
    prepared = prepare(config.files, config.task, config.data, config.model, config.task_settings)
    if record.digests["split"] != prepared.split(0).digest:
        raise SystemExit(f"the data of {folder} have changed since")
    entry = next(entry for entry in candidates(config) if entry.name == "full")
    return Opened(record, run_config(config, entry, seed=0, fold=0), prepared, prepared.task(config))


# The Trainer side


def trainer_run(args: argparse.Namespace, name: str, seed: int) -> None:
    """One training with Trainer, judged on the test rows (as Trainer predicts: where it trains in bfloat16,
    under its autocast); kept in a folder."""
    folder = args.out / f"{name}-trainer" / f"s{seed}"
    if (folder / "record.json").is_file():
        return
    found = opened(args.out / name)
    ours = read_record(args.out / name / "runs" / found.full.runs[seed])["training"]
    split, prepared, task = found.prepared.split(0), found.prepared, found.task
    transformers.logging.set_verbosity_error()
    transformers.set_seed(seed)
    model = task.equip(
        load_model(
            prepared.base, prepared.model, task.model_class, task.model_options(), prepared.pad_id, "cpu"
        )
    )
    train = task.for_training(prepared.examples(split.train, task))
    judge = _Judge(found, ours["precision"])
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(found.run.train, ours, seed, scratch)
        side = _Trainer(
            model, arguments, _Collator(train, task), list(range(len(train))), list(range(len(split.valid)))
        )
        side.judge = judge
        side.remove_callback(PrinterCallback)
        seconds = side.train().metrics["train_runtime"]
    outputs = Asker(task, prepared, split.test, choose("float32", "cpu"))(
        _said_by(model, task), prepared.examples(split.test, task)
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.parquet", prepared, task, split.test, outputs)
    scores = task.scores(
        outputs, task.truth_of(prepared.table.frame.iloc[split.test]), prepared.units(split.test)
    )
    write_json(
        folder / "record.json", {"scores": scores, "seconds": seconds, "steps": side.state.global_step}
    )
    print(
        f"{name} Trainer s{seed}: {scores[task.deciding]:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True
    )


def _arguments(config: TrainConfig, ours: Mapping[str, Any], seed: int, scratch: str) -> TrainingArguments:
    """The study's settings in Trainer's words. ours: the record of the study's own training."""
    return TrainingArguments(
        output_dir=scratch,
        per_device_train_batch_size=config.batch_size,
        max_steps=ours["planned_steps"],
        learning_rate=ours["learning_rate"],
        lr_scheduler_type=_SCHEDULES[config.schedule],
        warmup_steps=math.ceil(config.warmup_ratio * ours["planned_steps"]),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="deciding",
        greater_is_better=True,
        logging_strategy="no",
        seed=seed,
        bf16=ours["precision"] == "bfloat16",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )


class _Trainer(Trainer):
    """Trainer, but that its validation is the study's own."""

    judge: "_Judge"

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_deciding": self.judge(self.model)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Judge:
    """The deciding score on the validation rows."""

    def __init__(self, found: Opened, precision: str) -> None:
        rows, prepared = found.prepared.split(0).valid, found.prepared
        self._task = found.task
        self._examples = prepared.examples(rows, found.task)
        self._ask = Asker(found.task, prepared, rows, choose(precision, "cpu"))
        self._truth = found.task.truth_of(prepared.table.frame.iloc[rows])
        self._units = prepared.units(rows)

    def __call__(self, model: Any) -> float:
        training = model.training
        outputs = self._ask(_said_by(model, self._task), self._examples)
        model.train(training)
        return float(self._task.scores(outputs, self._truth, self._units)[self._task.deciding])


class _Logits(torch.nn.Module):
    """A model for questions as tunelab reads it: what accelerate wraps around it keeps no `logits` beside the
    fields of its outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        found = self.model(**inputs)
        found.logits = torch.stack([found.start_logits, found.end_logits], dim=-1)
        return found


def _said_by(model: Any, task: Task) -> Any:
    return _Logits(model) if task.name == "answer" else model


class _Collator:
    """Numbers of rows -> what the model's own class in `transformers` takes, `labels` among it."""

    def __init__(self, examples: Examples, task: Task) -> None:
        self._examples = examples
        self._task = task

    def __call__(self, rows: Sequence[int]) -> dict[str, Any]:
        inputs, targets = self._examples.batch(np.array(rows), "cpu")
        return {**inputs, **labels_of(self._task, inputs["input_ids"], targets)}


def labels_of(task: Task, ids_BT: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """tunelab's targets as the models of `transformers` want them: the same, but that causal models shift
    them themselves, and places of answers are numbers of tokens (no place: the end, which is left out)."""
    if task.name == "answer":
        width = ids_BT.shape[1]
        places = [((targets > 0) & (targets & bit > 0)).long() for bit in (1, 2)]
        return {
            f"{name}_positions": torch.where(place.any(1), place.argmax(1), width)
            for name, place in zip(("start", "end"), places, strict=True)
        }
    if task.model_class == "AutoModelForCausalLM":
        labels = torch.full_like(targets, IGNORED)
        labels[:, 1:] = targets[:, :-1]
        return {"labels": labels}
    return {"labels": targets.float() if targets.is_floating_point() else targets}


# The table


def report(args: argparse.Namespace, names: Sequence[str]) -> str:
    """All finished sets; a row a method, Trainer beside `full`."""
    here, known = machine(), versions()
    head = [
        "data (task, model)",
        "rows: training, test",
        "decides",
        "method",
        "score [95 %]",
        "group",
        "Trainer",
        "tunelab minus Trainer [95 %]",
    ]
    rows = [row for name in names for row in _rows(args, name)]
    return "\n".join(
        [
            f"{here['processor']} ({here['capability']}), {here['cores']} cores; one run at a time, "
            f"{args.threads} thread(s); {', '.join(f'{p} {known[p]}' for p in _PACKAGES)}.",
            "",
            *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
        ]
    )


def _rows(args: argparse.Namespace, name: str) -> list[list[str]]:
    folder = args.out / name
    record = StudyRecord.model_validate_json((folder / "study.json").read_text(encoding="utf-8"))
    task = _task_of(folder, record)
    own = SETS[name]
    start = [f"{name} ({record.task}, {own.model})", f"{record.rows['train']:,}, {record.rows['test']:,}"]
    start.append(record.deciding)
    rows = []
    for result in sorted(record.results, key=lambda r: (r.baseline, r.group or 0, -r.score.value)):
        star = " ★" if result.name == record.advice.method else ""
        score = _interval(result.score.value, result.score.low, result.score.high)
        beside = _beside(args, name, record, result, task) if result.name == "full" else ["", ""]
        rows.append([*start, f"{result.name}{star}", score, str(result.group or ""), *beside])
        start = ["", "", ""]
    return rows


def _task_of(folder: Path, record: StudyRecord) -> Task:
    """The task as the bundle keeps it: it scores predictions without the data."""
    values = json.loads((folder / "winner" / "tunelab.json").read_text(encoding="utf-8"))["task"]
    return tasks.find(record.task).from_dict(values)


def _beside(
    args: argparse.Namespace, name: str, record: StudyRecord, result: MethodResult, task: Task
) -> list[str]:
    folders = [args.out / f"{name}-trainer" / f"s{seed}" for seed in range(SETS[name].seeds)]
    if not all((folder / "record.json").is_file() for folder in folders):
        return ["not finished", ""]
    ours = [_score(args.out / name / "runs" / run, task) for run in result.runs]
    theirs = [_score(folder, task) for folder in folders]
    pool: SeedPool | None = seed_pool([ours, theirs], record.items)
    found = compare_pair(ours, theirs, record.items, pool=pool)
    return [
        _interval(*mean_interval(theirs, record.items)),
        f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
    ]


def _score(folder: Path, task: Task) -> RunScore:
    """Of a run's predictions, its items in one order for all runs."""
    frame = pd.read_parquet(folder / "predictions.parquet")
    return task.run_score(frame.sort_values("item", ignore_index=True))


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
