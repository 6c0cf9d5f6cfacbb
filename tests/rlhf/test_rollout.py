"""Rollouts: what is drawn, from which distribution, and that training sees the same log-probabilities."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from models_zoo import VOCABULARY, make_model
from torch import Tensor, nn

import tunelab.rlhf.rollout as module
from tunelab import methods
from tunelab.errors import ConfigError, DataError, NotFiniteError
from tunelab.objectives.policy import action_mask
from tunelab.rlhf.rollout import (
    Rollout,
    RolloutSettings,
    join,
    rollout,
    token_logps,
    token_logps_and_entropy,
)

EOS = (2, 5, 11, 17)  # several, so that random models end some answers early
PAD = 0


@pytest.fixture(scope="module", params=["llama", "gpt2", "qwen3"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    """Relative and learned positions, grouped heads; logits small enough that many tokens are likely."""
    return small(make_model(request.param, task="CausalLM"))


def small(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.5)
    return net


def prompts(lengths: tuple[int, ...] = (3, 9, 1, 6, 9, 4), seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def settings(**given: Any) -> RolloutSettings:
    return RolloutSettings(**{"eos_ids": EOS, "pad_id": PAD, "max_new_tokens": 12, **given})


def alone(net: nn.Module, prompt: list[int], answer: list[int], temperature: float) -> Tensor:
    """Log-probabilities of an answer the plain way: one row, no padding, no cache."""
    with torch.no_grad():
        logits = net(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).squeeze(1)


def answers(drawn: Rollout) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(drawn.completion_ids_BT, drawn.mask_BT, strict=True)]


def parts(drawn: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return drawn.prompt_ids_BP, drawn.prompt_mask_BP, drawn.completion_ids_BT, drawn.mask_BT


@pytest.mark.parametrize("method", ["prompt", "p_tuning"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_behind_virtual_tokens_there_is_no_cache_and_the_numbers_are_the_same(
    method: str, architecture: str
) -> None:
    torch.manual_seed(0)
    plain = make_model(architecture, task="CausalLM")
    net = methods.find(method).make({"num_virtual_tokens": 3}).attach(small(plain)).model.eval()
    given = prompts((3, 9, 1, 6))
    drawn = rollout(net, given, settings(answers=2), 0)
    assert len({tuple(answer) for answer in answers(drawn)}) > 4
    for row, (answer, mask) in enumerate(zip(answers(drawn), drawn.mask_BT, strict=True)):
        torch.testing.assert_close(
            drawn.logps_BT[row][mask], alone(net, given[row // 2], answer, 1.0), atol=1e-5, rtol=1e-5
        )


# -- the same numbers at sampling, under training, and alone ---------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_the_same_everywhere(model: nn.Module, temperature: float) -> None:
    given = prompts()
    drawn = rollout(model, given, settings(temperature=temperature, answers=3, batch_rows=9), 0)
    lengths = drawn.lengths_B
    assert lengths.min() < lengths.max() == 12, "the batch should be ragged"
    expected = torch.zeros_like(drawn.logps_BT)
    for row, answer in enumerate(answers(drawn)):
        expected[row, : len(answer)] = alone(model, given[row // 3], answer, temperature)
    torch.testing.assert_close(drawn.logps_BT, expected, rtol=1e-5, atol=1e-5)
    for side in ("left", "right"):
        trained = token_logps(model, *parts(drawn), temperature=temperature, side=side)  # type: ignore[arg-type]
        assert trained.requires_grad
        torch.testing.assert_close(trained.detach(), drawn.logps_BT, rtol=1e-5, atol=1e-5)


def test_prompts_padded_on_the_right_are_the_same(model: nn.Module) -> None:
    drawn = rollout(model, prompts(), settings(), 0)
    width = drawn.prompt_ids_BP.shape[1]
    lengths = drawn.prompt_mask_BP.sum(1)
    turned = (torch.arange(width) + (width - lengths)[:, None]) % width
    given = drawn.prompt_ids_BP.gather(1, turned), drawn.prompt_mask_BP.gather(1, turned)
    assert given[1][:, 0].all()
    for side in ("left", "right"):
        logps = token_logps(model, *given, drawn.completion_ids_BT, drawn.mask_BT, side=side)
        torch.testing.assert_close(logps, drawn.logps_BT, rtol=1e-5, atol=1e-5)


def test_entropy_is_the_actions(model: nn.Module) -> None:
    given = prompts()
    drawn = rollout(model, given, settings(temperature=0.6), 0)
    expected = 0.0
    for prompt, answer in zip(given, answers(drawn), strict=True):
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        expected += torch.distributions.Categorical(logits=logits / 0.6).entropy().sum().item()
    logps, entropy = token_logps_and_entropy(model, *parts(drawn), temperature=0.6)
    assert entropy.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(logps.detach(), drawn.logps_BT, rtol=1e-5, atol=1e-5)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tinystories-656k", "stories260K-hf"])
def test_real_models(shared_data: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = shared_data.parent / "models" / name
    if not folder.is_dir():
        pytest.skip(f"the model is not at {folder}")
    net = AutoModelForCausalLM.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(0)
    given = [torch.randint(3, 500, (n,), generator=generator).tolist() for n in (2, 30, 7, 15)]
    drawn = rollout(net, given, RolloutSettings(eos_ids=(2, 13), pad_id=2, max_new_tokens=60, answers=2), 0)
    assert drawn.ended_B.any()
    for side in ("left", "right"):
        logps = token_logps(net, *parts(drawn), side=side).detach()
        torch.testing.assert_close(logps, drawn.logps_BT, rtol=1e-5, atol=1e-5)
    for row in (0, 3, 7):
        expected = alone(net, given[row // 2], answers(drawn)[row], 1.0)
        torch.testing.assert_close(drawn.logps_BT[row, : len(expected)], expected, rtol=1e-5, atol=1e-5)


# -- what is drawn -------------------------------------------------------------------------------------------


def test_the_likeliest_answer_is_that_of_generate(model: nn.Module) -> None:
    given = prompts()
    drawn = rollout(model, given, settings(temperature=0.0, min_new_tokens=3), 0)
    for prompt, answer in zip(given, answers(drawn), strict=True):
        wanted = model.generate(  # type: ignore[operator]
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=12,
            min_new_tokens=3,
            eos_token_id=list(EOS),
            pad_token_id=PAD,
        )
        assert answer == wanted[0, len(prompt) :].tolist()
        assert len(answer) > 3


@pytest.mark.parametrize(
    "narrowed", [{}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.6}, {"top_k": 8, "top_p": 0.5}]
)
@pytest.mark.parametrize("enough", [4, 256])
def test_frequencies_are_the_distribution(
    narrowed: dict[str, Any], enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40,000 first tokens against transformers' own warpers: chi-square over tokens expected 5 times or more."""
    from scipy.stats import chisquare
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    monkeypatch.setattr(module, "_ENOUGH", enough)
    net, count = small(make_model("llama", task="CausalLM")), 40_000
    prompt = prompts((4,))[0]
    chosen = settings(max_new_tokens=1, answers=count, **narrowed)
    drawn = rollout(net, [prompt], chosen, 0).completion_ids_BT.squeeze(1)
    with torch.no_grad():
        scores = net(torch.tensor([prompt])).logits[:, -1] / chosen.temperature
    if chosen.top_k:
        scores = TopKLogitsWarper(chosen.top_k)(None, scores)
    if chosen.top_p < 1.0:
        scores = TopPLogitsWarper(chosen.top_p)(None, scores)
    p = scores.softmax(-1)[0].double()
    seen = torch.bincount(drawn, minlength=VOCABULARY).double()
    assert (seen[p == 0] == 0).all()
    rare = p * count < 5
    observed = torch.cat([seen[~rare], seen[rare].sum()[None]])
    wanted = torch.cat([p[~rare], p[rare].sum()[None]])
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    assert chisquare(observed.numpy(), (wanted / wanted.sum() * count).numpy()).pvalue > 1e-3


