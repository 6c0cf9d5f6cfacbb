"""Records to show: a rich study, the smallest there can be, one with 77 classes, and one full of nasty text."""

import numpy as np

from tunelab.records import (
    Advice,
    Augmentation,
    AugmentEffect,
    BaselineGap,
    CalibrationBin,
    ClassEffect,
    Copy,
    Cost,
    Crossing,
    CurvePoint,
    Disagreement,
    Forgetting,
    Interval,
    MethodResult,
    MoreRows,
    Pair,
    PartScore,
    PlannedRun,
    Race,
    RaceStop,
    StudyRecord,
    Trial,
)

NASTY = "<script>alert(1)</script>"
#: name -> (score, group, training seconds, memory in bytes, trained share, learning rate)
METHODS = {
    "full": (0.9297, 1, 812.0, 5.9e9, 1.0, 3e-5),
    "lora": (0.9263, 1, 301.0, 2.4e9, 0.0098, 8e-4),
    "layer_decay": (0.9258, 1, 845.0, 5.9e9, 1.0, 5e-5),
    "dora": (0.9231, 1, 420.0, 2.7e9, 0.0101, 8e-4),
    "adapter": (0.9198, 2, 287.0, 2.2e9, 0.031, 1e-3),
    "rslora": (0.9192, 2, 299.0, 2.4e9, 0.0098, 4e-4),
    "top_layers": (0.9181, 2, 240.0, 1.9e9, 0.33, 6e-5),
    "adalora": (0.9143, 2, 350.0, 2.6e9, 0.014, 2e-3),
    "bitfit": (0.9085, 3, 231.0, 1.8e9, 0.0011, 2e-3),
    "gradual": (0.9077, 3, 560.0, 5.1e9, 1.0, 5e-5),
    "ia3": (0.9012, 3, 244.0, 1.9e9, 0.0006, 5e-3),
    "prefix": (0.8874, 4, 262.0, 1.9e9, 0.004, 1e-2),
    "p_tuning": (0.871, 4, 255.0, 1.9e9, 0.0009, 1e-2),
    "head": (0.8421, 5, 38.0, 0.7e9, 0.00003, 3e-3),
    "prompt": (0.5512, 6, 249.0, 1.9e9, 0.0004, 3e-2),
}
#: Milliseconds of one row; of the others 21.4.
_LATENCY = {"adapter": 23.8, "top_layers": 21.2, "bitfit": 21.1, "ia3": 22.2, "prefix": 24.6, "head": 20.7}
_UNTIMED = "gradual"
_ITEMS = 1821
_LABELS = ("negative", NASTY, "中性（“引号” & 'quotes'）")


