"""Rows on which methods disagree, worked out by hand for each kind of answer."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from tunelab import tasks
from tunelab.records import Advice, Disagreement
from tunelab.study.predictions import Judged
from tunelab.study.rows import disagreements

PLAIN: dict[str, Any] = {"loss": {}, "settings": {}}


def rows_of(task: Any, texts: list[str], labels: list[str], **said: Any) -> tuple[Disagreement, ...]:
    """said: of each method what every seed says, [S][N]; the first is the advised one."""
    frame = pd.DataFrame({"text": texts, "label": labels, "file": "a.csv", "row": range(2, 2 + len(texts))})
    prepared: Any = SimpleNamespace(table=SimpleNamespace(frame=frame, texts=texts))
    found = []
    for name, seeds in said.items():
        frames = [frame.assign(prediction=own) for own in seeds]
        found.append(
            Judged(
                name=name,
                scores=(),
                errors_SN=np.stack([task.errors(own) for own in frames]),
                said_SN=np.stack([own["prediction"].to_numpy() for own in frames]),
                predicted_SN=None,
                confidence_SN=None,
                folders=(),
            )
        )
    first = next(iter(said))
    advice = Advice(method=first, best=first, tied=tuple(said), sure=False, gap=0.0, cost_share=1.0)
    return disagreements(found, advice, np.arange(len(texts)), np.array(labels, dtype=object), task, prepared)


def test_labels_that_are_right_are_called_so_however_they_are_written() -> None:
    task = tasks.find("multilabel").from_dict({**PLAIN, "labels": ["late", "dear"], "weights": []})
    rows = rows_of(
        task,
        ["too late", "fine"],
        ['["late"]', "[]"],
        head=[['["late", "dear"]', "[]"]] * 2,
        full=[['["late"]', '["late"]']] * 2,
    )
    (row,) = rows
    assert (row.label, row.predictions) == ("late", {"head": "late, dear", "full": "late"})
    assert row.right == {"head": False, "full": True}


def test_entities_are_shown_as_words_of_the_text() -> None:
    task = tasks.find("tag").from_dict({**PLAIN, "types": ["PER", "LOC"]})
    gold = '[[0, 3, "PER"], [7, 9, "LOC"]]'
    rows = rows_of(task, ["Ada is in Rom"], [gold], head=[['[[0, 3, "LOC"]]']], full=[[gold]])
    assert rows[0].label == "Ada (PER), in (LOC)"
    assert rows[0].predictions == {"head": "Ada (LOC)", "full": "Ada (PER), in (LOC)"}
    assert rows[0].right == {"head": False, "full": True}


def test_an_answer_is_right_if_it_is_one_of_the_references() -> None:
    task = tasks.find("answer").from_dict({"settings": {}, "unanswerable": False, "chinese": False})
    label = '[{"text": "the cat", "start": 0}, {"text": "cat", "start": 4}]'
    rows = rows_of(task, ["who?"], [label], head=[["a dog"]], full=[["cat"]])
    assert (rows[0].label, rows[0].predictions) == ("the cat | cat", {"head": "a dog", "full": "cat"})
    assert rows[0].right == {"head": False, "full": True}


def test_what_most_seeds_say_is_judged_not_their_mean() -> None:
    task = tasks.find("answer").from_dict({"settings": {}, "unanswerable": False, "chinese": False})
    rows = rows_of(
        task,
        ["who?"],
        ['[{"text": "cat", "start": 4}]'],
        head=[["dog"], ["dog"], ["cat"]],
        full=[["cat"], ["cat"], ["dog"]],
    )
    assert rows[0].predictions == {"head": "dog", "full": "cat"}
    assert rows[0].right == {"head": False, "full": True}


def test_numbers_are_nearer_or_further_but_not_right() -> None:
    task = tasks.find("regress").from_dict({**PLAIN, "mean": 0.0, "deviation": 1.0})
    rows = rows_of(
        task,
        ["a", "b", "c"],
        ["2.600000", "1", "1"],
        head=[[0.5, 1.5, 1.0], [0.7, 1.5, 1.0]],
        full=[[2.0, 1.25, 3.0], [2.0, 1.25, 3.0]],
    )
    assert [row.item for row in rows] == [0, 1]  # 2.0 - 0.6 further off, then 0.5 - 0.25; c is nearer
    assert (rows[0].label, rows[0].predictions) == ("2.6", {"head": "0.6", "full": "2"})
    assert all(row.right == {} for row in rows)
