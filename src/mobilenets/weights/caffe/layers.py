"""Caffe's layers as operations of `Graph`: one function per layer type, by the rules of BVLC/caffe's own layers.

Types that only forks of Caffe have, and that MobileNets are published with, are read too: depthwise convolutions under
their own names, ReLU6, h-swish and h-sigmoid, Axpy and BroadcastMul (squeeze-and-excite).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Node, Pad
from .layer import Layer, Message, Shape


def translate(layer: Layer) -> tuple[list[Node], Shape | None]:
    """The layer's nodes, the last of which makes `layer.output`, and the shape of that value."""
    reader = READERS.get(layer.param.type.lower())
    nodes = reader(layer) if reader is not None and layer.inputs else None
    if nodes is None:
        return [layer.node("other", inputs=layer.inputs, sources=len(layer.blobs))], None
    return nodes, _shape(nodes, layer.shapes)


def _shape(nodes: list[Node], shapes: tuple[Shape | None, ...]) -> Shape | None:
    """The shape of the last node's value."""
    node = nodes[-1]
    if node.op == "linear":
        return len(node.weights["weight"]), 1, 1
    shape = next((each for each in shapes if each is not None), None)
    if shape is None:
        return None
    channels, height, width = shape
    if node.op == "pool":
        return channels, 1, 1
    if node.op != "conv":
        return max((each for each in shapes if each is not None), key=lambda each: each[1:])
    assert not isinstance(node.pad, str)
    kernel = node.weights["weight"].shape[2:]
    sides = [
        (size + before + after - dilation * (reach - 1) - 1) // stride + 1 if size else 0
        for size, before, after, dilation, reach, stride in (
            (height, *node.pad[2:], node.dilation[0], kernel[0], node.stride[0]),
            (width, *node.pad[:2], node.dilation[1], kernel[1], node.stride[1]),
        )
    ]
    return len(node.weights["weight"]), sides[0], sides[1]


def _convolution(layer: Layer) -> list[Node] | None:
    param = layer.param.convolution_param
    if param.axis not in (1, -3):
        return None
    blobs = layer.take(2 if param.bias_term else 1)
    depthwise = "depthwise" in layer.param.type.lower()
    groups = param.num_output if depthwise and not param.HasField("group") else param.group
    kernel = _pair(layer, param, "kernel_size", "kernel", 0)
    stride = _pair(layer, param, "stride", "stride", 1)
    high, wide = _pair(layer, param, "pad", "pad", 0)
    dilation = tuple(param.dilation) * (2 if len(param.dilation) == 1 else 1) or (1, 1)
    if min(*kernel, *stride, *dilation, groups, param.num_output) < 1 or len(dilation) != 2:
        raise layer.refuse(
            f"kernel {kernel}, stride {stride}, dilation {dilation} and group {groups} must be 1 or more"
        )
    weight = blobs[0]
    if weight.ndim != 4 or weight.shape[0] != param.num_output or weight.shape[2:] != kernel:
        raise layer.refuse(f"weights of {weight.shape} where the prototxt has {param.num_output} outputs and {kernel}")
    inside = weight.shape[1] * groups
    if param.num_output % groups or layer.channels not in (None, inside):
        raise layer.refuse(f"weights for {inside} channels in {groups} groups, but its input has {layer.channels}")
    weights = {"weight": weight}
    if param.bias_term:
        weights["bias"] = layer.vector(1, param.num_output)
    pad: Pad = (wide, wide, high, high)
    found = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    return [layer.node("conv", sources=len(blobs), weights=weights, **found)]


def _pair(layer: Layer, param: Message, name: str, stem: str, default: int) -> tuple[int, int]:
    """A setting for height and width: stated once, once per side, or as *_h and *_w."""
    if param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w"):
        return getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")
    stated = tuple(getattr(param, name)) or (default,)
    if len(stated) > 2:
        raise layer.refuse(f"{name} is stated {len(stated)} times; two sides are read")
    return stated[0], stated[-1]