def example_record() -> StudyRecord:
    """Fifteen methods in six groups with everything a study can record, and nasty names and texts."""
    rng = np.random.default_rng(0)
    names = list(METHODS)
    results = [_result(rng, name, *METHODS[name], labels=_LABELS) for name in names]
    baselines = [_baseline(rng, "tfidf", 0.868, _LABELS), _baseline(rng, "majority", 0.412, _LABELS)]
    return StudyRecord(
        **_frame(results, baselines, _LABELS, title='reviews "A&B" <b>评论</b>.csv'),
        pairs=_pairs(names),
        baselines=tuple(
            BaselineGap(
                baseline=b.name,
                difference=_around(METHODS["full"][0] - b.score.value, 0.014),
                p_holm=0.0002,
                different=True,
            )
            for b in baselines
        ),
        advice=Advice(
            method="lora",
            best="full",
            tied=("full", "lora", "layer_decay", "dora"),
            sure=False,
            gap=0.0034,
            cost_share=0.371,
            runner_up="lora",
            more_items=2340,
            warnings=("failures", "raced"),
        ),
        pareto_time=("head", "bitfit", "top_layers", "adapter", "lora", "full"),
        pareto_memory=("head", "bitfit", "top_layers", "adapter", "lora", "full"),
        pareto_latency=("head", "bitfit", "top_layers", "full"),
        disagreements=_disagreements(),
        curve=tuple(
            CurvePoint(
                name=name,
                rows=rows,
                score=_around(METHODS[name][0] - (0.9 if i % 2 else 1.6) / rows**0.5 + 0.012, 0.012),
            )
            for i, name in enumerate(names[:6])
            for rows in (655, 1639, 3278, 6556)
        ),
        more_rows=(
            MoreRows(name="full", rows=500, gain=Interval(value=0.0013, low=-0.0004, high=0.0041)),
            MoreRows(name="lora", rows=500, gain=None),
        ),
        crossings=(
            Crossing(
                first="full",
                second="lora",
                rows=3278,
                difference=_around(0.004, 0.003),
                sure=True,
                overtakes=True,
            ),
            Crossing(
                first="lora",
                second="head",
                rows=655,
                difference=_around(0.01, 0.02),
                sure=False,
                overtakes=False,
            ),
        ),
        race=Race(
            stops=(RaceStop(name="prefix@other-model", step=120, of_steps=615, behind=_around(0.081, 0.03)),),
            saved_share=0.123,
            risk=0.0007,
        ),
        augmentation=_augmentation(),
        plan=_plan(rng, results),
        findings=(
            _finding("warning", "12 rows appear more than once.", 12, fixable=True),
            _finding("info", f"Texts hold markup such as {NASTY}.", 3),
            _finding("error", "第 7 行没有标签。", 1),
        ),
        notes=(f"the column {NASTY!r} is ignored",),
        failures={"lora-s2-f0-0011223344": f"NotFiniteError: {NASTY} loss became nan at step 31"},
    )


def _augmentation() -> Augmentation:
    classes = tuple(
        ClassEffect(
            label=label,
            plain_score=_around(0.91, 0.02),
            augmented_score=_around(0.91 + gain, 0.02),
            difference=_around(gain, 0.012),
            p_holm=0.0004 if gain > 0.02 else 0.7,
            different=gain > 0.02,
        )
        for label, gain in zip(_LABELS, (0.031, -0.002, 0.0), strict=True)
    )
    effects = tuple(
        AugmentEffect(
            plain=name,
            augmented=f"{name}+augment",
            difference=_around(gain, 0.011),
            p=p,
            p_holm=min(1.0, 2 * p),
            different=2 * p < 0.05,
            classes=classes,
        )
        for name, gain, p in (("full", 0.002, 0.61), ("lora", 0.014, 0.011))
    )
    overall = AugmentEffect(
        plain="", augmented="", difference=_around(0.008, 0.007), p=0.03, p_holm=0.03, different=True
    )
    return Augmentation(
        recipe=("swap", "delete", "keyboard"),
        rows=6556,
        copies=6501,
        asked=6556,
        lost={"could_not": 31, "repeats": 20, "held_out": 4, "changed": 0},
        examples=(Copy(original=f"a {NASTY} film", changed=f"{NASTY} a film", label=_LABELS[2]),),
        overall=overall,
        effects=effects,
    )


def small_record() -> StudyRecord:
    """One method, one seed, no tuning, no baseline, nothing optional."""
    rng = np.random.default_rng(1)
    labels = ("no", "yes")
    result = _result(rng, "lora", 0.81, 1, 3.2, 4.1e8, 0.01, 1e-3, labels=labels).model_copy(
        update={
            "spread": None,
            "parts": (),
            "trials": (),
            "forgetting": None,
            "calibration": (),
            "confusion": (),
            "failures": {},
        }
    )
    result = result.model_copy(
        update={
            "cost": result.cost.model_copy(
                update={"tuning_seconds": 0.0, "latency_1_seconds": None, "latency_32_seconds": None}
            )
        }
    )
    frame = _frame([result], [], labels, title="tiny.csv") | {"seeds": 1, "trials_each": 1, "items": 40}
    return StudyRecord(
        **frame,
        pairs=(),
        baselines=(),
        advice=Advice(
            method="lora",
            best="lora",
            tied=("lora",),
            sure=True,
            gap=0.0,
            cost_share=1.0,
            warnings=("one_seed", "few_items", "an_unknown_code"),
        ),
        pareto_time=("lora",),
        pareto_memory=("lora",),
        disagreements=(),
        findings=(),
        notes=(),
        failures={},
    )


