"""Trunk cache: what frozen layers give for a row is computed once, kept in a file, and read at every step.

Layers below `Tuned.frozen_depth` never change and run without dropout, so their output for a row is always
the same. It is stored for the real tokens of every row; inside the context the frozen layers are passed over,
the last of them gives the stored states, and all runs, seeds and trials of a study read the same file.

    header, 4,096 bytes of JSON | states of row 0, [T0, D] | of row 1, [T1, D] | ...      rows by number

What it changes: nothing but roundings (in float32 1e-6 of a logit), since a row is computed among other rows
than those it is trained with. No random number is drawn, so dropout above is the same bit by bit. The file is
read, not mapped: mapped pages would count as memory of the run.
"""

# B batch, T tokens, D hidden

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np
import torch
from torch import Tensor, nn

from tunelab.data.batch import Examples, sorted_batches
from tunelab.errors import ConfigError, TrainingError
from tunelab.files import output_errors
from tunelab.methods.base import Tuned
from tunelab.methods.structure import find_structure
from tunelab.train.evaluate import tokens_at_once
from tunelab.train.precision import Precision

__all__ = ["Trunk", "cached_trunk"]

log = logging.getLogger("tunelab")

_FORMAT = 1  # part of the file's name: raise it when what is stored changes
_HEADER = 4096
_MOST = 20 * 10**9  # bytes
_SHARE = 0.25  # of the free disk
_ROWS = 4  # that are computed both ways before the cache is trusted
#: Largest difference between stored states and fresh ones, of their size: other batches, other roundings.
_STATES = {"float32": 1e-4, "bfloat16": 5e-2}
#: Largest difference of a logit, of the largest, when the same states are handed over instead of computed.
_LOGITS = {"float32": 1e-5, "bfloat16": 1e-3}


class _Off(Exception):
    """The model is trained without the cache; the text says why."""


