"""PPO, GRPO and RLOO in the ordinary loop: a bandit's optimum, a strong reference, nothing without reward, and
a run that is stopped within a round ends with the same bits."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models_zoo import make_model
from torch import Tensor

from tunelab import methods
from tunelab.config import TrainConfig
from tunelab.errors import ConfigError, Stopped
from tunelab.rlhf.online import (
    Buffer,
    OnlineSettings,
    Prompts,
    ValueHead,
    frozen_reference,
    online_objective,
    still,
    value_of,
)
from tunelab.rlhf.rollout import RolloutSettings, rollout
from tunelab.train.loop import Trained, train
from tunelab.train.precision import choose

EOS = 2
GOOD = 7  # the arm that pays
PROMPTS = [[5, 9], [11], [20, 21, 22], [33, 8]]


def made(method: str, online: str) -> Any:
    torch.manual_seed(0)
    model = make_model("llama", task="CausalLM")
    if online == "ppo":
        model.add_module("value", ValueHead(model.config.hidden_size))
    tuned = methods.find(method).make({}).attach(model)
    still(tuned.model)
    return tuned


def drawing(answers: int) -> RolloutSettings:
    return RolloutSettings(eos_ids=(EOS,), pad_id=0, max_new_tokens=2, answers=answers)


def pays(prompts: Any, completions: Any, rows: Any) -> list[float]:
    return [float(text.split()[0] == str(GOOD)) for text in completions]


def learn(
    folder: Path,
    online: str = "ppo",
    method: str = "full",
    reward: Callable[..., list[float]] = pays,
    rounds: int = 25,
    stop: Callable[[], bool] = lambda: False,
    **given: Any,
) -> tuple[Any, Trained, Buffer]:
    tuned = made(method, online)
    torch.manual_seed(0)
    reference = make_model("llama", task="CausalLM")
    settings = OnlineSettings(
        **{"method": online, "prompts": 4, "passes": 2, "kl_coefficient": 0.0, **given}  # type: ignore[arg-type]
    )
    how = drawing(8)
    buffer = Buffer(
        model=tuned.model,
        prompts=Prompts(PROMPTS, ["p"] * len(PROMPTS), [{}] * len(PROMPTS)),
        settings=settings,
        drawing=how,
        reward=reward,
        reference=frozen_reference(reference),
        decode=lambda ids: " ".join(map(str, ids)),
        folder=folder / "rounds",
        seed=3,
    )
    trained = train(
        tuned,
        online_objective(tuned.model, settings, how, {}),
        buffer,
        lambda: ({"reward": 0.0}, "reward"),
        TrainConfig(
            epochs=2.0 * rounds, batch_size=16, schedule="constant", warmup_ratio=0.0, evaluations_per_epoch=1,
            weight_decay=0.0, checkpoint_seconds=0 if given.get("_") else 1e9,
        ),
        learning_rate=1e-2,
        seed=1,
        folder=folder,
        precision=choose("float32", "cpu"),
        stop=stop,
    )  # fmt: skip
    return tuned, trained, buffer


def chance(model: Any) -> Tensor:
    """Probability of the good arm at the first token, for each prompt."""
    model.eval()
    with torch.no_grad():
        return torch.stack([model(torch.tensor([ids])).logits[0, -1].softmax(-1)[GOOD] for ids in PROMPTS])


def last(tuned: Any, buffer: Buffer) -> float:
    drawn = rollout(tuned.model, PROMPTS, drawing(32), 9)
    return float((drawn.completion_ids_BT[:, 0] == GOOD).float().mean())


@pytest.fixture
def unchosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop leaves the model as it was at its best validation; here none is made, so the last one counts."""
    import tunelab.train.loop as loop

    monkeypatch.setattr(loop, "_better", lambda *_: True)


@pytest.mark.parametrize("online", ["ppo", "grpo", "rloo"])
def test_a_bandit_is_solved(online: str, tmp_path: Path, unchosen: None) -> None:
    before = chance(made("full", online).model).mean()
    tuned, _, buffer = learn(tmp_path, online)
    assert before < 0.1
    assert chance(tuned.model).mean() > 0.8
    assert last(tuned, buffer) > 0.8


def test_lora_learns_it_too(tmp_path: Path, unchosen: None) -> None:
    """(Of a random model's weights it moves few, and no output layer.)"""
    before = chance(made("lora", "grpo").model).mean()
    tuned, _, _ = learn(tmp_path, "grpo", "lora", rounds=40)
    assert chance(tuned.model).mean() > 3 * before


@pytest.mark.parametrize("online", ["ppo", "grpo", "rloo"])
def test_a_strong_reference_holds_the_policy(online: str, tmp_path: Path, unchosen: None) -> None:
    tuned, _, _ = learn(tmp_path, online, rounds=10, kl_coefficient=50.0)
    assert chance(tuned.model).mean() < 0.15


@pytest.mark.parametrize("online", ["grpo", "rloo"])
def test_without_reward_nothing_moves(online: str, tmp_path: Path, unchosen: None) -> None:
    tuned, _, _ = learn(tmp_path, online, reward=lambda p, c, r: [0.0] * len(c), rounds=3)
    for old, new in zip(made("full", online).model.parameters(), tuned.model.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_the_value_head_learns_what_an_answer_is_worth(tmp_path: Path, unchosen: None) -> None:
    tuned, _, buffer = learn(tmp_path, "ppo", reward=lambda p, c, r: [1.0] * len(c), rounds=25)
    assert isinstance(value_of(tuned.model), ValueHead)
    buffer.begin(50)
    inputs_targets = buffer.batch(torch.arange(8).numpy(), "cpu")
    values = inputs_targets[1]["old_values"][inputs_targets[1]["mask"]]
    assert (values - 1).abs().mean() < 0.2


def test_rows_that_moved_too_far_are_passed_over(tmp_path: Path, unchosen: None) -> None:
    free, _, _ = learn(tmp_path / "a", "grpo", rounds=8)
    held, _, _ = learn(tmp_path / "b", "grpo", rounds=8, kl_stop=1e-9)
    assert chance(held.model).mean() < chance(free.model).mean()


@pytest.mark.parametrize("online", ["ppo", "grpo"])
def test_stopped_anywhere_it_ends_with_the_same_bits(online: str, tmp_path: Path) -> None:
    whole, _, _ = learn(tmp_path / "whole", online, rounds=3, whiten_rewards=online == "ppo", kl_target=1.0)
    for halt in itertools.count(1, 3):
        steps = itertools.count(1)

        def stop(halt: int = halt, steps: Any = steps) -> bool:
            return next(steps) == halt

        try:
            again, trained, _ = learn(
                tmp_path / "parts", online, rounds=3, whiten_rewards=online == "ppo", kl_target=1.0, stop=stop
            )
        except Stopped:
            continue
        assert trained.resumed_at
        break
    for old, new in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"prompts is 0.*clip is 1.5"):
        OnlineSettings(prompts=0, clip=1.5)
