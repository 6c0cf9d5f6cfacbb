"""The CRF against brute force over all paths, finite differences, and float64."""

import itertools

import pytest
import torch
from torch import Tensor

from tunelab.objectives.crf import PADDING, crf_loss, forbid, log_partition, marginals, path_scores, viterbi

LENGTHS = [5, 1, 3, 0, 4]
STEPS, LABELS = 5, 4


def problem(dtype: torch.dtype = torch.float64, scale: float = 2.0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return (scale * torch.randn(*shape, generator=random, dtype=torch.float64)).to(dtype)

    return {
        "emissions_BTC": draw(len(LENGTHS), STEPS, LABELS),
        "mask_BT": torch.arange(STEPS)[None] < torch.tensor(LENGTHS)[:, None],
        "transitions_CC": draw(LABELS, LABELS),
        "start_C": draw(LABELS),
        "end_C": draw(LABELS),
    }


def tags() -> Tensor:
    random = torch.Generator().manual_seed(8)
    return torch.randint(LABELS, (len(LENGTHS), STEPS), generator=random)


def every_path(given: dict[str, Tensor], row: int) -> dict[tuple[int, ...], float]:
    """Path -> score, straight from the formula, for a row with at least one unit."""
    names = ("emissions_BTC", "transitions_CC", "start_C", "end_C")
    emissions, moves, start, end = (given[name].detach().double() for name in names)
    emissions = emissions[row]
    scores = {}
    for path in itertools.product(range(LABELS), repeat=LENGTHS[row]):
        score = float(start[path[0]] + end[path[-1]])
        score += sum(float(emissions[t, c]) for t, c in enumerate(path))
        scores[path] = score + sum(float(moves[a, b]) for a, b in itertools.pairwise(path))
    return scores


def rules() -> tuple[Tensor, Tensor, Tensor]:
    """BIO with one type and a label of its own (O, B, I, X): no I after O or X, or at the start; no X at the end."""
    moves = torch.zeros(LABELS, LABELS, dtype=torch.bool)
    moves[0, 2] = moves[3, 2] = True
    return moves, torch.tensor([False, False, True, False]), torch.tensor([False, False, False, True])


def ruled(given: dict[str, Tensor]) -> dict[str, Tensor]:
    names = ("transitions_CC", "start_C", "end_C")
    return given | {name: forbid(given[name], rule) for name, rule in zip(names, rules(), strict=True)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_partition_loss_and_best_path_are_those_of_all_paths(dtype: torch.dtype) -> None:
    given = problem(dtype)
    partition_B, best_BT = log_partition(**given), viterbi(**given)
    gold_B = path_scores(tags_BT=tags(), **given)
    total, count = crf_loss(tags_BT=tags().masked_fill(~given["mask_BT"], PADDING), **given)
    assert partition_B.dtype == total.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected_total = 0.0
    for row, length in enumerate(LENGTHS):
        assert best_BT[row, length:].eq(PADDING).all()
        if length == 0:
            assert partition_B[row] == gold_B[row] == 0
            continue
        scores = every_path(given, row)
        log_z = torch.tensor(list(scores.values())).logsumexp(0).item()
        own = scores[tuple(tags()[row, :length].tolist())]
        assert partition_B[row].item() == pytest.approx(log_z, rel=1e-5)
        assert gold_B[row].item() == pytest.approx(own, rel=1e-5)
        assert tuple(best_BT[row, :length].tolist()) == max(scores, key=lambda path: scores[path])
        expected_total += log_z - own
    assert total.item() == pytest.approx(expected_total, rel=1e-5)
    assert count.item() == sum(LENGTHS)


def test_gradient_is_that_of_finite_differences() -> None:
    given = problem()
    names = ("emissions_BTC", "transitions_CC", "start_C", "end_C")

    def loss(*values: Tensor) -> Tensor:
        return crf_loss(tags_BT=tags(), mask_BT=given["mask_BT"], **dict(zip(names, values, strict=True)))[0]

    assert torch.autograd.gradcheck(loss, [given[name].requires_grad_() for name in names])


def test_marginals_are_those_of_all_paths() -> None:
    """They are the partition's gradient, of which nothing at padding has a part, not even NaN."""
    given = problem()
    given["emissions_BTC"][~given["mask_BT"]] = float("nan")
    leaf_BTC = given["emissions_BTC"].requires_grad_()
    (gradient_BTC,) = torch.autograd.grad(log_partition(**given).sum(), leaf_BTC)
    found_BTC = marginals(**given)
    assert not found_BTC.requires_grad
    torch.testing.assert_close(found_BTC, gradient_BTC)
    total, _ = crf_loss(tags_BT=tags(), **given)
    assert torch.autograd.grad(total, leaf_BTC)[0][~given["mask_BT"]].eq(0).all()
    for row, length in enumerate(LENGTHS):
        assert found_BTC[row, length:].eq(0).all()
        if length == 0:
            continue
        scores = every_path(given, row)
        p = torch.tensor(list(scores.values()), dtype=torch.float64).softmax(0)
        expected = torch.zeros(length, LABELS, dtype=torch.float64)
        for weight, path in zip(p, scores, strict=True):
            expected[range(length), list(path)] += weight
        torch.testing.assert_close(found_BTC[row, :length], expected)


def test_a_batch_equals_its_sentences_one_by_one() -> None:
    """And so any split into micro-batches; rows get shorter with their own padding gone."""
    given = problem(torch.float32)
    whole, _ = crf_loss(tags_BT=tags(), **given)
    alone = torch.zeros(())
    for row, length in enumerate(LENGTHS):
        if length:
            cut = {name: given[name][row : row + 1, :length] for name in ("emissions_BTC", "mask_BT")}
            alone = alone + crf_loss(tags_BT=tags()[row : row + 1, :length], **(given | cut))[0]
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forbidden_paths_have_no_part(dtype: torch.dtype) -> None:
    """The partition is that of the allowed paths alone, gradients of the forbidden are 0, all are finite."""
    given = problem(dtype)
    names = ("emissions_BTC", "transitions_CC", "start_C", "end_C")
    for name in names:
        given[name].requires_grad_()
    moves, start, end = rules()
    free_B = log_partition(**ruled(given))
    for row, length in enumerate(LENGTHS):
        allowed = [
            score
            for path, score in (every_path(given, row) if length else {}).items()
            if not (start[path[0]] or end[path[-1]] or any(moves[a, b] for a, b in itertools.pairwise(path)))
        ]
        if length:
            assert free_B[row].item() == pytest.approx(torch.tensor(allowed).logsumexp(0).item(), rel=1e-5)
    emissions_gradient, *gradients = torch.autograd.grad(free_B.sum(), [given[name] for name in names])
    assert emissions_gradient.isfinite().all()
    for gradient, rule in zip(gradients, rules(), strict=True):
        assert gradient[rule].eq(0).all()
        assert gradient[~rule].gt(0).all()


def test_forbidden_transitions_are_never_decoded() -> None:
    """However loudly the emissions call for them, over long rows; the rules alone are left to say no."""
    random = torch.Generator().manual_seed(3)
    emissions_BTC = 100 * torch.randn(64, 300, LABELS, generator=random)
    emissions_BTC[:, :, 2:] += 200
    lengths_B = torch.randint(1, 301, (64,), generator=random)
    given = {
        "emissions_BTC": emissions_BTC,
        "mask_BT": torch.arange(300)[None] < lengths_B[:, None],
        "transitions_CC": torch.zeros(LABELS, LABELS),
        "start_C": torch.zeros(LABELS),
        "end_C": torch.zeros(LABELS),
    }
    moves, start, end = rules()

    def broken(best_BT: Tensor) -> int:
        rows = [row[:length].tolist() for row, length in zip(best_BT, lengths_B.tolist(), strict=True)]
        ends = sum(int(start[row[0]]) + int(end[row[-1]]) for row in rows)
        return ends + sum(int(moves[a, b]) for row in rows for a, b in itertools.pairwise(row))

    assert broken(viterbi(**given)) > 1000
    assert broken(viterbi(**ruled(given))) == 0


def test_a_wrongly_annotated_sentence_has_a_finite_loss_and_gradient() -> None:
    given = problem(torch.float32)
    given["emissions_BTC"].requires_grad_()
    forbidden_BT = torch.full((len(LENGTHS), STEPS), 2)  # begins with I
    total, _ = crf_loss(tags_BT=forbidden_BT, **ruled(given))
    assert total.isfinite()
    assert torch.autograd.grad(total, given["emissions_BTC"])[0].isfinite().all()


def test_long_confident_rows_keep_their_precision() -> None:
    """2,000 units, gold 12 logits ahead at an offset of 50, so that log Z is 124,000, in float32 steps of 0.008.

    Without the shift by log-softmax the loss was 0.477 for 0.550, and gradients wrong by 0.29 (largest: 0.004).
    """
    random = torch.Generator().manual_seed(1)
    tags_BT = torch.randint(9, (2, 2000), generator=random)
    emissions_BTC = torch.randn(2, 2000, 9, generator=random) + 50
    emissions_BTC.scatter_add_(2, tags_BT[:, :, None], torch.full((2, 2000, 1), 12.0))
    moves_CC, ends_C = 0.1 * torch.randn(9, 9, generator=random), torch.zeros(9)
    found = {}
    for dtype in (torch.float32, torch.float64):
        mask_BT = torch.ones(2, 2000, dtype=torch.bool)
        leaf = emissions_BTC.to(dtype).detach().requires_grad_()
        total, _ = crf_loss(leaf, tags_BT, mask_BT, moves_CC.to(dtype), ends_C.to(dtype), ends_C.to(dtype))
        (gradient,) = torch.autograd.grad(total, leaf)
        found[dtype] = total.item(), gradient.double()
    assert found[torch.float32][0] == pytest.approx(found[torch.float64][0], rel=1e-4)
    torch.testing.assert_close(found[torch.float32][1], found[torch.float64][1], rtol=1e-4, atol=1e-7)
