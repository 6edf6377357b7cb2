"""`data pack`: any labelled images as tar shards in WebDataset's form, divided into the parts that training makes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..atomic import replacing, write_json
from ..console import progress
from ..digest import digest
from ..errors import UserError
from .addresses import INDEX_NAME, STATE_NAME
from .dataset import Dataset, Sample, open_dataset
from .decode import ImageError, decode_image
from .ranges import ShardError, open_ranges
from .records import SPLITS
from .roles import roles
from .shardindex import NAMES_NAME, ROWS_NAME, Shard, read_index, write_index, writing_index
from .tarscan import TAR_BLOCK, scan_samples

SHARD_MB = 128.0
QUALITY = 92  # of JPEG, where images are made smaller
_AHEAD = 16  # images that are read side by side
_SIDES = (8, 4096)

_Item = tuple[int, int, str, bytes]  # place in the data, class, suffix without the dot, contents


@dataclass(frozen=True)
class _Plan:
    """What is packed: the samples in the data's order, the part of each (its place in SPLITS), and how."""

    dataset: Dataset
    parts: np.ndarray
    notes: tuple[str, ...]
    shard_bytes: int
    side: int | None
    key: str

    def order(self, part: int) -> np.ndarray:
        """The samples of one part as they stand in the shards: shuffled, so that every stretch holds many classes."""
        chosen = np.flatnonzero(self.parts == part)
        return np.random.default_rng((0, part)).permutation(chosen)


def pack(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | None = None,
    shard_mb: float = SHARD_MB,
    side: int | None = None,
) -> dict[str, Any]:
    """Writes the data at `path` (whatever `open_dataset` opens) as shards into `out`; returns what `--json` prints.

    The shards are called train-000000.tar, val-… (what selects) and test-… (what is reported): the parts that training
    would make of the data, near-duplicates and clips together. In each the images are shuffled. Their bytes are copied
    unchanged; with `side` an image whose short side is longer becomes a JPEG with that short side. Equal data gives
    equal bytes. What a kill leaves is taken up by the next call with the same arguments, from the first shard that is
    not whole. Raises UserError for values out of range, and for a folder that holds anything else.
    """
    if not 0.001 <= shard_mb <= 100_000:
        raise UserError(f"shard size {shard_mb:g} MB is out of range: allowed is 0.001 to 100000")
    if side is not None and not _SIDES[0] <= side <= _SIDES[1]:
        raise UserError(f"side {side} is out of range: allowed is {_SIDES[0]} to {_SIDES[1]}")
    folder = Path(out)
    _refuse_foreign(folder)
    plan = _make_plan(open_dataset(path, labels=labels), round(shard_mb * 1e6), side)
    if _claim(folder, plan):
        return _answer(path, folder, plan, written=0)
    shards, written = _write_all(folder, plan)
    _write_rows(folder, plan, shards)
    write_index(folder, plan.dataset.classes, shards, plan.notes, plan=plan.key, side=side)
    (folder / STATE_NAME).unlink(missing_ok=True)
    return _answer(path, folder, plan, written=written)


def _make_plan(dataset: Dataset, shard_bytes: int, side: int | None) -> _Plan:
    made = roles(dataset, seed=0)
    part_of = {s.name: part for part, group in enumerate((made.train, made.selection, made.report)) for s in group}
    parts = np.array([part_of[sample.name] for sample in dataset.samples], np.uint8)
    of = hashlib.sha256(json.dumps([1, shard_bytes, side, [asdict(label) for label in dataset.classes]]).encode())
    for sample, part in zip(dataset.samples, parts.tolist()):
        size = dataset.files.size(sample.name)
        of.update(f"{sample.name}\0{sample.label}\0{part}\0{sample.group}\0{size}\n".encode("utf-8", "surrogateescape"))
    notes = (*dataset.notes, *made.notes)
    return _Plan(dataset, parts, notes, shard_bytes, side, of.hexdigest())


