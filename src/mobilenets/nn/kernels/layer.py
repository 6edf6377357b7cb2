"""A convolution, and a normalisation with its activation, by the kernels where they suit, else by torch."""

from __future__ import annotations

from torch import Tensor, nn

from .conditions import plain, untouched, working_dtype
from .depthwise import Geometry, depthwise
from .norm_act import is_known, norm_act
from .pointwise import pointwise

Padding = tuple[int, int, int, int]  # left, right, top, bottom


def convolve(conv: nn.Conv2d, padding: Padding, x: Tensor) -> Tensor:
    """conv(x); `padding` (left, right, top, bottom) is what it puts around this x. x is as `conditions.wanted` says."""
    dtype = working_dtype(x)
    if dtype is None or not untouched(conv) or not plain(conv.weight):
        return conv(x)
    if _is_pointwise(conv, padding):
        return pointwise(x, conv.weight, conv.bias)
    if conv.bias is None and _is_depthwise(conv) and _suits(conv, padding, x):
        return depthwise(x.to(dtype), conv.weight, Geometry(conv.stride[0], conv.dilation[0], *padding))
    return conv(x)


def normalise(norm: nn.Module, activation: nn.Module, y: Tensor) -> Tensor:
    """activation(norm(y)). y is as `conditions.wanted` says, or the bfloat16 result of a convolution under autocast."""
    if (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.affine
        and y.numel() > y.shape[1]
        and is_known(activation)
        and untouched(norm)
        and untouched(activation)
        and plain(norm.weight, norm.bias)
    ):
        return norm_act(y, norm, activation)
    return activation(norm(y))


def _is_pointwise(conv: nn.Conv2d, padding: Padding) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and not any(padding)


def _is_depthwise(conv: nn.Conv2d) -> bool:
    """One filter per channel."""
    return conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1


def _suits(conv: nn.Conv2d, padding: Padding, x: Tensor) -> bool:
    """Square kernel, stride and dilation; padding within the kernel; at least one output."""
    (k, k2), (stride, stride2), (dilation, dilation2) = conv.kernel_size, conv.stride, conv.dilation
    reach = (k - 1) * dilation
    left, right, top, bottom = padding
    return (
        (k, stride, dilation) == (k2, stride2, dilation2)
        and conv.padding_mode == "zeros"
        and all(0 <= side <= reach for side in padding)
        and x.shape[2] + top + bottom > reach
        and x.shape[3] + left + right > reach
    )
