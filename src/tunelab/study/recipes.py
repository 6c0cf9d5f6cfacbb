"""Which ways of augmentation a study takes, by their names, and the one object that makes its new rows."""

import functools
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.config import AugmentConfig, ModelConfig
from tunelab.data.augment.back_translation import BackTranslation, Translator
from tunelab.data.augment.base import Augmenter, OneOf
from tunelab.data.augment.edits import Span
from tunelab.data.augment.items import KINDS
from tunelab.data.augment.masked import Masked
from tunelab.data.augment.names import names_in
from tunelab.data.augment.perturb import Delete, Insert, Swap
from tunelab.data.augment.protect import phrases
from tunelab.data.augment.synonyms import Lexicon, Synonyms, read_cilin, read_english, read_words
from tunelab.data.augment.typos import Case, Homophones, Keyboard, LookAlikes, Punctuation, Scanned, Slips
from tunelab.data.augment.words import HAN, Cutter, characters, jieba_words
from tunelab.errors import ConfigError, did_you_mean
from tunelab.models import Located, load_model, load_tokenizer, locate
from tunelab.study.languages import languages_of

__all__ = ["RECIPES", "Base", "augmenter_of", "check_recipe", "kind_of", "names_finder", "resolve"]

#: Every way by its name.
RECIPES: dict[str, type[Augmenter]] = {
    rule.name: rule
    for rule in (
        *(Swap, Delete, Insert, Synonyms, Slips, Keyboard, Scanned, Homophones, LookAlikes, Case),
        *(Punctuation, Masked, BackTranslation),
    )
}
#: What `auto` takes, by the language that the data are in.
_AUTO = {
    "en": ("swap", "delete", "keyboard"),
    "zh": ("swap", "delete", "homophones", "look_alikes"),
    "many": ("swap", "delete", "slips"),
}
#: Those that change words, and so obey `augment.share`.
_BY_WORDS = ("swap", "delete", "insert", "synonyms", "masked")
#: Tasks whose rows have the form of another task's.
_LIKE = {"align": "prefer"}


@dataclass(frozen=True)
class Base:
    """The model that a study tunes; head: which language model's head it comes with."""

    located: Located
    config: ModelConfig
    head: str


def kind_of(task: str) -> str:
    """The task as augmentation knows it (`data/augment/items.py`)."""
    return _LIKE.get(task, task)


def check_recipe(config: AugmentConfig, task: str) -> None:
    """Raises `ConfigError`, before anything is read, for what cannot be."""
    names = config.recipe
    if not names:
        return
    if kind_of(task) not in KINDS:
        raise ConfigError(f"augment: no way is known to make new rows of task {task}; leave --augment out")
    for name in names:
        if name not in RECIPES and name != "auto":
            raise ConfigError(f"unknown augmentation {name!r}; {did_you_mean(name, ['auto', *RECIPES])}")
    auto = "auto" in names
    if auto and len(names) > 1:
        raise ConfigError(f"--augment auto chooses by itself; leave out {', '.join(set(names) - {'auto'})}")
    if auto and task == "language":
        raise ConfigError(
            "--augment auto: task language learns to write the texts themselves, slips and all; name the "
            "ways that you want, such as --augment synonyms"
        )
    _check_needs(config, auto)


def _check_needs(config: AugmentConfig, auto: bool) -> None:
    """Settings and ways that need each other."""
    names = config.recipe
    if "synonyms" in names and not config.synonyms:
        raise ConfigError("--augment synonyms needs a lexicon: augment.synonyms=FILE")
    if "back_translation" in names and not config.translators:
        raise ConfigError(
            "--augment back_translation needs two models, there and back: augment.translators="
            "Helsinki-NLP/opus-mt-en-de,Helsinki-NLP/opus-mt-de-en, or two folders"
        )
    unused = [
        *(["synonyms"] if config.synonyms and not auto and not {"synonyms", "insert"} & set(names) else []),
        *(name for name in ("translators", "prefixes", "languages") if getattr(config, name)),
        *(["masked"] if config.masked else []),
    ]
    needed = {"synonyms": "synonyms", "masked": "masked"}
    for name in unused:
        way = needed.get(name, "back_translation")
        if way not in names:
            raise ConfigError(f"augment.{name} is given, but not used: --augment {way} would")


