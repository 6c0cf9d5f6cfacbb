"""From the runs' records and predictions to what a study says: `StudyRecord`, with every number in it."""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tunelab.config import StudyConfig
from tunelab.data.split import Split
from tunelab.errors import TrainingError
from tunelab.measure.calibration import calibration_bins, confusion
from tunelab.measure.pairs import (
    Comparison,
    SeedPool,
    compare_pair,
    holm,
    lost_seeds,
    more_items,
    seed_pool,
    tied_groups,
)
from tunelab.measure.statistics import RunScore, counted, mean_interval, spread_of
from tunelab.provenance import machine, versions
from tunelab.records import (
    Advice,
    BaselineGap,
    CalibrationBin,
    Cost,
    Forgetting,
    Interval,
    MethodResult,
    Pair,
    PartScore,
    Race,
    StudyRecord,
    Trial,
)
from tunelab.study.budget import Planned, table_of_runs
from tunelab.study.candidates import Candidate
from tunelab.study.curve import curve_points
from tunelab.study.effect import augmentation_of
from tunelab.study.execute import Work
from tunelab.study.policies import policies_of, written_of
from tunelab.study.predictions import Judged, codes_of, gather, groups_of, truth
from tunelab.study.prepare import Prepared
from tunelab.study.rows import disagreements, samples_of
from tunelab.study.run import read_record
from tunelab.study.tuning import Design
from tunelab.tasks.base import Task

__all__ = ["Evidence", "conclude"]

