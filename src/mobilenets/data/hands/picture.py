"""One picture of a hand, with everything that is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np

from .background import draw_background
from .field import Field
from .pose import EXTENDED_FINGERS
from .scene import Scene, Side, View, sample_scene
from .shading import compose, photograph, shade
from .skeleton import WRIST_Y, build_hand
from .trace import aim, trace

_FINER = 1.25  # rays per pixel and axis: shaded at this size, then averaged down


class Attributes(TypedDict):
    fingers: int  # extended ones: 0, 2 or 5
    skin_tone: int  # 0…5, light to dark, in the order of Fitzpatrick's classes
    side: Side
    sleeve: bool
    view: View


@dataclass(frozen=True)
class Rendered:
    """A picture of a hand. `image` uint8 (H, W, 3) RGB; `mask` uint8 (H, W), 1 on the skin from the wrist up, else 0;
    `box` (x1, y1, x2, y2) in pixels, the edges of the mask (x2 and y2 just past its last pixel)."""

    image: np.ndarray
    label: str
    mask: np.ndarray
    box: tuple[float, float, float, float]
    attributes: Attributes


def render(seed: int, index: int, sign: str | None = None, size: int = 128) -> Rendered:
    """Picture `index` of `seed`, `size` pixels wide and high.

    It depends on these arguments alone, not on what was rendered before. Without `sign` the signs take turns by index.
    Raises ValueError for a negative seed or index, an unknown sign, or a size below 16.
    """
    if size < 16:
        raise ValueError(f"size must be 16 or more, got {size}")
    scene = sample_scene(seed, index, sign)
    texture = np.random.default_rng(scene.texture_seed)
    layer, coverage, part = _draw_hand(scene, size, texture)
    background = draw_background(scene.background, texture, size)
    picture = compose(scene, layer, coverage, background)
    image = photograph(picture, scene.lens, texture)
    mask = (part >= 0.5).astype(np.uint8)
    attributes: Attributes = {
        "fingers": EXTENDED_FINGERS[scene.sign],
        "skin_tone": min(int(scene.skin), 5),
        "side": scene.side,
        "sleeve": scene.sleeve is not None,
        "view": scene.view,
    }
    return Rendered(image, scene.sign, mask, _box(mask), attributes)


def _draw_hand(scene: Scene, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear colours (H, W, 3), coverage (H, W) of arm and hand, coverage (H, W) of the hand alone."""
    hand = build_hand(scene.pose, scene.build, None if scene.sleeve is None else scene.sleeve.y)
    field = Field(hand)
    fine = round(size * _FINER)
    camera = aim(hand, scene.rotation, scene.framing, fine)
    hits = trace(field, camera)
    colour, surface = shade(scene, field, camera, hits, rng)
    planes = np.zeros((fine, fine, 5), np.float32)
    at = (hits.rows, hits.columns)
    planes[..., :3][at] = (colour * hits.coverage).T
    planes[..., 3][at] = hits.coverage
    planes[..., 4][at] = hits.coverage * (surface.skin & (hits.points[1] > WRIST_Y))
    small = cv2.resize(planes[..., :4], (size, size), interpolation=cv2.INTER_AREA)
    part = cv2.resize(planes[..., 4], (size, size), interpolation=cv2.INTER_AREA)
    coverage = small[..., 3]
    return small[..., :3] / np.maximum(coverage, 1e-4)[..., None], coverage, part


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
