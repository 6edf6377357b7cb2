"""Augmentation policies: AutoAugment's published ones, and RandAugment."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from .operations import OPERATIONS, apply_operation

Policy = Literal["none", "imagenet", "cifar10"]
Levels = Literal["increasing", "tensorflow"]


class Step(NamedTuple):
    """One operation of a sub-policy: its name, the probability that it is applied, its magnitude 0...9."""

    name: str
    probability: float
    magnitude: int


# Cubuk et al. 2019, "AutoAugment", table 9: the policy found on reduced ImageNet. Rows in the paper's order.
#   first operation                  second operation
IMAGENET = (
    (Step("posterize", 0.4, 8), Step("rotate", 0.6, 9)),
    (Step("solarize", 0.6, 5), Step("autocontrast", 0.6, 5)),
    (Step("equalize", 0.8, 8), Step("equalize", 0.6, 3)),
    (Step("posterize", 0.6, 7), Step("posterize", 0.6, 6)),
    (Step("equalize", 0.4, 7), Step("solarize", 0.2, 4)),
    (Step("equalize", 0.4, 4), Step("rotate", 0.8, 8)),
    (Step("solarize", 0.6, 3), Step("equalize", 0.6, 7)),
    (Step("posterize", 0.8, 5), Step("equalize", 1.0, 2)),
    (Step("rotate", 0.2, 3), Step("solarize", 0.6, 8)),
    (Step("equalize", 0.6, 8), Step("posterize", 0.4, 6)),
    (Step("rotate", 0.8, 8), Step("saturation", 0.4, 0)),
    (Step("rotate", 0.4, 9), Step("equalize", 0.6, 2)),
    (Step("equalize", 0.0, 7), Step("equalize", 0.8, 8)),
    (Step("invert", 0.6, 4), Step("equalize", 1.0, 8)),
    (Step("saturation", 0.6, 4), Step("contrast", 1.0, 8)),
    (Step("rotate", 0.8, 8), Step("saturation", 1.0, 2)),
    (Step("saturation", 0.8, 8), Step("solarize", 0.8, 7)),
    (Step("sharpness", 0.4, 7), Step("invert", 0.6, 8)),
    (Step("shear_x", 0.6, 5), Step("equalize", 1.0, 9)),
    (Step("saturation", 0.4, 0), Step("equalize", 0.6, 3)),
    (Step("equalize", 0.4, 7), Step("solarize", 0.2, 4)),
    (Step("solarize", 0.6, 5), Step("autocontrast", 0.6, 5)),
    (Step("invert", 0.6, 4), Step("equalize", 1.0, 8)),
    (Step("saturation", 0.6, 4), Step("contrast", 1.0, 8)),
    (Step("equalize", 0.8, 8), Step("equalize", 0.6, 3)),
)

# The same, table 7: the policy found on reduced CIFAR-10.
CIFAR10 = (
    (Step("invert", 0.1, 7), Step("contrast", 0.2, 6)),
    (Step("rotate", 0.7, 2), Step("translate_x", 0.3, 9)),
    (Step("sharpness", 0.8, 1), Step("sharpness", 0.9, 3)),
    (Step("shear_y", 0.5, 8), Step("translate_y", 0.7, 9)),
    (Step("autocontrast", 0.5, 8), Step("equalize", 0.9, 2)),
    (Step("shear_y", 0.2, 7), Step("posterize", 0.3, 7)),
    (Step("saturation", 0.4, 3), Step("brightness", 0.6, 7)),
    (Step("sharpness", 0.3, 9), Step("brightness", 0.7, 9)),
    (Step("equalize", 0.6, 5), Step("equalize", 0.5, 1)),
    (Step("contrast", 0.6, 7), Step("sharpness", 0.6, 5)),
    (Step("saturation", 0.7, 7), Step("translate_x", 0.5, 8)),
    (Step("equalize", 0.3, 7), Step("autocontrast", 0.4, 8)),
    (Step("translate_y", 0.4, 3), Step("sharpness", 0.2, 6)),
    (Step("brightness", 0.9, 6), Step("saturation", 0.2, 8)),
    (Step("solarize", 0.5, 2), Step("invert", 0.0, 3)),
    (Step("equalize", 0.2, 0), Step("autocontrast", 0.6, 0)),
    (Step("equalize", 0.2, 8), Step("equalize", 0.6, 4)),
    (Step("saturation", 0.9, 9), Step("equalize", 0.6, 6)),
    (Step("autocontrast", 0.8, 4), Step("solarize", 0.2, 8)),
    (Step("brightness", 0.1, 3), Step("saturation", 0.7, 0)),
    (Step("solarize", 0.4, 5), Step("autocontrast", 0.9, 3)),
    (Step("translate_y", 0.9, 9), Step("translate_y", 0.7, 9)),
    (Step("autocontrast", 0.9, 2), Step("solarize", 0.8, 3)),
    (Step("equalize", 0.8, 8), Step("invert", 0.1, 3)),
    (Step("translate_y", 0.7, 9), Step("autocontrast", 0.9, 1)),
)
POLICIES: dict[Policy, tuple[tuple[Step, Step], ...]] = {"imagenet": IMAGENET, "cifar10": CIFAR10}

_SIGNED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_BLENDS = ("brightness", "contrast", "saturation", "sharpness")
_FULL_SHIFT = 0.45  # of the side, at the operation's strength 1
_SHIFT = 150 / 331 / _FULL_SHIFT  # the paper's 150 pixels of 331


def autoaugment(image: np.ndarray, policy: Policy, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB after one sub-policy, drawn uniformly; each of its operations is applied with its own probability."""
    steps = POLICIES[policy]
    for step in steps[int(rng.integers(len(steps)))]:
        applied, sign = rng.random() < step.probability, 1 if rng.random() < 0.5 else -1
        if applied:
            image = apply_operation(image, step.name, strength_of(step, sign))
    return image


