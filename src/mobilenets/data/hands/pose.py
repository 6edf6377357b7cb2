"""The three signs as joint angles, with the jitter that no two people avoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGNS = ("rock", "paper", "scissors")
EXTENDED_FINGERS = {"rock": 0, "paper": 5, "scissors": 2}


@dataclass(frozen=True)
class Pose:
    """Joint angles of one hand, in degrees.

    `flexion` is (4, 3): index, middle, ring, pinky by knuckle, middle and end joint; 0 is straight, 90 a right angle.
    `abduction` is (4,): sideways at the knuckle, positive toward the thumb.
    `thumb` is "open" (beside the palm) or the name of the finger that the thumb lies across.
    `thumb_reach` in [0, 1] moves the thumb within what its kind allows: how wide it opens, how far it crosses.
    """

    flexion: np.ndarray
    abduction: np.ndarray
    thumb: str
    thumb_reach: float


#          knuckle, middle, end joint    jitter (standard deviation)
_STRAIGHT = np.array([[4.0, 7.0, 4.0], [6.0, 5.0, 3.0]])
_CURLED = np.array([[85.0, 111.0, 66.0], [4.0, 4.0, 5.0]])

_FAN = np.array([8.0, 1.0, -7.0, -17.0])  # of an open hand
_CLOSED = np.array([-2.0, 0.0, 2.0, 4.0])  # curled fingers lean toward each other


def sample_pose(sign: str, rng: np.random.Generator) -> Pose:
    """A random pose of `sign`; every draw consumes the same numbers, so scenes differ only in the sign."""
    shared = rng.normal(0.0, 1.0, (1, 3))  # fingers bend together more than apart
    own = rng.normal(0.0, 1.0, (4, 3))
    jitter = np.clip(0.75 * shared + 0.65 * own, -2.0, 2.0)
    straight = np.maximum(_STRAIGHT[0] + _STRAIGHT[1] * jitter, np.array([-8.0, 0.0, 0.0]))
    curled = _CURLED[0] + _CURLED[1] * jitter
    spread = rng.uniform(0.55, 1.45)
    sideways = rng.normal(0.0, 1.2, 4)
    reach = rng.uniform(0.0, 1.0)
    if sign == "paper":
        return Pose(straight, spread * _FAN + sideways, "open", reach)
    if sign == "rock":
        return Pose(curled, _CLOSED + sideways, "middle", reach)
    opening = np.array([9.0, -7.0, 0.0, 0.0]) * (0.7 + 0.5 * spread)
    flexion = np.concatenate([straight[:2], curled[2:] + (3.0, 2.0, 0.0)])
    return Pose(flexion, opening + np.array([0.0, 0.0, 3.0, 5.0]) + sideways, "ring", reach)
