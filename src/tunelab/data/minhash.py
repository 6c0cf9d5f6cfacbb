"""Groups of nearly equal texts among very many: candidates by MinHash signatures, every one counted exactly.

The smallest of a text's n-grams under a random order is the same for two texts with probability J, their
Jaccard similarity. Two texts are candidates where `rows` such orders agree together, in any of `bands` tries:

    P(candidate) = 1 - (1 - J^rows)^bands

    Broder, "On the resemblance and containment of documents", Sequences 1997 (the signature)
    Indyk, Motwani, "Approximate nearest neighbors", STOC 1998 (the bands)
    Sandes, Teodoro, Melo, "Bitmap filter", 2017, arXiv:1711.07295 (the cheap bound before the exact count)

Every candidate's n-grams are counted, so no group is false. What may be missed: a pair just at the threshold
with probability 5e-5 at most, one well above it far less often (J = 0.85 at threshold 0.8: 3e-7), and a group
is torn only where all pairs that hold it together are missed. Measured on a million reviews: 846,960 groups,
where a search over all pairs finds 846,959. Where over `_PAIRS` candidates of a band are left after what is
joined already was put aside (templates), a text is compared only with its neighbours in a bucket.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tunelab.data.ngrams import distinct, grams, mix

__all__ = ["components", "join", "layout", "window"]

_MISSED = 5e-5  # probability that a pair just at the threshold is no candidate
_ORDERS = 128  # random orders at most
_PAIRS = 1_000_000  # candidate pairs of a band looked at beside neighbours: about 0.5 s
_CHUNK = 200_000  # of which so many at once
_CELLS = 250_000  # n-grams looked at at once: small enough to stay in the processor's cache
_BITS = 48  # of an n-gram's hash: two texts' 100 n-grams hold a false match with probability 4e-11
_WORDS = 8  # 64-bit words of a text's bitmap
_BLOCK = 1_500_000  # characters whose n-grams are made at once


def layout(threshold: float) -> tuple[int, int]:
    """(rows, bands): as many rows as the number of orders allows, so that candidates are few.

    >>> layout(0.8), round((1 - 0.8**5) ** 25 * 1e5, 1)
    ((5, 25), 4.9)
    """
    found = [(rows, _bands(threshold**rows)) for rows in range(1, _ORDERS + 1)]
    return [(rows, bands) for rows, bands in found if rows * bands <= _ORDERS][-1]


def _bands(agreeing: float) -> int:
    """How many bands it takes, where all orders of one agree with this probability."""
    return 1 if agreeing == 1 else math.ceil(math.log(_MISSED) / math.log1p(-agreeing))


def components(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Connected components of the texts (all different) under similarity >= threshold."""
    sets = _Sets.of(texts)
    rows, bands = layout(threshold)
    component = np.arange(len(texts), dtype=np.int64)
    for keys in _keys(sets, rows, bands):
        for left, right in _candidates(keys, component):
            open_ = component[left] != component[right]
            left, right = left[open_], right[open_]
            similar = sets.similar(left, right, threshold)
            join(component, left[similar], right[similar])
    return component


