"""What a study leaves on disk, typed: `study.json` is one `StudyRecord`.

The study computes every number and writes it; the report and the terminal only show. Shares and scores
are in [0, 1] and higher is better, times are seconds, sizes bytes, p-values are two-sided.
"""

from itertools import groupby
from typing import Any, Literal

from pydantic import Field

from tunelab.config import Section

__all__ = [
    "Advice",
    "AugmentEffect",
    "Augmentation",
    "BaselineGap",
    "CalibrationBin",
    "ClassEffect",
    "Copy",
    "Cost",
    "Crossing",
    "CurvePoint",
    "Disagreement",
    "Forgetting",
    "Interval",
    "MethodResult",
    "MoreRows",
    "Pair",
    "PartScore",
    "PlannedRun",
    "Policy",
    "Race",
    "RaceStop",
    "Round",
    "Sample",
    "StudyRecord",
    "Trial",
    "Written",
]


class Interval(Section):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Cost(Section):
    """What a method cost, each part measured apart. Means over its runs unless said otherwise."""

    tuning_seconds: float = Field(description="all trials together; 0 where nothing was tuned")
    train_seconds: float = Field(
        description="of one run, evaluations not counted; frozen layers as if computed for it alone"
    )
    evaluation_seconds: float = Field(description="of one run: the validations during training")
    test_seconds: float = Field(description="of one run: judging the test rows")
    peak_memory_bytes: float
    trained_parameters: float
    trained_share: float
    bundle_bytes: float = Field(description="of the finished artefact, without a base model it refers to")
    latency_1_seconds: float | None = Field(None, description="per row, rows one by one; None: not measured")
    latency_32_seconds: float | None = Field(None, description="per row, in batches of 32")


class Forgetting(Section):
    """How far the model moved away from what the pretrained one knew, on general text.

    kind: "causal_lm" and "masked_lm": rise of the loss in nats per token (0: nothing forgotten);
    "cka": 1 - linear CKA between its representations and the base model's (0: same up to rotation).
    """

    kind: Literal["causal_lm", "masked_lm", "cka"]
    value: float
    base: float | None = Field(None, description="loss of the untouched model; None for cka")
    sentences: int


class CalibrationBin(Section):
    """Test predictions of like confidence."""

    confidence: float
    accuracy: float
    rows: float


class Trial(Section):
    """One trial of the tuning, judged on validation rows only."""

    number: int
    fold: int
    learning_rate: float
    score: float | None = Field(None, description="best validation score; None: it failed")
    seconds: float
    state: Literal["complete", "stopped_early", "failed"]
    run: str = Field(description="folder below runs/")


class PartScore(Section):
    """F1 of one class or type."""

    label: str
    score: Interval = Field(description="over seeds and test rows; of this one by itself, nothing corrected")


class MethodResult(Section):
    """One row of the table: a method (or baseline) with its settings on one model."""

    name: str = Field(description="unique: lora; lora.rank=64; lora@bert-base-chinese")
    method: str
    model: str
    baseline: bool
    settings: dict[str, Any] = Field(description="the method's own settings")
    learning_rates: tuple[float, ...] = Field((), description="chosen by the tuning, one a fold")
    group: int | None = Field(None, description="1: the best group; methods of a group are tied")
    score: Interval = Field(description="the deciding score on the test rows, mean over seeds")
    spread: float | None = Field(None, description="standard deviation over seeds; None with one seed")
    valid: float
    scores: dict[str, float] = Field(description="every test score, means over runs")
    parts: tuple[PartScore, ...] = Field(
        (), description="the weakest first, 20 at most; only of the advised method and of the best"
    )
    cost: Cost
    forgetting: Forgetting | None = None
    confusion: tuple[tuple[float, ...], ...] = Field(
        (), description="[true][predicted] test rows, mean over seeds"
    )
    calibration: tuple[CalibrationBin, ...] = ()
    trials: tuple[Trial, ...] = ()
    runs: tuple[str, ...] = Field(description="folders below runs/ that were judged")
    failures: dict[str, str] = Field(default_factory=dict, description="run -> what went wrong")


class Pair(Section):
    """Two methods compared on the same test rows."""

    first: str
    second: str
    difference: Interval = Field(description="score of first minus score of second")
    p: float
    p_holm: float = Field(description="corrected for all pairs of the study")
    different: bool = Field(description="p_holm < 0.05")
    test: Literal["bootstrap", "mcnemar"]
    more_items: int | None = Field(
        None,
        description="further test rows that would separate them with 80 % power if the difference is real; "
        "0: separated already; None: no number of rows would (the seeds' noise is too large)",
    )


