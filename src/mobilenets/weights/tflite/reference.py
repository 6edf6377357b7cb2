"""The TFLite file itself, run by LiteRT: what an import of it is compared with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Graph, Source
from .parser import open_model, read_bytes
from .tensors import FLOATS, INTEGERS, Tensor

Reference = Callable[[np.ndarray], np.ndarray]


def open_reference(path: Path, source: Source) -> Reference | None:
    """A function from uint8 RGB images (N, H, W, 3) to the values before the last softmax, float32 (N, outputs).

    Without a softmax they are the first output, flattened. None where LiteRT is not installed. `source` is what `read`
    gave for the file; its normalisation counts. Raises UserError where the file takes no images, or LiteRT refuses it.
    """
    normalisation = source.normalisation
    if normalisation is None:
        raise UserError(f"{path}: takes no images, but {source.facts.get('input', 'something else')}")
    run = open_head_reference(path, source)
    if run is None:
        return None

    def reference(images: np.ndarray) -> np.ndarray:
        # One at a time: float32 of a whole test set would not fit into memory.
        return np.concatenate([run((image[None] - mean) / std) for image in images])

    # float64, so that a quantised input comes out as the very pixel.
    mean, std = np.asarray(normalisation.mean, np.float64), np.asarray(normalisation.std, np.float64)
    return reference


def open_head_reference(path: Path, source: Source) -> Reference | None:
    """As `open_reference`, from the real values of the file's own input: (N, ...) in its order of dimensions.

    This runs the second of two files: what the first gives, dequantised, is quantised again to the same numbers.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        return None
    data = read_bytes(path)
    model = open_model(data)
    wanted = next(tensor for tensor in model.tensors if tensor.name == _before_softmax(source.graph))
    first = model.tensors[model.inputs[0]]
    # LiteRT keeps no value inside what it hands to its kernels' library but outputs, so the wanted one becomes one.
    patched = bytearray(data)
    struct.pack_into("<i", patched, model.outputs_at, wanted.index)
    try:
        interpreter = Interpreter(model_content=bytes(patched))
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: LiteRT does not run it: {str(error).splitlines()[0]}") from None

    def run_one(values: np.ndarray) -> np.ndarray:
        fed = _stored(values[None], first, path)
        if -1 in first.shape:
            interpreter.resize_tensor_input(first.index, fed.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(first.index, fed)
        interpreter.invoke()
        return _real(interpreter.get_tensor(wanted.index), wanted).reshape(1, -1)

    return lambda batch: np.concatenate([run_one(values) for values in batch])


def _before_softmax(graph: Graph) -> str:
    """The name of what the softmax at the end takes; of the first output where there is none."""
    makers = {node.output: node for node in graph.nodes}
    value = graph.outputs[0]
    while value in makers and makers[value].op == "same":
        value = makers[value].inputs[0]
    return makers[value].inputs[0] if value in makers and makers[value].op == "softmax" else graph.outputs[0]


def _stored(values: np.ndarray, tensor: Tensor, path: Path) -> np.ndarray:
    """Real values as the input stores them: quantised by rounding to the nearest, or as floating point."""
    shape = tuple(values.shape[k] if side < 0 else side for k, side in enumerate(tensor.shape))
    if values.size != np.prod(shape):
        raise UserError(f"{path}: takes {tensor.shape}, not {values.shape}")
    values = values.reshape(shape)
    dtype: Any = {**FLOATS, **INTEGERS}[tensor.type]
    if tensor.type in FLOATS:
        return values.astype(dtype)
    if tensor.scale is not None and tensor.zero_point is not None:
        values = values / tensor.scale[0] + tensor.zero_point[0]
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def _real(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.scale is None or tensor.zero_point is None:
        return stored.astype(np.float32)
    return ((stored.astype(np.float64) - tensor.zero_point[0]) * tensor.scale[0]).astype(np.float32)
