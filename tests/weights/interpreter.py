"""A plain interpreter of `weights.graph.Graph`: each operation by one line of torch, nothing recognised or merged.

The independent reference for what a reader translated: its answers are compared with the source's own runtime.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from mobilenets.weights.graph import Graph, Node


def run_graph(graph: Graph, images: np.ndarray, wanted: str | None = None) -> np.ndarray:
    """The value `wanted` (the first output where None) for float32 images (N, C, H, W), as the input expects them."""
    values = {graph.input: torch.from_numpy(np.ascontiguousarray(images, np.float32))}
    with torch.inference_mode():
        for node in graph.nodes:
            values[node.output] = run_node(node, [values[name] for name in node.inputs])
    return values[wanted or graph.outputs[0]].numpy()


def before_softmax(graph: Graph) -> str:
    """The name of the value that the last softmax takes; the first output where there is no softmax."""
    found = [node.inputs[0] for node in graph.nodes if node.op == "softmax"]
    return found[-1] if found else graph.outputs[0]


def run_node(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    x = inputs[0]
    w = {role: torch.from_numpy(np.ascontiguousarray(values, np.float32)) for role, values in node.weights.items()}
    if node.op == "conv":
        pad = node.pad
        if pad == "same":
            top, bottom = same(x.shape[2], w["weight"].shape[2], node.stride[0], node.dilation[0])
            left, right = same(x.shape[3], w["weight"].shape[3], node.stride[1], node.dilation[1])
            pad = (left, right, top, bottom)
        return F.conv2d(F.pad(x, pad), w["weight"], w.get("bias"), node.stride, 0, node.dilation, node.groups)
    if node.op == "linear":
        return F.linear(x.flatten(1), w["weight"], w.get("bias"))
    if node.op == "norm":
        return F.batch_norm(x, w["mean"], w["var"], w.get("scale"), w.get("offset"), False, 0.0, node.eps)
    if node.op == "affine":
        shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
        if "scale" in w:
            x = x * w["scale"].view(shape)
        return x + w["offset"].view(shape) if "offset" in w else x
    if node.op == "act":
        return activate(node, x)
    if node.op in ("add", "mul"):
        a, b = (value if value.ndim == 4 else value[:, :, None, None] for value in inputs)
        return a + b if node.op == "add" else a * b
    if node.op == "pool":
        return x.mean((2, 3), keepdim=True)
    if node.op == "pad":
        assert isinstance(node.pad, tuple)
        return F.pad(x, node.pad)
    if node.op == "same":
        return x
    if node.op == "softmax":
        return x.flatten(1).softmax(1)
    raise NotImplementedError(f"{node.op} {node.kind}")


def activate(node: Node, x: torch.Tensor) -> torch.Tensor:
    return {
        "relu": lambda: x.clamp(min=0),
        "relu6": lambda: x.clamp(0, 6),
        "hard_swish": lambda: x * (x + 3).clamp(0, 6) / 6,
        "leaky_relu": lambda: torch.where(x > 0, x, x * node.slope),
        "gelu": lambda: F.gelu(x),
        "sigmoid": lambda: x.sigmoid(),
        "hard_sigmoid": lambda: (x / 6 + 0.5).clamp(0, 1),
    }[node.act]()


def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2
