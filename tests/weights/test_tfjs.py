"""The TensorFlow.js reader: generated layers and graph models, malformed files, and two published detectors."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interpreter import before_softmax, run_graph
from tfjs_writer import GraphModel, LayersModel, Weights, integers, shape, text

from mobilenets.errors import UserError
from mobilenets.weights import tfjs
from mobilenets.weights.graph import Graph

STORED = ("float32", "float16", "uint8", "uint16")
BIAS_RELU6 = ("BiasAdd", "Relu6")


def images(size: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32))


def graph_of(path: Path) -> Graph:
    graph = tfjs.read(path).graph
    assert graph is not None
    return graph


# ------------------------------------------------------------------------------------------------- networks


def v1_graph(weights: Weights) -> GraphModel:
    """V1 as the converter leaves it: BatchNorm folded, bias and activation fused."""
    net = GraphModel(images(33), weights)
    x = net.conv("conv1", "image", 8, 3, 2, fused=BIAS_RELU6)
    for index, (out, stride) in enumerate(((16, 1), (24, 2), (24, 1))):
        x = net.conv(f"dw{index}", x, 0, 3, stride, fused=BIAS_RELU6)
        x = net.conv(f"pw{index}", x, out, fused=BIAS_RELU6)
    net.classify(x, 7)
    return net


def v2_graph(weights: Weights) -> GraphModel:
    """V2 with nothing fused: padding of its own, BatchNorm, residual."""
    net = GraphModel(images(), weights)
    x = net.conv("conv1", net.pad("pad", "image", 0, 1, 0, 1), 8, 3, 2, valid=True)
    x = net.relu6("relu1", net.norm("bn1", x))
    for index, (out, stride) in enumerate(((12, 2), (12, 1))):
        start = x
        x = net.relu6(f"e{index}/relu", net.norm(f"e{index}/bn", net.conv(f"e{index}", x, 24)))
        x = net.relu6(f"d{index}/relu", net.norm(f"d{index}/bn", net.conv(f"d{index}", x, 0, 3, stride)))
        x = net.norm(f"p{index}/bn", net.conv(f"p{index}", x, out))
        if stride == 1:
            x = net.op(f"add{index}", "AddV2", start, x, value=net.values[start] + net.values[x])
    net.classify(x, 7)
    return net


def v3_graph(weights: Weights) -> GraphModel:
    """A block of V3: hard-swish and squeeze-and-excite spelt out."""
    net = GraphModel(images(), weights)
    x = net.conv("conv1", "image", 8, 3, 2, fused=("BiasAdd",))
    x = net.product("swish1", net.hard_sigmoid("gate1", x), x)
    x = net.conv("expand", x, 16, fused=("BiasAdd", "Relu"))
    x = net.conv("dw", x, 0, 5, 2, fused=("BiasAdd", "Relu"))
    y = net.conv("se1", net.pool("squeeze", x), 4, fused=("BiasAdd", "Relu"))
    y = net.conv("se2", y, 16, fused=("BiasAdd",))
    x = net.product("scaled", x, net.hard_sigmoid("gate2", y))
    net.classify(net.conv("project", x, 12, fused=("BiasAdd",)), 7)
    return net


def v1_layers(weights: Weights) -> LayersModel:
    net = LayersModel(images(), weights)
    x = net.conv("conv1", net.pad("conv1_pad", "image"), 8, 3, 2, padding="valid")
    x = net.relu6("conv1_relu", net.norm("conv1_bn", x))
    for index, (out, stride) in enumerate(((16, 1), (24, 2)), 1):
        padding = "same" if stride == 1 else "valid"
        x = net.pad(f"conv_pad_{index}", x) if stride == 2 else x
        x = net.conv(f"conv_dw_{index}", x, 0, 3, stride, padding=padding)
        x = net.relu6(f"conv_dw_{index}_relu", net.norm(f"conv_dw_{index}_bn", x))
        x = net.relu6(f"conv_pw_{index}_relu", net.norm(f"conv_pw_{index}_bn", net.conv(f"conv_pw_{index}", x, out)))
    net.classify(x, 7)
    return net


def v2_layers(weights: Weights) -> LayersModel:
    net = LayersModel(images(), weights)
    x = net.relu6("Conv1_relu", net.norm("bn_Conv1", net.conv("Conv1", "image", 8, 3, 2)))
    for index in (1, 2):
        start, name = x, f"block_{index}"
        x = net.relu6(f"{name}_expand_relu", net.norm(f"{name}_expand_BN", net.conv(f"{name}_expand", x, 24)))
        x = net.relu6(f"{name}_relu", net.norm(f"{name}_depthwise_BN", net.conv(f"{name}_depthwise", x, 0, 3)))
        x = net.norm(f"{name}_project_BN", net.conv(f"{name}_project", x, 8))
        x = net.layer(f"{name}_add", "Add", [start, x], net.values[start] + net.values[x])
    net.classify(x, 7)
    return net


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("make", [v1_graph, v2_graph, v3_graph, v1_layers, v2_layers])
def test_a_generated_network_gives_what_its_definition_gives(make: Any, stored: str, tmp_path: Path) -> None:
    net = make(Weights(stored))
    source = tfjs.read(net.write(tmp_path, shards=3))
    graph = source.graph
    assert graph is not None
    layers = isinstance(net, LayersModel)
    assert source.format == f"TensorFlow.js {'layers' if layers else 'graph'} model"
    assert source.quantisation == (f"{stored}, per tensor, weights only" if stored.startswith("uint") else "")
    assert source.normalisation is None
    assert (graph.channels, graph.height, graph.width) == (3, *net.images.shape[2:])
    expected = net.values["logits" if layers else "Identity"].numpy()
    assert np.abs(run_graph(graph, net.images.numpy()) - expected).max() < 1e-5
    if not layers:
        logits = net.values["logits"].numpy()
        found = run_graph(graph, net.images.numpy(), before_softmax(graph))
        assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()


@pytest.mark.parametrize("make", [v1_graph, v2_graph, v3_graph, v1_layers, v2_layers])
def test_every_tensor_is_a_source_or_set_aside(make: Any, tmp_path: Path) -> None:
    net = make(Weights())
    graph = graph_of(net.write(tmp_path))
    floats = {entry["name"] for entry in net.weights.entries if entry["dtype"] == "float32"}
    sources = [source for node in graph.nodes for source in node.sources]
    assert sorted(sources) == sorted(floats)
    assert set(graph.set_aside) == set(graph.tensors) - floats
    assert set(graph.set_aside.values()) <= {"a size, an axis or a flag (int32)"}
    assert all(values.dtype == np.float32 for node in graph.nodes for values in node.weights.values())


def test_operations_of_the_fused_and_of_the_plain_graph(tmp_path: Path) -> None:
    fused = Counter(node.op for node in graph_of(v1_graph(Weights()).write(tmp_path)).nodes)
    assert fused == {"conv": 7, "act": 7, "pool": 1, "linear": 1, "softmax": 1, "same": 1}
    plain = graph_of(v2_graph(Weights()).write(tmp_path))
    counts = Counter(node.op for node in plain.nodes)
    assert counts == {
        "pad": 1,
        "conv": 7,
        "norm": 7,
        "act": 5,
        "add": 1,
        "pool": 1,
        "linear": 1,
        "softmax": 1,
        "same": 1,
    }
    assert {node.eps for node in plain.nodes if node.op == "norm"} == {0.001}
    assert [node.groups for node in plain.nodes if node.op == "conv"] == [1, 1, 24, 1, 1, 24, 1]


def test_a_folder_stands_for_its_model_json(tmp_path: Path) -> None:
    file = v1_graph(Weights()).write(tmp_path)
    assert tfjs.matches(file)
    assert tfjs.matches(tmp_path)
    assert graph_of(tmp_path).tensors == graph_of(file).tensors
    (tmp_path / "other.json").write_text("{}")
    assert not tfjs.matches(tmp_path / "other.json")
    assert not tfjs.matches(tmp_path / "group1-shard1of1.bin")


# ------------------------------------------------------------------------------------------------- single operations


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


# ------------------------------------------------------------------------------------------------- tensors


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


# ------------------------------------------------------------------------------------------------- malformed input


def without_shard(path: Path) -> None:
    (path.parent / "group1-shard1of1.bin").unlink()


def cut(path: Path) -> None:
    shard = path.parent / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes()[:-5])


def longer(path: Path) -> None:
    shard = path.parent / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes() + b"12345")


def edit(**changes: Any) -> Any:
    def apply(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def edit_group(**changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        model["weightsManifest"][0] |= changes
        path.write_text(json.dumps(model))

    return apply


def edit_tensor(index: int, **changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        model["weightsManifest"][0]["weights"][index] |= changes
        path.write_text(json.dumps(model))

    return apply


def edit_node(node_name: str, /, **changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        next(node for node in model["modelTopology"]["node"] if node["name"] == node_name).update(changes)
        path.write_text(json.dumps(model))

    return apply


CONV = {"strides": integers(1, 2, 2, 1), "padding": {"s": text("SAME")}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("{"), "not JSON"),
        (lambda path: path.write_text("[" * 200000), "not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda path: path.write_text("[]"), "no weightsManifest"),
        (lambda path: path.unlink(), "no such file"),
        (edit(modelTopology=None), "no topology"),
        (edit(modelTopology={"x": 1}), "neither a GraphDef"),
        (edit(modelTopology={"node": [{"op": "Const"}]}), "topology is broken"),
        (edit(modelTopology={"node": [3]}), "topology is broken"),
        (edit(signature=[1]), "signature is no object"),
        (edit(weightsManifest=[{"paths": 3}]), "manifest is broken"),
        (without_shard, "'group1-shard1of1.bin' is missing"),
        (cut, "shorter than the manifest says"),
        (longer, "5 bytes longer than the manifest says"),
        (edit_group(paths=["../x.bin"]), "outside the model's folder"),
        (edit_group(paths=["/etc/hostname"]), "outside the model's folder"),
        (edit_group(paths=["a\\..\\x.bin"]), "outside the model's folder"),
        (edit_group(paths=["C:x.bin"]), "outside the model's folder"),
        (edit_tensor(0, shape=[10**9, 10**9]), "shorter than the manifest says"),
        (edit_tensor(0, shape=[-1, 3]), "has the shape"),
        (edit_tensor(0, dtype="float8"), "is float8"),
        (edit_tensor(0, quantization={"dtype": "int4"}), "stored as int4"),
        (edit_tensor(0, quantization={"dtype": "uint8", "scale": "x", "min": 0}), "manifest is broken"),
        (edit_tensor(0, quantization={"dtype": "uint8", "scale": 1e300, "min": 0}), "lead beyond float32"),
        (edit_tensor(0, name=3), "calls a tensor 3"),
        (edit_tensor(1, name="conv1/kernel"), "names the tensor conv1/kernel twice"),
        (edit_tensor(0, name="other"), "no values for the constant conv1/kernel"),
        (edit_node("conv1", input=["nobody", "conv1/kernel"]), "takes nobody"),
        (edit_node("conv1", name="dw0"), "same name"),
        (edit_node("conv1", input=["pw0", "conv1/kernel", "conv1/bias"]), "in a circle"),
        (edit_node("conv1", attr=CONV | {"padding": {"s": "!"}}), "topology is broken"),
        (edit_node("conv1", attr=CONV | {"padding": {"s": text("NEAR")}}), "padding NEAR"),
        (edit_node("conv1", attr=CONV | {"strides": integers(1, 0, 0, 1)}), "1 or more"),
        (edit_node("conv1", attr=CONV | {"data_format": {"s": text("NCHW")}}), "NCHW"),
        (edit_node("dw0", input=["image", "dw0/kernel", "dw0/bias"]), "for 8 channels, its input has 3"),
        (edit_node("dw0", input=["conv1", "dw0/kernel", "pw0/bias"]), "instead of 8 constants"),
        (edit_node("image", attr={"shape": {"shape": shape(-1, 7)}}), "must be .batch, height, width, channels."),
        (edit_node("image", op="NoOp"), "its inputs are: none"),
        (edit_node("pool", op="Placeholder", input=[], attr={}), "its inputs are: image, pool"),
    ],
)
def test_malformed_files_are_refused_in_one_line(change: Any, message: str, tmp_path: Path) -> None:
    path = v1_graph(Weights()).write(tmp_path)
    change(path)
    with pytest.raises(UserError, match=message) as caught:
        tfjs.read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_layers_model_without_a_layers_weights_is_refused(tmp_path: Path) -> None:
    path = v1_layers(Weights()).write(tmp_path)
    edit_tensor(0, name="conv1/karnel")(path)
    with pytest.raises(UserError, match="lacks the kernel of the layer 'conv1'"):
        tfjs.read(path)


@pytest.mark.parametrize("prefix", ["", "net/"])
def test_a_nested_model_finds_its_weights_with_its_name_before_them_or_without(prefix: str, tmp_path: Path) -> None:
    net = v2_layers(Weights())
    for entry in net.weights.entries:
        entry["name"] = prefix + entry["name"]
    graph = graph_of(net.write(tmp_path, nested=True))
    expected = net.values["logits"].numpy()
    assert np.abs(run_graph(graph, net.images.numpy()) - expected).max() < 1e-5


@pytest.mark.parametrize(("version", "op"), [("2.3.1", "other"), ("tfjs-layers 4.22.0", "other"), ("3.4.1", "act")])
def test_the_hard_sigmoid_of_keras_2_and_of_tensorflow_js_is_another(version: str, op: str, tmp_path: Path) -> None:
    net = LayersModel(images(4))
    net.layer("gate", "Activation", ["image"], net.values["image"], activation="hard_sigmoid")
    assert graph_of(net.write(tmp_path, version=version)).nodes[-1].op == op


def test_shards_larger_than_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = v1_graph(Weights()).write(tmp_path)
    monkeypatch.setattr("mobilenets.weights.tfjs.shards.SHARDS_LIMIT", 100)
    with pytest.raises(UserError, match="up to 100 are read"):
        tfjs.read(path)


# ------------------------------------------------------------------------------------------------- published models

SSD = "ssd_mobilenet_v2_fpnlite_320_handtrack_uint8"
CENTERNET = "centernet_mobilenet_v3_large_0.75_coco_fp16"
SIZES = {"uint8": 1, "float16": 2, "": 4}


def decoded(file: Path) -> dict[str, np.ndarray]:
    """The manifest's tensors by the shortest way: one group, one shard."""
    (group,) = json.loads(file.read_text())["weightsManifest"]
    content, at, found = (file.parent / group["paths"][0]).read_bytes(), 0, {}
    for entry in group["weights"]:
        count, given = math.prod(entry["shape"]), entry.get("quantization", {})
        part = content[at : at + count * SIZES[given.get("dtype", "")]]
        at += len(part)
        if given.get("dtype") == "uint8":
            values = np.array([v * given["scale"] + given["min"] for v in part], np.float64).astype(np.float32)
        elif given.get("dtype") == "float16":
            values = np.frombuffer(part, "<f2").astype(np.float32)
        else:
            values = np.frombuffer(part, {"float32": "<f4", "int32": "<i4"}[entry["dtype"]])
        found[entry["name"]] = values.reshape(entry["shape"])
    assert at == len(content)
    return found


