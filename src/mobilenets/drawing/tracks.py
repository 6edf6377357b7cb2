"""Chips in their boxes: columns that all rows share, or one after another, wrapped into lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import palette
from .chips import SLOTS, Chip
from .lettering import text_width
from .palette import KINDS, tint
from .picture import Box, Group, Item, Line, Text, middle
from .rows import Row

CHIP_TEXT = 10.0
CHIP_GAP = 3.0  # above and below a line of chips
PADDING = 5.0  # inside a chip, left and right
BETWEEN = 8.0
WRAP = 320.0  # width of a line of a stage's chips
_ACT = 3.0  # width of the strip for one activation


@dataclass(frozen=True, slots=True)
class Track:
    """The chips of one row: for each its line, left end and width, from the track's own left end."""

    places: tuple[tuple[int, float, float], ...]
    lines: int
    width: float


def place_chips(rows: Sequence[Row], *, wrap: bool) -> list[Track]:
    """A track for each row: chips with a slot stand in columns, the others one after another.

    With `wrap` a line that is full goes on below.
    """
    columns = _columns(rows)
    return [_wrapped(row.chips) if wrap else _aligned(row.chips, columns) for row in rows]


def chip_items(row: Row, track: Track, x: float, y: float, height: float) -> list[Item]:
    """The chips of a row with the arrows between them; (x, y) is the track's upper left corner."""
    items: list[Item] = []
    end: tuple[int, float] | None = None
    for chip, (line, left, width) in zip(row.chips, track.places):
        box = Box(x + left, y + line * (height + CHIP_GAP), width, height, radius=3)
        if end is not None and end[0] == line and row.kind != "stage":
            level = box.y + height / 2
            items.append(Line(((x + end[1], level), (box.x, level)), palette.FLOW))
        items.append(_chip(chip, box))
        end = line, left + width
    return items


def _width(chip: Chip) -> float:
    return text_width(chip.text, CHIP_TEXT) + 2 * PADDING + _ACT * len(chip.acts)


def _columns(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """For each slot in use its left end and width."""
    found: dict[str, tuple[float, float]] = {}
    left = 0.0
    for slot in SLOTS:
        widths = [_width(chip) for row in rows for chip in row.chips if chip.slot == slot]
        if widths:
            found[slot] = left, max(widths)
            left += max(widths) + BETWEEN
    return found


def _aligned(chips: Sequence[Chip], columns: dict[str, tuple[float, float]]) -> Track:
    places, end = [], 0.0
    for chip in chips:
        left, width = columns[chip.slot] if chip.slot else (end, _width(chip))
        places.append((0, left, width))
        end = left + width + BETWEEN
    return Track(tuple(places), 1, max(end - BETWEEN, 0.0))


def _wrapped(chips: Sequence[Chip]) -> Track:
    places: list[tuple[int, float, float]] = []
    line, end, widest = 0, 0.0, 0.0
    for chip in chips:
        width = _width(chip)
        if end and end + width > WRAP:
            line, end = line + 1, 0.0
        places.append((line, end, width))
        widest = max(widest, end + width)
        end += width + BETWEEN
    return Track(tuple(places), line + 1, widest)


def _chip(chip: Chip, box: Box) -> Group:
    strong = KINDS[chip.style][1] if chip.style in KINDS else _OWN.get(chip.style, "")
    fill, stroke = (tint(strong, 0.3), tint(strong, 0.75)) if strong else (palette.PAPER, palette.FAINT)
    acts = _ACT * len(chip.acts)
    room = Box(box.x, box.y, box.width - acts, box.height)
    items: list[Item] = [Box(box.x, box.y, box.width, box.height, fill, stroke, radius=box.radius)]
    for place, act in enumerate(chip.acts):
        left = box.x + box.width - acts + place * _ACT
        items.append(Box(left, box.y + 0.5, _ACT, box.height - 1, palette.ACTIVATIONS[act][1]))
    words = Text(room.x + room.width / 2, middle(room, CHIP_TEXT), chip.text, CHIP_TEXT, palette.INK, "middle")
    return Group("chip", (*items, words), chip.text, chip.tooltip)


_OWN = {"se": "#3f8f5f"}
