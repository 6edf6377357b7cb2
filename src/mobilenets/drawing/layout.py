"""Where everything stands: one flow of boxes from top to bottom, with their figures as bars beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..arch.cost import Cost
from ..figures import short
from . import palette
from .arcs import arcs, lanes
from .lettering import text_width
from .palette import KINDS, tint
from .picture import Box, Group, Item, Line, Text, middle
from .rows import Row
from .tracks import CHIP_GAP, Track, chip_items, place_chips

MARGIN = 16.0
EDGE_TEXT = 10.0
ROW_TEXT = 10.5
BAR_WIDTH, BAR_HEIGHT, BAR_GAP = 60.0, 10.0, 5.0
COLUMN_GAP = 12.0
STRIP = 5.0  # the strong colour at a box's left end
HEAD_HEIGHT = 26.0  # of the columns' names


@dataclass(frozen=True)
class Frame:
    """The columns' places, from left to right, and the heights of rows."""

    tap_x: float
    edge_x: float  # right end of the shapes on the edges
    box_x: float
    box_width: float
    label_x: float
    chips_x: float
    columns: tuple[tuple[float, float], ...]  # each (left end of its bars, width of its figures)
    width: float
    gap: float
    dense: bool
    chip_height: float

    def box_height(self, track: Track) -> float:
        """The height of a row's box: its lines of chips, or one line of text."""
        return track.lines * (self.chip_height + CHIP_GAP) + CHIP_GAP


@dataclass(frozen=True)
class Column:
    """A column of bars: its name and the figures of a row, stacked, with their colours."""

    name: str
    parts: Callable[[Row], tuple[tuple[float, str], ...]]
    text: Callable[[Row], str]


COLUMNS = (
    Column(
        "MACs",
        lambda row: ((row.macs, palette.MACS), (row.macs_attention, palette.ATTENTION)),
        lambda row: short(row.macs + row.macs_attention),
    ),
    Column("parameters", lambda row: ((row.params, palette.PARAMS),), lambda row: short(row.params)),
    Column(
        "live memory",
        lambda row: ((row.alive_bytes, palette.PEAK if row.peak else palette.MEMORY),),
        lambda row: short(row.alive_bytes, "B"),
    ),
)


def body(rows: Sequence[Row], cost: Cost, top: float, *, dense: bool, least: float) -> tuple[list[Item], float, float]:
    """The rows below `top` as items, with the picture's width (`least` or more) and the y where they end.

    `dense` rows are those of layers, many and simple.
    """
    tracks = place_chips(rows, wrap=rows[0].kind == "stage")
    frame = _frame(rows, cost, tracks, dense, least)
    tops, y = [], top + HEAD_HEIGHT + frame.gap + EDGE_TEXT
    for track in tracks:
        tops.append(y)
        y += frame.box_height(track) + frame.gap
    boxes = [
        Box(frame.box_x, at, frame.box_width, frame.box_height(track), radius=4) for at, track in zip(tops, tracks)
    ]
    items = _bands(rows, boxes, frame)
    items += _names_of_columns(frame, top)
    items += [_flow(rows, boxes, frame)]
    items += arcs(rows, boxes, frame.gap)
    items += [_row(row, box, track, frame) for row, box, track in zip(rows, boxes, tracks)]
    items += _edges(rows, boxes, cost, frame)
    items += _bars(rows, boxes, frame)
    return items, frame.width, y + EDGE_TEXT


def _frame(rows: Sequence[Row], cost: Cost, tracks: Sequence[Track], dense: bool, least: float) -> Frame:
    taps = max(text_width(row.tap, ROW_TEXT, bold=True) for row in rows)
    edges = max(text_width(_shape(shape), EDGE_TEXT) for shape in (cost.input, *(row.out for row in rows)))
    edge_x = MARGIN + (taps + 10 if taps else 4) + edges
    box_x = edge_x + 10
    numbers = max(text_width(row.name, ROW_TEXT) for row in rows)
    label_x = box_x + STRIP + 7 + numbers + 7
    chips_x = label_x + max(text_width(row.label, ROW_TEXT) for row in rows) + 12
    end = chips_x + max(track.width for track in tracks) + 10
    figures = [max(text_width(column.text(row), EDGE_TEXT) for row in rows) for column in COLUMNS]
    beside = 14 + 8 * lanes(rows) + sum(BAR_WIDTH + BAR_GAP + width + COLUMN_GAP for width in figures) - COLUMN_GAP
    end = max(end, least - MARGIN - beside)
    left, columns = end + 14 + 8 * lanes(rows), []
    for width in figures:
        columns.append((left, width))
        left += BAR_WIDTH + BAR_GAP + width + COLUMN_GAP
    return Frame(
        tap_x=MARGIN + 4,
        edge_x=edge_x,
        box_x=box_x,
        box_width=end - box_x,
        label_x=label_x,
        chips_x=chips_x,
        columns=tuple(columns),
        width=left - COLUMN_GAP + MARGIN,
        gap=7.0 if dense else 8.0,
        dense=dense,
        chip_height=14.0 if dense else 16.0,
    )


