"""There and back again: a text through another language, by any pair of sequence-to-sequence models.

Paper: Sennrich, Haddow, Birch, "Improving neural machine translation models with monolingual data", 2016,
arXiv:1511.06709; as augmentation of labelled texts: Yu et al. (QANet), 2018, arXiv:1804.09541, section 3.

Sentence by sentence, as translators were trained. A sentence stays as it is where it holds an entity or an
answer, where it is longer than the model reads, or where no way back keeps its numbers, addresses, mentions,
names (letter by letter) and as many negations. Beam search without sampling: copy c of a row takes the c-th
best way back, so equal texts always give equal results (but for the last bits of a batch's arithmetic, which
can turn a tie). Translations are cached on disk by the content of model, tokenizer, options and text.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tunelab.data.augment.base import Augmenter, edited
from tunelab.data.augment.edits import Edit, Span, overlaps
from tunelab.data.augment.items import Item
from tunelab.data.augment.protect import counted, fixed_parts, negations
from tunelab.data.similar import plain
from tunelab.files import cache_folder

__all__ = ["BackTranslation", "Translator", "sentences"]

log = logging.getLogger("tunelab")

_FORMAT = "1"  # part of the cache key: raise it when what is stored changes
_BREAK = re.compile(r"\s*\n\s*|(?<=[.!?])\s+|(?<=[。！？；])")


@dataclass(frozen=True)
class Translator:
    """One direction of translation.

    model, tokenizer: of `transformers` (AutoModelForSeq2SeqLM), the languages set on them where they have
    several; prefix: put before each sentence ("translate English to German: "); options: further ones of
    `generate` (`forced_bos_token_id` of the language to translate into); longest: tokens of a sentence and of
    its translation; batch_size: sentences at a time.
    """

    model: Any
    tokenizer: Any
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    longest: int = 256
    batch_size: int = 16

    def translate(self, texts: Sequence[str], beams: int, wanted: int = 1) -> list[tuple[str, ...]]:
        """Up to `wanted` translations of each text, the likeliest first, by a search over `beams`.

        None of a text of more than `longest` tokens; a translation that does not end is left out.
        """
        assert 1 <= wanted <= beams, f"{wanted} translations from {beams} beams"
        path = cache_folder() / "translations" / f"{self._key(beams, wanted)}.jsonl"
        known = _load(path)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        todo = sorted(missing.items(), key=lambda entry: (len(entry[1]), entry[1]))
        for first in range(0, len(todo), self.batch_size):
            batch = todo[first : first + self.batch_size]
            found = self._batch([text for _, text in batch], beams, wanted)
            fresh = {key: outputs for (key, _), outputs in zip(batch, found, strict=True)}
            known.update(fresh)
            _append(path, fresh)
        return [known[key] for key in keys]

    def _batch(self, texts: Sequence[str], beams: int, wanted: int) -> list[tuple[str, ...]]:
        sources = [self.prefix + text for text in texts]
        lengths = [len(ids) for ids in self.tokenizer(sources, verbose=False)["input_ids"]]
        short = [place for place, length in enumerate(lengths) if length <= self.longest]
        found: list[tuple[str, ...]] = [()] * len(texts)
        if not short:
            return found
        encoded = self.tokenizer([sources[i] for i in short], return_tensors="pt", padding=True)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                outputs_NT = self.model.generate(  # N: texts · wanted
                    **{name: encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask")},
                    num_beams=beams,
                    num_return_sequences=wanted,
                    do_sample=False,
                    max_new_tokens=self.longest,
                    **self.options,
                )
        finally:
            self.model.train(was_training)
        rows = outputs_NT.cpu().tolist()
        for number, place in enumerate(short):
            ended = [row for row in rows[number * wanted : (number + 1) * wanted] if self._ends(row)]
            texts_ = self.tokenizer.batch_decode(ended, skip_special_tokens=True) if ended else []
            found[place] = tuple(dict.fromkeys(text.strip() for text in texts_ if text.strip()))
        return found

    def _ends(self, ids: Sequence[int]) -> bool:
        """Whether a sequence came to its end (its first token may be the same one: the decoder's start)."""
        end = self.model.generation_config.eos_token_id
        ends = {end} if isinstance(end, int) else set(end or ())
        return bool(ends & set(ids[1:]))

    def _key(self, beams: int, wanted: int) -> str:
        """SHA-256 of all that decides a translation."""
        digest = hashlib.sha256(f"{_FORMAT}:{beams}:{wanted}:{self.longest}:{self.prefix}".encode())
        digest.update(repr(sorted((str(k), repr(v)) for k, v in self.options.items())).encode())
        for settings in (self.model.config, self.model.generation_config):
            digest.update(settings.to_json_string().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        digest.update(repr(sorted(self.tokenizer.get_vocab().items())).encode("utf-8", "surrogatepass"))
        # what the vocabulary does not say: the language set, case, added tokens
        digest.update(repr(self.tokenizer("Is it so? 是吗")["input_ids"]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class BackTranslation(Augmenter):
    """A text there and back; beams: width of both searches, and so the most copies of a row that differ;
    keep: further words that must come back as often as they were there."""

    there: Translator
    back: Translator
    beams: int = 4
    keep: re.Pattern[str] | None = None
    name: ClassVar[str] = "back_translation"

    def many(self, items: Sequence[Item], randoms: Sequence[np.random.Generator]) -> list[Item | None]:
        free = [[span for span in sentences(item.text) if not overlaps(*span, item.spans)] for item in items]
        every = dict.fromkeys(
            item.text[start:end] for item, spans in zip(items, free, strict=True) for start, end in spans
        )
        ways = self._ways(list(every))
        return [self._one(item, spans, ways) for item, spans in zip(items, free, strict=True)]

    def _ways(self, texts: list[str]) -> dict[str, list[str]]:
        """Each sentence's ways back that differ from it and are faithful, the likeliest first."""
        abroad = [found[:1] for found in self.there.translate(texts, self.beams)]
        returned = self.back.translate([text for found in abroad for text in found], self.beams, self.beams)
        home = iter(returned)
        ways = {}
        for text, found in zip(texts, abroad, strict=True):
            back = next(home) if found else ()
            ways[text] = [way for way in back if plain(way) != plain(text) and _faithful(text, way)]
        return ways

    def _one(self, item: Item, spans: Iterable[Span], ways: Mapping[str, list[str]]) -> Item | None:
        edits = []
        for start, end in spans:
            names = [item.text[a:b] for a, b in item.names if start <= a and b <= end]
            found = [
                way for way in ways[item.text[start:end]] if self._keeps(item.text[start:end], way, names)
            ]
            if found:
                edits.append(Edit(start, end, found[min(item.copy, len(found) - 1)]))
        return edited(item, edits, item.spans, same_negations=False)

    def _keeps(self, old: str, new: str, names: Sequence[str]) -> bool:
        """Whether every name came back letter by letter, and every word of `keep`."""
        named = all(new.count(name) >= names.count(name) for name in names)
        return named and (self.keep is None or counted(old, self.keep) == counted(new, self.keep))


def _faithful(old: str, new: str) -> bool:
    """Whether numbers, addresses and mentions came back, and as many negations ("don't": "do not")."""
    same_parts = fixed_parts(old) == fixed_parts(new)
    return same_parts and sum(negations(old).values()) == sum(negations(new).values())


def sentences(text: str) -> list[Span]:
    """Where sentences stand: up to ., !, ? and a space, to a Chinese mark, or to the end of a line.

    >>> text = "It cost 3.50. Fine! 房间很大。早餐一般"
    >>> [text[start:end] for start, end in sentences(text)]
    ['It cost 3.50.', 'Fine!', '房间很大。', '早餐一般']
    """
    found, start = [], 0
    for match in _BREAK.finditer(text):
        found.append((start, match.start()))
        start = match.end()
    found.append((start, len(text)))
    return [(start, end) for start, end in found if text[start:end].strip()]


# ---- the cache: one file a translator, a line a text ----------------------------------------------


def _load(path: Path) -> dict[str, tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}
    damaged = 0
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return known
    except (OSError, UnicodeDecodeError) as error:
        log.warning("cached translations %s cannot be read (%s); translating again", path, error)
        return known
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
            known[entry["text"]] = tuple(entry["found"])
        except (ValueError, KeyError, TypeError):  # the last line of a process that was killed
            damaged += 1
    if damaged:
        log.warning("%d damaged lines in %s are not used; translating those again", damaged, path)
    return known


def _append(path: Path, fresh: Mapping[str, Sequence[str]]) -> None:
    lines = [
        json.dumps({"text": key, "found": list(found)}, ensure_ascii=False) for key, found in fresh.items()
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + "\n".join(lines))  # a half-written line before this one spoils only itself
    except OSError as error:  # a cache that cannot be written costs time, not the run
        log.warning("translations are not cached in %s: %s", path.parent, os.strerror(error.errno or 0))
