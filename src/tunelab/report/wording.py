"""The verdict in words. Every claim is a field of the record; none goes further than the record does."""

from collections.abc import Sequence

from markupsafe import Markup

from tunelab.errors import ConfigError, did_you_mean
from tunelab.records import (
    AugmentEffect,
    BaselineGap,
    ClassEffect,
    Interval,
    MethodResult,
    Pair,
    StudyRecord,
)
from tunelab.report.formats import count, in_unit_of, p_relation, percent, points, rate, signed
from tunelab.report.locales import LANGUAGES, WARNINGS
from tunelab.report.score_names import OF, SCORES
from tunelab.report.texts import Sourced, Text, in_percent, joined, t

__all__ = [
    "advice_text",
    "advice_texts",
    "augmentation_text",
    "augmentation_texts",
    "check_language",
    "in_code",
    "pair_of",
    "result_of",
    "score_name",
    "untuned_text",
    "warning_texts",
    "warnings_text",
]


def advice_text(record: StudyRecord, language: str) -> tuple[str, str]:
    """The advice in words: what to take and why; then what more test rows would settle.

    Where fine-tuning does not beat a baseline for sure, that comes first and the advice second.

    Raises:
        ConfigError: the report does not speak the language.
    """
    check_language(language)
    with in_unit_of(record.deciding):
        first, second = advice_texts(record)
        return first.plain(language), second.plain(language)


def warnings_text(record: StudyRecord, language: str) -> list[str]:
    """What to be careful about when reading the results, one sentence each.

    Raises:
        ConfigError: the report does not speak the language.
    """
    check_language(language)
    with in_unit_of(record.deciding):
        return [text.plain(language) for text in warning_texts(record)]


def check_language(language: str) -> None:
    """Raises `ConfigError` for a language the report does not speak."""
    if language not in LANGUAGES:
        raise ConfigError(f"unknown language {language!r} of the report; {did_you_mean(language, LANGUAGES)}")


def advice_texts(record: StudyRecord) -> tuple[Text, Text]:
    """As `advice_text`, in every language, each number with its source."""
    take, more = _take(record), _more(record)
    gap = _unbeaten(record)
    if gap is None:
        return take, more
    return _baseline_first(record, gap), t("if_tuned", advice=take, more=more)


def warning_texts(record: StudyRecord) -> list[Text]:
    """Every warning of the record, and the baseline that is not beaten; an unknown code is shown as it is."""
    found = [_warning(record, code) for code in record.advice.warnings]
    if record.advice.baseline is not None:
        baseline = Sourced(record.advice.baseline, "advice.baseline")
        found.append(t("warning_baseline", baseline=baseline))
    return found


def augmentation_text(record: StudyRecord, language: str) -> list[str]:
    """Whether new training rows helped, in words; nothing where the study had none.

    Raises:
        ConfigError: the report does not speak the language.
    """
    check_language(language)
    with in_unit_of(record.deciding):
        return [text.plain(language) for text in augmentation_texts(record)]


def augmentation_texts(record: StudyRecord) -> list[Text]:
    """All methods together (or the one there is); those for which it is sure; and the classes."""
    found = record.augmentation
    if found is None or not found.effects:
        return []
    main = found.overall or found.effects[0]
    at = "augmentation.overall" if found.overall else "augmentation.effects[0]"
    who = t("augment_methods", n=len(found.effects)) if found.overall else main.plain
    outcome = "none" if not main.different else "helped" if main.difference.value > 0 else "hurt"
    said = [
        t(
            f"augment_{outcome}",
            recipe=joined(found.recipe, 6),
            who=who,
            deciding=score_name(record.deciding),
            p=Sourced(p_relation(main.p_holm), f"{at}.p_holm"),
            **_interval(main.difference, f"{at}.difference"),
        )
    ]
    alone = [
        _sure(effect.plain, effect, f"augmentation.effects[{i}]")
        for i, effect in enumerate(found.effects)
        if effect.different and found.overall
    ]
    if alone:
        said.append(t("augment_sure", names=joined(alone)))
    classes = [
        _sure(f"{one.label} ({effect.plain})", one, f"augmentation.effects[{i}].classes[{k}]")
        for i, effect in enumerate(found.effects)
        for k, one in enumerate(effect.classes)
        if one.different
    ]
    if classes:
        said.append(t("augment_classes_sure", names=joined(classes)))
    elif any(effect.classes for effect in found.effects):
        said.append(t("augment_classes_none"))
    return said


def _sure(name: str, effect: AugmentEffect | ClassEffect, at: str) -> Text:
    return t(
        "augment_item",
        name=name,
        difference=Sourced(signed(effect.difference.value), f"{at}.difference.value"),
        p=Sourced(p_relation(effect.p_holm), f"{at}.p_holm"),
    )


def score_name(name: str) -> Text:
    """What a score is called; a name that is not known is shown with spaces for underscores."""
    if name in SCORES:
        return t(f"score_{name}")
    base, bracket, rest = name.partition("(")
    if bracket and base in SCORES and rest[:-1] in OF:
        values = {"score": t(f"score_{base}"), "of": t(f"of_{rest[:-1]}")}
        return Text(("{score} ({of})", "{score}（{of}）"), values)
    shown = name.replace("_", " ")
    return Text(("{name}", "{name}"), {"name": shown})


