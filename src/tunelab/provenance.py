"""Where a number comes from: versions, code and machine; and how much of the machine this process may use.

A container or a batch system gives a process less than the machine has, by control groups of the kernel
(docs.kernel.org, admin-guide/cgroup-v2 "cpu.max" and "memory.max", cgroup-v1/memory; scheduler/sched-bwc).
The limits of all groups above hold too.
"""

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["available_memory", "code_digest", "cores", "machine", "versions"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")
#: Files of a limit, of what is in use, and the line of memory.stat that tells how much of that is pages of
#: files, which the kernel drops first: version 2 and 1.
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "scikit-learn", "numpy", "pandas")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of tunelab, Python and the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("tunelab", *_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@functools.cache
def code_digest() -> str:
    """SHA-256 over tunelab's own source files, the first 12 hex digits."""
    import hashlib

    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cores() -> int:
    """Processor cores this process may use: those it may run on, or what its control groups give it of their
    time, rounded up."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = min(map(_quota, _cgroup_folders("cpu")), default=math.inf)
    return own if given >= own else max(1, math.ceil(given))


def _quota(folder: Path) -> float:
    """Cores' worth of time that a control group gives."""
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else math.inf  # (-1: no limit)


def available_memory() -> float | None:
    """Bytes that programs could still take without swapping, of the machine and of this process's control
    groups; None where the system does not say."""
    left = min(_host_memory(), min(map(_memory_left, _cgroup_folders("memory")), default=math.inf))
    return left if math.isfinite(left) else None


def _host_memory() -> float:
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMORY.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return math.inf


def _memory_left(folder: Path) -> float:
    """What a control group leaves; pages of files that nobody read again count as free."""
    for limit_file, usage_file, dropped in _MEMORY_FILES:
        limit = _number(folder / limit_file)
        if limit is not None:
            used = (_number(folder / usage_file) or 0) - _stat(folder / "memory.stat", dropped)
            return float(max(0, limit - max(0, used)))
    return math.inf


def _cgroup_folders(controller: str) -> list[Path]:
    """Where the limits of this process stand: its group's folder and those above, of either version."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if not names:  # version 2, beside version 1 in a folder of its own
            roots = [_CGROUPS, _CGROUPS / "unified"]
        elif controller in names.split(","):
            roots = [_CGROUPS / names, _CGROUPS / controller]
        else:
            continue
        # Inside a container the path may be the host's, of which only the root is to be seen.
        inner = PurePosixPath(path.lstrip("/"))
        own = [] if ".." in inner.parts else [inner, *inner.parents]
        found += [root / each for root in roots for each in dict.fromkeys([*own, PurePosixPath()])]
    return found


def _number(path: Path) -> int | None:
    """The file's one number; None where there is no file, or it says "max"."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _stat(path: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def machine(device: str | None = None) -> dict[str, Any]:
    """Processor, cores, memory (bytes) and accelerator of this machine: the GPU `device`, where it is one;
    else the first."""
    import torch

    chosen = device if device and torch.device(device).type == "cuda" else 0
    gpu = torch.cuda.get_device_name(chosen) if torch.cuda.is_available() else None
    return {
        "system": platform.system(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else None,
        "gpu": gpu,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
