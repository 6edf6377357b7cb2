"""What of a network its latency depends on: work, memory traffic and number of its layers, by kind. No torch."""

from __future__ import annotations

import math

import numpy as np

from ...arch.graph import graph
from ...arch.spec import Spec

KINDS = ("conv", "depthwise", "pointwise", "linear", "other")
_TAKEN = {"conv": "conv", "depthwise": "depthwise", "pointwise": "pointwise", "linear": "linear"}


def features(spec: Spec) -> np.ndarray:
    """float64 (16,), each 0 or more: for every kind multiply-adds (1e6), values moved (1e6) and layers; and 1.

    Values moved are those of inputs, output and weights. Kinds are KINDS; attention's products count as `other`.
    """
    found = np.zeros((len(KINDS), 3))
    shapes = {"input": (spec.in_channels, spec.resolution, spec.resolution)}
    for op in graph(spec):
        kind = _TAKEN.get(op.kind, "other")
        moved = math.prod(op.shape) + sum(math.prod(shapes[name]) for name in op.inputs) + op.weights
        found[KINDS.index(kind)] += (op.macs + op.macs_attention) / 1e6, moved / 1e6, 1
        shapes[op.name] = op.shape
    return np.append(found.ravel(), 1.0)
