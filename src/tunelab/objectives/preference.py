"""Losses over preferences: the Bradley-Terry reward model, DPO, conservative DPO, IPO and KTO.

All take one number a sequence, [B], so that they stay pure: scores of a reward model, or summed
log-probabilities (`sequence_logps`) of the answer's tokens under the policy and the reference. All give
(summed loss, count of pairs or answers, diagnostics). Diagnostics are detached sums over the same rows as
the count: add them up over micro-batches and divide by the count, as with the loss.
"""

# B batch, T tokens, V vocabulary, N tokens that are scored

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "IGNORE",
    "Loss",
    "bradley_terry",
    "conservative_dpo",
    "dpo",
    "ipo",
    "kto",
    "kto_kl",
    "selected_logps",
    "sequence_logps",
]

#: The label of a token that is not scored: prompt, padding, whatever follows the end.
IGNORE = -100

#: Summed loss, count, detached sums that say more.
Loss = tuple[Tensor, Tensor, dict[str, Tensor]]

_CHUNK = 2**22  # numbers of a float32 working copy: 16 MB, whatever batch and vocabulary are


def bradley_terry(
    chosen_B: Tensor,
    rejected_B: Tensor,
    *,
    margin_B: Tensor | None = None,
    preferred_B: Tensor | None = None,
    centring: float = 0.0,
) -> Loss:
    """Negative log-likelihood of the preferences: -log sigmoid(r_chosen - r_rejected - margin).

    Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, equation 1; the margin is that of Touvron
    et al. 2023, arXiv:2307.09288, equation 2. `preferred_B` is the share of annotators, in [0, 1], who
    preferred the chosen side (0.5 is a tie): the loss is then the cross-entropy, share * loss +
    (1 - share) * loss with the sides exchanged. `centring` adds centring * (r_chosen + r_rejected)^2, which
    fixes the shift that the preferences leave open (Eisenstein et al. 2023, arXiv:2312.09244, equation 2).

    Diagnostics: `accuracy` (pairs where chosen scores higher; equal scores count half), `margin`
    (r_chosen - r_rejected), `chosen` and `rejected` (scores).

    >>> total, count, more = bradley_terry(torch.tensor([1.0]), torch.tensor([0.0]))
    >>> round(total.item(), 4)  # log(1 + 1/e)
    0.3133
    """
    chosen_B, rejected_B = chosen_B.float(), rejected_B.float()
    difference_B = chosen_B - rejected_B
    margin = 0.0 if margin_B is None else margin_B.float()
    loss_B = -F.logsigmoid(difference_B - margin)
    if preferred_B is not None:
        share_B = preferred_B.float()
        loss_B = share_B * loss_B - (1.0 - share_B) * F.logsigmoid(-difference_B - margin)
    if centring:
        loss_B = loss_B + centring * (chosen_B + rejected_B) ** 2
    return loss_B.sum(), _count(loss_B), _compared(chosen_B, rejected_B)