def banking_record() -> StudyRecord:
    """77 classes, 15 methods, 5 folds x 10 trials: as large as a page gets."""
    rng = np.random.default_rng(2)
    labels = tuple(f"intent_{i}_about_card_{'payment' if i % 3 else '卡片支付没有到账'}" for i in range(77))
    base = example_record()
    results = []
    for result in base.results:
        table = _confusion(rng, labels, result.score.value)
        scores = {k: v for k, v in result.scores.items() if not k.startswith("f1(")}
        scores |= {f"f1({label})": float(rng.uniform(0.4, 1)) for label in labels}
        trials = tuple(
            trial.model_copy(update={"fold": fold, "run": f"{trial.run}-f{fold}-{n}"})
            for fold in range(5)
            for n in range(2)
            for trial in result.trials
        )
        rates = (
            tuple(result.learning_rates[0] * (1 + (fold == 3)) for fold in range(5))
            if result.learning_rates
            else ()
        )
        results.append(
            result.model_copy(
                update={
                    "confusion": table,
                    "scores": scores,
                    "parts": _parts(scores) if result.parts else (),
                    "trials": trials,
                    "learning_rates": rates,
                }
            )
        )
    plan = base.plan * 20
    return base.model_copy(
        update={
            "title": "banking77.csv",
            "labels": labels,
            "results": tuple(results),
            "folds": 5,
            "plan": plan,
            "deciding": "macro_f1",
        }
    )


def sure_record() -> StudyRecord:
    """Two methods, one of them surely better."""
    base = example_record()
    results = tuple(r for r in base.results if r.name in ("full", "head", "tfidf"))
    pair = next(p for p in base.pairs if (p.first, p.second) == ("full", "head"))
    return base.model_copy(
        update={
            "results": results,
            "pairs": (pair.model_copy(update={"different": True, "p_holm": 0.0004, "more_items": 0}),),
            "advice": Advice(
                method="full",
                best="full",
                tied=("full",),
                sure=True,
                gap=0.0,
                cost_share=1.0,
                runner_up="head",
                more_items=0,
            ),
            "pareto_time": ("head", "full"),
            "pareto_memory": ("head", "full"),
            "pareto_latency": ("head", "full"),
            "curve": (),
            "more_rows": (),
            "crossings": (),
            "race": None,
        }
    )


def unbeaten_record(difference: float, different: bool) -> StudyRecord:
    """The example, but its best method does not beat tfidf for sure (or is beaten by it)."""
    base = example_record()
    gap = BaselineGap(
        baseline="tfidf",
        difference=_around(difference, 0.011),
        p_holm=0.001 if different else 0.6,
        different=different,
    )
    return base.model_copy(
        update={
            "baselines": (gap, *base.baselines[1:]),
            "advice": base.advice.model_copy(update={"baseline": "tfidf"}),
        }
    )


