"""Scores of written texts against reference texts, all in [0, 1]: the packages named give 100 times as much.

    rouge1, rouge2    mean over texts of the F1 of shared words and of shared word pairs (Lin 2004, W04-1013)
    rougeL            mean over texts of the F1 of the longest common subsequence
    bleu              of the whole corpus (Papineni et al. 2002, P02-1040), as `sacrebleu.corpus_bleu`
    chrf              chrF2 of the whole corpus (Popović 2015, W15-3049), as `sacrebleu.corpus_chrf`
    exact_match       share of texts equal to a reference but for white space

ROUGE gives the numbers of the package `rouge-score` without stemming.
Words: English ROUGE takes runs of a-z and 0-9 in lower case and drops everything else (other alphabets, too);
Chinese ROUGE takes each character for a word, runs of a-z and 0-9 together, and drops punctuation. BLEU cuts
with sacrebleu's "13a" or, Chinese, "zh". chrF needs no words.

BLEU and chrF are functions of counts summed over the texts, so weights of texts are weights of their counts.
With several references: ROUGE takes the one of best F1, chrF the one of best chrF, BLEU clips by all.
"""

# R resamples, N texts, K counts of a text, O n-gram orders

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from sacrebleu import BLEU, extract_char_ngrams

from tunelab.measure.statistics import RunScore

__all__ = ["generation_items", "generation_score_function", "generation_scores", "has_words", "is_chinese"]

_MEANS = ("rouge1", "rouge2", "rougeL", "exact_match")
_BLEU_ORDERS, _CHRF_ORDERS = 4, 6
_CHRF_BETA = 2
_ENGLISH = re.compile("[a-z0-9]+")
_CHINESE = re.compile(r"[a-z0-9]+|[^\W_]")
_HAN_OR_WORD = re.compile("([\u3400-\u4dbf\u4e00-\u9fff])|[^\\W\\d_\u3400-\u4dbf\u4e00-\u9fff]+")


def is_chinese(texts: Iterable[str]) -> bool:
    """Whether there are more Chinese characters than words in letters: what to give as `chinese`.

    >>> is_chinese(["用 Python 编程"]), is_chinese(["the word 中文", "and more"])
    (True, False)
    """
    han = words = 0
    for text in texts:
        for found in _HAN_OR_WORD.finditer(text):
            han, words = (han + 1, words) if found[1] else (han, words + 1)
    return han > words


def has_words(text: str) -> bool:
    """Whether English ROUGE finds a word in a text.

    >>> has_words("one"), has_words("один")
    (True, False)
    """
    return _ENGLISH.search(text.lower()) is not None


