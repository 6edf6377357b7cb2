"""One layer of a prototxt with what is known of it: its stored weights, its inputs and their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Node

Message = Any  # a message of protobuf, whose classes are built at run time
Shape = tuple[int, int, int]  # channels, height, width; height and width are 0 where the file leaves them open


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer of the prototxt with its stored weights, the values it takes and the name of the value it makes.

    `shapes` are those of `inputs`, None where an operation before it is not one of ours. `weights` is the caffemodel.
    """

    param: Message
    blobs: tuple[np.ndarray, ...]
    inputs: tuple[str, ...]
    shapes: tuple[Shape | None, ...]
    output: str
    weights: str

    def refuse(self, why: str) -> UserError:
        """The error that names the caffemodel, the layer and its type."""
        return UserError(f"{self.weights}: layer {self.param.name} ({self.param.type}): {why}")

    def blob_name(self, index: int) -> str:
        """The name of a stored tensor: `net.params["conv1"][0]` in Caffe is `conv1[0]` here."""
        return f"{self.param.name}[{index}]"

    def node(self, op: Any, *, sources: int = 0, **fields: Any) -> Node:
        """The node of one operation whose weights are the layer's first `sources` blobs."""
        names = tuple(self.blob_name(index) for index in range(sources))
        fields = {"inputs": self.inputs[:1], "output": self.output, **fields}
        return Node(op=op, name=self.param.name, sources=names, kind=self.param.type, **fields)

    def take(self, count: int, *alternatives: int) -> tuple[np.ndarray, ...]:
        """The blobs, checked to be as many as the layer's settings call for."""
        if len(self.blobs) not in (count, *alternatives):
            raise self.refuse(f"stores {len(self.blobs)} tensors instead of {count}; the files do not belong together")
        return self.blobs

    def vector(self, index: int, size: int | None) -> np.ndarray:
        """A blob as a vector, of `size` values where that is known."""
        values = self.blobs[index].reshape(-1)
        if size is not None and values.size != size:
            raise self.refuse(f"tensor {index} holds {values.size} values where the prototxt has {size}")
        return values

    @property
    def channels(self) -> int | None:
        """Channels of the first input where they are known."""
        return None if self.shapes[0] is None else self.shapes[0][0]
