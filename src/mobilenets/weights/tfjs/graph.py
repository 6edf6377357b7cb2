"""A TensorFlow.js graph model (GraphDef as JSON, constants in the manifest) as a `Graph`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Graph, Node
from .call import Call, Constant, Shape
from .entry import Entry, find_entry
from .nodes import GraphNode, dimensions, node_of, read_nodes
from .operators import OPERATORS

_PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault")
_NOTHING = ("NoOp", "Assert")
_PASSING = ("Identity", "ReadVariableOp", "StopGradient")  # of a constant: the constant


def graph_of_nodes(
    topology: dict[str, Any], signature: Any, tensors: dict[str, np.ndarray], where: str
) -> tuple[Graph, Entry | None]:
    """The graph of a topology, whose constants are `tensors`; `signature` names inputs and outputs, or is None.

    Where the topology resizes or normalises its images by what no network has, the graph begins behind that, and the
    `Entry` says what it was.

    Raises UserError where the topology is broken, or takes anything but one batch of images.
    """
    try:
        return _Walk(read_nodes(topology, where), signature or {}, tensors, where).graph()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: its topology is broken ({type(error).__name__}: {error})") from None


class _Walk:
    """Goes through the nodes once, in their order."""

    def __init__(self, nodes: list[GraphNode], signature: Any, tensors: dict[str, np.ndarray], where: str) -> None:
        self.order, self.signature, self.tensors, self.where = nodes, signature, tensors, where
        self.constants: dict[str, Constant] = {}
        self.shapes: dict[str, Shape | None] = {}
        self.nodes: list[Node] = []
        self.before: list[Node] = []  # preprocessing
        self.input = self._input()

    def graph(self) -> tuple[Graph, Entry | None]:
        """The nodes translated, and an account of the tensors."""
        first = self.shapes[self.input]
        assert first is not None
        channels, height, width = first
        for node in self.order:
            self._take(node)
        entry = find_entry(self.order, self.nodes, self.constants, self.input)
        if entry is not None:
            self.before = [node for node in self.nodes if node.name in entry.path]
            self.nodes = [node for node in self.nodes if node.name not in entry.path]
            height, width = entry.height or height, entry.width or width
        graph = Graph(
            nodes=tuple(self.nodes),
            input=self.input if entry is None else entry.value,
            outputs=self._outputs(),
            channels=channels,
            height=height,
            width=width,
            tensors=tuple(self.tensors),
            set_aside=self._set_aside(),
        )
        return graph, entry

    def _input(self) -> str:
        """The one placeholder for images; its shape is recorded. Flags (learning phase) are no inputs."""
        stated = self.signature.get("inputs") or {}
        shapes = {node_of(str(each.get("name", key))): each.get("tensorShape") for key, each in stated.items()}
        found: dict[str, list[int] | None] = {}
        for node in self.order:
            if node.op in _PLACEHOLDERS:
                sizes = dimensions(node.attributes.get("shape", {}).get("shape")) or dimensions(shapes.get(node.name))
                if sizes is None or len(sizes) > 1:
                    found[node.name] = sizes
        if len(found) != 1:
            raise UserError(
                f"{self.where}: one input, of images, is read; its inputs are: {', '.join(found) or 'none'}"
            )
        (name, sizes), *_ = found.items()
        if sizes is None or len(sizes) != 4 or sizes[3] < 1:
            raise UserError(f"{self.where}: the input {name} must be (batch, height, width, channels); it is {sizes}")
        self.shapes[name] = (sizes[3], max(sizes[1], 0), max(sizes[2], 0))
        return name

    def _take(self, node: GraphNode) -> None:
        if node.name == self.input or node.op in _PLACEHOLDERS or node.op in _NOTHING:
            return
        if node.op == "Const":
            if node.name not in self.tensors:
                raise UserError(f"{self.where}: the manifest has no values for the constant {node.name}")
            self.constants[node.name] = Constant(name=node.name, values=self.tensors[node.name])
            return
        constants = tuple(self.constants.get(value) for value in node.inputs)
        if node.op in _PASSING and constants and constants[0] is not None:
            self.constants[node.name] = constants[0]
            return
        shapes = tuple(self.shapes.get(value) for value in node.inputs)
        call = Call(node=node, constants=constants, shapes=shapes, where=self.where)
        translate = OPERATORS.get(node.op)
        if translate is not None:
            translate(call)
        if not call.made:
            floats = [i for i, found in enumerate(constants) if found is not None and found.values.dtype.kind == "f"]
            call.add("other", *floats, inputs=call.values)
        self.nodes += call.made
        self.shapes[node.name] = call.shape
        self._further_outputs(node)

    def _further_outputs(self, node: GraphNode) -> None:
        """A node of ours for each output after the first that something takes (Split, TopKV2, Switch)."""
        wanted = {value for each in self.order for value in each.inputs if value.startswith(f"{node.name}:")}
        for value in sorted(wanted):
            inputs = tuple(each for each in node.inputs if each not in self.constants)
            self.nodes.append(Node(op="other", name=node.name, inputs=inputs, output=value, kind=node.op))

    def _outputs(self) -> tuple[str, ...]:
        """The values that the signature names, else those that nothing takes."""
        made = {node.output for node in self.nodes}
        stated = self.signature.get("outputs") or {}
        named = [str(each.get("name", key)).removesuffix(":0") for key, each in stated.items()]
        if named and made >= set(named):
            return tuple(named)
        taken = {value for node in self.nodes for value in node.inputs}
        return tuple(node.output for node in self.nodes if node.output not in taken)

    def _set_aside(self) -> dict[str, str]:
        """The tensors that are no weights: sizes and axes, preprocessing, and what no operation takes."""
        used = {source for node in self.nodes for source in node.sources}
        before = {source for node in self.before for source in node.sources}
        found = {}
        for name, values in self.tensors.items():
            if name in before - used:
                found[name] = "preprocessing before the network"
            elif name not in used:
                whole = values.dtype.kind != "f"
                found[name] = f"a size, an axis or a flag ({values.dtype})" if whole else "no operation takes it"
        return found
