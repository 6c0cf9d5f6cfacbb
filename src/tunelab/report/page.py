"""The page: one file with everything in it, made from a record and from nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunelab.files import output_errors, write_atomically
from tunelab.records import Interval, MethodResult, Pair, PlannedRun, StudyRecord
from tunelab.report import charts, formats, matrices, plots
from tunelab.report.locales import language_names
from tunelab.report.score_names import NOT_SHARES
from tunelab.report.texts import Sourced, Text, in_percent, joined, t
from tunelab.report.translate import in_both
from tunelab.report.wording import (
    advice_texts,
    augmentation_texts,
    check_language,
    in_code,
    pair_of,
    result_of,
    score_name,
    untuned_text,
    warning_texts,
)

__all__ = ["render", "write_report"]

_TEXT_CHARACTERS = 360  # of a row's text that are shown
_PLANNED_RUNS = 150  # runs of the plan that are listed
_SHOWN_PARTS = 20  # classes or types whose F1 is listed
#: A cost as it is shown (None: not measured), and whether the method is on the front.
_Cell = tuple[Sourced | None, bool]


def write_report(record: StudyRecord, folder: Path, language: str = "en") -> Path:
    """Writes `folder`/report.html, the whole of it or nothing; `language` is the one shown first.

    Raises:
        ConfigError: the report does not speak the language. OutputError: it cannot be written there.
    """
    page = render(record, language)
    path = folder / "report.html"
    with output_errors(path):
        write_atomically(path, page.encode("utf-8"))
    return path


def render(record: StudyRecord, language: str = "en") -> str:
    """The page as HTML. Both languages are in it; `language` ("en" or "zh") is shown first."""
    check_language(language)
    with formats.in_unit_of(record.deciding):
        return _environment().get_template("page.html.j2").render(_context(record, language))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "t": t,
        "joined": joined,
        "src": Sourced,
        "in_percent": in_percent,
        "f": formats,
        "charts": charts,
        "matrices": matrices,
        "score_name": score_name,
        "cut": plots.cut,
        "in_both": in_both,
    }
    return environment


def _context(record: StudyRecord, language: str) -> dict[str, Any]:
    methods = [r for r in record.results if not r.baseline]
    advice = record.advice
    first, second = advice_texts(record)
    return {
        "record": record,
        "language": language,
        "languages": language_names,
        "style": Markup(_asset("style.css")),
        "script": Markup(_asset("script.js")),
        "methods": methods,
        "models": list(dict.fromkeys(r.model for r in methods)),
        "advised": result_of(record, advice.method),
        "best": methods[0],
        "advice": (first, second),
        "augmentation": augmentation_texts(record),
        "effect_scale": _effect_scale(record),
        # the verdict itself begins with a baseline that is not beaten
        "warnings": [w for w in warning_texts(record) if w.templates != t("warning_baseline").templates],
        "groups": [(number, members) for number, members in record.groups() if not members[0].baseline],
        "forgetting_notes": _forgetting_notes(methods),
        "deciding": score_name(record.deciding),
        "whisker_scale": charts.score_scale(record, 8, 114),
        "leader_pairs": _leader_pairs(record, methods),
        "baseline_scale": charts.difference_scale([gap.difference for gap in record.baselines], 8, 180),
        "pair_at": lambda a, b: pair_of(record, a, b),
        "trade": _trade(record, language),
        "fronts": _fronts(record),
        "round_plots": charts.round_plots(record, language),
        "extremes": _extremes,
        "shown_score": _shown_score,
        "f1_of": _f1_of,
        "of_parts": ("f1(", "precision(", "recall("),
        "other": next((r.name for r in methods if r.name != advice.method), None),
        "row_text": _row_text,
        "said_width": 60 if record.labels else 160,
        "numbers": _numbers(record),
        "untuned": untuned_text(record),
        "within": _within(record),
        "planned": _most_telling(record),
        "planned_rest": max(0, len(record.plan) - _PLANNED_RUNS),
        "plan_plots": _plan_plots(record, language),
        "settings": dict(_flat(record.config)),
        "flat": lambda values: list(_flat(values)),
        "shown": _shown,
        "option": in_code,
    }


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _forgetting_notes(methods: list[MethodResult]) -> list[Text]:
    found: dict[str, Text] = {}
    for result in methods:
        known = result.forgetting
        if known is not None and known.kind not in found:
            at = f"results[{result.name}].forgetting"
            base = "–" if known.base is None else Sourced(formats.plain(known.base), f"{at}.base")
            number = Sourced(formats.count(known.sentences), f"{at}.sentences")
            found[known.kind] = t(f"forgetting_{known.kind}", n=number, base=base)
    return list(found.values())


def _leader_pairs(
    record: StudyRecord, methods: list[MethodResult]
) -> tuple[list[tuple[str, Pair, Any, int]], plots.Scale]:
    """(other, pair, leader minus other, place in the record) in the table's order, and a scale for them."""
    found = []
    for result in methods[1:]:
        pair = pair_of(record, methods[0].name, result.name)
        if pair is not None:
            found.append((result.name, *pair))
    return found, charts.difference_scale([d for _, _, d, _ in found], 8, 180)


def _effect_scale(record: StudyRecord) -> plots.Scale:
    """One scale for what new rows did to each method."""
    found = record.augmentation
    several = [] if found is None else [*([found.overall] if found.overall else []), *found.effects]
    return charts.difference_scale([effect.difference for effect in several], 8, 180)


