"""Errors as people, keyboards and scanners make them: the reader understands, a brittle model does not.

    Slips        two neighbouring characters change places, one is lost or doubled (inside longer words)
    Keyboard     a neighbouring key (QWERTY)
    Scanned      what optical character recognition confuses: rn and m, l and 1
    Homophones   a Chinese character of the same sound, tone included
    LookAlikes   a Chinese character of nearly the same shape
    Case         a word in lower case, UPPER CASE or Capitalised
    Punctuation  a mark lost, doubled, or of the other width (, and ，)

A name with capitals is mistyped as any other word ("Jonh"), and a reader still knows who is meant; of a
Chinese name each character is left alone, since another one of like sound or shape makes another person.

Papers: Belinkov & Bisk, "Synthetic and natural noise both break neural machine translation", 2018,
arXiv:1711.02173, section 3 (swap, keyboard); the share of changed characters is ours.
"""

import functools
import itertools
import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tunelab.data.augment.base import EditAugmenter, check_share, how_many
from tunelab.data.augment.edits import Edit, Span, overlaps
from tunelab.data.augment.look_alikes import alike
from tunelab.data.augment.protect import is_negation
from tunelab.data.augment.words import HAN, Word, characters, editable, like, optional

__all__ = ["Case", "Homophones", "Keyboard", "LookAlikes", "Punctuation", "Scanned", "Slips"]

_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # keys and where a row begins, in keys
_LONG = 4  # letters: shorter words become other words rather than misspelt ones

#: What is written, and what it may be read as.
_SCANNED = (
    "m=rn rn=m d=cl cl=d w=vv vv=w li=h l=1,I,i i=l,1 I=l,1 o=0 O=0,Q Q=O e=c c=e h=b b=h,6 n=ri ri=n u=v,ii "
    "v=u,y y=v g=q,9 q=g s=5 S=5 B=8 z=2 Z=2 G=6,C C=G D=O t=f f=t a=o E=F F=E P=R R=P nn=rm ll=U,11"
)

_WIDTHS = dict(zip(",.!?;:()，。！？；：（）", "，。！？；：（）,.!?;:()", strict=True))
_MARK = re.compile(r"[,.!?;:()，。！？；：（）、…~]")


class _Option(NamedTuple):
    """A stretch that can be changed, and into what."""

    start: int
    end: int
    choices: tuple[str, ...]


@dataclass(frozen=True)
class _Options(EditAugmenter):
    """Changes max(1, floor(share · size)) of the options that a text offers; share as each class says."""

    share: float = 0.05
    mistypes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share(self.share, self.name)

    @abstractmethod
    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        """(what can be changed, of how many characters, words or marks `share` is taken)."""

    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        options, size = self.options(text, kept)
        chosen: list[Edit] = []
        for place in random.permutation(len(options)).tolist():
            if len(chosen) == how_many(self.share, size):
                break
            start, end, choices = options[place]
            if not overlaps(start, end, [(edit.start, edit.end) for edit in chosen]):
                chosen.append(Edit(start, end, choices[int(random.integers(len(choices)))]))
        return chosen


@dataclass(frozen=True)
class _Characters(_Options):
    """share: of the characters in words that may be edited."""

    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        words = editable(text, kept, characters)
        return [option for word in words for option in self.inside(word)], sum(len(w.text) for w in words)

    @abstractmethod
    def inside(self, word: Word) -> Iterator[_Option]:
        """What can be changed in a word (a single character, if Chinese)."""


@dataclass(frozen=True)
class Slips(_Characters):
    """Neighbouring characters swapped, a character lost or doubled; how: which of them.

    In words of four letters or more, never the first or last letter; any Chinese character.
    """

    how: tuple[str, ...] = ("swap", "delete", "insert")
    name: ClassVar[str] = "slips"

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.how, "slips need at least one kind"
        assert set(self.how) <= {"swap", "delete", "insert"}, f"unknown kinds of slips: {self.how}"

    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        found, size = super().options(text, kept)
        if "swap" in self.how:
            words = editable(text, kept, characters)
            found += [
                _Option(left.start, right.end, (right.text + left.text,))
                for left, right in itertools.pairwise(words)
                if left.han and right.han and left.end == right.start and left.text != right.text
            ]
        return found, size

    def inside(self, word: Word) -> Iterator[_Option]:
        inner = range(1) if word.han else range(1, len(word.text) - 1)
        if not word.han and len(word.text) < _LONG:
            return
        for place in inner:
            here, after = word.text[place], word.text[place + 1 : place + 2]
            at = word.start + place
            changed = tuple(t for how, t in (("delete", ""), ("insert", here * 2)) if how in self.how)
            if changed:
                yield _Option(at, at + 1, changed)
            if "swap" in self.how and place + 1 in inner and here != after:
                yield _Option(at, at + 2, (after + here,))


