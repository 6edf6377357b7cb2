"""int8 weights alone in a .tflite file: the network computes in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtimes.weight_only import integers
from .file import WEIGHTED, bytes_of, new_operator_code, operator_kinds, schema

_PER_CHANNEL = 5  # the first version of DEQUANTIZE that takes a scale for each channel


def hold_integers_(model: Any) -> None:
    """Stores the float weights as int8 with a scale for each output, each with a DEQUANTIZE in front of its users.

    XNNPACK unpacks them when the file is loaded and computes in float32. LiteRT takes them without DEQUANTIZE too, but
    then its hybrid kernels round the activations of each image to int8, and XNNPACK leaves the depthwise convolutions.
    """
    records, graph = schema(), model.subgraphs[0]
    kinds = operator_kinds(model)
    opcode = new_operator_code(model, records.BuiltinOperator.DEQUANTIZE, version=_PER_CHANNEL)
    unpacked: dict[int, int] = {}
    operators = []
    for kind, operator in zip(kinds, graph.operators):
        weight = int(operator.inputs[1]) if kind in WEIGHTED else -1
        if weight >= 0 and graph.tensors[weight].type == records.TensorType.FLOAT32 and bytes_of(model, weight).size:
            if weight not in unpacked:
                axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0  # (1, H, W, C), else (O, H, W, I) or (O, I)
                unpacked[weight] = _hold_(model, weight, axis)
                operators.append(records.OperatorT(opcodeIndex=opcode, inputs=[weight], outputs=[unpacked[weight]]))
            operator.inputs = [operator.inputs[0], unpacked[weight], *operator.inputs[2:]]
        operators.append(operator)
    graph.operators = operators


def _hold_(model: Any, index: int, axis: int) -> int:
    """Stores a tensor's values as int8; returns the index of a new tensor, float32, that takes its place."""
    records, graph = schema(), model.subgraphs[0]
    tensor = graph.tensors[index]
    values, scale = integers(bytes_of(model, index).view(np.float32).reshape(tensor.shape), axis)
    graph.tensors.append(records.TensorT(shape=tensor.shape, type=records.TensorType.FLOAT32, buffer=0))
    model.buffers.append(records.BufferT(data=values.reshape(-1).view(np.uint8)))
    tensor.type, tensor.buffer = records.TensorType.INT8, len(model.buffers) - 1
    tensor.quantization = records.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = scale, np.zeros(len(scale), np.int64)
    tensor.quantization.quantizedDimension = axis
    return len(graph.tensors) - 1
