"""The main job on real files: test scores and time of chosen methods, as a Markdown table.

    python -m benchmarks.main_job ../shared/data/sst2 full,lora --epochs 3
    python -m benchmarks.main_job ../shared/data/trec6 all --rows 500 --epochs 2

Prints the machine and versions with it, so that the table can go into docs/benchmarks.md as it is.
"""

import argparse
import tempfile
import time
from pathlib import Path

import tunelab
from tunelab.provenance import machine, versions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("methods", help="names with commas between, or all")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", help="keep the study here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        study = tunelab.compare(
            args.data,
            methods=None if args.methods == "all" else args.methods,
            model=args.model,
            rows=args.rows,
            seeds=args.seeds,
            folds=0,
            out=args.out or folder,
            settings={"train.epochs": args.epochs},
        )
        seconds = time.monotonic() - began
    known, here = versions(), machine()
    rows = f"{args.rows or 'all'} training rows, {args.epochs:g} epochs, {args.seeds} seed(s)"
    packages = ", ".join(f"{p} {known[p]}" for p in ("tunelab", "torch", "transformers", "peft"))
    print(f"\n{Path(args.data).name}, {args.model}, {rows}; whole study {seconds:.0f} s")
    print(f"({here['processor']}, {here['cores']} cores, {here['capability']}; {packages})\n")
    print(f"| method | test {study.rows[0].deciding} | 95 % interval | trained | seconds a run |")
    print("|---|---|---|---|---|")
    for row in study.rows:
        trained = "" if row.baseline else f"{100 * row.trained_share:.3g} %"
        mark = " ★" if row.method == study.winner else ""
        score = f"{row.score:.4f} | {row.low:.3f}–{row.high:.3f}"
        print(f"| {row.method}{mark} | {score} | {trained} | {row.train_seconds:.1f} |")


if __name__ == "__main__":
    main()
