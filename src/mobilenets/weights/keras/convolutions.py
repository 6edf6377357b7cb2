"""Convolutions and linear layers of Keras as nodes of a `Graph`, kernels in torch's layouts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import UserError
from .layers import LayerCall, Stored, Translator
from .layouts import to_torch


def conv(t: Translator, call: LayerCall) -> str:
    found = t.stored(call)
    kernel = t.tensor(call, found, "kernel")
    weight = to_torch("Conv2D", kernel.values)
    value = _convolution(t, call, weight, int(call.config.get("groups", 1)), [kernel], _bias(t, call, found))
    return t.activate(call, value, call.config.get("activation"))


def depthwise(t: Translator, call: LayerCall) -> str:
    found = t.stored(call)
    kernel = t.tensor(call, found, "depthwise_kernel", "kernel")
    value = _convolution(
        t, call, to_torch("DepthwiseConv2D", kernel.values), kernel.values.shape[2], [kernel], _bias(t, call, found)
    )
    return t.activate(call, value, call.config.get("activation"))


def separable(t: Translator, call: LayerCall) -> str:
    found = t.stored(call)
    first, second = t.tensor(call, found, "depthwise_kernel"), t.tensor(call, found, "pointwise_kernel")
    middle = _convolution(
        t, call, to_torch("DepthwiseConv2D", first.values), first.values.shape[2], [first], None, tag="depthwise"
    )
    inner = LayerCall(
        kind=call.kind,
        config=call.config | {"strides": 1, "dilation_rate": 1},
        path=call.path,
        name=call.name,
        args=(middle,),
    )
    value = _convolution(t, inner, to_torch("Conv2D", second.values), 1, [second], _bias(t, call, found))
    return t.activate(call, value, call.config.get("activation"))


def _bias(t: Translator, call: LayerCall, found: dict[str, Stored]) -> Stored | None:
    return t.tensor(call, found, "bias") if call.config.get("use_bias", True) else None


def _convolution(
    t: Translator,
    call: LayerCall,
    weight: np.ndarray,
    groups: int,
    kernels: list[Stored],
    bias: Stored | None,
    tag: str = "",
) -> str:
    config = call.config
    padding = config.get("padding", "valid")
    if padding not in ("same", "valid"):
        return t.other(call, f"with padding {padding!r}")
    stride, dilation = pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    reach = [(side - 1) * rate for side, rate in zip(weight.shape[2:], dilation)]
    size = t.sizes[call.values[0]]
    if size is None:
        raise UserError(f"{t.where}: the convolution {call.name!r} takes a value without height and width")
    return t.add(
        "conv",
        call,
        windows(size, reach, stride, padding),
        tag=tag,
        weights={"weight": float32(weight)} | ({"bias": float32(bias.values)} if bias else {}),
        sources=tuple(each.name for each in (*kernels, *([bias] if bias else []))),
        stride=stride,
        dilation=dilation,
        pad="same" if padding == "same" else (0, 0, 0, 0),
        groups=groups,
    )


def dense(t: Translator, call: LayerCall) -> str:
    found = t.stored(call)
    kernel, bias = t.tensor(call, found, "kernel"), _bias(t, call, found)
    weight = float32(to_torch("Dense", kernel.values))
    size = t.sizes[call.values[0]]
    value = t.add(
        "linear" if size is None else "conv",  # over (N, H, W, C) it is a 1x1 convolution
        call,
        size,
        weights={"weight": weight if size is None else weight[:, :, None, None]}
        | ({"bias": float32(bias.values)} if bias else {}),
        sources=tuple(each.name for each in (kernel, bias) if each),
    )
    return t.activate(call, value, call.config.get("activation"))


def float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def windows(size: tuple[int, int], reach: list[int], stride: tuple[int, int], padding: str) -> tuple[int, int]:
    """Height and width after a window of `reach` + 1 pixels; 0 stays unknown."""
    if padding == "same":
        height, width = (math.ceil(side / step) for side, step in zip(size, stride))
    else:
        height, width = (
            max((side - far - 1) // step + 1, 0) if side else 0 for side, far, step in zip(size, reach, stride)
        )
    return height, width
