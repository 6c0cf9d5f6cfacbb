"""The contract of augmentation, and the one function that makes new rows: training rows only.

An `Augmenter` turns one item into a new one, or says that it could not. Most do so by edits of the original
text (`EditAugmenter`), so that entities and answers move exactly and protected pieces stay untouched.
Everything follows from the seed: a row's generator is made of the seed, the row's position, the number of
the copy and the augmenter's name, so that what becomes of a row does not depend on the other rows.
"""

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pandas as pd

from tunelab.data.augment.edits import Edit, Span, apply, move, move_units, overlaps
from tunelab.data.augment.items import Item, items_of, put
from tunelab.data.augment.protect import counted, negations, protected
from tunelab.data.augment.words import HAN
from tunelab.data.findings import rows_of
from tunelab.data.similar import normalise, plain
from tunelab.errors import ConfigError

__all__ = [
    "Augmented",
    "Augmenter",
    "EditAugmenter",
    "Item",
    "OneOf",
    "augment",
    "check_share",
    "edited",
    "how_many",
]


class Augmenter(ABC):
    """One way to say the same differently.

    mistypes: whether it imitates errors of writing, which names with capitals are not spared, see names.py.
    """

    name: ClassVar[str]
    mistypes: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """What tells it from others with the same seed."""
        return self.name

    @abstractmethod
    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        """A new version of each item, or None where there is none; each draws from its own generator."""

    def kept(self, item: Item, keep: re.Pattern[str] | None) -> list[Span]:
        """What this way leaves alone in a text: see `protected`, and the names that it spares."""
        names = (span for span in item.names if not self.mistypes or HAN.search(item.text, *span))
        return protected(item.text, (*item.spans, *names), keep)


@dataclass(frozen=True)
class EditAugmenter(Augmenter):
    """An augmenter that edits the original text piece by piece.

    keep: further words to leave alone, see `protect.phrases`.
    """

    keep: re.Pattern[str] | None = field(default=None, kw_only=True)

    @abstractmethod
    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        """Edits on `text` that touch no kept span; empty: could not."""

    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        return [self.one(item, random) for item, random in zip(items, randoms, strict=True)]

    def one(self, item: Item, random: np.random.Generator) -> Item | None:
        """A new version of one item, or None."""
        kept = self.kept(item, self.keep)
        return edited(item, self.edits(item.text, kept, random), kept, self.keep)


def edited(
    item: Item,
    edits: Sequence[Edit],
    kept: Sequence[Span],
    keep: re.Pattern[str] | None = None,
    *,
    same_negations: bool = True,
) -> Item | None:
    """The item after the edits; None where nothing changes, or a word of `keep` came or went.

    same_negations: None also where a negation did, as can happen by what now meets.
    """
    edits = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for edit in edits:
        assert not overlaps(edit.start, edit.end, kept), f"{edit} touches what must stay"
    text = apply(item.text, edits)
    if text == item.text or not text.strip():
        return None
    if same_negations and negations(text) != negations(item.text):
        return None
    if keep is not None and counted(text, keep) != counted(item.text, keep):
        return None
    units = move_units(item.units, edits, text) if item.units else ()
    return replace(item, text=text, spans=move(item.spans, edits), units=units, names=())


@dataclass(frozen=True)
class OneOf(Augmenter):
    """One of several augmenters, drawn for each new row."""

    augmenters: tuple[Augmenter, ...]
    name: ClassVar[str] = "one_of"

    @property
    def key(self) -> str:
        return f"{self.name}({','.join(augmenter.key for augmenter in self.augmenters)})"

    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        drawn = [int(random.integers(len(self.augmenters))) for random in randoms]
        made: list[Item | None] = [None] * len(items)
        for number, augmenter in enumerate(self.augmenters):
            places = [place for place, choice in enumerate(drawn) if choice == number]
            results = augmenter.many([items[i] for i in places], [randoms[i] for i in places])
            for place, result in zip(places, results, strict=True):
                made[place] = result
        return made


@dataclass(frozen=True)
class Augmented:
    """New rows and what became of those asked for.

    frame: as the table's frame, with "origin", the position of the original row (int64); "file" and "row"
    are the original's. asked = len(frame) + could_not + repeats + held_out.
    could_not: nothing could be changed; repeats: equal to an original or to another new row;
    held_out: equal (but for case and punctuation) to a row that is not for training.
    """

    frame: pd.DataFrame
    asked: int
    could_not: int
    repeats: int
    held_out: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        lost = {
            "could not be made (nothing in the text could be changed)": self.could_not,
            "were left out because they repeat a training row or one another": self.repeats,
            "were left out because they equal a validation or test row": self.held_out,
        }
        first = f"augmentation made {rows_of(len(self.frame))} of {self.asked:,} asked for"
        return (first, *(f"{count:,} new rows {what}" for what, count in lost.items() if count))