_ALPHA = 0.05
#: Costs that differ by less are the same: then the better score is advised.
_LIKE_COST = 0.1
_FEW_ITEMS = 200
_SHOWN_PARTS = 20
_RESAMPLES = 2000  # as everywhere: draws that are known are not drawn again


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on. begun: the judged runs of every method, those that failed among them."""

    config: StudyConfig
    design: Design
    entries: tuple[Candidate, ...]
    prepared: Mapping[str, Prepared]
    begun: Mapping[str, Sequence[Work]]
    judged: Mapping[str, Sequence[Work]]
    curve: Mapping[str, Sequence[Work]]
    trials: Mapping[str, Sequence[Trial]]
    chosen: Mapping[tuple[str, int], float]
    baselines: Mapping[str, Sequence[Path]]
    planned: Planned
    failures: Mapping[str, str]
    notes: tuple[str, ...]
    race: Race | None
    root: Path
    device: str
    augmented: Mapping[str, Prepared] = field(default_factory=dict)


def conclude(evidence: Evidence) -> StudyRecord:
    """The verdict. A method that lacks a fold for every seed is left out, and told."""
    own = next(iter(evidence.prepared.values()))
    folds = evidence.design.folds
    task = own.task(evidence.config)
    found, notes = _gathered(evidence, task)
    labels_N, items_N = truth(found[0].folders)
    items = len(items_N)
    pool = seed_pool([j.scores for j in found], items)
    seeded = evidence.design.seeds > 1
    spreads = [spread_of(j.scores, items, _RESAMPLES, 0) for j in found]
    lost = lost_seeds(spreads, pool) if seeded else None
    intervals = {j.name: mean_interval(j.scores, items, lost=lost) for j in found}
    found.sort(key=lambda j: -intervals[j.name][0])
    names = [j.name for j in found]
    pairs = _pairs(found, items, pool, seeded)
    different = {frozenset((p.first, p.second)): p.different for p in pairs}
    groups = tied_groups(names, lambda a, b: different[frozenset((a, b))])
    group_of = {name: number for number, group in enumerate(groups, 1) for name in group}

    entries = {entry.name: entry for entry in evidence.entries}
    results = [
        _result(evidence, j, entries[j.name], group_of[j.name], intervals[j.name], labels_N, task)
        for j in found
    ]
    base, tested = _baselines(evidence, found, pool, labels_N, task)
    gaps = [tested[found[0].name, result.name] for result in base]
    advice = _advise(evidence, results, groups[0], pairs, tested, items, counted(found[0].scores, items))
    results = _with_parts(results, found, advice)
    works = [w for many in (*evidence.judged.values(), *evidence.curve.values()) for w in many]
    split = own.split(0)
    augmented = (
        augmentation_of(each, task, evidence.entries, found, pool, seeded)
        for each in evidence.augmented.values()
    )
    curve, more, crossed = curve_points(evidence.curve, found, evidence.failures, task, own, lost)
    return StudyRecord(
        title=", ".join(Path(f).name for f in evidence.config.files),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        task=evidence.config.task,
        deciding=task.deciding,
        labels=task.classes,
        rows={"all": len(own.table), **_sizes(split)},
        folds=folds,
        seeds=evidence.design.seeds,
        effort=evidence.config.effort,
        trials_each=evidence.design.trials,
        items=items,
        results=(*results, *base),
        pairs=tuple(pairs),
        baselines=tuple(gaps),
        advice=advice,
        pareto_time=_pareto(results, lambda r: r.cost.train_seconds),
        pareto_memory=_pareto(results, lambda r: r.cost.peak_memory_bytes),
        pareto_latency=_pareto(results, lambda r: r.cost.latency_1_seconds),
        disagreements=disagreements(found, advice, items_N, labels_N, task, own),
        samples=samples_of(evidence.judged[advice.method], task, own),
        policies=policies_of(found, task, folds),
        written=written_of(
            next(judged.folders for judged in found if judged.name == advice.method), task, own
        ),
        curve=curve,
        more_rows=more,
        crossings=crossed,
        race=evidence.race,
        augmentation=next(augmented, None),
        plan=table_of_runs(evidence.planned, [w for w in works if w.name not in evidence.failures]),
        findings=tuple(finding.as_dict() for finding in own.findings),
        notes=tuple(notes),
        failures=dict(evidence.failures),
        config=evidence.config.model_dump(mode="json"),
        machine=machine(evidence.device),
        versions=versions(),
        digests={
            "data": own.digest,
            "split": split.digest,
            **{f"model {name}": each.model_digest for name, each in evidence.prepared.items()},
        },
        seconds=sum(r.cost.tuning_seconds for r in results)
        + sum(map(_spent, [*(work.folder for work in works), *chain(*evidence.baselines.values())])),
        command=shlex.join(
            ["tunelab", "compare", "--config", str(evidence.root / "study.yaml"), "--out", "again"]
        ),
    )


def _gathered(evidence: Evidence, task: Task) -> tuple[list[Judged], list[str]]:
    """The methods that have all folds for some seed, and the notes with what is said of the others."""
    notes = list(evidence.notes)
    found: list[Judged] = []
    groups = groups_of(next(iter(evidence.prepared.values())), task)
    for name, works in evidence.judged.items():
        judged = gather(name, [work.folder for work in works], task, evidence.design.folds, groups)
        if judged is None:
            notes.append(f"{name} is not in the table: no seed has all folds")
            continue
        found.append(judged)
        if len(judged.scores) < evidence.design.seeds:
            notes.append(
                f"{name} rests on {len(judged.scores)} of {evidence.design.seeds} seeds: of each other a run "
                "failed"
            )
    if not found:
        name, error = next(iter(evidence.failures.items()), ("", "no run finished"))
        raise TrainingError(f"no method finished on all folds. The first failure, {name}: {error}")
    notes += _counts(found[0])
    notes += filter(None, map(_unmeasured, found))
    return found, notes


def _unmeasured(judged: Judged) -> str:
    """That forgetting is known of some of a method's runs alone, if so."""
    known = [bool(read_record(folder).get("forgetting")) for folder in judged.folders]
    if all(known) or not any(known):
        return ""
    return (
        f"forgetting of {judged.name} is the mean over {sum(known)} of its {len(known)} runs: of the others "
        "it is not known"
    )


def _counts(judged: Judged) -> list[str]:
    """What intervals and tests count, where that is not the items."""
    own, first = counted(judged.scores, judged.items), judged.scores[0]
    if own == judged.items:
        return []
    if first.groups_N is None:
        return [
            f"in {own:,} of the {judged.items:,} test items there is something to find, or said to be; those "
            "are what intervals and tests count"
        ]
    groups = int(first.groups_N.max()) + 1
    return [
        f"the {judged.items:,} test items belong to {groups:,} groups (a text, a prompt or your group "
        "column), which are what intervals and tests count"
    ]


