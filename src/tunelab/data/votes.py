"""What annotators said of a pair of answers: votes of one or several, and by how much one is better.

    votes_chosen, votes_rejected[, votes_tie]     how many took each side (found by their names)
    data.votes=ann1,ann2,ann3                     a column an annotator: chosen, rejected or tie (1, 0, 0.5)
    data.votes=share                              one column: the share that took the chosen side, or a list
    margin, or data.margin=NAME                   by how much the chosen one is better (a number)

They become the pair's label, JSON: {"votes": [for the chosen side, for the other], "margin": number}; a tie
is half a vote for either. A pair of which nothing is said has the label "".
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.data.grid import Grid, cell_text, norm, shorten
from tunelab.data.items import as_json, each, opened, pick, values
from tunelab.errors import DataError

__all__ = ["pair_labels", "said_of"]

_WORDS = {
    **dict.fromkeys(("chosen", "a", "1", "true", "yes", "first", "left", "better"), 1.0),
    **dict.fromkeys(("rejected", "b", "0", "false", "no", "second", "right", "worse"), 0.0),
    **dict.fromkeys(("tie", "equal", "same", "both", "neither", "0.5", "平局", "相同"), 0.5),
}
_HINT = (
    "A vote is chosen, rejected or tie (or 1, 0, 0.5), empty where there is none; one column alone may hold "
    "the share of votes, from 0 to 1, or a list of votes"
)


def said_of(label: str) -> tuple[float, float]:
    """The share of votes for the chosen side (1: nobody was asked) and the margin (0: none is given).

    >>> said_of(""), said_of('{"votes": [3, 1], "margin": 2}')
    ((1.0, 0.0), (0.75, 2.0))
    """
    if not label:
        return 1.0, 0.0
    known = json.loads(label)
    own, other = known.get("votes", (1.0, 0.0))
    return float(own / (own + other)), float(known.get("margin", 0.0))


def votes_in(label: str) -> list[float]:
    """How many took the chosen side and how many the other; empty: nobody was asked.

    >>> votes_in('{"votes": [3, 1]}'), votes_in("")
    ([3.0, 1.0], [])
    """
    known = json.loads(label) if label else {}
    return [float(votes) for votes in known.get("votes", ())]


def pair_labels(grid: Grid, chosen: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The label of every pair, and notes on what was taken from where; raises `DataError`."""
    votes, notes = _votes(grid, chosen)
    margins = _margins(grid, chosen)
    if any(margin is not None for margin in margins):
        notes.append(f"{grid.name}: margins are read; prefer.margin=1 puts them into the loss")
    labels = []
    for pair, margin in zip(votes, margins, strict=True):
        said: dict[str, Any] = {} if pair is None else {"votes": list(pair)}
        if margin is not None:
            said["margin"] = margin
        labels.append(as_json(said) if said else "")
    return labels, notes


def _votes(grid: Grid, chosen: Mapping[str, str]) -> tuple[list[tuple[float, float] | None], list[str]]:
    if "votes" in chosen:
        names = [name.strip() for name in chosen["votes"].split(",") if name.strip()]
        columns = [values(grid, pick(grid, "votes", (), {"votes": name})) for name in names]
        several = len(columns) > 1
        rows = list(zip(*columns, strict=True))
        found = each(grid.name, grid.lines, rows, _of_annotators if several else _of_cell, _HINT)
    else:
        counted = [
            pick(grid, "votes", (f"votes_{side}", f"{side}_votes"), {})
            for side in ("chosen", "rejected", "tie")
        ]
        if counted[0] is None or counted[1] is None:
            return [None] * len(grid), []
        rows = list(zip(*(values(grid, place) for place in counted), strict=True))
        found = each(grid.name, grid.lines, rows, _of_counts, "These are numbers of votes: 0, 1, 2, …")
    bare = sum(pair is None for pair in found)
    split = sum(pair is not None and min(pair) > 0 for pair in found)
    lost = sum(pair is not None and pair[1] > pair[0] for pair in found)
    return found, [
        f"{grid.name}: votes are read: annotators disagree on {split:,} of {len(found) - bare:,} pairs"
        + (f", and took the rejected answer in {lost:,}" if lost else ""),
        *([f"{grid.name}: {bare:,} pairs have no vote: the chosen answer counts as better"] if bare else []),
    ]


def _of_annotators(cells: Sequence[Any]) -> tuple[float, float] | None:
    """One vote a cell; empty: not asked."""
    found = [_vote(cell) for cell in cells if _text(cell)]
    return (sum(found), len(found) - sum(found)) if found else None


def _vote(cell: Any) -> float:
    word = norm(_text(cell))
    if word in _WORDS:
        return _WORDS[word]
    number = _number(cell)
    if number in (0.0, 0.5, 1.0):
        return float(number)
    raise DataError(f"{shorten(repr(cell))} is no vote")


def _of_cell(cells: Sequence[Any]) -> tuple[float, float] | None:
    """A share, a list of votes, or a single vote."""
    cell = opened(cells[0])
    if isinstance(cell, list):
        return _of_annotators(cell)
    share = _number(cell)
    if share is None:
        return _of_annotators(cells)
    if not 0 <= share <= 1:
        raise DataError(f"{share:g} is no share of votes")
    return share, 1 - share


def _of_counts(cells: Sequence[Any]) -> tuple[float, float] | None:
    own, other, ties = (_number(cell) if _text(cell) else 0.0 for cell in cells)
    if own is None or other is None or ties is None or min(own, other, ties) < 0:
        raise DataError(f"{', '.join(shorten(repr(cell)) for cell in cells)} are no numbers of votes")
    return (own + ties / 2, other + ties / 2) if own + other + ties else None


def _margins(grid: Grid, chosen: Mapping[str, str]) -> list[float | None]:
    place = pick(grid, "margin", ("margin",), chosen)

    def read(cell: Any) -> float | None:
        if not _text(cell):
            return None
        number = _number(cell)
        if number is None:
            raise DataError(f"{shorten(repr(cell))} is no number")
        return number

    return each(grid.name, grid.lines, values(grid, place), read, "A margin is a number, or empty")


def _number(cell: Any) -> float | None:
    try:
        number = float(_text(cell))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(cell: Any) -> str:
    if isinstance(cell, list | dict):
        raise DataError(f"{shorten(repr(cell))} is a list, where one value is wanted")
    return cell_text(cell).strip()