def _around(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def _result(
    rng: np.random.Generator,
    name: str,
    score: float,
    group: int,
    seconds: float,
    memory: float,
    share: float,
    learning_rate: float,
    labels: tuple[str, ...],
) -> MethodResult:
    trials = []
    for number, factor in enumerate((1.0, 0.25, 4.0, 0.5, 12.0)):
        state = ("complete", "complete", "complete", "stopped_early", "failed")[number]
        trials.append(
            Trial(
                number=number,
                fold=0,
                learning_rate=learning_rate * factor,
                score=None if state == "failed" else score - 0.012 * abs(np.log(factor)) + 0.004,
                seconds=seconds * 0.8,
                state=state,
                run=f"{name}-t{number}-f0-{number:010x}",
            )
        )
    return MethodResult(
        name=name,
        method=name,
        model="google-bert/bert-base-chinese",
        baseline=False,
        settings={"rank": 8, "targets": "query_value"} if "lora" in name else {},
        learning_rates=(learning_rate,),
        group=group,
        score=_around(score, 0.0125),
        spread=0.0021 + 0.001 * rng.random(),
        valid=score + 0.004,
        scores={"accuracy": score, "macro_f1": score - 0.01, "mcc": score - 0.12, "ece": 0.031, "loss": 0.214}
        | {f"f1({label})": score - 0.02 * i for i, label in enumerate(labels)},
        parts=_parts({f"f1({label})": score - 0.02 * i for i, label in enumerate(labels)})
        if name in ("full", "lora")
        else (),
        cost=Cost(
            tuning_seconds=4.1 * seconds,
            train_seconds=seconds,
            evaluation_seconds=0.07 * seconds,
            test_seconds=9.2,
            peak_memory_bytes=memory,
            trained_parameters=102_269_955 * share,
            trained_share=share,
            bundle_bytes=max(1.2e5, 4.1e8 * share),
            latency_1_seconds=None if name == _UNTIMED else _LATENCY.get(name, 21.4) / 1000,
            latency_32_seconds=0.00871,
        ),
        forgetting=Forgetting(kind="masked_lm", value=0.31 * share**0.2 - 0.03, base=2.317, sentences=400),
        confusion=_confusion(rng, labels, score),
        calibration=tuple(
            CalibrationBin(confidence=c, accuracy=max(0.0, c - 0.06 * c), rows=float(20 + 1500 * c**6))
            for c in (0.37, 0.46, 0.55, 0.64, 0.76, 0.85, 0.965)
        ),
        trials=tuple(trials),
        runs=tuple(f"{name}-s{seed}-f0-{seed:010x}" for seed in range(3)),
        failures={"lora-s2-f0-0011223344": "NotFiniteError"} if name == "lora" else {},
    )


def _parts(scores: dict[str, float]) -> tuple[PartScore, ...]:
    """The 20 lowest F1, as a study records them."""
    known = sorted((value, name[3:-1]) for name, value in scores.items() if name.startswith("f1("))
    return tuple(
        PartScore(label=label, score=Interval(value=value, low=value - 0.07, high=min(value + 0.05, 1.0)))
        for value, label in known[:20]
    )


def _baseline(rng: np.random.Generator, name: str, score: float, labels: tuple[str, ...]) -> MethodResult:
    made = _result(rng, name, score, 1, 1.7, 0.0, 0.0, 1e-3, labels)
    return made.model_copy(
        update={
            "baseline": True,
            "group": None,
            "spread": None,
            "learning_rates": (),
            "trials": (),
            "forgetting": None,
            "settings": {"C": 10.0},
            "cost": made.cost.model_copy(
                update={"tuning_seconds": 0.0, "latency_1_seconds": None, "latency_32_seconds": None}
            ),
        }
    )


def _confusion(
    rng: np.random.Generator, labels: tuple[str, ...], score: float
) -> tuple[tuple[float, ...], ...]:
    n = len(labels)
    rows = rng.multinomial(_ITEMS, np.full(n, 1 / n))
    table = []
    for i, total in enumerate(rows):
        p = rng.dirichlet(np.full(n, 0.2)) * (1 - score)
        p[i] += score
        table.append(tuple(float(v) for v in rng.multinomial(total, p / p.sum())))
    return tuple(table)


def _pairs(names: list[str]) -> tuple[Pair, ...]:
    pairs = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            gap = METHODS[a][0] - METHODS[b][0]
            different = METHODS[a][1] != METHODS[b][1]
            pairs.append(
                Pair(
                    first=a,
                    second=b,
                    difference=_around(gap, 0.008 if different else 0.012),
                    p=0.0001 if different else 0.31,
                    p_holm=0.0062 if different else 1.0,
                    different=different,
                    test="bootstrap",
                    more_items=0 if different else (None if gap < 0.001 else 2340),
                )
            )
    return tuple(pairs)


def _disagreements() -> tuple[Disagreement, ...]:
    texts = (
        "Charming little clock. It has told the right time twice a day since Tuesday.",
        f'Their page shows {NASTY} and </script><script>alert(2)</script> instead of my order & "receipt".',
        "屏幕很好，但是客服三天没有回复，最后只好自己修。" * 3,
        "very long " * 300,
        "OneUnbrokenWord" * 40,
        *(f"Row number {i}: nothing special." for i in range(6)),
    )
    return tuple(
        Disagreement(
            item=i,
            file="data/评论 <1>.csv",
            row=i + 2,
            text=text,
            label=_LABELS[i % 3],
            predictions={"full": _LABELS[i % 3], "lora": _LABELS[(i + 1) % 3], "head": _LABELS[2]},
            right={"full": True, "lora": False, "head": i % 3 == 2},
        )
        for i, text in enumerate(texts)
    )


def _plan(rng: np.random.Generator, results: list[MethodResult]) -> tuple[PlannedRun, ...]:
    runs = []
    for result in results:
        for name, kind in [
            *((run, "judged") for run in result.runs),
            *((trial.run, "trial") for trial in result.trials),
        ]:
            known = kind == "judged" or rng.random() < 0.6
            seconds = result.cost.train_seconds * (1 if kind == "judged" else 0.8)
            runs.append(
                PlannedRun(
                    run=name,
                    name=result.name,
                    kind=kind,
                    predicted_seconds=seconds,
                    predicted_memory_bytes=result.cost.peak_memory_bytes,
                    seconds=seconds * float(rng.normal(1.05, 0.12)) if known else None,
                    memory_bytes=result.cost.peak_memory_bytes * float(rng.normal(1.0, 0.03))
                    if known
                    else None,
                )
            )
    return tuple(runs)


def _finding(severity: str, title: str, count: int, fixable: bool = False) -> dict[str, object]:
    return {
        "code": "repeats",
        "severity": severity,
        "title": title,
        "count": count,
        "share": count / 8195,
        "rows": [3, 17],
        "examples": [f"reviews.csv, row 5: {NASTY}", "reviews.csv, row 19: 很好用"],
        "advice": "Keep one of each." if fixable else "",
        "fixable": fixable,
    }


def _frame(
    results: list[MethodResult], baselines: list[MethodResult], labels: tuple[str, ...], title: str
) -> dict[str, object]:
    return {
        "title": title,
        "created": "2025-03-04T05:06:07+00:00",
        "task": "classify",
        "deciding": "accuracy",
        "labels": labels,
        "rows": {"all": 9196, "train": 6556, "valid": 819, "test": _ITEMS},
        "folds": 1,
        "seeds": 3,
        "effort": "standard",
        "trials_each": 5,
        "items": _ITEMS,
        "results": (*results, *baselines),
        "config": {
            "files": ["reviews.csv"],
            "train": {"epochs": None, "batch_size": 32},
            "data": {"text": NASTY},
        },
        "machine": {
            "system": "Linux",
            "processor": "AMD EPYC",
            "cores": 2,
            "memory": 25276502016,
            "gpu": None,
        },
        "versions": {"python": "3.11.7", "tunelab": "0.1.0", "torch": "2.9.0"},
        "digests": {"data": "81c712749a69f8ae94796c78072565c8ed97eeb50ac1816bf478b3d9569aed47"},
        "seconds": 41_312.0,
        "command": "tunelab compare --config reviews/study.yaml --out again",
    }
