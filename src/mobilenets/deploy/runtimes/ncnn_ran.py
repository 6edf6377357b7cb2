"""What ncnn made of a file: its layers, and the type that each multiplies in on this processor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from . import Ran

PRODUCTS = ("Convolution", "ConvolutionDepthWise", "InnerProduct", "Gemm", "MatMul", "MultiHeadAttention")
MOVED = ("Input", "Split", "Noop")  # no work


def ran(path: Path, threads: int) -> Ran:
    """Opens the file as it is opened to be run."""
    from .ncnn import NcnnSession

    return told(NcnnSession(path, threads).net)


def told(net: Any) -> Ran:
    """What a loaded net is about to run. ncnn takes a layer in float32 where its kernels have no narrower type."""
    layers = net.layers()
    operators = Counter(layer.type for layer in layers if layer.type not in MOVED)
    precisions = Counter(_type(layer, net.opt) for layer in layers if layer.type in PRODUCTS)
    return {"operators": dict(operators.most_common()), "precisions": dict(precisions.most_common()), "notes": []}


def _type(layer: Any, options: Any) -> str:
    if options.use_fp16_arithmetic and options.use_fp16_storage and layer.support_fp16_storage:
        return "float16"
    if options.use_bf16_storage and layer.support_bf16_storage:
        return "bfloat16"
    return "float32"
