"""What a baseline of frozen features says of a text is a number, however sure it is."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from tunelab.study.baselines import _outputs


def test_a_probability_too_small_for_a_number_is_finite_and_says_nothing() -> None:
    near = np.array([[-1.0], [1.0], [-0.9], [0.9]])
    model = LogisticRegression(C=1e6).fit(near, [0, 2, 0, 2])
    far = np.array([[-1e6], [1e6]])
    with np.errstate(divide="ignore"):
        assert np.isneginf(model.predict_log_proba(far)).any()  # that is what there was to mend
    task: Any = SimpleNamespace(classes=("bad", "none", "good"), labels=("bad", "none", "good"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _outputs(model, far, task)
    assert np.isfinite(found).all()
    assert found.argmax(1).tolist() == [0, 2]
    ordinary = _outputs(model, np.array([[1e-3]]), task)[0]
    np.testing.assert_allclose(ordinary[[0, 2]], model.predict_log_proba([[1e-3]])[0], rtol=1e-6)
