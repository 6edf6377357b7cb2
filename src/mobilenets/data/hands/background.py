"""What lies behind the hand: textures drawn with OpenCV, independent of any file."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_Draw = Callable[[np.random.Generator, int], np.ndarray]


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A random sRGB colour (3,) in 0…1; mostly muted, one in twelve close to skin."""
    if rng.random() < 1 / 12:
        return np.clip(np.array([0.80, 0.60, 0.46]) * rng.uniform(0.45, 1.2) + rng.normal(0, 0.05, 3), 0, 1)
    grey = rng.uniform(0.08, 0.95)
    return np.clip(grey + rng.normal(0.0, 0.5, 3) * rng.beta(1.0, 3.5), 0.02, 1.0)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y (H, W) of pixel middles in 0…1."""
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return np.broadcast_to(line[None, :], (size, size)), np.broadcast_to(line[:, None], (size, size))


def _turned(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The grid about its middle, turned by a random angle."""
    x, y = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * (x - 0.5) - s * (y - 0.5), s * (x - 0.5) + c * (y - 0.5)


def _noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise (H, W) in about -1…1 with `cells` (down, across) bumps."""
    # Drawn one cell too large on every side, so that the edges are as lively as the middle.
    coarse = rng.uniform(-1, 1, (cells[0] + 3, cells[1] + 3)).astype(np.float32)
    x, y = _grid(size)
    return cv2.remap(coarse, x * np.float32(cells[1]) + 0.5, y * np.float32(cells[0]) + 0.5, cv2.INTER_CUBIC)


def _mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    w = np.clip(weight, 0, 1)[..., None]
    return (a + (b - a) * w).astype(np.float32)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    u, v = _turned(rng, size)
    weight = u + 0.5 if rng.random() < 0.6 else np.hypot(u, v) * 1.4
    return _mix(_colour(rng), _colour(rng), weight)


def _plaster(rng: np.random.Generator, size: int) -> np.ndarray:
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((2, 1.0), (5, 0.6), (11, 0.4), (23, 0.3)):
        total += weight * _noise(rng, size, (cells, cells))
    a = _colour(rng)
    b = _colour(rng) if rng.random() < 0.5 else np.clip(a * rng.uniform(0.55, 0.9), 0, 1)
    return _mix(a, b, 0.5 + 0.45 * total)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    u, _ = _turned(rng, size)
    count = rng.uniform(3, 14)
    wave = np.sin(2 * np.pi * count * u + rng.uniform(0, 6))
    return _mix(_colour(rng), _colour(rng), 0.5 + wave * rng.uniform(0.6, 6))


def _checker(rng: np.random.Generator, size: int) -> np.ndarray:
    u, v = _turned(rng, size)
    count = rng.uniform(2, 7)
    wave = np.sin(2 * np.pi * count * u + rng.uniform(0, 6)) * np.sin(2 * np.pi * count * v + rng.uniform(0, 6))
    return _mix(_colour(rng), _colour(rng), 0.5 + 6 * wave)


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    u, v = _turned(rng, size)
    count = rng.uniform(2, 6)
    row = np.floor(v * count)
    x = u * count * rng.uniform(0.5, 1.0) + 0.5 * (row % 2) * float(rng.random() < 0.7)
    joint = np.minimum(np.abs(x - np.round(x)), np.abs(v * count - np.round(v * count)))
    shade = np.sin(12.9898 * np.floor(x + 0.5) + 78.233 * row) * 43758.5453 % 1.0
    base = _mix(_colour(rng), _colour(rng), 0.5 * shade + 0.1 * _noise(rng, size, (9, 9)))
    return _mix(_colour(rng), base, (joint - 0.02) * 40)


def _planks(rng: np.random.Generator, size: int) -> np.ndarray:
    wood = np.array(
        [[0.72, 0.52, 0.33], [0.50, 0.33, 0.20], [0.82, 0.68, 0.50], [0.36, 0.25, 0.18], [0.60, 0.57, 0.52]]
    )
    base = np.clip(wood[int(rng.integers(len(wood)))] * rng.uniform(0.75, 1.15), 0, 1)
    count = int(rng.integers(2, 6))
    image = np.empty((size, size, 3), np.float32)
    _, y = _grid(size)
    board = np.minimum((y * count).astype(int), count - 1)
    tone = rng.uniform(0.82, 1.12, count)[board]
    grain = _noise(rng, size, (40, 2)) * 0.6 + _noise(rng, size, (17, 1)) * 0.6
    rings = np.sin(26 * y + 4 * _noise(rng, size, (3, 1)))
    image[:] = base * (tone * (1 + 0.09 * grain + 0.05 * rings))[..., None]
    gap = np.abs(y * count - np.round(y * count)) < 0.035
    image[gap] *= 0.45
    turn = int(rng.integers(4))
    return np.ascontiguousarray(np.rot90(np.clip(image, 0, 1), turn))


def _bokeh(rng: np.random.Generator, size: int) -> np.ndarray:
    image = _gradient(rng, size)
    for _ in range(int(rng.integers(6, 26))):
        layer = image.copy()
        x, y = rng.uniform(0, size, 2)
        colour = tuple(float(c) for c in _colour(rng))
        cv2.circle(layer, (round(x), round(y)), max(2, round(size * rng.uniform(0.03, 0.18))), colour, -1)
        image = cv2.addWeighted(layer, 0.6, image, 0.4, 0)
    return cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.004, 0.03))


def _clutter(rng: np.random.Generator, size: int) -> np.ndarray:
    """A desk or a room out of focus: boxes, discs and bars, some long and round like fingers."""
    image = _gradient(rng, size)
    for _ in range(int(rng.integers(8, 24))):
        colour = tuple(float(c) for c in _colour(rng))
        x, y = rng.uniform(-0.1, 1.1, 2) * size
        w, h = size * rng.uniform(0.05, 0.45, 2)
        kind = rng.integers(3)
        if kind == 0:
            box = cv2.boxPoints(((x, y), (w, h), rng.uniform(0, 180)))
            cv2.fillConvexPoly(image, np.round(box).astype(np.int32), colour)
        elif kind == 1:
            axes = (max(1, round(w / 2)), max(1, round(h / 2)))
            cv2.ellipse(image, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1)
        else:
            angle = rng.uniform(0, 2 * np.pi)
            end = (round(x + 2 * w * np.cos(angle)), round(y + 2 * w * np.sin(angle)))
            cv2.line(
                image, (round(x), round(y)), end, colour, max(1, round(size * rng.uniform(0.02, 0.1))), cv2.LINE_AA
            )
    image += 0.04 * _noise(rng, size, (15, 15))[..., None]
    return cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.006, 0.035))


def _cloth(rng: np.random.Generator, size: int) -> np.ndarray:
    u, v = _turned(rng, size)
    folds = np.sin(2 * np.pi * (rng.uniform(1, 4) * u + 0.35 * _noise(rng, size, (3, 3))))
    count = rng.uniform(18, 42)
    weave = np.sin(2 * np.pi * count * u) * np.sin(2 * np.pi * count * v)
    base = _colour(rng)
    return np.clip(base * (1 + 0.16 * folds + 0.05 * weave)[..., None], 0, 1).astype(np.float32)


_DRAWERS: dict[str, _Draw] = {
    "gradient": _gradient,
    "plaster": _plaster,
    "stripes": _stripes,
    "checker": _checker,
    "tiles": _tiles,
    "planks": _planks,
    "bokeh": _bokeh,
    "clutter": _clutter,
    "cloth": _cloth,
}
BACKGROUNDS = tuple(_DRAWERS)


def draw_background(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """The background called `name`, (H, W, 3) float32 sRGB in 0…1."""
    image = _DRAWERS[name](rng, size)
    # Out of the camera's focus and evenly lit, as behind most hands that are held up: softer, and of less contrast.
    calm = rng.uniform(0.25, 0.9)
    mean = image.mean(axis=(0, 1), keepdims=True)
    image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.003, 0.03))
    return np.clip(mean + calm * (image - mean), 0.0, 1.0)
