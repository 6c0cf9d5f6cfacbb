"""The jobs: what is measured, and the table that tells it. A job says in its first lines what was run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from benchmarks._bench import OURS, Bench, Training
from benchmarks._plot import Panel, picture
from benchmarks._tables import Measured, Record, cells, failure, ratios, spread, table
from tunelab import methods
from tunelab.config import RunConfig

__all__ = ["OTHERS", "VERSUS", "Versus", "compared"]


# tunelab against Trainer


@dataclass(frozen=True)
class Versus:
    """A training that all sides do. peers: settings of Trainer, where --peers says nothing."""

    training: Training
    peers: tuple[str, ...] = ("best",)


_SST2 = Training("sst2")
_BOTH = ("best", "defaults")
_EVERY = (*_BOTH, "tutorial")

#: Name -> the same training on every side.
VERSUS: dict[str, Versus] = {
    "full": Versus(_SST2, _EVERY),
    "lora": Versus(replace(_SST2, method="lora", settings={"rank": 8, "targets": "query_value"}), _EVERY),
    "top_layers": Versus(replace(_SST2, method="top_layers", settings={"layers": 2}), _BOTH),
    "head": Versus(replace(_SST2, method="head"), _BOTH),
    "long": Versus(
        Training("codexglue_defect", own_length=512, epochs=1.0, text="func", label="target"), _BOTH
    ),
    "base_shape": Versus(
        Training("texts-640-128-vary", model="bert_base", rows=640, epochs=1.0, own_length=128), _BOTH
    ),
    "memory": Versus(Training("sst2", rows=1000, epochs=1.0), _BOTH),
    "memory_vocabulary": Versus(Training("sst2", model="multilingual_minilm", rows=640, epochs=1.0), _BOTH),
    "gpu_full": Versus(Training("sst2", model="bert_base", device="cuda"), _BOTH),
    "gpu_lora": Versus(
        Training(
            "texts-1280-256-vary",
            "llama_1b",
            "lora",
            rows=1280,
            epochs=1.0,
            own_length=256,
            device="cuda",
            options={"speed.packing": True},
        )
    ),
}


def compared(bench: Bench, name: str) -> Measured:
    """Runs a job of `VERSUS`."""
    job = VERSUS[name]
    training = bench.sized(job.training)
    sides = [OURS, *(bench.args.peers or job.peers)]
    return Measured(name, training, bench.alternating(name, training, sides))


# The other jobs


def predict(bench: Bench) -> str:
    """Texts to labels of a model that was trained as a whole (`full`), for 10,000 rows of sst2 (its rows,
    repeated), tokenizing included, the model open."""
    count = bench.args.rows or 10_000
    training = replace(_SST2, rows=64, epochs=1.0)
    prepared = bench.prepared(training)
    texts = np.resize(bench.prepared(_SST2).table.frame["text"].to_numpy(), count).tolist()
    common = {"kind": "predict", "rows": str(bench.json_file({"texts": texts})), "device": "cpu"}
    theirs: dict[str, Any] = {
        "model": str(prepared.base.folder),
        "bf16": bench.low_precision("cpu"),
        "max_length": prepared.model.max_length,
    }
    exact = f"{OURS} float32"
    sides = [OURS, exact, "best", "defaults", "pipeline"]
    found: dict[str, list[Record]] = {side: [] for side in sides}
    for repeat in range(bench.args.repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            name = f"predict-{side.replace(' ', '-')}-{repeat}"
            if side in (OURS, exact):
                precision = "auto" if side == OURS else "float32"
                spec = {**common, "bundle": bench.bundle(training), "precision": precision}
                found[side].append(bench.measure(name, "_tunelab", spec))
            else:
                spec = {**common, **theirs, "setting": side}
                found[side].append(bench.measure(name, "_trainer", spec))
    rows = [_against(side, found) for side in sides]
    told = (
        f"{count} texts; tunelab and best bfloat16 where the machine gains from it, the longest texts first; "
        "the others float32"
    )
    return f"{told}\n\n{table(['side', 'seconds', 'times tunelab', 'whole process', 'peak MB'], rows)}"


def _against(side: str, found: Mapping[str, Sequence[Record]]) -> list[str]:
    error = failure(found[side]) or failure(found[OURS])
    if error:
        return [side, error, "", "", ""]
    seconds, whole, memory = cells(found[side], "seconds", "whole_seconds", "peak_memory_bytes")
    return [side, seconds, ratios(found[side], found[OURS]), whole, memory]


_STUDY = ("full", "head", "top_layers", "gradual", "layer_decay", "lora", "prompt", "prefix", "adapter")
#: Methods of the study whose time with Trainer is taken to be another one's.
_TAKEN_AS = {"gradual": "full", "layer_decay": "full", "adapter": "lora"}


def study(bench: Bench, device: str = "cpu", model: str = "minilm") -> str:
    """Nine methods with three seeds, untuned: tunelab's run phase against the same runs with Trainer, one
    after another. Trainer is measured once a method and taken three times, its start-ups not counted."""
    training = bench.sized(replace(_SST2, rows=2000, device=device, model=model))
    wanted = tuple(bench.args.methods or _STUDY)
    ours = bench.measure(f"study-{device}-{OURS}", "_tunelab", _study_spec(bench, training, wanted))
    if failure([ours]):
        return failure([ours])
    parts = [_beside_study(bench, training, wanted, ours, side) for side in bench.args.peers or _BOTH]
    lines = [
        f"sst2, {training.model}, {training.rows} rows, {training.epochs:g} epochs, {len(wanted)} methods x "
        "3 seeds; Trainer measured once a method and taken three times",
        "",
        f"tunelab's run phase {ours['seconds']:.0f} s ({ours['runs']} runs side by side, with opening, "
        f"judging, bundles and their verification; {ours['trunk_seconds']:.1f} s of it for frozen layers, "
        f"computed by the plan), its plan {ours['plan_seconds']:.0f} s, whole command "
        f"{ours['command_seconds']:.0f} s.",
        "",
        "\n\n".join(parts),
    ]
    if ours["failures"]:
        lines.append(f"\nfailed in tunelab: {ours['failures']}")
    return "\n".join(lines)


def _beside_study(bench: Bench, training: Training, wanted: Sequence[str], ours: Record, side: str) -> str:
    """The study against the same runs with one setting of Trainer's, one after another."""
    theirs = {
        name: bench.train(
            f"study-{training.device}-{name}-{side}", replace(training, method=name), side, seed=0
        )
        for name in wanted
        if name not in _TAKEN_AS or _TAKEN_AS[name] not in wanted
    }
    theirs |= {name: theirs[_TAKEN_AS[name]] for name in wanted if name not in theirs}
    rows, whole, trained = [], 0.0, 0.0
    for name in wanted:
        runs = ours["methods"].get(name, [])
        seconds = [one for one, _ in runs] or [math.nan]
        one, test = (theirs[name].get(part, math.nan) for part in ("seconds", "test_seconds"))
        told = failure([theirs[name]]) or f"{one:.1f} and {test:.1f}"
        taken = f" (taken as {_TAKEN_AS[name]})" if _TAKEN_AS.get(name) in wanted else ""
        rows.append([name, str(len(runs)), spread(seconds), f"{told}{taken}"])
        whole += len(runs) * (one + test)
        trained += len(runs) * one
    told = (
        f"Trainer {side} one after another {whole:.0f} s, training, validations and test rows: "
        f"**{whole / ours['seconds']:.2f} times**, {whole / ours['command_seconds']:.2f} times the whole "
        f"command; {trained:.0f} s without the test rows, which tunelab's side has in it."
    )
    head = ["method", "runs", "tunelab seconds a run, side by side", f"Trainer {side}: a run, its test rows"]
    return f"{told}\n\n{table(head, rows)}"


