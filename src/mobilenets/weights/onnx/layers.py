"""ONNX operators that hold weights or numbers: convolutions, linear layers, BatchNorm, constants, pooling, padding.

Every function takes what is known so far and one operator, and returns its Node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Node, Pad
from .constants import axes_of
from .translation import Call, Translation, floats


def conv(t: Translation, call: Call) -> Node:
    weight, bias = call.value(1), call.value(2)
    if weight is None or weight.ndim != 4 or (call.given(2) and bias is None) or call.inputs[0] in t.last:
        return call.other()
    strides = tuple(call.said.get("strides", (1, 1)))
    dilations = tuple(call.said.get("dilations", (1, 1)))
    pad = _padding(call.said, weight.shape[2:], strides)
    if pad is None:
        return call.other(f"Conv padded by {call.said.get('auto_pad')}")
    weights = {"weight": floats(weight)} | ({} if bias is None else {"bias": floats(bias)})
    groups = int(call.said.get("group", 1))
    if groups < 1 or weight.shape[0] % groups or (bias is not None and bias.shape != weight.shape[:1]):
        raise UserError(f"{t.where}: {call.name!r} is damaged: weight {weight.shape}, {groups} groups")
    return call.node("conv", 1, 2, weights=weights, stride=strides, dilation=dilations, pad=pad, groups=groups)


def _padding(said: dict[str, Any], kernel: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """ "same", or (left, right, top, bottom); None for SAME_LOWER where it differs from SAME_UPPER."""
    auto = said.get("auto_pad", "NOTSET")
    odd = all(side % 2 for side in kernel) and strides == (1, 1)
    if auto == "SAME_UPPER" or (auto == "SAME_LOWER" and odd):
        return "same"
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto != "NOTSET":
        return None
    top, left, bottom, right = said.get("pads", (0, 0, 0, 0))
    return left, right, top, bottom


def gemm(t: Translation, call: Call) -> Node:
    weight, bias, said = call.value(1), call.value(2), call.said
    if weight is None or weight.ndim != 2 or said.get("transA") or (call.given(2) and bias is None):
        return call.other()
    alpha, beta = float(said.get("alpha", 1.0)), float(said.get("beta", 1.0))
    matrix = floats(weight if said.get("transB") else weight.T) * np.float32(alpha)
    weights = {"weight": matrix}
    if bias is not None:
        if bias.size not in (1, len(matrix)):
            return call.other()
        weights["bias"] = np.broadcast_to(floats(bias).ravel() * np.float32(beta), len(matrix)).copy()
    return call.node("linear", 1, 2, weights=weights)


def matmul(t: Translation, call: Call) -> Node:
    weight = call.value(1)
    if weight is None or weight.ndim != 2 or t.rank(call.inputs[0]) != 2:
        return call.other()
    return call.node("linear", 1, weights={"weight": floats(weight.T)})


def batch_norm(t: Translation, call: Call) -> Node:
    values = [call.value(at) for at in range(1, 5)]
    if any(value is None for value in values) or call.said.get("training_mode") or call.inputs[0] in t.last:
        return call.other()
    roles = ("scale", "offset", "mean", "var")
    weights = {role: floats(value) for role, value in zip(roles, values) if value is not None}
    return call.node("norm", 1, 2, 3, 4, weights=weights, eps=float(call.said.get("epsilon", 1e-5)))


def add(t: Translation, call: Call) -> Node:
    return _elementwise(t, call, "add", lambda c, swapped: {"offset": c})


def multiply(t: Translation, call: Call) -> Node:
    return _elementwise(t, call, "mul", lambda c, swapped: {"scale": c})


def subtract(t: Translation, call: Call) -> Node:
    return _elementwise(
        t, call, "", lambda c, swapped: {"scale": -np.ones(1), "offset": c} if swapped else {"offset": -c}
    )


def divide(t: Translation, call: Call) -> Node:
    return _elementwise(t, call, "", lambda c, swapped: {} if swapped or not c.all() else {"scale": 1 / c})


def _elementwise(
    t: Translation, call: Call, op: str, weights: Callable[[np.ndarray, bool], dict[str, np.ndarray]]
) -> Node:
    """Of two values where `op` allows it, or of a value and a constant: `weights(constant, constant comes first)`."""
    if len(call.inputs) != 2:
        return call.other()
    if call.value(0) is None and call.value(1) is None:
        return _of_two(t, call, op)
    at = 0 if call.value(0) is not None else 1
    constant, x = call.values[at], call.inputs[1 - at]
    assert constant is not None
    if x in t.last:
        t.last.add(call.output)
    factors = _per_channel(t, x, constant)
    found = {} if factors is None else weights(factors, at == 0)
    if not found:
        return call.other()
    used = [at] if constant.size > 1 else []
    return call.node("affine", *used, inputs=[x], weights={role: floats(value) for role, value in found.items()})


def _per_channel(t: Translation, x: str, constant: np.ndarray) -> np.ndarray | None:
    """The constant as (1,) or (C,) in float64; None where it varies over anything but the channels of x."""
    if constant.dtype.kind not in "fiu" and constant.dtype.name != "bfloat16":
        return None
    values = constant.astype(np.float64)
    if values.size == 1:
        return values.reshape(1)
    rank = t.rank(x)
    if rank is None:  # (1, C, 1, 1) and (C, 1, 1) speak for themselves
        rank = 4 if values.ndim >= 3 and values.shape[-2:] == (1, 1) else None
    if rank not in (2, 4) or values.ndim > rank:
        return None
    sides = (1,) * (rank - values.ndim) + values.shape
    channel = 3 if x in t.last else 1
    return values.ravel() if sides[channel] == values.size else None


def _of_two(t: Translation, call: Call, op: str) -> Node:
    if not op:
        return call.other()
    a, b = call.inputs
    if (a in t.last) != (b in t.last) and not (t.is_point(a) or t.is_point(b)):
        return call.other()
    if a in t.last or b in t.last:
        t.last.add(call.output)
    channels = {t.channels(a), t.channels(b)} - {None}
    if len(channels) > 1:
        return call.other()
    return call.node(op, inputs=[a, b])


def global_pool(t: Translation, call: Call) -> Node:
    return call.other() if call.inputs[0] in t.last else call.node("pool")


def reduce_mean(t: Translation, call: Call) -> Node:
    x = call.inputs[0]
    axes, rank = axes_of(call.said, call.values), t.rank(x)
    if axes is None or rank is None:
        return call.other()
    places = tuple(sorted(axis % rank for axis in axes))
    if rank == 4 and places == t.spatial(x):
        t.follow(call)
        return call.node("pool")
    if rank == 4 and places == (3,) and x not in t.last and not call.said.get("keepdims", 1):
        t.means[call.output] = x
    if rank == 3 and places == (2,) and x in t.means:  # x.mean(3).mean(2)
        return call.node("pool", inputs=[t.means[x]])
    return call.other()


def average_pool(t: Translation, call: Call) -> Node:
    shape, kernel = t.shape(call.inputs[0]), tuple(call.said.get("kernel_shape", ()))
    plain = not any(call.said.get("pads", ())) and call.said.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if shape is None or shape[2:] != kernel or not plain or call.inputs[0] in t.last:
        return call.other()
    return call.node("pool")


def pad(t: Translation, call: Call) -> Node:
    pads = call.said.get("pads", call.said.get("paddings")) if call.value(1) is None else call.value(1)
    fill = call.said.get("value", 0.0) if call.value(2) is None else call.value(2)
    if pads is None or np.any(np.asarray(fill) != 0) or call.said.get("mode", "constant") != "constant":
        return call.other()
    amounts = np.asarray(pads).ravel().tolist()
    places = range(4) if call.value(3) is None else [int(axis) % 4 for axis in np.ravel(call.value(3))]  # type: ignore[arg-type]
    half = len(amounts) // 2
    if half != len(places) or t.rank(call.inputs[0]) not in (4, None):
        return call.other()
    around = {place: (amounts[at], amounts[half + at]) for at, place in enumerate(places)}
    height, width = t.spatial(call.inputs[0])
    (top, bottom), (left, right) = around.pop(height, (0, 0)), around.pop(width, (0, 0))
    if any(any(each) for each in around.values()) or min(top, bottom, left, right) < 0:
        return call.other()
    t.follow(call)
    numbers: Pad = (int(left), int(right), int(top), int(bottom))
    return call.node("pad", pad=numbers)