@dataclass(frozen=True)
class _Price:
    """What quality is held against: a field of `Cost`, how it is written, and the methods on its front."""

    name: str
    field: str
    kind: str
    front: tuple[str, ...]

    def of(self, result: MethodResult) -> float | None:
        """None: not measured."""
        value: float | None = getattr(result.cost, self.field)
        return value

    @property
    def shown(self) -> Callable[[float], str]:
        return formats.size if self.kind == "size" else formats.span


def _prices(record: StudyRecord) -> list[_Price]:
    """Those for which the record has a front: one from before there was one for latency has none."""
    every = (
        _Price("time", "train_seconds", "time", record.pareto_time),
        _Price("memory", "peak_memory_bytes", "size", record.pareto_memory),
        _Price("latency", "latency_1_seconds", "time", record.pareto_latency),
    )
    return [price for price in every if price.front]


def _trade(record: StudyRecord, language: str) -> list[tuple[Text, Markup, str, Text | None]]:
    """(heading, plot, where its numbers are in the record, the methods without a measurement)."""
    found = []
    for price in _prices(record):
        names = t(f"plot_{price.name}"), t(f"axis_{price.name}")
        plot = charts.trade_plot(record, price.of, price.front, price.kind, names, language)
        lost = [r.name for r in record.results if not r.baseline and price.of(r) is None]
        source = f"results[].cost.{price.field}, pareto_{price.name}"
        found.append((t(f"trade_{price.name}"), plot, source, joined(lost, len(lost)) if lost else None))
    return found


def _fronts(record: StudyRecord) -> tuple[list[Text], list[tuple[MethodResult, list[_Cell]]]]:
    """Headings of the prices, and the methods that are on a front, the best first, with what each costs;
    nothing where there is one method, which has nothing beside it."""
    prices = _prices(record)
    methods = [r for r in record.results if not r.baseline]
    if len(methods) < 2:
        return [], []
    rows = [
        (result, [_cell(result, price) for price in prices])
        for result in methods
        if any(result.name in price.front for price in prices)
    ]
    return [t(f"front_{price.name}") for price in prices], rows


def _cell(result: MethodResult, price: _Price) -> _Cell:
    value = price.of(result)
    at = f"results[{result.name}].cost.{price.field}"
    return None if value is None else Sourced(price.shown(value), at), result.name in price.front


def _shown_score(name: str, value: float) -> str:
    own = name in NOT_SHARES or name.startswith("-")
    return (f"{value:.3f}" if own else f"{100 * value:.1f}").replace("-", "−")


def _extremes(rates: tuple[float, ...]) -> list[tuple[float, int]]:
    """The lowest and the highest learning rate of the folds with their places; one where all are the same."""
    if not rates:
        return []
    ends = dict.fromkeys((min(rates), max(rates)))
    return [(rate, rates.index(rate)) for rate in ends]


def _f1_of(
    result: MethodResult, labels: Sequence[str]
) -> tuple[list[tuple[str, float, Interval | None, str]], int]:
    """(label, F1, its interval where the record has one, its place), the weakest first, and how many parts
    there are in all. Where answers are no classes: of whatever parts have an F1."""
    parts = [name[3:-1] for name in result.scores if name.startswith("f1(")]
    if result.parts:
        at = f"results[{result.name}].parts"
        told = [(p.label, p.score.value, p.score, f"{at}[{i}].score") for i, p in enumerate(result.parts)]
        return list(told), max(len(parts), len(told))
    known = [(label, result.scores[f"f1({label})"]) for label in labels or parts if label in parts]
    known.sort(key=lambda pair: pair[1])
    place = f"results[{result.name}].scores"
    return [(name, f1, None, f"{place}[f1({name})]") for name, f1 in known[:_SHOWN_PARTS]], len(known)


def _row_text(text: str) -> tuple[str, bool]:
    """The beginning of a text, and whether something was cut."""
    if len(text) <= _TEXT_CHARACTERS:
        return text, False
    return text[:_TEXT_CHARACTERS].rstrip() + "…", True


def _numbers(record: StudyRecord) -> Text | None:
    """What the numbers say that stand for answers; None: they speak for themselves."""
    kind = {"-loss": "loss", "preference_accuracy": "preference"}.get(record.deciding)
    kind = "preference" if record.task == "prefer" else kind
    return t(f"rows_{kind}") if kind else None


def _within(record: StudyRecord) -> dict[str, tuple[int, int]]:
    """Of the runs with a measurement, how many the plan predicted to 20 %: (so many, of so many)."""
    found = {}
    for kind in ("time", "size"):
        known = [close for run in record.plan for close in [charts.within(run, kind)] if close is not None]
        found[kind] = (sum(known), len(known))
    return found


def _most_telling(record: StudyRecord) -> list[tuple[int, PlannedRun]]:
    """The runs of the plan that are listed, with their places: judged ones before trials."""
    order = ("judged", "refit", "curve", "trial")
    return sorted(enumerate(record.plan), key=lambda pair: order.index(pair[1].kind))[:_PLANNED_RUNS]


def _plan_plots(record: StudyRecord, language: str) -> list[tuple[Text, str, Markup]]:
    found = []
    for kind, heading in (("time", t("plan_time")), ("size", t("plan_memory"))):
        if any(charts.within(run, kind) is not None for run in record.plan):
            label = Text(("{plan}: {kind}", "{plan}：{kind}"), {"plan": t("plan"), "kind": heading})
            found.append((heading, kind, charts.plan_plot(record.plan, kind, label, language)))
    return found


def _flat(values: Mapping[str, Any], path: str = "") -> Any:
    """Nested settings as (dotted path, value)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _shown(value: Any) -> str:
    """A setting's value; words as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
