"""A .tflite file's records as a converter leaves them, by hand: CAST, MEAN, FULLY_CONNECTED, in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

SIZE, CLASSES = 8, 3
WEIGHT = np.array([[0.5, -0.25, 0.125], [-1.0, 0.5, 0.3], [0.1, 0.2, -0.4]], np.float32)
TYPES = {"uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}


def tiny_model(*, integer_output: bool = False, input_type: str = "uint8") -> Any:
    """ModelT of a network whose logits are a matrix times each channel's mean; as int8 of scale 2 where asked."""
    model = schema.ModelT(version=3, description="by hand", buffers=[schema.BufferT()], operatorCodes=[], metadata=[])
    graph = schema.SubGraphT(tensors=[], operators=[], name="main")
    model.subgraphs = [graph]

    def tensor(shape: list[int], kind: int, data: np.ndarray | None = None, scale: float | None = None) -> int:
        each = schema.TensorT(shape=shape, type=kind, name="some/long::name", buffer=0)
        if data is not None:
            each.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        if scale is not None:
            each.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[0])
        graph.tensors.append(each)
        return len(graph.tensors) - 1

    def operator(kind: str, inputs: list[int], output: int, options: Any = None, version: int = 1) -> None:
        code = schema.OperatorCodeT(version=version)
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        each = schema.OperatorT(opcodeIndex=len(model.operatorCodes), inputs=inputs, outputs=[output])
        if options is not None:
            each.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            each.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(each)

    image = tensor([1, SIZE, SIZE, 3], TYPES[input_type])
    values = tensor([1, SIZE, SIZE, 3], TYPES["float32"])
    axes = tensor([2], TYPES["int32"], np.array([1, 2], np.int32))
    mean = tensor([1, 3], TYPES["float32"])
    weight = tensor([CLASSES, 3], TYPES["float32"], WEIGHT)
    logits = last = tensor([1, CLASSES], TYPES["float32"])
    operator("CAST", [image], values)
    operator("MEAN", [values, axes], mean, schema.ReducerOptionsT(keepDims=False))
    operator("FULLY_CONNECTED", [mean, weight, -1], logits, schema.FullyConnectedOptionsT())
    if integer_output:
        last = tensor([1, CLASSES], schema.TensorType.INT8, scale=2.0)
        operator("QUANTIZE", [logits], last)
    graph.inputs, graph.outputs = [image], [last]
    given = [schema.TensorMapT(name="args_0", tensorIndex=image)]
    made = [schema.TensorMapT(name="output_0", tensorIndex=last)]
    model.signatureDefs = [schema.SignatureDefT(inputs=given, outputs=made, signatureKey="serving_default")]
    return model


def tiny_logits(images: np.ndarray) -> np.ndarray:
    """What the network gives for uint8 RGB (N, 8, 8, 3)."""
    return images.astype(np.float32).mean(axis=(1, 2)) @ WEIGHT.T