def _inner_product(layer: Layer) -> list[Node] | None:
    param = layer.param.inner_product_param
    if param.axis not in (1, -3):
        return None
    blobs = layer.take(2 if param.bias_term else 1)
    weight = blobs[0].reshape(blobs[0].shape[-2:]) if blobs[0].ndim > 2 else blobs[0]  # before 2015: (1, 1, O, I)
    weight = weight.T if param.transpose else weight
    if weight.ndim != 2 or len(weight) != param.num_output:
        raise layer.refuse(f"weights of {blobs[0].shape} where the prototxt has {param.num_output} outputs")
    shape = layer.shapes[0]
    if shape is not None and shape[1] and weight.shape[1] != np.prod(shape):
        raise layer.refuse(f"weights for {weight.shape[1]} inputs, but its input has {np.prod(shape)}")
    weights = {"weight": np.ascontiguousarray(weight)}
    if param.bias_term:
        weights["bias"] = layer.vector(1, param.num_output)
    return [layer.node("linear", sources=len(blobs), weights=weights)]


def _batch_norm(layer: Layer) -> list[Node]:
    """Mean and variance are stored as sums: the third tensor is what they are divided by, 0 counting as 0 (Caffe)."""
    layer.take(3)
    total = float(layer.vector(2, 1)[0])
    factor = 0.0 if total == 0 else 1 / total
    mean = layer.vector(0, layer.channels).astype(np.float64) * factor
    var = layer.vector(1, mean.size).astype(np.float64) * factor
    weights = {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}
    return [layer.node("norm", sources=3, weights=weights, eps=layer.param.batch_norm_param.eps)]


def _scale(layer: Layer) -> list[Node] | None:
    """x * scale + bias per channel; with two inputs the second is the scale (squeeze-and-excite, axis 0)."""
    param = layer.param.scale_param
    if len(layer.inputs) == 2:
        gate = layer.shapes[1]
        if param.axis != 0 or (gate is not None and gate[1:] != (1, 1)):
            return None
        return _with_bias(layer, [layer.node("mul", inputs=layer.inputs)]) if param.bias_term else _multiply(layer)
    if param.axis not in (1, -3) or param.num_axes not in (0, 1):
        return None
    blobs = layer.take(2 if param.bias_term else 1)
    size = layer.channels if param.num_axes else 1
    weights = {"scale": layer.vector(0, size)}
    if param.bias_term:
        weights["offset"] = layer.vector(1, weights["scale"].size)
    return [layer.node("affine", sources=len(blobs), weights=weights)]


def _with_bias(layer: Layer, nodes: list[Node]) -> list[Node]:
    """A product and a bias per channel, the layer's only stored tensor."""
    layer.take(1)
    between = f"{layer.output}/product"
    product = layer.node("mul", inputs=nodes[0].inputs, output=between)
    weights = {"offset": layer.vector(0, layer.channels)}
    return [product, layer.node("affine", inputs=(between,), sources=1, weights=weights)]


def _bias(layer: Layer) -> list[Node] | None:
    param = layer.param.bias_param
    if len(layer.inputs) != 1 or param.axis not in (1, -3) or param.num_axes not in (0, 1):
        return None
    layer.take(1)
    return [layer.node("affine", sources=1, weights={"offset": layer.vector(0, layer.channels)})]


def _power(layer: Layer) -> list[Node] | None:
    """(shift + scale * x) ^ power, for power 1."""
    param = layer.param.power_param
    if param.power != 1:
        return None
    weights = {}
    if param.scale != 1:
        weights["scale"] = np.array([param.scale], np.float32)
    if param.shift != 0:
        weights["offset"] = np.array([param.shift], np.float32)
    return [layer.node("affine", weights=weights) if weights else layer.node("same")]


def _eltwise(layer: Layer) -> list[Node] | None:
    """Sums, weighted or not, and products of two or more values."""
    param = layer.param.eltwise_param
    coefficients = list(param.coeff) or [1.0] * len(layer.inputs)
    if param.operation == param.MAX or len(layer.inputs) < 2 or len(coefficients) != len(layer.inputs):
        return None
    if param.operation == param.PROD:
        return _multiply(layer)
    nodes, terms = [], []
    for index, (value, coefficient) in enumerate(zip(layer.inputs, coefficients)):
        if coefficient != 1:
            weights = {"scale": np.array([coefficient], np.float32)}
            nodes.append(layer.node("affine", inputs=(value,), output=f"{layer.output}/term{index}", weights=weights))
            value = nodes[-1].output
        terms.append(value)
    return nodes + _chain(layer, "add", terms)


def _multiply(layer: Layer) -> list[Node]:
    return _chain(layer, "mul", list(layer.inputs))


