"""From layers to blocks: which run of layers is which block of the papers, read off the graph's structure alone.

At the start of a block stands one value. What takes it decides: a depthwise convolution begins a separable block (or a
universal one, where no activation follows it), a 1x1 convolution before a depthwise one an inverted residual, any other
convolution a block of its own. A sum of a block's end and its start is its residual.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...arch.spec import Kind
from ..graph import Node
from .simplify import Layer, Simplified, consumers


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Squeeze-and-excite: its two layers (`excite` ends in the gate) and the operations around them."""

    reduce: Layer
    excite: Layer
    nodes: tuple[Node, ...]
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A block as it was found: its layers by part name, in the order of execution, and the value after it."""

    kind: Kind
    layers: dict[str, Layer]
    squeeze: Squeeze | None = None
    residual: bool = False
    nodes: tuple[Node, ...] = ()
    output: str


class Reader:
    """Reads blocks off a simplified graph. Pure look-ups: nothing is consumed by asking."""

    def __init__(self, simplified: Simplified) -> None:
        self.simplified = simplified
        self._nodes = consumers(simplified.nodes)
        self._layers: dict[str, list[Layer]] = {}
        for layer in simplified.layers:
            self._layers.setdefault(layer.input, []).append(layer)

    def block(self, start: str) -> Part | None:
        """The block that begins at the value, or None. Where several layers take it, the one that makes the most of it.

        Detectors tap feature maps for their heads: a depthwise or an inverted block goes on with the backbone.
        """
        found = [part for layer in self.layers_at(start) if (part := self._from(layer, start)) is not None]
        order = {"inverted": 0, "universal": 1, "separable": 2, "fused": 3, "conv": 4}
        return min(found, key=lambda part: order[part.kind], default=None)

    def layers_at(self, value: str) -> list[Layer]:
        """The convolutions and linear layers that take the value."""
        return self._layers.get(value, [])

    def nodes_at(self, value: str) -> list[Node]:
        """The other operations that take the value."""
        return self._nodes.get(value, [])

    def pool_at(self, value: str) -> Node | None:
        """The global average pooling of the value."""
        return next((node for node in self.nodes_at(value) if node.op == "pool"), None)

    def _from(self, first: Layer, start: str) -> Part | None:
        if first.linear:
            return None
        if first.depthwise:
            return self._separable(first, start)
        if first.pointwise:
            return self._inverted(first, start) or self._feed_forward(first, start) or self._single(first, start)
        if first.groups != 1:
            return None
        return self._fused(first, start) or self._single(first, start)

    def _separable(self, depthwise: Layer, start: str) -> Part | None:
        if depthwise.act == "identity":
            universal = self._universal(depthwise, start)
            if universal is not None:
                return universal
        squeeze = self._squeeze(depthwise)
        after = squeeze.output if squeeze else depthwise.output
        pointwise = self._pointwise_at(after)
        if pointwise is None:
            return None
        return self._end("separable", {"depthwise": depthwise, "pointwise": pointwise}, start, squeeze)

    def _universal(self, first: Layer, start: str) -> Part | None:
        """Depthwise without activation, expansion with one, then perhaps another depthwise, a linear projection."""
        expand = self._pointwise_at(first.output)
        if expand is None or expand.act == "identity" or first.c_out != first.c_in:
            return None
        layers = {"depthwise_start": first, "expand": expand}
        middle = self._depthwise_at(expand.output)
        if middle is not None and middle.act == expand.act and middle.c_out == middle.c_in:
            layers["depthwise_mid"] = middle
        project = self._pointwise_at(layers.get("depthwise_mid", expand).output)
        if project is None or project.act != "identity":
            return None
        return self._end("universal", layers | {"project": project}, start, None)

    def _inverted(self, expand: Layer, start: str) -> Part | None:
        depthwise = self._depthwise_at(expand.output)
        if depthwise is None or depthwise.act != expand.act or depthwise.c_out != depthwise.c_in:
            return None
        squeeze = self._squeeze(depthwise)
        project = self._pointwise_at(squeeze.output if squeeze else depthwise.output)
        if project is None:
            return None
        layers = {"expand": expand, "depthwise": depthwise, "project": project}
        return self._end("inverted", layers, start, squeeze)

    def _feed_forward(self, expand: Layer, start: str) -> Part | None:
        """A universal block without depthwise layers, known by its residual."""
        project = self._pointwise_at(expand.output)
        if project is None or project.act != "identity" or expand.act == "identity":
            return None
        part = self._end("universal", {"expand": expand, "project": project}, start, None)
        return part if part.residual else None

    def _fused(self, expand: Layer, start: str) -> Part | None:
        project = self._pointwise_at(expand.output)
        if project is None or project.act != "identity" or expand.act == "identity":
            return None
        return self._end("fused", {"expand": expand, "project": project}, start, None)

    def _single(self, layer: Layer, start: str) -> Part:
        return self._end("conv", {"conv": layer}, start, None)

    def _end(self, kind: Kind, layers: dict[str, Layer], start: str, squeeze: Squeeze | None) -> Part:
        """The finished part, with the residual sum where there is one."""
        end = list(layers.values())[-1].output
        add = next((node for node in self.nodes_at(end) if node.op == "add" and set(node.inputs) == {start, end}), None)
        return Part(
            kind=kind,
            layers=layers,
            squeeze=squeeze,
            residual=add is not None,
            nodes=() if add is None else (add,),
            output=end if add is None else add.output,
        )

    def _squeeze(self, before: Layer) -> Squeeze | None:
        value = before.output
        pool = self.pool_at(value)
        if pool is None:
            return None
        reduce = self._dense_at(pool.output)
        excite = self._dense_at(reduce.output) if reduce is not None else None
        if reduce is None or excite is None or excite.act not in ("sigmoid", "hard_sigmoid"):
            return None
        if not reduce.c_in == excite.c_out == before.c_out:
            return None
        for node in self.nodes_at(excite.output):
            if node.op == "mul" and set(node.inputs) == {value, excite.output}:
                return Squeeze(reduce, excite, (pool, node), node.output)
        return None

    def _dense_at(self, value: str) -> Layer | None:
        return next((each for each in self.layers_at(value) if each.pointwise), None)

    def _pointwise_at(self, value: str) -> Layer | None:
        return next((each for each in self.layers_at(value) if each.pointwise and not each.linear), None)

    def _depthwise_at(self, value: str) -> Layer | None:
        return next((each for each in self.layers_at(value) if each.depthwise), None)
