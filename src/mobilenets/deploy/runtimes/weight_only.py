"""`weights8`, int8 weights alone: which integers they are, what then computes, how an ONNX graph holds them.

What computes is float32 throughout. Each weight of a convolution or a linear layer is an integer times the scale of its
output channel; biases, a hundredth of the numbers, stay float32. No image is needed.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .qdq import Graph

if TYPE_CHECKING:
    from torch import nn

LARGEST = 127
_WEIGHTED = ("Conv", "Gemm")  # the second input is the weight


def integers(weight: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The nearest int8 of a float32 weight, half to even, in its shape, and the float32 scales along `axis`.

    A channel's largest weight is 127 or -127; a channel of zeros has the scale 1.
    """
    others = tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.abs(weight).max(axis=others).astype(np.float32) / np.float32(LARGEST)
    scale[scale == 0] = 1
    steps = np.rint(weight.astype(np.float64) / along(scale, axis, weight.ndim).astype(np.float64))
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8), scale


def along(scale: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """Scales (C,) in a shape that multiplies a weight of so many dimensions along `axis`."""
    shape = [1] * dimensions
    shape[axis] = -1
    return scale.reshape(shape)


def rounded(module: nn.Module) -> nn.Module:
    """A copy of `module` (a `wrap.Shipped`) with the weights that a weights8 file holds: what the file computes."""
    import torch
    from torch import nn

    found = copy.deepcopy(module).eval()
    for layer in found.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight.detach().numpy()
            values, scale = integers(weight)
            restored = torch.from_numpy(values * along(scale, 0, weight.ndim))
            layer.weight = nn.Parameter(restored, requires_grad=False)
    return found


def hold_integers_(model: Any) -> None:
    """Puts int8 weights, a Cast and a Mul by the scales in place of the float weights of the ONNX `model`.

    onnxruntime computes these two once, while it loads. A DequantizeLinear it keeps for its integer kernels and runs
    for every image, which more than doubled the time of V2, V3-Small and V4-Conv-S.
    """
    from onnx import TensorProto, helper

    graph = Graph(model.graph)
    nodes: list[Any] = []
    done: set[str] = set()
    for node in graph.nodes:
        name = node.input[1] if node.op_type in _WEIGHTED else ""
        if name in graph.constants and name not in done:
            done.add(name)
            weight = graph.constants[name]
            axis = _output_axis(node)
            values, scale = integers(weight, axis)
            graph.constants[f"{name}_int8"] = values
            graph.constants[f"{name}_scale"] = along(scale, axis, weight.ndim)
            nodes += [
                helper.make_node("Cast", [f"{name}_int8"], [f"{name}_steps"], f"{name}_steps", to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}_steps", f"{name}_scale"], [name], name),
            ]
        nodes.append(node)
    for name in done:
        del graph.constants[name]
    graph.nodes = nodes
    graph.write()


def _output_axis(node: Any) -> int:
    """The axis of a weight that counts the outputs: (O, I, kH, kW), and (O, I) or (I, O) as Gemm says."""
    transposed = any(each.name == "transB" and each.i == 1 for each in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1
