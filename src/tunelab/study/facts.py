"""Facts of the user's data that decide which models and methods are worth a study."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunelab.config import StudyConfig
from tunelab.data.findings import Finding
from tunelab.data.split import make_splits
from tunelab.data.table import Table
from tunelab.study.estimate import Load
from tunelab.study.languages import estimated_tokens, languages_of
from tunelab.tasks.base import Task
from tunelab.train.schedule import total_steps

__all__ = ["DataFacts", "facts_of"]


@dataclass(frozen=True)
class DataFacts:
    """What the advice needs to know of the data.

    rows: usable; train, valid, test: of the first split; folds: 1 without cross-validation; given: the files
    give the split; classes: 0 where answers are no classes; smallest: rows of the smallest class; characters:
    median and 95th percentile of a row; tokens: the same and the most, estimated; languages: share of the
    rows by name; language: "en", "zh", "code" or "many"; warnings: how many the data doctor has.
    """

    rows: int
    train: int
    valid: int
    test: int
    folds: int
    given: bool
    classes: int
    smallest: int
    characters: tuple[int, int]
    tokens: tuple[int, int, int]
    languages: Mapping[str, float]
    language: str
    warnings: int


def facts_of(
    table: Table, kind: type[Task], config: StudyConfig, findings: Sequence[Finding]
) -> tuple[DataFacts, Load]:
    """Facts of usable rows, and what one run on the first split reads.

    Near-duplicates are not kept together here, which changes a part by a few rows.

    Raises:
        DataError: the rows cannot be divided.
    """
    labels = [str(label) for label in table.frame["label"]]
    texts = _read_texts(table, kind)
    languages = languages_of(texts)
    tokens = estimated_tokens(texts)
    splits = make_splits(table, np.arange(len(table)), config.data, kind.strata(labels))
    first = splits[0]
    classes = kind.fit(labels, labels, config.loss).classes if kind.named_labels else ()
    counts = np.unique(np.array(labels, dtype=object), return_counts=True)[1] if classes else np.zeros(1)
    characters = np.array([len(text) for text in texts])
    facts = DataFacts(
        rows=len(table),
        train=len(first.train),
        valid=len(first.valid),
        test=len(first.test),
        folds=len(splits),
        given=first.name == "given",
        classes=len(classes),
        smallest=int(counts.min()),
        characters=(int(np.median(characters)), int(np.percentile(characters, 95))),
        tokens=(int(np.median(tokens)), int(np.percentile(tokens, 95)), int(tokens.max())),
        languages=languages.shares,
        language=languages.main,
        warnings=sum(finding.severity == "warning" for finding in findings),
    )
    steps = total_steps(len(first.train), config.train)
    per_epoch = math.ceil(len(first.train) / config.train.batch_size)
    load = Load(
        train=tokens[first.train],
        valid=tokens[first.valid],
        test=tokens[first.test],
        steps=steps,
        batch=config.train.batch_size,
        evaluations=max(1.0, steps / per_epoch * config.train.evaluations_per_epoch),
        generates=not any(word in kind.model_class for word in ("Classification", "QuestionAnswering")),
    )
    return facts, load


def _read_texts(table: Table, kind: type[Task]) -> list[str]:
    """All that a model reads of each row: further texts of a row (answers, a target) follow the first."""
    texts = [_said(text) for text in table.texts]
    more = [name for name in ("chosen", "rejected") if name in table.frame]
    more += ["label"] if kind.name == "rewrite" else []
    for name in more:
        texts = [f"{a}\n{b}" for a, b in zip(texts, table.frame[name], strict=True)]
    return texts


def _said(text: str) -> str:
    """A conversation's contents without its marks; another text as it is."""
    if not text.startswith('[{"'):
        return text
    try:
        return "\n".join(str(message["content"]) for message in json.loads(text))
    except (ValueError, KeyError, TypeError):
        return text
