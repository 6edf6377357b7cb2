"""ONNX operators read one at a time, each in the ways that exporters write it; against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import CONV, END, WEIGHTS, Row, both, difference, floats, ints, make, nodes_of, ops

from mobilenets.weights.onnx import read

# One operator at a time: the rows between a convolution's output c and the value y, further weights, what is read.
FORMS: dict[str, tuple[list[Row], dict[str, np.ndarray], list[str]]] = {
    "Relu": ([("Relu", "c", "y", {})], {}, ["relu"]),
    "Clip from constants": (
        [("Clip", "c low high", "y", {})], {"low": np.float32(0), "high": np.float32(6)}, ["relu6"],
    ),
    "Clip without an end": ([("Clip", "c low", "y", {})], {"low": np.float32(0)}, ["relu"]),
    "Clip without a beginning": (
        [("Relu", "c", "r", {}), ("Clip", "r - high", "y", {})], {"high": np.float32(6)}, ["relu6"],
    ),
    "Min of Max": (
        [("Max", "c low", "r", {}), ("Min", "high r", "y", {})],
        {"low": floats(1) * 0, "high": floats(1) * 0 + 6}, ["relu6"],
    ),
    "Max of Min": (
        [("Min", "c high", "r", {}), ("Max", "r low", "y", {})],
        {"low": np.float32(0), "high": np.float32(6)}, ["relu6"],
    ),
    "HardSwish": ([("HardSwish", "c", "y", {})], {}, ["hard_swish"]),
    "HardSigmoid": ([("HardSigmoid", "c", "y", {"alpha": 1 / 6})], {}, ["hard_sigmoid"]),
    "Sigmoid and Mul": ([("Sigmoid", "c", "s", {}), ("Mul", "c s", "y", {})], {}, ["sigmoid", "mul"]),
    "LeakyRelu": ([("LeakyRelu", "c", "y", {})], {}, ["leaky_relu"]),
    "PRelu of one slope": ([("PRelu", "c s", "y", {})], {"s": np.full((6, 1, 1), 0.25, np.float32)}, ["leaky_relu"]),
    "BatchNormalization": (
        [("BatchNormalization", "c g o m v", "y", {"epsilon": 1e-3})],
        {"g": floats(6), "o": floats(6), "m": floats(6), "v": floats(6) ** 2}, ["norm"],
    ),
    "a factor per channel": ([("Mul", "f c", "y", {})], {"f": floats(1, 6, 1, 1)}, ["affine"]),
    "an offset per channel": ([("Add", "c f", "y", {})], {"f": floats(6, 1, 1)}, ["affine"]),
    "taken off": ([("Sub", "c f", "y", {})], {"f": floats(6, 1, 1)}, ["affine"]),
    "taken from": ([("Sub", "f c", "y", {})], {"f": floats(6, 1, 1)}, ["affine"]),
    "divided": ([("Div", "c f", "y", {})], {"f": np.float32(6)}, ["affine"]),
    "Add of two": ([("Relu", "c", "r", {}), ("Add", "c r", "y", {})], {}, ["relu", "add"]),
    "squeeze and excite": (
        [
            ("ReduceMean", "c", "p", {"axes": [2, 3]}),
            ("Conv", "p v", "q", {}),
            ("HardSigmoid", "q", "s", {"alpha": 0.16666667}),
            ("Mul", "s c", "y", {}),
        ],
        {"v": floats(6, 6, 1, 1)}, ["pool", "conv", "hard_sigmoid", "mul"],
    ),
    "squeeze and excite through linear layers": (
        [
            ("GlobalAveragePool", "c", "p", {}),
            ("Reshape", "p flat", "q", {}),
            ("Gemm", "q v", "r", {}),
            ("Reshape", "r full", "s", {}),
            ("Mul", "c s", "y", {}),
        ],
        {"flat": ints(-1, 6), "full": ints(-1, 6, 1, 1), "v": floats(6, 6)}, ["pool", "linear", "mul"],
    ),
    "Pad": ([("Pad", "c n", "y", {})], {"n": ints(0, 0, 1, 2, 0, 0, 3, 4)}, ["pad"]),
    "Pad, a value given": ([("Pad", "c n v", "y", {})], {"n": ints(*[0, 0, 1, 0] * 2), "v": np.float32(0)}, ["pad"]),
    "Dropout and Identity": ([("Dropout", "c", "d", {}), ("Identity", "d", "y", {})], {}, []),
    "Unsqueeze and Squeeze": (
        [
            ("ReduceMean", "c", "p", {"axes": [-1, -2], "keepdims": 0}),
            ("Unsqueeze", "p a", "q", {}),
            ("Mul", "c q", "y", {}),
        ],
        {"a": ints(2, 3)}, ["pool", "mul"],
    ),
    "Cast": ([("Cast", "c", "h", {"to": TensorProto.DOUBLE}), ("Cast", "h", "y", {"to": TensorProto.FLOAT})], {}, []),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_an_operator(tmp_path: Path, form: str) -> None:
    rows, weights, expected = FORMS[form]
    path = make(tmp_path / "a.onnx", [CONV, *rows, *END], WEIGHTS | weights)
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert ops(source) == ["conv", *expected, "pool"]
    graph = source.graph
    assert graph is not None
    named = {name for node in graph.nodes for name in node.sources}
    floating = {name for name, values in weights.items() if values.dtype == np.float32 and values.size > 1}
    assert named == set(graph.tensors) == {"w", "b"} | floating


NEWER: dict[str, tuple[int, list[Row], dict[str, np.ndarray], list[str]]] = {
    "Clip by attributes": (6, [("Clip", "c", "y", {"min": 0.0, "max": 6.0})], {}, ["relu6"]),
    "Pad by attributes": (10, [("Pad", "c", "y", {"pads": [0, 0, 1, 0, 0, 0, 0, 2]})], {}, ["pad"]),
    "Squeeze by attributes": (
        11,
        [
            ("GlobalAveragePool", "c", "p", {}),
            ("Squeeze", "p", "q", {"axes": [2, 3]}),
            ("Unsqueeze", "q", "r", {"axes": [2, 3]}),
            ("Add", "c r", "y", {}),
        ],
        {}, ["pool", "add"],
    ),
    "Pad with axes": (18, [("Pad", "c n - a", "y", {})], {"n": ints(1, 2, 3, 4), "a": ints(3, 2)}, ["pad"]),
    "axes as an input": (
        18, [("ReduceMean", "c a", "p", {}), ("Mul", "c p", "y", {})], {"a": ints(2, 3)}, ["pool", "mul"],
    ),
    "Gelu": (20, [("Gelu", "c", "y", {})], {}, ["gelu"]),
}  # fmt: skip


@pytest.mark.parametrize("form", NEWER)
def test_an_operator_of_another_opset(tmp_path: Path, form: str) -> None:
    opset, rows, weights, expected = NEWER[form]
    path = make(tmp_path / "a.onnx", [CONV, *rows, *END], WEIGHTS | weights, opset=opset)
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert ops(source) == ["conv", *expected, "pool"]
    assert source.facts["opset"] == f"ai.onnx {opset}"


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(
    ("said", "pad"),
    [
        ({"auto_pad": "SAME_UPPER"}, "same"),
        ({"auto_pad": "VALID"}, (0, 0, 0, 0)),
        ({"pads": [1, 2, 3, 4]}, (2, 4, 1, 3)),  # top, left, bottom, right -> left, right, top, bottom
        ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (2, 2, 2, 2)),
    ],
)
def test_padding(tmp_path: Path, side: int, said: dict[str, Any], pad: Any) -> None:
    rows: list[Row] = [("Conv", "x w", "c", {"strides": [2, 2], **said}), ("Flatten", "c", "f", {})]
    path = make(tmp_path / "a.onnx", rows, {"w": floats(6, 3, 3, 3)}, shape=("N", 3, side, side))
    source, ours, theirs = both(path)
    assert nodes_of(source)["c"].pad == pad
    assert difference(ours, theirs) < 1e-5


def test_padding_above_and_to_the_left_is_no_operation_of_ours(tmp_path: Path) -> None:
    row: Row = ("Conv", "x w", "c", {"strides": [2, 2], "auto_pad": "SAME_LOWER"})
    source = read(make(tmp_path / "a.onnx", [row], {"w": floats(6, 3, 3, 3)}))
    assert ops(source) == ["Conv padded by SAME_LOWER"]
    even = read(make(tmp_path / "b.onnx", [(*row[:3], {"auto_pad": "SAME_LOWER"})], {"w": floats(6, 3, 3, 3)}))
    assert nodes_of(even)["c"].pad == "same"  # a kernel of 3 at stride 1 is padded alike on both sides


@pytest.mark.parametrize(
    ("said", "shape", "bias"),
    [
        ({"transB": 1}, (4, 192), (4,)),
        ({}, (192, 4), (1, 4)),
        ({"transB": 1, "alpha": 0.5, "beta": 2.0}, (4, 192), (4,)),
        ({"transB": 1}, (4, 192), ()),
    ],
)
def test_a_linear_layer_in_all_its_forms(
    tmp_path: Path, said: dict[str, Any], shape: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    rows: list[Row] = [("Flatten", "x", "f", {}), ("Gemm", "f w b", "y", said)]
    path = make(tmp_path / "a.onnx", rows, {"w": floats(*shape), "b": np.asarray(floats(*bias), np.float32)})
    source, ours, theirs = both(path)
    assert nodes_of(source)["y"].weights["weight"].shape == (4, 192)
    assert difference(ours, theirs) < 1e-5


def test_a_matrix_product_and_a_sum(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("Reshape", "x s", "f", {}),
        ("MatMul", "f w", "m", {}),
        ("Add", "b m", "y", {}),
        ("Softmax", "y", "z", {"axis": 1}),
    ]
    path = make(tmp_path / "a.onnx", rows, {"s": ints(0, -1), "w": floats(192, 4), "b": floats(4)})
    source, ours, theirs = both(path)
    assert ops(source) == ["linear", "affine", "softmax"]
    assert difference(ours, theirs) < 1e-5
    assert source.graph is not None
    assert source.graph.tensors == ("w", "b")


def test_a_window_as_large_as_the_map_is_the_mean(tmp_path: Path) -> None:
    rows: list[Row] = [("AveragePool", "x", "p", {"kernel_shape": [8, 8]}), ("Flatten", "p", "f", {})]
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, {}))
    assert ops(source) == ["pool"]
    assert difference(ours, theirs) < 1e-5
    rows = [("AveragePool", "x", "p", {"kernel_shape": [7, 7]})]
    assert ops(read(make(tmp_path / "b.onnx", rows, {}))) == ["AveragePool"]
