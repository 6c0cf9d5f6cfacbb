"""Answers that a language model writes: the likeliest token each time, or beams, up to what ends them.

A causal model goes on from a prompt; a decoder begins anew and attends to what an encoder made of the prompt.
"""

# B prompts of a batch, T their tokens

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tunelab.errors import InputError

__all__ = ["AT_ONCE", "write"]

#: Prompts of a batch.
AT_ONCE = 16


@torch.no_grad()
def write(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    most: int,
    device: str = "cpu",
    *,
    beams: int = 1,
    caches: bool | None = None,
    at_once: int = AT_ONCE,
) -> list[str]:
    """What the model writes to each prompt, by its own `generate`, and none of the settings that came with it
    but the token that a translation is forced to begin with.

    prompts: token ids; stops: ids of tokens that end an answer; most: tokens of an answer; caches: whether
    keys and values are kept from one token to the next (None: as the model's configuration says). A causal
    model answers prompts of the same length together, so that none is padded; an encoder reads prompts of
    like length together, and padding changes no more than roundings. The model is in evaluation mode
    afterwards. Draws no random number.

    Raises:
        InputError: a prompt has more tokens than the model has positions, or leaves none for an answer.
    """
    model.eval()
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    two = bool(getattr(plain.config, "is_encoder_decoder", False))
    room = getattr(plain.config, "max_position_embeddings", None) or 2**31
    _check_room(prompts, room, two)
    if caches is None:
        caches = bool(getattr(plain.config, "use_cache", True))
    answers = [""] * len(prompts)
    for part in _batches([len(prompt) for prompt in prompts], at_once, two):
        ids_BT, mask_BT = _padded([prompts[i] for i in part], tokenizer.pad_token_id, device)
        begin = 1 if two else ids_BT.shape[1]
        settings = _settings(min(most, room - begin), stops, tokenizer.pad_token_id, caches, beams)
        written_BT = plain.generate(input_ids=ids_BT, attention_mask=mask_BT, generation_config=settings)
        for i, ids in zip(part, written_BT[:, begin:].tolist(), strict=True):
            end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
            answers[i] = tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
    return answers


def _check_room(prompts: Sequence[Sequence[int]], room: int, two: bool) -> None:
    for i, prompt in enumerate(prompts):
        if len(prompt) >= room + two:
            what = "it" if two else "it and its answer together"
            raise InputError(
                f"text {i} is {len(prompt):,} tokens long, and the model has {room:,} positions for {what}; "
                "shorten it"
            )


def _batches(lengths: Sequence[int], at_once: int, padded: bool) -> Iterator[list[int]]:
    """Numbers of the prompts of each batch, the short ones first.

    >>> list(_batches([3, 2, 3, 3], 2, padded=False)), list(_batches([3, 2, 3, 3], 2, padded=True))
    ([[1], [0, 2], [3]], [[1, 0], [2, 3]])
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    part: list[int] = []
    for i in order:
        if part and (len(part) == at_once or (not padded and lengths[i] != lengths[part[0]])):
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _padded(rows: Sequence[Sequence[int]], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = [[*row, *[pad_id] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _settings(most: int, stops: Sequence[int], pad_id: int, cache: bool, beams: int) -> Any:
    """Not the model's own settings, which may sample, or punish repetition, or want a length: what is left
    None here would be taken from them."""
    import transformers

    kind: Any = transformers.GenerationConfig
    return kind(
        max_new_tokens=most,
        do_sample=False,
        num_beams=beams,
        use_cache=cache,
        eos_token_id=list(stops),
        pad_token_id=int(pad_id),
        bos_token_id=None,
        min_length=0,
        length_penalty=1.0,
        early_stopping=False,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        encoder_no_repeat_ngram_size=0,
        encoder_repetition_penalty=1.0,
        forced_eos_token_id=None,
    )
