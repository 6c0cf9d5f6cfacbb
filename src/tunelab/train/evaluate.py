"""Outputs of a model for rows, without training it."""

import numpy as np
import torch
from torch import nn

from tunelab.data.batch import Examples, sorted_batches
from tunelab.train.precision import Precision

__all__ = ["predict_logits", "tokens_at_once"]

#: Tokens in one evaluation batch, by kind of device. On a CPU small ones stay in its cache: 271 reviews took
#: 2.3 s with 1,024 tokens a batch and 3.8 s with 8,192 (float32, one thread; 256 tokens: 2.7 s).
TOKENS = {"cpu": 1024}
TOKENS_ELSEWHERE = 32768


def tokens_at_once(device: str) -> int:
    """How many tokens one evaluation batch has on a device."""
    return TOKENS.get(torch.device(device).type, TOKENS_ELSEWHERE)


@torch.no_grad()
def predict_logits(
    model: nn.Module, examples: Examples, precision: Precision, whole: bool = False
) -> np.ndarray:
    """The logits of every row, [N, C] float32, in the order of `examples.rows`.

    Rows are batched by length, longest first (whole: all in one batch); the model is in evaluation mode
    afterwards. Draws no random number.
    """
    model.eval()
    found: np.ndarray | None = None
    batches = sorted_batches(examples.lengths, tokens_at_once(precision.device))
    with precision(model):
        for which in [np.arange(len(examples))] if whole else batches:
            inputs, _ = examples.batch(which, precision.device)
            part = model(**inputs).logits.float().cpu().numpy()
            if found is None:
                found = np.zeros((len(examples), *part.shape[1:]), dtype=np.float32)
            found[which] = part
    assert found is not None, "no rows to predict"
    return found
