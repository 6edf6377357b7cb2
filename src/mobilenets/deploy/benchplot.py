"""The picture of what `bench` measured."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import Any

from ..drawing.plot import write
from ..drawing.speeds import Speed, draw_speeds


def plot_bench(result: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Draws the `bench` JSON as bars, .svg or .png by the path's ending. Raises UserError on another ending."""
    groups = [
        (f"{threads} {'thread' if threads == 1 else 'threads'}", [_speed(row) for row in rows])
        for threads, rows in groupby(result["files"], key=lambda row: row["threads"])
    ]
    machine = result["machine"]
    title = f"{Path(result['bundle']).name}: time of one image"
    return write(draw_speeds(groups, title, f"{machine['cpu']}, {machine['system']}; batch 1"), path)


def _speed(row: dict[str, Any]) -> Speed:
    return Speed(
        name=row["path"],
        precision=row["precision"],
        ms=row["average_ms"] if row["median_ms"] is None else row["median_ms"],
        high_ms=row["p95_ms"],
        rounds_ms=tuple(row["round_medians_ms"]),
        ratio=row["ratio"],
    )
