"""Learning curves: the methods on nested shares of the training rows, judged on the same test rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from tunelab.measure.curve import crossings, more_rows
from tunelab.measure.statistics import bounds_of, mean_interval, replicates
from tunelab.records import Crossing, CurvePoint, Interval, MoreRows
from tunelab.study.execute import Work
from tunelab.study.predictions import Judged, gather, groups_of
from tunelab.study.prepare import Prepared
from tunelab.tasks.base import Task

__all__ = ["FURTHER", "curve_points"]

#: Further labelled rows whose worth is told.
FURTHER = 500
_RESAMPLES = 2000


def curve_points(
    curve: Mapping[str, Sequence[Work]],
    whole: Sequence[Judged],
    failures: Mapping[str, str],
    task: Task,
    prepared: Prepared,
    lost: tuple[float, float] | None = None,
) -> tuple[tuple[CurvePoint, ...], tuple[MoreRows, ...], tuple[Crossing, ...]]:
    """Every method's scores by training rows, the whole included; what further rows would be worth; and from
    how many rows on one method is ahead of another.

    Rows are those of the first fold. A share that failed is left out. lost: as in `mean_interval`.
    """
    points: list[CurvePoint] = []
    more: list[MoreRows] = []
    folds, groups = len(prepared.splits), groups_of(prepared, task)
    drawn: dict[str, np.ndarray] = {}
    for judged in whole:
        works = [work for work in curve.get(judged.name, ()) if work.name not in failures]
        shares = sorted({work.config.share for work in works})
        if not shares:
            continue
        at: list[tuple[int, Judged]] = []
        for share in shares:
            folders = [work.folder for work in works if work.config.share == share]
            part = gather(judged.name, folders, task, folds, groups)
            if part is not None:
                at.append((len(prepared.split(0, share).train), part))
        at.append((len(prepared.split(0).train), judged))
        items = judged.items
        own = []
        for rows, part in at:
            value, low, high = mean_interval(part.scores, items, lost=lost)
            own.append(
                CurvePoint(name=judged.name, rows=rows, score=Interval(value=value, low=low, high=high))
            )
        points += own
        drawn_RK = np.stack(
            [replicates(part.scores, items, lost=lost, resamples=_RESAMPLES, seed=0) for _, part in at], 1
        )
        drawn[judged.name] = drawn_RK
        gain = more_rows(
            np.array([p.rows for p in own]),
            np.array([p.score.value for p in own]),
            drawn_RK,
            FURTHER,
            top=bounds_of(judged.scores)[1],
        )
        more.append(
            MoreRows(
                name=judged.name,
                rows=FURTHER,
                gain=Interval(value=gain[0], low=gain[1], high=gain[2]) if gain is not None else None,
            )
        )
    return tuple(points), tuple(more), _crossings(points, drawn)


def _crossings(points: Sequence[CurvePoint], drawn: Mapping[str, np.ndarray]) -> tuple[Crossing, ...]:
    """Of the methods that have all shares."""
    rows = {name: tuple(p.rows for p in points if p.name == name) for name in drawn}
    most = max(rows.values(), key=len, default=())
    whole = {name: each for name, each in drawn.items() if rows[name] == most}
    if len(whole) < 2:
        return ()
    rows_K = np.array(most)
    return tuple(
        Crossing(
            first=found.first,
            second=found.second,
            rows=found.rows,
            difference=Interval(value=found.difference[0], low=found.difference[1], high=found.difference[2]),
            sure=found.sure,
            overtakes=found.overtakes,
        )
        for found in crossings(rows_K, whole)
    )
