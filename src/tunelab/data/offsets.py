"""Texts to tokens with the characters that each token stands for.

A tokenizer whose model has neither an unknown token nor bytes for what it does not know drops such
characters, and `tokenizers` then counts on as if they were not there: all later places in the text are too
far to the left. They are taken from the text without these characters, which has the same tokens.

    text        a ` b c         tokens  ▁a b c          (` is dropped)
    places      0 1 2 3         given   0 1 2           right   0 2 3
"""

import re
from collections.abc import Sequence
from typing import Any

from tunelab.data.encode import unrepresentable
from tunelab.data.findings import excerpt, listing
from tunelab.errors import DataError

__all__ = ["with_places"]


def with_places(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None, **options: Any
) -> Any:
    """What a fast tokenizer makes of the texts, untruncated, "offset_mapping" among it: for each token its
    [begin, end) in its text, (0, 0) for special tokens. options: as the tokenizer takes them.

    Raises:
        DataError: it drops characters, and where its tokens stand cannot be told.
    """
    options |= {"truncation": False, "padding": False, "return_attention_mask": False, "verbose": False}
    sides = [list(texts)] if pairs is None else [list(texts), list(pairs)]
    found = tokenizer(*sides, return_offsets_mapping=True, **options)
    dropped = _dropped(tokenizer, [text for side in sides for text in side])
    rows = [i for i in range(len(texts)) if any(dropped & set(side[i]) for side in sides)]
    if not rows:
        return found
    whole = re.compile("|".join(map(re.escape, sorted(tokenizer.get_added_vocab(), reverse=True))) or "$")
    kept = [[_kept(side[i], dropped, whole) for i in rows] for side in sides]
    bare = [
        ["".join(side[i][at] for at in own) for i, own in zip(rows, places, strict=True)]
        for side, places in zip(sides, kept, strict=True)
    ]
    again = tokenizer(*bare, return_offsets_mapping=True, **options)
    for n, i in enumerate(rows):
        if again["input_ids"][n] != found["input_ids"][i]:
            raise DataError(
                f"the tokenizer drops characters that it does not know ({listing(sorted(dropped))}) and does "
                f"not say which of the others its tokens stand for, as in {excerpt(texts[i])!r}: labels of "
                "words or answers cannot be put on tokens. Take a model made for this text with --model"
            )
        places = [own[n] for own in kept]
        found["offset_mapping"][i] = [
            (0, 0) if of is None else _moved(place, places[of])
            for place, of in zip(again["offset_mapping"][n], again.sequence_ids(n), strict=True)
        ]
    return found


def _dropped(tokenizer: Any, texts: Sequence[str]) -> set[str]:
    """The characters of the texts of which the tokenizer's model makes nothing at all."""
    backend = tokenizer.backend_tokenizer
    if getattr(backend.model, "unk_token", "") is not None:
        return set()
    # (U+2581 is how such models write a space.)
    characters = sorted(c for c in set().union(*texts) if not c.isspace() and c != "\u2581")
    lost = unrepresentable(characters, tokenizer, None)
    normalizer = backend.normalizer  # what it takes away is counted rightly
    return {c for c in lost if normalizer is None or normalizer.normalize_str(c).strip()}


def _kept(text: str, dropped: set[str], whole: re.Pattern[str]) -> list[int]:
    """Places of the characters that are not dropped; whole: tokens that are looked for before any other."""
    inside = {at for match in whole.finditer(text) for at in range(*match.span())}
    return [i for i, character in enumerate(text) if character not in dropped or i in inside]


def _moved(place: Sequence[int], kept: Sequence[int]) -> tuple[int, int]:
    """A place in a text without some characters, in the whole text: the n-th of its characters is its
    `kept[n]`-th."""
    begin, end = place
    if begin == end:
        at = kept[begin] if begin < len(kept) else 0
        return at, at
    return kept[begin], kept[end - 1] + 1
