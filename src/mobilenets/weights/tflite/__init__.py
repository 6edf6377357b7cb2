"""TFLite files: float32, float16, uint8 with one scale per tensor, int8 with one per channel.

Convolutions come with BatchNorm folded into them, as TensorFlow's converter leaves them. `parser` takes the file
apart, `operators` makes the graph, `reference` runs the file itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..graph import Graph, Node, Normalisation, Source
from .metadata import Metadata, read_metadata
from .operators import translate
from .parser import MAGIC, open_model, read_bytes
from .reference import open_head_reference, open_reference
from .tensors import DAMAGE, FLOATS, Model, Tensor, TFLiteError
from .translation import Translation

__all__ = ["matches", "open_head_reference", "open_reference", "read"]
HOSTED = "TensorFlow's hosted MobileNets: x / 127.5 - 1"
_SHIFT = {"UINT8": 0, "INT8": 128}  # what turns a stored input into a pixel of 0...255


def matches(path: Path) -> bool:
    """Whether the file begins as a TFLite file does: the FlatBuffers identifier TFL3 at byte 4."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == MAGIC
    except OSError:
        return False


def read(path: Path) -> Source:
    """The network of a TFLite file, in real numbers. Raises UserError, naming the file, for any other or a damaged one.

    Detectors and segmentation networks are read too; what is no part of a classifier is an `other` node.
    """
    data = read_bytes(path)
    try:
        model = open_model(data)
        return _source(path, model, translate(model), read_metadata(model.metadata.get("TFLITE_METADATA", b""), data))
    except TFLiteError as error:
        raise UserError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise UserError(f"{path}: breaks off or is damaged: {str(error).splitlines()[0]}") from None


