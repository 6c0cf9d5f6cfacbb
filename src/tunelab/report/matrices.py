"""Confusion matrices for two classes as for a hundred, and reliability diagrams."""

from collections.abc import Sequence

from markupsafe import Markup

from tunelab.records import CalibrationBin, MethodResult
from tunelab.report.formats import count, percent
from tunelab.report.plots import Frame, Scale, cut, figure, number, svg_text, tooltip
from tunelab.report.texts import t

__all__ = ["axis_labels", "confusion_plot", "confusions", "is_large", "reliability_plot", "rows_text"]

_LARGE = 12  # classes: more have no numbers in their cells
_LEVELS = 6  # shades
_DARK = 0.815  # of a shade: from here on black is easier to read on a dark page than white

Table = Sequence[Sequence[float]]


def is_large(classes: int) -> bool:
    """Whether a matrix is drawn without numbers."""
    return classes > _LARGE


def rows_text(rows: float) -> str:
    """Rows, a mean over seeds: whole where they are.

    >>> rows_text(1821.0), rows_text(1.5)
    ('1,821', '1.5')
    """
    return count(rows) if abs(rows - round(rows)) < 0.05 else f"{rows:,.1f}"


def confusions(table: Table, most: int = 10) -> list[tuple[int, int, float]]:
    """(true, predicted, rows) of the largest cells off the diagonal, the largest first."""
    cells = [(i, j, v) for i, row in enumerate(table) for j, v in enumerate(row) if i != j and v > 0]
    return sorted(cells, key=lambda cell: -cell[2])[:most]


def confusion_plot(result: MethodResult, labels: Sequence[str], language: str) -> Markup:
    """[true][predicted] as a heat map, shaded by the share of the true class."""
    frame, cell = _frame(labels)
    draw = _shades if is_large(len(labels)) else _numbers
    label = t("plot_confusion", method=result.name)
    side = cell * len(labels)
    middle = frame.top + side / 2
    parts = [
        Markup('<use href="#class-axes"/>'),
        draw(result.confusion, labels, frame, cell),
        svg_text(frame.left + side / 2, frame.height - 6, t("predicted"), "name mid"),
        svg_text(11, middle, t("true"), "name mid", f"rotate(-90 11 {number(middle)})"),
    ]
    return figure(frame, label, language, parts, "matrix large" if is_large(len(labels)) else "matrix")


def axis_labels(labels: Sequence[str]) -> Markup:
    """Names of rows and columns; drawn once and used by the matrix of every method."""
    frame, cell = _frame(labels)
    kind = "tiny" if is_large(len(labels)) else "tick"
    most = 24 if is_large(len(labels)) else 16
    parts = []
    for i, label in enumerate(labels):
        middle = (i + 0.5) * cell
        name = cut(label, most)
        y = frame.top + middle + 3.5
        parts.append(svg_text(frame.left - 5, y, name, f"{kind} end"))
        x = frame.left + middle + 3
        turn = f"rotate({-68 if kind == 'tiny' else -50} {number(x)} {number(frame.top - 6)})"
        parts.append(svg_text(x, frame.top - 6, name, kind, turn))
    outline = Markup('<path class="axis" d="M{0} {1}h{2}v{2}h-{2}z"/>').format(
        number(frame.left), number(frame.top), number(cell * len(labels))
    )
    return Markup('<g id="class-axes">{}{}</g>').format(Markup("").join(parts), outline)


def _frame(labels: Sequence[str]) -> tuple[Frame, float]:
    """The picture, and the side of a cell, pixels."""
    n = len(labels)
    cell = max(9.0, 520 / n) if is_large(n) else min(64.0, max(38.0, 260 / n))
    room = 150.0 if is_large(n) else 128.0
    side = room + n * cell
    # above the matrix stand the turned names, below it the name of the axis
    right = 70.0 if is_large(n) else 62.0
    return Frame(
        side + right, n * cell + (152 if is_large(n) else 120), left=room, top=124 if is_large(n) else 92
    ), cell


