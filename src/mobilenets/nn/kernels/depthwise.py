"""Depthwise convolution with its gradients in C++."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .binding import call


class Geometry(NamedTuple):
    """How a kernel moves over its input. Padding may differ from side to side."""

    stride: int
    dilation: int
    left: int
    right: int
    top: int
    bottom: int


def depthwise(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Depthwise convolution of multiplier 1: (N, C, H, W), (C, 1, k, k) -> (N, C, H', W').

    x is float32 or bfloat16 in channels_last memory, and so is the result; the weight is float32, and so is its
    gradient: sums are float32 and double whatever x is. Each padding is within 0...(k - 1) * dilation.
    """
    return _Depthwise.apply(x, weight, geometry)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        sizes = _sizes(x, weight, geometry)
        weight = weight.contiguous()
        y = torch.empty((x.shape[0], x.shape[1], sizes[4], sizes[5]), dtype=x.dtype, memory_format=torch.channels_last)
        call("depthwise_forward", x, weight, y, x.dtype == torch.bfloat16, sizes, torch.get_num_threads())
        ctx.save_for_backward(x, weight)
        ctx.sizes = sizes
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dw = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        bf16 = x.dtype == torch.bfloat16
        call("depthwise_backward", x, weight, dy, dx, dw, bf16, ctx.sizes, torch.get_num_threads())
        return dx, dw, None


def _sizes(x: Tensor, weight: Tensor, geometry: Geometry) -> ctypes.Array[ctypes.c_int64]:
    """The fields of `Shape` in lines.h."""
    n, c, h, w = x.shape
    k = weight.shape[-1]
    reach = (k - 1) * geometry.dilation
    oh = (h + geometry.top + geometry.bottom - reach - 1) // geometry.stride + 1
    ow = (w + geometry.left + geometry.right - reach - 1) // geometry.stride + 1
    fields = n, h, w, c, oh, ow, k, geometry.stride, geometry.dilation, geometry.top, geometry.left
    return (ctypes.c_int64 * len(fields))(*fields)
