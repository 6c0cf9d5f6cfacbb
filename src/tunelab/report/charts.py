"""The report's plots of scores, costs, trials and plans; each shows fields of the record and adds none."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from tunelab.records import CurvePoint, Interval, MethodResult, PlannedRun, StudyRecord, Trial
from tunelab.report.formats import points, rate, size, span
from tunelab.report.plots import (
    Box,
    Frame,
    Labels,
    Scale,
    cut,
    figure,
    nice_scale,
    number,
    score_domain,
    score_tip,
    svg_text,
    tooltip,
)
from tunelab.report.texts import Text, t
from tunelab.report.wording import score_name

__all__ = [
    "curve_plot",
    "difference_plot",
    "difference_scale",
    "dot_whisker",
    "key",
    "marker",
    "plan_plot",
    "round_plots",
    "score_scale",
    "shape_of",
    "trade_plot",
    "trial_plot",
    "trial_scale",
    "within",
]

_SHAPES = ("circle", "square", "diamond", "triangle", "wedge")
_CLOSE = 0.2  # of what was measured
_MANY = 300  # runs: more are drawn without tooltips


def shape_of(group: int | None) -> tuple[str, str]:
    """(shape, class) of the marks of a tied group; later groups look alike."""
    at = min(group or len(_SHAPES), len(_SHAPES))
    return _SHAPES[at - 1], f"g{at}"


def marker(shape: str, x: float, y: float, r: float, kind: str, extra: Markup | str = "") -> Markup:
    """A mark centred at (x, y) of about equal area whatever its shape; `extra` goes inside."""
    if shape == "circle":
        return Markup('<circle class="{}" cx="{}" cy="{}" r="{}">{}</circle>').format(
            kind, number(x), number(y), number(r), extra
        )
    outlines = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "triangle": ((0, -1.25), (1.15, 0.8), (-1.15, 0.8)),
        "wedge": ((0, 1.25), (1.15, -0.8), (-1.15, -0.8)),
    }
    path = "L".join(f"{number(x + dx * r)} {number(y + dy * r)}" for dx, dy in outlines[shape])
    return Markup('<path class="{}" d="M{}Z">{}</path>').format(kind, path, extra)


def _cross(x: float, y: float, r: float, extra: Markup | str = "") -> Markup:
    at = tuple(map(number, (x - r, y - r, x + r, y + r, x - r, y + r, x + r, y - r)))
    return Markup('<path class="cross" d="M{} {}L{} {}M{} {}L{} {}">{}</path>').format(*at, extra)


def _line(kind: str, *points: tuple[float, float]) -> Markup:
    path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return Markup('<path class="{}" d="M{}"/>').format(kind, path)


def _triple(score: Interval) -> tuple[float, float, float]:
    return score.value, score.low, score.high


def score_scale(record: StudyRecord, start: float, end: float, most: int = 6) -> Scale:
    """The scale of scores that every plot of the methods shares."""
    low, high = score_domain([_triple(r.score) for r in record.results if not r.baseline])
    return nice_scale([low, high], start, end, "score", log=False, most=most)


def dot_whisker(result: MethodResult, scale: Scale, reference: float) -> Markup:
    """A score and its interval, one line high, with a thin line at the best score."""
    score, (low, high) = result.score, sorted((scale.start, scale.end))
    inside = [min(max(scale(v), low), high) for v in (score.low, score.high)]
    shape, kind = shape_of(result.group)
    parts = [_line("reference", (scale(reference), 1), (scale(reference), 19))]
    if scale.inside(score.value):
        parts.append(_line("whisker", (inside[0], 10), (inside[1], 10)))
        parts.append(marker(shape, scale(score.value), 10, 4.2, kind))
    else:
        below = score.value < scale.low
        parts.append(_arrow(low if below else high, -1 if below else 1, kind))
    return Markup('<svg class="whiskers" viewBox="0 0 {} 20" aria-hidden="true">{}{}</svg>').format(
        number(high + 10), tooltip(score_tip(result.name, *_triple(score))), Markup("").join(parts)
    )


def difference_plot(difference: Interval, different: bool, scale: Scale) -> Markup:
    """A difference and its interval beside a line at zero; hollow where the two cannot be told apart."""
    low, high = sorted((scale.start, scale.end))
    at = [min(max(scale(v), low), high) for v in (difference.low, difference.value, difference.high)]
    kind = "g1" if different else "hollow"
    parts = [_line("reference", (scale(0), 1), (scale(0), 19))]
    if scale.inside(difference.value):
        parts.append(_line("whisker", (at[0], 10), (at[2], 10)))
        parts.append(marker("circle", at[1], 10, 4.2, kind))
    else:
        parts.append(_arrow(low if difference.value < 0 else high, -1 if difference.value < 0 else 1, kind))
    return Markup('<svg class="whiskers" viewBox="0 0 {} 20" aria-hidden="true">{}</svg>').format(
        number(high + 10), Markup("").join(parts)
    )


def _arrow(at: float, way: int, kind: str) -> Markup:
    """Points out of the plot: what is meant lies beyond its edge."""
    path = f"M{number(at + 7 * way)} 10L{number(at)} 5.5V14.5Z"
    return Markup('<path class="{}" d="{}"/>').format(kind, path)


def trade_plot(
    record: StudyRecord,
    price_of: Callable[[MethodResult], float | None],
    front: Sequence[str],
    kind: str,
    names: tuple[Text, Text],
    language: str,
) -> Markup:
    """Score against a cost, whiskers for the intervals, the Pareto front as a dashed staircase.

    price_of: None where it was not measured: then there is no mark; kind: of the cost's axis ("time" or
    "size"); names: of the picture, of the cost.
    """

    def price(result: MethodResult) -> float:
        return price_of(result) or 0.0

    frame = Frame(470, 400)
    shown = [r for r in record.results if not r.baseline and price(r) > 0]
    x = nice_scale([price(r) for r in shown], frame.left + 8, frame.right - 8, kind, most=5)
    y = score_scale(record, frame.bottom, frame.top)
    cost_name = t("log_axis", axis=names[1]) if x.log else names[1]
    parts = [frame.axes(x, y, cost_name, score_name(record.deciding))]
    parts += _baseline_lines(record, frame, y)
    parts.append(_front([r for name in front for r in shown if r.name == name], price, x, y, frame))
    marks, boxes, places = [], [], []
    for result in shown:
        px, py = x(price(result)), min(y(result.score.value), frame.bottom - 6)
        clipped = not y.inside(result.score.value)
        marks.append(_priced(result, price(result), kind, (px, py), clipped, record.advice.method))
        radius = 11 if result.name == record.advice.method else 6
        boxes.append(Box(px - radius, py - radius, px + radius, py + radius))
        if not clipped:
            high, low = y(result.score.high), min(y(result.score.low), frame.bottom)
            boxes.append(Box(px - 1.5, high, px + 1.5, low, 0.5))
            parts.append(_line("whisker", (px, high), (px, low)))
        places.append((px, py, result))
    labels = Labels(frame, boxes)
    advised = record.advice.method
    places.sort(key=lambda place: (place[2].name != advised, place[1]))
    for px, py, result in places:
        parts.append(
            labels.place(px, py, cut(result.name, 22), "label strong" if result.name == advised else "label")
        )
    return figure(frame, names[0], language, [*parts, *marks])


def _priced(
    result: MethodResult, cost: float, kind: str, place: tuple[float, float], clipped: bool, advised: str
) -> Markup:
    """A method's mark; one below the axis is a wedge that points there."""
    shape, style = shape_of(result.group)
    shown = span(cost) if kind == "time" else size(cost)
    tip = tooltip(f"{score_tip(result.name, *_triple(result.score))} · {shown}")
    ring = marker("circle", *place, 10, "ring") if result.name == advised else Markup("")
    mark = marker("wedge" if clipped else shape, *place, 5.2, style)
    return Markup('<g data-source="results[{}]">{}{}{}</g>').format(result.name, tip, ring, mark)


