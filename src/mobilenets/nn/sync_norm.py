"""BatchNorm over the images of several processes: statistics and gradients of the whole batch, on any device.

torch's own `SyncBatchNorm` runs on GPUs alone. This one exchanges two numbers a channel forward and two backward,
summed in float64, so that it gives what one process gives for the same batch, however unevenly the batch is divided.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_AXES = (0, 2, 3)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of all processes' images. (N, C, H, W) both ways."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        y, mean, variance, count = _SyncNorm.apply(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._follow(mean, variance, float(count))
        return y

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Moves the running statistics towards the batch's; the variance that is kept is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - momentum).add_(mean.to(self.running_mean), alpha=momentum)
        unbiased = (variance * (count / (count - 1))).to(self.running_var)
        self.running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)


def synchronise_(network: nn.Module) -> None:
    """Puts `SyncBatchNorm2d` in the place of every BatchNorm2d; parameters, statistics and their names stay."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.BatchNorm2d:
                twin = SyncBatchNorm2d(layer.num_features, layer.eps, layer.momentum)
                twin.weight, twin.bias = layer.weight, layer.bias
                twin.running_mean, twin.running_var = layer.running_mean, layer.running_var
                twin.num_batches_tracked = layer.num_batches_tracked
                setattr(parent, name, twin.train(layer.training))


def local_statistics(network: nn.Module) -> list[Tensor]:
    """The running statistics that follow this process's images alone: of each BatchNorm2d in training mode."""
    layers = [layer for layer in network.modules() if type(layer) is nn.BatchNorm2d and layer.training]
    pairs = [(layer.running_mean, layer.running_var) for layer in layers]
    return [values for pair in pairs for values in pair if values is not None]


class _SyncNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        wide = x.to(weight.dtype)
        n, channels = x.numel() // x.shape[1], x.shape[1]
        variance, mean = (part.double() for part in torch.var_mean(wide, _AXES, correction=0))
        total = torch.cat([n * mean, n * (variance + mean * mean), mean.new_full((1,), n)])
        dist.all_reduce(total)
        count = total[-1]
        if count < 2:
            raise ValueError("more than one value per channel is needed to train BatchNorm")
        mean, squares = (total[:-1] / count).split(channels)
        variance = (squares - mean * mean).clamp_min_(0)
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse, count)
        normal = (wide - _spread(mean, wide)) * _spread(inverse, wide)
        y = (normal * _spread(weight, wide) + _spread(bias, wide)).to(x.dtype)
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        wide = dy.to(weight.dtype)
        normal = (x.to(weight.dtype) - _spread(mean, wide)) * _spread(inverse, wide)
        dbias, dweight = wide.sum(_AXES), (wide * normal).sum(_AXES)  # of this process's images: DDP adds them up
        total = torch.cat([dbias, dweight]).double()
        dist.all_reduce(total)
        if not ctx.needs_input_grad[0]:
            return None, dweight, dbias, None
        shift, slope = (total / count).split(len(weight))
        dx = wide - _spread(shift, wide) - normal * _spread(slope, wide)
        return (dx * _spread(weight * inverse, wide)).to(x.dtype), dweight, dbias, None


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, 1) of the other's type."""
    return values.to(like.dtype).view(1, -1, 1, 1)
