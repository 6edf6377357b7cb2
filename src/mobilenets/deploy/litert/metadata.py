"""What a .tflite file says about itself where Android's tools look for it: TFLite Metadata.

It is a FlatBuffer of its own (tflite-support's metadata_schema.fbs, identifier M001) in the model's buffer
TFLITE_METADATA, and a zip archive behind the model that holds the files it names. The schema's own Python package is no
longer published for today's Pythons, so the few tables that a classifier needs are written here by their slots.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...arch.spec import Spec
from ..wrap import INPUT, OUTPUT

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # the least version of the schema that knows every field below
_AXIS_LABELS, _RGB, _IMAGE, _FEATURE, _NORMALISATION = 2, 1, 2, 1, 1  # values of the schema's enumerations and unions


@dataclass(frozen=True)
class Byte:
    """A number that the schema holds in one byte: an enumeration's value or the kind of a union."""

    value: int


Table = dict[int, Any]
"""A FlatBuffers table: the schema's place of a field -> str, int (uint), `Byte`, Table, or a list of one of them."""


def metadata(spec: Spec, properties: Mapping[str, str]) -> bytes:
    """The metadata of a classifier's file, as bytes for the buffer TFLITE_METADATA.

    The file takes pixels as they are, so the normalisation left to the app is mean 0 and std 1; what the network itself
    subtracts and divides by stands in words in the description.
    """
    size, mean, std = spec.resolution, list(spec.preprocessing.mean), list(spec.preprocessing.std)
    said = f"{spec.name}; the file normalises by itself: (x - mean) / std with mean {mean} and std {std}"
    labels = {0: LABELS, 1: "the name of each logit's class, one a line", 2: Byte(_AXIS_LABELS)}
    image: Table = {
        0: INPUT,
        1: f"uint8 RGB of {size} x {size} pixels, 0 to 255, as it is",
        2: ["batch", "height", "width", "channel"],
        3: {0: Byte(_IMAGE), 1: {0: Byte(_RGB), 1: {0: size, 1: size}}},
        4: [{0: Byte(_NORMALISATION), 1: {0: [0.0], 1: [1.0]}}],
        5: {0: [255.0], 1: [0.0]},
    }
    logits: Table = {
        0: OUTPUT,
        1: "one logit for each class; softmax(logits / temperature) are scores",
        2: ["batch", "class"],
        3: {0: Byte(_FEATURE), 1: {}},
        6: [labels],
    }
    resize = {1: f"{said}; resize by {properties['resize']}"} if "resize" in properties else {1: said}
    return packed({0: spec.name, **resize, 3: [{2: [image], 3: [logits]}], 7: _PARSER}, _IDENTIFIER)


def append_labels(model: bytes, properties: Mapping[str, str]) -> bytes:
    """The model with a zip archive behind it that holds labels.txt, one name a line.

    It is stored as it is, for the readers on phones do not inflate, and its offsets count from the model's first byte.
    """
    names = json.loads(properties.get("labels", "[]"))
    text = "".join(" ".join(name.split()) + "\n" for name in names)
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS)  # of 1980: the same bytes whenever it is written
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, text.encode())
    return file.getvalue()


def packed(root: Table, identifier: bytes) -> bytes:
    """A FlatBuffer with this root."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), identifier)
    return bytes(builder.Output())


def _table(builder: Any, table: Table) -> int:
    """Writes a table after all that it points to; returns its offset."""
    offsets = {slot: _offset(builder, value) for slot, value in table.items() if not isinstance(value, int | Byte)}
    builder.StartObject(max(table, default=-1) + 1)
    for slot, value in table.items():
        if isinstance(value, Byte):
            builder.PrependUint8Slot(slot, value.value, 0)
        elif isinstance(value, int):
            builder.PrependUint32Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return builder.EndObject()


def _offset(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, dict):
        return _table(builder, value)
    if isinstance(value[0], float):
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return builder.EndVector()
    offsets = [_offset(builder, each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