class BaselineGap(Section):
    """The best method against a baseline."""

    baseline: str
    difference: Interval = Field(description="score of the best method minus the baseline's")
    p_holm: float
    different: bool


class Advice(Section):
    """What to take, with the facts it rests on."""

    method: str = Field(
        description="what is handed over: of the best group the cheapest not worse than the best alone"
    )
    best: str = Field(description="the highest mean score")
    tied: tuple[str, ...] = Field(description="the best group, best first")
    sure: bool = Field(description="the best group has one member")
    gap: float = Field(description="mean score of the best minus that of the advised method; 0 if the same")
    cost_share: float = Field(description="tuning and training seconds of the advised over those of the best")
    runner_up: str | None = Field(None, description="the second in the table; None with one method")
    units: int = Field(0, description="independent things among the test items: fewer where they form groups")
    more_items: int | None = Field(None, description="as in Pair, best against runner_up")
    baseline: str | None = Field(None, description="a baseline that the best method does not beat for sure")
    warnings: tuple[str, ...] = Field(
        (), description="one_seed, few_items, few_groups, low_power, failures, raced"
    )


class Disagreement(Section):
    """A test row that the advised method gets wrong and the best of the others right; where answers are no
    classes, one on which it is further off."""

    item: int
    file: str
    row: int
    text: str
    label: str
    predictions: dict[str, str] = Field(description="method -> what most of its seeds say")
    right: dict[str, bool] = Field(
        {}, description="method -> whether that is right; empty where answers are numbers or losses"
    )


class PlannedRun(Section):
    """What was predicted before a run and what it took."""

    run: str
    name: str = Field(description="the method's row in the table")
    kind: Literal["trial", "judged", "refit", "curve"]
    predicted_seconds: float
    predicted_memory_bytes: float
    seconds: float | None = None
    memory_bytes: float | None = None


class Sample(Section):
    """A test row that the advised method's model answers in words of its own."""

    item: int
    file: str
    row: int
    text: str = Field(description="what it was given")
    label: str = Field(description="the answer in the data")
    prediction: str = Field(description="what it wrote, the likeliest token each time, 128 at most")


class CurvePoint(Section):
    """A method trained on a share of the training rows, judged on the same test rows."""

    name: str
    rows: int
    score: Interval


class MoreRows(Section):
    """What further labelled rows would be worth to a method: always an extrapolation."""

    name: str
    rows: int = Field(description="further training rows")
    gain: Interval | None = Field(description="of the score; None: the curve says nothing about it")


class Crossing(Section):
    """From how many training rows on a method is ahead of another, at the measured numbers of rows."""

    first: str
    second: str
    rows: int
    difference: Interval = Field(description="score of first minus score of second at so many rows")
    sure: bool = Field(description="the interval excludes 0")
    overtakes: bool = Field(description="with fewer rows the first was not ahead")


class RaceStop(Section):
    """A method that was stopped because it could no longer win."""

    name: str
    step: int
    of_steps: int
    behind: Interval = Field(description="validation score of the leader minus its own at that step")


class Race(Section):
    """What a race saved, and what it risked."""

    stops: tuple[RaceStop, ...]
    saved_share: float = Field(description="of the exhaustive study's predicted work (seconds)")
    risk: float = Field(
        description="upper bound on the chance that a stopped method would have caught the leader"
    )


class ClassEffect(Section):
    """What new training rows did to one class (of entities: one type)."""

    label: str
    plain_score: Interval = Field(description="F1 without them")
    augmented_score: Interval = Field(description="F1 with them")
    difference: Interval = Field(description="F1 with them minus F1 without")
    p_holm: float = Field(description="corrected for all classes of all methods")
    different: bool


class AugmentEffect(Section):
    """What new training rows did to one method, or to all together."""

    plain: str = Field(description='the row of the table without them; "" for all methods together')
    augmented: str = Field(description="the one with them")
    difference: Interval = Field(description="score with them minus score without")
    p: float
    p_holm: float = Field(description="corrected for the number of methods; of all together: as it is")
    different: bool = Field(description="p_holm < 0.05")
    classes: tuple[ClassEffect, ...] = ()


