"""TFLite's operators as the nodes of `graph.Graph`.

What each operator computes is tensorflow/lite/kernels'. Anything that no network of ours has stays in the graph as an
`other` node under TFLite's own name, so that a detector or a segmentation network can still be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..graph import Node, Op, Pad
from .layers import conv, depthwise, fully_connected
from .tensors import FLOATS, Model, Operator, TFLiteError
from .translation import ACTS, Translation


def translate(model: Model) -> Translation:
    """The model's operators as nodes. Raises TFLiteError for an operator that contradicts its own tensors."""
    made = Translation(model)
    for operator in model.operators:
        made.check(operator)
        if made.computes_shape(operator):
            made.made.update(operator.outputs)
            continue
        method = _METHODS.get(operator.kind)
        if method and (not operator.inputs or min(operator.inputs[:2]) < 0):
            raise TFLiteError(f"{operator.kind} {made.name(operator.outputs[0])!r} lacks an input")
        if not (method and method(made, operator)):
            made.other(operator)
        made.made.update(index for index in operator.outputs if index not in made.alias)
    return made


def _arithmetic(made: Translation, operator: Operator) -> bool:
    """ADD, MUL, SUB and DIV of a value and a constant per channel; ADD and MUL of two values."""
    if len(operator.inputs) != 2:
        return False
    a, b = operator.inputs
    if not made.constant(a) and not made.constant(b):
        ops: dict[str, Op] = {"ADD": "add", "MUL": "mul"}
        fits = _broadcasts(made.shape(a), made.shape(b)) or _broadcasts(made.shape(b), made.shape(a))
        return operator.kind in ops and fits and made.add(operator, ops[operator.kind], [a, b])
    first = made.constant(a)
    x, index = (b, a) if first else (a, b)
    constant = None if made.constant(x) else _per_channel(made, index, x)
    weights = None if constant is None else _affine(operator.kind, constant, first)
    if weights is None:
        return False
    return made.add(operator, "affine", [x], weights=weights, sources=made.sources(index))


def _broadcasts(large: tuple[int, ...], small: tuple[int, ...]) -> bool:
    """Whether the shapes are equal, or the second lacks only height and width: (N, 1, 1, C) or (N, C)."""
    if large == small:
        return True
    return len(large) == 4 and len(small) in (2, 4) and large[-1] == small[-1] and set(small[1:-1]) <= {1}


def _per_channel(made: Translation, index: int, x: int) -> np.ndarray | None:
    """The constant as (1,) or (C,); None where it differs over height and width or widens the value."""
    values, shape = made.real(index), made.shape(x)
    if values is None or values.size == 1:
        return None if values is None else values.reshape(1)
    if not shape or values.ndim > len(shape) or not values.size == values.shape[-1] == shape[-1]:
        return None
    return values.reshape(-1)


def _affine(kind: str, constant: np.ndarray, first: bool) -> dict[str, np.ndarray] | None:
    """Scale and offset of `value KIND constant`, or of `constant KIND value` where the constant comes `first`."""
    if kind == "ADD":
        return {"offset": constant}
    if kind == "MUL":
        return {"scale": constant}
    if kind == "SUB":
        return {"scale": np.array([-1], np.float32), "offset": constant} if first else {"offset": -constant}
    if first or np.any(constant == 0):
        return None
    return {"scale": (1 / constant.astype(np.float64)).astype(np.float32)}


def _pool(made: Translation, operator: Operator) -> bool:
    """AVERAGE_POOL_2D over the whole of height and width; smaller windows are no operation of ours."""
    x = operator.inputs[0]
    before, after = made.shape(x), made.shape(operator.outputs[0])
    if len(before) != 4 or len(after) != 4 or after[1:3] != (1, 1) or min(before[1:3]) < 1:
        return False
    whole = operator.options["FilterHeight"] >= before[1] and operator.options["FilterWidth"] >= before[2]
    return whole and made.add(operator, "pool", [x])


def _mean(made: Translation, operator: Operator) -> bool:
    """MEAN over height and width."""
    axes = made.integers(operator.inputs[1]) if len(operator.inputs) == 2 else None
    if axes is None or len(made.shape(operator.inputs[0])) != 4:
        return False
    return {int(axis) % 4 for axis in axes.flat} == {1, 2} and made.add(operator, "pool", operator.inputs[:1])


def _reshape(made: Translation, operator: Operator) -> bool:
    """`same` where only sides of 1 come and go, or where feature maps are flattened for one linear layer alone."""
    x, out = operator.inputs[0], operator.outputs[0]
    before, after = made.shape(x), made.shape(out)
    if made.constant(x) or not before or not after:
        return False
    if len(before) == 4 and max(before[1:3]) > 1 and before != after:
        flat = len(after) == 2 and min(before[1:]) > 0 and after[1] == int(np.prod(before[1:]))
        if not flat or out in made.model.outputs or out not in made.linear or made.takers[out] != 1:
            return False
        made.flattened[out] = before[1:]
    elif [side for side in before if side != 1] != [side for side in after if side != 1] or after[-1] != before[-1]:
        return False
    return made.add(operator, "same", [x])


def _same(made: Translation, operator: Operator) -> bool:
    """QUANTIZE and DEQUANTIZE; of a constant, they are that constant wherever it is taken."""
    x = operator.inputs[0]
    if not made.constant(x):
        return made.add(operator, "same", [x])
    if not made.tensor(x).weight:
        return False
    made.alias[operator.outputs[0]] = made.alias.get(x, x)
    return True


