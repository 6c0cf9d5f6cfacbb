"""Where the words of a text stand: at spaces and punctuation; Chinese cut by jieba or into characters.

Scripts written without spaces other than Chinese (Japanese kana, Thai, Lao, Burmese, Khmer) give no words:
they are left alone rather than torn apart.
"""

import functools
import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

from tunelab.data.augment.edits import Span, overlaps
from tunelab.errors import ConfigError
from tunelab.files import cache_folder

__all__ = [
    "GRAMMAR",
    "HAN",
    "Cutter",
    "Word",
    "characters",
    "editable",
    "jieba_tagged",
    "jieba_words",
    "like",
    "optional",
    "words",
]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN = re.compile(f"[{_HAN}]+")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0962-\u0963\u0981-\u0d4d"
_LETTER = rf"(?:[^\W\d_{_HAN}{_UNSPACED}]|[{_MARKS}])"
_WORD = re.compile(rf"{_LETTER}+(?:['’\-]{_LETTER}+)*|[{_HAN}]+")

#: English words of grammar: no name begins with one, and a lexicon lists them under rare senses ("a" as
#: vitamin A, "have" as a rich man).
_GRAMMAR = (
    "a about above after again against all almost along already also although always am among an and any "
    "are around as at be because been before being below between both but by can could did do does doing "
    "done down during each either else enough even ever every few for from further get got had has have "
    "having he her here hers herself him himself his how however i if in into is it its itself just less "
    "let like many may me might mine more most much must my myself of off often on only or other our ours "
    "out over own per quite rather really same shall she should since so some still such than that the "
    "their theirs them then there these they this those though through thus to too toward under until up "
    "upon us very was way we well were what when where whether which while who whom whose why will with "
    "within would yes yet you your yours yourself "
)
GRAMMAR = frozenset(_GRAMMAR.split())

Cutter = Callable[[str], Iterable[str]]


class Word(NamedTuple):
    """A word and where it stands."""

    start: int
    end: int
    text: str

    @property
    def han(self) -> bool:
        """Whether it is written in Chinese characters."""
        return HAN.fullmatch(self.text) is not None


def words(text: str, cut: Cutter) -> list[Word]:
    """All words in order; runs of Chinese characters go through `cut`.

    >>> [word.text for word in words("The film-maker's 电影, isn't it?", characters)]
    ['The', "film-maker's", '电', '影', "isn't", 'it']
    """
    found = []
    for match in _WORD.finditer(text):
        if not HAN.match(match.group()):
            found.append(Word(match.start(), match.end(), match.group()))
            continue
        place = match.start()
        for piece in cut(match.group()):
            found.append(Word(place, place + len(piece), piece))
            place += len(piece)
        assert place == match.end(), f"the cutter lost characters of {match.group()!r}"
    return found


def editable(text: str, kept: list[Span], cut: Cutter) -> list[Word]:
    """The words that share no character with a kept span."""
    return [word for word in words(text, cut) if not overlaps(word.start, word.end, kept)]


def characters(run: str) -> list[str]:
    """The cutter that makes each Chinese character a word.

    >>> characters("电影")
    ['电', '影']
    """
    return list(run)


def jieba_words(run: str) -> list[str]:
    """The cutter of Chinese words: jieba. Raises `ConfigError` where it is not installed."""
    pieces: list[str] = _jieba().lcut(run)
    return pieces


@functools.cache
def _jieba() -> Any:
    """jieba's tokenizer of its own, its cache in tunelab's folder and not in a shared temporary one."""
    module = optional("jieba", "cutting Chinese into words")
    module.setLogLevel(logging.WARNING)
    tokenizer = module.Tokenizer()
    folder = cache_folder() / "jieba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.tmp_dir = str(folder)
    except OSError:  # without a cache it takes a second longer to start
        pass
    tokenizer.initialize()
    return tokenizer


def jieba_tagged(run: str) -> list[tuple[str, str]]:
    """Chinese words and jieba's flag of each, such as ("北京", "ns"); about 26,000 characters a second.

    Raises `ConfigError` where jieba is not installed.
    """
    return [(piece.word, piece.flag) for piece in _tagger().cut(run)]


@functools.cache
def _tagger() -> Any:
    tokenizer = _jieba()
    return optional("jieba.posseg", "finding Chinese names").POSTokenizer(tokenizer)


def optional(name: str, purpose: str) -> ModuleType:
    """A package of the extra "augment". Raises `ConfigError` that says how to install it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old packages warn of their own imports
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(
            f"{purpose} needs the package {name}, which is not installed: python -m pip install {name}"
        ) from error


def like(word: str, model: str) -> str:
    """`word` written in the case of `model`.

    >>> like("film", "Movie"), like("film", "MOVIE"), like("film", "movie"), like("we", "I")
    ('Film', 'FILM', 'film', 'We')
    """
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
