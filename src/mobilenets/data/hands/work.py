"""Rendering shared out to processes that end with their parent.

Worker processes are plain `python -m` children, not multiprocessing's: those would run the caller's main script
again, and forking is unsafe once torch has threads. All write lines of JSON into one pipe; a line is shorter than the
size up to which a pipe keeps writes whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from .picture import Rendered, render

FIELDS = ("file", "label", "split", "fingers", "skin_tone", "side", "sleeve", "view", "x1", "y1", "x2", "y2")
_QUALITY = 92


@dataclass(frozen=True)
class Share:
    """The pictures `first`, `first + step`, … of a folder; `splits` has one entry for every index of the whole."""

    folder: str
    seed: int
    size: int
    splits: tuple[str, ...]
    first: int
    step: int


def render_share(share: Share) -> Iterator[dict[str, Any]]:
    """Writes each picture and mask of the share and yields its row of the annotations."""
    for index in range(share.first, len(share.splits), share.step):
        rendered = render(share.seed, index, size=share.size)
        yield _store(Path(share.folder), share.splits[index], index, rendered)


def _store(folder: Path, split: str, index: int, rendered: Rendered) -> dict[str, Any]:
    name = f"{split}/{rendered.label}/{index:06d}"
    _write(folder / "images" / f"{name}.jpg", rendered.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    _write(folder / "masks" / f"{name}.png", rendered.mask, [])
    values = (f"{name}.jpg", rendered.label, split, *rendered.attributes.values(), *rendered.box)
    return dict(zip(FIELDS, values, strict=True))


def _write(path: Path, image: Any, options: list[int]) -> None:
    done, data = cv2.imencode(path.suffix, image, options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode {path}")
    path.write_bytes(data.tobytes())


def render_all(share: Share, workers: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of all pictures in any order, rendered here (one worker) or by `workers` processes.

    The processes are stopped when the caller stops early, by an exception or Ctrl-C. Raises OSError as met by a
    worker (a full disk) and RuntimeError when one dies.
    """
    if workers == 1:
        yield from render_share(share)
        return
    reading, writing = os.pipe()
    children: list[subprocess.Popen[bytes]] = []
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            try:
                for k in range(workers):
                    children.append(_start(replace(share, first=k, step=workers), writing))
            finally:
                os.close(writing)
            for line in lines:
                row = json.loads(line)
                if "errno" in row:
                    raise OSError(row["errno"], row["message"], row["path"])
                yield row
        for child in children:
            if child.wait() != 0:
                raise RuntimeError(f"a rendering process ended with status {child.returncode}")
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


def _start(share: Share, writing: int) -> subprocess.Popen[bytes]:
    """A process that renders `share`, which it reads from its standard input."""
    source = str(Path(__file__).resolve().parents[__name__.count(".")])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    # One thread each: the processes are the parallelism.
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.worker"],
        stdin=subprocess.PIPE,
        stdout=writing,
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert child.stdin is not None
    with child.stdin as pipe:
        pipe.write(json.dumps(asdict(share)).encode())
    return child
