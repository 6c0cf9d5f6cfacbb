"""Answers that the language model of a bundle writes: greedy, up to the token that ends them."""

from collections.abc import Sequence
from typing import Any

from tunelab.tasks._writing import write

__all__ = ["generate"]


def generate(
    tuned: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    most: int,
    device: str = "cpu",
    beams: int = 1,
) -> list[str]:
    """What the model writes after each prompt, see `tunelab.tasks._writing.write`.

    prompts: token ids; stops: ids of tokens that end an answer; most: tokens of an answer.

    Raises:
        InputError: a prompt leaves no room for an answer among the model's positions.
    """
    return write(tuned.model, tokenizer, prompts, stops, most, device, beams=beams, caches=tuned.caches)
