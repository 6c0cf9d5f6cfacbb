"""Several labels a row, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from tunelab.measure.multilabel import decision_scores, multilabel_score_function, multilabel_scores

REFERENCE = {
    "micro_f1": lambda p, t: f1_score(t, p, average="micro", zero_division=0),
    "macro_f1": lambda p, t: f1_score(t, p, average="macro", zero_division=np.nan),
    "subset_accuracy": lambda p, t: accuracy_score(t, p),
}


def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Five labels: frequent, rare, never predicted, and one that nobody has."""
    random = np.random.default_rng(rows)
    targets = random.random((rows, 5)) < [0.5, 0.3, 0.06, 0.2, 0.0]
    predicted = targets ^ (random.random((rows, 5)) < [0.1, 0.2, 0.03, 0.2, 0.0])
    predicted[:, 3] = False
    return predicted.astype(int), targets.astype(int)


@pytest.mark.parametrize("name", list(REFERENCE))
def test_weights_are_repetitions_of_rows(name: str) -> None:
    """The rare labels are missing from some of the draws."""
    predicted, targets = drawn(40)
    random = np.random.default_rng(1)
    weights = np.vstack([np.ones(40, dtype=int), random.multinomial(40, np.ones(40) / 40, size=50)])
    present = [(np.repeat(predicted + targets, row, axis=0) > 0).any(0).sum() for row in weights]
    assert len(set(present)) > 1
    score = multilabel_score_function(name, predicted, targets)
    assert (score.correct_N is not None) == (name == "subset_accuracy")
    for row, value in zip(weights, score(weights.astype(np.float64)), strict=True):
        again = np.repeat(predicted, row, axis=0), np.repeat(targets, row, axis=0)
        assert value == pytest.approx(REFERENCE[name](*again), abs=1e-12)


def test_scores_equal_scikit_learn() -> None:
    predicted, targets = drawn(200)
    found = multilabel_scores(predicted, targets, list("abcde"))
    for name, reference in REFERENCE.items():
        assert found[name] == pytest.approx(reference(predicted, targets), abs=1e-12)
    each = f1_score(targets, predicted, average=None, zero_division=0)
    assert "f1(e)" not in found
    assert [found[f"f1({label})"] for label in "abcd"] == pytest.approx(each[:4].tolist(), abs=1e-12)
    assert found["f1(d)"] == 0.0


def test_all_decisions_together_are_those_of_scikit_learn() -> None:
    predicted, targets = drawn(200)
    found = decision_scores(np.full(predicted.shape, 0.7), predicted, targets)
    assert found["mcc"] == pytest.approx(matthews_corrcoef(targets.ravel(), predicted.ravel()))
    assert found["ece"] == pytest.approx(abs(targets.mean() - 0.7))  # all in one bin


def test_rows_without_a_label() -> None:
    """Right where nothing was predicted; F1 has nothing to find, and is 0 by agreement."""
    nothing = np.zeros((3, 2), dtype=bool)
    found = multilabel_scores(nothing, nothing, ["a", "b"])
    assert found == {"micro_f1": 0.0, "macro_f1": 0.0, "subset_accuracy": 1.0}
