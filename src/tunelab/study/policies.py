"""What the methods' models write by themselves, for the report: wins, distance, flags, rounds, answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tunelab.measure.reward import mean_score
from tunelab.measure.statistics import mean_interval
from tunelab.records import Interval, Policy, Round, Written
from tunelab.study.predictions import Judged, frames_of
from tunelab.study.prepare import Prepared
from tunelab.study.run import read_record
from tunelab.tasks.base import Task

__all__ = ["policies_of", "written_of"]

_SHOWN = 8
_SECONDS = {"rollout_seconds": "rollout", "reward_seconds": "reward"}


def policies_of(found: Sequence[Judged], task: Task, folds: int) -> tuple[Policy, ...]:
    """One a method; none where answers are not written and rewarded."""
    if not (task.written and task.rewards()):
        return ()
    return tuple(_policy(judged, task, folds) for judged in found)


def _policy(judged: Judged, task: Task, folds: int) -> Policy:
    frames = frames_of(judged.folders, folds)
    records = [read_record(folder) for folder in judged.folders]
    whole = pd.concat(frames)
    won = [mean_score(frame["won"].to_numpy(np.float64), (0.0, 1.0)) for frame in frames]
    for score in won:
        score.groups_N = judged.scores[0].groups_N
    mean = {
        name: float(whole[name].astype(float).mean())
        for name in (
            *("untouched_reward", "trained_reward", "untouched_trained_reward", "kl", "tokens"),
            *("untouched_tokens", "ended"),
        )
    }
    low, high = (mean_interval(won, judged.items))[1:3]
    flags = dict.fromkeys(note for frame in frames for note in task.remarks(frame))
    return Policy(
        name=judged.name,
        win_rate=Interval(value=float(whole["won"].mean()), low=low, high=high),
        flags=tuple(flags),
        rounds=tuple(_rounds(records[0])),
        seconds=_seconds(records),
        **mean,
    )


def _rounds(record: Mapping[str, Any]) -> list[Round]:
    told = record["training"].get("online", {}).get("rounds", [])
    after = [*told, {}][1:]  # what came of a round is told with the next one
    return [
        Round(
            reward=own["reward"],
            kl=own["kl"],
            entropy=own["entropy"],
            tokens=own["length"],
            clipped=next_one.get("last_clipped"),
            value_error=next_one.get("last_value_error"),
        )
        for own, next_one in zip(told, after, strict=True)
    ]


def _seconds(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over runs of the parts of the training seconds."""
    known = [own["training"]["online"] for own in records if "online" in own["training"]]
    if not known:
        return {}
    parts = {name: float(np.mean([own[key] for own in known])) for key, name in _SECONDS.items()}
    whole = float(np.mean([own["cost"]["train_seconds"] for own in records]))
    return {**parts, "update": max(0.0, whole - sum(parts.values()))}


def written_of(folders: Sequence[Path], task: Task, prepared: Prepared) -> tuple[Written, ...]:
    """Some held-out prompts, evenly over the rewards that were won, with the answers to them."""
    if not (task.written and task.rewards()):
        return ()
    frame = pd.read_parquet(folders[0] / "predictions.parquet")
    order = np.argsort((frame["reward"] - frame["untouched_reward"]).to_numpy(np.float64), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int))][::-1]
    table = prepared.table.frame
    return tuple(
        Written(
            item=int(own["item"]),
            file=str(own["file"]),
            row=int(own["row"]),
            text=str(table["said"].iloc[int(own["item"])]),
            before=str(own["untouched"]),
            after=str(own["prediction"]),
            before_reward=float(own["untouched_reward"]),
            after_reward=float(own["reward"]),
        )
        for own in frame.iloc[chosen].to_dict("records")
    )
