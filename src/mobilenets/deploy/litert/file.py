"""The .tflite file itself: LiteRT's records under our names, in float16 where asked, the same bytes each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...arch.spec import Spec
from ..runtimes import require
from ..wrap import INPUT, OUTPUT
from .metadata import NAME, append_labels, metadata

_ALIGNMENT = 16  # of a constant's bytes, as the schema demands and its Python classes do not do
_KEPT = b"min_runtime_version"


def tflite(model: Any, spec: Spec, properties: Mapping[str, str]) -> bytes:
    """The file of a converted model (schema's ModelT, which is changed), with metadata and labels."""
    import flatbuffers

    float_output_(model)
    rename_(model)
    model.description = f"mobilenets {__version__}"
    model.metadata = [entry for entry in model.metadata or [] if entry.name == _KEPT]
    kept = [0, *(entry.buffer for entry in model.metadata), *(tensor.buffer for tensor in model.subgraphs[0].tensors)]
    places = {old: new for new, old in enumerate(dict.fromkeys(kept))}
    buffers = [_Buffer(model.buffers[old].data) for old in places]
    for each in (*model.metadata, *model.subgraphs[0].tensors):
        each.buffer = places[each.buffer]
    model.metadata.append(schema().MetadataT(NAME, len(buffers)))
    model.buffers = [*buffers, _Buffer(np.frombuffer(metadata(spec, properties), np.uint8))]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return append_labels(bytes(builder.Output()), properties)


def float_output_(model: Any) -> None:
    """Gives the output as float32 where the converter left it as int8."""
    records, graph = schema(), model.subgraphs[0]
    (last,) = graph.outputs
    if graph.tensors[last].type == records.TensorType.FLOAT32:
        return
    graph.tensors.append(records.TensorT(shape=graph.tensors[last].shape, type=records.TensorType.FLOAT32, buffer=0))
    index = len(graph.tensors) - 1
    opcode = new_operator_code(model, schema().BuiltinOperator.DEQUANTIZE, version=2)  # the first that takes int8
    graph.operators.append(records.OperatorT(opcodeIndex=opcode, inputs=[last], outputs=[index]))
    graph.outputs = [index]
    model.signatureDefs[0].outputs[0].tensorIndex = index


def rename_(model: Any) -> None:
    """Names input and output as a bundle does, the rest by their operators: conv_2d_7, and conv_2d_7/1 its weight."""
    graph, (signature,) = model.subgraphs[0], model.signatureDefs
    (first,), (last,) = graph.inputs, graph.outputs
    for index, tensor in enumerate(graph.tensors):
        tensor.name = f"unused_{index}"
    for number, (kind, operator) in enumerate(zip(operator_kinds(model), graph.operators)):
        name = f"{kind.lower()}_{number}"
        for place, index in enumerate(operator.inputs):
            if index >= 0 and str(graph.tensors[index].name).startswith("unused_"):
                graph.tensors[index].name = f"{name}/{place}"
        for index in operator.outputs:
            graph.tensors[index].name = name
    graph.tensors[first].name, graph.tensors[last].name = INPUT, OUTPUT
    signature.inputs[0].name, signature.outputs[0].name = INPUT, OUTPUT


def operator_kinds(model: Any) -> list[str]:
    """The schema's name of each operator, in order; CUSTOM for one that is not LiteRT's own."""
    names = {code: kind for kind, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [names[codes[operator.opcodeIndex]] for operator in model.subgraphs[0].operators]


def stored(path: Path) -> dict[str, int]:
    """How many weights the file holds in each type: floats, and integers that stand for real numbers by a scale."""
    records = schema()
    names = {code: name.lower() for name, code in vars(records.TensorType).items() if isinstance(code, int)}
    model = records.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    counts: Counter[str] = Counter()
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        name = names[tensor.type]
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        size = bytes_of(model, index).size
        if size and (scaled or name.startswith("float")):
            counts[name] += size // np.dtype(name).itemsize
    return dict(counts)


@dataclass
class _Buffer:
    """A schema's Buffer whose bytes lie where a vector instruction can read them."""

    data: np.ndarray | None

    def Pack(self, builder: Any) -> int:  # the schema's name
        """Writes it; returns its offset."""
        records = schema()
        data = None
        if self.data is not None and len(self.data):
            builder.StartVector(1, len(self.data), _ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data.tobytes()
            data = builder.EndVector()
        records.BufferStart(builder)
        if data is not None:
            records.BufferAddData(builder, data)
        offset: int = records.BufferEnd(builder)
        return offset


def new_operator_code(model: Any, kind: int, version: int) -> int:
    """The place of a new operator code of that kind (schema's BuiltinOperator)."""
    code = schema().OperatorCodeT(version=version)
    code.builtinCode = code.deprecatedBuiltinCode = kind
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def new_constant(model: Any, values: np.ndarray, scale: float) -> int:
    """The index of a new tensor that holds int8 `values` in that scale."""
    records, graph = schema(), model.subgraphs[0]
    model.buffers.append(records.BufferT(data=values.view(np.uint8)))
    tensor = records.TensorT(shape=list(values.shape), type=records.TensorType.INT8, buffer=len(model.buffers) - 1)
    tensor.quantization = records.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = np.array([scale], np.float32), np.array([0], np.int64)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def bytes_of(model: Any, index: int) -> np.ndarray:
    """The bytes of a tensor, uint8; empty where it is no constant."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return np.zeros(0, np.uint8) if data is None else np.asarray(data, np.uint8)


def schema() -> Any:
    """The classes of a .tflite file's records."""
    (records,) = require("litert", "ai_edge_litert.schema_py_generated")
    return records
