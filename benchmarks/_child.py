"""A measured process: reads what to do, does it, writes what it found. Imports nothing heavy."""

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Measure = Callable[[Mapping[str, Any]], dict[str, Any]]


def child(measure: Measure) -> None:
    """`python -m benchmarks._x SPEC RESULT`: an error is a result too, it stands in the table."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    keep_to(spec["threads"])
    try:
        found = measure(spec)
    except Exception as error:  # whatever this side cannot do is the finding
        traceback.print_exc()
        found = {"error": first_line(error)}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


def first_line(error: BaseException) -> str:
    """What went wrong, short enough for a cell."""
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text.splitlines()[0][:160]}"


def keep_to(threads: int) -> None:
    """This process and its own have so many cores: tunelab gives a run as many threads as it has cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads < len(cores):
            os.sched_setaffinity(0, cores[:threads])


def forget_peak() -> None:
    """Peak memory counts from here, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """Largest resident memory of this process, bytes. (`ru_maxrss` also knows its starter's.)"""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
