"""What no edit may touch: negations, numbers, addresses, mentions, tags and what the caller names.

A changed number or a lost "not" changes the label, and the training rows would teach the opposite. The
rules are broad on purpose: a word too many that stays as it is costs a little variety, no more.
"""

import re
from collections import Counter
from collections.abc import Iterable

from tunelab.data.augment.edits import Span, merge

__all__ = ["counted", "fixed_parts", "is_negation", "negations", "phrases", "protected"]

_ENGLISH = (
    "no|not|non|never|none|nobody|nothing|nowhere|neither|nor|without|cannot|hardly|scarcely|barely|rarely|seldom|"
    "unless|lack|lacks|lacked|lacking|nope|nah|"
    "(?:ai|are|ca|could|did|does|do|had|has|have|is|might|must|need|should|was|were|wo|would)n['’]?t|"
    "[a-z]+n['’]t"
)
# 非常 and 别 in 特别, 分别, 别人 … do not negate
_CHINESE = (
    "[不没未无勿毋甭莫弗否]|难以|缺[乏少]|禁止|拒绝|非(?!常)|"
    "(?<![特区分个级性类识告离差鉴辨])别(?![人的处墅致名称扭具])"
)
# a word written together with Chinese has no boundary that \b would see
_NEGATION = re.compile(rf"(?<![A-Za-zÀ-ɏ])(?:{_ENGLISH})(?![A-Za-zÀ-ɏ])|{_CHINESE}", re.IGNORECASE)

_DIGITS = "零〇一二三四五六七八九十百千万亿两"
_MEASURES = "个年月日号元块毛分角天周次点时秒岁星级楼层间人位名米里斤倍折"
_NUMBER = r"[$€£¥￥+\-±]?[A-Za-z]{0,4}\d+(?:[.,:/\-]\d+)*[A-Za-z%‰°℃]*"
_SPELT = (
    rf"[{_DIGITS}]{{2,}}|[第每半数几][{_DIGITS}]+",
    rf"[{_DIGITS}]+(?=[{_MEASURES}])|(?<=\d)[{_MEASURES}]",
    r"(?i:(?<![A-Za-z])(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|million|billion|dozen|half|twice|once)s?(?![A-Za-z]))",
)
_ADDRESS = (
    r"https?://[!-~]+|www\.[!-~]+",
    r"[A-Za-z0-9._+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+",
    r"[@＠][\w\-·]+",
    r"#[^#\s]{1,40}#|#\w+",
    r"</?[A-Za-z][^<>]{0,200}>|&[A-Za-z]{2,8};|\{[^{}]{0,60}\}|\[[^\[\]\s]{1,12}\]",
)
_EXACT = re.compile("|".join((*_ADDRESS, _NUMBER)))
_PATTERNS = (_NEGATION, _EXACT, re.compile("|".join(_SPELT)))


def protected(text: str, spans: Iterable[Span] = (), keep: re.Pattern[str] | None = None) -> list[Span]:
    """Sorted spans without overlap that must stay as they are.

    spans: what the task needs (entities, answers), and names; keep: further words, such as `phrases` of a
    list.

    >>> text = "I do not like 3.5 of @ann's"
    >>> [text[start:end] for start, end in protected(text)]
    ['not', '3.5', '@ann']
    """
    patterns = _PATTERNS if keep is None else (*_PATTERNS, keep)
    found = [match.span() for pattern in patterns for match in pattern.finditer(text)]
    return merge([*spans, *(span for span in found if span[0] < span[1])])


def negations(text: str) -> Counter[str]:
    """Each negating word or character and how often it occurs, in lower case.

    >>> sorted(negations("Not bad, but I don't think 非常不好").items())
    [("don't", 1), ('not', 1), ('不', 1)]
    """
    return counted(text, _NEGATION)


def is_negation(text: str) -> bool:
    """Whether the text holds a negating word or character (its own, or the start of one: 别)."""
    return "别" in text or "非" in text or bool(negations(text))


def fixed_parts(text: str) -> Counter[str]:
    """Numbers in digits, addresses, mentions and tags of a text, each with its count, in lower case.

    >>> sorted(fixed_parts("see www.a.org at 10:30 or ask @bo"))
    ['10:30', '@bo', 'www.a.org']
    """
    return counted(text, _EXACT)


def counted(text: str, pattern: re.Pattern[str]) -> Counter[str]:
    """What a pattern finds in a text and how often, in lower case."""
    return Counter(match.group().casefold() for match in pattern.finditer(text))


def phrases(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds each of the words, the longest first, in any case; none within a longer word.

    >>> phrases(["no", "无从"]).findall("No, nothing: 无从说起 no")
    ['No', '无从', 'no']
    """
    listed = sorted(set(filter(None, words)), key=lambda word: (-len(word), word))
    return re.compile("|".join(map(_whole, listed)) or r"(?!)", re.IGNORECASE)


def _whole(word: str) -> str:
    before, after = (r"(?<![A-Za-zÀ-ɏ])", r"(?![A-Za-zÀ-ɏ])")
    latin = [re.match("[A-Za-zÀ-ɏ]", letter) is not None for letter in (word[0], word[-1])]
    return (before if latin[0] else "") + re.escape(word) + (after if latin[1] else "")
