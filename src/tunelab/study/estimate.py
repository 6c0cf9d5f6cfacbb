"""What a training would cost here, from arithmetic and one short measurement: no model is opened.

    forward of T tokens     2 · N · T + 4 · L · A · Σ t²     N numbers in the layers' matrices, L layers,
                                                             A width of all queries, t tokens of each row
    backward                twice that; without the matrices' own gradients (a frozen trunk) once the first
                            term and twice the second
    seconds                 operations / (measured rate of matrix products · efficiency) + steps + opening

(Kaplan et al. 2020, arXiv:2001.08361, section 2.1.) The efficiency is the share of the products' rate that
whole training steps reached in `docs/benchmarks.md` and `docs/performance.md` (packaged encoder, a CPU with
AVX512-BF16): `full` 46 % on two threads and 75 % on one, `lora` 31 %, `top_layers` 41 %, `head` 30-40 %.
Wider models come nearer to the rate, and so do machines without bfloat16. An estimate is meant to be right
within a factor of about 2 on a CPU; on a GPU nothing was measured. `tunelab compare` measures real steps.
"""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from tunelab.methods.top_layers import TopLayersSettings
from tunelab.provenance import available_memory
from tunelab.provenance import machine as described
from tunelab.study.catalogue import Shape
from tunelab.study.runner import plan_workers
from tunelab.train.precision import choose

__all__ = ["FACTOR", "Cost", "Family", "Load", "Machine", "cost", "family_of", "measure_machine"]

#: An estimate of time or memory is meant to be right within this factor.
FACTOR = 2.0

Family = Literal["all", "top", "head", "inside"]

#: What moves: everything, the top layers, the head, or something small inside a frozen trunk (the default).
_FAMILIES: Mapping[str, Family] = {
    "full": "all",
    "layer_decay": "all",
    "gradual": "all",
    "top_layers": "top",
    "head": "head",
}
_EFFICIENCY: Mapping[Family, float] = {"all": 0.55, "top": 0.5, "head": 0.4, "inside": 0.4}
_LAYER_SECONDS = 0.002  # a layer and step, for all that is no product: hundreds of small operations
_OPEN_SECONDS = 5.0  # start of a worker, opening, forgetting, writing and verifying the bundle
_OPEN_BYTES = 2e8  # bytes a second of a model that is read and written five times meanwhile

_PROCESS_BYTES = 0.8e9  # Python with torch and transformers; on a GPU what its driver and libraries hold
_LIVE = 2.0  # activations with their gradients and what the allocator keeps, over activations


@dataclass(frozen=True)
class Machine:
    """Where it would run.

    device: as torch names it; name: of the processor or GPU; cores; memory_bytes: that programs could still
    take; workers: runs side by side; threads: of each; precision: of training; rate, judge_rate: operations a
    second of one run's matrix products, in training's precision and in float32.
    """

    device: str
    name: str
    cores: int
    memory_bytes: float
    workers: int
    threads: int
    precision: str
    rate: float
    judge_rate: float


