"""Whether a copy's label has survived, as far as a first classifier can tell.

Regression on TF-IDF (words; character n-grams for Chinese): logistic for labels, ridge for numbers; of two
texts u, v what is learnt from is |u - v|, u v and their cosine, as in baselines.py. It is fitted on training
rows alone, and never on the row in question. A copy is refused where it finds a label that is neither the
row's own nor the one that it gives the original, so that a hard row, which it gets wrong both times, keeps
its copies:

    classes  the class
    labels   (multilabel) any one of them: given or not
    numbers  further than its own root mean squared error, on rows that it was not fitted on, from both

It refuses what it can see. Of pairs that is little: on afqmc it is right about 65 % of the rows, of which
64 % are of one class.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from tunelab import tasks
from tunelab.config import LossConfig
from tunelab.data.augment.words import HAN
from tunelab.study.prepare import Prepared

__all__ = ["CHECKED", "agreeing"]

# N the study's own rows, M copies, K what is decided of a row: its class, its number, or each of its labels

#: Tasks whose labels are of whole texts; in others they move along with words, or are texts themselves.
CHECKED = ("classify", "multilabel", "match", "regress")
_PARTS = 5  # of the rows that the first classifier is asked about, each by one that has not seen it
_CHINESE = 0.2  # share of Chinese characters from which texts are read by characters


def agreeing(prepared: Prepared, new: pd.DataFrame, train: np.ndarray, task: str = "classify") -> np.ndarray:
    """[M] whether each copy's label has survived; copies of rows outside `train` are not asked about: yes.

    new: the copies, as the table's frame, with "origin".
    """
    assert task in CHECKED, f"labels of task {task} are not of whole texts"
    frame = prepared.table.frame.iloc[: prepared.own]
    labels = frame["label"].tolist()
    judge = tasks.find(task).fit(labels, [labels[at] for at in train.tolist()], LossConfig())
    targets = judge.targets(labels)
    targets_NK = targets if targets.ndim == 2 else targets[:, None]
    origins = new["origin"].to_numpy(dtype=np.int64)
    before_NK, said_MK, known = _asked(frame, new, origins, train, targets_NK, numbers=not judge.labels)
    leeway = 0.0
    if not judge.labels and len(known):
        leeway = float(np.sqrt(np.mean((before_NK - targets_NK)[known] ** 2)))
    near_MK = np.abs(said_MK - targets_NK[origins]) <= leeway
    near_MK |= np.abs(said_MK - before_NK[origins]) <= leeway
    found: np.ndarray = near_MK.all(1)
    return found


def _asked(
    frame: pd.DataFrame,
    new: pd.DataFrame,
    origins: np.ndarray,
    train: np.ndarray,
    targets_NK: np.ndarray,
    numbers: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(before_NK, what is said of the originals; said_MK, of the copies; which originals were asked about);
    of rows that nobody is asked about, their own labels."""
    part_of = np.full(len(frame), -1)
    part_of[train] = np.random.default_rng(0).permutation(len(train)) % _PARTS
    before_NK, said_MK = targets_NK.copy(), targets_NK[origins]
    known = [np.array([], dtype=np.int64)]
    for part in range(_PARTS):
        held, fitted = train[part_of[train] == part], train[part_of[train] != part]
        asked = np.flatnonzero(part_of[origins] == part)
        if not len(asked) or not len(fitted):
            continue
        predict = _fitted(frame.iloc[fitted], targets_NK[fitted], numbers)
        before_NK[held] = predict(frame.iloc[held])
        said_MK[asked] = predict(new.iloc[asked])
        known.append(held)
    return before_NK, said_MK, np.concatenate(known)


def _fitted(
    rows: pd.DataFrame, targets_RK: np.ndarray, numbers: bool
) -> Callable[[pd.DataFrame], np.ndarray]:
    """A function from rows (R of them are fitted on) to what is decided of each, [R, K]."""
    sides = _sides(rows)
    sample = "".join(sides[0][:2000])
    chinese = sum(map(len, HAN.findall(sample))) > _CHINESE * len(sample)
    options: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2)}
    )
    vectorizer = TfidfVectorizer(sublinear_tf=True, **options).fit([text for side in sides for text in side])

    def features(some: pd.DataFrame) -> Any:
        return _paired([vectorizer.transform(side) for side in _sides(some)])

    known = features(rows)
    columns = [_column(known, targets_R, numbers) for targets_R in targets_RK.T]

    def predict(some: pd.DataFrame) -> np.ndarray:
        read = features(some)
        return np.stack([column(read) for column in columns], axis=1)

    return predict


def _column(features: Any, targets_R: np.ndarray, numbers: bool) -> Callable[[Any], np.ndarray]:
    """What one class, label or number is decided by; one that all rows share is said of every other."""
    if targets_R.min() == targets_R.max():
        return lambda asked: np.full(asked.shape[0], targets_R[0])
    model = Ridge(alpha=1.0) if numbers else LogisticRegression(C=10.0, max_iter=1000)
    model.fit(features, targets_R)
    return lambda asked: np.asarray(model.predict(asked))


def _sides(rows: pd.DataFrame) -> list[list[str]]:
    """The texts, and of pairs the second ones."""
    return [rows[name].tolist() for name in ("text", "text_pair") if name in rows]


def _paired(sides: list[Any]) -> Any:
    """The features of a text, or of two: how they differ and what they share."""
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    shared = first.multiply(second)
    cosine = sparse.csr_matrix(shared.sum(1))  # TF-IDF rows have length 1
    return sparse.hstack([abs(first - second), shared, cosine]).tocsr()
