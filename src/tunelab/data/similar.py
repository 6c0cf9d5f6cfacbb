"""Texts that say the same: letter for letter, but for case and punctuation, or nearly.

Three questions of growing looseness, each answered with a group number per text (numbered by first
appearance, so equal input gives equal output):

    exact_groups      the same characters, but for spacing and invisible characters; what may be dropped
    duplicate_groups  also the same but for case, width (ＡＢＣ) and punctuation
    near_groups       also nearly the same: most of their character n-grams are shared

`near_groups` joins every pair whose Jaccard similarity |A∩B| / |A∪B| of n-gram sets reaches the threshold.
Up to `_GRAMS` characters it finds them by prefix filtering: in a fixed order of the n-grams (rare first) two
sets that similar must share one of their first |A| - ceil(threshold·|A|) + 1 n-grams.
    Chaudhuri, Ganti, Kaushik, "A primitive operator for similarity joins in data cleaning", ICDE 2006
    Xiao, Wang, Lin, Yu, "Efficient similarity joins for near duplicate detection", WWW 2008 (PPJoin)
    Sandes, Teodoro, Melo, "Bitmap filter", 2017, arXiv:1711.07295 (the cheap bound before the exact count)
Every filter is safe (it never loses a pair) and every pair is counted exactly, so nothing is left to chance,
except in two cases of size, both fixed in advance. In more characters candidates come from MinHash
signatures (minhash.py): pairs are still counted exactly, so that no group is false, and one just at the
threshold is missed with probability 5e-5. Over `_PAIRS` candidates (long templates) each text is compared
only with its neighbours in a posting list.

Chains: groups are connected components, so no similar pair is ever torn apart, but a chain a~b~c~…
may join texts whose ends differ. A component over `largest` of the texts would make a fair split
impossible; it is divided again at stricter thresholds and, at the last, into its duplicates.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from tunelab.data import minhash
from tunelab.data.ngrams import distinct, grams, mix
from tunelab.data.plain import normalise, normalised, plain

__all__ = ["THRESHOLD", "duplicate_groups", "exact_groups", "near_groups", "normalise", "plain"]

THRESHOLD = 0.8  # Jaccard similarity from which two texts are nearly the same
_GRAMS = 10_000_000  # characters whose n-grams are all held at once: about 0.6 GB at the peak
_PAIRS = 60_000_000  # candidate pairs looked at: about 20 s
_CHUNK = 2_000_000  # candidate pairs held at once
_PART = 20_000  # candidate pairs counted at once
_WORDS = 8  # 64-bit words of a text's bitmap


def exact_groups(texts: Sequence[str]) -> np.ndarray:
    """Group number of each text; texts in a group differ at most in spacing and invisible characters."""
    return _number([plain(text) for text in texts])


def duplicate_groups(texts: Sequence[str]) -> np.ndarray:
    """Group number of each text; texts in a group differ at most in case, width, punctuation and spacing.

    >>> duplicate_groups(["Log-in!", "bad", "log in", "login"]).tolist()
    [0, 1, 0, 0]
    """
    return _number(_letters(texts))


def _letters(texts: Sequence[str]) -> list[str]:
    return [text.replace(" ", "") for text in normalised(texts)]


def near_groups(texts: Sequence[str], threshold: float = THRESHOLD, largest: float = 0.1) -> np.ndarray:
    """Group number of each text; texts whose n-grams are `threshold` similar are in one group.

    The n-grams are those of the text without case, width, punctuation and spaces.

    threshold: Jaccard similarity in (0.5, 1]; largest: the biggest share of the texts that one group
    may hold (duplicates may hold more). About 0.3 s for 20,000 short texts on one core, 4 s for
    100,000, 18 s for a million, and 17 s for 100,000 that differ only in a number.
    """
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0.5, 1], got {threshold}")
    letters = _letters(texts)
    same = _number(letters)
    unique = list(dict.fromkeys(letters))
    del letters
    component = _components(unique, threshold)
    limit = max(int(largest * len(texts)), 20)
    stricter = threshold
    while stricter < 0.99 and (big := _oversized(component, same, limit)).size:
        stricter = 1 - (1 - stricter) / 2
        for group in big:
            members = np.flatnonzero(component == group)
            inner = (
                _components([unique[i] for i in members], stricter)
                if stricter < 0.99
                else np.arange(len(members))
            )
            component[members] = component.max() + 1 + inner
    return _number(component[same].tolist())


def _oversized(component: np.ndarray, same: np.ndarray, limit: int) -> np.ndarray:
    rows = np.bincount(component[same])
    texts = np.bincount(component, minlength=len(rows))
    big: np.ndarray = np.flatnonzero((rows > limit) & (texts > 1))
    return big


def _number(keys: Sequence[object]) -> np.ndarray:
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _components(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Connected components of the texts (all different) under similarity >= threshold."""
    if sum(map(len, texts)) > _GRAMS:
        return minhash.components(texts, threshold)
    component = np.arange(len(texts), dtype=np.int64)
    for left, right in _similar_pairs(texts, threshold, component):
        minhash.join(component, left, right)
    return component


# ---- n-grams -------------------------------------------------------------------------------------


