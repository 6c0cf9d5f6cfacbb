"""Answers that a causal language model writes: greedy, up to the token that ends them."""

# B prompts of one length, T their tokens

from collections.abc import Sequence
from typing import Any

import torch

from tunelab.errors import InputError

__all__ = ["generate"]

_AT_ONCE = 16  # prompts


@torch.no_grad()
def generate(
    tuned: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    most: int,
    device: str = "cpu",
) -> list[str]:
    """What the model writes after each prompt, by its own `generate`: the likeliest token each time.

    prompts: token ids; stops: ids of tokens that end an answer; most: tokens of an answer. Prompts of the
    same length are answered together, so that none is padded: what is written does not depend on the other
    prompts.

    Raises:
        InputError: a prompt leaves no room for an answer among the model's positions.
    """
    model = tuned.model
    model.eval()
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    room = getattr(plain.config, "max_position_embeddings", None) or 2**31
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        if len(prompt) >= room:
            raise InputError(
                f"text {i} is {len(prompt):,} tokens long, and the model has {room:,} positions for it and "
                "its answer together; shorten it"
            )
        by_length.setdefault(len(prompt), []).append(i)
    answers = [""] * len(prompts)
    for length, which in sorted(by_length.items()):
        for first in range(0, len(which), _AT_ONCE):
            part = which[first : first + _AT_ONCE]
            ids_BT = torch.tensor([list(prompts[i]) for i in part], device=device)
            written_BT = plain.generate(
                input_ids=ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                generation_config=_greedy(
                    min(most, room - length), stops, tokenizer.pad_token_id, tuned.caches
                ),
            )
            for i, ids in zip(part, written_BT[:, length:].tolist(), strict=True):
                end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
                answers[i] = tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
    return answers


def _greedy(most: int, stops: Sequence[int], pad_id: int, cache: bool) -> Any:
    """Not the model's own settings, which may sample or punish repetition."""
    import transformers

    kind: Any = transformers.GenerationConfig
    return kind(
        max_new_tokens=most,
        do_sample=False,
        num_beams=1,
        use_cache=cache,
        eos_token_id=list(stops),
        pad_token_id=int(pad_id),
        bos_token_id=None,
    )