def _baseline_lines(record: StudyRecord, frame: Frame, y: Scale) -> list[Markup]:
    parts = []
    for result in record.results:
        if result.baseline and y.inside(result.score.value):
            at = y(result.score.value)
            parts.append(_line("baseline", (frame.left, at), (frame.right, at)))
            parts.append(svg_text(frame.right, at - 3, cut(result.name, 22), "tick end"))
    return parts


def _front(
    members: Sequence[MethodResult],
    price: Callable[[MethodResult], float],
    x: Scale,
    y: Scale,
    frame: Frame,
) -> Markup:
    """From the cheapest on: level until the next better one can be paid, then up."""
    corners: list[tuple[float, float]] = []
    for result in members:
        px, py = x(price(result)), min(y(result.score.value), frame.bottom)
        if corners:
            corners.append((px, corners[-1][1]))
        corners.append((px, py))
    if not corners:
        return Markup("")
    corners.append((frame.right, corners[-1][1]))
    return _line("front", *corners)


def curve_plot(record: StudyRecord, language: str) -> Markup:
    """Score by training rows, a line a method, named at its right end."""
    frame = Frame(560, 380, right_margin=128)
    names = list(dict.fromkeys(point.name for point in record.curve))
    x = nice_scale([p.rows for p in record.curve], frame.left + 8, frame.right - 8, "rows", most=5)
    low, high = score_domain([_triple(p.score) for p in record.curve])
    y = nice_scale([low, high], frame.bottom, frame.top, "score", log=False)
    rows_name = t("log_axis", axis=t("axis_rows")) if x.log else t("axis_rows")
    parts = [frame.axes(x, y, rows_name, score_name(record.deciding))]
    ends: list[tuple[float, str, int]] = []
    for at, name in enumerate(names):
        points = sorted((p for p in record.curve if p.name == name), key=lambda p: p.rows)
        parts.append(_curve(at, points, x, y, frame, 2.4 * (at - (len(names) - 1) / 2)))
        ends.append((min(y(points[-1].score.value), frame.bottom), name, at))
    right = max(x(p.rows) for p in record.curve) + 1.2 * len(names)
    parts += _end_labels(ends, right, frame)
    return figure(frame, t("plot_curves"), language, parts)


