"""Sources and targets: two columns, several references, two files line by line; real counts from the data's table."""

import json
from pathlib import Path

import pytest

from tunelab.data.read_pairs import read_rewrites
from tunelab.data.table import Table
from tunelab.errors import DataError

ROWS = [("the dog", "Hund"), ("the cat", "Katze"), ("the owl, big", "Eule")]


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else "\n".join(json.dumps(i) for i in content)  # type: ignore[attr-defined]
    path.write_text(text, encoding="utf-8")
    return path


def pairs(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.frame["text"].tolist(), table.frame["label"].tolist(), strict=True))


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


def refusal(paths: list[Path], **chosen: str) -> str:
    with pytest.raises(DataError) as caught:
        read_rewrites(paths, chosen)
    return str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ("source", "target"),
        ("Document", "Summary"),
        ("原文", "译文"),
        ("文章", "摘要"),
        ("abstract", "title"),
        ("对话", "摘要"),
    ],
)
def test_columns_by_name(tmp_path: Path, names: tuple[str, str]) -> None:
    items = [{"id": i, names[1]: b, names[0]: a} for i, (a, b) in enumerate(ROWS)]
    table = read_rewrites([write(tmp_path, "a.jsonl", items)], {})
    assert pairs(table) == ROWS
    assert "references" not in table.frame
    assert table.columns == {"text": names[0], "label": names[1]}


def test_without_header(tmp_path: Path) -> None:
    """A column that is the same throughout, or counts, is neither; the order of the others is told."""
    text = "".join(f"to title\t{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(ROWS))
    path = write(tmp_path, "a.tsv", text)
    table = read_rewrites([path], {})
    assert pairs(table) == ROWS
    assert told(table, "column 3 is taken as the source and 4 as the target", "--text 4 --label 3")
    assert pairs(read_rewrites([path], {"text": "4", "label": "3"})) == [(b, a) for a, b in ROWS]
    three = write(tmp_path, "b.tsv", "".join(f"{a}\t{b}\t{b}{a}\n" for a, b in ROWS))
    assert "Choose with --text" in refusal([three])


def test_several_references(tmp_path: Path) -> None:
    lists = [{"source": a, "target": [b, b.upper()]} for a, b in ROWS]
    numbered = [
        {"source": a, "summary1": b, "summary_2": b.upper(), "topic1": "x", "topic2": "y"} for a, b in ROWS
    ]
    for items in (lists, numbered):
        table = read_rewrites([write(tmp_path, "a.jsonl", items)], {})
        assert pairs(table) == ROWS
        assert [json.loads(r) for r in table.frame["references"]] == [[b, b.upper()] for _, b in ROWS]
        assert told(table, "several targets", "3 (rows 1, 2, 3)")
    path = tmp_path / "a.jsonl"
    assert pairs(read_rewrites([path], {"label": "summary_2"})) == [(a, b.upper()) for a, b in ROWS]
    mixed = [
        {"source": "a", "target": ["x", "y"]},
        {"source": "b", "target": "z"},
        {"source": "c", "target": ["w", ""]},
    ]
    table = read_rewrites([write(tmp_path, "b.jsonl", mixed)], {})
    assert table.frame["label"].tolist() == ["x", "z", "w"]
    assert table.frame["references"].tolist() == ['["x", "y"]', "", ""]


def test_references_in_the_test_file_only(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", [{"dialogue": a, "summary": b} for a, b in ROWS])
    write(tmp_path, "test.jsonl", [{"dialogue": a, "summary1": b, "summary2": a} for a, b in ROWS])
    table = read_rewrites([tmp_path], {})
    assert pairs(table) == ROWS * 2
    assert table.frame["references"].tolist()[:3] == [""] * 3
    assert json.loads(table.frame["references"][3]) == ["Hund", "the dog"]


# Line by line ---------------------------------------------------------------------------------------------


def lines(folder: Path, name: str, side: int, more: str = "") -> Path:
    return write(folder, name, "".join(row[side] + "\n" for row in ROWS) + more)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("train.en-de.en", "train.en-de.de"),
        ("news.en2de.txt.en", "news.en2de.txt.de"),
        ("train.src", "train.tgt"),
        ("src-train.txt", "tgt-train.txt"),
        ("source.txt", "target.txt"),
        ("train.java-cs.txt.java", "train.java-cs.txt.cs"),
    ],
)
def test_parallel_files(tmp_path: Path, source: str, target: str) -> None:
    files = [lines(tmp_path, source, 0), lines(tmp_path, target, 1)]
    for given in (files, files[::-1], [tmp_path]):
        table = read_rewrites(given, {})
        assert pairs(table) == ROWS
        assert table.frame["row"].tolist() == [1, 2, 3]
        assert set(table.frame["file"]) == {source}


