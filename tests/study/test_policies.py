"""Models that learn from what they write themselves: from a file of prompts to the report, and after a kill."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_toys import language_model
from tiny import make_model_folder

from tunelab.api import compare, run
from tunelab.config import RunConfig
from tunelab.errors import ConfigError, DataError, Stopped
from tunelab.measure.reward import hacking_flags, mean_score, wins
from tunelab.rlhf import online
from tunelab.serve.predict import Specialist
from tunelab.study.asking import check_asking
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.rewarding import reward_of
from tunelab.study.run import run_once, verify

NAMES = ("Tom", "Lily", "Ben", "Sue", "Max", "Anna", "Tim", "Mia", "Sam", "Lucy")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 prompts, each with the letter that an answer is to have (for the reward, not for the model)."""
    path = tmp_path_factory.mktemp("data") / "prompts.jsonl"
    rows = [{"prompt": f"{name} saw {i}", "wanted": "e"} for i in range(8) for name in NAMES]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Share of an answer's characters that are the one its row asks for."""
    path = tmp_path_factory.mktemp("reward") / "letters.py"
    path.write_text(
        "def share(prompts, completions, rows):\n"
        "    return [c.count(r['wanted']) / max(len(c), 1) for c, r in zip(completions, rows)]\n",
        encoding="utf-8",
    )
    return f"{path}:share"


def config_of(prompts: Path, model: Path, reward: str, **task: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "files": (str(prompts),),
            "task": "align",
            "method": "full",
            "task_settings": {
                "method": "grpo",
                "reward": reward,
                "template": "continue",
                "max_new_tokens": 8,
                "prompts": 8,
                **task,
            },
            "model": {"name": str(model), "max_length": 64},
            "data": {"folds": 0},
            "train": {
                "epochs": 4,
                "batch_size": 16,
                "learning_rate": 3e-3,
                "checkpoint_seconds": 0,
                "schedule": "constant",
            },
        }
    )


def prepared_of(config: RunConfig) -> Prepared:
    return prepare(config.files, config.task, config.data, config.model, config.task_settings)