def dpo(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    *,
    beta: float = 0.1,
) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta * h), h the difference of the log-ratios.

        h = (log p(chosen) - log p_ref(chosen)) - (log p(rejected) - log p_ref(rejected))

    Rafailov et al. 2023, arXiv:2305.18290, equation 7. Inputs are summed log-probabilities.

    Diagnostics: those of `bradley_terry` over the implicit rewards beta * log-ratio.

    >>> zero = torch.zeros(1)
    >>> round(dpo(zero, zero, zero, zero)[0].item(), 4)  # log 2, where policy and reference agree
    0.6931
    """
    return conservative_dpo(
        chosen_B, rejected_B, reference_chosen_B, reference_rejected_B, beta=beta, flipped=0.0
    )


def conservative_dpo(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    *,
    beta: float = 0.1,
    flipped: float | Tensor = 0.1,
) -> Loss:
    """DPO where a share of the labels is believed to be the wrong way round.

        loss = -(1 - flipped) log sigmoid(beta * h) - flipped log sigmoid(-beta * h)

    Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO"; its minimum is at
    sigmoid(beta * h) = 1 - flipped, not at infinity. `flipped`, in [0, 0.5], may be one number a pair, [B]:
    with votes, the share of annotators who disagreed.
    """
    rewards_B = _log_ratio(chosen_B, reference_chosen_B) * beta
    others_B = _log_ratio(rejected_B, reference_rejected_B) * beta
    h_B = rewards_B - others_B
    loss_B = -(1.0 - flipped) * F.logsigmoid(h_B) - flipped * F.logsigmoid(-h_B)
    return loss_B.sum(), _count(loss_B), _compared(rewards_B, others_B)


def ipo(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    *,
    tau: float | Tensor = 0.1,
    chosen_tokens_B: Tensor | None = None,
    rejected_tokens_B: Tensor | None = None,
) -> Loss:
    """Identity preference optimisation: (h - 1 / (2 tau))^2.

    Azar et al. 2023, arXiv:2310.12036, equation 17. With token counts, h is the difference of log-ratios
    *per token*; the square otherwise grows with the answers' lengths. The paper is silent about it; TRL
    averages and says that the authors confirmed it. `tau` may be one number a pair, [B]: tau / (2 share - 1)
    where a share of the annotators took the chosen side.

    Diagnostics: those of `bradley_terry` over tau * log-ratio.
    """
    ratios_B = _log_ratio(chosen_B, reference_chosen_B)
    others_B = _log_ratio(rejected_B, reference_rejected_B)
    if (chosen_tokens_B is None) != (rejected_tokens_B is None):
        raise ValueError("ipo needs the token counts of both sides, or of none")
    if chosen_tokens_B is not None and rejected_tokens_B is not None:
        ratios_B = ratios_B / chosen_tokens_B.clamp(min=1)
        others_B = others_B / rejected_tokens_B.clamp(min=1)
    loss_B = (ratios_B - others_B - 1.0 / (2.0 * tau)) ** 2
    return loss_B.sum(), _count(loss_B), _compared(tau * ratios_B, tau * others_B)


def kto(
    policy_B: Tensor,
    reference_B: Tensor,
    desirable_B: Tensor,
    kl: Tensor | float,
    *,
    beta: float = 0.1,
    desirable_weight: float | Tensor = 1.0,
    undesirable_weight: float | Tensor = 1.0,
) -> Loss:
    """Kahneman-Tversky optimisation: single answers, each desirable or not.

        desirable:    weight * (1 - sigmoid(beta * (log-ratio - kl)))
        undesirable:  weight * (1 - sigmoid(beta * (kl - log-ratio)))

    Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8, the weights its lambdas (or [B], of each
    answer). `desirable_B` is boolean; `kl` (nats an answer, no gradient) comes from `kto_kl`.

    Diagnostics: `desirable` (how many), `desirable_rewards` and `undesirable_rewards` (beta * log-ratio,
    summed over the one kind each).
    """
    desirable_B = desirable_B.bool()
    kl = kl.detach().float() if isinstance(kl, Tensor) else kl
    ratio_B = _log_ratio(policy_B, reference_B)
    sign_B = torch.where(desirable_B, 1.0, -1.0)
    weight_B = torch.where(desirable_B, desirable_weight, undesirable_weight)
    loss_B = weight_B * torch.sigmoid(-sign_B * beta * (ratio_B - kl))
    rewards_B = beta * ratio_B.detach()
    return (
        loss_B.sum(),
        _count(loss_B),
        {
            "desirable": desirable_B.float().sum(),
            "desirable_rewards": rewards_B[desirable_B].sum(),
            "undesirable_rewards": rewards_B[~desirable_B].sum(),
        },
    )


def kto_kl(policy_B: Tensor, reference_B: Tensor) -> Tensor:
    """KTO's reference point: the mean log-ratio of answers to *other* rows' prompts, at least 0, in nats.

    Ethayarajh et al. 2024, section 4.1: each prompt is paired with another row's answer, such as the next
    one's of the batch. No gradient. It is a mean over the batch it is given, so that with micro-batches
    it belongs to the whole step.
    """
    return _log_ratio(policy_B, reference_B).detach().mean().clamp(min=0.0)


def sequence_logps(logits_BTV: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Summed log-probability of each row's labels, [B], in float32, and how many tokens that is, [B].

    `labels_BT` are the input ids with `IGNORE` (-100) where a token is not scored; as everywhere in
    transformers, the logits at position t score the label at t + 1, and the first label is never scored.

    >>> logps, counts = sequence_logps(torch.zeros(1, 3, 4), torch.tensor([[-100, 2, 1]]))
    >>> round(logps.item(), 4), counts.item()  # 2 log(1/4)
    (-2.7726, 2)
    """
    next_BT = F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE)
    return selected_logps(logits_BTV, next_BT).sum(1), (next_BT != IGNORE).sum(1)


