"""A network as the graph that int8 runs, every place where it rounds under control: off, watching, rounding."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ..arch.spec import Spec
from ..errors import UserError
from ..suggest import near
from .graph import WEIGHTED, constant, network_graph, without_floats_
from .points import PASS, ROUND, WATCH, PerChannelPoint, PerTensorPoint, Point
from .quantised import Quantised
from .quantizer import MobileQuantizer
from .quiet import quiet
from .ranges import NEEDS_HISTOGRAM, Seen, range_method

BATCH = 32
FIRST_LOOK = 64  # images, before scales are compared for the first time
STILL = 0.02  # a scale that moves by less has converged


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: its node, where its weight lies, and the points that round for it.

    `points` are all that it causes: its weight, and each activation between it and the next layer. `macs` for one
    image.
    """

    name: str
    node: str
    weight_name: str
    bias_name: str | None
    input: str | None  # the points by name; None: it computes in float
    weight: str | None
    points: tuple[str, ...]
    macs: int


class Simulation:
    """int8 as torch computes it in float: `points` by name, `layers` by name, in the order of the graph.

    `exact` holds the weights and biases before any repair, by the names of the graph's constants; `floats` are the
    points that do not round in what ships.

    `module` is a `deploy.wrap.Shipped` (uint8 (N, R, R, 3) -> logits), `images` uint8 (n, R, R, 3) an example of what
    it takes. `per_channel`: of the weights. Layers are called by their place in the network, `blocks.3.expand`;
    activations by the layer before and the operator, `blocks.3.expand/hardswish`.
    """

    def __init__(self, module: nn.Module, images: np.ndarray, *, per_channel: bool = True) -> None:
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

        spec: Spec = module.spec  # type: ignore[assignment]
        self.spec = spec
        with quiet():
            graph: GraphModule = network_graph(module, images)
            self.graph: GraphModule = prepare_pt2e(graph, MobileQuantizer(per_channel=per_channel))
        self.points, self._names = _named_points(self.graph)
        self.layers = {layer.name: layer for layer in _layers(self.graph, self._names)}
        self.floats: frozenset[str] = frozenset()
        self.exact = {
            name: constant(self.graph, name).detach().clone()
            for layer in self.layers.values()
            for name in (layer.weight_name, layer.bias_name)
            if name is not None
        }
        self.cover_weights()

    def value(self, target: Any) -> Tensor:
        """The constant of that name as it stands."""
        return constant(self.graph, target)

    def name_at(self, target: Any) -> str:
        """The name of the point that a node of the graph calls."""
        return self._names[target]

    def point_at(self, target: Any) -> Point:
        """The point that a node of the graph calls."""
        return self.points[self._names[target]]

    def cover_weights(self) -> None:
        """Sets the scales of the weights from the weights themselves."""
        for layer in self.layers.values():
            point = self.points[layer.weight] if layer.weight else None
            if isinstance(point, PerChannelPoint | PerTensorPoint):
                point.cover_weight(self.weight(layer))

    def weight(self, layer: Layer) -> Tensor:
        """The layer's weight as it stands, float32 (O, I, ...): changed in place, it is changed."""
        return constant(self.graph, layer.weight_name).data

    def bias(self, layer: Layer) -> Tensor | None:
        """The layer's bias as it stands, (O,)."""
        return None if layer.bias_name is None else constant(self.graph, layer.bias_name).data

    def set_modes(self, mode: str, names: Collection[str] | None = None) -> None:
        """Gives those points, or all, the mode."""
        for name in self.points if names is None else names:
            self.points[name].mode = mode

    @contextmanager
    def rounding(self, names: Collection[str] | None = None) -> Iterator[None]:
        """Within it those points round, or all that ship so, and no others; then each does again what it did."""
        before = {name: point.mode for name, point in self.points.items()}
        self.set_modes(PASS)
        self.set_modes(ROUND, self.points.keys() - self.floats if names is None else names)
        try:
            yield
        finally:
            for name, mode in before.items():
                self.points[name].mode = mode

    @torch.no_grad()
    def logits(self, images: np.ndarray, names: Collection[str] | None = None) -> np.ndarray:
        """float32 (n, C) of uint8 images (n, R, R, 3), with those points rounding, or all that ship so."""
        with self.rounding(names):
            return np.concatenate([self.graph(batch).numpy() for batch in batches(images)])

    @torch.no_grad()
    def watch(
        self, images: Sequence[np.ndarray] | np.ndarray, method: str = "min-max", *, converge: bool = False
    ) -> int:
        """Shows images to all activations, in float, and sets their scales by that method; returns how many it showed.

        With `converge` it ends as soon as twice as many images move no scale but one in twenty by more than 2 %.
        """
        chosen = range_method(method)
        watched = [point for point in self.points.values() if point.fixed is None and _is_plain(point)]
        for point in watched:
            point.seen, point.histogram = Seen(), method in NEEDS_HISTOGRAM
        shown, asked, before = 0, FIRST_LOOK, None
        self.set_modes(PASS)
        for point in watched:
            point.mode = WATCH
        for batch in batches(images):
            self.graph(batch)
            shown += len(batch)
            if converge and shown >= asked:
                for point in watched:
                    point.settle(chosen)
                scales = torch.cat([point.scale for point in watched])
                if before is not None and torch.quantile((scales / before - 1).abs(), 0.95) < STILL:
                    break
                before, asked = scales, 2 * asked
        for point in watched:
            point.mode = PASS
            point.settle(chosen)
        return shown

    def integers(self, layer: Layer) -> Tensor:
        """The layer's weight as int8 holds it, (O, I, ...)."""
        assert layer.weight is not None
        point, weight = self.points[layer.weight], self.weight(layer)
        scale = point.scale.view(-1, *[1] * (weight.ndim - 1))
        return (point.rounded(weight) / scale).round().to(torch.int8)  # as the graph rounds a tie

    def rounds(self, layer: Layer) -> bool:
        """Whether the layer's weight is int8 in what ships."""
        return layer.weight is not None and layer.weight not in self.floats

    def leave_in_float(self, layers: Collection[str]) -> None:
        """From now on those layers, with the activations up to the next one, compute in float, and no others.

        So does the next one: without int8 on both sides there is no integer kernel, and rounding a weight for none
        would only cost. Raises UserError for a layer that is not there.
        """
        if unknown := sorted(set(layers) - self.layers.keys()):
            raise UserError(f"no layer {unknown[0]!r} in {self.spec.name}{near(unknown[0], [*self.layers])}")
        floats = {point for name in layers for point in self.layers[name].points}
        for layer in self.layers.values():
            if layer.weight is not None and (layer.input is None or layer.input in floats):
                floats.add(layer.weight)
        self.floats = frozenset(floats)

    def converted(self) -> Quantised:
        """The network that ships."""
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        with quiet():
            prepared = copy.deepcopy(self.graph)
        for node in list(prepared.graph.nodes):
            if node.op == "call_module" and self._names[node.target] in self.floats:
                node.replace_all_uses_with(node.args[0])
                prepared.graph.erase_node(node)
        prepared.recompile()
        with quiet():
            return Quantised(without_floats_(convert_pt2e(prepared)), self.spec, self.int8_macs)

    @property
    def int8_macs(self) -> float:
        """The share of multiply-adds, 0...1, whose two factors are int8."""
        whole = sum(layer.macs for layer in self.layers.values())
        return sum(layer.macs for layer in self.layers.values() if self.rounds(layer)) / whole


