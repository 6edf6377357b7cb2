"""TFLite's convolutions and linear layers: layouts turned to torch's, integers to real numbers, activations set free.

What each operator computes is tensorflow/lite/kernels' conv.cc, depthwise_conv.cc and fully_connected.cc.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .tensors import Operator, Tensor, TFLiteError, stored_values
from .translation import Translation

_RANGES = {"UINT8": (0, 255), "INT8": (-128, 127)}


def conv(made: Translation, operator: Operator) -> bool:
    """CONV_2D: OHWI as (O, I, kH, kW); where the value has more channels than the filters take, there are groups."""
    x, weight = operator.inputs[0], _kernel(made, operator, rank=4)
    if weight is None:
        return False
    channels, taken = made.channels(x) or weight.shape[3], weight.shape[3]
    if channels % taken or weight.shape[0] % (channels // taken):
        raise TFLiteError(f"{operator.kind} of {taken} channels takes {made.name(x)!r}, which has {channels}")
    return _convolve(made, operator, weight.transpose(0, 3, 1, 2), channels // taken)


def depthwise(made: Translation, operator: Operator) -> bool:
    """DEPTHWISE_CONV_2D: 1HWC as (C, 1, kH, kW).

    Filter m of input channel i stands at i * multiplier + m, as in torch's groups.
    """
    x, weight = operator.inputs[0], _kernel(made, operator, rank=4)
    if weight is None:
        return False
    filters = weight.shape[3]
    channels = made.channels(x) or filters // max(int(operator.options["DepthMultiplier"]), 1)
    if weight.shape[0] != 1 or channels < 1 or filters % channels:
        raise TFLiteError(f"{operator.kind} of weights {weight.shape} takes {made.name(x)!r}, which has {channels}")
    return _convolve(made, operator, weight.transpose(3, 0, 1, 2), channels)


def fully_connected(made: Translation, operator: Operator) -> bool:
    """FULLY_CONNECTED: (O, I) as it is; after flattened feature maps its columns move from H, W, C order to C, H, W.

    Over the last dimension of feature maps it is a 1x1 convolution.
    """
    x, weight = operator.inputs[0], _kernel(made, operator, rank=2)
    if weight is None or made.constant(x):
        return False
    if operator.options["WeightsFormat"]:
        raise TFLiteError(f"{operator.kind} {made.name(operator.inputs[1])!r} has weights in a layout of its own")
    shape, inputs = made.shape(x), weight.shape[1]
    maps = shape[1:] if len(shape) == 4 and max(shape[1:3]) > 1 else made.flattened.get(x)
    pointwise = len(shape) == 4 and maps is not None and shape[3] == inputs
    if maps and math.prod(maps) == inputs:
        # (O, H, W, C) -> (O, C, H, W)
        weight = weight.reshape(-1, *maps).transpose(0, 3, 1, 2).reshape(-1, inputs)
    elif not pointwise and made.channels(x) not in (0, inputs):
        raise TFLiteError(f"{operator.kind} of {inputs} inputs takes {made.name(x)!r} of shape {list(shape)}")
    if pointwise:
        weight = weight[:, :, None, None]
    weights, sources = _weights(made, operator, weight)
    op, clamp = "conv" if pointwise else "linear", _clamp(made, operator)
    return made.add(operator, op, operator.inputs[:1], clamp, weights=weights, sources=sources)  # type: ignore[arg-type]


def _kernel(made: Translation, operator: Operator, rank: int) -> np.ndarray | None:
    """The weights, float32, in the file's layout; None where they are computed."""
    if len(operator.inputs) < 2:
        raise TFLiteError(f"{operator.kind} {made.name(operator.outputs[0])!r} has no weights")
    index = operator.inputs[1]
    if index >= 0 and made.constant(index) and not made.tensor(index).weight:
        tensor = made.tensor(index)
        raise TFLiteError(
            f"the weights {tensor.name!r} are {tensor.type}, and no real numbers: "
            "float32, float16, or uint8 and int8 with scale and zero point are read"
        )
    weight = made.real(index)
    if weight is not None and (weight.ndim != rank or not weight.size):
        raise TFLiteError(f"{operator.kind} has weights {made.name(index)!r} of shape {weight.shape}")
    return weight


def _convolve(made: Translation, operator: Operator, weight: np.ndarray, groups: int) -> bool:
    options = {name: int(value) for name, value in operator.options.items()}
    stride = options["StrideH"], options["StrideW"]
    dilation = options["DilationHFactor"], options["DilationWFactor"]
    if min(*stride, *dilation) < 1:
        raise TFLiteError(f"{operator.kind} {made.name(operator.outputs[0])!r} has a stride or a dilation below 1")
    pad: Any = "same" if options["Padding"] == 0 else (0, 0, 0, 0)
    weights, sources = _weights(made, operator, weight)
    return made.add(
        operator,
        "conv",
        operator.inputs[:1],
        _clamp(made, operator),
        weights=weights,
        sources=sources,
        stride=stride,
        dilation=dilation,
        pad=pad,
        groups=groups,
    )


def _weights(
    made: Translation, operator: Operator, weight: np.ndarray
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Weight and bias (absent where the file has none), with their sources."""
    x, kernel = operator.inputs[0], made.tensor(operator.inputs[1])
    bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
    made.kernels.append(kernel)
    made.weights_only |= kernel.scale is not None and made.model.tensors[x].scale is None
    weights = {"weight": np.ascontiguousarray(weight)}
    if bias < 0:
        return weights, made.sources(operator.inputs[1])
    values = made.real(bias) if made.tensor(bias).type.startswith("FLOAT") else _bias(made, x, kernel, bias)
    if values is None or values.shape != weight.shape[:1]:
        raise TFLiteError(f"{operator.kind} has {weight.shape[0]} filters and {made.name(bias)!r} as their bias")
    return {**weights, "bias": values}, made.sources(operator.inputs[1], bias)


def _bias(made: Translation, x: int, kernel: Tensor, index: int) -> np.ndarray:
    """An integer bias (O,) in float32: its unit is the input's scale times the weight's, whatever scale it states."""
    bias, scale = made.tensor(index), made.model.tensors[x].scale
    if scale is None or scale.size != 1 or kernel.scale is None or bias.type not in ("INT32", "INT64"):
        raise TFLiteError(f"the bias {bias.name!r} is {bias.type}, and its input or its weights are not quantised")
    if not bias.constant:
        raise TFLiteError(f"the bias {bias.name!r} is computed, not stored")
    return (stored_values(bias).astype(np.float64) * (scale * kernel.scale)).astype(np.float32)


def _clamp(made: Translation, operator: Operator) -> str:
    """The activation that the range of a quantised output makes where none is written.

    Converters leave ReLU6 out where the stored numbers already stand for 0...6: what lies outside saturates.
    """
    out = made.model.tensors[operator.outputs[0]]
    if operator.options["FusedActivationFunction"] or out.scale is None or out.zero_point is None:
        return ""
    low, high = _RANGES.get(out.type, (None, None))
    if low is None or high is None or out.zero_point[0] != low:
        return ""
    return "RELU6" if abs((high - low) * out.scale[0] - 6) < 0.02 else "RELU"
