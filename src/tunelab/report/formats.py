"""Numbers as a person reads them; the same in every language. A minus is the sign U+2212."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = [
    "count",
    "in_unit_of",
    "p_relation",
    "p_value",
    "percent",
    "plain",
    "points",
    "quantity",
    "rate",
    "signed",
    "size",
    "span",
    "tick",
    "worded",
]


@dataclass(frozen=True)
class _Unit:
    """How the deciding score is written: times a factor, with so many decimals more than a share's points;
    words: what stands for "points" in English and Chinese ("": they are points)."""

    factor: float = 100.0
    more: int = 0
    words: tuple[str, str] = ("", "")


_POINTS = _Unit()
_LOSSES = {"-loss": _Unit(1.0, 2, ("nats", "奈特")), "reward": _Unit(1.0, 2, ("units", "单位"))}
_unit: ContextVar[_Unit] = ContextVar("unit", default=_POINTS)


@contextmanager
def in_unit_of(deciding: str) -> Iterator[None]:
    """Inside, scores are written as this one is: a share in points of 100, a loss in nats.

    >>> with in_unit_of("-loss"):
    ...     points(-3.6671), signed(0.14), worded(("{by} points", "{by} 个百分点"))
    ('−3.667', '+0.140', ('{by} nats', '{by} 奈特'))
    """
    before = _unit.set(_LOSSES.get(deciding, _POINTS))
    try:
        yield
    finally:
        _unit.reset(before)


def worded(templates: tuple[str, str]) -> tuple[str, str]:
    """Texts that speak of points, in the words of the unit."""
    english, chinese = _unit.get().words
    if not english:
        return templates
    first = re.sub(r"(?<=[},]) points\b", f" {english}", templates[0])
    return first, re.sub("个?百分点", chinese, templates[1])


def tick(score: float) -> str:
    """A score on an axis.

    >>> tick(0.9)
    '90'
    """
    return plain(round(_unit.get().factor * score, 6))


def _minus(text: str) -> str:
    """A true minus sign, and no "minus zero".

    >>> _minus("-0.4"), _minus("-0.0")
    ('−0.4', '0.0')
    """
    if not text.startswith("-"):
        return text
    return text[1:] if float(text.replace(",", "")) == 0 else "−" + text[1:]


def points(score: float, decimals: int = 1) -> str:
    """A score or a difference of scores: of 1 in points of 100, where `in_unit_of` does not say otherwise.

    >>> points(0.91349), points(-0.0079)
    ('91.3', '−0.8')
    """
    unit = _unit.get()
    return _minus(f"{unit.factor * score:.{decimals + unit.more}f}")


def signed(score: float, decimals: int = 1) -> str:
    """A difference in points, always with its sign.

    >>> signed(0.004), signed(-0.008), signed(0)
    ('+0.4', '−0.8', '0.0')
    """
    text = points(score, decimals)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def percent(share: float) -> str:
    """A share in percent, two significant digits below ten.

    >>> percent(0.37), percent(0.0098), percent(0.00004), percent(1), percent(12.5)
    ('37 %', '0.98 %', '0.004 %', '100 %', '1,250 %')
    """
    value = 100 * share
    if value == 0:
        return "0 %"
    if abs(value) >= 9.95:
        return _minus(f"{value:,.0f}") + " %"
    decimals = min(6, max(0, 1 - math.floor(math.log10(abs(value)))))
    digits = f"{value:.{decimals}f}"
    return _minus(digits.rstrip("0").rstrip(".") if "." in digits else digits) + " %"


def count(number: float) -> str:
    """A whole number with separators.

    >>> count(1821)
    '1,821'
    """
    return _minus(f"{number:,.0f}")


def plain(number: float, digits: int = 4) -> str:
    """A number of no particular kind, so many significant digits at most.

    >>> plain(0.123456), plain(3), plain(0.0929, 2)
    ('0.1235', '3', '0.093')
    """
    return _minus(f"{number:.{digits}g}")


def quantity(number: float) -> str:
    """A large count, three significant digits.

    >>> quantity(22_714_371), quantity(222_723), quantity(770)
    ('22.7 M', '223 k', '770')
    """
    return _scaled(number, 1000, ("", " k", " M", " G", " T"))


def size(number: float) -> str:
    """Bytes, decimal units, three significant digits at most.

    >>> size(91_585_348), size(2_109_931_520), size(12)
    ('91.6 MB', '2.11 GB', '12 B')
    """
    return _scaled(number, 1000, (" B", " kB", " MB", " GB", " TB"))


def _scaled(number: float, base: float, units: tuple[str, ...]) -> str:
    at = 0
    while at < len(units) - 1 and abs(number) >= base * 0.9995:
        number /= base
        at += 1
    digits = f"{number:.3g}"
    return _minus(f"{float(digits):,.0f}" if "e" in digits else digits) + units[at]


def span(seconds: float) -> str:
    """A time span, two units at most.

    >>> span(0.0016738), span(0.73), span(32.2), span(75), span(4000), span(200_000), span(0)
    ('1.67 ms', '0.73 s', '32 s', '1 min 15 s', '1 h 7 min', '55 h 33 min', '0 s')
    """
    if seconds == 0:
        return "0 s"
    if seconds < 0.0995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def rate(value: float) -> str:
    """A learning rate.

    >>> rate(1e-4), rate(0.00032), rate(0.05)
    ('1e-4', '3.2e-4', '5e-2')
    """
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def p_value(p: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(0.00004), p_value(1)
    ('0.031', '< 0.001', '1')
    """
    if p < 0.001:
        return "< 0.001"
    return f"{p:.2g}" if p < 0.0995 else f"{p:.2f}".rstrip("0").rstrip(".")


def p_relation(p: float) -> str:
    """A p-value as a statement.

    >>> p_relation(0.0312), p_relation(0.00004)
    ('p = 0.031', 'p < 0.001')
    """
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