def _cast(made: Translation, operator: Operator) -> bool:
    """CAST of plain integers, an image of uint8 above all, to floating point."""
    before, after = made.tensor(operator.inputs[0]), made.model.tensors[operator.outputs[0]]
    if before.constant or before.scale is not None or after.type not in FLOATS:
        return False
    return made.add(operator, "same", operator.inputs[:1])


def _pad(made: Translation, operator: Operator) -> bool:
    """PAD and PADV2 of zeros around height and width."""
    paddings = made.integers(operator.inputs[1]) if len(operator.inputs) > 1 else None
    filling = made.real(operator.inputs[2]) if len(operator.inputs) > 2 else np.zeros(1)
    if paddings is None or paddings.shape != (4, 2) or filling is None or np.any(filling):
        return False
    if np.any(paddings[[0, 3]]) or paddings.min() < 0:
        return False
    (top, bottom), (left, right) = paddings[1].tolist(), paddings[2].tolist()
    pad: Pad = (left, right, top, bottom)
    return made.add(operator, "pad", operator.inputs[:1], pad=pad, sources=made.sources(*operator.inputs[2:]))


def _act(made: Translation, operator: Operator) -> bool:
    return made.add(operator, "act", operator.inputs[:1], act=ACTS[operator.kind])


def _gelu(made: Translation, operator: Operator) -> bool:
    """The exact GELU; the tanh approximation is another function."""
    return not operator.options["Approximate"] and made.add(operator, "act", operator.inputs[:1], act="gelu")


def _leaky_relu(made: Translation, operator: Operator) -> bool:
    slope = float(operator.options["Alpha"])
    return made.add(operator, "act", operator.inputs[:1], act="leaky_relu", slope=slope)


def _prelu(made: Translation, operator: Operator) -> bool:
    """A leaky ReLU where all channels have one slope."""
    slopes = made.real(operator.inputs[1]) if len(operator.inputs) == 2 else None
    if slopes is None or np.ptp(slopes) > 0:
        return False
    slope, sources = float(slopes.flat[0]), made.sources(operator.inputs[1])
    return made.add(operator, "act", operator.inputs[:1], act="leaky_relu", slope=slope, sources=sources)


def _softmax(made: Translation, operator: Operator) -> bool:
    """SOFTMAX over the classes of an image; over those of pixels or boxes it is no operation of ours."""
    if operator.options["Beta"] != 1 or any(side > 1 for side in made.shape(operator.inputs[0])[1:-1]):
        return False
    return made.add(operator, "softmax", operator.inputs[:1])


def _maximum(made: Translation, operator: Operator) -> bool:
    """MAXIMUM with 0: a ReLU, or with a MINIMUM with 6 before it a ReLU6."""
    x, limit, bound = _bound(made, operator)
    if bound != 0:
        return False
    before = _only_taken_here(made, x)
    if before and before.kind == "MINIMUM" and [w.ravel().tolist() for w in before.weights.values()] == [[6.0]]:
        return _clip(made, operator, before, limit)
    return made.add(operator, "act", [x], act="relu", sources=made.sources(limit))


def _minimum(made: Translation, operator: Operator) -> bool:
    """MINIMUM with 6 after a ReLU: a ReLU6."""
    x, limit, bound = _bound(made, operator)
    before = _only_taken_here(made, x)
    return bound == 6 and before is not None and before.act == "relu" and _clip(made, operator, before, limit)


def _bound(made: Translation, operator: Operator) -> tuple[int, int, float | None]:
    """The value, the constant it is compared with, and that number; None where there is none."""
    if len(operator.inputs) != 2:
        return -1, -1, None
    x, limit = sorted(operator.inputs, key=made.constant)
    values = made.real(limit)
    single = values is not None and values.size == 1 and not made.constant(x)
    return x, limit, float(values.flat[0]) if single and values is not None else None


def _only_taken_here(made: Translation, x: int) -> Node | None:
    """The node that makes the value, where one operator alone takes it."""
    if x < 0 or made.takers[x] != 1 or x in made.model.outputs or made.name(x) not in made.places:
        return None
    return made.nodes[made.places[made.name(x)]]


def _clip(made: Translation, operator: Operator, before: Node, limit: int) -> bool:
    """The node before and this one as one ReLU6."""
    output, sources = made.name(operator.outputs[0]), (*before.sources, *made.sources(limit))
    place = made.places[output] = made.places[before.output]
    made.nodes[place] = replace(
        before, op="act", act="relu6", kind="", weights={}, output=output, sources=tuple(dict.fromkeys(sources))
    )
    return True


_METHODS: dict[str, Callable[[Translation, Operator], bool]] = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": fully_connected,
    **dict.fromkeys(("ADD", "MUL", "SUB", "DIV"), _arithmetic),
    "AVERAGE_POOL_2D": _pool,
    "MEAN": _mean,
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), _same),
    "CAST": _cast,
    **dict.fromkeys(("PAD", "PADV2"), _pad),
    **dict.fromkeys(ACTS, _act),
    "GELU": _gelu,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "SOFTMAX": _softmax,
    "MAXIMUM": _maximum,
    "MINIMUM": _minimum,
}
