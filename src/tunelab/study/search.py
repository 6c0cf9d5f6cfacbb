"""The tuning of one method on one fold: trials of learning rates, judged on validation rows alone.

Every method gets the same number of trials in its own range (`Method.learning_rates`). The first is the
method's default, the next two lie a factor of three on either side of it, the others are proposed by
TPE (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; `optuna`). What a trial is depends
only on the trials before it, so a study that was killed goes on with the very trials it would have had.
"""

import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tunelab.files import output_errors
from tunelab.records import Trial

__all__ = ["Tuner", "bars", "evaluations_of", "open_storage", "read_curve"]

_BRACKET = 3.0
#: Trials are not stopped in the first third: the learning rate is still rising or at its highest.
_GRACE = 1 / 3
#: A trial is stopped when its best score is this many standard errors below that of the best trial at the
#: same step: on N validation rows the score of equally good models differs by about one.
_ERRORS = 2.0

State = Literal["complete", "stopped_early", "failed"]


def open_storage(path: Path) -> Any:
    """Optuna's storage in one SQLite file, which `optuna-dashboard` can show."""
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with output_errors(path):
        return optuna.storages.RDBStorage(f"sqlite:///{path}")


class Tuner:
    """Asks for trials one after the other and remembers them on disk."""

    def __init__(
        self, storage: Any, name: str, low: float, high: float, default: float, trials: int, seed: int
    ) -> None:
        import optuna

        self._range = (min(low, default), max(high, default))
        self._trials = trials
        self._seed = seed
        self._name = name
        self._study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        for rate in (default, default * _BRACKET, default / _BRACKET):
            rate = min(max(rate, self._range[0]), self._range[1])
            self._study.enqueue_trial({"learning_rate": rate}, skip_if_exists=True)

    def ask(self) -> tuple[int, float] | None:
        """(number, learning rate) of the trial to be done now, or None when all are done."""
        import optuna

        states = optuna.trial.TrialState
        known = self._study.get_trials(deepcopy=False)
        done = [t for t in known if t.state.is_finished()]
        if len(done) >= self._trials:
            return None
        number = len(done)
        digest = hashlib.sha256(json.dumps([self._name, self._seed, number]).encode()).digest()
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=3, seed=int.from_bytes(digest[:4], "little")
        )
        running = [t for t in known if t.state == states.RUNNING]
        trial = optuna.trial.Trial(self._study, running[0]._trial_id) if running else self._study.ask()
        return trial.number, float(trial.suggest_float("learning_rate", *self._range, log=True))

    def tell(self, number: int, score: float | None, state: State, about: dict[str, Any]) -> None:
        """What became of a trial. about: plain values kept beside it (seconds, loss, folder)."""
        import optuna

        states = optuna.trial.TrialState
        frozen = next(t for t in self._study.get_trials(deepcopy=False) if t.number == number)
        if frozen.state.is_finished():
            return
        for key, value in about.items():
            self._study._storage.set_trial_user_attr(frozen._trial_id, key, value)
        if state == "complete":
            self._study.tell(number, score)
        elif state == "stopped_early" and score is not None:
            optuna.trial.Trial(self._study, frozen._trial_id).report(score, step=int(about["steps"]))
            self._study.tell(number, state=states.PRUNED)
        else:
            self._study.tell(number, state=states.FAIL)

    def trials(self, fold: int) -> list[Trial]:
        """Every finished trial."""
        found = []
        for t in self._study.get_trials(deepcopy=False):
            if t.state.is_finished():
                about = t.user_attrs
                found.append(
                    Trial(
                        number=t.number,
                        fold=fold,
                        learning_rate=t.params["learning_rate"],
                        score=about["score"],
                        seconds=about["seconds"],
                        state=about["state"],
                        run=about["run"],
                    )
                )
        return found[: self._trials]

    def best(self) -> tuple[float, str] | None:
        """The learning rate and run of the best complete trial; ties go to the lower validation loss.
        None: no trial was finished."""
        done = [t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()][: self._trials]
        complete = [t for t in done if t.user_attrs["state"] == "complete"]
        if not complete:
            return None
        best = max(complete, key=lambda t: (t.user_attrs["score"], -t.user_attrs["loss"], -t.number))
        return float(best.params["learning_rate"]), str(best.user_attrs["run"])


def evaluations_of(folder: Path) -> list[dict[str, Any]]:
    """Every validation in a run's `metrics.jsonl`; none where there is no such file yet."""
    path, found = folder / "metrics.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):  # the line that was being written when the run was killed
            entry = json.loads(line)
            if entry["kind"] == "evaluation":
                found.append(entry)
    return found


def read_curve(folder: Path, deciding: str) -> list[tuple[int, float]]:
    """(step, best validation score so far) of every evaluation."""
    curve: list[tuple[int, float]] = []
    for entry in evaluations_of(folder):
        score = entry[f"valid/{deciding}"]
        curve.append((entry["step"], max(score, curve[-1][1]) if curve else score))
    return curve


def bars(
    curve: Sequence[tuple[int, float]], rows: float, total: int, deciding: str = "accuracy"
) -> tuple[tuple[int, float], ...]:
    """(step, score) that another trial must have reached by then, from the best trial's curve.

    rows: validation rows, for macro F1 as many as an accuracy would need to be as noisy (`effective_rows`);
    total: steps of a whole trial. None for scores that do not tell their own noise: a loss, a reward.

    >>> [(step, round(score, 4)) for step, score in bars([(1, 0.5), (2, 0.6), (3, 0.8)], rows=100, total=3)]
    [(2, 0.502)]
    >>> bars([(1, -3.7), (2, -3.6), (3, -3.5)], rows=100, total=3, deciding="-loss")
    ()
    """
    found = []
    for step, score in curve:
        error = _standard_error(score, rows, deciding)
        if error is not None and _GRACE * total < step < total:
            found.append((step, score - _ERRORS * error))
    return tuple(found)


def _standard_error(score: float, rows: float, deciding: str) -> float | None:
    """Of a correlation by Fisher's z, of a share the binomial one."""
    if deciding.startswith("-") or deciding == "reward":
        return None
    if deciding == "spearman":
        return (1 - min(score**2, 1.0)) / math.sqrt(max(rows - 3, 1))
    share = min(max(score, 0.5 / rows), 1 - 0.5 / rows)
    return math.sqrt(share * (1 - share) / rows)