def test_parallel_splits(tmp_path: Path) -> None:
    """The line separator that Unicode knows within a line is no line's end; a README is left out and told."""
    for split in ("train", "dev", "test"):
        lines(tmp_path, f"{split}.en-de.en", 0, "a\u2028b\n\n")
        lines(tmp_path, f"{split}.en-de.de", 1, "c\n\n")
    write(tmp_path, "README.txt", "What this is.\n")
    table = read_rewrites([tmp_path], {})
    assert table.frame["split"].value_counts().to_dict() == {"train": 4, "valid": 4, "test": 4}
    assert pairs(table)[:4] == [*ROWS, ("a\u2028b", "c")]
    assert told(table, "left out of the folder", "README.txt")
    assert told(table, "empty in both files", "1 (row 5)")


def test_parallel_direction_is_asked_for(tmp_path: Path) -> None:
    files = [lines(tmp_path, "a.en", 0), lines(tmp_path, "a.de", 1)]
    assert "not clear which is the source: choose with --text de or --text en" in refusal(files)
    assert pairs(read_rewrites(files, {"text": "en"})) == ROWS
    assert pairs(read_rewrites(files, {"label": "en"})) == [(b, a) for a, b in ROWS]
    lines(tmp_path, "a.fr", 1)
    assert "more than two kinds (" in refusal([tmp_path])
    assert pairs(read_rewrites([tmp_path], {"text": "en", "label": "de"})) == ROWS


def test_parallel_files_of_unequal_length(tmp_path: Path) -> None:
    files = [lines(tmp_path, "train.src", 0), lines(tmp_path, "train.tgt", 1, "more\n")]
    assert "train.src has 3 lines and train.tgt 4: line by line they cannot belong together" in refusal(files)


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    """Names that differ in a split or a format are the same data divided, or twice."""
    content = "source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS)
    table = read_rewrites([write(tmp_path, "train.txt", content), write(tmp_path, "test.txt", content)], {})
    assert pairs(table) == ROWS * 2
    assert table.frame["split"].tolist() == ["train"] * 3 + ["test"] * 3


BROKEN = {
    "one.txt": ("just a line\nand another one\n", "no column is recognised"),
    "names.csv": ("a,b\nx,y\nz,w\n", "no column is recognised as"),
    "missing.jsonl": ('{"source": "a", "target": "b"}\n{"source": "c"}', "row 2: it has no target"),
    "object.jsonl": (
        '{"source": "a", "target": {"x": 1}}\n{"source": "c", "target": "d"}',
        "row 1: its target is",
    ),
    "list.jsonl": ('{"source": ["a"], "target": "b"}\n{"source": "c", "target": "d"}', "holds a list"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    assert words in refusal([write(tmp_path, name, content)])


def test_unknown_choices(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", [{"source": a, "target": b} for a, b in ROWS])
    assert "no column 'text_pair'" in refusal([path], text_pair="x")
    assert "did you mean 'target'" in refusal([path], label="targt")


# Real data ------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_dialogsum(shared_data: Path, tmp_path: Path) -> None:
    for split, name in (("train", "dev"), ("test", "test")):
        (tmp_path / f"{split}.jsonl").symlink_to(shared_data / "dialogsum" / f"dialogsum.{name}.jsonl")
    table = read_rewrites([tmp_path], {})
    assert table.frame["split"].value_counts().to_dict() == {"train": 500, "test": 500}
    references = [json.loads(r) for r in table.frame["references"] if r]
    source = list(map(json.loads, (tmp_path / "test.jsonl").read_text("utf-8").strip().split("\n")))
    assert references == [[item[f"summary{i}"].strip() for i in (1, 2, 3)] for item in source]
    assert table.frame["text"].tolist()[500:] == [item["dialogue"].strip() for item in source]


@pytest.mark.real_data
def test_real_csl_title(shared_data: Path, tmp_path: Path) -> None:
    """198 lines have a quote; "to title" stands before each."""
    for split, name in (("train", "dev"), ("test", "test")):
        (tmp_path / f"{split}.tsv").symlink_to(shared_data / "csl_title" / f"{name}.tsv")
    table = read_rewrites([tmp_path], {})
    assert table.frame["split"].value_counts().to_dict() == {"train": 1000, "test": 1000}
    assert table.columns == {"text": "2", "label": "3"}
    source = [line.split("\t") for line in (tmp_path / "train.tsv").read_text("utf-8").split("\n") if line]
    assert pairs(table)[:1000] == [(a.strip(), b.strip()) for _, a, b in source]


@pytest.mark.real_data
def test_real_code_translation(shared_data: Path) -> None:
    folder = shared_data / "code_trans_java_cs"
    table = read_rewrites([folder], {})
    assert table.frame["split"].value_counts().to_dict() == {"train": 5000, "valid": 499, "test": 1000}
    assert table.columns == {"text": "java", "label": "cs"}
    for split in ("train", "valid", "test"):
        rows = table.frame[table.frame["split"] == split]
        for role, ending in (("text", "java"), ("label", "cs")):
            source = (folder / f"{split}.java-cs.txt.{ending}").read_bytes().decode().split("\n")
            assert rows[role].tolist() == [line.strip() for line in source[: len(rows)]]