def _study_spec(bench: Bench, training: Training, wanted: Sequence[str]) -> dict[str, Any]:
    tree = {
        "methods": list(wanted),
        "seeds": 3,
        "baselines": False,
        "search": {"trials": 1},
        "train": {"epochs": training.epochs, "batch_size": training.batch_size},
        "data": {"folds": 0, "rows": training.rows},
        "model": {"name": bench.model(training.model)},
    }
    files = [str(bench.data(training.data))]
    return {"kind": "study", "files": files, "tree": tree, "device": training.device}


def neighbour(bench: Bench) -> str:
    """The same training with all cores free and with one kept busy by another process."""
    training = bench.sized(replace(_SST2, rows=1000, epochs=1.0))
    sides = [OURS, *(bench.args.peers or ("best",))]
    found: dict[tuple[str, bool], list[Record]] = {(s, busy): [] for s in sides for busy in (False, True)}
    for repeat in range(bench.args.repeats):
        for side, busy in found if repeat % 2 == 0 else reversed(found):
            name = f"neighbour-{side}-{'busy' if busy else 'free'}"
            found[side, busy].append(bench.train(name, training, side, repeat, busy))
    rows = []
    for side in sides:
        free, taken = found[side, False], found[side, True]
        error = failure([*free, *taken])
        values = [error, "", ""] if error else [*cells(free, "seconds"), *cells(taken, "seconds")]
        rows.append([side, *values, *([] if error else [ratios(taken, free)])])
    told = f"full, sst2, {training.rows} rows, {training.epochs:g} epochs, {bench.args.threads} threads"
    return f"{told}\n\n{table(['side', 'seconds', 'beside a busy core', 'times as long'], rows)}"


