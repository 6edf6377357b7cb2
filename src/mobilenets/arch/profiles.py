"""The two conventions a network can be built with, where published weights and trained networks differ.

`authors`: what the authors' code does, for the papers' experiments and for imported weights.
`default`: what trains and exports best in torch.

==============  =======================  ======================  =============================================
                authors                  default                 source of the authors' value
==============  =======================  ======================  =============================================
padding         TensorFlow's `same`      symmetric               tf.contrib.layers default
BatchNorm eps   1e-3                     1e-5                    slim nets/mobilenet_v1.py, slim batch_norm;
                                                                 official/vision mobilenet.py (V4)
momentum        V1 3e-4, V2/V3 3e-3,     0.1                     decay 0.9997 (mobilenet_v1_arg_scope), 0.997
                V4 1e-2                                          (mobilenet.training_scope), 0.99 (V4)
initialisation  truncated normal 0.09;   Kaiming normal,         the same scopes; Keras' VarianceScaling (V4)
                V4 variance scaling      fan out
input           (x - 127.5) / 127.5;     ImageNet mean and std   slim preprocessing/inception_preprocessing.py;
                V4 ImageNet mean, std                            official/vision ops/preprocess_ops.py
dropout         V1 0.001                 V1 0                    mobilenet_v1(dropout_keep_prob=0.999)
==============  =======================  ======================  =============================================
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from ..errors import UserError
from .spec import PROFILES, Initialisation, Norm, Padding, Preprocessing, Profile


class Authors(NamedTuple):
    """What the authors of one generation use."""

    eps: float
    momentum: float
    init: Initialisation
    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_HALF = (127.5, 127.5, 127.5)

V1_AUTHORS = Authors(1e-3, 3e-4, "truncated_normal", _HALF, _HALF)
V2_AUTHORS = Authors(1e-3, 3e-3, "truncated_normal", _HALF, _HALF)
V3_AUTHORS = Authors(1e-3, 3e-3, "truncated_normal", _HALF, _HALF)
V4_AUTHORS = Authors(1e-3, 1e-2, "variance_scaling", IMAGENET_MEAN, IMAGENET_STD)


class Conventions(TypedDict):
    """The fields of a Spec that a profile decides."""

    profile: Profile
    norm: Norm
    padding: Padding
    init: Initialisation
    preprocessing: Preprocessing


def conventions(profile: Profile, authors: Authors, *, resolution: int) -> Conventions:
    """The Spec fields of a profile for one generation. Raises UserError on an unknown profile."""
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}; allowed: {', '.join(PROFILES)}")
    if profile == "authors":
        return Conventions(
            profile="authors",
            norm=Norm(eps=authors.eps, momentum=authors.momentum),
            padding="same",
            init=authors.init,
            preprocessing=Preprocessing(
                resolution=resolution, interpolation="bilinear", mean=authors.mean, std=authors.std
            ),
        )
    return Conventions(
        profile="default",
        norm=Norm(),
        padding="symmetric",
        init="kaiming_fan_out",
        preprocessing=Preprocessing(resolution=resolution, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    )
