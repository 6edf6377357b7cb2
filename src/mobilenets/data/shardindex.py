"""The index of a set of shards: where each image's bytes lie, its label, split and name, in 40 bytes and a name.

Three files in one folder: `shards.json` for people and programs, `index.bin` with one ROW per image in the order of the
shards, `names.bin` with the names, each ended by a zero byte. The last two are mapped, not read: what is not looked at
takes no memory, whatever the number of images.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from ..atomic import replacing, write_json
from ..digest import digest
from ..errors import UserError
from .addresses import INDEX_NAME
from .records import SPLITS, ClassLabel, Sample

FORMAT, VERSION = "mobilenets-shards", 1
ROWS_NAME, NAMES_NAME = "index.bin", "names.bin"
ROW = np.dtype(
    [
        ("offset", "<u8"),  # of the image's first byte in its shard
        ("name", "<u8"),  # of its name's first byte in names.bin
        ("size", "<u4"),  # bytes
        ("shard", "<u4"),
        ("label", "<u4"),
        ("place", "<u4"),  # in the data that was packed; the order in the shards where nobody knows
        ("group", "<u4"),  # equal numbers belong together; 0: none
        ("split", "<u4"),  # 0 none, 1 train, 2 val, 3 test
    ]
)
_ROWS_AT_A_TIME = 4096
SPLIT_CODES = {None: 0} | {split: code for code, split in enumerate(SPLITS, start=1)}
_SPLIT_OF = {code: split for split, code in SPLIT_CODES.items()}


@dataclass(frozen=True)
class Shard:
    """One tar file: its name beside the index or its address, what it holds, and its SHA-256 ("" where unknown)."""

    file: str
    split: str | None
    images: int
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Index:
    """What `shards.json` says, and the mapped rows and names. `samples` are rows of it."""

    folder: Path
    classes: tuple[ClassLabel, ...]
    shards: tuple[Shard, ...]
    rows: np.ndarray  # ROW (N,), mapped
    names: mmap.mmap | bytes
    document: dict[str, Any]

    def name(self, row: int) -> str:
        """The name of the image in that row."""
        begin = int(self.rows["name"][row])
        return self.names[begin : self.names.find(b"\0", begin)].decode("utf-8", "surrogateescape")

    def __reduce__(self) -> tuple[Any, ...]:
        return read_index, (self.folder,)


@dataclass(frozen=True, slots=True)
class ShardSample(Sample):
    """A sample that knows its row in the index."""

    row: int = -1


class ShardSamples(Sequence[Sample]):
    """Rows of an index as samples, each made when it is asked for: 4 bytes of memory per image."""

    def __init__(self, table: Index, chosen: np.ndarray) -> None:
        self.table = table
        self.chosen = chosen  # uint32 (N,)

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> ShardSamples: ...
    def __getitem__(self, at: int | slice) -> Sample | ShardSamples:
        if isinstance(at, slice):
            return ShardSamples(self.table, self.chosen[at])
        row = int(self.chosen[at])
        values = self.table.rows[row]
        group = str(values["group"]) if values["group"] else None
        return ShardSample(self.table.name(row), int(values["label"]), _SPLIT_OF[int(values["split"])], group, row)

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,): the class of each."""
        return self.table.rows["label"][self.chosen].astype(np.int64)

    def of_split(self, split: str | None) -> ShardSamples:
        """Those of one split, in their order."""
        return self.where(self.table.rows["split"][self.chosen] == SPLIT_CODES[split])

    def where(self, keep: np.ndarray) -> ShardSamples:
        """Those at which bool (N,) is true."""
        return ShardSamples(self.table, self.chosen[keep])


def labels_of(samples: Sequence[Sample]) -> np.ndarray:
    """int64 (N,): the class of each sample, without making the samples of an index."""
    if isinstance(samples, ShardSamples):
        return samples.labels
    return np.array([sample.label for sample in samples], dtype=np.int64)


