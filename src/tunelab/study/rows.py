"""Rows of a study that a person should look at: where methods disagree, and what the advised one writes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunelab.records import Advice, Disagreement, Sample
from tunelab.study.execute import Work
from tunelab.study.predictions import Judged
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record
from tunelab.tasks.base import Task

__all__ = ["disagreements", "samples_of"]

_SHOWN_ROWS = 40
_NOTHING = 1e-9  # an error of rounding


def disagreements(
    found: Sequence[Judged],
    advice: Advice,
    items_N: np.ndarray,
    labels_N: np.ndarray,
    task: Task,
    prepared: Prepared,
) -> tuple[Disagreement, ...]:
    """Rows that the advised method gets wrong (in most seeds) and the best of the others right; where answers
    are no classes, the rows on which it is further off than that one, the furthest first."""
    by_name = {j.name: j for j in found}
    others = [j.name for j in found if j.name != advice.method]
    if not others:
        return ()
    names = [advice.method, *others]
    usual = {name: _usual(by_name[name], task) for name in names}
    if task.classes:
        wrong = np.flatnonzero((usual[advice.method] != labels_N) & (usual[others[0]] == labels_N))
    else:  # how far off
        further = by_name[advice.method].errors_SN.mean(0) - by_name[others[0]].errors_SN.mean(0)
        wrong = np.argsort(-further, kind="stable")[: int((further > 0).sum())]
    frame = prepared.table.frame
    texts = prepared.table.texts
    rows = []
    for at in wrong[:_SHOWN_ROWS]:
        item = int(items_N[at])
        text = str(frame["text"].iloc[item])
        rows.append(
            Disagreement(
                item=item,
                file=str(frame["file"].iloc[item]),
                row=int(frame["row"].iloc[item]),
                text=texts[item],
                label=task.shown(str(labels_N[at]), text),
                predictions={name: task.answer_shown(usual[name][at], text) or "–" for name in names},
                right={name: _is_right(by_name[name], usual[name], at) for name in names}
                if task.exact
                else {},
            )
        )
    return tuple(rows)


def samples_of(works: Sequence[Work], task: Task, prepared: Prepared) -> tuple[Sample, ...]:
    """What a method's model wrote after some test prompts; works: its judged runs."""
    records = [read_record(work.folder) for work in works]
    written: list[dict[str, Any]] = next(
        (record["samples"] for record in records if record.get("samples")), []
    )
    frame = prepared.table.frame
    found = []
    for sample in written:
        item = sample["item"]
        given, wanted = task.halves(str(frame["text"].iloc[item]), str(frame["label"].iloc[item]))
        found.append(
            Sample(
                item=item,
                file=str(frame["file"].iloc[item]),
                row=int(frame["row"].iloc[item]),
                text=given,
                label=wanted,
                prediction=sample["prediction"],
            )
        )
    return tuple(found)


def _usual(judged: Judged, task: Task) -> np.ndarray:
    """What most seeds say, [N] (between equals the class that is named first); of numbers their mean, of
    anything else what is said first among what is said most."""
    if judged.predicted_SN is None and judged.said_SN.dtype != object:
        mean_N: np.ndarray = judged.said_SN.mean(0)
        return mean_N
    if judged.predicted_SN is None:
        often = [Counter(column).most_common(1)[0][0] for column in judged.said_SN.T.tolist()]
        return np.array(often, dtype=object)
    votes_CN = np.stack([(judged.predicted_SN == c).sum(0) for c in range(len(task.classes))])
    usual_N: np.ndarray = np.array(task.classes, dtype=object)[votes_CN.argmax(0)]
    return usual_N


def _is_right(judged: Judged, usual_N: np.ndarray, at: int) -> bool:
    """Whether what most seeds say of an item has no error: that of a seed which says it."""
    seed = judged.said_SN[:, at].tolist().index(usual_N[at])
    return bool(judged.errors_SN[seed, at] < _NOTHING)