def strength_of(step: Step, sign: int = 1) -> float:
    """The strength that gives the argument of the paper's table 6 for a magnitude 0...9, ten even steps of its range.

    A rotation, shear or shift grows from nothing and goes the way of `sign`. A blend's factor is 0.1 ... 1.9;
    solarize's threshold 0 ... 256 and posterize's bits 4 ... 8 grow too, so that they do less at 9. The authors' code
    divides by 10 and has both directions of solarize; the paper's text is followed here.
    """
    part = step.magnitude / 9
    if step.name in _SIGNED:
        return sign * part * (_SHIFT if step.name.startswith("translate") else 1)
    return 2 * part - 1 if step.name in _BLENDS else 1 - part


def randaugment(
    image: np.ndarray,
    operations: int,
    magnitude: float,
    probability: float,
    rng: np.random.Generator,
    *,
    levels: Levels = "increasing",
    shift: float = _FULL_SHIFT,
) -> np.ndarray:
    """RandAugment (Cubuk et al. 2020): `operations` in turn, each drawn uniformly, all of one magnitude.

    Each is applied with `probability`; below 1 as the authors of V4 train. `levels` and `shift` see `level_of`.
    """
    for _ in range(operations):
        name = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        strength = level_of(name, magnitude, 1 if rng.random() < 0.5 else -1, levels, shift)
        if probability == 1 or rng.random() < probability:
            image = apply_operation(image, name, strength)
    return image


def level_of(name: str, magnitude: float, sign: int, levels: Levels, shift: float = _FULL_SHIFT) -> float:
    """The strength of an operation that RandAugment's magnitude stands for; at 10 a shift is by `shift` of the side.

    `increasing`: a tenth of the magnitude, 0...10, either way: more of it changes the picture more, as timm's `inc1`.
    `tensorflow`: what `level_to_arg` in tensorflow/models official/vision/ops/augment.py gives, the table that V4 was
    trained with. With magnitude m rotation, shear and shift go either way in proportion; a blend's factor is
    0.1 + 0.18 m, so that it removes below 5 and exaggerates above; posterize keeps int(0.4 m) bits, solarize turns what
    is at least int(25.6 m), both doing *less* as m grows; solarize_add adds int(11 m) levels. m may exceed 10: at 15
    a rotation is by 45 degrees, a blend's factor 2.8, 6 bits are kept, and no pixel reaches solarize's 384.
    """
    if name.startswith("translate"):
        return sign * magnitude / 10 * shift / _FULL_SHIFT
    if levels == "increasing" or name in _SIGNED:
        return sign * magnitude / 10
    if name in _BLENDS:
        return 2 * magnitude / 10 - 1
    if name == "posterize":
        return (8 - min(int(magnitude / 10 * 4), 8)) / 4
    if name == "solarize":
        return max(1 - int(magnitude / 10 * 256) / 256, 0.0)
    return int(magnitude / 10 * 110) / 110 if name == "solarize_add" else 1.0
