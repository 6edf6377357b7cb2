"""Everything random about one picture, drawn once from (seed, index), independent of the picture's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .background import BACKGROUNDS
from .pose import SIGNS, Pose, sample_pose
from .skeleton import Build

Side = Literal["left", "right"]
View = Literal["palm", "back"]


@dataclass(frozen=True)
class Light:
    direction: np.ndarray  # (3,) unit, toward the light, camera coordinates (x right, y up, z to the viewer)
    colour: np.ndarray  # (3,) linear
    ambient: np.ndarray  # (3,) linear, from all around
    softness: float  # 0 hard shadows … 1 very soft
    shadow: float  # how dark the shadow on the background is, 0…1


@dataclass(frozen=True)
class Framing:
    distance: float  # cm from the camera to the middle of the hand
    fraction: float  # longer side of the hand's box over the picture's side
    place: np.ndarray  # (2,) in [-1, 1]: where in the free space the hand lies


@dataclass(frozen=True)
class Sleeve:
    y: float  # the end of the cuff, in the hand's coordinates
    colour: np.ndarray  # (3,) sRGB 0…1
    second: np.ndarray  # (3,) colour of the stripes
    stripes: float  # stripes per cm; 0 for plain cloth


@dataclass(frozen=True)
class Lens:
    """What the camera does to the picture. Lengths are fractions of the picture's side."""

    blur: float
    motion: float
    motion_angle: float
    noise: float  # standard deviation, 0…255
    contrast: float
    gamma: float
    vignette: float
    quality: int  # of a JPEG round trip


@dataclass(frozen=True)
class Scene:
    sign: str
    pose: Pose
    build: Build
    side: Side
    view: View
    rotation: np.ndarray  # (3, 3): hand to camera, mirrored for a left hand
    skin: float  # 0…6, Fitzpatrick-like: the whole part is the class
    blush: np.ndarray  # (3,) factors on the skin's colour
    light: Light
    framing: Framing
    sleeve: Sleeve | None
    background: str
    exposure: float
    lens: Lens
    texture_seed: int  # for what is drawn per pixel: background, skin mottling, noise


def _rotation(rng: np.random.Generator, view: View, side: Side) -> np.ndarray:
    """Hand to camera: an arm from below or aside, turned a little out of the plane; x mirrored for a left hand."""
    yaw = (0.0 if view == "palm" else np.pi) + np.radians(np.clip(rng.normal(0.0, 14.0), -30.0, 30.0))
    tilt = np.radians(np.clip(rng.normal(0.0, 12.0), -26.0, 26.0))
    roll = np.radians(np.clip(rng.normal(0.0, 35.0), -100.0, 100.0))
    c, s = np.cos([yaw, tilt, roll]), np.sin([yaw, tilt, roll])
    about_y = np.array([[c[0], 0, s[0]], [0, 1, 0], [-s[0], 0, c[0]]])
    about_x = np.array([[1, 0, 0], [0, c[1], -s[1]], [0, s[1], c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    mirror = np.diag([-1.0 if side == "left" else 1.0, 1.0, 1.0])
    return about_z @ about_x @ about_y @ mirror


def _light(rng: np.random.Generator) -> Light:
    azimuth = rng.uniform(0, 2 * np.pi)
    off_axis = np.radians(rng.uniform(22.0, 66.0))
    direction = np.array([np.sin(off_axis) * np.cos(azimuth), np.sin(off_axis) * np.sin(azimuth), np.cos(off_axis)])
    warmth = rng.normal(0.0, 0.06)
    tint = np.array([1.0 + warmth, 1.0 + rng.normal(0.0, 0.02), 1.0 - warmth])
    strength = rng.uniform(0.65, 1.05)
    sky = np.array([1.0 - 0.5 * warmth, 1.0, 1.0 + 0.5 * warmth]) * rng.uniform(0.2, 0.42)
    return Light(direction, strength * tint, sky, rng.uniform(0, 1), rng.uniform(0.1, 0.6))


def _sleeve(rng: np.random.Generator) -> Sleeve | None:
    present = rng.random() < 0.6
    y = -rng.uniform(1.5, 5.5)
    hue, saturation, value = rng.random(), rng.beta(1.3, 1.6), rng.uniform(0.12, 0.95)
    colour = _hsv(hue, saturation, value)
    second = _hsv(rng.random(), rng.beta(1.3, 1.6), rng.uniform(0.1, 0.95))
    stripes = rng.uniform(0.25, 0.8) if rng.random() < 0.3 else 0.0
    return Sleeve(y, colour, second, stripes) if present else None


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """The sRGB colour (3,) in 0…1 of a hue, saturation and value, each in 0…1."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)


def _lens(rng: np.random.Generator) -> Lens:
    return Lens(
        blur=0.0075 * rng.beta(1.2, 2.5),
        motion=rng.uniform(0.01, 0.03) if rng.random() < 0.12 else 0.0,
        motion_angle=rng.uniform(0, np.pi),
        noise=9.0 * rng.beta(1.0, 2.5),
        contrast=rng.uniform(0.85, 1.15),
        gamma=float(np.exp(rng.normal(0.0, 0.10))),
        vignette=rng.uniform(0.0, 0.25),
        quality=int(rng.integers(45, 96)),
    )


def sample_scene(seed: int, index: int, sign: str | None = None) -> Scene:
    """The scene of picture `index` of `seed`. Without `sign`, the signs take turns: `SIGNS[index % 3]`.

    Raises ValueError for a negative seed or index and for an unknown sign.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be 0 or more, got seed {seed}, index {index}")
    sign = SIGNS[index % len(SIGNS)] if sign is None else sign
    if sign not in SIGNS:
        raise ValueError(f"unknown sign {sign!r}; the signs are {', '.join(SIGNS)}")
    rng = np.random.default_rng([seed, index])
    pose = sample_pose(sign, rng)
    build = Build(*np.clip(rng.normal(1.0, (0.05, 0.05, 0.06, 0.04)), 0.86, 1.14))
    side: Side = "left" if rng.random() < 0.5 else "right"
    view: View = "back" if rng.random() < 0.5 else "palm"
    rotation = _rotation(rng, view, side)
    skin = rng.uniform(0.0, 6.0)
    blush = np.clip(rng.normal(1.0, (0.025, 0.018, 0.03)), 0.92, 1.08)
    light = _light(rng)
    fraction = rng.uniform(0.68, 0.95) * (0.86 if sign == "rock" else 1.0)
    framing = Framing(rng.uniform(32.0, 90.0), fraction, rng.uniform(-1.0, 1.0, 2))
    sleeve = _sleeve(rng)
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    exposure = float(np.exp(rng.normal(0.0, 0.16)))
    lens = _lens(rng)
    texture_seed = int(rng.integers(2**31))
    return Scene(
        sign, pose, build, side, view, rotation, skin, blush, light, framing, sleeve, background, exposure, lens,
        texture_seed,
    )  # fmt: skip