@pytest.mark.parametrize(("name", "file", "count"), [(SSD, "model.json", 619), (CENTERNET, "centernet.json", 267)])
def test_published_tensors_are_read_back_exactly(name: str, file: str, count: int, shared: Path) -> None:
    path = shared / "weights" / "tfjs" / name / file
    assert tfjs.matches(path)
    expected, found = decoded(path), tfjs.read_tensors(path)
    assert list(found) == list(expected)
    assert len(found) == count
    for each, values in expected.items():
        assert found[each].dtype == values.dtype
        assert np.array_equal(found[each], values)
    graph = graph_of(path)
    sources = {source for node in graph.nodes for source in node.sources}
    assert sources | set(graph.set_aside) == set(graph.tensors) == set(expected)


def until(graph: Graph, value: str) -> Graph:
    """The operations that the value needs."""
    wanted, kept = {value}, []
    for node in reversed(graph.nodes):
        if node.output in wanted:
            wanted |= set(node.inputs)
            kept.append(node)
    return replace(graph, nodes=tuple(reversed(kept)))


def convolutions(graph: Graph) -> list[tuple[int, int, int, int]]:
    """Of each convolution: input channels, output channels, kernel, stride; in the order of execution."""
    return [
        (
            n.weights["weight"].shape[1] * n.groups,
            n.weights["weight"].shape[0],
            n.weights["weight"].shape[2],
            n.stride[0],
        )
        for n in graph.nodes
        if n.op == "conv"
    ]


