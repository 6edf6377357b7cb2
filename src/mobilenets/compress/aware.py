"""A quantised network as it trains: every rounding in place, its integers, scales and biases moved by the gradient.

Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference", section 3.2 (BatchNorm folding,
statistics frozen after a while), with the step sizes learnt as in Esser et al. 2020, "Learned step size quantization".
A weight is trained in units of its channel's scale, so that one learning rate suits all layers. BatchNorm is folded
into the layers before they are quantised; here each convolution has one again, which turns its output to the mean and
deviation that are trained. Its factor is positive and per channel, so that it goes into the channel's scale and changes
no integer: what is trained is what ships, without the correction factors that folding into rounded weights needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn import functional as F

from ..nn.kernels.conditions import wanted
from ..nn.kernels.depthwise import Geometry, depthwise
from ..nn.kernels.rounding import round_to_steps
from .bias import channel_mean
from .pairs import excess
from .points import Point
from .simulation import Layer, Simulation, batches
from .stepping import Stepper

MOMENTUM = 0.05  # by which running statistics follow those of the batches
_LEAST_VARIANCE = 1e-10


class AwareNetwork(nn.Module):
    """uint8 (N, R, R, 3) -> logits (N, C), as `simulation` computes them; `write_back_` gives it what was trained.

    `images` uint8 (n, R, R, 3): the statistics of every layer's output on them are where BatchNorm begins. `live`:
    layers are normalised by their batch's statistics, which the running ones follow; else by the running ones.
    """

    def __init__(self, simulation: Simulation, images: np.ndarray) -> None:
        super().__init__()
        self.simulation = simulation
        self.live = False
        moments = _measured(simulation, images)
        self.layers = nn.ModuleDict(
            {_key(name): AwareLayer(simulation, layer, *moments[name]) for name, layer in simulation.layers.items()}
        )
        weights = {layer.weight for layer in simulation.layers.values()}
        learnt = [name for name in simulation.points if name not in weights and name not in simulation.floats]
        self.steps = nn.ModuleDict({_key(name): LearntStep(simulation.points[name]) for name in learnt})
        self.layer_of = {layer.node: _key(name) for name, layer in simulation.layers.items()}
        self.nodes = [node for node in simulation.graph.graph.nodes if not _is_weight(node, simulation)]

    def forward(self, images: Tensor) -> Tensor:
        return _AwareStepper(self, images).logits()

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """The parameters for an optimiser whose steps are as large as its learning rate (Adam).

        `lr` is that of the weights, in steps of their grid; factors and shifts of whole channels, in parts of
        themselves, move by a 50th of it.
        """
        weights = [layer.steps for layer in self.layers.values()]
        others = [parameter for name, parameter in self.named_parameters() if not name.endswith(".steps")]
        return [{"params": weights, "lr": lr}, {"params": others, "lr": lr / 50}]

    @torch.no_grad()
    def settle_(self) -> None:
        """To be called after each step of the optimiser: weights that outgrew their grid get a wider one."""
        for layer in self.layers.values():
            layer.settle_()  # type: ignore[operator]

    @torch.no_grad()
    def write_back_(self) -> None:
        """Gives the simulation the integers, scales and biases as they stand."""
        for layer in self.layers.values():
            layer.write_back_()  # type: ignore[operator]
        for step in self.steps.values():
            step.write_back_()  # type: ignore[operator]


class _AwareStepper(Stepper):
    """The steps of an AwareNetwork: its own layers and roundings in place of the simulation's."""

    def __init__(self, network: AwareNetwork, images: Tensor) -> None:
        super().__init__(network.simulation, images, network.nodes)
        self.network = network

    def value(self, node: Node) -> Any:
        """What the node gives in training."""
        network = self.network
        if node.op == "call_module":
            x = self.values[node.all_input_nodes[0]]
            key = _key(self.simulation.name_at(node.target))
            return network.steps[key](x) if key in network.steps else x
        if node.name in network.layer_of:
            layer = network.layers[network.layer_of[node.name]]
            return layer(self.values[node.all_input_nodes[0]], node, live=network.live)
        return super().value(node)


