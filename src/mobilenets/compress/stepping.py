"""A simulation's graph computed node by node, so that what lies between can be seen or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .simulation import Simulation


class Stepper:
    """The values of the graph's nodes that are still needed. A subclass may compute some in its own way.

    `images` uint8 (n, R, R, 3). `nodes` are those that are stepped through; None: the whole graph's.
    """

    def __init__(self, simulation: Simulation, images: Tensor, nodes: Sequence[Node] | None = None) -> None:
        self.simulation, self.images = simulation, images
        self.values: dict[Node, Any] = {}
        self.nodes = list(simulation.graph.graph.nodes) if nodes is None else nodes
        self.last = {source: node for node in self.nodes for source in node.all_input_nodes}

    def step(self, node: Node) -> Any:
        """Computes one node and forgets what no later one takes."""
        found = self.values[node] = self.value(node)
        for source in node.all_input_nodes:
            if self.last[source] is node:
                self.values.pop(source, None)
        return found

    def value(self, node: Node) -> Any:
        """What the node gives for the values that are there."""
        if node.op == "placeholder":
            return self.images
        if node.op == "get_attr":
            return self.simulation.value(node.target)
        if node.op == "call_module":
            return self.simulation.point_at(node.target)(self.values[node.all_input_nodes[0]])
        args = torch.fx.map_arg(node.args, self.values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, self.values.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def logits(self, place: int = 0) -> Tensor:
        """The network's output, going on from `nodes[place]` to the end."""
        for node in self.nodes[place:]:
            if node.op == "output":
                (output,) = node.all_input_nodes
                found: Tensor = self.values[output]
                return found
            self.step(node)
        raise AssertionError("a graph without an output")
