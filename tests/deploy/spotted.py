"""Pictures whose class one small square decides, at a known place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("red", "blue", "plain")
SIDE, SPOT = 64, 14


def spotted(label: int, seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A noisy grey picture with a red or a blue square on it, uint8 RGB (64, 64, 3), and the square's top and left.

    A plain one has none: so each colour has to be seen, and red is not merely what is not blue.
    """
    rng = np.random.default_rng(seed)
    picture = rng.normal(120, 20, (SIDE, SIDE, 1)).repeat(3, axis=2)
    top, left = (int(v) for v in rng.integers(4, SIDE - SPOT - 4, 2))
    if label < 2:
        picture[top : top + SPOT, left : left + SPOT] = ((230, 40, 40), (40, 60, 230))[label]
    return np.clip(picture, 0, 255).astype(np.uint8), (top, left)


def write_spotted(root: Path, train: int = 100, val: int = 10) -> Path:
    """Class folders of such pictures, so many of each class in train/ and val/."""
    for split, count, first in (("train", train, 0), ("val", val, 10_000)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                picture, _ = spotted(label, first + len(CLASSES) * index + label)
                cv2.imwrite(str(folder / f"{index:03d}.png"), picture[..., ::-1])
    return root
