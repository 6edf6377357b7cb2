"""Cross-layer equalisation: what one layer gives in a channel and the next takes, scaled so that no channel stands out.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.1: a ReLU lets a
positive factor through, so a channel's weights may be divided by one and the next layer's multiplied by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .graph import WEIGHTED, aten
from .lockstep import Visit, walk
from .points import PerChannelPoint
from .simulation import Layer, Simulation

_PASSES = 20  # over a chain of layers of per-tensor weights: each changes what its neighbours want
_MOST = 1e3  # a channel is stretched or shrunk by no more
_MARGIN = 1.25  # below a ReLU6's end: other images reach further than those that were looked at
_LEAST = 1e-8  # a range below it counts as none: such a channel stays as it is


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but a ReLU between them; `clamp` is the value at which a ReLU6 ends, else infinity.

    `linear`: not even a ReLU.
    """

    first: Layer
    second: Layer
    clamp: float
    linear: bool


def pairs(simulation: Simulation) -> Iterator[Pair]:
    """Each layer whose output goes through at most a ReLU, ReLU6 or padding into one other layer and nowhere else."""
    by_node = {layer.node: layer for layer in simulation.layers.values()}
    for node in simulation.graph.graph.nodes:
        if node.name not in by_node:
            continue
        clamp, linear, at = np.inf, True, node
        while len(at.users) == 1:
            at = next(iter(at.users))
            if at.target is aten.hardtanh.default:
                low, high = (*at.args[1:], -1.0, 1.0)[:2] if len(at.args) > 2 else (-1.0, 1.0)
                if low != 0:
                    break
                clamp, linear = min(clamp, float(high)), False
            elif at.target in WEIGHTED:
                yield Pair(by_node[node.name], by_node[at.name], clamp, linear)
                break
            elif at.target is aten.relu.default:
                linear = False
            elif at.op != "call_module" and at.target is not aten.pad.default:
                break


def equalise_(simulation: Simulation, images: np.ndarray) -> int:
    """Equalises all pairs; returns how many there are. The network computes what it did. `images` uint8 (n, R, R, 3).

    Per-tensor weights: both layers' weights get the same range in each channel. Per-channel weights have no such need;
    there the channels of the feature map, which has one scale, get ranges as equal as the next layer's weights allow
    (Xiao et al. 2023, "SmoothQuant", with half of the burden on either side; a depthwise layer carries all of it). A
    ReLU6 stays: a channel that comes near 6 on `images` keeps its scale, and none is stretched to 6.
    """
    found = list(pairs(simulation))
    largest = _output_ranges(simulation, images, {pair.first.name for pair in found if pair.linear})
    per_channel = any(isinstance(point, PerChannelPoint) for point in simulation.points.values())
    for _ in range(1 if per_channel else _PASSES):
        for pair in found:
            reach = largest[pair.first.name]
            factor = _by_activations(simulation, pair, reach) if per_channel else _by_weights(simulation, pair)
            _scale_(simulation, pair, _allowed(factor, reach, pair.clamp), reach)
    simulation.cover_weights()
    return len(found)


def _by_weights(simulation: Simulation, pair: Pair) -> Tensor:
    """(C,) what each channel is multiplied by, so that both layers' weights have equal ranges in it."""
    first = simulation.weight(pair.first).flatten(1).abs().amax(1)
    second = _columns(simulation.weight(pair.second), len(first))
    return torch.where((first > _LEAST) & (second > _LEAST), (second / first.clamp_min(_LEAST)).sqrt(), 1.0)


def _by_activations(simulation: Simulation, pair: Pair, reach: Tensor) -> Tensor:
    """(C,) what each channel is multiplied by to come nearer to the largest one."""
    gain = torch.where(reach > _LEAST, reach.max() / reach.clamp_min(_LEAST), 1.0)
    return gain if _is_depthwise(simulation, pair) else gain.sqrt()


def _allowed(factor: Tensor, reach: Tensor, clamp: float) -> Tensor:
    """The factors, such that no value that was seen gets past the clamp or comes back from there."""
    factor = factor.clamp(1 / _MOST, _MOST)
    if not np.isfinite(clamp):
        return factor
    room = clamp / (_MARGIN * reach.clamp_min(_LEAST))
    return torch.where(room > 1, torch.minimum(factor, room), 1.0)


def _scale_(simulation: Simulation, pair: Pair, factor: Tensor, reach: Tensor) -> None:
    """Multiplies the channels between the two layers by `factor` (C,), in the exact weights too."""
    first = simulation.weight(pair.first).ndim
    depthwise = _is_depthwise(simulation, pair)
    for values in (lambda name: simulation.value(name).data, simulation.exact.__getitem__):
        values(pair.first.weight_name).mul_(factor.view(-1, *[1] * (first - 1)))
        if pair.first.bias_name is not None:
            values(pair.first.bias_name).mul_(factor)
        second = values(pair.second.weight_name)
        if depthwise:
            second.div_(factor.repeat_interleave(len(second) // len(factor)).view(-1, *[1] * (second.ndim - 1)))
        else:
            second.div_(factor.view(1, -1, *[1] * (second.ndim - 2)))
    reach.mul_(factor)


def _is_depthwise(simulation: Simulation, pair: Pair) -> bool:
    """Whether each channel goes into output channels of its own, one or several."""
    return _takes_one(simulation.weight(pair.second), len(simulation.weight(pair.first)))


def _takes_one(weight: Tensor, channels: int) -> bool:
    return weight.ndim == 4 and weight.shape[1] == 1 and len(weight) % channels == 0


def _columns(weight: Tensor, channels: int) -> Tensor:
    """(C,) the largest weight that takes each input channel."""
    if _takes_one(weight, channels):
        return weight.reshape(channels, -1).abs().amax(1)
    return weight.transpose(0, 1).flatten(1).abs().amax(1)


def _output_ranges(simulation: Simulation, images: np.ndarray, linear: set[str]) -> dict[str, Tensor]:
    """The largest value that each channel of a layer gives, (C,), at least 0; of `linear` layers by magnitude."""
    found: dict[str, Tensor] = {}

    def visit(at: Visit) -> None:
        output = at.exact_output.abs() if at.layer.name in linear else at.exact_output
        found[at.layer.name] = (output.amax((0, 2, 3)) if output.ndim == 4 else output.amax(0)).clamp_min(0)

    walk(simulation, images, visit)
    return found
