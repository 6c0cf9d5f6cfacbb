"""Quality against `transformers.Trainer` with the luck of tuning in it: `benchmarks.quality` again and again.

    python -m benchmarks.repeats --study /tmp/sst2 --methods head,prefix --repeats 5 --workers 2 --bf16

Repeat r tries the study's learning rates with another seed, takes what is best on validation and judges it
with three further seeds, on both sides; repeat 0 is the study itself and what `benchmarks.quality` made
beside it. Each repeat counts as one run: intervals are over repeats (tuning and seeds) and test rows. Runs
are kept in --out, and the same command goes on. CPU only.
"""

import argparse
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks import quality
from benchmarks.quality import TRIAL_SEED, Side
from tunelab.config import RunConfig
from tunelab.measure.pairs import compare_pair
from tunelab.measure.statistics import RunScore
from tunelab.records import MethodResult
from tunelab.study.run import run_once


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True, help="folder of a finished study with one split")
    parser.add_argument("--methods", required=True, help="names with commas between")
    parser.add_argument("--repeats", type=int, default=5, help="the study itself among them")
    parser.add_argument("--out", type=Path, help="the runs; default: STUDY-trainer, as of benchmarks.quality")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--workers", type=int, default=1, help="repeats side by side")
    parser.add_argument("--bf16", action="store_true", help="the Trainer's bf16=True; default: float32")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out or Path(f"{args.study}-trainer")
    args.trials = args.seeds = None
    torch.set_num_threads(args.threads)
    side = quality.open_side(args)
    if args.only is not None:
        for result in side.results:
            ours(side, result, args.only)
            theirs(side, result, args.only)
        return
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(lambda repeat: _worker(args, repeat), range(args.repeats)))
    for result in side.results:
        print(report(side, result, args.repeats), flush=True)


def _worker(args: argparse.Namespace, repeat: int) -> None:
    """One repeat in a process of its own."""
    words = ["--study", args.study, "--methods", args.methods, "--out", args.out]
    words += ["--threads", args.threads, "--only", repeat, *(["--bf16"] if args.bf16 else [])]
    quality.in_a_process("benchmarks.repeats", words, args.threads)


def _seeds(side: Side, repeat: int) -> range:
    return range(side.seeds * repeat, side.seeds * (repeat + 1))


def theirs(side: Side, result: MethodResult, repeat: int) -> tuple[float, list[RunScore]]:
    """The learning rate that Trainer's trials chose, and its judged runs."""
    for rate in quality.learning_rates(side, result):
        quality.run(side, result, rate, TRIAL_SEED + repeat)
    rate = quality.best_rate(side, result, TRIAL_SEED + repeat)
    if rate is None:
        raise SystemExit(f"{result.name}: a trial of Trainer failed")
    judged = [quality.run(side, result, rate, seed) for seed in _seeds(side, repeat)]
    return rate, [quality.score_of_run(side, own["items"], own["predictions"]) for own in judged]


def ours(side: Side, result: MethodResult, repeat: int) -> tuple[float, list[RunScore]]:
    """The same of tunelab; of repeat 0 what the study has."""
    if repeat == 0:
        return result.learning_rates[0], [
            quality.our_score(side, side.study / "runs" / n) for n in result.runs
        ]
    trials = []
    for rate in quality.learning_rates(side, result):
        record, _ = _own_run(side, result, rate, TRIAL_SEED + repeat)
        loss = record["valid"]["loss"]
        trials.append(
            (record["valid"][record["deciding"]], -loss if math.isfinite(loss) else -math.inf, rate)
        )
    rate = max(trials)[2]
    return rate, [
        quality.our_score(side, _own_run(side, result, rate, seed)[1]) for seed in _seeds(side, repeat)
    ]


def _own_run(side: Side, result: MethodResult, rate: float, seed: int) -> tuple[dict[str, Any], Path]:
    """A run as the study has them, with this learning rate and seed: its record and its folder."""
    folder = side.out / "ours" / f"{result.name}-lr{rate:.6g}-s{seed}"
    if not (folder / "result.json").is_file():
        like = side.study / "runs" / result.runs[0] / "config.yaml"
        values = yaml.safe_load(like.read_text(encoding="utf-8"))
        values["train"]["learning_rate"], values["seed"] = rate, seed
        features = side.out / "ours" / "features"
        features.mkdir(parents=True, exist_ok=True)
        prepared = replace(side.prepared, features=features)
        run_once(RunConfig(**values), prepared, folder, kind="trial" if seed >= TRIAL_SEED else "curve")
    return json.loads((folder / "result.json").read_text(encoding="utf-8")), folder


def report(side: Side, result: MethodResult, repeats: int) -> str:
    """A line for each repeat, and the difference of both sides over all of them."""
    items, score = len(side.rows["test"]), side.record.deciding
    lines = [
        f"| method | repeat | tunelab's rate | {score} | Trainer's rate | {score} |",
        "|---|---|---|---|---|---|",
    ]
    left: list[RunScore] = []
    right: list[RunScore] = []
    for repeat in range(repeats):
        cells = []
        for means, (rate, runs) in (
            (left, ours(side, result, repeat)),
            (right, theirs(side, result, repeat)),
        ):
            means.append(_mean(runs))
            cells += [f"{rate:.3g}", f"{_value(means[-1:], items):.4f}"]
        lines.append(f"| {result.name} | {repeat} | {' | '.join(cells)} |")
    found = compare_pair(left, right, items)
    lines += [
        f"| {result.name} | all | | {_value(left, items):.4f} | | {_value(right, items):.4f} |",
        f"\n{result.name}: {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}], p {found.p:.3f}, "
        f"over {repeats} repeats and {items:,} test rows\n",
    ]
    return "\n".join(lines)


def _value(runs: list[RunScore], items: int) -> float:
    return float(np.mean([run(np.ones((1, items)))[0] for run in runs]))


def _mean(runs: list[RunScore]) -> RunScore:
    return RunScore(lambda weights_RN: np.mean([run(weights_RN) for run in runs], axis=0))


if __name__ == "__main__":
    main()
