"""One node of a GraphDef with what is known of it: its constants, the shapes of what it takes, what it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Node, Op
from .nodes import GraphNode

Shape = tuple[int, int, int]  # channels, height, width; height and width are 0 where the file leaves them open


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A constant of the graph and the manifest's name for it."""

    name: str
    values: np.ndarray


@dataclass(kw_only=True)
class Call:
    """A node, and the nodes of ours that it becomes (`made`), whose last makes the value of the GraphDef's node.

    `constants` and `shapes` stand beside `node.inputs`; None where an input is no constant, or no feature map.
    """

    node: GraphNode
    constants: tuple[Constant | None, ...]
    shapes: tuple[Shape | None, ...]
    where: str
    made: list[Node] = field(default_factory=list)
    shape: Shape | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """The inputs that are no constants."""
        return tuple(value for value, found in zip(self.node.inputs, self.constants) if found is None)

    @property
    def source_shape(self) -> Shape | None:
        """The shape of the first input that is no constant."""
        return next((shape for shape, found in zip(self.shapes, self.constants) if found is None), None)

    def constant(self, index: int) -> Constant | None:
        """The constant at an input, if there is one."""
        return self.constants[index] if index < len(self.constants) else None

    def source(self, index: int) -> str:
        """The manifest's name for the constant at an input."""
        found = self.constant(index)
        assert found is not None
        return found.name

    def integers(self, index: int) -> list[int] | None:
        """The integers of a constant (axes, sizes, paddings) in one row."""
        found = self.constant(index)
        if found is None or found.values.dtype.kind != "i":
            return None
        return [int(value) for value in found.values.reshape(-1)]

    def weight(self, index: int, ndim: int) -> np.ndarray | None:
        """The float constant at an input; None where there is none of that many dimensions."""
        found = self.constant(index)
        if found is None or found.values.dtype != np.float32 or found.values.ndim != ndim:
            return None
        return found.values

    def vector(self, index: int, size: int) -> np.ndarray:
        """A constant for each channel. Raises UserError where it has another size."""
        found = self.constant(index)
        if found is None or found.values.dtype.kind != "f" or found.values.size != size:
            shape = "a computed value" if found is None else f"{found.values.dtype} {found.values.shape}"
            raise self.refuse(f"its input {index} is {shape} instead of {size} constants")
        return found.values.reshape(-1)

    def refuse(self, why: str) -> UserError:
        """The error that names the file, the operation and the node."""
        return UserError(f"{self.where}: {self.node.op} {self.node.name}: {why}")

    def add(self, op: Op, *constants: int, inputs: tuple[str, ...] = (), **more: Any) -> None:
        """Appends a node that takes what the one before it makes, or `inputs`; `constants` are the inputs it holds."""
        name = self.node.name
        if self.made:
            between = f"{name}/{self.made[-1].op}"
            self.made[-1] = replace(self.made[-1], output=between)
            inputs = inputs or (between,)
        sources = tuple(dict.fromkeys(found.name for index in constants if (found := self.constant(index)) is not None))
        fields = {"inputs": inputs or self.values[:1], "output": name, "sources": sources, "kind": self.node.op}
        self.made.append(Node(op=op, name=name, **{**fields, **more}))
