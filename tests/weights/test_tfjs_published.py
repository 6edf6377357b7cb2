"""The TensorFlow.js reader: two published detectors."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interpreter import run_graph
from tfjs_networks import graph_of

from mobilenets.weights import tfjs
from mobilenets.weights.graph import Graph

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