def batches(images: Sequence[np.ndarray] | np.ndarray, size: int = BATCH) -> Iterator[Tensor]:
    """uint8 (n, R, R, 3) in tensors of at most `size` images."""
    for start in range(0, len(images), size):
        yield torch.from_numpy(np.ascontiguousarray(images[start : start + size]))


def _is_plain(point: Point) -> bool:
    return not isinstance(point, PerChannelPoint | PerTensorPoint)


def _named_points(graph: GraphModule) -> tuple[dict[str, Point], dict[str, str]]:
    """The points by name, and the name for each target of a node; one that several nodes share has one name."""
    modules = dict(graph.named_modules(remove_duplicate=False))
    names: dict[int, str] = {}
    points: dict[str, Point] = {}
    by_target: dict[str, str] = {}
    used: Counter[str] = Counter()
    layer = "image"
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in WEIGHTED:
            layer = layer_name(weight_node(node))
        if node.op != "call_module":
            continue
        point = modules[node.target]
        assert isinstance(point, Point)
        if id(point) not in names:
            source = node.args[0]
            name = f"{layer_name(source)}/weight" if source.op == "get_attr" else f"{layer}/{_operator(source)}"
            used[name] += 1
            names[id(point)] = name if used[name] == 1 else f"{name}.{used[name]}"
            points[names[id(point)]] = point
        by_target[node.target] = names[id(point)]
    return points, by_target


def _layers(graph: GraphModule, names: dict[str, str]) -> Iterator[Layer]:
    every = list(dict.fromkeys(names.values()))
    for node in graph.graph.nodes:
        if node.op != "call_function" or node.target not in WEIGHTED:
            continue
        source, weight = node.args[0], weight_node(node)
        name = layer_name(weight)
        bias = node.args[2] if len(node.args) > 2 else None
        value = constant(graph, weight.target)
        yield Layer(
            name=name,
            node=node.name,
            weight_name=str(weight.target),
            bias_name=None if bias is None else bias.target,
            input=names.get(source.target) if source.op == "call_module" else None,
            weight=names.get(node.args[1].target) if node.args[1].op == "call_module" else None,
            points=tuple(point for point in every if point.rpartition("/")[0] == name),
            macs=_positions(node) * value[0].numel() * len(value),
        )


def weight_node(node: Node) -> Node:
    """The constant that is the weight of a convolution or linear layer, behind its point where it has one."""
    weight: Any = node.args[1]
    return weight.args[0] if weight.op == "call_module" else weight


def layer_name(weight: Node) -> str:
    """`blocks.3.expand` of the constant `network.blocks.3.expand.conv.weight`."""
    return str(weight.target).removeprefix("network.").removesuffix(".weight").removesuffix(".conv")


def _operator(node: Node) -> str:
    return str(node.target).split(".")[1] if node.op == "call_function" else node.name


def _positions(node: Node) -> int:
    """How many output pixels one image has; 1 for a linear layer."""
    value = node.meta["val"]
    return int(value.shape[2] * value.shape[3]) if value.ndim == 4 else 1
