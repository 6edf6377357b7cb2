"""A folder of rendered hands that any classifier here can train on, made once and kept in the cache."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ... import console
from ...errors import UserError
from .pose import SIGNS
from .work import FIELDS, Share, render_all

VERSION = 2  # raised whenever the same seed and index would give another picture
FEWEST, LARGEST = 9, 1024  # images in all; pixels a side
_MARKER = "hands.json"
_STALE_S = 24 * 3600.0


def prepare(
    *, images: int = 2000, size: int = 128, seed: int = 0, out: Path | None = None, workers: int | None = None
) -> Path:
    """The folder `<root>/images` with `train/`, `val/` and `test/`, each with a folder per sign; rendered if absent.

    Beside it, `<root>/annotations.csv` tells for each picture (`file`, relative to `images`) its label, split,
    attributes and box in pixels, `<root>/masks` holds a PNG per picture with 1 on the hand and 0 elsewhere.
    `<root>` is `out`, or a folder of the cache (`MOBILENETS_CACHE`, else `~/.cache/mobilenets`) named by the arguments.
    Splits are 70, 10 and 20 percent of every sign. The pictures do not depend on `workers` (None: one per processor).
    The folder appears complete or not at all. Raises UserError for values out of range and for an `out` in use.
    """
    if images < FEWEST:
        raise UserError(f"images must be {FEWEST} or more, got {images}")
    if not 32 <= size <= LARGEST:
        raise UserError(f"size must be 32 to {LARGEST} pixels, got {size}")
    if seed < 0:
        raise UserError(f"seed must be 0 or more, got {seed}")
    if workers is not None and workers < 1:
        raise UserError(f"workers must be 1 or more, got {workers}")
    made = {"renderer": VERSION, "images": images, "size": size, "seed": seed}
    root = Path(out) if out is not None else _cache() / "hands" / f"v{VERSION}-{images}x{size}px-seed{seed}"
    if _complete(root, made):
        return root / "images"
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} exists and holds something other than these hands; remove it or name another folder")
    with _appearing(root, made) as temporary:
        _render_into(temporary, made, min(workers or os.cpu_count() or 1, images))
    return root / "images"


def plan_splits(images: int, seed: int) -> list[str]:
    """The split of every index below `images`: each sign's indexes, shuffled by `seed`, 70 : 10 : 20."""
    splits = ["train"] * images
    rng = np.random.default_rng([seed, 0x5B1175])
    for k in range(len(SIGNS)):
        mine = rng.permutation(np.arange(k, images, len(SIGNS)))
        val, test = max(1, round(0.1 * len(mine))), max(1, round(0.2 * len(mine)))
        for i in mine[:val]:
            splits[i] = "val"
        for i in mine[val : val + test]:
            splits[i] = "test"
    return splits


def _cache() -> Path:
    return Path(os.environ.get("MOBILENETS_CACHE") or Path.home() / ".cache" / "mobilenets")


def _complete(root: Path, made: dict[str, Any]) -> bool:
    try:
        return json.loads((root / _MARKER).read_text()) == made
    except (OSError, ValueError):
        return False


@contextmanager
def _appearing(root: Path, made: dict[str, Any]) -> Iterator[Path]:
    """Yields a temporary sibling of `root` that becomes `root` when the block succeeds and is removed otherwise."""
    root.parent.mkdir(parents=True, exist_ok=True)
    for old in root.parent.glob(f".{root.name}.*.part"):
        if time.time() - old.stat().st_mtime > _STALE_S:  # left by a process that was killed
            shutil.rmtree(old, ignore_errors=True)
    temporary = root.parent / f".{root.name}.{os.getpid()}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        (temporary / _MARKER).write_text(json.dumps(made) + "\n")
        try:
            if root.exists():
                root.rmdir()
            temporary.rename(root)
        except OSError:
            if not _complete(root, made):  # unless another process made the same folder meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _render_into(folder: Path, made: dict[str, Any], workers: int) -> None:
    """Renders every picture and mask into `folder` and writes the table of annotations last."""
    splits = plan_splits(made["images"], made["seed"])
    for split in ("train", "val", "test"):
        for sign in SIGNS:
            for kind in ("images", "masks"):
                (folder / kind / split / sign).mkdir(parents=True)
    share = Share(str(folder), made["seed"], made["size"], tuple(splits), 0, 1)
    rows = []
    with console.progress() as bar:
        task = bar.add_task("rendering hands", total=made["images"], note="")
        for row in render_all(share, workers):
            rows.append(row)
            bar.advance(task)
    if len(rows) != made["images"]:
        raise RuntimeError(f"only {len(rows)} of {made['images']} pictures were rendered")
    rows.sort(key=lambda row: row["file"].rsplit("/", 1)[1])
    with open(folder / "annotations.csv", "w", newline="") as f:
        table = csv.DictWriter(f, FIELDS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
