"""Splits: promises kept over random tables, given parts untouched, the same rows for the same seed."""

import csv
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tunelab.config import DataConfig
from tunelab.data.similar import near_groups
from tunelab.data.split import Split, final_split, make_splits
from tunelab.data.table import Table
from tunelab.errors import DataError


def table(labels: list[str], split: list[str] | None = None, group: list[str] | None = None) -> Table:
    number = len(labels)
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(number)], "label": labels})
    frame["split"] = split or [""] * number
    if group:
        frame["group"] = group
    frame["file"] = "reviews.csv"
    frame["row"] = np.arange(2, number + 2)
    return Table(frame, {"text": "text", "label": "label"})


def alone(number: int) -> np.ndarray:
    return np.arange(number)


def drawn(seed: int) -> tuple[Table, np.ndarray]:
    """A random table: 2 to 12 uneven classes, and groups of 1 to 12 rows, mostly small."""
    rng = random.Random(seed)
    number, kinds = rng.randint(60, 1500), rng.randint(2, 12)
    weights = [rng.random() ** 2 + 0.02 for _ in range(kinds)]
    labels, groups = [], []
    while len(labels) < number:
        label = f"class {rng.choices(range(kinds), weights)[0]}"
        number_of_copies = rng.choice([1] * 12 + [2, 3, 5, 12])
        group = groups[-1] + 1 if groups else 0
        for _ in range(number_of_copies):
            groups.append(group)
            labels.append(label if rng.random() < 0.9 else f"class {rng.randrange(kinds)}")
    return table(labels), np.array(groups)


def parts(split: Split) -> dict[str, np.ndarray]:
    return {"train": split.train, "valid": split.valid, "test": split.test}


def sound(split: Split, groups: np.ndarray, number: int) -> None:
    """Every row once, sorted, no group on two sides, no part empty."""
    whole = np.concatenate(list(parts(split).values()))
    assert sorted(whole.tolist()) == list(range(number))
    where = {}
    for name, rows in parts(split).items():
        assert len(rows)
        assert np.all(np.diff(rows) > 0)
        for group in np.unique(groups[rows]):
            assert where.setdefault(group, name) == name, "a group crosses a boundary"


@pytest.mark.parametrize("folds", [0, 5])
@pytest.mark.parametrize("seed", range(8))
def test_promises_over_random_tables(seed, folds):
    data, groups = drawn(seed)
    number = len(data)
    labels = data.frame["label"].to_numpy()
    splits = make_splits(data, groups, DataConfig(folds=folds, split_seed=seed))
    assert len(splits) == max(folds, 1)
    for split in splits:
        sound(split, groups, number)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            apart = len(np.unique(groups[labels == label]))
            if apart >= 2 and folds == 0:
                assert label in labels[split.train]
            if count >= 20 and apart >= 10:
                assert label in labels[split.test]
                assert label in labels[split.valid]
        if number >= 500:
            assert len(split.test) / number == pytest.approx(0.2 if folds else 0.1, abs=0.01)
            assert len(split.valid) / number == pytest.approx(0.1, abs=0.01)
            for label in np.unique(labels):
                share = (labels == label).mean()
                # a whole group of 12 rows may be the most even choice
                assert (labels[split.test] == label).mean() == pytest.approx(share, abs=12 / len(split.test))
                assert (labels[split.train] == label).mean() == pytest.approx(share, abs=0.02)
    if folds:
        judged = np.concatenate([split.test for split in splits])
        assert sorted(judged.tolist()) == list(range(number)), "each row is judged once"
        assert [split.name for split in splits] == [f"fold {i} of 5" for i in range(1, 6)]


def test_without_groups_shares_are_exact():
    """900 rows, 600 a and 300 b: a tenth of each is 60 and 30."""
    labels = ["a", "a", "b"] * 300
    (split,) = make_splits(table(labels), alone(900), DataConfig(folds=0))
    for part, rows in parts(split).items():
        counts = pd.Series(labels).iloc[rows].value_counts().to_dict()
        assert counts == ({"a": 480, "b": 240} if part == "train" else {"a": 60, "b": 30})
    for fold in make_splits(table(labels), alone(900), DataConfig()):
        assert pd.Series(labels).iloc[fold.test].value_counts().to_dict() == {"a": 120, "b": 60}


