"""Preference losses against numbers derived by hand, against TRL on the same batch, and by property."""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models_zoo import make_model
from torch import Tensor, nn

from tunelab.objectives.preference import (
    IGNORE,
    Loss,
    bradley_terry,
    conservative_dpo,
    dpo,
    ipo,
    kto,
    kto_kl,
    selected_logps,
    sequence_logps,
)


def test_bradley_terry_by_hand() -> None:
    """Scores (log 3, 0): P(chosen) = 3/(3+1), so the loss is log(4/3).

    With margin log 3 the difference becomes 0: log 2. With three of four annotators preferring "chosen" it
    is the cross-entropy 3/4 log(4/3) + 1/4 log 4. Centring 0.01 adds 0.01 (log 3 + 0)^2.
    """
    scores = torch.tensor([math.log(3.0)]), torch.tensor([0.0])
    assert bradley_terry(*scores)[0].item() == pytest.approx(math.log(4 / 3), rel=1e-6)
    with_margin = bradley_terry(*scores, margin_B=torch.tensor([math.log(3.0)]))
    assert with_margin[0].item() == pytest.approx(math.log(2), rel=1e-6)
    votes = bradley_terry(*scores, preferred_B=torch.tensor([0.75]))
    assert votes[0].item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel=1e-6)
    centred = bradley_terry(*scores, centring=0.01)[0] - bradley_terry(*scores)[0]
    assert centred.item() == pytest.approx(0.01 * math.log(3.0) ** 2, rel=1e-4)


def test_votes_are_learned_as_they_fell() -> None:
    """The cross-entropy with share 3/4 is least where sigmoid(difference) = 3/4: difference = log 3."""
    at_minimum = torch.tensor([math.log(3.0)], requires_grad=True)
    bradley_terry(at_minimum, torch.zeros(1), preferred_B=torch.tensor([0.75]))[0].backward()
    assert at_minimum.grad is not None
    assert at_minimum.grad.item() == pytest.approx(0.0, abs=1e-7)


def test_an_undecided_score_counts_half() -> None:
    _, count, more = bradley_terry(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0]))
    assert (more["accuracy"] / count).item() == pytest.approx(0.5)


def test_dpo_by_hand() -> None:
    """log-ratios: chosen -1 - -3 = 2, rejected -4 - -2 = -2; h = 4; beta h = 2 log 3 for beta = log(3) / 2.

    sigmoid(log 9) = 9/10, so the loss is log(10/9). With a share 1/10 flipped it is 9/10 log(10/9) + 1/10 log 10,
    the entropy of (9/10, 1/10), and its gradient is 0 there: the minimum is where sigmoid = 1 - flipped.
    """
    chosen = torch.tensor([-1.0], requires_grad=True)
    given = chosen, torch.tensor([-4.0]), torch.tensor([-3.0]), torch.tensor([-2.0])
    beta = math.log(3.0) / 2
    total, count, more = dpo(*given, beta=beta)
    assert total.item() == pytest.approx(math.log(10 / 9), rel=1e-5)
    assert (count.item(), more["accuracy"].item()) == (1.0, 1.0)
    assert more["margin"].item() == pytest.approx(2 * math.log(3.0))
    total, _, _ = conservative_dpo(*given, beta=beta, flipped=0.1)
    assert total.item() == pytest.approx(0.9 * math.log(10 / 9) + 0.1 * math.log(10), rel=1e-5)
    total.backward()
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(0.0, abs=1e-7)


def test_ipo_by_hand() -> None:
    """h = 4 as above: (4 - 1/(2 * 0.25))^2 = 4. Per token, 2/4 - -2/8 = 3/4: (3/4 - 2)^2 = 25/16."""
    given = torch.tensor([-1.0]), torch.tensor([-4.0]), torch.tensor([-3.0]), torch.tensor([-2.0])
    assert ipo(*given, tau=0.25)[0].item() == pytest.approx(4.0)
    tokens = {"chosen_tokens_B": torch.tensor([4]), "rejected_tokens_B": torch.tensor([8])}
    assert ipo(*given, tau=0.25, **tokens)[0].item() == pytest.approx(25 / 16)
    with pytest.raises(ValueError, match="both sides"):
        ipo(*given, chosen_tokens_B=torch.tensor([4]))


