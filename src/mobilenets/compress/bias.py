"""Repairs of the mean and the spread of each channel, which rounding shifts: the weights' integers stay as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .lockstep import Visit, walk
from .points import PerChannelPoint
from .simulation import Simulation

_MOST = 2.0  # a channel is stretched or shrunk by no more


def correct_bias_(simulation: Simulation, images: np.ndarray) -> None:
    """Shifts each bias by the mean error of its channel, layer after layer (Nagel et al. 2019, appendix D: empirical).

    `images` uint8 (n, R, R, 3).
    """

    def visit(at: Visit) -> None:
        bias = simulation.bias(at.layer)
        if bias is not None:
            bias += channel_mean(at.exact_output - at.compute())

    walk(simulation, images, visit)


def restore_statistics_(simulation: Simulation, images: np.ndarray) -> None:
    """Gives each channel the mean and the standard deviation that it has without rounding, layer after layer.

    This is what re-estimating BatchNorm's statistics with rounded weights does, for a BatchNorm that is folded in: the
    channel's scale takes the factor, so that its integers stay. Per-tensor weights share one scale, so there the mean
    alone is restored. `images` uint8 (n, R, R, 3).
    """

    def visit(at: Visit) -> None:
        bias = simulation.bias(at.layer)
        if bias is None:
            return
        found = at.compute()
        mean, wanted = channel_mean(found), channel_mean(at.exact_output)
        gain = torch.ones_like(mean)
        point = simulation.points[at.layer.weight] if at.layer.weight else None
        if isinstance(point, PerChannelPoint) and simulation.rounds(at.layer):
            gain = _spread(at.exact_output, wanted) / _spread(found, mean).clamp_min(1e-12)
            gain = gain.clamp(1 / _MOST, _MOST)
            weight, integers = simulation.weight(at.layer), simulation.integers(at.layer)
            point.scale = point.scale * gain
            weight.copy_(integers * point.scale.view(-1, *[1] * (weight.ndim - 1)))
        bias.copy_(wanted - gain * (mean - bias))

    walk(simulation, images, visit)


def channel_mean(values: Tensor) -> Tensor:
    """(C,) of a feature map (N, C, H, W) or of (N, C)."""
    return values.mean((0, 2, 3)) if values.ndim == 4 else values.mean(0)


def _spread(values: Tensor, mean: Tensor) -> Tensor:
    shape = (1, -1, 1, 1) if values.ndim == 4 else (1, -1)
    return channel_mean((values - mean.view(shape)) ** 2).sqrt()
