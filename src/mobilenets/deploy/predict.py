"""`predict`: what pictures show, by any network."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..console import progress
from ..data.archives import is_archive_name, open_archive
from ..data.decode import ImageError, decode_image
from ..data.loader import ahead
from ..data.preprocess import resize_and_crop
from ..data.records import is_image_name
from ..data.sources import FolderFiles
from ..errors import UserError
from ..tasks.classify import softmax
from .load import Loaded, load

BATCH = 32


@dataclass(frozen=True)
class Source:
    """A picture: what it is called in the answer, and its bytes."""

    name: str
    read: Callable[[], bytes]


def predict(
    reference: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]], top: int = 5
) -> list[dict[str, Any]]:
    """The `top` classes of each picture, the likeliest first. Returns what `predict --json` prints.

    A source is a file, a folder (with all below it), a pattern with * ? [ ] (** for any depth), or a .zip or .tar.
    `unknown` says that the first score lies below the network's threshold: the picture may show none of the classes.
    A picture that cannot be read gets `error` in place of an answer. Raises UserError when no picture could be read, or
    a source names nothing.
    """
    if top < 1:
        raise UserError(f"top {top} is out of range: allowed is 1 or more")
    found = [source for name in sources for source in expand(os.fspath(name))]
    if not found:
        raise UserError("no pictures named; give files, folders or patterns")
    loaded = load(reference)
    if not loaded.labels:
        raise UserError(f"{loaded.reference}: ends in features, so it has no classes to predict")
    rows: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("predict", total=len(found), note="")
        for answers in _answers(loaded, found, top):
            rows += answers
            bar.update(task, advance=len(answers))
    if all("error" in row for row in rows):
        what = (
            rows[0]["source"] if len(rows) == 1 else f"none of {len(rows)} pictures could be read; {rows[0]['source']}"
        )
        raise UserError(f"{what}: {rows[0]['error']}")
    return rows


def expand(name: str) -> Iterator[Source]:
    """The pictures that a source names, in order of their names. Raises UserError when there are none."""
    path = Path(name)
    if path.is_dir():
        yield from _listed(name, [path / inside for inside in FolderFiles(path).names if is_image_name(inside)])
    elif path.exists() and is_archive_name(name):
        files = open_archive(path)
        inside = [member for member in files.names if is_image_name(member)]
        if not inside:
            raise UserError(f"{name}: no picture in it")
        for member in inside:
            yield Source(f"{name}/{member}", lambda member=member: files.read(member))  # type: ignore[misc]
    elif path.exists():
        yield from _listed(name, [path])
    elif glob.has_magic(name):
        matches = (Path(match) for match in sorted(glob.glob(name, recursive=True)))
        yield from _listed(name, [match for match in matches if match.is_file() and is_image_name(match.name)])
    else:
        raise UserError(f"{name}: no such file or folder")


def _listed(name: str, paths: Sequence[Path]) -> Iterator[Source]:
    if not paths:
        raise UserError(f"{name}: no picture in it" if Path(name).is_dir() else f"{name}: fits no picture")
    for path in paths:
        yield Source(str(path), path.read_bytes)


def _answers(loaded: Loaded, sources: Sequence[Source], top: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of the answer, a batch at a time, decoded ahead in threads."""

    def read(chunk: Sequence[Source]) -> list[np.ndarray | str]:
        return [_read(source, loaded) for source in chunk]

    chunks = [sources[i : i + BATCH] for i in range(0, len(sources), BATCH)]
    for chunk, pictures in zip(chunks, ahead(read, chunks, min(4, os.cpu_count() or 1))):
        images = [picture for picture in pictures if isinstance(picture, np.ndarray)]
        scores = iter(softmax(loaded.logits(np.stack(images)) / (loaded.temperature or 1.0)) if images else [])
        yield [
            {"source": source.name, "unknown": False, "predictions": [], "error": picture}
            if isinstance(picture, str)
            else {"source": source.name} | answer(next(scores), loaded, top)
            for source, picture in zip(chunk, pictures)
        ]


def answer(scores: np.ndarray, loaded: Loaded, top: int) -> dict[str, Any]:
    """The `top` classes of scores (C,), the likeliest first, and whether the first lies below the threshold."""
    order = np.argsort(-scores, kind="stable")[:top]
    unknown = loaded.threshold is not None and bool(scores[order[0]] < loaded.threshold)
    best = [{"label": loaded.names[index], "score": float(scores[index])} for index in order]
    return {"unknown": unknown, "predictions": best}


def _read(source: Source, loaded: Loaded) -> np.ndarray | str:
    """The picture as the network takes it, or why there is none."""
    try:
        return resize_and_crop(decode_image(source.read()), loaded.preprocessing)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
