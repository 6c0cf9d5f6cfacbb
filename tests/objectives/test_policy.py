"""Policy losses and advantages: by hand, by exact sums over a small vocabulary, against TRL, by property."""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tunelab.objectives.policy import (
    action_mask,
    entropy,
    gae,
    group_advantages,
    grpo_loss,
    kl_estimate,
    kl_sum,
    logged_feedback_loss,
    ppo_policy_loss,
    rloo_advantages,
    token_rewards,
    value_loss,
    whiten,
)

ONE = torch.ones(1, 1)
ACTION = torch.ones(1, 1, dtype=torch.bool)


# -- by hand -----------------------------------------------------------------------------------------------


def test_gae_by_hand() -> None:
    """Three steps, rewards (1, 0, 2), values (0.5, 1, 1.5), gamma 0.5, lambda 0.5, so gamma lambda = 0.25.

    Terminated (the value after the end is 0):
        delta_2 = 2 + 0.5 * 0   - 1.5 = 0.5       A_2 = 0.5
        delta_1 = 0 + 0.5 * 1.5 - 1   = -0.25     A_1 = -0.25 + 0.25 * 0.5    = -0.125
        delta_0 = 1 + 0.5 * 1   - 0.5 = 1         A_0 = 1 + 0.25 * -0.125     = 0.96875
    Truncated (the state after the cut is worth 4):
        delta_2 = 2 + 0.5 * 4   - 1.5 = 2.5       A_2 = 2.5
                                                  A_1 = -0.25 + 0.25 * 2.5    = 0.375
                                                  A_0 = 1 + 0.25 * 0.375      = 1.09375
    The third row is the terminated episode's last two steps, then padding: A = (-0.125, 0.5).
    """
    rewards = torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 2.0, math.nan]])
    values = torch.tensor([[0.5, 1.0, 1.5], [0.5, 1.0, 1.5], [1.0, 1.5, math.nan]])
    mask = torch.tensor([[True, True, True], [True, True, True], [True, True, False]])
    advantages, returns = gae(
        rewards,
        values,
        mask,
        truncated_B=torch.tensor([False, True, False]),
        next_values_B=torch.tensor([9.0, 4.0, math.nan]),
        gamma=0.5,
        lam=0.5,
    )
    expected = torch.tensor([[0.96875, -0.125, 0.5], [1.09375, 0.375, 2.5], [-0.125, 0.5, 0.0]])
    torch.testing.assert_close(advantages, expected, rtol=0, atol=0)
    torch.testing.assert_close(returns, expected + torch.where(mask, values, 0.0), rtol=0, atol=0)


