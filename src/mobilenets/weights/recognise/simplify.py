"""A graph with fewer, larger parts: each convolution with its normalisation and activation, hard forms named.

What formats write differently becomes the same here: padding as an operation of its own, BatchNorm in two layers,
constants multiplied and added, x * relu6(x + 3) / 6 spelt out, flattening and dropout in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import UserError
from ..graph import Graph, Node, Pad


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """The statistics and factors of a BatchNorm, (C,) each in float64."""

    mean: np.ndarray
    var: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    eps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A convolution (or a linear layer, as a 1x1 one) with what follows it. `act` is "identity" where nothing does.

    `weight` is (O, I / groups, kH, kW). Where there is a norm there is no bias: it went into the mean.
    """

    name: str
    input: str
    output: str
    weight: np.ndarray = field(repr=False)
    bias: np.ndarray | None = field(default=None, repr=False)
    norm: BatchNorm | None = field(default=None, repr=False)
    act: str = "identity"
    slope: float = 0.0
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: str | Pad = (0, 0, 0, 0)
    groups: int = 1
    linear: bool = False
    sources: tuple[str, ...] = ()

    @property
    def c_out(self) -> int:
        """Output channels."""
        return int(self.weight.shape[0])

    @property
    def c_in(self) -> int:
        """Input channels."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has filters of its own."""
        return self.groups > 1 and self.groups == self.c_in

    @property
    def pointwise(self) -> bool:
        """Whether it is an ungrouped 1x1 convolution of stride 1."""
        return self.groups == 1 and self.weight.shape[2:] == (1, 1) and self.stride == (1, 1)


@dataclass(frozen=True, kw_only=True)
class Simplified:
    """Layers and the operations left between them. `scale` and `offset` are what the graph itself does to its input."""

    layers: tuple[Layer, ...]
    nodes: tuple[Node, ...]
    input: str
    outputs: tuple[str, ...]
    scale: np.ndarray | None
    offset: np.ndarray | None
    input_sources: tuple[str, ...]


def simplify(graph: Graph) -> Simplified:
    """The graph's layers. Raises UserError for padding that no convolution can take over, or a value made twice."""
    made = {graph.input}
    for node in graph.nodes:
        if node.output in made:
            raise UserError(f"the graph is no graph: its value {node.output!r} is made twice")
        made.add(node.output)
    nodes, outputs = _without_formalities(graph)
    nodes = _with_hard_forms(nodes, outputs)
    nodes, start, scale, offset, sources = _input_affine(nodes, graph.input, graph.channels)
    layers, rest = _layers(nodes, outputs)
    return Simplified(
        layers=layers,
        nodes=rest,
        input=start,
        outputs=outputs,
        scale=scale,
        offset=offset,
        input_sources=sources,
    )


