"""What a race saves and what it loses: successive halving replayed on the records of exhaustive studies.

    python -m benchmarks.race ../shared/data ../shared/models/stories260K-hf --out /tmp/race

Makes twenty small studies, every method trained to its end (those that are in --out are not made again), then
lets `tunelab.measure.race` decide from what it would have seen at each rung, and prints a Markdown table.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import tunelab
from tunelab.measure.race import RUNGS, Entry, Rung, Stop, decide, risk

METHODS = ("full", "head", "top_layers", "lora", "bitfit", "adapter")
_VALID, _TEST = 200, 500
_EVALUATIONS = 2  # per epoch: with four epochs one falls on every rung
_CLASSES = 10  # of many classes, the most frequent
_RESAMPLES = 2000
_RUNS = 7  # of a standard study: 4 trials and 3 seeds of each method
_LEVEL = 0.05  # accuracy; about what 500 test rows cannot tell apart

#: (data set or file, its training rows, seed of the sample)
STUDIES = (
    *(("trec6", rows, seed) for seed, rows in enumerate((300, 330, 360, 400))),
    *(("banking77", rows, seed) for seed, rows in enumerate((300, 330, 360, 400))),
    *(("thucnews_titles/dev.txt", rows, seed) for seed, rows in enumerate((300, 330, 360, 400))),
    *(("weibo_senti", rows, seed) for seed, rows in enumerate((300, 330, 360, 400))),
    *(("sst2", rows, seed) for seed, rows in enumerate((300, 400))),
    *(("chnsenticorp_htl", rows, seed) for seed, rows in enumerate((300, 400))),
)


@dataclass(frozen=True)
class Recorded:
    """A method's runs in a finished study: N test rows, one curve a run.

    curves: (step, validation accuracy, loss) of every evaluation; steps: planned, of one run; seconds: of a
    step.
    """

    name: str
    curves: tuple[tuple[tuple[int, float, float], ...], ...]
    steps: int
    seconds: float
    correct_N: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("model", help="local folder, hub id or packaged alias")
    parser.add_argument("--out", type=Path, required=True, help="records; those there are used again")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=15, help="no further study is begun after these")
    args = parser.parse_args()
    began = time.monotonic()
    for number, (name, rows, seed) in enumerate(STUDIES, 1):
        if time.monotonic() - began > 60 * args.minutes:
            print(f"{args.minutes:g} minutes are over: {len(STUDIES) - number + 1} studies are not recorded")
            break
        record(args, name, rows, seed)
    print(table([(title(*study), read(folder)) for study in STUDIES if (folder := made(args.out, *study))]))


# Recording


def title(name: str, rows: int, seed: int) -> str:
    return f"{name.partition('/')[0]}-{rows}-{seed}"


def made(out: Path, name: str, rows: int, seed: int) -> Path | None:
    """The folder of a study that is finished."""
    folder = out / title(name, rows, seed)
    return folder if (folder / "finished").is_file() else None


def record(args: argparse.Namespace, name: str, rows: int, seed: int) -> None:
    """One exhaustive study, its bundles thrown away."""
    if made(args.out, name, rows, seed):
        return
    folder = args.out / title(name, rows, seed)
    began = time.monotonic()
    sample(args.data / name, folder / "data", rows, seed)
    tunelab.compare(
        folder / "data",
        methods=METHODS,
        model=args.model,
        seeds=1,
        folds=0,
        out=folder / "study",
        progress=False,
        settings={
            "baselines": False,
            "search.trials": 1,
            "model.max_length": args.max_length,
            "train.epochs": args.epochs,
            "train.batch_size": args.batch_size,
            "train.evaluations_per_epoch": _EVALUATIONS,
            "train.checkpoint_seconds": 3600.0,
        },
    )
    shutil.rmtree(folder / "study/winner", ignore_errors=True)
    for bundle in (folder / "study/runs").glob("*/bundle"):
        shutil.rmtree(bundle)
    (folder / "finished").write_text(f"{time.monotonic() - began:.1f}\n")
    print(f"{folder.name}: {time.monotonic() - began:.0f} s", flush=True)


def sample(source: Path, folder: Path, rows: int, seed: int) -> None:
    """Training, validation and test rows of a data set, in three files; no text is in it twice."""
    frame = tunelab.check(source)[0].frame[["text", "label"]].drop_duplicates("text")
    if frame["label"].nunique() > 20:
        frame = frame[frame["label"].isin(sorted(frame["label"].value_counts().index[:_CLASSES]))]
    frame = frame.sample(frac=1, random_state=seed)
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([rows, _VALID, _TEST])
    for part, end, count in zip(("train", "valid", "test"), ends, (rows, _VALID, _TEST), strict=True):
        frame[end - count : end].to_csv(folder / f"{part}.csv", index=False)


def read(folder: Path) -> list[Recorded]:
    """A study's methods from its records, in the order of METHODS."""
    found: dict[str, list[tuple[dict[str, Any], Path]]] = {}
    for path in sorted((folder / "study/runs").glob("*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("kind", "judged") == "judged" and (path.parent / "metrics.jsonl").is_file():
            found.setdefault(result["method"], []).append((result, path.parent))
    return [_recorded(name, found[name]) for name in METHODS if name in found]


def _recorded(name: str, runs: Sequence[tuple[dict[str, Any], Path]]) -> Recorded:
    curves, correct = [], []
    for _, folder in runs:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [e for line in lines if (e := json.loads(line))["kind"] == "evaluation"]
        curves.append(tuple((e["step"], e["valid/accuracy"], e["valid/loss"]) for e in entries))
        frame = pd.read_parquet(folder / "predictions.parquet").sort_values("item")
        correct.append((frame["prediction"] == frame["label"]).to_numpy(dtype=float))
    trained = sum(result["cost"]["train_seconds"] for result, _ in runs)
    steps = sum(result["training"]["steps"] for result, _ in runs)
    planned = runs[0][0]["training"]["planned_steps"]
    return Recorded(name, tuple(curves), planned, trained / steps, np.mean(correct, axis=0))


# Replaying


@dataclass(frozen=True)
class Replay:
    """A race on a recorded study. survivors: methods that ran to the end.

    cost: share of the study's cost, if every method has one run (the race's); whole: the same of a study in
    which every method has _RUNS runs like it, and a stopped method none of the others. Cost: optimizer steps
    times the method's seconds per step.
    """

    survivors: tuple[str, ...]
    stops: tuple[Stop, ...]
    cost: float
    whole: float


def replay(study: Sequence[Recorded], rungs: Sequence[Rung] = RUNGS) -> Replay:
    """What `decide` makes of the scores that it would have seen."""
    racing = {method.name: method for method in study}
    each = {method.name: method.steps * method.seconds for method in study}
    cost, before = 0.0, 0.0
    stops: list[Stop] = []
    for rung in rungs:
        cost += (rung.share - before) * sum(each[name] for name in racing)
        before = rung.share
        decision = decide([entry(method, rung) for method in racing.values()], rung.share)
        stops += decision.stops
        racing = {name: racing[name] for name in decision.keep}
    rest = sum(each[name] for name in racing)
    cost += (1 - before) * rest
    total = sum(each.values())
    return Replay(tuple(racing), tuple(stops), cost / total, (cost + (_RUNS - 1) * rest) / (_RUNS * total))


def entry(method: Recorded, rung: Rung) -> Entry:
    """What is known of a method at a rung; an evaluation up to one step late counts (steps are whole)."""
    seen = [[e for e in curve if e[0] <= rung.step(method.steps) + 1] for curve in method.curves]
    score = float(np.mean([max((e[1] for e in curve), default=0.0) for curve in seen]))
    loss = float(np.mean([min((e[2] for e in curve), default=np.inf) for curve in seen]))
    return Entry(method.name, score, _VALID, loss)


def winner_group(study: Sequence[Recorded]) -> tuple[str, ...]:
    """Methods whose test accuracy is not surely below the best one's, best first.

    A stand-in for the study's verdict: the paired bootstrap's 95 % interval of the difference, uncorrected.
    """
    order = sorted(study, key=lambda method: -method.correct_N.mean())
    correct_MN = np.stack([method.correct_N for method in order])
    items = correct_MN.shape[1]
    drawn_RN = np.random.default_rng(0).multinomial(items, np.full(items, 1 / items), size=_RESAMPLES) / items
    behind_RM = drawn_RN @ (correct_MN[0] - correct_MN).T
    return tuple(
        m.name for m, low in zip(order, np.percentile(behind_RM, 2.5, axis=0), strict=True) if low <= 0
    )


def table(studies: Sequence[tuple[str, Sequence[Recorded]]]) -> str:
    """One row a study, then the sums."""
    lines = [
        "| study | methods | winner group, exhaustive | of the race | cost, 1 run each | "
        f"cost, {_RUNS} runs each | stopped too early | risk bound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = []
    for name, study in studies:
        race = replay(study)
        true = winner_group(study)
        raced = winner_group([method for method in study if method.name in race.survivors])
        early = [method for method in true if method not in race.survivors]
        bound = risk(race.stops, _LEVEL)
        found.append((race.cost, race.whole, set(raced) <= set(true), not early, true[0] in early, bound))
        cells = (name, str(len(study)), ", ".join(true), ", ".join(raced), f"{race.cost:.2f}")
        lines.append(f"| {' | '.join(cells)} | {race.whole:.2f} | {', '.join(early) or '-'} | {bound:.2f} |")
    if not found:
        return "no study is recorded"
    cost, whole, right, kept, lost, bound = np.mean(np.array(found, dtype=float), axis=0)
    count = len(found)
    return "\n".join(
        [
            *lines,
            "",
            f"Mean cost {cost:.0%} of the exhaustive study with one run of each method, {whole:.0%} with "
            f"{_RUNS} (the race in the first). The race's winner group lies within the true one in "
            f"{right * count:.0f} of {count} studies; no member of that was stopped in {kept * count:.0f}; "
            f"the method with the highest test score was stopped in {lost * count:.0f}. Mean risk bound "
            f"{bound:.2f}; some member was stopped in a share of {1 - kept:.2f}.",
        ]
    )


if __name__ == "__main__":
    main()