def _numbers(table: Table, labels: Sequence[str], frame: Frame, cell: float) -> Markup:
    parts = []
    for i, row in enumerate(table):
        total = sum(row)
        for j, rows in enumerate(row):
            if not rows:
                continue
            x, y = frame.left + j * cell, frame.top + i * cell
            share = (rows / total) ** 0.5 if total else 0.0
            tip = tooltip(
                f"\u2068{labels[i]}\u2069 → \u2068{labels[j]}\u2069: {rows_text(rows)} / {rows_text(total)}"
            )
            parts.append(
                Markup(
                    '<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}">{}</rect>'
                ).format(
                    "right" if i == j else "wrong",
                    number(x + 1),
                    number(y + 1),
                    number(cell - 2),
                    number(cell - 2),
                    f"{0.1 + 0.65 * share:.2f}",
                    tip,
                )
            )
            inverse = " inverse" if share > _DARK else ""
            parts.append(svg_text(x + cell / 2, y + cell / 2 + 4, rows_text(rows), f"cell mid{inverse}"))
    return Markup("").join(parts)


def _shades(table: Table, labels: Sequence[str], frame: Frame, cell: float) -> Markup:
    """One path for each shade, in units of cells: seven bytes a cell whatever their number."""
    strokes: dict[tuple[str, int], list[str]] = {}
    for i, row in enumerate(table):
        total = sum(row)
        for j, rows in enumerate(row):
            if rows:
                level = max(1, round(_LEVELS * (rows / total) ** 0.5))
                strokes.setdefault(("right" if i == j else "wrong", level), []).append(f"M{j} {i}h1")
    paths = [
        Markup('<path class="{}" stroke-opacity="{}" d="{}"/>').format(
            kind, f"{level / _LEVELS:.2f}", "".join(path)
        )
        for (kind, level), path in sorted(strokes.items())
    ]
    place = f"translate({number(frame.left)} {number(frame.top + cell / 2)}) scale({cell:.4g})"
    n = len(labels)
    lines = "".join(f"M0 {i - 0.5:g}h{n}M{i} -.5v{n}" for i in range(5, n, 5))
    grid = Markup('<path class="lines" d="{}"/>').format(lines)
    return Markup('<g class="shades" transform="{}">{}{}</g>').format(place, grid, Markup("").join(paths))


def reliability_plot(result: MethodResult, language: str) -> Markup:
    """Confidence against share right, with the number of predictions below."""
    frame = Frame(330, 360, bottom_margin=78)
    hundred = tuple((v / 5, str(20 * v)) for v in range(6))
    x = Scale(0, 1, frame.left, frame.right, False, hundred)
    y = Scale(0, 1, frame.bottom, frame.top, False, hundred)
    parts = [frame.axes(x, y, None, t("share_right"))]
    parts.append(svg_text((frame.left + frame.right) / 2, frame.bottom + 70, t("confidence"), "name mid"))
    parts.append(
        Markup('<path class="ray" d="M{} {}L{} {}"/>').format(*map(number, (x(0), y(0), x(1), y(1))))
    )
    bins = sorted(result.calibration, key=lambda b: b.confidence)
    if bins:
        path = "L".join(f"{number(x(b.confidence))} {number(y(b.accuracy))}" for b in bins)
        parts.append(Markup('<path class="joined" d="M{}"/>').format(path))
    most = max((b.rows for b in bins), default=1)
    parts += [_bin(b, most, x, y, frame) for b in bins]
    return figure(frame, t("plot_calibration", method=result.name), language, parts, "mid")


def _bin(b: CalibrationBin, most: float, x: Scale, y: Scale, frame: Frame) -> Markup:
    tip = tooltip(f"{percent(b.confidence)} → {percent(b.accuracy)} · {rows_text(b.rows)}")
    radius, high = 3 + 7 * (b.rows / most) ** 0.5, 28 * b.rows / most
    point = Markup('<circle class="g1 soft" cx="{}" cy="{}" r="{}">{}</circle>').format(
        number(x(b.confidence)), number(y(b.accuracy)), number(radius), tip
    )
    foot = frame.bottom + 54
    bar = Markup('<rect class="bar" x="{}" y="{}" width="12" height="{}">{}</rect>').format(
        number(x(b.confidence) - 6), number(foot - high), number(max(high, 0.6)), tip
    )
    return point + bar
