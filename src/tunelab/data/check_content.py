"""The data doctor on what is written: scripts, leftovers of other formats, labels given away in the text."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from tunelab.data.findings import Finding, Patient, Severity, excerpt, found, percent, rows_of
from tunelab.data.plain import normalise, normalised

__all__ = ["SCRIPTS", "check_content", "script_counts"]

SCRIPTS = ("Latin", "Greek", "Cyrillic", "Hebrew", "Arabic", "Indic", "Thai", "Hangul", "Kana", "Han")
#: First code point of a range and its script (index in SCRIPTS; -1: none of these).
_RANGES = (
    *((0x00, -1), (0x41, 0), (0x5B, -1), (0x61, 0), (0x7B, -1), (0xC0, 0), (0xD7, -1), (0xD8, 0), (0xF7, -1)),
    *((0xF8, 0), (0x250, -1), (0x370, 1), (0x400, 2), (0x530, -1), (0x591, 3), (0x600, 4), (0x780, -1)),
    *((0x900, 5), (0xE00, 6), (0xE80, -1), (0x1100, 7), (0x1200, -1), (0x1E00, 0), (0x1F00, 1), (0x2000, -1)),
    *((0x3041, 8), (0x3100, -1), (0x3130, 7), (0x3190, -1), (0x31F0, 8), (0x3200, -1), (0x3400, 9)),
    *((0x4DC0, -1), (0x4E00, 9), (0xA000, -1), (0xAC00, 7), (0xD7A4, -1), (0xF900, 9), (0xFB00, -1)),
    *(
        (0xFF21, 0),
        (0xFF3B, -1),
        (0xFF41, 0),
        (0xFF5B, -1),
        (0xFF66, 8),
        (0xFFA0, -1),
        (0x20000, 9),
        (0x40000, -1),
    ),
)
_STARTS = np.array([start for start, _ in _RANGES], dtype=np.uint32)
_SCRIPT = np.array([script for _, script in _RANGES], dtype=np.int64)

_TAGS = (
    "a|abbr|b|blockquote|body|br|button|center|code|dd|div|dl|dt|em|font|footer|form|h[1-6]|head|header|hr|html|"
    "i|iframe|img|input|li|link|meta|nav|ol|option|p|pre|script|section|select|small|span|strong|style|sub|sup|"
    "table|tbody|td|textarea|th|thead|title|tr|u|ul|video"
)
_MARKUP = re.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|&(?:[a-z]{{2,8}}|#\d{{2,6}}|#x[0-9a-f]{{2,5}});", re.IGNORECASE
)
_URL = re.compile(r"https?://\S|\bwww\.\w", re.IGNORECASE)
# UTF-8 read as Latin-1 or Windows-1252: a lead byte's letter, then a continuation byte's sign
_AFTER = "\u0080-\u009f€‚ƒ„…†‡ˆ‰Š‹Œ\u017d‘’“”•–—˜™š›œ\u017eŸ"
_MOJIBAKE = re.compile(
    rf"[ÃÂ][\u0080-\u00ba\u00bc-\u00bf]|â€[{_AFTER}]|[ãäåæçèé][{_AFTER}\u00a0-\u00bf][{_AFTER}\u00a0-\u00bf]"
    "|锟斤拷|烫烫烫|屯屯屯|\ufffd"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\ufeff]")

_LONG = 20_000  # characters


#: Code, pattern, severity, what it is, what to do.
_LEFTOVERS: tuple[tuple[str, re.Pattern[str], Severity, str, str], ...] = (
    (
        "mojibake",
        _MOJIBAKE,
        "warning",
        "broken characters (such as Ã©, 锟斤拷 or �): the text was once read in the wrong encoding",
        "Export the file again as UTF-8; characters already lost cannot be brought back.",
    ),
    (
        "control-characters",
        _CONTROL,
        "warning",
        "control or invisible characters (such as a BOM or a zero-width space)",
        "Remove them from the file; some tokenizers make unknown tokens of them.",
    ),
    (
        "markup",
        _MARKUP,
        "warning",
        "HTML tags or entities (such as <br> or &nbsp;)",
        "Strip the markup where it carries no meaning; texts to be predicted later must be treated alike.",
    ),
    (
        "url",
        _URL,
        "info",  # usual in posts and mails, and harmless unless it tells the label
        "web addresses",
        "Nothing must be done; replacing them by one word saves tokens.",
    ),
)

#: What a text must have for the pattern to find anything: several times faster than the pattern itself.
_SIGNS: dict[str, Callable[[str], object]] = {
    "mojibake": re.compile("[ÃÂâãäåæçèé锟烫屯\ufffd]").search,
    "markup": re.compile("[<&]").search,
    "url": lambda text: "http" in (lower := text.lower()) or "www." in lower,
}


def check_content(patient: Patient) -> list[Finding]:
    """Findings on the texts of the usable rows."""
    return [*_leftovers(patient), *_scripts(patient), *_label_in_text(patient), *_very_long(patient)]


def _leftovers(p: Patient) -> list[Finding]:
    findings = []
    for code, pattern, severity, what, advice in _LEFTOVERS:
        rows = _matching(p, code, pattern)
        if len(rows):
            findings.append(
                found(
                    p.table,
                    code,
                    severity,
                    f"{rows_of(len(rows))} ({percent(len(rows) / p.usable.sum())}) "
                    f"{'contains' if len(rows) == 1 else 'contain'} {what}.",
                    rows,
                    advice,
                    show=_around(p.texts, pattern),
                )
            )
    return findings


def _matching(p: Patient, code: str, pattern: re.Pattern[str]) -> np.ndarray:
    """Rows that the pattern finds something in; a sign without which it cannot is looked for first."""
    may = _SIGNS.get(code, pattern.search)
    rows = [row for row, text in zip(*_usable(p), strict=True) if may(text) and pattern.search(text)]
    return np.array(rows, dtype=np.int64)


def _usable(p: Patient) -> tuple[list[int], list[str]]:
    rows = np.flatnonzero(p.usable).tolist()
    return rows, [p.texts[row] for row in rows]


def _around(texts: Sequence[str], pattern: re.Pattern[str]) -> Callable[[int], str]:
    def show(row: int) -> str:
        match = pattern.search(texts[row])
        start = max(match.start() - 30, 0) if match else 0
        seen = _CONTROL.sub(lambda c: f"<U+{ord(c[0]):04X}>", texts[row][start : start + 200])
        return ("…" if start else "") + seen

    return show


# ---- scripts -------------------------------------------------------------------------------------


def script_counts(texts: Sequence[str]) -> np.ndarray:
    """[N, len(SCRIPTS)] letters of each script in each text.

    >>> dict(zip(SCRIPTS, script_counts(["Ich 和 du"])[0].tolist()))["Latin"]
    5
    """
    counts = np.zeros((len(texts), len(SCRIPTS)), dtype=np.int64)
    for first in range(0, len(texts), 5000):
        block = texts[first : first + 5000]
        codes = np.frombuffer("".join(block).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        row = np.repeat(np.arange(len(block)), [len(text) for text in block])
        script = _SCRIPT[np.searchsorted(_STARTS, codes, "right") - 1]
        cell = (row * len(SCRIPTS) + script)[script >= 0]
        filled = np.bincount(cell, minlength=len(block) * len(SCRIPTS))
        counts[first : first + len(block)] = filled.reshape(len(block), len(SCRIPTS))
    return counts


def _scripts(p: Patient) -> list[Finding]:
    rows, texts = _usable(p)
    counts = script_counts(texts)
    han, kana = SCRIPTS.index("Han"), SCRIPTS.index("Kana")
    japanese = counts[:, kana] * 5 > counts[:, han]  # Japanese: at least a sixth of it is kana
    counts[japanese, kana] += counts[japanese, han]
    counts[japanese, han] = 0
    main = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1)
    shares = np.bincount(main[main >= 0], minlength=len(SCRIPTS)) / max((main >= 0).sum(), 1)
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= 0.005]
    if len(order) < 2:
        return []
    names = ", ".join(f"{percent(shares[i])} {_name(i)}" for i in order)
    positions = np.array(rows)
    findings = [
        found(
            p.table,
            "scripts",
            "info",
            f"The texts are written in {len(order)} scripts: {names}.",
            positions[(main >= 0) & (main != order[0])],
            "Take a pretrained model that knows all of these languages.",
        )
    ]
    codes = p.codes[positions]
    for script in order[1:]:
        findings += _script_tells_label(p, positions, codes, main == script, _name(script))
    return findings


def _name(script: int) -> str:
    return {"Han": "Chinese characters", "Kana": "Japanese", "Hangul": "Korean"}.get(
        SCRIPTS[script], SCRIPTS[script]
    )


def _script_tells_label(
    p: Patient, positions: np.ndarray, codes: np.ndarray, written: np.ndarray, name: str
) -> list[Finding]:
    """Classes in which a script is at least ten times as frequent as in the other classes together."""
    hits = np.bincount(codes[written], minlength=len(p.classes))
    rates = hits / np.maximum(p.counts, 1)
    high = (hits >= 10) & (rates >= 0.05)
    if not high.any() or high.all():
        return []
    rest = hits[~high].sum() / p.counts[~high].sum()
    if rest > rates[high].min() / 10:
        return []
    classes = ", ".join(repr(excerpt(p.classes[i], 40)) for i in np.flatnonzero(high)[:5])
    return [
        found(
            p.table,
            "script-tells-label",
            "warning",
            f"Texts in {name} occur almost only in {classes}: {percent(rates[high].min())} or more of "
            "the rows there, "
            f"{percent(rest)} elsewhere.",
            positions[written & high[codes]],
            "A model will learn the script instead of the meaning; balance the sources, or leave this "
            "script out.",
        )
    ]


# ---- the label in the text -----------------------------------------------------------------------


def _label_in_text(p: Patient) -> list[Finding]:
    rows, texts = _usable(p)
    if 2 * len(p.classes) > len(rows):  # what hardly repeats is no class, but a text or a number
        return []
    words = [f" {normalise(name.replace('_', ' ').replace('-', ' '))} " for name in p.classes]
    texts = [f" {text} " for text in normalised(texts)]
    codes, positions = p.codes[rows], np.array(rows)
    findings = []
    for code, word in enumerate(words):
        needle = _needle(word)
        if not needle or len(p.classes) < 2:
            continue
        own = np.flatnonzero(codes == code)
        hits = np.array([needle in texts[i] for i in own], dtype=bool)
        if hits.mean() <= 0.5:
            continue
        others = np.flatnonzero(codes != code)
        elsewhere = sum(needle in texts[i] for i in others) / max(len(others), 1)
        if elsewhere > 0.1:
            continue
        findings.append(
            found(
                p.table,
                "label-in-text",
                "warning",
                f"{percent(hits.mean())} of the rows labelled {p.classes[code]!r} contain the word "
                f"{needle.strip()!r}, "
                f"{percent(elsewhere)} of the others: the text seems to give the label away.",
                positions[own[hits]],
                "Remove the label from the text if it will not be there when the model is used.",
            )
        )
    return findings


def _needle(word: str) -> str:
    """What to look for: whole words, any place in scripts without spaces; "" where it proves nothing."""
    bare = word.strip()
    if re.fullmatch(r"[\d\s.+-]*", bare):
        return ""
    if ord(bare[0]) >= 0x2E80:
        return bare if len(bare) >= 2 else ""
    return word if len(bare) >= 3 else ""


def _very_long(p: Patient) -> list[Finding]:
    sizes = np.array([len(text) for text in p.texts])
    median = float(np.median(sizes[p.usable]))
    rows = np.flatnonzero(p.usable & (sizes > max(_LONG, 20 * median)))
    if not len(rows):
        return []
    return [
        found(
            p.table,
            "very-long-text",
            "warning",
            f"{rows_of(len(rows))} {'has' if len(rows) == 1 else 'have'} a text of over {_LONG:,} characters "
            f"(the longest {int(sizes.max()):,}, the median {int(median):,}).",
            rows,
            "Check that no quotation mark swallowed the following rows; only the beginning of a long "
            "text is read.",
        )
    ]
