"""Words replaced by what a masked language model would put in their place.

Papers: Wu, Lv, Zang, Han, Hu, "Conditional BERT contextual augmentation", 2019, arXiv:1812.06705, section 3
(here without its conditioning on the label); the share of 15 % from Devlin et al., 2019, arXiv:1810.04805,
section 3.1. Whole words only: a word of an alphabetic script becomes one mask and then one whole word of the
vocabulary; a Chinese word of n characters becomes n masks that are filled from left to right. Each is drawn
from the `top` likeliest that are neither the original nor a negation.

A model reads "the food was [MASK]" and may well fill in the opposite, so a study asks a first classifier
about each new row (`augment.check`). A row's draws are its own, but the model reads rows in batches, so that
the last bits of its outputs, and in rare ties a word, may depend on the batch.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from tunelab.data.augment.base import Augmenter, check_share, edited, how_many
from tunelab.data.augment.edits import Edit, Span
from tunelab.data.augment.items import Item
from tunelab.data.augment.protect import is_negation
from tunelab.data.augment.words import HAN, Cutter, Word, editable, jieba_words, like
from tunelab.errors import ModelError

__all__ = ["Masked"]

_LONGEST_HAN = 4  # characters of a Chinese word: as many passes of the model are needed
_LONGEST = 512  # tokens
_ALPHABETIC = re.compile(r"[^\W\d_]{2,}")


@dataclass
class _Slot:
    """A word that is being replaced: the pieces (words or characters) filled so far, of `size`."""

    word: Word
    size: int
    pieces: list[str] = field(default_factory=list)
    lost: bool = False  # beyond what the model can read, or nothing fits

    @property
    def open(self) -> bool:
        return not self.lost and len(self.pieces) < self.size


@dataclass
class _Plan:
    """An item, its slots in the order of the text, and what they draw from."""

    item: Item
    kept: list[Span]
    slots: list[_Slot]
    random: np.random.Generator

    def text(self, mask: str) -> str:
        """The text with what is filled, and masks for what is not."""
        pieces, done = [], 0
        for slot in self.slots:
            masks = mask * (slot.size - len(slot.pieces))
            pieces += [self.item.text[done : slot.word.start], *slot.pieces, masks]
            done = slot.word.end
        return "".join([*pieces, self.item.text[done:]])


@dataclass(frozen=True)
class _Vocabulary:
    """texts: [V] what each token reads as; word, character: [V] bool, a whole word, one Chinese character."""

    texts: tuple[str, ...]
    word: np.ndarray
    character: np.ndarray


@dataclass(frozen=True)
class Masked(Augmenter):
    """Replaces a share of the words by the masked language model's own.

    model, tokenizer: of `transformers` (AutoModelForMaskedLM); share: of the words that may be edited;
    top: how many likeliest words are drawn from; cut: the cutter of Chinese; batch_size: texts at a time;
    keep: further words to leave alone.

    Raises:
        ModelError: the tokenizer has no mask token.
    """

    model: Any
    tokenizer: Any
    share: float = 0.15
    top: int = 10
    cut: Cutter = jieba_words
    batch_size: int = 16
    keep: re.Pattern[str] | None = None
    name: ClassVar[str] = "masked"

    def __post_init__(self) -> None:
        check_share(self.share, self.name)
        assert self.top >= 1, "top must be 1 or more"
        if self.tokenizer.mask_token is None:
            raise ModelError(
                "replacement by a masked language model needs a tokenizer with a mask token, and this one "
                "has none; give a model such as BERT or RoBERTa, or another kind of augmentation"
            )

    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        plans = [self._plan(item, random) for item, random in zip(items, randoms, strict=True)]
        vocabulary = _read_vocabulary(self.tokenizer)
        was_training = self.model.training
        self.model.eval()
        try:
            for _ in range(_LONGEST_HAN):
                waiting = [plan for plan in plans if any(slot.open for slot in plan.slots)]
                waiting.sort(key=lambda plan: len(plan.item.text))
                for first in range(0, len(waiting), self.batch_size):
                    self._fill(waiting[first : first + self.batch_size], vocabulary)
        finally:
            self.model.train(was_training)
        return [self._finish(plan) for plan in plans]

    def _plan(self, item: Item, random: np.random.Generator) -> _Plan:
        kept = self.kept(item, self.keep)
        words = [] if self.tokenizer.mask_token in item.text else editable(item.text, kept, self.cut)
        usable = [
            word
            for word in words
            if (len(word.text) <= _LONGEST_HAN if word.han else _ALPHABETIC.fullmatch(word.text))
        ]
        drawn = random.permutation(len(usable))[: how_many(self.share, len(words))]
        slots = [
            _Slot(word, len(word.text) if word.han else 1) for word in (usable[i] for i in sorted(drawn))
        ]
        return _Plan(item, kept, slots, random)

    def _fill(self, plans: list[_Plan], vocabulary: _Vocabulary) -> None:
        """One more piece for each open slot."""
        texts = [plan.text(self.tokenizer.mask_token) for plan in plans]
        encoded = self.tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self._longest()
        ).to(self.model.device)
        is_mask_BT = (encoded["input_ids"] == self.tokenizer.mask_token_id).cpu().numpy()
        with torch.inference_mode():
            logits_BTV = self.model(**encoded).logits
        for row, plan in enumerate(plans):
            places = np.flatnonzero(is_mask_BT[row])
            passed = 0  # masks of the slots before
            for slot in plan.slots:
                masks = slot.size - len(slot.pieces)
                if slot.open and passed + masks > len(places):
                    slot.lost = True
                elif slot.open:
                    logits_V = logits_BTV[row, int(places[passed])].double().cpu().numpy()
                    _draw(slot, logits_V, vocabulary, self.top, plan.random)
                passed += masks

    def _finish(self, plan: _Plan) -> Item | None:
        edits = [
            Edit(slot.word.start, slot.word.end, like("".join(slot.pieces), slot.word.text))
            for slot in plan.slots
            if not slot.lost and not slot.open
        ]
        return edited(plan.item, edits, plan.kept, self.keep)

    def _longest(self) -> int:
        positions = int(getattr(self.model.config, "max_position_embeddings", _LONGEST))
        return min(
            int(self.tokenizer.model_max_length), max(positions - 2, 8), _LONGEST
        )  # RoBERTa's begin at 2


def _draw(
    slot: _Slot, logits_V: np.ndarray, vocabulary: _Vocabulary, top: int, random: np.random.Generator
) -> None:
    """Adds a piece to the slot, or calls it lost where nothing fits."""
    allowed = np.flatnonzero(vocabulary.character if slot.word.han else vocabulary.word)
    likeliest = allowed[np.argsort(-logits_V[allowed], kind="stable")]
    chosen: list[int] = []
    for token in likeliest.tolist():
        if _fits(vocabulary.texts[token], slot):
            chosen.append(token)
            if len(chosen) == top:
                break
    if not chosen:
        slot.lost = True
        return
    weights = np.exp(logits_V[chosen] - logits_V[chosen].max())
    place = int(np.searchsorted(np.cumsum(weights), random.random() * weights.sum(), side="right"))
    slot.pieces.append(vocabulary.texts[chosen[min(place, len(chosen) - 1)]])


def _fits(piece: str, slot: _Slot) -> bool:
    old = slot.word.text
    if is_negation(piece):
        return False
    if slot.word.han:
        last = len(slot.pieces) == slot.size - 1
        return not last or "".join([*slot.pieces, piece]) != old
    return (
        piece.casefold() != old.casefold()
        and _script(piece) == _script(old)
        and not (old.islower() and not piece.islower())  # no name in the place of a common word
    )


def _script(word: str) -> str:
    """The script of a word's first letter, such as "LATIN"."""
    return unicodedata.name(word[0], "").split(" ")[0]


def _read_vocabulary(tokenizer: Any) -> _Vocabulary:
    """Which tokens are whole words (they begin one: "▁", "Ġ", or no "##") and which one Chinese character."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    opening = next((m for m in ("▁", "Ġ") if sum(t.startswith(m) for t in tokens) * 100 > len(tokens)), "")
    texts, word, character = [], np.zeros(len(tokens), dtype=bool), np.zeros(len(tokens), dtype=bool)
    for number, token in enumerate(tokens):
        text = "" if token in special else tokenizer.convert_tokens_to_string([token]).strip()
        texts.append(text)
        character[number] = len(text) == 1 and HAN.fullmatch(text) is not None
        begins = token.startswith(opening) and not token.startswith("##")
        word[number] = begins and _ALPHABETIC.fullmatch(text) is not None and not HAN.search(text)
    return _Vocabulary(tuple(texts), word, character)
