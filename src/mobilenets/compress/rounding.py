"""Which way each weight is rounded: not to the nearest integer, but so that the layer's output changes least.

The problem is AdaRound's (Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization", equation
13): a quadratic in the changes of the weights, each of which has two values. Where they relax it and go down its
gradient for thousands of steps, the best flip of each output channel is taken here until none helps: the same each
time, and seconds for a whole network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from .bias import channel_mean
from .lockstep import Visit, walk
from .simulation import Simulation

DAMPING = 0.01  # of the mean curvature, added to all: what few images do not say stays near the weight
_LEAST = 1e-9  # of the loss: a flip that gains less ends the search


def adapt_rounding_(simulation: Simulation, images: np.ndarray, damping: float = DAMPING) -> None:
    """Moves each weight onto the grid, up or down, and corrects the biases. `images` uint8 (n, R, R, 3).

    Layer after layer: the rounded input, the exact output.
    """

    def visit(at: Visit) -> None:
        if simulation.rounds(at.layer) and at.layer.weight is not None:
            point, weight = simulation.points[at.layer.weight], simulation.weight(at.layer)
            scale = point.scale.view(-1, *[1] * (weight.ndim - 1)).expand(len(weight), *[1] * (weight.ndim - 1))
            plain = at.node.target(at.input, weight, simulation.bias(at.layer), *at.node.args[3:])  # type: ignore[operator]
            curvature, pull = moments(at, tuple(weight.shape[2:]), at.exact_output - plain)
            weight.copy_(rounded_well(weight, scale, curvature, pull, point.quant_max, damping))
        bias = simulation.bias(at.layer)
        if bias is not None:
            bias += channel_mean(at.exact_output - at.compute())

    walk(simulation, images, visit)


def moments(at: Visit, kernel: tuple[int, ...], residual: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance of the inputs of an output pixel, (G, K, K) for G groups, and of them with the residual, (O, K).

    `residual` is what the unrounded weights miss of the exact output. Means are taken off: the bias takes care of them.
    """
    outputs, groups = residual.shape[1], at.groups
    sums: list[Tensor] = []
    for x, missed in zip(at.input.split(8), residual.split(8)):
        columns = _columns(x, kernel, at.node, groups)  # (G, P, K)
        apart = missed.flatten(2) if missed.ndim == 4 else missed.unsqueeze(2)
        apart = apart.unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)  # (G, P, O / G)
        parts = [columns.mT @ columns, columns.sum(1), apart.mT @ columns, apart.sum(1)]
        sums = [part.double() if not sums else total + part for part, total in zip(parts, sums or parts)]
    count = residual.numel() / outputs
    second, first, cross, mean = (total / count for total in sums)
    curvature = second - first.unsqueeze(2) * first.unsqueeze(1)
    pull = cross - mean.unsqueeze(2) * first.unsqueeze(1)
    return curvature, pull.reshape(outputs, -1)


def _columns(x: Tensor, kernel: tuple[int, ...], node: Node, groups: int) -> Tensor:
    """What each output pixel is made of: (G, N * pixels, K)."""
    if x.ndim == 2:
        return x.unsqueeze(0)
    given: list[Any] = [*node.args[3:6]]
    stride, padding, dilation = given + [[1, 1], [0, 0], [1, 1]][len(given) :]
    columns = x.flatten(2) if kernel == (1, 1) and stride == [1, 1] else F.unfold(x, kernel, dilation, padding, stride)
    return columns.unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def rounded_well(weight: Tensor, scale: Tensor, curvature: Tensor, pull: Tensor, limit: int, damping: float) -> Tensor:
    """`weight` (O, ...) on the grid of `scale` (O, 1, ...), in -limit...limit steps, with the least quadratic loss.

    Of a change d of an output's weights (K,) the loss is d' H d - 2 d' p, H of its group in `curvature` (G, K, K), p
    its row of `pull` (O, K).
    """
    outputs, groups = len(weight), len(curvature)
    flat = weight.reshape(outputs, -1).double()
    steps = scale.reshape(outputs, 1).double()
    mean = curvature.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    curved = curvature + damping * mean.view(-1, 1, 1) * torch.eye(curvature.shape[1], dtype=torch.float64)
    group = torch.arange(outputs) // (outputs // groups)
    down = torch.clamp((flat / steps).floor(), -limit, limit)
    up = torch.clamp(down + 1, -limit, limit)
    chosen = torch.clamp((flat / steps).round(), -limit, limit)
    change = (chosen * steps) - flat
    slope = torch.bmm(curved, change.view(groups, -1, change.shape[1]).mT).mT.reshape(outputs, -1) - pull  # (O, K)
    diagonal = curved.diagonal(dim1=1, dim2=2)[group]
    start = (change * (slope - pull)).sum(1).abs() + mean[group] * steps.squeeze(1) ** 2
    rows = torch.arange(outputs)
    for _ in range(2 * change.shape[1]):
        other = torch.where(chosen == down, up, down)
        step = (other - chosen) * steps
        gain = 2 * step * slope + step**2 * diagonal
        best, place = gain.min(1)
        going = best < -_LEAST * start
        if not going.any():
            break
        moved, at = rows[going], place[going]
        by = step[moved, at]
        slope[moved] += by.unsqueeze(1) * curved[group[moved], :, at]
        chosen[moved, at] = other[moved, at]
    return (chosen * steps).to(weight.dtype).reshape(weight.shape)
