"""New rows beside those of a study: where each comes from, and in which trainings it may be."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Copies", "Use"]

#: A fold (-1: the final refit) and the share of its training rows that is kept.
Use = tuple[int, float]


@dataclass(frozen=True)
class Copies:
    """M rows that follow a study's own N; they are in no part of any split.

    recipe: the ways they were made in, by name; origins: [M] the row that each was made from; allowed: of
    each training (`Use`), [M] whether a copy is fit for it, whatever rows it has: no validation or test row
    of that fold says the same, and its label survived; asked: new rows that were asked for; lost: why not all
    are there, and how many for each reason; notes: what the user should know.
    """

    recipe: tuple[str, ...]
    origins: np.ndarray
    allowed: Mapping[Use, np.ndarray]
    asked: int = 0
    lost: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.origins)

    def of(self, use: Use, training: np.ndarray) -> np.ndarray:
        """The copies of these training rows that may be learnt from beside them, by their number."""
        assert use in self.allowed, f"no copies were made for fold {use[0]}, share {use[1]:g} of its rows"
        found: np.ndarray = np.flatnonzero(self.allowed[use] & np.isin(self.origins, training))
        return found
