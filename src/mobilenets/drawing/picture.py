"""A picture as data: boxes, lines, texts, images on a page, in drawing order. `svg.py` and `png.py` write the same one.

Lengths are in pixels, x to the right, y down from the upper left corner. Colours are `#rrggbb`, empty for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .lettering import ASCENT, CAPITAL, DESCENT, text_width

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with its upper left corner at (x, y)."""

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    stroke: str = ""
    stroke_width: float = 1.0
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """Straight pieces through `points`; corners are rounded by `radius`. With `fill` the shape is closed and filled."""

    points: tuple[Point, ...]
    stroke: str = ""
    stroke_width: float = 1.0
    radius: float = 0.0
    fill: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text. (x, y) is where its baseline starts, has its middle, or ends."""

    x: float
    y: float
    content: str
    size: float
    colour: str
    anchor: Anchor = "start"
    bold: bool = False

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the letters."""
        width = text_width(self.content, self.size, bold=self.bold)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - ASCENT * self.size, left + width, self.y + DESCENT * self.size


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of pixels, an encoded PNG, scaled to fill its place; `words` say what it shows."""

    x: float
    y: float
    width: float
    height: float
    png: bytes
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are one thing: its class in the SVG, what it is called, and a tooltip of several lines."""

    kind: str
    items: tuple[Item, ...]
    name: str = ""
    tooltip: str = ""


Item: TypeAlias = "Box | Line | Text | Image | Group"


@dataclass(frozen=True, slots=True)
class Picture:
    """A page with what stands on it. `title` and `description` are for who cannot see it."""

    width: float
    height: float
    title: str
    description: str
    items: tuple[Item, ...]


def middle(box: Box, size: float) -> float:
    """The baseline that centres a line of text of that size in the box, by the height of its capitals."""
    return box.y + box.height / 2 + CAPITAL * size / 2


def flat(items: tuple[Item, ...]) -> Iterator[Box | Line | Text | Image]:
    """The items without their groups, in drawing order."""
    for item in items:
        if isinstance(item, Group):
            yield from flat(item.items)
        else:
            yield item


_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def printable(text: str) -> str:
    """The text with what no document may hold (control characters, lone surrogates) as U+FFFD."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


Command = tuple[str, tuple[Point, ...]]  # M, L or Q with its points


def outline(line: Line) -> list[Command]:
    """The commands that draw a line: M, L, and Q for each rounded corner, which is cut to what its sides allow."""
    points = line.points
    commands: list[Command] = [("M", (points[0],))]
    for before, corner, after in zip(points, points[1:], points[2:]):
        radius = min(line.radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        if radius <= 0:
            commands.append(("L", (corner,)))
            continue
        commands.append(("L", (_towards(corner, before, radius),)))
        commands.append(("Q", (corner, _towards(corner, after, radius))))
    commands.append(("L", (points[-1],)))
    return commands


def _distance(a: Point, b: Point) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)


def _towards(start: Point, end: Point, length: float) -> Point:
    part = length / _distance(start, end)
    return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])