def levers(bench: Bench) -> str:
    """Everything on, and each lever off in its turn."""
    section = RunConfig.model_fields.get("speed")
    fields = {} if section is None else getattr(section.annotation, "model_fields", {})
    names = [name for name, field in fields.items() if field.annotation is bool]
    off: dict[str, dict[str, Any]] = {"everything on": {}}
    off |= {f"speed.{name}=false": {f"speed.{name}": False} for name in names}
    off |= {f"{k}={v}": {k: v} for k, v in (("train.precision", "float32"), ("model.attention", "eager"))}
    everything = {f"speed.{name}": False for name in names}
    off["all of them off"] = {**everything, "train.precision": "float32"}
    rows, told = [], bench.sized(replace(_SST2, rows=1000, epochs=1.0))
    for method in bench.args.methods or ("full", "top_layers"):
        found: dict[str, list[Record]] = {name: [] for name in off}
        for repeat in range(bench.args.repeats):
            for name in off if repeat % 2 == 0 else reversed(off):
                training = replace(told, method=method, options=off[name])
                label = f"levers-{method}-{name.replace(' ', '_')}"
                found[name].append(bench.train(label, training, OURS, repeat))
        rows += [[method, *_lever_row(name, found)] for name in off]
    head = ["method", "setting", "seconds", "times everything on", "peak MB"]
    return f"sst2, {told.rows} rows, {told.epochs:g} epochs\n\n{table(head, rows)}"


def _lever_row(name: str, found: Mapping[str, Sequence[Record]]) -> list[str]:
    error = failure([*found[name], *found["everything on"]])
    if error:
        return [name, error, "", ""]
    seconds, memory = cells(found[name], "seconds", "peak_memory_bytes")
    return [name, seconds, ratios(found[name], found["everything on"]), memory]


def growth(bench: Bench) -> str:
    """Time and memory against rows, tokens and layers; a few steps of `full` each. Also as a picture."""
    steps = bench.args.steps or 10
    parts, panels = [], []
    for what, sizes in _sizes(bench.args.most_rows).items():
        records = _grown_records(bench, what, sizes, steps)
        parts.append(_grow(what, records))
        panels += _panels(what, records)
    panels.sort(key=lambda panel: panel.kind, reverse=True)  # a row for time, one for memory
    (bench.out / "growth.svg").write_text(picture(panels), encoding="utf-8")
    told = f"{steps} steps of 32, full; slope 1: as the size grows, 0: not at all"
    return "\n\n".join([told, *parts])