def untuned_text(record: StudyRecord) -> Text:
    """Why a study had one trial of each method, and what to do about it."""
    given = record.config["train"].get("learning_rate")
    if given is not None:
        at = "config.train.learning_rate"
        return t("tuning_given", rate=Sourced(rate(given), at), option=in_code("train.learning_rate"))
    search = record.config.get("search", {})
    if search.get("trials") is not None:
        return t("tuning_default", option=in_code("search.trials=4"))
    if search.get("budget") is not None and record.effort != "quick":
        return t("tuning_budget", budget=search["budget"])
    return t("tuning_default", option=in_code("--effort standard"))


def in_code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(text)


def result_of(record: StudyRecord, name: str) -> MethodResult:
    """The row of the table with this name."""
    return next(result for result in record.results if result.name == name)


def pair_of(record: StudyRecord, first: str, second: str) -> tuple[Pair, Interval, int] | None:
    """The pair, its difference as first minus second, and its place in the record; None: not compared."""
    for at, pair in enumerate(record.pairs):
        d = pair.difference
        if (pair.first, pair.second) == (first, second):
            return pair, d, at
        if (pair.first, pair.second) == (second, first):
            return pair, Interval(value=-d.value, low=-d.high, high=-d.low), at
    return None


def _take(record: StudyRecord) -> Text:
    advice = record.advice
    items = Sourced(count(record.items), "items")
    method = Sourced(advice.method, "advice.method", strong=True)
    deciding = score_name(record.deciding)
    if advice.runner_up is None:
        score = result_of(record, advice.method).score
        numbers = _interval(score, f"results[{advice.method}].score")
        return t(
            "only",
            method=method,
            items=items,
            deciding=deciding,
            score=numbers["difference"],
            low=numbers["low"],
            high=numbers["high"],
        )
    if advice.sure:
        found = pair_of(record, advice.best, advice.runner_up)
        assert found is not None, "every two methods are compared"
        pair, difference, at = found
        others = sum(not r.baseline for r in record.results) - 1
        return t(
            "sure_two" if others == 1 else "sure_many",
            method=method,
            items=items,
            deciding=deciding,
            others=others,
            runner_up=advice.runner_up,
            p=Sourced(p_relation(pair.p_holm), f"pairs[{at}].p_holm"),
            **_interval(difference, f"pairs[{at}].difference"),
        )
    if advice.method == advice.best:
        return t("tied_best", method=method, items=items, tied=joined(advice.tied[1:]))
    found = pair_of(record, advice.best, advice.method)
    assert found is not None, "every two methods are compared"
    _, difference, at = found
    return t(
        "tied_cheaper",
        method=method,
        best=advice.best,
        items=items,
        cost=in_percent(percent(advice.cost_share), "advice.cost_share"),
        **_interval(difference, f"pairs[{at}].difference"),
    )


def _interval(interval: Interval, source: str, *, negate: bool = False) -> dict[str, Sourced]:
    low, high = (interval.high, interval.low) if negate else (interval.low, interval.high)
    sign = -1 if negate else 1
    low_field, high_field = ("high", "low") if negate else ("low", "high")
    return {
        "difference": Sourced(points(sign * interval.value), f"{source}.value"),
        "low": Sourced(points(sign * low), f"{source}.{low_field}"),
        "high": Sourced(points(sign * high), f"{source}.{high_field}"),
    }


def _more(record: StudyRecord) -> Text:
    advice = record.advice
    if advice.runner_up is None:
        return t("nothing_to_tell")
    names = {"best": advice.best, "runner_up": advice.runner_up}
    if advice.more_items is None:
        return t("more_rows_never", **names)
    if advice.more_items == 0:
        return t("more_rows_done", **names)
    return t("more_rows_tell", more=Sourced(count(advice.more_items), "advice.more_items"), **names)


def _unbeaten(record: StudyRecord) -> tuple[int, BaselineGap] | None:
    for at, gap in enumerate(record.baselines):
        if gap.baseline == record.advice.baseline:
            return at, gap
    return None


def _baseline_first(record: StudyRecord, found: tuple[int, BaselineGap]) -> Text:
    at, gap = found
    better = gap.different and gap.difference.value < 0
    return t(
        "baseline_better" if better else "baseline_unsure",
        best=record.advice.best,
        baseline=Sourced(gap.baseline, f"baselines[{at}].baseline", strong=True),
        deciding=score_name(record.deciding),
        **_interval(gap.difference, f"baselines[{at}].difference", negate=better),
    )


def _warning(record: StudyRecord, code: str) -> Text:
    if code not in WARNINGS:
        return Text(("{code}", "{code}"), {"code": code})
    values: dict[str, object] = {"items": Sourced(count(record.items), "items")}
    if code == "failures":
        values |= {"runs": len(record.failures), "names": joined(_failed(record), 3)}
    if code == "few_groups":
        values["units"] = Sourced(count(record.advice.units), "advice.units")
    if code == "raced":
        race = record.race
        values["names"] = joined(list(dict.fromkeys(stop.name for stop in race.stops)) if race else [])
        values["risk"] = in_percent(percent(race.risk), "race.risk") if race else "?"
    return t(f"warning_{code}", **values)


def _failed(record: StudyRecord) -> Sequence[str]:
    """Methods with failed runs where the record says whose they are, else the runs themselves."""
    owners = {run: result.name for result in record.results for run in result.failures}
    return list(dict.fromkeys(owners.get(run, run) for run in record.failures))
