"""A picture as a PNG, drawn by matplotlib with its own DejaVu Sans: the same picture as the SVG, at twice its size."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .picture import Box, Image, Line, Picture, Point, Text, flat, outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALE = 2  # dots for each pixel of the picture
LARGEST = 65_000  # dots; what Agg draws on one side
_DPI = 100  # any value: sizes in points follow from it
_POINTS = 72 / _DPI  # of one pixel of the picture


def require_matplotlib() -> None:
    """Raises UserError with the command that installs matplotlib where it is missing."""
    try:
        import matplotlib.figure  # noqa: F401 - whether it is there
    except ImportError:
        raise UserError('a .png needs matplotlib: pip install "mobilenets[plot]"; an .svg needs nothing') from None


def to_png(picture: Picture) -> bytes:
    """The encoded file. Raises UserError where matplotlib is missing or the picture is too tall for it."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = min(SCALE, LARGEST / max(picture.width, picture.height))
    if scale < 1:
        raise UserError(f"a picture of {picture.height:.0f} pixels is too tall for a .png; write an .svg")
    figure = Figure(figsize=(picture.width / _DPI, picture.height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for order, item in enumerate(flat(picture.items)):
        _draw(axes, item, order)
    axes.set_xlim(0, picture.width)  # an image moves the limits
    axes.set_ylim(picture.height, 0)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in another script: drawn as boxes
        figure.savefig(file, format="png", dpi=_DPI * scale, metadata={"Software": None, "Title": picture.title})
    return file.getvalue()


def _draw(axes: Axes, item: Box | Line | Text | Image, order: int) -> None:
    if isinstance(item, Image):
        from matplotlib.image import imread

        corners = (item.x, item.x + item.width, item.y + item.height, item.y)
        pixels = imread(io.BytesIO(item.png), format="png")
        axes.imshow(pixels, extent=corners, aspect="auto", interpolation="antialiased", zorder=order)
        return
    if isinstance(item, Text):
        axes.text(
            item.x,
            item.y,
            item.content,
            fontsize=item.size * _POINTS,
            color=item.colour,
            ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
            va="baseline",
            weight="bold" if item.bold else "normal",
            family="DejaVu Sans",
            parse_math=False,
            zorder=order,
        )
        return
    axes.add_patch(_patch(item, order))


def _patch(item: Box | Line, order: int) -> Any:
    from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle

    paint: dict[str, Any] = {
        "facecolor": item.fill or "none",
        "edgecolor": item.stroke or "none",
        "linewidth": item.stroke_width * _POINTS if item.stroke else 0,
        "zorder": order,
    }
    if isinstance(item, Line):
        return PathPatch(_path(item), capstyle="butt", **paint)
    if not item.radius:
        return Rectangle((item.x, item.y), item.width, item.height, **paint)
    style = f"round,pad=0,rounding_size={item.radius}"
    return FancyBboxPatch((item.x, item.y), item.width, item.height, boxstyle=style, **paint)


def _path(line: Line) -> Any:
    from matplotlib.path import Path

    codes = {"M": Path.MOVETO, "L": Path.LINETO, "Q": Path.CURVE3}
    vertices: list[Point] = []
    steps: list[Any] = []
    for command, points in outline(line):
        vertices += points
        steps += [codes[command]] * len(points)
    if line.fill:
        vertices.append(vertices[0])
        steps.append(Path.CLOSEPOLY)
    return Path(vertices, steps)
