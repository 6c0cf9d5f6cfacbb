"""Written texts against the packages rouge-score and sacrebleu, weights against repeated texts."""

import json

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from tunelab.measure.generation import (
    generation_items,
    generation_score_function,
    generation_scores,
    is_chinese,
)

ENGLISH = ["the ", "cat ", "Sat", " on ", "mat. ", "it's ", "3.5 ", ", ", "the cat ", "naïve ", "x_y "]
CHINESE = ["猫", "在", "垫子上", "。", "，", "LSTM ", "3.5", " ", "猫在", "é"]

NAMES = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match")


class Characters:
    """A tokenizer for rouge-score: ASCII letters and digits in runs, every other letter alone."""

    def tokenize(self, text: str) -> list[str]:
        spaced = "".join(
            c if c.isascii() and c.isalnum() else f" {c} " if c.isalnum() else " " for c in text.lower()
        )
        return spaced.split()


def texts(pieces: list[str], size: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Predictions near the first of one to three references; some empty, some right."""
    random = np.random.default_rng(seed)

    def text(longest: int) -> list[str]:
        return list(random.choice(pieces, random.integers(0, longest)))

    own, references = [], []
    for _ in range(size):
        known = [text(14) for _ in range(random.integers(1, 4))]
        mine = [piece for piece in known[0] if random.random() < 0.8] if random.random() < 0.8 else known[0]
        own.append("".join(mine))
        references.append(["".join(each) for each in known])
    return own, references


def expected(own: list[str], references: list[list[str]], chinese: bool) -> dict[str, float]:
    """What the packages say, over 100."""
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Characters() if chinese else None)
    rouge = [scorer.score_multi(known, mine) for mine, known in zip(own, references, strict=True)]
    most = max(map(len, references))
    columns = [[known[i] if i < len(known) else None for known in references] for i in range(most)]
    return {
        **{name: float(np.mean([each[name].fmeasure for each in rouge])) for name in NAMES[:3]},
        "bleu": sacrebleu.corpus_bleu(own, columns, tokenize="zh" if chinese else "13a").score / 100,
        "chrf": sacrebleu.corpus_chrf(own, columns).score / 100,
        "exact_match": np.mean(
            [any(a.split() == b.split() for b in known) for a, known in zip(own, references, strict=True)]
        ),
    }


@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
def test_scores_equal_the_packages(chinese: bool) -> None:
    own, references = texts(CHINESE if chinese else ENGLISH, 400)
    found = generation_scores(own, references, chinese=chinese)
    assert list(found) == list(NAMES)
    assert found == pytest.approx(expected(own, references, chinese), abs=1e-12)


@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
def test_weights_are_repetitions_of_texts(chinese: bool) -> None:
    """Few short texts, so that BLEU's smoothing and texts without 4-grams are among the draws."""
    own, references = texts(CHINESE if chinese else ENGLISH, 8, seed=5)
    random = np.random.default_rng(1)
    weights = np.vstack(
        [np.ones(8, dtype=int), np.eye(8, dtype=int), random.multinomial(8, np.ones(8) / 8, 15)]
    )
    scores = {name: generation_score_function(name, own, references, chinese=chinese) for name in NAMES}
    found = {name: score(weights.astype(np.float64)) for name, score in scores.items()}
    assert [name for name, score in scores.items() if score.correct_N is not None] == ["exact_match"]
    assert (found["bleu"] == 0).any()
    for row, drawn in enumerate(np.repeat(np.arange(8), w) for w in weights):
        again = expected([own[i] for i in drawn], [references[i] for i in drawn], chinese)
        assert {name: found[name][row] for name in NAMES} == pytest.approx(again, abs=1e-12)


def test_by_hand() -> None:
    """ "the cat sat" of "the cat sat on it": precisions 1, brevity exp(1 - 5/3) with three words, no 4-gram: 0.
    Four words of six, all in order, precisions 1, 1, 1, 1: exp(1 - 6/4). ROUGE-2 3 of 3 and 5: 2 · 3 / 8."""
    found = generation_scores(["the cat sat"], [["the cat sat on it"]], chinese=False)
    assert (found["bleu"], found["rouge1"], found["rouge2"]) == (
        0.0,
        pytest.approx(6 / 8),
        pytest.approx(4 / 6),
    )
    found = generation_scores(["a b c d"], [["a b c d e f"]], chinese=False)
    assert found["bleu"] == pytest.approx(np.exp(-0.5))
    assert found["rouge2"] == pytest.approx(0.75)
    items = generation_items(["猫坐下"], [["下坐猫"]], chinese=True)
    assert (items["rouge1"][0], items["rougeL"][0]) == (1.0, pytest.approx(1 / 3))


def test_the_longest_common_subsequence_of_long_texts() -> None:
    """Bits of integers beyond 64 words, against the table of rouge-score."""
    random = np.random.default_rng(2)
    scorer = RougeScorer(["rougeL"])
    for _ in range(5):
        one, other = (" ".join(random.choice(list("abcdef"), random.integers(60, 200))) for _ in range(2))
        found = generation_items([one], [[other]], chinese=False)["rougeL"][0]
        assert found == pytest.approx(scorer.score(other, one)["rougeL"].fmeasure, abs=1e-12)


def test_which_language() -> None:
    assert is_chinese(["基于LSTM的模型", "Transformer"])
    assert not is_chinese(["#Person1# says 你好 to #Person2#", "12345"])
    assert not is_chinese([])


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["dialogsum", "csl_title"])
def test_real_texts(shared_data, name: str) -> None:
    """One of DialogSum's annotators against the two others; the first words of an abstract as its title."""
    if name == "dialogsum":
        lines = (shared_data / name / "dialogsum.test.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[:200]]
        own = [row["summary1"] for row in rows]
        references = [[row["summary2"], row["summary3"]] for row in rows]
    else:
        lines = (shared_data / name / "test.tsv").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines[:200]]
        own, references = [row[1][:20] for row in rows], [[row[2]] for row in rows]
    chinese = is_chinese(text for known in references for text in known)
    assert chinese == (name == "csl_title")
    found = generation_scores(own, references, chinese=chinese)
    print({key: round(value, 4) for key, value in found.items()})
    assert found == pytest.approx(expected(own, references, chinese), abs=1e-12)
