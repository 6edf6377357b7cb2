"""One network out of the two files in which it was published: a body, and a head that takes what the body gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import UserError
from .graph import Graph, Node, Source

_Reference = Callable[[np.ndarray], np.ndarray]


def join(first: Source, second: Source) -> Source:
    """The network whose first part's output is the second part's input; images go into the first.

    Where both parts use a name, the second part's gets "second part: " before it. Raises UserError where output and
    input differ in type, shape, scale or zero point, and says so where the two parts come in the wrong order.
    """
    names = first.facts.get("file", "the first file"), second.facts.get("file", "the second file")
    where = f"{names[0]}, {names[1]}"
    body, head = first.graph, second.graph
    if body is None or head is None or first.format != second.format:
        raise UserError(f"{where}: no two parts of one network: {first.format} and {second.format}")
    misfit = _misfit(first, body, second, head)
    if misfit:
        if not _misfit(second, head, first, body):
            raise UserError(f"{where}: the parts come in the wrong order; name {names[1]} first")
        raise UserError(f"{where}: no two parts of one network: {misfit}")
    renamed = _apart(head, body)
    counts = [int(source.facts.get("operators", "0")) for source in (first, second)]
    kinds = dict.fromkeys(source.quantisation for source in (first, second) if source.quantisation)
    facts = {**second.facts, **first.facts, "file": " and ".join(names), "operators": str(sum(counts))}
    facts |= {"output": second.facts["output"]} if "output" in second.facts else {}
    facts.pop("labels", None)
    return replace(
        first,
        graph=replace(
            body,
            nodes=(*body.nodes, *renamed.nodes),
            outputs=renamed.outputs,
            tensors=(*body.tensors, *renamed.tensors),
            set_aside={**body.set_aside, **renamed.set_aside},
        ),
        quantisation=" and ".join(kinds),
        labels=second.labels,
        facts=facts | ({"labels": second.facts["labels"]} if "labels" in second.facts else {}),
    )


def join_references(first: _Reference | None, second: _Reference | None) -> _Reference | None:
    """The runtimes of both parts, one after the other; None where either is absent.

    The first gives real numbers, which the second stores in its input's own scale: the very integers of the first.
    """
    if first is None or second is None:
        return None
    return lambda images: second(first(images))


def _misfit(first: Source, body: Graph, second: Source, head: Graph) -> str:
    """Why the second cannot take what the first gives; empty where it can."""
    if len(body.outputs) != 1:
        return f"the first gives {len(body.outputs)} values"
    given, taken = first.facts.get("output"), second.facts.get("input")
    if given != taken:
        return f"the first gives {given}, the second takes {taken}"
    channels = _channels(body)
    return "" if channels == head.channels else f"the first gives {channels} channels, the second takes {head.channels}"


def _channels(graph: Graph) -> int:
    """The channels of the graph's output: those of the last convolution or linear layer on the way to it."""
    makers = {node.output: node for node in graph.nodes}
    value = graph.outputs[0]
    while value in makers:
        node = makers[value]
        if node.op in ("conv", "linear"):
            return int(node.weights["weight"].shape[0])
        if not node.inputs:
            break
        value = node.inputs[0]
    return graph.channels


def _apart(head: Graph, body: Graph) -> Graph:
    """The head with its input called as the body's output, and with no other name of the body's."""
    values = {body.input, *(node.output for node in body.nodes)}
    renamed = {head.input: body.outputs[0]}
    tensors = set(body.tensors)

    def value(name: str) -> str:
        return renamed.setdefault(name, f"second part: {name}" if name in values else name)

    def tensor(name: str) -> str:
        return f"second part: {name}" if name in tensors else name

    def moved(node: Node) -> Node:
        return replace(
            node,
            name=value(node.name),
            inputs=tuple(map(value, node.inputs)),
            output=value(node.output),
            sources=tuple(map(tensor, node.sources)),
        )

    return replace(
        head,
        nodes=tuple(map(moved, head.nodes)),
        outputs=tuple(map(value, head.outputs)),
        tensors=tuple(map(tensor, head.tensors)),
        set_aside={tensor(name): reason for name, reason in head.set_aside.items()},
    )
