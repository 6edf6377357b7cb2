"""Keras layers as nodes of a `Graph`: one function per kind, tensors from Keras' layouts to torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Op, Pad
from .convolutions import conv, dense, depthwise, float32, pair, separable
from .layers import LayerCall, Size, Translator, relu_form


def translate(t: Translator, call: LayerCall) -> str:
    """The name of the value that the call gives, its nodes appended. A layer of no known kind is an "other"."""
    known = _LAYERS.get(call.kind)
    return known(t, call) if known else t.other(call)


# Normalisation and constants --------------------------------------------------------------------------------------


def _batch_norm(t: Translator, call: LayerCall) -> str:
    found, config = t.stored(call), call.config
    _check_axis(t, call, config.get("axis", -1))
    wanted = {"mean": "moving_mean", "var": "moving_variance"}
    wanted |= {"scale": "gamma"} if config.get("scale", True) else {}
    wanted |= {"offset": "beta"} if config.get("center", True) else {}
    parts = {ours: t.tensor(call, found, theirs) for ours, theirs in wanted.items()}
    return t.add(
        "norm",
        call,
        t.sizes[call.values[0]],
        weights={ours: float32(part.values) for ours, part in parts.items()},
        sources=tuple(part.name for part in parts.values()),
        eps=float(config.get("epsilon", 1e-3)),
    )


def _check_axis(t: Translator, call: LayerCall, axis: Any) -> None:
    found = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    allowed = (1, -3) if t.channels_first else (-1, 3)
    if found not in (allowed if t.sizes[call.values[0]] is not None else (-1, 1)):
        raise UserError(f"{t.where}: {call.kind} {call.name!r} works along axis {axis!r}, not along the channels")


def _rescaling(t: Translator, call: LayerCall) -> str:
    scale, offset = (np.atleast_1d(np.asarray(call.config[key], np.float64)) for key in ("scale", "offset"))
    return t.add("affine", call, t.sizes[call.values[0]], weights={"scale": scale, "offset": offset})


def _normalization(t: Translator, call: LayerCall) -> str:
    """(x - mean) / max(sqrt(variance), 1e-7), the statistics from the file or from the configuration."""
    found, config = t.stored(call), call.config
    _check_axis(t, call, config.get("axis", -1))
    if config.get("invert"):
        return t.other(call, "with invert")
    if config.get("mean") is not None:
        mean, variance = (np.asarray(config[key], np.float64).reshape(-1) for key in ("mean", "variance"))
        sources: tuple[str, ...] = ()
    else:
        parts = [t.tensor(call, found, role) for role in ("mean", "variance")]
        mean, variance = (part.values.astype(np.float64).reshape(-1) for part in parts)
        sources = tuple(part.name for part in parts)
        if "count" in found:
            t.set_aside[found["count"].name] = "number of samples behind a Normalization layer"
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    weights = {"scale": factor, "offset": -mean * factor}
    return t.add("affine", call, t.sizes[call.values[0]], weights=weights, sources=sources)


def _sum(t: Translator, call: LayerCall) -> str:
    return _operator(t, call, "add", "offset")


def _product(t: Translator, call: LayerCall) -> str:
    return _operator(t, call, "mul", "scale")


def _operator(t: Translator, call: LayerCall, op: Op, constant: str) -> str:
    """Two or more values together, or one value and a constant."""
    values, constants = call.values, call.constants
    if len(values) == 1 and len(constants) == 1:
        weights = {constant: np.asarray(constants, np.float32)}
        return t.add("affine", call, t.sizes[values[0]], weights=weights)
    if len(values) < 2 or constants:
        return t.other(call)
    total = values[0]
    for index, value in enumerate(values[1:], 1):
        size = _larger(t.sizes[total], t.sizes[value])
        tag = "" if index == len(values) - 1 else str(index)
        total = t.add(op, call, size, inputs=(total, value), tag=tag)
    return total


def _larger(a: Size, b: Size) -> Size:
    """The size of two values together, the smaller one broadcast."""
    return max(a, b) if a is not None and b is not None else a or b


# Activations ------------------------------------------------------------------------------------------------------


def _activation(t: Translator, call: LayerCall) -> str:
    return _named(t, call, call.config.get("activation"))


def _named(t: Translator, call: LayerCall, activation: Any) -> str:
    value = t.activate(call, call.values[0], activation, tag="")
    return value if value != call.values[0] else _same(t, call)


def _relu(t: Translator, call: LayerCall) -> str:
    act, slope = relu_form(call.config)
    return t.add("act" if act else "other", call, t.sizes[call.values[0]], act=act, slope=slope, kind="ReLU")


def _leaky_relu(t: Translator, call: LayerCall) -> str:
    slope = float(call.config.get("negative_slope", call.config.get("alpha", 0.3)))
    return t.add("act", call, t.sizes[call.values[0]], act="leaky_relu", slope=slope)


def _softmax(t: Translator, call: LayerCall) -> str:
    return _named(t, call, "softmax") if call.config.get("axis", -1) in (-1, 1, [-1], [1]) else t.other(call)


# Padding, pooling and shapes --------------------------------------------------------------------------------------


def _zero_padding(t: Translator, call: LayerCall) -> str:
    given = call.config["padding"]
    (top, bottom), (left, right) = (pair(side) for side in ((given, given) if isinstance(given, int) else given))
    size = t.sizes[call.values[0]] or (0, 0)
    after = tuple(side + more if side else 0 for side, more in zip(size, (top + bottom, left + right)))
    pad: Pad = (left, right, top, bottom)
    return t.add("pad", call, after, pad=pad)  # type: ignore[arg-type]


def _global_average(t: Translator, call: LayerCall) -> str:
    return t.add("pool", call, (1, 1) if call.config.get("keepdims") else None)


def _average(t: Translator, call: LayerCall) -> str:
    """The mean over the whole map where the window is as large as the map; else an operation of its own."""
    window, size = pair(call.config.get("pool_size", 2)), t.sizes[call.values[0]]
    if size == window and call.config.get("padding", "valid") == "valid":
        return t.add("pool", call, (1, 1))
    return t.other(call, f"of {window[0]}x{window[1]}")


def _same(t: Translator, call: LayerCall) -> str:
    return t.add("same", call, t.sizes[call.values[0]])


def _reshape(t: Translator, call: LayerCall) -> str:
    """(1, 1, C) and (C,) into each other; any other change of shape is an operation of its own."""
    shape, size = call.config["target_shape"], t.sizes[call.values[0]]
    if size not in (None, (1, 1)):
        return t.other(call, f"to {tuple(shape)}")
    if len(shape) == 1:
        return t.add("same", call, None)
    ones = shape[1:] if t.channels_first else shape[:2]
    return t.add("same", call, (1, 1)) if len(shape) == 3 and list(ones) == [1, 1] else t.other(call, f"to {shape}")


def _flatten(t: Translator, call: LayerCall) -> str:
    if t.sizes[call.values[0]] not in (None, (1, 1)):
        return t.other(call, "of a map that was not pooled")
    return t.add("same", call, None)


# TensorFlow functions that Keras 2 wrote as layers ----------------------------------------------------------------


def _tf_function(t: Translator, call: LayerCall) -> str:
    translate = _TF_FUNCTIONS.get(str(call.config.get("function", "")))
    return translate(t, call) if translate else t.other(call, str(call.config.get("function", "")))


_TF_FUNCTIONS: dict[str, Callable[[Translator, LayerCall], str]] = {
    "__operators__.add": _sum,
    "math.add": _sum,
    "math.multiply": _product,
    "nn.relu": lambda t, call: _named(t, call, "relu"),
    "nn.relu6": lambda t, call: _named(t, call, "relu6"),
    "nn.softmax": lambda t, call: _named(t, call, "softmax"),
    "math.sigmoid": lambda t, call: _named(t, call, "sigmoid"),
    "identity": _same,
}

_LAYERS: dict[str, Callable[[Translator, LayerCall], str]] = {
    "Conv2D": conv,
    "DepthwiseConv2D": depthwise,
    "SeparableConv2D": separable,
    "Dense": dense,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "BatchNormalizationV2": _batch_norm,
    "SyncBatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Add": _sum,
    "Multiply": _product,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "Softmax": _softmax,
    "Relu": lambda t, call: _named(t, call, "relu"),
    "Relu6": lambda t, call: _named(t, call, "relu6"),
    "HardSilu": lambda t, call: _named(t, call, "hard_silu"),
    "HardSigmoid": lambda t, call: _named(t, call, "hard_sigmoid"),
    "Sigmoid": lambda t, call: _named(t, call, "sigmoid"),
    "ZeroPadding2D": _zero_padding,
    "GlobalAveragePooling2D": _global_average,
    "AveragePooling2D": _average,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Dropout": _same,
    "SpatialDropout2D": _same,
    "GaussianNoise": _same,
    "GaussianDropout": _same,
    "ActivityRegularization": _same,
    "Identity": _same,
    "RandomFlip": _same,  # augmentation, idle in inference
    "RandomRotation": _same,
    "RandomZoom": _same,
    "RandomTranslation": _same,
    "RandomContrast": _same,
    "RandomBrightness": _same,
    "TFOpLambda": _tf_function,
}
