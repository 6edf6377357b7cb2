"""Shortcuts: lines that leave the flow at the right of the boxes and join it again further down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import palette
from .picture import Box, Group, Item, Line
from .rows import Row

_LANE = 8.0
_RADIUS = 4.0


@dataclass(frozen=True, slots=True)
class Shortcut:
    """From the edge below row `start` (-1: the input) to row `end`, or with `own` around row `end` itself."""

    start: int
    end: int
    own: bool


def shortcuts(rows: Sequence[Row]) -> list[Shortcut]:
    """Every residual connection and every other edge that skips rows."""
    found = [Shortcut(place - 1, place, True) for place, row in enumerate(rows) if row.residual]
    found += [Shortcut(source, place, False) for place, row in enumerate(rows) for source in row.sources]
    return found


def lanes(rows: Sequence[Row]) -> int:
    """How many shortcuts run side by side at most, as they are placed; 0 where there are none."""
    return max(_assigned(shortcuts(rows)).values(), default=-1) + 1


def arcs(rows: Sequence[Row], boxes: Sequence[Box], gap: float) -> list[Item]:
    """The shortcuts as lines. A row that adds its own input gets a plus sign where the line comes back."""
    items: list[Item] = []
    for shortcut, lane in _assigned(shortcuts(rows)).items():
        box = boxes[shortcut.end]
        right = box.x + box.width
        x = right + _LANE * (lane + 1)
        before = boxes[shortcut.start] if shortcut.start >= 0 else None
        start = before.y + before.height + gap / 2 if before else boxes[0].y - gap / 2
        flow = box.x + 22
        if shortcut.own:
            start += 1.5  # the end of the block above may come back in the same gap
            end = box.y + box.height + gap / 2 - 1.5
            points = ((flow, start), (x, start), (x, end), (flow + 3, end))
        else:
            end = box.y + box.height / 2 + min(lane, 2) * 2 - 2
            points = ((flow, start), (x, start), (x, end), (right, end))
        line = Line(points, palette.RESIDUAL, 1.0, _RADIUS)
        tip = points[-1]
        head = Line((tip, (tip[0] + 5, tip[1] - 2.5), (tip[0] + 5, tip[1] + 2.5)), fill=palette.RESIDUAL)
        items.append(Group("arc", (line, head)))
    return items


def _assigned(found: Sequence[Shortcut]) -> dict[Shortcut, int]:
    """A lane for each shortcut: the innermost that no shorter one occupies on the same rows."""
    taken: list[list[Shortcut]] = []
    result = {}
    for shortcut in sorted(found, key=lambda each: (each.end - each.start, each.start)):
        free = (
            lane
            for lane, others in enumerate(taken)
            if all(shortcut.end <= each.start or each.end <= shortcut.start for each in others)
        )
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(shortcut)
        result[shortcut] = lane
    return result
