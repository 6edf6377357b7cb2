"""The images that lie in a set of tar shards: one at a time, or many that are wanted together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from .ranges import Blocks, RangeFile, ShardError, open_ranges
from .shardindex import Index
from .streamorder import Order, plan_order
from .tarscan import TAR_BLOCK

_OVERHEAD = 4 * TAR_BLOCK  # of an image in a shard: two headers, a label, what fills up the last block
_AHEAD = 1.5  # windows of encoded bytes that are held: the one in use, which empties, and the next, which fills


class ShardFiles:
    """The images of a set of shards as `records.Files`; small remote reads go through blocks that are kept."""

    folders: tuple[str, ...] = ()

    def __init__(self, index: Index, files: Sequence[RangeFile], *, remote: bool) -> None:
        self.index = index
        self.ranges = tuple(files)
        self.remote = remote
        self._blocks = Blocks() if remote else None

    @property
    def streamed(self) -> bool:
        """Whether training reads them as a stream."""
        return self.remote

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The images' names, sorted. Made when asked for: they take memory, which training on shards does not need."""
        return tuple(sorted(self._rows_by_name))

    @cached_property
    def _rows_by_name(self) -> dict[str, int]:
        return {self.index.name(row): row for row in range(len(self.index.rows))}

    def read(self, name: str) -> bytes:
        """The image of that name. Raises OSError when it cannot be read."""
        if name not in self._rows_by_name:
            raise FileNotFoundError(f"{self.index.folder}: no image {name} in the shards")
        return self.read_row(self._rows_by_name[name])

    def size(self, name: str) -> int:
        """Bytes of the image."""
        return int(self.index.rows["size"][self._rows_by_name[name]])

    def read_row(self, row: int) -> bytes:
        """The image in that row of the index."""
        values = self.index.rows[row]
        file = self.ranges[int(values["shard"])]
        offset, size = int(values["offset"]), int(values["size"])
        begin, end = offset - TAR_BLOCK, offset + size
        data = file.read(begin, end) if self._blocks is None else self._blocks.read(file, begin, end)
        return image_in(data, 0, size, file.address)

    def read_rows(self, rows: np.ndarray) -> dict[int, bytes]:
        """The images in those rows, which lie together: fetched in as few stretches of bytes as there are."""
        found: dict[int, bytes] = {}
        for part in _stretches(self.index, rows):
            values = self.index.rows[part]
            file = self.ranges[int(values["shard"][0])]
            begin = int(values["offset"][0]) - TAR_BLOCK
            end = int(values["offset"][-1]) + int(values["size"][-1])
            data = file.read(begin, end)
            for row, offset, size in zip(part.tolist(), values["offset"].tolist(), values["size"].tolist()):
                found[row] = image_in(data, offset - TAR_BLOCK - begin, size, file.address)
        return found

    def order(self, rows: np.ndarray, batch: int, seed: int, window_bytes: int) -> Order:
        """In which order a stream reads the images of those rows, ascending."""
        mean = float(self.index.rows["size"][rows].mean()) + _OVERHEAD
        return plan_order(len(rows), mean, batch, seed, window_bytes=window_bytes)

    def most_held(self, window_bytes: int) -> int:
        """Encoded bytes that a stream may hold."""
        return round(_AHEAD * window_bytes)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.index, tuple(file.address for file in self.ranges), self.remote)


def image_in(data: bytes, begin: int, size: int, shard: str) -> bytes:
    """The image of `size` bytes that follows the tar header at `begin` of `data`, a part of `shard`.

    Raises ShardError where the part ends too early, or where no header of that size stands there: the shard was cut or
    changed after it was indexed.
    """
    body = begin + TAR_BLOCK
    if len(data) < body + size:
        raise ShardError(f"{shard}: breaks off; it was cut after it was indexed")
    stated = data[begin + 124 : begin + 136]  # the size in octal digits (ustar); above 8 GiB in binary
    if stated.rstrip(b" \0").lstrip(b" 0") != b"%o" % size and (size or stated.strip(b" 0\0")):
        raise ShardError(f"{shard}: changed after it was indexed: another file stands where an image is expected")
    return data[body : body + size]


def _reopen(index: Index, addresses: Sequence[str], remote: bool) -> ShardFiles:
    return ShardFiles(index, [open_ranges(address) for address in addresses], remote=remote)


def _stretches(index: Index, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows, cut where the shard changes or the order turns back: each part is one stretch of bytes of one shard."""
    cuts = np.flatnonzero(
        (np.diff(index.rows["shard"][rows].astype(np.int64)) != 0) | (np.diff(rows.astype(np.int64)) < 0)
    )
    yield from np.split(rows, cuts + 1)
