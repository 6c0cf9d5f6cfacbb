"""The character n-grams of texts, as numbers: what nearly equal texts share.

An n-gram is as long as the script of its first character asks; at the end of a text shorter ones stand for
characters that no whole one covers.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tunelab.data.plain import blocks, code_points

__all__ = ["CJK_GRAM", "LATIN_GRAM", "distinct", "grams", "mix"]

LATIN_GRAM, CJK_GRAM = 5, 2  # characters of an n-gram; a Chinese character carries about a word's meaning
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def grams(texts: Sequence[str], characters: int = 300_000) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Blocks of texts: (number of the first, [M] text counted from there, [M] 64-bit hash) of every n-gram.

    With repetitions, in the order of the texts. A block has about so many characters (or one longer text) and
    at most 65,536 texts. Two of 10 million differing n-grams share a hash with probability 3e-6.
    """
    for first, block in blocks(texts, characters, 2**16):
        padding = "\0" * (LATIN_GRAM - 1)
        codes = code_points(padding.join(block) + padding)
        lengths = np.array([len(text) for text in block])
        owner = np.repeat(np.arange(len(block)), lengths)
        start = np.arange(len(owner)) + owner * (LATIN_GRAM - 1)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        wide = _is_cjk(codes)
        kept = _kept(wide[start], place, np.repeat(lengths, lengths))
        yield first, owner[kept], _hashes(codes, wide)[start[kept]]


def _hashes(codes: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Of the n-gram that begins at each character (a wide one's further characters count as none)."""
    each = mix(codes.astype(np.uint64))
    none = mix(np.zeros(1, dtype=np.uint64))[0]
    whole = len(each) - LATIN_GRAM + 1
    long = short = each[:whole]
    for step in range(1, LATIN_GRAM):
        long = long * _FACTOR + each[step : whole + step]
        short = short * _FACTOR + (each[step : whole + step] if step < CJK_GRAM else none)
    return mix(np.where(wide[:whole], short, long))


def _kept(wide: np.ndarray, place: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Which n-grams are whole, or cover a character that no whole one does."""
    whole = place + np.where(wide, CJK_GRAM, LATIN_GRAM) <= length
    last = np.arange(len(wide)) - place + length - LATIN_GRAM  # where the last long n-gram would start
    by_long = (length >= LATIN_GRAM) & ~wide[np.maximum(last, 0)]
    by_short = (place > 0) & np.append(False, wide[:-1])
    kept: np.ndarray = whole | ~(by_long | by_short)
    return kept


def _is_cjk(codes: np.ndarray) -> np.ndarray:
    """Han, kana and Hangul."""
    found: np.ndarray = (
        ((codes >= 0x2E80) & (codes <= 0x9FFF))
        | ((codes >= 0xAC00) & (codes <= 0xD7A3))
        | ((codes >= 0xF900) & (codes <= 0xFAFF))
        | ((codes >= 0x20000) & (codes <= 0x3FFFF))
    )
    return found


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, with its increment."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Sorted, each once; `np.unique` without inverse hashes, ten times slower here (NumPy 2.4)."""
    numbers = np.sort(numbers)
    kept: np.ndarray = numbers[np.append(True, numbers[1:] != numbers[:-1])] if len(numbers) else numbers
    return kept
