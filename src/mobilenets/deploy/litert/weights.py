"""Weights of a .tflite file that take less room than they compute in: float16, or int8 with a scale for each output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..runtimes.weight_only import integers
from .file import bytes_of, new_operator_code, operator_kinds, schema

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # the second input is the weight
_FLOAT16, _PER_CHANNEL = 3, 5  # the first versions of DEQUANTIZE that take float16, and a scale for each channel


def halve_(model: Any) -> None:
    """Stores the weights as float16.

    XNNPACK unpacks them when the file is loaded and computes in float32; a GPU takes them as they are. Biases, a
    hundredth of the numbers, stay float32.
    """

    def store_(tensor: Any, values: np.ndarray, kind: str) -> np.ndarray:
        tensor.type = schema().TensorType.FLOAT16
        return values.astype(np.float16)

    _pack_(model, _FLOAT16, store_)


def hold_integers_(model: Any) -> None:
    """Stores the weights as int8 with a scale for each output.

    XNNPACK unpacks them when the file is loaded and computes in float32. LiteRT takes them without DEQUANTIZE too, but
    then its hybrid kernels round the activations of each image to int8, and XNNPACK leaves the depthwise convolutions.
    """

    def store_(tensor: Any, values: np.ndarray, kind: str) -> np.ndarray:
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0  # (1, H, W, C), else (O, H, W, I) or (O, I)
        steps, scale = integers(values, axis)
        tensor.type, tensor.quantization = schema().TensorType.INT8, schema().QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scale, np.zeros(len(scale), np.int64)
        tensor.quantization.quantizedDimension = axis
        return steps

    _pack_(model, _PER_CHANNEL, store_)


def _pack_(model: Any, version: int, store_: Callable[[Any, np.ndarray, str], np.ndarray]) -> None:
    """Stores each float weight as `store_(tensor, values, kind of operator)` says, an operator DEQUANTIZE after it.

    `store_` sets the tensor's type and gives the values to store; DEQUANTIZE runs once, before the weight's users.
    """
    records, graph = schema(), model.subgraphs[0]
    kinds = operator_kinds(model)
    opcode = new_operator_code(model, records.BuiltinOperator.DEQUANTIZE, version=version)
    unpacked: dict[int, int] = {}
    operators = []
    for kind, operator in zip(kinds, graph.operators):
        weight = int(operator.inputs[1]) if kind in _WEIGHTED else -1
        if weight >= 0 and graph.tensors[weight].type == records.TensorType.FLOAT32 and bytes_of(model, weight).size:
            if weight not in unpacked:
                tensor = graph.tensors[weight]
                graph.tensors.append(records.TensorT(shape=tensor.shape, type=records.TensorType.FLOAT32, buffer=0))
                unpacked[weight] = len(graph.tensors) - 1
                values = store_(tensor, bytes_of(model, weight).view(np.float32).reshape(tensor.shape), kind)
                model.buffers.append(records.BufferT(data=values.reshape(-1).view(np.uint8)))
                tensor.buffer = len(model.buffers) - 1
                operators.append(records.OperatorT(opcodeIndex=opcode, inputs=[weight], outputs=[unpacked[weight]]))
            operator.inputs = [operator.inputs[0], unpacked[weight], *operator.inputs[2:]]
        operators.append(operator)
    graph.operators = operators
