"""The picture of an answer and what it rests on: the photo, the heat over it, the scores, and how true the map is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import palette
from .layout import MARGIN
from .legend import LEGEND_TEXT, TITLE_TEXT, TOTALS_TEXT
from .lettering import shortened, text_width
from .picture import Box, Group, Image, Item, Picture, Text, printable

SIDE = 340.0  # of both pictures
_BETWEEN, _ROW, _BAR = 20.0, 22.0, 12.0
_NAMES, _SCORE = 150.0, 64.0  # room for a class's name and for its score
EXPLAINED, OTHER = "#c2571a", palette.MACS


@dataclass(frozen=True)
class Heat:
    """What the picture shows. `photo`, `overlay` and `colours` (little heat to much) are encoded PNGs.

    `scores` are (class, score 0...1, the same in words), `explained` the class that the map is of; `facts` are lines of
    plain words.
    """

    title: str
    subtitle: str
    photo: bytes
    overlay: bytes
    colours: bytes
    explained: str
    scores: Sequence[tuple[str, float, str]]
    facts: Sequence[str]


def heat_picture(heat: Heat) -> Picture:
    """The picture, two squares side by side over a table of scores."""
    width = 2 * MARGIN + 2 * SIDE + _BETWEEN
    right = MARGIN + SIDE + _BETWEEN
    explained = printable(heat.explained)
    title, subtitle = printable(heat.title), printable(heat.subtitle)
    top = 62.0
    items: list[Item] = [
        Text(
            MARGIN, 28, shortened(title, TITLE_TEXT, width - 2 * MARGIN, bold=True), TITLE_TEXT, palette.INK, bold=True
        ),
        Text(MARGIN, 46, shortened(subtitle, TOTALS_TEXT, width - 2 * MARGIN), TOTALS_TEXT, palette.QUIET),
        Image(MARGIN, top, SIDE, SIDE, heat.photo, "what the network sees"),
        Image(right, top, SIDE, SIDE, heat.overlay, f"what “{explained}” rests on"),
    ]
    y = top + SIDE + 18
    caption = f"what “{explained}” rests on"
    items.append(Text(MARGIN, y, "what the network sees", LEGEND_TEXT, palette.QUIET))
    items.append(Text(right, y, shortened(caption, LEGEND_TEXT, SIDE - 160), LEGEND_TEXT, palette.QUIET))
    items.append(_key(heat.colours, right + SIDE, y))
    y += 20
    facts_top = y
    for name, score, words in heat.scores:
        items.append(_row(printable(name), score, words, y, strong=name == heat.explained))
        y += _ROW
    for index, fact in enumerate(heat.facts):
        words = shortened(printable(fact), TOTALS_TEXT, SIDE)
        items.append(
            Text(right, facts_top + 12 + index * _ROW, words, TOTALS_TEXT, palette.INK if index == 0 else palette.QUIET)
        )
    bottom = max(y, facts_top + len(heat.facts) * _ROW) + MARGIN - 8
    page = Box(0, 0, width, bottom, palette.PAPER)
    return Picture(width, bottom, title, subtitle, (page, *items))


def _key(colours: bytes, end: float, y: float) -> Group:
    """The scale of heat, its right end at `end` on the baseline y."""
    much = text_width("much", LEGEND_TEXT)
    left = end - much - 6 - 80
    return Group(
        "legend",
        (
            Text(left - 6, y, "little", LEGEND_TEXT, palette.QUIET, "end"),
            Image(left, y - 9, 80, 10, colours, "from little to much"),
            Text(end, y, "much", LEGEND_TEXT, palette.QUIET, "end"),
        ),
    )


def _row(name: str, score: float, words: str, y: float, *, strong: bool) -> Group:
    """A class and its score, as a bar and in words."""
    room = SIDE - _NAMES - _SCORE
    left = MARGIN + _NAMES
    colour = EXPLAINED if strong else OTHER
    items: tuple[Item, ...] = (
        Text(
            MARGIN,
            y + 12,
            shortened(name, TOTALS_TEXT, _NAMES - 12, bold=strong),
            TOTALS_TEXT,
            palette.INK,
            bold=strong,
        ),
        Box(left, y + 2, room, _BAR, palette.BAND, radius=2),
        Box(left, y + 2, max(1.0, room * score), _BAR, colour, radius=2 if room * score > 4 else 0),
        Text(MARGIN + SIDE, y + 12, words, TOTALS_TEXT, palette.INK, "end"),
    )
    return Group("score", items, name)