def _sizes(split: Split) -> dict[str, int]:
    return {"train": len(split.train), "valid": len(split.valid), "test": len(split.test)}


def _pairs(found: Sequence[Judged], items: int, pool: SeedPool | None, seeded: bool) -> list[Pair]:
    """Every two methods on the same items, Holm-corrected over all pairs; seeded: see `compare_pair`."""
    tested = [
        (a.name, b.name, compare_pair(a.scores, b.scores, items, pool=pool, seeded=(seeded, seeded)))
        for i, a in enumerate(found)
        for b in found[i + 1 :]
    ]
    corrected = holm([test.p for _, _, test in tested])
    things = counted(found[0].scores, items)
    return [
        _pair(a, b, test, p, len(tested), items, things)
        for (a, b, test), p in zip(tested, corrected, strict=True)
    ]


def _pair(
    first: str, second: str, test: Comparison, p_holm: float, pairs: int, items: int, things: int
) -> Pair:
    """things: independent ones among the items (groups, or those with a part in the score)."""
    different = p_holm < _ALPHA
    more = 0 if different else more_items(test, things, _ALPHA / pairs)
    if more is not None and not different:  # (the number is an approximation, and p need not be)
        more = max(1, round(more * items / things))
    return Pair(
        first=first,
        second=second,
        difference=Interval(value=test.value, low=test.low, high=test.high),
        p=test.p,
        p_holm=p_holm,
        different=different,
        test=test.test,
        more_items=more,
    )


def _result(
    evidence: Evidence,
    judged: Judged,
    entry: Candidate,
    group: int,
    interval: tuple[float, float, float],
    labels_N: np.ndarray,
    task: Task,
) -> MethodResult:
    records = [read_record(folder) for folder in judged.folders]
    trials = tuple(evidence.trials.get(entry.name, ()))
    folds = evidence.design.folds
    names = {work.name for work in evidence.begun[entry.name]}
    forgotten = [r["forgetting"] for r in records if r.get("forgetting")]
    return MethodResult(
        name=entry.name,
        method=entry.method,
        model=entry.model.name,
        baseline=False,
        settings={**records[0]["settings"], **entry.own},
        learning_rates=tuple(evidence.chosen[entry.name, fold] for fold in range(folds)),
        group=group,
        score=Interval(value=interval[0], low=interval[1], high=interval[2]),
        spread=_spread(judged),
        valid=_mean([r["valid"][r["deciding"]] for r in records]),
        scores=_mean_scores(records, judged, evidence, task),
        cost=_cost(records, sum(trial.seconds for trial in trials)),
        forgetting=Forgetting(**{**forgotten[0], "value": _mean([f["value"] for f in forgotten])})
        if forgotten
        else None,
        confusion=_confusion(judged, labels_N, task),
        calibration=_calibration(judged),
        trials=trials,
        runs=tuple(folder.name for folder in judged.folders),
        failures={
            run: why
            for run, why in evidence.failures.items()
            if run in names or run in {trial.run for trial in trials}
        },
    )


def _confusion(judged: Judged, labels_N: np.ndarray, task: Task) -> tuple[tuple[float, ...], ...]:
    if judged.predicted_SN is None:
        return ()
    return confusion(judged.predicted_SN, codes_of(labels_N, task), len(task.classes))


def _calibration(judged: Judged) -> tuple[CalibrationBin, ...]:
    if judged.confidence_SN is None:
        return ()
    right_SN = judged.errors_SN == 0
    return tuple(
        CalibrationBin(confidence=confidence, accuracy=accuracy, rows=rows)
        for confidence, accuracy, rows in calibration_bins(judged.confidence_SN.ravel(), right_SN.ravel())
    )