def generation_items(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> dict[str, np.ndarray]:
    """rouge1, rouge2, rougeL, exact_match and chrf of every text by itself, [N] float64 in [0, 1].

    references: one or more of each text.

    >>> items = generation_items(["the cat sat"], [["a cat sat down", "dogs"]], chinese=False)
    >>> {name: each.round(3).tolist() for name, each in items.items() if name != "chrf"}
    {'rouge1': [0.571], 'rouge2': [0.4], 'rougeL': [0.571], 'exact_match': [0.0]}
    """
    assert all(references), "every text needs a reference"
    table_N4 = np.array(
        [
            (*_rouge(own, known, chinese), _equal(own, known))
            for own, known in zip(predictions, references, strict=True)
        ]
    ).reshape(len(predictions), len(_MEANS))
    items = {name: table_N4[:, i] for i, name in enumerate(_MEANS)}
    return {**items, "chrf": _chrf(_chrf_counts(predictions, references))}


def generation_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> dict[str, float]:
    """rouge1, rouge2, rougeL, bleu, chrf and exact_match, in [0, 1].

    >>> scores = generation_scores(["the cat sat down"], [["the cat sat down"]], chinese=False)
    >>> {name: round(score, 6) for name, score in scores.items()}
    {'rouge1': 1.0, 'rouge2': 1.0, 'rougeL': 1.0, 'bleu': 1.0, 'chrf': 1.0, 'exact_match': 1.0}
    """
    items = generation_items(predictions, references, chinese=chinese)
    means = {name: float(items[name].mean()) for name in _MEANS}
    once = np.ones((1, len(predictions)))
    for name in ("bleu", "chrf"):
        score = generation_score_function(name, predictions, references, chinese=chinese)
        means[name] = float(score(once)[0])
    return {name: means[name] for name in ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match")}


def generation_score_function(
    name: str, predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> RunScore:
    """One of `generation_scores` for many weightings of the texts at once.

    Integer weights give the score of the texts repeated as often.

    >>> score = generation_score_function("rougeL", ["大猫", "狗"], [["小猫"], ["狗"]], chinese=True)
    >>> score(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [0.75, 0.5]
    """
    assert all(references), "every text needs a reference"
    if name == "bleu":
        bleu_NK = _bleu_counts(predictions, references, chinese)
        return RunScore(lambda weights_RN: _bleu(weights_RN @ bleu_NK))
    if name == "chrf":
        chrf_NK = _chrf_counts(predictions, references)
        return RunScore(lambda weights_RN: _chrf(weights_RN @ chrf_NK))
    assert name in _MEANS, name
    pairs = zip(predictions, references, strict=True)
    if name == "exact_match":
        correct_N = np.array([_equal(own, known) for own, known in pairs])
        return _mean(correct_N.astype(np.float64), correct_N)
    which = _MEANS.index(name)
    return _mean(np.array([_rouge(own, known, chinese)[which] for own, known in pairs]))


def _mean(items_N: np.ndarray, correct_N: np.ndarray | None = None) -> RunScore:
    return RunScore(lambda weights_RN: (weights_RN @ items_N) / weights_RN.sum(1), correct_N)


def _equal(own: str, references: Sequence[str]) -> bool:
    return own.split() in [known.split() for known in references]


# --- ROUGE ----------------------------------------------------------------------------------------------


def _rouge(own: str, references: Sequence[str], chinese: bool) -> tuple[float, float, float]:
    """F1 of words, word pairs and longest common subsequence, each with its best reference."""
    cut = _CHINESE if chinese else _ENGLISH
    words = cut.findall(own.lower())
    each = []
    for reference in references:
        known = cut.findall(reference.lower())
        pairs, known_pairs = list(pairwise(words)), list(pairwise(known))
        each.append(
            (
                _f1((Counter(words) & Counter(known)).total(), len(words), len(known)),
                _f1((Counter(pairs) & Counter(known_pairs)).total(), len(pairs), len(known_pairs)),
                _f1(_common_subsequence(words, known), len(words), len(known)),
            )
        )
    one, two, longest = (max(scores) for scores in zip(*each, strict=True))
    return one, two, longest


def _f1(both: int, own: int, known: int) -> float:
    return 2 * both / (own + known) if both else 0.0


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits of an integer a word of `one`.

    Crochemore et al. 2001, "A fast and practical bit-vector algorithm for the longest common subsequence
    problem", Information Processing Letters 80:279: a bit of `row` falls where the length grows.

    >>> _common_subsequence("abcde", "axcye")
    3
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    all_bits = (1 << len(one)) - 1
    row = all_bits
    for word in other:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & all_bits
    return len(one) - row.bit_count()


# --- BLEU -----------------------------------------------------------------------------------------------


def _bleu_counts(
    predictions: Sequence[str], references: Sequence[Sequence[str]], chinese: bool
) -> np.ndarray:
    """Own length, reference length, n-grams found and n-grams of every text, [N, 2 + 2 · 4]."""
    # The effective order changes the score of one text, which is not used, not the counts.
    bleu = BLEU(tokenize="zh" if chinese else "13a", effective_order=True)
    rows = []
    for own, known in zip(predictions, references, strict=True):
        found = bleu.sentence_score(own, list(known))
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=np.float64)


def _bleu(counts_RK: np.ndarray) -> np.ndarray:
    """Geometric mean of n-gram precisions times the brevity penalty, [R].

    The k-th order of which nothing was found counts as 1 / 2^k of an n-gram (sacrebleu's smoothing "exp").
    0 where no word was found, or where every text is too short for 4-grams.
    """
    own_R, known_R = counts_RK[:, 0], counts_RK[:, 1]
    found_RO, total_RO = counts_RK[:, 2 : 2 + _BLEU_ORDERS], counts_RK[:, 2 + _BLEU_ORDERS :]
    some_R = (found_RO > 0).any(1) & (total_RO > 0).all(1)
    missed_RO = found_RO == 0
    smoothed_RO = np.where(missed_RO, 0.5 ** np.cumsum(missed_RO, axis=1), found_RO)
    logs_RO = np.log(smoothed_RO / np.where(total_RO > 0, total_RO, 1.0))
    brevity_R = np.minimum(0.0, 1 - known_R / np.where(own_R > 0, own_R, 1.0))
    scores_R: np.ndarray = np.where(some_R, np.exp(brevity_R + logs_RO.mean(1)), 0.0)
    return scores_R


# --- chrF -----------------------------------------------------------------------------------------------


def _chrf_counts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Own, reference and shared n-grams of characters (no spaces) of orders 1 to 6 of every text, [N, 18].

    Of several references the one of best chrF, the first where they tie.
    """
    rows = []
    for own, known in zip(predictions, references, strict=True):
        grams = _character_grams(own)
        each = np.array([_matches(grams, _character_grams(text)) for text in known], dtype=np.float64)
        rows.append(each[_chrf(each).argmax()])
    return np.array(rows)


def _character_grams(text: str) -> list[Counter[str]]:
    return [extract_char_ngrams(text, order) for order in range(1, _CHRF_ORDERS + 1)]


def _matches(own: list[Counter[str]], known: list[Counter[str]]) -> list[int]:
    """As sacrebleu counts: own n-grams of an order that the reference is too short for are not counted."""
    found = []
    for grams, right in zip(own, known, strict=True):
        found += [grams.total() if right else 0, right.total(), (grams & right).total()]
    return found


def _chrf(counts_RK: np.ndarray) -> np.ndarray:
    """F2 of the mean precision and the mean recall over the orders that both sides have, [R]."""
    own_RO, known_RO, both_RO = (counts_RK[:, i::3] for i in range(3))
    orders_R = np.maximum(((own_RO > 0) & (known_RO > 0)).sum(1), 1)
    precision_R = (both_RO / np.maximum(own_RO, 1e-300)).sum(1) / orders_R
    recall_R = (both_RO / np.maximum(known_RO, 1e-300)).sum(1) / orders_R
    square = _CHRF_BETA**2
    below_R = square * precision_R + recall_R
    scores_R: np.ndarray = (1 + square) * precision_R * recall_R / np.where(below_R > 0, below_R, 1.0)
    return scores_R
