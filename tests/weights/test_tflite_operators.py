"""Each TFLite operator in a small written file: the graph by plain torch, against LiteRT running the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from interpreter import run_graph
from tflite_writer import Writer

from mobilenets.errors import UserError
from mobilenets.weights import tflite
from mobilenets.weights.graph import Graph

RNG = np.random.default_rng(7)
SHAPE = (1, 7, 6, 4)
RELU6 = {"fusedActivationFunction": 3}


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def written(tmp_path: Path, writer: Writer, x: int, output: int) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(writer.file([x], [output]))
    return path


def graph_of(path: Path) -> Graph:
    graph = tflite.read(path).graph
    assert graph is not None
    return graph


def assert_as_litert(path: Path, tolerance: float = 1e-5, batch: int = 3, spread: float = 4.0) -> Graph:
    """The graph, after its output was found to be LiteRT's on random values."""
    source = tflite.read(path)
    reference = tflite.open_head_reference(path, source)
    assert reference is not None
    assert source.graph is not None
    side = (source.graph.height, source.graph.width, source.graph.channels)
    values = np.random.default_rng(3).normal(scale=spread, size=(batch, *side)).astype(np.float32)
    wanted = reference(values)
    got = run_graph(source.graph, values.transpose(0, 3, 1, 2))
    got = got.transpose(0, 2, 3, 1) if got.ndim == 4 else got  # NCHW -> NHWC, as the file has it
    assert wanted.std() > 0.05
    assert np.abs(got.reshape(batch, -1) - wanted).max() <= tolerance * np.abs(wanted).max()
    return source.graph


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("size", [(7, 6), (8, 9)])
def test_convolutions(tmp_path: Path, padding: int, stride: int, dilation: int, size: tuple[int, int]) -> None:
    w = Writer()
    x = w.tensor("x", (1, *size, 4))
    weight, bias = w.constant("weight", normal(5, 3, 2, 4)), w.constant("bias", normal(5))
    high, wide = (
        -(-side // stride) if padding == 0 else (side - (kernel - 1) * dilation - 1) // stride + 1
        for side, kernel in zip(size, (3, 2))
    )
    options = {"padding": padding, "dilationHFactor": dilation, "dilationWFactor": dilation}
    y = w.conv(x, weight, bias, w.tensor("y", (1, high, wide, 5)), stride, **options)
    graph = assert_as_litert(written(tmp_path, w, x, y))
    assert graph.nodes[0].pad == ("same" if padding == 0 else (0, 0, 0, 0))
    assert graph.nodes[0].sources == ("weight", "bias")


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolutions_and_their_multiplier(tmp_path: Path, multiplier: int) -> None:
    w = Writer()
    x, filters = w.tensor("x", SHAPE), 4 * multiplier
    weight, bias = w.constant("weight", normal(1, 3, 3, filters)), w.constant("bias", normal(filters))
    y = w.conv(
        x,
        weight,
        bias,
        w.tensor("y", (1, 4, 3, filters)),
        stride=2,
        kind="DEPTHWISE_CONV_2D",
        depthMultiplier=multiplier,
        **RELU6,
    )
    graph = assert_as_litert(written(tmp_path, w, x, y))
    assert graph.nodes[0].weights["weight"].shape == (filters, 1, 3, 3)
    assert (graph.nodes[0].groups, graph.nodes[1].act) == (4, "relu6")


def test_grouped_convolutions(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    weight, bias = w.constant("weight", normal(6, 3, 3, 2)), w.constant("bias", normal(6))
    y = w.conv(x, weight, bias, w.tensor("y", (1, 7, 6, 6)))
    assert assert_as_litert(written(tmp_path, w, x, y)).nodes[0].groups == 2


def test_a_convolution_without_a_bias(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    y = w.conv(x, w.constant("weight", normal(5, 1, 1, 4)), -1, w.tensor("y", (1, 7, 6, 5)))
    assert set(graph_of(written(tmp_path, w, x, y)).nodes[0].weights) == {"weight"}


def _linear(w: Writer, x: int, inputs: int, outputs: int = 5) -> int:
    y = w.tensor("logits", (1, outputs))
    weight, bias = w.constant("weight", normal(outputs, inputs)), w.constant("bias", normal(outputs))
    return w.op("FULLY_CONNECTED", [x, weight, bias], y, table="FullyConnectedOptions")


def test_a_linear_layer_over_flattened_maps_keeps_their_order(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    flat = w.op("RESHAPE", [x, w.constant("shape", np.int32([1, 168]))], w.tensor("flat", (1, 168)))
    graph = assert_as_litert(written(tmp_path, w, x, _linear(w, flat, 168)))
    assert [node.op for node in graph.nodes] == ["same", "linear"]
    assert graph.tensors == ("weight", "bias")


def test_a_linear_layer_over_maps_themselves(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    assert_as_litert(written(tmp_path, w, x, _linear(w, x, 168)))


def test_a_linear_layer_over_channels_is_a_convolution(tmp_path: Path) -> None:
    w = Writer()
    x, y = w.tensor("x", SHAPE), w.tensor("y", (1, 7, 6, 5))
    weight, bias = w.constant("weight", normal(5, 4)), w.constant("bias", normal(5))
    w.op("FULLY_CONNECTED", [x, weight, bias], y, table="FullyConnectedOptions", keepNumDims=True)
    assert assert_as_litert(written(tmp_path, w, x, y)).nodes[0].op == "conv"


def test_flattened_maps_that_anything_else_takes_are_no_same(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    flat = w.op("RESHAPE", [x, w.constant("shape", np.int32([1, 168]))], w.tensor("flat", (1, 168)))
    node = graph_of(written(tmp_path, w, x, flat)).nodes[0]
    assert (node.op, node.kind) == ("other", "RESHAPE")


def _with(kind: str, constant: np.ndarray, first: bool, table: str, **options: int) -> Callable[[Writer, int], int]:
    def add(w: Writer, x: int) -> int:
        c = w.constant("c", constant)
        return w.op(kind, [c, x] if first else [x, c], w.tensor("y", SHAPE), table=table, **options)

    return add


PER_CHANNEL = np.float32([0.5, -2, 3, 0.25])
ARITHMETIC = {
    "add": _with("ADD", PER_CHANNEL, False, "AddOptions"),
    "add, constant first": _with("ADD", PER_CHANNEL.reshape(1, 1, 1, 4), True, "AddOptions"),
    "add, then relu6": _with("ADD", np.float32(3), False, "AddOptions", **RELU6),
    "mul": _with("MUL", PER_CHANNEL, False, "MulOptions"),
    "mul by a number": _with("MUL", np.float32([1 / 6]), False, "MulOptions"),
    "sub": _with("SUB", PER_CHANNEL, False, "SubOptions"),
    "constant minus": _with("SUB", PER_CHANNEL, True, "SubOptions"),
    "div": _with("DIV", PER_CHANNEL, False, "DivOptions"),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_with_constants_is_affine(tmp_path: Path, name: str) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    graph = assert_as_litert(written(tmp_path, w, x, ARITHMETIC[name](w, x)))
    assert (graph.nodes[0].op, graph.nodes[0].sources, graph.tensors) == ("affine", ("c",), ("c",))


@pytest.mark.parametrize(
    ("kind", "constant", "first"),
    [("DIV", PER_CHANNEL, True), ("DIV", np.float32([1, 0, 1, 1]), False), ("ADD", np.ones(SHAPE, np.float32), False)],
)
def test_other_arithmetic_stays_unknown(tmp_path: Path, kind: str, constant: np.ndarray, first: bool) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    y = _with(kind, constant, first, f"{kind.title()}Options")(w, x)
    node = graph_of(written(tmp_path, w, x, y)).nodes[0]
    assert (node.op, node.kind, node.inputs, node.sources) == ("other", kind, ("x",), ("c",))
    assert [values.tolist() for values in node.weights.values()] == [constant.tolist()]


def test_a_gate_over_channels(tmp_path: Path) -> None:
    w = Writer()
    x, axes = w.tensor("x", SHAPE), w.constant("axes", np.int32([1, -2]))
    mean = w.op("MEAN", [x, axes], w.tensor("mean", (1, 4)), table="ReducerOptions", keepDims=False)
    gate = w.op("LOGISTIC", [mean], w.tensor("gate", (1, 4)))
    y = w.op("MUL", [x, gate], w.tensor("y", SHAPE), table="MulOptions")
    graph = assert_as_litert(written(tmp_path, w, x, y))
    assert [node.op for node in graph.nodes] == ["pool", "act", "mul"]
    assert graph.tensors == ()


def test_pooling(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    pool = {"table": "Pool2DOptions", "padding": 1, "strideH": 1, "strideW": 1}
    y = w.op("AVERAGE_POOL_2D", [x], w.tensor("y", (1, 1, 1, 4)), filterHeight=7, filterWidth=6, **pool)
    assert assert_as_litert(written(tmp_path, w, x, y)).nodes[0].op == "pool"
    w = Writer()
    x = w.tensor("x", SHAPE)
    y = w.op("AVERAGE_POOL_2D", [x], w.tensor("y", (1, 2, 1, 4)), filterHeight=6, filterWidth=6, **pool)
    assert graph_of(written(tmp_path, w, x, y)).nodes[0].kind == "AVERAGE_POOL_2D"


@pytest.mark.parametrize("version", ["PAD", "PADV2"])
def test_padding_of_zeros(tmp_path: Path, version: str) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    amounts = w.constant("amounts", np.int32([[0, 0], [0, 1], [2, 3], [0, 0]]))
    filling = [w.constant("zero", np.float32([0]))] if version == "PADV2" else []
    y = w.op(version, [x, amounts, *filling], w.tensor("y", (1, 8, 11, 4)))
    assert assert_as_litert(written(tmp_path, w, x, y)).nodes[0].pad == (2, 3, 0, 1)


def test_padding_of_anything_else_stays_unknown(tmp_path: Path) -> None:
    for paddings, value in (([[0, 0], [0, 1], [0, 1], [0, 0]], 1.0), ([[0, 0], [0, 0], [0, 0], [0, 2]], 0.0)):
        w = Writer()
        x, amounts = w.tensor("x", SHAPE), w.constant("amounts", np.int32(paddings))
        y = w.op("PADV2", [x, amounts, w.constant("v", np.float32([value]))], w.tensor("y", (1, 8, 7, 4)))
        assert graph_of(written(tmp_path, w, x, y)).nodes[0].kind == "PADV2"


def _clipped(*steps: tuple[str, float]) -> Callable[[Writer, int], int]:
    def add(w: Writer, x: int) -> int:
        for place, (kind, limit) in enumerate(steps):
            y = w.tensor(f"y{place}", SHAPE)
            x = w.op(kind, [x] if kind == "RELU" else [x, w.constant(f"limit{place}", np.float32(limit))], y)
        return x

    return add


def _prelu(w: Writer, x: int) -> int:
    return w.op("PRELU", [x, w.constant("slopes", np.full((1, 1, 4), 0.25, np.float32))], w.tensor("y", SHAPE))


def _one(kind: str, **options: float | str) -> Callable[[Writer, int], int]:
    return lambda w, x: w.op(kind, [x], w.tensor("y", SHAPE), **options)


ACTS = {
    "RELU": (_one("RELU"), "relu"),
    "RELU6": (_one("RELU6"), "relu6"),
    "HARD_SWISH": (_one("HARD_SWISH"), "hard_swish"),
    "LOGISTIC": (_one("LOGISTIC"), "sigmoid"),
    "LEAKY_RELU": (_one("LEAKY_RELU", table="LeakyReluOptions", alpha=0.1), "leaky_relu"),
    "GELU": (_one("GELU", table="GeluOptions", approximate=False), "gelu"),
    "PRELU": (_prelu, "leaky_relu"),
    "maximum": (_clipped(("MAXIMUM", 0)), "relu"),
    "minimum, maximum": (_clipped(("MINIMUM", 6), ("MAXIMUM", 0)), "relu6"),
    "maximum, minimum": (_clipped(("MAXIMUM", 0), ("MINIMUM", 6)), "relu6"),
    "relu, minimum": (_clipped(("RELU", 0), ("MINIMUM", 6)), "relu6"),
}


@pytest.mark.parametrize("name", ACTS)
def test_activations(tmp_path: Path, name: str) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    graph = assert_as_litert(written(tmp_path, w, x, ACTS[name][0](w, x)), tolerance=2e-4 if name == "GELU" else 1e-5)
    assert [(node.op, node.act) for node in graph.nodes] == [("act", ACTS[name][1])]
    assert set(graph.nodes[0].sources) == set(graph.tensors)


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ([("MINIMUM", 5), ("MAXIMUM", 0)], [("other", "MINIMUM"), ("act", "")]),
        ([("MAXIMUM", 0), ("MINIMUM", 1)], [("act", ""), ("other", "MINIMUM")]),
        ([("MAXIMUM", -1)], [("other", "MAXIMUM")]),
    ],
)
def test_other_clips_stay_unknown(tmp_path: Path, steps: list[tuple[str, float]], kinds: list[tuple[str, str]]) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    graph = graph_of(written(tmp_path, w, x, _clipped(*steps)(w, x)))
    assert [(node.op, node.kind) for node in graph.nodes] == kinds


def test_a_fused_activation_of_another_kind_stays_unknown(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    y = _with("ADD", np.float32([1]), False, "AddOptions", fusedActivationFunction=2)(w, x)
    nodes = graph_of(written(tmp_path, w, x, y)).nodes
    assert [(node.op, node.kind) for node in nodes] == [("affine", ""), ("other", "RELU_N1_TO_1")]
    assert (nodes[0].output, nodes[1].inputs, nodes[1].output) == ("y before RELU_N1_TO_1", (nodes[0].output,), "y")


def test_softmax_of_pixels_is_none_of_classes(tmp_path: Path) -> None:
    for shape, op in ((SHAPE, "other"), ((1, 1, 1, 4), "softmax")):
        w = Writer()
        x = w.tensor("x", shape)
        y = w.op("SOFTMAX", [x], w.tensor("y", shape), table="SoftmaxOptions", beta=1.0)
        assert graph_of(written(tmp_path, w, x, y)).nodes[0].op == op


def test_float16_weights_behind_dequantize(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    halves = [
        w.constant(name, normal(*shape).astype(np.float16)) for name, shape in (("w16", (5, 3, 3, 4)), ("b16", (5,)))
    ]
    shapes = [(5, 3, 3, 4), (5,)]
    full = [w.op("DEQUANTIZE", [half], w.tensor(f"full{half}", shape)) for half, shape in zip(halves, shapes)]
    y = w.conv(x, full[0], full[1], w.tensor("y", (1, 7, 6, 5)))
    path = written(tmp_path, w, x, y)
    graph = assert_as_litert(path)
    assert [node.op for node in graph.nodes] == ["conv"]
    assert (graph.nodes[0].sources, graph.tensors, tflite.read(path).quantisation) == (
        ("w16", "b16"),
        ("w16", "b16"),
        "float16",
    )


def test_a_tensor_that_nothing_takes_is_named(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    w.constant("left over", normal(3))
    y = w.op("RELU", [x], w.tensor("y", SHAPE))
    graph = graph_of(written(tmp_path, w, x, y))
    assert graph.tensors == ("left over",)
    assert graph.set_aside == {"left over": "no operator takes it"}


def test_tensors_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("t", SHAPE)
    y = w.conv(x, w.constant("t", normal(5, 1, 1, 4)), w.constant("", normal(5)), w.tensor("t", (1, 7, 6, 5)))
    graph = assert_as_litert(written(tmp_path, w, x, y))
    assert (graph.input, graph.outputs, graph.tensors) == ("t", ("t#3",), ("t#1", "#2"))


@pytest.mark.parametrize(
    ("shape", "kernel", "message"),
    [
        ((5, 3, 3, 3), {}, "of 3 channels takes 'x', which has 4"),
        ((5, 3, 12), {}, "weights 'weight' of shape"),
        ((5, 3, 3, 4), {"strideH": 0}, "stride or a dilation below 1"),
    ],
)
def test_a_convolution_that_contradicts_itself_is_refused(
    tmp_path: Path, shape: tuple[int, ...], kernel: dict[str, int], message: str
) -> None:
    w = Writer()
    x = w.tensor("x", SHAPE)
    y = w.conv(x, w.constant("weight", normal(*shape)), -1, w.tensor("y", (1, 7, 6, 5)), **kernel)
    with pytest.raises(UserError, match=f"small.tflite: .*{message}"):
        tflite.read(written(tmp_path, w, x, y))


def _quantised(w: Writer, scales: list[float], zero: int, activation: int) -> tuple[int, int]:
    """An int8 convolution with a scale per filter, whose output stands for (zero point ...) in steps of 6/255."""
    x = w.tensor("x", SHAPE, np.int8, scale=[0.05], zero=[3])
    stored = RNG.integers(-127, 128, (5, 3, 3, 4)).astype(np.int8)
    weight = w.constant("weight", stored, scale=scales, zero=[0] * len(scales))
    bias = w.constant(
        "bias", RNG.integers(-2000, 2000, 5).astype(np.int32), scale=[0.05 * s for s in scales], zero=[0] * len(scales)
    )
    out = w.tensor("y", (1, 7, 6, 5), np.int8, scale=[6 / 255], zero=[zero])
    return x, w.conv(x, weight, bias, out, fusedActivationFunction=activation, version=3)


@pytest.mark.parametrize("scales", [[0.002], [0.001, 0.002, 0.0005, 0.003, 0.0015]])
def test_integers_stand_for_litert_s_real_numbers(tmp_path: Path, scales: list[float]) -> None:
    w = Writer()
    x, y = _quantised(w, scales, zero=5, activation=0)
    path = written(tmp_path, w, x, y)
    source = tflite.read(path)
    granularity = "per tensor" if len(scales) == 1 else "per channel"
    assert source.quantisation == f"int8, {granularity}"
    reference = tflite.open_head_reference(path, source)
    assert reference is not None
    assert source.graph is not None
    stored = np.random.default_rng(1).integers(-128, 128, (3, *SHAPE[1:]))
    values = ((stored - 3) * 0.05).astype(np.float32)
    got = run_graph(source.graph, values.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1).reshape(3, -1)
    low, high = (-128 - 5) * 6 / 255, (127 - 5) * 6 / 255
    wanted = reference(values)
    assert np.abs(np.clip(got, low, high) - wanted).max() <= 0.51 * 6 / 255
    assert ((wanted > low) & (wanted < high)).mean() > 0.3


@pytest.mark.parametrize(
    ("zero", "activation", "acts"), [(-128, 0, ["relu6"]), (5, 0, []), (5, 3, ["relu6"]), (-128, 1, ["relu"])]
)
def test_an_activation_may_stand_in_the_range_alone(
    tmp_path: Path, zero: int, activation: int, acts: list[str]
) -> None:
    w = Writer()
    x, y = _quantised(w, [0.002], zero, activation)
    assert [node.act for node in graph_of(written(tmp_path, w, x, y)).nodes if node.op == "act"] == acts
