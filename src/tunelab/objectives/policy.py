"""Losses and advantages of policy optimisation: PPO, GRPO, RLOO and logged feedback.

An action is a generated token (or, for a classifier as the policy, the predicted label: T = 1). Tensors
are [B, T], one row an answer, and `mask_BT` says which entries are actions: the answer's tokens with the
end-of-text token, whose choice ended the answer; not the prompt, not padding, nothing after the end
(`action_mask`). What lies outside the mask is never read: it may be anything, NaN included, and its
gradient is exactly 0.

Losses give (sum, count, diagnostics): diagnostics are detached sums over the actions, whose number is in
`actions`. Everything is computed in float32; log-probabilities and KL are in nats.
"""

# B batch (answers), T tokens of an answer, V vocabulary, N actions, G answers a prompt

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "Estimator",
    "Loss",
    "Normalise",
    "action_mask",
    "entropy",
    "gae",
    "group_advantages",
    "grpo_loss",
    "kl_estimate",
    "kl_sum",
    "logged_feedback_loss",
    "ppo_policy_loss",
    "rloo_advantages",
    "token_rewards",
    "value_loss",
    "whiten",
]

#: Summed loss, count, detached sums that say more.
Loss = tuple[Tensor, Tensor, dict[str, Tensor]]
Estimator = Literal["k1", "k2", "k3"]
Normalise = Literal["token", "answer", "fixed"]

#: exp overflows float32 at 88, and 0 * inf in a gradient is NaN; no useful ratio is beyond e^20.
_LARGEST_LOG_RATIO = 20.0


def action_mask(completion_ids_BT: Tensor, eos_id: int | Sequence[int]) -> Tensor:
    """True up to and including each row's first end-of-text token, [B, T]; all True where there is none.

    A row that was cut and then padded needs its length besides: `Rollout.mask_BT` knows it.

    >>> action_mask(torch.tensor([[5, 2, 2, 7], [5, 6, 7, 8]]), eos_id=2).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    ids = [eos_id] if isinstance(eos_id, int) else list(eos_id)
    ends_BT = torch.isin(completion_ids_BT, torch.tensor(ids, device=completion_ids_BT.device)).long()
    return ends_BT.cumsum(1) - ends_BT == 0


def ppo_policy_loss(
    logps_BT: Tensor,
    old_logps_BT: Tensor,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
) -> Loss:
    """PPO's clipped surrogate, to be minimised, summed over actions.

        -min(r A, clamp(r, 1 - clip, 1 + clip) A),  r = p / p_old

    Schulman et al. 2017, arXiv:1707.06347, equation 7. `clip_high` is the distance of the
    upper bound where it is another (Yu et al. 2025, arXiv:2503.14476, section 3.1). The minimum clips only
    what would move further in the advantage's direction; the way back is always open.

    Diagnostics: `clipped` (actions whose gradient the clip removed), `kl_old` (k3 of KL(p_old, p)),
    `ratio`, `actions`.

    >>> one = torch.ones(1, 1)
    >>> ppo_policy_loss(one * 0.5, one * 0.0, one, one.bool())[0].item()  # e^0.5 = 1.65 is clipped to 1.2
    -1.2000000476837158
    """
    loss_BT, more = _clipped_surrogate(logps_BT, old_logps_BT, advantages_BT, mask_BT, clip, clip_high)
    return loss_BT.sum(), _actions(mask_BT), more


def _clipped_surrogate(
    logps_BT: Tensor,
    old_logps_BT: Tensor,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    clip: float,
    clip_high: float | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The surrogate of each action, 0 outside the mask, and the diagnostics."""
    high = clip if clip_high is None else clip_high
    log_ratio_BT = _inside(logps_BT, mask_BT) - _inside(old_logps_BT.detach(), mask_BT)
    log_ratio_BT = log_ratio_BT.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
    advantages_BT = _inside(advantages_BT.detach(), mask_BT)
    ratio_BT = log_ratio_BT.exp()
    loss_BT = -torch.minimum(ratio_BT * advantages_BT, ratio_BT.clamp(1 - clip, 1 + high) * advantages_BT)
    ratio_BT, log_ratio_BT = ratio_BT.detach(), log_ratio_BT.detach()
    clipped_BT = ((ratio_BT > 1 + high) & (advantages_BT > 0)) | ((ratio_BT < 1 - clip) & (advantages_BT < 0))
    return loss_BT, {
        "clipped": clipped_BT.float().sum(),
        "kl_old": (ratio_BT - 1 - log_ratio_BT).sum(),
        "ratio": _inside(ratio_BT, mask_BT).sum(),
        "actions": _actions(mask_BT),
    }