def augment(
    frame: pd.DataFrame,
    rows: Iterable[int],
    augmenter: Augmenter,
    per_row: int,
    seed: int,
    *,
    kind: str = "classify",
    names_of: Callable[[str], Iterable[Span]] | None = None,
) -> Augmented:
    """New rows from training rows, in the order of their originals.

    frame: all rows of a table; rows: positions of the training rows; per_row: new rows asked for each;
    kind: the task; names_of: where names stand in a text (`names.names_in`), asked once of each text.

    Duplicates are dropped in this order of rows, and what remains of the others does not depend on them.

    Raises:
        AssertionError: a row that is not a training row was asked for.
    """
    training = _training(frame, rows)
    assert per_row >= 1, f"per_row is {per_row}; it must be 1 or more"
    originals = dict(zip(training.tolist(), _records(frame, training), strict=True))
    drafts = _draft(originals, augmenter, per_row, seed, kind, names_of)
    asked = per_row * len(training)
    kept, repeats, held_out = _without_repeats(frame, training, drafts)
    columns = [name for name in frame.columns if name != "origin"]
    new = pd.DataFrame([row for _, row in kept], columns=columns).astype(frame[columns].dtypes)
    new["split"] = pd.Series(["train"] * len(new), index=new.index, dtype=new["split"].dtype)
    new["origin"] = np.array([origin for origin, _ in kept], dtype=np.int64)
    return Augmented(new, asked, asked - len(drafts), repeats, held_out)


_Draft = tuple[int, dict[str, str]]  # origin, new row


def _training(frame: pd.DataFrame, rows: Iterable[int]) -> np.ndarray:
    training = np.unique(np.fromiter(rows, dtype=np.int64))
    assert not len(training) or (training[0] >= 0 and training[-1] < len(frame)), (
        f"training rows must be positions from 0 to {len(frame) - 1}"
    )
    given = frame["split"].iloc[training].isin(["valid", "test"]).to_numpy(dtype=bool)
    assert not given.any(), (
        f"rows {training[given][:5].tolist()} are given as validation or test rows and must not be augmented"
    )
    return training


def _records(frame: pd.DataFrame, rows: np.ndarray) -> list[dict[str, str]]:
    return [{str(name): value for name, value in row.items()} for row in frame.iloc[rows].to_dict("records")]


def _draft(
    originals: Mapping[int, dict[str, str]],
    augmenter: Augmenter,
    per_row: int,
    seed: int,
    kind: str,
    names_of: Callable[[str], Iterable[Span]] | None,
) -> list[_Draft]:
    """What the augmenter makes of the rows, one draft after the other, duplicates among them."""
    names = _Names(names_of)
    name = zlib.crc32(augmenter.key.encode())
    origins, items, randoms = [], [], []
    for position, row in originals.items():
        fields = [replace(item, names=names[item.text]) for item in items_of(row, kind)]
        for copy in range(per_row if fields else 0):
            random = np.random.default_rng([seed, position, copy, name])
            chosen = fields[int(random.integers(len(fields)))]
            origins.append(position)
            items.append(replace(chosen, copy=copy))
            randoms.append(random)
    made = augmenter.many(items, randoms)
    assert len(made) == len(items), f"{augmenter.key} made {len(made)} of {len(items)} items"
    return [
        (origin, put(originals[origin], old, new))
        for origin, old, new in zip(origins, items, made, strict=True)
        if new is not None
    ]


class _Names(dict[str, tuple[Span, ...]]):
    """Text -> where names stand in it; each text is asked about once (a context has many questions)."""

    def __init__(self, names_of: Callable[[str], Iterable[Span]] | None) -> None:
        super().__init__()
        self._names_of = names_of

    def __missing__(self, text: str) -> tuple[Span, ...]:
        found = () if self._names_of is None else tuple(self._names_of(text))
        self[text] = found
        return found


def _without_repeats(
    frame: pd.DataFrame, training: np.ndarray, drafts: Sequence[_Draft]
) -> tuple[list[_Draft], int, int]:
    """(what is new, how many repeat training rows or one another, how many equal a held-out row)."""
    held = np.setdiff1d(np.arange(len(frame)), training)
    seen = {_key(row) for row in _records(_texts(frame), training)}
    others = {_loose(row) for row in _records(_texts(frame), held)}
    kept, repeats, held_out = [], 0, 0
    for origin, row in drafts:
        if _loose(row) in others:
            held_out += 1
        elif (key := _key(row)) in seen:
            repeats += 1
        else:
            seen.add(key)
            kept.append((origin, row))
    return kept, repeats, held_out


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[name for name in ("text", "text_pair") if name in frame.columns]]


def _key(row: Mapping[str, str]) -> tuple[str, str]:
    return plain(row["text"]), plain(row.get("text_pair", ""))


def _loose(row: Mapping[str, str]) -> tuple[str, str]:
    first, second = (normalise(row.get(name, "")).replace(" ", "") for name in ("text", "text_pair"))
    return first, second


def check_share(share: float, name: str) -> None:
    """Raises `ConfigError` unless 0 < share <= 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"{name}: share is {share}; it must be above 0 and at most 1")


def how_many(share: float, among: int) -> int:
    """max(1, floor(share · among)), as EDA counts changes; none among none.

    >>> how_many(0.1, 25), how_many(0.1, 3), how_many(0.1, 0)
    (2, 1, 0)
    """
    return min(among, max(1, int(share * among)))