@dataclass(frozen=True)
class Keyboard(_Characters):
    """A key beside the one that was meant."""

    name: ClassVar[str] = "keyboard"

    def inside(self, word: Word) -> Iterator[_Option]:
        for place, letter in enumerate(word.text, start=word.start):
            if near := _neighbours().get(letter.lower()):
                yield _Option(place, place + 1, tuple(like(other, letter) for other in near))


@functools.cache
def _neighbours() -> dict[str, tuple[str, ...]]:
    """Keys at most 1.3 key widths apart: the row's two, and those above and below."""
    places = {key: (x + shift, y) for y, (keys, shift) in enumerate(_ROWS) for x, key in enumerate(keys)}
    return {
        key: tuple(other for other, (u, v) in places.items() if other != key and np.hypot(u - x, v - y) < 1.3)
        for key, (x, y) in places.items()
    }


@functools.cache
def _misread() -> dict[str, tuple[str, ...]]:
    entries = (entry.split("=") for entry in _SCANNED.split())
    return {written: tuple(read.split(",")) for written, read in entries}


@dataclass(frozen=True)
class Scanned(_Characters):
    """Letters as optical character recognition misreads them (Latin script)."""

    name: ClassVar[str] = "scanned"

    def inside(self, word: Word) -> Iterator[_Option]:
        for place in range(len(word.text)):
            for length in (1, 2):
                piece = word.text[place : place + length]
                if len(piece) == length and (choices := _misread().get(piece)):
                    yield _Option(word.start + place, word.start + place + length, choices)


@dataclass(frozen=True)
class LookAlikes(_Characters):
    """Chinese characters of nearly the same shape."""

    name: ClassVar[str] = "look_alikes"

    def inside(self, word: Word) -> Iterator[_Option]:
        if word.han and (choices := alike(word.text)):
            yield _Option(word.start, word.end, choices)


@dataclass(frozen=True)
class Homophones(_Options):
    """Chinese characters of the same sound and tone, out of the 3,755 common ones (GB 2312, level 1).

    The sound is the one that the character has in its phrase (银行 háng, 行人 xíng). Needs pypinyin.
    """

    name: ClassVar[str] = "homophones"

    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        found, size = [], 0
        for run in HAN.finditer(text):
            for place, (character, sound) in enumerate(_sounds(run.group()), start=run.start()):
                if overlaps(place, place + 1, kept):
                    continue
                size += 1
                others = tuple(other for other in _by_sound().get(sound, ()) if other != character)
                if others:
                    found.append(_Option(place, place + 1, others))
        return found, size


def _sounds(run: str) -> list[tuple[str, str]]:
    """Each Chinese character and its sound, such as ("行", "hang2"); "" where it has none."""
    pypinyin: Any = optional("pypinyin", "replacing Chinese characters by sound")
    sounds = pypinyin.lazy_pinyin(run, style=pypinyin.Style.TONE3, errors=lambda piece: [""] * len(piece))
    assert len(sounds) == len(run), f"{len(sounds)} sounds for {run!r}"
    return list(zip(run, sounds, strict=True))


@functools.cache
def _by_sound() -> dict[str, tuple[str, ...]]:
    """Sound -> common characters that have it when they stand alone, negations left out."""
    cells = [bytes((high, low)) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF)]
    common = [cell.decode("gb2312") for cell in cells if cell < bytes((0xD7, 0xFA))]
    found: dict[str, list[str]] = defaultdict(list)
    for character in common:
        if not is_negation(character):
            found[_sounds(character)[0][1]].append(character)
    return {sound: tuple(members) for sound, members in found.items() if sound}


@dataclass(frozen=True)
class Case(_Options):
    """Words written in another case; share: of the words that have one."""

    share: float = 0.1
    name: ClassVar[str] = "case"

    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        found = []
        for word in editable(text, kept, characters):
            forms = dict.fromkeys((word.text.lower(), word.text.upper(), word.text.capitalize()))
            others = tuple(form for form in forms if form != word.text)
            if others:
                found.append(_Option(word.start, word.end, others))
        return found, len(found)


@dataclass(frozen=True)
class Punctuation(_Options):
    """Marks lost, doubled or of the other width; share: of the marks."""

    share: float = 0.2
    name: ClassVar[str] = "punctuation"

    def options(self, text: str, kept: list[Span]) -> tuple[list[_Option], int]:
        found = []
        for match in _MARK.finditer(text):
            start, end = match.span()
            if overlaps(start, end, kept):
                continue
            choices = [match.group() * 2]
            if twin := _WIDTHS.get(match.group()):
                choices.append(twin)
            if not text[end : end + 1].isascii() or not text[end : end + 1].isalnum():  # no two words glued
                choices.append("")
            found.append(_Option(start, end, tuple(choices)))
        return found, len(found)
