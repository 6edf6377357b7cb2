"""How fast files are, as bars: the fastest on top, a tick where one run in twenty is slower, dots for the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import palette
from .lettering import shortened, text_width
from .palette import tint
from .picture import Box, Group, Item, Line, Picture, Text, printable

MARGIN = 16.0
TITLE_TEXT, TEXT, SMALL = 17.0, 10.5, 9.0
_ROW, _BAR, _TOP, _BARS, _GAP, _NAME_ROOM = 26.0, 12.0, 64.0, 320.0, 8.0, 360.0
_LONGEST = 1.6  # a line that reaches further than so many of the longest bar is cut off there, without its end
_COLOURS = {
    "float32": "#4472b0",
    "float16": "#8a6bb8",
    "bfloat16": "#1f8f94",
    "weights8": "#b8862b",
    "int8": "#3f9a6b",
}


@dataclass(frozen=True)
class Speed:
    """One bar. Milliseconds; `high_ms` is the 95th percentile, None where it is not known."""

    name: str
    precision: str
    ms: float
    high_ms: float | None
    rounds_ms: tuple[float, ...]
    ratio: float


def draw_speeds(groups: Sequence[tuple[str, Sequence[Speed]]], title: str, note: str) -> Picture:
    """A picture of groups of bars under a heading each, all on one scale."""
    title, note = printable(title), printable(note)
    speeds = [speed for _, group in groups for speed in group]
    longest = max(max(speed.ms, speed.high_ms or 0.0, *speed.rounds_ms) for speed in speeds)
    longest = min(longest, _LONGEST * max(speed.ms for speed in speeds))
    left = MARGIN + max(text_width(shortened(printable(s.name), TEXT, _NAME_ROOM), TEXT) for s in speeds) + _GAP
    figures = max(text_width(_figures(speed), TEXT) for speed in speeds)
    width = max(left + _BARS + _GAP + figures, MARGIN + text_width(title, TITLE_TEXT, bold=True)) + MARGIN
    width = max(width, 2 * MARGIN + text_width(note, SMALL))
    items: list[Item] = [
        Text(MARGIN, 28, title, TITLE_TEXT, palette.INK, bold=True),
        Text(MARGIN, 46, note, SMALL, palette.QUIET),
    ]
    y = _TOP
    for heading, group in groups:
        items.append(Text(MARGIN, y + 8, printable(heading), TEXT, palette.QUIET, bold=True))
        y += 16
        for place, speed in enumerate(group):
            if place % 2 == 0:
                items.append(Box(MARGIN / 2, y, width - MARGIN, _ROW, palette.BAND, radius=4))
            items.append(_row(speed, left, y, _BARS, longest))
            y += _ROW
        y += 14
    precisions = [name for name in _COLOURS if any(speed.precision == name for speed in speeds)]
    items += _legend(precisions, y)
    height = y + 24
    described = "; ".join(f"{speed.name}: {speed.ms:.2f} ms" for speed in speeds)
    paper = Box(0, 0, width, height, palette.PAPER)
    return Picture(width, height, title, printable(described), (paper, *items))


def _row(speed: Speed, left: float, y: float, room: float, longest: float) -> Group:
    scale = room / longest
    baseline = y + _ROW / 2 + 0.36 * TEXT
    colour = _COLOURS.get(speed.precision, palette.QUIET)
    name = shortened(printable(speed.name), TEXT, _NAME_ROOM)
    end = left + speed.ms * scale
    items: list[Item] = [
        Text(MARGIN, baseline, name, TEXT, palette.INK),
        Box(left, y + (_ROW - _BAR) / 2, end - left, _BAR, tint(colour, 0.7), radius=2),
    ]
    middle, furthest = y + _ROW / 2, end
    if speed.high_ms is not None:
        furthest = max(end, left + min(speed.high_ms, longest) * scale)
        items.append(Line(((end, middle), (furthest, middle)), palette.INK))
        if speed.high_ms <= longest:
            items.append(Line(((furthest, middle - 4), (furthest, middle + 4)), palette.INK))
    dots = [ms for ms in speed.rounds_ms if ms <= longest]
    for ms in dots:
        items.append(Box(left + ms * scale - 1.5, middle - 1.5, 3, 3, palette.INK, radius=1.5))
    figure_at = max(furthest, end, *(left + ms * scale for ms in dots)) + _GAP
    items.append(Text(figure_at, baseline, _figures(speed), TEXT, palette.INK))
    return Group("speed", tuple(items), name, f"{name}\n{_figures(speed)}")


def _figures(speed: Speed) -> str:
    return f"{speed.ms:.2f} ms  ×{speed.ratio:.2f}"


def _legend(precisions: Sequence[str], top: float) -> list[Item]:
    items: list[Item] = []
    x = MARGIN
    for name in precisions:
        items.append(Box(x, top, 14, 10, tint(_COLOURS[name], 0.7), radius=2))
        items.append(Text(x + 19, top + 9, name, SMALL, palette.QUIET))
        x += 19 + text_width(name, SMALL) + 16
    items.append(Text(x, top + 9, "line: to the 95th percentile; dots: rounds", SMALL, palette.QUIET))
    return items
