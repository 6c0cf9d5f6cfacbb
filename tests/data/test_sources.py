"""Folders and files that are split already: which file is which, and when that is asked."""

from collections import Counter
from pathlib import Path

import pytest
from reading import COLUMNS, SMALL, pairs, refusal, told, write

from tunelab.data.read import read


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "test.csv"], {"train": 2, "test": 2}),
        (["my-train.csv", "dev.csv", "TEST_v2.csv"], {"train": 2, "valid": 2, "test": 2}),
        (["train.csv", "val.csv"], {"train": 2, "valid": 2}),
        (["训练集.csv", "验证集.csv", "测试集.csv"], {"train": 2, "valid": 2, "test": 2}),
        (
            ["train-00000-of-00002.csv", "train-00001-of-00002.csv", "evaluation.csv"],
            {"train": 4, "valid": 2},
        ),
        (["train_5500.csv", "TREC_10.csv"], {"train": 2, "test": 2}),
        (["testimonials.csv"], {"": 2}),
    ],
)
def test_split_by_file_name(tmp_path: Path, names: list[str], splits: dict[str, int]) -> None:
    for name in names:
        write(tmp_path, name, SMALL)
    for name, content in {
        "README.md": "# a",
        "LICENSE": "free",
        "labels.json": '["x", "y"]',
        ".hidden.csv": "x",
    }.items():
        if len(names) > 1:
            write(tmp_path, name, content)
    for paths in ([tmp_path], [tmp_path / name for name in names]):
        table = read(paths, COLUMNS)
        assert Counter(table.frame["split"]) == splits
        assert table.source == tuple(str(tmp_path / name) for name in table.frame["file"].unique())
        if len(names) > 1 and paths == [tmp_path]:
            assert told(table, "left out", "LICENSE", "README.md", "labels.json")
        if "TREC_10.csv" in names:
            assert told(table, "TREC_10.csv is taken as the test file")


def test_columns_are_found_by_name_in_every_file(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "text,label\na,x\nb,y\n")
    write(tmp_path, "test.tsv", "Label\tid\tText\ny\t9\tc\n")
    table = read([tmp_path / "test.tsv", tmp_path / "train.csv"], COLUMNS)
    assert pairs(table) == [("a", "x"), ("b", "y"), ("c", "y")]
    assert table.where(2) == "test.tsv row 2"


def test_split_column(tmp_path: Path) -> None:
    content = "text,label,Split\na,x,train\nb,y,DEV\nc,x,validation\nd,y,test\n"
    table = read([write(tmp_path, "a.csv", content)], COLUMNS)
    assert table.frame["split"].tolist() == ["train", "valid", "valid", "test"]
    message = refusal(write(tmp_path, "b.csv", content + "e,x,holdout\n"))
    assert "b.csv row 6" in message
    assert "'holdout'" in message
    assert "no row for training" in refusal(write(tmp_path, "c.csv", content.replace("train", "test")))
    table = read([write(tmp_path, "d.csv", "text,label,split\na,x,1\nb,y,2\n")], COLUMNS)
    assert set(table.frame["split"]) == {""}
    assert told(table, "'split' is not used")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.csv": SMALL, "b.csv": SMALL}, ["a.csv looks like none", "b.csv", "name them train"]),
        (
            {"dev.csv": SMALL, "test.csv": SMALL},
            ["dev.csv looks like validation", "test.csv looks like test"],
        ),
        ({"train.csv": SMALL, "train_clean.csv": SMALL}, ["2 files look like train", "train_clean.csv"]),
        (
            {"train.csv": SMALL, "my.test.csv": SMALL, "my.test.tsv": SMALL.replace(",", "\t")},
            ["2 files look like test (my.test.csv, my.test.tsv)", "one by one"],
        ),
        (
            {"train.csv": SMALL, "dev.csv": SMALL, "dev.jsonl": "{}", "test.csv": SMALL, "test.csv.bak": "a"},
            ["2 files look like valid (dev.csv, dev.jsonl)"],
        ),
        (
            {"train.csv": SMALL, "b.csv": SMALL, "c.csv": SMALL},
            ["not clear which is the test", "b.csv, c.csv"],
        ),
        ({"README.md": "# no data", "plot.png": "x"}, ["no data file", "README.md", ".parquet"]),
        (
            {"train.csv": SMALL, "test.csv": "a,x\nb,y\na,y\n"},
            ["do not agree", "text, label", "test.csv begins with a, x"],
        ),
        (
            {
                "train.csv": "one nice text,x\na second text,x\nanother one,y\nthe last one,y\n",
                "test.csv": SMALL,
            },
            ["do not agree", "train.csv has no header", "text, label"],
        ),
        ({"train.csv": SMALL, "test.csv": "text,id\na,1\n"}, ["test.csv has no column 'label'", "text, id"]),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    for name, content in files.items():
        write(tmp_path, name, content)
    message = refusal(tmp_path)
    assert all(word in message for word in words), message


def test_a_left_over_file_of_another_layout_is_no_test(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "a nice text\t0\nanother text\t1\nthird text\t0\nfourth text\t1\n")
    write(tmp_path, "class.txt", "sports\nmoney\n")
    table = read([tmp_path], COLUMNS)
    assert set(table.frame["split"]) == {"train"}
    assert told(table, "class.txt is left out", "does not fit")


@pytest.mark.parametrize(
    ("name", "content", "labels", "named"),
    [
        ("class.txt", "sports\nmoney\nart\n", "012", True),
        ("label_names.txt", "体育\n财经\n艺术", "012", True),
        ("class.txt", "sports\nmoney\n", "012", False),
        ("class.txt", "sports\nmoney\nart\n", "123", False),
        ("class.txt", "2\n0\n1\n", "012", False),
        ("class.txt", "art\nart\nmoney\n", "012", False),
        ("notes.txt", "sports\nmoney\nart\n", "012", False),
        ("labels.txt", "a\0\1\nb\nc\n", "012", False),
    ],
)
def test_a_file_of_names_for_numbers_is_told(
    tmp_path: Path, name: str, content: str, labels: str, named: bool
) -> None:
    rows = [f"a nice text {i}\t{labels[i % 3]}\n" for i in range(12)]
    for part in ("train", "test"):
        write(tmp_path, f"{part}.txt", "".join(rows))
    write(tmp_path, name, content)
    for paths in ([tmp_path], [tmp_path / "train.txt", tmp_path / "test.txt"], [tmp_path / "train.txt"]):
        table = read(paths, COLUMNS)
        assert set(table.frame["label"]) == set(labels), "they stay as they are"
        names = content.split()
        assert told(table, f"{name} seems to name the labels 0 to 2", f"(0: {names[0]}, 1: ") == named


def test_files_given_by_name_that_are_refused(tmp_path: Path) -> None:
    a, b, train = (write(tmp_path, name, SMALL) for name in ("a.csv", "b.csv", "train.csv"))
    assert "none of the files given is named as the training file" in refusal([a, b])
    assert "it is not clear which file is which" in refusal([train, a, b])
    assert "given twice" in refusal([a, a])
    assert "not both" in refusal([a, tmp_path])
