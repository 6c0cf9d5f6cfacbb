"""Attention for a CPU: plain matrix products, block by block, or torch's fused kernel where that is faster.

Paper: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.1; the order of work
after Dao et al., FlashAttention, 2022, arXiv:2205.14135 (blocks that stay in the cache).
    P = softmax(scaling · Q Kᵀ + mask)      O = (dropout(P)) V
The same function as transformers' "eager" and "sdpa"; sums are in another order.

What differs is how the work is laid out. Eager attention sweeps five tensors of B·H·T·S numbers through
memory forward; torch's fused kernel has no dropout on a CPU (it falls back to those sweeps), and in bfloat16
its backward pass is slow. Here one block of rows and heads goes from Q to O before the next begins, so that
its scores stay in the cache; scores of short rows are float32 between the products (torch's softmax of those
has no vector code for bfloat16: 5.6 against 1.5 nanoseconds a number at 24 keys); the probabilities alone are
kept for the backward pass, with one byte a number for dropout, or nothing where they would be too large (they
are then computed again, from the same seed: the same bits). Heads that share keys share their products too.

Without dropout the fused kernel may win on long texts. From which length on is measured once a machine,
number format and pass, and written down: results then do not depend on how busy the machine was that day.
"""

# B batch, H query heads, h key heads, G = H / h, T queries, S keys, d size of a head, e of a value's head
# N heads of a block, all rows together

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunelab.files import cache_folder
from tunelab.train import dropout as fast
from tunelab.train.unpadded import Rows, inside, outside

__all__ = ["NAME", "NEVER", "Pass", "crossover", "register", "supports"]

#: What `attn_implementation` is called.
NAME = "tunelab"
#: The crossover where the fused kernel does not win at any length that was measured.
NEVER = 2**31

Pass = Literal["train", "predict"]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Scores of a block, bytes: they and their few copies should fit into the caches.
_BLOCK = 2**21
#: Rows with fewer keys have float32 scores.
_SHORT = 64
#: Probabilities of a layer that are kept for its backward pass, numbers (3 bytes each in bfloat16); above it
#: they are computed again, which costs a third more time.
_KEPT = 2**26
_LENGTHS = (64, 128, 256, 512, 1024)
_ROWS = 6144  # query rows (of all heads) of a measurement
_DTYPES = (torch.float32, torch.bfloat16)

#: Where it was given or has been looked up in this process.
_crossovers: dict[tuple[torch.dtype, Pass], int] = {}


