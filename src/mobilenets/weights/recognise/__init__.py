"""From a model file's graph to our network: blocks, head, conventions and every tensor under our names.

Nothing is guessed from names. The blocks are read off the structure (`grammar`), the registry says which architecture
they are (`match`), and what is left over is an error (or, with `backbone`, what is said to be set aside).
"""

from __future__ import annotations

from ...errors import UserError
from ..graph import Source
from ..recognised import Recognised
from .assembly import Assembly
from .ends import Tail, refuse_rest, tail_of, trunk
from .grammar import Reader
from .simplify import simplify

__all__ = ["recognise"]


def recognise(source: Source, where: str, *, backbone: bool = False) -> Recognised:
    """The network in a graph. `where` names the file in errors.

    With `backbone` the blocks alone are taken, whatever follows them. Raises UserError, one line, when the graph holds
    what no network of ours has, or more than one network.
    """
    try:
        return _recognise(source, where, backbone)
    except UserError as error:
        said = str(error)
        raise UserError(said if said.startswith(where) else f"{where}: {said}") from None


def _recognise(source: Source, where: str, backbone: bool) -> Recognised:
    graph = source.graph
    simplified = simplify(graph)
    reader = Reader(simplified)
    found, end = trunk(reader, simplified.input)
    if not found:
        first = (simplified.layers or simplified.nodes)[:1]
        what = f"its first operation is {first[0].name!r}" if first else "it has no operation"
        raise UserError(f"{where}: no MobileNet: no block of ours begins at its input; {what}")
    if graph.height == graph.width == 1:
        raise UserError(
            f"{where}: takes features, not images: the second part of a network; name the first part before it"
        )
    tail = Tail(hidden=None, classifier=None, nodes=(), end=end) if backbone else tail_of(reader, end, simplified)
    if not backbone:
        refuse_rest(where, simplified, found, tail)
    return Assembly(source, simplified, where, found, tail, backbone).recognised()
