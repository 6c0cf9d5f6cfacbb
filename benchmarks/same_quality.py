"""What levers that change numbers do to quality: the same training with and without each, on three data sets.

    python -m benchmarks.same_quality --out /tmp/same

precision: bfloat16 against float32 (full). random_batches: rows drawn at random against batches of like
length (full). trunk_cache: frozen layers computed once against anew in every step (top_layers). still_trunk:
frozen layers without dropout, as the cache needs them, against with it (top_layers). Seeds 0, 1, ... on both
sides, the same test rows; differences with seeds as a second level, their variance pooled over all trainings
of a data set. Runs are kept in --out.
"""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch

from benchmarks._bench import ROOT
from tunelab.config import RunConfig
from tunelab.data import batch
from tunelab.measure.pairs import compare_pair, seed_pool
from tunelab.measure.statistics import RunScore, mean_interval
from tunelab.methods._selective import SelectiveTuned
from tunelab.provenance import machine, versions
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.run import run_folder, run_once


@dataclass(frozen=True)
class Lever:
    """A method, and the settings with which the lever is off. still: frozen layers have no dropout."""

    method: str
    off: dict[str, dict[str, Any]]
    pool: int = batch.POOL
    still: bool = True


LEVERS = {
    "precision": Lever("full", {"train": {"precision": "float32"}}),
    "random_batches": Lever("full", {}, pool=32),
    "trunk_cache": Lever("top_layers", {"speed": {"trunk_cache": False}}),
    "still_trunk": Lever("top_layers", {"speed": {"trunk_cache": False}}, still=False),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="sst2,trec6,banking77")
    parser.add_argument("--levers", default=",".join(LEVERS))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    here = machine()
    print(
        f"{args.model}, {args.rows} training rows, {args.epochs:g} epochs, {args.seeds} seeds; "
        f"{here['processor']} ({here['capability']}), torch {versions()['torch']}\n"
    )
    print("| data | lever | with | without | difference [95 %] |\n|---|---|---|---|---|")
    for name in args.sets.split(","):
        for row in rows_of(args, name):
            print(f"| {' | '.join(row)} |", flush=True)


def rows_of(args: argparse.Namespace, name: str) -> list[list[str]]:
    """The lines of one data set."""
    wanted = {lever: LEVERS[lever] for lever in args.levers.split(",")}
    prepared = prepare([str(args.data / name)], "classify", _data(args), _model(args))
    test = len(prepared.split(0).test)
    on = {method: _scores(args, name, prepared, method, {}) for method in {w.method for w in wanted.values()}}
    off = {
        lever: _scores(args, name, prepared, own.method, own.off, own.pool, own.still)
        for lever, own in wanted.items()
    }
    pool = seed_pool([*on.values(), *off.values()], test)
    rows = []
    for lever, own in wanted.items():
        found = compare_pair(on[own.method], off[lever], test, pool=pool)
        told = [_interval(*mean_interval(runs, test)) for runs in (on[own.method], off[lever])]
        difference = f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        rows.append([name, f"{lever} ({own.method})", *told, difference])
    return rows


def _data(args: argparse.Namespace) -> Any:
    return RunConfig.model_validate({"files": ("x",), "data": {"folds": 0, "rows": args.rows}}).data


def _model(args: argparse.Namespace) -> Any:
    return RunConfig.model_validate({"files": ("x",), "model": {"name": args.model}}).model


def _scores(
    args: argparse.Namespace,
    name: str,
    prepared: Prepared,
    method: str,
    settings: dict[str, dict[str, Any]],
    pool: int = batch.POOL,
    still: bool = True,
) -> list[RunScore]:
    """One training a seed, judged on the test rows."""
    found = []
    for seed in range(args.seeds):
        config = RunConfig.model_validate(
            {
                "files": (str(args.data / name),),
                "method": method,
                "seed": seed,
                "data": {"folds": 0, "rows": args.rows},
                "model": {"name": args.model},
                **settings,
                "train": {"epochs": args.epochs, "batch_size": 32, **settings.get("train", {})},
            }
        )
        kind = f"{name}-pool{pool}{'' if still else '-dropout'}"
        folder = run_folder(args.out / kind, config, prepared, args.threads)
        if not (folder / "result.json").is_file():
            with mock.patch.object(batch, "POOL", pool), _moving(not still):
                run_once(config, prepared, folder)
        frame = pd.read_parquet(folder / "predictions.parquet").sort_values("item", ignore_index=True)
        found.append(prepared.task(config).run_score(frame))
    return found


def _moving(wanted: bool) -> AbstractContextManager[object]:
    """Where it is wanted, frozen layers train with dropout like the others."""
    return mock.patch.object(SelectiveTuned, "frozen_modules", return_value=[]) if wanted else nullcontext()


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
