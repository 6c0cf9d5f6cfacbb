"""Rollouts against `transformers` `generate` at the same batch and lengths, as a Markdown table.

    python -m benchmarks.rollout ../shared/models/tinystories-656k

Alternating runs in one call, medians, tokens a second. `generate` gets its prompts sorted by length, too, and
pads each batch to its longest prompt, which is its best way.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunelab.rlhf.rollout import RolloutSettings, rollout

BEGINNINGS = (
    "Once upon a time",
    "Lily and Tom went to the park because",
    "One day, a small dog named Max found a big red ball in the garden and",
    "The sun was",
    "There was a girl who liked to sing. She",
    "Mom said",
    "In the dark forest lived an old bear who was very",
    "Ben saw a bird. It was",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of a causal language model")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer, at most")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model).eval()
    end = int(tokenizer.eos_token_id)
    prompts = [tokenizer(text + " the" * (i % 5))["input_ids"] for i, text in enumerate(BEGINNINGS * 16)]
    prompts = sorted([ids[:-1] if ids[-1] == end else ids for ids in prompts], key=len)
    print(f"{given.model}, {len(prompts)} prompts, {torch.get_num_threads()} threads, float32\n")
    print("| answers | ours, tokens a second | `generate` | ratio |\n|---|---|---|---|")
    for name, answers, least in (
        ("all of full length", 1, given.tokens),
        ("as they end", 1, 0),
        ("4 a prompt", 4, 0),
    ):
        settings = RolloutSettings(
            eos_ids=(end,), pad_id=end, max_new_tokens=given.tokens, min_new_tokens=least, answers=answers,
            batch_rows=given.batch,
        )  # fmt: skip

        def ours(seed: int, settings: RolloutSettings = settings) -> int:
            return int(rollout(model, prompts, settings, seed).mask_BT.sum())

        def theirs(seed: int, settings: RolloutSettings = settings) -> int:
            return generated(model, prompts, settings, seed)

        own, other = race(ours, theirs, given.repeats)
        print(f"| {name} | {own:,.0f} | {other:,.0f} | {own / other:.2f} |")


def generated(model: torch.nn.Module, prompts: list[list[int]], settings: RolloutSettings, seed: int) -> int:
    """Tokens that `generate` draws, up to the end of each answer."""
    torch.manual_seed(seed)
    end, tokens = settings.eos_ids[0], 0
    together = settings.batch_rows // settings.answers
    writer: Callable[..., Tensor] = model.generate  # type: ignore[assignment]
    for first in range(0, len(prompts), together):
        part = prompts[first : first + together]
        width = max(map(len, part))
        ids = torch.tensor([[end] * (width - len(p)) + p for p in part])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part])
        written = writer(
            ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
            max_new_tokens=settings.max_new_tokens, min_new_tokens=settings.min_new_tokens or None,
            num_return_sequences=settings.answers, pad_token_id=end, eos_token_id=end,
        )[:, width:]  # fmt: skip
        ended = (written == end).cumsum(1) - (written == end).long()
        tokens += int((ended == 0).sum())
    return tokens


def race(first: Callable[[int], int], second: Callable[[int], int], repeats: int) -> tuple[float, float]:
    """Median tokens a second of both, after a run each to warm up, turn by turn."""
    rates: tuple[list[float], list[float]] = ([], [])
    for seed in range(repeats + 1):
        for which, run in enumerate((first, second)):
            began = time.perf_counter()
            tokens = run(seed)
            if seed:
                rates[which].append(tokens / (time.perf_counter() - began))
    return statistics.median(rates[0]), statistics.median(rates[1])


if __name__ == "__main__":
    main()
