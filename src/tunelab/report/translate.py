"""Findings and notes in Chinese.

Where something is found or done, it is said in English, and records hold these sentences. Here each is known
again by its template, as gettext knows one by its msgid, and its values are put into the Chinese one. What
has no template stays English: shown, not lost.

In a template {name} is any text, {name:n} a number, {name:rows} "1 row" or "1,234 rows", {name:share} a
percentage, {name:names} names as `listing` writes them, {name:part} a part of a split, {name:where} rows of
files, {name:said} a sentence that has a template itself; [is|are] is one of these words.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache

from tunelab.report.phrases_findings import FINDINGS
from tunelab.report.phrases_notes import NOTES
from tunelab.report.phrases_tasks import TASKS
from tunelab.report.texts import Text

__all__ = ["in_both", "in_chinese", "pattern_of"]

#: A template's places and alternatives.
PLACE = re.compile(r"\{(\w+)(?::(\w+))?\}|\[([^\]|]*(?:\|[^\]|]*)+)\]")
_SENTENCES = re.compile(r"(?<=[.?!)]) (?=[A-Z(])")
_PARTS = {"training": "训练", "validation": "验证", "test": "测试"}
_KINDS = {
    "": r".+?",
    "n": r"[−-]?[\d,]+(?:\.\d+)?",
    "rows": r"1 row|[\d,]+ rows",
    "share": r"(?:< )?[\d.]+ %",
    "names": r".+?",
    "part": "|".join(_PARTS),
    "where": r".+?",
    "said": r".+?",
}


def in_both(said: str) -> Text | str:
    """A sentence of a record in both languages, or as it is where it has no template."""
    chinese = in_chinese(said)
    return Text(("{en}", "{zh}"), {"en": said, "zh": chinese}) if chinese else said


def in_chinese(said: str) -> str:
    """One or several sentences in Chinese; empty where one of them has no template."""
    whole = _one(said)
    if whole:
        return whole
    sentences = _SENTENCES.split(said)
    found = [_one(sentence) for sentence in sentences]
    return "".join(found) if len(found) > 1 and all(found) else ""


def _one(said: str) -> str:
    for pattern, kinds, chinese in _patterns():
        match = pattern.fullmatch(said)
        if match:
            return chinese.format(**{k: _VALUES[kinds[k]](v) for k, v in match.groupdict().items()})
    return ""


@cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, str], str]]:
    templates: Iterable[tuple[str, str]] = (*FINDINGS, *TASKS, *NOTES)
    return [(*pattern_of(english), chinese) for english, chinese in templates]


def pattern_of(template: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What a template matches, and the kind of each of its places."""
    kinds: dict[str, str] = {}
    parts, end = [], 0
    for place in PLACE.finditer(template):
        parts.append(re.escape(template[end : place.start()]))
        name, kind, words = place.groups()
        if words is not None:
            parts.append(f"(?:{'|'.join(map(re.escape, words.split('|')))})")
        elif name in kinds:
            parts.append(f"(?P={name})")
        else:
            kinds[name] = kind or ""
            parts.append(f"(?P<{name}>{_KINDS[kinds[name]]})")
        end = place.end()
    return re.compile("".join([*parts, re.escape(template[end:])]), re.DOTALL), kinds


def _names(said: str) -> str:
    """
    >>> _names("'a', 'b' and 2 more"), _names("'rock and roll' and 'b'")
    ("'a'、'b' 及另外 2 个", "'rock and roll'、'b'")
    """
    said = re.sub(r" and ([\d,]+) more$", r" 及另外 \1 个", said)
    return re.sub(r"(?<=['\"])(?:, | and )(?=['\"])", "、", said)


_VALUES: dict[str, Callable[[str], str]] = {
    "": str,
    "n": str,
    "rows": lambda said: f"{said.split()[0]} 条",
    "share": lambda said: said.replace(" %", "%").replace("< ", "不到 "),
    "names": _names,
    "part": _PARTS.__getitem__,
    "where": lambda said: re.sub(r"(?<![^ ])row (\d+)(?=,|$)", r"第 \1 行", said).replace(", ", "、"),
    "said": lambda said: in_chinese(said) or said,
}
