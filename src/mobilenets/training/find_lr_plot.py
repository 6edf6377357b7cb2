"""The picture of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..atomic import replacing
from ..console import say


def draw(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    lr: float | None,
    steepest: float | None,
    path: Path,
) -> bool:
    """Writes the loss over the learning rate as a PNG; says in one line that matplotlib is missing, and gives False."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        say('the plot needs matplotlib: pip install "mobilenets[plot]"')
        return False
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#b8c4d0", linewidth=1, label="loss")
    axes.plot(rates, smoothed, color="#1f4e79", linewidth=2, label="smoothed")
    for rate, words, style in ((lr, "suggested", "-"), (steepest, "steepest", ":")):
        if rate is not None:
            axes.axvline(rate, color="#c0392b", linestyle=style, linewidth=1.2, label=f"{words}: {rate:.2g}")
    axes.set_xscale("log")
    low, high = min(smoothed), min(max(smoothed), 1.5 * smoothed[0])  # room for the fall, none for the break
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
