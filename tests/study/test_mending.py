"""`check --fix`: the mended file, read by the same command, is the mended table, for every task and layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tunelab import api
from tunelab.errors import OutputError
from tunelab.study.prepare import mended
from tunelab.tasks import TASKS, find

WORDS = [
    "In Berlin",
    " Ünder 北京 ",
    'say "so", and\nso',
    "=1+1",
    "nul\tab",
    "[sic]",
    "'s gone; really",
    "0012",
]


def rows(make: Any, count: int = 24) -> list[Any]:
    """`count` items; the last is a copy of the first."""
    items = [make(i, f"{WORDS[i % len(WORDS)]} {i}") for i in range(count - 1)]
    return [*items, items[0]]


def lines(items: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(item, ensure_ascii=False) for item in items)


def table(items: list[dict[str, Any]], **how: Any) -> str:
    return pd.DataFrame(items).to_csv(index=False, **how)


def chat(text: str, answer: str, roles: tuple[str, str] = ("user", "assistant")) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "Be brief."},
        {"role": roles[0], "content": text},
        {"role": roles[1], "content": answer},
    ]


def conll(i: int, text: str) -> str:
    tags = ["B-LOC" if i % 2 else "O", "I-LOC" if i % 2 else "O", "B-PER"]
    return "".join(f"{w}\tNN\t{t}\n" for w, t in zip(["New", f"York{i}", "O'Neil"], tags, strict=True))


def pair(i: int, text: str) -> dict[str, Any]:
    return {"prompt": text, "chosen": f"yes {i}", "rejected": f"no {i}"}


SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": f" {text} was built in Rome.\r\n It stands.",
                    "qas": [
                        {"question": f"Where {i}?", "answers": [{"text": "Rome", "answer_start": 3}]},
                        {"question": f"Who {i}?", "answers": [], "is_impossible": True},
                        {"question": f"When {i}?", "answers": [{"text": "never said", "answer_start": 3}]},
                    ],
                }
            ]
        }
        for i, text in enumerate(WORDS)
    ]
}

#: name -> (task, file name, what it holds, what the user says of it besides)
CASES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "classes": (
        "classify",
        "a.csv",
        table(rows(lambda i, t: {"review": t, "n": i, "label": "ab"[i % 2]})),
        {},
    ),
    "classes, split": (
        "classify",
        "a.csv",
        table(rows(lambda i, t: {"text": t, "label": "ab"[i % 2], "split": "test" if i > 18 else "train"})),
        {},
    ),
    "classes, chosen": (
        "classify",
        "a.csv",
        table(rows(lambda i, t: {"Erster": t, "who": f"g{i % 5}", "Zweiter": "ab"[i % 2]})),
        {"text": "erster", "label": "Zweiter", "group": "who"},
    ),
    "classes, no header": (
        "classify",
        "a.tsv",
        table(rows(lambda i, t: {"a": i * 7, "b": "ab"[i % 2], "c": f"a text {i}"}), header=False, sep="\t"),
        {"text": "3", "label": "2"},
    ),
    "numbers": ("regress", "a.jsonl", lines(rows(lambda i, t: {"text": t, "score": i / 7})), {}),
    "pairs": (
        "match",
        "a.csv",
        table(rows(lambda i, t: {"sentence1": t, "sentence2": f"{i} b", "label": "yn"[i % 2]})),
        {},
    ),
    "one word a line": ("tag", "a.conll", "\n".join(rows(conll)), {}),
    "one word a line, chosen": ("tag", "a.conll", "\n".join(rows(conll)), {"label": "3"}),
    "words and tags": (
        "tag",
        "a.jsonl",
        lines(rows(lambda i, t: {"tokens": ["北", "京", f"w{i}"], "tags": ["B-LOC", "I-LOC", "O"]})),
        {},
    ),
    "inclusive ends": (
        "tag",
        "a.jsonl",
        lines(rows(lambda i, t: {"text": f"北京{i}人", "label": {"LOC": {"北京": [[0, 1]]}}})),
        {},
    ),
    "inclusive ends, chosen": (
        "tag",
        "a.jsonl",
        lines(rows(lambda i, t: {"text": f"北京{i}人", "label": [[0, 1, "LOC"]] if i % 3 else []})),
        {"data.ends": "inclusive"},
    ),
    "questions": ("answer", "a.json", json.dumps(SQUAD), {}),
    "questions, flat": (
        "answer",
        "a.csv",
        table(rows(lambda i, t: {"q": f"Where {i}?", "p": f"{t}: Rome", "answer": "Rome"})),
        {"text": "q", "text_pair": "p"},
    ),
    "instructions": (
        "instruct",
        "a.json",
        json.dumps(rows(lambda i, t: {"instruction": t, "input": "x" * (i % 3), "output": f"fine {i}"})),
        {},
    ),
    "instructions, chosen": (
        "instruct",
        "a.csv",
        table(rows(lambda i, t: {"ask": t, "on": f"y{i}", "say": f"fine {i}", "how": "Be kind."})),
        {"text": "ask", "label": "say", "data.input": "on", "data.system": "how"},
    ),
    "chats": (
        "instruct",
        "a.jsonl",
        lines(rows(lambda i, t: {"messages": [*chat(t, f"{i}"), *chat("and?", "so")[1:]]})),
        {},
    ),
    "preferences": ("prefer", "a.jsonl", lines(rows(pair)), {}),
    "preferences as chats": (
        "prefer",
        "a.jsonl",
        lines(rows(lambda i, t: {"chosen": chat(t, f"yes {i}"), "rejected": chat(t, f"no {i}")})),
        {},
    ),
    "preferences, chosen": (
        "prefer",
        "a.jsonl",
        lines(rows(lambda i, t: {"ask": t, "good": f"yes {i}", "bad": f"no {i}", "by": i / 3})),
        {"data.text": "ask", "data.chosen": "good", "data.rejected": "bad", "data.margin": "by"},
    ),
    "counted votes": (
        "prefer",
        "a.jsonl",
        lines(
            rows(lambda i, t: pair(i, t) | {"votes_chosen": 3, "votes_rejected": i % 4, "votes_tie": i % 2})
        ),
        {},
    ),
    "votes of three": (
        "prefer",
        "a.csv",
        table(
            rows(lambda i, t: pair(i, t) | {"a": 1, "b": ["tie", "rejected"][i % 2], "c": "" if i % 3 else 0})
        ),
        {"data.votes": "a,b,c"},
    ),
    "shares of votes": (
        "prefer",
        "a.jsonl",
        lines(rows(lambda i, t: pair(i, t) | {"agree": (i + 1) / 25, "margin": 2})),
        {"data.votes": "agree"},
    ),
    "lists of votes": (
        "align",
        "a.jsonl",
        lines(rows(lambda i, t: pair(i, t) | {"votes": [1, 0, 0.5, 1][: i % 4 + 1]})),
        {"data.votes": "votes"},
    ),
    "prompts alone": (
        "align",
        "a.csv",
        table(rows(lambda i, t: {"prompt": t, "answer": i, "split": "test" if i > 18 else "train"})),
        {},
    ),
    "paragraphs": ("language", "a.txt", "\n".join(rows(lambda i, t: t.replace("\n", " "))), {}),
    "documents": ("language", "a.jsonl", lines(rows(lambda i, t: {"content": t})), {}),
}
if "rewrite" in TASKS:
    CASES |= {
        "targets": ("rewrite", "a.csv", table(rows(lambda i, t: {"source": t, "target": f"{i} so"})), {}),
        "several targets": (
            "rewrite",
            "a.jsonl",
            lines(rows(lambda i, t: {"dialogue": t, "summary": ["a", "b", f"{i}"][i % 2 :]})),
            {},
        ),
    }
if "feedback" in TASKS:
    CASES |= {
        "feedback": (
            "feedback",
            "a.csv",
            table(
                rows(
                    lambda i, t: {
                        "text": t,
                        "label": "ab"[i % 2],
                        "shown": "ba"[i % 3 % 2],
                        "rating": i % 5,
                        "propensity": 0.25,
                    }
                )
            ),
            {},
        ),
        "feedback, no propensities": (
            "feedback",
            "a.csv",
            table(rows(lambda i, t: {"text": t, "label": "ab"[i % 2], "shown": "a", "stars": i % 5})),
            {"data.reward": "stars"},
        ),
    }
if "multilabel" in TASKS:
    CASES |= {
        "lists of labels": (
            "multilabel",
            "a.csv",
            table(rows(lambda i, t: {"text": t, "labels": ["a|b", "b", "c|a", "a"][i % 4]})),
            {},
        ),
        "a column a label": (
            "multilabel",
            "a.csv",
            table(rows(lambda i, t: {"text": t, "late": i % 2, "broken": int(i % 3 == 0)})),
            {"data.labels": "late,broken"},
        ),
        "labels with semicolons": (
            "multilabel",
            "a.csv",
            table(rows(lambda i, t: {"text": t, "labels": ["a, b;c", "c", "a, b"][i % 3]})),
            {"data.separator": "semicolon"},
        ),
    }


def split_options(said: Mapping[str, str]) -> dict[str, Any]:
    settings = {name: value for name, value in said.items() if "." in name}
    return {**{name: value for name, value in said.items() if "." not in name}, "settings": settings}


def of_a_row(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["file", "row"])


def test_every_task_has_a_case() -> None:
    assert {task for task, *_ in CASES.values()} == set(TASKS)


#: Columns that a task does not read.
LEFT = {"classes": ["not taken over: column n"]}


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "xlsx"])
@pytest.mark.parametrize("name", CASES)
def test_the_mended_file_is_read_as_the_mended_table(name: str, ending: str, tmp_path: Path) -> None:
    """To the character; the rows that were left out are told."""
    task, file, content, said = CASES[name]
    (tmp_path / file).write_bytes(content.encode())
    options = split_options(said) | {"task": task}
    before, _ = api.check(tmp_path / file, **options)
    wanted, told = mended(before, find(task))
    assert len(wanted) < len(before) or "questions" in name, told
    out = tmp_path / f"mended.{ending}"
    notes = api.write_fixed(before, out, **options)
    said_of_columns = [note for note in notes if note.startswith("not taken over: column")]
    assert [note.split(" (")[0] for note in said_of_columns] == LEFT.get(name, [])
    assert [note for note in notes if note not in said_of_columns] == (told or ["nothing had to be mended"])
    after, _ = api.check(out, **options)
    pd.testing.assert_frame_equal(of_a_row(after.frame), of_a_row(wanted.frame), check_like=True)


def test_what_a_sheet_cannot_hold_is_refused_or_told(tmp_path: Path) -> None:
    """A cell of XLSX ends after 32,767 characters: half a list of messages is none, half a text is told."""
    long = [{"instruction": "x" * 40_000, "output": "a"}, {"instruction": "y", "output": "b"}]
    (tmp_path / "a.json").write_text(json.dumps(long))
    before, _ = api.check(tmp_path / "a.json", task="instruct")
    with pytest.raises(OutputError, match=r"cannot be read again from \.xlsx.*mended\.jsonl"):
        api.write_fixed(before, tmp_path / "mended.xlsx", "instruct")
    assert not (tmp_path / "mended.xlsx").exists()
    pd.DataFrame({"text": ["x" * 40_000, "y"]}).to_csv(tmp_path / "b.csv", index=False)
    before, _ = api.check(tmp_path / "b.csv", task="language")
    notes = api.write_fixed(before, tmp_path / "mended.xlsx", "language")
    assert "does not hold the rows exactly: in 1 rows 'text' is read differently" in notes[-1]
