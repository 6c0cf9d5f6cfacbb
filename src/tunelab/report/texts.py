"""Text in two languages, as plain words for the terminal and as markup for the page.

A template is ours and trusted; what is put into it is a user's and is escaped when it becomes markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from tunelab.report.formats import worded
from tunelab.report.locales import LANGUAGES, TEXTS

__all__ = ["Sourced", "Text", "attributes", "in_percent", "joined", "t", "text_or_escaped"]

_TAGS = {"en": "en", "zh": "zh-CN"}  # BCP 47


@dataclass(frozen=True)
class Sourced:
    """A number as text with the path of the field of study.json it is: `results[lora].score.value`."""

    text: str
    source: str
    strong: bool = False

    def __str__(self) -> str:
        return self.text

    def __html__(self) -> str:
        tag = "strong" if self.strong else "span"
        return Markup('<{0} data-source="{1}">{2}</{0}>').format(Markup(tag), self.source, self.text)


@dataclass(frozen=True)
class Text:
    """A template in each language with what goes into it; arguments may be texts themselves."""

    templates: tuple[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def plain(self, language: str) -> str:
        """Words only."""
        values = {k: v.plain(language) if isinstance(v, Text) else v for k, v in self.arguments.items()}
        return self.templates[LANGUAGES.index(language)].format(**values)

    def markup(self, language: str) -> Markup:
        """One language, arguments escaped."""
        values = {k: v.markup(language) if isinstance(v, Text) else v for k, v in self.arguments.items()}
        return Markup(self.templates[LANGUAGES.index(language)]).format(**values)

    def both(self, tag: str = "span") -> Markup:
        """Every language in an element of its own; the page shows the one that is chosen."""
        each = {language: self.markup(language) for language in LANGUAGES}
        if len(set(each.values())) == 1:
            return each[LANGUAGES[0]]
        return Markup("").join(
            Markup('<{0} lang="{1}">{2}</{0}>').format(Markup(tag), _TAGS[language], text)
            for language, text in each.items()
        )

    def __html__(self) -> str:
        return self.both()


def t(key: str, **arguments: Any) -> Text:
    """The text of a key in `locales.TEXTS`."""
    return Text(worded(TEXTS[key]), arguments)


def joined(names: Sequence[Any], most: int = 4) -> Text:
    """A list of names in words; escaped where it becomes markup.

    >>> joined(["a", "b", "c"]).plain("en"), joined(["a", "b", "c"], 2).plain("zh")
    ('a, b and c', 'a、b 等 3 个')
    """
    shown, rest = list(names[:most]), len(names) - most
    keys = [f"{{n{i}}}" for i in range(len(shown))]
    values = {f"n{i}": name for i, name in enumerate(shown)}
    if rest > 0:
        english, chinese = f"{', '.join(keys)} and {rest} more", f"{'、'.join(keys)} 等 {len(names)} 个"
    elif len(keys) > 1:
        english, chinese = f"{', '.join(keys[:-1])} and {keys[-1]}", f"{'、'.join(keys[:-1])} 和 {keys[-1]}"
    else:
        english = chinese = "".join(keys)
    return Text((english, chinese), values)


def in_percent(text: str, source: str) -> Text:
    """A share as `formats.percent` writes it; Chinese puts no space before the sign."""
    return Text(
        ("{en}", "{zh}"), {"en": Sourced(text, source), "zh": Sourced(text.replace(" %", "%"), source)}
    )


def attributes(label: Text, language: str) -> Markup:
    """`aria-label` in the page's first language, and both for the switch."""
    return Markup(' aria-label="{}" data-label-en="{}" data-label-zh="{}"').format(
        label.plain(language), label.plain("en"), label.plain("zh")
    )


def text_or_escaped(value: Any, tag: str) -> Markup:
    """Markup of a text in both languages, or of anything else escaped."""
    return value.both(tag) if isinstance(value, Text) else escape(value)
