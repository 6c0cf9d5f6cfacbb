"""Rows to training, validation and test: by class, by seed, and never a duplicate on two sides.

What the user's files give is kept exactly. Otherwise one holdout, or folds for small data, in which
every row is judged once. A split depends on the rows' content and the seed, not on their order
(rows that are alike in text and label may change places).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tunelab.config import DataConfig
from tunelab.data.assign import assign, priorities, spread
from tunelab.data.findings import listing, percent, rows_of
from tunelab.data.table import SPLITS, Table
from tunelab.errors import DataError

__all__ = ["Split", "final_split", "make_splits"]

_FOLDS_UNDER = 2000  # rows: a tenth of fewer is too small a test to tell methods apart
_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Which rows are learnt from, chosen by and judged on.

    train, valid, test: positions in the table, sorted; name: "given", "holdout", "fold 2 of 5" or
    "final"; notes: what the user should know; digest: sha256 over the parts' positions, texts and labels.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    name: str
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class _Rows:
    """What dividing needs to know of the rows, all [N]."""

    table: Table
    config: DataConfig
    codes: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    keys: list[str]
    given: np.ndarray  # "train", "valid", "test" or ""

    def priority(self, purpose: str, rows: np.ndarray) -> np.ndarray:
        return priorities([self.keys[row] for row in rows], self.config.split_seed, purpose)

    def carve(
        self, rows: np.ndarray, count: float, purpose: str, least: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(the rest, about `count` of the rows), by class and in whole groups."""
        share = min(count / max(len(rows), 1), 0.5)
        parts = assign(
            self.codes[rows], self.groups[rows], (1 - share, share), self.priority(purpose, rows), (1, least)
        )
        return rows[parts == 0], rows[parts == 1]


def make_splits(
    table: Table, groups: np.ndarray, config: DataConfig, strata: Sequence[str] | None = None
) -> list[Split]:
    """One split, or one for each fold.

    groups: [N] rows with the same number are duplicates or near-duplicates and stay on one side; rows
    with the same value in the column "group", where there is one, do too. strata: [N] of which every part
    gets its share; None: the labels.

    Raises:
        DataError: the rows cannot be divided (none for training, too few groups, an empty part).
    """
    rows = _look(table, groups, config, strata)
    has = {name: bool((rows.given == name).any()) for name in SPLITS}
    folds = _folds(len(table), config)
    if has["valid"] or has["test"]:
        unused = (
            [f"data.folds={config.folds} is not used: the files give the split"]
            if config.folds != "auto"
            else []
        )
        return [_finish(rows, _given(rows, unused if folds > 1 else []))]
    if folds > 1:
        return [_finish(rows, draft) for draft in _cross(rows, folds)]
    return [_finish(rows, _holdout(rows))]


def final_split(
    table: Table, groups: np.ndarray, config: DataConfig, strata: Sequence[str] | None = None
) -> Split:
    """All rows but a validation slice for training, none for the test: to train the winner once more.

    A validation part that the files give is kept, and a given test part stays out.
    """
    rows = _look(table, groups, config, strata)
    pool = np.flatnonzero((rows.given == "train") | (rows.given == ""))
    valid = np.flatnonzero(rows.given == "valid")
    if not len(valid):
        pool, valid = rows.carve(pool, config.valid_ratio * len(pool), "final", 2)
    return _finish(rows, _Draft(pool, valid, np.zeros(0, dtype=np.int64), "final", []))


@dataclass(frozen=True)
class _Draft:
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    name: str
    notes: list[str]


def _look(table: Table, groups: np.ndarray, config: DataConfig, strata: Sequence[str] | None) -> _Rows:
    if len(groups) != len(table):
        raise ValueError(f"{len(groups)} group numbers for {len(table)} rows")
    if not len(table):
        raise DataError("there are no rows to divide")
    frame = table.frame
    labels = [str(label) for label in frame["label"]] if "label" in frame else [""] * len(table)
    classes, codes = np.unique(np.array(strata or labels, dtype=object), return_inverse=True)
    own = [str(value) for value in frame["group"]] if "group" in frame else [""] * len(table)
    keys = [f"{label}\0{text}" for label, text in zip(labels, table.texts, strict=True)]
    given = np.array([str(split) for split in frame["split"]], dtype=object)
    return _Rows(table, config, codes, tuple(map(str, classes)), _union(groups, own), keys, given)


def _union(groups: np.ndarray, own: list[str]) -> np.ndarray:
    """Group numbers in which rows are together that share a number or a (non-empty) own value."""
    _, first = np.unique(groups, return_inverse=True)
    if not any(own):
        return np.asarray(first, dtype=np.int64)
    names = {name: number for number, name in enumerate(dict.fromkeys(filter(None, own)))}
    tied = [(int(group), names[name]) for group, name in zip(first, own, strict=True) if name]
    offset = int(first.max()) + 1
    left, right = np.array(tied).T
    size = offset + len(names)
    graph = sparse.coo_matrix((np.ones(len(left), dtype=bool), (left, right + offset)), shape=(size, size))
    joined: np.ndarray = connected_components(graph, directed=False)[1][first]
    return joined


def _folds(number: int, config: DataConfig) -> int:
    if config.folds == "auto":
        return _FOLDS if number < _FOLDS_UNDER else 0
    return config.folds


