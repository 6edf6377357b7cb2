"""Reads Caffe's networks: a .prototxt (layers) and a .caffemodel (weights), matched by layer name as Caffe does it.

Written after BVLC/caffe (`net.cpp`, `batch_norm_layer.cpp`, `upgrade_proto.cpp`) for the networks of
shicai/MobileNet-Caffe, jixing0415/caffe-mobilenet-v3 and RetinaFace's V1 0.25.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Graph, Node, Normalisation, Source
from .files import both_files, matches, read_caffemodel, read_prototxt
from .layer import Layer, Shape
from .layers import translate

__all__ = ["matches", "open_reference", "read"]

DATA_LAYERS = ("Input", "Data", "ImageData", "AnnotatedData", "HDF5Data", "MemoryData", "WindowData", "DummyData")

# What the published MobileNets of Caffe expect, mean and scale in RGB order; a deploy.prototxt does not say it.
CUSTOM = "shicai/MobileNet-Caffe: BGR, (x - (103.94, 116.78, 123.68)) * 0.017"
CUSTOM_MEAN = (123.68, 116.78, 103.94)
CUSTOM_SCALE = 0.017
MXNET_NAME = "mxnet-mdoel"  # the (misspelt) name that MXNet2Caffe gives every network it converts
MXNET_CUSTOM = "converted by MXNet2Caffe: RGB, raw 0...255, as in RetinaFace"


def read(path: Path, other: Path | None = None) -> Source:
    """The network of a .prototxt and a .caffemodel, given in either order; one alone finds the other beside it.

    Raises UserError where a file is missing, damaged or of another kind, or where the two do not belong together.
    """
    prototxt, caffemodel = both_files(path, other)
    net = read_prototxt(prototxt)
    stored = read_caffemodel(caffemodel)
    walk = _walk(net, stored, prototxt, caffemodel)
    channels, height, width = walk.shapes[walk.input] or (0, 0, 0)
    names = tuple(f"{name}[{index}]" for name, blobs in stored.items() for index in range(len(blobs)))
    graph = Graph(
        nodes=tuple(walk.nodes),
        input=walk.input,
        outputs=walk.outputs(),
        channels=channels,
        height=height,
        width=width,
        tensors=names,
        set_aside={
            f"{name}[{index}]": f"{prototxt.name} has no layer of this name"
            for name, blobs in stored.items()
            for index in range(len(blobs))
            if name not in walk.layers
        },
    )
    return Source(
        format="Caffe",
        graph=graph,
        normalisation=_normalisation(net, channels),
        files=(prototxt, caffemodel),
        facts=_facts(net, walk),
    )


def open_reference(
    path: Path, other: Path | None = None, wanted: str | None = None
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Another runtime's answer to the files: OpenCV's before version 5 (the later ones read no Caffe), or None.

    The function takes float32 images (N, C, H, W) as the network expects them and gives the value `wanted`, named as in
    the graph of `read`; where None, what the last softmax takes, or the first output of a network without one.
    """
    import cv2

    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return None
    prototxt, caffemodel = both_files(path, other)
    graph = read(prototxt, caffemodel).graph
    assert graph is not None
    last = wanted or next((node.inputs[0] for node in reversed(graph.nodes) if node.op == "softmax"), graph.outputs[0])
    # To OpenCV, a depthwise convolution is a grouped one.
    text = prototxt.read_bytes().replace(b'"DepthwiseConvolution"', b'"Convolution"')
    try:
        net = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.fromfile(caffemodel, np.uint8))
    except cv2.error:  # a layer that OpenCV does not have
        return None
    net.enableFusion(False)  # else a layer in between may hold what the layers after it make

    def run(images: np.ndarray) -> np.ndarray:
        net.setInput(np.ascontiguousarray(images, np.float32))
        return np.asarray(net.forward(last))

    return run


@dataclass
class _Walk:
    """The prototxt's layers translated so far. `holds`: which value a blob's name stands for (layers work in place)."""

    input: str = ""
    nodes: list[Node] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape | None] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)  # blobs of labels, and what is made of them
    layers: set[str] = field(default_factory=set)
    batch_statistics: int = 0
    untrained: int = 0

    def fresh(self, name: str) -> str:
        """A name that no value has yet."""
        found, count = name, 1
        while found in self.shapes:
            found, count = f"{name}#{count}", count + 1
        return found

    def outputs(self) -> tuple[str, ...]:
        """The values that no layer takes."""
        taken = {value for node in self.nodes for value in node.inputs}
        return tuple(node.output for node in self.nodes if node.output not in taken)


def _walk(net: Any, stored: dict[str, tuple[np.ndarray, ...]], prototxt: Path, caffemodel: Path) -> _Walk:
    walk = _Walk()
    layers = [layer for layer in net.layer if _in_test_phase(layer)]
    _begin(walk, net, layers, prototxt)
    for layer in layers:
        if layer.type in DATA_LAYERS or layer.type == "Silence":
            continue
        walk.layers.add(layer.name)
        if layer.type == "Accuracy" or layer.type.endswith("Loss") or walk.ignored & set(layer.bottom):
            walk.ignored |= set(layer.top)
            continue
        _add(walk, layer, stored.get(layer.name, ()), prototxt, caffemodel)
    if not walk.nodes:
        raise UserError(f"{prototxt}: no layer works on the input {walk.input}")
    return walk


