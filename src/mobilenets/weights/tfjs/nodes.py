"""TensorFlow's GraphDef as JSON: its nodes with decoded attributes, in an order in which they can be run."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from ...errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNode:
    """A node of a GraphDef. `inputs` are values: the name of a node, and ":k" behind it for outputs after the first."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def text(self, name: str, default: str = "") -> str:
        """A string attribute: base64, or the codes of its bytes."""
        return _text(self.attributes.get(name, {}).get("s")) or default

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(_text(each) for each in self.attributes.get(name, {}).get("list", {}).get("s", ()))

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers, which JSON may hold as text."""
        return tuple(int(each) for each in self.attributes.get(name, {}).get("list", {}).get("i", ()))

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self.attributes.get(name, {}).get("f", default))

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        return bool(self.attributes.get(name, {}).get("b", default))

    def dtype(self, name: str) -> str:
        """A type attribute in words: DT_FLOAT."""
        found = self.attributes.get(name, {}).get("type", "")
        return _TYPES.get(found, str(found))


_TYPES = {1: "DT_FLOAT", 2: "DT_DOUBLE", 3: "DT_INT32", 4: "DT_UINT8", 9: "DT_INT64", 10: "DT_BOOL", 19: "DT_HALF"}


def read_nodes(topology: dict[str, Any], where: str) -> list[GraphNode]:
    """The nodes of a topology so that each stands after those it takes from, the edges back of loops left out.

    Raises UserError where a node takes a value that no node makes.
    """
    nodes = {str(each["name"]): _node(each) for each in topology["node"]}
    if len(nodes) < len(topology["node"]):
        raise UserError(f"{where}: two nodes of its graph have the same name")
    for node in nodes.values():
        for value in node.inputs:
            if node_of(value) not in nodes:
                raise UserError(f"{where}: the node {node.name} takes {value}, which no node makes")
    waiting = {
        name: {node_of(value) for value in node.inputs if not _goes_back(nodes[node_of(value)])}
        for name, node in nodes.items()
    }
    takers: dict[str, list[str]] = {}
    for name, makers in waiting.items():
        for maker in makers:
            takers.setdefault(maker, []).append(name)
    ready = [name for name, makers in waiting.items() if not makers]
    ordered = []
    for name in ready:  # grows while it is walked
        ordered.append(nodes[name])
        for taker in takers.get(name, []):
            waiting[taker].discard(name)
            if not waiting[taker]:
                ready.append(taker)
    if len(ordered) < len(nodes):
        stuck = next(name for name, makers in waiting.items() if makers)
        raise UserError(f"{where}: its graph goes in a circle at the node {stuck}")
    return ordered


def node_of(value: str) -> str:
    """The name of the node that makes a value."""
    return value.partition(":")[0]


def dimensions(shape: Any) -> list[int] | None:
    """The sizes of a TensorShapeProto, -1 where open; None where even their number is."""
    if not isinstance(shape, dict) or shape.get("unknownRank") or "dim" not in shape:
        return None
    return [int(each.get("size", -1)) for each in shape["dim"]]


def _node(entry: dict[str, Any]) -> GraphNode:
    inputs = tuple(_value(each) for each in entry.get("input", ()) if not each.startswith("^"))
    return GraphNode(name=str(entry["name"]), op=str(entry["op"]), inputs=inputs, attributes=entry.get("attr") or {})


def _value(written: str) -> str:
    """An input's name without the ":0" of a first output."""
    name, _, port = written.partition(":")
    return name if port in ("", "0") else f"{name}:{int(port)}"


def _goes_back(node: GraphNode) -> bool:
    return node.op == "NextIteration"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return bytes(value).decode()
    return base64.b64decode(value, validate=True).decode()
