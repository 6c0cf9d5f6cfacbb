"""Drawing in SVG: scales, ticks, axes, marks and labels that keep out of each other's way.

Coordinates are the pixels of the `viewBox`; colours are CSS classes, so that dark mode and print follow.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tunelab.report.formats import points, rate, size, span, tick
from tunelab.report.texts import Text, attributes, text_or_escaped

__all__ = [
    "Box",
    "Frame",
    "Labels",
    "Scale",
    "cut",
    "figure",
    "nice_scale",
    "number",
    "score_domain",
    "score_tip",
    "svg_text",
    "tooltip",
    "width_of",
]

Format = Callable[[float], str]
_TIMES = (0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
_FINE_TIMES = (
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    18_000,
    36_000,
    86_400,
)


def number(value: float) -> str:
    """A coordinate, short.

    >>> number(12.0), number(3.456), number(-0.04)
    ('12', '3.5', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def width_of(text: str, font: float = 11) -> float:
    """About how wide a text is drawn, pixels: Chinese characters are square, others about 0.56 of that."""
    return sum(font if ord(c) > 0x2E7F else 0.57 * font for c in text)


def cut(text: str, most: int) -> str:
    """A text of at most `most` columns (a Chinese character takes two), with an ellipsis where it is cut.

    >>> cut("lora.rank=64", 8), cut("中文标签很长", 8), cut("lora", 8)
    ('lora.ra…', '中文标…', 'lora')
    """
    text = " ".join(text.split())
    if sum(1 + (ord(c) > 0x2E7F) for c in text) <= most:
        return text
    kept, room = "", most - 1
    for c in text:
        room -= 1 + (ord(c) > 0x2E7F)
        if room < 0:
            break
        kept += c
    return kept + "…"


@dataclass(frozen=True)
class Scale:
    """Maps values in [low, high] to pixels from `start` to `end`; log: evenly in the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(max(value, self.low / 10)) if self.log else value
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def inside(self, value: float) -> bool:
        """Whether the value lies in the drawn range."""
        return self.low <= value <= self.high


def nice_scale(
    values: Iterable[float], start: float, end: float, kind: str, *, log: bool | None = None, most: int = 6
) -> Scale:
    """A scale around the values with round ticks.

    kind: "score" (of 1, shown in points), "time" (s), "size" (bytes), "rate" or "rows". log: None takes it
    where the values span more than a factor of 10 and all are positive.
    """
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if log is None:
        log = low > 0 and high / low > 10
    if log:
        margin = max((high / low) ** 0.08, 1.15)
        low, high = low / margin, high * margin
        ticks = _log_ticks(low, high, kind, most)
    else:
        margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
        low = max(0.0, low - margin) if low >= 0 else low - margin
        high = min(high + margin, 1.0) if kind == "score" and high <= 1 else high + margin
        ticks = _linear_ticks(low, high, kind, most)
    return Scale(low, high, start, end, log, tuple((value, _FORMATS[kind](value)) for value in ticks))


def _linear_ticks(low: float, high: float, kind: str, most: int) -> list[float]:
    unit = 1.0
    if kind == "time":
        unit = 1.0 if high < 120 else 60.0 if high < 7200 else 3600.0
    step = _step((high - low) / unit, most) * unit
    if kind == "rows":
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _step(width: float, most: int) -> float:
    raw = width / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def _log_ticks(low: float, high: float, kind: str, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    grids: list[list[float]] = [
        [m * 10.0**d for d in decades for m in ms] for ms in (range(1, 10), (1, 2, 5), (1, 3), (1,))
    ]
    if kind == "time" and high > 60:
        grids = [list(_FINE_TIMES), list(_FINE_TIMES[1::2]), list(_TIMES)]
    for grid in grids:
        ticks = [v for v in grid if low <= v <= high]
        if len(ticks) <= most:
            return ticks or [math.sqrt(low * high)]
    every = math.ceil(len(ticks) / most)
    return ticks[::every]


_FORMATS: dict[str, Format] = {
    "score": tick,
    "time": span,
    "size": size,
    "rate": rate,
    "rows": lambda value: f"{value:,.0f}",
    "plain": lambda value: f"{value:g}".replace("-", "−"),
}


def score_domain(intervals: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """(low, high) of a score axis that keeps the good methods apart.

    A method far below the others would squeeze all the rest into a line: the axis ends four times as far
    below the best as the middle one is, and what lies lower is drawn at the edge with an arrow. Of three or
    fewer methods all are inside.

    >>> low, high = score_domain([(.93, .92, .94), (.92, .91, .93), (.91, .9, .92), (.2, .18, .22)])
    >>> round(low, 3), high
    (0.89, 0.94)
    """
    values = sorted((value for value, _, _ in intervals), reverse=True)
    best, middle = values[0], values[(len(values) - 1) // 2]
    half = max(high - low for _, low, high in intervals) / 2
    limit = best - max(4 * (best - middle), 3 * half) if len(values) > 3 else values[-1]
    shown = [interval for interval in intervals if interval[0] >= limit]
    low = min(low for _, low, _ in shown)
    high = max(high for _, _, high in shown)
    if len(shown) < len(intervals):
        low -= 0.25 * (high - low)
    return low, high


@dataclass(frozen=True)
class Frame:
    """A plot's area: pixels of its left, top, right and bottom edges in a picture of width x height."""

    width: float
    height: float
    left: float = 46
    top: float = 14
    right_margin: float = 14
    bottom_margin: float = 44

    @property
    def right(self) -> float:
        """Pixel of the right edge."""
        return self.width - self.right_margin

    @property
    def bottom(self) -> float:
        """Pixel of the lower edge."""
        return self.height - self.bottom_margin

    def axes(self, x: Scale, y: Scale, x_name: Text | None, y_name: Text | None) -> Markup:
        """Grid lines, tick labels and names of both axes."""
        parts = []
        for value, label in y.ticks:
            at = number(y(value))
            parts.append(
                Markup('<path class="grid" d="M{} {}H{}"/>').format(number(self.left), at, number(self.right))
            )
            parts.append(svg_text(self.left - 6, y(value) + 3.5, label, "tick end"))
        for value, label in x.ticks:
            at = number(x(value))
            parts.append(
                Markup('<path class="grid" d="M{} {}V{}"/>').format(at, number(self.top), number(self.bottom))
            )
            parts.append(svg_text(x(value), self.bottom + 15, label, "tick mid"))
        parts.append(
            Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(
                number(self.left), number(self.top), number(self.bottom), number(self.right)
            )
        )
        if x_name is not None:
            parts.append(svg_text((self.left + self.right) / 2, self.bottom + 34, x_name, "name mid"))
        if y_name is not None:
            middle = (self.top + self.bottom) / 2
            turn = f"rotate(-90 11 {number(middle)})"
            parts.append(svg_text(11, middle, y_name, "name mid", turn))
        return Markup("").join(parts)


def svg_text(x: float, y: float, text: Text | str, kind: str = "", transform: str = "") -> Markup:
    """A `<text>`; one in two languages holds a `<tspan>` for each."""
    turned = Markup(' transform="{}"').format(transform) if transform else ""
    styled = Markup(' class="{}"').format(kind) if kind else ""
    content = text_or_escaped(text, "tspan")
    return Markup('<text x="{}" y="{}"{}{}>{}</text>').format(number(x), number(y), styled, turned, content)


def tooltip(text: str) -> Markup:
    """What a pointer at the mark shows: names and numbers, the same in every language."""
    return Markup("<title>{}</title>").format(text)


def figure(frame: Frame, label: Text, language: str, parts: Iterable[Markup], kind: str = "") -> Markup:
    """The whole picture, named for those who cannot see it."""
    return Markup('<svg class="plot {}" viewBox="0 0 {} {}" role="img"{}>{}</svg>').format(
        kind,
        number(frame.width),
        number(frame.height),
        attributes(label, language),
        Markup("").join(parts),
    )


@dataclass(frozen=True)
class Box:
    """A rectangle, pixels, and how bad it is to cover one of its pixels."""

    left: float
    top: float
    right: float
    bottom: float
    weight: float = 4

    def overlap(self, other: "Box") -> float:
        """Area in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0


class Labels:
    """Places names beside points, one after the other, where the least is in the way."""

    _DIRECTIONS = tuple((math.cos(a * math.pi / 8), math.sin(a * math.pi / 8)) for a in range(16))
    _DISTANCES = (9, 17, 28, 42, 58)

    def __init__(self, frame: Frame, marks: Sequence[Box]) -> None:
        self._frame = frame
        self._taken = list(marks)

    def place(self, x: float, y: float, text: str, kind: str = "label") -> Markup:
        """The label of the point at (x, y), with a thin line to it where it had to move away."""
        wide, high = width_of(text, 11.5), 13.0
        candidates = (
            (self._cost(box, distance), box, distance)
            for distance in self._DISTANCES
            for dx, dy in self._DIRECTIONS
            for box in [_beside(x, y, dx, dy, distance, wide, high)]
        )
        _, box, distance = min(candidates, key=lambda found: found[0])
        self._taken.append(box)
        label = svg_text(box.left, box.bottom - 3, text, kind)
        if distance < 20:
            return label
        near_x = min(max(x, box.left), box.right)
        near_y = box.top + high / 2 if near_x != x else (box.top if box.top > y else box.bottom)
        line = Markup('<path class="leader" d="M{} {}L{} {}"/>').format(*map(number, (x, y, near_x, near_y)))
        return line + label

    def _cost(self, box: Box, distance: float) -> float:
        f = self._frame
        outside = (
            max(0, f.left - box.left)
            + max(0, box.right - f.width + 2)
            + max(0, f.top - 8 - box.top)
            + max(0, box.bottom - f.bottom)
        )
        return sum(box.overlap(other) * other.weight for other in self._taken) + 60 * outside + 1.6 * distance


def _beside(x: float, y: float, dx: float, dy: float, distance: float, wide: float, high: float) -> Box:
    """A box of the text in a direction of the point, its nearest edge about `distance` away."""
    center_x = x + dx * (distance + wide / 2 * abs(dx))
    if abs(dx) > 0.9:
        center_x = x + math.copysign(distance + wide / 2, dx)
    center_y = y + dy * (distance + high / 2 * abs(dy))
    return Box(center_x - wide / 2, center_y - high / 2, center_x + wide / 2, center_y + high / 2)


def score_tip(name: str, value: float, low: float, high: float) -> str:
    """What the tooltip of a score says.

    >>> score_tip("lora", 0.91, 0.9, 0.92)
    'lora: 91.0 [90.0, 92.0]'
    """
    return f"{name}: {points(value)} [{points(low)}, {points(high)}]"
