"""Conversations and preferences: one hand-written truth through every layout; real counts are the data's own table."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunelab.data.read_conversations import read_conversations, read_preferences
from tunelab.data.table import Table
from tunelab.errors import DataError

SYSTEM, USER, ANSWER = "Be brief.", "Translate\nHund", '{"a": [1]}'  # an answer may look like JSON


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


TRUTH = [message("system", SYSTEM), message("user", USER), message("assistant", ANSWER)]
SHAREGPT = [
    {"from": {"user": "human", "assistant": "gpt"}.get(m["role"], m["role"]), "value": m["content"]}
    for m in TRUTH
]
LAYOUTS: dict[str, dict[str, object]] = {
    "alpaca": {"system": SYSTEM, "instruction": "Translate", "input": "Hund", "output": ANSWER},
    "chinese": {"系统": SYSTEM, "指令": "Translate", "输入": "Hund", "输出": ANSWER},
    "prompt": {"system": SYSTEM, "prompt": USER, "completion": ANSWER},
    "question": {"id": 3, "system": SYSTEM, "question": USER, "answer": ANSWER},
    "openai": {"messages": TRUTH},
    "parts": {"messages": [*TRUTH[:2], {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}]},
    "sharegpt": {"id": "x", "conversations": SHAREGPT},
    "sharegpt with system": {"system": SYSTEM, "conversations": SHAREGPT[1:]},
    "prompt of turns": {"prompt": TRUTH[:2], "completion": TRUTH[2:]},
    "instances": {
        "system": SYSTEM,
        "instruction": "Translate",
        "instances": [{"input": "Hund", "output": ANSWER}],
    },
}


def write(folder: Path, items: object, name: str = "a.jsonl") -> Path:
    path = folder / name
    text = items if isinstance(items, str) else "\n".join(json.dumps(i) for i in items)  # type: ignore[attr-defined]
    path.write_text(text, encoding="utf-8")
    return path


def messages(table: Table, row: int = 0) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(table.frame["text"][row])
    return found


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_agree(tmp_path: Path, name: str, count: int) -> None:
    """Also of a single row, whose list of messages could be taken for the list of items."""
    table = read_conversations([write(tmp_path, [LAYOUTS[name]] * count)], {})
    assert [messages(table, i) for i in range(count)] == [TRUTH] * count
    assert table.frame["label"].tolist() == [""] * count
    assert table.frame["row"].tolist() == list(range(1, count + 1))
    assert all(type(cell) is str for cell in table.frame["text"])


@pytest.mark.parametrize("name", ["openai", "sharegpt", "alpaca", "prompt of turns"])
def test_tables(tmp_path: Path, name: str) -> None:
    """Parquet holds lists; CSV holds them as JSON in a cell."""
    row = LAYOUTS[name]
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "a.parquet")
    assert messages(read_conversations([tmp_path / "a.parquet"], {}), 1) == TRUTH
    cells = [v if isinstance(v, str) else json.dumps(v) for v in row.values()]
    line = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    path = write(tmp_path, f"{','.join(row)}\n{line}\n", "a.csv")
    assert messages(read_conversations([path], {})) == TRUTH


def test_history_and_empty_inputs(tmp_path: Path) -> None:
    item = {
        "instruction": "And now?",
        "input": "",
        "output": "Now",
        "history": [["Hi", "Hello"], ["So?", "So"]],
    }
    table = read_conversations([write(tmp_path, [item, {"instruction": "Go", "output": "Gone"}])], {})
    assert [m["content"] for m in messages(table)] == ["Hi", "Hello", "So?", "So", "And now?", "Now"]
    assert messages(table, 1) == [message("user", "Go"), message("assistant", "Gone")]
    assert not told(table, "have an input")
    assert told(table, "1 of 2 conversations have several answers")


def test_unusual_conversations_are_told(tmp_path: Path) -> None:
    user, answer = message("user", "a"), message("assistant", "b")
    rows = [
        {"messages": [user, answer, message("user", "thanks")]},
        {"messages": [answer, user, answer]},
        {"messages": [user, message("assistant", "")]},
        {"messages": [user, answer]},
    ]
    table = read_conversations([write(tmp_path, rows)], {})
    assert messages(table, 0) == messages(table, 3) == [user, answer]
    assert messages(table, 1) == [answer, user, answer]
    assert told(table, "go on after their last answer", "1 (row 1)")
    assert told(table, "do not alternate", "1 (row 2)")
    assert told(table, "empty message", "1 (row 3)")


def test_instances_are_rows(tmp_path: Path) -> None:
    task = {
        "instruction": "Add",
        "split": "train",
        "instances": [{"input": str(i), "output": str(i)} for i in "12"],
    }
    table = read_conversations([write(tmp_path, [task, {**task, "split": "test"}])], {})
    assert table.frame["row"].tolist() == [1, 1, 2, 2]
    assert table.frame["split"].tolist() == ["train", "train", "test", "test"]
    assert messages(table, 1)[0]["content"] == "Add\n2"
    assert told(table, "2 tasks with 4 instances")


def test_choices(tmp_path: Path) -> None:
    path = write(tmp_path, [{"q": "a", "more": "b", "a": "c", "who": "x"}] * 2)
    with pytest.raises(
        DataError, match=r"conversations or instructions; the columns are 'q', .* --text NAME"
    ):
        read_conversations([path], {})
    with pytest.raises(DataError, match=r"recognised as the answers.* --label NAME"):
        read_conversations([path], {"text": "q"})
    with pytest.raises(DataError, match=r"has no column 'aa' .--label.; did you mean 'a'"):
        read_conversations([path], {"text": "q", "label": "aa"})
    with pytest.raises(DataError, match="no column 'chosen'"):
        read_conversations([path], {"chosen": "q"})
    table = read_conversations([path], {"text": "q", "input": "more", "label": "a", "group": "who"})
    assert [m["content"] for m in messages(table)] == ["a\nb", "c"]
    assert table.frame["group"].tolist() == ["x", "x"]


BROKEN: dict[str, tuple[object, str]] = {
    "role": (
        [{"role": "tool", "content": "x"}],
        "row 1: a message is of the role 'tool'; read are system, user",
    ),
    "key": ([{"from": "human", "text_": "x"}], r"a message has no 'value' \(its keys: from, text_\)"),
    "content": ([{"role": "user", "content": {"a": 1}}], "expected a text, got {'a': 1}"),
    "image": ([{"role": "user", "content": [{"type": "image_url"}]}], "expected a text"),
    "no answer": ([message("user", "x")], "no message of the assistant"),
    "none": ([], "row 1: .*no instruction|has no messages"),
    "words": (["Hi", "Hello"], "a message is 'Hi', not an object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_conversations(tmp_path: Path, name: str) -> None:
    turns, words = BROKEN[name]
    with pytest.raises(DataError, match=words):
        read_conversations([write(tmp_path, [{"messages": turns}, {"messages": TRUTH}])], {})


def test_broken_rows_are_counted(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}, *[{"instruction": "a"}] * 5]
    with pytest.raises(
        DataError, match=r"5 of 6 items cannot be read\. row 2: it has no 'output'.*and 2 more rows"
    ):
        read_conversations([write(tmp_path, rows)], {})
    with pytest.raises(DataError, match="an instance has no 'output'"):
        read_conversations([write(tmp_path, [{"instruction": "a", "instances": [{"input": ""}]}] * 2)], {})
    with pytest.raises(DataError, match="not a question and its answer"):
        read_conversations(
            [write(tmp_path, [{"instruction": "a", "output": "b", "history": [["x"]]}] * 2)], {}
        )


# Preferences ----------------------------------------------------------------------------------------------

BETTER, WORSE = message("assistant", "yes"), message("assistant", "no")
PROMPT = TRUTH[:2]
PAIRS: dict[str, dict[str, object]] = {
    "texts": {"system": SYSTEM, "prompt": USER, "chosen": "yes", "rejected": "no"},
    "alpaca": {
        "system": SYSTEM,
        "instruction": "Translate",
        "input": "Hund",
        "chosen": "yes",
        "rejected": "no",
    },
    "turns": {"prompt": PROMPT, "chosen": [BETTER], "rejected": [WORSE]},
    "sharegpt": {
        "conversations": SHAREGPT[:2],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
    "whole": {"chosen": [*PROMPT, BETTER], "rejected": [*PROMPT, WORSE]},
    "whole with prompt": {"prompt": PROMPT, "chosen": [*PROMPT, BETTER], "rejected": [*PROMPT, WORSE]},
}


@pytest.mark.parametrize("name", PAIRS)
def test_preferences_agree(tmp_path: Path, name: str) -> None:
    table = read_preferences([write(tmp_path, [PAIRS[name]] * 2)], {})
    assert messages(table, 1) == PROMPT
    assert table.frame[["chosen", "rejected", "label"]].to_numpy().tolist() == [["yes", "no", ""]] * 2


def test_answers_that_look_like_json(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": '[{"a": 1}]', "rejected": "[x]"}
    table = read_preferences([write(tmp_path, [row] * 2)], {})
    assert table.frame["chosen"][0] == '[{"a": 1}]'
    assert table.frame["rejected"][0] == "[x]"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "p", "chosen": "a"}, "recognised as the worse answers.*data.rejected=NAME"),
        (
            {"prompt": "p", "better_": "a", "rejected": "b"},
            "recognised as the better answers.*data.chosen=NAME",
        ),
        ({"chosen": "a", "rejected": "b"}, "row 1: it has no prompt"),
        (
            {"prompt": "p", "chosen": [message("user", "a")], "rejected": [WORSE]},
            "ends with a message of the user",
        ),
        ({"chosen": [*PROMPT, BETTER], "rejected": [PROMPT[0], WORSE]}, "differ in more than their last"),
        (
            {"prompt": "q", "chosen": [*PROMPT, BETTER], "rejected": [*PROMPT, WORSE]},
            "do not begin with the prompt",
        ),
        ({"prompt": "q", "chosen": {"a": 1}, "rejected": "b"}, "cannot be read"),
    ],
)
def test_broken_preferences(tmp_path: Path, row: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_preferences([write(tmp_path, [row] * 2)], {})


def test_equal_answers_are_told(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    table = read_preferences([write(tmp_path, [row, {**row, "rejected": "a"}])], {})
    assert told(table, "same answer", "1 (row 2)")


# Real data ------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_instructions(shared_data: Path) -> None:
    demo = shared_data / "llamafactory_demo"
    for name, count, with_input in (("alpaca_en_demo.json", 999, 412), ("alpaca_zh_demo.json", 1000, 139)):
        table = read_conversations([demo / name], {})
        source = json.loads((demo / name).read_text("utf-8"))
        assert len(table) == count == len(source)
        assert told(table, f"{with_input} instructions have an input")
        for i, item in enumerate(source):
            question, answer = messages(table, i)
            assert question["content"] == "\n".join(
                filter(None, [item["instruction"].strip(), item["input"]])
            )
            assert answer == message("assistant", item["output"])
    seeds = read_conversations([shared_data / "alpaca_seed_tasks"], {})
    assert len(seeds) == 175
    assert seeds.frame["row"].tolist() == list(range(1, 176))
    assert all([m["role"] for m in messages(seeds, i)] == ["user", "assistant"] for i in range(175))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "turns"),
    [
        ("dpo_en_demo.json", {1: 114, 2: 80, 3: 1, 5: 57, 7: 46, 9: 1, 13: 1}),
        ("dpo_zh_demo.json", {1: 236, 2: 64}),
    ],
)
def test_real_preferences(shared_data: Path, name: str, turns: dict[int, int]) -> None:
    table = read_preferences([shared_data / "llamafactory_demo" / name], {})
    assert len(table) == 300
    assert Counter(len(messages(table, i)) for i in range(300)) == turns
    assert all(messages(table, i)[-1]["role"] == "user" for i in range(300))
    source = json.loads((shared_data / "llamafactory_demo" / name).read_text("utf-8"))
    assert table.frame["chosen"].tolist() == [item["chosen"]["value"].strip("\ufeff \n") for item in source]
    assert table.frame["rejected"].tolist() == [
        item["rejected"]["value"].strip("\ufeff \n") for item in source
    ]
