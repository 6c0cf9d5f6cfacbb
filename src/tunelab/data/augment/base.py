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
from tunelab.data.augment.protect import negations, protected
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
    """One way to say the same differently."""

    name: ClassVar[str]

    @property
    def key(self) -> str:
        """What tells it from others with the same seed."""
        return self.name

    @abstractmethod
    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        """A new version of each item, or None where there is none; each draws from its own generator."""


@dataclass(frozen=True)
class EditAugmenter(Augmenter):
    """An augmenter that edits the original text piece by piece.

    keep: further pieces to leave alone, see `protect.phrases`.
    """

    keep: re.Pattern[str] | None = field(default=None, kw_only=True)

    @abstractmethod
    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        """Edits on `text` that touch no kept span; empty: could not."""

    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        return [self.one(item, random) for item, random in zip(items, randoms, strict=True)]

    def one(self, item: Item, random: np.random.Generator) -> Item | None:
        """A new version of one item, or None."""
        kept = protected(item.text, item.spans, self.keep)
        return edited(item, self.edits(item.text, kept, random), kept)


def edited(
    item: Item, edits: Sequence[Edit], kept: Sequence[Span], *, same_negations: bool = True
) -> Item | None:
    """The item after the edits; None where nothing changes.

    same_negations: None also where a negation came or went, as can happen by what now meets.
    """
    edits = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for edit in edits:
        assert not overlaps(edit.start, edit.end, kept), f"{edit} touches what must stay"
    text = apply(item.text, edits)
    if text == item.text or not text.strip():
        return None
    if same_negations and negations(text) != negations(item.text):
        return None
    units = move_units(item.units, edits, text) if item.units else ()
    return replace(item, text=text, spans=move(item.spans, edits), units=units)


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
    are the original's. asked = len(frame) + could_not + repeats + held_out + changed.
    could_not: nothing could be changed; repeats: equal to an original or to another new row;
    held_out: equal (but for case and punctuation) to a row that is not for training; changed: refused by
    `survives`.
    """

    frame: pd.DataFrame
    asked: int
    could_not: int
    repeats: int
    held_out: int
    changed: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        lost = {
            "could not be made (nothing in the text could be changed)": self.could_not,
            "were left out because they repeat a training row or one another": self.repeats,
            "were left out because they equal a validation or test row": self.held_out,
            "were left out because their label did not survive": self.changed,
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
    only: Iterable[int] | None = None,
    spans_of: Callable[[Mapping[str, str]], Iterable[Span]] | None = None,
    survives: Callable[[Sequence[str], Sequence[str]], np.ndarray] | None = None,
) -> Augmented:
    """New rows from training rows, in the order of their originals.

    frame: all rows of a table; rows: positions of the training rows; per_row: new rows asked for each;
    kind: the task; only: the training rows to work on (such as those of rare classes), all by default;
    spans_of: further spans of "text" that must survive; survives: (texts, labels) -> [N] bool, whether a
    first-round model still gives each new text its label.

    Duplicates are dropped in this order of rows, and what remains of the others does not depend on them.

    Raises:
        AssertionError: a row that is not a training row was asked for.
    """
    training = _training(frame, rows)
    chosen = training if only is None else np.unique(np.fromiter(only, dtype=np.int64))
    outside = np.setdiff1d(chosen, training)
    assert not len(outside), f"rows {outside[:5].tolist()} are not training rows and must not be augmented"
    assert per_row >= 1, f"per_row is {per_row}; it must be 1 or more"
    originals = dict(zip(chosen.tolist(), _records(frame, chosen), strict=True))
    drafts = _draft(originals, augmenter, per_row, seed, kind, spans_of)
    asked = per_row * len(chosen)
    kept, repeats, held_out = _without_repeats(frame, training, drafts)
    survivors = _surviving(kept, survives, kind)
    columns = [name for name in frame.columns if name != "origin"]
    new = pd.DataFrame([row for _, row in survivors], columns=columns).astype(frame[columns].dtypes)
    new["split"] = pd.Series(["train"] * len(new), index=new.index, dtype=new["split"].dtype)
    new["origin"] = np.array([origin for origin, _ in survivors], dtype=np.int64)
    return Augmented(new, asked, asked - len(drafts), repeats, held_out, len(kept) - len(survivors))


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
    spans_of: Callable[[Mapping[str, str]], Iterable[Span]] | None,
) -> list[_Draft]:
    """What the augmenter makes of the rows, one draft after the other, duplicates among them."""
    name = zlib.crc32(augmenter.key.encode())
    origins, items, randoms = [], [], []
    for position, row in originals.items():
        fields = items_of(row, kind, spans_of)
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


def _surviving(
    drafts: list[_Draft], survives: Callable[[Sequence[str], Sequence[str]], np.ndarray] | None, kind: str
) -> list[_Draft]:
    if survives is None or not drafts:
        return drafts
    assert kind in ("classify", "language", "regress"), f"the label check reads single texts, not {kind} rows"
    agreed = np.asarray(survives([row["text"] for _, row in drafts], [row["label"] for _, row in drafts]))
    assert agreed.shape == (len(drafts),), f"survives gave {agreed.shape} answers for {len(drafts)} texts"
    assert agreed.dtype == bool, f"survives must answer with bool, not {agreed.dtype}"
    return [draft for draft, good in zip(drafts, agreed.tolist(), strict=True) if good]


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
