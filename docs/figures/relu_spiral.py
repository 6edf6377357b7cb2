"""Draws docs/images/relu-spiral.png: what ReLU does to a curve in few and in many dimensions (V2 paper, figure 1).

python docs/figures/relu_spiral.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PICTURE = Path(__file__).resolve().parents[1] / "images" / "relu-spiral.png"
DIMENSIONS = (2, 3, 5, 15, 30)
INK, COLOURS = "#1f2933", "viridis"


def spiral(points: int) -> np.ndarray:
    """(points, 2): a spiral of two turns and a half within the unit circle."""
    turn = np.linspace(0, 5 * np.pi, points)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1) * (turn / turn[-1])[:, None]


def there_and_back(points: np.ndarray, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    """The points after a random matrix into `dimensions`, ReLU, and the matrix' pseudo-inverse."""
    matrix = rng.normal(size=(2, dimensions))
    return np.maximum(points @ matrix, 0) @ np.linalg.pinv(matrix)


def main() -> None:
    curve = spiral(1500)
    figure, axes = plt.subplots(1, 1 + len(DIMENSIONS), figsize=(11, 2.3), layout="constrained")
    shown = [("input", curve)]
    for dimensions in DIMENSIONS:
        shown.append((f"ReLU in {dimensions} dimensions", there_and_back(curve, dimensions, np.random.default_rng(4))))
    for axis, (title, points) in zip(axes, shown):
        axis.scatter(points[:, 0], points[:, 1], c=np.linspace(0, 1, len(points)), cmap=COLOURS, s=1.5)
        axis.set_title(title, fontsize=9, color=INK)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_color("#c9d1d9")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
