"""Hard-swish of int8 in two operators that XNNPACK has, in place of one that it has not.

XNNPACK takes no int8 HARD_SWISH: LiteRT then runs its own, one value at a time, and V3-Large in int8 is slower than in
float32. Here it becomes h = ADD(x, 3), whose int8 ends at 0 and 6 by itself, and y = MUL(x, h), which is six times
hard-swish: the scale that y states is six times as large, so its integers stand for hard-swish, and the layers that
take it state a sixth of the scale in their weights. Not one weight changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .file import new_constant, new_operator_code, operator_kinds, schema

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_LINEAR = ("PAD", "MEAN", "MUL", "RESHAPE")  # six times the input is six times the output
_SIX = np.float32(6)


def hard_swish_as_products_(model: Any) -> None:
    """Changes the records of a converted model (schema's ModelT) themselves."""
    graph = model.subgraphs[0]
    kinds = operator_kinds(model)
    places = [place for place, kind in enumerate(kinds) if kind == "HARD_SWISH" and _is_int8(graph, place)]
    if not places:
        return
    records = schema()
    add = new_operator_code(model, records.BuiltinOperator.ADD, version=2)  # the first that takes int8
    mul = new_operator_code(model, records.BuiltinOperator.MUL, version=2)
    three = new_constant(model, np.array([127], np.int8), scale=3 / 127)
    sixth = new_constant(model, np.array([127], np.int8), scale=1 / 6 / 127)
    made: dict[int, list[Any]] = {}
    for place in places:
        operator = graph.operators[place]
        (x,), (y,) = operator.inputs, operator.outputs
        h = _shifted(graph, int(x))
        first = records.OperatorT(opcodeIndex=add, inputs=[x, three], outputs=[h])
        first.builtinOptionsType, first.builtinOptions = records.BuiltinOptions.AddOptions, records.AddOptionsT()
        made[place] = [first, _product(records, mul, int(x), h, int(y))]
        changed = list(_takers(graph, kinds, int(y)))
        if None not in changed:
            for index, factor in [(int(y), _SIX), *(each for each in changed if each)]:
                quantisation = graph.tensors[index].quantization
                quantisation.scale = np.asarray(quantisation.scale, np.float32) * factor
        else:  # something adds it to another: hard-swish itself is needed
            whole = _like(graph, int(y), _SIX)
            made[place][1].outputs = [whole]
            made[place].append(_product(records, mul, whole, sixth, int(y)))
    graph.operators = [new for place, operator in enumerate(graph.operators) for new in made.get(place, [operator])]


def _takers(graph: Any, kinds: list[str], tensor: int) -> Iterator[tuple[int, np.float32] | None]:
    """(tensor, factor of its scale) for all that follows from six times `tensor`; None where that cannot be said."""
    if tensor in graph.outputs:
        yield None
    for kind, operator in zip(kinds, graph.operators):
        if tensor not in operator.inputs:
            continue
        if kind in _WEIGHTED and int(operator.inputs[0]) == tensor:
            yield int(operator.inputs[1]), 1 / _SIX
        elif kind in _LINEAR and list(operator.inputs).count(tensor) == 1:
            yield int(operator.outputs[0]), _SIX
            yield from _takers(graph, kinds, int(operator.outputs[0]))
        else:
            yield None


def _is_int8(graph: Any, place: int) -> bool:
    return bool(graph.tensors[graph.operators[place].inputs[0]].type == schema().TensorType.INT8)


def _shifted(graph: Any, x: int) -> int:
    """A new tensor for x + 3, from 0 to 6 or as far as x reaches; returns its index."""
    quantisation = graph.tensors[x].quantization
    reach = float(quantisation.scale[0]) * (127 - int(quantisation.zeroPoint[0])) + 3
    index = _like(graph, x, np.float32(1))
    graph.tensors[index].quantization.scale = np.array([min(reach, 6.0) / 255], np.float32)
    graph.tensors[index].quantization.zeroPoint = np.array([-128], np.int64)
    return index


def _like(graph: Any, tensor: int, factor: np.float32) -> int:
    """A new tensor of that shape, its scale times `factor`; returns its index."""
    records, old = schema(), graph.tensors[tensor]
    made = records.TensorT(shape=old.shape, type=old.type, buffer=0)
    made.quantization = records.QuantizationParametersT()
    made.quantization.scale = np.asarray(old.quantization.scale, np.float32) * factor
    made.quantization.zeroPoint = np.asarray(old.quantization.zeroPoint, np.int64)
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _product(records: Any, code: int, one: int, other: int, output: int) -> Any:
    operator = records.OperatorT(opcodeIndex=code, inputs=[one, other], outputs=[output])
    operator.builtinOptionsType, operator.builtinOptions = records.BuiltinOptions.MulOptions, records.MulOptionsT()
    return operator
