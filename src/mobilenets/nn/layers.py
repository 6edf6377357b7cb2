"""The layers under the blocks: padded convolution, convolution + normalisation + activation, layer scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..arch.spec import Activation, Gate, Norm, Padding
from .kernels.conditions import wanted
from .kernels.layer import convolve, normalise

Pad = tuple[int, int, int, int]


class ConvSettings(TypedDict, total=False):
    """What a convolution has beside channels and kernel; the defaults are `PaddedConv2d`'s."""

    stride: int
    dilation: int
    groups: int
    padding: Padding
    pad: Pad | None


_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hard_swish": lambda: nn.Hardswish(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "gelu": lambda: nn.GELU(),
    "identity": nn.Identity,
}
_GATES: dict[Gate, Callable[[], nn.Module]] = {
    "hard_sigmoid": lambda: nn.Hardsigmoid(inplace=True),
    "sigmoid": nn.Sigmoid,
}


def activation(name: Activation) -> nn.Module:
    """The activation module of that name; shapes in and out are equal."""
    return _ACTIVATIONS[name]()


def gate(name: Gate) -> nn.Module:
    """The gate of squeeze-and-excite: values in 0...1."""
    return _GATES[name]()


class PaddedConv2d(nn.Conv2d):
    """A convolution with symmetric padding, TensorFlow's `same`, or explicit (left, right, top, bottom) padding.

    (N, C_in, H, W) -> (N, C_out, H', W'). `same` gives H' = ceil(H / stride) with the odd pixel of padding after,
    so at stride 2 its padding depends on the input size; `symmetric` pads (k - 1) * dilation // 2 on every side.

    >>> layer = PaddedConv2d(3, 8, 3, stride=2, padding="same")
    >>> layer(torch.zeros(1, 3, 224, 97)).shape
    torch.Size([1, 8, 112, 49])
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        padding: Padding = "symmetric",
        pad: Pad | None = None,
    ) -> None:
        total = (kernel - 1) * dilation  # padding that keeps the size at stride 1
        self.pad = pad
        inside = total // 2, total // 2  # rows, columns
        if pad is not None:
            left, right, top, bottom = pad
            inside = top, left
            self.outer = left != right or top != bottom
        else:
            self.outer = padding == "same" and kernel > 1 and (stride > 1 or total % 2 == 1)
        inside = (0, 0) if self.outer else inside
        super().__init__(
            c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups, bias=bias, padding=inside
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.outer:  # what the convolution's own padding, equal on opposite sides, cannot say
            x = F.pad(x, self.padding_of(x))
        return super().forward(x)

    def padding_of(self, x: Tensor) -> Pad:
        """The padding (left, right, top, bottom) around an input (N, C, H, W)."""
        if self.pad is not None:
            return self.pad
        if self.outer:
            return same_padding(x.shape[-2:], self.kernel_size[0], self.stride[0], self.dilation[0])
        inside = int(self.padding[0])
        return inside, inside, inside, inside


def same_padding(size: torch.Size, kernel: int, stride: int, dilation: int) -> Pad:
    """TensorFlow's `same` padding (left, right, top, bottom) for an input of (height, width)."""
    top, bottom = _same(size[0], kernel, stride, dilation)
    left, right = _same(size[1], kernel, stride, dilation)
    return left, right, top, bottom


def _same(length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(((length + stride - 1) // stride - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


class ConvNormAct(nn.Module):
    """Convolution, BatchNorm (or a bias in its place), activation. (N, C_in, H, W) -> (N, C_out, H', W')."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        *,
        act: Activation = "identity",
        norm: Norm | None = None,
        **settings: Unpack[ConvSettings],
    ) -> None:
        super().__init__()
        normalised = norm is not None and norm.kind == "batch"
        self.conv = PaddedConv2d(c_in, c_out, kernel, bias=not normalised, **settings)
        self.norm = batch_norm(c_out, norm) if norm is not None and normalised else nn.Identity()
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and wanted(x):
            return normalise(self.norm, self.act, convolve(self.conv, self.conv.padding_of(x), x))
        return self.act(self.norm(self.conv(x)))


def batch_norm(channels: int, norm: Norm) -> nn.BatchNorm2d:
    """BatchNorm with the Spec's constants."""
    return nn.BatchNorm2d(channels, eps=norm.eps, momentum=norm.momentum)


class LayerScale(nn.Module):
    """A learnt factor per channel. (N, C, H, W) -> (N, C, H, W).

    Source: `MNV4LayerScale` in tensorflow/models official/vision/modeling/layers/nn_blocks.py.
    """

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)
