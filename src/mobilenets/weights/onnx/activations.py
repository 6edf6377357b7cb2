"""ONNX operators that act on each value: activations, limits, and the rounding of quantised files.

Every function takes what is known so far and one operator, and returns its Node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..graph import Node
from .constants import dequantised
from .layouts import same
from .translation import SIX, Call, Translation, floats

_INFINITE = 65504.0  # float16's largest number, which stands for "no limit" in float16 files


def relu(t: Translation, call: Call) -> Node:
    return _clamp(t, call, call.inputs[0], 0.0, np.inf)


def clip(t: Translation, call: Call) -> Node:
    limits = []
    for at, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = call.value(at)
        if (call.given(at) and value is None) or (value is not None and value.size != 1):
            return call.other()
        limits.append(float(call.said.get(name, default)) if value is None else float(value.ravel()[0]))
    return _clamp(t, call, call.inputs[0], *limits)


def maximum(t: Translation, call: Call) -> Node:
    return _limit(t, call, lambda value: (value, np.inf))


def minimum(t: Translation, call: Call) -> Node:
    return _limit(t, call, lambda value: (-np.inf, value))


def _limit(t: Translation, call: Call, limits: Callable[[float], tuple[float, float]]) -> Node:
    at = next((at for at, value in enumerate(call.values) if value is not None), None)
    if len(call.inputs) != 2 or at is None:
        return call.other()
    value = call.values[at]
    if value is None or value.size != 1:
        return call.other()
    return _clamp(t, call, call.inputs[1 - at], *limits(float(value.ravel()[0])))


def _clamp(t: Translation, call: Call, x: str, low: float, high: float) -> Node:
    """x in low...high; where x is itself a clamped value, the two as one, which is exact."""
    if x in t.last:
        t.last.add(call.output)
    base, before, after = t.clamps.get(x, (x, -np.inf, np.inf))
    low, high = min(max(before, low), high), max(min(after, high), low)
    t.clamps[call.output] = (base, low, high)
    if low == 0 and high == SIX:
        return call.node("act", inputs=[base], act="relu6")
    if low == 0 and high >= _INFINITE:
        return call.node("act", inputs=[base], act="relu")
    if low <= -_INFINITE and high >= _INFINITE:
        return call.node("same", inputs=[base])
    return replace(call.other(f"Clip to {low:g}...{high:g}"), inputs=(base,), weights={}, sources=())


def hard_sigmoid(t: Translation, call: Call) -> Node:
    t.follow(call)
    alpha, beta = float(call.said.get("alpha", 0.2)), float(call.said.get("beta", 0.5))
    if abs(alpha - 1 / 6) > 1e-4 or beta != 0.5:
        return call.other(f"HardSigmoid of alpha {alpha:g}, beta {beta:g}")
    return call.node("act", act="hard_sigmoid")


def gelu(t: Translation, call: Call) -> Node:
    t.follow(call)
    if call.said.get("approximate", "none") != "none":
        return call.other("Gelu approximated by tanh")
    return call.node("act", act="gelu")


def activation(act: str) -> Callable[[Translation, Call], Node]:
    def translate(t: Translation, call: Call) -> Node:
        t.follow(call)
        return call.node("act", act=act)

    return translate


def leaky_relu(t: Translation, call: Call) -> Node:
    t.follow(call)
    return call.node("act", act="leaky_relu", slope=float(call.said.get("alpha", 0.01)))


def prelu(t: Translation, call: Call) -> Node:
    slope = call.value(1)
    t.follow(call)
    if slope is None or not slope.size or np.ptp(slope) != 0:
        return call.other()
    return call.node("act", 1, act="leaky_relu", slope=float(slope.ravel()[0]))


def softmax(t: Translation, call: Call) -> Node:
    rank = t.rank(call.inputs[0])
    channel = 3 if call.inputs[0] in t.last and rank == 4 else 1
    if rank not in (2, 4) or int(call.said.get("axis", -1)) % rank != channel or not t.is_point(call.inputs[0]):
        return call.other()
    t.follow(call)
    return call.node("softmax")


def quantize(t: Translation, call: Call) -> Node:
    """`same`; where its range begins at zero and no activation comes before it, it is the activation.

    onnxruntime's quantiser takes Relu and Clip away where rounding to the range does the same.
    """
    scale, zero = call.value(1), call.value(2)
    if scale is None or scale.size != 1 or (call.given(2) and (zero is None or zero.dtype.kind not in "iu")):
        return call.other()
    zero = np.zeros(1, np.uint8) if zero is None else zero
    limits = np.iinfo(zero.dtype)
    before = t.nodes.get(call.inputs[0])
    t.quantised.add(call.output)
    if int(zero.ravel()[0]) == limits.min and before is not None and before.op in ("conv", "linear", "norm"):
        t.implied[call.output] = float(scale.ravel()[0]) * (limits.max - limits.min)
        return call.node("act", act="relu")
    return same(t, call)


def dequantize(t: Translation, call: Call) -> Node:
    """`same` after a QuantizeLinear; of integers from the input itself, (x - zero) * scale."""
    origin = call.inputs[0]
    while origin in t.nodes and t.nodes[origin].op == "same" and origin not in t.quantised:
        origin = t.nodes[origin].inputs[0]
    if origin in t.nodes:
        return same(t, call)
    scale, zero = call.value(1), call.value(2)
    if scale is None or scale.size != 1 or (call.given(2) and zero is None):
        return call.other()
    t.follow(call)
    offset = dequantised({}, np.zeros(1), scale, zero)
    assert offset is not None
    return call.node("affine", weights={"scale": floats(scale).reshape(1), "offset": offset})
