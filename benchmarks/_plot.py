"""Growth as a picture: one panel a size and a measure, both axes logarithmic, a dashed line of slope 1."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tunelab.report.plots import Frame, Scale, nice_scale, number, svg_text

__all__ = ["Panel", "picture"]

_WIDTH, _HEIGHT, _COLUMNS = 300, 210, 3
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#444}.mid{text-anchor:middle}.end{text-anchor:end}"
    ".title{font-weight:600;fill:#111}.grid{stroke:#e5e5e5;fill:none}.axis{stroke:#999;fill:none}"
    ".line{stroke:#2563eb;stroke-width:2;fill:none}.dot{fill:#2563eb}"
    ".one{stroke:#999;stroke-dasharray:4 3;fill:none}"
)


@dataclass(frozen=True)
class Panel:
    """kind: of the values, as `nice_scale` has them ("time", "size")."""

    title: str
    name: str
    sizes: Sequence[float]
    values: Sequence[float]
    kind: str


def picture(panels: Sequence[Panel]) -> str:
    """An SVG file."""
    rows = -(-len(panels) // _COLUMNS)
    placed = [
        Markup('<g transform="translate({} {})">{}</g>').format(
            _WIDTH * (i % _COLUMNS), _HEIGHT * (i // _COLUMNS), _panel(panel)
        )
        for i, panel in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * _COLUMNS} {_HEIGHT * rows}" '
        f'role="img"><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{Markup('').join(placed)}</svg>\n"
    )


def _panel(panel: Panel) -> Markup:
    frame = Frame(_WIDTH, _HEIGHT, left=58, top=26)
    x = nice_scale(panel.sizes, frame.left, frame.right, "rows", log=True, most=5)
    y = nice_scale(panel.values, frame.bottom, frame.top, panel.kind, log=True, most=5)
    points = [(x(size), y(value)) for size, value in zip(panel.sizes, panel.values, strict=True)]
    return Markup("").join(
        [
            svg_text(_WIDTH / 2, 14, panel.title, "title mid"),
            frame.axes(x, y, panel.name, None),
            _path("one", _slope_one(panel, x, y)),
            _path("line", points),
            *(
                Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(*map(number, at))
                for at in points
            ),
        ]
    )


def _slope_one(panel: Panel, x: Scale, y: Scale) -> list[tuple[float, float]]:
    """From the largest size down, as far as the panel reaches."""
    last, value = panel.sizes[-1], panel.values[-1]
    first = max(panel.sizes[0], last * y.low / value)
    return [(x(first), y(value * first / last)), (x(last), y(value))]


def _path(kind: str, points: Sequence[tuple[float, float]]) -> Markup:
    places = "L".join(f"{number(across)} {number(down)}" for across, down in points)
    return Markup('<path class="{}" d="M{}"/>').format(kind, places)
