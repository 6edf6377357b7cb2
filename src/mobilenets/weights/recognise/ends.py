"""The two ends of a network in a graph: its run of blocks from the input, and what stands before the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UserError
from ..graph import Node
from .grammar import Part, Reader
from .simplify import Layer, Simplified


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The head as it was found: its layers, and the operations that belong to it."""

    hidden: Layer | None
    classifier: Layer | None
    nodes: tuple[Node, ...]


def trunk(reader: Reader, start: str) -> tuple[list[Part], str]:
    found: list[Part] = []
    value = start
    while (part := reader.block(value)) is not None:
        found.append(part)
        value = part.output
    return found, value


def tail_of(reader: Reader, end: str, simplified: Simplified) -> Tail:
    """Pooling, a hidden layer where two layers follow, the classifier; each may be missing."""
    pool = reader.pool_at(end)
    value, nodes = (end, ()) if pool is None else (pool.output, (pool,))
    dense: list[Layer] = []
    while len(dense) < 2 and (following := [x for x in reader.layers_at(value) if x.pointwise]):
        dense.append(following[0])
        value = following[0].output
    if len(dense) == 1 and dense[0].act != "identity" and value not in simplified.outputs:
        return Tail(hidden=dense[0], classifier=None, nodes=nodes)
    hidden = dense[0] if len(dense) == 2 else None
    return Tail(hidden=hidden, classifier=dense[-1] if dense else None, nodes=nodes)


def refuse_rest(where: str, simplified: Simplified, found: Sequence[Part], tail: Tail) -> None:
    """Raises UserError when layers or operations stand outside the blocks and the head."""
    taken = {id(layer) for layer in layers_of(found, tail)}
    nodes = {id(node) for node in nodes_of(found, tail)}
    rest = [layer.name for layer in simplified.layers if id(layer) not in taken]
    rest += [f"{node.name} ({node.kind or node.op})" for node in simplified.nodes if id(node) not in nodes]
    if not rest:
        return
    shown = ", ".join(rest[:3]) + (f" and {len(rest) - 3} more" if len(rest) > 3 else "")
    raise UserError(
        f"{where}: not only a classifier: {len(found)} blocks are a MobileNet's, but {shown} are none of it; "
        "--backbone takes the blocks alone"
    )


def layers_of(found: Sequence[Part], tail: Tail) -> list[Layer]:
    layers = [layer for part in found for layer in part.layers.values()]
    layers += [layer for part in found if part.squeeze for layer in (part.squeeze.reduce, part.squeeze.excite)]
    return layers + [layer for layer in (tail.hidden, tail.classifier) if layer is not None]


def nodes_of(found: Sequence[Part], tail: Tail) -> list[Node]:
    nodes = [node for part in found for node in (*part.nodes, *(part.squeeze.nodes if part.squeeze else ()))]
    return [*nodes, *tail.nodes]