def _sizes(most_rows: int) -> dict[str, list[int]]:
    rows = [size for size in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if size <= most_rows]
    return {"rows": rows, "tokens": [16, 32, 64, 128, 256, 512], "layers": [1, 2, 3, 6, 12]}


def _grown_records(bench: Bench, what: str, sizes: Sequence[int], steps: int) -> dict[int, list[Record]]:
    """rows: of 32 tokens, steps as said, so that what grows is reading, checking and tokenizing. tokens: the
    packaged model. layers: its shape with random weights, 64 tokens."""
    found: dict[int, list[Record]] = {size: [] for size in sizes}
    for repeat in range(bench.args.repeats):
        for size in sizes:
            training = _grown(what, size, steps)
            record = bench.train(f"growth-{what}-{size}", training, OURS, repeat)
            if not failure([record]):
                trained = record["steps_seconds"] - record["evaluation_seconds"]
                record["step_seconds"] = trained / record["steps"]
                record["start_seconds"] = record["whole_seconds"] - record["steps_seconds"]
            found[size].append(record)
    return found


def _grow(what: str, found: Mapping[int, Sequence[Record]]) -> str:
    names = ("step_seconds", "start_seconds", "peak_memory_bytes", "own_memory_bytes")
    error = failure([record for records in found.values() for record in records])
    if error:
        return f"{what}: {error}"
    rows = [[f"{size:,}", *cells(records, *names)] for size, records in found.items()]
    fits = (_fit(list(found), [median(r[name] for r in own) for own in found.values()]) for name in names)
    rows.append(["**slope, R² of a line**", *fits])
    head = [what, "seconds a step", "all the rest of the process", "peak MB of the run", "of its parent"]
    return table(head, rows)


def _panels(what: str, found: Mapping[int, Sequence[Record]]) -> list[Panel]:
    """What should grow with this size: with rows all but the steps, and the memory of what reads them."""
    if failure([record for records in found.values() for record in records]):
        return []
    time, memory = (
        ("start_seconds", "own_memory_bytes") if what == "rows" else ("step_seconds", "peak_memory_bytes")
    )
    return [
        Panel(
            title=f"{'time' if kind == 'time' else 'peak memory'}, {what}",
            name=what,
            sizes=list(found),
            values=[median(record[name] for record in records) for records in found.values()],
            kind=kind,
        )
        for name, kind in ((time, "time"), (memory, "size"))
    ]


def _grown(what: str, size: int, steps: int) -> Training:
    if what == "rows":
        rows = f"texts-{size}-32-vary"
        return Training(rows, epochs=steps / math.ceil(size / 32), own_length=32)
    tokens, model = (size, "minilm") if what == "tokens" else (64, f"minilm_{size}_layers")
    return Training(f"texts-{32 * steps}-{tokens}", model=model, epochs=1.0, own_length=tokens)


def _fit(sizes: Sequence[int], values: Sequence[float]) -> str:
    """Slope between the logarithms of sizes and values at the larger half, where constants weigh less, and
    how much of the values' variance a straight line through all of them explains."""
    x, y = np.array(sizes, dtype=np.float64), np.array(values, dtype=np.float64)
    half = slice(len(x) // 2 - (len(x) < 4), None)
    if len(x) < 2 or (y <= 0).any():
        return ""
    slope = np.polyfit(np.log(x[half]), np.log(y[half]), 1)[0]
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    explained = 1 - (residual**2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-30)
    return f"**{slope:.2f}, {explained:.3f}**"


def gpu_study(bench: Bench) -> str:
    """`study` on the GPU, with a model of BERT-base's shape."""
    return study(bench, "cuda", "bert_base")


#: Name -> a job with a table of its own.
OTHERS: dict[str, Callable[[Bench], str]] = {
    "study": study,
    "predict": predict,
    "neighbour": neighbour,
    "levers": levers,
    "growth": growth,
    "gpu_study": gpu_study,
}
assert set(_STUDY) <= set(methods.METHODS)
