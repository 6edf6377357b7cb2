"""Whole classifiers as TensorFlow's converter writes Keras' today, operator by operator: read, and run by LiteRT.

What it does that hosted files of 2018 do not have: the number of images is open, so that the last reshape takes its
shape from SHAPE, STRIDED_SLICE and PACK; and the 3 of relu6(x + 3) / 6 stands in the bias of the convolution before.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from graphs import graph_of, random_network
from tflite_writer import Writer

from mobilenets.arch.adapt import folded
from mobilenets.arch.registry import create_spec
from mobilenets.nn.network import Network
from mobilenets.weights.convert import convert
from mobilenets.weights.formats import read_weights
from mobilenets.weights.graph import Node
from mobilenets.weights.proof import answers, network_of, pictures

SIDE, CLASSES = 64, 7
PLAIN = {"relu": "RELU", "relu6": "RELU6", "hard_swish": "HARD_SWISH"}


class Classifier:
    """Writes the nodes of a folded network, NHWC, SAME padding throughout."""

    def __init__(self, network: Network) -> None:
        self.write = Writer()
        self.graph = graph_of(network)
        gates = {node.inputs[0] for node in self.graph.nodes if node.act == "hard_sigmoid"}
        self.plus_three = {node.output for node in self.graph.nodes if node.op == "conv" and node.output in gates}
        self.values = {"image": self.write.tensor("image", (1, SIDE, SIDE, 3))}
        self.shapes: dict[str, tuple[int, ...]] = {"image": (1, SIDE, SIDE, 3)}

    def file(self) -> bytes:
        for node in self.graph.nodes:
            getattr(self, node.op)(node)
        return self.write.file([self.values["image"]], [self.values[self.graph.outputs[0]]])

    def out(self, node: Node, shape: tuple[int, ...]) -> int:
        self.shapes[node.output] = shape
        self.values[node.output] = self.write.tensor(node.output, shape)
        return self.values[node.output]

    def conv(self, node: Node) -> None:
        _, height, width, _ = self.shapes[node.inputs[0]]
        weight, stride = node.weights["weight"], node.stride[0]
        depthwise = node.groups > 1
        stored = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
        bias = node.weights["bias"] + (3 if node.output in self.plus_three else 0)
        self.write.conv(
            self.values[node.inputs[0]],
            self.write.constant(f"{node.name}/weight", np.ascontiguousarray(stored)),
            self.write.constant(f"{node.name}/bias", bias.astype(np.float32)),
            self.out(node, (1, -(-height // stride), -(-width // stride), weight.shape[0])),
            stride,
            **({"kind": "DEPTHWISE_CONV_2D", "depthMultiplier": 1} if depthwise else {}),
        )

    def linear(self, node: Node) -> None:
        """Keras' V3 ends in a 1x1 convolution; its reshape to (N, C) comes after."""
        weight = node.weights["weight"][:, None, None]
        kernel = self.write.constant(f"{node.name}/weight", weight)
        bias = self.write.constant(f"{node.name}/bias", node.weights["bias"])
        maps = self.write.conv(
            self.values[node.inputs[0]], kernel, bias, self.write.tensor("maps", (1, 1, 1, len(weight)))
        )
        w, one = self.write, self.write.constant("one", np.int32([1]))
        shape = w.op("SHAPE", [maps], w.tensor("shape", (4,), np.int32), table="ShapeOptions", outType=2)
        first = w.op(
            "STRIDED_SLICE",
            [shape, w.constant("zero", np.int32([0])), one, one],
            w.tensor("images", (), np.int32),
            table="StridedSliceOptions",
            shrinkAxisMask=1,
        )
        wanted = w.op(
            "PACK",
            [first, w.constant("classes", np.int32(len(weight)))],
            w.tensor("wanted", (2,), np.int32),
            table="PackOptions",
            valuesCount=2,
        )
        w.op("RESHAPE", [maps, wanted], self.out(node, (1, len(weight))), table="ReshapeOptions")

    def act(self, node: Node) -> None:
        x, shape = self.values[node.inputs[0]], self.shapes[node.inputs[0]]
        if node.act != "hard_sigmoid":
            self.write.op(PLAIN[node.act], [x], self.out(node, shape))
            return
        assert node.inputs[0] in self.plus_three
        clipped = self.write.op("RELU6", [x], self.write.tensor(f"{node.name}/clipped", shape))
        sixth = self.write.constant(f"{node.name}/sixth", np.float32(1 / 6))
        self.write.op("MUL", [clipped, sixth], self.out(node, shape), table="MulOptions")

    def pool(self, node: Node) -> None:
        n, _, _, channels = self.shapes[node.inputs[0]]
        axes = self.write.constant(f"{node.name}/axes", np.int32([1, 2]))
        inputs = [self.values[node.inputs[0]], axes]
        self.write.op("MEAN", inputs, self.out(node, (n, 1, 1, channels)), table="ReducerOptions", keepDims=True)

    def mul(self, node: Node) -> None:
        self.two(node, "MUL", "MulOptions")

    def add(self, node: Node) -> None:
        self.two(node, "ADD", "AddOptions")

    def two(self, node: Node, kind: str, table: str) -> None:
        inputs = [self.values[value] for value in node.inputs]
        self.write.op(kind, inputs, self.out(node, self.shapes[node.inputs[0]]), table=table)

    def same(self, node: Node) -> None:
        self.values[node.output], self.shapes[node.output] = self.values[node.inputs[0]], self.shapes[node.inputs[0]]

    def softmax(self, node: Node) -> None:
        x = self.values[node.inputs[0]]
        self.write.op("SOFTMAX", [x], self.out(node, self.shapes[node.inputs[0]]), table="SoftmaxOptions", beta=1.0)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v3_small", 0.5),
        ("mobilenet_v3_small_minimal", 0.5),
        ("mobilenet_v2", 0.35),
        pytest.param("mobilenet_v3_large", 0.75, marks=pytest.mark.slow),
    ],
)
def test_what_the_converter_writes_today(name: str, width: float, tmp_path: Path) -> None:
    spec = folded(create_spec(name, width=width, resolution=SIDE, classes=CLASSES, profile="authors"))
    network = random_network(spec)
    path = tmp_path / "keras.tflite"
    path.write_bytes(Classifier(network).file())
    found = read_weights([path]).found
    assert found.spec.name == f"{name}_{round(100 * width):03d}"
    assert [(block.kind, block.act, block.c_se) for block in found.spec.blocks] == [
        (block.kind, block.act, block.c_se) for block in spec.blocks
    ]
    images = pictures(SIDE)
    wanted = answers(network_like(network, found.spec.preprocessing), images)
    assert np.abs(answers(network_of(found), images) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    result = convert(path, tmp_path / "run")
    assert result["ok"]
    assert result["proof"]["max_abs_error"] <= 1e-4 * result["proof"]["largest"]
    assert not result["tensors"]["set_aside"]


def network_like(network: Network, preprocessing: object) -> Network:
    """The network that was written, told to take pixels as the file that was read does."""
    object.__setattr__(network.spec, "preprocessing", preprocessing)
    return network
