"""Linear-chain conditional random field: a whole sequence of labels is scored, not each label by itself.

Paper: Lafferty, McCallum, Pereira, "Conditional Random Fields", ICML 2001, section 3; the two recursions are
the forward algorithm and Viterbi's, as in Lample et al. 2016, arXiv:1603.01360, section 2.2.
    score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    log p(y | x) = score(y) - log Z,   log Z = log sum over all y' of exp score(y')
Parameters are plain tensors: C * C + 2 C numbers. All in float32, whatever precision the model runs in
(float64 stays float64).

Padding is at the right of a row only. Rows without any unit count for nothing.
"""

# B batch, T time steps (units: words or characters), C labels

import torch
from torch import Tensor

__all__ = [
    "FORBIDDEN",
    "PADDING",
    "crf_loss",
    "forbid",
    "log_partition",
    "marginals",
    "max_marginals",
    "path_scores",
    "viterbi",
]

#: Score of a forbidden transition. Not -inf: a label that no allowed path reaches would give
#: logsumexp(-inf, ..., -inf), whose gradient is 0 / 0, and one wrongly annotated sentence an infinite loss.
#: exp(-1e6) is exactly 0 in float32, so log Z is that of the allowed paths to the last bit; the emissions of
#: two paths would have to differ by a million before a forbidden one wins; 500 in a row do not overflow.
FORBIDDEN = -1e6

#: What `viterbi` gives at padding, and what tags may hold there.
PADDING = -100


def forbid(scores: Tensor, forbidden: Tensor) -> Tensor:
    """Transitions [C, C] (from, to), starts [C] or ends [C] with what `forbidden` (bool) marks ruled out.

    A forbidden score gets no gradient: it never moves.

    >>> forbid(torch.zeros(2), torch.tensor([False, True])).tolist()
    [0.0, -1000000.0]
    """
    return _full(scores).masked_fill(forbidden, FORBIDDEN)


def crf_loss(
    emissions_BTC: Tensor,
    tags_BT: Tensor,
    mask_BT: Tensor,
    transitions_CC: Tensor,
    start_C: Tensor,
    end_C: Tensor,
) -> tuple[Tensor, Tensor]:
    """Summed negative log likelihood of the tag sequences, and the number of units.

    Counted in units rather than sentences, so that sum / count is on the scale of a cross-entropy per unit
    and long sentences weigh as much as there is in them. tags_BT may hold anything at padding.

    >>> none = torch.zeros(3)
    >>> total, count = crf_loss(torch.zeros(1, 2, 3), torch.tensor([[0, 2]]), torch.ones(1, 2).bool(),
    ...                         torch.zeros(3, 3), none, none)
    >>> round(total.item(), 4), count.item()  # one of nine paths, log 9; two units
    (2.1972, 2.0)
    """
    emissions_BTC = _shifted(emissions_BTC, mask_BT)
    parameters = (transitions_CC, start_C, end_C)
    gold_B = path_scores(emissions_BTC, tags_BT, mask_BT, *parameters)
    total = (log_partition(emissions_BTC, mask_BT, *parameters) - gold_B).sum()
    return total, mask_BT.sum().to(total.dtype)


def path_scores(
    emissions_BTC: Tensor,
    tags_BT: Tensor,
    mask_BT: Tensor,
    transitions_CC: Tensor,
    start_C: Tensor,
    end_C: Tensor,
) -> Tensor:
    """score(y) of one tag sequence a row, [B]; 0 for a row without units."""
    emissions_BTC, mask_BT = _full(emissions_BTC), mask_BT.bool()
    tags_BT = tags_BT.masked_fill(~mask_BT, 0)
    own_BT = emissions_BTC.gather(2, tags_BT[:, :, None]).squeeze(2)
    moves_BT = _full(transitions_CC)[tags_BT[:, :-1], tags_BT[:, 1:]]
    last_B = tags_BT.gather(1, _last(mask_BT)[:, None]).squeeze(1)
    ends_B = _full(start_C)[tags_BT[:, 0]] + _full(end_C)[last_B]
    return (
        own_BT.masked_fill(~mask_BT, 0.0).sum(1)
        + moves_BT.masked_fill(~mask_BT[:, 1:], 0.0).sum(1)
        + ends_B.masked_fill(~mask_BT[:, 0], 0.0)
    )


def log_partition(
    emissions_BTC: Tensor, mask_BT: Tensor, transitions_CC: Tensor, start_C: Tensor, end_C: Tensor
) -> Tensor:
    """log Z of each row, [B]: the logarithm of the summed exponentials of all paths' scores.

    The forward algorithm, in log space; 0 for a row without units. Rounding grows with log Z: where gradients
    matter, shift the emissions first, as the loss and the marginals do.
    """
    mask_BT = mask_BT.bool()
    # `unbind`, as the gradient of indexing would be T tensors of the size of all emissions.
    first_BC, *rest = _masked(emissions_BTC, mask_BT).unbind(1)
    into_CC = _full(transitions_CC).t()[None]  # [1, to, from]: the sum runs over neighbours in memory
    alpha_BC = _full(start_C) + first_BC
    alphas = [alpha_BC]
    for emission_BC in rest:
        alpha_BC = torch.logsumexp(alpha_BC[:, None, :] + into_CC, dim=2) + emission_BC
        alphas.append(alpha_BC)
    final_BC = _at_last(torch.stack(alphas, 1), mask_BT) + _full(end_C)
    return final_BC.logsumexp(1).masked_fill(~mask_BT[:, 0], 0.0)


