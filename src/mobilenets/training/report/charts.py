"""Line charts as inline SVG; colours and type come from style.css, so that one chart serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .html import Markup, tag

Point = tuple[float, float]

WIDTH = 520
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 26, 34
HOVERS = 200  # hover columns at most; narrower ones could not be hit


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, its style ("first" or "second"), its points in the order of x.

    `band` holds (x, low, high) of an interval around it. Values that are not finite leave a gap.
    """

    name: str
    style: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Chart:
    """A line chart. `hovers` are (x, text); `mark` is the x that is singled out, with its name.

    `y_from` and `y_to` hold an end of the axis where it has a natural one. `dots` marks every point.
    """

    title: str
    lines: Sequence[Line]
    x_name: str
    y_format: Callable[[float], str]
    hovers: Sequence[tuple[float, str]] = ()
    mark: tuple[float, str] | None = None
    height: int = 280
    y_from: float | None = None
    y_to: float | None = None
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float] = field(default=())

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def figure(title: str, chart: Chart) -> Markup:
    """The chart as a card under its title and its legend."""
    keys = [tag("span", tag(f"i.key.{line.style}"), line.name) for line in chart.lines if line.name]
    return tag("figure.card", tag("figcaption", tag("b", title), tag("span.legend", keys)), line_chart(chart))


def line_chart(chart: Chart) -> Markup:
    """The chart as an SVG element, `WIDTH` units wide; the page scales it."""
    x, y = _x_axis(chart), _y_axis(chart)
    return tag(
        "svg.chart",
        _grid(chart, x, y),
        [_band(line, x, y) for line in chart.lines if line.band],
        _mark(chart, x),
        [_curve(line, x, y, chart) for line in chart.lines],
        _hovers(chart, x),
        at={"viewBox": f"0 0 {WIDTH} {chart.height}", "role": "img", "aria-label": chart.title},
    )


def ticks(low: float, high: float, at_most: int, *, whole: bool = False) -> list[float]:
    """Round numbers inside low...high, `at_most` or fewer, evenly spaced by 1, 2 or 5 times a power of ten.

    >>> ticks(0.03, 0.47, 6)
    [0.1, 0.2, 0.3, 0.4]
    >>> ticks(1, 60, 7, whole=True)
    [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    """
    span = high - low
    exponent = math.floor(math.log10(span / at_most))
    for power in range(exponent, exponent + 3):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < at_most and not (whole and step < 1):
                return [round(i * step, max(0, -power)) for i in range(first, last + 1)]
    raise ValueError(f"no ticks for {low}...{high}")


def _x_axis(chart: Chart) -> Axis:
    values = [x for line in chart.lines for x, _ in line.points] or [1.0]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Axis(low, high, LEFT, WIDTH - RIGHT, ticks(low, high, 8, whole=True))


def _y_axis(chart: Chart) -> Axis:
    values = [y for line in chart.lines for _, y in line.points]
    values += [y for line in chart.lines for _, *pair in line.band for y in pair]
    values = [y for y in values if math.isfinite(y)] or [0.0, 1.0]
    low = min(values) if chart.y_from is None else chart.y_from
    high = max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (low - 0.5, high + 0.5) if chart.y_from is None else (low, low + 1.0)
    room = 0.04 * (high - low)
    low = low - room if chart.y_from is None else low
    high = high + room if chart.y_to is None else min(high + room, chart.y_to)
    return Axis(low, high, chart.height - BOTTOM, TOP, ticks(low, high, 6 if chart.height > 200 else 4))


def _grid(chart: Chart, x: Axis, y: Axis) -> list[Markup]:
    bottom = chart.height - BOTTOM
    parts = []
    for value in y.ticks:
        at = round(y(value), 1)
        parts.append(_line("grid", LEFT, at, WIDTH - RIGHT, at))
        parts.append(_text("tick.end", LEFT - 8, at, chart.y_format(value), dy="0.35em"))
    parts.append(_line("axis", LEFT, bottom, WIDTH - RIGHT, bottom))
    for value in x.ticks:
        at = round(x(value), 1)
        parts.append(_line("axis", at, bottom, at, bottom + 4))
        where = "end" if at > WIDTH - RIGHT - 8 and value >= 100 else "middle"
        parts.append(_text(f"tick.{where}", at, bottom + 8, f"{value:g}", dy="0.9em"))
    parts.append(_text("tick.start.name", 0, chart.height - BOTTOM + 8, chart.x_name, dy="0.9em"))
    return parts


def _band(line: Line, x: Axis, y: Axis) -> Markup:
    rows = [row for row in line.band if all(map(math.isfinite, row))]
    if len(rows) == 1:
        at, low, high = rows[0]
        return _line(f"whisker.{line.style}", x(at), y(low), x(at), y(high))
    around = [(at, high) for at, _, high in rows] + [(at, low) for at, low, _ in reversed(rows)]
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in around)
    return tag(f"polygon.band.{line.style}", at={"points": path})


def _curve(line: Line, x: Axis, y: Axis, chart: Chart) -> list[Markup]:
    steps, pen_down = [], False
    for at, value in line.points:
        if not math.isfinite(value):
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{x(at):.1f} {y(value):.1f}")
        pen_down = True
    parts = [tag(f"path.line.{line.style}", at={"d": "".join(steps)})] if steps else []
    mark = chart.mark
    every = len(steps) == 1 or (chart.dots and line.style != "third")
    for at, value in line.points:
        if math.isfinite(value) and (every or (mark and at == mark[0])):
            place = {"cx": f"{x(at):.1f}", "cy": f"{y(value):.1f}", "r": "4.5"}
            parts.append(tag(f"circle.dot.{line.style}", at=place))
    return parts


def _mark(chart: Chart, x: Axis) -> list[Markup]:
    if chart.mark is None:
        return []
    at = round(x(chart.mark[0]), 1)
    part = (at - LEFT) / (WIDTH - RIGHT - LEFT)
    where = "start" if part < 0.2 else "end" if part > 0.8 else "middle"
    return [
        _line("mark", at, TOP - 4, at, chart.height - BOTTOM),
        _text(f"mark.{where}", at, TOP - 10, chart.mark[1]),
    ]


def _hovers(chart: Chart, x: Axis) -> list[Markup]:
    """Invisible columns, each from halfway to the left neighbour to halfway to the right one, with a title."""
    stride = -(-len(chart.hovers) // HOVERS) or 1
    shown = chart.hovers[::stride]
    columns = []
    for index, (value, text) in enumerate(shown):
        left = (shown[index - 1][0] + value) / 2 if index else x.low
        right = (shown[index + 1][0] + value) / 2 if index + 1 < len(shown) else x.high
        place = {"x": f"{x(left):.1f}", "y": TOP, "width": f"{x(right) - x(left):.1f}"}
        place["height"] = chart.height - BOTTOM - TOP
        columns.append(tag("rect.hover", tag("title", text), at=place))
    return columns


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag(f"line.{style}", at={key: f"{value:.1f}" for key, value in ends.items()})


def _text(style: str, x: float, y: float, text: str, *, dy: str | None = None) -> Markup:
    return tag(f"text.{style}", text, at={"x": f"{x:.1f}", "y": f"{y:.1f}", "dy": dy})
