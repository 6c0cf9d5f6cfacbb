"""Replacement of words by synonyms from a lexicon file, English or Chinese.

Paper: Zhang, Zhao, LeCun, "Character-level convolutional networks for text classification", 2015,
arXiv:1509.01626, section 2.4 (a thesaurus); the number of words as in EDA (Wei & Zou 2019,
arXiv:1901.11196): max(1, floor(share · words)).

A lexicon merges senses: *can* is listed with *toilet*, *bad* with *big*. By default only words are used
whose sense is not in doubt: one part of speech (English) or one line (Chinese), and few synonyms.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from tunelab.data.augment.base import EditAugmenter, check_share, how_many
from tunelab.data.augment.edits import Edit, Span
from tunelab.data.augment.protect import is_negation
from tunelab.data.augment.words import GRAMMAR, HAN, Cutter, Word, editable, jieba_words, like
from tunelab.errors import DataError

__all__ = ["Lexicon", "Synonyms", "read_cilin", "read_english", "read_words", "synonyms_of"]

Lexicon = Mapping[str, tuple[str, ...]]

_MOST = 8  # synonyms: a word with more has several senses ("run" has 51)
_MOST_CILIN = 20  # its lines are of one sense; the longest are of insults, kin and officials
_LOOK_BACK = 12  # characters before a word: enough for an article


def read_english(path: Path, *, every_sense: bool = False, most: int = _MOST) -> dict[str, tuple[str, ...]]:
    """A lexicon from JSON lines {"word", "pos", "synonyms"}, such as one derived from Open English WordNet.

    every_sense: also words with several parts of speech, or with more than `most` synonyms.

    Raises:
        DataError: the file cannot be read or a line is not of that form.
    """
    senses: dict[str, list[list[str]]] = defaultdict(list)
    for number, line in _lines(path):
        try:
            entry = json.loads(line)
            word, listed = entry["word"], entry["synonyms"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path.name} row {number} is no entry of a lexicon ({line[:60]!r}); expected JSON such as "
                '{"word": "movie", "pos": "n", "synonyms": ["film"]}'
            ) from error
        senses[word].append([other for other in listed if other != word])
    return {
        word: found
        for word, groups in senses.items()
        if word not in GRAMMAR
        and (every_sense or len(groups) == 1)
        and (found := _usable(groups))
        and (every_sense or len(found) <= most)
    }


def read_cilin(
    path: Path, *, every_sense: bool = False, most: int = _MOST_CILIN
) -> dict[str, tuple[str, ...]]:
    """A lexicon from lines of Cilin (同义词词林): "Aa01A01= 人 士 人物".

    Only lines with "=" hold synonyms; "#" are related words, "@" stand alone. Left out are words of grammar
    (class K), numbers and measures (Dn), and, unless `every_sense`, words of one character or in several
    lines, lines of more than `most` + 1 words, and synonyms longer or shorter by more than one character
    (热情 and 古道热肠 fill different places in a sentence).

    Raises:
        DataError: the file cannot be read or a line is not of that form.
    """
    senses: dict[str, list[list[str]]] = defaultdict(list)
    for number, line in _lines(path):
        code, *listed = line.split()
        if len(code) != 8 or code[-1] not in "=#@" or not listed:
            raise DataError(
                f"{path.name} row {number} is no line of Cilin ({line[:40]!r}); expected such as "
                "'Aa01A01= 人 士 人物'"
            )
        usable = code[-1] == "=" and not code.startswith(("K", "Dn"))
        for word in listed:
            senses[word].append([other for other in listed if other != word] if usable else [])
    if every_sense:
        return {word: found for word, groups in senses.items() if (found := _usable(groups, shortest=1))}
    return {
        word: found
        for word, groups in senses.items()
        if len(groups) == 1 and len(word) > 1 and len(groups[0]) <= most
        if (found := _usable([[other for other in groups[0] if abs(len(other) - len(word)) <= 1]]))
    }


def read_words(path: Path) -> frozenset[str]:
    """Words or phrases, one a line (the first column, where tabs part several).

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    found = frozenset(line.split("\t")[0].strip() for _, line in _lines(path)) - {""}
    if not found:
        raise DataError(f"{path} holds no words; expected one a line")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(row as an editor shows it, line) of what is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the word list {path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def _usable(groups: list[list[str]], shortest: int = 2) -> tuple[str, ...]:
    """Synonyms of all groups, in order, without those that negate."""
    every = dict.fromkeys(word for group in groups for word in group)
    return tuple(word for word in every if len(word) >= shortest and not is_negation(word))


@dataclass(frozen=True)
class Synonyms(EditAugmenter):
    """Replaces a share of the words by synonyms.

    lexicon: word -> synonyms, from `read_english` or `read_cilin` (or both joined by `|`);
    share: of the words that may be edited; cut: the cutter of Chinese.
    An English word is replaced only where its exact form is listed, capitals kept, and *a* or *an* before it
    must still fit.
    """

    lexicon: Lexicon = field(default_factory=dict)
    share: float = 0.1
    cut: Cutter = jieba_words
    name: ClassVar[str] = "synonyms"

    def __post_init__(self) -> None:
        check_share(self.share, self.name)

    def edits(self, text: str, kept: list[Span], random: np.random.Generator) -> list[Edit]:
        words = editable(text, kept, self.cut)
        choices = [(word, found) for word in words if (found := synonyms_of(word, text, self.lexicon))]
        count = how_many(self.share, len(words))
        drawn = random.permutation(len(choices))[:count]
        edits = []
        for place in sorted(drawn.tolist()):
            word, found = choices[place]
            edits.append(Edit(word.start, word.end, found[int(random.integers(len(found)))]))
        return edits


def synonyms_of(word: Word, text: str, lexicon: Lexicon) -> list[str]:
    """What may stand in the place of `word` in `text`, written in its case.

    >>> synonyms_of(Word(3, 8, "movie"), "An movie", {"movie": ("film", "epic")})
    ['epic']
    """
    if HAN.match(word.text):
        return list(lexicon.get(word.text, ()))
    before = text[max(0, word.start - _LOOK_BACK) : word.start].rstrip(" \"'“‘(*_-")
    article = (before.split() or [""])[-1].lower()
    found = lexicon.get(word.text.lower(), ())
    if article in ("a", "an"):
        found = tuple(other for other in found if (other[0] in "aeiou") == (article == "an"))
    return [like(other, word.text) for other in found]