def marginals(
    emissions_BTC: Tensor, mask_BT: Tensor, transitions_CC: Tensor, start_C: Tensor, end_C: Tensor
) -> Tensor:
    """Probability of each label at each unit given the whole sequence, [B, T, C]; 0 at padding.

    It is the gradient of log Z with respect to the emissions, which autograd finds by what is written
    elsewhere as the backward algorithm. The result carries no gradient of its own.

    >>> none = torch.zeros(2)
    >>> marginals(torch.zeros(1, 3, 2), torch.ones(1, 3).bool(), torch.zeros(2, 2), none, none)[0, 1].tolist()
    [0.5, 0.5]
    """
    parameters = (transitions_CC.detach(), start_C.detach(), end_C.detach())
    with torch.enable_grad():
        leaf_BTC = _shifted(emissions_BTC.detach(), mask_BT).requires_grad_()
        (found_BTC,) = torch.autograd.grad(log_partition(leaf_BTC, mask_BT, *parameters).sum(), leaf_BTC)
    return found_BTC


@torch.no_grad()
def viterbi(
    emissions_BTC: Tensor, mask_BT: Tensor, transitions_CC: Tensor, start_C: Tensor, end_C: Tensor
) -> Tensor:
    """The best-scoring tag sequence of each row, [B, T]; `PADDING` where the mask is false.

    >>> emissions = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> moves = forbid(torch.zeros(2, 2), torch.tensor([[False, False], [False, True]]))  # never 1, 1
    >>> starts = forbid(torch.zeros(2), torch.tensor([False, True]))  # nor 1 at the start
    >>> viterbi(emissions, torch.ones(1, 2).bool(), moves, starts, torch.zeros(2)).tolist()
    [[0, 1]]
    """
    mask_BT = mask_BT.bool()
    first_BC, *rest = _shifted(emissions_BTC, mask_BT).unbind(1)
    into_CC = _full(transitions_CC).t()[None]
    best_BC = _full(start_C) + first_BC
    bests, pointers = [best_BC], []
    for emission_BC in rest:
        best_BC, from_BC = (best_BC[:, None, :] + into_CC).max(dim=2)
        best_BC = best_BC + emission_BC
        bests.append(best_BC)
        pointers.append(from_BC)
    tag_B1 = (_at_last(torch.stack(bests, 1), mask_BT) + _full(end_C)).argmax(1, keepdim=True)
    tags = [tag_B1]
    for step in range(len(pointers) - 1, -1, -1):  # through padding the last unit's tag is carried along
        tag_B1 = torch.where(mask_BT[:, step + 1, None], pointers[step].gather(1, tag_B1), tag_B1)
        tags.append(tag_B1)
    return torch.cat(tags[::-1], 1).masked_fill(~mask_BT, PADDING)


@torch.no_grad()
def max_marginals(
    emissions_BTC: Tensor, mask_BT: Tensor, transitions_CC: Tensor, start_C: Tensor, end_C: Tensor
) -> Tensor:
    """How far the best path through each label at each unit is below the best of all, [B, T, C] <= 0.

    At every unit the largest is 0, and it is the label that `viterbi` takes; 0 at padding. Two passes of
    Viterbi's recursion, one from each end.

    >>> emissions, none = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]), torch.zeros(2)
    >>> max_marginals(emissions, torch.ones(1, 2).bool(), torch.zeros(2, 2), none, none)[0].tolist()
    [[-1.0, 0.0], [0.0, -2.0]]
    """
    mask_BT = mask_BT.bool()
    moves_CC, end_C = _full(transitions_CC), _full(end_C)
    steps = _shifted(emissions_BTC, mask_BT).unbind(1)
    left_BC = _full(start_C) + steps[0]
    lefts = [left_BC]
    for emission_BC in steps[1:]:
        left_BC = (left_BC[:, None, :] + moves_CC.t()[None]).amax(2) + emission_BC
        lefts.append(left_BC)
    right_BC = end_C.expand_as(left_BC)
    rights = [right_BC]
    for step in range(len(steps) - 1, 0, -1):
        behind_BC = (moves_CC[None] + (steps[step] + right_BC)[:, None, :]).amax(2)
        right_BC = torch.where(mask_BT[:, step, None], behind_BC, end_C)
        rights.append(right_BC)
    through_BTC = torch.stack(lefts, 1) + torch.stack(rights[::-1], 1)
    below_BTC = through_BTC - through_BTC.amax(2, keepdim=True)
    return below_BTC.masked_fill(~mask_BT[:, :, None], 0.0)


def _full(values: Tensor) -> Tensor:
    """At least float32: sums over a sequence lose themselves in bfloat16's 8 bits."""
    return values if values.dtype == torch.float64 else values.float()


def _masked(emissions_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """Whatever stands at padding, even NaN, must not reach a gradient."""
    return _full(emissions_BTC).masked_fill(~mask_BT.bool()[:, :, None], 0.0)


def _shifted(emissions_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """The same shift of all emissions of a unit leaves p(y | x) as it is, and log Z small.

    Without it log Z grows with the length, and float32 rounds away what matters: 2,000 confident units at
    logits around 50 had gradients wrong by 0.29 where the largest is 0.004; with it by 2e-8.
    """
    return _masked(emissions_BTC, mask_BT).log_softmax(-1)


def _last(mask_BT: Tensor) -> Tensor:
    """Position of each row's last unit, [B]; 0 for a row without units."""
    return (mask_BT.sum(1) - 1).clamp_min(0)


def _at_last(values_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """What stands at each row's last unit, [B, C]."""
    index_B1C = _last(mask_BT)[:, None, None].expand(-1, 1, values_BTC.shape[2])
    return values_BTC.gather(1, index_B1C).squeeze(1)
