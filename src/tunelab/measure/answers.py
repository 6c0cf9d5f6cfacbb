"""Scores of answers to questions: F1 of the words shared with a reference, and exact match.

English, the official script of SQuAD 2.0 (Rajpurkar et al. 2018, arXiv:1806.03822): lower case, without
punctuation and the articles a, an, the; F1 of the bags of words.

Chinese, the official script of CMRC 2018 (Cui et al. 2019, arXiv:1810.07366, section 4;
`cmrc2018_evaluate.py` of github.com/ymcui/cmrc2018): lower case, without the punctuation marks it lists;
each Chinese character is a word, what stands between is cut into words; F1 of the longest run of words that
both have without a gap ("longest common string" in the script: a substring, not a subsequence). Exact match
compares the texts without those marks. The script cuts foreign stretches with NLTK's `word_tokenize`; here
its rules are applied but three: "don't" stays one word, a sentence may end only where its stretch ends, and
'"' is the same word whether it opens or closes. Of the 4,933 different answers of CMRC 2018 (development and
trial) none is cut otherwise than with NLTK's word tokenizer, the quotes apart.

Both: the best of all references. A question without references (or whose references are nothing but
punctuation and articles) has the one right answer "".
"""

# N questions

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tunelab.measure.statistics import RunScore

__all__ = ["answer_items", "answer_score_function", "answer_scores"]

_NAMES = ("f1", "exact_match")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")

#: What CMRC 2018 leaves out. (Its list also has "……", two signs, which no single character equals.)
_CMRC_MARKS = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"
_NO_CMRC_MARKS = str.maketrans("", "", _CMRC_MARKS)
#: A Chinese character, as the script has it, or a stretch without one.
_HAN_OR_NOT = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")
#: Where NLTK's tokenizer cuts: a dot at the end of a stretch, several dots, a comma that is not within a
#: number, an apostrophe that is not within a word, and other marks always.
_LAST_DOT = re.compile(r"(?<=[^.])\.(?=[\])}>\"'»”’ ]*$)")
_MARKS = re.compile(r"\.{2,}|,(?!\d)|''|'(?!\w)|(?<!\w)'|[;@#$%&?!()\[\]{}<>\"«»‘“”„\u2012-\u2015]")


def answer_items(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> dict[str, np.ndarray]:
    """f1 and exact_match of every question, [N] float64 in [0, 1]: the best of its references.

    references: the right answers of each question; none: the question has no answer, "" is right.

    >>> items = answer_items(["The cat sat.", "cat"], [["a cat", "cat that sat"], []], chinese=False)
    >>> {name: each.round(2).tolist() for name, each in items.items()}
    {'f1': [0.8, 0.0], 'exact_match': [0.0, 0.0]}
    """
    both = _chinese if chinese else _english
    pairs = [both(own, right) for own, right in zip(predictions, references, strict=True)]
    table_N2 = np.array(pairs, dtype=np.float64).reshape(len(pairs), len(_NAMES))
    return {name: table_N2[:, i] for i, name in enumerate(_NAMES)}


def answer_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> dict[str, float]:
    """f1 and exact_match; where some questions have an answer and some have none, also both scores of each
    kind, `f1(answer)` and `f1(no answer)`.

    >>> answer_scores(["cat", ""], [["cat"], []], chinese=False)["f1(no answer)"]
    1.0
    """
    items = answer_items(predictions, references, chinese=chinese)
    scores = {name: float(each_N.mean()) for name, each_N in items.items()}
    has_N = np.array([len(right) > 0 for right in references])
    if has_N.any() and not has_N.all():
        for kind, which_N in (("answer", has_N), ("no answer", ~has_N)):
            scores |= {f"{name}({kind})": float(each_N[which_N].mean()) for name, each_N in items.items()}
    return scores


def answer_score_function(
    name: str, predictions: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool
) -> RunScore:
    """The mean of "f1" or "exact_match" for many weightings of the questions at once.

    >>> score = answer_score_function("exact_match", ["猫。", "狗"], [["猫"], ["猫"]], chinese=True)
    >>> score(np.array([[1.0, 1.0], [3.0, 1.0]])).tolist()
    [0.5, 0.75]
    """
    assert name in _NAMES, name
    items_N = answer_items(predictions, references, chinese=chinese)[name]
    correct_N = items_N == 1 if name == "exact_match" else None
    return RunScore(lambda weights_RN: (weights_RN @ items_N) / weights_RN.sum(1), correct_N)


def _english(own: str, references: Sequence[str]) -> tuple[float, float]:
    words = _plain(own)
    known = [right for right in map(_plain, references) if right] or [[]]
    return max(_shared_words(words, right) for right in known), float(words in known)


def _plain(text: str) -> list[str]:
    """Words in lower case without punctuation and articles, in the script's order of steps."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _shared_words(own: list[str], right: list[str]) -> float:
    """F1 of two bags of words; 1 where both are empty."""
    if not own or not right:
        return float(own == right)
    return 2 * sum((Counter(own) & Counter(right)).values()) / (len(own) + len(right))


def _chinese(own: str, references: Sequence[str]) -> tuple[float, float]:
    bare, words = _without_marks(own), _segments(own)
    known = [right for right in references if _without_marks(right)] or [""]
    f1 = max(_shared_run(words, _segments(right)) for right in known)
    return f1, float(any(bare == _without_marks(right) for right in known))


def _without_marks(text: str) -> str:
    return text.lower().strip().translate(_NO_CMRC_MARKS)


def _segments(text: str) -> list[str]:
    """Chinese characters one by one, and the words of what stands between them, without CMRC's marks."""
    found = []
    for part in _HAN_OR_NOT.findall(_without_marks(text)):
        found += _MARKS.sub(r" \g<0> ", _LAST_DOT.sub(" . ", part)).split()
    return found


def _shared_run(own: list[str], right: list[str]) -> float:
    """F1 of the longest run of words that both have; 1 where both are empty."""
    if not own or not right:
        return float(own == right)
    longest, above = 0, [0] * (len(right) + 1)
    for word in own:
        here = [0] + [before + 1 if word == other else 0 for before, other in zip(above, right, strict=False)]
        longest, above = max(longest, *here), here
    return 2 * longest / (len(own) + len(right))