def _bands(rows: Sequence[Row], boxes: Sequence[Box], frame: Frame) -> list[Item]:
    """A pale band behind every second run of rows that belong together, and the names of feature maps."""
    items: list[Item] = []
    if rows[0].kind != "stage":
        pairs = zip(rows, boxes)
        for number, (_, run) in enumerate(groupby(pairs, key=lambda pair: pair[0].band)):
            run_boxes = [box for _, box in run]
            top, end = run_boxes[0].y - frame.gap / 2, run_boxes[-1].y + run_boxes[-1].height + frame.gap / 2
            if number % 2 == 0:
                items.append(Box(MARGIN / 2, top, frame.width - MARGIN, end - top, palette.BAND, radius=4))
    for row, box in zip(rows, boxes):
        if row.tap:
            y = middle(box, ROW_TEXT)
            items.append(Text(frame.tap_x, y, row.tap, ROW_TEXT, palette.QUIET, bold=True))
    return items


def _names_of_columns(frame: Frame, top: float) -> list[Item]:
    y = top + HEAD_HEIGHT - 9
    return [
        Text(left, y, column.name, ROW_TEXT, palette.QUIET, bold=True)
        for (left, _), column in zip(frame.columns, COLUMNS)
    ]


def _flow(rows: Sequence[Row], boxes: Sequence[Box], frame: Frame) -> Item:
    """Arrows from box to box, into the first and out of the last."""
    x = frame.box_x + 22
    first, last = boxes[0], boxes[-1]
    ends = [(first.y - frame.gap - 4, first.y)]
    ends += [(a.y + a.height, b.y) for a, b, row in zip(boxes, boxes[1:], rows[1:]) if row.joined]
    ends.append((last.y + last.height, last.y + last.height + frame.gap + 4))
    items: list[Item] = []
    for start, end in ends:
        items.append(Line(((x, start), (x, end - 3)), palette.FLOW, 1.4))
        items.append(Line(((x - 3, end - 4), (x + 3, end - 4), (x, end)), fill=palette.FLOW))
    return Group("flow", tuple(items))


def _row(row: Row, box: Box, track: Track, frame: Frame) -> Group:
    colour = KINDS[row.kind][1] if row.kind in KINDS else palette.QUIET
    filled = Box(box.x, box.y, box.width, box.height, tint(colour), tint(colour, 0.6), radius=box.radius)
    strip = Box(box.x, box.y, STRIP, box.height, colour, radius=2)
    baseline = middle(box, ROW_TEXT)
    names = [Text(frame.label_x, baseline, row.label, ROW_TEXT, palette.INK)] if row.label else []
    if row.name:
        width = text_width(row.name, ROW_TEXT)
        x = frame.box_x + STRIP + 7 if frame.dense else frame.label_x - 7 - width
        names.insert(0, Text(x, baseline, row.name, ROW_TEXT, palette.QUIET))
    chips = chip_items(row, track, frame.chips_x, box.y + CHIP_GAP, frame.chip_height)
    what = "stage" if row.kind == "stage" else row.kind
    return Group(f"row {what}", (filled, strip, *names, *chips), row.name or what, row.tooltip)


def _edges(rows: Sequence[Row], boxes: Sequence[Box], cost: Cost, frame: Frame) -> list[Item]:
    """What flows along each edge, as height × width × channels, beside the gap it flows through."""
    shapes = [(cost.input, boxes[0].y - frame.gap / 2)]
    shapes += [(row.out, box.y + box.height + frame.gap / 2) for row, box in zip(rows, boxes)]
    return [
        Text(frame.edge_x, y + 0.36 * EDGE_TEXT, _shape(shape), EDGE_TEXT, palette.QUIET, "end") for shape, y in shapes
    ]


def _shape(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return str(channels) if (height, width) == (1, 1) else f"{height}×{width}×{channels}"


def _bars(rows: Sequence[Row], boxes: Sequence[Box], frame: Frame) -> list[Item]:
    """The bars of every column, each over its own largest row, and the figure at their right."""
    items: list[Item] = []
    for column, (left, _) in zip(COLUMNS, frame.columns):
        most = max(sum(value for value, _ in column.parts(row)) for row in rows) or 1
        for row, box in zip(rows, boxes):
            x, y = left, box.y + (box.height - BAR_HEIGHT) / 2
            for value, colour in column.parts(row):
                if value:
                    width = max(BAR_WIDTH * value / most, 0.5)
                    items.append(Box(x, y, width, BAR_HEIGHT, colour))
                    x += width
            peak = column.name == "live memory" and row.peak
            if peak:
                items.append(Text(left + BAR_WIDTH / 2, y + 8.2, "peak", 9, palette.PAPER, "middle", bold=True))
            text = column.text(row)
            if text != "0":
                colour = palette.PEAK if peak else palette.INK
                items.append(Text(x + BAR_GAP, middle(box, EDGE_TEXT), text, EDGE_TEXT, colour))
    return items