def _grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(text number, 64-bit hash) of every n-gram, with repetitions."""
    found = [(owner + first, hashes) for first, owner, hashes in grams(texts)]
    owners, hashes = zip(*found, strict=True) if found else ((), ())
    none = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    return np.concatenate([none[0], *owners]), np.concatenate([none[1], *hashes])


def _sets(texts: Sequence[str]) -> sparse.csr_matrix:
    """Texts x n-grams, True where a text has an n-gram; columns by rising frequency, rows sorted."""
    owner, hashes = _grams(texts)
    names, column = np.unique(hashes, return_inverse=True)
    del hashes
    width = max(len(names), 1)
    cells = distinct(owner * width + column)
    del owner, column
    frequency = np.bincount(cells % width, minlength=width)
    rank = np.empty(width, dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(width)
    cells = np.sort((cells // width) * width + rank[cells % width])
    starts = np.searchsorted(cells, np.arange(len(texts) + 1) * width)
    return sparse.csr_matrix(
        (np.ones(len(cells), dtype=bool), cells % width, starts), shape=(len(texts), width)
    )


# ---- pairs ---------------------------------------------------------------------------------------


def _similar_pairs(
    texts: Sequence[str], threshold: float, component: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of similar pairs; pairs that `component` (updated between chunks) already joins are left out."""
    if len(texts) < 2:
        return
    sets = _sets(texts)
    bitmap = _bitmaps(sets)
    size = np.diff(sets.indptr).astype(np.int64)
    for left, right in _prefix_pairs(sets, size, threshold):
        open_ = component[left] != component[right]
        left, right = left[open_], right[open_]
        alike = _may_reach(bitmap, size, left, right, threshold)
        pairs = distinct(left[alike] * len(texts) + right[alike])
        while len(pairs):  # by parts: what one part joins need not be counted in the next
            left, right = pairs[:_PART] // len(texts), pairs[:_PART] % len(texts)
            similar = _jaccard(sets, left, right) >= threshold
            if similar.any():
                yield left[similar], right[similar]
            pairs = pairs[_PART:]
            pairs = pairs[component[pairs // len(texts)] != component[pairs % len(texts)]]


def _prefix_pairs(
    sets: sparse.csr_matrix, size: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of pairs that share an n-gram of their prefixes; sizes and places must allow the threshold."""
    prefix = np.where(size > 0, size - np.ceil(threshold * size - 1e-9).astype(np.int64) + 1, 0)
    row = np.repeat(np.arange(len(size)), prefix)
    place = np.arange(len(row)) - np.repeat(np.cumsum(prefix) - prefix, prefix)
    gram = sets.indices[sets.indptr[row] + place].astype(np.int64)
    wide = int(size.max(initial=0)) + 2
    key = gram * wide + size[row]
    order = np.argsort(key, kind="stable")
    row, place, gram, key = row[order], place[order], gram[order], key[order]
    end = np.searchsorted(
        key, gram * wide + np.minimum(size[row] / threshold + 1e-9, wide - 1).astype(np.int64), "right"
    )
    partners = end - np.arange(len(row)) - 1
    partners = np.minimum(partners, minhash.window(partners, _PAIRS))
    bounds = np.cumsum(partners)
    first = 0
    while first < len(row):
        done = bounds[first - 1] if first else 0
        last = max(int(np.searchsorted(bounds, done + _CHUNK, "right")), first + 1)
        a = np.repeat(np.arange(first, last), partners[first:last])
        b = (
            a
            + 1
            + np.arange(len(a))
            - np.repeat(bounds[first:last] - partners[first:last] - done, partners[first:last])
        )
        need = _needed(size[row[a]], size[row[b]], threshold)
        fits = np.minimum(size[row[a]] - place[a], size[row[b]] - place[b]) >= need
        left, right = row[a[fits]], row[b[fits]]
        yield np.minimum(left, right), np.maximum(left, right)
        first = last


def _needed(a: np.ndarray, b: np.ndarray, threshold: float) -> np.ndarray:
    """The overlap from which sets of sizes a and b are `threshold` similar."""
    needed: np.ndarray = np.ceil(threshold / (1 + threshold) * (a + b) - 1e-9)
    return needed


def _bitmaps(sets: sparse.csr_matrix) -> np.ndarray:
    """Each set folded into 512 bits: two sets differ in at least as many members as bits."""
    bits = _WORDS * 64
    spread = mix(sets.indices.astype(np.uint64)) % np.uint64(bits)
    rows = np.repeat(np.arange(sets.shape[0]), np.diff(sets.indptr))
    words = np.zeros(sets.shape[0] * _WORDS, dtype=np.uint64)
    place = rows * _WORDS + (spread >> np.uint64(6)).astype(np.int64)
    np.bitwise_or.at(words, place, np.uint64(1) << (spread & np.uint64(63)))
    return words.reshape(-1, _WORDS)


_ONES = np.array([bin(i).count("1") for i in range(256)], dtype=np.uint8)


def _may_reach(
    bitmap: np.ndarray, size: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float
) -> np.ndarray:
    differing = np.empty(len(left), dtype=np.int64)
    for at in range(0, len(left), 100_000):
        part = slice(at, at + 100_000)
        differing[part] = _ONES[(bitmap[left[part]] ^ bitmap[right[part]]).view(np.uint8)].sum(
            axis=1, dtype=np.int64
        )
    total = size[left] + size[right]
    reach: np.ndarray = differing <= total - 2 * _needed(size[left], size[right], threshold)
    return reach


def _jaccard(sets: sparse.csr_matrix, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    size = np.diff(sets.indptr)
    shared = np.diff(sets[left].multiply(sets[right]).tocsr().indptr)
    found: np.ndarray = shared / (size[left] + size[right] - shared) + 1e-12
    return found
