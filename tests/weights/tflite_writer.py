"""Writes small TFLite files, by LiteRT's own copy of the schema: what the reader reads by another package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {np.dtype(name): getattr(schema.TensorType, name.upper()) for name in ("float32", "float16", "uint8", "int8")}
TYPES |= {np.dtype("int32"): schema.TensorType.INT32}


class Writer:
    """One subgraph, operator by operator; a tensor is known by its index."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "written by a test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes, self.model.metadata = [], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = np.float32,
        scale: Sequence[float] | None = None,
        zero: Sequence[int] = (0,),
        axis: int = 0,
        signature: Sequence[int] | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), TYPES[np.dtype(dtype)]
        tensor.shapeSignature = None if signature is None else list(signature)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scale), list(zero)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: Any, **quantisation: Any) -> int:
        values = np.asarray(values)
        index = self.tensor(name, values.shape, values.dtype, **quantisation)
        self.graph.tensors[index].buffer = self.buffer(values.tobytes())
        return index

    def buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def op(self, kind: str, inputs: Sequence[int], output: int | Sequence[int], **options: Any) -> int:
        """Adds an operator; `options` are the fields of the table `table`, under the schema's own names."""
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        number = getattr(schema.BuiltinOperator, kind, None)
        if number is None:
            number, code.customCode = schema.BuiltinOperator.CUSTOM, kind
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), options.pop("version", 1)
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = list(inputs), [output] if isinstance(output, int) else list(output)
        table = options.pop("table", None)
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in options.items():
                assert hasattr(operator.builtinOptions, name), name
                setattr(operator.builtinOptions, name, value)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def conv(self, x: int, weight: int, bias: int, output: int, stride: int = 1, **options: Any) -> int:
        kind = options.pop("kind", "CONV_2D")
        table = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}[kind]
        given = {"strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1} | options
        return self.op(kind, [x, weight, *([bias] if bias >= 0 else [])], output, table=table, **given)

    def metadata(self, name: str, data: bytes) -> None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self.buffer(data)
        self.model.metadata.append(entry)

    def file(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def metadata(
    mean: Sequence[float] = (), std: Sequence[float] = (), labels: str = "", kind: int = 2, name: str = "a classifier"
) -> bytes:
    """A metadata buffer (metadata_schema.fbs): the input's normalisation, and the name of the output's label file."""
    builder = flatbuffers.Builder(256)
    inputs = _vector(builder, [_tensor(builder, [_normalisation(builder, mean, std)] if len(mean) else [], [])])
    outputs = _vector(builder, [_tensor(builder, [], [_file(builder, labels, kind)] if labels else [])])
    graph = _table(builder, {2: inputs, 3: outputs}, 7)
    graphs = _vector(builder, [graph])
    title = builder.CreateString(name)
    builder.Finish(_table(builder, {0: title, 3: graphs}, 8), b"M001")
    return bytes(builder.Output())


def archive(**files: bytes) -> bytes:
    """A zip archive as the metadata tools append it; a double underscore in a name stands for its dot."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name.replace("__", "."), data)
    return out.getvalue()


def _table(builder: Any, offsets: dict[int, int], slots: int, numbers: dict[int, int] | None = None) -> int:
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, number in (numbers or {}).items():
        builder.PrependUint8Slot(slot, number, 0)
    return builder.EndObject()


def _vector(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _normalisation(builder: Any, mean: Sequence[float], std: Sequence[float]) -> int:
    numbers = [builder.CreateNumpyVector(np.asarray(values, np.float32)) for values in (mean, std)]
    options = _table(builder, dict(enumerate(numbers)), 2)
    return _table(builder, {1: options}, 2, {0: 1})


def _file(builder: Any, name: str, kind: int) -> int:
    return _table(builder, {0: builder.CreateString(name)}, 5, {2: kind})


def _tensor(builder: Any, units: Sequence[int], files: Sequence[int]) -> int:
    offsets = {4: _vector(builder, units), 6: _vector(builder, files)}
    return _table(builder, offsets, 7)
