"""One process that measures how many products a second this machine's own libraries give."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks._child import child


def measure(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Floating-point operations a second of square products, the best of many, for both number formats."""
    torch.set_num_threads(spec["threads"])
    return {
        name: _rate(getattr(torch, name), spec["size"], spec["device"], spec["least_seconds"])
        for name in ("float32", "bfloat16")
    }


def _rate(dtype: torch.dtype, size: int, device: str, least_seconds: float) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, end = 0.0, time.monotonic() + least_seconds
    for repeat in range(10_000):
        began = time.perf_counter()
        left @ right
        if device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        best = max(best, 2 * size**3 / seconds) if repeat > 1 else 0.0
        if repeat > 4 and time.monotonic() > end:
            break
    return best


if __name__ == "__main__":
    child(measure)
