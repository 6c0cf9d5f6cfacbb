"""What studies note, in Chinese: of small files with something to tell, and of what is done to their rows."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reading import COLUMNS, write

from tunelab.config import DataConfig, StudyConfig
from tunelab.data.augment.base import Augmented
from tunelab.data.check import fix
from tunelab.data.check_preferences import mend_preferences
from tunelab.data.conll import tagged
from tunelab.data.read import read
from tunelab.data.read_conversations import read_conversations, read_preferences
from tunelab.data.read_labels import read_labels
from tunelab.data.read_pairs import read_rewrites
from tunelab.data.read_prompts import read_prompts
from tunelab.data.read_questions import read_questions
from tunelab.data.read_tags import read_tags
from tunelab.data.read_texts import read_texts
from tunelab.data.split import make_splits
from tunelab.data.table import Table
from tunelab.measure.reward import hacking_flags
from tunelab.report.translate import in_chinese
from tunelab.study.augmented import _told
from tunelab.study.beside import Beside
from tunelab.study.budget import Planned, fit_budget
from tunelab.study.earlier import replaced
from tunelab.study.tuning import Design

NUMBER, HAN = re.compile(r"\d+(?:[.,]\d+)*"), re.compile(r"[\u4e00-\u9fff]")
ROWS = "text,label\n" + "".join(f"some text {i},{'ab'[i % 2]}\n" for i in range(20))
PAIRS = '{"prompt":"p","chosen":"a","rejected":"%s","margin":1,"votes_chosen":%d,"votes_rejected":%d}\n'
QUESTION = '{"question":"q","context":"Rome, Rome","answers":{"text":["%s"],"answer_start":[%d]}}\n'
ENTITY = '{"text":"In Bern and Rome","entities":[{"start":%d,"end":%d,"label":"LOC","text":"%s"}]}\n'
CHAT = [{"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", ""), ("user", "x"))]
WORDS = "-DOCSTART- O\n\n# said\nBerlin B-LOC\nis O\n O\n"

#: (what reads, files by name, words that some note must have)
FILES: list[tuple[Callable[..., Table], dict[str, str | bytes], str]] = [
    (read, {"a.csv": ROWS.replace(",", "\t").replace("text\t", "sentence\t")}, "separator"),
    (read, {"a.csv": "text,label\nx,a\n,\ntext,label\ny,b\n"}, "repeating the header"),
    (read, {"a.csv": ROWS.split("\n", 1)[1]}, "judged by its content"),
    (read, {"a.csv": b"\xef\xbb\xbf" + ROWS.encode() + "z,b\ufeff\n".encode()}, "byte-order"),
    (read, {"a.csv": ("text,label\n" + "这家酒店的早餐很好,好\n房间有点小,差\n" * 9).encode("gb18030")}, "GB18030"),
    (read, {"a.csv": 'text\tlabel\nhe said "hi" x\ta\n"b\tb\n'}, "quotes"),
    (read, {"a.csv": "text,label,group,split\nx,a,1,train\ny,b,2,dev\nz,a,3,test\n"}, "already split"),
    (read, {"train.csv": ROWS, "other.csv": ROWS, "notes.md": "x"}, "the only one of its kind"),
    (read, {"train.csv": ROWS, "more.csv": "1;2;3\n"}, "does not fit"),
    (read, {"train.csv": ROWS.replace(",a", ",0").replace(",b", ",1"), "labels.txt": "no\nyes\n"}, "seems"),
    (read, {"a.jsonl": '[{"text":"\\ud83d","label":"a"},{"text":"y","label":"b"}]'}, "surrogates"),
    (read, {"a.txt": "__label__a one\n__label__b two\n"}, "fastText"),
    (read_labels, {"a.csv": "text,labels\nx,a|b\ny,b\n"}, "between"),
    (read_tags, {"a.txt": WORDS + "x O\n" * 301}, "blank line"),
    (read_tags, {"a.jsonl": ENTITY % (3, 7, "Bern") + ENTITY % (12, 16, "Rome") + ENTITY % (3, 7, "Rome")}, "ends"),
    (read_questions, {"a.jsonl": QUESTION % ("Rome", 1) + QUESTION % ("Oslo", 1)}, "nowhere"),
    (read_questions, {"a.csv": "question,context,answer\nq,Rome Rome,Rome\nr,c,\n"}, "unanswerable"),
    (read_conversations, {"a.jsonl": '{"instruction":"i","input":"x","output":""}\n' * 2}, "next line"),
    (read_conversations, {"a.jsonl": json.dumps({"messages": [*CHAT, *CHAT[1:]]}) + "\n"}, "go on after"),
    (read_prompts, {"a.jsonl": '{"prompt":"p"}\n{"prompt":"q"}\n'}, "without answers"),
    (read_preferences, {"a.jsonl": PAIRS % ("a", 1, 2) + PAIRS % ("b", 3, 0) + PAIRS % ("c", 0, 0)}, "votes"),
    (read_rewrites, {"a.csv": "source,summary1,summary2\nx,y,z\nu,v,w\n"}, "several targets"),
    (read_rewrites, {"src.txt": "a\n\nb\nx\n", "tgt.txt": "c\n\n\ny\n"}, "line by line"),
    (read_texts, {"a.txt": "one\n\ntwo\nthree\n", "b.txt": "four\nfive\n"}, "collection"),
    (read_texts, {"a.txt": ("word " * 12 + "\n") * 60}, "wrapped"),
]  # fmt: skip


def well_said(notes: Sequence[str]) -> None:
    """Every note is known, and its numbers stand in the Chinese one too."""
    assert notes
    for note in notes:
        chinese = in_chinese(note)
        assert HAN.search(chinese), note
        assert sorted(NUMBER.findall(chinese)) == sorted(NUMBER.findall(note)), (note, chinese)


@pytest.mark.parametrize(("reader", "files", "word"), FILES)
def test_what_reading_says(
    reader: Callable[..., Table], files: dict[str, str | bytes], word: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        write(tmp_path, name, content)
    reader = partial(reader, columns=COLUMNS) if reader is read else partial(reader, chosen={})
    notes = reader([tmp_path if len(files) > 1 else tmp_path / next(iter(files))]).notes
    assert any(word in note for note in notes), notes
    well_said(notes)


def table(rows: Sequence[Sequence[str]], **more: list[str]) -> Table:
    frame = pd.DataFrame(rows, columns=["text", "label", "split"]).assign(**more)
    return Table(frame.assign(file="a.csv", row=np.arange(2, len(rows) + 2)), {"text": "text"})


def test_what_mending_says() -> None:
    rows = [(f"text {i}", "good", "train") for i in range(9)]
    rows += [("", "good", ""), ("x", "", ""), ("y", "GOOD", ""), rows[0]]
    rows += [("text 3", "bad", "test"), ("text 4", "bad", "valid"), ("text 3", "bad", "valid")]
    _, notes = fix(table(rows))
    assert len(notes) == 7
    sides = {"chosen": ["", "a", "b"], "rejected": ["x", "a", "c"]}
    well_said([*notes, *mend_preferences(table(rows[:3], **sides))[1]])


def test_what_splits_say() -> None:
    loose = [(f"text {i}", "ab"[i % 2], "valid" if i < 4 else "") for i in range(40)]
    alike = [(f"text {i}", "abc"[i // 34], "") for i in range(100)]
    groups = np.minimum(np.arange(100) // 34, 2)
    given = make_splits(table(loose), np.arange(40), DataConfig(folds=3, rows=20))
    own = make_splits(table(alike), groups, DataConfig(folds=3))
    notes = [note for split in (*given, *own) for note in split.notes]
    assert len(set(notes)) >= 6
    well_said(notes)


def test_what_tags_leave_open() -> None:
    tags = (["I-A", "O"], ["O", "O"], ["B-A", "O"], ["B-A", "I-A"], ["M-A", "E-A"], ["I-A,I-B", "O"])
    kinds = [tags[:1], tags[1:2], [*tags[:1] * 3, *tags[2:3] * 9], tags[4:5], tags[5:]]
    well_said([note for own in kinds for note in tagged("a", [1] * len(own), [("xy", t) for t in own])[1]])


def test_what_studies_say(tmp_path: Path) -> None:
    config = StudyConfig.model_validate({"files": ("a.csv",), "train": {"learning_rate": 1e-3}})
    planned, design = Planned({}, config, (), {}, "cpu", 2), Design(config, 1)
    fit_budget(planned, design, 1800.0, "30m")
    design.trials, design.seeds = 4, 1
    fit_budget(planned, design, 1800.0, "1.5h")
    planned.seconds, planned.beside = 1000.0, Beside(30.0, 2.0, 90.0, 4.0, 600.0)
    well_said([design.note or "", *planned.notes, *planned.remarks()])
    notes: list[str] = []
    for made in (table([("x", "a", "train")]).frame, table([]).frame):
        notes += _told(Augmented(made, 12, 3, 4, 5), ("swap", "delete"), 2, 1, 5)
    assert len(notes) == 2 * 6
    record = {"config": {"unknown": 1}, "results": [{"name": "lora"}], "effort": "quick"}
    write(tmp_path, "study.json", json.dumps(record))
    well_said([*notes, *replaced(tmp_path, config)])


def test_what_looks_like_a_gamed_reward() -> None:
    rise, fall = np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(4)
    flags = hacking_flags(["a a a a a a"] * 4, list("abcd"), (40.0, 9.0), (rise, fall), (fall, rise))
    assert len(flags) == 4
    well_said([f"may have gamed its reward: {'; '.join(flags[at:])}" for at in range(4)] + flags)