def consumers(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """For each value the operations that take it."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        for value in dict.fromkeys(node.inputs):
            found.setdefault(value, []).append(node)
    return found


def _without_formalities(graph: Graph) -> tuple[list[Node], tuple[str, ...]]:
    """The nodes without `same` and the softmax over the classes, the outputs moved to what these took."""
    alias: dict[str, str] = {}
    kept: list[Node] = []
    softmax: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(alias.get(value, value) for value in node.inputs)
        if node.op == "same":
            alias[node.output] = inputs[0]
        elif node.op == "softmax":
            softmax[node.output] = inputs[0]
            kept.append(replace(node, inputs=inputs))
        else:
            kept.append(replace(node, inputs=inputs))
    outputs = [alias.get(value, value) for value in graph.outputs]
    last = {value for value in outputs if value in softmax}
    kept = [node for node in kept if node.output not in last]
    outputs = [softmax.get(value, value) for value in outputs]
    return kept, tuple(dict.fromkeys(outputs))


def _with_hard_forms(nodes: list[Node], outputs: Sequence[str]) -> list[Node]:
    """relu6(x + 3) / 6 as one hard sigmoid, x times that as one hard swish, in either order of the factors."""
    takers = consumers(nodes)
    made = {node.output: node for node in nodes}
    gone: set[str] = set()
    new: dict[str, Node] = {}  # by the output it takes the place of
    order = {node.output: place for place, node in enumerate(nodes)}

    def alone(value: str) -> Node | None:
        found = takers.get(value, [])
        return found[0] if len(found) == 1 and value not in outputs else None

    for node in nodes:
        if not _adds(node, 3.0):
            continue
        x, clip = node.inputs[0], alone(node.output)
        if clip is None or clip.op != "act" or clip.act != "relu6":
            continue
        last = alone(clip.output)
        if last is None:
            continue
        parts = [node, clip, last]
        if _multiplies(last, 1 / 6):
            form = "hard_sigmoid"
        elif last.op == "mul":
            sixth = _sixth_of_product(last, x, clip.output, made, alone)
            if sixth is None:
                continue
            parts.append(sixth)
            form = "hard_swish"
        else:
            continue
        parts.sort(key=lambda part: order[part.output])
        gone |= {part.output for part in parts}
        new[parts[-1].output] = _act(form, x, parts)
    merged = [new.get(node.output, node) for node in nodes if node.output not in gone or node.output in new]
    return _with_hard_swish(_with_threes_taken_out(merged, outputs), outputs, made)


def _with_threes_taken_out(nodes: list[Node], outputs: Sequence[str]) -> list[Node]:
    """relu6(conv(x)) / 6 as a hard sigmoid of the convolution without the 3 in its bias.

    TensorFlow's converter adds the 3 of Keras' relu6(x + 3) / 6 into the bias of the convolution before it.
    """
    takers = consumers(nodes)
    made = {node.output: node for node in nodes}
    new: dict[str, Node | None] = {}

    def alone(value: str) -> Node | None:
        found = takers.get(value, [])
        return found[0] if len(found) == 1 and value not in outputs else None

    for clip in nodes:
        sixth = alone(clip.output) if clip.op == "act" and clip.act == "relu6" else None
        before = made.get(clip.inputs[0]) if sixth is not None else None
        if sixth is None or not _multiplies(sixth, 1 / 6) or before is None or alone(before.output) is not clip:
            continue
        gated = alone(sixth.output)
        if before.op not in ("conv", "linear") or "bias" not in before.weights or gated is None or gated.op != "mul":
            continue
        bias = (before.weights["bias"].astype(np.float64) - 3).astype(np.float32)
        new[before.output] = replace(before, weights=before.weights | {"bias": bias})
        new[clip.output] = None
        new[sixth.output] = _act("hard_sigmoid", before.output, [clip, sixth])
    replaced = (new.get(node.output, node) for node in nodes)
    return [node for node in replaced if node is not None]


def _sixth_of_product(
    product: Node, x: str, clipped: str, made: dict[str, Node], alone: Callable[[str], Node | None]
) -> Node | None:
    """The node that divides x * relu6(x + 3) by six: the product after it was made, or x before it was."""
    if set(product.inputs) == {x, clipped}:
        after = alone(product.output)
        return after if after is not None and _multiplies(after, 1 / 6) else None
    other = next((value for value in product.inputs if value != clipped), None)
    before = made.get(other) if other is not None and clipped in product.inputs else None
    if before is None or before.inputs[:1] != (x,) or not _multiplies(before, 1 / 6) or alone(before.output) is None:
        return None
    return before


def _with_hard_swish(nodes: list[Node], outputs: Sequence[str], made: dict[str, Node]) -> list[Node]:
    """x * hard_sigmoid(x) as one hard swish."""
    takers = consumers(nodes)
    gone: set[str] = set()
    new: dict[str, Node] = {}
    for node in nodes:
        if node.op != "act" or node.act != "hard_sigmoid" or node.output in outputs:
            continue
        found = takers.get(node.output, [])
        x = node.inputs[0]
        if len(found) == 1 and found[0].op == "mul" and set(found[0].inputs) == {x, node.output}:
            gone.add(node.output)
            new[found[0].output] = _act("hard_swish", x, [node, found[0]])
    return [new.get(node.output, node) for node in nodes if node.output not in gone]


def _act(act: str, x: str, parts: Sequence[Node]) -> Node:
    sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
    return Node(op="act", name=parts[-1].name, inputs=(x,), output=parts[-1].output, act=act, sources=sources)


def _adds(node: Node, value: float) -> bool:
    return node.op == "affine" and "scale" not in node.weights and _is(node.weights.get("offset"), value)


def _multiplies(node: Node, value: float) -> bool:
    return node.op == "affine" and "offset" not in node.weights and _is(node.weights.get("scale"), value)


def _is(values: np.ndarray | None, value: float) -> bool:
    return values is not None and bool(np.all(np.abs(values - value) < 1e-3 * abs(value)))


def _input_affine(
    nodes: list[Node], start: str, channels: int
) -> tuple[list[Node], str, np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Constants multiplied and added to the input itself, as one factor and one offset."""
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    sources: list[str] = []
    while True:
        takers = [node for node in nodes if start in node.inputs]
        if len(takers) != 1 or takers[0].op not in ("affine", "norm"):
            return nodes, start, scale, offset, tuple(sources)
        a, b = _factors(takers[0])
        if not {a.size, b.size} <= {1, channels}:
            return nodes, start, scale, offset, tuple(sources)
        scale = a if scale is None else scale * a
        offset = b if offset is None else offset * a + b
        sources += takers[0].sources
        nodes = [node for node in nodes if node is not takers[0]]
        start = takers[0].output


def _factors(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """The factor and the offset, float64, of an affine node or of a BatchNorm."""
    weights = {role: np.asarray(values, np.float64) for role, values in node.weights.items()}
    if node.op == "affine":
        return weights.get("scale", np.ones(1)), weights.get("offset", np.zeros(1))
    factor = weights.get("scale", 1.0) / np.sqrt(weights["var"] + node.eps)
    return np.asarray(factor), weights.get("offset", 0.0) - weights["mean"] * factor


def _layers(nodes: list[Node], outputs: Sequence[str]) -> tuple[tuple[Layer, ...], tuple[Node, ...]]:
    """Every convolution and linear layer with what belongs to it, and the nodes that belong to none."""
    takers = consumers(nodes)
    pads = {node.output: node for node in nodes if node.op == "pad"}
    used: set[int] = set()
    layers = []
    for node in nodes:
        if node.op not in ("conv", "linear"):
            continue
        layer = _begin(node, pads.get(node.inputs[0]))
        used.add(id(node))
        while layer.output not in outputs and len(takers.get(layer.output, [])) == 1:
            following = takers[layer.output][0]
            grown = _grow(layer, following)
            if grown is None:
                break
            layer = grown
            used.add(id(following))
            if layer.act != "identity":
                break
        layers.append(layer)
    for pad in pads.values():
        if all(taker.op == "conv" for taker in takers.get(pad.output, [])):
            used.add(id(pad))
    return tuple(layers), tuple(node for node in nodes if id(node) not in used)


def _begin(node: Node, pad: Node | None) -> Layer:
    weight = node.weights["weight"]
    padding: str | Pad = node.pad
    if pad is not None:
        if node.pad == "same" and any(pad.pad):
            raise UserError(f"{node.name}: padded by {pad.name} and by SAME padding too, which no network of ours has")
        padding = "same" if node.pad == "same" else _sum(pad.pad, node.pad)
    return Layer(
        name=node.name,
        input=pad.inputs[0] if pad is not None else node.inputs[0],
        output=node.output,
        weight=weight[:, :, None, None] if node.op == "linear" else weight,
        bias=node.weights.get("bias"),
        stride=node.stride,
        dilation=node.dilation,
        pad=padding,
        groups=node.groups,
        linear=node.op == "linear",
        sources=(*node.sources, *(pad.sources if pad is not None else ())),
    )


def _sum(outer: str | Pad, inner: str | Pad) -> Pad:
    a, b = ((0, 0, 0, 0) if isinstance(each, str) else each for each in (outer, inner))
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def _grow(layer: Layer, node: Node) -> Layer | None:
    """The layer with the operation after it taken in; None where that is no part of a layer."""
    layer = replace(layer, output=node.output, sources=(*layer.sources, *node.sources))
    if node.op == "act":
        return replace(layer, act=node.act, slope=node.slope)
    if node.op == "norm" and layer.norm is None:
        return replace(layer, norm=_batch_norm(node, layer.bias), bias=None)
    if node.op not in ("affine", "norm"):
        return None
    a, b = _factors(node)
    if not {a.size, b.size} <= {1, layer.c_out}:
        return None
    if layer.norm is not None:
        norm = replace(layer.norm, scale=layer.norm.scale * a, offset=layer.norm.offset * a + b)
        return replace(layer, norm=norm)
    bias = np.zeros(layer.c_out) if layer.bias is None else layer.bias.astype(np.float64)
    factors = np.broadcast_to(a, layer.c_out).reshape(-1, 1, 1, 1)
    weight = (layer.weight.astype(np.float64) * factors).astype(np.float32)
    return replace(layer, weight=weight, bias=(bias * a + b).astype(np.float32))


def _batch_norm(node: Node, bias: np.ndarray | None) -> BatchNorm:
    """The node's BatchNorm; a bias of the convolution before it is taken off its mean."""
    weights = {role: np.asarray(values, np.float64) for role, values in node.weights.items()}
    mean, var = weights["mean"], weights["var"]
    return BatchNorm(
        mean=mean if bias is None else mean - bias,
        var=var,
        scale=weights.get("scale", np.ones_like(mean)),
        offset=weights.get("offset", np.zeros_like(mean)),
        eps=node.eps,
    )
