"""Pictures of the entries that are figures, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..atomic import replacing
from ..errors import UserError
from .entry import Entry


def pictures(chosen: Sequence[Entry], path: Path) -> list[Path]:
    """Draws the chosen figures: one into the file `path`, several into ID.png in the folder `path`.

    Raises UserError where none of them is a figure, where a file's name does not end in .png, or without matplotlib.
    """
    figures = [entry for entry in chosen if entry.draw]
    if not figures:
        from .registry import ENTRIES

        drawn = ", ".join(entry.id for entry in ENTRIES.values() if entry.draw)
        raise UserError(f"--png: {', '.join(entry.id for entry in chosen)} is no figure; pictures: {drawn}")
    if len(figures) == 1 and path.suffix and not path.is_dir():
        if path.suffix.lower() != ".png":
            raise UserError(f"--png {path} is not possible; allowed: a name that ends in .png, or a folder")
        return [draw(figures[0], path)]
    return [draw(entry, path / f"{entry.id}.png") for entry in figures]


def draw(entry: Entry, path: Path) -> Path:
    """Draws one entry into a PNG file and returns its path."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('pictures need matplotlib: pip install "mobilenets[plot]"') from None
    assert entry.draw is not None
    figure = Figure(figsize=entry.inches, layout="constrained")
    FigureCanvasAgg(figure)
    entry.draw(entry, figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path
