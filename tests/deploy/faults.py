"""What can go wrong with a model file: each fault as a change of a right one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

MODEL = "onnx/float32/model.onnx"
INT8 = "onnx/int8/model.onnx"


def edit_model(bundle: Path, change: Callable[[Any], None], name: str = MODEL) -> None:
    """Changes the ONNX graph and records the file's new hash: what a faulty exporter would have written."""
    model = onnx.load(bundle / name)
    change(model.graph)
    replace_file(bundle, name, model.SerializeToString())


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Puts other bytes in a file's place and records their hash."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def arrays(graph: Any, change: Callable[[Any, np.ndarray], np.ndarray | None]) -> None:
    """Replaces every initializer for which `change(initializer, values)` gives other values."""
    for initializer in graph.initializer:
        values = change(initializer, numpy_helper.to_array(initializer))
        if values is not None:
            initializer.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), initializer.name))


def first_conv(graph: Any) -> str:
    return next(node.input[1] for node in graph.node if node.op_type == "Conv")


def bgr(graph: Any) -> None:
    """As if the file expected BGR."""
    stem = first_conv(graph)
    arrays(graph, lambda i, v: v[:, ::-1] if i.name == stem else v[::-1] if v.shape == (3, 1, 1) else None)


def zero_to_one(graph: Any) -> None:
    """As if the file expected values from 0 to 1."""
    stem = first_conv(graph)
    arrays(graph, lambda i, v: v * 255 if i.name == stem else v / 255 if v.shape == (3, 1, 1) else None)


def swapped_classes(graph: Any) -> None:
    """Two classes in each other's place."""
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    arrays(graph, lambda i, v: v[[1, 0, 2]] if i.name in gemm.input[1:] else None)


def same_padding(graph: Any) -> None:
    """TensorFlow's padding in place of the symmetric one, where the stride is 2."""
    changed = 0
    for node in graph.node:
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "Conv" and list(attributes["strides"].ints) == [2, 2]:
            attributes["pads"].ints[:] = [0, 0, 1, 1]
            changed += 1
    assert changed


def other_weights(graph: Any) -> None:
    """A file that is left from another training."""
    rng = np.random.default_rng(0)
    stem = first_conv(graph)
    arrays(graph, lambda i, v: v + rng.normal(0, v.std() / 5, v.shape).astype(v.dtype) if i.name == stem else None)


def not_a_number(graph: Any) -> None:
    stem = first_conv(graph)
    arrays(graph, lambda i, v: np.full_like(v, np.nan) if i.name == stem else None)


def other_sides(graph: Any) -> None:
    """A file for another input size: it opens, and fails when it is run."""
    for place in (1, 2):
        graph.input[0].type.tensor_type.shape.dim[place].dim_value += 8


def per_tensor(graph: Any) -> None:
    """One scale for each whole weight tensor of an int8 file, as wide as one outlying channel makes it."""
    known = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    changed: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in known or known[node.input[0]].ndim < 2:
            continue
        stored, scale = known[node.input[0]], known[node.input[1]]
        zero = known[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale, stored.dtype)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if place == axis and scale.ndim else 1 for place in range(stored.ndim)]
        off = zero.astype(np.float64).reshape(shape)
        values = (stored - off) * scale.reshape(shape)
        wide = 40 * float(np.abs(values).max()) / 127
        changed[node.input[0]] = (np.round(values / wide) + off).astype(stored.dtype)
        changed[node.input[1]] = np.full_like(scale, wide)
    assert changed
    arrays(graph, lambda i, v: changed.get(i.name))
