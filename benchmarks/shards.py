"""Prints what an image costs and how much memory is held, for sets of shards of a thousand to a million images.

    PYTHONPATH=src python benchmarks/shards.py [--smallest 1000] [--largest 1000000] [--ways parquet]
        [--folder FOLDER] [--record]

Synthetic shards: sixteen JPEGs of 64 pixels, repeated under names of their own, 20,000 in a shard; the shards are
copies. For each size a process of its own reads the headers once (the scan that a set without an index costs), then
opens the set from the cache and loads training batches of 64 on one thread: by random access with an exact shuffle
(what local shards get), as a stream (what remote shards get), and as a stream of parquet files with the same images,
100 in a row group. All begin in the middle of the first epoch, as a resumed training does. The files (5.6 GB for a
million images) are removed at the end, unless --folder names where to keep them. Times are processor time, of all
threads, and so the same on a busy machine: median of 15 rounds of 10 batches after one that is dropped, with the 10th
and 90th percentile. Memory is that of the process without what is mapped from files (RssAnon), at its most. `--record`
adds the rows to benchmarks/results/shards.jsonl. About six minutes on one core that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

RESULTS = Path(__file__).parent / "results" / "shards.jsonl"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PER_SHARD, BATCH, SIDE, ROUNDS, ROUND = 20_000, 64, 64, 15, 10
WAYS = ("random access", "stream", "parquet")
GROUP = 100  # images of a row group


def pictures() -> list[bytes]:
    """Sixteen smooth pictures as JPEG files."""
    made = []
    for seed in range(16):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        made.append(cv2.imencode(".jpg", cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))[1].tobytes())
    return made


def write_shards(folder: Path, images: int) -> None:
    """Shards that hold `images` images of ten classes; each shard is a copy of the first."""
    folder.mkdir(parents=True)
    blobs = pictures()
    for begin in range(0, images, PER_SHARD):
        path = folder / f"train-{begin // PER_SHARD:06}.tar"
        if begin:
            shutil.copyfile(folder / "train-000000.tar", path)
            continue
        with open(path, "wb") as out:
            for number in range(min(PER_SHARD, images)):
                for suffix, data in (("jpg", blobs[number % len(blobs)]), ("cls", b"%d" % (number % 10))):
                    info = tarfile.TarInfo(f"{number:09}.{suffix}")
                    info.size = len(data)
                    out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
            out.write(bytes(1024))


def write_parquet(folder: Path, images: int) -> None:
    """The same images and classes in parquet files, as the datasets library writes them; copies too."""
    import pyarrow
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True)
    blobs = pictures()
    numbers = range(min(PER_SHARD, images))
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = pyarrow.array([{"bytes": blobs[number % len(blobs)], "path": None} for number in numbers], kind)
    table = pyarrow.table({"image": cells, "label": [number % 10 for number in numbers]})
    parquet.write_table(
        table, folder / "train-000000.parquet", row_group_size=GROUP, compression="none", use_dictionary=False
    )
    for number in range(1, -(-images // PER_SHARD)):
        shutil.copyfile(folder / "train-000000.parquet", folder / f"train-{number:06}.parquet")


def anonymous_mb() -> float:
    """MB that this process holds of its own."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024


