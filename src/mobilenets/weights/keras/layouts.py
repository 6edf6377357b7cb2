"""Kernels between Keras' layouts and torch's, both ways and bit by bit: transposed, never merely reshaped."""

from __future__ import annotations

import numpy as np


def to_torch(kind: str, kernel: np.ndarray) -> np.ndarray:
    """The kernel of a Keras layer class as torch has it.

    Conv2D (H, W, I, O) -> (O, I, H, W); DepthwiseConv2D (H, W, C, M) -> (C * M, 1, H, W), the M filters of one channel
    together; Dense (I, O) -> (O, I).
    """
    if kind == "Dense":
        return kernel.T
    if kind == "DepthwiseConv2D":
        height, width, channels, multiplier = kernel.shape
        return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return kernel.transpose(3, 2, 0, 1)


def to_keras(kind: str, weight: np.ndarray, channels: int = 1) -> np.ndarray:
    """The inverse of `to_torch`; `channels` is the number of input channels of a DepthwiseConv2D.

    A Dense takes a 1x1 convolution's weight too, and a Conv2D a linear layer's.
    """
    if kind == "Dense":
        return weight.reshape(weight.shape[:2]).T
    if kind == "DepthwiseConv2D":
        return weight.reshape(channels, -1, *weight.shape[2:]).transpose(2, 3, 0, 1)
    return (weight if weight.ndim == 4 else weight[:, :, None, None]).transpose(2, 3, 1, 0)