def register(crossovers: Mapping[tuple[torch.dtype, Pass], int] | None = None) -> None:
    """Makes `attn_implementation="tunelab"` known to transformers; again and again if one likes.

    crossovers: from how many keys on the fused kernel is taken where there is no dropout; what is missing is
    measured when it is first needed.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    _crossovers.update(crossovers or {})


def supports(model: nn.Module) -> bool:
    """Whether all of a model's attention may be ours: it goes through transformers' interface (DeBERTa's does
    not: its scores are made of relative positions), and the model says that "sdpa", which reads of a layer
    what ours reads, gives its numbers (Gemma 2 caps its scores, GPT-OSS has sinks: they have "eager")."""
    parts: list[Any] = [p for p in model.modules() if hasattr(type(p), "_can_set_attn_implementation")]
    return bool(parts) and all(p._can_set_attn_implementation() and p._supports_sdpa for p in parts)


def attend(
    module: Any,
    query_BHTd: Tensor,
    key_BhSd: Tensor,
    value_BhSe: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls: the output, [B, T, H, e], and None (the weights where they are asked for).

    Falls back to the model's own eager attention for weights, for scores that are more than products (capped,
    or with sinks) and, on a CPU, for dropout outside `fast_dropout`; to transformers' sdpa for whatever else
    it does not know, other devices among it.
    """
    tensors = (query_BHTd, key_BhSd, value_BhSe)
    rows = inside()
    if rows is not None and query_BHTd.shape[2] == key_BhSd.shape[2] == len(rows.places_N):
        settings = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        return _by_rows(rows, module, tensors, attention_mask, **settings, **kwargs)
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    p = dropout if module.training else 0.0
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    causal = bool(causal) and attention_mask is None and query_BHTd.shape[2] > 1
    square = query_BHTd.shape[2] == key_BhSd.shape[2]
    torchs = p > 0 and (p >= 1 or not fast.active())
    on_cpu = query_BHTd.device.type == "cpu"
    special = kwargs.get("output_attentions") or _more_than_products(kwargs)
    if own and (square or not causal) and ((on_cpu and torchs) or special):
        mask = _causal(query_BHTd) if causal else attention_mask
        mask = None if mask is None else _additive(mask, query_BHTd.dtype)
        scaling = scaling if scaling is not None else query_BHTd.shape[-1] ** -0.5
        result: tuple[Tensor, Tensor | None] = own(
            module, *tensors, mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    if torchs or not _known(tensors, attention_mask, causal, kwargs) or _fused_wins(tensors, p):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output, _ = sdpa_attention_forward(
            module, *tensors, attention_mask, dropout=p, scaling=scaling, is_causal=is_causal, **kwargs
        )
        return output, None
    mask = _causal(query_BHTd) if causal else attention_mask
    return _plain(*tensors, mask, scaling, p), None


def _by_rows(
    rows: Rows, module: Any, tensors: tuple[Tensor, ...], mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Of rows that lie behind one another, [1, N, H, e]: those of like length together."""
    query_NHd, key_Nhd, value_Nhe = (x[0].transpose(0, 1) for x in tensors)
    found = []
    with outside():
        for group in rows.groups:
            own = (group.padded(query_NHd), group.padded(key_Nhd), group.padded(value_Nhe))
            seen = None
            if mask is not None:
                seen = (mask if len(mask) == 1 else mask[group.rows_b])[:, :, : group.width, : group.width]
            output, _ = attend(module, *own, seen, **settings)
            found.append(group.packed(output))
    return torch.cat(found)[None], None


def _known(tensors: tuple[Tensor, ...], mask: Tensor | None, causal: bool, kwargs: Mapping[str, Any]) -> bool:
    query, key, _ = tensors
    if kwargs.get("position_bias") is not None or kwargs.get("cache") is not None:
        return False
    if _more_than_products(kwargs):
        return False
    if any(t.device.type != "cpu" or t.dtype != query.dtype for t in tensors) or query.dtype not in _DTYPES:
        return False
    if query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1]:
        return False
    if mask is None:
        return not causal or query.shape[2] == key.shape[2]
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[3] != key.shape[2] or mask.requires_grad:
        return False
    return mask.shape[0] in (1, query.shape[0]) and mask.shape[2] in (1, query.shape[2])


def _more_than_products(kwargs: Mapping[str, Any]) -> bool:
    """Whether a layer hands over what changes its scores besides the mask."""
    return any(kwargs.get(name) is not None for name in ("softcap", "s_aux"))


def _fused_wins(tensors: tuple[Tensor, ...], p: float) -> bool:
    """Whether torch's fused kernel is taken; never with dropout, for which it has no code."""
    keys = tensors[1].shape[2]
    if p > 0 or keys < _LENGTHS[0]:
        return False
    training = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return keys >= crossover(tensors[0].dtype, "train" if training else "predict")


def _causal(query_BHTd: Tensor) -> Tensor:
    tokens = query_BHTd.shape[2]
    return torch.ones(tokens, tokens, dtype=torch.bool, device=query_BHTd.device).tril()[None, None]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key is seen, the lowest number where not; by way of bytes, since bool has no vector code."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return (mask.contiguous().view(torch.uint8).to(dtype) - 1).mul_(torch.finfo(dtype).max)


def _plain(
    query_BHTd: Tensor,
    key_BhSd: Tensor,
    value_BhSe: Tensor,
    mask: Tensor | None,
    scaling: float | None = None,
    p: float = 0.0,
) -> Tensor:
    """[B, T, H, e], by matrix products."""
    needed = torch.is_grad_enabled() and any(t.requires_grad for t in (query_BHTd, key_BhSd, value_BhSe))
    scores = query_BHTd.shape[:3].numel() * key_BhSd.shape[2]
    wide = torch.float32 if key_BhSd.shape[2] < _SHORT else query_BHTd.dtype
    work = _Work(
        scaling=scaling if scaling is not None else query_BHTd.shape[-1] ** -0.5,
        mask=None if mask is None else _additive(mask, query_BHTd.dtype),
        wide=wide,
        p=p,
        seed=fast.draw_seed() if p > 0 else 0,
        keep=needed and scores <= _KEPT,
    )
    apply: Callable[[Tensor, Tensor, Tensor, _Work], Tensor] = _Attention.apply
    return apply(query_BHTd, key_BhSd, value_BhSe, work)


@dataclass(frozen=True)
class _Work:
    """What forward and backward pass share besides the tensors.

    wide: the dtype in which the softmax is computed; keep: whether probabilities are kept.
    """

    scaling: float
    mask: Tensor | None
    wide: torch.dtype
    p: float
    seed: int
    keep: bool

    def probabilities(self, query_BHTd: Tensor, key_BhSd: Tensor, block: "_Block") -> Tensor:
        """Of one block, [N, G·T, S]."""
        queries, keys = block.queries(query_BHTd), block.keys(key_BhSd)
        scores = queries.new_empty(block.size, queries.shape[1], keys.shape[1])
        if self.mask is not None:
            mask = self.mask if len(self.mask) == 1 else self.mask[block.rows]
            scores.view(block.count, -1, query_BHTd.shape[2], keys.shape[1]).copy_(mask)
        beta = 0 if self.mask is None else 1  # with 0 what is in `scores` is not read
        scores.baddbmm_(queries, keys.transpose(1, 2), beta=beta, alpha=self.scaling)
        return torch.softmax(scores.to(self.wide), -1).to(query_BHTd.dtype)

    def kept(self, shape: torch.Size, block: "_Block") -> Tensor:
        """Of one block, the bytes of its dropout: the same at every call."""
        return fast.kept_bytes(shape, self.p, self.seed, block.index)


class _Block:
    """Some rows with all their heads, or some heads of one row."""

    def __init__(self, index: int, rows: slice, heads: slice, groups: int) -> None:
        self.index, self.rows, self.heads = index, rows, heads
        self.query_heads = slice(heads.start * groups, heads.stop * groups)
        self.count = rows.stop - rows.start
        self.size = self.count * (heads.stop - heads.start)  # N

    def queries(self, x_BHTd: Tensor) -> Tensor:
        """[N, G·T, d]: the queries that share a key's head, one after the other."""
        return x_BHTd[self.rows, self.query_heads].reshape(self.size, -1, x_BHTd.shape[3])

    def keys(self, x_BhSd: Tensor) -> Tensor:
        """[N, S, d]."""
        return x_BhSd[self.rows, self.heads].reshape(self.size, -1, x_BhSd.shape[3])

    def put(self, x_BHTd: Tensor, found: Tensor) -> None:
        """Writes what belongs to queries."""
        place = x_BHTd[self.rows, self.query_heads]
        place.copy_(found.view(place.shape))

    def put_keys(self, x_BhSd: Tensor, found: Tensor) -> None:
        """Writes what belongs to keys or values."""
        place = x_BhSd[self.rows, self.heads]
        place.copy_(found.view(place.shape))


def _blocks(query_BHTd: Tensor, key_BhSd: Tensor, wide: torch.dtype) -> Iterator[_Block]:
    rows, heads, keys, _ = key_BhSd.shape
    groups = query_BHTd.shape[1] // heads
    of_head = groups * query_BHTd.shape[2] * keys
    most = _BLOCK // wide.itemsize
    many = max(1, most // (of_head * heads))
    if of_head * heads <= most:
        places = [(slice(r, min(r + many, rows)), slice(0, heads)) for r in range(0, rows, many)]
    else:
        step = max(1, most // of_head)
        parts = [slice(h, min(h + step, heads)) for h in range(0, heads, step)]
        places = [(slice(r, r + 1), part) for r in range(rows) for part in parts]
    for index, (of_rows, of_heads) in enumerate(places):
        yield _Block(index, of_rows, of_heads, groups)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, work: _Work) -> Tensor:
        rows, heads, tokens, _ = query.shape
        output = query.new_empty(rows, tokens, heads, value.shape[3])
        saved: list[Tensor] = []
        for block in _blocks(query, key, work.wide):
            weights = work.probabilities(query, key, block)
            if work.keep:
                saved.append(weights)
            if work.p > 0:
                kept = work.kept(weights.shape, block)
                weights = fast.scaled(weights, kept.to(weights.dtype), work.p)
                if work.keep:
                    saved.append(kept)
            block.put(output.transpose(1, 2), torch.bmm(weights, block.keys(value)))
        ctx.save_for_backward(query, key, value, *saved)
        ctx.work = work
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BTHe: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        work: _Work = ctx.work
        gradient = gradient_BTHe.transpose(1, 2)
        wanted = ctx.needs_input_grad[:3]
        found = [_like(x) if want else None for x, want in zip((query, key, value), wanted, strict=True)]
        of_query, of_key, of_value = found
        stored = iter(saved)
        for block in _blocks(query, key, work.wide):
            weights = next(stored) if work.keep else work.probabilities(query, key, block)
            kept = None
            if work.p > 0:
                kept = next(stored) if work.keep else work.kept(weights.shape, block)
                kept = kept.to(work.wide)
            of_output = block.queries(gradient)
            if of_value is not None:
                used = weights if kept is None else fast.scaled(weights, kept.to(weights.dtype), work.p)
                block.put_keys(of_value, torch.bmm(used.transpose(1, 2), of_output))
            if of_query is None and of_key is None:
                continue
            of_weights = torch.bmm(of_output, block.keys(value).transpose(1, 2))
            dropped = of_weights.to(work.wide) if kept is None else fast.scaled(of_weights, kept, work.p)
            of_scores = torch._softmax_backward_data(dropped, weights.to(work.wide), -1, work.wide)
            of_scores = of_scores.mul_(work.scaling).to(query.dtype)
            if of_query is not None:
                block.put(of_query, torch.bmm(of_scores, block.keys(key)))
            if of_key is not None:
                block.put_keys(of_key, torch.bmm(of_scores.transpose(1, 2), block.queries(query)))
        return of_query, of_key, of_value, None


def _like(x_BHTd: Tensor) -> Tensor:
    """An empty gradient that lies in memory as the projection's output does, [B, T, H, d]."""
    rows, heads, tokens, size = x_BHTd.shape
    return x_BHTd.new_empty(rows, tokens, heads, size).transpose(1, 2)


def crossover(dtype: torch.dtype, kind: Pass) -> int:
    """From how many keys on torch's fused kernel is faster here without dropout; `NEVER` if at none measured.

    Measured when first asked (below a second), then read from tunelab's cache folder by everyone on this
    machine: the first who writes it down decides.
    """
    known = _crossovers.get((dtype, kind))
    if known is None:
        known = _crossovers[dtype, kind] = _remembered(dtype, kind)
    return known


def _remembered(dtype: torch.dtype, kind: Pass) -> int:
    key = {
        "cpu": _cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "pass": kind,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / "attention" / f"{name}.json"
    if not path.is_file():
        found = {**key, **_measure(dtype, kind)}
        with contextlib.suppress(OSError):  # without a cache folder it is measured in every process
            _write_first(path, json.dumps(found, indent=2).encode())
        if not path.is_file():
            return int(found["crossover"])
    return int(json.loads(path.read_text(encoding="utf-8"))["crossover"])


def _write_first(path: Path, data: bytes) -> None:
    """Writes the file unless there is one: of several processes the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _cpu() -> str:
    """The processor's name, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(dtype: torch.dtype, kind: Pass) -> dict[str, Any]:
    """Milliseconds of both at each length, and the length from which on the fused kernel won by 5 %."""
    times: dict[str, list[float]] = {}
    crossing = NEVER
    for length in reversed(_LENGTHS):
        plain, fused = _time(_plain_alone, dtype, kind, length), _time(_fused, dtype, kind, length)
        times[str(length)] = [round(1000 * plain, 3), round(1000 * fused, 3)]
        if fused > 0.95 * plain:
            break
        crossing = length
    return {"milliseconds": times, "crossover": crossing}


def _plain_alone(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return _plain(query, key, value, None)


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    attended = nn.functional.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).contiguous()


def _time(function: Attend, dtype: torch.dtype, kind: Pass, length: int) -> float:
    """Seconds of the faster of two calls; the numbers are no random ones, whose state is not ours."""
    rows, heads, size = max(1, _ROWS // (length * 12)), 12, 64
    numbers = torch.linspace(-1, 1, rows * length * heads * size).sin()
    tensors = [
        (numbers * factor).to(dtype).view(rows, length, heads, size).transpose(1, 2).requires_grad_()
        for factor in (1.0, 1.5, 2.0)
    ]
    best = float("inf")
    for _ in range(3):  # the first warms up and is never the fastest
        began = time.perf_counter()
        with torch.set_grad_enabled(kind == "train"):
            output = function(*tensors)
        if kind == "train":
            torch.autograd.grad(output, tensors, torch.ones_like(output))
        best = min(best, time.perf_counter() - began)
    return best
