"""Whether a model gives the same logits another way: what levers that lay out its work ask of it."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from tunelab.data.batch import Examples

__all__ = ["Context", "asking", "close", "logits_of", "to_ask_with"]

Context = Callable[[nn.Module], contextlib.AbstractContextManager[None]]

_ROWS = 2  # of the longest and of the shortest rows, with which the model is asked


@contextlib.contextmanager
def asking(model: nn.Module, context: Context) -> Iterator[None]:
    """Inside, the model is as it is judged, and draws no random number; afterwards each part is as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), context(model):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def to_ask_with(lengths: np.ndarray) -> np.ndarray:
    """A few rows, the longest and the shortest among them: with padding, if there is any."""
    order = np.argsort(-lengths, kind="stable")
    return np.unique(np.r_[order[:_ROWS], order[-_ROWS:]])


def logits_of(model: nn.Module, examples: Examples, context: Context) -> Tensor | None:
    """Of the longest and the shortest rows, [B, ...]: 0 at the padding where there is one logit a token (and
    those of virtual tokens left out); None where the model cannot do that."""
    rows = to_ask_with(examples.lengths)
    try:
        with asking(model, context):
            inputs, _ = examples.batch(rows, str(next(model.parameters()).device))
            logits: Tensor = model(**inputs).logits.float()
            mask_BT = inputs["attention_mask"]
            return logits[:, -mask_BT.shape[1] :] * mask_BT[..., None] if logits.dim() == 3 else logits
    except Exception:  # (a head of the user's own may object to whatever it likes)
        return None


def close(found: Tensor | None, wanted: Tensor | None, tolerance: float) -> bool:
    """Whether both are there and the same, as a share of the largest logit (of 1 at least)."""
    if found is None or wanted is None or found.shape != wanted.shape:
        return False
    return bool((found - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1.0))
