"""The picture of an experiment: accuracy against multiply-adds, as figure 4 of the V1 paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...atomic import replacing
from ...console import say
from .designs import Design

COLOURS = ("#1f4e79", "#c0392b", "#2e8b57", "#b8860b")
FORMS = ("png", "svg")
BESIDE = -6 / 72  # inches from a network's point to the dots of its seeds
LABELS = (6, -10), (-30, 6)  # points from a network to its label; in turns, for neighbours of two lines often meet
ROOM = 1.4  # times the least and the most multiply-adds: where the axis ends


def draw(design: Design, cells: list[dict[str, Any]], how: str, folder: Path) -> list[Path]:
    """Writes plot.png and plot.svg into the folder and returns their paths. `how`, one line, stands below the title.

    One line for each α (a point for each network, where there is but one input), bars of 95 % over images, a small dot
    for each seed. Says in one line that matplotlib is missing, and returns nothing.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
        from matplotlib.transforms import ScaledTranslation
    except ImportError:
        say('the plot needs matplotlib: pip install "mobilenets[plot]"')
        return []
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    beside = axes.transData + ScaledTranslation(BESIDE, 0, figure.dpi_scale_trans)
    lines = dict.fromkeys(cell["line"] for cell in cells)
    for number, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = sorted((cell for cell in cells if cell["line"] == line), key=lambda cell: cell["macs"])
        macs = [cell["macs"] / 1e6 for cell in points]
        top1 = [100 * cell["top1"] for cell in points]
        bars = [
            [100 * (cell["top1"] - cell["top1_interval"][0]) for cell in points],
            [100 * (cell["top1_interval"][1] - cell["top1"]) for cell in points],
        ]
        axes.errorbar(macs, top1, bars, color=colour, marker="o", markersize=6, capsize=3, linewidth=1.4, label=line)
        for cell, x in zip(points, macs):
            seeds = [100 * one for one in cell["by_seed"]]
            axes.plot([x] * len(seeds), seeds, ".", color=colour, alpha=0.5, markersize=6, zorder=1, transform=beside)
            axes.update_datalim([(x, seed) for seed in seeds])  # which a transform of their own keeps them out of
            if len(points) > 1:
                axes.annotate(
                    f"{cell['resolution']} px",
                    (x, 100 * cell["top1"]),
                    LABELS[number % 2],
                    textcoords="offset points",
                    fontsize=8,
                    color=colour,
                )
    axes.set_xscale("log")
    costs = [cell["macs"] / 1e6 for cell in cells]
    axes.set_xlim(min(costs) / ROOM, max(costs) * ROOM)
    near = max(costs) < 10 * min(costs)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 2.5, 3, 4, 5, 7) if near else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("multiply-adds, millions (log scale)")
    axes.set_ylabel("top-1, %")
    axes.set_title(f"{design.name}: {design.title}\n{how}", loc="left", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    written = []
    for form in FORMS:
        path = folder / f"plot.{form}"
        with replacing(path) as temporary, rc_context({"svg.hashsalt": design.name}):
            figure.savefig(temporary, format=form, dpi=130, metadata={"Date": None} if form == "svg" else None)
        written.append(path)
    return written
