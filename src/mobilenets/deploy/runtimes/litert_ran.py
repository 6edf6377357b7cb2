"""What LiteRT made of a file: which operators XNNPACK took, and in which types the products compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import Ran

PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")
NAMES = {"int8": "int8", "uint8": "int8"}
TAKEN = "DELEGATE"


def ran(path: Path, threads: int) -> Ran:
    """Opens the file as it is opened to be run."""
    from .litert import LitertSession

    return told(LitertSession(path, threads).interpreter)


def told(interpreter: Any) -> Ran:
    """What an interpreter whose tensors are allocated, and which XNNPACK has seen, is about to run."""
    operators = interpreter._get_ops_details()  # no public function tells; benchmark_model reads the same
    types = {row["index"]: row["dtype"].__name__ for row in interpreter.get_tensor_details()}
    return of_operators(operators, types)


def of_operators(operators: Sequence[Mapping[str, Any]], types: Mapping[int, str]) -> Ran:
    """The same of operators (`op_name`, `inputs`, `outputs`) and the types of tensors by their number."""
    own = [row for row in operators if row["op_name"] != TAKEN]
    taken = taken_by_delegates(operators)
    kept = Counter(row["op_name"] for place, row in enumerate(own) if place not in taken)
    products = [row for row in own if row["op_name"] in PRODUCTS]
    precisions = Counter(_type(types[row["inputs"][0]]) for row in products)
    notes = []
    if kept:
        left = ", ".join(f"{count} {name}" for name, count in kept.most_common())
        notes.append(f"XNNPACK took {len(taken)} of {len(own)} operators, not {left}")
    mixed = sum(_type(types[row["inputs"][0]]) != _type(types[row["inputs"][1]]) for row in products)
    if mixed:
        notes.append(f"{mixed} products with weights of another type than what they multiply")
    return {
        "operators": dict(Counter(row["op_name"] for row in own).most_common()),
        "precisions": dict(precisions.most_common()),
        "notes": notes,
    }


def taken_by_delegates(operators: Sequence[Mapping[str, Any]]) -> set[int]:
    """The places of the operators that delegates run, counted without the delegates.

    A delegate stands behind the operators that it replaces; they are those on the way back from its outputs to its
    inputs.
    """
    own = [row for row in operators if row["op_name"] != TAKEN]
    makers = {int(tensor): place for place, row in enumerate(own) for tensor in row["outputs"]}
    taken: set[int] = set()
    for delegate in (row for row in operators if row["op_name"] == TAKEN):
        given = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            place = makers.get(tensor)
            if tensor in given or place is None or place in taken:
                continue
            taken.add(place)
            waiting += [int(source) for source in own[place]["inputs"]]
    return taken


def _type(name: str) -> str:
    return NAMES.get(name, name)