def _chain(layer: Layer, op: str, terms: list[str]) -> list[Node]:
    """The terms combined from left to right, two at a time."""
    nodes, left = [], terms[0]
    for index, right in enumerate(terms[1:], 1):
        output = layer.output if index == len(terms) - 1 else f"{layer.output}/{op}{index}"
        nodes.append(layer.node(op, inputs=(left, right), output=output))
        left = output
    return nodes


def _axpy(layer: Layer) -> list[Node] | None:
    """a * x + y with a gate a per channel: the squeeze-and-excite layer of hujie-frank/SENet."""
    if len(layer.inputs) != 3:
        return None
    product = layer.node("mul", inputs=(layer.inputs[1], layer.inputs[0]), output=f"{layer.output}/product")
    return [product, layer.node("add", inputs=(product.output, layer.inputs[2]))]


def _broadcast_mul(layer: Layer) -> list[Node] | None:
    return _multiply(layer) if len(layer.inputs) == 2 else None


def _pooling(layer: Layer) -> list[Node] | None:
    """The mean over the whole map, stated as such or by a window as large as the map."""
    param = layer.param.pooling_param
    if param.pool != param.AVE:
        return None
    if param.global_pooling:
        return [layer.node("pool")]
    kernel = (param.kernel_h, param.kernel_w) if param.HasField("kernel_h") else (param.kernel_size,) * 2
    padded = param.pad or param.pad_h or param.pad_w
    whole = layer.shapes[0] is not None and layer.shapes[0][1:] == kernel and not padded
    return [layer.node("pool")] if whole else None


def _relu(layer: Layer) -> list[Node]:
    slope = layer.param.relu_param.negative_slope
    return [layer.node("act", act="leaky_relu", slope=slope) if slope else layer.node("act", act="relu")]


def _clip(layer: Layer) -> list[Node] | None:
    param = layer.param.clip_param
    return [layer.node("act", act="relu6")] if (param.min, param.max) == (0, 6) else None


def _activation(act: str) -> Callable[[Layer], list[Node]]:
    return lambda layer: [layer.node("act", act=act)]


def _reshape(layer: Layer) -> list[Node] | None:
    """Only what keeps the channels where they are: (N, C) and (N, C, 1, 1) into one another, or a map flattened."""
    param = layer.param.reshape_param
    sizes = list(param.shape.dim)
    if param.axis not in (0, 1) or param.num_axes != -1 or not sizes:
        return None
    sizes = sizes if param.axis == 1 else sizes[1:]  # the batch
    rest = sizes[1:]
    if not sizes or any(size not in (1, -1) for size in rest) or (-1 in rest and sizes[0] == -1):
        return None
    pooled = layer.shapes[0] is not None and layer.shapes[0][1:] == (1, 1)
    channels = (0, -1, layer.channels) if pooled else (-1,)
    return [layer.node("same")] if sizes[0] in channels and (pooled or not rest) else None


def _flatten(layer: Layer) -> list[Node] | None:
    param = layer.param.flatten_param
    return [layer.node("same")] if (param.axis, param.end_axis) in ((1, -1), (1, 3)) else None


def _same(layer: Layer) -> list[Node]:
    return [layer.node("same")]


def _softmax(layer: Layer) -> list[Node] | None:
    return [layer.node("softmax")] if layer.param.softmax_param.axis in (1, -3) else None


READERS: dict[str, Callable[[Layer], list[Node] | None]] = {  # by the type in lower case
    "convolution": _convolution,
    "depthwiseconvolution": _convolution,  # yonghenglh6/DepthwiseConvolution
    "convolutiondepthwise": _convolution,  # BVLC/caffe pull request 5665
    "innerproduct": _inner_product,
    "batchnorm": _batch_norm,
    "scale": _scale,
    "bias": _bias,
    "power": _power,
    "eltwise": _eltwise,
    "axpy": _axpy,
    "broadcastmul": _broadcast_mul,
    "pooling": _pooling,
    "relu": _relu,
    "relu6": _activation("relu6"),
    "clip": _clip,
    "sigmoid": _activation("sigmoid"),
    "hswish": _activation("hard_swish"),
    "hardswish": _activation("hard_swish"),
    "hsigmoid": _activation("hard_sigmoid"),
    "reshape": _reshape,
    "flatten": _flatten,
    "dropout": _same,
    "split": _same,
    "softmax": _softmax,
}
