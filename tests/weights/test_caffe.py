"""The Caffe reader: generated networks, single layers, phases, and the two files in either order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from caffe_networks import NETS, images, v1, v2, v3
from caffe_writer import Net, blob, caffemodel
from interpreter import before_softmax, run_graph
from torch.nn import functional as F

from mobilenets.errors import UserError
from mobilenets.weights import caffe


@pytest.mark.parametrize("name", NETS)
def test_a_generated_network_gives_what_its_definition_gives(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    source = caffe.read(net.write(tmp_path))
    graph = source.graph
    assert graph is not None
    assert (graph.input, graph.outputs) == ("data", ("prob",))
    assert (graph.channels, graph.height, graph.width) == (3, 32, 32)
    assert source.format == "Caffe"
    assert source.facts == {"network": "generated"}
    for value, blob_name in ((before_softmax(graph), "fc7"), ("prob", "prob")):
        expected = net.values[blob_name].flatten(1).numpy()
        found = run_graph(graph, net.images.numpy(), value).reshape(expected.shape)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETS)
def test_every_tensor_is_read_once_and_named(name: str, tmp_path: Path) -> None:
    graph = caffe.read(NETS[name]().write(tmp_path)).graph
    assert graph is not None
    sources = [source for node in graph.nodes for source in node.sources]
    assert sorted(sources) == sorted(graph.tensors)
    assert not graph.set_aside
    assert "conv1[0]" in graph.tensors
    assert all(values.dtype == np.float32 for node in graph.nodes for values in node.weights.values())


def test_operations_of_v3(tmp_path: Path) -> None:
    graph = caffe.read(v3().write(tmp_path)).graph
    assert graph is not None
    counts = Counter(node.op for node in graph.nodes)
    # Per hard form two affine and one activation; a Scale per BatchNorm; the gates are two of the products.
    assert counts == {
        "conv": 8,
        "norm": 7,
        "affine": 7 + 2 * 5,
        "act": 5 + 2 * 2,
        "mul": 3 + 2,
        "pool": 3,
        "linear": 4,
        "add": 1,
        "softmax": 1,
    }
    assert [node.groups for node in graph.nodes if node.kind == "DepthwiseConvolution"] == [24, 24]


def test_the_other_spelling_of_depthwise_states_no_group(tmp_path: Path) -> None:
    net = Net(images(8))
    net.conv("first", "data", 6)
    net.conv("dw", "first", 6, 3, 2, 6, kind="ConvolutionDepthwise", group_stated=False)
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    assert graph.nodes[-1].groups == 6
    assert np.allclose(run_graph(graph, net.images.numpy()), net.values["dw"].numpy(), atol=1e-5)


def test_sides_of_kernel_stride_pad_and_dilation(tmp_path: Path) -> None:
    net = Net(images(20))
    weight, bias = net.store("c", net.rng.normal(size=(4, 3, 3, 5)), net.rng.normal(size=4))
    sides = "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 4 dilation: 1 dilation: 2"
    net.layer("c", "Convolution", ["data"], "c", f"convolution_param {{ num_output: 4 {sides} }}")
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    node = graph.nodes[0]
    assert (node.stride, node.pad, node.dilation) == ((2, 1), (4, 4, 1, 1), (1, 2))
    expected = F.conv2d(net.values["data"], weight, bias, (2, 1), (1, 4), (1, 2)).numpy()
    assert np.allclose(run_graph(graph, net.images.numpy()), expected, atol=1e-4)


@pytest.mark.parametrize(("factor", "mean"), [(998.0, 2.0), (1.0, 2.0), (0.0, 0.0)])
def test_the_scale_factor_of_batchnorm_is_divided_out_and_zero_counts_as_zero(
    factor: float, mean: float, tmp_path: Path
) -> None:
    """batch_norm_layer.cpp: scale_factor = blobs_[2][0] == 0 ? 0 : 1 / blobs_[2][0]."""
    net = Net(images(4))
    net.store("bn", np.full(3, 2.0 * (factor or 1)), np.full(3, 4.0 * (factor or 1)), np.array([factor]))
    net.layer("bn", "BatchNorm", ["data"], "bn")
    source = caffe.read(net.write(tmp_path))
    assert source.graph is not None
    node = source.graph.nodes[0]
    assert np.allclose(node.weights["mean"], mean)
    assert np.allclose(node.weights["var"], 2 * mean)
    assert node.eps == pytest.approx(1e-5)
    assert ("BatchNorm" in source.facts) == (factor == 0)


X = images(4)
GATE = X.mean((2, 3))


@pytest.mark.parametrize(
    ("kind", "bottoms", "settings", "expected"),
    [
        ("ReLU", ["data"], "relu_param { negative_slope: 0.25 }", F.leaky_relu(X, 0.25)),
        ("Sigmoid", ["data"], "", X.sigmoid()),
        ("HSwish", ["data"], "", F.hardswish(X)),
        ("hswish", ["data"], "", F.hardswish(X)),
        ("HSigmoid", ["data"], "", F.hardsigmoid(X)),
        ("Clip", ["data"], "clip_param { min: 0 max: 6 }", X.clamp(0, 6)),
        ("Power", ["data"], "power_param { scale: 2 shift: -1 }", 2 * X - 1),
        ("Power", ["data"], "", X),
        ("Dropout", ["data"], "dropout_param { dropout_ratio: 0.5 }", X),
        ("Eltwise", ["data", "data"], "eltwise_param { coeff: 1 coeff: -3 }", X - 3 * X),
        ("Eltwise", ["data", "data", "data"], "eltwise_param { operation: SUM }", 3 * X),
        ("Eltwise", ["data", "data", "data"], "eltwise_param { operation: PROD }", X**3),
        ("Axpy", ["pool", "data", "data"], "", GATE[:, :, None, None] * X + X),
        ("BroadcastMul", ["data", "pool"], "", GATE[:, :, None, None] * X),
        ("Pooling", ["data"], "pooling_param { pool: AVE kernel_size: 4 stride: 1 }", X.mean((2, 3), keepdim=True)),
        ("Flatten", ["pool"], "", GATE),
        ("Reshape", ["pool"], "reshape_param { shape { dim: 0 dim: -1 } }", GATE),
        ("Reshape", ["pool"], "reshape_param { shape { dim: 0 dim: 3 dim: 1 dim: 1 } }", GATE),
        ("Softmax", ["pool"], "softmax_param { engine: CAFFE }", GATE.softmax(1)),
    ],
)
def test_layers_one_by_one(
    kind: str, bottoms: list[str], settings: str, expected: torch.Tensor, tmp_path: Path
) -> None:
    net = Net(X)
    net.conv("unused", "data", 1)
    net.layer("pool", "Pooling", ["data"], "pool", "pooling_param { pool: AVE global_pooling: true }")
    net.layer("wanted", kind, bottoms, "wanted", settings)
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    found = run_graph(graph, X.numpy(), "wanted")
    assert np.allclose(found.reshape(expected.shape), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Pooling", "pooling_param { pool: MAX global_pooling: true }"),
        ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 1 }"),
        ("Pooling", "pooling_param { pool: AVE kernel_size: 4 pad: 1 }"),
        ("Power", "power_param { power: 2 }"),
        ("Clip", "clip_param { min: -1 max: 1 }"),
        ("Softmax", "softmax_param { axis: 2 }"),
        ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }"),
        ("Permute", "permute_param { order: 0 order: 2 }"),
        ("LRN", ""),
    ],
)
def test_what_the_graph_has_no_word_for_keeps_its_own_name(kind: str, settings: str, tmp_path: Path) -> None:
    net = Net(X)
    net.conv("unused", "data", 1)
    net.layer("wanted", kind, ["data"], "wanted", settings)
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    assert (graph.nodes[-1].op, graph.nodes[-1].kind) == ("other", kind)


def test_a_scale_with_two_bottoms_and_a_bias(tmp_path: Path) -> None:
    net = Net(X)
    (offset,) = net.store("wanted", np.array([1.0, 2.0, 3.0]))
    net.layer("pool", "Pooling", ["data"], "pool", "pooling_param { pool: AVE global_pooling: true }")
    net.layer("fc", "Flatten", ["pool"], "fc")
    net.layer("wanted", "Scale", ["data", "fc"], "wanted", "scale_param { axis: 0 bias_term: true }")
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    expected = GATE[:, :, None, None] * X + offset.view(1, 3, 1, 1)
    assert np.allclose(run_graph(graph, X.numpy()), expected.numpy(), atol=1e-5)
    assert graph.nodes[-1].sources == ("wanted[0]",)


def test_an_inner_product_may_be_stored_transposed_or_with_four_sizes(tmp_path: Path) -> None:
    net = Net(X)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(48, 5)), rng.normal(size=(1, 1, 2, 5))
    net.store("a", first)
    net.store("b", second, np.ones((1, 1, 1, 2)))
    net.layer(
        "a", "InnerProduct", ["data"], "a", "inner_product_param { num_output: 5 transpose: true bias_term: false }"
    )
    net.layer("b", "InnerProduct", ["a"], "b", "inner_product_param { num_output: 2 }")
    graph = caffe.read(net.write(tmp_path)).graph
    assert graph is not None
    expected = X.flatten(1).numpy() @ first @ second[0, 0].T + 1
    assert np.allclose(run_graph(graph, X.numpy()), expected, atol=1e-4)


TRAINING = """
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.5 mirror: true crop_size: 16 mean_value: [1, 2, 3] } }
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.25 crop_size: 8 mean_value: 10 mean_value: 20 mean_value: 30 }
  image_data_param { source: "list.txt" batch_size: 32 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 8 bias_term: false } }
