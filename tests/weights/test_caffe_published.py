"""The Caffe reader: the published RetinaFace."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from caffe_writer import fields
from interpreter import run_graph
from torch.nn import functional as F

from mobilenets.weights import caffe
from mobilenets.weights.graph import Graph


def stored_tensors(path: Path) -> dict[str, list[np.ndarray]]:
    """The caffemodel's tensors by layer, read off the bytes."""
    found = {}
    for number, layer in fields(path.read_bytes()):
        if number == 100:
            assert isinstance(layer, bytes)
            parts = list(fields(layer))
            name = next(part for key, part in parts if key == 1).decode()
            found[name] = [
                np.frombuffer(next(part for key, part in fields(part) if key == 5), "<f4")
                for key, part in parts
                if key == 7
            ]
    return found


def plain_backbone(prototxt: Path, tensors: dict[str, list[np.ndarray]], images: torch.Tensor, last: str) -> np.ndarray:
    """The chain of layers up to `last`, read by regular expressions, evaluated in float64 by the layers' formulas."""
    x = images.double()
    for layer in re.split(r"^layer\s*\{", prototxt.read_text(), flags=re.MULTILINE)[2:]:
        kind = re.search(r'type:\s*"(\w+)"', layer)[1]
        name = re.search(r'top:[^\n]*\n\s*name:\s*"(\w+)"', layer)[1]
        w = [torch.from_numpy(each.copy()).double() for each in tensors.get(name, [])]
        if kind == "Convolution":
            setting = {key: int(re.search(rf"\b{key}:\s*(\d+)", layer)[1]) for key in ("num_output", "kernel_size")}
            pad, group, stride = (int(re.search(rf"\b{key}:\s*(\d+)", layer)[1]) for key in ("pad", "group", "stride"))
            weight = w[0].view(setting["num_output"], -1, setting["kernel_size"], setting["kernel_size"])
            x = F.conv2d(x, weight, None, stride, pad, 1, group)
        elif kind == "BatchNorm":
            mean, var = (each / w[2] for each in w[:2])
            x = (x - mean.view(-1, 1, 1)) / (var + 1e-5).sqrt().view(-1, 1, 1)
        elif kind == "Scale":
            x = x * w[0].view(-1, 1, 1) + w[1].view(-1, 1, 1)
        elif kind == "ReLU":
            x = x.relu()
        if name == last:
            return x.numpy()
    raise AssertionError(f"no layer {last}")


def test_retinaface_backbone_equals_a_plain_evaluation_of_its_files(shared: Path) -> None:
    folder = shared / "weights" / "caffe" / "retinaface_mnet25"
    graph = caffe.read(folder / "mnet25.caffemodel").graph
    assert graph is not None
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 3, 96, 64)).astype(np.float32)
    tensors = stored_tensors(folder / "mnet25.caffemodel")
    expected = plain_backbone(folder / "mnet25.prototxt", tensors, torch.from_numpy(pixels), "mobilenet0_relu26_fwd")
    assert expected.shape == (1, 256, 3, 2)
    assert expected.max() > 1  # the comparison is of something
    found = run_graph(graph_until(graph, "mobilenet0_relu26_fwd"), pixels, "mobilenet0_relu26_fwd")
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def graph_until(graph: Graph, value: str) -> Graph:
    """The graph without the operations after the one that makes `value`."""
    last = next(index for index, node in enumerate(graph.nodes) if node.output == value)
    return replace(graph, nodes=graph.nodes[: last + 1])


def test_retinaface_is_read_whole(shared: Path) -> None:
    folder = shared / "weights" / "caffe" / "retinaface_mnet25"
    source = caffe.read(folder / "mnet25.prototxt")
    assert source.normalisation is not None
    assert (source.normalisation.mean, source.normalisation.std) == ((0, 0, 0), (1, 1, 1))
    assert not source.normalisation.bgr
    assert not source.normalisation.stated
    graph = source.graph
    assert graph is not None
    counts = Counter(node.op for node in graph.nodes)
    assert counts == {"conv": 56, "norm": 47, "affine": 47, "act": 41, "other": 13, "softmax": 3, "add": 2}
    assert Counter(node.kind for node in graph.nodes if node.op == "other") == {
        "Concat": 3,
        "Reshape": 6,
        "Deconvolution": 2,
        "Crop": 2,
    }
    assert len(graph.outputs) == 9
    assert (graph.channels, graph.height, graph.width) == (3, 416, 288)
    tensors = stored_tensors(folder / "mnet25.caffemodel")
    assert len(graph.tensors) == sum(len(each) for each in tensors.values()) == 322
    assert sorted(source for node in graph.nodes for source in node.sources) == sorted(graph.tensors)
    for node in graph.nodes:
        if node.op == "conv":
            assert np.array_equal(node.weights["weight"].reshape(-1), tensors[node.name][0])