class Copy(Section):
    """A new training row: what it was, and the changed text."""

    original: str
    changed: str
    label: str


class Augmentation(Section):
    """The new training rows of a study and what came of them."""

    recipe: tuple[str, ...] = Field(description="the ways in which they were made")
    rows: int = Field(description="training rows of the first split")
    copies: int = Field(description="new rows beside them")
    asked: int = Field(description="new rows that were asked for, over all folds")
    lost: dict[str, int] = Field(
        description="could_not, repeats, held_out (equal to a validation or test row), changed (label lost)"
    )
    examples: tuple[Copy, ...]
    overall: AugmentEffect | None = Field(None, description="all methods together; None with one")
    effects: tuple[AugmentEffect, ...] = Field(description="one a method")


class Round(Section):
    """What was told of one round of answers to learn from."""

    reward: float
    kl: float = Field(description="to the untouched model, nats an answer")
    entropy: float = Field(description="of the policy, nats a token, by what it drew")
    tokens: float = Field(description="of an answer")
    clipped: float | None = Field(None, description="share of actions whose ratio was clipped")
    value_error: float | None = Field(None, description="PPO: mean squared error of the value head")


class Policy(Section):
    """What a method's model writes by itself, beside the untouched one."""

    name: str
    win_rate: Interval = Field(description="share of prompts on which its answer is worth more, by the judge")
    untouched_reward: float
    trained_reward: float = Field(
        description="by the reward that was learnt from, where the judge is another"
    )
    untouched_trained_reward: float
    kl: float = Field(description="nats an answer, mean over prompts and runs")
    tokens: float
    untouched_tokens: float
    ended: float = Field(description="share of answers that end by themselves")
    flags: tuple[str, ...] = Field((), description="what looks like a gamed reward")
    rounds: tuple[Round, ...] = Field((), description="of its first run")
    seconds: dict[str, float] = Field(
        default_factory=dict, description="rollout, reward and update, of one run, where it wrote to learn"
    )


class Written(Section):
    """An answer before and after, by the advised method's first run."""

    item: int
    file: str
    row: int
    text: str
    before: str
    after: str
    before_reward: float
    after_reward: float


class StudyRecord(Section):
    """All that a study found."""

    title: str = Field(description="name of the data")
    created: str = Field(description="ISO 8601, UTC")
    task: str
    deciding: str = Field(description="accuracy, macro_f1, ...")
    labels: tuple[str, ...]
    rows: dict[str, int] = Field(description="all, train, valid, test (of the first split)")
    folds: int
    seeds: int
    effort: str
    trials_each: int = Field(description="trials of every method on every fold; 1: the method's default only")
    items: int = Field(description="test rows that every method was judged on")
    results: tuple[MethodResult, ...] = Field(description="methods, best first; then baselines")
    pairs: tuple[Pair, ...]
    baselines: tuple[BaselineGap, ...]
    advice: Advice
    pareto_time: tuple[str, ...] = Field(description="methods that none is both better and faster than")
    pareto_memory: tuple[str, ...]
    pareto_latency: tuple[str, ...] = Field(
        (), description="the same by the latency of rows one by one, of methods for which it was measured"
    )
    disagreements: tuple[Disagreement, ...]
    samples: tuple[Sample, ...] = ()
    policies: tuple[Policy, ...] = ()
    written: tuple[Written, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    more_rows: tuple[MoreRows, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    race: Race | None = None
    augmentation: Augmentation | None = Field(None, description="None: the study had none")
    plan: tuple[PlannedRun, ...] = ()
    findings: tuple[dict[str, Any], ...] = Field(description="of the data doctor")
    notes: tuple[str, ...]
    failures: dict[str, str]
    config: dict[str, Any] = Field(description="every setting, resolved")
    machine: dict[str, Any]
    versions: dict[str, str]
    digests: dict[str, str] = Field(description="of data, split and models")
    seconds: float = Field(description="of all trials, runs and baselines added up")
    command: str = Field(description="what to type to get this study again")

    def groups(self) -> list[tuple[int | None, list[MethodResult]]]:
        """The results by tied group, the best group first and in each the best first; then (None, baselines).

        A method whose seeds lie far apart is told apart from less: it may stand in a higher group than one
        with a better score.
        """
        ordered = sorted(self.results, key=lambda r: (r.group is None, r.group or 0))
        return [(number, list(members)) for number, members in groupby(ordered, key=lambda r: r.group)]
