"""Which number format the matrix products of training use, and how it is switched on."""

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Precision", "choose"]


@dataclass(frozen=True)
class Precision:
    """A chosen precision: parameters, optimizer, losses and norms stay float32 in either case.

    Predictions that are judged (validation's best moment aside) are always made in float32, so the
    scores are those of the bundle that anyone loads.
    """

    name: Literal["float32", "bfloat16"]
    device: str
    reason: str

    def __call__(self) -> contextlib.AbstractContextManager[object]:
        """The context a forward pass runs in."""
        if self.name == "float32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def choose(wanted: Literal["auto", "float32", "bfloat16"], device: str) -> Precision:
    """`auto` takes bfloat16 where the hardware has matrix products for it, else float32.

    On a CPU these are AMX (products about 9 times faster than float32) and AVX512-BF16 (2.3 times;
    a whole training step of MiniLM 1.8 times). Without them bfloat16 is emulated and slower.
    """
    if wanted != "auto":
        return Precision(wanted, device, "as set")
    if torch.device(device).type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bfloat16", device, "the GPU has bfloat16 tensor cores")
        return Precision("float32", device, "the GPU has no bfloat16 tensor cores")
    if device == "cpu":
        capable = torch.backends.cpu.get_cpu_capability()
        if torch.cpu._is_amx_tile_supported():
            return Precision("bfloat16", device, f"the CPU has AMX ({capable})")
        if torch.cpu._is_avx512_bf16_supported():
            return Precision("bfloat16", device, f"the CPU has AVX512-BF16 ({capable})")
        return Precision("float32", device, f"the CPU has no bfloat16 products ({capable})")
    return Precision("float32", device, f"{device}: not measured, so float32")