def v2_convolutions(width: float) -> list[tuple[int, int, int, int]]:
    """Sandler et al. 2018, Table 2, channels rounded to multiples of 8."""

    def scaled(channels: int) -> int:
        rounded = max(8, int(channels * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * width else rounded

    c = scaled(32)
    found = [(3, c, 3, 2)]
    for t, out, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(n):
            wide, stride = c * t, s if index == 0 else 1
            found += [(c, wide, 1, 1)] if t > 1 else []
            found += [(wide, wide, 3, stride), (wide, scaled(out), 1, 1)]
            c = scaled(out)
    return [*found, (c, 1280, 1, 1)]


def test_ssd_holds_the_backbone_of_v2(shared: Path) -> None:
    source = tfjs.read(shared / "weights" / "tfjs" / SSD)
    assert source.graph is not None
    assert source.quantisation == "uint8, per tensor, weights only"
    last = next(node.output for node in source.graph.nodes if node.output.endswith("out_relu/Relu6"))
    backbone = until(source.graph, last)
    assert Counter(node.op for node in backbone.nodes) == {"conv": 52, "act": 35, "add": 10}
    assert convolutions(backbone) == v2_convolutions(1.0)
    assert {node.act for node in backbone.nodes if node.op == "act"} == {"relu6"}
    assert {node.pad for node in backbone.nodes if node.op == "conv"} == {"same"}
    # The loop over the images before it: resized to 320 pixels, scaled to -1 ... 1.
    assert (source.graph.channels, source.graph.height, source.graph.width) == (3, 320, 320)
    assert source.normalisation is not None
    assert source.normalisation.stated
    assert source.normalisation.mean == pytest.approx((127.5,) * 3, rel=1e-6)
    assert source.normalisation.std == pytest.approx((127.5,) * 3, rel=1e-6)
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    features = run_graph(backbone, pixels, last)
    assert features.shape == (1, 1280, 2, 2)
    assert 0 < features.max() <= 6


def test_centernet_holds_the_backbone_of_v3(shared: Path) -> None:
    graph = graph_of(shared / "weights" / "tfjs" / CENTERNET / "centernet.json")
    assert (graph.channels, graph.height, graph.width) == (3, 512, 512)
    last = "tower_0/MobilenetV3/expanded_conv_14/add"
    backbone = until(graph, last)
    # 19 hard-swishes (2 affine, 1 activation, 1 product), 8 gates (2 affine, 2 activations, 1 product), 11 other ReLUs.
    assert Counter(node.op for node in backbone.nodes) == {
        "conv": 61,
        "affine": 54,
        "act": 46,
        "mul": 27,
        "add": 10,
        "pool": 8,
    }
    depthwise = [node for node in backbone.nodes if node.op == "conv" and node.groups > 1]
    # Howard et al. 2019, Table 1: kernel and stride of the fifteen blocks.
    assert [node.weights["weight"].shape[2] for node in depthwise] == [3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5]
    assert [node.stride[0] for node in depthwise] == [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    assert run_graph(backbone, pixels, last).shape == (1, 120, 2, 2)
