"""Feedback on labels: the losses by hand, labels drawn as often as they are likely, and the way of the example."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import make_model_folder, write_sentences

from tunelab.config import LossConfig, build
from tunelab.data.batch import Examples
from tunelab.data.encode import Tokens
from tunelab.errors import ConfigError, DataError
from tunelab.rlhf.labels import Labels, labels_objective
from tunelab.tasks.feedback import Feedback, FeedbackSettings

ROOT = Path(__file__).parents[2]
LOGITS = torch.tensor([[0.0, np.log(3.0)], [np.log(4.0), 0.0]])  # 1/4 and 3/4; 4/5 and 1/5


def task_of(**settings: object) -> Feedback:
    own = build(FeedbackSettings, settings, where="feedback")
    return Feedback.fit(["no", "yes"], ["no", "yes"], LossConfig(), own)


def test_inverse_propensities_by_hand() -> None:
    """Shown: label 1 at 1/2 and reward 1, label 1 at 1/10 and reward -1. Weights (3/4) / (1/2) = 1.5 and
    (1/5) / (1/10) = 2, capped at 1.8: the sum of -w r is -1.5 + 1.8."""
    targets = torch.tensor([[1.0, 1.0, 0.5], [1.0, -1.0, 0.1]])
    total, count = task_of(cap=1.8).objective(LOGITS.float(), targets)
    assert float(total) == pytest.approx(-1.5 + 1.8, abs=1e-6)
    assert float(count) == 2.0


def test_imitation_by_hand() -> None:
    targets = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.5, 1.0]])
    total, _ = task_of(method="imitate").objective(LOGITS.float(), targets)
    assert float(total) == pytest.approx(-2 * np.log(0.75) - 0.5 * np.log(0.8), abs=1e-6)


def test_the_distance_is_paid() -> None:
    """To a classifier that says 1/2 each: the first row log 2 less its entropy, the second alike."""
    half = np.log(0.5)
    targets = torch.tensor([[1.0, 0.0, 1.0, half, half], [1.0, 0.0, 1.0, half, half]])
    total, _ = task_of(kl=0.3).objective(LOGITS.float(), targets.float())
    exact = sum(p * np.log(p / 0.5) for p in (0.25, 0.75, 0.8, 0.2))
    assert float(total) == pytest.approx(0.3 * exact, rel=1e-5)


def test_rewards_are_taken_relative_to_the_training_rows() -> None:
    tokens = Tokens(np.zeros(6, np.int32), np.array([0, 2, 4, 6]), 0)
    told = np.array([[0, 1.0, 1], [1, 3.0, 1], [1, 100.0, 1]], dtype=np.float32)
    examples = Examples(tokens, told, np.array([0, 1]), 8, 0)
    assert task_of().for_training(examples).targets[:2, 1].tolist() == [-1.0, 1.0]
    assert task_of(method="imitate").for_training(examples).targets[:2, 1].tolist() == [0.0, 2.0]


def test_labels_are_drawn_as_often_as_they_are_likely(tmp_path: Path) -> None:
    """4,000 rows at 3/4: within 4 standard deviations of the binomial; advantages have mean 0, variance 1."""
    rows = 4000
    labels = Labels(
        rows=range(rows), ask=lambda: np.tile(LOGITS[:1].numpy(), (rows, 1)),
        worth_NC=np.tile([0.0, 1.0], (rows, 1)), reference_NC=np.full((rows, 2), np.log(0.5)),
        folder=tmp_path, seed=0,
    )  # fmt: skip
    told = labels.begin(0)
    assert told["reward"] == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / rows) ** 0.5)
    assert told["kl"] == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    held = labels._held
    assert float(held["advantages"].mean()) == pytest.approx(0.0, abs=0.1)
    assert float(held["advantages"].std()) == pytest.approx(1.0, rel=1e-4)
    assert labels.begin(1) == {}
    again = Labels(labels.rows, labels.ask, labels.worth_NC, labels.reference_NC, tmp_path, seed=9)
    again.begin(1)  # goes on in the middle of the round, with what was drawn
    assert torch.equal(again._held["actions"], held["actions"])


def test_the_surrogate_on_both_sides() -> None:
    """Ratio 3/4 over 1/2 = 1.5, clipped at 1.2 where that is worse: 1.2 for advantage 1, 1.5 for -1."""
    batch = {
        "actions": torch.tensor([1, 1]),
        "old_logps": torch.tensor([np.log(0.5), np.log(0.5)]).float(),
        "advantages": torch.tensor([1.0, -1.0]),
        "reference": torch.full((2, 2), np.log(0.5)),
    }
    both = LOGITS[:1].repeat(2, 1).float()
    total, _ = labels_objective(clip=0.2, kl=0.0)(both, batch)
    assert float(total) == pytest.approx(-(1.2 - 1.5), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (("fine", "yes", "perhaps", "1", "0.5"), "'perhaps'"),
        (("fine", "yes", "yes", "good", "0.5"), "reward is 'good'"),
        (("fine", "yes", "yes", "1", "1.5"), "at most 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(row: tuple[str, ...], part: str, tmp_path: Path) -> None:
    path = tmp_path / "feedback.csv"
    lines = [("text", "label", "shown", "reward", "propensity"), ("bad", "no", "no", "1", "0.5"), row]
    path.write_text("\n".join(",".join(cells) for cells in lines), encoding="utf-8")
    with pytest.raises(DataError, match=part):
        Feedback.read([str(path)], {})


def test_ppo_wants_its_reward_model() -> None:
    with pytest.raises(ConfigError, match="reward model"):
        task_of(method="ppo")


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier, its feedback, the reward model and the study, on made sentences."""
    make_model_folder(tmp_path / "tiny")
    frame = pd.read_csv(write_sentences(tmp_path / "all.csv", 200))
    data = tmp_path / "data"
    data.mkdir()
    frame.iloc[:150].to_csv(data / "train.csv", index=False)
    frame.iloc[150:].to_csv(data / "test.csv", index=False)
    words = ["--data", str(data), "--model", str(tmp_path / "tiny"), "--out", str(tmp_path / "out")]
    words += ["--rows", "40", "--feedback", "80", "--methods", "full"]
    script = ROOT / "examples/rlhf_labels.py"
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    runpy.run_path(str(script), run_name="__main__")
    table = pd.read_csv(tmp_path / "out/study/table.csv")
    assert set(table["method"]) >= {"full", "untouched", "full,feedback.method=imitate"}
    assert any("ppo" in name for name in table["method"])
    classifier = pd.read_json(next((tmp_path / "out/classifier/runs").glob("*/result.json")), typ="series")
    assert classifier["status"] == "finished"
