"""Which tensors of a MobileNet become int8: the annotation that torchao's export path (PT2E) asks for.

Weights are symmetric per output channel, -127..127; activations affine per tensor, -128..127, over the range that
calibration saw; biases stay float, for every runtime has its own int32 form of them. A convolution and its ReLU or
ReLU6 count as one operator. Whatever only moves values (padding, reshaping) keeps its input's scale, and what is not
listed here (attention's softmax, the first subtraction) computes in float between its neighbours' scales.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

from .graph import WEIGHTED, aten
from .points import PerChannelPoint, PerTensorPoint, Point, UnitPoint

KEY = "quantization_annotation"


def _activation(point: Any) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=point,
    )


def _unit(levels: int) -> QuantizationSpec:
    """0 to 1 in so many steps, whatever was seen."""
    return _activation(UnitPoint.with_args(levels=levels))


ACTIVATION = _activation(Point)
PER_CHANNEL = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=PerChannelPoint,
)
PER_TENSOR = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_tensor_symmetric,
    observer_or_fake_quant_ctr=PerTensorPoint,
)
_CLAMPS = (aten.relu.default, aten.hardtanh.default)
_OUTPUT: dict[Any, QuantizationSpecBase] = {
    aten.relu.default: ACTIVATION,
    aten.hardtanh.default: ACTIVATION,
    aten.hardswish.default: ACTIVATION,
    aten.leaky_relu.default: ACTIVATION,
    aten.gelu.default: ACTIVATION,
    aten.adaptive_avg_pool2d.default: ACTIVATION,
    aten.add.Tensor: ACTIVATION,
    aten.mul.Tensor: ACTIVATION,
    aten.hardsigmoid.default: _activation(
        UnitPoint.with_args(levels=255)
    ),  # its end, 1, is often reached and must be exact
    aten.sigmoid.default: _activation(
        UnitPoint.with_args(levels=256)
    ),  # the one scale that LiteRT's and XNNPACK's logistic operators know
}
"""Operators of one or two activations, and the scale of what they give."""
_MOVES = (aten.pad.default, aten.flatten.using_ints)


class MobileQuantizer(Quantizer):
    """Annotates a graph of torch.export for int8. `per_channel`: the weights of convolutions and linears."""

    def __init__(self, *, per_channel: bool = True) -> None:
        self.weight = PER_CHANNEL if per_channel else PER_TENSOR

    def annotate(self, model: GraphModule) -> GraphModule:
        """Writes the annotations into `model` itself, in the graph's order."""
        for node in model.graph.nodes:
            rule = self._rule(node)
            if rule is not None and KEY not in node.meta:
                rule(node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Everything that is annotated is supported by every runtime or computes in float there."""

    def _rule(self, node: Node) -> Callable[[Node], None] | None:
        if node.op != "call_function":
            return None
        if node.target in WEIGHTED:
            return self._weighted
        if node.target in _OUTPUT and all(_is_activation(each) for each in node.all_input_nodes):
            return partial(_pointwise, output=_OUTPUT[node.target])
        if node.target in _MOVES and KEY in _source(node).meta:
            return _moved
        return None

    def _weighted(self, node: Node) -> None:
        """A convolution or a linear layer, together with the clamp that alone takes its output."""
        source, weight = _source(node), node.args[1]
        assert isinstance(weight, Node)
        follower = next(iter(node.users)) if len(node.users) == 1 else None
        fused = follower is not None and follower.target in _CLAMPS
        inputs: dict[Node, QuantizationSpecBase | None] = {source: ACTIVATION, weight: self.weight}
        _annotate(node, inputs, None if fused else ACTIVATION)
        if fused and follower is not None:
            _annotate(follower, {}, ACTIVATION)


def _pointwise(node: Node, output: QuantizationSpecBase) -> None:
    _annotate(node, dict.fromkeys(node.all_input_nodes, ACTIVATION), output)


def _moved(node: Node) -> None:
    source = _source(node)
    _annotate(node, {source: ACTIVATION}, SharedQuantizationSpec((source, node)))


def _annotate(node: Node, inputs: dict[Node, QuantizationSpecBase | None], output: QuantizationSpecBase | None) -> None:
    node.meta[KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def _source(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _is_activation(node: Node) -> bool:
    """Whether the node is a computed feature map, not a constant and not the subtraction of the mean."""
    value = node.meta.get("val")
    computed = node.op == "call_function" and isinstance(value, torch.Tensor) and value.is_floating_point()
    return computed and node.target is not aten.sub.Tensor
