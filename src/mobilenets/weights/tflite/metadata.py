"""What TFLite's metadata says beside the network: how the input is normalised, and the names of the classes.

The metadata is a FlatBuffer of its own (tflite-support's metadata_schema.fbs, identifier M001) in the buffer
TFLITE_METADATA; the files that it names follow the model as an appended zip archive. The slots below are the fields'
places in the schema's tables.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

from .tensors import TFLiteError

_LABELS_MOST_BYTES = 2**22
_NORMALISATION = 1  # in the union ProcessUnitOptions
_AXIS_LABELS = 2  # of AssociatedFileType: a name for each value of the output


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """`mean` and `std` are empty where no normalisation is stated; `labels` hold those of the first output."""

    name: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


def read_metadata(buffer: bytes, data: bytes) -> Metadata:
    """The metadata of a file with the bytes `data`; `buffer` is its TFLITE_METADATA, empty where it has none.

    Raises TFLiteError where labels are named and the file breaks off before them, or one of `DAMAGE`.
    """
    if not buffer:
        return Metadata(labels=_labels(data, ""))
    if buffer[4:8] != b"M001":
        raise TFLiteError(f"has metadata of another kind: {buffer[4:8]!r}, not M001")
    root = _Table(buffer, struct.unpack_from("<I", buffer)[0])
    graphs = root.tables(3)
    inputs, outputs = (graphs[0].tables(2), graphs[0].tables(3)) if graphs else ([], [])
    mean, std = _normalisation(inputs[0]) if inputs else ((), ())
    named = [file.text(0) for file in (outputs[0].tables(6) if outputs else []) if file.byte(2) == _AXIS_LABELS]
    return Metadata(name=root.text(0), mean=mean, std=std, labels=_labels(data, named[0]) if named else ())


class _Table:
    """A FlatBuffers table: its fields by their place in the schema; empty or zero where a field is left out."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.fields = position - self.number("<i", position)
        self.slots = (self.number("<H", self.fields) - 4) // 2

    def number(self, layout: str, position: int) -> int:
        if position < 0:
            raise IndexError("the metadata points outside itself")
        return struct.unpack_from(layout, self.data, position)[0]

    def field(self, slot: int) -> int:
        """Where the field stands; 0 where it is left out."""
        offset = self.number("<H", self.fields + 4 + 2 * slot) if slot < self.slots else 0
        return self.position + offset if offset else 0

    def vector(self, slot: int, size: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many of `size` bytes there are."""
        field = self.field(slot)
        if not field:
            return 0, 0
        start = field + self.number("<I", field)
        count = self.number("<I", start)
        if start + 4 + size * count > len(self.data):
            raise IndexError("the metadata breaks off")
        return start + 4, count

    def table(self, slot: int) -> _Table | None:
        field = self.field(slot)
        return _Table(self.data, field + self.number("<I", field)) if field else None

    def tables(self, slot: int) -> list[_Table]:
        start, count = self.vector(slot, 4)
        places = range(start, start + 4 * min(count, 1000), 4)
        return [_Table(self.data, place + self.number("<I", place)) for place in places]

    def text(self, slot: int) -> str:
        start, count = self.vector(slot, 1)
        return self.data[start : start + count].decode("utf-8", "backslashreplace")

    def floats(self, slot: int) -> tuple[float, ...]:
        start, count = self.vector(slot, 4)
        return struct.unpack_from(f"<{count}f", self.data, start) if count else ()

    def byte(self, slot: int) -> int:
        field = self.field(slot)
        return self.number("<B", field) if field else 0


def _normalisation(tensor: _Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, (x - mean) / std for x in 0...255; empty where none are stated."""
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.byte(0) == _NORMALISATION and options is not None:
            return options.floats(0), options.floats(1)
    return (), ()


def _labels(data: bytes, name: str) -> tuple[str, ...]:
    """The lines of the file `name` in the archive behind the model; without a name, of its one file of labels."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        if name:
            raise TFLiteError(f"breaks off: its metadata names {name!r}, and the archive behind the model is absent")
        return ()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = [entry for entry in archive.namelist() if "label" in entry.lower() and entry.endswith(".txt")]
            if not name and len(found) != 1:
                return ()
            entry = archive.getinfo(name or found[0])
            if entry.file_size > _LABELS_MOST_BYTES:
                raise TFLiteError(
                    f"{entry.filename!r} behind the model is of {entry.file_size} bytes; labels are smaller"
                )
            with archive.open(entry) as file:
                text = file.read(_LABELS_MOST_BYTES + 1)[:_LABELS_MOST_BYTES].decode("utf-8")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError) as error:
        raise TFLiteError(f"the labels behind the model cannot be read: {error}") from None
    return tuple(line.strip() for line in text.rstrip().splitlines())