@dataclass(frozen=True)
class Load:
    """What one run reads.

    train, valid, test: [N] estimated tokens of each row, after truncation; steps: optimizer steps of `batch`
    rows; evaluations: on the validation rows; generates: every token is predicted (an output layer works).
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    steps: int
    batch: int
    evaluations: float
    generates: bool = False

    @property
    def passes(self) -> float:
        """How often a training row is read."""
        return self.steps * self.batch / max(len(self.train), 1)

    def cut(self, max_length: int, windowed: bool = False) -> "Load":
        """No row longer than so many tokens; windowed: the rest of a row becomes further rows."""
        lengths = (self.train, self.valid, self.test)
        if not windowed:
            train, valid, test = (np.minimum(part, max_length) for part in lengths)
            return replace(self, train=train, valid=valid, test=test)
        train, valid, test = (_windows(part, max_length) for part in lengths)
        steps = math.ceil(self.steps * len(train) / max(len(self.train), 1))
        return replace(self, train=train, valid=valid, test=test, steps=steps)


def _windows(lengths: np.ndarray, most: int) -> np.ndarray:
    """Rows of at most so many tokens.

    >>> _windows(np.array([3.0, 10.0]), 4).tolist()
    [3.0, 4.0, 4.0, 2.0]
    """
    return np.array([min(most, n - first) for n in lengths for first in np.arange(0, max(n, 1), most)])


@dataclass(frozen=True)
class Cost:
    """Of one run, roughly: seconds, and the largest memory in bytes."""

    seconds: float
    memory_bytes: float


def family_of(method: str) -> Family:
    """How a method's cost is counted.

    >>> family_of("full"), family_of("lora")
    ('all', 'inside')
    """
    return _FAMILIES.get(method, "inside")


def cost(shape: Shape, method: str, load: Load, here: Machine) -> Cost:
    """What one judged run of a method costs here."""
    return Cost(_seconds(shape, method, load, here), _memory(shape, method, load, here))


# ---- time ----------------------------------------------------------------------------------------


def _forward(shape: Shape, lengths: np.ndarray, generates: bool) -> tuple[float, float]:
    """Operations of a forward pass: in the layers' (and the output's) matrices, and between tokens."""
    numbers = shape.matrices + (shape.table if generates else 0)
    attention = 4.0 * (shape.layers + 2 * shape.decoder) * shape.width
    return 2.0 * numbers * float(lengths.sum()), attention * float(np.square(lengths, dtype=np.float64).sum())


def _seconds(shape: Shape, method: str, load: Load, here: Machine) -> float:
    lengths = load.train + (_virtual(method) if len(load.train) else 0)
    matrices, attention = _forward(shape, lengths, load.generates)
    once = matrices + attention
    valid = sum(_forward(shape, load.valid, load.generates))
    test = sum(_forward(shape, load.test, load.generates))
    family = family_of(method)
    if family == "all":
        work = 3 * once * load.passes + valid * load.evaluations
    elif family == "inside":
        work = (2 * matrices + 3 * attention) * load.passes + valid * load.evaluations
    else:  # what frozen layers give is computed once (train/trunk.py)
        upper = _top_share(shape) if family == "top" else 0.0
        work = (1 - upper) * (once + valid) + upper * (3 * once * load.passes + valid * load.evaluations)
    efficiency = _EFFICIENCY[family]
    layers = shape.layers + shape.decoder
    moving = layers * {"all": 1.0, "inside": 1.0, "top": _top_share(shape), "head": 0.1}[family]
    seconds = work / (here.rate * efficiency) + test / (here.judge_rate * _EFFICIENCY["all"])
    opening = _OPEN_SECONDS + 5 * 4 * shape.parameters / _OPEN_BYTES
    return seconds + load.steps * moving * _LAYER_SECONDS + opening


def _virtual(method: str) -> int:
    """Tokens that a method puts before every text."""
    return 20 if method in ("prompt", "p_tuning") else 0


def _top_share(shape: Shape) -> float:
    return min(1.0, TopLayersSettings().layers / (shape.layers + shape.decoder))


# ---- memory --------------------------------------------------------------------------------------


def _memory(shape: Shape, method: str, load: Load, here: Machine) -> float:
    """Process, float32 parameters (and bfloat16 copies), 16 bytes of each number that moves (gradient, two
    moments of AdamW, the best state), and activations of the batch of the longest rows."""
    family = family_of(method)
    low = here.precision == "bfloat16"
    copies = 2.0 * (shape.parameters - shape.table) if low else 0.0
    layers = shape.layers + shape.decoder
    upward = {"all": 1.0, "inside": 1.0, "top": _top_share(shape), "head": 0.5 / layers}[family]
    longest = float(load.train.max(initial=1)) + _virtual(method)
    tokens = longest * load.batch
    live = _LIVE * tokens * upward * layers * _activation_bytes(shape, longest, 2 if low else 4)
    logits = 10.0 * tokens * shape.vocabulary if load.generates else 0.0
    return (
        _PROCESS_BYTES + 4.0 * shape.parameters + copies + 16.0 * _moving(shape, family, load) + live + logits
    )


def _activation_bytes(shape: Shape, length: float, size: int) -> float:
    """Of one token in one layer (Korthikanti et al. 2022, arXiv:2205.05198, section 4.1: 34 D + 5 heads · t
    bytes at two bytes a number); beyond 256 tokens attention keeps no table of t · t (models.py)."""
    wide = (4 if shape.has_gate else 2) * shape.intermediate
    attention = 2.5 * shape.heads * length if length <= 256 else 0.0
    return size * (9 * shape.hidden + wide + attention)


def _moving(shape: Shape, family: Family, load: Load) -> float:
    """Numbers that are trained. Of an embedding table those of tokens that occur (train/vocabulary.py): about
    18 √tokens of them (Heaps' law; 3,900 among the 47,000 tokens of 2,000 reviews)."""
    head = float(shape.hidden**2 + shape.hidden)
    if family == "head":
        return head
    if family == "top":
        return head + _top_share(shape) * shape.matrices
    if family == "inside":
        return head + 0.02 * shape.matrices
    occurring = min(1.0, 18.0 * float(load.train.sum()) ** 0.5 / shape.vocabulary)
    table = shape.table * (1.0 if load.generates else occurring)
    return shape.parameters - shape.table + table


# ---- the machine ---------------------------------------------------------------------------------


def measure_machine(device: str) -> Machine:
    """The machine as it is now; its matrix products are measured, in well under a second on a CPU."""
    about = described(device)
    workers, threads = plan_workers(0, device)
    precision = choose("auto", device)
    on_gpu = torch.device(device).type == "cuda"
    judge_rate = _rate(torch.float32, device, threads)
    low = precision.name == "bfloat16"
    return Machine(
        device=device,
        name=str(about["gpu"] if on_gpu else about["processor"]),
        cores=int(about["cores"]),
        memory_bytes=_free_memory(device),
        workers=workers,
        threads=threads,
        precision=precision.name,
        rate=_rate(torch.bfloat16, device, threads) if low else judge_rate,
        judge_rate=judge_rate,
    )


def _rate(dtype: torch.dtype, device: str, threads: int) -> float:
    """Operations a second of square products of the size of a layer's, the best of some."""
    on_gpu = torch.device(device).type == "cuda"
    size = 4096 if on_gpu else 768
    left = torch.ones(size, size, dtype=dtype, device=device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    times: list[float] = []
    try:
        left @ left
        began = time.perf_counter()
        while len(times) < 3 or (len(times) < 50 and time.perf_counter() - began < 0.15):
            start = _now(device)
            left @ left
            times.append(_now(device) - start)
    finally:
        torch.set_num_threads(before)
    return 2.0 * size**3 / min(times)


def _now(device: str) -> float:
    """Seconds, when the device has done all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _free_memory(device: str) -> float:
    """Bytes that a program could still take on the device, a container's limit included."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = available_memory()
    if free is None and hasattr(os, "sysconf"):
        free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return float("inf") if free is None else free
