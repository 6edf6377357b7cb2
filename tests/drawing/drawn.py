"""Reads a drawing back from the SVG that was written: boxes, texts and groups, measured with the real typeface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from fontTools.ttLib import TTFont
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

SVG = "{http://www.w3.org/2000/svg}"
FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@dataclass(frozen=True)
class Area:
    """A rectangle on the page, and what it holds."""

    left: float
    top: float
    right: float
    bottom: float
    what: str

    def overlaps(self, other: Area, slack: float = 0.25) -> bool:
        """Whether the two share more than a hair."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > slack and down > slack

    def inside(self, other: Area) -> bool:
        """Whether this one lies in the other."""
        return (
            other.left <= self.left
            and other.top <= self.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


def font(bold: bool) -> FontProperties:
    """The typeface that `lettering` has the widths of."""
    return FontProperties(fname=FOLDER / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))


@cache
def advances(bold: bool) -> dict[str, float]:
    """How far each character of the typeface moves the pen, at size 1."""
    file = TTFont(font(bold).get_file())
    em = file["head"].unitsPerEm
    return {chr(code): file["hmtx"][glyph][0] / em for code, glyph in file.getBestCmap().items()}


def measured_width(text: str, bold: bool) -> float:
    """The width of a text at size 1, by the font file itself; what it has no glyph for counts as 1."""
    return sum(advances(bold).get(character, 1.0) for character in text)


@cache
def ink(text: str, bold: bool) -> tuple[float, float]:
    """How far the ink of a text of size 1 reaches above and below its baseline."""
    box = TextPath((0, 0), text, size=100, prop=font(bold)).get_extents()
    return box.y1 / 100, -box.y0 / 100


def area_of_text(element: ElementTree.Element) -> Area:
    """The text's place: as wide as it is set, as high as its ink."""
    size, text, bold = float(element.get("font-size", "")), element.text or "", element.get("font-weight") == "bold"
    width = measured_width(text, bold) * size
    x, y = float(element.get("x", "")), float(element.get("y", ""))
    left = x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor", "start")]
    above, below = ink(text, bold)
    return Area(left, y - above * size, left + width, y + below * size, text)


def area_of_rect(element: ElementTree.Element) -> Area:
    """A rect's place."""
    x, y, width, height = (float(element.get(key, "")) for key in ("x", "y", "width", "height"))
    return Area(x, y, x + width, y + height, element.get("fill", ""))


def groups(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """The groups whose class has that word."""
    return [group for group in root.iter(f"{SVG}g") if kind in group.get("class", "").split()]


def texts(root: ElementTree.Element) -> list[Area]:
    """Every text of the drawing; its tooltips are not drawn."""
    return [area_of_text(element) for element in root.iter(f"{SVG}text")]


def overlapping(areas: list[Area]) -> Iterator[tuple[Area, Area]]:
    """Every pair that overlaps; a sweep from top to bottom."""
    ordered = sorted(areas, key=lambda area: area.top)
    for place, area in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if other.top >= area.bottom:
                break
            if area.overlaps(other):
                yield area, other
