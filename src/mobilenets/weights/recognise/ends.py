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
    end: str


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
        return Tail(hidden=dense[0], classifier=None, nodes=nodes, end=value)
    hidden = dense[0] if len(dense) == 2 else None
    return Tail(hidden=hidden, classifier=dense[-1] if dense else None, nodes=nodes, end=value)


def refuse_rest(where: str, simplified: Simplified, found: Sequence[Part], tail: Tail) -> None:
    """Raises UserError when layers or operations stand outside the blocks and the head."""
    taken = {id(layer) for layer in layers_of(found, tail)}
    nodes = {id(node) for node in nodes_of(found, tail)}
    rest = [layer.name for layer in simplified.layers if id(layer) not in taken]
    rest += [f"{node.name} ({node.kind or node.op})" for node in simplified.nodes if id(node) not in nodes]
    if not rest:
        _refuse_ends(where, simplified, found, tail)
        return
    shown = ", ".join(name[:60] for name in rest[:3]) + (f" and {len(rest) - 3} more" if len(rest) > 3 else "")
    raise UserError(
        f"{where}: not only a classifier: {len(found)} blocks are a MobileNet's, but {shown} are none of it; "
        "`weights convert --backbone` takes the blocks alone"
    )


def _refuse_ends(where: str, simplified: Simplified, found: Sequence[Part], tail: Tail) -> None:
    """Raises UserError for a head that computes something else than ours does."""
    others = [value for value in simplified.outputs if value != tail.end]
    if others:
        raise UserError(f"{where}: gives {others[0]!r} too, which is not the end of the network; ours has one output")
    channels = list(found[-1].layers.values())[-1].c_out
    for layer in (tail.hidden, tail.classifier):
        if layer is not None:
            if layer.c_in != channels:
                raise UserError(
                    f"{where}: {layer.name!r} takes {layer.c_in} values where {channels} channels are pooled; ours "
                    "pools before its classifier"
                )
            channels = layer.c_out
    if tail.classifier is not None and tail.classifier.act != "identity":
        raise UserError(f"{where}: its classifier ends in {tail.classifier.act}; a network of ours ends in logits")


def layers_of(found: Sequence[Part], tail: Tail) -> list[Layer]:
    layers = [layer for part in found for layer in part.layers.values()]
    layers += [layer for part in found if part.squeeze for layer in (part.squeeze.reduce, part.squeeze.excite)]
    return layers + [layer for layer in (tail.hidden, tail.classifier) if layer is not None]


def nodes_of(found: Sequence[Part], tail: Tail) -> list[Node]:
    nodes = [node for part in found for node in (*part.nodes, *(part.squeeze.nodes if part.squeeze else ()))]
    return [*nodes, *tail.nodes]
