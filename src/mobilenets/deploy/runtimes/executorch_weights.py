"""What weights a .pte file holds, read from the graphs that it carries for XNNPACK (their schema: schema.fbs, XN01)."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from ...extras import require

_TYPES = {1: "float32", 2: "float16", 3: "int8", 4: "uint8", 5: "int32", 6: "int8", 7: "int32", 8: "int4"}
_PLAIN, _QUANTISED = 1, 2  # the two forms of a value
_MAGIC = b"\0\0\0\0XH00"


def weights(data: bytes) -> dict[str, int]:
    """How many numbers the constants of XNNPACK's graphs hold, by type. Raises ValueError for a damaged graph."""
    found: Counter[str] = Counter()
    at = data.find(_MAGIC)
    while at >= 0:
        offset, size = (int.from_bytes(data[at + k : at + k + 4], "little") for k in (10, 14))
        if not 0 < size <= len(data) - at - offset:
            raise ValueError("a graph for XNNPACK lies outside the file")
        found += _constants(data[at + offset : at + offset + size])
        at = data.find(_MAGIC, at + offset + size)
    return dict(found)


def _constants(graph: bytes) -> Counter[str]:
    (flatbuffers,) = require("executorch", "flatbuffers")
    types = flatbuffers.number_types

    def slot(number: int) -> int:
        return 4 + 2 * number

    def inner(table: Any, number: int) -> Any:
        offset = table.Offset(slot(number))
        return flatbuffers.table.Table(graph, table.Indirect(table.Pos + offset))

    found: Counter[str] = Counter()
    root = flatbuffers.table.Table(graph, int.from_bytes(graph[:4], "little"))
    values = root.Offset(slot(2))
    start = root.Vector(values)
    for i in range(root.VectorLen(values)):
        value = flatbuffers.table.Table(graph, root.Indirect(start + 4 * i))
        kind = value.GetSlot(slot(0), 0, types.Uint8Flags)
        if kind not in (_PLAIN, _QUANTISED):
            raise ValueError(f"a value of an unknown form, {kind}")
        tensor = inner(value, 1)
        if kind == _QUANTISED:
            tensor = inner(tensor, 0)
        if tensor.GetSlot(slot(3), 0, types.Uint32Flags):
            dims, type_ = tensor.Offset(slot(2)), tensor.GetSlot(slot(0), 0, types.Int16Flags)
            begin = tensor.Vector(dims)
            shape = [tensor.Get(types.Uint32Flags, begin + 4 * k) for k in range(tensor.VectorLen(dims))]
            found[_TYPES.get(type_, f"type {type_}")] += math.prod(shape)
    return found
