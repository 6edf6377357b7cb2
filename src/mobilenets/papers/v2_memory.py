"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381), table 3: what must be kept in memory at each resolution."""

from __future__ import annotations

import re
from decimal import Decimal

from .counting import (
    OTHER,
    network,
)
from .entry import Column, Entry, Figure, Note, Row, counted
from .v2 import PAPER, lines

KILO = Decimal(1000)
MATERIALISED = ("v1", "v2", "shufflenet")
CELL = re.compile(r"(?:(\d+)/)?(O\(1\)|\d+)K?")


def _table_3() -> tuple[Row, ...]:
    """Channels and 16-bit kilobytes of the widest tensor at each side, as printed and of our graphs.

    The printed channels are, at each side, the widest input or output of the layers (V1) or bottlenecks (V2, whose
    expanded tensors are computed piece by piece) that start at that side; what follows the last one is left out.
    """
    ours = {"v1": _widest("mobilenet_v1"), "v2": _widest("mobilenet_v2")}
    rows = []
    for line in lines("paper T3"):
        place = line["resolution"]
        figures: dict[str, Figure] = {}
        for name, cell in zip(MATERIALISED, line["note"].split(" | ")):
            found = CELL.fullmatch(cell.removeprefix("V1").removeprefix("V2").removeprefix("ShuffleNet").strip())
            channels, memory = (found[1] or "", found[2]) if found else ("", "")
            sides = ours.get(name, {})
            if place == "max":  # the first layers, printed as O(1), are left out
                widest = max((side * side * c * 2 for side, c in sides.items() if side < 112), default=None)
                figures[f"{name}_bytes"] = Figure(memory, widest)
                continue
            side = int(place.split("x")[0])
            if channels:
                figures[f"{name}_channels"] = Figure(channels, sides.get(side))
            if memory:
                figures[f"{name}_bytes"] = Figure(memory, side * side * sides[side] * 2 if sides else None)
        rows.append(Row(name=place, figures=figures, stands=OTHER, source=line["source"]))
    peaks = {name: network(f"mobilenet_{name}", 224).cost().activation_bytes // 2 for name in ("v1", "v2")}
    rows.append(Row(name="peak by liveness", figures={f"{n}_bytes": Figure("", peak) for n, peak in peaks.items()}))
    return tuple(rows)


def _widest(name: str) -> dict[int, int]:
    """Side -> channels of the widest input or output of what starts there, without the stem and the last 1x1."""
    whole = network(name, 224).cost()
    shapes = {op.name: op.shape for op in whole.ops}
    last = max(op.block for op in whole.ops) - (name == "mobilenet_v2")  # V2's last block is the 1x1 to 1280
    if name == "mobilenet_v2":
        spans = [[op for op in whole.ops if op.block == block] for block in range(1, last + 1)]
    else:
        spans = [[op] for op in whole.ops if 1 <= op.block <= last]
    widest: dict[int, int] = {}
    for ops in spans:
        c_in, side, _ = shapes[ops[0].inputs[0]]
        widest[side] = max(widest.get(side, 0), c_in, ops[-1].shape[0])
    return widest | {1: shapes["head.pool"][0]}


# The entries ---------------------------------------------------------------------------------------------------------

ENTRIES = (
    Entry(
        id="v2.table3",
        title="Widest tensor to be kept at each resolution: channels, and kilobytes at 16 bits",
        source=f"{PAPER}, table 3",
        columns=tuple(
            column
            for key, title in (("v1", "V1"), ("v2", "V2"), ("shufflenet", "ShuffleNet"))
            for column in (
                Column(f"{key}_channels", f"{title}: channels"),
                Column(f"{key}_bytes", f"{title}: kB", KILO),
            )
        ),
        read=_table_3,
        first="size",
        notes=(
            Note(
                "O(1): the paper computes the first layers piece by piece (section 5); computed is the whole tensor",
                "112x112",
                ("v2_channels", "v2_bytes"),
            ),
            Note("printed in round hundreds", ("56x56", "28x28", "14x14", "max"), ("v1_bytes", "v2_bytes")),
            Note("printed 199; 7 x 7 x 1024 values of two bytes are 100 kB", "7x7", ("v1_bytes",)),
            Note("printed 32; 7 x 7 x 320 values of two bytes are 31.4 kB", "7x7", ("v2_bytes",)),
            counted(
                "the widest input or output of the layers (V1) or bottlenecks (V2) that start at this side",
                "*x*",
                ("v1_channels", "v2_channels"),
            ),
            counted(
                "ours, every tensor that is alive at once, V2's expanded ones included, here at 16 bits",
                "peak by liveness",
            ),
        ),
    ),
)
