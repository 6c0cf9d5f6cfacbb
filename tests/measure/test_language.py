"""Losses of documents: numbers by hand, and weights against repeated documents."""

import numpy as np
import pytest

from tunelab.measure.language import language_score_function, language_scores
from tunelab.measure.statistics import mean_interval


def test_a_uniform_guess_by_hand() -> None:
    """Each of 256 bytes as likely: 8 bits a byte, perplexity 256, loss ln 256, whatever the lengths."""
    tokens = np.array([3, 40, 7])
    found = language_scores(np.log(256) * tokens, tokens, tokens)
    assert found["bits_per_byte"] == pytest.approx(8)
    assert found["perplexity"] == pytest.approx(256)
    assert found["loss"] == pytest.approx(np.log(256))


def test_it_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    """Losses 1 of 1 token and 9 · 2 of 9 tokens: (1 + 18) / 10 = 1.9, not 1.5. Bytes 4 and 46: 19 / 50 ln 2."""
    found = language_scores(np.array([1.0, 18.0]), np.array([1, 9]), np.array([4, 46]))
    assert found["loss"] == pytest.approx(1.9)
    assert found["perplexity"] == pytest.approx(np.exp(1.9))
    assert found["bits_per_byte"] == pytest.approx(19 / (50 * np.log(2)))


@pytest.mark.parametrize("name", ["neg_loss", "neg_perplexity", "neg_bits_per_byte"])
def test_weights_are_repetitions_of_documents(name: str) -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(1, 90, 30)
    losses = tokens * random.gamma(4, 0.5, 30)
    weights = np.vstack([np.ones(30, dtype=int), random.multinomial(30, np.ones(30) / 30, size=20)])
    found = language_score_function(name, losses, tokens)(weights.astype(np.float64))
    key = {"neg_loss": "loss", "neg_perplexity": "perplexity", "neg_bits_per_byte": "bits_per_byte"}[name]
    for row, value in zip(weights, found, strict=True):
        again = np.repeat(tokens, row)
        assert value == pytest.approx(-language_scores(np.repeat(losses, row), again, again)[key], rel=1e-12)


def test_empty_draws_and_absurd_losses_stay_finite() -> None:
    """A document without a token to foretell, drawn alone, has the score of all; exp(800) is no float."""
    score = language_score_function("neg_loss", np.array([0.0, 6.0]), np.array([0, 3]))
    assert score(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist() == [-2.0, -2.0]
    found = language_scores(np.array([1600.0]), np.array([2]), np.array([2]))
    assert found["loss"] == 800.0
    assert np.isfinite(found["perplexity"])


def test_the_interval_of_a_ratio_is_the_delta_method_s() -> None:
    """Variance of sum(l) / sum(t): that of (l - ratio · t) over the documents, over N times the mean t squared
    (Cochran 1977, section 6.4). Below zero, where no share's limits apply."""
    random = np.random.default_rng(3)
    tokens = random.integers(5, 90, 800)
    losses = tokens * random.gamma(4, 0.5, 800)
    value, low, high = mean_interval([language_score_function("neg_loss", losses, tokens)], 800)
    ratio = losses.sum() / tokens.sum()
    error = np.std(losses - ratio * tokens) / np.sqrt(800) / tokens.mean()
    assert value == pytest.approx(-ratio)
    assert (value - low, high - value) == pytest.approx((1.963 * error, 1.963 * error), rel=0.06)
