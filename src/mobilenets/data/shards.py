"""Tar shards in WebDataset's form as a `Dataset`: packed by `data pack` or by anybody, on disk or behind an address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .addresses import INDEX_NAME, STATE_NAME, address_of, is_remote, is_shard_name, names_shards
from .ranges import RangeFile, ShardError, open_ranges
from .records import SPLITS, Dataset, Sample, is_image_name
from .shardcache import fetched_index, scanned_index
from .shardfiles import ShardFiles
from .shardindex import Index, ShardSample, ShardSamples, read_index
from .tarscan import scan_samples


@dataclass(frozen=True)
class ShardDataset(Dataset):
    """A dataset whose samples are rows of an index."""

    @property
    def index(self) -> Index:
        """The index of its shards."""
        return self._samples.table

    @property
    def shard_files(self) -> ShardFiles:
        """Its files, as what they are."""
        assert isinstance(self.files, ShardFiles)
        return self.files

    @property
    def _samples(self) -> ShardSamples:
        assert isinstance(self.samples, ShardSamples)
        return self.samples

    @property
    def splits(self) -> tuple[str, ...]:
        """See `Dataset`."""
        present = np.unique(self.index.rows["split"][self._samples.chosen]).tolist()
        return tuple(split for code, split in enumerate(SPLITS, start=1) if code in present)

    def of_split(self, split: str | None) -> ShardSamples:
        """See `Dataset`."""
        return self._samples.of_split(split)

    def read(self, sample: Sample) -> bytes:
        """The bytes of a sample's image. Raises ShardError (an OSError), naming the shard, when they cannot be read."""
        if isinstance(sample, ShardSample):
            return self.shard_files.read_row(sample.row)
        return self.files.read(sample.name)


def is_shards(path: str | os.PathLike[str]) -> bool:
    """Whether the path means shards: an address, braces, a folder with an index, a folder of shards, or one shard.

    A tar of class folders is none: a shard's first image has a label (.cls, .json or .txt) of the same name beside it.
    """
    address = address_of(path)
    if names_shards(address):
        return True
    if os.path.isdir(address):
        entries = [entry.name for entry in os.scandir(address)]
        if INDEX_NAME in entries or STATE_NAME in entries:
            return True
        tars = sorted(filter(is_shard_name, entries))
        return bool(tars) and not any(map(is_image_name, entries)) and _is_shard(os.path.join(address, tars[0]))
    return os.path.isfile(address) and is_shard_name(os.path.basename(address)) and _is_shard(address)


def _is_shard(path: str) -> bool:
    try:
        first = next(scan_samples(open_ranges(path)), None)
    except ShardError:
        return False
    return first is not None and first.image is not None and bool(first.labels)


def open_shards(path: str | os.PathLike[str], *, labels: str | None = None, strict: bool = True) -> ShardDataset:
    """The shards at a path or address as a dataset of the form "shards".

    A set with an index (`data pack` writes it) is opened at once; of any other the headers are read through once, and
    what was found is kept in the cache. `labels` names the field of the `.json` members that holds the class.
    Local samples stand in the order of the data that was packed, remote ones in that of the shards.
    Raises UserError for what is no set of shards, ShardError for a shard that is gone or damaged; with `strict` also
    for images without a label and for fewer than two classes.
    """
    address = address_of(path)
    remote = is_remote(address)
    index, addresses = _find(address, remote, labels)
    files = [open_ranges(shard) for shard in addresses]
    if not remote and "plan" in index.document:
        _check_sizes(index, files)
    return dataset_of(address, index, ShardFiles(index, files, remote=remote), strict=strict)


def dataset_of(address: str, index: Index, files: ShardFiles, *, strict: bool) -> ShardDataset:
    """The dataset of an index: its own order where it is local, that of the files where it is remote."""
    rows = np.arange(len(index.rows), dtype=np.uint32)
    if not files.remote:
        order = np.empty_like(rows)
        order[index.rows["place"]] = rows
        rows = order
    samples = ShardSamples(index, rows)
    counts = np.bincount(index.rows["label"], minlength=len(index.classes))
    empty = tuple(label.name for label, count in zip(index.classes, counts.tolist()) if not count)
    if strict:
        _check_whole(address, index, counts)
    return ShardDataset(
        root=Path(address),
        form="shards",
        classes=index.classes,
        samples=samples,
        files=files,
        notes=tuple(index.document["notes"]),
        empty=empty,
        mark=index.document["fingerprint"],
    )


def _find(address: str, remote: bool, labels: str | None) -> tuple[Index, list[str]]:
    """The index of the shards, and their addresses."""
    folder = address.removesuffix(INDEX_NAME).rstrip("/") if address.endswith(INDEX_NAME) else address.rstrip("/")
    if not remote and os.path.isfile(os.path.join(folder or ".", INDEX_NAME)):
        index = read_index(Path(folder or "."))
    elif not remote and os.path.isfile(os.path.join(folder or ".", STATE_NAME)):
        raise UserError(f"{folder}: was not packed to its end; the same `mobilenets data pack` goes on")
    elif not remote and address.endswith(INDEX_NAME):
        raise UserError(f"{address}: no such file")
    elif remote and not address.endswith(".tar") and "::" not in address:
        index = fetched_index(folder)
    else:
        return scanned_index(address, remote, labels)
    if labels is not None:
        raise UserError(f"{address}: labels {labels!r}: packed shards have one label for each image")
    return index, [f"{folder or '.'}/{shard.file}" for shard in index.shards]


def _check_sizes(index: Index, files: Sequence[RangeFile]) -> None:
    """Raises ShardError where a packed shard is gone or has another size than it was written with."""
    for shard, file in zip(index.shards, files):
        size = file.size()
        if size != shard.bytes:
            raise ShardError(
                f"{file.address}: has {size:,} bytes, was packed with {shard.bytes:,}; fetch or pack it again"
            )


def _check_whole(address: str, index: Index, counts: np.ndarray) -> None:
    """Raises UserError for what training cannot use."""
    unlabelled = index.document.get("unlabelled")
    if unlabelled:
        raise UserError(
            f"{address}: {unlabelled['count']} images without a label (.cls, .json or .txt of the same name), "
            f"the first is {unlabelled['first']}"
        )
    if np.count_nonzero(counts) < 2:
        raise UserError(f"{address}: {np.count_nonzero(counts)} class has images; at least two are needed")


def is_streamed(dataset: Dataset) -> bool:
    """Whether training reads the dataset as a stream: its images lie in shards on another machine, or in row groups."""
    return isinstance(dataset, ShardDataset) and dataset.shard_files.streamed
