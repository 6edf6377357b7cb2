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


def edit_model(bundle: Path, change: Callable[[Any], None]) -> None:
    """Changes the ONNX graph and records the file's new hash: what a faulty exporter would have written."""
    model = onnx.load(bundle / MODEL)
    change(model.graph)
    replace_file(bundle, MODEL, model.SerializeToString())


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