def test_no_token_of_probability_zero_even_at_the_edges() -> None:
    """Uniform numbers 0 and the largest below 1, where rounding could step past the last likely token."""
    scores = torch.tensor([[-math.inf, 0.0, 0.3, -math.inf]]).repeat(2, 1)
    edges = torch.tensor([0.0, math.nextafter(1.0, 0.0)])
    for top_k, top_p in ((0, 1.0), (3, 1.0), (0, 0.9), (3, 0.9)):
        assert set(module._invert(scores, edges, top_k, top_p).tolist()) <= {1, 2}
    assert module._invert(scores, edges, 0, 1.0).tolist() == [1, 2]


def test_answers_do_not_depend_on_the_batch(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    given = prompts((3, 9, 1, 6, 9, 4, 7, 7))
    first = rollout(model, given, settings(answers=2, batch_rows=64), 7)
    for rows, share in ((1, 0.0625), (6, 0.0625), (64, 2.0), (64, 1e-9)):
        monkeypatch.setattr(module, "_DROP_SHARE", share)
        again = rollout(model, given, settings(answers=2, batch_rows=rows), 7)
        assert torch.equal(first.completion_ids_BT, again.completion_ids_BT)
        assert torch.equal(first.mask_BT, again.mask_BT)
        torch.testing.assert_close(first.logps_BT, again.logps_BT, rtol=1e-5, atol=1e-5)
    other = rollout(model, given, settings(answers=2), 8)
    assert answers(other) != answers(first)


def test_ends(model: nn.Module) -> None:
    drawn = rollout(model, prompts(), settings(answers=8, min_new_tokens=2), 0)
    ends = torch.isin(drawn.completion_ids_BT, torch.tensor(EOS))
    assert torch.equal(drawn.mask_BT, action_mask(drawn.completion_ids_BT, EOS))
    assert (drawn.completion_ids_BT[~drawn.mask_BT] == PAD).all()
    assert (drawn.logps_BT[~drawn.mask_BT] == 0).all()
    assert (drawn.logps_BT[drawn.mask_BT] < 0).all()
    assert torch.equal(drawn.ended_B, (ends & drawn.mask_BT).any(1))
    assert drawn.ended_B.any()
    assert not drawn.ended_B.all()
    assert (drawn.lengths_B[~drawn.ended_B] == 12).all()
    assert not ends[:, :2].any()
    assert ends[:, 2].any()


def test_ended_rows_cost_nothing() -> None:
    """With half of the vocabulary ending answers, the batch shrinks, and stops when the last row has ended."""
    net, seen = small(make_model("llama", task="CausalLM")), []
    net.register_forward_pre_hook(
        lambda _, args, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    drawn = rollout(net, prompts((4,) * 32), settings(eos_ids=tuple(range(1, 64, 2)), max_new_tokens=40), 0)
    longest = int(drawn.lengths_B.max())
    assert len(seen) == longest < 40
    assert seen == sorted(seen, reverse=True)
    still_open = [int((drawn.lengths_B > step).sum()) for step in range(longest)]
    assert all(
        rows <= alive / (1 - module._DROP_SHARE) + 1 for rows, alive in zip(seen, still_open, strict=True)
    )


# -- nothing else is touched -----------------------------------------------------------------------------------


def test_the_model_and_the_generator_are_left_as_agreed() -> None:
    net = small(make_model("llama", task="CausalLM", dropout=0.5))
    net.train()
    frozen = next(m for n, m in net.named_modules() if n.endswith("layers.0"))
    frozen.eval()
    modes = [m.training for m in net.modules()]
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    first = rollout(net, prompts(), settings(), one)
    short = rollout(net, prompts(), settings(eos_ids=tuple(range(1, 64, 2))), other)
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(one.get_state(), other.get_state()), "the generator moves by what was asked for"
    assert short.mask_BT.sum() < first.mask_BT.sum()
    assert not first.logps_BT.requires_grad
    again = rollout(net, prompts(), settings(), 0)
    assert answers(again) == answers(first), "dropout is off"


# -- only actions enter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(3))
def test_padding_and_what_follows_the_end_are_never_read(model: nn.Module, side: Any, seed: int) -> None:
    """Any token in their place gives the same bits; the end-of-text token, an action, does not."""
    drawn = rollout(model, prompts(seed=seed), settings(max_new_tokens=8), seed)
    ids, known, completions, mask = parts(drawn)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(mask.shape, generator=generator)

    def gradient(ids: Tensor, completions: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        logps = token_logps(model, ids, known, completions, mask, side=side)
        loss = -(weights * logps).sum()
        return logps.detach(), iter(torch.autograd.grad(loss, list(model.parameters())))

    clean, gradients = gradient(ids, completions)
    other = torch.randint(3, VOCABULARY, ids.shape, generator=generator)
    after = torch.randint(3, VOCABULARY, completions.shape, generator=generator)
    if seed == 0:
        after.fill_(-100)  # labels serve as ids as well
    dirty, same = gradient(torch.where(known, ids, other), torch.where(mask, completions, after))
    assert torch.equal(clean, dirty)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert (clean[~mask] == 0).all()

    ended = drawn.ended_B.nonzero().squeeze(1)
    last = drawn.lengths_B[ended] - 1
    assert len(ended)
    assert (clean[ended, last] < 0).all()
    changed = completions.clone()
    changed[ended, last] = torch.where(completions[ended, last] == EOS[0], EOS[1], EOS[0])
    moved, _ = gradient(ids, changed)
    assert (moved[ended, last] != clean[ended, last]).all()


def test_only_answers_are_labels() -> None:
    """The prompt's tokens have no log-probability of their own: a prompt never seen costs nothing."""
    drawn = rollout(small(make_model("llama", task="CausalLM")), prompts(), settings(), 0)
    joined = join(*parts(drawn))
    columns = joined.at_BT + 1  # the tokens that these columns decide
    inside = columns < joined.input_ids_BL.shape[1]
    decided = joined.input_ids_BL.gather(1, columns.clamp(max=joined.input_ids_BL.shape[1] - 1))
    assert torch.equal(decided[drawn.mask_BT & inside], drawn.completion_ids_BT[drawn.mask_BT])
    assert (inside | ~drawn.mask_BT).all()
    assert (joined.at_BT[:, 0] == drawn.prompt_mask_BP.sum(1) - 1).all()


# -- bad input -----------------------------------------------------------------------------------------------


def test_settings_out_of_range_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        RolloutSettings(eos_ids=(), pad_id=0, max_new_tokens=0, temperature=-1.0, top_p=0.0)
    for words in ("max_new_tokens is 0", "temperature is -1.0", "top_p is 0.0", "no end-of-text token"):
        assert words in str(caught.value)


def test_prompts_that_cannot_be_answered() -> None:
    net = small(make_model("llama", task="CausalLM"))  # 64 positions
    with pytest.raises(DataError, match="no prompt"):
        rollout(net, [], settings(), 0)
    with pytest.raises(DataError, match=r"1 of 2 prompts have no token, the first is prompt 1"):
        rollout(net, [[5], []], settings(), 0)
    with pytest.raises(DataError, match=r"64 positions, the first is prompt 1 .* with 53 tokens"):
        rollout(net, prompts((3, 53)), settings(), 0)
    assert rollout(net, prompts((3, 52)), settings(min_new_tokens=12), 0).lengths_B.tolist() == [12, 12]


@pytest.mark.parametrize("narrowed", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.0}])
def test_logits_that_are_not_finite(narrowed: dict[str, Any]) -> None:
    net = small(make_model("llama", task="CausalLM"))
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    with pytest.raises(NotFiniteError, match="logits are NaN"):
        rollout(net, prompts(), settings(**narrowed), 0)
