"""Rules of thumb for models and methods, each with its reason in words.

What they say of quality is expectation, from the methods' papers and this project's own studies
(docs/benchmarks.md); a study decides.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunelab.config import StudyConfig, seconds_of
from tunelab.methods import METHODS
from tunelab.models import DEFAULT_LENGTH, PACKAGED
from tunelab.study.catalogue import CATALOGUE, Known
from tunelab.study.estimate import Cost, Load, Machine, cost
from tunelab.study.facts import DataFacts
from tunelab.study.tuning import Design
from tunelab.tasks.base import Task

__all__ = ["NIGHT", "MethodAdvice", "ModelAdvice", "Rules"]

NIGHT = 8 * 3600.0  # seconds; a study that takes longer is made shorter
_SOON = 2 * 3600.0  # a study that a person waits for: the best model within it comes first
_FREE = 0.9  # share of the free memory that is counted on
_CUT = 0.05  # share of the rows that may be cut before a greater length is advised
_FEW = 50  # training rows a class: banking77 with 26 had full 14 points behind head (docs/benchmarks.md)
_MANY = 2000
_MOST_LENGTH = 512  # tokens; more is advised to nobody unasked: time and memory grow with it
_LARGE = 1e9  # parameters
_SHOWN, _SHOWN_TOO_LARGE = 7, 2


@dataclass(frozen=True)
class ModelAdvice:
    """A model and what it would cost here, roughly (within `estimate.FACTOR`).

    fits: an advised method has room in memory; max_length: tokens of a text that are kept; costs: of one run
    by method, of those that fit; run_seconds: the shortest and longest of them; memory_bytes: the largest
    (where none fits: the least that is needed); study_seconds: all of them at the asked effort; why: reasons
    in words; ready: its weights are surely in a format that tunelab reads.
    """

    name: str
    parameters: int
    licence: str
    fits: bool
    max_length: int
    costs: Mapping[str, Cost]
    run_seconds: tuple[float, float]
    memory_bytes: float
    study_seconds: float
    why: tuple[str, ...]
    ready: bool


@dataclass(frozen=True)
class MethodAdvice:
    """A method, whether a first study should have it, and why."""

    name: str
    include: bool
    why: str


# ---- methods -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """What the rules for methods ask: training rows, in words too; few of them a class; a large model."""

    rows: int
    told: str
    few: bool
    large: bool


def _full(c: _Case) -> tuple[bool, str]:
    if c.large:
        return False, "moves everything: 16 bytes of memory for every parameter, too dear at this size"
    if c.few:
        return True, f"the yardstick, moves everything; {c.told} may be too few for it"
    enough = f"; {c.rows:,} training rows are enough for it" if c.rows >= _MANY else ""
    return True, f"the yardstick, moves everything{enough}"


def _head(c: _Case) -> tuple[bool, str]:
    more = f", and with {c.told} hard to beat" if c.few else ""
    return True, f"the cheapest by far: the pretrained model's features as they are{more}"


def _adapter(c: _Case) -> tuple[bool, str]:
    more = f"; few trained numbers suit {c.told}" if c.few else ""
    return True, f"small networks between frozen layers; was level with lora in our studies{more}"


def _layer_decay(c: _Case) -> tuple[bool, str]:
    if c.large or c.few:
        return False, "full with slower lower layers: add it if full is in the best group"
    return True, "full with slower lower layers: the same cost, often steadier"


def _bitfit(c: _Case) -> tuple[bool, str]:
    more = f"suit {c.told}" if c.few else "add it if head and lora are level"
    return c.few, f"biases only, very few trained numbers: {more}"


def _relative(c: _Case) -> tuple[bool, str]:
    return False, "a relative of lora: add it if lora is in the best group (compare --add)"


def _wide_relative(c: _Case) -> tuple[bool, str]:
    if c.large:
        return True, "a relative of lora: where full is too dear, these compete for the best"
    return _relative(c)


def _prompts(c: _Case) -> tuple[bool, str]:
    return False, (
        "far behind on small models in our studies; level with full only at billions of parameters "
        "(Lester et al. 2021, arXiv:2104.08691)"
    )


_METHODS: Mapping[str, Callable[[_Case], tuple[bool, str]]] = {
    "full": _full,
    "head": _head,
    "lora": lambda c: (True, "usually near full with a hundredth of the trained numbers and less memory"),
    "adapter": _adapter,
    "top_layers": lambda c: (not c.large, "between head and full: lower layers are computed once"),
    "layer_decay": _layer_decay,
    "bitfit": _bitfit,
    "dora": _wide_relative,
    "rslora": _wide_relative,
    "adalora": _relative,
    "ia3": _relative,
    "prompt": _prompts,
    "p_tuning": _prompts,
    "prefix": _prompts,
    "gradual": lambda c: (False, "ends as full does: add it if full differs from seed to seed"),
}


# ---- models --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """Facts of data and machine, and what follows from them."""

    config: StudyConfig
    facts: DataFacts
    load: Load
    here: Machine
    kind: type[Task]

    @property
    def room(self) -> float:
        """Bytes that a run may take."""
        return _FREE * self.here.memory_bytes

    @property
    def few(self) -> bool:
        """Too few training rows a class for methods that move everything (of numbers: as if of four)."""
        return self.facts.train < _FEW * max(self.facts.classes, 4)

    def share_over(self, length: int) -> float:
        """Share of the training rows that have more tokens; 0 where the task cuts them into windows."""
        return 0.0 if self.kind.windowed else float(np.mean(self.load.train > length))

    def models(self, mine: Known | None = None) -> tuple[ModelAdvice, ...]:
        """The user's own first; then those made for the language before those that know it among others, the
        kind that suits the task first, and of these the best that a study of two hours can have, then the
        quicker ones; samples after these, and at last some without room."""
        known = [k for k in CATALOGUE if self._suits(k) and (mine is None or k.name != mine.name)]
        judged = {k.name: self._judge(k) for k in known}
        kinds = [kind for kind in ("encoder", "causal", "seq2seq") if any(k.kind == kind for k in known)]

        def order(k: Known) -> tuple[bool, int, bool, float]:
            seconds = judged[k.name].study_seconds
            late = seconds > _SOON
            return (not self._made_for(k), kinds.index(k.kind), late, seconds if late else 0.0)

        fitting = self._sure_first(sorted((k for k in known if judged[k.name].fits), key=order))
        large = sorted((k for k in known if not judged[k.name].fits), key=lambda k: k.shape.parameters)
        samples = [k for k in fitting if k.sample]
        others = [k for k in fitting if not k.sample]
        own = [self._judge(mine)] if mine is not None else []
        shown = [*others[: _SHOWN - len(own) - len(samples)], *samples, *large[:_SHOWN_TOO_LARGE]]
        return (*own, *(judged[k.name] for k in shown))

    def _sure_first(self, known: Sequence[Known]) -> list[Known]:
        """The command's model must be sure to open: the first with safetensors moves to the front, unless
        that would prefer one that is not made for the language."""
        sure = next((k for k in known if k.safetensors and not k.sample), None)
        if sure is None or self._made_for(sure) != self._made_for(known[0]):
            return list(known)
        return [sure, *(k for k in known if k is not sure)]

    def _suits(self, known: Known) -> bool:
        if not known.suits(self.kind.name):
            return False
        among_others = "many" in known.languages and (known.kind != "encoder" or self.facts.language == "zh")
        return self._made_for(known) or among_others

    def _made_for(self, known: Known) -> bool:
        return self.facts.language in known.languages

    def length(self, known: Known) -> int:
        """Tokens of a text that are kept: the default, or more where it would cut too many texts."""
        wanted = self.config.model.max_length
        if wanted is None:
            most = 64 * math.ceil(float(np.percentile(self.load.train, 95)) / 64)
            wanted = min(most, _MOST_LENGTH) if self.share_over(DEFAULT_LENGTH) > _CUT else DEFAULT_LENGTH
        return min(wanted, known.max_length)

    def _judge(self, known: Known) -> ModelAdvice:
        length = self.length(known)
        load = self.load.cut(length, self.kind.windowed)
        every = {name: cost(known.shape, name, load, self.here) for name in self._wanted(known)}
        costs = {name: each for name, each in every.items() if each.memory_bytes <= self.room}
        shown = (costs or every).values()
        memory = [each.memory_bytes for each in shown]
        return ModelAdvice(
            name=known.name,
            parameters=known.shape.parameters,
            licence=known.licence,
            fits=bool(costs),
            max_length=length,
            costs=costs,
            run_seconds=(min(each.seconds for each in shown), max(each.seconds for each in shown)),
            memory_bytes=max(memory) if costs else min(memory),
            study_seconds=self.study_seconds(costs or every, self.config.effort),
            why=tuple(self._why(known, every, costs, length)),
            ready=known.safetensors,
        )

    def study_seconds(self, costs: Mapping[str, Cost], effort: str) -> float:
        """Of all trials and judged runs of these methods, side by side as far as cores and memory reach."""
        design = Design(self.config.model_copy(update={"effort": effort}), self.facts.folds)
        largest = max(each.memory_bytes for each in costs.values())
        workers = max(1, min(self.config.workers or self.here.workers, int(self.room / largest)))
        return design.runs * sum(each.seconds for each in costs.values()) / workers

    def _wanted(self, known: Known) -> tuple[str, ...]:
        """Methods that a first study should have, or those that were asked for."""
        asked = self.config.methods or tuple(name for name in METHODS if self._about(name, known)[0])
        return tuple(name for name in asked if self._works(name, known)) or asked

    def _works(self, name: str, known: Known) -> bool:
        no_prefix = name == "prefix" and known.shape.family == "deberta-v2"
        no_head = name == "head" and self.load.generates
        return not (no_prefix or no_head)

    def _about(self, name: str, known: Known) -> tuple[bool, str]:
        rule = _METHODS.get(name)
        if rule is None:
            return False, "not in a first study; add it with --methods"
        rows, classes = self.facts.train, self.facts.classes
        told = f"{rows:,} training rows" + (f" of {classes} classes" if classes else "")
        return rule(_Case(rows, told, self.few, known.shape.parameters > _LARGE))

    def methods(self, known: Known, first: ModelAdvice) -> tuple[MethodAdvice, ...]:
        """Every method for this model, those to include first."""
        rows = []
        for name in METHODS:
            include, why = self._about(name, known)
            if not self._works(name, known):
                include, why = False, f"does not work on {known.name} for this task"
            elif include and name not in first.costs and not self.config.methods:
                load = self.load.cut(first.max_length, self.kind.windowed)
                needed = cost(known.shape, name, load, self.here).memory_bytes
                include, why = False, f"needs about {_gb(needed)} of memory, {_gb(self.room)} can be had"
            rows.append(MethodAdvice(name, include, why))
        return tuple(sorted(rows, key=lambda row: not row.include))

    def shorten(self, first: ModelAdvice) -> tuple[str, tuple[str, ...], float]:
        """Effort, methods and seconds of the command: what takes longer than a night becomes quick, then
        loses its dearest methods but two."""
        costs, effort = dict(first.costs), self.config.effort
        if not costs:
            return effort, (), 0.0
        if self.study_seconds(costs, effort) > NIGHT:
            effort = "quick"
        while len(costs) > 2 and self.study_seconds(costs, effort) > NIGHT:
            del costs[max(costs, key=lambda name: costs[name].seconds)]
        return effort, tuple(costs), self.study_seconds(costs, effort)

    def worth(
        self, models: Sequence[ModelAdvice], chosen: Sequence[str], effort: str
    ) -> tuple[tuple[ModelAdvice, ...], float]:
        """The models that a first study should compare, and its seconds: the first, and the next one that is
        sure to open, made for the language, keeps as much of a text and has room for the same methods,
        where both together end while a person waits (and within the budget that was given)."""
        first, budget = models[0], self.config.search.budget
        alone = self.study_seconds({name: first.costs[name] for name in chosen}, effort) if chosen else 0.0
        most = min(_SOON, seconds_of(budget)) if budget is not None else _SOON
        known = {k.name: k for k in CATALOGUE}
        made_for = first.name not in known or self._made_for(known[first.name])
        given = bool(self.config.models) or "," in first.name  # (a comma parts names in --models)
        others = models[1:] if chosen and not given else ()
        for other in others:
            k = known[other.name]
            sure = other.ready and not k.sample and self._made_for(k) >= made_for
            if not (sure and other.max_length == first.max_length and set(chosen) <= set(other.costs)):
                continue
            both = alone + self.study_seconds({name: other.costs[name] for name in chosen}, effort)
            if both <= most:
                return (first, other), both
        return (first,), alone

    # ---- reasons

    def _why(
        self, known: Known, every: Mapping[str, Cost], costs: Mapping[str, Cost], length: int
    ) -> Iterable[str]:
        yield self._language(known)
        if known.name in PACKAGED:
            yield "packaged, so it needs no network"
        if known.about:
            yield known.about
        if known.kind == "causal" and not self.load.generates:
            yield "reads only what came before, so it needs more parameters than an encoder"
        over = self.share_over(length)
        if over > _CUT:
            yield f"cuts {100 * over:.0f} % of the texts at {length:,} tokens"
        left = [name for name in every if name not in costs]
        if not costs:
            yield f"too large here: {self._remedy(known, every, length)}"
        elif left:
            needed = max(every[name].memory_bytes for name in left)
            yield f"no room for {', '.join(left)} (about {_gb(needed)}; train.micro_batch_size=4 needs less)"
        if not known.safetensors:
            yield "its page may have pickled weights only, which tunelab refuses"

    def _language(self, known: Known) -> str:
        if not known.languages:
            return "your own; `tunelab check --model` tells whether it knows your texts"
        names = {"en": "English", "zh": "Chinese", "code": "code", "many": "many languages"}
        if self._made_for(known):
            return f"made for {names[self.facts.language]}"
        return f"many languages, {names[self.facts.language]} among them"

    def _remedy(self, known: Known, every: Mapping[str, Cost], length: int) -> str:
        """What would fit: short batches with methods of little memory, or no more than a smaller model."""
        short = min(length, 128)
        small = replace(self.load.cut(short, self.kind.windowed), batch=1)
        for name in ("lora", "head"):
            needed = cost(known.shape, name, small, self.here).memory_bytes
            if self._works(name, known) and needed <= self.room:
                return (
                    f"{name} with train.micro_batch_size=1 and model.max_length={short} would fit "
                    f"({_gb(needed)})"
                )
        needed = min(each.memory_bytes for each in every.values())
        return f"needs about {_gb(needed)}, {_gb(self.room)} can be had; take a smaller model"


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count < 9.95e9 else f"{count / 1e9:.0f} GB"
