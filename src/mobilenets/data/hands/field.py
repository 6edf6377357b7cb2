"""The signed distance to a hand: round cones joined softly where flesh joins, sharply where fingers only touch."""

from __future__ import annotations

import numpy as np

from .skeleton import ARM, DISTAL, FILL, MIDDLE, PALM, PROXIMAL, SKIN, SLEEVE, Hand

_FLESH = 0.26  # cm: how far the palm, the wrist and the roots of the fingers flow into each other
_JOINT = 0.35  # cm: the same between two bones of one finger
_RIM = 0.25  # cm: how round the rim of a cuff is
_SHADE = 0.24  # cm: how far normals blend where two parts meet

BLOCK = 2048  # points per step: the arrays stay in cache, and the products too small for a threaded BLAS


class Field:
    """Distances in cm from points to the skin and the sleeve of `hand`; negative inside. All arrays are float32."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        count = SLEEVE.stop if hand.sleeve_y is not None else SKIN.stop
        a, b = hand.start[:count], hand.end[:count]
        bone = b - a
        squared = (bone**2).sum(axis=1, keepdims=True)
        zero = np.zeros_like(squared)
        offset = (a * bone).sum(axis=1, keepdims=True)
        # Rows that turn (x, y, z, 1, |p|^2) into the place along the bone and the squared distance from its start.
        self._along = np.concatenate([bone, -offset, zero], axis=1).astype(np.float32) / squared.astype(np.float32)
        self._apart = np.concatenate([-2 * a, (a**2).sum(axis=1, keepdims=True), zero + 1], axis=1).astype(np.float32)
        self._squared = squared.astype(np.float32)
        self._radius = hand.start_radius[:count, None].astype(np.float32)
        # Working memory, used again by every step: fresh arrays of this size cost more than the arithmetic on them.
        self._lifted = np.ones((5, BLOCK), np.float32)
        self._work = np.empty((4, count * BLOCK), np.float32)
        self._growth = (hand.end_radius - hand.start_radius)[:count, None].astype(np.float32)

    def cones(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (K, P) to every round cone and places (K, P) along it (0 start, 1 end, not clipped).

        At most `BLOCK` points. The next call overwrites what this one returned.
        """
        count, rows = points.shape[1], len(self._radius)
        lifted = self._lifted[:, :count]
        lifted[:3] = points
        np.einsum("ip,ip->p", points, points, out=lifted[4])
        along, d, h, step = (memory[: rows * count].reshape(rows, count) for memory in self._work)
        np.matmul(self._along, lifted, out=along)
        np.matmul(self._apart, lifted, out=d)
        np.maximum(along, 0.0, out=h)
        np.minimum(h, 1.0, out=h)
        np.subtract(h, along, out=step)
        step -= along
        step *= h
        step *= self._squared
        d += step
        np.maximum(d, 1e-12, out=d)
        np.sqrt(d, out=d)
        h *= self._growth
        d -= h
        d -= self._radius
        return d, along

    def parts(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (P,) to the skin and to the sleeve (far away where there is none) from `points` (3, P)."""
        d, _ = self.cones(points)
        return self._skin(d), self._sleeve(d, points[1])

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What lies at points (3, P) on the surface: weights (K, P) of the skin's cones, which sum to 1 and blend where
        two bones meet, places (K, P) along them, unit normals (3, P), and where the surface is the sleeve's (P,)."""
        d, along = self.cones(points)
        skin, sleeve = self._skin(d), self._sleeve(d, points[1])
        cloth = sleeve < skin
        weight = _softmin(d[SKIN], _SHADE)
        normals = self._away(points, weight, d, along, SKIN)
        if self.hand.sleeve_y is not None:
            tube = self._away(points, _softmin(d[SLEEVE], 0.5), d, along, SLEEVE)
            u = np.maximum(_blend(d[SLEEVE.start], d[SLEEVE.start + 1], 1.2) + _RIM, 1e-3)
            v = np.maximum(points[1] - np.float32(self.hand.sleeve_y) + _RIM, 0.0)
            normals = np.where(cloth, u * tube + v * np.array([[0.0], [1.0], [0.0]], np.float32), normals)
        normals /= np.maximum(np.sqrt((normals * normals).sum(axis=0)), 1e-6)
        return weight, along[SKIN], normals, cloth

    def _away(
        self, points: np.ndarray, weight: np.ndarray, d: np.ndarray, along: np.ndarray, rows: slice
    ) -> np.ndarray:
        """The weighted mean (3, P) of the directions from the cones' axes to the points."""
        place = np.clip(along[rows], 0.0, 1.0)
        pull = weight / (d[rows] + self._radius[rows] + self._growth[rows] * place)
        start = self.hand.start[rows].astype(np.float32).T
        bone = (self.hand.end - self.hand.start)[rows].astype(np.float32).T
        return points * pull.sum(axis=0) - start @ pull - bone @ (pull * place)

    def _skin(self, d: np.ndarray) -> np.ndarray:
        chain = d[PROXIMAL].copy()
        chain[1:] = _blend(chain[1:], d[MIDDLE])
        chain = _blend(chain, d[DISTAL])
        chain[1:] = _blend(chain[1:], d[FILL])
        flesh = d[PALM.start : ARM.stop]
        weight = self._work[2, : flesh.size].reshape(flesh.shape)
        np.multiply(flesh, -1 / _FLESH, out=weight)
        np.maximum(weight, -80.0, out=weight)
        np.exp(weight, out=weight)
        weight = weight.sum(axis=0)
        # Only the nearest finger flows into the palm: two fingers side by side keep the crease between them.
        nearest = d[PROXIMAL].min(axis=0)
        weight += np.exp(np.maximum(nearest * (-1 / _FLESH), -80.0))
        return np.minimum(np.log(weight) * -_FLESH, chain.min(axis=0))

    def _sleeve(self, d: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.hand.sleeve_y is None:
            return np.full(d.shape[1], 1e3, np.float32)
        tube = _blend(d[SLEEVE.start], d[SLEEVE.start + 1], 1.2)
        cut = y - np.float32(self.hand.sleeve_y)
        # The rim of the cuff is round: a rounded intersection of the tube and the half space below the cut.
        u, v = np.maximum(tube + _RIM, 0.0), np.maximum(cut + _RIM, 0.0)
        return np.minimum(np.maximum(tube, cut) + _RIM, 0.0) + np.sqrt(u * u + v * v) - _RIM

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distances (P,) to whatever is nearest, from `points` (3, P) of any number, in blocks."""
        result = np.empty(points.shape[1], np.float32)
        for i in range(0, points.shape[1], BLOCK):
            skin, sleeve = self.parts(points[:, i : i + BLOCK])
            np.minimum(skin, sleeve, out=result[i : i + BLOCK])
        return result


def _softmin(d: np.ndarray, width: float) -> np.ndarray:
    """Weights (K, P) that sum to 1 over K and go to the smallest distances, within about `width`."""
    weight = np.exp(np.maximum((d.min(axis=0) - d) * (1 / width), -80.0))
    return weight / weight.sum(axis=0)


def _blend(a: np.ndarray, b: np.ndarray, width: float = _JOINT) -> np.ndarray:
    """The smaller of two distances, rounded where they differ by less than `width` (Quilez's polynomial minimum)."""
    overlap = np.maximum(width - np.abs(a - b), 0.0)
    overlap *= overlap
    overlap *= 0.25 / width
    return np.minimum(a, b) - overlap
