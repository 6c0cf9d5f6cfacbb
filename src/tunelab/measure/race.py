"""A race: methods that can hardly win any more are stopped during their first training.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", AISTATS, arXiv:1502.07943, figure 3) over the checkpoints of one training: at each rung, a
share of the optimizer steps, at most half of the methods go on, and the steps of the others, with all their
further trials and seeds, are saved. On top, a method whose interval does not reach the leader's score is
stopped even among the better half, and one that is level with the leader goes on even among the worse.

The constants were chosen on twenty recorded studies of a tiny model (300-400 training rows, 200 validation
rows, one seed, nothing tuned); `benchmarks/race.py` makes them and replays the race. There it cost 60 % of
the exhaustive study with one run of each method, and costs 37 % with the seven of a study (it is run in the
first). Its winner group lay within the true one in 18 of 20 studies; but in 12 it had stopped a method that
was tied with the best, in 9 the one with the highest test score. It trades certainty for time; `risk` says
how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt

__all__ = ["RUNGS", "Decision", "Entry", "Rung", "Stop", "decide", "effective_rows", "risk"]

_Z = 1.96  # 95 % intervals
#: Standard deviation of what a method still gains on (or loses to) the leader: LATE * (1 - share). Recorded,
#: with the noise of 200 validation rows in it: 0.10 at 1/4, 0.05 at 1/2, 0.03 at 3/4 of the steps (100 pairs
#: each). A model that sits at chance longer than those did may gain more.
_LATE = 0.13
#: Level with the leader: less than so many standard errors of the validation score behind it. With more, the
#: race saves little: about half of all methods are then level at every rung.
_LEVEL = 0.3


@dataclass(frozen=True)
class Rung:
    """A share of a training's optimizer steps, in (0, 1), after which methods are compared."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(
                f"a rung lies between the first and the last step: 0 < share < 1, not {self.share}"
            )

    def step(self, steps: int) -> int:
        """The optimizer step of the rung, of so many, at least 1.

        >>> Rung(1 / 4).step(90)
        22
        """
        return max(1, int(self.share * steps))


#: No rung at 1/8: there the recorded methods had hardly left chance. With 1/8, 1/4, 1/2 and no exception for
#: level methods the race cost 44 % (one run each), and its winner group was right in 14 of 20 studies only.
RUNGS = (Rung(1 / 4), Rung(1 / 2), Rung(3 / 4))


@dataclass(frozen=True)
class Entry:
    """A method that still races.

    score: its best validation score in [0, 1] at or before the rung (mean over its seeds, if several); rows:
    validation rows that it was judged on (`effective_rows` for a macro average); loss: validation loss then,
    which decides between equal scores.

    Seeds narrow nothing: they are judged on the same rows, and may be right on the same ones.
    """

    name: str
    score: float
    rows: float
    loss: float | None = None


@dataclass(frozen=True)
class Stop:
    """A method that was stopped. behind: the leader's score minus its own; low, high: 95 % interval of what
    that would have become by the end of the training."""

    name: str
    behind: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """Who goes on, best first, and who is stopped, the nearest to the leader first."""

    keep: tuple[str, ...]
    stops: tuple[Stop, ...]


def decide(entries: Sequence[Entry], share: float) -> Decision:
    """Who goes on after `share` of the steps. Depends on nothing but the entries, and not on their order.

    The leader has the highest score (then the lowest loss, then the first name). Of a method d behind it

        d_end = d +- 1.96 sigma,    sigma^2 = (p (1 - p) + q (1 - q)) / n + (0.13 (1 - share))^2

    p, q: both scores (in which 0 and n right rows count as half a row more or less), n: validation rows. The
    first term is the variance of the difference of two independent proportions; on the same rows two methods
    are right on much the same ones, so the true one is smaller. The second is what later starters were
    seen to gain on the leader.

    It goes on if the interval holds 0 and it is of the better half (rounded up; of two, one), or if it is
    level: at most 0.3 standard errors (of the first term) behind.

    >>> entries = [Entry("lora", 0.80, 400), Entry("full", 0.81, 400), Entry("head", 0.60, 400)]
    >>> decide(entries, 1 / 2).keep
    ('full', 'lora')
    >>> [(s.name, f"{s.behind:.2f} [{s.low:.2f}, {s.high:.2f}]") for s in decide(entries, 1 / 2).stops]
    [('head', '0.21 [0.07, 0.35]')]
    """
    assert len({entry.name for entry in entries}) == len(entries)
    order = sorted(entries, key=_rank)
    if not order:
        return Decision((), ())
    leader, half = order[0], (len(order) + 1) // 2
    keep, stops = [], []
    for place, entry in enumerate(order):
        behind = leader.score - entry.score
        noise = _noise(leader, entry)
        reach = _Z * sqrt(noise**2 + (_LATE * (1 - share)) ** 2)
        if (place < half and behind <= reach) or behind <= _LEVEL * noise:
            keep.append(entry.name)
        else:
            stops.append(Stop(entry.name, behind, behind - reach, behind + reach))
    return Decision(tuple(keep), tuple(stops))


def risk(stops: Sequence[Stop], level: float = 0.0) -> float:
    """Upper bound on the chance that a stopped method would have ended within `level` of the leader.

    level: difference of final scores up to which methods count as one group (about the half width of the test
    rows' interval); 0: only a method that would have caught the leader of its rung counts.

    A stop's interval is behind +- 1.96 sigma; with a normal distribution around `behind`, the method ends
    within `level` of the leader with chance Phi((level - behind) / sigma). The chance that any does is at
    most the sum (Boole), and the best of all is no worse than a rung's leader. As true as the normal
    distribution and the recorded sigma are: a bound for studies like those (72 of their 76 final gaps lay in
    the interval), not for every study. Where methods are stopped while nearly level, it says 1, and rightly.

    >>> round(risk([Stop("head", 0.21, 0.04, 0.38), Stop("bitfit", 0.20, 0.0, 0.40)]), 3)
    0.033
    """
    sigmas = [(stop.high - stop.low) / (2 * _Z) for stop in stops]
    errors = [(stop.behind - level) / sigma for stop, sigma in zip(stops, sigmas, strict=True)]
    return min(1.0, sum(erfc(error / sqrt(2)) / 2 for error in errors))


def effective_rows(class_rows: Sequence[int]) -> float:
    """How many rows of an ordinary accuracy are as noisy as a macro average over classes with so many rows.

    K classes: variance of the mean of K recalls = 1/K^2 sum r (1 - r) / n_k, so K^2 / sum(1 / n_k); macro F1
    is taken to be like macro recall. Classes without a row are left out.

    >>> effective_rows([50, 50]), round(effective_rows([90, 10]), 1)
    (100.0, 36.0)
    """
    present = [rows for rows in class_rows if rows > 0]
    return len(present) ** 2 / sum(1 / rows for rows in present)


def _rank(entry: Entry) -> tuple[float, float, str]:
    return -entry.score, float("inf") if entry.loss is None else entry.loss, entry.name


def _noise(leader: Entry, entry: Entry) -> float:
    """Standard error of the difference of two validation scores, the rows' part alone."""
    rows = min(leader.rows, entry.rows)
    shares = (min(max(each.score, 0.5 / rows), 1 - 0.5 / rows) for each in (leader, entry))
    return sqrt(sum(share * (1 - share) for share in shares) / rows)
