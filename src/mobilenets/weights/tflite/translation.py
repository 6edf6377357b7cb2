"""The graph that is being made of a TFLite file: what its tensors are, and the nodes so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..graph import Node, Op
from .tensors import Model, Operator, Tensor, TFLiteError, dequantised, stored_values

ACTS = {"RELU": "relu", "RELU6": "relu6", "HARD_SWISH": "hard_swish", "LOGISTIC": "sigmoid"}
_OF_SHAPES = ("SHAPE", "STRIDED_SLICE", "PACK", "GATHER", "CONCATENATION")
_FUSED = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}


@dataclass
class Translation:
    """`kernels` are the stored weights of convolutions and linear layers; `weights_only` where any are quantised under
    float feature maps. `alias` leads from a constant dequantised in the graph to the stored one. `flattened` holds the
    (H, W, C) of a value before its reshape to (N, H * W * C).
    """

    model: Model
    nodes: list[Node] = field(default_factory=list)
    kernels: list[Tensor] = field(default_factory=list)
    weights_only: bool = False
    made: set[int] = field(default_factory=set)
    places: dict[str, int] = field(default_factory=dict)
    alias: dict[int, int] = field(default_factory=dict)
    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    flattened: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made.update(self.model.inputs)
        self.takers = Counter(index for operator in self.model.operators for index in set(operator.inputs))
        self.linear = {index for op in self.model.operators if op.kind == "FULLY_CONNECTED" for index in op.inputs[:1]}

        self.shapes = self._shapes()

    def _shapes(self) -> set[int]:
        """The values that say no more than how a RESHAPE shall come out, where the number of images is open."""
        found: set[int] = set()
        other: set[int] = set(self.model.outputs)  # taken as what they are
        for operator in reversed(self.model.operators):
            if operator.kind in _OF_SHAPES and not other & set(operator.outputs):
                found.update(operator.outputs)
            else:
                other.update(operator.inputs[:1] if operator.kind == "RESHAPE" else operator.inputs)
        return found

    def computes_shape(self, operator: Operator) -> bool:
        """Whether it is part of a computation of shapes alone."""
        return bool(operator.outputs) and self.shapes.issuperset(operator.outputs)

    def check(self, operator: Operator) -> None:
        """Raises TFLiteError where a value is taken before it is made, or made twice."""
        for index in operator.inputs:
            if index >= 0 and index not in self.made and not self.constant(index) and 0 not in self.shape(index):
                raise TFLiteError(f"{operator.kind} takes {self.name(index)!r} before anything has made it")
        if not operator.outputs or any(index < 0 or index in self.made for index in operator.outputs):
            raise TFLiteError(f"{operator.kind} gives nothing of its own")

    def tensor(self, index: int) -> Tensor:
        """The tensor, or behind a dequantised constant the stored one."""
        return self.model.tensors[self.alias.get(index, index)]

    def constant(self, index: int) -> bool:
        """Whether the file holds the tensor's values."""
        return self.tensor(index).constant

    def name(self, index: int) -> str:
        """The value's name in the graph."""
        return self.model.tensors[index].name

    def shape(self, index: int) -> tuple[int, ...]:
        """The value's shape as the file has it: NHWC, -1 where open, empty where it is not stated."""
        return self.model.tensors[index].shape

    def channels(self, index: int) -> int:
        """The last dimension of a value; 0 where the file leaves it open."""
        shape = self.shape(index)
        return max(shape[-1], 0) if shape else 0

    def real(self, index: int) -> np.ndarray | None:
        """A constant's real values, float32; None for a value that is computed, or for integers that are no weights."""
        tensor = self.tensor(index) if index >= 0 else None
        if tensor is None or not tensor.weight:
            return None
        if tensor.index not in self.arrays:
            self.arrays[tensor.index] = dequantised(tensor)
        return self.arrays[tensor.index]

    def integers(self, index: int) -> np.ndarray | None:
        """A constant of axes or sizes, int64; None for anything else."""
        tensor = self.tensor(index)
        return stored_values(tensor).astype(np.int64) if tensor.constant and tensor.type in ("INT32", "INT64") else None

    def sources(self, *indices: int) -> tuple[str, ...]:
        """The names of the stored tensors behind constants, each once."""
        return tuple(dict.fromkeys(self.tensor(index).name for index in indices if index >= 0))

    def add(self, operator: Operator, op: Op, inputs: Sequence[int], fused: str = "", **fields: Any) -> bool:
        """True, after a node for the operator was added, and its fused activation as a node of its own."""
        name = output = self.name(operator.outputs[0])
        fused = fused or _FUSED.get(int(operator.options.get("FusedActivationFunction", 0)), "")
        if fused:
            output = f"{name} before {fused}"
        self.append(Node(op=op, name=name, inputs=tuple(map(self.name, inputs)), output=output, **fields))
        if fused:
            node = Node(op="other", name=f"{name} {fused}", inputs=(output,), output=name, kind=fused)
            self.append(replace(node, op="act", act=ACTS[fused], kind="") if fused in ACTS else node)
        return True

    def append(self, node: Node) -> None:
        """Adds a node as it is."""
        self.places[node.output] = len(self.nodes)
        self.nodes.append(node)

    def other(self, operator: Operator) -> None:
        """Adds a node for each output, the first with the constants, by their place among the operator's inputs."""
        values = [self.name(index) for index in operator.inputs if index >= 0 and not self.constant(index)]
        weights = {place: real for place, index in enumerate(operator.inputs) if (real := self.real(index)) is not None}
        sources = self.sources(*(operator.inputs[place] for place in weights))
        for index in operator.outputs:
            first = index == operator.outputs[0]
            self.append(
                Node(
                    op="other",
                    name=self.name(index),
                    inputs=tuple(values),
                    output=self.name(index),
                    weights={f"input{place}": real for place, real in weights.items()} if first else {},
                    sources=sources if first else (),
                    kind=operator.kind,
                )
            )