def test_gae_refuses_what_it_cannot_know() -> None:
    with pytest.raises(ValueError, match="next_values_B"):
        gae(ONE, ONE, ACTION, truncated_B=torch.tensor([True]))
    with pytest.raises(ValueError, match="follow one another"):
        gae(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([[False, True]]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [  # d loss / d log p = -r A where the plain term is the smaller, 0 where the clipped one is
        (1.5, 1.0, -1.2, 0.0),  # already more likely by enough: nothing more
        (1.1, 1.0, -1.1, -1.1),
        (0.5, 1.0, -0.5, -0.5),  # became unlikely though good: the way back is open
        (0.5, -1.0, 0.8, 0.0),  # already less likely by enough
        (0.9, -1.0, 0.9, 0.9),
        (1.5, -1.0, 1.5, 1.5),  # became likely though bad: the way back is open
    ],
)
def test_clipped_surrogate_on_both_sides(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    logps = torch.full((1, 1), math.log(ratio) - 2.0, requires_grad=True)
    total, count, more = ppo_policy_loss(logps, ONE * -2.0, ONE * advantage, ACTION, clip=0.2)
    total.backward()
    assert logps.grad is not None
    assert (total.item(), logps.grad.item()) == pytest.approx((loss, gradient), abs=1e-6)
    assert (count.item(), more["clipped"].item()) == (1.0, float(gradient == 0.0))
    assert more["kl_old"].item() == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)


def test_a_far_ratio_gives_no_nan() -> None:
    """e^200 overflows float32; 0 * inf in the gradient would be NaN."""
    logps = torch.tensor([[200.0, 200.0]], requires_grad=True)
    old, advantages = torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
    ppo_policy_loss(logps, old, advantages, torch.ones(1, 2))[0].backward()
    assert logps.grad is not None
    assert torch.isfinite(logps.grad).all()


@pytest.mark.parametrize(
    ("value", "loss", "gradient"),
    [  # the old value is 1, the return 2, clip 0.2
        (1.1, 0.5 * 0.9**2, -0.9),  # within the clip: plain
        (1.9, 0.5 * 0.8**2, 0.0),  # moved far towards the return: max takes the clipped (1.2 - 2)^2
        (0.0, 0.5 * 2.0**2, -2.0),  # moved away from it: max takes the plain error
    ],
)
def test_value_loss_on_both_sides(value: float, loss: float, gradient: float) -> None:
    values = torch.full((1, 1), value, requires_grad=True)
    total, _, more = value_loss(values, ONE, ONE * 2.0, ACTION, clip=0.2)
    total.backward()
    assert values.grad is not None
    assert (total.item(), values.grad.item()) == pytest.approx((loss, gradient), abs=1e-6)
    assert more["clipped"].item() == float(gradient == 0.0)
    plain, _, _ = value_loss(values, ONE, ONE * 2.0, ACTION, clip=None)
    assert plain.item() == pytest.approx(0.5 * (value - 2.0) ** 2)


def test_group_advantages_by_hand() -> None:
    """Group (1, 2, 3, 6): mean 3, deviation sqrt((4 + 1 + 0 + 9) / 3) = 2.160247.

    Leave-one-out: 1 - 11/3, 2 - 10/3, 3 - 9/3, 6 - 6/3. A group of equal rewards has nothing to say.
    """
    rewards = torch.tensor([1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0])
    centred = torch.tensor([-2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(group_advantages(rewards, 4), centred / (math.sqrt(14 / 3) + 1e-4))
    torch.testing.assert_close(group_advantages(rewards, 4, scale="none"), centred)
    spread = rewards.std() + 1e-4
    torch.testing.assert_close(group_advantages(rewards, 4, scale="batch"), centred / spread)
    torch.testing.assert_close(
        rloo_advantages(rewards, 4), torch.tensor([-8 / 3, -4 / 3, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0])
    )
    with pytest.raises(ValueError, match="8 rewards are not whole groups of 3"):
        group_advantages(rewards, 3)


def test_grpo_normalisations_by_hand() -> None:
    """On the old policy (r = 1) each token costs -A. Advantages 1 (one token) and -1 (three tokens):

    answer: (-1 + 1) / 2 = 0;  token: (-1 + 3) / 4 = 0.5;  fixed, of 4 tokens: (-1 + 3) / (2 * 4) = 0.25.
    """
    mask = torch.tensor([[True, False, False], [True, True, True]])
    given = torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([1.0, -1.0]), mask
    for normalise, expected in (("answer", 0.0), ("token", 0.5), ("fixed", 0.25)):
        total, count, _ = grpo_loss(*given, normalise=normalise, max_new_tokens=4)  # type: ignore[arg-type]
        assert (total / count).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="max_new_tokens"):
        grpo_loss(*given, normalise="fixed")
    with pytest.raises(ValueError, match="reference_logps_BT"):
        grpo_loss(*given, kl_coefficient=0.1)


def test_whitening_equals_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(4, 5, generator=generator) * 3 + 7, torch.rand(4, 5, generator=generator) < 0.6
    inside = x[mask].numpy()
    expected = torch.from_numpy((inside - inside.mean()) / inside.std(ddof=1))
    torch.testing.assert_close(whiten(x, mask)[mask], expected)
    torch.testing.assert_close(whiten(x, mask, shift_mean=False)[mask], expected + inside.mean())
    assert whiten(ONE * 3, ACTION).item() == 0.0
    assert torch.isfinite(whiten(ONE, ~ACTION)).all()


# -- exact sums over a small vocabulary ----------------------------------------------------------------------

VOCABULARY = 5
GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(VOCABULARY, generator=GENERATOR)
REFERENCE = torch.randn(VOCABULARY, generator=GENERATOR).log_softmax(0)


def exact_kl(p: Tensor, q: Tensor) -> Tensor:
    """From log-probabilities: the sum over the vocabulary of p (log p - log q)."""
    return (p.exp() * (p - q)).sum()


def test_kl_estimators_against_the_exact_sum() -> None:
    """E[k1] = E[k3] = KL; E[k2] = half the second moment of the log-ratio; k3 is never negative."""
    logps = LOGITS.log_softmax(0)
    exact = exact_kl(logps, REFERENCE)
    assert exact > 0.1
    expected = {
        "k1": exact,
        "k2": (logps.exp() * (logps - REFERENCE) ** 2).sum() / 2,
        "k3": exact,
    }
    for estimator, mean in expected.items():
        every = kl_estimate(logps, REFERENCE, estimator)  # type: ignore[arg-type]
        torch.testing.assert_close((logps.exp() * every).sum(), mean)
    assert (kl_estimate(logps, REFERENCE, "k3") >= 0).all()
    assert (kl_estimate(logps, REFERENCE, "k1") < 0).any()
    with pytest.raises(ValueError, match="k1, k2, k3"):
        kl_estimate(logps, REFERENCE, "k4")  # type: ignore[arg-type]


def test_what_the_estimators_are_as_losses() -> None:
    """Expected gradients over drawn actions: k1 nothing, k2 of KL(p, p_ref), k3 of KL(p_ref, p)."""
    logits = LOGITS.clone().requires_grad_()
    logps = logits.log_softmax(0)

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    drawn = logps.exp().detach()
    of = {k: gradient((drawn * kl_estimate(logps, REFERENCE, k)).sum()) for k in ("k1", "k2", "k3")}
    torch.testing.assert_close(of["k1"], torch.zeros(VOCABULARY), rtol=0, atol=1e-6)
    torch.testing.assert_close(of["k2"], gradient(exact_kl(logps, REFERENCE)))
    torch.testing.assert_close(of["k3"], gradient(exact_kl(REFERENCE, logps)))


def test_entropy_is_torchs() -> None:
    logits = torch.randn(2, 3, VOCABULARY, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    total, count = entropy(logits, mask, temperature=0.7)
    expected = torch.distributions.Categorical(logits=logits[mask] / 0.7).entropy().sum()
    torch.testing.assert_close(total, expected)
    assert count == 3
    ours, theirs = (torch.autograd.grad(x, logits)[0] for x in (total, expected))
    torch.testing.assert_close(ours, theirs)


def test_logged_feedback_has_the_gradient_of_the_expected_reward() -> None:
    """Averaged over the logging policy's choices, exactly, whatever that policy was and without a baseline."""
    logits = LOGITS.clone().requires_grad_()
    logps, rewards = logits.log_softmax(0), torch.tensor([0.0, 1.0, 0.3, -1.0, 2.0])
    wanted = torch.autograd.grad((logps.exp() * rewards).sum(), logits, retain_graph=True)[0]
    for baseline in (0.0, 0.7):
        got, estimate = torch.zeros(VOCABULARY), torch.zeros(())
        for action in range(VOCABULARY):
            loss, _, more = logged_feedback_loss(
                logps[action, None],
                REFERENCE[action, None],
                rewards[action, None],
                clip=1e9,
                baseline=baseline,
            )
            chance = REFERENCE[action].exp()
            got -= chance * torch.autograd.grad(loss, logits, retain_graph=True)[0]
            estimate += chance * more["reward"]
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(estimate, (logps.exp() * rewards).sum().detach())
    clipped = logged_feedback_loss(torch.tensor([0.0]), torch.tensor([-9.0]), torch.tensor([1.0]), clip=5.0)
    assert clipped[2]["weights"].item() == 5.0
    assert clipped[2]["clipped"].item() == 1.0


# -- nothing outside the actions ever counts -----------------------------------------------------------------

EOS = 2


def test_action_mask_ends_with_the_first_end() -> None:
    ids = torch.tensor([[5, EOS, EOS, 7], [EOS, 5, 5, 5], [5, 6, 7, EOS], [5, 6, 7, 8]])
    assert action_mask(ids, EOS).sum(1).tolist() == [2, 1, 4, 4]
    assert action_mask(ids, [EOS, 6]).sum(1).tolist() == [2, 1, 2, 2]


def losses(
    logps: Tensor, old: Tensor, reference: Tensor, numbers: Tensor, logits: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """Every sum this module knows, of the same tensors."""
    advantages, returns = gae(numbers, old, mask)
    rewards = token_rewards(torch.ones(len(mask)), kl_estimate(old, reference, "k1"), mask, 0.1)
    sequence = torch.arange(1.0, len(mask) + 1)
    found = {
        "ppo": ppo_policy_loss(logps, old, numbers, mask)[0],
        "value": value_loss(logps, old, numbers, mask)[0],
        "entropy": entropy(logits, mask)[0],
        "gae": advantages.sum() + returns.sum(),
        "token_rewards": rewards.sum(),
        "whiten": (whiten(numbers.detach(), mask, shift_mean=False) ** 2).sum(),
    }
    for k in ("k1", "k2", "k3"):
        found[k] = kl_sum(logps, reference, mask, k)[0]
    for normalise in ("answer", "token", "fixed"):
        settings: Any = {"normalise": normalise, "max_new_tokens": 9, "kl_coefficient": 0.1}
        found[f"grpo_{normalise}"] = grpo_loss(
            logps, old, sequence, mask, reference_logps_BT=reference, **settings
        )[0]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_only_actions_enter_and_the_end_does(seed: int) -> None:
    """Rows are answer | end | what follows. Whatever follows, NaN included, changes no sum and gets gradient
    exactly 0; the end-of-text token itself changes each sum, and has a gradient. (Prompts: see `sequence_logps`
    and tests/rlhf/test_rollout.py.)
    """
    generator = torch.Generator().manual_seed(seed)
    rows, tokens = 5, 8
    completion = torch.randint(3, 9, (rows, tokens), generator=generator)
    ends = torch.randint(0, tokens, (rows,), generator=generator)
    completion[torch.arange(rows), ends] = EOS
    mask = action_mask(completion, EOS)
    torch.testing.assert_close(mask.sum(1), ends + 1)

    given = list(0.02 * torch.randn(4, rows, tokens, generator=generator))  # small: nothing is clipped
    given.append(torch.randn(rows, tokens, 4, generator=generator))

    def run(outside: float) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
        filled = [
            torch.where(mask if x.ndim == 2 else mask[..., None], x, outside).requires_grad_() for x in given
        ]
        found = losses(*filled, mask)
        learned = [filled[0], filled[4]]
        return found, {
            name: list(torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True))
            for name, loss in found.items()
            if loss.requires_grad
        }

    clean, clean_gradients = run(0.0)
    for outside in (1e6, math.nan, -math.inf):
        found, gradients = run(outside)
        for name in clean:
            assert torch.equal(found[name], clean[name]), name
        for name, both in gradients.items():
            for here, there in zip(both, clean_gradients[name], strict=True):
                assert torch.equal(here, there), name
                assert (here[~mask] == 0).all(), name

    at_end = torch.arange(rows), ends
    for name, (of_logps, of_logits) in clean_gradients.items():
        felt = of_logits.abs().sum(-1) if name == "entropy" else of_logps.abs()
        assert (felt[at_end] > 0).all(), name
    for x in given:
        x[at_end] += 0.05 * torch.rand(x[at_end].shape, generator=generator)
    moved, _ = run(0.0)
    for name in clean:
        assert not torch.equal(moved[name], clean[name]), name


# -- a bandit whose optimum is known -------------------------------------------------------------------------

ARMS = torch.tensor([0.0, 0.5, 1.0, -1.0])
BASE = torch.tensor([0.5, 0.2, 0.1, 0.2]).log()


def play(loss: Callable[[Tensor, Tensor, Tensor], Tensor], start: Tensor, steps: int = 150) -> Tensor:
    """Probabilities of the arms after learning: 256 draws a step, four passes over them."""
    generator = torch.Generator().manual_seed(0)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for _ in range(steps):
        old = logits.detach().log_softmax(0)
        arms = torch.multinomial(old.exp(), 256, replacement=True, generator=generator)
        for _ in range(4):
            optimizer.zero_grad()
            loss(logits.log_softmax(0)[arms, None], old[arms, None], arms).backward()
            optimizer.step()
        decay.step()
    return logits.detach().softmax(0)


def ppo(kl_coefficient: float, rewards: Tensor = ARMS) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def loss(logps: Tensor, old: Tensor, arms: Tensor) -> Tensor:
        mask = torch.ones(len(arms), 1, dtype=torch.bool)
        kl = kl_estimate(old, BASE[arms, None], "k1")
        per_action = token_rewards(rewards[arms], kl, mask, kl_coefficient)
        advantages, _ = gae(per_action, per_action.mean().expand(len(arms), 1), mask)
        total, count, _ = ppo_policy_loss(logps, old, advantages, mask)
        return total / count

    return loss


def grpo(kl_coefficient: float, rewards: Tensor = ARMS) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def loss(logps: Tensor, old: Tensor, arms: Tensor) -> Tensor:
        total, count, _ = grpo_loss(
            logps,
            old,
            group_advantages(rewards[arms], 8),
            torch.ones(len(arms), 1),
            reference_logps_BT=BASE[arms, None],
            kl_coefficient=kl_coefficient,
        )
        return total / count

    return loss


@pytest.mark.parametrize("method", [ppo, grpo])
def test_a_bandit_is_solved(method: Any) -> None:
    assert play(method(0.0), BASE)[2] > 0.95


def test_ppo_finds_the_optimum_under_a_kl_penalty() -> None:
    """max E[r] - beta KL(p, base) is at p = base * exp(r / beta) / Z (Ziegler et al. 2019, section 2.1)."""
    beta = 0.5
    wanted = (BASE + ARMS / beta).softmax(0)
    assert (wanted - BASE.exp()).abs().max() > 0.3
    torch.testing.assert_close(play(ppo(beta), BASE, steps=250), wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("method", [ppo, grpo])
def test_a_high_kl_coefficient_keeps_the_policy_at_the_reference(method: Any) -> None:
    torch.testing.assert_close(play(method(100.0), BASE), BASE.exp(), rtol=0, atol=0.03)


@pytest.mark.parametrize("method", [ppo, grpo])
def test_without_reward_only_the_kl_moves(method: Any) -> None:
    nothing, start = torch.zeros(4), torch.zeros(4)
    assert torch.equal(play(method(0.0, nothing), start), start.softmax(0))
    back = play(method(1.0, nothing), start, steps=250)
    torch.testing.assert_close(back, BASE.exp(), rtol=0, atol=0.03)


def test_logged_feedback_finds_the_best_arm_that_the_logger_disliked() -> None:
    generator = torch.Generator().manual_seed(0)
    arms = torch.multinomial(BASE.exp(), 512, replacement=True, generator=generator)
    logits = BASE.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        logps = logits.log_softmax(0)[arms]
        loss, count, _ = logged_feedback_loss(logps, BASE[arms], ARMS[arms], baseline=0.2)
        (loss / count).backward()
        optimizer.step()
    assert logits.softmax(0)[2] > 0.9


# -- TRL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grpo_trainer() -> Any:
    """TRL 1.16's GRPO, whose loss function is called as it stands, on a stand-in for the trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trl = pytest.importorskip("trl", reason="trl==1.16.0 is not installed", exc_type=ImportError)
        if not trl.__version__.startswith("1.16."):
            pytest.skip(f"the parity is written for trl 1.16, not {trl.__version__}: private functions")
        from trl.trainer.grpo_trainer import GRPOTrainer
    return GRPOTrainer


@pytest.mark.parametrize(("kind", "normalise"), [("grpo", "answer"), ("bnpo", "token"), ("dr_grpo", "fixed")])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_grpo_loss_equals_trl(grpo_trainer: Any, kind: str, normalise: Any, beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logps, old, reference = -2 + 0.4 * torch.randn(3, 6, 7, generator=generator)
    logps.requires_grad_()
    mask = (torch.arange(7) < torch.tensor([7, 1, 3, 5, 2, 4])[:, None]).long()
    advantages = group_advantages(torch.randn(6, generator=generator), 3)
    same = lambda x, **_: x  # noqa: E731
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(gather=same, reduce=same, num_processes=1),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, torch.zeros(6, 7), None),
        _metrics={"train": defaultdict(list)},
        _entropy_bonus_enabled=False,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        beta=beta,
        loss_type=kind,
        epsilon_low=0.2,
        epsilon_high=0.28,
        max_completion_length=16,
        current_gradient_accumulation_steps=1,
    )
    inputs = {
        "prompt_ids": torch.zeros(6, 2, dtype=torch.long),
        "prompt_mask": torch.ones(6, 2, dtype=torch.long),
        "completion_ids": torch.zeros(6, 7, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
    }
    theirs = grpo_trainer._compute_loss(trainer, None, inputs)
    total, count, more = grpo_loss(
        logps,
        old,
        advantages,
        mask.bool(),
        clip=0.2,
        clip_high=0.28,
        reference_logps_BT=reference if beta else None,
        kl_coefficient=beta,
        normalise=normalise,
        max_new_tokens=16,
    )
    torch.testing.assert_close(total / count, theirs, rtol=1e-5, atol=1e-5)
    mine, other = (torch.autograd.grad(x, logps, retain_graph=True)[0] for x in (total / count, theirs))
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    seen = trainer._metrics["train"]
    clipped = (more["clipped"] / more["actions"]).item()
    assert clipped == pytest.approx(seen["clip_ratio/region_mean"][0])
    assert clipped > 0.1
    if beta:
        assert (more["kl"] / more["actions"]).item() == pytest.approx(seen["kl"][0], rel=1e-5)
