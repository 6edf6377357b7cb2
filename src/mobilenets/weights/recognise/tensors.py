"""Layers of a file as tensors under our names: BatchNorm with the network's epsilon, biases where they belong."""

from __future__ import annotations

import numpy as np

from ...arch.spec import Spec
from .simplify import BatchNorm, Layer


class TensorWriter:
    """Collects the state dict of `build_network(spec)` layer by layer, in float32.

    With `bgr` the first convolution's input channels are turned round, so that it takes RGB.
    """

    def __init__(self, spec: Spec, *, bgr: bool = False) -> None:
        self.spec = spec
        self._bgr = bgr
        self._state: dict[str, np.ndarray] = {}

    def convolution(self, name: str, layer: Layer) -> None:
        """A ConvNormAct: weight and BatchNorm, or weight and bias where this convolution is folded."""
        if self._normalised(name):
            norm = layer.norm
            assert norm is not None
            self._put(f"{name}.conv.weight", self._oriented(layer.weight))
            self._norm(f"{name}.norm", norm)
            return
        weight, bias = folded(layer)
        self._put(f"{name}.conv.weight", self._oriented(weight))
        self._put(f"{name}.conv.bias", bias)

    def dense(self, name: str, layer: Layer, *, linear: bool) -> None:
        """A 1x1 convolution with a bias, or with `linear` a linear layer; a BatchNorm after it is folded in."""
        weight, bias = folded(layer)
        self._put(f"{name}.weight", weight[:, :, 0, 0] if linear else weight)
        if not linear or self.spec.head.bias:
            self._put(f"{name}.bias", bias)

    def state(self) -> dict[str, np.ndarray]:
        """What was collected."""
        return self._state

    def _normalised(self, name: str) -> bool:
        if self.spec.norm.kind == "none":
            return False
        if name == "head.hidden":
            return self.spec.head.hidden_norm
        _, index, part = name.split(".")
        return part not in self.spec.blocks[int(index)].folded

    def _norm(self, name: str, norm: BatchNorm) -> None:
        """A layer with an epsilon of its own gets another variance, so that their sum stays."""
        self._put(f"{name}.weight", norm.scale)
        self._put(f"{name}.bias", norm.offset)
        self._put(f"{name}.running_mean", norm.mean)
        self._put(f"{name}.running_var", norm.var + (norm.eps - self.spec.norm.eps))
        self._state[f"{name}.num_batches_tracked"] = np.array(0, np.int64)

    def _oriented(self, weight: np.ndarray) -> np.ndarray:
        if not self._bgr:
            return weight
        self._bgr = False  # the first convolution alone sees the picture
        return weight[:, ::-1]

    def _put(self, name: str, values: np.ndarray) -> None:
        self._state[name] = np.ascontiguousarray(values, np.float32)


def folded(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias, float64, of the convolution with its BatchNorm folded in."""
    weight = layer.weight.astype(np.float64)
    bias = np.zeros(layer.c_out) if layer.bias is None else layer.bias.astype(np.float64)
    if layer.norm is None:
        return weight, bias
    factor = layer.norm.scale / np.sqrt(layer.norm.var + layer.norm.eps)
    return weight * factor[:, None, None, None], layer.norm.offset - layer.norm.mean * factor
