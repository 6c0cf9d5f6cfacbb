"""Random changes of words: swap, delete, insert.

Paper: Wei & Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
Tasks", 2019, arXiv:1901.11196, section 2. With l words and a share α, n = max(1, floor(α·l)):
    random swap      two words change places, n times
    random deletion  each word goes with probability α
    random insertion a synonym of a random word is put in at a random place, n times
(the fourth operation, synonym replacement, is `synonyms.Synonyms`).
Differs from the paper: at least one word changes and one stays; protected pieces neither move nor go;
without a lexicon the inserted word is one of the text's own. What lies *around* a negation may still
change: "not good but cheap" may become "not cheap but good", so swap with care where that decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tunelab.data.augment.base import EditAugmenter, check_share, how_many
from tunelab.data.augment.edits import Edit, Span, overlaps
from tunelab.data.augment.synonyms import Lexicon, synonyms_of
from tunelab.data.augment.words import HAN, Cutter, Word, editable, jieba_words

__all__ = ["Delete", "Insert", "Swap"]


@dataclass(frozen=True)
class _Words(EditAugmenter):
    """share: of the words that may be edited; cut: the cutter of Chinese (`characters`: one by one)."""

    share: float = 0.1
    cut: Cutter = jieba_words

    def __post_init__(self) -> None:
        check_share(self.share, self.name)


@dataclass(frozen=True)
class Swap(_Words):
    """Two random words change places, n times."""

    name: ClassVar[str] = "swap"

    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        words = editable(text, kept, self.cut)
        order = list(range(len(words)))
        by_script = [[place for place in order if words[place].han == han] for han in (True, False)]
        pairs = [places for places in by_script if len(places) > 1]  # mixed, "abc好" could glue two words
        if not pairs:
            return []
        chances = np.array([len(places) for places in pairs]) / sum(map(len, pairs))
        for _ in range(how_many(self.share, len(words))):
            places = pairs[int(random.choice(len(pairs), p=chances))]
            first, second = random.choice(places, size=2, replace=False).tolist()
            order[first], order[second] = order[second], order[first]
        return [
            Edit(here.start, here.end, words[there].text)
            for here, there in zip(words, order, strict=True)
            if here.text != words[there].text
        ]


@dataclass(frozen=True)
class Delete(_Words):
    """Each word goes with probability `share`, and one space beside it."""

    name: ClassVar[str] = "delete"

    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        words = editable(text, kept, self.cut)
        if len(words) < 2:
            return []
        gone = random.random(len(words)) < self.share
        if not gone.any():
            gone[random.integers(len(words))] = True
        if gone.all():
            gone[random.integers(len(words))] = False
        return _deletions(text, [word for word, goes in zip(words, gone.tolist(), strict=True) if goes], kept)


def _deletions(text: str, gone: Sequence[Word], kept: list[Span]) -> list[Edit]:
    """Edits that remove words with the space after them, or before them where punctuation follows."""
    stretches: list[Span] = []
    for word in gone:  # neighbours go together with what is between them
        end = stretches[-1][1] if stretches else -1
        together = end >= 0 and not text[end : word.start].strip() and not overlaps(end, word.start, kept)
        start = stretches.pop()[0] if together else word.start
        stretches.append((start, word.end))
    edits: list[Edit] = []
    for start, end in stretches:
        before, after = text[start - 1 : start], text[end : end + 1]
        done = edits[-1].end if edits else 0
        if after == " " and (not before or before.isspace()) and not overlaps(end, end + 1, kept):
            end += 1
        elif before == " " and not after.isalnum() and start > done and not overlaps(start - 1, start, kept):
            start -= 1
        edits.append(Edit(start, end, " " if _would_glue(before, after) else ""))
    return edits


def _would_glue(before: str, after: str) -> bool:
    """Whether two characters that come to meet would make one word of two."""
    return before.isalnum() and after.isalnum() and not (HAN.match(before) or HAN.match(after))


@dataclass(frozen=True)
class Insert(_Words):
    """A synonym of a random word (a word of the text, without a lexicon) before another one, n times."""

    lexicon: Lexicon = field(default_factory=dict)
    name: ClassVar[str] = "insert"

    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        words = editable(text, kept, self.cut)
        if not words:
            return []
        listed = [word for word in words if synonyms_of(word, text, self.lexicon)]
        edits = []
        for _ in range(how_many(self.share, len(words))):
            source = (listed or words)[int(random.integers(len(listed or words)))]
            found = synonyms_of(source, text, self.lexicon) or [source.text]
            word = found[int(random.integers(len(found)))]
            place = words[int(random.integers(len(words)))]
            edits.append(Edit(place.start, place.start, _fitted(word, source, place, text)))
        return edits


def _fitted(word: str, source: Word, place: Word, text: str) -> str:
    """The word with the spaces that it needs before `place`."""
    before = text[: place.start][-1:]
    left = " " if _would_glue(before, word[:1]) else ""
    return f"{left}{word}" if source.han and place.han else f"{left}{word} "
