"""What the data doctor says of single tasks, in Chinese: on tables with planted faults, and with tokenizers."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_toys import byte_tokenizer
from tiny import dropping_tokenizer

from tunelab.config import LossConfig
from tunelab.data.check import Finding, check
from tunelab.data.findings import of_drawn
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.report.translate import in_chinese
from tunelab.tasks import TASKS
from tunelab.tasks.rewrite import Rewrite

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
Row = dict[str, Any]


def table(rows: list[Row]) -> Table:
    frame = pd.DataFrame([{"label": "", "split": "", **row} for row in rows]).fillna("")
    return Table(frame.assign(file="a.json", row=np.arange(len(rows))), {})


def told(name: str, *files: list[Row]) -> list[Finding]:
    """What the doctor says of the files, each of them by itself."""
    return [own for rows in files for own in check(table(rows), labels=TASKS[name].labels_check())]


def encoded(kind: Any, rows: list[Row], tokenizer: Any, length: int) -> list[Finding]:
    return kind.check_encoded(own := table(rows), kind.encode(own, tokenizer, length, cache=False))


def chatting() -> Any:
    tokenizer = byte_tokenizer()
    TASKS["instruct"].dress(tokenizer, TASKS["instruct"].Settings())
    return tokenizer


def tags(text: str, label: str, broken: str = "", split: str = "train") -> Row:
    return {"text": text, "label": label, "broken": broken, "split": split}


def of_entities() -> list[Finding]:
    plain = [tags(f"Ann{i} in Rome", "[]") for i in range(60)]
    rows = [*plain, tags("Rome here", '[[0, 5, "LOC"], [2, 4, "PER"]]', "I-LOC→B-LOC")]
    rows += [tags("of Ann", '[[3, 6, "ORG"]]', "E-ORG→S-ORG", "test")]
    units = json.dumps([[i, i + 1] for i in range(7)])
    cut = [tags("我爱北京", '[[1, 4, "LOC"]]') | {"units": "[[0, 2], [2, 4]]"}]
    cut += [tags(text, '[[1, 4, "LOC"]]') | {"units": units} for text in ("我爱北京天安门", "我北京℃")]
    return [*told("tag", plain[:5], plain, rows), *encoded(TASKS["tag"], cut, dropping_tokenizer(), 40)]


def asked(context: str, *answers: str, question: str = "who", split: str = "") -> Row:
    label = json.dumps([{"text": own, "start": context.find(own)} for own in answers])
    return {"text": question, "text_pair": context, "label": label, "split": split}


def of_questions() -> list[Finding]:
    rows = [asked(f"Rome {i} was built", "Rome", split="train") for i in range(30)]
    lost = [asked("Oslo is far", "Bern"), asked("Oslo is cold", "Oslo", "Bern"), asked("Kiel is wet")]
    parts = [asked("Rome 3 was built", "built", split=part) for part in ("test", "valid")]
    parts += [asked("Kiel lies there", split="test")]
    same = [asked("Rome was built", "Rome", question=f"who {i}") for i in range(30)]
    found = told("answer", rows[:5], [asked(f"Rome {i}") for i in range(30)], [*rows, *lost], same)
    long, torn = asked("ab" * 60, "ab" * 50, question="a"), asked("我爱北京天安门", "爱北", question="a")
    for cut, length in (([long | {"text": "ab" * 30}], 40), ([long, torn], 40), ([long, torn], 200)):
        found += encoded(TASKS["answer"], cut, dropping_tokenizer(), length)
    return [*found, *told("answer", [*rows, *parts])]


def turns(asked: str, answer: str) -> Row:
    said = {"user": asked, "assistant": answer}
    return {"text": json.dumps([{"role": role, "content": text} for role, text in said.items()])}


def of_conversations() -> list[Finding]:
    rows = [turns(f"Say number {i}", f"It is {i}") for i in range(40)]
    several = [[*rows, *(turns(f"Say number {i}", "No") for i in range(n))] for n in (1, 2)]
    cut = [turns("Hi", "A" * 50), turns("Hi" * 40, "A")]
    found = [own for n in (60, 36) for own in encoded(TASKS["instruct"], cut, chatting(), n)]
    return [*found, *told("instruct", rows[:5], [*rows, turns("Say nothing", "")], *several)]


def pair(prompt: str, chosen: str, rejected: str, split: str = "") -> Row:
    text = json.dumps([{"role": "user", "content": prompt}])
    return {"text": text, "chosen": chosen, "rejected": rejected, "split": split}


def of_pairs() -> list[Finding]:
    rows = [pair(f"number {i}", f"a kind word {i}", f"no {i}") for i in range(30)]
    rows += [pair("again", "yes", "no"), pair("again", "no", "yes"), pair("equal", "so", "so")]
    rows += [pair("empty", "so", ""), pair("number 3", "so", "no", split="test")]
    cut = [pair("a" * 90, "yes", "no"), pair("a", "b" * 90, "no"), pair("a", "b" * 90 + "c", "b" * 90)]
    return [*told("align", rows, rows[30:32]), *encoded(TASKS["align"], cut, chatting(), 60)]


def of_rewrites() -> list[Finding]:
    rows = [{"text": f"say {i}", "label": f"say  {i}" if i < 3 else f"it {i % 9}"} for i in range(60)]
    task = Rewrite(LossConfig(), Rewrite.Settings(architecture="causal", template="plain"))
    task.dress(tokenizer := byte_tokenizer(), task.settings)
    cut = [{"text": "x" * n, "label": "y" * m} for n, m in ((90, 40), (1, 140), (1, 1))]
    found = told("rewrite", rows[:5], rows)
    return [*found, *(own for n in (0, 2) for own in encoded(task, cut[n:], tokenizer, 80))]


def of_texts() -> list[Finding]:
    rows = table([{"text": "ab" * n} for n in (30, 1)])
    kind, tokenizer = TASKS["classify"], dropping_tokenizer()
    own, found = kind.encode(rows, tokenizer, 20, cache=False), told("language", [{"text": "one paragraph"}])
    for long in ("head", "head_tail", "windows"):
        found += kind.check_length(rows, own, tokenizer, 20, kind.Settings(long=long))
    return found


FOUND = [of_entities, of_questions, of_conversations, of_pairs, of_rewrites, of_texts]


@pytest.mark.parametrize(("found", "codes"), list(zip(FOUND, (11, 14, 6, 8, 7, 2), strict=True)))
def test_every_finding_is_said_in_chinese(found: Callable[[], list[Finding]], codes: int) -> None:
    """With the numbers it has in English, also where rows were drawn. codes: kinds of findings, at least."""
    findings = found()
    assert len({finding.code for finding in findings}) >= codes
    findings += [of_drawn(finding, np.arange(50_000)) for finding in findings]
    for english in [text for finding in findings for text in (finding.title, finding.advice) if text]:
        chinese = in_chinese(english)
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        assert set(NUMBER.findall(chinese)) == set(NUMBER.findall(english)), chinese


@pytest.mark.parametrize("head", ["", "causal", "masked", "seq2seq"])
@pytest.mark.parametrize("given", ["language.objective=causal", "language.objective=masked", "language",
    "rewrite.architecture=causal", "rewrite", "align", "instruct"])  # fmt: skip
def test_why_a_task_cannot_take_a_model(given: str, head: str) -> None:
    name, _, chosen = given.partition(".")
    kind, values = TASKS[name], dict([chosen.split("=")] if chosen else [])
    try:
        kind.settle(kind.Settings(**values), head, "my-model")
    except ConfigError as reason:
        chinese = in_chinese(f"Tokens were not looked at: {reason}.")
        assert chinese.startswith("未检查 token：")
        assert not re.search(r"[a-z] [a-z]", chinese), chinese  # no words are left in English
