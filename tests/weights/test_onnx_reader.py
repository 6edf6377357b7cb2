"""Whole ONNX networks read: the real one, ours as torch exports them, quantised ones; against onnxruntime."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interpreter import run_graph
from onnx import TensorProto
from onnx_models import END, Row, both, difference, make, nodes_of, ops, pictures, prepared
from torch import nn

from mobilenets.api import create_model
from mobilenets.weights.graph import Source
from mobilenets.weights.onnx import read
from mobilenets.weights.recognise import recognise


def test_the_real_file(shared: Path) -> None:
    path = shared / "weights/onnx/mobilefacenet_112/MobileFaceNet.onnx"
    source, ours, theirs = both(path)
    assert ours.shape == (3, 128)
    assert difference(ours, theirs) < 1e-5
    graph = source.graph
    assert graph is not None
    assert (graph.channels, graph.height, graph.width) == (3, 112, 112)
    assert [ops(source).count(op) for op in ("conv", "relu6", "relu", "add")] == [51, 32, 2, 12]
    assert len(graph.tensors) == 102  # a weight and a bias for each convolution, no bound of a Clip
    assert not graph.set_aside
    assert sum(values.size for node in graph.nodes for values in node.weights.values()) == 989_952
    assert source.facts == {"producer": "pytorch 2.9.0", "opset": "ai.onnx 18"}
    assert source.normalisation is not None
    assert not source.normalisation.stated


def lively(module: nn.Module, channels: int = 3, side: int = 32) -> nn.Module:
    """The module with statistics and weights that give answers worth comparing."""
    torch.manual_seed(1)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, 0.7, 1.3)
            nn.init.normal_(each.bias, std=0.2)
            each.momentum = 1.0
        elif isinstance(each, nn.Linear):
            nn.init.normal_(each.weight, std=0.1)
    with torch.no_grad():
        module.train()(torch.randn(8, channels, side, side))
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_var is not None
            each.running_var.clamp_(min=0.1)
    return module.eval()


def export(module: nn.Module, path: Path, side: int, *, batch: int | None = None, opset: int | None = None) -> Path:
    """Writes the module as torch's exporter does; the batch is open where `batch` is None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            module.eval(),
            (torch.zeros(batch or 2, 3, side, side),),
            str(path),
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=opset,
            dynamic_shapes=None if batch else ({0: torch.export.Dim.DYNAMIC},),
        )
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v1_shallow", {"width": 0.25}),
        pytest.param("mobilenet_v2", {"width": 0.35}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1", {"width": 0.25}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", {"width": 0.5}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_large", {"width": 0.35}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small_minimal", {"width": 0.5}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v4_conv_small", {}, marks=pytest.mark.slow),
    ],
)
def test_our_networks_as_torch_exports_them(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    network = lively(create_model(name, resolution=64, classes=5, **options), side=64)
    path = export(network, tmp_path / "a.onnx", 64)
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-4  # many layers of random weights
    assert source.graph is not None
    assert "other" not in [node.op for node in source.graph.nodes]
    found = recognise(source, str(path))
    assert found.spec.name.startswith(name)
    assert found.spec.head.classes == 5
    assert found.spec.resolution == 64


def test_a_fixed_batch_is_run_in_its_own_steps(tmp_path: Path) -> None:
    network = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    for batch in (1, 2):
        _, ours, theirs = both(export(network, tmp_path / "a.onnx", 16, batch=batch), count=5)
        assert difference(ours, theirs) < 1e-5


class Odd(nn.Module):
    """What the family's ports write by hand: pooling in two steps, hard swish spelt out, padding of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.slope = nn.PReLU(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(nn.functional.pad(x, (0, 1, 0, 1))))
        x = x * nn.functional.relu6(x + 3) / 6
        x = torch.nn.functional.leaky_relu(self.deep(x), 0.01) + x
        x = self.slope(x).mean(3).mean(2)
        return self.head(nn.functional.dropout(x, 0.2, self.training)).softmax(1)


def test_a_port_written_by_hand(tmp_path: Path) -> None:
    path = export(lively(Odd()), tmp_path / "a.onnx", 32)
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    assert [op for op in ops(source) if op in ("relu6", "leaky_relu", "pool", "linear", "softmax")] == [
        "relu6", "leaky_relu", "leaky_relu", "pool", "linear", "softmax",
    ]  # fmt: skip
    first = next(node for node in nodes_of(source).values() if node.op == "conv")
    assert first.pad == (0, 1, 0, 1)  # the exporter has moved the padding into the convolution
    assert np.abs(theirs.sum(1) - 1).max() > 0.1  # it is not the probabilities that are compared


@pytest.mark.slow
def test_our_own_bundle(tmp_path: Path) -> None:
    from mobilenets.deploy.manifest import properties
    from mobilenets.deploy.runtimes.onnx import write
    from mobilenets.deploy.wrap import Shipped

    network = lively(create_model("mobilenet_v2", width=0.35, resolution=32, classes=3))
    labels = [{"name": name} for name in ("amber", "déjà vu", "x,y")]
    path, _ = write(Shipped(network), tmp_path, "float32", properties(network.spec, labels))
    source, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-4
    graph = source.graph
    assert graph is not None
    assert (graph.channels, graph.height, graph.width) == (3, 32, 32)
    assert [node.op for node in graph.nodes[:4]] == ["same", "same", "affine", "conv"]
    assert source.normalisation is None  # it is in the graph
    assert source.labels == ("amber", "déjà vu", "x,y")
    assert source.facts["producer"].startswith("mobilenets")
    found = recognise(source, str(path))
    pre = network.spec.preprocessing
    assert np.allclose(found.spec.preprocessing.mean, pre.mean, rtol=1e-6)


class Calibration:
    """Pictures for onnxruntime's quantiser."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self.batches = name, iter(np.split(values, 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


class Small(nn.Module):
    """A stem and an inverted bottleneck: few layers, so that rounding stays rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.project(self.deep(self.expand(x)))).mean((2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "per_channel"),
    [("small", False), ("small", True), ("mobilenet_v2", True), ("mobilenet_v3_small", False)],
)
def test_int8_as_onnxruntime_writes_it(tmp_path: Path, name: str, per_channel: bool) -> None:
    """QDQ files; the quantiser leaves Clip and Relu out where rounding to the range does the same."""
    from onnxruntime import quantization

    network = Small() if name == "small" else create_model(name, width=0.35, resolution=64, classes=5)
    network = lively(network, side=64)
    plain = export(network, tmp_path / "a.onnx", 64)
    source = read(plain)
    images = np.random.default_rng(3).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    assert source.graph is not None
    quantization.quantize_static(
        str(plain),
        str(tmp_path / "q.onnx"),
        Calibration(source.graph.input, prepared(source, images)),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
    )
    quantised = read(tmp_path / "q.onnx")
    assert quantised.quantisation == f"int8, per {'channel' if per_channel else 'tensor'}"
    assert "read off the quantised ranges" in quantised.facts["activations"]
    assert ops(quantised) == ops(source)
    for before, after in zip(layers(source), layers(quantised), strict=True):
        assert set(before.weights) == set(after.weights)
        weight = before.weights["weight"]
        axes = tuple(range(1, weight.ndim)) if per_channel else None
        step = np.abs(weight).max(axis=axes, keepdims=True) / 127
        assert (np.abs(weight - after.weights["weight"]) <= 0.501 * step).all()
        if "bias" in before.weights:  # int32, in steps of the input's scale times the weights'
            assert np.allclose(before.weights["bias"], after.weights["bias"], atol=float(step.max()))
    if name == "small":
        _, ours, theirs = both(tmp_path / "q.onnx", count=16)
        assert difference(ours, theirs) < 0.05
        assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.9
    else:
        assert recognise(quantised, "q").spec.name == recognise(source, "a").spec.name


def layers(source: Source) -> list[Any]:
    assert source.graph is not None
    return [node for node in source.graph.nodes if node.op in ("conv", "linear")]


def quantised_rows(ends: tuple[float, float]) -> tuple[list[Row], dict[str, np.ndarray]]:
    rows: list[Row] = [
        ("DequantizeLinear", "x xs xz", "d", {}),
        ("DequantizeLinear", "wq ws wz", "w", {"axis": 0}),
        ("DequantizeLinear", "bq bs", "b", {"axis": 0}),
        ("Conv", "d w b", "c", {}),
        ("QuantizeLinear", "c s1 z", "q", {}),
        ("DequantizeLinear", "q s1 z", "e", {}),
        ("Conv", "e v", "g", {}),
        ("QuantizeLinear", "g s2 z", "h", {}),
        ("DequantizeLinear", "h s2 z", "y", {}),
        *END,
    ]
    scales = np.linspace(0.002, 0.004, 6, dtype=np.float32)
    weights = {
        "xs": np.float32(0.0175),
        "xz": np.uint8(114),
        "wq": np.random.default_rng(5).integers(-127, 128, (6, 3, 3, 3)).astype(np.int8),
        "ws": scales,
        "wz": np.zeros(6, np.int8),
        "bq": np.arange(6, dtype=np.int32) * 300,
        "bs": scales * np.float32(0.0175),
        "s1": np.float32(ends[0] / 255),
        "s2": np.float32(ends[1] / 255),
        "z": np.uint8(0),
        "v": (np.random.default_rng(6).normal(size=(6, 6, 1, 1)) * 0.25).astype(np.float32),
    }
    return rows, {name: np.asarray(values) for name, values in weights.items()}


@pytest.mark.parametrize(("ends", "act"), [((6.0, 4.5), "relu6"), ((9.0, 4.5), "relu"), ((5.0, 4.5), "relu")])
def test_quantised_bytes_in_and_activations_implied(tmp_path: Path, ends: tuple[float, float], act: str) -> None:
    rows, weights = quantised_rows(ends)
    path = make(tmp_path / "a.onnx", rows, weights, opset=13, kind=TensorProto.UINT8)
    source, ours, theirs = both(path)
    assert ops(source) == ["affine", "conv", act, "conv", act, "pool"]
    assert difference(ours, theirs) < 0.06  # onnxruntime saturates where the CPU has no VNNI: 0.043 there
    graph = source.graph
    assert graph is not None
    before = run_graph(graph, prepared(source, pictures(graph)), "c")
    assert before.min() < -3  # so that the activation matters
    assert before.max() < ends[0]
    node = nodes_of(source)["c"]
    wanted = weights["wq"].astype(np.float32) * weights["ws"].reshape(-1, 1, 1, 1)
    assert np.allclose(node.weights["weight"], wanted, rtol=1e-6)
    assert np.allclose(node.weights["bias"], weights["bq"] * weights["bs"], rtol=1e-6)
    assert node.sources == ("wq", "bq")
    assert source.quantisation == "int8, per channel"
    first = nodes_of(source)["d"]
    assert np.allclose(first.weights["scale"], 0.0175)
    assert np.allclose(first.weights["offset"], -114 * 0.0175)
