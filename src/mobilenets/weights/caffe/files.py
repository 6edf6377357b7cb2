"""Caffe's two files: finds the pair, and reads a .prototxt as a message and a .caffemodel as tensors by layer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .messages import message_classes

PROTOTXT_LIMIT = 16 * 2**20  # bytes; those of the largest networks have 0.5 MB
CAFFEMODEL_LIMIT = 2**31 - 1  # bytes; protobuf's own limit


def matches(path: Path) -> bool:
    """Whether the file is one of Caffe's, by its suffix."""
    return path.suffix.lower() in (".prototxt", ".caffemodel")


def both_files(path: Path, other: Path | None) -> tuple[Path, Path]:
    """The prototxt and the caffemodel."""
    given = [path] if other is None else [path, other]
    for each in given:
        if not matches(each):
            raise UserError(f"{each}: not one of Caffe's files; it takes a .prototxt and a .caffemodel")
    found = {each.suffix.lower(): each for each in given}
    if len(found) < len(given):
        raise UserError(f"{path} and {other} are of the same kind; Caffe's networks are a .prototxt and a .caffemodel")
    for suffix in (".prototxt", ".caffemodel"):
        if suffix not in found:
            found[suffix] = path.with_suffix(suffix)
            if not found[suffix].is_file():
                raise UserError(f"{path} needs its {suffix}: {found[suffix]} is missing; name it as the second source")
    for each in found.values():
        if not each.is_file():
            raise UserError(f"{each}: no such file")
    return found[".prototxt"], found[".caffemodel"]


def read_prototxt(path: Path) -> Any:
    """The network as a NetParameter message."""
    classes = message_classes()
    from google.protobuf import text_format

    if path.stat().st_size > PROTOTXT_LIMIT:
        raise UserError(f"{path}: {path.stat().st_size} bytes are too many for a prototxt (up to {PROTOTXT_LIMIT})")
    try:
        text = path.read_bytes().decode("utf-8")
        net = text_format.Parse(text, classes.NetParameter(), allow_unknown_field=True)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a prototxt: it is no text") from None
    except (text_format.ParseError, RecursionError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise UserError(f"{path}: not a prototxt that can be read: {first[:120]}") from None
    if not net.layer:
        if re.search(r"^\s*layers\s*:?\s*\{", text, re.MULTILINE):
            raise UserError(f"{path}: written for Caffe before 2015 ('layers'); upgrade it by upgrade_net_proto_text")
        raise UserError(f"{path}: not a network's prototxt: it has no layers")
    return net


def read_caffemodel(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    """The stored tensors by layer, float32."""
    classes = message_classes()
    from google.protobuf.message import DecodeError

    if path.stat().st_size > CAFFEMODEL_LIMIT:
        raise UserError(f"{path}: {path.stat().st_size} bytes are too many for a caffemodel (up to {CAFFEMODEL_LIMIT})")
    stored = classes.StoredNet()
    try:
        stored.ParseFromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path}: not a caffemodel, or cut short") from None
    if stored.layers:
        raise UserError(f"{path}: written by Caffe before 2015; upgrade it by upgrade_net_proto_binary")
    tensors: dict[str, tuple[np.ndarray, ...]] = {}
    for layer in stored.layer:
        if not layer.blobs:
            continue
        if layer.name in tensors:
            raise UserError(f"{path}: two layers with weights are called {layer.name}")
        tensors[layer.name] = tuple(
            _blob(blob, f"{path}: {layer.name}[{index}]") for index, blob in enumerate(layer.blobs)
        )
    if not tensors:
        raise UserError(f"{path}: not a caffemodel: it stores no weights")
    return tensors


def _blob(blob: Any, name: str) -> np.ndarray:
    """A stored tensor in its shape."""
    values = np.array(blob.data or blob.double_data, np.float32)
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:  # before 2015
        shape = (blob.num, blob.channels, blob.height, blob.width)
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=object)) != values.size:
        raise UserError(f"{name}: {values.size} values for the shape {shape}")
    return values.reshape(shape)