@dataclass(frozen=True)
class Trunk:
    """What became of it: `examples` are those to read, and `note` says why it is off (empty: it is on).

    level: how many levels are passed over, embeddings included; bytes: of the file; seconds: it took to
    compute, whoever did; built: by this run, just now.
    """

    examples: tuple[Examples, ...]
    level: int = 0
    bytes: int = 0
    seconds: float = 0.0
    built: bool = False
    note: str = ""

    def told(self) -> dict[str, Any]:
        """For the record: everything but the rows."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "examples"}


@contextlib.contextmanager
def cached_trunk(
    tuned: Tuned,
    examples: Sequence[Examples],
    precision: Precision,
    folder: Path | None,
    key: str,
    limit_bytes: int | None = None,
) -> Iterator[Trunk]:
    """Inside, a batch of the given `examples` passes the frozen layers over; every other batch does not, and
    none does once `tuned.frozen_depth` has fallen. Afterwards the model is as before.

    examples: over the same tokens; the file holds all their rows. folder: shared with whoever wants the same
    (None: a private file, removed at the end). key: what decides the states besides rows, layers, precision
    and length: digests of weights and tokens. limit_bytes: None for a quarter of the free disk or 20 GB.

    Raises:
        TrainingError: the file became shorter while it was in use.
    """
    with contextlib.ExitStack() as stack:
        try:
            trunk = _start(stack, tuned, examples, precision, folder, key, limit_bytes)
        except _Off as reason:
            stack.close()
            trunk = Trunk(tuple(examples), note=str(reason))
        yield trunk


def _start(
    stack: contextlib.ExitStack,
    tuned: Tuned,
    examples: Sequence[Examples],
    precision: Precision,
    folder: Path | None,
    key: str,
    limit_bytes: int | None,
) -> Trunk:
    level, model = tuned.frozen_depth, tuned.model
    if any(type(part) is not Examples for part in examples):
        raise _Off("the task puts its batches together in a way of its own")
    trunk, layers, share = _parts(tuned)
    whole = _union(examples)
    order = np.argsort(whole.lengths, kind="stable")
    some = order[np.unique(np.linspace(0, len(order) - 1, _ROWS).astype(int))]
    inputs, _ = whole.batch(some, precision.device)
    with _judged(model, precision):
        seen = _observe(model, trunk, layers, inputs)
    plan = _Plan.of(
        whole, seen.hidden_BTD, f"{key} {level} {precision.name} {torch.device(precision.device).type}"
    )

    def states() -> Iterator[tuple[np.ndarray, Tensor]]:
        with _judged(model, precision):
            for which in sorted_batches(whole.lengths, tokens_at_once(precision.device)):
                yield which, _hidden(model, layers[-1], whole.batch(which, precision.device)[0])

    try:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunelab-")))
        file, built = _open_or_build(plan, folder, states, limit_bytes)
    except (OSError, NotImplementedError) as error:  # NotImplementedError: locks, on some network folders
        raise _Off(f"what the frozen layers give could not be stored: {error}") from error
    stack.callback(file.close)
    switch = _Switch(tuned, file)
    stack.enter_context(_passed_over(switch, layers, seen))
    with _judged(model, precision):
        _check(switch, file.read(whole.rows[some], inputs["input_ids"].shape[1]), inputs, seen, precision)
    cached = tuple(_Cached(**_dearer(_fields(part), share), switch=switch) for part in examples)
    return Trunk(cached, level, plan.size, file.seconds, built)


# ------------------------------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class _Seen:
    """What an ordinary forward showed.

    hidden_BTD: what the last frozen layer gave, zero where there is padding; sources: modules whose output is
    the first layer's input; widths: of the tuple that each frozen layer gives (0: a plain tensor), of which
    only the first is handed on.
    """

    hidden_BTD: Tensor
    logits: Tensor
    sources: list[nn.Module]
    widths: list[int]


def _parts(tuned: Tuned) -> tuple[nn.Module, list[nn.Module], float]:
    """The trunk, its frozen layers, and what share of all layers they are."""
    if tuned.frozen_depth == 0:
        raise _Off("the method keeps no layer frozen")
    if tuned.frozen_depth == 1:
        raise _Off("the method keeps only the embeddings frozen, which cost next to nothing")
    model: Any = tuned.model
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        structure = find_structure(plain)
    except ConfigError as error:
        raise _Off(str(error)) from error
    names = [layer.name for layer in structure.layers[: tuned.frozen_depth - 1]]
    layers = [plain.get_submodule(name) for name in names]
    for name, layer in zip(names, layers, strict=True):
        if any(_foreign_hooks(module) for module in layer.modules()):
            raise _Off(f"layer {name!r} has hooks, which would not run")
    return structure.trunk, layers, len(layers) / len(structure.layers)


def _foreign_hooks(module: nn.Module) -> bool:
    """Hooks that transformers leaves to collect hidden states do nothing unless asked."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks)


@contextlib.contextmanager
def _judged(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Evaluation mode, without gradients, in the run's precision; every module's mode is put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), precision(model):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _observe(
    model: nn.Module, trunk: nn.Module, layers: list[nn.Module], inputs: Mapping[str, Tensor]
) -> _Seen:
    before: list[tuple[nn.Module, Any]] = []
    entered: list[Any] = []
    gave: list[tuple[nn.Module, Any]] = []

    def leave(module: nn.Module, _args: Any, output: Any) -> None:
        if not entered:
            before.append((module, output))

    def enter(_module: nn.Module, args: Any, named: dict[str, Any]) -> None:
        entered.append(args[0] if args else named.get("hidden_states"))

    inside = {part for layer in layers for part in layer.modules()}
    hooks = [m.register_forward_hook(leave) for m in trunk.modules() if m not in inside]
    hooks += [m.register_forward_hook(lambda m, _args, out: gave.append((m, out))) for m in layers]
    hooks.append(layers[0].register_forward_pre_hook(enter, with_kwargs=True))
    try:
        logits = model(**inputs).logits
    finally:
        for hook in hooks:
            hook.remove()
    if [module for module, _ in gave] != layers:
        raise _Off("the model's layers do not run one after the other")
    hidden_BTD, mask_BT = _state(gave[-1][1]), inputs["attention_mask"]
    if hidden_BTD.dim() != 3 or hidden_BTD.shape[:2] != mask_BT.shape:
        raise _Off(f"the model's layers give {list(hidden_BTD.shape)} for {list(mask_BT.shape)} tokens")
    # (Not a dropout that was left out: another lever may replace that one's forward.)
    sources = [m for m, output in before if output is entered[0] and not isinstance(m, nn.Dropout)]
    inner = {part for module in sources for part in module.modules() if part is not module}
    return _Seen(
        torch.where(mask_BT.bool().unsqueeze(-1), hidden_BTD, 0.0),
        logits,
        [module for module in sources if module not in inner],
        [len(output) if isinstance(output, tuple) else 0 for _, output in gave],
    )


