"""Outputs of a model for rows, without training it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunelab.data.batch import Examples, sorted_batches
from tunelab.train.precision import Precision

__all__ = ["Keep", "predict_logits", "tokens_at_once"]

#: What is kept of a batch's logits, given its targets.
Keep = Callable[[Tensor, Tensor], Tensor]

#: Tokens in one evaluation batch, by kind of device. On a CPU small ones stay in its cache: 271 reviews took
#: 2.3 s with 1,024 tokens a batch and 3.8 s with 8,192 (float32, one thread; 256 tokens: 2.7 s).
TOKENS = {"cpu": 1024}
TOKENS_ELSEWHERE = 32768
#: Logits over a vocabulary that one evaluation batch has: 512 MB in float32.
LOGITS = 2**27


def tokens_at_once(device: str) -> int:
    """How many tokens one evaluation batch has on a device."""
    return TOKENS.get(torch.device(device).type, TOKENS_ELSEWHERE)


def _tokens_of(model: nn.Module, device: str) -> int:
    """The same, fewer where a language model's logits would take more than `LOGITS`."""
    any_model: Any = model
    output = any_model.get_output_embeddings() if hasattr(any_model, "get_output_embeddings") else None
    size = getattr(getattr(output, "weight", None), "shape", (1,))[0]
    return max(1, min(tokens_at_once(device), LOGITS // size))


@torch.no_grad()
def predict_logits(
    model: nn.Module,
    examples: Examples,
    precision: Precision,
    whole: bool = False,
    keep: Keep | None = None,
) -> np.ndarray:
    """What the model gives for every row, float32, in the order of `examples.rows`: [N, C], or where it gives
    something for each token, [all tokens, C], the rows' tokens one after the other without padding.

    keep: what is kept of a batch's logits and targets, [B, ...] or, for tokens, [B, T, C]; None: the logits.
    Rows are batched by length, longest first (whole: all in one batch); the model is in evaluation mode
    afterwards. Draws no random number.
    """
    model.eval()
    found: np.ndarray | None = None
    lengths = examples.lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    batches = sorted_batches(lengths, _tokens_of(model, precision.device))
    with precision(model):
        for which in [np.arange(len(examples))] if whole else batches:
            inputs, targets = examples.batch(which, precision.device)
            logits = model(**inputs).logits
            kept = logits.float() if keep is None else keep(logits, targets)
            part = kept.cpu().numpy()
            tokens = part.ndim == 3
            if found is None:
                shape = (int(starts[-1]), part.shape[2]) if tokens else (len(examples), *part.shape[1:])
                found = np.zeros(shape, dtype=np.float32)
            if not tokens:
                found[which] = part
                continue
            for own, row in zip(part, which, strict=True):
                found[starts[row] : starts[row + 1]] = own[: lengths[row]]
    assert found is not None, "no rows to predict"
    return found
