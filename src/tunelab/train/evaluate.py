"""Outputs of a model for rows, without training it."""

import numpy as np
import torch
from torch import nn

from tunelab.data.batch import Examples, sorted_batches
from tunelab.train.precision import Precision

__all__ = ["predict_logits"]

#: Tokens in one evaluation batch: bounds memory whatever the length.
TOKENS = 8192


@torch.no_grad()
def predict_logits(model: nn.Module, examples: Examples, precision: Precision) -> np.ndarray:
    """The logits of every row, [N, C] float32, in the order of `examples.rows`.

    Rows are batched by length, longest first, about 8,192 tokens at a time; the model is in evaluation
    mode afterwards. Draws no random number.
    """
    model.eval()
    size = max(1, TOKENS // max(int(examples.lengths.max(initial=1)), 1))
    found: np.ndarray | None = None
    for which in sorted_batches(examples.lengths, size):
        inputs, _ = examples.batch(which, precision.device)
        with precision():
            logits = model(**inputs).logits
        part = logits.float().cpu().numpy()
        if found is None:
            found = np.zeros((len(examples), *part.shape[1:]), dtype=np.float32)
        found[which] = part
    assert found is not None, "no rows to predict"
    return found
