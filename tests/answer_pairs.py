"""Pairs of answers that are easily told apart: the kind words are better."""

import json
from pathlib import Path

import numpy as np
from tiny import BAD, GOOD, PLACES, THINGS


def pairs(rows: int, votes: bool = False) -> list[dict]:
    """The kind word is the better answer; some prompts are long, some answers longer than others."""
    random, found = np.random.default_rng(0), []
    for i in range(rows):
        place, thing = str(random.choice(PLACES)), str(random.choice(THINGS))
        tail = " ".join(random.choice(THINGS, int(random.integers(0, 6))))
        row = {
            "prompt": f"the {thing} in the {place} {i} " + ("again " * 60 if i % 9 == 0 else ""),
            "chosen": f"{random.choice(GOOD)} {random.choice(GOOD)} {tail}",
            "rejected": f"{random.choice(BAD)} {tail if i % 2 else ''} {i}",
        }
        if votes:
            row |= {"votes_chosen": int(random.integers(1, 4)), "votes_rejected": int(random.integers(0, 3))}
        found.append(row)
    return found


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