def _state(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


class _Reached(Exception):
    """The forward has come to the layer whose output is wanted."""


def _hidden(model: nn.Module, layer: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a layer gives; those above it are not computed."""
    caught: list[Tensor] = []

    def leave(_module: nn.Module, _args: Any, output: Any) -> None:
        caught.append(_state(output))
        raise _Reached

    hook = layer.register_forward_hook(leave)
    try:
        with contextlib.suppress(_Reached):
            model(**inputs)
    finally:
        hook.remove()
    return caught[0]


class _Switch:
    """Which stored states the forward that runs now is to be given, if any.

    A forward is known by the very tensor of token ids that `_Cached.batch` handed out, so that one on other
    rows can never get these states.
    """

    def __init__(self, tuned: Tuned, file: "_File") -> None:
        self.model = tuned.model
        self.current: Tensor | None = None
        self._tuned = tuned
        self._level = tuned.frozen_depth
        self._file = file
        self._on = True
        self._offered: tuple[Tensor, Tensor] | None = None

    @property
    def on(self) -> bool:
        """Off for good when layers below have begun to move, even if they stop again."""
        self._on = self._on and self._tuned.frozen_depth >= self._level
        return self._on

    def offer(self, ids_BT: Tensor, rows: np.ndarray) -> None:
        """The next forward on these ids gets the stored states of `rows`."""
        hidden_BTD = self._file.read(rows, ids_BT.shape[1]) if self.on else None
        self.give(ids_BT, hidden_BTD)

    def give(self, ids_BT: Tensor, hidden_BTD: Tensor | None) -> None:
        self._offered = None if hidden_BTD is None else (ids_BT, hidden_BTD.to(ids_BT.device))

    def before(self, _model: nn.Module, _args: Any, named: dict[str, Any]) -> None:
        offered = self._offered if self.on else None
        known = offered is not None and named.get("input_ids") is offered[0]
        self.current = offered[1] if offered is not None and known else None

    def after(self, *_: Any) -> None:
        self.current = None


@contextlib.contextmanager
def _passed_over(switch: _Switch, layers: list[nn.Module], seen: _Seen) -> Iterator[None]:
    parts: list[Any] = [*seen.sources, *layers]
    widths = [*(0 for _ in seen.sources), *seen.widths]
    before = [part.__dict__.get("forward") for part in parts]
    hooks = [
        switch.model.register_forward_pre_hook(switch.before, with_kwargs=True),
        switch.model.register_forward_hook(switch.after, always_call=True),
    ]
    try:
        for part, width in zip(parts, widths, strict=True):
            part.forward = _forward(part.forward, width, switch)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, own in zip(parts, before, strict=True):
            if own is not None:
                part.forward = own
            else:
                part.__dict__.pop("forward", None)


def _forward(ordinary: Callable[..., Any], width: int, switch: _Switch) -> Callable[..., Any]:
    def forward(*args: Any, **named: Any) -> Any:
        state = switch.current
        if state is None:
            return ordinary(*args, **named)
        return (state, *[None] * (width - 1)) if width else state

    return forward


def _check(
    switch: _Switch,
    stored_BTD: Tensor | None,
    inputs: Mapping[str, Tensor],
    seen: _Seen,
    precision: Precision,
) -> None:
    """The stored states are those of this model, and the layers above do with them what they always do."""
    assert stored_BTD is not None
    ids_BT, wanted_BTD = inputs["input_ids"], seen.hidden_BTD.float().cpu()
    away = float((stored_BTD.float() - wanted_BTD).norm() / wanted_BTD.norm())
    if not away <= _STATES[precision.name]:
        raise _Off(f"the stored states differ from the model's by {away:.2g} of their size")
    switch.give(ids_BT, seen.hidden_BTD)
    try:
        logits = switch.model(**inputs).logits
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise _Off(f"the model does not run without its lower layers: {error}") from error
    finally:
        switch.give(ids_BT, None)
    found, wanted = _of_tokens(logits, inputs), _of_tokens(seen.logits, inputs)
    away = float((found - wanted).abs().max() / wanted.abs().max())
    if not away <= _LOGITS[precision.name]:
        raise _Off(f"without its lower layers the model gives other logits, by {away:.2g} of their size")


def _of_tokens(logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """All logits; where each token has its own, those of real tokens (what is stored for padding is 0)."""
    mask_BT = inputs["attention_mask"]
    return logits[mask_BT.bool()] if logits.dim() == 3 and logits.shape[:2] == mask_BT.shape else logits


# ------------------------------------------------------------------------------------------------- the rows


def _fields(part: Examples) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in fields(Examples)}


def _dearer(values: dict[str, Any], share: float) -> dict[str, Any]:
    """With so much of the layers passed over, a pass costs as much as more tokens; all of them, a batch is
    not cut."""
    one_more = values["one_more"]
    return {**values, "one_more": round(one_more / (1 - share)) if one_more and share < 1 else None}


def _union(examples: Sequence[Examples]) -> Examples:
    """All distinct rows, by number."""
    first = examples[0]
    assert all(e.tokens is first.tokens and e.max_length == first.max_length for e in examples)
    rows = np.unique(np.concatenate([part.rows for part in examples]))
    if not len(rows):
        raise _Off("there are no rows")
    return Examples(**{**_fields(first), "rows": rows})


@dataclass(frozen=True, kw_only=True)
class _Cached(Examples):
    """Rows that hand out the same batches, and with each of them its stored states."""

    switch: _Switch

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Tensor]:
        inputs, targets = super().batch(which, device)
        self.switch.offer(inputs["input_ids"], self.rows[which])
        return inputs, targets


# ------------------------------------------------------------------------------------------------- the file


@dataclass(frozen=True)
class _Plan:
    """What a file is to hold: row `rows[i]` is its tokens `starts[i]` to `starts[i + 1]`."""

    name: str
    rows: np.ndarray
    starts: np.ndarray
    width: int
    dtype: torch.dtype

    @classmethod
    def of(cls, whole: Examples, hidden_BTD: Tensor, key: str) -> "_Plan":
        starts = np.concatenate([[0], np.cumsum(whole.lengths)]).astype(np.int64)
        digest = hashlib.sha256(f"{_FORMAT} {key} {whole.max_length} {hidden_BTD.dtype}\n".encode())
        digest.update(np.ascontiguousarray(whole.rows, dtype=np.int64).data)
        name = f"trunk-{digest.hexdigest()[:20]}"
        return cls(name, whole.rows, starts, hidden_BTD.shape[2], hidden_BTD.dtype)

    @property
    def token_bytes(self) -> int:
        return self.width * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Of the whole file, bytes."""
        return _HEADER + int(self.starts[-1]) * self.token_bytes

    def header(self) -> dict[str, Any]:
        """What a file must say of itself to be this one."""
        return {
            "format": _FORMAT,
            "rows": len(self.rows),
            "tokens": int(self.starts[-1]),
            "width": self.width,
            "dtype": str(self.dtype),
        }


class _File:
    """Stored states, open for reading."""

    def __init__(self, plan: _Plan, file: Any, seconds: float) -> None:
        self.seconds = seconds
        self._plan = plan
        self._file = file

    def close(self) -> None:
        self._file.close()

    def read(self, rows: np.ndarray, tokens: int) -> Tensor | None:
        """The states of `rows`, [B, T, D], zero where T is past a row's end; None where a row is not here."""
        plan = self._plan
        places = np.minimum(np.searchsorted(plan.rows, rows), len(plan.rows) - 1)
        if (plan.rows[places] != rows).any():
            return None
        hidden_BTD = torch.empty(len(rows), tokens, plan.width, dtype=plan.dtype)
        bytes_BTX = hidden_BTD.view(torch.uint8).numpy()
        for i, place in enumerate(places):
            start, end = int(plan.starts[place]), int(plan.starts[place + 1])
            bytes_BTX[i, end - start :] = 0
            self._file.seek(_HEADER + start * plan.token_bytes)
            if self._file.readinto(bytes_BTX[i, : end - start]) != (end - start) * plan.token_bytes:
                raise TrainingError(
                    f"{self._file.name} became shorter while it was in use; run the same command again"
                )
        return hidden_BTD


def _open_or_build(
    plan: _Plan,
    folder: Path,
    states: Callable[[], Iterator[tuple[np.ndarray, Tensor]]],
    limit_bytes: int | None,
) -> tuple[_File, bool]:
    """The file, and whether it was built now; who else wants it waits for that and finds it."""
    if limit_bytes is not None:
        _check_size(plan, limit_bytes, "allowed")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / plan.name
    found = _open(plan, path)
    if found is not None:
        return found, False
    if limit_bytes is None:
        free = int(_SHARE * shutil.disk_usage(folder).free)
        _check_size(plan, min(free, _MOST), "a quarter of the free disk" if free < _MOST else "the most")
    with filelock.FileLock(folder / f".{plan.name}.lock"):
        found = _open(plan, path)
        if found is not None:
            return found, False
        part = folder / f".{plan.name}.part"  # a killed builder's is overwritten by the next one
        try:
            with output_errors(folder):
                _build(plan, part, states)
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    built = _open(plan, path)
    if built is None:
        raise OSError(f"{path} cannot be read back")
    return built, True


def _check_size(plan: _Plan, limit: int, what: str) -> None:
    if plan.size > limit:
        raise _Off(
            f"what the frozen layers give for {len(plan.rows)} rows takes {plan.size / 1e6:.1f} MB, "
            f"more than {limit / 1e6:.1f} MB ({what})"
        )


def _build(plan: _Plan, path: Path, states: Callable[[], Iterator[tuple[np.ndarray, Tensor]]]) -> None:
    began = time.monotonic()
    with path.open("w+b") as file:
        for which, hidden_BTD in states():
            for place, hidden_TD in zip(which, hidden_BTD.cpu(), strict=True):
                start, end = int(plan.starts[place]), int(plan.starts[place + 1])
                file.seek(_HEADER + start * plan.token_bytes)
                file.write(hidden_TD[: end - start].contiguous().view(torch.uint8).numpy().data)
        file.flush()
        about = {**plan.header(), "seconds": time.monotonic() - began, "checksum": _checksum(file, plan)}
        file.seek(0)
        file.write(json.dumps(about).encode().ljust(_HEADER))
        file.flush()
        os.fsync(file.fileno())


def _open(plan: _Plan, path: Path) -> _File | None:
    """The file, or None where there is none or it is not whole."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb", buffering=0))
            header = json.loads(file.read(_HEADER))
            wanted = {**plan.header(), "checksum": _checksum(file, plan)}
            if path.stat().st_size != plan.size or {k: header.get(k) for k in wanted} != wanted:
                raise ValueError("it is not what its name says")
            found = _File(plan, file, float(header["seconds"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, AttributeError) as error:
            log.warning("%s is damaged (%s); computing it again", path, error)
            return None
        stack.pop_all()
        return found


def _checksum(file: BinaryIO | Any, plan: _Plan) -> int:
    """Of 64 pages all over the file: catches what a full disk or a lost write leaves, in no time."""
    checksum = 0
    for place in np.linspace(_HEADER, max(_HEADER, plan.size - 4096), 64).astype(np.int64):
        file.seek(int(place))
        checksum = zlib.crc32(file.read(4096), checksum)
    return checksum
