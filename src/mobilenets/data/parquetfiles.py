"""The images that lie in parquet files, which are read row group by row group, wherever the files lie."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .grouporder import GroupOrder, plan_groups
from .ranges import RangeFile, ShardError, open_ranges
from .shardfiles import ShardFiles
from .shardindex import Index

GROUP_BITS = 32  # an image's `offset` in the index: its row group in the file above, its row in the group below
_KEPT_GROUPS = 4  # of single reads (scoring): the images of the row groups that were read last
_KEPT_FOOTERS = 64
_AT_ONCE = 2**16  # rows of the index
_TAIL = 64 * 2**10  # bytes in which a footer is looked for at first
MAGIC = b"PAR1"


class ParquetFiles(ShardFiles):
    """The images of parquet files as `records.Files`; a row group is fetched whole, and only its column of images.

    `index.document` names the column; footers lie beside the index, so that opening asks the files nothing.
    """

    streamed = True

    def __init__(self, index: Index, files: Sequence[RangeFile]) -> None:
        super().__init__(index, files, remote=True)
        self.column = str(index.document["images_in"])
        self._groups: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()
        self._footers: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[tuple[int, int], threading.Lock] = {}

    def size(self, name: str) -> int:
        """Bytes of the image. The index has the mean of its row group, so it is read."""
        return len(self.read(name))

    def read_row(self, row: int) -> bytes:
        """The image in that row of the index; its row group is kept for the rows beside it."""
        shard, group, at = self._place(row)
        with self._lock:
            turn = self._busy.setdefault((shard, group), threading.Lock())
        with turn:  # a second thread that wants the same row group waits for the first one's
            with self._lock:
                found = self._groups.get((shard, group))
                if found is not None:
                    self._groups.move_to_end((shard, group))
            if found is None:
                found = self._read(shard, group, None)
                with self._lock:
                    self._groups[shard, group] = found
                    self._busy.pop((shard, group), None)
                    if len(self._groups) > _KEPT_GROUPS:
                        self._groups.popitem(last=False)
        return self._image(shard, group, found, at)

    def read_rows(self, rows: np.ndarray) -> dict[int, bytes]:
        """The images in those rows: one request for each row group that they lie in."""
        places = self.index.rows["offset"][rows]
        keys = np.stack([self.index.rows["shard"][rows].astype(np.int64), (places >> GROUP_BITS).astype(np.int64)])
        within = (places & (2**GROUP_BITS - 1)).astype(np.int64)
        found: dict[int, bytes] = {}
        for shard, group in np.unique(keys, axis=1).T.tolist():
            here = (keys[0] == shard) & (keys[1] == group)
            images = self._read(shard, group, within[here])
            for row, at in zip(rows[here].tolist(), within[here].tolist()):
                found[row] = self._image(shard, group, images, at)
        return found

    def order(self, rows: np.ndarray, batch: int, seed: int, window_bytes: int) -> GroupOrder:
        """See `ShardFiles`: whole row groups at random."""
        table = self.index.rows
        starts = [np.zeros(1, np.int64)]
        for begin in range(0, len(rows), _AT_ONCE):  # in parts: of millions of images, no copies of the index
            part = rows[max(0, begin - 1) : begin + _AT_ONCE]
            group, shard = table["offset"][part] >> GROUP_BITS, table["shard"][part]
            changes = np.flatnonzero((np.diff(group) != 0) | (np.diff(shard) != 0))
            starts.append(changes + max(begin, 1))
        bounds = np.concatenate([*starts, [len(rows)]])
        return plan_groups(bounds, float(table["size"][rows].mean()), batch, seed, window_bytes=window_bytes)

    def most_held(self, window_bytes: int) -> int:
        """See `ShardFiles`: where row groups are larger than the window, the one in use and the next."""
        return max(super().most_held(window_bytes), 2 * int(self.index.document["largest_group"]))

    def _place(self, row: int) -> tuple[int, int, int]:
        values = self.index.rows[row]
        offset = int(values["offset"])
        return int(values["shard"]), offset >> GROUP_BITS, offset & (2**GROUP_BITS - 1)

    def _image(self, shard: int, group: int, images: Sequence[bytes | None], at: int) -> bytes:
        image = images[at]
        if image is None:
            raise ShardError(f"{self.ranges[shard].address}: row {at} of row group {group} holds no image file")
        return image

    def _read(self, shard: int, group: int, wanted: np.ndarray | None) -> list[bytes | None]:
        size = self.index.shards[shard].bytes
        return read_group(self.ranges[shard], size, self._footer(shard), group, self.column, wanted)

    def _footer(self, shard: int) -> Any:
        with self._lock:
            if shard in self._footers:
                self._footers.move_to_end(shard)
                return self._footers[shard]
        footer = parsed_footer((self.index.folder / footer_name(shard)).read_bytes())
        with self._lock:
            self._footers[shard] = footer
            if len(self._footers) > _KEPT_FOOTERS:
                self._footers.popitem(last=False)
        return footer

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.index, tuple(file.address for file in self.ranges))


def _reopen(index: Index, addresses: Sequence[str]) -> ParquetFiles:
    return ParquetFiles(index, [open_ranges(address) for address in addresses])


def footer_name(shard: int) -> str:
    """The file beside the index that holds the footer of that file."""
    return f"footer-{shard:06}.bin"


def require_pyarrow(address: str) -> Any:
    """pyarrow.parquet. Raises UserError naming what is to be installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f'{address}: needs pyarrow: pip install "mobilenets[huggingface]"') from None
    return pyarrow.parquet


