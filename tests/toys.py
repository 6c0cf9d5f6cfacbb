"""Small learnable data for tests of the loop: token ids whose first token gives the label away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models_zoo import CLASSES, PAD, VOCABULARY, make_model

from tunelab import methods
from tunelab.config import TrainConfig
from tunelab.data.batch import Examples
from tunelab.data.encode import Tokens
from tunelab.methods.base import Tuned
from tunelab.objectives.classification import cross_entropy
from tunelab.train.evaluate import predict_logits
from tunelab.train.loop import Trained, train
from tunelab.train.precision import Precision

FLOAT32 = Precision("float32", "cpu", "test")


def toy_examples(rows: int = 60, seed: int = 0) -> Examples:
    """`rows` texts of 4 to 12 tokens; the label is the first token modulo the number of classes."""
    random = np.random.default_rng(seed)
    texts = [
        random.integers(3, VOCABULARY, size=random.integers(4, 13)).astype(np.int32) for _ in range(rows)
    ]
    starts = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    targets = np.array([t[0] % CLASSES for t in texts], dtype=np.int64)
    return Examples(Tokens(np.concatenate(texts), starts, 0), targets, np.arange(rows), 12, PAD)


def make_tuned(
    method: str = "full", settings: dict[str, Any] | None = None, seed: int = 0, **options: Any
) -> Tuned:
    """A tiny BERT made ready by a method."""
    torch.manual_seed(seed)
    return methods.find(method).make(settings or {}).attach(make_model("bert", **options))


def train_toy(
    tuned: Tuned,
    folder: Path,
    config: TrainConfig,
    *,
    learning_rate: float = 1e-3,
    objective: Callable[..., Any] = cross_entropy,
    stop: Callable[[], bool] = lambda: False,
    judge: Callable[..., Any] | None = None,
    examples: Examples | None = None,
    precision: Precision = FLOAT32,
) -> Trained:
    """The real loop on the toy data; validation on the training rows."""
    examples = examples if examples is not None else toy_examples()

    def accuracy() -> tuple[dict[str, float], str]:
        logits = predict_logits(tuned.model, examples, precision)
        right = float((logits.argmax(1) == examples.targets).mean())
        loss = float(cross_entropy(torch.from_numpy(logits), torch.from_numpy(examples.targets))[0])
        return {"accuracy": right, "loss": loss}, "accuracy"

    folder.mkdir(parents=True, exist_ok=True)
    return train(
        tuned,
        objective,
        examples,
        judge or accuracy,
        config,
        learning_rate=learning_rate,
        seed=0,
        folder=folder,
        precision=precision,
        stop=stop,
    )