def _spread(judged: Judged) -> float | None:
    values = [float(score(np.ones((1, judged.items)))[0]) for score in judged.scores]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _cost(records: Sequence[Mapping[str, Any]], tuning: float) -> Cost:
    def mean(field: str) -> float:
        return _mean([r["cost"].get(field, 0.0) for r in records])

    def only(field: str) -> float | None:
        known = [r["cost"][field] for r in records if field in r["cost"]]
        return known[0] if known else None

    return Cost(
        tuning_seconds=tuning,
        train_seconds=mean("train_seconds") + mean("trunk_seconds"),
        evaluation_seconds=mean("evaluation_seconds"),
        test_seconds=mean("test_seconds"),
        peak_memory_bytes=mean("peak_memory_bytes"),
        trained_parameters=mean("trained_parameters"),
        trained_share=mean("trained_share"),
        bundle_bytes=mean("bundle_bytes"),
        latency_1_seconds=only("latency_1_seconds"),
        latency_32_seconds=only("latency_32_seconds"),
    )


def _with_parts(
    results: Sequence[MethodResult], found: Sequence[Judged], advice: Advice
) -> list[MethodResult]:
    """The same, with F1 by class or type of the advised method and of the best: of all methods it would take
    longer than all else that is computed here."""
    told = {j.name: _parts(j) for j in found if j.name in (advice.method, advice.best)}
    return [r.model_copy(update={"parts": told.get(r.name, ())}) for r in results]


def _parts(judged: Judged) -> tuple[PartScore, ...]:
    """F1 of the weakest classes or types, the weakest first; of one that no item has, and none is said to
    have, there is none. Of folds it is that of all their items together, as the deciding score is."""
    runs = judged.class_runs()
    every = np.ones((1, judged.items))
    means = {label: _mean([float(run(every)[0]) for run in of]) for label, of in runs.items()}
    weakest = sorted(means, key=lambda label: means[label])[:_SHOWN_PARTS]
    if weakest:  # items are drawn once for all of them
        spread_of([run for label in weakest for run in runs[label]], judged.items, _RESAMPLES, 0)
    found = []
    for label in weakest:
        value, low, high = mean_interval(runs[label], judged.items, resamples=_RESAMPLES)
        found.append(PartScore(label=label, score=Interval(value=value, low=low, high=high)))
    return tuple(found)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _mean_scores(
    records: Sequence[Mapping[str, Any]], judged: Judged, evidence: Evidence, task: Task
) -> dict[str, float]:
    """Over runs. Of folds the deciding score and F1 by class are those of all their items together, as in
    the table; the others are means weighed by items, without the folds that lack one (a class without rows).
    """
    keys = dict.fromkeys(key for record in records for key in record["scores"])
    having = {key: [r for r in records if key in r["scores"]] for key in keys}
    if evidence.design.folds == 1:
        return {key: _mean([r["scores"][key] for r in own]) for key, own in having.items()}
    splits = next(iter(evidence.prepared.values())).splits
    found = {
        key: float(
            np.average([r["scores"][key] for r in own], weights=[len(splits[r["fold"]].test) for r in own])
        )
        for key, own in having.items()
    }
    every = np.ones((1, judged.items))
    by_class = {f"f1({label})": of for label, of in judged.class_runs().items()}
    whole: dict[str, Sequence[RunScore]] = {task.deciding: judged.scores, **by_class}
    return found | {name: _mean([float(run(every)[0]) for run in of]) for name, of in whole.items()}


def _baselines(
    evidence: Evidence,
    found: Sequence[Judged],
    pool: SeedPool | None,
    labels_N: np.ndarray,
    task: Task,
) -> tuple[list[MethodResult], dict[tuple[str, str], BaselineGap]]:
    """The baselines' rows, and how far each method is above each: (method, baseline). Corrected (Holm) for
    all these tests, since the best method is found on the very rows on which it is held against them."""
    results, tests = [], {}
    groups = groups_of(next(iter(evidence.prepared.values())), task)
    for name, folders in evidence.baselines.items():
        judged = gather(name, folders, task, evidence.design.folds, groups)
        if judged is None:
            continue
        records = [read_record(folder) for folder in judged.folders]
        items = judged.items
        value, low, high = mean_interval(judged.scores, items)
        results.append(
            MethodResult(
                name=name,
                method=name,
                model=records[0].get("model", evidence.entries[0].model.name),
                baseline=True,
                settings=records[0]["settings"],
                score=Interval(value=value, low=low, high=high),
                valid=_mean([r["valid"][r["deciding"]] for r in records]),
                scores=_mean_scores(records, judged, evidence, task),
                cost=_cost(records, 0.0),
                confusion=_confusion(judged, labels_N, task),
                calibration=_calibration(judged),
                runs=tuple(folder.name for folder in judged.folders),
            )
        )
        for method in found:
            tests[method.name, name] = compare_pair(
                method.scores, judged.scores, items, pool=pool, seeded=(evidence.design.seeds > 1, False)
            )
    gaps = {
        (method, name): BaselineGap(
            baseline=name,
            difference=Interval(value=test.value, low=test.low, high=test.high),
            p_holm=float(p),
            different=bool(p < _ALPHA),
        )
        for ((method, name), test), p in zip(
            tests.items(), holm([test.p for test in tests.values()]), strict=True
        )
    }
    return sorted(results, key=lambda r: -r.score.value), gaps


