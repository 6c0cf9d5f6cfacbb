"""Scores against scikit-learn, intervals against theory."""

import numpy as np
import pytest
from sklearn import metrics as reference

from tunelab.measure.metrics import classification_scores, expected_calibration_error, softmax
from tunelab.measure.statistics import score_of


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_equal_scikit_learn(classes: int) -> None:
    random = np.random.default_rng(classes)
    targets = random.integers(0, classes, 200)
    logits = random.normal(size=(200, classes)) + 1.5 * np.eye(classes)[targets]
    logits[:, -1] -= 10 if classes == 7 else 0  # a class that is never predicted
    p = softmax(logits)
    found = classification_scores(p, targets, [str(i) for i in range(classes)])
    predicted = logits.argmax(1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert found["macro_f1"] == pytest.approx(
        reference.f1_score(targets, predicted, average="macro", zero_division=0)
    )
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(targets, predicted))
    assert found["loss"] == pytest.approx(reference.log_loss(targets, p, labels=range(classes)))
    each = reference.f1_score(targets, predicted, average=None, zero_division=0)
    assert [found[f"f1({i})"] for i in range(classes)] == pytest.approx(each.tolist())
    for name in ("accuracy", "macro_f1"):
        assert score_of(name, predicted, targets) == pytest.approx(found[name])


def test_a_class_nobody_has_does_not_lower_macro_f1() -> None:
    p = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]])
    found = classification_scores(p, np.array([0, 1]), ["a", "b", "c"])
    assert found["macro_f1"] == 1.0
    assert "f1(c)" not in found


def test_calibration_by_hand() -> None:
    """Confidences 0.9, 0.9, 0.6, 0.6 with 2 and 1 right: gaps |1 - 0.9| and |0.5 - 0.6|, half weight each."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert expected_calibration_error(p, np.array([0, 0, 0, 1])) == pytest.approx(0.1)


def test_softmax_is_stable() -> None:
    assert softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]
