"""Indexes that lie in the cache: of shards that have none, scanned once, and of remote sets, fetched once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_bytes
from ..console import progress, say
from ..errors import UserError
from .addresses import INDEX_NAME, expand, is_shard_name, local_shards
from .cache import cache_folder
from .ranges import RangeFile, ShardError, file_system, of_store, open_ranges
from .records import SPLIT_ALIASES
from .shardindex import NAMES_NAME, ROW, ROWS_NAME, Index, IndexWriter, Shard, read_index, write_index, writing_index
from .shardlabels import Label, class_labels, label_in
from .tarscan import scan_samples

AT_ONCE = 8  # shards that are scanned, or asked for their size, side by side
_PIECE = 8 * 2**20

_Found = tuple[str, int, int, Label | None]  # name in the shard, offset, size, label


def scanned_index(address: str, remote: bool, labels: str | None) -> tuple[Index, list[str]]:
    """The index of shards that have none, and their addresses: read from the cache, or made by a scan and kept there.

    The entry belongs to the shards' addresses, sizes and times (tags, for a server): changed shards are scanned again.
    """
    addresses = shard_addresses(address, remote, ".tar")
    files = [open_ranges(shard) for shard in addresses]
    places = addresses if remote else [os.path.abspath(shard) for shard in addresses]
    key = hashlib.sha256(json.dumps([1, places, stamps_of(files), labels]).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        _scan(folder, address, files, labels)

    return read_index(kept(key, make)), addresses


def fetched_index(folder: str) -> Index:
    """The index of a remote folder that `data pack` wrote; its large files are fetched once, and checked."""
    file = open_ranges(f"{folder}/{INDEX_NAME}")
    try:
        document = file.read(0, file.size())
    except ShardError as error:
        raise ShardError(
            f"{error}; a folder behind an address needs the index that `mobilenets data pack` writes, or name the "
            f"shards: {folder}/train-{{000000..000009}}.tar"
        ) from None
    key = hashlib.sha256(document).hexdigest()[:32]

    def make(target: Path) -> None:
        write_bytes(target / INDEX_NAME, document)
        try:
            hashes = {name: json.loads(document)["files"][name] for name in (ROWS_NAME, NAMES_NAME)}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{file.address}: is no index of shards") from None
        for name, sha256 in hashes.items():
            _fetch(open_ranges(f"{folder}/{name}"), target / name, sha256)

    return read_index(kept(key, make))


def kept(key: str, make: Callable[[Path], None]) -> Path:
    """The folder of the cache under that key, made in full by `make` before it appears there."""
    target = cache_folder() / "shards" / key
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{key}.", ignore_cleanup_errors=True) as name:
        made = Path(name) / key
        made.mkdir()
        make(made)
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was quicker
                raise
    return target


def _fetch(file: RangeFile, target: Path, sha256: str) -> None:
    digest, position, size = hashlib.sha256(), 0, file.size()
    with open(target, "wb") as out:
        while position < size:
            piece = file.read(position, min(position + _PIECE, size))
            digest.update(piece)
            out.write(piece)
            position += len(piece)
            if not piece:
                break
    if digest.hexdigest() != sha256:
        raise ShardError(f"{file.address}: does not fit its {INDEX_NAME} (its SHA-256 differs); was it copied in part?")


def stamps_of(files: Sequence[RangeFile]) -> list[str]:
    """What changes when one of the files does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda file: file.stamp(), files))


def shard_addresses(address: str, remote: bool, suffix: str) -> list[str]:
    """The files of that suffix that an address names; remote ones by "*" and "?" where fsspec can list.

    Raises UserError for one that is no such file, and where there is none.
    """
    if not remote:
        return [str(path) for path in local_shards(address, suffix)]
    if not any(c in address for c in "*?") or address.lower().startswith("http"):
        found = expand(address)
        bad = next((file for file in found if not is_shard_name(file.split("?")[0].rsplit("/", 1)[-1], suffix)), None)
        if bad is not None:
            raise UserError(f"{bad}: no shard; the address of a {suffix} is expected")
        return found
    fs, path = file_system(address)
    try:
        scheme = address.partition("://")[0]
        listed = [f"{scheme}://{name.lstrip('/')}" for name in sorted(of_store(fs.glob, path))]
    except FileNotFoundError:
        listed = []
    except OSError as error:
        raise UserError(f"{address}: cannot be listed ({str(error).strip().splitlines()[0][:200]})") from None
    found = [file for file in listed if is_shard_name(file.rsplit("/", 1)[-1], suffix)]
    if not found:
        raise UserError(f"{address}: no {suffix} file there")
    return found


