"""Linear CKA against its definition in another form, and which tokens are hidden."""

import numpy as np
import pytest

from tunelab.measure.forgetting import linear_cka, masked_positions

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((50, 7)) * np.arange(1, 8), RANDOM.standard_normal((50, 12))


def test_by_hand() -> None:
    """X = (0,0), (2,0), (0,2); Y = 0, 2, 0, its first column. Centred, columns of X are (-2, 4, -2)/3 and
    (-2, -2, 4)/3: XᵀX = [[8, -4], [-4, 8]]/3, |XᵀX| = √160/3; YᵀY = 8/3; YᵀX = (8, -4)/3, |YᵀX|² = 80/9.
    CKA = (80/9) / (√160/3 · 8/3) = 10/√160."""
    x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    assert linear_cka(x, x[:, :1]) == pytest.approx(10 / np.sqrt(160), abs=1e-14)


def test_is_the_ratio_of_hsics() -> None:
    """CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), HSIC(K, L) = tr(KHLH) / (n - 1)², H = I - 11ᵀ/n
    (equations 3 and 4 of the paper), and |YᵀX|² / (|XᵀX| |YᵀY|) with centred features."""
    n = len(X)
    h = np.eye(n) - 1 / n

    def hsic(k: np.ndarray, q: np.ndarray) -> float:
        return float(np.trace(k @ h @ q @ h)) / (n - 1) ** 2

    k, q = X @ X.T, Y @ Y.T
    assert linear_cka(X, Y) == pytest.approx(hsic(k, q) / np.sqrt(hsic(k, k) * hsic(q, q)), abs=1e-12)
    x, y = X - X.mean(0), Y - Y.mean(0)
    features = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(X, Y) == pytest.approx(features, abs=1e-12)


def test_what_leaves_it_as_it_is() -> None:
    rotation = np.linalg.qr(RANDOM.standard_normal((7, 7)))[0]
    assert linear_cka(X, -3.5 * X @ rotation + 11) == pytest.approx(1, abs=1e-12)
    assert linear_cka(X, Y) == pytest.approx(linear_cka(Y, X), abs=1e-15)
    assert 0 < linear_cka(X, Y) < 0.5
    # A linear map that is no rotation is not forgiven (section 2.1 of the paper says why).
    assert linear_cka(X, X * np.arange(7)) < 0.999


def test_a_representation_that_does_not_vary() -> None:
    flat = np.ones((50, 7), dtype=np.float32)
    assert linear_cka(X, flat) == 0.0
    assert linear_cka(flat, flat) == 1.0


def test_tokens_are_hidden_of_every_text_and_never_special_ones() -> None:
    lengths = RANDOM.integers(3, 40, size=200)
    starts = np.cumsum([0, *lengths])
    free = np.ones(starts[-1], dtype=bool)
    free[starts[:-1]] = free[starts[1:] - 1] = False
    state = np.random.get_state()[1].copy()
    hidden = masked_positions(free, starts, 0.15, seed=3)
    assert (np.random.get_state()[1] == state).all()
    assert not (hidden & ~free).any()
    counts = np.add.reduceat(hidden, starts[:-1])
    assert counts.tolist() == [max(1, round(0.15 * (n - 2))) for n in lengths]
    assert (masked_positions(free, starts, 0.15, seed=3) == hidden).all()
    assert (masked_positions(free, starts, 0.15, seed=4) != hidden).any()
    assert not masked_positions(np.zeros(5, dtype=bool), np.array([0, 5]), 0.15, seed=0).any()
