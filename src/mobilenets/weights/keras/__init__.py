"""Keras files in: whole models (.h5, .keras) as a graph, weights alone (.h5, .weights.h5) by their layers. By h5py.

Nothing of a file is run: Lambda layers are refused, and the configuration is read as data.
"""

from __future__ import annotations

from pathlib import Path

from ..graph import Graph, Normalisation, Source
from ..recognised import Recognised
from .config import graph_of
from .files import is_keras_file, read_keras_file
from .reference import open_reference
from .tensors import weights_of
from .weights import recognise_weights

__all__ = ["matches", "open_reference", "read"]

CUSTOM = "keras.applications: x / 127.5 - 1"


def matches(path: Path) -> bool:
    """Whether the file is HDF5, or a zip with Keras' weights in it."""
    return is_keras_file(path)


def read(path: Path) -> Source | Recognised:
    """A whole model as its graph; weights alone as the one network of keras.applications that they fit.

    Raises UserError, one line, when the file is damaged, holds code, or fits no network.
    """
    file = read_keras_file(path)
    if file.config is None:
        return recognise_weights(file, str(path))
    graph = graph_of(
        file.config,
        weights_of(file, str(path)),
        (*file.tensors, *file.set_aside),
        where=str(path),
        version=file.version,
        set_aside=file.set_aside,
    )
    return Source(
        format=file.kind,
        graph=graph,
        normalisation=None if _scales_itself(graph) else _custom(graph.channels),
        facts={"written by": f"Keras {file.version}"},
    )


def _scales_itself(graph: Graph) -> bool:
    """Whether the graph begins with constants on the pixels (Rescaling): then raw values 0...255 go in."""
    values = {graph.input}
    for node in graph.nodes:
        if values & set(node.inputs):
            if node.op != "same":
                return node.op == "affine"
            values.add(node.output)
    return False


def _custom(channels: int) -> Normalisation:
    half = (127.5,) * (channels or 3)
    return Normalisation(mean=half, std=half, stated=False, custom=CUSTOM)