def test_many_small_classes_keep_the_size_of_the_parts():
    """70 classes of 14 rows: a tenth is 1.4 rows each; rounding class by class would give 7 %, not 10 %."""
    labels = [f"c{i}" for i in range(70)] * 14
    (split,) = make_splits(table(labels), alone(980), DataConfig(folds=0))
    assert (len(split.test), len(split.valid), len(split.train)) == (98, 98, 784)
    assert pd.Series(labels).iloc[split.test].value_counts().between(1, 2).all()


def test_rare_classes_are_learnt_first_and_tested_where_three_allow_it():
    labels = ["common"] * 200 + ["three"] * 3 + ["two"] * 2 + ["one"]
    (split,) = make_splits(table(labels), alone(206), DataConfig(folds=0))
    seen = {name: set(np.array(labels)[rows]) for name, rows in parts(split).items()}
    assert seen["train"] == {"common", "three", "two", "one"}
    assert {"common", "three"} <= seen["test"]
    assert {"common", "three"} <= seen["valid"]


def test_the_same_seed_gives_the_same_split_another_seed_another():
    data, groups = drawn(3)
    one, same, other = (
        make_splits(data, groups, DataConfig(folds=0, split_seed=seed))[0] for seed in (1, 1, 2)
    )
    assert one.digest == same.digest
    assert one.test.tolist() == same.test.tolist()
    assert one.digest != other.digest
    assert len(np.intersect1d(one.test, other.test)) < len(one.test) / 2


@pytest.mark.parametrize("folds", [0, 5])
def test_the_order_of_the_rows_does_not_matter(folds):
    data, groups = drawn(5)
    order = np.random.default_rng(0).permutation(len(data))
    frame = data.frame.iloc[order].reset_index(drop=True)
    renamed = np.random.default_rng(1).permutation(int(groups.max()) + 1)[groups]
    config = DataConfig(folds=folds, rows=30)
    for one, two in zip(
        make_splits(data, groups, config),
        make_splits(Table(frame, data.columns), renamed[order], config),
        strict=True,
    ):
        for name, rows in parts(one).items():
            assert rows.tolist() == sorted(order[parts(two)[name]].tolist())


def test_fewer_training_rows_are_a_subset_stratified_and_leave_the_rest_alone():
    data, groups = drawn(2)
    labels = data.frame["label"].to_numpy()
    whole = make_splits(data, groups, DataConfig(folds=0))[0]
    before = whole
    for rows in (len(whole.train), 200, 100, 40, 20):
        split = make_splits(data, groups, DataConfig(folds=0, rows=rows))[0]
        assert len(split.train) == min(rows, len(whole.train))
        assert set(split.train) <= set(before.train)
        assert split.test.tolist() == whole.test.tolist()
        assert split.valid.tolist() == whole.valid.tolist()
        assert set(labels[split.train]) == set(labels[whole.train]), "every class is still there"
        for label in np.unique(labels):
            expected = (labels[whole.train] == label).mean() * len(split.train)
            assert (
                abs((labels[split.train] == label).sum() - expected)
                <= 2 + len(np.unique(labels)) * expected / rows
            )
        before = split
    assert "training on 20 of" in before.notes[-1]


