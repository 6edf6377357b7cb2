"""BatchNorm in training and the activation after it as one step, with its gradients in C++."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .binding import call

_ACTIVATIONS: dict[type[nn.Module], int] = {nn.Identity: 0, nn.ReLU: 1, nn.ReLU6: 2, nn.Hardswish: 3}


def is_known(activation: nn.Module) -> bool:
    """Whether the kernels have this activation."""
    return type(activation) in _ACTIVATIONS


def norm_act(y: Tensor, norm: nn.BatchNorm2d, activation: nn.Module) -> Tensor:
    """activation(norm(y)) with the batch's statistics, (N, C, H, W) both ways; updates `norm` as torch does.

    y is float32 or bfloat16 in channels_last memory, and so is the result; statistics are summed in float32 and double.
    Backward needs y alone, not the normalised values.
    """
    z, mean, variance = _NormAct.apply(y, norm.weight, norm.bias, _ACTIVATIONS[type(activation)], norm.eps)
    if norm.track_running_stats:
        _follow(norm, mean, variance, y.numel() // y.shape[1])
    return z


@torch.no_grad()
def _follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Moves the running statistics towards the batch's; the variance that is kept is the unbiased one."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
    norm.running_var.mul_(1 - momentum).add_(variance, alpha=momentum * count / (count - 1))


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, activation: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = torch.empty_like(y)
        mean, inverse, variance = torch.empty((3, y.shape[1])).unbind()
        ctx.sizes = y.dtype == torch.bfloat16, y.numel() // y.shape[1], y.shape[1]
        threads = torch.get_num_threads()
        call("norm_act_forward", y, None, z, *ctx.sizes, gamma, beta, activation, eps, mean, inverse, variance, threads)
        ctx.save_for_backward(y, gamma, beta, mean, inverse)
        ctx.activation = activation
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return z, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if dz is None:
            return None, None, None, None, None
        y, gamma, beta, mean, inverse = ctx.saved_tensors
        dz = dz.to(y.dtype).contiguous(memory_format=torch.channels_last)
        dy = torch.empty_like(y) if ctx.needs_input_grad[0] else None
        dgamma, dbeta = torch.empty_like(gamma), torch.empty_like(beta)
        threads = torch.get_num_threads()
        arguments = *ctx.sizes, gamma, beta, ctx.activation, mean, inverse, dgamma, dbeta, threads
        call("norm_act_backward", y, dz, dy, *arguments)
        return dy, dgamma, dbeta, None, None
