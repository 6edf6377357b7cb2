"""The constants of an ONNX graph: initializers, Constant nodes, and what simple operations make of these.

Exporters leave a weight behind a cast, a transposition or a dequantisation; the value is worked out here, and the
file's own name of the tensor behind it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError

UNSCALED = ("int8", "uint8")  # `Constant.stored` between the cast of integers and the product with their scale
_MOST_VALUES = 2**28  # of one result: broadcasting could ask for more than any memory holds


@dataclass(frozen=True, slots=True)
class Constant:
    """A known value, and the names of the file's tensors behind it. `stored` tells how quantised weights are kept."""

    value: np.ndarray
    sources: tuple[str, ...]
    stored: str = ""


def read_constants(model: Any, path: Path) -> dict[str, Constant]:
    """Every value of the graph that does not depend on its input. Raises UserError for a tensor that is damaged."""
    found: dict[str, Constant] = {}
    for tensor in model.graph.initializer:
        found[tensor.name] = Constant(_array(tensor, path), (tensor.name,))
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            continue
        name = node.output[0]
        if node.op_type == "Constant":
            value = _constant_node(node, path)
            if value is not None:
                found[name] = Constant(value, (name,))
        elif node.op_type in _FOLDS and node.input and all(given in found for given in node.input if given):
            folded = _fold(node, [found[given] if given else None for given in node.input])
            if folded is not None:
                found[name] = folded
    return found


def attributes(node: Any) -> dict[str, Any]:
    """The node's attributes by name; texts as str."""
    import onnx

    said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in said.items()}


def _array(tensor: Any, path: Path) -> np.ndarray:
    import onnx

    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor, str(path.parent)))
    except (ValueError, TypeError, KeyError, OverflowError, OSError, onnx.checker.ValidationError) as error:
        line = " ".join(str(error).split())[:150]
        raise UserError(f"{path}: tensor {tensor.name!r} is damaged ({line})") from None


def _constant_node(node: Any, path: Path) -> np.ndarray | None:
    """The value of a Constant node; None for text and sparse tensors, which no network of ours has."""
    for name, value in attributes(node).items():
        if name == "value":
            return _array(value, path)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    return None


def _fold(node: Any, given: Sequence[Constant | None]) -> Constant | None:
    """What the operation makes of constants; None where it makes nothing of these."""
    first = given[0]
    if first is None:
        return None
    values = [None if each is None else each.value for each in given]
    try:
        with np.errstate(all="ignore"):
            value = _FOLDS[node.op_type](attributes(node), values)
    except (ValueError, TypeError, IndexError, OverflowError, np.exceptions.AxisError):
        return None
    if value is None:
        return None
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return Constant(value, first.sources, _stored(values) if node.op_type == "DequantizeLinear" else "")
    known = [each for each in given if each is not None]
    used = known if node.op_type in _ARITHMETIC else known[:1]  # the others' further inputs are shapes and axes
    stored = next((each.stored for each in used if each.stored), "")
    if node.op_type == "Cast" and first.value.dtype in (np.float16, np.int8, np.uint8):
        stored = str(first.value.dtype)
    if node.op_type == "Mul" and stored in UNSCALED:  # by a scale: a dequantisation in two steps
        scaled = any(each.value.size > 1 for each in known if not each.stored)
        stored = f"{stored}, per {'channel' if scaled else 'tensor'}"
    return Constant(value, tuple(dict.fromkeys(name for each in used for name in each.sources)), stored)


def _stored(values: Sequence[np.ndarray | None]) -> str:
    weight, scale = values[0], values[1]
    assert weight is not None
    assert scale is not None
    return f"{weight.dtype}, per {'channel' if scale.size > 1 else 'tensor'}"


def reshaped(value: np.ndarray, target: np.ndarray, allow_zero: bool) -> np.ndarray:
    """`value` in the shape that a Reshape asks for: 0 copies a side, -1 takes what is left."""
    sides = [int(side) for side in target]
    if not allow_zero:
        sides = [value.shape[at] if side == 0 else side for at, side in enumerate(sides)]
    return value.reshape(sides)


def axes_of(said: dict[str, Any], given: Sequence[np.ndarray | None]) -> tuple[int, ...] | None:
    """The axes of a Squeeze, an Unsqueeze or a reduction: an attribute, later the second input; None where absent."""
    if said.get("axes") is not None:
        return tuple(int(axis) for axis in said["axes"])
    if len(given) > 1 and given[1] is not None:
        return tuple(int(axis) for axis in np.ravel(given[1]))
    return None


def dequantised(
    said: dict[str, Any], value: np.ndarray, scale: np.ndarray, zero: np.ndarray | None
) -> np.ndarray | None:
    """(value - zero) * scale in float32, per tensor or along `axis`; None for blocks of an axis."""
    if said.get("block_size"):
        return None
    integers = value.astype(np.float64)
    if zero is not None:
        integers = integers - _along(zero.astype(np.float64), said, value.ndim)
    return (integers * _along(scale.astype(np.float64), said, value.ndim)).astype(np.float32)


def _along(values: np.ndarray, said: dict[str, Any], rank: int) -> np.ndarray:
    if values.size == 1:
        return values.reshape(())
    sides = [1] * rank
    sides[int(said.get("axis", 1))] = values.size
    return values.reshape(sides)


def _quantised(said: dict[str, Any], values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    value, scale = values[0], values[1]
    zero = values[2] if len(values) > 2 and values[2] is not None else np.zeros(1, np.uint8)
    if value is None or scale is None or said.get("block_size") or said.get("output_dtype"):
        return None
    if not np.issubdtype(zero.dtype, np.integer):
        return None
    limits = np.iinfo(zero.dtype)
    steps = np.rint(value.astype(np.float32) / _along(scale.astype(np.float32), said, value.ndim))
    return np.clip(steps + _along(zero.astype(np.float32), said, value.ndim), limits.min, limits.max).astype(zero.dtype)


def _cast(said: dict[str, Any], values: Sequence[Any]) -> np.ndarray | None:
    import onnx

    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(said["to"]))
    return values[0].astype(kind) if kind.kind in "fiub" else None


def _arithmetic(function: Callable[..., Any]) -> Callable[[dict[str, Any], Sequence[Any]], np.ndarray | None]:
    def fold(said: dict[str, Any], values: Sequence[Any]) -> np.ndarray | None:
        if math.prod(np.broadcast_shapes(*(value.shape for value in values))) > _MOST_VALUES:
            return None
        return np.asarray(function(*values), dtype=values[0].dtype)

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.trunc(a / b) if np.issubdtype(a.dtype, np.integer) else a / b


_ARITHMETIC = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divide),
    "Neg": _arithmetic(np.negative),
    "Sqrt": _arithmetic(np.sqrt),
    "Reciprocal": _arithmetic(np.reciprocal),
}
_FOLDS: dict[str, Callable[[dict[str, Any], Sequence[Any]], np.ndarray | None]] = {
    **_ARITHMETIC,
    "Identity": lambda said, values: values[0],
    "Cast": _cast,
    "Transpose": lambda said, values: np.transpose(values[0], said.get("perm")),
    "Reshape": lambda said, values: reshaped(values[0], values[1], bool(said.get("allowzero"))),
    "Squeeze": lambda said, values: np.squeeze(values[0], axes_of(said, values)),
    "Unsqueeze": lambda said, values: np.expand_dims(values[0], axes_of(said, values) or ()),
    "QuantizeLinear": _quantised,
    "DequantizeLinear": lambda said, values: dequantised(said, *values, *([None] if len(values) < 3 else [])),
}
