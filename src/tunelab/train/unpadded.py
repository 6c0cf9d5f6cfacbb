"""Without padding: on a CPU a layer computes real tokens alone, whatever the lengths of a batch's rows.

    states_BTD → states_1ND → projections, norms, feed-forward, dropout of N tokens → states_BTD, 0 at padding
    inside, attention: q, k, v_1HNd → rows of like length together [b, H, t, d] → output_1NHd

All but attention looks at one token at a time, so the rows of a batch may lie behind one another there.
Attention gets them back as rows, those of like length together. Around every layer: embeddings, what lies
above the layers, heads and targets see the batch as ever. Encoders and causal models whose attention is ours
(train/attention.py); whether it works is asked of the model itself: its logits must be the same both ways, in
float32.

What it changes: nothing but the order of sums (1e-6) without dropout; with it, fewer random draws.
"""

# B batch, T tokens with padding, N tokens without, D hidden, H heads, d size of a head; b rows of t tokens

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.data.batch import Examples, parts
from tunelab.errors import ConfigError
from tunelab.methods.structure import find_structure
from tunelab.train.alike import close, logits_of
from tunelab.train.precision import in_float32

__all__ = ["Group", "Rows", "inside", "outside", "unpadded"]

_TOLERANCE = 1e-4
_ONE_MORE = 300  # tokens that attention to one more group of rows takes

_INSIDE: "ContextVar[Rows | None]" = ContextVar("tunelab_unpadded", default=None)


def inside() -> "Rows | None":
    """The rows that lie behind one another in the layer that is computed now; None: it has them as ever."""
    return _INSIDE.get()


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Inside this context rows are as ever."""
    token = _INSIDE.set(None)
    try:
        yield
    finally:
        _INSIDE.reset(token)


@dataclass(frozen=True)
class Group:
    """Rows of like length.

    rows_b: which of the batch; tokens: which of all N; width: of the longest; there: [b · t] which of these
    tokens is where (at the padding any); back: [tokens] where each of them is in that.
    """

    rows_b: Tensor
    tokens: slice
    width: int
    there: Tensor
    back: Tensor

    def padded(self, x_NHd: Tensor) -> Tensor:
        """[b, H, t, d] of a group's tokens; what is at the padding gets no gradient."""
        return (
            _moved(x_NHd[self.tokens], self.there, self.back)
            .view(len(self.rows_b), self.width, *x_NHd.shape[1:])
            .transpose(1, 2)
        )

    def packed(self, x_btHd: Tensor) -> Tensor:
        """[tokens, H, d], the other way."""
        return _taken(x_btHd.flatten(0, 1), self.back)


@dataclass(frozen=True)
class Rows:
    """Where the tokens of a batch's rows are.

    shape: B, T; places_N: of each token in [B · T], shorter rows first; starts_B: the first of N of each row.
    """

    shape: tuple[int, int]
    places_N: Tensor
    starts_B: Tensor
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, mask_BT: Tensor) -> "Rows | None":
        """None: there is no padding, some is not at the end, or a row is empty."""
        rows, width = mask_BT.shape
        lengths_B = mask_BT.sum(1)
        if bool((lengths_B == width).all()) or not bool(lengths_B.all()):
            return None
        if not torch.equal(torch.arange(width) < lengths_B[:, None], mask_BT.bool()):
            return None
        order_B = lengths_B.argsort(stable=True)
        sorted_B = lengths_B[order_B]
        firsts_B = sorted_B.cumsum(0) - sorted_B
        places_N = torch.arange(rows * width).view(rows, width)[order_B][mask_BT[order_B].bool()]
        groups = tuple(
            _group(order_B[part], sorted_B[part], int(firsts_B[part.start]))
            for part in parts(sorted_B.numpy(), rows, _ONE_MORE)
        )
        return cls((rows, width), places_N, torch.empty_like(firsts_B).scatter_(0, order_B, firsts_B), groups)

    def packed(self, x_BTD: Tensor) -> Tensor:
        """[1, N, D]."""
        return _taken(x_BTD.flatten(0, 1), self.places_N)[None]

    def padded(self, x_1ND: Tensor) -> Tensor:
        """[B, T, D], 0 at the padding; of the first tokens alone [B, 1, D]."""
        if x_1ND.shape[1] == len(self.starts_B):
            return x_1ND.transpose(0, 1)
        return _put_back(x_1ND[0], self.places_N, self.shape[0] * self.shape[1]).view(*self.shape, -1)


