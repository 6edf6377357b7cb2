"""Networks side by side: one column each, every quantity with its ratio to the first; also stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..arch.cost import Cost
from ..arch.stages import Stage, stages
from ..figures import short
from . import output

QUANTITIES: tuple[tuple[str, str, Callable[[float], str]], ...] = (  # key in JSON, name, how it is written
    ("params", "parameters", output.millions),
    ("macs", "multiply-adds", output.millions),
    ("macs_attention", "  in attention", output.millions),
    ("activation_bytes", "peak memory, float32", output.megabytes),
    ("activation_bytes_int8", "peak memory, int8", output.megabytes),
    ("bytes_float32", "weights, float32", output.megabytes),
    ("bytes_int8", "weights, int8", output.megabytes),
    ("weight_layers", "layers", "{:,}".format),
    ("depth", "depth", "{:,}".format),
)
_FIRST_COLUMN, _RATIO = 24, 8  # characters
_FIGURES: tuple[tuple[str, Callable[[Stage], str]], ...] = (
    ("Multiply-adds, attention's included", lambda stage: short(stage.macs + stage.macs_attention)),
    ("Parameters", lambda stage: short(stage.params)),
    ("Peak memory, float32", lambda stage: short(stage.alive_bytes, "B")),
)


def relative(cost: Cost, first: Cost) -> dict[str, float]:
    """Every quantity of the comparison divided by the first network's; what that one has nothing of is left out."""
    return {key: getattr(cost, key) / getattr(first, key) for key, _, _ in QUANTITIES if getattr(first, key)}


def stage_rows(cost: Cost) -> list[dict[str, Any]]:
    """The stages as plain data; `stride` is None in the head."""
    return [
        {
            "name": stage.name,
            "stride": _stride(stage, cost),
            "out": list(stage.out),
            "macs": stage.macs,
            "macs_attention": stage.macs_attention,
            "params": stage.params,
            "alive_bytes": stage.alive_bytes,
        }
        for stage in stages(cost.layers)
    ]


def show(costs: Sequence[Cost]) -> None:
    """Prints the totals, in as many tables as the width of the terminal asks for; the first network is in each."""
    quantities = [row for row in QUANTITIES if any(getattr(cost, row[0]) for cost in costs)]
    for shown in _tables(costs, lambda cost: max(len(cost.name), 10) + _RATIO):
        columns = [""]
        for cost in shown:
            columns += [f">{cost.name}", ">" if cost is costs[0] else ">×"]
        rows = [["input", *(cell for cost in shown for cell in (f"{cost.input[1]} px", ""))]]
        for key, name, written in quantities:
            row = [name]
            for cost in shown:
                value, base = getattr(cost, key), getattr(costs[0], key)
                row += [written(value), "" if cost is costs[0] or not base else f"{value / base:.2f}"]
            rows.append(row)
        output.table(columns, rows)
        output.line("")


def show_stages(costs: Sequence[Cost]) -> None:
    """Prints what each network spends at each output stride and in the head, a table for each quantity."""
    for shown in _tables(costs, lambda cost: len(cost.name)):
        found = [{_stride(stage, cost): stage for stage in stages(cost.layers)} for cost in shown]
        strides = [*sorted({stride for each in found for stride in each if stride}), None]
        for title, written in _FIGURES:
            rows = [
                [f"stride {stride}" if stride else "head"]
                + [written(each[stride]) if stride in each else "" for each in found]
                for stride in strides
            ]
            output.table(["output", *(f">{cost.name}" for cost in shown)], rows, title=title)
            output.line("")


def _stride(stage: Stage, cost: Cost) -> int | None:
    """Input height over output height, rounded; None in the head."""
    return None if stage.first < 0 else round(cost.input[1] / stage.out[1])


def _tables(costs: Sequence[Cost], width: Callable[[Cost], int]) -> list[list[Cost]]:
    """The networks divided into tables that fit; the first network leads each of them."""
    room = output.printer().width - _FIRST_COLUMN - width(costs[0])
    found: list[list[Cost]] = [[costs[0]]]
    left = room
    for cost in costs[1:]:
        left -= width(cost) + 4
        if left < 0 and len(found[-1]) > 1:
            found.append([costs[0]])
            left = room - width(cost) - 4
        found[-1].append(cost)
    return found
