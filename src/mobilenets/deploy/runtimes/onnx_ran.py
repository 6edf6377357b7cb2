"""What onnxruntime made of a file: which kernels ran, in which types, by its own profile of a run."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import Ran, require

PRODUCTS = ("Conv", "MatMul", "Gemm")  # in the names of all that multiplies: FusedConv, QLinearConv, MatMulInteger
BOUNDARIES = 2  # one QuantizeLinear where the image comes in, one DequantizeLinear where the logits go out
NAMES = {"float": "float32", "uint8": "int8"}


def ran(path: Path, threads: int) -> Ran:
    """Runs the file once with onnxruntime's profiler on; its kernels are those of every other run."""
    (ort,) = require("onnx", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        size = session.get_inputs()[0].shape[1]
        session.run(None, {"image": np.zeros((1, size, size, 3), np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text())
    return told(events)


def told(events: Sequence[Mapping[str, Any]]) -> Ran:
    """What the events of a profile of one run say."""
    kernels = [event["args"] for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    operators = Counter(kernel["op_name"] for kernel in kernels)
    products = [kernel for kernel in kernels if any(word in kernel["op_name"] for word in PRODUCTS)]
    precisions = Counter(_type(kernel) for kernel in products)
    notes = []
    converting = operators["QuantizeLinear"] + operators["DequantizeLinear"]
    if converting > BOUNDARIES:
        notes.append(f"{converting} QuantizeLinear and DequantizeLinear run by themselves, not fused into operators")
    if precisions["int8"] and precisions["float32"]:
        left = Counter(kernel["op_name"] for kernel in products if _type(kernel) == "float32")
        notes.append("in float32: " + ", ".join(f"{count} {name}" for name, count in left.most_common()))
    if operators["Cast"] > 1 and not precisions["int8"]:
        notes.append(f"{operators['Cast']} casts between types")
    return {"operators": dict(operators.most_common()), "precisions": dict(precisions.most_common()), "notes": notes}


def _type(kernel: Mapping[str, Any]) -> str:
    """The type of a kernel's first input."""
    (name,) = kernel["input_type_shape"][0]
    return NAMES.get(name, name)
