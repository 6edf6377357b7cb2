"""The exact network and the rounded one, layer after layer on the same images: where repairs see what rounding did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from .points import ROUND
from .simulation import Layer, Simulation

REPAIR_IMAGES = 64  # all feature maps of a layer are held for so many


@dataclass
class Visit:
    """A layer on its turn: all before it is rounded, itself not yet.

    `exact_input` and `input`: what it takes without and with rounding before it, `exact_output` (N, C, H, W) or (N, C)
    what it gives without any, before its activation. `compute` gives its output with the weights that stand now,
    rounded, to the rounded input.
    """

    layer: Layer
    node: Node
    exact_input: Tensor
    input: Tensor
    exact_output: Tensor
    compute: Callable[[], Tensor]

    @property
    def groups(self) -> int:
        """Of the convolution; 1 for a linear layer."""
        args: tuple[Any, ...] = self.node.args
        return args[6] if len(args) > 6 else 1


@torch.no_grad()
def walk(simulation: Simulation, images: np.ndarray, visit: Callable[[Visit], None]) -> tuple[Tensor, Tensor]:
    """Calls `visit` for each layer in order, which may change its weight and bias; returns exact and rounded logits.

    The exact network is `simulation.exact`, whatever was changed since. `images` uint8 (n, R, R, 3), n small.
    """
    graph = simulation.graph
    last_use = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
    by_node = {layer.node: layer for layer in simulation.layers.values()}
    exact: dict[Node, Any] = {}
    rounded: dict[Node, Any] = {}
    with simulation.rounding():
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                exact[node] = rounded[node] = torch.from_numpy(np.ascontiguousarray(images))
            elif node.op == "get_attr":
                rounded[node] = simulation.value(node.target)
                exact[node] = simulation.exact.get(node.target, rounded[node])
            elif node.op == "call_module":
                point = simulation.point_at(node.target)
                exact[node] = exact[node.args[0]]
                if node.args[0].op != "get_attr" and point.mode == ROUND:
                    rounded[node] = point.rounded(rounded[node.args[0]])
                else:  # a weight is rounded when its layer is computed: a visit may change it before
                    rounded[node] = rounded[node.args[0]]
            elif node.op == "call_function":
                exact[node] = _call(node, exact)
                rounded[node] = (
                    _layer(simulation, by_node[node.name], node, exact, rounded, visit)
                    if (node.name in by_node)
                    else _call(node, rounded)
                )
            else:
                (output,) = node.all_input_nodes
                return exact[output], rounded[output]
            for source in node.all_input_nodes:
                if last_use[source] is node:
                    exact.pop(source, None)
                    rounded.pop(source, None)
    raise AssertionError("a graph without an output")


def _layer(
    simulation: Simulation,
    layer: Layer,
    node: Node,
    exact: dict[Node, Any],
    rounded: dict[Node, Any],
    visit: Callable[[Visit], None],
) -> Tensor:
    source = node.args[0]
    assert isinstance(source, Node)

    def compute() -> Tensor:
        weight = simulation.weight(layer)
        if simulation.rounds(layer) and layer.weight is not None:
            weight = simulation.points[layer.weight].rounded(weight)
        return node.target(rounded[source], weight, simulation.bias(layer), *node.args[3:])  # type: ignore[operator]

    visit(Visit(layer, node, exact[source], rounded[source], exact[node], compute))
    return compute()


def _call(node: Node, values: dict[Node, Any]) -> Any:
    args = torch.fx.map_arg(node.args, values.__getitem__)
    kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
    return node.target(*args, **kwargs)  # type: ignore[operator]
