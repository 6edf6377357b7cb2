"""Networks that the tests write as TensorFlow.js models, and how they read them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tfjs_writer import GraphModel, LayersModel, Weights

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
