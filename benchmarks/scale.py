"""What very many rows cost: the data doctor and the tokenizer on made-up reviews, as a Markdown table.

    python -m benchmarks.scale --out /tmp/scale
    python -m benchmarks.scale --rows 10000,1000000 --jobs check,encode --out /tmp/scale

Jobs, each a process of its own: `check` is the command `tunelab check FILE` (reading, near-duplicates and the
tokens of 50,000 rows included), `encode` turns all texts into tokens by the packaged model's tokenizer, and
`train` opens these tokens again, as a worker does, and takes a thousand batches from all over them.

The sentences are drawn by a seeded generator from 60,000 English-like words and 4,000 Chinese characters,
both as unevenly frequent as in real text; of a hundred rows 10 repeat an earlier one and 25 are one with one
or two changes.
"""

import argparse
import csv
import io
import json
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks._child import keep_to, peak_memory
from tunelab.provenance import cores, machine, versions

_SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "or", "is")]
_KEPT = 50_000  # earlier sentences that are repeated and changed


def sentences(rows: int, seed: int = 0) -> Iterator[str]:
    """About 45 characters each, half of them Chinese.

    >>> len(list(sentences(100)))
    100
    """
    rng = random.Random(seed)
    words = ["".join(rng.choices(_SYLLABLES, k=1 + i % 3)) for i in range(60_000)]
    characters = [chr(0x4E00 + i) for i in rng.sample(range(20_000), 4000)]
    zipf = {id(pool): list(accumulate(1 / (i + 3) for i in range(len(pool)))) for pool in (words, characters)}
    known: list[str] = []
    for row in range(rows):
        draw = rng.random()
        if known and draw < 0.35:
            text = rng.choice(known)
            yield text if draw < 0.1 else _changed(text, rng)
            continue
        pool, between, length = (words, " ", 10) if row % 2 else (characters, "", 40)
        size = max(2, round(rng.gauss(length, length / 3)))
        text = between.join(rng.choices(pool, cum_weights=zipf[id(pool)], k=size))
        if len(known) < _KEPT:
            known.append(text)
        else:
            known[rng.randrange(_KEPT)] = text
        yield text


def _changed(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(["很", "not ", "!", "1"]) + text[at + rng.randint(0, 1) :]
    return text


def make_file(rows: int, path: Path) -> Path:
    """A CSV of sentences with five labels; made once."""
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="") as file:
            write = csv.writer(file)
            write.writerow(("text", "label"))
            for text in sentences(rows):
                write.writerow((text, f"class {len(text) % 5}"))
    return path


# ---- jobs: each returns what it has to tell -------------------------------------------------------


def _check(path: Path) -> str:
    from tunelab.cli import main

    sys.argv = ["tunelab", "check", str(path)]
    os.environ["COLUMNS"] = "200"  # findings unbroken
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        main()
    except SystemExit as end:
        if end.code not in (0, 2, None):  # 2: the doctor found errors
            raise
    finally:
        told, sys.stdout = sys.stdout.getvalue(), out
    return next((line.strip(" !·") for line in told.splitlines() if "nearly the same" in line), "")


def _encode(path: Path) -> str:
    from benchmarks._made import packaged_tokenizer
    from tunelab.data.encode import encode

    with path.open(encoding="utf-8", newline="") as file:
        texts = [row[0] for row in csv.reader(file)][1:]
    tokens = encode(texts, packaged_tokenizer())
    path.with_suffix(".tokens").write_bytes(pickle.dumps(tokens))
    return f"{len(tokens.ids):,} tokens, {type(tokens.ids).__name__}"


def _train(path: Path) -> str:
    import numpy as np

    from tunelab.data.batch import collate, epoch_batches

    data = path.with_suffix(".tokens").read_bytes()
    tokens = pickle.loads(data)
    batches = epoch_batches(np.minimum(tokens.lengths, 256), 32, seed=0, epoch=0)[:1000]
    taken = sum(int(collate(tokens, batch, 256, 0)["attention_mask"].sum()) for batch in batches)
    return f"{taken:,} tokens taken; handed on as {len(data) / 2**20:.0f} MiB"


_JOBS: dict[str, Callable[[Path], str]] = {"check": _check, "encode": _encode, "train": _train}


def _child(job: str, path: Path, threads: int) -> None:
    keep_to(threads)
    begin, used = time.perf_counter(), time.process_time()
    told = _JOBS[job](path)
    found = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used}
    print(json.dumps({**found, "peak": peak_memory(), "told": told}))


# ---- the table ------------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> None:
    args = _arguments(words)
    if args.child:
        _child(args.child, args.file, args.threads)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [
        _head(args.threads),
        "",
        "| rows | MB | job | seconds | CPU seconds | peak, MiB | |",
        "|--:|--:|---|--:|--:|--:|---|",
    ]
    for rows in args.rows:
        path = make_file(rows, args.out / f"rows-{rows}.csv")
        for job in args.jobs:
            found = _measured(job, path, args)
            size, peak = path.stat().st_size / 1e6, found["peak"] / 2**20
            cost = f"{found['seconds']:.1f} | {found['cpu']:.1f} | {peak:.0f} | {found['told']} |"
            lines.append(f"| {rows:,} | {size:.0f} | {job} | {cost}")
            (args.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print((args.out / "table.md").read_text(encoding="utf-8"))


def _measured(job: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--child", job, "--file", str(path)]
    command += ["--threads", str(args.threads), "--out", str(args.out)]
    cache = args.out / f"cache-{path.stem}-{job}-{os.getpid()}"  # of its own: nothing is known before
    done = subprocess.run(
        command,
        env={**os.environ, "TUNELAB_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _head(threads: int) -> str:
    here, known = machine(), versions()
    packages = ", ".join(
        f"{name} {known[name]}" for name in ("tunelab", "python", "numpy", "transformers") if name in known
    )
    return (
        f"{here['processor']} ({here['capability']}), {here['cores']} cores, "
        f"{here['memory'] / 2**30:.0f} GiB; "
        f"{packages}; {threads} thread(s). Load of the machine at the start: {os.getloadavg()[0]:.1f}."
    )


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=_numbers, default=(100_000, 1_000_000), help="numbers, comma between")
    parser.add_argument(
        "--jobs", type=_jobs, default=tuple(_JOBS), help=f"of {', '.join(_JOBS)}; train needs encode"
    )
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--out", type=Path, required=True, help="the files, the cache and the table")
    parser.add_argument("--child", choices=_JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _jobs(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := set(names) - set(_JOBS):
        raise argparse.ArgumentTypeError(
            f"unknown job {', '.join(sorted(unknown))}; known: {', '.join(_JOBS)}"
        )
    return names


if __name__ == "__main__":
    main()
