"""The parts of a TFLite file as plain records, and the real numbers that its stored integers stand for."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

FLOATS = {"FLOAT32": np.float32, "FLOAT16": np.float16, "FLOAT64": np.float64}
INTEGERS = {"UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64}
DTYPES = {**FLOATS, **INTEGERS}
DAMAGE = (
    struct.error,
    ValueError,
    TypeError,
    IndexError,
    OverflowError,
    KeyError,
)  # what reading a damaged file raises


class TFLiteError(Exception):
    """The file says something that no reader of networks can use; the message names the tensor or operator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A tensor as the file has it. `shape` is NHWC, OHWI and so on, -1 where open; `data` is empty unless constant.

    Real values are (stored - `zero_point`) * `scale`, both (1,), or (C,) along `axis`; None where it is not quantised.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    data: np.ndarray = field(repr=False)
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    axis: int = 0

    @property
    def constant(self) -> bool:
        """Whether the file holds its values."""
        return self.data.size > 0

    @property
    def weight(self) -> bool:
        """Whether it holds real numbers of a network: not shapes, axes and other integers."""
        return self.constant and (self.type in FLOATS or (self.type in INTEGERS and self.scale is not None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """An operator: `inputs` and `outputs` are tensor indices, -1 for an optional input left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Model:
    """The main subgraph of a file. `inputs` and `outputs` are tensor indices, `metadata` the named buffers beside it.

    `outputs_at` is the byte of the file at which the first output's index stands, int32.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    outputs_at: int
    description: str
    subgraphs: int
    metadata: dict[str, bytes] = field(repr=False)


def stored_values(tensor: Tensor) -> np.ndarray:
    """A constant's values as the file stores them, in its own type and shape."""
    return tensor.data.view(DTYPES[tensor.type]).reshape(tensor.shape)


def dequantised(tensor: Tensor) -> np.ndarray:
    """The real values of a weight tensor, float32, in the file's own layout."""
    values = stored_values(tensor)
    if tensor.scale is None or tensor.zero_point is None:
        return values.astype(np.float32)
    shape = [1] * values.ndim
    if tensor.scale.size > 1:
        shape[tensor.axis] = tensor.scale.size
    real = values.astype(np.float64) - tensor.zero_point.reshape(shape)
    return (real * tensor.scale.reshape(shape)).astype(np.float32)