def join(component: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Makes one component of those of each pair's two texts, in place."""
    if not len(left):
        return
    names, ends = np.unique(np.concatenate([component[left], component[right]]), return_inverse=True)
    edges = sparse.coo_matrix(
        (np.ones(len(left), dtype=bool), (ends[: len(left)], ends[len(left) :])), shape=(len(names),) * 2
    )
    number, joined = connected_components(edges, directed=False)
    first = np.full(number, len(component), dtype=np.int64)
    np.minimum.at(first, joined, names)
    renamed = np.arange(len(component), dtype=np.int64)
    renamed[names] = first[joined]
    component[:] = renamed[component]


# ---- sets ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sets:
    """The n-grams of N texts: those of text i are `members[starts[i]:starts[i + 1]]`, rising, each once."""

    members: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    bitmap: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> "_Sets":
        members = np.empty(sum(map(len, texts)), dtype=np.uint64)  # no text has more n-grams than characters
        sizes = np.zeros(len(texts), dtype=np.int64)
        bitmap = np.zeros(len(texts) * _WORDS, dtype=np.uint64)
        filled = 0
        for first, owner, hashes in grams(texts, _BLOCK):
            cells = distinct(owner.astype(np.uint64) << np.uint64(_BITS) | hashes >> np.uint64(64 - _BITS))
            owner = (cells >> np.uint64(_BITS)).astype(np.int64)
            found = cells & np.uint64(2**_BITS - 1)
            members[filled : filled + len(found)] = found
            sizes[first : first + owner.max(initial=-1) + 1] = np.bincount(owner)
            filled += len(found)
            word = cells >> np.uint64(_BITS - 3)  # its highest nine bits name one of a text's 512
            bit = np.uint64(1) << (cells >> np.uint64(_BITS - 9) & np.uint64(63))
            change = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
            bitmap[word[change].astype(np.int64) + first * _WORDS] = np.bitwise_or.reduceat(bit, change)
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum(sizes, out=starts[1:])
        return cls(members[:filled], starts, sizes, bitmap.reshape(-1, _WORDS))

    def padded(self, rows: np.ndarray, width: int) -> np.ndarray:
        """[width, len(rows)] n-grams of the rows, the last of each repeated to fill its column."""
        last = self.starts[rows + 1] - 1
        place: np.ndarray = np.minimum(self.starts[rows] + np.arange(width)[:, None], last)
        found: np.ndarray = self.members[place]
        return found

    def similar(self, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
        """Which pairs are `threshold` similar: |A ∩ B| >= threshold / (1 + threshold) · (|A| + |B|)."""
        total = self.sizes[left] + self.sizes[right]
        needed = np.ceil(threshold / (1 + threshold) * total - 1e-9).astype(np.int64)
        found: np.ndarray = self._differing(left, right) <= total - 2 * needed
        hopeful = np.flatnonzero(found)
        hopeful = hopeful[np.argsort(total[hopeful], kind="stable")]
        while len(hopeful):
            widest = int(np.searchsorted(np.cumsum(total[hopeful[:_CELLS]]), _CELLS))
            part, hopeful = hopeful[: widest + 1], hopeful[widest + 1 :]
            found[part] = self._shared(left[part], right[part]) >= needed[part]
        return found

    def _differing(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Bits that differ between the bitmaps of each pair: at most as many as n-grams do."""
        found = np.zeros(len(left), dtype=np.int64)
        for at in range(0, len(left), _CELLS // _WORDS):
            part = slice(at, at + _CELLS // _WORDS)
            either = (self.bitmap[left[part]] ^ self.bitmap[right[part]]).view(np.uint16)
            found[part] = _ONES[either].sum(axis=1, dtype=np.int64)
        return found

    def _shared(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """N-grams that the two texts of each pair have in common."""
        both = np.concatenate([self._own(left, 0), self._own(right, 1)], axis=1)
        both.sort(axis=1)
        found: np.ndarray = (both[:, 1:] == both[:, :-1]).sum(axis=1)
        return found

    def _own(self, rows: np.ndarray, side: int) -> np.ndarray:
        """[len(rows), widest] n-grams, filled up with numbers that stand nowhere else."""
        sizes = self.sizes[rows]
        width = int(sizes.max(initial=0))
        place = np.arange(width)
        filler = (np.uint64(1) << np.uint64(_BITS)) + (2 * place + side).astype(np.uint64)
        inside = place < sizes[:, None]
        at = np.where(inside, self.starts[rows][:, None] + place, 0)
        return np.where(inside, self.members[at], filler)


_ONES = np.array([bin(i).count("1") for i in range(2**16)], dtype=np.uint8)


# ---- signatures ----------------------------------------------------------------------------------


def _keys(sets: _Sets, rows: int, bands: int) -> np.ndarray:
    """[bands, N] 32-bit hash of the smallest n-grams under a band's orders; of an empty text a lone one."""
    random = np.random.default_rng(0)
    factors = random.integers(0, 2**31, size=rows * bands, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    weights = random.integers(0, 2**63, size=rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.empty((bands, len(sets.sizes)), dtype=np.uint32)
    keys[:] = np.arange(len(sets.sizes), dtype=np.uint32)
    for texts, width in _alike_long(sets.sizes):
        block = sets.padded(texts, width).astype(np.uint32)  # the lower half of a hash is one, too
        ordered = np.empty_like(block)
        smallest = np.empty((len(factors), len(texts)), dtype=np.uint32)
        for order, factor in enumerate(factors):
            np.multiply(block, factor, out=ordered)
            ordered.min(axis=0, out=smallest[order])
        together = (smallest.reshape(bands, rows, -1) * weights[:, None]).sum(axis=1, dtype=np.uint64)
        keys[:, texts] = mix(together) >> np.uint64(32)
    return keys


def _alike_long(sizes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Texts of about the same number of n-grams together, and the largest of these numbers; none without."""
    order = np.argsort(sizes, kind="stable")
    order = order[int(np.searchsorted(sizes[order], 1)) :]
    while len(order):
        width = max(int(sizes[order[0]] * 1.1), 1)
        fitting = sizes[order[: max(_CELLS // width, 1)]]
        number = int(np.searchsorted(fitting, width, "right"))
        part, order = order[:number], order[number:]
        yield np.sort(part), int(sizes[part].max())


def _candidates(keys: np.ndarray, component: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of pairs of texts with the same key: first neighbours, then all that are not joined by then.

    `component` changes between the chunks.
    """
    packed = np.sort(keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))
    text = (packed & np.uint64(2**32 - 1)).astype(np.int64)
    key = (packed >> np.uint64(32)).astype(np.int64)
    for first in range(0, len(text) - 1, _CHUNK):
        last = min(first + _CHUNK, len(text) - 1)
        near = np.flatnonzero(key[first:last] == key[first + 1 : last + 1]) + first
        yield text[near], text[near + 1]
    bucket = np.cumsum(np.append(0, key[1:] != key[:-1]))
    own = component[text]
    torn = distinct(bucket[1:][(bucket[1:] == bucket[:-1]) & (own[1:] != own[:-1])])
    inside = np.isin(bucket, torn)
    text, bucket, own = text[inside], bucket[inside], own[inside]
    order = np.lexsort((own, bucket))
    text, bucket, own = text[order], bucket[order], own[order]
    yield from _across(text, bucket, bucket * len(component) + own)


def _across(
    text: np.ndarray, bucket: np.ndarray, part: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of all pairs of texts in the same bucket and not in the same part of it (both rise)."""
    begin = np.searchsorted(part, part, "right")  # a text's partners stand from here to the bucket's end
    partners = np.searchsorted(bucket, bucket, "right") - begin
    partners = np.minimum(partners, window(partners, _PAIRS))
    bounds = np.cumsum(partners)
    first = 0
    while first < len(text):
        done = int(bounds[first - 1]) if first else 0
        last = max(int(np.searchsorted(bounds, done + _CHUNK, "right")), first + 1)
        a = np.repeat(np.arange(first, last), partners[first:last])
        start = np.repeat(bounds[first:last] - partners[first:last] - done, partners[first:last])
        yield text[a], text[begin[a] + np.arange(len(a)) - start]
        first = last


def window(partners: np.ndarray, most: int) -> int:
    """The most partners a text may have for all pairs to stay within `most`."""
    if partners.sum() <= most:
        return int(partners.max(initial=0))
    low, high = 1, int(partners.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(partners, middle).sum() <= most else (low, middle - 1)
    return low