class AwareLayer(nn.Module):
    """A layer of the simulation. `mean` and `variance` (O,): those of its output, its bias left out.

    `steps` is the weight (O, I, ...) in units of each channel's scale; `gain` the logarithm of the factor by which a
    channel's deviation grew, `shift` what its mean moved by, in deviations; both (O,).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, simulation: Simulation, layer: Layer, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.simulation, self.layer = simulation, layer
        weight, bias = simulation.weight(layer), simulation.bias(layer)
        self.limit: int | None = None
        if layer.weight is not None and simulation.rounds(layer):
            point = simulation.points[layer.weight]
            self.limit, self.scale = point.quant_max, point.scale.clone()
        else:
            self.scale = (weight.flatten(1).abs().amax(1) / 127).clamp_min(1e-12)
        # no factor for each channel where all share one scale, none where there is no bias to take the mean
        self.rigid = len(self.scale) < len(weight) or bias is None
        self.steps = nn.Parameter(weight / self.scale.view(-1, *[1] * (weight.ndim - 1)))
        self.gain = nn.Parameter(torch.zeros(len(weight)), requires_grad=not self.rigid)
        self.shift = nn.Parameter(torch.zeros(len(weight)), requires_grad=bias is not None)
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.deviation = _spread(variance)  # of the network before training
        self.centre = mean.clone() if bias is None else mean + bias

    def forward(self, x: Tensor, node: Node, *, live: bool) -> Tensor:
        """The layer's output for its input x; `live` as in AwareNetwork."""
        weight = self._weight()
        if not live or weight.ndim == 2 or self.rigid:
            factor, offset = self._affine(self.mean, self.variance)
            return _convolved(x, weight * factor.view(-1, *[1] * (weight.ndim - 1)), offset, node)
        y = _convolved(x, weight, None, node)
        if y.shape[2] * y.shape[3] == 1:  # squeeze-and-excite, whose statistics would be those of a few images
            factor, offset = self._affine(self.mean, self.variance)
        else:
            variance, mean = torch.var_mean(y, (0, 2, 3), unbiased=False)
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
            factor, offset = self._affine(mean, variance)
        return y * factor.view(-1, 1, 1) + offset.view(-1, 1, 1)

    def _affine(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """What the output is multiplied by and what is added, (O,), where its own moments are these."""
        factor = torch.ones_like(mean) if self.rigid else self.gain.exp() * self.deviation / _spread(variance)
        return factor, self.centre + self.deviation * self.shift - mean * factor

    def _weight(self) -> Tensor:
        steps: Tensor = self.steps
        if self.limit is not None:
            bound = self.steps.clamp(-self.limit, self.limit)
            steps = bound + (bound.round() - bound).detach()
        return steps * self.scale.view(-1, *[1] * (steps.ndim - 1))

    def settle_(self) -> None:
        """Widens the grid of channels whose weights have become too large for it; the weights stay what they are."""
        if self.limit is not None and not self.rigid:
            over = excess(self.steps)
            self.scale = self.scale * over
            self.steps.div_(over.view(-1, *[1] * (self.steps.ndim - 1)))

    def write_back_(self) -> None:
        """Gives the simulation the layer as it stands."""
        factor, offset = self._affine(self.mean, self.variance)
        scale = self.scale if self.rigid else self.scale * factor
        steps = self.steps if self.limit is None else self.steps.clamp(-self.limit, self.limit).round()
        weight, bias = self.simulation.weight(self.layer), self.simulation.bias(self.layer)
        weight.copy_(steps * scale.view(-1, *[1] * (weight.ndim - 1)))
        if self.limit is not None and self.layer.weight is not None:
            self.simulation.points[self.layer.weight].scale = scale.detach().clone()
        if bias is not None:
            bias.copy_(offset)


class LearntStep(nn.Module):
    """An activation's rounding whose scale is trained; the zero point stays, so the range stretches around zero."""

    def __init__(self, point: Point) -> None:
        super().__init__()
        self.point = point
        self.zero = int(point.zero_point)
        self.before = point.scale.clone()
        self.growth = nn.Parameter(torch.zeros(1), requires_grad=point.fixed is None)  # logarithm

    def forward(self, x: Tensor) -> Tensor:
        """x on the grid, (N, ...)."""
        point = self.point
        if not self.growth.requires_grad:
            return point.rounded(x)
        return round_to_steps(x, self.before * self.growth.exp(), self.zero, point.quant_min, point.quant_max)

    def write_back_(self) -> None:
        """Gives the point the scale as it stands."""
        self.point.scale = (self.before * self.growth.exp()).detach()


@torch.no_grad()
def _measured(simulation: Simulation, images: np.ndarray) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance (O,) of each layer's output without its bias, everything rounded."""
    sums: dict[str, list[Tensor]] = {}
    by_node = {layer.node: layer for layer in simulation.layers.values()}
    with simulation.rounding():
        for batch in batches(images):
            stepper = Stepper(simulation, batch)
            for node in stepper.nodes[:-1]:
                y = stepper.step(node)
                if node.name not in by_node:
                    continue
                layer = by_node[node.name]
                bias = simulation.bias(layer)
                z = y if bias is None else y - bias.view(1, -1, *[1] * (y.ndim - 2))
                part = [channel_mean(z) * len(batch), channel_mean(z**2) * len(batch)]
                before = sums.get(layer.name)
                sums[layer.name] = part if before is None else [a + b for a, b in zip(before, part)]
    found = {}
    for name, (first, second) in sums.items():
        mean = first / len(images)
        found[name] = mean, (second / len(images) - mean**2).clamp_min(_LEAST_VARIANCE)
    return found


def _spread(variance: Tensor) -> Tensor:
    return (variance + _LEAST_VARIANCE).sqrt()


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, node: Node) -> Tensor:
    """The node's convolution or linear layer; a depthwise one by our kernel where it runs."""
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    given: list[Any] = [*node.args[3:7]]
    stride, padding, dilation, groups = given + [[1, 1], [0, 0], [1, 1], 1][len(given) :]
    if groups == len(weight) == x.shape[1] > 1 and not isinstance(padding, str) and len({*stride}) == 1 and wanted(x):
        top, left = padding
        y = depthwise(x, weight, Geometry(stride[0], dilation[0], left, left, top, top))
        return y if bias is None else y + bias.view(-1, 1, 1)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _is_weight(node: Node, simulation: Simulation) -> bool:
    """Whether the node is a layer's weight or bias, or the rounding of a weight: the layers have their own."""
    names = {name for layer in simulation.layers.values() for name in (layer.weight_name, layer.bias_name)}
    if node.op == "call_module":
        node = node.all_input_nodes[0]
    return node.op == "get_attr" and node.target in names


def _key(name: str) -> str:
    """A name as a module's name, which has no dots."""
    return name.replace(".", "-")
