"""Texts as they are compared: without what is no part of what they say.

plain         spacing evened out, invisible characters dropped
normalise     also without case, width (ＡＢＣ) and punctuation
normalised    the same of very many texts: about 1.5 s for a million short ones, where one by one takes 10
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

__all__ = ["blocks", "code_points", "normalise", "normalised", "plain", "says_something"]

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad]")
_VISIBLE = re.compile("[^\\s\ufeff\u200b\u2060\u00ad]")
_IN_NUMBER = re.compile(r"(?<=\d)[.,:/](?=\d)")
_POINT = "\ue000"  # stands for the point of a number while punctuation is dropped

_FEW = 10_000  # texts that are normalised before the table (0.2 s) would be made
_BLOCK = 300_000  # characters looked at together: small enough to stay in the processor's cache
_BETWEEN = "\ue001"  # stands between the texts of a block
_PLANE = 0x10000  # code points in the table: the rest (emoji, rare Chinese) go one text at a time
_DROPPED, _ASK = 0xFFFF, 0xFFFE  # in the table: no part of the text; only `normalise` can tell
_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # Korean vowels and finals: they join what is before


class _WithoutPunctuation(dict[int, int | None]):
    """Translation table without punctuation, lone accents and format characters; filled as they appear."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = None if category[0] == "P" or category in ("Cf", "Sk") else code
        return self[code]


_TABLE = _WithoutPunctuation()


def plain(text: str) -> str:
    """The text with spacing evened out and invisible characters (BOM, zero-width space) dropped."""
    return " ".join(_INVISIBLE.sub("", text).split())


def says_something(text: str) -> bool:
    """Whether anything is left of the text by `plain`."""
    return _VISIBLE.search(text) is not None


def normalise(text: str) -> str:
    """The text without case, width and punctuation (unless nothing else is there).

    >>> normalise("  Ｇreat,   really GREAT! "), normalise("3,5 stars"), normalise("?!")
    ('great really great', '3.5 stars', '?!')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = _IN_NUMBER.sub(_POINT, folded).translate(_TABLE).replace(_POINT, ".")
    return " ".join(kept.split()) or plain(folded)


def normalised(texts: Sequence[str]) -> list[str]:
    """`normalise` of each text.

    Characters whose form does not depend on their neighbours are looked up in a table, a block of texts at a
    time; texts with others (accents of their own, ½, emoji) are normalised one by one.
    """
    if len(texts) < _FEW:
        return [normalise(text) for text in texts]
    return [text for _, block in blocks(texts, _BLOCK) for text in _block(block)]


def blocks(texts: Sequence[str], characters: int, most: int = 2**16) -> Iterator[tuple[int, list[str]]]:
    """The texts by parts of about so many characters (or one longer text) and at most so many texts, each
    with the number of its first."""
    first, size, block = 0, 0, list[str]()
    for number, text in enumerate(texts):
        block.append(text)
        size += len(text)
        if size >= characters or len(block) == most:
            yield first, block
            first, size, block = number + 1, 0, []
    if block:
        yield first, block


def code_points(text: str) -> np.ndarray:
    """uint32, one a character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _block(texts: list[str]) -> list[str]:
    joined = _BETWEEN.join(texts)
    codes = code_points(joined)
    ends = np.flatnonzero(codes == ord(_BETWEEN))
    if len(ends) != len(texts) - 1:  # one of the texts holds the sign that stands between them
        return [normalise(text) for text in texts]
    folded = _folds()[np.minimum(codes, _PLANE - 1)]
    odd = np.flatnonzero((folded == _ASK) | (codes >= _PLANE))
    kept = _without_punctuation(folded)
    found = _even_spaces(kept).astype("<u2").tobytes().decode("utf-16-le", "surrogatepass").split(_BETWEEN)
    for i in dict.fromkeys(np.searchsorted(ends, odd).tolist()):
        found[i] = normalise(texts[i])
    return [kept or normalise(text) for kept, text in zip(found, texts, strict=True)]


def _without_punctuation(folded: np.ndarray) -> np.ndarray:
    """The characters that stay; between two digits `.,:/` stay as one point."""
    kind = _kinds()[folded]
    inner = np.flatnonzero(kind[1:-1] == _SEPARATOR) + 1
    inner = inner[(kind[inner - 1] == _DIGIT) & (kind[inner + 1] == _DIGIT)]
    stays = (kind != _SEPARATOR) & (folded != _DROPPED)
    folded[inner] = ord(".")
    stays[inner] = True
    kept: np.ndarray = folded[stays]
    return kept


def _even_spaces(codes: np.ndarray) -> np.ndarray:
    """One space where there were several, and none around a text."""
    space = codes == ord(" ")
    edge = np.append(True, space | (codes == ord(_BETWEEN)))
    drop = space & edge[:-1]
    kept = codes[~drop]
    ends = np.append(kept == ord(_BETWEEN), True)
    trimmed: np.ndarray = kept[(kept != ord(" ")) | ~ends[1:]]
    return trimmed


_DIGIT, _SEPARATOR = 1, 2


@cache
def _kinds() -> np.ndarray:
    """Of each code point: whether it is a digit, or one of the signs that may stand inside a number."""
    kinds = np.zeros(_PLANE, dtype=np.uint8)
    kinds[[code for code in range(_PLANE - 2) if chr(code).isdecimal()]] = _DIGIT
    kinds[[ord(sign) for sign in ".,:/"]] = _SEPARATOR
    return kinds


@cache
def _folds() -> np.ndarray:
    """What becomes of each character by `normalise`, where its neighbours have no say in it.

    They have where a character may join the one before it (the second of a canonical composition, a Korean
    vowel or final, an accent), and where it becomes several.
    """
    joins = {*_JAMO}
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            joins.add(int(parts[1], 16))
    return np.array([_fold(code, joins) for code in range(_PLANE)], dtype=np.uint16)


def _fold(code: int, joins: set[int]) -> int:
    character = chr(code)
    if code >= _ASK or code in joins or unicodedata.combining(character):
        return _ASK
    formed = unicodedata.normalize("NFKC", character)
    if any(ord(c) in joins or unicodedata.combining(c) or ord(c) >= _ASK for c in formed):
        return _ASK
    folded = formed.casefold()
    if len(folded) != 1:
        gone = bool(folded) and not any(_TABLE[ord(c)] for c in folded)
        return _DROPPED if gone else _ASK
    if folded.isspace():
        return ord(" ")
    if folded in ".,:/":
        return ord(folded)
    return ord(folded) if _TABLE[ord(folded)] is not None else _DROPPED