# ---- the three ways ------------------------------------------------------------------------------


def _given(rows: _Rows, notes: list[str]) -> _Draft:
    config = rows.config
    train, valid, test = (np.flatnonzero(rows.given == name) for name in SPLITS)
    loose = np.flatnonzero(rows.given == "")
    if len(loose):
        notes.append(f"{rows_of(len(loose))} without a split joined the training part")
        train = np.sort(np.concatenate([train, loose]))
    if not len(train):
        names = " and ".join(name for name, part in (("validation", valid), ("test", test)) if len(part))
        raise DataError(
            f"the files give a {names} part but no training rows; add a training file, or give all rows "
            "in one "
            "file without a split"
        )
    whole = len(train)
    for name, ratio in (("test", config.test_ratio), ("valid", config.valid_ratio)):
        if len(test if name == "test" else valid):
            continue
        # a row that repeats one of a given part stays where it is: no second leak is made of the first
        fixed = np.isin(rows.groups[train], rows.groups[np.concatenate([valid, test])])
        rest, part = rows.carve(train[~fixed], ratio * whole, name, 3)
        train = np.sort(np.concatenate([train[fixed], rest]))
        word = "validation" if name == "valid" else "test"
        notes.append(f"no {word} part was given: {rows_of(len(part))} were taken from the training part")
        test, valid = (part, valid) if name == "test" else (test, part)
    return _Draft(train, valid, test, "given", notes)


def _holdout(rows: _Rows) -> _Draft:
    config = rows.config
    every = np.arange(len(rows.codes))
    shares = (1 - config.test_ratio - config.valid_ratio, config.test_ratio, config.valid_ratio)
    if shares[0] <= 0:
        raise DataError(
            f"data.test_ratio={config.test_ratio} and data.valid_ratio={config.valid_ratio} leave "
            "nothing to train on"
        )
    parts = assign(rows.codes, rows.groups, shares, rows.priority("holdout", every), (1, 3, 3))
    train, test, valid = (every[parts == part] for part in range(3))
    notes = _deviations(rows, {"validation": (valid, shares[2]), "test": (test, shares[1])})
    return _Draft(train, valid, test, "holdout", notes)


def _cross(rows: _Rows, folds: int) -> list[_Draft]:
    number, groups = len(rows.codes), int(rows.groups.max()) + 1
    if groups < max(folds, 3):
        raise DataError(
            f"{folds} folds need at least {max(folds, 3)} groups of rows that may be separated, but "
            "there are "
            f"{groups}; set data.folds lower, or check the group column"
        )
    every = np.arange(number)
    parts = assign(
        rows.codes, rows.groups, (1 / folds,) * folds, rows.priority("folds", every), (folds,) * folds
    )
    drafts = []
    for fold in range(folds):
        test, pool = every[parts == fold], every[parts != fold]
        train, valid = rows.carve(pool, rows.config.valid_ratio * number, f"valid {fold}", 2)
        notes = _deviations(rows, {"test": (test, 1 / folds)})
        drafts.append(_Draft(train, valid, test, f"fold {fold + 1} of {folds}", notes))
    return drafts


def _deviations(rows: _Rows, parts: dict[str, tuple[np.ndarray, float]]) -> list[str]:
    """Where whole groups kept a part from its size or from a class."""
    notes = []
    counts = np.bincount(rows.codes, minlength=len(rows.classes))
    for name, (part, share) in parts.items():
        got = len(part) / len(rows.codes)
        if abs(got - share) > max(0.01, 2 / len(rows.codes)):
            notes.append(f"the {name} part has {percent(got)} of the rows instead of {percent(share)}")
        absent = np.setdiff1d(np.flatnonzero(counts >= 3), rows.codes[part])
        if len(absent) and name == "test":
            names = listing([rows.classes[code] for code in absent])
            notes.append(f"the {name} part has no row of {names}")
    return notes


# ---- what every split has ------------------------------------------------------------------------


def _finish(rows: _Rows, draft: _Draft) -> Split:
    """Cut the training part where asked, tell the sizes, and seal."""
    notes = list(draft.notes)
    train = draft.train
    limit = rows.config.rows
    if limit is not None and limit < len(train):
        order = spread(rows.codes[train], rows.priority("rows", train))
        notes.append(f"training on {limit:,} of {rows_of(len(train))} (data.rows)")
        train = np.sort(train[order[:limit]])
    parts = {"training": train, "validation": draft.valid}
    if draft.name != "final":
        parts["test"] = draft.test
    for name, part in parts.items():
        if not len(part):
            raise DataError(
                f"the {name} part of the split ({draft.name}) would be empty: {rows_of(len(rows.codes))} in "
                f"{int(rows.groups.max()) + 1:,} groups that must stay together; add rows, raise "
                "data.valid_ratio "
                "or data.test_ratio, or check the group column"
            )
    digest = hashlib.sha256()
    for name, part in zip(SPLITS, (train, draft.valid, draft.test), strict=True):
        digest.update(f"{name} {len(part)}\n".encode())
        for row in part.tolist():
            key = rows.keys[row].encode("utf-8", "surrogatepass")
            digest.update(f"{row} {len(key)} ".encode() + key)
    return Split(train, draft.valid, draft.test, draft.name, tuple(notes), digest.hexdigest())