def _add(walk: _Walk, param: Any, blobs: tuple[np.ndarray, ...], prototxt: Path, caffemodel: Path) -> None:
    """Translates one layer and records what its tops hold from now on."""
    for bottom in param.bottom:
        if bottom not in walk.holds:
            raise UserError(f"{prototxt}: layer {param.name} takes {bottom}, which no layer before it makes")
    inputs = tuple(walk.holds[bottom] for bottom in param.bottom)
    shapes = tuple(walk.shapes[value] for value in inputs)
    for index, top in enumerate(param.top):
        output = walk.fresh(param.name if index == 0 else top)
        layer = Layer(param=param, blobs=blobs, inputs=inputs, shapes=shapes, output=output, weights=str(caffemodel))
        nodes, shape = translate(layer)
        walk.nodes += nodes
        walk.shapes.update({node.output: None for node in nodes})
        walk.shapes[output] = shape
        walk.holds[top] = output
    if param.type == "BatchNorm":
        walk.batch_statistics += param.batch_norm_param.HasField("use_global_stats") and (
            not param.batch_norm_param.use_global_stats
        )
        walk.untrained += not blobs[2].any()


def _in_test_phase(layer: Any) -> bool:
    """Whether Caffe keeps the layer for inference (phase TEST, level 0, no stages)."""

    def met(rule: Any) -> bool:
        if rule.HasField("phase") and rule.phase != rule.TEST:
            return False
        return not rule.stage and rule.min_level <= 0 and (rule.max_level >= 0 or not rule.HasField("max_level"))

    if layer.include:
        return any(met(rule) for rule in layer.include)
    return not any(met(rule) for rule in layer.exclude)


def _begin(walk: _Walk, net: Any, layers: list[Any], prototxt: Path) -> None:
    """Finds the network's one input and its shape: an Input layer, the net's own `input`, or a data layer."""
    found: list[tuple[str, Shape]] = []
    for index, name in enumerate(net.input):
        sizes = net.input_shape[index].dim if index < len(net.input_shape) else net.input_dim[4 * index : 4 * index + 4]
        found.append((name, _input_shape(list(sizes), name, prototxt)))
    for layer in layers:
        if layer.type == "Input":
            for index, top in enumerate(layer.top):
                stated = layer.input_param.shape
                sizes = list(stated[min(index, len(stated) - 1)].dim) if stated else []
                found.append((top, _input_shape(sizes, top, prototxt)))
        elif layer.type in DATA_LAYERS and layer.top:
            side = layer.transform_param.crop_size
            found.append((layer.top[0], (3, side, side)))
            walk.ignored |= set(layer.top[1:])
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise UserError(f"{prototxt}: one input, of images, is read; its inputs are: {names}")
    walk.input, shape = found[0]
    walk.holds[walk.input] = walk.input
    walk.shapes[walk.input] = shape


def _input_shape(sizes: list[int], name: str, prototxt: Path) -> Shape:
    if len(sizes) != 4 or sizes[1] < 1 or min(sizes[2:]) < 0:
        raise UserError(
            f"{prototxt}: the shape of input {name} must be (batch, channels, height, width); it is {sizes}"
        )
    return sizes[1], sizes[2], sizes[3]


def _normalisation(net: Any, channels: int) -> Normalisation | None:
    """What a data layer states, else the custom of where such files come from."""
    layers = sorted(net.layer, key=lambda layer: not _in_test_phase(layer))
    for layer in layers:
        param = layer.transform_param
        if layer.HasField("transform_param") and not param.mean_file and (param.mean_value or param.HasField("scale")):
            means = tuple(param.mean_value)[::-1] or (0.0,)
            if len(means) not in (1, channels) or param.scale == 0:
                continue
            means *= channels // len(means)
            return Normalisation(mean=means, std=(1 / param.scale,) * channels, stated=True, bgr=channels == 3)
    if channels != 3:
        return None
    if net.name == MXNET_NAME:
        return Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3, stated=False, custom=MXNET_CUSTOM)
    return Normalisation(mean=CUSTOM_MEAN, std=(1 / CUSTOM_SCALE,) * 3, stated=False, custom=CUSTOM, bgr=True)


def _facts(net: Any, walk: _Walk) -> dict[str, str]:
    facts = {"network": net.name} if net.name else {}
    for layer in net.layer:
        if layer.transform_param.mean_file:
            facts["mean"] = f"the prototxt subtracts the image {layer.transform_param.mean_file}, which is not read"
    if walk.untrained:
        facts["BatchNorm"] = (
            f"{walk.untrained} layers were never trained (scale factor 0): mean and variance count as 0"
        )
    if walk.batch_statistics:
        facts["statistics"] = f"{walk.batch_statistics} BatchNorm layers ask for the batch's; the stored ones are used"
    return facts
