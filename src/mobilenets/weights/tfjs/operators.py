"""TensorFlow's operations as operations of `Graph`: one function for each kind, filling in a `Call`.

A function leaves `made` empty where the operation is none of a MobileNet's or works on what is no feature map;
`tfjs_graph` then keeps it under its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..graph import Pad
from .call import Call, Shape

ACTIVATIONS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "LeakyRelu": "leaky_relu"}
FLOATS = ("", "DT_FLOAT", "DT_HALF", "DT_BFLOAT16")
PIXELS = (*FLOATS, "DT_UINT8", "DT_INT32")


def _convolution(call: Call) -> None:
    """Conv2D and its fused form: HWIO weights."""
    weight = call.weight(1, 4)
    if weight is not None and call.constant(0) is None:
        _convolve(call, weight.transpose(3, 2, 0, 1), groups=1)


def _depthwise(call: Call) -> None:
    """HWCM weights, the M filters of one channel together: (C * M, 1, H, W)."""
    weight = call.weight(1, 4)
    if weight is not None and call.constant(0) is None:
        high, wide, channels, multiplier = weight.shape
        kernel = weight.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, high, wide)
        _convolve(call, kernel, groups=channels)


def _convolve(call: Call, kernel: np.ndarray, groups: int) -> None:
    node = call.node
    if node.text("data_format", "NHWC") != "NHWC":
        raise call.refuse("its data are NCHW, which TensorFlow.js itself does not run")
    stride, dilation = _sides(node.integers("strides")), _sides(node.integers("dilations"))
    if min(*stride, *dilation, *kernel.shape, groups) < 1:
        raise call.refuse(f"weights {kernel.shape}, strides {stride} and dilations {dilation} must be 1 or more")
    inside = kernel.shape[1] * groups
    if call.shapes[0] is not None and call.shapes[0][0] != inside:
        raise call.refuse(f"its weights are for {inside} channels, its input has {call.shapes[0][0]}")
    padding = node.text("padding", "VALID")
    pad: Pad = (0, 0, 0, 0)
    if padding == "EXPLICIT":
        stated = node.integers("explicit_paddings")
        if len(stated) != 8 or any(stated[:2] + stated[6:]):
            raise call.refuse(f"explicit paddings {stated}")
        pad = (stated[4], stated[5], stated[2], stated[3])
    elif padding not in ("SAME", "VALID"):
        raise call.refuse(f"padding {padding}")
    call.add(
        "conv",
        1,
        weights={"weight": np.ascontiguousarray(kernel)},
        stride=stride,
        pad="same" if padding == "SAME" else pad,
        dilation=dilation,
        groups=groups,
    )
    sides = []
    size = call.shapes[0][1:] if call.shapes[0] is not None else (0, 0)
    for side, reach, step, far, around in zip(size, kernel.shape[2:], stride, dilation, (sum(pad[2:]), sum(pad[:2]))):
        covered = side + around - (reach - 1) * far
        sides.append(0 if not side else -(-(side if padding == "SAME" else covered) // step))
    call.shape = (len(kernel), sides[0], sides[1])
    _fused(call)


def _sides(four: tuple[int, ...]) -> tuple[int, int]:
    """The middle two of (1, height, width, 1); (1, 1) where nothing is stated."""
    return (four[1], four[2]) if len(four) == 4 else (1, 1)


def _fused(call: Call) -> None:
    """What a fused operation does after its product: bias, BatchNorm, activation, in the order stated."""
    assert call.shape is not None
    at = 2
    for name in call.node.texts("fused_ops"):
        if name == "BiasAdd":
            bias = call.vector(at, call.shape[0])
            first = call.made[-1]
            if len(call.made) == 1:  # the product's own
                sources = (*first.sources, call.source(at))
                call.made[-1] = replace(first, weights={**first.weights, "bias": bias}, sources=sources)
            else:
                call.add("affine", at, weights={"offset": bias})
            at += 1
        elif name == "FusedBatchNorm":
            _normalise(call, at)
            at += 4
        elif name in ACTIVATIONS:
            slope = call.node.number("leakyrelu_alpha", 0.2) if name == "LeakyRelu" else 0.0
            call.add("act", act=ACTIVATIONS[name], slope=slope)
        else:  # Elu, Prelu
            call.add("other", *range(at, len(call.constants)), kind=name)
            call.shape = None
            return


def _normalise(call: Call, at: int) -> None:
    """Appends a BatchNorm whose four constants (scale, offset, mean, variance) begin at input `at`."""
    assert call.shape is not None
    roles = ("scale", "offset", "mean", "var")
    weights = {role: call.vector(at + index, call.shape[0]) for index, role in enumerate(roles)}
    call.add("norm", *range(at, at + 4), weights=weights, eps=call.node.number("epsilon", 1e-4))


def _batch_norm(call: Call) -> None:
    if call.source_shape is None or call.node.flag("is_training", True) or call.constant(0) is not None:
        return
    call.shape = call.source_shape
    _normalise(call, 1)


def _bias_add(call: Call) -> None:
    if call.source_shape is not None:
        call.shape = call.source_shape
        call.add("affine", 1, weights={"offset": call.vector(1, call.shape[0])})


def _arithmetic(call: Call) -> None:
    """A sum, difference, product or quotient of a feature map and a constant, or of two feature maps."""
    if len(call.node.inputs) != 2 or call.node.dtype("T") not in FLOATS or call.source_shape is None:
        return
    if any(each is not None for each in call.constants):
        _with_constant(call)
    elif all(shape is not None for shape in call.shapes):
        _of_two(call)


def _with_constant(call: Call) -> None:
    index = 0 if call.constants[0] is not None else 1
    found = call.constants[index]
    assert found is not None
    assert call.source_shape is not None
    values, channels = found.values, call.source_shape[0]
    spread = values.size == 1 or (values.shape[-1] == values.size == channels)  # (C,) or (1, 1, 1, C)
    if values.dtype != np.float32 or not spread:
        return
    row, op = values.reshape(-1), call.node.op
    if op in ("Add", "AddV2"):
        weights = {"offset": row}
    elif op == "Mul":
        weights = {"scale": row}
    elif op == "Sub":
        weights = {"offset": -row} if index == 1 else {"scale": np.array([-1], np.float32), "offset": row}
    elif index == 1 and row.all():  # RealDiv
        weights = {"scale": 1 / row}
    else:
        return
    call.shape = call.source_shape
    call.add("affine", index, weights=weights)


def _of_two(call: Call) -> None:
    left, right = call.shapes
    assert left is not None
    assert right is not None
    if left[0] != right[0] or call.node.op == "RealDiv":
        return
    call.shape = right if left[1:] == (1, 1) else left
    inputs = call.node.inputs
    if call.node.op == "Sub":
        call.add("affine", inputs=(inputs[1],), weights={"scale": np.array([-1], np.float32)})
        inputs = (inputs[0], f"{call.node.name}/affine")
    call.add("mul" if call.node.op == "Mul" else "add", inputs=inputs)


def _activation(call: Call) -> None:
    if call.values:
        slope = call.node.number("alpha", 0.2) if call.node.op == "LeakyRelu" else 0.0
        call.shape = call.source_shape
        call.add("act", act=ACTIVATIONS[call.node.op], slope=slope)


def _clip(call: Call) -> None:
    bounds = [found.values.reshape(-1).tolist() if found is not None else None for found in call.constants[1:]]
    if call.values and bounds == [[0.0], [6.0]]:
        call.shape = call.source_shape
        call.add("act", 1, 2, act="relu6")


def _mean(call: Call) -> None:
    axes = call.integers(1)
    if call.source_shape is not None and axes is not None and sorted(axis % 4 for axis in axes) == [1, 2]:
        call.shape = (call.source_shape[0], 1, 1)
        call.add("pool")


def _average(call: Call) -> None:
    """A mean over a window as large as the map."""
    window, stride = _sides(call.node.integers("ksize")), _sides(call.node.integers("strides"))
    whole = call.source_shape is not None and call.source_shape[1:] == window
    if whole and call.source_shape is not None and (call.node.text("padding", "VALID") == "VALID" or stride == window):
        call.shape = (call.source_shape[0], 1, 1)
        call.add("pool")


def _matrix(call: Call) -> None:
    """MatMul and its fused form: (I, O) weights."""
    weight, shape = call.weight(1, 2), call.source_shape
    if weight is None or shape is None or shape[1:] != (1, 1) or call.node.flag("transpose_a"):
        return
    weight = weight if call.node.flag("transpose_b") else weight.T
    if weight.shape[1] != shape[0]:
        raise call.refuse(f"its weights are for {weight.shape[1]} inputs, its input has {shape[0]}")
    call.add("linear", 1, weights={"weight": np.ascontiguousarray(weight)})
    call.shape = (len(weight), 1, 1)
    _fused(call)


def _pad(call: Call) -> None:
    rows = call.integers(1)
    fill = call.constant(2)
    if call.source_shape is None or rows is None or len(rows) != 8 or any(rows[:2] + rows[6:]) or min(rows) < 0:
        return
    if fill is not None and fill.values.any():
        return
    pad: Pad = (rows[4], rows[5], rows[2], rows[3])
    channels, height, width = call.source_shape
    call.shape = channels, height and height + sum(pad[2:]), width and width + sum(pad[:2])
    call.add("pad", pad=pad)


def _same(call: Call) -> None:
    if call.values:
        call.shape = call.source_shape
        call.add("same")


def _cast(call: Call) -> None:
    if call.node.dtype("SrcT") in PIXELS and call.node.dtype("DstT") in FLOATS:
        _same(call)


def _squeeze(call: Call) -> None:
    """A pooled value without its height and width, or with them again; a feature map's last axis stays the channels."""
    if _pooled(call.source_shape) and call.values:
        _same(call)