def _group(rows_b: Tensor, lengths_b: Tensor, first: int) -> Group:
    width, count = int(lengths_b.max()), int(lengths_b.sum())
    real_bt = torch.arange(width) < lengths_b[:, None]
    there = torch.zeros(real_bt.shape, dtype=torch.int64)
    there[real_bt] = torch.arange(count)
    back = real_bt.flatten().nonzero().squeeze(1)
    return Group(rows_b, slice(first, first + count), width, there.flatten(), back)


class _Taken(torch.autograd.Function):
    """Some rows of a matrix, each at most once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.places, ctx.count = places, len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _put(gradient, ctx.places, ctx.count), None


class _Put(torch.autograd.Function):
    """The rows of a matrix at these places, zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, count: int) -> Tensor:
        ctx.places = places
        return _put(x, places, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.places), None, None


class _Moved(torch.autograd.Function):
    """The rows of a matrix in an order in which some may stand again, where no gradient comes from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.back), None, None


def _put(x: Tensor, places: Tensor, count: int) -> Tensor:
    return x.new_zeros(count, *x.shape[1:]).index_copy_(0, places, x)


_taken: Callable[[Tensor, Tensor], Tensor] = _Taken.apply
_put_back: Callable[[Tensor, Tensor, int], Tensor] = _Put.apply
_moved: Callable[[Tensor, Tensor, Tensor], Tensor] = _Moved.apply


@contextlib.contextmanager
def unpadded(model: nn.Module, examples: Examples) -> Iterator[bool]:
    """Inside, the layers of `model` compute no padding, if they can do without; gives whether they can. Draws
    no random number.

    examples: some of these rows are what the model is asked with.
    """
    found = _trunk_and_layers(model)
    if found is None or len(set(examples.lengths.tolist())) < 2:  # (nothing to spare)
        yield False
        return
    trunk, layers = found
    before = logits_of(model, examples, in_float32)
    state = _State(trunk)
    hook = trunk.register_forward_pre_hook(state.look, with_kwargs=True)
    own = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.forward = state.wrapped(layer.forward)

    def undo() -> None:
        hook.remove()
        for layer, forward in zip(layers, own, strict=True):
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward

    try:
        same = close(logits_of(model, examples, in_float32), before, _TOLERANCE) and state.worked
        if not same:
            undo()
        yield same
    finally:
        undo()


class _State:
    """What a trunk's hook saw, and whether a layer ever had its padding taken out."""

    def __init__(self, trunk: nn.Module) -> None:
        self._names = tuple(inspect.signature(trunk.forward).parameters)
        self.rows: Rows | None = None
        self.worked = False

    def look(self, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        mask = {**dict(zip(self._names, inputs, strict=False)), **named}.get("attention_mask")
        self.rows = Rows.of(mask) if isinstance(mask, Tensor) and mask.dim() == 2 else None

    def wrapped(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A layer's forward on what is no padding."""

        def without(*inputs: Any, **named: Any) -> Any:
            rows, places = self.rows, list(inputs)
            states = places[0] if places else named.get("hidden_states")
            if rows is None or not isinstance(states, Tensor) or states.shape[:2] != rows.shape:
                return forward(*inputs, **named)
            if places:
                places[0] = rows.packed(states)
            else:
                named["hidden_states"] = rows.packed(states)
            if isinstance(named.get("position_embeddings"), tuple):
                named["position_embeddings"] = tuple(
                    rows.packed(x.expand(rows.shape[0], -1, -1)) for x in named["position_embeddings"]
                )
            token = _INSIDE.set(rows)
            try:
                output = forward(*places, **named)
            finally:
                _INSIDE.reset(token)
            self.worked = True
            if isinstance(output, tuple):
                return (rows.padded(output[0]), *output[1:])
            return rows.padded(output)

        return without


def _trunk_and_layers(model: Any) -> tuple[nn.Module, list[nn.Module]] | None:
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(plain.config, "is_encoder_decoder", False):
        return None
    if any(getattr(part, "gradient_checkpointing", False) for part in plain.modules()):
        return None  # (a layer's forward is called again where its rows are not known)
    try:
        structure = find_structure(plain)
    except ConfigError:
        return None
    return structure.trunk, [plain.get_submodule(layer.name) for layer in structure.layers]