def value_loss(
    values_BT: Tensor,
    old_values_BT: Tensor,
    returns_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip: float | None = 0.2,
) -> Loss:
    """Half the squared error of the values, the larger of plain and clipped, summed over actions.

        1/2 max((V - R)^2, (V_old + clamp(V - V_old, -clip, clip) - R)^2)

    PPO's reference code (baselines, `ppo2/model.py`); clip in units of the reward; None for the plain error.

    Diagnostics: `clipped` (actions where the clipped error is the larger), `error` (squared), `actions`.
    """
    values_BT, returns_BT = _inside(values_BT, mask_BT), _inside(returns_BT.detach(), mask_BT)
    error_BT = (values_BT - returns_BT) ** 2
    worse_BT = error_BT
    if clip is not None:
        old_BT = _inside(old_values_BT.detach(), mask_BT)
        near_BT = old_BT + (values_BT - old_BT).clamp(-clip, clip)
        worse_BT = torch.maximum(error_BT, (near_BT - returns_BT) ** 2)
    more = {
        "clipped": (worse_BT > error_BT).float().sum(),
        "error": error_BT.detach().sum(),
        "actions": _actions(mask_BT),
    }
    return 0.5 * worse_BT.sum(), _actions(mask_BT), more


def entropy(logits_BTV: Tensor, mask_BT: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Entropy of the policy softmax(logits / temperature), summed over actions, in nats, and their number.

    >>> total, count = entropy(torch.zeros(1, 2, 4), torch.tensor([[True, False]]))
    >>> round(total.item(), 4), count.item()  # log 4
    (1.3863, 1.0)
    """
    scores_NV = logits_BTV[mask_BT].float() / temperature
    lse_N = scores_NV.logsumexp(-1)
    entropy_N = lse_N - ((scores_NV - lse_N[:, None]).exp() * scores_NV).sum(-1)
    return entropy_N.sum(), _actions(mask_BT)


def kl_estimate(logps: Tensor, reference_logps: Tensor, estimator: Estimator) -> Tensor:
    """An estimate of KL(p, p_ref) from one action drawn from p, for each action; any shape.

        k1 = log p - log p_ref                  unbiased, may be negative
        k2 = (log p - log p_ref)^2 / 2          biased, small variance
        k3 = p_ref / p - 1 - log(p_ref / p)     unbiased, never negative

    Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html. As a *loss* differentiated
    on drawn actions they are three different things: the expected gradient of k1 is 0 (use k1 inside the
    reward), that of k2 is the gradient of KL(p, p_ref), that of k3 the gradient of KL(p_ref, p).
    """
    difference = logps.float() - reference_logps.detach().float()
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference**2
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"unknown estimator {estimator!r} (known: k1, k2, k3)")


def kl_sum(
    logps_BT: Tensor, reference_logps_BT: Tensor, mask_BT: Tensor, estimator: Estimator = "k3"
) -> tuple[Tensor, Tensor]:
    """`kl_estimate` summed over the actions, and their number; sum / B is nats an answer."""
    estimate_BT = kl_estimate(_inside(logps_BT, mask_BT), _inside(reference_logps_BT, mask_BT), estimator)
    return estimate_BT.sum(), _actions(mask_BT)


def group_advantages(
    rewards_B: Tensor,
    group_size: int,
    *,
    scale: Literal["group", "batch", "none"] = "group",
    epsilon: float = 1e-4,
) -> Tensor:
    """GRPO's advantages: each answer's reward less its group's mean, over its group's deviation.

    Shao et al. 2024, arXiv:2402.03300, section 4.1.2. Rows are grouped as `rollout` gives them: the answers
    to one prompt follow one another. The deviation has group_size - 1 in its denominator, and epsilon is
    added to it, both as in TRL; a group of equal rewards gets 0. scale="none" leaves the division out,
    because it favours prompts that are nearly always or nearly never solved (Liu et al. 2025,
    arXiv:2503.20783, section 3.1); "batch" divides by the deviation of all rewards.

    >>> group_advantages(torch.tensor([1.0, 0.0, 0.0, 1.0]), 2, epsilon=0.0)
    tensor([ 0.7071, -0.7071, -0.7071,  0.7071])
    """
    rewards_PG = _grouped(rewards_B, group_size)
    centred_B = (rewards_PG - rewards_PG.mean(1, keepdim=True)).flatten()
    if scale == "none":
        return centred_B
    if scale == "group":
        return centred_B / (rewards_PG.std(1).repeat_interleave(group_size) + epsilon)
    if scale == "batch":
        return centred_B / (rewards_PG.flatten().std() + epsilon)
    raise ValueError(f"unknown scale {scale!r} (known: group, batch, none)")


def rloo_advantages(rewards_B: Tensor, group_size: int) -> Tensor:
    """REINFORCE leave-one-out: each answer's reward less the mean of its group's *other* answers.

    Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740, equation 5. Equals group_size /
    (group_size - 1) times the distance from the group's mean.

    >>> rloo_advantages(torch.tensor([3.0, 0.0, 0.0]), 3)
    tensor([ 3.0000, -1.5000, -1.5000])
    """
    rewards_PG = _grouped(rewards_B, group_size)
    others_PG = (rewards_PG.sum(1, keepdim=True) - rewards_PG) / (group_size - 1)
    return (rewards_PG - others_PG).flatten()


def grpo_loss(
    logps_BT: Tensor,
    old_logps_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    reference_logps_BT: Tensor | None = None,
    kl_coefficient: float = 0.0,
    normalise: Normalise = "token",
    max_new_tokens: int | None = None,
) -> Loss:
    """GRPO's loss: PPO's clipped surrogate with one advantage an answer, plus kl_coefficient * k3 a token.

    Shao et al. 2024, arXiv:2402.03300, equation 3. What the sum is divided by, in `normalise`:

        "answer"  the mean over an answer's tokens, then over answers (the paper): a token of a long answer
                  weighs less, so that long wrong answers are punished less than short ones
        "token"   the mean over all tokens of the step (Yu et al. 2025, arXiv:2503.14476, section 3.3)
        "fixed"   the sum over tokens / (answers * max_new_tokens): no length in it
                  (Liu et al. 2025, arXiv:2503.20783, section 3.2)

    Sum and count are such that sum / count, both added over micro-batches, is that mean over the step.

    Diagnostics: those of `ppo_policy_loss`, and `kl` (k3 against the reference) where there is one.
    """
    advantages_BT = advantages_B[:, None].expand(mask_BT.shape)
    loss_BT, more = _clipped_surrogate(logps_BT, old_logps_BT, advantages_BT, mask_BT, clip, clip_high)
    if reference_logps_BT is not None:
        reference_BT = _inside(reference_logps_BT, mask_BT)
        kl_BT = kl_estimate(_inside(logps_BT, mask_BT), reference_BT, "k3")
        loss_BT = loss_BT + kl_coefficient * kl_BT
        more["kl"] = kl_BT.detach().sum()
    elif kl_coefficient:
        raise ValueError("kl_coefficient needs reference_logps_BT")
    answers = torch.tensor(float(len(mask_BT)), device=mask_BT.device)
    if normalise == "token":
        return loss_BT.sum(), more["actions"], more
    if normalise == "answer":
        return (loss_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum(), answers, more
    if normalise == "fixed" and max_new_tokens is not None:
        return loss_BT.sum(), answers * max_new_tokens, more
    raise ValueError(
        f"normalise is {normalise!r}; known: token, answer, and fixed, which needs max_new_tokens"
    )


def token_rewards(scores_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, kl_coefficient: float) -> Tensor:
    """Rewards of the actions, [B, T]: -kl_coefficient * KL on each, and the answer's score on the last.

    Ziegler et al. 2019, arXiv:1909.08593, section 2.1. The last action is the end-of-text token, or the
    token at which the answer was cut. No gradient.

    >>> mask = torch.tensor([[True, True, False]])
    >>> token_rewards(torch.tensor([1.0]), torch.full((1, 3), 0.5), mask, 0.1)
    tensor([[-0.0500,  0.9500,  0.0000]])
    """
    rewards_BT = -kl_coefficient * _inside(kl_BT.detach(), mask_BT)
    return rewards_BT + torch.where(_last(mask_BT), scores_B.detach().float()[:, None], 0.0)


def gae(
    rewards_BT: Tensor,
    values_BT: Tensor,
    mask_BT: Tensor,
    *,
    truncated_B: Tensor | None = None,
    next_values_B: Tensor | None = None,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns (advantages + values), [B, T], 0 outside the mask.

        A_t = sum over l of (gamma lam)^l delta_(t+l),  delta_t = r_t + gamma V_(t+1) - V_t

    Schulman et al. 2015, arXiv:1506.02438, equation 16. Each row is one episode of consecutive actions from
    column 0. After the last action V is 0 where the episode *terminated* (the end-of-text token), and
    `next_values_B`, the value of the state that follows, where it was *truncated* (cut at the length limit
    in the middle of something). No gradient.

    >>> ones = torch.ones(1, 2)
    >>> gae(ones, ones * 0.0, ones.bool(), gamma=0.5, lam=1.0)[0]
    tensor([[1.5000, 1.0000]])
    """
    mask_BT = mask_BT.bool()
    if (mask_BT[:, 1:] & ~mask_BT[:, :-1]).any():
        raise ValueError("the actions of a row must follow one another from column 0")
    rewards_BT, values_BT = _inside(rewards_BT.detach(), mask_BT), _inside(values_BT.detach(), mask_BT)
    after_B = torch.zeros_like(values_BT[:, 0])
    if truncated_B is not None:
        if next_values_B is None:
            raise ValueError("truncated rows need next_values_B, the values of the states that follow")
        after_B = _inside(next_values_B.detach(), truncated_B)
    last_BT = _last(mask_BT)
    advantages_BT = torch.zeros_like(rewards_BT)
    following_B, value_B = torch.zeros_like(after_B), torch.zeros_like(after_B)
    for t in reversed(range(mask_BT.shape[1])):
        value_B = torch.where(last_BT[:, t], after_B, value_B)
        delta_B = rewards_BT[:, t] + gamma * value_B - values_BT[:, t]
        following_B = torch.where(mask_BT[:, t], delta_B + gamma * lam * following_B, 0.0)
        advantages_BT[:, t], value_B = following_B, values_BT[:, t]
    return advantages_BT, advantages_BT + values_BT


def whiten(x_BT: Tensor, mask_BT: Tensor, *, shift_mean: bool = True, epsilon: float = 1e-8) -> Tensor:
    """The actions' numbers scaled to variance 1 and, unless `shift_mean` is False, mean 0; 0 outside.

    The variance has N - 1 in its denominator. Rewards are scaled without the shift, which would change
    what a good answer is; a single action keeps its scale.

    >>> whiten(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[-0.7071,  0.7071,  0.0000]])
    """
    x_BT = _inside(x_BT, mask_BT)
    count = mask_BT.sum()
    mean = x_BT.sum() / count.clamp(min=1)
    centred_BT = _inside(x_BT - mean, mask_BT)
    variance = (centred_BT**2).sum() / (count - 1).clamp(min=1)
    scale = torch.where(count > 1, torch.rsqrt(variance + epsilon), 1.0)
    return _inside(centred_BT * scale + (0.0 if shift_mean else mean), mask_BT)


def logged_feedback_loss(
    logps_B: Tensor,
    logged_logps_B: Tensor,
    rewards_B: Tensor,
    *,
    clip: float = 10.0,
    baseline: float = 0.0,
) -> Loss:
    """REINFORCE on actions that another policy chose, each weighted by min(p / p_logged, clip).

        loss = -weight * (reward - baseline) * log p,   no gradient through the weight

    Its gradient is that of the inverse-propensity estimate of the policy's expected reward (Horvitz &
    Thompson 1952; Bottou et al. 2013, arXiv:1209.2355, section 4.4), exactly where no weight is clipped.
    `logged_logps_B` are the log-propensities: with which probability the shown action was chosen *then*.

    Diagnostics: `reward` (weight * reward: over the count, the estimate of the policy's expected reward),
    `weights` and `squared_weights` (weights^2 / squared_weights is the effective number of rows), `clipped`.
    """
    logps_B, rewards_B = logps_B.float(), rewards_B.detach().float()
    log_weight_B = (logps_B - logged_logps_B.float()).detach()
    ratio_B = log_weight_B.clamp(max=_LARGEST_LOG_RATIO).exp()
    weight_B = ratio_B.clamp(max=clip)
    more = {
        "reward": (weight_B * rewards_B).sum(),
        "weights": weight_B.sum(),
        "squared_weights": (weight_B**2).sum(),
        "clipped": (ratio_B > clip).float().sum(),
    }
    count = torch.tensor(float(len(logps_B)), device=logps_B.device)
    return -(weight_B * (rewards_B - baseline) * logps_B).sum(), count, more


def _inside(x: Tensor, mask: Tensor) -> Tensor:
    """x in float32 where the mask is, else 0: before any arithmetic, so that not even NaN comes through."""
    return torch.where(mask.bool(), x.float(), 0.0)


def _actions(mask_BT: Tensor) -> Tensor:
    return mask_BT.sum().float()


def _last(mask_BT: Tensor) -> Tensor:
    """True at each row's last action."""
    mask_BT = mask_BT.bool()
    return mask_BT & ~torch.nn.functional.pad(mask_BT[:, 1:], (0, 1))


def _grouped(rewards_B: Tensor, group_size: int) -> Tensor:
    if group_size < 2 or rewards_B.numel() % group_size:
        raise ValueError(f"{rewards_B.numel()} rewards are not whole groups of {group_size} (at least 2)")
    return rewards_B.detach().float().view(-1, group_size)
