"""Where the network begins in a graph that resizes and normalises its images itself.

The TensorFlow Object Detection API exports such graphs: a loop over the batch takes an image out of a list, scales,
resizes and puts it into another list, all before the first convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Node, Normalisation
from .call import Constant
from .nodes import GraphNode, node_of

# Which input a pixel comes through. A loop's Merge has it from outside or from the round before.
_THROUGH: dict[str, tuple[int, ...]] = {
    "Cast": (0,),
    "Enter": (0,),
    "Exit": (0,),
    "ExpandDims": (0,),
    "Identity": (0,),
    "Merge": (0, 1),
    "NextIteration": (0,),
    "Pack": (0,),
    "ResizeBilinear": (0,),
    "ResizeNearestNeighbor": (0,),
    "Squeeze": (0,),
    "StridedSlice": (0,),
    "Switch": (0,),
    "TensorListFromTensor": (0,),
    "TensorListGetItem": (0,),
    "TensorListSetItem": (2,),
    "TensorListStack": (0,),
    "Unpack": (0,),
}
_ARITHMETIC = ("Add", "AddV2", "Sub", "Mul", "RealDiv")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`value` is the first feature map; `path` the nodes from the image to it, which scale it by `scale` and `offset`.

    `height` and `width` are what the image is resized to, 0 where it is not.
    """

    value: str
    path: tuple[str, ...]
    scale: float
    offset: float
    height: int
    width: int

    def normalisation(self, channels: int) -> Normalisation:
        """The same for each channel, as the graph states it."""
        mean, std = (-self.offset / self.scale,) * channels, (1 / self.scale,) * channels
        return Normalisation(mean=mean, std=std, stated=True)

    def fact(self) -> str:
        """For a person: what the graph does before the network."""
        size = f"resizes to {self.height} x {self.width}, " if self.height else ""
        return f"the graph itself: {size}x * {self.scale:g} + {self.offset:g}; the network begins at {self.value}"


def find_entry(
    order: Sequence[GraphNode], nodes: Sequence[Node], constants: Mapping[str, Constant], image: str
) -> Entry | None:
    """Where the network begins if other operations than a network's stand before its first convolution, else None."""
    first = next((node for node in nodes if node.op == "conv"), None)
    if first is None or _begins_at(nodes, image, first):
        return None
    by_name = {node.name: node for node in order}
    path = _path(by_name, constants, node_of(first.inputs[0]), image)
    if path is None:
        return None
    scale, offset, height, width = 1.0, 0.0, 0, 0
    for name in path:
        node = by_name[name]
        factor, shift = _factors(node, constants)
        scale, offset = scale * factor, offset * factor + shift
        if node.op.startswith("Resize") and (sizes := constants.get(node.inputs[1])) is not None:
            height, width = (int(size) for size in sizes.values.reshape(-1)[:2])
    if scale == 0:
        return None
    return Entry(value=first.inputs[0], path=tuple(path), scale=scale, offset=offset, height=height, width=width)


def _begins_at(nodes: Sequence[Node], image: str, first: Node) -> bool:
    """Whether only a network's own operations stand between the image and the first convolution."""
    made = {node.output: node for node in nodes}
    value = first.inputs[0]
    while value in made and made[value].op in ("same", "affine", "norm", "pad"):
        value = made[value].inputs[0]
    return value == image


def _path(nodes: Mapping[str, GraphNode], constants: Mapping[str, Constant], last: str, image: str) -> list[str] | None:
    """The nodes from behind the image to `last`, through which pixels go; None where there is no such way."""
    trail: list[tuple[str, list[str]]] = [(last, _makers(nodes[last], constants))]
    seen = {last}
    while trail:
        ahead = trail[-1][1]
        if not ahead:
            trail.pop()
            continue
        name = ahead.pop(0)
        if name == image:
            return [each for each, _ in reversed(trail)]
        if name not in seen:
            seen.add(name)
            trail.append((name, _makers(nodes[name], constants)))
    return None


def _makers(node: GraphNode, constants: Mapping[str, Constant]) -> list[str]:
    """The nodes that a pixel can come from."""
    if node.op in _ARITHMETIC:
        scalar = [value in constants and constants[value].values.size == 1 for value in node.inputs]
        if sorted(scalar) != [False, True] or (node.op in ("Sub", "RealDiv") and scalar[0]):
            return []
        return [node_of(node.inputs[scalar.index(False)])]
    if node.op == "StridedSlice":  # a stride of -1 would turn RGB into BGR
        strides = constants.get(node.inputs[3])
        if strides is None or not np.all(strides.values == 1):
            return []
    return [node_of(node.inputs[index]) for index in _THROUGH.get(node.op, ()) if index < len(node.inputs)]


def _factors(node: GraphNode, constants: Mapping[str, Constant]) -> tuple[float, float]:
    """What the node multiplies by and adds."""
    if node.op not in _ARITHMETIC:
        return 1.0, 0.0
    value = next(float(constants[each].values.reshape(-1)[0]) for each in node.inputs if each in constants)
    if node.op == "Mul":
        return value, 0.0
    if node.op == "RealDiv":
        return 1 / value if value else 0.0, 0.0
    return 1.0, -value if node.op == "Sub" else value