def _source(path: Path, model: Model, made: Translation, metadata: Metadata) -> Source:
    if len(model.inputs) != 1 or not model.outputs:
        raise TFLiteError(f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one image goes in")
    for index in model.outputs:
        if index not in made.made:
            raise TFLiteError(f"gives {made.name(index)!r}, which nothing in it makes")
    first, last = model.tensors[model.inputs[0]], model.tensors[model.outputs[0]]
    shape = first.shape if len(first.shape) == 4 else (1, 1, 1, *first.shape[-1:])
    nodes = tuple(made.nodes)
    used = {source for node in nodes for source in node.sources}
    kept = [tensor.name for tensor in model.tensors if tensor.weight or tensor.name in used]
    graph = Graph(
        nodes=nodes,
        input=first.name,
        outputs=tuple(made.name(index) for index in model.outputs),
        channels=made.channels(first.index),
        height=max(shape[1], 0),
        width=max(shape[2], 0),
        tensors=tuple(kept),
        set_aside={name: "no operator takes it" for name in kept if name not in used},
    )
    labels, note = _labels(metadata.labels, last, len(model.outputs))
    facts = {
        "file": path.name,
        "made by": model.description,
        "described as": metadata.name,
        "operators": str(len(model.operators)),
        "BatchNorm": _folded(nodes),
        "input": _described(first),
        "output": _described(last),
        "labels": note,
        "other subgraphs, left out": str(model.subgraphs - 1) if model.subgraphs > 1 else "",
        "operators of no classifier": ", ".join(dict.fromkeys(node.kind for node in nodes if node.op == "other")),
    }
    return Source(
        format="TFLite",
        graph=graph,
        normalisation=_normalisation(first, metadata),
        quantisation=_quantisation(made),
        labels=labels,
        facts={name: fact for name, fact in facts.items() if fact},
    )


def _normalisation(tensor: Tensor, metadata: Metadata) -> Normalisation | None:
    """How pixels become the input; None where the input is no image, but for example the features of another file.

    A quantised input states it by scale and zero point: the stored number is the pixel. Only where the metadata
    contradict that by more than a step are the stored numbers made from normalised pixels.
    """
    if len(tensor.shape) != 4 or tensor.shape[3] not in (1, 3) or tensor.shape[1:3] == (1, 1):
        return None
    channels = tensor.shape[3]
    stated = _stated(metadata, channels)
    if tensor.type in _SHIFT and tensor.scale is not None and tensor.zero_point is not None:
        scale, mean = float(tensor.scale[0]), float(tensor.zero_point[0]) + _SHIFT[tensor.type]
        if scale <= 0:
            raise TFLiteError(f"its input {tensor.name!r} has the scale {scale}")
        pixels = np.array([[0.0], [255.0]])
        if stated:
            apart = (pixels - stated.mean) / stated.std - (pixels - mean) * scale
            if np.abs(apart).max() > 1.01 * scale:
                return stated
        return Normalisation(mean=(mean,) * channels, std=(_reciprocal(scale),) * channels, stated=True)
    if stated:
        return stated
    if tensor.type == "UINT8":
        return Normalisation(mean=(0.0,) * channels, std=(1.0,) * channels, stated=True)
    if tensor.type not in FLOATS:
        return None
    return Normalisation(mean=(127.5,) * channels, std=(127.5,) * channels, stated=False, custom=HOSTED)


def _stated(metadata: Metadata, channels: int) -> Normalisation | None:
    """The metadata's normalisation, one number repeated for all channels."""
    if not metadata.mean and not metadata.std:
        return None
    mean, std = (tuple(values) * (channels if len(values) == 1 else 1) for values in (metadata.mean, metadata.std))
    if len(mean) != channels or len(std) != channels or not np.all(np.isfinite(mean + std)) or min(std) <= 0:
        raise TFLiteError(f"its metadata normalise {channels} channels by mean {mean} and deviation {std}")
    return Normalisation(mean=mean, std=std, stated=True)


def _reciprocal(scale: float) -> float:
    """1 / scale; a multiple of 1/2 where it is the same within float32, since 0.003921569 stands for 1/255."""
    rounded = round(2 / scale) / 2
    return rounded if rounded and np.float32(1 / rounded) == np.float32(scale) else 1 / scale


def _quantisation(made: Translation) -> str:
    """How convolutions and linear layers store their weights, for a person; empty where all are float32."""
    kinds: dict[str, bool] = {}
    for kernel in made.kernels:
        per_channel = kernel.scale is not None and kernel.scale.size > 1
        kinds[kernel.type] = kinds.get(kernel.type, False) or per_channel
    if set(kinds) <= {"FLOAT32"}:
        return ""
    texts = []
    for kind, per_channel in kinds.items():
        granularity = "" if kind in FLOATS else ", per channel" if per_channel else ", per tensor"
        texts.append(kind.lower() + granularity)
    return " and ".join(texts) + (", weights only" if made.weights_only else "")


def _labels(labels: tuple[str, ...], output: Tensor, outputs: int) -> tuple[tuple[str, ...], str]:
    """The labels where there is one for each value of the one output; a note for a person otherwise."""
    values = output.shape[-1] if outputs == 1 and output.shape else 0
    if not labels or len(labels) == values:
        return labels, f"{len(labels)}, in the file" if labels else ""
    return (), f"left out: {len(labels)} in the file, {values} values in its output"


def _folded(nodes: tuple[Node, ...]) -> str:
    convolved = {node.output for node in nodes if node.op == "conv"}
    if any(node.op == "affine" and node.inputs[0] in convolved for node in nodes):
        return "multiplied and added after convolutions"
    return "folded into the convolutions"


def _described(tensor: Tensor) -> str:
    """Type, shape and quantisation of an input or output, such that two that fit each other read the same."""
    text = f"{tensor.type.lower()} {tensor.shape}"
    if tensor.scale is not None and tensor.zero_point is not None:
        text += f", scale {np.float32(tensor.scale[0])!s}, zero point {tensor.zero_point[0]:.0f}"
    return text
