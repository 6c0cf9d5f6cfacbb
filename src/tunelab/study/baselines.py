"""What fine-tuning must beat to be worth it: the majority class, TF-IDF, and frozen embeddings.

They get the same rows as every method: fitted on train, their one setting (the regularisation)
chosen on validation, judged once on test. Classes are learnt by logistic regression, numbers by ridge
regression. Of a pair u, v each text has its features, and |u - v| and u v are learnt from (Conneau et al.
2017, arXiv:1705.02364, section 3.1), with the cosine between the two. Of two answers the longer one is taken.
Where texts are written there are rules: plain_rewrites.py; for entities a list of them: plain_tags.py.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from tunelab.config import RunConfig
from tunelab.data.batch import Examples, sorted_batches
from tunelab.data.encode import encode
from tunelab.data.long_texts import pooled
from tunelab.files import output_errors, write_json
from tunelab.measure.preference import right
from tunelab.models import load_model, load_tokenizer
from tunelab.provenance import code_digest, versions
from tunelab.study.asking import Asker
from tunelab.study.plain_rewrites import RULES
from tunelab.study.plain_tags import SHARES, KnownEntities, known_entities
from tunelab.study.prepare import Prepared
from tunelab.study.run import write_predictions
from tunelab.study.untouched import untouched_model
from tunelab.tasks.base import Task
from tunelab.train.evaluate import tokens_at_once
from tunelab.train.precision import choose

__all__ = ["OF_A_MODEL", "baselines_of", "run_baseline"]

#: Inverse strengths of the L2 penalty that are tried on validation.
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
#: Log-odds of what the training rows leave no doubt of.
_CERTAIN = 30.0
#: Those that ask the pretrained model: where several are compared, each has its own.
OF_A_MODEL = ("embeddings", "untouched")
#: (Where texts are written, the table is read.)
_NO_TARGETS = np.zeros(0)


def baselines_of(task: Task, first: bool = True) -> tuple[str, ...]:
    """majority: always the most frequent class of the training rows (numbers: none, one value for all rows
    says nothing of their order); tfidf: regression on TF-IDF (words; character n-grams for Chinese);
    embeddings: regression on the frozen model's mean embeddings; length: of two answers the longer (or
    shorter) one, as the training rows say; copy, lead, nearest: the source itself, its first sentence, and
    the target of the most similar training source; dictionary: the entities of the training rows, wherever
    they stand; untouched: the pretrained model as it is.

    first: of the first model; of a further one only those that ask it."""
    if task.written and task.rewards():
        return ("untouched",)
    names = task.baselines
    if names is None:
        names = ("majority",) * bool(task.classes) + ("tfidf", "embeddings") * (not task.per_token)
    return tuple(name for name in names if first or name in OF_A_MODEL)


def run_baseline(
    name: str, config: RunConfig, prepared: Prepared, folder: Path, device: str
) -> dict[str, Any]:
    """Fits, judges and records one baseline on one fold; a finished one is read instead."""
    record_path = folder / "result.json"
    if record_path.is_file():
        known: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        return known
    task = prepared.task(config, config.fold)
    split = prepared.split(config.fold)
    frame = prepared.table.frame
    targets = _NO_TARGETS if task.written or task.per_token else task.targets(frame["label"].tolist())
    began = time.monotonic()
    logits, valid_logits, chosen = _FITS[name](config, prepared, task, targets, device)
    seconds = time.monotonic() - began
    record = {
        "status": "finished",
        "method": name,
        "model": config.model.name,
        "baseline": True,
        "settings": chosen,
        "seed": 0,
        "fold": config.fold,
        "deciding": task.deciding,
        "judged_on": "test",
        "scores": _scores(prepared, task, split.test, logits),
        "valid": _scores(prepared, task, split.valid, valid_logits),
        "cost": {"train_seconds": seconds, "trained_parameters": 0, "trained_share": 0.0},
        "notes": [],
        "provenance": {"versions": versions(), "code": code_digest(), "data_digest": prepared.digest},
    }
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder / "predictions.parquet", prepared, task, split.test, logits)
        write_json(record_path, record)
    return record


def _scores(prepared: Prepared, task: Task, items: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    return task.scores(outputs, task.truth_of(prepared.table.frame.iloc[items]), prepared.units(items))


def _untouched(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split, precision = prepared.split(config.fold), choose("float32", device)
    with torch.random.fork_rng():  # (a head that the model does not bring is drawn)
        torch.manual_seed(0)
        model = untouched_model(task, prepared, device)
    test, valid = (
        Asker(task, prepared, items, precision)(model, prepared.examples(items, task))
        for items in (split.test, split.valid)
    )
    return test, valid, {}


_Fit = Callable[[RunConfig, Prepared, Task, np.ndarray, str], tuple[np.ndarray, np.ndarray, dict[str, Any]]]


def _majority(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    if targets.ndim == 2:
        return _majorities(split, targets)
    classes = len(task.classes)
    share = np.bincount(targets[split.train], minlength=classes) + 1.0  # Laplace: no class is impossible
    row = np.log(share / share.sum()).astype(np.float32)
    return np.tile(row, (len(split.test), 1)), np.tile(row, (len(split.valid), 1)), {}


def _majorities(split: Any, targets_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Of each label the log-odds of its share, the same for every row."""
    rows = len(split.train)
    share_L = (targets_NL[split.train].sum(0) + 1.0) / (rows + 2.0)  # Laplace: nothing is certain
    row = np.log(share_L / (1 - share_L)).astype(np.float32)
    return np.tile(row, (len(split.test), 1)), np.tile(row, (len(split.valid), 1)), {}