def test_the_users_groups_and_the_duplicates_hold_together():
    """Rows 0 and 1 are duplicates, 1 and 2 one customer: all three must stay together."""
    labels = ["a", "b"] * 150
    customers = ["", "x", "x"] + [f"customer {i // 3}" for i in range(297)]
    groups = alone(300)
    groups[1] = 0
    for seed in range(20):
        (split,) = make_splits(table(labels, group=customers), groups, DataConfig(folds=0, split_seed=seed))
        sound(split, np.array([0, 0, 0] + [1 + i // 3 for i in range(297)]), 300)


def test_given_parts_are_kept_to_the_row():
    labels = ["a", "b"] * 100
    given = ["train"] * 120 + ["valid"] * 30 + ["test"] * 50
    groups = alone(200)
    groups[[150, 199]] = 0  # leaks are told by the data doctor, not moved
    (split,) = make_splits(table(labels, given), groups, DataConfig())
    assert split.name == "given"
    assert split.notes == ()
    assert split.train.tolist() == list(range(120))
    assert split.valid.tolist() == list(range(120, 150))
    assert split.test.tolist() == list(range(150, 200))


@pytest.mark.parametrize("missing", ["valid", "test"])
def test_a_part_that_was_not_given_is_carved_from_the_training_rows(missing):
    labels = ["a", "a", "b"] * 100
    kept = {"valid": "test", "test": "valid"}[missing]
    given = ["train"] * 240 + [kept] * 60
    groups = alone(300)
    groups[:30] = np.arange(30) // 3
    groups[[100, 250]] = 1000  # a training row that repeats one of the given part
    (split,) = make_splits(table(labels, given), groups, DataConfig(folds=5))
    assert parts(split)[kept].tolist() == list(range(240, 300))
    carved = parts(split)[missing]
    assert len(carved) == 24
    assert (np.array(labels)[carved] == "a").sum() == 16
    assert not set(groups[carved]) & set(groups[split.train])
    assert 100 in split.train
    word = {"valid": "validation", "test": "test"}[missing]
    assert split.notes == (
        "data.folds=5 is not used: the files give the split",
        f"no {word} part was given: 24 rows were taken from the training part",
    )


def test_rows_without_a_split_join_the_training_part():
    labels = ["a", "b"] * 100
    (split,) = make_splits(table(labels, [""] * 150 + ["test"] * 50), alone(200), DataConfig())
    assert split.name == "given"
    assert set(split.train) | set(split.valid) == set(range(150))


def test_folds_come_by_themselves_for_small_data_only():
    assert len(make_splits(table(["a", "b"] * 999), alone(1998), DataConfig())) == 5
    assert len(make_splits(table(["a", "b"] * 1000), alone(2000), DataConfig())) == 1
    assert len(make_splits(table(["a", "b"] * 100, ["train"] * 200), alone(200), DataConfig())) == 5
    assert len(make_splits(table(["a", "b"] * 100), alone(200), DataConfig(folds=1))) == 1
    assert len(make_splits(table(["a", "b"] * 1500), alone(3000), DataConfig(folds=3))) == 3


def test_the_final_split_trains_on_all_but_a_validation_slice():
    data, groups = drawn(1)
    split = final_split(data, groups, DataConfig())
    assert len(split.test) == 0
    assert len(split.valid) == pytest.approx(0.1 * len(data), abs=6)
    assert sorted([*split.train, *split.valid]) == list(range(len(data)))
    assert not set(groups[split.train]) & set(groups[split.valid])
    given = table(["a", "b"] * 50, ["train"] * 60 + ["valid"] * 20 + ["test"] * 20)
    kept = final_split(given, alone(100), DataConfig())
    assert kept.valid.tolist() == list(range(60, 80))
    assert kept.train.tolist() == list(range(60))


@pytest.mark.parametrize(
    ("data", "groups", "config", "words"),
    [
        (table([]), alone(0), DataConfig(), "no rows"),
        (table(["a", "b"] * 30, ["test"] * 60), alone(60), DataConfig(), "no training rows"),
        (table(["a", "b"] * 30), np.zeros(60, dtype=int), DataConfig(folds=0), "1 groups"),
        (table(["a", "b"] * 30), np.arange(60) % 4, DataConfig(folds=5), "5 folds need at least 5"),
    ],
)
def test_what_cannot_be_divided_is_refused(data, groups, config, words):
    with pytest.raises(DataError, match=words):
        make_splits(data, groups, config)


def test_few_large_groups_are_spread_and_the_deviation_told():
    """Five customers with 50, 30, 10, 5 and 5 rows: each is one fold's test."""
    customers = np.repeat(np.arange(5), [50, 30, 10, 5, 5])
    data = table(["a", "b"] * 50)
    folds = make_splits(data, customers, DataConfig())
    assert sorted(len(fold.test) for fold in folds) == [5, 5, 10, 30, 50]
    assert any("instead of 20 %" in note for fold in folds for note in fold.notes)
    for fold in folds:
        sound(fold, customers, 100)


@pytest.mark.real_data
def test_banking_without_leaks(shared_data: Path):
    with (shared_data / "banking77/train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    data = table([row[1] for row in rows])
    data.frame["text"] = [row[0] for row in rows]
    groups = near_groups([row[0] for row in rows])
    (split,) = make_splits(data, groups, DataConfig(rows=500))
    labels = data.frame["label"].to_numpy()
    assert len(split.test) == pytest.approx(1000, abs=20)
    assert all(len(set(labels[part])) == 77 for part in parts(split).values())
    assert not set(groups[split.test]) & (set(groups[split.train]) | set(groups[split.valid]))
