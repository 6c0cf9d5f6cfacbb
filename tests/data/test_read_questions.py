"""Questions and answers: the same hand-written pair through every layout, repairs by brute force, real counts."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunelab.data.items import nearest
from tunelab.data.read_questions import read_questions
from tunelab.data.table import Table
from tunelab.errors import DataError

CONTEXT = " Rome is old. Rome is big."  # the space before it counts
QUESTION = "What is big?"


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return path


def squad(*answers: object, **more: object) -> dict[str, object]:
    qas = [{"id": "1", "question": QUESTION, "answers": list(answers), **more}]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]}


def answers(table: Table, row: int = 0) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(table.frame["label"][row])
    return found


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


def as_csv(header: list[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue()


def layouts() -> dict[str, object]:
    place = {"text": "Rome", "answer_start": 14}
    lists = {"text": ["Rome"], "answer_start": [14]}
    row = {"question": QUESTION, "context": CONTEXT}
    return {
        "squad.json": squad(place),
        "paragraphs.json": [{"context": CONTEXT, "qas": [{"question": QUESTION, "answers": [place]}]}],
        "hub.jsonl": json.dumps({**row, "answers": lists}),
        "list.json": [{**row, "answers": [place]}],
        "flat.json": [{**row, "answer": "Rome", "answer_start": 14}],
        "中文.json": [{"问题": QUESTION, "上下文": CONTEXT, "答案": "Rome", "答案位置": 14}],
        "flat.csv": as_csv(
            ["id", "context", "question", "answer", "start"], [[1, CONTEXT, QUESTION, "Rome", 14]]
        ),
        "json.csv": as_csv(["context", "question", "answers"], [[CONTEXT, QUESTION, json.dumps(lists)]]),
        "python.csv": as_csv(["context", "question", "answers"], [[CONTEXT, QUESTION, str(lists)]]),
    }


@pytest.mark.parametrize("name", layouts())
def test_layouts_agree(tmp_path: Path, name: str) -> None:
    table = read_questions([write(tmp_path, name, layouts()[name])], {})
    assert table.frame["text"].tolist() == [QUESTION]
    assert table.frame["text_pair"].tolist() == [CONTEXT]
    assert answers(table) == [{"text": "Rome", "start": 14}]
    assert list(table.columns) == ["text", "text_pair", "label"]


def test_parquet(tmp_path: Path) -> None:
    place = {"text": ["Rome"], "answer_start": [14]}
    pq.write_table(
        pa.table({"question": [QUESTION], "context": [CONTEXT], "answers": [place]}), tmp_path / "a.parquet"
    )
    assert answers(read_questions([tmp_path / "a.parquet"], {})) == [{"text": "Rome", "start": 14}]


def test_answers_that_are_elsewhere(tmp_path: Path) -> None:
    wrong = squad(
        {"text": "Rome", "answer_start": 13},
        {"text": "Rome", "answer_start": -1},
        {"text": "Oslo", "answer_start": 3},
        {"text": " big ", "answer_start": 20},
    )
    table = read_questions([write(tmp_path, "a.json", wrong)], {})
    assert answers(table) == [
        {"text": "Rome", "start": 14},
        {"text": "Rome", "start": 1},
        {"text": "Oslo", "start": -1},
        {"text": "big", "start": CONTEXT.index("big")},
    ]
    assert told(table, "questions: 1, answers: 4")
    assert told(table, "not at their offset", ": 3 (row 12)")
    assert told(table, "nowhere in their context", ": 1 (row 12)")


def test_nearest_by_brute_force() -> None:
    """Of all places, the one at the smallest distance; the later of two as near."""
    for text in ("ab", "abab ab", "aaaa", "xx ab", "ab" * 5):
        for part in ("a", "ab", "aa", "b"):
            places = [i for i in range(len(text)) if text.startswith(part, i)]
            for at in range(-1, len(text) + 2):
                best = min(places, key=lambda i: (abs(i - max(at, 0)), -i), default=-1)
                assert nearest(text, part, at) == best, (text, part, at)


def test_no_answer_and_no_place(tmp_path: Path) -> None:
    """SQuAD 2's unanswerable questions; answers without an offset are looked for, the first place counts."""
    two = squad(is_impossible=True, plausible_answers=[{"text": "Rome", "answer_start": 1}])
    table = read_questions([write(tmp_path, "v2.json", two)], {})
    assert answers(table) == []
    assert told(table, "without an answer", "1 (row 12)")
    rows = [[CONTEXT, QUESTION, "Rome"], [CONTEXT, QUESTION, "old"], [CONTEXT, QUESTION, ""]]
    table = read_questions([write(tmp_path, "a.csv", as_csv(["context", "question", "answer"], rows))], {})
    assert [answers(table, i) for i in range(3)] == [
        [{"text": "Rome", "start": 1}],
        [{"text": "old", "start": 9}],
        [],
    ]
    assert told(table, "no answer_start is given")
    assert told(table, "several times", "1 (row 2)")


