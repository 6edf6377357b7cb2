"""V3's figure 6: sigmoid and swish beside their hard forms (Howard et al. 2019, section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .entry import Column, Entry, Figure, Row, remark

SHOWN = (-6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x)."""
    return 1 / (1 + math.exp(-x))


def hard_sigmoid(x: float) -> float:
    """ReLU6(x + 3) / 6.

    >>> [hard_sigmoid(x) for x in (-3, 0, 3)]
    [0.0, 0.5, 1.0]
    """
    return min(max(x + 3, 0), 6) / 6


def swish(x: float) -> float:
    """x sigmoid(x)."""
    return x * sigmoid(x)


def hard_swish(x: float) -> float:
    """x ReLU6(x + 3) / 6."""
    return x * hard_sigmoid(x)


CURVES: tuple[tuple[str, str, Callable[[float], float], Callable[[float], float]], ...] = (
    ("sigmoid", "hard sigmoid", sigmoid, hard_sigmoid),
    ("swish", "hard swish", swish, hard_swish),
)
GRID = tuple(number / 100 for number in range(-800, 801))


def _rows() -> tuple[Row, ...]:
    rows = [
        Row(
            name=f"x = {x}",
            figures={
                "sigmoid": Figure("", sigmoid(x)),
                "hard_sigmoid": Figure("", hard_sigmoid(x)),
                "swish": Figure("", swish(x)),
                "hard_swish": Figure("", hard_swish(x)),
            },
        )
        for x in SHOWN
    ]
    apart = {
        "hard_sigmoid": Figure("", max(abs(sigmoid(x) - hard_sigmoid(x)) for x in GRID)),
        "hard_swish": Figure("", max(abs(swish(x) - hard_swish(x)) for x in GRID)),
    }
    return (*rows, Row(name="largest difference", figures=apart))


def _draw(entry: Entry, figure: Any) -> None:
    panels = figure.subplots(1, 2)
    for axes, (soft, hard, soft_of, hard_of) in zip(panels, CURVES):
        axes.axhline(0, color="#cfd6dc", linewidth=0.8)
        axes.axvline(0, color="#cfd6dc", linewidth=0.8)
        axes.plot(GRID, [soft_of(x) for x in GRID], color="#1f4e79", linewidth=1.8, label=soft)
        axes.plot(GRID, [hard_of(x) for x in GRID], color="#c0392b", linewidth=1.8, linestyle="--", label=hard)
        axes.legend(frameon=False, loc="upper left")
        axes.set_xlabel("x")


ENTRIES = (
    Entry(
        id="v3.fig6",
        title="Sigmoid and swish, and their hard forms",
        source="Howard et al. 2019, arXiv:1905.02244, figure 6",
        columns=(
            Column("sigmoid", "sigmoid"),
            Column("hard_sigmoid", "hard sigmoid"),
            Column("swish", "swish"),
            Column("hard_swish", "hard swish"),
        ),
        read=_rows,
        first="",
        notes=(remark("over -8 to 8 in steps of 0.01", "largest difference"),),
        draw=_draw,
        inches=(9.0, 3.4),
    ),
)
