"""How far representations moved, and which words are hidden to ask a masked language model for.

Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv:1905.00414, section 3.
"""

# N texts, D and E features

from itertools import pairwise

import numpy as np

__all__ = ["linear_cka", "masked_positions"]


def linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Linear centred kernel alignment of two representations of the same N texts, in [0, 1].

    With centred columns |YᵀX|² / (|XᵀX| |YᵀY|), norms of Frobenius; computed from the Gram matrices
    K = XXᵀ and L = YYᵀ as <K, L> / (|K| |L|), the same number at the cost of N² instead of D². It is 1 for
    representations equal up to rotation, scale and shift. It falls to 0 for unrelated ones only where N is
    much larger than the number of directions that carry the variance: for isotropic noise of D = E it is
    about D / (D + N). Where one of the two is the same for all texts it is 0, where both are 1.

    >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> round(linear_cka(x, 3 * x + 1), 12), round(linear_cka(x, x[:, :1]), 4)
    (1.0, 0.7906)
    """
    assert len(x_ND) == len(y_NE) > 1, (x_ND.shape, y_NE.shape)
    k_NN, l_NN = _gram(x_ND), _gram(y_NE)
    varies = float(np.linalg.norm(k_NN)), float(np.linalg.norm(l_NN))
    if 0.0 in varies:
        return 1.0 if varies == (0.0, 0.0) else 0.0
    return float((k_NN * l_NN).sum() / (varies[0] * varies[1]))


def _gram(x_ND: np.ndarray) -> np.ndarray:
    """Inner products of the centred rows, [N, N] float64."""
    wide = x_ND.astype(np.float64)
    centred = wide - wide.mean(0)
    gram: np.ndarray = centred @ centred.T
    return gram


def masked_positions(free: np.ndarray, starts: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which tokens to hide: of every text `share` of its free tokens, rounded, but one at least.

    free: bool, all texts one after the other: not a special token; text i is
    `free[starts[i]:starts[i + 1]]`. A pure function: the global random state is neither read nor moved.

    >>> free = np.array([False, True, True, True, True, False])
    >>> masked_positions(free, np.array([0, 6]), 0.5, seed=0).sum()
    np.int64(2)
    """
    random = np.random.default_rng(seed)
    hidden = np.zeros(len(free), dtype=bool)
    for first, end in pairwise(starts):
        places = first + np.flatnonzero(free[first:end])
        if len(places):
            hidden[random.choice(places, max(1, round(share * len(places))), replace=False)] = True
    return hidden