def _reshape(call: Call) -> None:
    """A pooled value as (N, C) or (N, 1, 1, C): only there does nothing change places."""
    sizes = call.integers(1)
    if not _pooled(call.source_shape) or call.constant(0) is not None:
        return
    assert call.source_shape is not None
    # No constant: the batch is read off the value, and the sizes are packed into one.
    kept = None if sizes is None else sorted(size for size in sizes[1:] if size != 1)
    if kept is None or kept in ([-1], [call.source_shape[0]]):
        _same(call)


def _softmax(call: Call) -> None:
    if _pooled(call.source_shape):
        call.shape = call.source_shape
        call.add("softmax")


def _pooled(shape: Shape | None) -> bool:
    return shape is not None and shape[1:] == (1, 1)


OPERATORS: dict[str, Callable[[Call], None]] = {
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "FusedDepthwiseConv2dNative": _depthwise,
    "_FusedDepthwiseConv2dNative": _depthwise,
    "MatMul": _matrix,
    "_FusedMatMul": _matrix,
    "BiasAdd": _bias_add,
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "Add": _arithmetic,
    "AddV2": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "RealDiv": _arithmetic,
    "Relu": _activation,
    "Relu6": _activation,
    "Sigmoid": _activation,
    "LeakyRelu": _activation,
    "ClipByValue": _clip,
    "Mean": _mean,
    "AvgPool": _average,
    "Pad": _pad,
    "PadV2": _pad,
    "Identity": _same,
    "StopGradient": _same,
    "CheckNumerics": _same,
    "Cast": _cast,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Softmax": _softmax,
}
