"""Which number format the matrix products of training use, and how it is switched on."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunelab.errors import ConfigError
from tunelab.train.tables import input_table, is_plain_table

__all__ = ["Precision", "choose", "in_float32", "uses_flash"]


@dataclass(frozen=True)
class Precision:
    """A chosen precision; what the optimizer sees is float32 in either case.

    bfloat16: inside the context the model's weights are bfloat16 copies of the float32 ones, and so is every
    activation; sums inside norms, softmax's and losses are float32 (in their kernels or by the objective).
    A module with `float32 = True` stays as it is. Gradients are added up in float32, and so are those of
    embedding tables, row by row: one token's gradient is a sum over many places, of which bfloat16 would lose
    most (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1, for the master weights).

    float32: see `in_float32`. Predictions that are judged (validation's best moment aside) are always made
    so, and the scores are those of the bundle that anyone loads.
    """

    name: Literal["float32", "bfloat16"]
    device: str
    reason: str
    _copies: dict[nn.Parameter, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, model: nn.Module) -> contextlib.AbstractContextManager[None]:
        """The context in which `model` runs forward and backward; outside it everything is float32.

        Gradients found on leaving are float32 and added to those that were there on entering; after an error
        inside they are dropped. Where memory runs out while they are added some are missing.
        """
        return in_float32(model) if self.name == "float32" else self._low(model)

    @contextlib.contextmanager
    def _low(self, model: nn.Module) -> Iterator[None]:
        tables: list[Any] = [m for m in model.modules() if is_plain_table(m)]
        leaves = {m: m.weight.detach().requires_grad_(m.weight.requires_grad) for m in tables}
        inputs = input_table(model)  # only looked up, so no copy of it is needed
        left = {p for m in model.modules() if getattr(m, "float32", False) for p in m.parameters()}
        parameters = [
            p
            for p in model.parameters()
            if p.dtype == torch.float32 and p not in left and (inputs is None or p is not inputs.weight)
        ]
        kept = [(p, p.data, p.grad) for p in parameters]
        self._refresh(parameters)
        before = {m: m.__dict__.get("forward") for m in tables}
        found: list[tuple[nn.Parameter, Tensor | None]] = []
        try:
            for parameter in parameters:
                parameter.grad = None
                parameter.data = self._copies[parameter]
            for table, leaf in leaves.items():
                table.forward = _lookup(table, leaf)
            yield
            found += [(p, p.grad) for p in parameters]
            found += [(table.weight, leaf.grad) for table, leaf in leaves.items()]
        finally:  # all the weights first: adding gradients takes memory, and may fail
            for table, forward in before.items():
                _put_back(table, forward)
            for parameter, master, gradient in kept:
                parameter.grad = None
                parameter.data = master
                parameter.grad = gradient
        _add(found)

    def _refresh(self, parameters: list[nn.Parameter]) -> None:
        """Copies what may have changed: in training only what trains now."""
        everything = not torch.is_grad_enabled()
        changed = [p for p in parameters if everything or p.requires_grad or p not in self._copies]
        for parameter in changed:
            copy = self._copies.get(parameter)
            if copy is None or copy.shape != parameter.shape:
                self._copies[parameter] = torch.empty_like(parameter, dtype=torch.bfloat16).detach()
        if changed:
            with torch.no_grad():
                torch._foreach_copy_([self._copies[p] for p in changed], [p.data for p in changed])


def in_float32(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    """The context in which a model of float32 weights runs in float32: where it attends by FlashAttention,
    which has kernels for float16 and bfloat16 alone (Dao 2023, arXiv:2307.08691), torch's scaled-dot-product
    attention stands in.

    Raises:
        ConfigError: the model's class does not let its attention be changed.
    """
    return _without_flash(model) if uses_flash(model) else contextlib.nullcontext()


def uses_flash(model: nn.Module) -> bool:
    """Whether a model of transformers attends by FlashAttention, from whichever package (a kernel from the
    hub has a name of its own). All its parts do, or none."""
    return any(_is_flash(part) for part in itertools.islice(_models(model), 1))


def _models(model: nn.Module) -> Iterator[Any]:
    """The models of transformers in a model, the outermost first."""
    return (part for part in model.modules() if hasattr(type(part), "_can_set_attn_implementation"))


def _is_flash(part: Any) -> bool:
    return "flash" in str(getattr(part.config, "_attn_implementation", None))


@contextlib.contextmanager
def _without_flash(model: nn.Module) -> Iterator[None]:
    parts = [part for part in _models(model) if _is_flash(part)]
    for part in parts:
        if not part._can_set_attn_implementation():
            raise ConfigError(
                f"setting 'model.attention': {type(part).__name__} keeps the attention that it was opened "
                "with, and FlashAttention has no float32, in which everything is judged; set "
                "model.attention=sdpa"
            )
    # The configuration itself, which the layers read at every pass: `set_attn_implementation` would look for
    # the package and its kernels again on the way back.
    kept = [(part.config, part.config._attn_implementation) for part in parts]
    try:
        for part in parts:
            part.config._attn_implementation = "sdpa" if part._supports_sdpa else "eager"
        yield
    finally:
        for config, name in kept:
            config._attn_implementation = name


def _lookup(table: Any, leaf: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda ids: F.embedding(ids, leaf, table.padding_idx).to(torch.bfloat16)


def _put_back(module: Any, forward: Any) -> None:
    if forward is None:
        del module.forward
    else:
        module.forward = forward


def _add(found: list[tuple[nn.Parameter, Tensor | None]]) -> None:
    """Adds gradients in float32, one after the other, and lets go of each."""
    found.reverse()
    while found:
        parameter, gradient = found.pop()
        parameter.grad = _added(parameter.grad, gradient)


def _added(before: Tensor | None, found: Tensor | None) -> Tensor | None:
    if found is None:
        return before
    return found.float() if before is None else before + found.float()


def choose(wanted: Literal["auto", "float32", "bfloat16"], device: str) -> Precision:
    """`auto` takes bfloat16 where the hardware has matrix products for it, else float32.

    On a CPU these are AMX (products about 9 times faster than float32) and AVX512-BF16 (2.3 times;
    a whole training step of MiniLM 1.8 times). Without them bfloat16 is emulated and slower.
    """
    if wanted != "auto":
        return Precision(wanted, device, "as set")
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):  # (it is the current one that is asked)
            capable_gpu = torch.cuda.is_bf16_supported(including_emulation=False)
        if capable_gpu:
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
