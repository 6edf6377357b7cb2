"""Rays from the camera to the hand: where they meet it, how much light and sky each meeting point sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .field import Field
from .scene import Framing
from .skeleton import SKIN, SLEEVE, Hand

_STEPS = 48
_CELL = 4  # pixels: side of the cells that approach the hand together
_NEAR_ENOUGH = 0.08  # pixels
_LOST = 25.0  # cm past its start: a ray that has met nothing there meets nothing


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on +z that looks along -z. `to_hand` turns camera directions into the hand's coordinates."""

    eye: np.ndarray  # (3,) in the hand's coordinates
    to_hand: np.ndarray  # (3, 3)
    focal: float  # pixels
    centre: tuple[float, float]  # pixels: where the optical axis meets the picture
    size: int

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel coordinates (M, 2) and depths (M,) in cm of `points` (M, 3) in the hand's coordinates."""
        seen = (points - self.eye) @ self.to_hand
        depth = np.maximum(-seen[:, 2], 1.0)
        x = self.centre[0] + self.focal * seen[:, 0] / depth
        y = self.centre[1] - self.focal * seen[:, 1] / depth
        return np.stack([x, y], axis=1), depth

    def rays(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Unit directions (3, P), float32, in the hand's coordinates through the middles of pixels."""
        x = (columns + 0.5 - self.centre[0]) / self.focal
        y = -(rows + 0.5 - self.centre[1]) / self.focal
        seen = np.stack([x, y, np.full(len(x), -1.0)])
        seen /= np.sqrt((seen * seen).sum(axis=0))
        return np.einsum("ij,jp->ip", self.to_hand, seen).astype(np.float32)


def aim(hand: Hand, rotation: np.ndarray, framing: Framing, size: int) -> Camera:
    """The camera that shows the hand at the size and place that `framing` asks for."""
    centres, radii = hand.outline()
    low, high = (centres - radii[:, None]).min(axis=0), (centres + radii[:, None]).max(axis=0)
    to_hand = rotation.T
    eye = (low + high) / 2 + to_hand @ np.array([0.0, 0.0, framing.distance])
    unit = Camera(eye, to_hand, 1.0, (0.0, 0.0), size)
    middle, depth = unit.project(centres)
    reach = (radii / depth)[:, None]
    first, last = (middle - reach).min(axis=0), (middle + reach).max(axis=0)
    focal = framing.fraction * size / float((last - first).max())
    free = np.maximum(size - focal * (last - first), 0.0) / 2
    centre = size / 2 - focal * (first + last) / 2 + 0.9 * free * framing.place
    return Camera(eye, to_hand, focal, (float(centre[0]), float(centre[1])), size)


def _depth_range(hand: Hand, camera: Camera) -> tuple[float, float]:
    """Depths in cm before and behind everything."""
    rows = slice(0, SLEEVE.stop if hand.sleeve_y is not None else SKIN.stop)
    centres = np.concatenate([hand.start[rows], hand.end[rows]])
    depth = -((centres - camera.eye) @ camera.to_hand)[:, 2]
    reach = float(hand.end_radius.max()) + 0.5
    return max(float(depth.min()) - reach, 1.0), float(depth.max()) + reach


@dataclass(frozen=True)
class Hits:
    """The rays that meet the hand, or pass it within a pixel. Arrays over P of them."""

    rows: np.ndarray
    columns: np.ndarray
    rays: np.ndarray  # (3, P) unit
    points: np.ndarray  # (3, P)
    coverage: np.ndarray  # (P,) 0…1: how much of the pixel is covered


def trace(field: Field, camera: Camera) -> Hits:
    """Follows a ray through every pixel that may show the hand, by sphere tracing."""
    rows, columns, start = _approach(field, camera)
    rays = camera.rays(rows, columns)
    pixel = np.float32(1.0 / camera.focal)
    length, coverage = _march(field, camera.eye, rays, start, pixel)
    kept = coverage > 0.02
    rays = rays[:, kept]
    points = camera.eye.astype(np.float32)[:, None] + rays * length[kept]
    return Hits(rows[kept], columns[kept], rays, points, coverage[kept])


def _approach(field: Field, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns (P,) of pixels near the hand and a length (P,) that each ray can skip.

    One wide ray per cell of pixels goes on while the whole cell is free ("cone marching"); cells that meet nothing
    are left out.
    """
    cells = -(-camera.size // _CELL)
    line = np.arange(cells) * _CELL + (_CELL - 1) / 2
    down, across = np.repeat(line, cells), np.tile(line, cells)
    ray = camera.rays(down, across)
    near, far = _depth_range(field.hand, camera)
    origin = camera.eye.astype(np.float32)[:, None]
    wide = np.float32((_CELL * 0.7072 + 1.0) / camera.focal)
    free = np.full(len(down), near, np.float32)
    met = np.ones(len(down), bool)
    active, t = np.arange(len(down)), free.copy()
    for _ in range(_STEPS):
        step = field.distance(origin + ray * t) - wide * t
        t = t + np.maximum(step, 0.0)
        free[active] = t
        met[active[t > 1.3 * far]] = False
        going = (step > 0.05) & (t <= 1.3 * far)
        active, t, ray = active[going], t[going], ray[:, going]
        if not len(active):
            break
    spread = np.ones((_CELL, _CELL), np.float32)
    near_pixels = np.kron(np.where(met, free, 0.0).reshape(cells, cells), spread)[: camera.size, : camera.size]
    rows, columns = np.nonzero(near_pixels)
    return rows, columns, near_pixels[rows, columns].astype(np.float32)


def _march(
    field: Field, eye: np.ndarray, rays: np.ndarray, start: np.ndarray, pixel: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (P,) to the nearest meeting or closest pass, and coverages (P,)."""
    origin = eye.astype(np.float32)[:, None]
    best = np.full(len(start), 1e3, np.float32)  # closest pass, in pixels
    where = start.copy()
    active = np.arange(len(start))
    t, ray = start.copy(), rays
    for _ in range(_STEPS):
        d = field.distance(origin + ray * t)
        pixels = d / (pixel * t)
        closer = pixels < best[active]
        chosen = active[closer]
        best[chosen] = pixels[closer]
        # The least step below may end inside the skin, where d is negative: back to the surface.
        where[chosen] = (t + np.minimum(d, 0.0))[closer]
        going = (pixels > _NEAR_ENOUGH) & (t < start[active] + _LOST)
        # A ray that grazes a finger must not creep: half a pixel is the least step.
        active, ray, t = active[going], ray[:, going], (t + np.maximum(d, 0.5 * pixel * t))[going]
        if not len(active):
            break
    return where, np.clip(1.0 + _NEAR_ENOUGH - best, 0.0, 1.0)


def shadow(field: Field, points: np.ndarray, normals: np.ndarray, light: np.ndarray, softness: float) -> np.ndarray:
    """How much of the light from `light` (3,) reaches `points` (3, P): 0 none … 1 all, with soft edges."""
    direction = light.astype(np.float32)[:, None]
    seen = np.ones(points.shape[1], np.float32)
    lit = np.nonzero((normals * direction).sum(axis=0) > -0.25)[0]
    origin = points[:, lit] + 0.12 * normals[:, lit]
    t = np.full(len(lit), 0.15, np.float32)
    sharp = np.float32(11.0 - 5.0 * softness)
    part = np.ones(len(lit), np.float32)
    for _ in range(5):
        d = field.distance(origin + direction * t)
        np.minimum(part, sharp * d / t, out=part)
        t += np.clip(d, 0.28, 2.4)
    seen[lit] = np.clip(part, 0.0, 1.0)
    return seen * seen * (3 - 2 * seen)


def openness(field: Field, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """How much of the sky each point sees, roughly: 0…1, from distances along the normal."""
    hidden = np.zeros(points.shape[1], np.float32)
    for reach, weight in ((0.35, 0.45), (1.1, 0.6)):
        hidden += weight * (1.0 - field.distance(points + reach * normals) / reach)
    return np.clip(1.0 - hidden, 0.12, 1.0)
