"""V2's figure 1: what a random n-dimensional ReLU layer leaves of a spiral in the plane.

The spiral x is mapped to y = ReLU(T x) by a random matrix T (n x 2, standard normal) and back by T's pseudo-inverse.
Where fewer than two of the n values are above zero, neighbouring points of the plane fall onto a line or a point: what
was there is lost. For a random T each value is above zero with probability 1/2, so the expected share is (n + 1) / 2^n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .entry import PERCENT, Column, Entry, Figure, Row, counted

if TYPE_CHECKING:
    import numpy as np

DIMENSIONS = (2, 3, 5, 15, 30)
POINTS = 1000
MATRICES = 400
SEED = 4


def spiral() -> np.ndarray:
    """POINTS points of a spiral of two and a half turns inside the unit circle, as (2, POINTS) float64."""
    import numpy as np

    t = np.linspace(0.05, 1, POINTS)
    return t * np.stack((np.cos(5 * np.pi * t), np.sin(5 * np.pi * t)))


def matrix(n: int, seed: int) -> np.ndarray:
    """The random T of n rows, (n, 2), standard normal; the same for the same seed."""
    import numpy as np

    return np.random.default_rng((seed, n)).standard_normal((n, 2))


def there_and_back(points: np.ndarray, t: np.ndarray) -> np.ndarray:
    """T⁺ ReLU(T x) of (2, N) points: the layer's output, seen from the plane again."""
    import numpy as np

    return np.linalg.pinv(t) @ np.maximum(t @ points, 0)


def lost(points: np.ndarray, t: np.ndarray) -> np.ndarray:
    """For each point, whether fewer than two of the layer's values are above zero: (N,) bool."""
    return ((t @ points) > 0).sum(axis=0) < 2


def _rows() -> tuple[Row, ...]:
    points = spiral()
    rows = []
    for n in DIMENSIONS:
        shares = [float(lost(points, matrix(n, seed)).mean()) for seed in range(MATRICES)]
        figures = {
            "picture": Figure("", float(lost(points, matrix(n, SEED)).mean())),
            "mean": Figure("", sum(shares) / len(shares)),
            "expected": Figure("", (n + 1) / 2**n),
        }
        rows.append(Row(name=f"n = {n}", figures=figures))
    return tuple(rows)


def _draw(entry: Entry, figure: Any) -> None:
    """The spiral, then what comes back from n dimensions; lost points in red, colour along the spiral."""
    import numpy as np

    points = spiral()
    along = np.linspace(0, 1, POINTS)
    panels = figure.subplots(1, len(DIMENSIONS) + 1)
    panels[0].scatter(*points, c=along, cmap="viridis", s=4, linewidths=0)
    panels[0].set_title("input", fontsize=11)
    for axes, n in zip(panels[1:], DIMENSIONS):
        t = matrix(n, SEED)
        back, gone = there_and_back(points, t), lost(points, t)
        axes.scatter(*back[:, ~gone], c=along[~gone], cmap="viridis", vmin=0, vmax=1, s=4, linewidths=0)
        axes.scatter(*back[:, gone], color="#d1495b", s=4, linewidths=0)
        axes.set_title(f"n = {n}", fontsize=11)
    for axes in panels:
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    figure.supxlabel(
        "red: fewer than two of the n values are above zero, the point cannot be told from others", fontsize=9
    )


SHARES = (
    Column("picture", "lost in the picture, %", PERCENT),
    Column("mean", f"mean of {MATRICES} random layers, %", PERCENT),
    Column("expected", "expected, (n + 1) / 2^n, %", PERCENT),
)

ENTRIES = (
    Entry(
        id="v2.fig1",
        title="What a random ReLU layer of n dimensions leaves of a spiral",
        source="Sandler et al. 2018, arXiv:1801.04381, figure 1",
        columns=SHARES,
        read=_rows,
        notes=(
            counted(
                "share of the spiral's points that cannot be told from their neighbours after the layer; the paper "
                "shows the picture alone, of its own random matrices",
                "n = 2",
            ),
        ),
        first="dimensions",
        draw=_draw,
        inches=(11.0, 2.4),
    ),
)