@pytest.mark.parametrize("kind", ["ppo", "rloo"])
def test_a_run_cut_while_it_draws_ends_with_the_same_bytes(
    kind: str, prompts: Path, model: Path, reward: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in the middle of drawing a round, once between two optimizer steps."""
    config = config_of(prompts, model, reward, method=kind, kl_target=2.0)
    prepared = prepared_of(config)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    record = run_once(config, prepared, whole)
    drawn, rounds = online.rollout, []

    def breaks(*words: Any, **named: Any) -> Any:
        rounds.append(0)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return drawn(*words, **named)

    monkeypatch.setattr(online, "rollout", breaks)
    with pytest.raises(KeyboardInterrupt):
        run_once(config, prepared, cut)
    monkeypatch.undo()
    steps: list[int] = []
    with pytest.raises(Stopped):
        run_once(
            config, prepared, cut,
            listener=lambda name, values: steps.append(0) if name == "step" else None,
            stop=lambda: len(steps) == 3,
        )  # fmt: skip
    again = run_once(config, prepared, cut)
    assert len(again["training"]["resumed_at_steps"]) == 2
    for name in ("predictions.parquet", "bundle/model.safetensors"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert again["scores"] == record["scores"]
    assert not (cut / "rounds").exists()
    assert verify(cut, prepared)["verified"]["equal"]


def test_answers_are_improved_and_reported(prompts: Path, model: Path, reward: str, tmp_path: Path) -> None:
    """The reward reads a column of the file that the model never sees; what a study says of it can be counted
    from the predictions again."""
    study = compare(
        prompts, task="align", model=str(model), methods=["full"], add=["lora,align.method=ppo"],
        effort="quick", seeds=1, out=tmp_path, progress=False,
        settings={
            "align.method": "grpo", "align.reward": reward, "align.template": "continue",
            "align.max_new_tokens": 8, "align.prompts": 16, "align.kl": 0.0, "data.folds": 0,
            "train.epochs": 30, "train.learning_rate": 1e-2, "train.schedule": "constant",
            "model.max_length": 64,
        },
    )  # fmt: skip
    record = study.record
    assert record.deciding == "reward"
    policy = next(own for own in record.policies if own.name == "full")
    result = next(own for own in record.results if own.name == "full")
    frame = pd.read_parquet(tmp_path / "runs" / result.runs[0] / "predictions.parquet")
    counted = [text.count("e") / max(len(text), 1) for text in frame["prediction"]]
    assert result.score.value == pytest.approx(np.mean(counted))
    before = [text.count("e") / max(len(text), 1) for text in frame["untouched"]]
    assert policy.win_rate.value == pytest.approx(wins(np.array(counted), np.array(before)).mean())
    assert result.score.value > np.mean(before) + 0.1
    (baseline,) = (own for own in record.results if own.baseline)
    assert baseline.name == "untouched"
    assert baseline.score.value == pytest.approx(np.mean(before))
    assert baseline.scores["kl"] == pytest.approx(0.0, abs=1e-4)
    assert policy.kl > 0.5
    assert set(policy.seconds) == {"rollout", "reward", "update"}
    assert len(policy.rounds) > 5
    assert not record.failures
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="policies"' in page
    assert 'id="written"' in page


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"method": "dpo"}, "prompts alone"),
        ({"reward": "no/such/folder"}, "unknown reward"),
        ({"reward": "length:many"}, "length:40"),
        ({"reward": ""}, "learns from a reward"),
        ({"answers": 1}, "2 or more"),
        ({"max_new_tokens": 155}, "positions"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    settings: dict[str, Any], part: str, prompts: Path, model: Path, reward: str
) -> None:
    config = config_of(prompts, model, **{"reward": reward, **settings})

    def begun() -> None:
        prepared = prepared_of(config)
        check_asking(prepared.task(config), prepared, "cpu")

    with pytest.raises((ConfigError, DataError), match=part):
        begun()


def test_a_reward_that_gives_no_number_is_refused(prompts: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def nan(prompts, completions, rows):\n    return [float('nan')] * len(rows)\n")
    config = config_of(prompts, model, f"{path}:nan")
    prepared = prepared_of(config)
    with pytest.raises(ConfigError, match="finite"):
        check_asking(prepared.task(config), prepared, "cpu")


def test_rewards_add_up_with_their_weights() -> None:
    reward = reward_of("2*length:4 + -0.5*regex:x", "cpu", False)
    assert reward(["", ""], ["a b c d", "x"], [{}, {}]) == pytest.approx([2.0, 2 * 0.25 - 0.5])


def test_a_reward_from_rated_answers_reads_prompt_and_answer(tmp_path: Path) -> None:
    """Its rewards are what the specialist for pairs says of (prompt, answer), and the order matters."""
    names = [f"{name} saw {i}" for i in range(6) for name in NAMES]
    rated = pd.DataFrame(
        {"prompt": names, "answer": [f"a {i % 7} b" for i in range(60)], "rating": [i % 5 for i in range(60)]}
    )
    rated.to_csv(tmp_path / "rated.csv", index=False)
    trained = run(
        tmp_path / "rated.csv",
        task="regress",
        method="full",
        text="prompt",
        text_pair="answer",
        label="rating",
        model=str(make_model_folder(tmp_path / "model")),
        folds=0,
        out=tmp_path / "out",
        progress=False,
    )
    reward = reward_of(str(trained.bundle), "cpu", False)
    asked = [("Tom saw 1", "a 3 b"), ("Lily saw 2", "a 5 b")]
    said = Specialist.load(trained.bundle).predict(asked)
    prompts, answers = zip(*asked, strict=True)
    assert reward(prompts, answers, [{}, {}]) == said
    assert reward(answers, prompts, [{}, {}]) != said
    with pytest.raises(ConfigError, match="gives numbers and has no label 'good'"):
        reward_of(f"{trained.bundle}:good", "cpu", False)


def test_flags_by_hand() -> None:
    """Twice as long, every 3-gram after the first repeated, the judge against the reward, all alike."""
    same, other = "a a a a a a", ("b c d e", "f g h i", "j k l m")
    up, down = (np.array([1.0, 1.1, 0.9]), np.zeros(3)), (np.array([0.2, 0.1, 0.3]), np.full(3, 0.5))
    found = hacking_flags([same] * 3, other, (12.0, 6.0), up, down)
    assert len(found) == 4
    assert hacking_flags(list(other), other, (6.0, 6.0), up, up) == []
    assert hacking_flags(list(other), other, (6.0, 6.0), up, down) == [found[2]]


def test_a_rise_within_its_noise_is_no_gamed_reward() -> None:
    """In 2,000 pairs of equal models the reward's mean rises and the judge's falls every fourth time; 5 % of 5 %
    are flagged."""
    random = np.random.default_rng(0)
    texts = [f"{i} b c d" for i in range(50)]
    flagged = sum(
        bool(
            hacking_flags(texts, texts, (4.0, 4.0), tuple(random.normal(size=(2, 50))), (judged, 0 * judged))
        )
        for judged in random.normal(size=(2000, 50))
    )
    assert 0 < flagged < 0.01 * 2000


def test_the_mean_is_weighted() -> None:
    assert mean_score(np.array([1.0, 5.0]))(np.array([[1.0, 3.0]])).tolist() == [4.0]