def resolve(config: AugmentConfig, texts: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The ways that the recipe means for these texts, and what the user should know.

    Raises:
        ConfigError: nothing suits them by itself.
    """
    chinese = any(HAN.search(text) for text in texts)
    notes = []
    if chinese and not _installed("jieba"):
        notes.append(
            "augmentation cuts Chinese into characters, not words, and may change Chinese names, which it "
            "cannot tell: jieba is not installed"
        )
    if "auto" not in config.recipe:
        return tuple(dict.fromkeys(config.recipe)), notes
    main = languages_of(texts).main
    if main not in _AUTO:
        raise ConfigError(
            "--augment auto has no way for program code, which a changed word breaks; name the ways you want"
        )
    names = [*_AUTO[main], *(["synonyms"] if config.synonyms else [])]
    if "homophones" in names and not _installed("pypinyin"):
        names.remove("homophones")
        notes.append("augmentation goes without homophones: pypinyin is not installed")
    return tuple(names), notes


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def names_finder() -> Callable[[str], list[Span]]:
    """What finds names in a text; Chinese ones only where jieba is installed (`resolve` says so)."""
    return functools.partial(names_in, chinese=_installed("jieba"))


class _Lists(NamedTuple):
    """What the user's files hold: synonyms, and words that stay as they are."""

    lexicon: Lexicon
    keep: re.Pattern[str] | None


def augmenter_of(names: Sequence[str], config: AugmentConfig, base: Base, device: str) -> Augmenter:
    """One of these ways, drawn for every new row.

    Raises:
        ConfigError, DataError, ModelError: a package, lexicon or model that one needs is not to be had.
    """
    lists = _Lists(_lexicon(config.synonyms), _kept(config.keep))
    made = tuple(_BUILD.get(name, _plain)(name, config, lists, base, device) for name in names)
    return made[0] if len(made) == 1 else OneOf(made)


def _plain(name: str, config: AugmentConfig, lists: _Lists, base: Base, device: str) -> Augmenter:
    own: dict[str, Any] = {"keep": lists.keep}
    if name in _BY_WORDS:
        own["cut"] = _cutter()
        if config.share is not None:
            own["share"] = config.share
    if name in ("synonyms", "insert"):
        own["lexicon"] = lists.lexicon
    return RECIPES[name](**own)


def _cutter() -> Cutter:
    return jieba_words if _installed("jieba") else characters


def _lexicon(files: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """All lexicons together; of a word that several have, the last one's synonyms."""
    found: dict[str, tuple[str, ...]] = {}
    for file in files:
        path = Path(file).expanduser()
        found |= read_english(path) if path.suffix in (".jsonl", ".json") else read_cilin(path)
    return found


def _kept(files: Sequence[str]) -> re.Pattern[str] | None:
    """The words of all files together."""
    found = [read_words(Path(file).expanduser()) for file in files]
    return phrases(frozenset().union(*found)) if found else None


def _masked(name: str, config: AugmentConfig, lists: _Lists, base: Base, device: str) -> Augmenter:
    if config.masked is None and base.head != "masked":
        raise ConfigError(
            f"--augment masked: {base.located.name} comes without the head of a masked language model, so it "
            "fills in noise; name one that has it: augment.masked=google-bert/bert-base-uncased"
        )
    model, tokenizer = _open(config.masked or base.located.name, base.config, "AutoModelForMaskedLM", device)
    own: dict[str, Any] = {} if config.share is None else {"share": config.share}
    return Masked(model, tokenizer, cut=_cutter(), keep=lists.keep, **own)


def _back_translation(name: str, config: AugmentConfig, lists: _Lists, base: Base, device: str) -> Augmenter:
    there, back = (_translator(config, base, at, device) for at in (0, 1))
    return BackTranslation(there, back, beams=max(4, config.copies), keep=lists.keep)


def _translator(config: AugmentConfig, base: Base, at: int, device: str) -> Translator:
    """The first or the second of the two."""
    name = config.translators[at]
    model, tokenizer = _open(name, base.config, "AutoModelForSeq2SeqLM", device)
    prefix = f"{config.prefixes[at]} " if config.prefixes and config.prefixes[at] else ""
    options = {}
    if config.languages:
        source, target = config.languages if at == 0 else config.languages[::-1]
        tokenizer.src_lang = source
        options["forced_bos_token_id"] = _language_token(tokenizer, target, name)
    return Translator(model, tokenizer, prefix, options)


def _language_token(tokenizer: Any, code: str, name: str) -> int:
    """The token that a translation into this language begins with."""
    asked = getattr(tokenizer, "get_lang_id", None) or tokenizer.convert_tokens_to_ids
    try:
        found = asked(code)
    except KeyError:
        found = None
    if found is None or found == tokenizer.unk_token_id:
        raise ConfigError(f"augment.languages: {name} knows no language {code!r} (NLLB: eng_Latn; M2M: en)")
    return int(found)


def _open(name: str, like: ModelConfig, model_class: str, device: str) -> tuple[Any, Any]:
    own = ModelConfig(
        name=name,
        revision=like.revision if name == like.name else None,
        source=like.source,
        trust_remote_code=like.trust_remote_code,
    )
    located = locate(own)
    tokenizer, _ = load_tokenizer(located, own)
    return load_model(located, own, model_class, {}, tokenizer.pad_token_id, device), tokenizer


_BUILD: Mapping[str, Callable[[str, AugmentConfig, _Lists, Base, str], Augmenter]] = {
    "masked": _masked,
    "back_translation": _back_translation,
}
