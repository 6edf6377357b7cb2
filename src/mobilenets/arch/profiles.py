"""The two conventions a network can be built with, where published weights and trained networks differ.

`authors`: what the authors' code does, for the papers' experiments and for imported weights.
`default`: what trains and exports best in torch.

==============  ==============================  ======================  ==========================================
                authors                         default                 source of the authors' value
==============  ==============================  ======================  ==========================================
padding         TensorFlow's `same`             symmetric               padding='SAME' in slim nets/mobilenet_v1.py
                                                                        and mobilenet/mobilenet_v2.py; 'same' in
                                                                        official/vision .../mobilenet.py (V4)
BatchNorm eps   1e-3; V4 Conv-S 1e-6            1e-5                    mobilenet_v1_arg_scope; slim's batch_norm;
                                                                        norm_epsilon in imagenet_mobilenetv4_*.yaml
momentum        V1 3e-4; V2, V3, V4 3e-3;       0.1                     decay 0.9997 (mobilenet_v1_arg_scope), 0.997
                V4 Conv-S 5e-2                                          (mobilenet.training_scope); norm_momentum
                                                                        0.997, Conv-S 0.95 in the V4 yaml files
initialisation  truncated normal 0.09;          Kaiming normal,         the same scopes; kernel_initializer of
                V4 variance scaling             fan out                 official/vision (V4)
input           (x - 127.5) / 127.5;            ImageNet mean and std   slim preprocessing/
                V4 ImageNet mean, std                                   inception_preprocessing.py; official/vision
                                                                        dataloaders/classification_input.py (V4)
dropout         V1 0.001; V2, V3, V4 0.2;       V1 0; V2, V3, V4 0.2    mobilenet_v1(dropout_keep_prob=0.999),
                V4 Conv-S 0.3                                           training_scope(dropout_keep_prob=0.8),
                                                                        dropout_rate in the V4 yaml files
==============  ==============================  ======================  ==========================================

All paths are in tensorflow/models: `research/slim` for V1 to V3, `official/vision` for V4, whose yaml files lie in
`configs/experiments/image_classification`. The momentum is torch's, 1 - decay.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from .check import check_choice
from .spec import PROFILES, Initialisation, Norm, Padding, Preprocessing, Profile


class Authors(NamedTuple):
    """What the authors of one network use."""

    eps: float
    momentum: float
    init: Initialisation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_HALF = (127.5, 127.5, 127.5)

V1_AUTHORS = Authors(1e-3, 3e-4, "truncated_normal", _HALF, _HALF, 0.001)
V2_AUTHORS = Authors(1e-3, 3e-3, "truncated_normal", _HALF, _HALF, 0.2)
V3_AUTHORS = Authors(1e-3, 3e-3, "truncated_normal", _HALF, _HALF, 0.2)
V4_AUTHORS = Authors(1e-3, 3e-3, "variance_scaling", IMAGENET_MEAN, IMAGENET_STD, 0.2)
V4_CONV_SMALL_AUTHORS = Authors(1e-6, 5e-2, "variance_scaling", IMAGENET_MEAN, IMAGENET_STD, 0.3)


class Conventions(TypedDict):
    """The fields of a Spec that a profile decides."""

    profile: Profile
    norm: Norm
    padding: Padding
    init: Initialisation
    preprocessing: Preprocessing


def conventions(profile: Profile, authors: Authors, *, resolution: int) -> Conventions:
    """The Spec fields of a profile for one network. Raises UserError on an unknown profile."""
    check_choice("profile", profile, PROFILES)
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


def dropout(profile: Profile, authors: Authors, default: float) -> float:
    """The dropout rate before the classifier."""
    return authors.dropout if profile == "authors" else default
