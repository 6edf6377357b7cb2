"""Networks side by side: a row for each, a column of bars for each quantity, multiply-adds divided by output stride."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..arch.cost import Cost
from ..arch.stages import Stage, stages
from ..figures import short
from . import palette
from .lettering import shortened, text_width
from .palette import tint
from .picture import Box, Group, Item, Line, Picture, Text, printable

MARGIN = 16.0
TITLE_TEXT, TEXT = 17.0, 10.5
_TOP, _HEAD, _ROW, _BAR, _LINE = 52.0, 22.0, 26.0, 13.0, 18.0
_BARS, _GAP, _BETWEEN = 84.0, 5.0, 18.0
_NAME_ROOM = 240.0
_DEEP = "#1f4e79"  # multiply-adds at the largest output stride


@dataclass(frozen=True)
class _Quantity:
    name: str
    value: Callable[[Cost], int]
    unit: str
    colour: str  # empty: divided by output stride


_QUANTITIES = (
    _Quantity("MACs, with attention", lambda cost: cost.macs + cost.macs_attention, "", ""),
    _Quantity("parameters", lambda cost: cost.params, "", palette.PARAMS),
    _Quantity("peak memory, float32", lambda cost: cost.activation_bytes, "B", palette.MEMORY),
    _Quantity("weights, int8", lambda cost: cost.bytes_int8, "B", "#8a6bb8"),
)


def draw_comparison(costs: Sequence[Cost]) -> Picture:
    """The picture of two or more networks. The longest bar of a column is full; ratios are to the first network."""
    names = [shortened(_name(cost), TEXT, _NAME_ROOM) for cost in costs]
    left = MARGIN + max(text_width(name, TEXT) for name in names) + 14
    places, x = [], left
    for quantity in _QUANTITIES:
        figures = max(
            sum(text_width(part, TEXT) + _GAP for part in _figures(quantity, cost, costs[0])) for cost in costs
        )
        places.append(x)
        x += max(_BARS + figures, text_width(quantity.name, TEXT, bold=True)) + _BETWEEN
    width = x - _BETWEEN + MARGIN
    title = f"{len(costs)} networks side by side"
    items: list[Item] = [Text(MARGIN, 28, title, TITLE_TEXT, palette.INK, bold=True)]
    items += [Text(x, _TOP, quantity.name, TEXT, palette.QUIET, bold=True) for x, quantity in zip(places, _QUANTITIES)]
    strides = sorted({stride for cost in costs for stride, _ in _by_stride(cost) if stride})
    for place, (cost, name) in enumerate(zip(costs, names)):
        y = _TOP + _HEAD - 8 + place * _ROW
        if place % 2 == 0:
            items.append(Box(MARGIN / 2, y, width - MARGIN, _ROW, palette.BAND, radius=4))
        items.append(_row(cost, name, costs, places, strides, y))
    swatches, bottom = _legend(costs, strides, width, _TOP + _HEAD - 8 + len(costs) * _ROW + 8)
    items = [Box(0, 0, width, bottom, palette.PAPER), *items, *swatches]
    described = "; ".join(
        f"{name}: {short(cost.macs)} MACs, {short(cost.params)} parameters" for cost, name in zip(costs, names)
    )
    return Picture(width, bottom, title, described, tuple(items))


def _name(cost: Cost) -> str:
    return f"{printable(' '.join(cost.name.split()))}, {cost.input[1]} px"


def _row(cost: Cost, name: str, costs: Sequence[Cost], places: Sequence[float], strides: list[int], y: float) -> Group:
    baseline = y + _ROW / 2 + 0.36 * TEXT
    items: list[Item] = [Text(MARGIN, baseline, name, TEXT, palette.INK)]
    for left, quantity in zip(places, _QUANTITIES):
        most = max(quantity.value(each) for each in costs)
        parts = [(quantity.value(cost), quantity.colour)]
        if not quantity.colour:
            parts = [(macs, _shade(stride, strides)) for stride, macs in _by_stride(cost)]
        x = left
        for value, colour in parts:
            length = _BARS * value / most
            if length:
                items.append(Box(x, y + (_ROW - _BAR) / 2, length, _BAR, colour))
            x += length
        for part, colour in zip(_figures(quantity, cost, costs[0]), (palette.INK, palette.QUIET)):
            items.append(Text(x + _GAP, baseline, part, TEXT, colour))
            x += _GAP + text_width(part, TEXT)
    about = [f"{quantity.name}: {quantity.value(cost):,}" for quantity in _QUANTITIES]
    return Group("network", tuple(items), name, "\n".join([name, *about]))


def _figures(quantity: _Quantity, cost: Cost, first: Cost) -> tuple[str, ...]:
    """The figure, and but for the first network its ratio to that one's."""
    value = quantity.value(cost)
    figure = short(value, quantity.unit)
    return (figure,) if cost is first else (figure, f"×{value / quantity.value(first):.2f}")


def _by_stride(cost: Cost) -> list[tuple[int, int]]:
    """(output stride, multiply-adds) of each stage; stride 0 is the head."""
    return [(_stride(stage, cost), stage.macs + stage.macs_attention) for stage in stages(cost.layers)]


def _stride(stage: Stage, cost: Cost) -> int:
    return 0 if stage.first < 0 else round(cost.input[1] / stage.out[1])


def _shade(stride: int, strides: Sequence[int]) -> str:
    """Darker with the stride; the head is grey."""
    if not stride:
        return palette.FAINT
    return tint(_DEEP, 0.25 + 0.75 * (strides.index(stride) + 1) / len(strides))


def _legend(costs: Sequence[Cost], strides: list[int], width: float, top: float) -> tuple[list[Item], float]:
    """The shades of the multiply-adds, in lines no wider than the picture, and the y where they end."""
    items: list[Item] = [Line(((MARGIN, top), (width - MARGIN, top)), palette.FAINT)]
    x, y = MARGIN, top + _LINE
    words = [(_shade(stride, strides), f"at output stride {stride}") for stride in strides]
    for colour, text in [*words, (_shade(0, strides), "in the head")]:
        needed = 22 + text_width(text, TEXT)
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + _LINE
        items.append(Group("legend", (Box(x, y - 9, 16, 11, colour), Text(x + 22, y, text, TEXT, palette.QUIET))))
        x += needed + 14
    return items, y + 14
