"""Names of people, places, organisations, products and works: an edit would make other names of them.

Chinese: what jieba's tagger calls nr (people), ns (places), nt (organisations) or nz (others), the street,
school or company that follows (新韩 + 银行), and what stands in 《》. The tagger has a dictionary and a
hidden Markov model. In 300 sentences of cluener it finds 81 % of the people that were marked by hand as a
whole, 73 % of the addresses, 70 % of the organisations and 47 % of the companies; of copies that `auto` makes
of 600 more, 2 % have lost a person (12 % if names were free), 9 % a company (17 %). It also takes words such
as 安静 for names (5 % of the characters of hotel reviews stay as they are). Brands that the dictionary has as
common nouns (携程) it does not know: `augment.keep` takes a list of those.

Scripts with capitals: a word with a capital inside a sentence, or with one beyond its first letter (NASA,
iPhone) anywhere; a word that begins a sentence where a name follows it, or where it is one elsewhere in the
text. What is left out: "I"; a single name that begins a sentence (nothing tells it from another word); texts
in capitals throughout. German nouns and headlines In Title Case count as names: too much stays rather than
too little.

Ways that move, replace or remove words leave all of these alone. Those that imitate errors of writing
(typos.py) leave Chinese names alone, of which one character more or less makes another name, but not those
with capitals: people mistype names as they do other words, and readers still recognise them.
"""

import re
from collections.abc import Iterator

from tunelab.data.augment.edits import Span, merge
from tunelab.data.augment.words import GRAMMAR, HAN, Word, characters, jieba_tagged, words

__all__ = ["names_in", "opens_sentence"]

_FLAGS = ("nr", "ns", "nt", "nz")
_WORK = re.compile(r"《[^《》]{1,40}》")
_PLACE = re.compile(
    "(?:[路街区市县省镇乡村桥楼站店寺湾岛湖山河局]|公园|广场|中心|大学|学院|[中小]学|医院|银行|公司|集团|电视台|[日晚]报|机场"
    "|酒店|宾馆|俱乐部|联赛)$"
)
_DOTS = ("·", "•", "・")  # inside foreign names: 约翰·史密斯
_LOOK_BACK = 24  # characters before a word: enough for an article, or the end of a sentence
_SENTENCE_END = ".!?。！？…\n"
_TITLE = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Rev|Gen|Gov|Sen|Rep|Capt|Lt|Col|Mt|vs)|(?<!\w)[^\W\d_])\.$"
)
_FIRST_PERSON = frozenset({"i", "i'm", "i've", "i'd", "i'll"})
_BETWEEN = re.compile(r"[ \-&/]{1,3}| (?:(?:of|the|de|del|di|da|la|le|van|von|der|den|and|&) ){1,2}")


def names_in(text: str, *, chinese: bool = True) -> list[Span]:
    """Where names stand, sorted and without overlap; names of several words are one span.

    chinese: also look for Chinese names. Raises `ConfigError` where that needs jieba and it is missing.

    >>> text = "Yesterday I met Anna Lee of NASA. Bank of America was closed, Anna said."
    >>> [text[start:end] for start, end in names_in(text)]
    ['Anna Lee of NASA', 'Bank of America', 'Anna']
    """
    return merge([*(_chinese(text) if chinese and HAN.search(text) else ()), *_capitals(text)])


def _chinese(text: str) -> Iterator[Span]:
    for run in HAN.finditer(text):
        place, named = run.start(), False
        for piece, flag in jieba_tagged(run.group()):
            end = place + len(piece)
            dotted = text[end : end + 1] in _DOTS or text[place - 1 : place] in _DOTS
            named = flag.startswith(_FLAGS) or dotted or (named and _PLACE.search(piece) is not None)
            if named:
                yield place, end
            place = end
        assert place == run.end(), f"the tagger lost characters of {run.group()!r}"
    yield from (match.span() for match in _WORK.finditer(text))


def _capitals(text: str) -> list[Span]:
    """Names in scripts that have capitals."""
    if text.isupper():
        return []
    cased = [word for word in words(text, characters) if not word.han]
    sure = [_is_name(word, text) for word in cased]
    known = {word.text for word, name in zip(cased, sure, strict=True) if name}
    found: list[Span] = []
    for word, name in zip(reversed(cased), reversed(sure), strict=True):
        following = found[-1][0] if found else len(text) + 1
        joined = _BETWEEN.fullmatch(text, word.end, following) is not None if found else False
        if not (name or _may_be_name(word, text, joined, known)):
            continue
        found.append((word.start, found.pop()[1] if joined else word.end))
    return found


def _is_name(word: Word, text: str) -> bool:
    """Whether its capitals say so: one beyond the first letter, or the first one inside a sentence."""
    if word.text.replace("’", "'").casefold() in _FIRST_PERSON:
        return False
    inner = any(letter.isupper() for letter in word.text[1:])
    return inner or (word.text[0].isupper() and not opens_sentence(word, text))


def _may_be_name(word: Word, text: str, joined: bool, known: set[str]) -> bool:
    """Whether a capitalised word that begins a sentence is a name, by what else the text says."""
    if not word.text[0].isupper() or word.text.replace("’", "'").casefold() in _FIRST_PERSON:
        return False
    if word.text in known or HAN.match(text, word.end):
        return True
    return joined and word.text.casefold() not in GRAMMAR


def opens_sentence(word: Word, text: str) -> bool:
    """Whether a word is the first of a sentence, so that its capital says nothing.

    >>> text = "Ask Dr. Bell. She knows."
    >>> [opens_sentence(word, text) for word in words(text, characters)]
    [True, False, False, True, False]
    """
    before = text[max(0, word.start - _LOOK_BACK) : word.start].rstrip(" \"'“‘«「『(*_-")
    return not before or (before[-1] in _SENTENCE_END and _TITLE.search(before) is None)