def _curve(at: int, points: Sequence[CurvePoint], x: Scale, y: Scale, frame: Frame, aside: float) -> Markup:
    """One method's line; it stands `aside` by a few pixels so that whiskers do not hide one another."""
    shape = _SHAPES[at % len(_SHAPES)]
    places = [(x(p.rows) + aside, min(y(p.score.value), frame.bottom)) for p in points]
    parts = [_line(f"series s{at % 7} d{at // 7 % 3}", *places)]
    for point, (px, py) in zip(points, places, strict=True):
        tip = tooltip(f"{score_tip(point.name, *_triple(point.score))} · {point.rows:,}")
        if y.inside(point.score.value):
            low = min(y(point.score.low), frame.bottom)
            parts.append(_line(f"thin s{at % 7}", (px, y(point.score.high)), (px, low)))
        parts.append(marker(shape, px, py, 4, f"s{at % 7}", tip))
    return Markup("").join(parts)


def _end_labels(ends: Sequence[tuple[float, str, int]], right: float, frame: Frame) -> list[Markup]:
    """Names beside the lines' ends, pushed apart to one line each."""
    line = 13.0
    order = sorted(ends)
    heights = [y for y, _, _ in order]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + line)
    for i in reversed(range(len(heights))):
        below = heights[i + 1] - line if i + 1 < len(heights) else frame.bottom
        heights[i] = min(heights[i], below)
    parts = []
    for (y, name, at), height in zip(order, heights, strict=True):
        parts.append(_line(f"thin s{at % 7}", (right + 6, y), (right + 14, height)))
        parts.append(svg_text(right + 17, height + 4, cut(name, 19), "label"))
    return parts


_TOLD = ("reward", "kl", "entropy", "tokens", "clipped", "value_error")


def round_plots(record: StudyRecord, language: str) -> list[Markup]:
    """What was told of the rounds, a picture for each number, a line for each method that has rounds."""
    return [_round_plot(record, name, language) for name in _TOLD if _series(record, name)]


