"""Rounding to a grid whose step is learnt, with its gradients in C++."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .binding import call, loaded


def round_to_steps(x: Tensor, step: Tensor, zero: int, low: int, high: int) -> Tensor:
    """x on the grid of `step` (1,), clamped to what the integers `low`...`high` hold around `zero`; any shape.

    Gradients: of x straight through inside the range; of the step as in Esser et al. 2020, "Learned step size
    quantization", equation 3; torch's own operator has zero points below 0 one off in its backward pass.
    By the kernels where they run, else by torch.
    """
    rounded: Tensor = _Rounded.apply(x, step, float(low - zero), float(high - zero))
    return rounded


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.grid = x.numel(), float(step), low, high
        if not _suits(x):
            return (x / step).clamp(low, high).round() * step
        y = torch.empty_like(x)
        call("round_forward", x, y, *ctx.grid, torch.get_num_threads())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (x,) = ctx.saved_tensors
        _, step, low, high = ctx.grid
        if not _suits(x):
            v = x / step
            inside = (v > low - 0.5) & (v < high + 0.5)
            rounded = v.clamp(low, high).round()
            total = (dy * torch.where(inside, rounded - v, rounded)).sum()
            return dy * inside, total.view(1), None, None
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        dy = dy.contiguous(memory_format=torch.channels_last) if last else dy.contiguous()
        dx, found = torch.empty_like(x), ctypes.c_double()
        call("round_backward", x, dy, dx, ctypes.byref(found), *ctx.grid, torch.get_num_threads())
        return dx, torch.tensor([found.value], dtype=torch.float32), None, None


def _suits(x: Tensor) -> bool:
    """Whether the kernels take x: dense float32 on the CPU."""
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return dense and x.dtype == torch.float32 and x.device.type == "cpu" and loaded().library is not None
