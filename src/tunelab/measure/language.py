"""How well a model foretells text: mean loss, perplexity, bits per byte.

    loss             sum of losses / tokens foretold, in nats a token
    perplexity       exp(loss)
    bits_per_byte    sum of losses / (ln 2 · bytes of the text in UTF-8)

All three are ratios of sums over the documents, not means of the documents' own: a long text counts for more.
Losses a token can be compared only between models of one tokenizer; bits per byte between all (Gao et al.,
"The Pile", 2020, arXiv:2101.00027, section 3.1).
"""

# R resamples, N documents

import numpy as np

from tunelab.measure.statistics import RunScore

__all__ = ["language_score_function", "language_scores"]

#: exp of more is no float64; a uniform guess among 200,000 tokens has a loss of 12.
_LARGEST_LOSS = 700.0


def language_scores(losses_N: np.ndarray, tokens_N: np.ndarray, bytes_N: np.ndarray) -> dict[str, float]:
    """loss, perplexity and bits_per_byte.

    losses_N: summed over a document's foretold tokens, in nats; tokens_N: how many those are; bytes_N: of
    the text they make up, in UTF-8.

    >>> two = np.log(2) * np.array([8.0, 24.0])  # one bit a token
    >>> language_scores(two, np.array([8, 24]), np.array([16, 48]))
    {'loss': 0.6931471805599453, 'perplexity': 2.0, 'bits_per_byte': 0.5}
    """
    once = np.ones((1, len(losses_N)))
    loss = -float(language_score_function("neg_loss", losses_N, tokens_N)(once)[0])
    bits = -float(language_score_function("neg_bits_per_byte", losses_N, bytes_N)(once)[0])
    return {"loss": loss, "perplexity": float(np.exp(min(loss, _LARGEST_LOSS))), "bits_per_byte": bits}


def language_score_function(name: str, losses_N: np.ndarray, counts_N: np.ndarray) -> RunScore:
    """The score "neg_loss", "neg_perplexity" (counts_N: tokens) or "neg_bits_per_byte" (counts_N: bytes).

    Higher is better, hence the signs. "neg_loss" is the one to decide by: perplexity says the same, but a
    few bad documents weigh far more in its resamples. A weighting of documents without a single token says
    nothing: it has the score of all documents.

    >>> score = language_score_function("neg_loss", np.array([2.0, 12.0]), np.array([2, 4]))
    >>> score(np.array([[1.0, 1.0], [2.0, 0.0]])).round(4).tolist()
    [-2.3333, -1.0]
    """
    assert name in ("neg_loss", "neg_perplexity", "neg_bits_per_byte"), name
    sums_N, each_N = losses_N.astype(np.float64), counts_N.astype(np.float64)
    assert each_N.sum() > 0, "documents without a single token to foretell"
    plain = sums_N.sum() / each_N.sum()

    def score(weights_RN: np.ndarray) -> np.ndarray:
        counts_R = weights_RN @ each_N
        mean_R = np.where(counts_R > 0, weights_RN @ sums_N / np.where(counts_R > 0, counts_R, 1.0), plain)
        if name == "neg_perplexity":
            return np.asarray(-np.exp(np.minimum(mean_R, _LARGEST_LOSS)))
        return np.asarray(-mean_R / np.log(2) if name == "neg_bits_per_byte" else -mean_R)

    return RunScore(score, bounds=(-np.inf, -1.0 if name == "neg_perplexity" else 0.0))