def key(at: int) -> Markup:
    """The sign of the `at`-th line of `round_plots`."""
    mark = marker(_SHAPES[at % len(_SHAPES)], 13, 6, 3.4, f"s{at % 7}")
    line = _line(f"series s{at % 7} d{at // 7 % 3}", (1, 6), (25, 6))
    return Markup('<svg class="key wide" viewBox="0 0 26 12" aria-hidden="true">{}{}</svg>').format(
        line, mark
    )


def _series(record: StudyRecord, name: str) -> list[tuple[int, str, list[tuple[int, float]]]]:
    """(place, method, (round, value)...) of those that tell of it."""
    found = []
    for at, policy in enumerate(own for own in record.policies if own.rounds):
        told = [(i, getattr(own, name)) for i, own in enumerate(policy.rounds, 1)]
        known = [(i, float(value)) for i, value in told if value is not None]
        if known:
            found.append((at, policy.name, known))
    return found


def _round_plot(record: StudyRecord, name: str, language: str) -> Markup:
    series = _series(record, name)
    frame = Frame(300, 210, left=40, top=24, right_margin=10, bottom_margin=24)
    places = [place for _, _, told in series for place in told]
    x = nice_scale([float(i) for i, _ in places], frame.left + 4, frame.right - 4, "rows", log=False, most=5)
    y = nice_scale([value for _, value in places], frame.bottom - 4, frame.top, "plain", log=False, most=4)
    heading = t(f"round_{name}")
    parts = [frame.axes(x, y, None, None), svg_text(frame.left, 14, heading, "name")]
    for at, method, told in series:
        drawn = [(x(i), y(value)) for i, value in told]
        tip = tooltip(f"{method}: {told[-1][1]:.3g}")
        parts.append(_line(f"series s{at % 7} d{at // 7 % 3}", *drawn))
        parts.append(marker(_SHAPES[at % len(_SHAPES)], *drawn[-1], 3.4, f"s{at % 7}", tip))
    return figure(frame, heading, language, parts, "small")


def trial_scale(record: StudyRecord, start: float, end: float) -> Scale:
    """One scale of validation scores for the trials of every method."""
    scores = [x.score for r in record.results for x in r.trials if x.score is not None]
    low, high = score_domain([(s, s, s) for s in scores]) if scores else (0.0, 1.0)
    return nice_scale([low, high], start, end, "score", log=False, most=4)


def trial_plot(record: StudyRecord, result: MethodResult, language: str) -> Markup:
    """Learning rate against validation score; chosen ringed, stopped hollow, failed crossed at the foot."""
    frame = Frame(250, 190, left=34, top=10, right_margin=8, bottom_margin=24)
    every = [x.learning_rate for r in record.results for x in r.trials]
    x = nice_scale(every, frame.left + 8, frame.right - 8, "rate", log=True, most=5)
    y = trial_scale(record, frame.bottom - 8, frame.top)
    parts = [frame.axes(x, y, None, None)]
    for learning_rate in dict.fromkeys(result.learning_rates):
        parts.append(_line("chosen", (x(learning_rate), frame.top), (x(learning_rate), frame.bottom)))
    chosen = _chosen(result)
    for trial in result.trials:
        parts.append(_trial(trial, trial in chosen, x, y))
    return figure(frame, t("plot_trials", method=result.name), language, parts, "small")


def _chosen(result: MethodResult) -> list[Trial]:
    """On each fold the best trial with the learning rate that was taken there."""
    found = []
    for fold, learning_rate in enumerate(result.learning_rates):
        own = [
            (trial.score, trial)
            for trial in result.trials
            if trial.fold == fold
            and trial.score is not None
            and trial.state == "complete"
            and math.isclose(trial.learning_rate, learning_rate, rel_tol=1e-6)
        ]
        if own:
            found.append(max(own, key=lambda pair: pair[0])[1])
    return found


