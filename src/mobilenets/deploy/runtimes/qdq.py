"""A quantised ONNX graph in the form that runtimes turn into integer kernels.

torch's exporter writes each quantize and dequantize of the network as it stands. What is done here changes no result by
more than a rounding of the bias: a padding becomes the convolution's own; a clamp goes where the range of the int8
values that follow already ends there; biases become int32 in the scale of the accumulator; the logits stay float.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def for_onnxruntime_(model: Any) -> None:
    """Changes the ONNX `model` (a protocol buffer with QuantizeLinear and DequantizeLinear nodes) itself."""
    graph = Graph(model.graph)
    graph.simplify()
    graph.hard_swish_as_products()
    graph.integer_biases()
    graph.unsigned_activations()
    graph.write()


def for_openvino_(model: Any) -> None:
    """The same for OpenVINO, which computes a convolution and its hard-swish as one, in float up to the rounding."""
    graph = Graph(model.graph)
    graph.simplify()
    graph.join_activations()
    graph.write()


class Graph:
    """The nodes of an ONNX graph with who makes and who takes each value."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.nodes = list(graph.node)
        self.constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
        self._index()

    def _index(self) -> None:
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.takers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.takers[name].append(node)

    def write(self) -> None:
        """Puts the nodes that the outputs need back into the graph, and the initializers that those read."""
        from onnx import numpy_helper

        needed = {value.name for value in self.graph.output}
        kept: list[Any] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))
        del self.graph.initializer[:]
        self.graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in self.constants.items() if name in needed
        )
        del self.graph.value_info[:]  # types and shapes of what is no longer there

    def simplify(self) -> None:
        """What every runtime is the faster for."""
        self.paddings_into_convolutions()
        self.drop_requantisations()
        self.drop_clamps()
        self.float_output()

    def join_activations(self) -> None:
        """Conv -> Q -> DQ -> activation becomes Conv -> activation, where nothing else takes the output."""
        for node in self.nodes:
            if node.op_type not in ("HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu", "Gelu"):
                continue
            dequantizer = self.maker[node.input[0]]
            quantizer = self.maker[dequantizer.input[0]] if dequantizer.op_type == DEQUANTIZE else None
            if quantizer is not None and len(self.takers[quantizer.output[0]]) == 1:
                node.input[0] = quantizer.input[0]
        self._index()

    def paddings_into_convolutions(self) -> None:
        """x -> Pad -> Q -> DQ -> Conv becomes x -> Q -> DQ -> Conv with that padding: zero is exact in every scale."""
        for pad in [node for node in self.nodes if node.op_type == "Pad"]:
            quantizers = self.takers[pad.output[0]]
            convs = [
                conv
                for quantizer in quantizers
                for dequantizer in self.takers[quantizer.output[0]]
                for conv in self.takers[dequantizer.output[0]]
            ]
            if any(node.op_type != QUANTIZE for node in quantizers) or any(node.op_type != "Conv" for node in convs):
                continue
            before, after = np.split(self.constants[pad.input[1]], 2)
            for conv in convs:
                pads = next(a for a in conv.attribute if a.name == "pads").ints
                pads[:] = [int(a + b) for a, b in zip(pads, (*before[2:], *after[2:]))]
            for quantizer in quantizers:
                quantizer.input[0] = pad.input[0]
        self._index()

    def drop_requantisations(self) -> None:
        """DQ -> Q in one and the same scale changes nothing."""
        for node in self.nodes:
            source = self.maker.get(node.input[0])
            if node.op_type == QUANTIZE and source is not None and source.op_type == DEQUANTIZE:
                same = all(self._equal(a, b) for a, b in zip(node.input[1:], source.input[1:]))
                if same:
                    for taker in self.takers[node.output[0]]:
                        taker.input[0] = source.input[0]
        self._index()

    def drop_clamps(self) -> None:
        """Relu or Clip -> Q, where int8 ends at the clamp's own bounds or inside them: saturation does the work."""
        for node in self.nodes:
            takers = self.takers[node.output[0]]
            if node.op_type not in ("Relu", "Clip") or any(taker.op_type != QUANTIZE for taker in takers):
                continue
            low, high = self._bounds(node)
            if all(self._within(taker, low, high) for taker in takers):
                for taker in takers:
                    taker.input[0] = node.input[0]
        self._index()

    def _bounds(self, node: Any) -> tuple[float, float]:
        if node.op_type == "Relu":
            return 0.0, np.inf
        low, high = ([*node.input[1:], "", ""])[:2]
        return float(self.constants[low]) if low else -np.inf, float(self.constants[high]) if high else np.inf

    def _within(self, quantizer: Any, low: float, high: float) -> bool:
        """Whether the values that the quantizer can express lie in low...high, but for a thousandth of a step."""
        scale, zero = (self.constants[name] for name in quantizer.input[1:])
        slack = 1e-3 * float(scale)
        least, most = ((end - float(zero)) * float(scale) for end in (-128, 127))
        return least >= low - slack and most <= high + slack

    def float_output(self) -> None:
        """... -> Q -> DQ -> logits loses its last two nodes: nothing comes after that would need integers."""
        (output,) = self.graph.output
        last = self.maker[output.name]
        quantizer = self.maker.get(last.input[0])
        if last.op_type != DEQUANTIZE or quantizer is None or quantizer.op_type != QUANTIZE:
            return
        source = self.maker[quantizer.input[0]]
        source.output[0] = output.name
        self.nodes = [node for node in self.nodes if node is not last and node is not quantizer]
        self._index()

    def integer_biases(self) -> None:
        """Biases as int32 in the scale of the accumulator, input scale times weight scale, one per channel."""
        from onnx import helper

        nodes: list[Any] = []
        for node in self.nodes:
            if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2] in self.constants:
                source, weight = (self.maker.get(name) for name in node.input[:2])
                if source is not None and weight is not None and source.op_type == weight.op_type == DEQUANTIZE:
                    name = f"{node.output[0]}_bias"
                    scale = (self.constants[source.input[1]] * self.constants[weight.input[1]]).astype(np.float32)
                    steps = np.rint(self.constants[node.input[2]].astype(np.float64) / scale)
                    self.constants[name] = np.clip(steps, -(2**31) + 1, 2**31 - 1).astype(np.int32)
                    self.constants[f"{name}_scale"] = np.broadcast_to(scale, steps.shape).copy()
                    nodes.append(
                        helper.make_node(
                            DEQUANTIZE, [name, f"{name}_scale"], [f"{name}_float"], name=f"{name}_float", axis=0
                        )
                    )
                    node.input[2] = f"{name}_float"
            nodes.append(node)
        self.nodes = nodes
        self._index()

    def hard_swish_as_products(self) -> None:
        """DQ -> HardSwish -> Q becomes h = x + 3, whose int8 ends at 0 and 6 by itself, and x * h in six-fold scale.

        onnxruntime has integer kernels for the sum and the product and none for hard-swish, which it computes in float,
        in several passes. The integers of the output stand for hard-swish, so that nothing else changes.
        """
        from onnx import helper

        nodes: list[Any] = []
        for node in self.nodes:
            source = self.maker.get(node.input[0])
            takers = self.takers[node.output[0]]
            if node.op_type != "HardSwish" or source is None or source.op_type != DEQUANTIZE:
                nodes.append(node)
                continue
            if any(taker.op_type != QUANTIZE for taker in takers):
                nodes.append(node)
                continue
            name = node.output[0]
            scale, zero = (self.constants[each] for each in source.input[1:])
            reach = float(scale) * (127 - int(zero)) + 3
            self.constants |= {
                f"{name}_three": np.array(127, np.int8),
                f"{name}_three_scale": np.array(3 / 127, np.float32),
                f"{name}_three_zero": np.array(0, np.int8),
                f"{name}_shifted_scale": np.array(min(reach, 6.0) / 255, np.float32),
                f"{name}_shifted_zero": np.array(-128, np.int8),
            }
            three = [f"{name}_three", f"{name}_three_scale", f"{name}_three_zero"]
            shifted = [f"{name}_shifted_scale", f"{name}_shifted_zero"]
            for kind, inputs, output in (
                (DEQUANTIZE, three, f"{name}_three_float"),
                ("Add", [node.input[0], f"{name}_three_float"], f"{name}_sum"),
                (QUANTIZE, [f"{name}_sum", *shifted], f"{name}_shifted"),
                (DEQUANTIZE, [f"{name}_shifted", *shifted], f"{name}_shifted_float"),
                ("Mul", [node.input[0], f"{name}_shifted_float"], name),
            ):
                nodes.append(helper.make_node(kind, inputs, [output], name=output))
            for taker in takers:
                self.constants[f"{taker.output[0]}_six_scale"] = self.constants[taker.input[1]] * np.float32(6)
                taker.input[1] = f"{taker.output[0]}_six_scale"
        self.nodes = nodes
        self._index()

    def unsigned_activations(self) -> None:
        """uint8 in place of int8, 128 higher, the same numbers, but for weights: what x86 multiplies fastest."""
        shifted: dict[str, str] = {}
        for node in self.nodes:
            if node.op_type not in (QUANTIZE, DEQUANTIZE) or self._is_weight(node):
                continue
            for index in (0, 2) if node.op_type == DEQUANTIZE else (2,):
                name = node.input[index] if index < len(node.input) else ""
                if name in self.constants and self.constants[name].dtype == np.int8:
                    shifted.setdefault(name, f"{name}_unsigned")
                    node.input[index] = shifted[name]
        for name, new in shifted.items():
            self.constants[new] = (self.constants[name].astype(np.int16) + 128).astype(np.uint8)
        self._index()

    def _is_weight(self, node: Any) -> bool:
        """Whether the node dequantizes a constant of a convolution or a matrix product."""
        return (
            node.op_type == DEQUANTIZE and node.input[0] in self.constants and self.constants[node.input[0]].ndim >= 2
        )

    def _equal(self, one: str, other: str) -> bool:
        return one == other or bool(np.array_equal(self.constants[one], self.constants[other]))
