"""What OpenVINO made of a file: the type of every operator that the compiled network runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from . import Ran

PRODUCTS = ("Convolution", "FullyConnected", "MatMul", "GroupConvolution")
MOVED = ("Input", "Output", "Const", "Reshape")  # no work
NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "u8": "int8", "i8": "int8"}


def ran(path: Path, threads: int) -> Ran:
    """Opens the file as it is opened to be run."""
    from .openvino import OpenVinoSession

    return told(OpenVinoSession(path, threads).request.get_compiled_model())


def told(compiled: Any) -> Ran:
    """What a compiled network says of itself."""
    rounds = int(compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")) > 0  # activations, to int8, image by image
    rows = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind, precision = _word(info, "layerType"), _word(info, "runtimePrecision")
        if kind in PRODUCTS and not rounds:
            precision = _multiplied(node, precision)
        rows.append((kind, precision))
    return of_operators(rows)


def of_operators(rows: list[tuple[str, str]]) -> Ran:
    """The same of (layer type, type that it runs in) pairs."""
    operators = Counter(kind for kind, _ in rows if kind not in MOVED)
    precisions = Counter(NAMES.get(precision, precision) for kind, precision in rows if kind in PRODUCTS)
    notes = []
    if precisions["int8"] and precisions["float32"] + precisions["bfloat16"]:
        left = Counter(f"{kind} in {NAMES.get(precision, precision)}" for kind, precision in rows if kind in PRODUCTS)
        others = [f"{count} {name}" for name, count in left.most_common() if not name.endswith("int8")]
        notes.append("not in int8: " + ", ".join(others))
    if operators["FakeQuantize"]:
        notes.append(f"{operators['FakeQuantize']} FakeQuantize run by themselves, not fused into operators")
    return {"operators": dict(operators.most_common()), "precisions": dict(precisions.most_common()), "notes": notes}


def _multiplied(node: Any, precision: str) -> str:
    """The type that a product computes in: OpenVINO says int8 of one whose weights alone are stored so."""
    taken = str(node.input(0).get_element_type().get_type_name())
    return taken if NAMES.get(precision) == "int8" != NAMES.get(taken) else precision


def _word(info: Any, key: str) -> str:
    """A value of the runtime information, which may be wrapped."""
    if key not in info:
        return ""
    value = info[key]
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