def numbers_of(samples: Sequence[Sample], of: Sequence[Sample]) -> Sequence[int] | np.ndarray:
    """The place of each sample among `of`, which holds them all, without making the samples of an index."""
    if isinstance(samples, ShardSamples) and isinstance(of, ShardSamples):
        order = np.argsort(of.chosen)
        return order[np.searchsorted(of.chosen, samples.chosen, sorter=order)]
    places = {sample.name: place for place, sample in enumerate(of)}
    return [places[sample.name] for sample in samples]


def read_index(folder: Path) -> Index:
    """The index in a folder. Raises UserError, naming the file, where it is damaged or of another version."""
    path = folder / INDEX_NAME
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise UserError(f"{path}: version {document['version']} of {document['format']}; {VERSION} is read")
        classes = tuple(ClassLabel(**label) for label in document["classes"])
        shards = tuple(Shard(**shard) for shard in document["shards"])
        images = document["images"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no index of shards ({type(error).__name__}: {error})") from None
    rows_path, names_path = folder / ROWS_NAME, folder / NAMES_NAME
    for beside in (rows_path, names_path):
        if not beside.is_file():
            raise UserError(f"{beside}: is missing; it lies beside {INDEX_NAME}")
    if rows_path.stat().st_size != images * ROW.itemsize:
        raise UserError(f"{rows_path}: does not fit {INDEX_NAME} ({images} images); pack the data again")
    rows = np.memmap(rows_path, ROW, "r") if images else np.zeros(0, ROW)
    with open(names_path, "rb") as file:
        names = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if names_path.stat().st_size else b""
    return Index(folder, classes, shards, rows, names, document)


def write_index(
    folder: Path,
    classes: Iterable[ClassLabel],
    shards: Sequence[Shard],
    notes: Sequence[str],
    **more: Any,
) -> dict[str, Any]:
    """Writes `shards.json` for the `index.bin` and `names.bin` that lie in the folder; returns what it holds.

    The fingerprint stands for classes, shards and index; where the shards' SHA-256 are unknown, for the index alone.
    """
    splits = {split: sum(s.images for s in shards if s.split == split) for split in SPLITS}
    labels = [{key: value for key, value in asdict(label).items() if value is not None} for label in classes]
    files = {name: digest(folder / name) for name in (ROWS_NAME, NAMES_NAME)}
    core = {
        "format": FORMAT,
        "version": VERSION,
        "images": (folder / ROWS_NAME).stat().st_size // ROW.itemsize,
        "classes": labels,
        "splits": {split: count for split, count in splits.items() if count},
        "shards": [asdict(shard) for shard in shards],
        "files": files,
    }
    mark = hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()
    document = core | {"fingerprint": mark, "notes": list(notes)} | more
    write_json(folder / INDEX_NAME, document)
    return document


class IndexWriter:
    """Appends rows and names to the two files of an index; see `writing_index`."""

    def __init__(self, rows: IO[bytes], names: IO[bytes]) -> None:
        self._rows, self._names = rows, names
        self._name_at = 0
        self._pending: list[tuple[int, ...]] = []

    def add(
        self, name: str, *, offset: int, size: int, shard: int, label: int, split: str | None, place: int, group: int
    ) -> None:
        """Appends one image."""
        encoded = name.encode("utf-8", "surrogateescape") + b"\0"
        self._names.write(encoded)
        self._pending.append((offset, self._name_at, size, shard, label, place, group, SPLIT_CODES[split]))
        self._name_at += len(encoded)
        if len(self._pending) == _ROWS_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        """Writes what is pending."""
        self._rows.write(np.array(self._pending, ROW).tobytes())
        self._pending.clear()


@contextmanager
def writing_index(folder: Path) -> Iterator[IndexWriter]:
    """A writer of `index.bin` and `names.bin`; both appear under their names when the block ends well."""
    with (
        replacing(folder / ROWS_NAME) as rows_path,
        replacing(folder / NAMES_NAME) as names_path,
        open(rows_path, "wb") as rows,
        open(names_path, "wb") as names,
    ):
        writer = IndexWriter(rows, names)
        yield writer
        writer.flush()
