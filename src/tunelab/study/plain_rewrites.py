"""What a rewriting model must beat: the source itself, its first sentence, and the target of the most similar
training source (cosine of TF-IDF; of Chinese texts by characters)."""

import re
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tunelab.measure.generation import is_chinese
from tunelab.study.prepare import Prepared

__all__ = ["RULES", "first_sentence"]

_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？!?…])|\n")
_AT_ONCE = 256  # rows compared with all training rows


def first_sentence(text: str) -> str:
    """
    >>> first_sentence("It rained. We stayed."), first_sentence("今天下雨。我们没出门。")
    ('It rained.', '今天下雨。')
    """
    return next((part.strip() for part in _END.split(text) if part.strip()), "")


def _copy(prepared: Prepared, train: np.ndarray, rows: np.ndarray) -> list[str]:
    texts: list[str] = prepared.table.frame["text"].iloc[rows].tolist()
    return texts


def _lead(prepared: Prepared, train: np.ndarray, rows: np.ndarray) -> list[str]:
    return [first_sentence(text) for text in _copy(prepared, train, rows)]


def _nearest(prepared: Prepared, train: np.ndarray, rows: np.ndarray) -> list[str]:
    known = _copy(prepared, train, train)
    options: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 2)} if is_chinese(known) else {}
    # Any sign may count (code, mathematics), so that a text is never without words.
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+|[^\w\s]", **options)
    learnt = vectorizer.fit_transform(known).T.tocsr()
    targets = prepared.labels(train)
    found: list[str] = []
    for first in range(0, len(rows), _AT_ONCE):
        part = vectorizer.transform(_copy(prepared, train, rows[first : first + _AT_ONCE]))
        found += [targets[int(best)] for best in np.asarray((part @ learnt).argmax(axis=1)).ravel()]
    return found


#: Name -> (study, training rows, rows) -> a text for each of the rows.
RULES = {"copy": _copy, "lead": _lead, "nearest": _nearest}
