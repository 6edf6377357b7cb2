"""The TensorFlow.js reader: operations one by one, and tensors of every type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interpreter import run_graph
from tfjs_networks import BIAS_RELU6, graph_of, images
from tfjs_writer import GraphModel, integers, text

from mobilenets.weights import tfjs


def test_a_depthwise_multiplier_keeps_the_filters_of_a_channel_together(tmp_path: Path) -> None:
    net = GraphModel(images(8))
    kernel = net.const("kernel", np.random.default_rng(1).normal(size=(3, 3, 3, 2)))
    strides = {"strides": integers(1, 1, 1, 1), "padding": {"s": text("VALID")}}
    value = torch.stack(
        [
            torch.nn.functional.conv2d(net.values["image"][:, c : c + 1], kernel[None, None, :, :, c, m])[:, 0]
            for c in range(3)
            for m in range(2)
        ],
        1,
    )
    net.op("dw", "DepthwiseConv2dNative", "image", "kernel", value=value, **strides)
    found = run_graph(graph_of(net.write(tmp_path)), net.images.numpy())
    assert np.abs(found - value.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("op", "order", "expected"),
    [
        ("AddV2", "xc", lambda x, c: x + c),
        ("Add", "cx", lambda x, c: x + c),
        ("Mul", "xc", lambda x, c: x * c),
        ("Sub", "xc", lambda x, c: x - c),
        ("Sub", "cx", lambda x, c: c - x),
        ("RealDiv", "xc", lambda x, c: x / c),
        ("Sub", "xx", lambda x, c: x - x.relu()),
        ("Mul", "xx", lambda x, c: x * x.relu()),
    ],
)
@pytest.mark.parametrize("sizes", [(), (3,), (1, 1, 1, 3)])
def test_arithmetic(op: str, order: str, expected: Any, sizes: tuple[int, ...], tmp_path: Path) -> None:
    net = GraphModel(images(4))
    c = net.const("c", np.random.default_rng(1).uniform(1, 2, sizes))
    net.op("relu", "Relu", "image", value=net.values["image"].relu())
    inputs = {"xc": ("image", "c"), "cx": ("c", "image"), "xx": ("image", "relu")}[order]
    net.op("y", op, *inputs, value=expected(net.values["image"], c.view(1, -1, 1, 1)))
    found = run_graph(graph_of(net.write(tmp_path)), net.images.numpy(), "y")
    assert np.abs(found - net.values["y"].numpy()).max() < 1e-5


def test_explicit_padding_and_dilation(tmp_path: Path) -> None:
    net = GraphModel(images(9))
    kernel = net.const("kernel", np.random.default_rng(1).normal(size=(3, 3, 3, 4)))
    x = torch.nn.functional.pad(net.values["image"], (3, 4, 1, 2))
    value = torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), None, (2, 1), 0, (1, 2))
    attributes = {
        "strides": integers(1, 2, 1, 1),
        "dilations": integers(1, 1, 2, 1),
        "padding": {"s": text("EXPLICIT")},
        "explicit_paddings": integers(0, 0, 1, 2, 3, 4, 0, 0),
    }
    net.op("y", "Conv2D", "image", "kernel", value=value, **attributes)
    graph = graph_of(net.write(tmp_path))
    assert graph.nodes[0].pad == (3, 4, 1, 2)
    assert np.abs(run_graph(graph, net.images.numpy()) - value.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("op", "sizes", "kept"),
    [
        ("Reshape", [-1, 8], True),
        ("Reshape", [-1, 1, 1, 8], True),
        ("Reshape", [2, -1], True),
        ("Reshape", [-1, 2, 4], False),
        ("Squeeze", None, True),
    ],
)
def test_a_reshape_is_nothing_only_where_nothing_changes_places(
    op: str, sizes: list[int] | None, kept: bool, tmp_path: Path
) -> None:
    net = GraphModel(images(4))
    pooled = net.pool("pool", net.conv("conv", "image", 8))
    inputs = [pooled]
    if sizes is not None:
        net.const("sizes", sizes, np.int32)
        inputs.append("sizes")
    net.op("y", op, *inputs, value=net.values[pooled])
    graph = graph_of(net.write(tmp_path))
    assert graph.nodes[-1].op == ("same" if kept else "other")
    assert graph.nodes[-1].kind == op


def test_a_feature_map_flattened_by_rows_is_no_linear_layer(tmp_path: Path) -> None:
    """TensorFlow flattens (H, W, C), torch (C, H, W): the same weights would mean another function."""
    net = GraphModel(images(4))
    net.const("sizes", [-1, 4 * 4 * 3], np.int32)
    net.const("kernel", np.ones((48, 2)))
    net.op("flat", "Reshape", "image", "sizes", value=net.values["image"])
    net.op("y", "MatMul", "flat", "kernel", value=net.values["image"])
    assert [node.op for node in graph_of(net.write(tmp_path)).nodes] == ["other", "other"]


def test_an_average_over_the_whole_map_is_the_pooling(tmp_path: Path) -> None:
    net = GraphModel(images(8))
    net.conv("conv", "image", 4, 3, 2)
    for name, side in (("whole", 4), ("part", 2)):
        window = {"ksize": integers(1, side, side, 1), "strides": integers(1, 1, 1, 1), "padding": {"s": text("VALID")}}
        net.op(name, "AvgPool", "conv", value=net.values["conv"], **window)
    assert [node.op for node in graph_of(net.write(tmp_path)).nodes] == ["conv", "pool", "other"]


def test_further_outputs_have_names_of_their_own_and_order_does_not_matter(tmp_path: Path) -> None:
    net = GraphModel(images(4))
    net.const("axis", 3, np.int32)
    net.node("last", "Identity", "split:2", "^image")
    net.op("split", "Split", "axis", "image:0", value=net.values["image"])
    graph = graph_of(net.write(tmp_path))
    assert [(node.op, node.output) for node in graph.nodes] == [
        ("other", "split"),
        ("other", "split:2"),
        ("same", "last"),
    ]
    assert graph.nodes[-1].inputs == ("split:2",)


def test_what_the_graph_does_to_its_images_is_stated_and_the_network_begins_behind_it(tmp_path: Path) -> None:
    net = GraphModel(images(24))
    net.const("scale", 2 / 255)
    net.const("one", 1.0)
    net.const("size", [16, 20], np.int32)
    net.op("mul", "Mul", "scale", "image", value=net.values["image"])
    net.op("sub", "Sub", "mul", "one", value=net.values["image"])
    net.op("resize", "ResizeBilinear", "sub", "size", value=net.values["image"])
    net.conv("conv", "resize", 4, 3, 2, fused=BIAS_RELU6)
    source = tfjs.read(net.write(tmp_path))
    assert source.graph is not None
    assert source.normalisation is not None
    assert source.normalisation.stated
    assert source.normalisation.mean == pytest.approx((127.5,) * 3)
    assert source.normalisation.std == pytest.approx((127.5,) * 3)
    assert (source.graph.input, source.graph.height, source.graph.width) == ("resize", 16, 20)
    assert [node.op for node in source.graph.nodes] == ["conv", "act"]
    assert source.graph.set_aside == {
        "scale": "preprocessing before the network",
        "one": "preprocessing before the network",
        "size": "a size, an axis or a flag (int32)",
    }


def test_tensors_of_every_type_in_three_shards(tmp_path: Path) -> None:
    content = (
        np.array([1.5, -2.0], "<f4").tobytes()
        + np.array([-7, 2**31 - 1], "<i4").tobytes()
        + bytes([1, 0, 1])
        + bytes([0, 128, 255])
        + np.array([0, 65535], "<u2").tobytes()
        + np.array([0.1, 65504], "<f2").tobytes()
        + bytes([3, 0, 0, 0])
        + b"abc"
        + bytes([10, 11])
    )
    affine = {"scale": 0.1, "min": -3.3}
    entries = [
        {"name": "f", "shape": [2], "dtype": "float32"},
        {"name": "i", "shape": [1, 2], "dtype": "int32"},
        {"name": "b", "shape": [3], "dtype": "bool"},
        {"name": "u8", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", **affine}},
        {"name": "u16", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint16", **affine}},
        {"name": "f16", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "s", "shape": [1], "dtype": "string"},
        {"name": "q", "shape": [2], "dtype": "int32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": 0}},
    ]
    (tmp_path / "deep").mkdir()
    names = ["a.bin", "deep/b.bin", "c.bin"]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(content[index * 15 : (index + 1) * 15 if index < 2 else None])
    model = {"modelTopology": {"node": []}, "weightsManifest": [{"paths": names, "weights": entries}]}
    (tmp_path / "model.json").write_text(json.dumps(model))
    found = tfjs.read_tensors(tmp_path)
    assert found["f"].tolist() == [1.5, -2.0]
    assert found["i"].tolist() == [[-7, 2**31 - 1]]
    assert found["b"].tolist() == [True, False, True]
    assert found["u8"].tolist() == [float(np.float32(v * 0.1 - 3.3)) for v in (0, 128, 255)]
    assert found["u16"].tolist() == [float(np.float32(v * 0.1 - 3.3)) for v in (0, 65535)]
    assert found["f16"].tolist() == [float(np.float16(0.1)), 65504.0]
    assert found["s"].tolist() == [b"abc"]
    assert found["q"].tolist() == [5, 6]  # Math.round(5.5) is 6
    assert [found[name].dtype for name in ("f", "i", "b", "u8", "f16", "q")] == [
        np.float32,
        np.int32,
        np.bool_,
        np.float32,
        np.float32,
        np.int32,
    ]
