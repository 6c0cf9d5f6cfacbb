"""What fine-tuning must beat to be worth it: the majority class, TF-IDF, and frozen embeddings.

They get the same rows as every method: fitted on train, their one setting (the regularisation C)
chosen on validation, judged once on test.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tunelab.config import RunConfig
from tunelab.data.batch import Examples, sorted_batches
from tunelab.files import output_errors, write_json
from tunelab.models import load_model
from tunelab.provenance import code_digest, versions
from tunelab.study.prepare import Prepared
from tunelab.study.run import write_predictions
from tunelab.tasks.base import Task
from tunelab.train.evaluate import tokens_at_once
from tunelab.train.precision import choose

__all__ = ["BASELINES", "run_baseline"]

#: Inverse strengths of the L2 penalty that are tried on validation.
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)

BASELINES = {
    "majority": "always the most frequent class of the training rows",
    "tfidf": "logistic regression on TF-IDF (words; character n-grams for Chinese)",
    "embeddings": "logistic regression on the frozen model's mean embeddings",
}


def run_baseline(
    name: str, config: RunConfig, prepared: Prepared, folder: Path, device: str
) -> dict[str, Any]:
    """Fits, judges and records one baseline on one fold; a finished one is read instead."""
    record_path = folder / "result.json"
    if record_path.is_file():
        known: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        return known
    task = prepared.task(config.task, config.fold, config.loss)
    split = prepared.split(config.fold)
    targets = task.targets(prepared.table.frame["label"].tolist())
    began = time.monotonic()
    logits, valid_logits, chosen = _FITS[name](config, prepared, task, targets, device)
    seconds = time.monotonic() - began
    record = {
        "status": "finished",
        "method": name,
        "baseline": True,
        "settings": chosen,
        "seed": 0,
        "fold": config.fold,
        "deciding": task.deciding,
        "judged_on": "test",
        "scores": task.scores(logits, targets[split.test]),
        "valid": task.scores(valid_logits, targets[split.valid]),
        "cost": {"train_seconds": seconds, "trained_parameters": 0, "trained_share": 0.0},
        "notes": [],
        "provenance": {"versions": versions(), "code": code_digest(), "data_digest": prepared.digest},
    }
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder / "predictions.parquet", prepared, task, split.test, logits)
        write_json(record_path, record)
    return record


_Fit = Callable[[RunConfig, Prepared, Task, np.ndarray, str], tuple[np.ndarray, np.ndarray, dict[str, Any]]]


def _majority(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    classes = len(task.model_options()["id2label"])
    share = np.bincount(targets[split.train], minlength=classes) + 1.0  # Laplace: no class is impossible
    row = np.log(share / share.sum()).astype(np.float32)
    return np.tile(row, (len(split.test), 1)), np.tile(row, (len(split.valid), 1)), {}


def _tfidf(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    texts = prepared.table.frame["text"].to_numpy()
    han = _han_share(texts[split.train])
    options: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if han > 0.2 else {"ngram_range": (1, 2)}
    )
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(split.train) > 1000 else 1, **options)
    train = vectorizer.fit_transform(texts[split.train])
    valid, test = vectorizer.transform(texts[split.valid]), vectorizer.transform(texts[split.test])
    return _logistic(train, valid, test, targets, split, task, {"features": train.shape[1], **options})


def _han_share(texts: np.ndarray) -> float:
    sample = "".join(texts[:2000])
    letters = [c for c in sample if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) / max(len(letters), 1)


def _embeddings(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    rows = np.concatenate([split.train, split.valid, split.test])
    model = load_model(
        prepared.base, prepared.model, task.model_class, task.model_options(), prepared.pad_id, device
    )
    found = _mean_hidden(model.base_model, prepared.examples(rows, task), device)
    ends = np.cumsum([len(split.train), len(split.valid)])
    train, valid, test = np.split(found, ends)
    return _logistic(train, valid, test, targets, split, task, {"features": train.shape[1]})


@torch.no_grad()
def _mean_hidden(trunk: Any, examples: Examples, device: str) -> np.ndarray:
    """Mean of the last hidden states over a text's tokens, [N, D] float32."""
    trunk.eval()
    precision = choose("auto", device)
    found: np.ndarray | None = None
    with precision(trunk):
        for which in sorted_batches(examples.lengths, tokens_at_once(device)):
            inputs, _ = examples.batch(which, device)
            hidden_BTD = trunk(**inputs).last_hidden_state.float()
            mask_BT1 = inputs["attention_mask"].unsqueeze(-1)
            mean_BD = ((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)).cpu().numpy()
            if found is None:
                found = np.zeros((len(examples), mean_BD.shape[1]), dtype=np.float32)
            found[which] = mean_BD
    assert found is not None
    return found


def _logistic(
    train: Any, valid: Any, test: Any, targets: np.ndarray, split: Any, task: Task, about: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    best: tuple[float, float, Any] | None = None
    dense = isinstance(train, np.ndarray)
    for strength in _STRENGTHS:
        regression = LogisticRegression(C=strength / 100 if dense else strength, max_iter=1000)
        # TF-IDF is scaled already; embeddings are not, and standardised they want a stronger penalty.
        model = make_pipeline(StandardScaler(), regression) if dense else regression
        model.fit(train, targets[split.train])
        score = task.scores(_log_probabilities(model, valid, task), targets[split.valid])[task.deciding]
        if best is None or score > best[0]:
            best = (score, strength, model)
    assert best is not None
    _, strength, model = best
    return (
        _log_probabilities(model, test, task),
        _log_probabilities(model, valid, task),
        {**about, "C": strength},
    )


def _log_probabilities(model: Any, features: Any, task: Task) -> np.ndarray:
    """Log probabilities over all classes; a class without training rows gets almost none."""
    found = model.predict_log_proba(features)
    full = np.full((found.shape[0], len(task.model_options()["id2label"])), -30.0, dtype=np.float32)
    full[:, model.classes_] = found
    return full


_FITS: dict[str, _Fit] = {"majority": _majority, "tfidf": _tfidf, "embeddings": _embeddings}
