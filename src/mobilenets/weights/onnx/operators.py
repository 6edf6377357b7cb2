"""Which function translates which ONNX operator, and the walk over a file's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import UserError
from ..graph import Node
from . import activations, layers, layouts
from .constants import attributes
from .translation import Call, Translation


def translate(model: Any, image: str, t: Translation) -> list[Node]:
    """Every operator as a Node, in order. Raises UserError where one takes what nothing gave, or gives it twice."""
    known = {image}
    for proto in model.graph.node:
        if all(name in t.constants for name in proto.output):
            continue
        missing = [name for name in proto.input if name and name not in known and name not in t.constants]
        if missing:
            raise UserError(f"{t.where}: {proto.op_type} takes {missing[0]!r}, which nothing before it gives")
        for output in filter(None, proto.output):
            if output in known:
                raise UserError(f"{t.where}: {proto.op_type} gives {output!r} a second time")
            t.nodes[output] = _node(t, _call(t, proto, output), output == proto.output[0])
            known.add(output)
    return t.finish()


def _call(t: Translation, proto: Any, output: str) -> Call:
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
    given = [t.constants.get(name) for name in proto.input]
    return Call(
        kind=domain + proto.op_type,
        name=proto.name or output,
        said=attributes(proto),
        inputs=tuple(proto.input),
        values=tuple(None if each is None else each.value for each in given),
        sources=tuple(() if each is None else each.sources for each in given),
        output=output,
    )


def _node(t: Translation, call: Call, first: bool) -> Node:
    """`other` for an operator that is not in the table, that acts on no value, or whose further outputs are used."""
    function = _OPERATORS.get(call.kind)
    idle = not call.given(0) or (call.value(0) is not None and call.kind not in _OF_TWO)
    if function is None or idle or not first:
        return call.other()
    try:
        return function(t, call)
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"{t.where}: {call.kind} {call.name!r} has attributes that do not fit it") from error


_OF_TWO = ("Add", "Sub", "Mul", "Div", "Max", "Min")  # of which either may be a constant
_OPERATORS: dict[str, Callable[[Translation, Call], Node]] = {
    "Add": layers.add,
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Cast": layouts.cast,
    "Clip": activations.clip,
    "Conv": layers.conv,
    "DequantizeLinear": activations.dequantize,
    "Div": layers.divide,
    "Dropout": layouts.dropout,
    "Flatten": layouts.flatten,
    "Gelu": activations.gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.global_pool,
    "HardSigmoid": activations.hard_sigmoid,
    "HardSwish": activations.activation("hard_swish"),
    "Identity": layouts.same,
    "LeakyRelu": activations.leaky_relu,
    "MatMul": layers.matmul,
    "Max": activations.maximum,
    "Min": activations.minimum,
    "Mul": layers.multiply,
    "PRelu": activations.prelu,
    "Pad": layers.pad,
    "QuantizeLinear": activations.quantize,
    "ReduceMean": layers.reduce_mean,
    "Relu": activations.relu,
    "Reshape": layouts.reshape,
    "Sigmoid": activations.activation("sigmoid"),
    "Softmax": activations.softmax,
    "Squeeze": layouts.squeeze,
    "Sub": layers.subtract,
    "Transpose": layouts.transpose,
    "Unsqueeze": layouts.unsqueeze,
}
