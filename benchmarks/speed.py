"""Speed and memory against plain `transformers.Trainer` with `peft` on this machine, as Markdown tables.

    python -m benchmarks.speed --out /tmp/speed
    python -m benchmarks.speed --jobs full,lora --peers best --rows 1000 --epochs 1 --out /tmp/speed
    python -m benchmarks.speed --jobs growth --most-rows 10000 --out /tmp/speed

Every training is a process of its own, one at a time, the sides in turn; repeat i has seed i on every side.
Both sides train the same rows with the same batch size, epochs, learning rate and schedule (Trainer's
`defaults` and `tutorial` take batches of 16). Each result is a file in --out that is kept, so that a
benchmark that was killed goes on. Seconds: from the opened model to the trained one, validations included.

Nothing else should run: where threads have to share a core, Trainer's wait for one another without giving it
up and take many times as long; what a neighbour costs is the job `neighbour`.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks._bench import ROOT, Bench
from benchmarks._jobs import OTHERS, VERSUS, compared
from benchmarks._tables import Measured, versus_table
from tunelab.provenance import cores, machine, versions

_PACKAGES = ("tunelab", "python", "torch", "transformers", "peft", "accelerate")


def main(words: Sequence[str] | None = None) -> None:
    args = _arguments(words)
    names = args.jobs or [name for name in (*VERSUS, *OTHERS) if _fits(name)]
    args.out.mkdir(parents=True, exist_ok=True)
    found: list[Measured] = []
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        for name in names:
            if not _fits(name):
                parts.append(f"### {name}\n\nnot run: this machine has no GPU that torch can use")
            elif name in VERSUS:
                found.append(compared(bench, name))
            else:
                parts.append(f"### {name}\n\n{OTHERS[name](bench)}")
            (args.out / "table.md").write_text(report(bench, found, parts), encoding="utf-8")
    print((args.out / "table.md").read_text(encoding="utf-8"))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    jobs = [*VERSUS, *OTHERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=_names, help=f"of {', '.join(jobs)}; default: all that fit")
    parser.add_argument(
        "--peers", type=_names, help="of best, random, defaults, tutorial; default: each job's own"
    )
    parser.add_argument("--methods", type=_names, help="for study and levers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="training rows (predict: texts) instead of each job's own")
    parser.add_argument("--epochs", type=float, help="instead of each job's own")
    parser.add_argument("--batch-size", type=int, help="of tunelab and best instead of 32 (16: as defaults)")
    parser.add_argument("--steps", type=int, help="so many batches of rows, one epoch")
    parser.add_argument("--most-rows", type=int, default=100_000, help="for growth")
    parser.add_argument("--threads", type=int, default=cores(), help="of every process; default: all cores")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True, help="results, one file a process")
    parser.add_argument("--gemm-size", type=int, help="of the square products for the ceiling")
    args = parser.parse_args(words)
    unknown = set(args.jobs or ()) - set(jobs)
    if unknown:
        parser.error(f"unknown job {', '.join(sorted(unknown))}; known: {', '.join(jobs)}")
    if not 1 <= args.threads <= cores():
        parser.error(f"--threads {args.threads}: this machine has {cores()} cores")
    return args


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _fits(job: str) -> bool:
    return not job.startswith("gpu_") or torch.cuda.is_available()


def report(bench: Bench, found: Sequence[Measured], parts: Sequence[str]) -> str:
    """All tables with what they were measured on."""
    args, here, known = bench.args, machine(), versions()
    packages = ", ".join(f"{package} {known[package]}" for package in _PACKAGES)
    lines = [
        f"{here['processor']} ({here['capability']}), {here['cores']} cores, "
        f"{here['memory'] / 2**30:.0f} GiB, GPU: {here['gpu'] or 'none'}; {packages}.",
        f"{args.threads} thread(s) a process, {args.repeats} repeat(s): medians, in brackets the smallest "
        f"and largest. Load of the machine when this was written: {os.getloadavg()[0]:.1f}.",
    ]
    if found:
        lines += ["", *(f"- {measured.job}: {_told(bench, measured)}" for measured in found), ""]
        lines += [versus_table(bench, found), "", _ceiling(bench), "", _NOTES]
    for part in parts:
        lines += ["", part]
    return "\n".join(lines) + "\n"


def _told(bench: Bench, measured: Measured) -> str:
    training, prepared = measured.training, bench.prepared(measured.training)
    split = prepared.split(0)
    own = ", ".join(f"{name} {value}" for name, value in training.settings.items())
    return (
        f"{training.method}{f' ({own})' if own else ''}, {training.model}, {training.data}: "
        f"{len(split.train)} training, {len(split.valid)} validation and {len(split.test)} test rows, "
        f"{training.epochs:g} epoch(s), batches of {training.batch_size}, "
        f"at most {prepared.model.max_length} tokens, {training.device}"
    )


def _ceiling(bench: Bench) -> str:
    rates = bench.ceiling()
    if "error" in rates:
        return f"The ceiling could not be measured: {rates['error']}"
    told = " and ".join(f"{rates[name] / 1e9:.0f} GFLOP/s in {name}" for name in ("float32", "bfloat16"))
    return f"Ceiling of square products here: {told}."


_NOTES = """\
Seconds: training with its validations; opening the model, tokenizing and judging are in "whole process" only
(tunelab's also reads and checks the data, writes the bundle and verifies it in one more process). Peak: of
the process that trains. Share of the ceiling: 6 operations a number of the layers' matrices and token without
padding where all is trained, 4 where gradients only pass through, 2 where nothing below is trained;
validation left out, products between tokens and added parameters not counted; a side that leaves out what
does not change the result can have more than 100 %. Accuracy: tunelab's best epoch, Trainer's last one (it
writes no checkpoints here); the difference's interval is paired over the test rows and takes the seeds in."""


if __name__ == "__main__":
    main()
