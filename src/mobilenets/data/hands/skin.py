"""The colour of skin, nails and cloth at points on the hand."""

from __future__ import annotations

import numpy as np

from .field import BLOCK, Field
from .scene import Sleeve
from .skeleton import DISTAL, FILL, MIDDLE, PALM, PROXIMAL, SKIN

# sRGB of the back of the hand and of the palm at the middle of the six Fitzpatrick-like classes.
_BACK = np.array(
    [[243, 208, 188], [230, 187, 160], [212, 164, 130], [182, 130, 96], [133, 89, 62], [88, 58, 44]], np.float64
)
_PALM = np.array(
    [[245, 205, 188], [236, 188, 165], [224, 175, 148], [208, 157, 129], [186, 136, 112], [163, 117, 98]], np.float64
)
_PLACES = np.arange(6) + 0.5


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in 0…1, by the plain 2.2 power."""
    return np.power(np.clip(srgb, 0.0, 1.0), 2.2)


def tone(table: np.ndarray, skin: float) -> np.ndarray:
    """The sRGB colour (3,) in 0…1 at `skin` in 0…6, between the rows of `table` and a little beyond its ends."""
    place = float(np.clip(skin, 0.2, 5.8)) - 0.5
    low = int(np.clip(np.floor(place), 0, 4))
    return np.clip(table[low] + (place - low) * (table[low + 1] - table[low]), 0, 255) / 255


def _step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _line(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((distance / width) ** 2))


class Surface:
    """What lies at each of P points: `normals` (3, P), `albedo` (3, P) linear, `gloss` (P,) 0…1, `skin` (P,) bool.

    `bone` (P,) is the nearest round cone, `along` (P,) the place on it, `palmar` (P,) runs from -1 (the surface faces
    as the back of its bone does) to 1 (as the palm does).
    """

    def __init__(self, field: Field, points: np.ndarray) -> None:
        count = points.shape[1]
        self.points, self.field, self.normals = points, field, np.empty_like(points)
        self.bone, self.along = np.empty(count, np.int64), np.empty(count, np.float32)
        self.palmar, self.skin = np.empty(count, np.float32), np.empty(count, bool)
        back = field.hand.back[SKIN].astype(np.float32)
        for i in range(0, count, BLOCK):
            block = slice(i, i + BLOCK)
            weight, place, normals, cloth = field.surface(points[:, block])
            self.normals[:, block], self.skin[block] = normals, ~cloth
            # Between two bones their backs blend, or the joint would show as an edge of colour.
            wide = np.sqrt(weight)
            self.palmar[block] = -(wide * (back @ normals)).sum(axis=0) / wide.sum(axis=0)
            weight[FILL] = 0.0  # what joints and creases are measured from are bones
            self.bone[block] = row = weight.argmax(axis=0)
            self.along[block] = np.take_along_axis(place, row[None], axis=0)[0]
        self.albedo = np.zeros_like(points)
        self.gloss = np.zeros(points.shape[1], np.float32)

    def paint(self, skin: float, blush: np.ndarray, sleeve: Sleeve | None, rng: np.random.Generator) -> None:
        """Fills `albedo` and `gloss`."""
        mottling = _mottling(self.points, rng)
        palmar = self.palmar
        palm_weight = _step(-0.25, 0.55, palmar) * _step(-4.0, 2.0, self.points[1])
        dark, light = to_linear(tone(_BACK, skin) * blush), to_linear(tone(_PALM, skin) * blush)
        albedo = dark[:, None] + (light - dark)[:, None] * palm_weight
        depth, red = self._details(palmar)
        albedo *= 1.0 - 0.34 * np.clip(depth, 0, 1)
        albedo *= 1.0 + 0.05 * mottling
        albedo *= np.array([1.0, 0.86, 0.84])[:, None] ** (red + 0.35 * mottling)
        nail, rim = self._nails(palmar)
        nail_colour = to_linear(0.8 * tone(_PALM, skin) + 0.2 * np.array([0.95, 0.74, 0.70]))
        albedo += nail * (nail_colour[:, None] - albedo)
        albedo *= 1.0 - 0.35 * rim
        self.gloss = (0.35 + 0.65 * nail).astype(np.float32)
        self.albedo = albedo.astype(np.float32)
        if sleeve is not None:
            self._dress(sleeve, mottling)

    def _bone_length(self) -> np.ndarray:
        hand = self.field.hand
        return np.linalg.norm(hand.end - hand.start, axis=1)[self.bone].astype(np.float32)

    def _details(self, palmar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (P,) of creases and redness (P,) of knuckles and fingertips."""
        length = self._bone_length()
        from_start = self.along * length  # cm past the bone's first joint
        to_end = length - from_start
        in_palm, on_back = _step(0.15, 0.6, palmar), _step(0.2, 0.7, -palmar)
        proximal, middle = self.bone < PROXIMAL.stop, (self.bone >= MIDDLE.start) & (self.bone < MIDDLE.stop)
        distal = (self.bone >= DISTAL.start) & (self.bone < DISTAL.stop)
        finger = proximal | middle | distal
        # The joint nearest to the point, of those between two bones of a finger.
        joint = np.where(proximal, to_end, np.where(distal, from_start, np.minimum(from_start, to_end)))
        crease = in_palm * (_line(joint, 0.13) + 0.5 * _line(joint - 0.35, 0.12))
        crease += in_palm * proximal * 0.9 * _line(from_start - 2.25, 0.14)
        wrinkle = on_back * (_line(joint, 0.11) + 0.7 * _line(np.abs(joint) - 0.3, 0.09)) * np.where(distal, 0.5, 0.7)
        depth = finger * (crease + wrinkle) * 0.75
        body = (self.bone >= PALM.start) & (self.bone < PALM.stop)
        depth += body * _step(0.3, 0.7, palmar) * self._palm_lines()
        red = finger * on_back * _line(joint, 0.6) * 0.9
        red += distal * _step(0.3, 1.1, self.along) * 0.9
        red += (proximal & (from_start < 1.2)) * on_back * 0.6 * _line(from_start, 0.9)
        return depth, red

    def _palm_lines(self) -> np.ndarray:
        """Depth (P,) of the lines of heart, head and life, as curves over the palm."""
        x, y = self.points[0], self.points[1]
        heart = _line(y - (6.6 + 0.10 * (x + 3.2) ** 2), 0.17) * _step(-4.2, -3.2, x) * _step(2.2, 1.0, x)
        head = _line(y - (6.9 - 0.32 * (3.2 - x) - 0.035 * (3.2 - x) ** 2), 0.16) * _step(-2.9, -1.8, x)
        around = np.sqrt((x - 3.3) ** 2 + (0.72 * (y - 2.9)) ** 2)
        life = _line(around - 2.9, 0.17) * _step(1.0, 2.0, y) * _step(3.6, 2.9, x)
        return 0.8 * np.clip(heart + head + life, 0.0, 1.0)

    def _nails(self, palmar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (P,) of nail and of the fold around it."""
        hand = self.field.hand
        distal = (self.bone >= DISTAL.start) & (self.bone < DISTAL.stop)
        bone = (hand.end - hand.start)[self.bone]
        side = np.cross(bone / np.linalg.norm(bone, axis=1, keepdims=True), hand.back[self.bone]).T
        across = (((self.points - hand.start[self.bone].T) * side).sum(axis=0)) / hand.end_radius[self.bone]
        past = (self.along - 1.0) * self._bone_length() / hand.end_radius[self.bone]  # tip radii past the tip's centre
        shape = (np.abs(past + 0.15) / 0.95) ** 3 + (np.abs(across) / 0.80) ** 3
        facing = distal * _step(0.30, 0.55, -palmar)
        nail = facing * _step(1.15, 0.8, shape)
        return nail, facing * np.clip(_step(1.9, 1.2, shape) - nail, 0, 1)

    def _dress(self, sleeve: Sleeve, mottling: np.ndarray) -> None:
        """Paints the cloth over what `paint` took for skin."""
        cloth = ~self.skin
        x, y = self.points[0], self.points[1]
        colour = to_linear(sleeve.colour)[:, None] * np.ones_like(y)
        if sleeve.stripes:
            band = np.sin(2 * np.pi * sleeve.stripes * y) > 0.3
            colour = np.where(band, to_linear(sleeve.second)[:, None], colour)
        folds = 0.5 * np.sin(2.1 * y + 0.9 * x + 3.0 * mottling) + 0.4 * np.sin(4.3 * y - 1.1 * x)
        seam = _line(y - (sleeve.y - 0.9), 0.12)
        colour = colour * (1.0 + 0.13 * folds) * (1.0 - 0.35 * seam)
        self.albedo[:, cloth] = colour[:, cloth]
        self.gloss[cloth] = 0.0


def _mottling(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise (P,) of about unit spread over the skin: a few sines of random direction."""
    waves = rng.normal(0.0, 1.0, (6, 3)) * np.array([0.7, 0.9, 1.2, 1.8, 2.6, 4.0])[:, None]
    phases = rng.uniform(0, 2 * np.pi, 6)
    total = np.zeros(points.shape[1], np.float32)
    for wave, phase, weight in zip(waves, phases, (1.0, 0.9, 0.8, 0.6, 0.4, 0.3)):
        total += weight * np.sin((wave.astype(np.float32)[:, None] * points).sum(axis=0) + np.float32(phase))
    return 0.7 * total
