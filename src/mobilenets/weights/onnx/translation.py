"""What is known of an ONNX file while its operators are translated: constants, shapes, layouts, what was made so far.

A value's layout is followed through the file: `last` holds the values whose channels stand last, (N, H, W, C), as in
files that began in TensorFlow and in those that take pictures as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..graph import Node
from .constants import Constant
from .files import Shape

SIX = 6.0  # where a ReLU6 ends
_NEAR_SIX = 0.006  # how far from 6 the range of a quantised ReLU6 may end: its scale is rounded


@dataclass(frozen=True, slots=True)
class Call:
    """One operator of the file: its attributes, its inputs and which `values` of these are constants."""

    kind: str
    name: str
    said: dict[str, Any]
    inputs: tuple[str, ...]
    values: tuple[np.ndarray | None, ...]
    sources: tuple[tuple[str, ...], ...]
    output: str

    def value(self, at: int) -> np.ndarray | None:
        """The constant at that place of the inputs; None where it is absent or no constant."""
        return self.values[at] if at < len(self.values) else None

    def given(self, at: int) -> bool:
        """Whether there is an input at that place."""
        return at < len(self.inputs) and bool(self.inputs[at])

    def node(self, op: Any, *used: int, inputs: Sequence[str] = (), **fields: Any) -> Node:
        """A Node in this operator's place; `used` are the places of the constants that it holds as weights."""
        names = tuple(dict.fromkeys(name for at in used if at < len(self.sources) for name in self.sources[at]))
        given = tuple(inputs) or self.inputs[:1]
        return Node(op=op, name=self.name, inputs=given, output=self.output, sources=names, **fields)

    def other(self, kind: str = "") -> Node:
        """This operator as one that no network of ours has."""
        given = [name for name, value in zip(self.inputs, self.values) if name and value is None]
        weights = {f"input {at}": value for at, value in enumerate(self.values) if value is not None}
        used = [at for at, value in enumerate(self.values) if value is not None and value.size > 1]
        names = tuple(dict.fromkeys(name for at in used for name in self.sources[at]))
        return Node(
            op="other",
            name=self.name,
            inputs=tuple(given),
            output=self.output,
            weights=weights,
            sources=names,
            kind=kind or self.kind,
        )


@dataclass
class Translation:
    """What is known of the file and what has been made of it so far.

    `last` holds the values whose channels stand last. `clamps` remembers (base, low, high) for each value that is a
    clamped base, so that a ReLU and a Min become one ReLU6; `implied` the values that quantisation alone keeps from
    going below zero, with the end of their range; `means` the values that are means over the width, with of what.
    """

    where: str
    constants: Mapping[str, Constant]
    shapes: Mapping[str, Shape]
    last: set[str] = field(default_factory=set)
    nodes: dict[str, Node] = field(default_factory=dict)  # by output
    clamps: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    implied: dict[str, float] = field(default_factory=dict)
    means: dict[str, str] = field(default_factory=dict)
    quantised: set[str] = field(default_factory=set)

    def finish(self) -> list[Node]:
        """All Nodes, activations that quantisation implies among them, once every operator is translated."""
        highest = max(self.implied.values(), default=0.0)
        explicit = any(node.act == "relu6" for node in self.nodes.values())
        near = highest >= SIX - _NEAR_SIX or explicit
        act = "relu6" if near and highest <= SIX + _NEAR_SIX else "relu"
        return [replace(node, act=act) if node.output in self.implied else node for node in self.nodes.values()]

    def shape(self, name: str) -> Shape | None:
        """The shape, unknown sides as None; None where not even their number is known."""
        return self.shapes.get(name)

    def rank(self, name: str) -> int | None:
        """The number of dimensions; None where unknown."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def spatial(self, name: str) -> tuple[int, int]:
        """The places of height and width."""
        return (1, 2) if name in self.last else (2, 3)

    def is_point(self, name: str) -> bool:
        """Whether it is a map of one pixel, or no map any more."""
        shape = self.shape(name)
        return shape is not None and (len(shape) < 4 or all(shape[at] == 1 for at in self.spatial(name)))

    def channels(self, name: str) -> int | None:
        """The number of channels; None where unknown."""
        shape = self.shape(name)
        if shape is None or len(shape) < 2:
            return None
        return shape[3 if name in self.last and len(shape) == 4 else 1]

    def follow(self, call: Call) -> None:
        """The output's channels stand where those of the first input stand."""
        if call.inputs[0] in self.last:
            self.last.add(call.output)


def floats(values: np.ndarray) -> np.ndarray:
    """The values in float32, in memory of their own."""
    return np.array(values, np.float32, order="C")
