"""A hand as round cones (capsules of two radii) placed by a pose.

Coordinates are centimetres of a right hand: x toward the thumb, y toward the fingertips, z out of the palm; the wrist
is the origin. A left hand is its mirror image, made by the camera. Lengths are of an average adult hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .pose import Pose


class Finger(NamedTuple):
    knuckle: tuple[float, float, float]
    lengths: tuple[float, float, float]  # proximal, middle, distal phalanx, the last to the centre of the round tip
    radii: tuple[float, float, float, float]  # at the knuckle, the two joints, the tip


FINGERS = {
    #               knuckle             lengths          radii
    "index": Finger((2.85, 9.0, 0.05), (4.5, 2.6, 1.75), (1.03, 0.95, 0.83, 0.66)),
    "middle": Finger((0.90, 9.3, -0.20), (4.9, 3.0, 1.85), (1.05, 0.97, 0.86, 0.68)),
    "ring": Finger((-1.05, 8.8, -0.10), (4.5, 2.8, 1.85), (1.00, 0.92, 0.82, 0.65)),
    "pinky": Finger((-2.85, 7.9, 0.25), (3.6, 2.0, 1.65), (0.90, 0.80, 0.70, 0.56)),
}
THUMB = Finger((1.75, 1.7, 0.75), (4.5, 3.3, 2.1), (1.45, 1.12, 0.98, 0.76))  # metacarpal, two phalanges

# Rows of a Hand: the parts that the field joins by different rules stand together.
PROXIMAL = slice(0, 5)  # thumb, index, middle, ring, pinky
MIDDLE = slice(5, 9)  # index, middle, ring, pinky
DISTAL = slice(9, 14)  # thumb, index, middle, ring, pinky
FILL = slice(14, 18)  # index, middle, ring, pinky: the flesh that a curled finger squeezes into its own bend
PALM = slice(18, 30)  # four metacarpals, ball of the thumb, heel of the hand, pad, webs
ARM = slice(30, 32)
SKIN = slice(0, 32)
SLEEVE = slice(32, 34)

WRIST_Y = -1.2  # below this line skin counts as arm, not hand
_ARM_END = -34.0


@dataclass(frozen=True)
class Build:
    """How this hand differs from the average: factors around 1."""

    breadth: float = 1.0
    fingers: float = 1.0
    thickness: float = 1.0
    taper: float = 1.0


@dataclass(frozen=True)
class Hand:
    """Round cones: `start`, `end` (K, 3), `start_radius`, `end_radius` (K,), `back` (K, 3) unit, to the nail's side."""

    start: np.ndarray
    end: np.ndarray
    start_radius: np.ndarray
    end_radius: np.ndarray
    back: np.ndarray
    sleeve_y: float | None  # where the cuff ends; None without a sleeve

    def outline(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres (M, 3) and radii (M,) of the spheres that bound the hand without the arm."""
        hand = slice(0, PALM.stop)
        centres = np.concatenate([self.start[hand], self.end[hand]])
        return centres, np.concatenate([self.start_radius[hand], self.end_radius[hand]])


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def _bend(flexion: np.ndarray, abduction: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions and backs, (3, 3) each, of three bones bent by `flexion` (3,) and turned sideways, in degrees."""
    angle = np.radians(np.cumsum(flexion))
    c, s = np.cos(angle), np.sin(angle)
    zero = np.zeros(3)
    direction = np.stack([zero, c, s], axis=1)
    back = np.stack([zero, s, -c], axis=1)
    turn = np.radians(-abduction)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return direction @ matrix.T, back @ matrix.T


def _reach(root: np.ndarray, target: np.ndarray, first: float, second: float, pole: np.ndarray) -> np.ndarray:
    """The middle joint of two bones that lead from `root` to `target`, bent toward `pole`."""
    offset = target - root
    distance = min(float(np.linalg.norm(offset)), 0.985 * (first + second))
    along = _unit(offset)
    a = (first**2 - second**2 + distance**2) / (2 * distance)
    height = np.sqrt(max(first**2 - a**2, 0.0))
    return root + a * along + height * _unit(pole - along * (pole @ along))


def _thumb(pose: Pose, build: Build, fingers: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Joints (4, 3) of the thumb from its root to the tip, and the direction its nail faces (3,)."""
    root = np.array(THUMB.knuckle) * (build.breadth, 1.0, build.thickness)
    lengths = np.array(THUMB.lengths) * (1.0, build.fingers, build.fingers)
    if pose.thumb == "open":
        wide = 0.35 + 0.65 * pose.thumb_reach
        aim = np.array(
            [[0.50 + 0.26 * wide, 0.66, 0.30], [0.42 + 0.30 * wide, 0.80, 0.14], [0.34 + 0.3 * wide, 0.9, 0.02]]
        )
        aim /= np.linalg.norm(aim, axis=1, keepdims=True)
        joints = root + np.concatenate([np.zeros((1, 3)), np.cumsum(aim * lengths[:, None], axis=0)])
        return joints, np.array([0.75, -0.45, -0.62])
    # Across the middle bone of a curled finger, resting on it: no part of the thumb enters the finger.
    joint = fingers[pose.thumb]
    outward = _unit(np.array([0.0, 0.10, 1.0]))
    contact = joint[1] + (0.68 + 0.25 * pose.thumb_reach) * (joint[2] - joint[1])
    gap = (0.90 + 0.80) * build.thickness * 0.95
    shift = np.array([0.5 - 1.4 * pose.thumb_reach, -0.2, 0.0])
    tip = contact + gap * outward + shift
    knuckle = tip + lengths[2] * _unit(np.array([0.86, -0.45, -0.34]))
    base = _reach(root, knuckle, lengths[0], lengths[1], np.array([0.7, -0.2, 0.6]))
    return np.stack([root, base, knuckle, tip]), np.array([0.1, 0.45, 1.0])


def build_hand(pose: Pose, build: Build, sleeve_y: float | None) -> Hand:
    """The round cones of a hand in `pose`; the sleeve, where there is one, covers the arm below `sleeve_y`."""
    wide = np.array([build.breadth, 1.0, build.thickness])
    joints: dict[str, np.ndarray] = {}
    backs: dict[str, np.ndarray] = {}
    radii: dict[str, np.ndarray] = {}
    for i, (name, finger) in enumerate(FINGERS.items()):
        direction, backs[name] = _bend(pose.flexion[i], float(pose.abduction[i]))
        steps = np.cumsum(direction * (np.array(finger.lengths) * build.fingers)[:, None], axis=0)
        joints[name] = np.array(finger.knuckle) * wide + np.concatenate([np.zeros((1, 3)), steps])
        radii[name] = np.array(finger.radii) * build.thickness * build.taper ** np.array([0, 0.4, 0.7, 1.0])
    thumb, nail = _thumb(pose, build, joints)
    thumb_radii = np.array(THUMB.radii) * build.thickness

    rows: list[tuple[np.ndarray, np.ndarray, float, float, np.ndarray]] = []

    def add(a: np.ndarray, b: np.ndarray, ra: float, rb: float, back: np.ndarray) -> None:
        along = _unit(b - a)
        rows.append((a, b, ra, rb, _unit(back - along * (back @ along))))

    for bone in range(3):
        if bone != 1:
            k = 1 if bone == 0 else 2
            add(thumb[k], thumb[k + 1], thumb_radii[k], thumb_radii[k + 1], nail)
        for name in FINGERS:
            r = radii[name]
            add(joints[name][bone], joints[name][bone + 1], r[bone], r[bone + 1], backs[name][bone])
    for name in FINGERS:
        j, r = joints[name], radii[name]
        add((j[0] + j[1]) / 2, (j[2] + j[3]) / 2, 1.02 * r[1], 0.92 * r[2], backs[name][1])
    for row in _palm(joints, radii, thumb, nail, wide, build.thickness):
        add(*row)
    for extra in (0.0, 0.55):
        for side in (1.0, -1.0):
            start = np.array([side * 1.05, 2.0 if extra == 0 else -0.5, -0.05]) * wide
            end = np.array([side * 1.75, _ARM_END, -0.3]) * wide
            add(start, end, 1.33 * build.thickness + extra, 3.1 * build.thickness + extra, np.array([0.0, 0.0, -1.0]))
    a, b, ra, rb, back = zip(*rows)
    return Hand(np.array(a), np.array(b), np.array(ra), np.array(rb), np.array(back), sleeve_y)


def _palm(
    joints: dict[str, np.ndarray],
    radii: dict[str, np.ndarray],
    thumb: np.ndarray,
    nail: np.ndarray,
    wide: np.ndarray,
    thickness: float,
) -> list[tuple[np.ndarray, np.ndarray, float, float, np.ndarray]]:
    """The twelve round cones between the wrist and the fingers."""
    back = np.array([0.0, 0.0, -1.0])
    rows = []
    for x, name in zip((1.35, 0.45, -0.5, -1.35), joints):
        rows.append((np.array([x, 1.2, 0.0]) * wide, joints[name][0], 1.12 * thickness, radii[name][0] * 1.0, back))
    # The ball of the thumb twists from the palm's side to the nail's.
    ball = 0.55 * np.array([0.6, 0.0, -0.8]) + 0.45 * _unit(nail)
    rows.append((thumb[0], thumb[1], THUMB.radii[0] * thickness, THUMB.radii[1] * thickness, ball))
    heel = np.array([[-1.75, 1.9, 0.45], [-2.55, 6.2, 0.35]]) * wide
    rows.append((heel[0], heel[1], 1.3 * thickness, 1.05 * thickness, back))
    # The pad under the knuckles: what makes a palm look flat and full, and hides the roots of the fingers.
    pad = np.array([[2.3, 7.6, 0.5], [-2.2, 6.9, 0.5]]) * wide
    rows.append((pad[0], pad[1], 0.85 * thickness, 0.8 * thickness, back))
    names = list(joints)
    for left, right in pairwise(names):
        a = joints[left][0] + 0.26 * (joints[left][1] - joints[left][0])
        b = joints[right][0] + 0.28 * (joints[right][1] - joints[right][0])
        rows.append((a, b, 0.58 * thickness, 0.55 * thickness, back))
    for place, y in ((0.5, 5.2), (0.88, 6.3)):  # the skin between the thumb and the palm
        fold = thumb[0] + place * (thumb[1] - thumb[0])
        rows.append((fold, np.array([2.2, y, 0.1]) * wide, 0.95 * thickness, 0.85 * thickness, back))
    return rows
