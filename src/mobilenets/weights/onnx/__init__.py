"""ONNX files: classifiers and embeddings that torch, TensorFlow, PaddlePaddle and others export, and our own."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Graph, Node, Normalisation, Source
from .constants import UNSCALED, Constant, read_constants
from .files import Shape, channels_last, image_input, load_model, require_onnx, shapes
from .operators import translate
from .reference import open_reference
from .translation import Translation

__all__ = ["matches", "open_reference", "read"]

_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_RAW = 5.0  # a file that subtracts and divides by less takes pixels that were divided by 255 before


def matches(path: Path) -> bool:
    """Whether the file at `path` is taken for an ONNX model: by its name or, failing that, by how it begins."""
    if not path.is_file():
        return False
    if path.suffix.lower() == ".onnx":
        return True
    with path.open("rb") as file:
        start = file.read(3)  # ir_version, then the producer's name, the graph or the operator sets
    return len(start) == 3 and start[0] == 0x08 and 3 <= start[1] <= 20 and start[2] in (0x12, 0x3A, 0x42)


def read(path: Path) -> Source:
    """The network in an ONNX file. Raises UserError, one line, for what is damaged, unsafe or no image network."""
    model = load_model(path)
    constants = read_constants(model, path)
    image, known = image_input(model, path), shapes(model)
    last = channels_last(model, image, known.get(image))
    translation = Translation(where=str(path), constants=constants, shapes=known, last={image} if last else set())
    nodes = translate(model, image, translation)
    outputs = tuple(output.name for output in model.graph.output)
    absent = [name for name in outputs if name not in translation.nodes]
    if absent or not outputs:
        raise UserError(f"{path}: nothing in it gives its output {', '.join(map(repr, absent)) or '(it has none)'}")
    live = _live(nodes, outputs)
    graph = _graph(live, image, outputs, known.get(image), last, *_tensors(model, constants, nodes, live))
    return Source(
        format="onnx",
        graph=graph,
        normalisation=_normalisation(graph, _input_kind(model, image)),
        quantisation=_quantisation(model, constants, live),
        labels=_labels(model),
        facts=_facts(model, translation, nodes),
    )


def _input_kind(model: Any, image: str) -> int:
    return next(each.type.tensor_type.elem_type for each in model.graph.input if each.name == image)


def _live(nodes: Iterable[Node], outputs: tuple[str, ...]) -> list[Node]:
    """The nodes that the outputs depend on."""
    wanted = set(outputs)
    kept = []
    for node in reversed(list(nodes)):
        if node.output in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _tensors(
    model: Any, constants: dict[str, Constant], nodes: list[Node], live: list[Node]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of all weight tensors, and why some of them belong to nothing."""
    used = dict.fromkeys(name for node in live for name in node.sources)
    dead = dict.fromkeys(name for node in nodes for name in node.sources if name not in used)
    taken = {name for node in model.graph.node for name in node.input}
    unused = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name not in taken and constants[tensor.name].value.size > 1
    ]
    set_aside = dict.fromkeys(dead, "no output depends on it")
    set_aside |= dict.fromkeys(unused, "no operator takes it")
    return (*used, *set_aside), set_aside


def _graph(
    nodes: list[Node],
    image: str,
    outputs: tuple[str, ...],
    shape: Shape | None,
    last: bool,
    tensors: tuple[str, ...],
    set_aside: dict[str, str],
) -> Graph:
    channels, height, width = (shape[at] or 0 for at in ((3, 1, 2) if last else (1, 2, 3))) if shape else (0, 0, 0)
    if not channels:
        first = next((node for node in nodes if node.op == "conv"), None)
        channels = 0 if first is None else first.weights["weight"].shape[1] * first.groups
    return Graph(
        nodes=tuple(nodes),
        input=image,
        outputs=outputs,
        channels=channels,
        height=height,
        width=width,
        tensors=tensors,
        set_aside=set_aside,
    )


def _normalisation(graph: Graph, kind: int) -> Normalisation | None:
    """None where the graph takes raw pixels and normalises them itself; else what is the custom, and says so."""
    onnx = require_onnx()
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return None
    own = _own_normalisation(graph)
    if own is not None and own >= _RAW:
        return None
    if own is not None:
        custom = "pixels divided by 255, as the constants at its input tell"
    elif graph.channels == 3:
        custom = "torchvision's custom for exported files"
        return Normalisation(mean=_IMAGENET_MEAN, std=_IMAGENET_STD, stated=False, custom=custom)
    else:
        custom = "pixels divided by 255, the custom for pictures that are not RGB"
    channels = graph.channels or 3
    return Normalisation(mean=(0.0,) * channels, std=(255.0,) * channels, stated=False, custom=custom)


def _own_normalisation(graph: Graph) -> float | None:
    """The largest mean or std by which the graph normalises its own input; None where it takes it as it is."""
    scale, offset, found, value = np.ones(1), np.zeros(1), False, graph.input
    while True:
        takers = [node for node in graph.nodes if value in node.inputs]
        if len(takers) != 1 or takers[0].op not in ("same", "affine"):
            break
        if takers[0].op == "affine":
            a, b = takers[0].weights.get("scale", np.ones(1)), takers[0].weights.get("offset", np.zeros(1))
            scale, offset, found = scale * a, offset * a + b, True
        value = takers[0].output
    if not found or not scale.all():
        return None
    return float(max(np.abs(offset / scale).max(), np.abs(1 / scale).max()))


def _quantisation(model: Any, constants: dict[str, Constant], live: list[Node]) -> str:
    """How the weights are stored where that is not float32, the commonest kind first."""
    sources = {name for node in live if node.op in ("conv", "linear") for name in node.sources}
    stored = [
        each.stored
        for each in constants.values()
        if each.stored and set(each.sources) <= sources and each.stored not in UNSCALED
    ]
    kinds = sorted({kind for kind in stored if not kind.startswith("int32")}, key=stored.count, reverse=True)
    taken = [
        constants.get(name) for node in model.graph.node for name in node.input if node.op_type in ("Conv", "Gemm")
    ]
    if not kinds and any(each is not None and each.value.dtype == np.float16 for each in taken):
        kinds = ["half precision, in which it computes too"]
    return " and ".join(kinds)


def _labels(model: Any) -> tuple[str, ...]:
    """Class names that the file states: a list, or a dict from index to name, in JSON or as Python prints it."""
    said = {entry.key: entry.value for entry in model.metadata_props}
    for key in ("labels", "names", "classes", "class_names"):
        text = said.get(key, "")
        for parse in (json.loads, ast.literal_eval):
            try:
                found = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, dict) and {str(index) for index in found} == {str(i) for i in range(len(found))}:
                found = [name for _, name in sorted(found.items(), key=lambda item: int(item[0]))]
            if isinstance(found, list | tuple) and found and all(isinstance(name, str) for name in found):
                return tuple(found)
    return ()


def _facts(model: Any, translation: Translation, nodes: list[Node]) -> dict[str, str]:
    producer = f"{model.producer_name} {model.producer_version}".strip()
    opsets = ", ".join(f"{each.domain or 'ai.onnx'} {each.version}" for each in model.opset_import)
    facts = {"producer": producer or "not stated", "opset": opsets}
    implied = [node.act for node in nodes if node.output in translation.implied]
    if implied:
        facts["activations"] = f"{len(implied)} not written out, read off the quantised ranges: {implied[0]}"
    return facts
