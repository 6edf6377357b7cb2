"""Layouts, shapes and where an ONNX file keeps its weights; what it says of its input and its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import CONV, END, WEIGHTS, Row, both, difference, floats, ints, make, nodes_of, ops

from mobilenets.weights.onnx import read


def test_a_file_from_tensorflow(tmp_path: Path) -> None:
    """Channels last at both ends, as tf2onnx writes them, and the normalisation in front."""
    rows: list[Row] = [
        ("Div", "x s", "d", {}),
        ("Sub", "d o", "n", {}),
        ("Transpose", "n", "t", {"perm": [0, 3, 1, 2]}),
        ("Conv", "t w b", "c", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("Clip", "c low high", "r", {}),
        ("Transpose", "r", "u", {"perm": [0, 2, 3, 1]}),
        ("Mul", "u f", "v", {}),
        ("ReduceMean", "v", "p", {"axes": [1, 2], "keepdims": 1}),
        ("Squeeze", "p a", "q", {}),
        ("MatMul", "q m", "y", {}),
    ]
    weights = WEIGHTS | {"low": np.float32(0), "high": np.float32(6), "a": ints(1, 2), "m": floats(6, 4)}
    weights |= {"s": np.float32(127.5), "o": np.array([1, 1.1, 0.9], np.float32), "f": floats(6)}
    path = make(tmp_path / "a.onnx", rows, weights, shape=("N", 9, 9, 3))
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert ops(source) == ["affine", "affine", "conv", "relu6", "affine", "pool", "linear"]
    graph = source.graph
    assert graph is not None
    assert (graph.channels, graph.height, graph.width) == (3, 9, 9)
    assert source.normalisation is None  # raw pixels, as its own constants show


def test_channels_last_without_a_shape(tmp_path: Path) -> None:
    rows: list[Row] = [("Transpose", "x", "t", {"perm": [0, 3, 1, 2]}), ("Conv", "t w", "y", {}), *END]
    path = make(tmp_path / "a.onnx", rows, {"w": floats(5, 3, 3, 3)}, shape=("N", "H", "W", "C"))
    source, ours, theirs = both(path, side=10)
    assert difference(ours, theirs) < 1e-5
    graph = source.graph
    assert graph is not None
    assert (graph.channels, graph.height, graph.width) == (3, 0, 0)


def test_what_moves_pixels_is_no_formality(tmp_path: Path) -> None:
    """A channel shuffle, and flattening while the channels stand last, change the order of the numbers."""
    shuffle: list[Row] = [
        CONV,
        ("Reshape", "c s", "r", {}),
        ("Transpose", "r", "t", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", "t e", "y", {}),
    ]
    weights = WEIGHTS | {"s": ints(0, 2, 3, 6, 6), "e": ints(0, 6, 6, 6)}
    assert ops(read(make(tmp_path / "a.onnx", shuffle, weights))) == ["conv", "Reshape", "Transpose", "Reshape"]
    moved: list[Row] = [CONV, ("Transpose", "c", "t", {"perm": [0, 2, 3, 1]}), ("Flatten", "t", "y", {})]
    assert ops(read(make(tmp_path / "b.onnx", moved, WEIGHTS))) == ["conv", "Flatten of channels that stand last"]
    swapped: list[Row] = [CONV, ("Transpose", "c", "y", {"perm": [0, 1, 3, 2]})]
    assert ops(read(make(tmp_path / "c.onnx", swapped, WEIGHTS))) == ["conv", "Transpose"]


@pytest.mark.parametrize(
    ("row", "weights", "kind"),
    [
        (("HardSigmoid", "c", "y", {}), {}, "HardSigmoid of alpha 0.2, beta 0.5"),
        (("Clip", "c low high", "y", {}), {"low": np.float32(-1), "high": np.float32(1)}, "Clip to -1...1"),
        (("PRelu", "c s", "y", {}), {"s": floats(6, 1, 1)}, "PRelu"),
        (("Gelu", "c", "y", {"approximate": "tanh"}), {}, "Gelu approximated by tanh"),
        (("Pad", "c n v", "y", {}), {"n": ints(0, 0, 1, 1, 0, 0, 1, 1), "v": np.float32(1)}, "Pad"),
        (("Pad", "c n", "y", {"mode": "reflect"}), {"n": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "Pad"),
        (("Mul", "c f", "y", {}), {"f": floats(6, 6)}, "Mul"),  # a factor per pixel
        (("ReduceMean", "c a", "y", {}), {"a": ints(1)}, "ReduceMean"),
        (("MaxPool", "c", "y", {"kernel_shape": [2, 2]}), {}, "MaxPool"),
        (("Softmax", "c", "y", {"axis": -1}), {}, "Softmax"),
        (("Concat", "c c", "y", {"axis": 1}), {}, "Concat"),
    ],
)
def test_what_no_network_of_ours_has_is_named(
    tmp_path: Path, row: Row, weights: dict[str, np.ndarray], kind: str
) -> None:
    source = read(make(tmp_path / "a.onnx", [CONV, row], WEIGHTS | weights, opset=20))
    assert ops(source) == ["conv", kind]


@pytest.mark.parametrize("way", ["as_inputs", "as_nodes"])
def test_weights_wherever_the_file_keeps_them(tmp_path: Path, way: str) -> None:
    rows: list[Row] = [CONV, ("Clip", "c low high", "y", {}), *END]
    limits = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    path = make(tmp_path / "a.onnx", rows, WEIGHTS | limits, **{way: True})
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert source.graph is not None
    assert source.graph.tensors == ("w", "b")


def test_weights_behind_operators_on_constants(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("Transpose", "w", "w1", {"perm": [3, 2, 0, 1]}),
        ("Cast", "half", "f", {"to": TensorProto.FLOAT}),
        ("Reshape", "f s", "f1", {}),
        ("Mul", "w1 f1", "w2", {}),
        ("Identity", "b", "b1", {}),
        ("Conv", "x w2 b1", "y", {}),
        *END,
    ]
    weights = {"w": floats(3, 3, 3, 6), "b": floats(6), "half": floats(6).astype(np.float16), "s": ints(-1, 1, 1, 1)}
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, weights))
    assert difference(ours, theirs) < 1e-5
    assert nodes_of(source)["y"].sources == ("w", "half", "b")


def test_half_precision(tmp_path: Path) -> None:
    weights = {name: values.astype(np.float16) for name, values in WEIGHTS.items()}
    rows = [CONV, ("Relu", "c", "y", {}), *END]
    kind = TensorProto.FLOAT16
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, weights, kind=kind, output_kind=kind))
    assert difference(ours, theirs) < 5e-3
    node = nodes_of(source)["c"]
    assert node.weights["weight"].dtype == np.float32
    assert np.array_equal(node.weights["weight"], weights["w"].astype(np.float32))
    assert source.quantisation == "half precision, in which it computes too"


def test_double_precision(tmp_path: Path) -> None:
    """onnxruntime has matrix products in double precision, but no convolutions."""
    rows: list[Row] = [("Flatten", "x", "f", {}), ("Gemm", "f w", "y", {})]
    kind = TensorProto.DOUBLE
    path = make(tmp_path / "a.onnx", rows, {"w": floats(192, 4).astype(np.float64)}, kind=kind, output_kind=kind)
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert nodes_of(source)["y"].weights["weight"].dtype == np.float32
    assert source.quantisation == ""


def test_half_precision_as_mere_storage(tmp_path: Path) -> None:
    rows: list[Row] = [("Cast", "w", "w1", {"to": TensorProto.FLOAT}), ("Conv", "x w1", "y", {}), *END]
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, {"w": floats(6, 3, 3, 3).astype(np.float16)}))
    assert difference(ours, theirs) < 1e-5
    assert source.quantisation == "float16"


def test_tensors_that_belong_to_nothing_are_said(tmp_path: Path) -> None:
    rows: list[Row] = [("Conv", "x v", "unused", {}), CONV, ("Relu", "c", "y", {})]
    weights = WEIGHTS | {"v": floats(2, 3, 1, 1), "left": floats(7)}
    source = read(make(tmp_path / "a.onnx", rows, weights))
    graph = source.graph
    assert graph is not None
    assert set(graph.tensors) == {"w", "b", "v", "left"}
    assert graph.set_aside == {"v": "no output depends on it", "left": "no operator takes it"}
    assert ops(source) == ["conv", "relu"]


def test_shapes_worked_out_while_it_runs(tmp_path: Path) -> None:
    """x.view(x.size(0), -1) as older exporters write it: none of it is an operation on the picture."""
    rows: list[Row] = [
        CONV,
        ("GlobalAveragePool", "c", "p", {}),
        ("Shape", "p", "s", {}),
        ("Gather", "s zero", "n", {}),
        ("Unsqueeze", "n first", "m", {}),
        ("Concat", "m rest", "t", {"axis": 0}),
        ("Reshape", "p t", "f", {}),
        ("Gemm", "f v", "y", {}),
    ]
    weights = WEIGHTS | {"zero": np.int64(0), "first": ints(0), "rest": ints(-1), "v": floats(6, 4)}
    weights["zero"] = np.array(0, np.int64)
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, weights))
    assert difference(ours, theirs) < 1e-5
    assert ops(source) == ["conv", "pool", "linear"]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ({"labels": '["a", "b"]'}, ("a", "b")),
        ({"names": "{0: 'a', 1: 'b, c'}"}, ("a", "b, c")),
        ({"names": "{1: 'b', 0: 'a'}"}, ("a", "b")),
        ({"names": '{"0": "a", "1": "b"}'}, ("a", "b")),
        ({"names": "{0: 'a', 2: 'b'}"}, ()),
        ({"names": "__import__('os').abort()"}, ()),
        ({"labels": "[[[["}, ()),
        ({"labels": "[1, 2]"}, ()),
        ({}, ()),
    ],
)
def test_labels(tmp_path: Path, text: dict[str, str], labels: tuple[str, ...]) -> None:
    assert read(make(tmp_path / "a.onnx", [CONV], WEIGHTS, properties=text)).labels == labels


@pytest.mark.parametrize(
    ("rows", "weights", "custom"),
    [
        ([], {}, "torchvision's custom"),
        (
            [("Sub", "x o", "n", {}), ("Div", "n s", "m", {})],
            {"o": floats(3, 1, 1) * 0.01 + 0.45, "s": floats(3, 1, 1) * 0.01 + 0.22},
            "divided by 255",
        ),
        ([("Mul", "x s", "n", {}), ("Sub", "n o", "m", {})], {"s": np.float32(1 / 127.5), "o": np.float32(1)}, ""),
        ([("Sub", "x o", "m", {})], {"o": floats(3, 1, 1) + 120}, ""),  # the division may stand in the weights
    ],
)
def test_what_the_input_expects(tmp_path: Path, rows: list[Row], weights: dict[str, np.ndarray], custom: str) -> None:
    rows = [*rows, ("Conv", f"{'m' if rows else 'x'} w b", "y", {}), *END]
    source, ours, theirs = both(make(tmp_path / "a.onnx", rows, WEIGHTS | weights))
    assert difference(ours, theirs) < 1e-5
    assert (source.normalisation is None) == (not custom)
    if source.normalisation is not None:
        assert custom in source.normalisation.custom
        assert not source.normalisation.stated
