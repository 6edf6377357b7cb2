"""A TFLite file taken apart into `tflite_tensors`' records, every extent checked.

The schema is tensorflow/lite/schema/schema.fbs, read by the package `tflite`. FlatBuffers' Python accessors follow any
offset, past the end and into other tables, so this file checks what they do not: where tables lie, that strings and
vectors are whole, that a constant has as many bytes as its shape says, and that the file does not repeat one part a
million times over.
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .tensors import DTYPES, Model, Operator, Tensor, TFLiteError

MAGIC = b"TFL3"
_MOST = 100_000  # tensors and operators; the largest MobileNet file has some hundreds
_OPTIONS = {  # operator: its options table and the fields that a translation needs
    "CONV_2D": (
        "Conv2DOptions",
        ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FusedActivationFunction"),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        (
            "Padding",
            "StrideH",
            "StrideW",
            "DilationHFactor",
            "DilationWFactor",
            "DepthMultiplier",
            "FusedActivationFunction",
        ),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat")),
    "AVERAGE_POOL_2D": ("Pool2DOptions", ("Padding", "FilterHeight", "FilterWidth", "FusedActivationFunction")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "DIV": ("DivOptions", ("FusedActivationFunction",)),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "GELU": ("GeluOptions", ("Approximate",)),
}


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises UserError where it cannot be read or is no TFLite file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if data[4:8] != MAGIC:
        what = "is empty" if not data else "is no TFLite file (these have TFL3 at byte 4)"
        raise UserError(f"{path}: {what}")
    return data


def open_model(data: bytes) -> Model:
    """The records of a TFLite file's bytes.

    Raises TFLiteError, or one of `tflite_tensors.DAMAGE`, for a damaged file.
    """
    try:
        import tflite
    except ModuleNotFoundError:
        raise UserError('reading TFLite files needs tflite: pip install "mobilenets[weights]"') from None
    return _Parser(tflite, data).model()


class _Bounded(bytes):
    """Bytes whose slices never come out shorter than asked for."""

    def __getitem__(self, part: Any) -> Any:
        if isinstance(part, slice) and part.stop is not None and part.stop > len(self):
            raise IndexError(f"byte {part.stop} of a file of {len(self)}")
        return super().__getitem__(part)


class _Parser:
    """Reads records out of the bytes; `left` bounds what a file may make of itself by naming one part many times."""

    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema = schema
        self.data = _Bounded(data)
        self.left = 16 * len(data) + 2**20
        self.kinds = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self.types = {code: kind for kind, code in vars(schema.TensorType).items() if isinstance(code, int)}

    def model(self) -> Model:
        model = self.table(self.schema.Model.GetRootAs(self.data, 0))
        if model.SubgraphsLength() < 1:
            raise TFLiteError("holds no network")
        graph = self.table(model.Subgraphs(0))
        buffers = [self.buffer(model.Buffers(k)) for k in range(self.counted(model.BuffersLength()))]
        codes = [self.operator_code(model.OperatorCodes(k)) for k in range(self.counted(model.OperatorCodesLength()))]
        tensors = [self.tensor(graph.Tensors(k), k, buffers) for k in range(self.counted(graph.TensorsLength()))]
        named = _named_apart(tensors)
        operators = [self.operator(graph.Operators(k), codes) for k in range(self.counted(graph.OperatorsLength()))]
        inputs = self.numbers(graph.InputsLength(), graph.InputsAsNumpy)
        outputs = self.numbers(graph.OutputsLength(), graph.OutputsAsNumpy)
        for index in (*inputs, *outputs, *(i for operator in operators for i in (*operator.inputs, *operator.outputs))):
            if not -1 <= index < len(tensors):
                raise TFLiteError(f"names tensor {index} of {len(tensors)}")
        return Model(
            tensors=named,
            operators=tuple(operators),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            outputs_at=self.outputs_at(graph),
            description=self.text(model.Description()),
            subgraphs=int(model.SubgraphsLength()),
            metadata=self.metadata(model, buffers),
        )

    def outputs_at(self, graph: Any) -> int:
        """Where the vector of outputs begins: slot 2 of a SubGraph, for which the schema's class has no accessor."""
        offset = graph._tab.Offset(8)
        return int(graph._tab.Vector(offset)) if offset else 0

    def table(self, table: Any) -> Any:
        """The table, after a check that it and the list of its fields lie within the file."""
        if table is None:
            raise TFLiteError("lacks a part that every TFLite file has")
        position = table._tab.Pos
        start = position - struct.unpack_from("<i", self.data, position)[0]
        if not 0 <= start <= len(self.data) - 4 or not 0 <= position <= len(self.data) - 4:
            raise TFLiteError("points outside itself")
        fields, length = struct.unpack_from("<HH", self.data, start)
        if fields < 4 or fields % 2 or start + fields > len(self.data) or position + length > len(self.data):
            raise TFLiteError("points outside itself")
        return table

    def counted(self, count: int) -> int:
        if count > _MOST:
            raise TFLiteError(f"declares {count} parts; at most {_MOST} are read")
        return count

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TFLiteError("declares far more than it holds")

    def numbers(self, length: int, as_numpy: Any) -> list[int]:
        """A vector of integers; `as_numpy` raises ValueError where it runs past the end."""
        self.spend(8 * length)
        return [int(value) for value in as_numpy()] if length else []

    def text(self, value: bytes | None) -> str:
        self.spend(len(value or b""))
        return (value or b"").decode("utf-8", "backslashreplace")

    def buffer(self, buffer: Any) -> np.ndarray:
        """The buffer's bytes: within the tables, or, in files over 2 GB, after them."""
        self.table(buffer)
        if buffer.Offset() > 1:
            return np.frombuffer(self.data, np.uint8, int(buffer.Size()), int(buffer.Offset()))
        return buffer.DataAsNumpy() if buffer.DataLength() else np.zeros(0, np.uint8)

    def operator_code(self, code: Any) -> str:
        self.table(code)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files have the old field alone
        kind = self.kinds.get(number, f"OPERATOR_{number}")
        return self.text(code.CustomCode()) or kind if kind == "CUSTOM" else kind

    def operator(self, operator: Any, codes: list[str]) -> Operator:
        self.table(operator)
        kind = codes[operator.OpcodeIndex()]
        return Operator(
            kind=kind,
            inputs=tuple(self.numbers(operator.InputsLength(), operator.InputsAsNumpy)),
            outputs=tuple(self.numbers(operator.OutputsLength(), operator.OutputsAsNumpy)),
            options=self.options(kind, operator),
        )

    def options(self, kind: str, operator: Any) -> dict[str, float]:
        """The options that a translation needs, by the schema's names; zeros where the file leaves the table out."""
        if kind not in _OPTIONS:
            return {}
        name, fields = _OPTIONS[kind]
        table = operator.BuiltinOptions()
        if table is None or operator.BuiltinOptionsType() == 0:
            return dict.fromkeys(fields, 0)
        if operator.BuiltinOptionsType() != getattr(self.schema.BuiltinOptions, name):
            raise TFLiteError(f"an operator {kind} has the options of another")
        options = getattr(self.schema, name)()
        options.Init(table.Bytes, table.Pos)
        self.table(options)
        return {option: getattr(options, option)() for option in fields}

    def tensor(self, tensor: Any, index: int, buffers: list[np.ndarray]) -> Tensor:
        self.table(tensor)
        name = self.text(tensor.Name())
        shape = self.shape(tensor)
        type_name = self.types.get(tensor.Type(), f"TYPE_{tensor.Type()}")
        data = buffers[tensor.Buffer()]
        if tensor.Sparsity() is not None:
            raise TFLiteError(f"tensor {name!r} is stored sparse, which is not read")
        if data.size and type_name in DTYPES:
            self.spend(data.size)
            if min(shape, default=0) < 0 or math.prod(shape) * np.dtype(DTYPES[type_name]).itemsize != data.size:
                raise TFLiteError(f"tensor {name!r} has {data.size} bytes, which is not {type_name} {list(shape)}")
        scale, zero_point, axis = self.quantisation(tensor, name, shape)
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            type=type_name,
            data=data,
            scale=scale,
            zero_point=zero_point,
            axis=axis,
        )

    def shape(self, tensor: Any) -> tuple[int, ...]:
        """The shape, with -1 where height, width or more are open; an open batch counts as the file's own, often 1."""
        shape = self.numbers(tensor.ShapeLength(), tensor.ShapeAsNumpy)
        signature = self.numbers(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy)
        return (*shape[:1], *(signature if len(signature) == len(shape) else shape)[1:])

    def quantisation(
        self, tensor: Any, name: str, shape: tuple[int, ...]
    ) -> tuple[np.ndarray | None, np.ndarray | None, int]:
        """Scale, zero point and the axis along which they run; (None, None, 0) for a tensor that is not quantised."""
        table = tensor.Quantization()
        if table is None or self.table(table).ScaleLength() == 0:
            return None, None, 0
        count, axis = table.ScaleLength(), table.QuantizedDimension()
        self.spend(16 * count)
        if table.ZeroPointLength() != count:
            raise TFLiteError(f"tensor {name!r} has {count} scales and {table.ZeroPointLength()} zero points")
        if count > 1 and not (0 <= axis < len(shape) and shape[axis] == count):
            raise TFLiteError(f"tensor {name!r} has {count} scales along dimension {axis} of {list(shape)}")
        scale = np.asarray(table.ScaleAsNumpy(), np.float64)
        if not np.all(np.isfinite(scale)) or np.any(scale < 0):
            raise TFLiteError(f"tensor {name!r} has a scale that is no size: {float(scale.min())}")
        return scale, np.asarray(table.ZeroPointAsNumpy(), np.float64), axis

    def metadata(self, model: Any, buffers: list[np.ndarray]) -> dict[str, bytes]:
        found = {}
        for k in range(self.counted(model.MetadataLength())):
            entry = self.table(model.Metadata(k))
            data = buffers[entry.Buffer()]
            self.spend(data.size)
            found[self.text(entry.Name())] = data.tobytes()
        return found


def _named_apart(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """The tensors under names of their own: where the file gives none, or one name twice, the index is added."""
    seen: set[str] = set()
    apart = []
    for tensor in tensors:
        name = tensor.name
        while not name or name in seen:
            name = f"{name}#{tensor.index}"
        seen.add(name)
        apart.append(tensor if name == tensor.name else replace(tensor, name=name))
    return tuple(apart)