def split_of_shard(address: str) -> str | None:
    """The split that a shard's name, or else its folder's, states: `imagenet-train-0001.tar`, `val/000.tar`."""
    for part in reversed(address.split("/")[-2:]):
        words = "".join(c if c.isalpha() else " " for c in part.lower()).split()
        found = [SPLIT_ALIASES[word] for word in words if word in SPLIT_ALIASES]
        if found:
            return found[0]
    return None


def _scan(folder: Path, address: str, files: Sequence[RangeFile], labels: str | None) -> None:
    """Writes the index of the shards into the folder. Raises UserError where they hold no labelled image."""
    say(f"{address}: no index; reading through {len(files)} shards once")
    splits = splits_of([file.address for file in files])
    values: dict[Label, int] = {}  # labels in the order of their appearance
    shards: list[Shard] = []
    faults: list[str] = []
    with writing_index(folder) as writer, ThreadPoolExecutor(AT_ONCE) as pool, progress() as bar:
        task = bar.add_task("reading shards", total=len(files), note="")
        for number, (samples, size) in enumerate(_scanned(files, labels, pool)):
            file, split = files[number], splits[number]
            kept = _add(writer, f"{os.path.basename(file.address)}/", samples, number, split, values, faults)
            shards.append(Shard(os.path.basename(file.address), split, kept, size))
            bar.advance(task)
    images = sum(shard.images for shard in shards)
    if not images:
        raise UserError(
            f"{address}: {len(files)} shards without any labelled image ({', '.join(faults[:2]) or 'empty'})"
        )
    classes, place = class_labels(address, list(values), images)
    number_labels(folder, place)
    notes = [f"{len(files)} shards of {images} images without an index; their headers were read once"]
    more: dict[str, Any] = {}
    if faults:
        notes.append(f"{len(faults)} images without a label, left out")
        more["unlabelled"] = {"count": len(faults), "first": faults[0]}
    write_index(folder, classes, shards, notes, **more)


def _scanned(
    files: Sequence[RangeFile], labels: str | None, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[_Found], int]]:
    """(what each shard holds, its size), a few shards ahead."""

    def scan(file: RangeFile) -> tuple[list[_Found], int]:
        found: list[_Found] = []
        for sample in scan_samples(file):
            if sample.image is not None:
                where = f"{file.address}: {sample.key}"
                image = sample.image
                found.append((image.name, image.offset, image.size, label_in(where, sample.labels, labels)))
        return found, file.size()

    for begin in range(0, len(files), AT_ONCE):
        yield from pool.map(scan, files[begin : begin + AT_ONCE])


def _add(
    writer: IndexWriter,
    prefix: str,
    samples: list[_Found],
    shard: int,
    split: str | None,
    values: dict[Label, int],
    faults: list[str],
) -> int:
    """Writes the labelled samples of a shard; returns how many there are."""
    kept = 0
    for name, offset, size, label in samples:
        if label is None:
            faults.append(prefix + name)
            continue
        number = values.setdefault(label, len(values))
        writer.add(prefix + name, offset=offset, size=size, shard=shard, label=number, split=split, place=0, group=0)
        kept += 1
    return kept


def number_labels(folder: Path, place: Sequence[int]) -> None:
    """Turns labels numbered as they appeared into places among the classes, and numbers the rows."""
    rows = np.memmap(folder / ROWS_NAME, ROW, "r+")
    rows["label"] = np.array(place, np.uint32)[rows["label"]]
    rows["place"] = np.arange(len(rows))
    rows.flush()


def splits_of(addresses: Sequence[str]) -> list[str | None]:
    """The split of each shard; none at all where some name states none."""
    found = [split_of_shard(address) for address in addresses]
    return found if None not in found else [None] * len(found)