class MostMemory:
    """The largest `anonymous_mb` while the block ran."""

    def __enter__(self) -> MostMemory:
        self.mb, self._over = anonymous_mb(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.mb = max(self.mb, anonymous_mb())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.mb = max(self.mb, anonymous_mb())


def opened(folder: Path) -> Any:
    """The dataset of a folder that `write_shards` or `write_parquet` made."""
    from mobilenets.data.dataset import open_dataset

    return open_dataset(folder / "*.parquet" if (folder / "train-000000.parquet").exists() else folder)


def scan(folder: Path) -> dict[str, float]:
    """Seconds and memory of the first opening."""
    with MostMemory() as most:
        started = time.process_time()
        dataset = opened(folder)
        seconds = time.process_time() - started
    return {"scan_us_per_image": 1e6 * seconds / len(dataset.samples), "memory_mb": most.mb}


def load(folder: Path, way: str) -> dict[str, float]:
    """What opening from the cache, the first batch from the middle of an epoch, and an image cost; memory."""
    from mobilenets.data.augment import Augmentation
    from mobilenets.data.loader import Images, Loader
    from mobilenets.data.stream import StreamLoader

    with MostMemory() as most:
        started = time.process_time()
        dataset = opened(folder)
        seconds_to_open = time.process_time() - started
        images = Images(dataset, dataset.of_split("train"), SIDE, cache_bytes=0)
        kind = Loader if way == "random access" else StreamLoader
        loader = kind(images, batch_size=BATCH, resolution=SIDE, augmentation=Augmentation(), seed=0, threads=1)
        started = time.process_time()
        batches = endless(loader)
        next(batches)
        first = time.process_time() - started
        times = []
        for _ in range(ROUNDS + 1):
            started = time.process_time()
            for _ in range(ROUND):
                next(batches)
            times.append(1e6 * (time.process_time() - started) / (ROUND * BATCH))
        batches.close()  # type: ignore[attr-defined]
    low, high = np.percentile(times[1:], [10, 90])
    return {
        "open_s": seconds_to_open,
        "first_batch_s": first,
        "us_per_image": statistics.median(times[1:]),
        "us_p10": float(low),
        "us_p90": float(high),
        "memory_mb": most.mb,
    }


def endless(loader: Any) -> Iterator[Any]:
    """Batch after batch, from the middle of the first epoch on."""
    number, start = 0, loader.steps // 2
    while True:
        yield from loader.epoch(number, start)
        number, start = number + 1, 0


def measured(*words: str) -> dict[str, float]:
    """What a process of its own measures."""
    done = subprocess.run([sys.executable, __file__, "--child", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(root: Path, smallest: int, largest: int, ways: list[str]) -> list[dict[str, Any]]:
    """One row for each size and way."""
    rows: list[dict[str, Any]] = []
    print(f"{'images':>9} {'way':14}{'us/image':>9}{'p10':>7}{'p90':>7}{'open s':>8}{'first s':>8}{'memory MB':>10}")
    for images in (size for size in SIZES if smallest <= size <= largest):
        for write, here in ((write_shards, ["random access", "stream"]), (write_parquet, ["parquet"])):
            chosen = [way for way in here if way in ways]
            if not chosen:
                continue
            folder = root / f"{images}{'-parquet' if write is write_parquet else ''}"
            if not folder.exists():
                write(folder, images)
            found = measured("scan", str(folder))
            first = "headers, once" if write is write_shards else "footers, once"
            print(f"{images:9,} {first:14}{found['scan_us_per_image']:9.1f}{'':30}{found['memory_mb']:10.0f}")
            rows.append({"images": images, "way": "scan" if write is write_shards else "scan parquet"} | found)
            for way in chosen:
                found = measured(way, str(folder))
                print(
                    f"{images:9,} {way:14}{found['us_per_image']:9.1f}{found['us_p10']:7.0f}{found['us_p90']:7.0f}"
                    f"{found['open_s']:8.2f}{found['first_batch_s']:8.2f}{found['memory_mb']:10.0f}",
                    flush=True,
                )
                rows.append({"images": images, "way": way} | found)
    return [{key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smallest", type=int, default=SIZES[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--ways", default=",".join(WAYS), help="of random access, stream, parquet")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    ways = options.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"unknown ways: {', '.join(unknown)}; allowed: {', '.join(WAYS)}")
    if options.child:
        what, folder = options.child
        print(json.dumps(scan(Path(folder)) if what == "scan" else load(Path(folder), what)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MOBILENETS_CACHE"] = str(Path(temporary) / "cache")
        rows = measure(options.folder or Path(temporary) / "shards", options.smallest, options.largest, ways)
    if options.record:
        date = datetime.now(UTC).date().isoformat()
        command = (
            f"benchmarks/shards.py --smallest {options.smallest} --largest {options.largest} --ways '{options.ways}'"
        )
        with open(RESULTS, "a") as out:
            out.writelines(json.dumps({"date": date, "command": command} | row) + "\n" for row in rows)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