def _advise(
    evidence: Evidence,
    results: Sequence[MethodResult],
    group: Sequence[str],
    pairs: Sequence[Pair],
    gaps: Mapping[tuple[str, str], BaselineGap],
    items: int,
    units: int,
) -> Advice:
    """The cheapest of the best group, by tuning and training together; of those alone that surely beat every
    baseline that the best does, and are not worse than it by themselves: the correction for many pairs keeps
    the verdict from claiming differences, and would here keep it from seeing one."""
    by_name = {r.name: r for r in results}

    def spent(name: str) -> float:
        cost = by_name[name].cost
        runs = evidence.design.seeds * evidence.design.folds  # (one that failed is no saving)
        return cost.tuning_seconds + runs * (cost.train_seconds + cost.evaluation_seconds)

    def beats(name: str) -> set[str]:
        return {
            gap.baseline
            for (method, _), gap in gaps.items()
            if method == name and gap.different and gap.difference.value > 0
        }

    best, runner_up = results[0].name, results[1].name if len(results) > 1 else None
    own = {p.first if p.second == best else p.second: p.p for p in pairs if best in (p.first, p.second)}
    worthy = [name for name in group if beats(name) >= beats(best) and own.get(name, 1.0) >= _ALPHA]
    limit = min(map(spent, worthy)) * (1 + _LIKE_COST)
    chosen = next(name for name in worthy if spent(name) <= limit)  # the best score goes first
    close = next((p for p in pairs if {p.first, p.second} == {best, runner_up}), None)
    unbeaten = [gap for (name, base), gap in gaps.items() if name == best and base not in beats(best)]
    warnings = [
        *(["one_seed"] if evidence.design.seeds == 1 else []),
        *(["few_items" if units == items else "few_groups"] if units < _FEW_ITEMS else []),
        *(["failures"] if evidence.failures else []),
        *(["raced"] if evidence.race is not None and evidence.race.stops else []),
    ]
    return Advice(
        method=chosen,
        best=best,
        tied=tuple(group),
        sure=len(group) == 1,
        gap=by_name[best].score.value - by_name[chosen].score.value,
        cost_share=spent(chosen) / spent(best) if spent(best) else 1.0,
        runner_up=runner_up,
        units=units,
        more_items=close.more_items if close else None,
        baseline=min(unbeaten, key=lambda gap: gap.difference.value).baseline if unbeaten else None,
        warnings=tuple(warnings),
    )


def _spent(folder: Path) -> float:
    """All measured seconds of a run; latency is none of them."""
    cost = read_record(folder).get("cost", {})
    parts = ("load_seconds", "train_seconds", "evaluation_seconds", "test_seconds", "save_seconds")
    return float(sum(cost.get(part) or 0.0 for part in parts))


def _pareto(results: Sequence[MethodResult], price: Any) -> tuple[str, ...]:
    """Methods that no other is both at least as good and cheaper than, the cheapest first; one without a
    price (None: not measured) is left out."""
    front: list[str] = []
    best = -np.inf
    priced = [r for r in results if price(r) is not None]
    for result in sorted(priced, key=lambda r: (price(r), -r.score.value)):
        if result.score.value > best:
            front.append(result.name)
            best = result.score.value
    return tuple(front)