def selected_logps(logits_BTV: Tensor, labels_BT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of each label, [B, T], in float32; 0 at `IGNORE`.

    Position t of the logits scores position t of the labels. What is computed besides the logits and their
    gradient is a few rows at a time, and only where a label is: no float32 copy of bfloat16 logits, no kept
    softmax, nothing for prompt and padding (whose gradient is exactly 0, even where the logits are NaN).

    >>> selected_logps(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[1]])).exp()
    tensor([[0.5000]])
    """
    logps_BT: Tensor = _Selected.apply(logits_BTV, labels_BT, temperature)  # type: ignore[no-untyped-call]
    return logps_BT


class _Selected(torch.autograd.Function):
    """d log p(label) / d logits = (one-hot(label) - softmax) / temperature, recomputed from the logits."""

    @staticmethod
    def forward(ctx: Any, logits_BTV: Tensor, labels_BT: Tensor, temperature: float) -> Tensor:
        kind = torch.promote_types(logits_BTV.dtype, torch.float32)
        out_BT = torch.zeros(labels_BT.shape, dtype=kind, device=logits_BTV.device)
        lse_BT = torch.zeros_like(out_BT)
        for row_N, at_N in _pieces(labels_BT, logits_BTV.shape[-1]):
            scores_NV = logits_BTV[row_N, at_N].to(kind) / temperature
            lse_N = scores_NV.logsumexp(-1)
            label_N1 = labels_BT[row_N, at_N, None]
            out_BT[row_N, at_N] = scores_NV.gather(1, label_N1).squeeze(1) - lse_N
            lse_BT[row_N, at_N] = lse_N
        ctx.save_for_backward(logits_BTV, labels_BT, lse_BT)
        ctx.temperature = temperature
        return out_BT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_BT: Tensor) -> tuple[Tensor, None, None]:
        logits_BTV, labels_BT, lse_BT = ctx.saved_tensors
        gradient_BTV = torch.zeros_like(logits_BTV)
        for row_N, at_N in _pieces(labels_BT, logits_BTV.shape[-1]):
            scores_NV = logits_BTV[row_N, at_N].to(lse_BT.dtype) / ctx.temperature
            step_NV = -(scores_NV - lse_BT[row_N, at_N, None]).exp()
            label_N1 = labels_BT[row_N, at_N, None]
            step_NV.scatter_add_(1, label_N1, torch.ones_like(label_N1, dtype=step_NV.dtype))
            step_NV *= upstream_BT[row_N, at_N, None] / ctx.temperature
            gradient_BTV[row_N, at_N] = step_NV.to(gradient_BTV.dtype)
        return gradient_BTV, None, None


def _pieces(labels_BT: Tensor, vocabulary: int) -> list[tuple[Tensor, Tensor]]:
    """(rows, columns) of the scored labels, in pieces whose logits fit the working copy."""
    row_N, at_N = (labels_BT != IGNORE).nonzero(as_tuple=True)
    size = max(1, _CHUNK // vocabulary)
    return list(zip(torch.split(row_N, size), torch.split(at_N, size), strict=True))


def _log_ratio(policy_B: Tensor, reference_B: Tensor) -> Tensor:
    """log(p / p_ref); the reference never learns."""
    return policy_B.float() - reference_B.detach().float()


def _count(loss_B: Tensor) -> Tensor:
    return torch.tensor(float(loss_B.numel()), device=loss_B.device)


def _compared(chosen_B: Tensor, rejected_B: Tensor) -> dict[str, Tensor]:
    chosen_B, rejected_B = chosen_B.detach(), rejected_B.detach()
    difference_B = chosen_B - rejected_B
    return {
        "accuracy": ((difference_B.sign() + 1.0) / 2.0).sum(),
        "margin": difference_B.sum(),
        "chosen": chosen_B.sum(),
        "rejected": rejected_B.sum(),
    }
