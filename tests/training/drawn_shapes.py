"""A small set of pictures that a small network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_shapes(root: Path, *, train: int = 40, val: int = 16, side: int = 40) -> Path:
    """Class folders of reddish discs, greenish squares and bluish stripes on noise: train/ and val/, so many each."""
    rng = np.random.default_rng(3)
    for split, count in (("train", train), ("val", val)):
        for channel, name in enumerate(("disc", "square", "stripes")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                picture = rng.integers(0, 90, (side, side, 3)).astype(np.uint8)
                colour = [int(c) for c in rng.integers(60, 160, 3)]
                colour[2 - channel] = 255
                x, y = (int(v) for v in rng.integers(12, side - 12, 2))
                if name == "disc":
                    cv2.circle(picture, (x, y), 9, colour, -1)
                elif name == "square":
                    cv2.rectangle(picture, (x - 8, y - 8), (x + 8, y + 8), colour, -1)
                else:
                    for row in range(int(rng.integers(0, 4)), side, 6):
                        cv2.line(picture, (0, row), (side, row), colour, 2)
                cv2.imwrite(str(folder / f"{index:03d}.png"), picture)
    return root
