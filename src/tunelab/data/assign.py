"""Whole groups to parts: every class in its share, no group torn.

First the groups of several rows, the largest first, each to the part that needs its classes most
(as scikit-learn's StratifiedGroupKFold does, which knows equal parts only); then the rows that stand
alone fill what each part lacks, by quotas rounded so that the part's size comes out exactly; last,
classes that a part must have and lacks are brought there.

Chance comes from `priority`, a number per row made of the seed and the row's content: the same rows
in another order are divided in the same way.
"""

# N rows, G groups, C classes, P parts

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy import sparse

__all__ = ["assign", "priorities", "spread"]


def priorities(keys: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """[N] a random number per row that depends on its key (content), the seed and the purpose alone."""
    start = hashlib.blake2b(f"{seed}:{purpose}:".encode(), digest_size=8)
    numbers = np.empty(len(keys), dtype=np.uint64)
    for row, key in enumerate(keys):
        digest = start.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        numbers[row] = int.from_bytes(digest.digest(), "little")
    return numbers


def spread(codes: np.ndarray, priority: np.ndarray) -> np.ndarray:
    """An order of the rows of which every beginning is a stratified sample: [N] positions.

    The k-th row of a class with n rows stands at k/n: the first row of every class comes first.
    """
    order = np.lexsort((priority, codes))
    starts = np.searchsorted(codes[order], codes[order], "left")
    at = (np.arange(len(codes)) - starts) / np.bincount(codes)[codes[order]]
    final: np.ndarray = order[np.lexsort((priority[order], at))]
    return final


def assign(
    codes: np.ndarray, groups: np.ndarray, shares: Sequence[float], priority: np.ndarray, least: Sequence[int]
) -> np.ndarray:
    """[N] the part of each row, 0..P-1.

    codes: [N] class of each row; groups: [N]; shares: [P] of the rows, summing to 1;
    least: [P] a part gets a row of every class that has at least so many rows, where whole groups
    allow it (and no part stays empty while there are groups enough); part 0 goes before all others.
    """
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    _, groups = np.unique(groups, return_inverse=True)
    _, codes = np.unique(codes, return_inverse=True)
    counts_GC = sparse.csr_matrix((np.ones(len(codes), dtype=np.int64), (groups, codes)))
    counts_GC.sum_duplicates()
    totals_C = np.bincount(codes)
    target_PC = np.outer(shares, totals_C)
    first = np.full(counts_GC.shape[0], np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(first, groups, priority)
    promised_PC = totals_C >= np.array(least)[:, None]
    part_G = _large(counts_GC, target_PC, first)
    _single(counts_GC, target_PC, promised_PC, part_G, first)
    _promises(counts_GC, promised_PC, part_G, first)
    _no_part_empty(counts_GC, part_G, len(target_PC), first)
    parts: np.ndarray = part_G[groups]
    return parts


def _sizes(counts_GC: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(counts_GC.sum(axis=1)).ravel()


def _held(counts_GC: sparse.csr_matrix, part_G: np.ndarray, parts: int) -> np.ndarray:
    """[P, C] rows that each part holds of each class."""
    placed = np.flatnonzero(part_G >= 0)
    chooser = sparse.csr_matrix(
        (np.ones(len(placed), dtype=np.int64), (part_G[placed], placed)), shape=(parts, len(part_G))
    )
    return np.asarray((chooser @ counts_GC).todense())


def _large(counts_GC: sparse.csr_matrix, target_PC: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Parts of the groups of several rows; -1 for rows that stand alone."""
    sizes = _sizes(counts_GC)
    part_G = np.full(len(sizes), -1, dtype=np.int64)
    room = target_PC.sum(axis=1)
    need_PC = target_PC.copy()
    inverse_PC = 1 / np.maximum(target_PC, 1e-9)
    for group in np.lexsort((first, -sizes)):
        size = int(sizes[group])
        if size < 2:
            break
        cells = slice(counts_GC.indptr[group], counts_GC.indptr[group + 1])
        classes, members = counts_GC.indices[cells], counts_GC.data[cells]
        fits = room >= size - 0.5
        if fits.any():
            # how much nearer the part's classes come to their targets, as sum of need² / target
            gain = (members * (2 * need_PC[:, classes] - members) * inverse_PC[:, classes]).sum(axis=1)
            part = int(np.where(fits, gain, -np.inf).argmax())
        else:
            part = int(room.argmax())
        part_G[group] = part
        need_PC[part, classes] -= members
        room[part] -= size
    return part_G


def _single(
    counts_GC: sparse.csr_matrix,
    target_PC: np.ndarray,
    promised_PC: np.ndarray,
    part_G: np.ndarray,
    first: np.ndarray,
) -> None:
    """Fill the parts with the groups of one row, the smallest part first; changes `part_G`."""
    alone = np.flatnonzero(part_G < 0)
    class_G = counts_GC.indices[counts_GC.indptr[:-1]]  # of a single row; no group is empty
    alone = alone[np.lexsort((first[alone], class_G[alone]))]
    has_PC = _held(counts_GC, part_G, len(target_PC))
    need_PC = np.maximum(target_PC - has_PC, 0)
    room = np.maximum(target_PC.sum(axis=1) - has_PC.sum(axis=1), 0)
    order = sorted(range(len(target_PC)), key=lambda part: (target_PC[part].sum(), -part))
    for place, part in enumerate(order[:-1]):
        if not len(alone):
            return
        waiting = order[place:]
        left = np.bincount(class_G[alone], minlength=counts_GC.shape[1])
        kept_back = (has_PC[0] == 0) & promised_PC[0] & (0 in waiting[1:])  # part 0 goes before all others
        most = np.maximum(left - kept_back, 0)
        lacking = promised_PC[part] & (has_PC[part] == 0) & (most > 0)
        quota = left * need_PC[part] / np.maximum(need_PC[waiting].sum(axis=0), 1e-9)
        size = round(len(alone) * room[part] / max(room[waiting].sum(), 1e-9))
        tie = first[alone[np.minimum(np.searchsorted(class_G[alone], np.arange(len(left))), len(alone) - 1)]]
        taken = _rounded(quota, lacking.astype(np.int64), most, size, tie)
        starts = np.searchsorted(class_G[alone], class_G[alone], "left")
        chosen = np.arange(len(alone)) - starts < taken[class_G[alone]]
        part_G[alone[chosen]] = part
        has_PC[part] += taken
        alone = alone[~chosen]
    part_G[alone] = order[-1]


def _rounded(quota: np.ndarray, low: np.ndarray, high: np.ndarray, size: int, tie: np.ndarray) -> np.ndarray:
    """Whole numbers between low and high, near the quota, that sum to `size` where the bounds allow it."""
    number: np.ndarray = np.minimum(np.maximum(np.floor(quota + 1e-9).astype(np.int64), low), high)
    while (missing := size - int(number.sum())) != 0:
        step = 1 if missing > 0 else -1
        able = np.flatnonzero(number < high if step > 0 else number > low)
        if not len(able):
            break
        able = able[np.lexsort((tie[able], step * (number - quota)[able]))]
        number[able[: abs(missing)]] += step
    return number


def _promises(
    counts_GC: sparse.csr_matrix, promised_PC: np.ndarray, part_G: np.ndarray, first: np.ndarray
) -> None:
    """Bring classes to parts that should have them, by moving the smallest groups; changes `part_G`."""
    parts = len(promised_PC)
    sizes = _sizes(counts_GC)
    columns = counts_GC.tocsc()
    has_PC = _held(counts_GC, part_G, parts)
    for part, kind in np.argwhere(promised_PC & (has_PC == 0)):
        candidates = columns.indices[columns.indptr[kind] : columns.indptr[kind + 1]]
        candidates = candidates[part_G[candidates] != part]
        for group in candidates[np.lexsort((first[candidates], sizes[candidates]))]:
            donor = part_G[group]
            cells = slice(counts_GC.indptr[group], counts_GC.indptr[group + 1])
            classes, members = counts_GC.indices[cells], counts_GC.data[cells]
            breaks = (has_PC[donor, classes] == members) & promised_PC[donor, classes]
            if part != 0 and (breaks.any() or 2 * sizes[group] > has_PC[donor].sum()):
                continue
            part_G[group] = part
            has_PC[donor, classes] -= members
            has_PC[part, classes] += members
            break


def _no_part_empty(counts_GC: sparse.csr_matrix, part_G: np.ndarray, parts: int, first: np.ndarray) -> None:
    """Give a part without rows the smallest group of the part with the most groups; changes `part_G`."""
    sizes = _sizes(counts_GC)
    for part in range(parts):
        groups_P = np.bincount(part_G, minlength=parts)
        if groups_P[part] == 0 and groups_P.max() > 1:
            giving = np.flatnonzero(part_G == groups_P.argmax())
            part_G[giving[np.lexsort((first[giving], sizes[giving]))[0]]] = part
