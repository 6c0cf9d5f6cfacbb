"""Compact vocabulary: while a model trains, its embedding table holds only the tokens that can occur.

A token that no training row has gets no gradient, so AdamW only decays its row, each step by the same
factor 1 - rate · decay for all such rows. Their product is read off one more row, of ones, that decays
along with the others: whatever the schedule, the phases of the method or the step taken as the best, it says
by how much. Afterwards the whole table is put together again: rows that occurred as trained, all others
times that product.

What it changes: nothing but the order of float32 roundings in that product (1e-6 of a row). What it saves:
the gradient and the optimizer's two moments of every absent row, and the time to clear and to read them.
"""

# V vocabulary, K rows kept, D hidden

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tunelab.data.batch import Examples
from tunelab.methods.base import Tuned
from tunelab.train.tables import input_table

__all__ = ["compact_vocabulary"]

_ROWS = 10_000  # whose tokens are held at a time


@contextlib.contextmanager
def compact_vocabulary(tuned: Tuned, examples: Sequence[Examples]) -> Iterator[int | None]:
    """Inside, the model knows the tokens of `examples` alone; gives their number (None: it knows all as ever,
    since the table is not trained, is shared with the output layer, or would hardly be smaller, or any token
    may be shown in another's place).
    """
    table = None if any(part.replaces for part in examples) else _table(tuned)
    kept = _tokens(examples, table.num_embeddings) if table is not None else np.zeros(0, dtype=np.int64)
    if table is None or len(kept) > 0.8 * table.num_embeddings:
        yield None
        return
    kept_K = torch.from_numpy(kept).to(table.weight.device)
    whole_VD, padding = table.weight.data, table.padding_idx
    # An absent token is one past the end, so that looking it up is an error and never a wrong row.
    place_V = torch.full((len(whole_VD),), len(kept) + 1, dtype=torch.int64, device=kept_K.device)
    place_V[kept_K] = torch.arange(len(kept), device=kept_K.device)
    witness_1D = torch.ones_like(whole_VD[:1])
    table.weight.data = torch.cat([whole_VD[kept_K], witness_1D])
    table.num_embeddings = len(kept) + 1
    table.padding_idx = int(place_V[padding]) if padding in set(kept.tolist()) else None
    hook = table.register_forward_pre_hook(lambda _module, ids: (place_V[ids[0]], *ids[1:]))
    try:
        yield len(kept)
    finally:
        hook.remove()
        trained = table.weight.data
        whole_VD.mul_(trained[-1, 0])
        whole_VD[kept_K] = trained[:-1]
        table.weight.grad = None
        table.weight.data = whole_VD
        table.num_embeddings, table.padding_idx = len(whole_VD), padding


def _table(tuned: Tuned) -> Any | None:
    """The input embeddings, where they move and nothing but the look-up reads them."""
    table = input_table(tuned.model)
    if table is None:
        return None
    moves = any(tensor.data_ptr() == table.weight.data_ptr() for tensor in tuned.state().values())
    return table if moves else None


def _tokens(examples: Sequence[Examples], size: int) -> np.ndarray:
    """Every token id (below `size`) of the rows as the model will be given them, and the padding; sorted."""
    seen_V = np.zeros(size, dtype=bool)
    for part in examples:
        seen_V[part.pad_id] = True
        for first in range(0, len(part.shown), _ROWS):  # (the tokens may lie on disk: never all at once)
            some = part.shown[first : first + _ROWS]
            rows = [part.tokens.row(int(row), part.max_length) for row in some]
            seen_V[np.concatenate(rows)] = True
    return np.flatnonzero(seen_V)