def _trial(trial: Trial, chosen: bool, x: Scale, y: Scale) -> Markup:
    px = x(trial.learning_rate)
    shown = "–" if trial.score is None else points(trial.score)
    tip = tooltip(f"{rate(trial.learning_rate)}: {shown} · {span(trial.seconds)} · {trial.run}")
    if trial.score is None:
        return _cross(px, y.start + 1, 3.5, tip)
    style = "hollow" if trial.state == "stopped_early" else "g1"
    if not y.inside(trial.score):
        return marker("wedge", px, y.start + 2, 4, style, tip)
    mark = marker("circle", px, y(trial.score), 4, style, tip)
    return marker("circle", px, y(trial.score), 8, "ring") + mark if chosen else mark


def within(run: PlannedRun, kind: str) -> bool | None:
    """Whether the prediction was within 20 % of what was measured; None: not measured."""
    predicted, measured = _planned(run, kind)
    return None if measured is None else abs(predicted - measured) <= _CLOSE * measured


def _planned(run: PlannedRun, kind: str) -> tuple[float, float | None]:
    if kind == "time":
        return run.predicted_seconds, run.seconds
    return run.predicted_memory_bytes, run.memory_bytes


def plan_plot(runs: Sequence[PlannedRun], kind: str, label: Text, language: str) -> Markup:
    """Predicted against measured on like axes, with the diagonal and the lines of 20 %."""
    frame = Frame(360, 330, left=66)
    points = [
        (run, p, m) for run in runs for p, m in [_planned(run, kind)] if m is not None and p > 0 and m > 0
    ]
    every = [v for _, p, m in points for v in (p, m)]
    x = nice_scale(every, frame.left, frame.right, kind, most=4)
    y = Scale(x.low, x.high, frame.bottom, frame.top, x.log, x.ticks)
    parts = [frame.axes(x, y, t("predicted_axis"), t("measured_axis"))]
    for factor, style in ((1.0, "axis"), (1 / (1 - _CLOSE), "ray"), (1 / (1 + _CLOSE), "ray")):
        parts += [_line(style, *ends) for ends in _ray(factor, x, y)]
    if len(points) > _MANY:
        for close, style in ((True, "dots"), (False, "dots far")):
            some = [(x(p), y(m)) for run, p, m in points if within(run, kind) is close]
            parts.append(Markup('<path class="{}" d="{}"/>').format(style, _dots(some)))
    else:
        parts += [_planned_mark(run, p, m, x(p), y(m), kind) for run, p, m in points]
    return figure(frame, label, language, parts, "mid")


def _planned_mark(
    run: PlannedRun, predicted: float, measured: float, px: float, py: float, kind: str
) -> Markup:
    shown = span if kind == "time" else size
    tip = tooltip(f"{run.name} · {run.run}: {shown(predicted)} → {shown(measured)}")
    shape, style = ("circle", "g1 soft") if within(run, kind) else ("diamond", "g2 soft")
    return marker(shape, px, py, 3.6, style, tip)


def _dots(places: Sequence[tuple[float, float]]) -> str:
    """A path that draws a dot at each place, few bytes each: for hundreds of runs."""
    return "".join(f"M{number(x)} {number(y)}h0" for x, y in places)


def _ray(factor: float, x: Scale, y: Scale) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The line measured = factor x predicted, from edge to edge; none where it does not cross the plot."""
    low, high = max(x.low, x.low / factor), min(x.high, x.high / factor)
    low = max(low, 1e-12) if x.log else low
    return [((x(low), y(factor * low)), (x(high), y(factor * high)))] if low < high else []


def difference_scale(differences: Sequence[Interval], start: float, end: float) -> Scale:
    """A scale of differences that holds zero; what is very much larger than the middle one lies outside."""
    sizes = sorted(abs(d.value) for d in differences) or [0.01]
    widest = max((d.high - d.low for d in differences), default=0.01)
    limit = max(3 * sizes[len(sizes) // 2], 1.5 * widest) if len(sizes) > 3 else sizes[-1]
    shown = [d for d in differences if abs(d.value) <= limit]
    low = min(0.0, *(d.low for d in shown)) if shown else 0.0
    high = max(0.0, *(d.high for d in shown)) if shown else 0.0
    margin = 0.05 * (high - low) or 0.01
    return Scale(low - margin, high + margin, start, end)
