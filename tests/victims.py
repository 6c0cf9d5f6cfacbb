"""Functions that a worker is asked to call (it imports them, so they stand in a module)."""

import os
import signal


def die(listener: object, stop: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def live(number: int, listener: object, stop: object) -> int:
    return number + 1


def many_shapes(listener: object, stop: object) -> int:
    """Bytes that a hundred steps of as many numbers of tokens add to the largest resident memory."""
    import resource

    import torch

    layers = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.Linear(1536, 384))

    def peak_after(sizes: range) -> int:
        for tokens in sizes:
            with torch.autocast("cpu", torch.bfloat16):
                layers(torch.ones(tokens, 384, requires_grad=True)).float().sum().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    largest = peak_after(range(800, 804))
    return peak_after(range(700, 800)) - largest