def test_rows_are_lines(tmp_path: Path) -> None:
    """The line of each question, also where a context quotes the key; by question where lines are shared."""
    tricky = squad({"text": "Rome", "answer_start": 1})
    data: list[dict[str, list[dict[str, object]]]] = tricky["data"]  # type: ignore[assignment]
    data[0]["paragraphs"][0]["title"] = 'he wrote "question": why?'
    path = write(tmp_path, "a.json", tricky)
    row = int(read_questions([path], {}).frame["row"][0])
    assert '"question": "What' in path.read_text(encoding="utf-8").split("\n")[row - 1]
    table = read_questions([write(tmp_path, "b.json", json.dumps(tricky))], {})
    assert table.frame["row"].tolist() == [1]
    qas = [{"question": q, "answers": []} for q in "ab"]
    table = read_questions([write(tmp_path, "c.json", json.dumps([{"context": "x", "qas": qas}]))], {})
    assert table.frame["row"].tolist() == [1, 2]
    assert told(table, "counted by question")


def test_lone_surrogates_keep_offsets(tmp_path: Path) -> None:
    text = json.dumps(squad({"text": "Rome", "answer_start": 14})).replace("is old", "\\ud83d old")
    table = read_questions([write(tmp_path, "a.json", text)], {})
    assert answers(table)[0]["start"] == 13  # two letters became one
    assert "\ufffd" in table.frame["text_pair"][0]
    table.frame["text_pair"][0].encode("utf-8")


BROKEN = {
    "start.json": (
        squad({"text": "Rome", "answer_start": "soon"}),
        "an answer's start is 'soon', not a whole number",
    ),
    "text.json": (squad({"answer": "Rome"}), r"no 'text' \(its keys: answer\)"),
    "none.json": ([{"context": "x", "qas": [{"question": "q"}]}], "the question 'q' has no 'answers'"),
    "context.json": ([{"qas": [{"question": "q", "answers": []}]}], "context is None, not a text"),
    "qas.json": ([{"context": "x", "qas": 3}], "expected a list of objects, got 3. Known layouts"),
    "empty.json": ([{"context": "x", "qas": []}], "it holds no questions"),
    "columns.csv": ("question,answer\na,b\n", "as the second texts; .*Known layouts: SQuAD"),
    "sizes.jsonl": (
        '{"question": "q", "context": "c", "answers": {"text": ["a"], "answer_start": [1, 2]}}',
        "1 texts and the starts",
    ),
    "lost.jsonl": (
        '{"question": "q", "context": "c", "answers": []}\n{"question": "q", "answers": []}',
        "row 2: the context is None",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    with pytest.raises(DataError, match=words):
        read_questions([write(tmp_path, name, content)], {})


def test_choices(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", as_csv(["q", "c", "a", "doc"], [[QUESTION, CONTEXT, "old", "7"]]))
    table = read_questions([path], {"text": "q", "text_pair": "c", "label": "a", "group": "doc"})
    assert answers(table) == [{"text": "old", "start": 9}]
    assert table.frame["group"].tolist() == ["7"]
    with pytest.raises(DataError, match="no column 'context'; did you mean"):
        read_questions([path], {"context": "c"})


# Real data ------------------------------------------------------------------------------------------------


def in_place(table: Table, split: str = "") -> tuple[int, int, int]:
    """Answers of a split; those found at their start; those that are nowhere."""
    frame = table.frame[table.frame["split"] == split]
    found = [
        (a, c) for own, c in zip(frame["label"], frame["text_pair"], strict=True) for a in json.loads(own)
    ]
    right = sum(
        a["start"] >= 0 and c[a["start"] : a["start"] + len(a["text"])] == a["text"] for a, c in found
    )
    return len(found), right, sum(a["start"] == -1 for a, _ in found)


@pytest.mark.real_data
def test_real_data(shared_data: Path, tmp_path: Path) -> None:
    """xquad: 1,190 questions in 240 paragraphs, none wrong. cmrc2018 dev: 200 of 9,657 answers are not at
    their offset, of which 7 are found elsewhere (counted by a script of its own); trial: 5, all found."""
    table = read_questions([shared_data / "xquad_en"], {})
    assert (len(table), table.frame["text_pair"].nunique()) == (1190, 240)
    assert in_place(table) == (1190, 1190, 0)
    lines = (shared_data / "xquad_en" / "xquad.en.json").read_text("utf-8").split("\n")
    for question, row in zip(table.frame["text"][:50], table.frame["row"], strict=False):
        assert json.dumps(question)[1:-1] in lines[row - 1]
    for split, name in (("train", "dev"), ("test", "trial")):
        (tmp_path / f"{split}.json").symlink_to(shared_data / "cmrc2018" / f"cmrc2018_{name}.json")
    table = read_questions([tmp_path], {})
    assert table.frame["split"].value_counts().to_dict() == {"train": 3219, "test": 1002}
    assert in_place(table, "train") == (9657, 9657 - 193, 193)
    assert in_place(table, "test") == (1002, 1002, 0)
    assert told(table, "train.json", "not at their offset", ": 7 ")
    assert told(table, "train.json", "nowhere in their context", ": 193 ")
    assert told(table, "test.json", "not at their offset", ": 5 ")