def fetch_footer(file: RangeFile) -> bytes:
    """The footer of a parquet file with its length and magic, as it stands at the end. Raises ShardError."""
    size = file.size()
    tail = file.read(max(0, size - _TAIL), size)
    if len(tail) < 12 or tail[-4:] != MAGIC:
        raise ShardError(f"{file.address}: is no parquet file, or breaks off: it does not end with {MAGIC.decode()}")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size - 4:
        raise ShardError(f"{file.address}: is no parquet file: its footer would be longer than it is")
    return tail[-length:] if length <= len(tail) else file.read(size - length, size)


def parsed_footer(footer: bytes) -> Any:
    """The metadata of a parquet file from what `fetch_footer` gave."""
    import pyarrow.parquet as parquet

    return parquet.read_metadata(io.BytesIO(MAGIC + footer))


def column_number(footer: Any, column: str) -> int:
    """Which of a file's leaf columns has that path, "image.bytes". Raises ValueError where none has."""
    group = footer.row_group(0)
    return [group.column(i).path_in_schema for i in range(group.num_columns)].index(column)


def column_bytes(footer: Any, group: int, number: int) -> tuple[int, int]:
    """(first byte, bytes) of a column of a row group in the file."""
    chunk = footer.row_group(group).column(number)
    begin = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        begin = min(begin, chunk.dictionary_page_offset)
    return begin, chunk.total_compressed_size


def read_group(
    file: RangeFile, size: int, footer: Any, group: int, column: str, wanted: np.ndarray | None = None
) -> list[Any]:
    """The values of a leaf column of a row group, one request; rows that are not `wanted` are None.

    `size` is that of the file in bytes. Raises ShardError naming the file where they cannot be read.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    begin, length = column_bytes(footer, group, column_number(footer, column))
    part = _Part(file, size, begin, file.read(begin, begin + length))
    try:
        source = parquet.ParquetFile(pyarrow.PythonFile(part, mode="r"), metadata=footer, pre_buffer=False)
        values = source.read_row_group(group, columns=[column], use_threads=False).column(0)
        for name in column.split(".")[1:]:
            values = compute.struct_field(values, name)
        rows = footer.row_group(group).num_rows
        if len(values) != rows:
            raise ValueError(f"{len(values)} rows in place of {rows}")
    except ShardError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = first_line(error)
        raise ShardError(
            f"{file.address}: row group {group} cannot be read; was the file changed after it was indexed? ({reason})"
        ) from None
    if wanted is None:
        return values.to_pylist()
    found: list[Any] = [None] * rows
    for at in wanted.tolist():
        found[at] = values[at].as_py()
    return found


class _Part(io.RawIOBase):
    """A file of which a part is at hand; whatever else is asked for is fetched."""

    def __init__(self, file: RangeFile, size: int, begin: int, data: bytes) -> None:
        self.file, self.size, self.begin, self.data, self.at = file, size, begin, data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = self.size if size < 0 else min(self.at + size, self.size)
        if self.begin <= self.at and end <= self.begin + len(self.data):
            found = self.data[self.at - self.begin : end - self.begin]
        else:
            found = self.file.read(self.at, end)
        self.at += len(found)
        return found


def first_line(error: Exception) -> str:
    """What an error says, one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def cache_footer(folder: Path, shard: int, footer: bytes) -> None:
    """Keeps a footer beside the index."""
    (folder / footer_name(shard)).write_bytes(footer)