layer { name: "aux" type: "Convolution" bottom: "data" top: "aux" exclude { phase: TEST }
  convolution_param { num_output: 1 kernel_size: 1 bias_term: false } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }
layer { name: "top5" type: "Accuracy" bottom: "c" bottom: "label" top: "top5" include { phase: TEST stage: "x" } }
"""


def test_a_training_prototxt_is_read_as_in_the_test_phase_and_states_its_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(TRAINING)
    layers = {"c": [blob(np.ones((2, 3, 8, 8)))], "aux": [blob(np.ones((1, 3, 1, 1)))]}
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers))
    source = caffe.read(tmp_path / "net.caffemodel")
    assert source.graph is not None
    assert [node.name for node in source.graph.nodes] == ["c"]
    assert source.graph.outputs == ("c",)
    assert (source.graph.channels, source.graph.height, source.graph.width) == (3, 8, 8)
    assert set(source.graph.tensors) == {"c[0]", "aux[0]"}
    assert source.graph.set_aside == {"aux[0]": "net.prototxt has no layer of this name"}
    assert source.normalisation is not None
    assert source.normalisation.stated
    assert source.normalisation.bgr
    assert source.normalisation.mean == (30, 20, 10)  # in RGB order
    assert source.normalisation.std == (4, 4, 4)


def test_without_a_data_layer_the_preprocessing_is_the_custom_of_the_published_files(tmp_path: Path) -> None:
    found = caffe.read(v1().write(tmp_path)).normalisation
    assert found is not None
    assert not found.stated
    assert found.bgr
    assert found.mean == (123.68, 116.78, 103.94)
    assert found.std == pytest.approx((1 / 0.017,) * 3)
    assert "shicai/MobileNet-Caffe" in found.custom


def test_the_two_files_in_either_order_and_from_one_alone(tmp_path: Path) -> None:
    prototxt = v1().write(tmp_path)
    model = tmp_path / "net.caffemodel"
    answers = [caffe.read(*pair).graph for pair in ((prototxt, model), (model, prototxt), (prototxt,), (model,))]
    assert all(graph is not None and graph.tensors == answers[0].tensors for graph in answers if answers[0])
    assert all(caffe.matches(path) for path in (prototxt, model))
    assert not caffe.matches(tmp_path / "net.onnx")


def test_the_missing_half_is_named(tmp_path: Path) -> None:
    prototxt = v1().write(tmp_path)
    (tmp_path / "net.caffemodel").rename(tmp_path / "weights.caffemodel")
    with pytest.raises(UserError, match=r"needs its \.caffemodel: .*net\.caffemodel is missing"):
        caffe.read(prototxt)
    assert caffe.read(prototxt, tmp_path / "weights.caffemodel").graph is not None
    with pytest.raises(UserError, match="same kind"):
        caffe.read(prototxt, prototxt)
    with pytest.raises(UserError, match="no such file"):
        caffe.read(prototxt, tmp_path / "absent.caffemodel")


def test_the_reference_runtime_is_opencv_where_it_reads_caffe(tmp_path: Path) -> None:
    net = v2()
    run = caffe.open_reference(net.write(tmp_path))
    assert (run is not None) == hasattr(cv2.dnn, "readNetFromCaffe")
    if run is not None:
        assert np.allclose(run(net.images.numpy()).reshape(2, -1), net.values["fc7"].flatten(1).numpy(), atol=1e-4)