def _tfidf(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    sides = _sides(prepared)
    texts = sides[0]
    han = _han_share(texts[split.train])
    options: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if han > 0.2 else {"ngram_range": (1, 2)}
    )
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(split.train) > 1000 else 1, **options)
    vectorizer.fit(np.concatenate([side[split.train] for side in sides]))
    train, valid, test = (
        _paired([vectorizer.transform(side[rows]) for side in sides])
        for rows in (split.train, split.valid, split.test)
    )
    return _regression(train, valid, test, targets, split, task, {"features": train.shape[1], **options})


def _sides(prepared: Prepared) -> list[np.ndarray]:
    """The texts, and of pairs the second ones."""
    frame = prepared.table.frame
    return [frame[name].to_numpy() for name in ("text", "text_pair") if name in frame]


def _paired(sides: list[Any]) -> Any:
    """What is learnt from: the features of a text, or of two how they differ and what they share."""
    if len(sides) == 1:
        return sides[0]
    if isinstance(sides[0], np.ndarray):
        unit = [normalize(side) for side in sides]
        cosine = (unit[0] * unit[1]).sum(1, keepdims=True)
        return np.concatenate([np.abs(sides[0] - sides[1]), sides[0] * sides[1], cosine], axis=1)
    shared = sides[0].multiply(sides[1])
    cosine = sparse.csr_matrix(shared.sum(1))  # TF-IDF rows have length 1
    return sparse.hstack([abs(sides[0] - sides[1]), shared, cosine]).tocsr()


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
    found = _paired(
        [_embedded(prepared, rows, model.base_model, each, device) for each in _each(prepared, task, rows)]
    )
    ends = np.cumsum([len(split.train), len(split.valid)])
    train, valid, test = np.split(found, ends)
    return _regression(train, valid, test, targets, split, task, {"features": train.shape[1]})


def _each(prepared: Prepared, task: Task, rows: np.ndarray) -> list[Examples]:
    """The rows' texts; of pairs each side by itself, for a frozen model does not compare them."""
    whole = prepared.examples(rows, task)
    sides = _sides(prepared)
    if len(sides) == 1:
        return [whole]
    tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
    return [replace(whole, tokens=encode(side.tolist(), tokenizer), rows=rows) for side in sides]


def _embedded(
    prepared: Prepared, rows: np.ndarray, trunk: Any, examples: Examples, device: str
) -> np.ndarray:
    """Of texts that are read in windows the mean over these."""
    return pooled(_mean_hidden(trunk, examples, device), prepared.units(rows))


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


