"""What stands above and below the rows: the network's name and totals, and the meaning of the colours in use."""

from __future__ import annotations

from collections.abc import Sequence

from ..arch.cost import Cost
from ..figures import SPACE, short
from . import palette
from .layout import MARGIN
from .lettering import shortened, text_width
from .palette import ACTIVATIONS, KINDS, MEANING, tint
from .picture import Box, Group, Item, Line, Text
from .rows import Row

TITLE_TEXT, TOTALS_TEXT, LEGEND_TEXT = 17.0, 11.0, 10.0
HEADER_HEIGHT = 52.0
_SWATCH, _LINE, _BETWEEN = 16.0, 18.0, 16.0


def totals(cost: Cost) -> str:
    """The costs of the whole network in one line."""
    channels, height, width = cost.input
    attention = f" (+{SPACE}{short(cost.macs_attention)} in attention)" if cost.macs_attention else ""
    return (
        f"{height}×{width}×{channels} input · {short(cost.params)} parameters · {short(cost.macs)} MACs{attention} · "
        f"peak activations {short(cost.activation_bytes, 'B')} float32, {short(cost.activation_bytes_int8, 'B')} int8"
    )


def header(name: str, cost: Cost, width: float) -> list[Item]:
    """The name and the totals."""
    title = shortened(name, TITLE_TEXT, width - 2 * MARGIN, bold=True)
    return [
        Text(MARGIN, 28, title, TITLE_TEXT, palette.INK, bold=True),
        Text(MARGIN, 46, totals(cost), TOTALS_TEXT, palette.QUIET),
    ]


def legend(rows: Sequence[Row], width: float, top: float) -> tuple[list[Item], float]:
    """The meaning of what the rows show, in lines no wider than the picture, and the y where they end."""
    items: list[Item] = [Line(((MARGIN, top), (width - MARGIN, top)), palette.FAINT)]
    x, y = MARGIN, top + _LINE
    for swatch, words in _entries(rows):
        sample, swatch_width = _sample(swatch, x, y)
        needed = swatch_width + 6 + text_width(words, LEGEND_TEXT)
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + _LINE
            sample, swatch_width = _sample(swatch, x, y)
        text = Text(x + swatch_width + 6, y, words, LEGEND_TEXT, palette.QUIET)
        items.append(Group("legend", (*sample, text)))
        x += needed + _BETWEEN
    return items, y + 14


def _entries(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each a swatch's name and what it means."""
    used = {row.kind for row in rows} | {chip.style for row in rows for chip in row.chips}
    by_blocks = rows[-1].kind == "head"
    entries = [
        (f"kind:{kind}", f"{word}: {MEANING[kind]}" if by_blocks else word)
        for kind, (word, _) in KINDS.items()
        if kind in used
    ]
    acts = {act for row in rows for chip in row.chips for act in chip.acts}
    entries += [(f"act:{colour}", f"then {words}") for act, (words, colour) in ACTIVATIONS.items() if act in acts]
    if any(row.residual for row in rows):
        entries.append(("arc", "the input is added to the output"))
    elif any(row.sources for row in rows):
        entries.append(("arc", "read further down"))
    entries += [(f"mark:{mark}", meaning) for mark, meaning in _marks(rows)]
    if any(row.macs_attention for row in rows):
        entries.append((f"bar:{palette.ATTENTION}", "MACs of attention’s matrix products"))
    entries.append((f"bar:{palette.MEMORY}", "float32 activations alive while it runs"))
    return entries


def _marks(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The abbreviations on the chips, and what they mean."""
    if rows[0].kind == "stage":
        found = [("k×k, n", "kernel, output channels")]
        if any(chip.style == "attention" for row in rows for chip in row.chips):
            found.append(("MQA h×d, n", "heads × channels, output channels"))
        return found
    words = {word for row in rows for chip in row.chips for word in chip.text.split()}
    meanings = (
        ("dw", "depthwise"),
        ("s2", "stride 2"),
        ("d2", "dilation 2"),
        ("SE", "squeeze-and-excite, channels inside"),
        ("γ", "layer scale"),
        ("Q", "queries: heads × channels"),
    )
    if rows[-1].kind != "head":  # of layers: nothing is gathered
        words -= {"Q"}
    return [("1×1, n", "n output channels"), *(pair for pair in meanings if pair[0] in words)]


def _sample(swatch: str, x: float, y: float) -> tuple[list[Item], float]:
    """The swatch with its left end at x on the baseline y, and its width."""
    name, _, value = swatch.partition(":")
    if name == "mark":
        return [Text(x, y, value, LEGEND_TEXT, palette.INK)], text_width(value, LEGEND_TEXT)
    if name == "arc":
        points = ((x + 2, y - 8), (x + 13, y - 8), (x + 13, y), (x + 5, y))
        head = Line(((x + 2, y), (x + 7, y - 2.5), (x + 7, y + 2.5)), fill=palette.RESIDUAL)
        return [Line(points, palette.RESIDUAL, 1.0, 4), head], _SWATCH
    if name == "bar":
        return [Box(x, y - 8, _SWATCH, 9, value)], _SWATCH
    height = 11.0
    if name == "act":
        chip = Box(x, y - 9, _SWATCH, height, palette.PAPER, palette.FAINT, radius=2)
        return [chip, Box(x + _SWATCH - 4, y - 8.5, 4, height - 1, value)], _SWATCH
    colour = KINDS[value][1]
    box = Box(x, y - 9, _SWATCH, height, tint(colour), tint(colour, 0.6), radius=2)
    return [box, Box(x, y - 9, 5, height, colour, radius=2)], _SWATCH