def _refuse_foreign(folder: Path) -> None:
    """Raises UserError where the folder holds something that `pack` did not write."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out names a folder")
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & {STATE_NAME, INDEX_NAME} and not all(name.endswith(".part") for name in names):
        raise UserError(f"{folder}: is not empty and holds no packed data; choose another --out")


def _claim(folder: Path, plan: _Plan) -> bool:
    """Whether the folder holds the finished set; else it is begun, or taken up. UserError where it holds another."""
    for name in (INDEX_NAME, STATE_NAME):
        path = folder / name
        if path.is_file():
            try:
                known = json.loads(path.read_bytes()).get("plan")
            except (ValueError, AttributeError):
                known = None
            if known != plan.key:
                raise UserError(f"{folder}: was packed from other data or with other settings; choose another --out")
            if name == INDEX_NAME and all(_is_whole(folder, shard) for shard in read_index(folder).shards):
                return True
    write_json(folder / STATE_NAME, {"plan": plan.key})
    for leftover in folder.glob(".*.part"):  # of a write that was killed
        leftover.unlink()
    return False


def _is_whole(folder: Path, shard: Shard) -> bool:
    path = folder / shard.file
    return path.is_file() and path.stat().st_size == shard.bytes and digest(path) == shard.sha256


def _write_all(folder: Path, plan: _Plan) -> tuple[list[Shard], int]:
    """Every shard, and how many of them were written now: those that a killed call finished stay."""
    shards: list[Shard] = []
    written = 0
    with progress() as bar, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        task = bar.add_task("packing", total=len(plan.parts), note="")
        for part, split in enumerate(SPLITS):
            order = plan.order(part)
            begin = number = 0
            while begin < len(order):
                path = folder / f"{split}-{number:06}.tar"
                count = _count_there(path, order[begin:])
                if not count:
                    count = _write_shard(path, _items(plan, order[begin:], pool), plan.shard_bytes)
                    written += 1
                shards.append(Shard(path.name, split, count, path.stat().st_size, digest(path)))
                begin, number = begin + count, number + 1
                bar.advance(task, count)
    return shards, written


def _count_there(path: Path, order: np.ndarray) -> int:
    """How many images a shard of an earlier call holds; 0 where it is not there or not what belongs there."""
    try:
        keys = [int(sample.key) for sample in scan_samples(open_ranges(str(path)))] if path.is_file() else []
    except (ShardError, ValueError):
        return 0
    return len(keys) if keys == order[: len(keys)].tolist() else 0


def _items(plan: _Plan, order: np.ndarray, pool: ThreadPoolExecutor) -> Iterator[_Item]:
    """The images of the samples, a few read ahead."""
    for begin in range(0, len(order), _AHEAD):
        yield from pool.map(lambda place: _item(plan, place), order[begin : begin + _AHEAD].tolist())


def _item(plan: _Plan, place: int) -> _Item:
    sample = plan.dataset.samples[place]
    return place, sample.label, *_contents(plan.dataset, sample, plan.side)


def _contents(dataset: Dataset, sample: Sample, side: int | None) -> tuple[str, bytes]:
    """(suffix, bytes) of the image: unchanged, or made smaller."""
    data = dataset.read(sample)
    suffix = sample.name.rpartition(".")[2].lower()
    if side is None:
        return suffix, data
    try:
        image = decode_image(data, min_side=side)
    except ImageError as error:
        raise UserError(f"{sample.name}: {error}; `mobilenets data check` lists every such file") from None
    height, width = image.shape[:2]
    short = min(height, width)
    if short <= side:  # a reduced JPEG is never shorter than the side: only one that has it already is copied
        return suffix, data
    size = max(1, round(width * side / short)), max(1, round(height * side / short))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    return "jpg", cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _write_shard(path: Path, items: Iterator[_Item], limit: int) -> int:
    """Writes one shard of at most `limit` bytes, but at least one image; returns how many it holds."""
    count = used = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for place, label, suffix, data in items:
            need = 3 * TAR_BLOCK + -(-len(data) // TAR_BLOCK) * TAR_BLOCK  # two headers and a label
            if count and used + need > limit:
                break
            _add(archive, f"{place:09}.{suffix}", data)
            _add(archive, f"{place:09}.cls", b"%d" % label)
            used += need
            count += 1
    return count


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: equal data gives equal bytes
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _write_rows(folder: Path, plan: _Plan, shards: Sequence[Shard]) -> None:
    """Writes `index.bin` and `names.bin` from the shards' headers and what the plan knows."""
    groups: dict[str, int] = {}
    with writing_index(folder) as writer:
        for number, shard in enumerate(shards):
            for found in scan_samples(open_ranges(str(folder / shard.file))):
                assert found.image is not None
                place = int(found.key)
                sample = plan.dataset.samples[place]
                group = 0 if sample.group is None else groups.setdefault(sample.group, len(groups) + 1)
                writer.add(
                    sample.name,
                    offset=found.image.offset,
                    size=found.image.size,
                    shard=number,
                    label=sample.label,
                    split=shard.split,
                    place=place,
                    group=group,
                )


def _answer(path: str | os.PathLike[str], folder: Path, plan: _Plan, *, written: int) -> dict[str, Any]:
    """What `data pack --json` prints."""
    document = read_index(folder).document
    return {
        "out": str(folder),
        "data": os.fspath(path),
        "form": plan.dataset.form,
        "images": document["images"],
        "classes": len(document["classes"]),
        "splits": document["splits"],
        "bytes": sum((folder / name).stat().st_size for name in (ROWS_NAME, NAMES_NAME))
        + sum(shard["bytes"] for shard in document["shards"]),
        "side": plan.side,
        "written": written,
        "fingerprint": document["fingerprint"],
        "shards": document["shards"],
        "notes": document["notes"],
    }
