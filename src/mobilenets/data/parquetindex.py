"""The index of parquet files: their footers and labels are read once, and kept in the cache; of the images, nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..console import progress, say
from ..errors import UserError
from .headers import HeaderError, read_header
from .parquetfiles import (
    GROUP_BITS,
    cache_footer,
    column_number,
    fetch_footer,
    first_line,
    parsed_footer,
    read_group,
    require_pyarrow,
)
from .ranges import RangeFile, ShardError, open_ranges
from .records import ClassLabel
from .shardcache import AT_ONCE, kept, number_labels, shard_addresses, splits_of, stamps_of
from .shardindex import Index, IndexWriter, Shard, read_index, write_index, writing_index
from .shardlabels import Label, class_labels

LABEL_COLUMNS = ("label", "labels", "class", "fine_label", "cls")  # the first that is there
SUFFIXES = {"jpeg": "jpg", "tiff": "tif", "pnm": "ppm"}  # of image formats, where they differ from the format's name


@dataclass(frozen=True)
class Columns:
    """The leaf columns of a file that hold images and classes; `names` of the classes where the file states them."""

    images: str
    labels: str
    names: tuple[str, ...] | None


def parquet_index(address: str, remote: bool, labels: str | None) -> tuple[Index, list[str]]:
    """The index of the parquet files that an address names, and the files' addresses.

    It belongs to their addresses, sizes and times (tags, for a server), and lies in the cache.
    """
    require_pyarrow(address)
    addresses = shard_addresses(address, remote, ".parquet")
    files = [open_ranges(file) for file in addresses]
    places = addresses if remote else [os.path.abspath(file) for file in addresses]
    key = hashlib.sha256(json.dumps(["parquet", 1, places, stamps_of(files), labels]).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        _scan(folder, address, files, labels)

    return read_index(kept(key, make)), addresses


def columns_of(address: str, footer: Any, labels: str | None) -> Columns:
    """Which columns to read. Raises UserError, naming those that there are, where that is not plain."""
    schema = footer.schema.to_arrow_schema()
    features = _features(schema)
    images = [name for name, kind in features.items() if kind.get("_type") == "Image"]
    if not images:
        images = [field.name for field in schema if _holds_files(field.type)]
    there = ", ".join(schema.names)
    if len(images) != 1:
        raise UserError(f"{address}: {len(images)} columns hold images; one is expected, of the columns {there}")
    if labels is not None and labels not in schema.names:
        raise UserError(f"{address}: no column {labels!r}; there are {there}")
    stated = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    named = [name for name in LABEL_COLUMNS if name in schema.names]
    label = labels or (stated[0] if len(stated) == 1 else next(iter(named), None))
    if label is None:
        raise UserError(f"{address}: which column holds the class? --labels names it, of {there}")
    whole = schema.field(images[0]).type
    leaf = f"{images[0]}.bytes" if _is_struct(whole) else images[0]
    names = features.get(label, {}).get("names")
    return Columns(leaf, label, None if names is None else tuple(names))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the datasets library wrote of the columns; nothing where another program wrote the file."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: kind for name, kind in found.items() if isinstance(kind, dict)}


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_struct(kind))


def _holds_files(kind: Any) -> bool:
    """Whether a column of that type can hold image files: bytes, or a struct that has them."""
    import pyarrow.types as types

    if _is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _scan(folder: Path, address: str, files: Sequence[RangeFile], labels: str | None) -> None:
    """Writes the index of the files into the folder. Raises UserError where they hold no labelled image."""
    say(f"{address}: reading the footers and labels of {len(files)} parquet files once")
    footers = _footers(folder, files)
    columns = columns_of(address, next(iter(footers.values()), None) or _nothing(address), labels)
    splits = splits_of([file.address for file in files])
    values: dict[Label, int] = {}
    shards: list[Shard] = []
    rows = largest = 0
    suffix, scale = "", 1.0
    with writing_index(folder) as writer, ThreadPoolExecutor(AT_ONCE) as pool, progress() as bar:
        task = bar.add_task("reading labels", total=len(files), note="")
        for number, file in enumerate(files):
            footer = footers.get(number)
            images = 0
            if footer is not None:
                if not suffix:
                    suffix, scale = _first_group(file, footer, columns)
                images, most = _add(writer, number, file, footer, columns, splits[number], values, suffix, scale, pool)
                rows, largest = rows + footer.num_rows, max(largest, most)
            shards.append(Shard(os.path.basename(file.address), splits[number], images, file.size()))
            bar.advance(task)
    total = sum(shard.images for shard in shards)
    if not total:
        raise UserError(f"{address}: {len(files)} parquet files without any labelled image")
    classes, place = _classes(address, columns, list(values), total)
    number_labels(folder, place)
    notes = [f"images in column {columns.images.split('.')[0]!r}, classes in column {columns.labels!r}"]
    if total < rows:
        notes.append(f"{rows - total} images without a label, left out")
    write_index(folder, classes, shards, notes, images_in=columns.images, largest_group=largest)


def _footers(folder: Path, files: Sequence[RangeFile]) -> dict[int, Any]:
    """The footers of the files that hold a row, by their number; kept in the folder."""

    def fetched(number: int) -> Any:
        footer = fetch_footer(files[number])
        cache_footer(folder, number, footer)
        try:
            return parsed_footer(footer)
        except OSError as error:
            raise ShardError(f"{files[number].address}: its footer cannot be read ({first_line(error)})") from None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {number: f for number, f in enumerate(pool.map(fetched, range(len(files)))) if f.num_rows}


def _nothing(address: str) -> Any:
    raise UserError(f"{address}: holds no row")


def _add(
    writer: IndexWriter,
    shard: int,
    file: RangeFile,
    footer: Any,
    columns: Columns,
    split: str | None,
    values: dict[Label, int],
    suffix: str,
    scale: float,
    pool: ThreadPoolExecutor,
) -> tuple[int, int]:
    """Writes the labelled images of a file; returns how many there are, and the bytes of its largest row group."""
    number = _column(file, footer, columns.images)
    _column(file, footer, columns.labels)
    groups, size = range(footer.num_row_groups), file.size()
    name = os.path.basename(file.address)
    row = images = most = 0
    for group, found in zip(groups, pool.map(lambda g: read_group(file, size, footer, g, columns.labels), groups)):
        length = round(scale * footer.row_group(group).column(number).total_uncompressed_size)
        most = max(most, length)
        for at, value in enumerate(found):
            if value is not None and value != -1:  # -1 is how a hidden label is written
                writer.add(
                    f"{name}/{row + at:08}.{suffix}",
                    offset=group << GROUP_BITS | at,
                    size=max(1, length // max(1, len(found))),
                    shard=shard,
                    label=values.setdefault(_label(file, value), len(values)),
                    split=split,
                    place=0,
                    group=0,
                )
                images += 1
        row += len(found)
    return images, most


def _column(file: RangeFile, footer: Any, column: str) -> int:
    try:
        return column_number(footer, column)
    except ValueError:
        raise UserError(f"{file.address}: no column {column!r}, which the first file has") from None


def _label(file: RangeFile, value: object) -> Label:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ShardError(f"{file.address}: a label is {str(value)[:40]!r}; a number or a name is expected")
    return value


def _classes(
    address: str, columns: Columns, values: list[Label], images: int
) -> tuple[tuple[ClassLabel, ...], list[int]]:
    """The classes, and the place among them of each value."""
    if columns.names is None:
        return class_labels(address, values, images)
    wrong = next((v for v in values if not isinstance(v, int) or not 0 <= v < len(columns.names)), None)
    if wrong is not None:
        raise UserError(f"{address}: label {wrong!r} is none of the {len(columns.names)} classes that are stated")
    return tuple(ClassLabel(name, index=i) for i, name in enumerate(columns.names)), [int(value) for value in values]


def _first_group(file: RangeFile, footer: Any, columns: Columns) -> tuple[str, float]:
    """What the images of the first row group tell of all: the suffix that fits, and how far they exceed their column.

    The names of all get that suffix, only what is packed shows it. A column is smaller than its images where equal ones
    are stored once.
    """
    images = [image for image in read_group(file, file.size(), footer, 0, columns.images) if image is not None]
    stated = footer.row_group(0).column(_column(file, footer, columns.images)).total_uncompressed_size
    try:
        header = read_header(images[0] if images else b"")
    except HeaderError:
        header = None
    suffix = "png" if header is None else SUFFIXES.get(header.format, header.format)
    return suffix, max(1.0, sum(map(len, images)) / max(1, stated))
