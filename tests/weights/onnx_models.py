"""Small ONNX models, and what the plain interpreter of their graph makes of pictures beside onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from interpreter import before_softmax, run_graph
from onnx import TensorProto, helper, numpy_helper

from mobilenets.weights.graph import Graph, Node, Source
from mobilenets.weights.onnx import open_reference, read

Row = tuple[str, str, str, dict[str, Any]]  # operator, inputs, output, attributes
RNG = np.random.default_rng(0)
CONV: Row = ("Conv", "x w b", "c", {"kernel_shape": [3, 3]})
END: list[Row] = [("GlobalAveragePool", "y", "pooled", {}), ("Flatten", "pooled", "end", {})]


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


WEIGHTS = {"w": floats(6, 3, 3, 3), "b": floats(6)}  # of CONV


def make(
    path: Path,
    rows: Sequence[Row],
    weights: dict[str, np.ndarray],
    *,
    shape: Sequence[int | str | None] = ("N", 3, 8, 8),
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    output_kind: int = TensorProto.FLOAT,
    as_inputs: bool = False,
    as_nodes: bool = False,
    properties: dict[str, str] | None = None,
) -> Path:
    """Writes a model whose input is x and whose output is that of its last row. "-" stands for an absent input."""
    nodes = [
        helper.make_node(
            op, [name.replace("-", "") for name in inputs.split()], [output], name=f"{op}_{output}", **said
        )
        for op, inputs, output, said in rows
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    inputs = [helper.make_tensor_value_info("x", kind, list(shape))]
    if as_inputs:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
    if as_nodes:
        nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors] + nodes
    outputs = [helper.make_tensor_value_info(rows[-1][2], output_kind, None)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, [] if as_nodes else tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test")
    model.ir_version = min(model.ir_version, 10)
    helper.set_model_props(model, properties or {})
    onnx.save(model, str(path))
    return path


def prepared(source: Source, images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) -> what the graph's input takes, (N, C, H, W)."""
    values = images.astype(np.float32)
    if source.normalisation is not None:
        values = (values - np.float32(source.normalisation.mean)) / np.float32(source.normalisation.std)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def pictures(graph: Graph, count: int = 3, side: int = 0) -> np.ndarray:
    shape = (count, side or graph.height, side or graph.width, graph.channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def both(path: Path, count: int = 3, side: int = 0) -> tuple[Source, np.ndarray, np.ndarray]:
    """The Source, the graph's own answers and onnxruntime's, (N, outputs) each."""
    source = read(path)
    assert source.graph is not None
    images = pictures(source.graph, count, side)
    run = open_reference(path, source)
    assert run is not None
    ours = run_graph(source.graph, prepared(source, images), before_softmax(source.graph))
    return source, ours.reshape(count, -1), run(images)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference in parts of the largest value, which must be a number worth comparing."""
    assert ours.shape == theirs.shape
    largest = np.abs(theirs).max()
    assert 1e-3 < largest < 1e6
    return float(np.abs(ours - theirs).max() / largest)


def ops(source: Source) -> list[str]:
    """The graph's operations, activations by their own names, "same" left out."""
    assert source.graph is not None
    return [node.act or node.kind or node.op for node in source.graph.nodes if node.op != "same"]


def nodes_of(source: Source) -> dict[str, Node]:
    """The graph's nodes by what they give."""
    assert source.graph is not None
    return {node.output: node for node in source.graph.nodes}
