"""Functions that a worker is asked to call (it imports them, so they stand in a module)."""

import os
import signal
from pathlib import Path


def die(listener: object, stop: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def live(number: int, listener: object, stop: object) -> int:
    return number + 1


def many_shapes(listener: object, stop: object) -> int:
    """Bytes that a hundred steps of as many numbers of tokens add to the resident memory (Linux). Not to the
    largest by getrusage: a program inherits that of the one that started it."""
    import torch

    layers = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.Linear(1536, 384))

    def resident_after(sizes: range) -> int:
        for tokens in sizes:
            with torch.autocast("cpu", torch.bfloat16):
                layers(torch.ones(tokens, 384, requires_grad=True)).float().sum().backward()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    first = resident_after(range(800, 804))
    return resident_after(range(700, 800)) - first