def _regression(
    train: Any, valid: Any, test: Any, targets: np.ndarray, split: Any, task: Task, about: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    best: tuple[float, float, Any] | None = None
    dense = isinstance(train, np.ndarray)
    for strength in _STRENGTHS:
        own = strength / 100 if dense else strength
        regression = _regressor(own, targets[split.train], task)
        # TF-IDF is scaled already; embeddings are not, and standardised they want a stronger penalty.
        model = make_pipeline(StandardScaler(), regression) if dense else regression
        model.fit(train, targets[split.train])
        score = task.scores(_outputs(model, valid, task), targets[split.valid])[task.deciding]
        if best is None or score > best[0]:
            best = (score, strength, model)
    assert best is not None
    _, strength, model = best
    return (
        _outputs(model, test, task),
        _outputs(model, valid, task),
        {**about, "C": strength},
    )


class _EachLabel(BaseEstimator):  # type: ignore[misc]
    """A logistic regression for every label; a label that all training rows have, or none, is constant."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def fit(self, features: Any, targets_NL: np.ndarray) -> "_EachLabel":
        self.models_: list[Any] = []
        for own_N in targets_NL.T:
            certain = own_N.min() == own_N.max()
            model = None if certain else LogisticRegression(C=self.strength, max_iter=1000)
            self.models_.append(
                _CERTAIN * (2 * float(own_N[0]) - 1) if model is None else model.fit(features, own_N)
            )
        return self

    def decision_function(self, features: Any) -> np.ndarray:
        """Log-odds of every label, [N, L]."""
        rows = features.shape[0]
        columns = [
            np.full(rows, model) if isinstance(model, float) else model.decision_function(features)
            for model in self.models_
        ]
        return np.stack(columns, axis=1)


def _regressor(strength: float, targets: np.ndarray, task: Task) -> Any:
    if targets.ndim == 2:
        return _EachLabel(strength)
    if not task.classes:
        return Ridge(alpha=1 / strength)
    if len(np.unique(targets)) == 1:  # (of a rare class that is whole in the test part, or in one group)
        return DummyClassifier()
    return LogisticRegression(C=strength, max_iter=1000)


def _outputs(model: Any, features: Any, task: Task) -> np.ndarray:
    """Log probabilities over all classes (a class without training rows gets almost none), log-odds of every
    label, or numbers."""
    if task.labels and not task.classes:
        odds: np.ndarray = model.decision_function(features).astype(np.float32)
        return odds
    if not task.classes:
        numbers: np.ndarray = model.predict(features).astype(np.float32)[:, None]
        return numbers
    with np.errstate(divide="ignore"):  # (a probability that is too small for a number)
        found = np.maximum(model.predict_log_proba(features), -_CERTAIN)
    full = np.full((found.shape[0], len(task.classes)), -_CERTAIN, dtype=np.float32)
    full[:, model.classes_] = found
    return full


def _length(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """As sure as the training pairs allow: sigmoid of its preference is how often it is right there."""
    split, frame = prepared.split(config.fold), prepared.table.frame
    lengths = [frame[name].str.len().to_numpy(dtype=np.float64) for name in ("chosen", "rejected")]
    longer = np.sign(lengths[0] - lengths[1])
    won = right(longer[split.train], targets[split.train, 0])
    share = (won.sum() + 1) / (len(won) + 2)  # Laplace: nothing is certain
    preference = longer * np.log(share / (1 - share))
    test, valid = (
        task.outputs_of(preference[rows], [side[rows] for side in lengths])
        for rows in (split.test, split.valid)
    )
    return test, valid, {"longer_right": float(share)}


def _dictionary(
    config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = prepared.split(config.fold)
    everything = known_entities(prepared, split.train)
    best: tuple[float, float, np.ndarray] | None = None
    for share in SHARES:
        valid = _spelt(prepared, task, split.valid, everything.within(share))
        score = _scores(prepared, task, split.valid, valid)[task.deciding]
        if best is None or score > best[0]:
            best = (score, share, valid)
    assert best is not None
    _, share, valid = best
    known = everything.within(share)
    return _spelt(prepared, task, split.test, known), valid, {"phrases": len(known), "share": share}


def _spelt(prepared: Prepared, task: Task, items: np.ndarray, known: KnownEntities) -> np.ndarray:
    """Outputs for the items' tokens that spell the entities found in them, [T, C]."""
    labels = [""] * len(prepared.table)
    for item, label in zip(items, known.labels(prepared, items), strict=True):
        labels[item] = label
    targets, starts = task.targets(labels, prepared.encoded), prepared.tokens.starts
    rows = [targets[starts[row] : starts[row + 1]] for row in prepared.rows(items)]
    own_T = np.concatenate([np.zeros(0, dtype=targets.dtype), *rows])
    outputs = np.full((len(own_T), task.model_options()["num_labels"]), -_CERTAIN, dtype=np.float32)
    outputs[np.arange(len(own_T)), np.maximum(own_T, 0)] = 0.0
    return outputs


def _by_rule(name: str) -> _Fit:
    def fit(
        config: RunConfig, prepared: Prepared, task: Task, targets: np.ndarray, device: str
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        split = prepared.split(config.fold)
        test, valid = (
            np.array(RULES[name](prepared, split.train, rows), dtype=object).reshape(-1, 1)
            for rows in (split.test, split.valid)
        )
        return test, valid, {}

    return fit


_FITS: dict[str, _Fit] = {
    **{name: _by_rule(name) for name in RULES},
    "majority": _majority,
    "tfidf": _tfidf,
    "embeddings": _embeddings,
    "length": _length,
    "dictionary": _dictionary,
    "untouched": _untouched,
}