def test_kto_by_hand() -> None:
    """Log-ratio 3, kl 1, beta = log(3) / 2: beta (3 - 1) = log 3, sigmoid 3/4.

    Desirable: 2 * (1 - 3/4) = 1/2. Undesirable: 1 - (1 - 3/4) = 3/4. The reference point is a mean, at least 0.
    """
    given = torch.tensor([-1.0, -1.0]), torch.tensor([-4.0, -4.0]), torch.tensor([True, False])
    total, count, more = kto(*given, kl=torch.tensor(1.0), beta=math.log(3.0) / 2, desirable_weight=2.0)
    assert total.item() == pytest.approx(0.5 + 0.75)
    assert (count.item(), more["desirable"].item()) == (2.0, 1.0)
    assert more["desirable_rewards"].item() == pytest.approx(1.5 * math.log(3.0))
    assert kto_kl(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -4.0])).item() == 1.5
    assert kto_kl(torch.tensor([-2.0]), torch.tensor([-1.0])).item() == 0.0


PAIRS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 3
LOSSES: dict[str, Callable[..., Loss]] = {
    "bradley_terry": lambda a, b, c, d: bradley_terry(
        a, b, margin_B=c, preferred_B=d.sigmoid(), centring=0.1
    ),
    "dpo": dpo,
    "conservative_dpo": conservative_dpo,
    "ipo": ipo,
    "kto": lambda a, b, c, d: kto(a, b, c > 0, 0.3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_add_up_over_any_split(name: str) -> None:
    whole_sum, whole_count, whole = LOSSES[name](*PAIRS)
    parts = [LOSSES[name](*PAIRS[:, cut]) for cut in (slice(0, 1), slice(1, 4), slice(4, 6))]
    torch.testing.assert_close(whole_sum, sum(part[0] for part in parts))
    assert whole_count == sum(part[1] for part in parts)
    for key, value in whole.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, sum(part[2][key] for part in parts))


# -- log-probabilities -------------------------------------------------------------------------------------


def ragged(rows: int = 5, tokens: int = 9, vocabulary: int = 13) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(rows, tokens, vocabulary, generator=generator) * 4
    labels = torch.randint(0, vocabulary, (rows, tokens), generator=generator)
    labels[torch.rand(rows, tokens, generator=generator) < 0.4] = IGNORE
    labels[2] = IGNORE  # a row with nothing to score
    return logits, labels


@pytest.mark.parametrize("chunk", [1, 40, 2**22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sequence_logps_equal_log_softmax(
    chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelab.objectives.preference._CHUNK", chunk)
    logits, labels = ragged()
    ours, theirs = (logits.to(dtype).requires_grad_() for _ in range(2))
    logps, counts = sequence_logps(ours, labels)
    every = theirs[:, :-1].float().log_softmax(-1)
    kept = labels[:, 1:] != IGNORE
    expected = every.gather(2, labels[:, 1:, None].clamp(min=0)).squeeze(2).masked_fill(~kept, 0.0).sum(1)
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps, expected)
    torch.testing.assert_close(counts, kept.sum(1))
    weights = torch.arange(1.0, 6.0)
    (logps * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_selected_logps_by_finite_differences() -> None:
    logits, labels = ragged(3, 4, 5)
    logits = logits.double().requires_grad_()
    torch.autograd.gradcheck(lambda x: selected_logps(x, labels, temperature=0.7), logits)
    expected = (logits / 0.7).log_softmax(-1).gather(2, labels.clamp(min=0)[..., None]).squeeze(2)
    torch.testing.assert_close(
        selected_logps(logits, labels, temperature=0.7), expected.masked_fill(labels == IGNORE, 0.0)
    )


def test_what_is_not_scored_is_never_read() -> None:
    logits, labels = ragged()
    logits[labels == IGNORE] = float("nan")
    logits.requires_grad_()
    selected_logps(logits, labels).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[labels == IGNORE] == 0).all()


def test_no_second_copy_of_the_logits_is_kept() -> None:
    logits, labels = ragged(rows=3, tokens=50, vocabulary=1000)
    logits = logits.bfloat16().requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        sequence_logps(logits, labels)
    large = [x for x in kept if x.numel() >= logits.numel()]
    assert [x.data_ptr() for x in large] == [logits.data_ptr()]


# -- TRL ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trl() -> Any:
    """TRL 1.16, whose trainers' loss functions are called as they stand, on a stand-in for the trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("trl", reason="trl==1.16.0 is not installed", exc_type=ImportError)
        if not module.__version__.startswith("1.16."):
            pytest.skip(f"the parity is written for trl 1.16, not {module.__version__}: private functions")
        from trl.trainer import dpo_trainer, kto_trainer, reward_trainer

    return SimpleNamespace(dpo=dpo_trainer, kto=kto_trainer, reward=reward_trainer)


class Trainer(SimpleNamespace):
    """What TRL's loss functions read of a trainer that runs in one process."""

    def __init__(self, **settings: Any) -> None:
        same = lambda x: x  # noqa: E731
        accelerator = SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same)
        super().__init__(
            model=SimpleNamespace(training=True),
            accelerator=accelerator,
            _metrics={"train": defaultdict(list)},
            _total_train_tokens=0,
            _tp_size=1,
            aux_loss_enabled=False,
            ld_alpha=None,
            use_weighting=False,
            precompute_ref_logps=True,
            **settings,
        )


class Patched(nn.Module):
    """A causal model that gives what TRL's patched forward gives: log-probabilities of the labels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, use_cache: bool, fused_lm_head: bool
    ) -> Any:
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1]
        every, next_ = logits.log_softmax(-1), labels[:, 1:]
        log_probs = every.gather(2, next_.clamp(min=0)[..., None]).squeeze(2).masked_fill(next_ == -100, 0.0)
        nothing = torch.zeros_like(log_probs)
        return SimpleNamespace(
            log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )


def answers(rows: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """A ragged batch padded on the right; labels are the ids from the third token on."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 12, (rows,), generator=generator)
    ids = torch.randint(3, 64, (rows, 12), generator=generator)
    attention = (torch.arange(12) < lengths[:, None]).long()
    completion = attention * (torch.arange(12) >= 2).long()
    batch = {"input_ids": ids * attention, "attention_mask": attention, "completion_mask": completion}
    return batch, ids.masked_fill(completion == 0, IGNORE)


@pytest.mark.parametrize(("kind", "beta"), [("sigmoid", 0.3), ("ipo", 0.05)])
def test_dpo_and_ipo_equal_trl(trl: Any, kind: str, beta: float) -> None:
    batch, labels = answers(8, seed=2)  # TRL's batch: 4 chosen, then 4 rejected
    model, reference = (make_model("llama", task="CausalLM", seed=s) for s in (0, 1))
    with torch.no_grad():
        before, _ = sequence_logps(reference(**_known(batch)).logits, labels)
    trainer = Trainer(
        beta=beta, f_divergence_type="reverse_kl", loss_types=[kind], loss_weights=[1.0], args=None
    )
    given = {**batch, "ref_chosen_logps": before[:4], "ref_rejected_logps": before[4:]}
    theirs = trl.dpo.DPOTrainer._compute_loss(trainer, Patched(model), given, False)
    logps, counts = sequence_logps(model(**_known(batch)).logits, labels)
    if kind == "ipo":
        tokens = {"chosen_tokens_B": counts[:4], "rejected_tokens_B": counts[4:]}
        total, count, _ = ipo(logps[:4], logps[4:], before[:4], before[4:], tau=beta, **tokens)
    else:
        total, count, more = dpo(logps[:4], logps[4:], before[:4], before[4:], beta=beta)
        seen = trainer._metrics["train"]
        assert (more["margin"] / count).item() == pytest.approx(seen["rewards/margins"][0], rel=1e-5)
        assert (more["accuracy"] / count).item() == pytest.approx(seen["rewards/accuracies"][0])
    torch.testing.assert_close(total / count, theirs, rtol=1e-5, atol=1e-5)
    _same_gradient(model, total / count, theirs)


def test_kto_equals_trl(trl: Any) -> None:
    batch, labels = answers(6, seed=3)
    other, other_labels = answers(6, seed=4)
    desirable = torch.tensor([True, False, True, True, False, False])
    model, reference = (make_model("llama", task="CausalLM", seed=s) for s in (0, 1))
    for parameter, near in zip(reference.parameters(), model.parameters(), strict=True):
        parameter.data.lerp_(near.data, 0.9)  # so that no sigmoid is saturated
    with torch.no_grad():
        before, _ = sequence_logps(reference(**_known(batch)).logits, labels)
        other_before, _ = sequence_logps(reference(**_known(other)).logits, other_labels)
        other_logps, _ = sequence_logps(model(**_known(other)).logits, other_labels)
    trainer = Trainer(
        beta=0.2, loss_type="kto", calculate_KL=True, desirable_weight=1.5, undesirable_weight=0.7
    )
    trainer._compute_kl_logps = lambda net, given: trl.kto.KTOTrainer._compute_kl_logps(trainer, net, given)
    given = {
        **batch,
        **{f"KL_{name}": value for name, value in other.items()},
        "label": desirable,
        "ref_logps": before,
        "ref_KL_logps": other_before,
    }
    theirs = trl.kto.KTOTrainer._compute_loss(trainer, Patched(model), given, False)
    kl = kto_kl(other_logps, other_before)
    assert kl.item() == pytest.approx(trainer._metrics["train"]["kl"][0], rel=1e-5)
    assert kl > 0
    logps, _ = sequence_logps(model(**_known(batch)).logits, labels)
    total, count, _ = kto(
        logps, before, desirable, kl, beta=0.2, desirable_weight=1.5, undesirable_weight=0.7
    )
    torch.testing.assert_close(total / count, theirs, rtol=1e-5, atol=1e-5)
    _same_gradient(model, total / count, theirs)


@pytest.mark.parametrize("margin", [None, torch.tensor([0.0, 0.5, 1.0, 2.0])])
@pytest.mark.parametrize("centring", [None, 0.01])
def test_reward_loss_equals_trl(trl: Any, margin: Tensor | None, centring: float | None) -> None:
    batch, _ = answers(8, seed=5)
    scores = F.pad(torch.randn(8, generator=torch.Generator().manual_seed(6))[:, None] * 2, (0, 0))
    scores.requires_grad_()
    trainer = Trainer(args=SimpleNamespace(center_rewards_coefficient=centring))
    inputs = {**batch, **({} if margin is None else {"margin": margin})}
    model = lambda **_: SimpleNamespace(logits=scores)  # noqa: E731
    theirs = trl.reward.RewardTrainer.compute_loss(trainer, model, inputs)
    chosen, rejected = scores.squeeze(1).chunk(2)
    total, count, more = bradley_terry(chosen, rejected, margin_B=margin, centring=centring or 0.0)
    torch.testing.assert_close(total / count, theirs, rtol=1e-5, atol=1e-5)
    assert (more["margin"] / count).item() == pytest.approx(trainer._metrics["train"]["margin"][0], rel=1e-5)
    ours = torch.autograd.grad(total / count, scores)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, scores)[0], rtol=1e-5, atol=1e-6)


def _known(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _same_gradient(model: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    parameters = list(model.parameters())
    for mine, other in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
