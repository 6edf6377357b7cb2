"""Labelled images through a network: which images, and the logits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arch.spec import Preprocessing
from ..console import progress, say, warn
from ..data.dataset import Dataset, Sample
from ..data.decode import ImageError, decode_image
from ..data.fingerprint import fingerprint
from ..data.loader import ahead
from ..data.matching import map_classes
from ..data.preprocess import resize_and_crop
from ..data.roles import roles
from ..errors import UserError
from .load import Loaded
from .runtimes import Session

BATCH = 32


@dataclass(frozen=True)
class Choice:
    """The images to score, and what that part of the data is called."""

    samples: Sequence[Sample]
    name: str


@dataclass(frozen=True)
class Scored:
    """Logits float32 (N, C) of each session, labels int64 (N,) as places in the network's classes, names of N files.

    `skipped` lists the images that could not be read: `file` and `error`.
    """

    logits: tuple[np.ndarray, ...]
    labels: np.ndarray
    files: list[str]
    skipped: list[dict[str, str]]


def score(
    dataset: Dataset,
    samples: Sequence[Sample],
    sessions: Sequence[Session],
    preprocessing: Preprocessing,
    columns: Sequence[int],
    what: str = "score",
) -> Scored:
    """Every image through every session, read once; unreadable ones are listed and left out.

    `columns[i]` is the logit of the data's class i. Raises UserError when not one image could be read.
    """
    logits: list[list[np.ndarray]] = [[] for _ in sessions]
    kept: list[Sample] = []
    skipped: list[dict[str, str]] = []
    with progress() as bar:
        task = bar.add_task(what, total=len(samples), note="")
        for images, used, broken in _batches(dataset, samples, preprocessing):
            skipped += broken
            kept += used
            if used:
                for session, rows in zip(sessions, logits):
                    rows.append(session.run(images))
            bar.update(task, advance=len(used) + len(broken))
    if not kept:
        first = f"; the first: {skipped[0]['file']}: {skipped[0]['error']}" if skipped else ""
        raise UserError(f"{dataset.root}: not one of {len(samples)} images could be read{first}")
    if skipped:
        warn(
            f"{len(skipped)} of {len(samples)} images could not be read and are left out, the first "
            f"{skipped[0]['file']}: {skipped[0]['error']}"
        )
    labels = np.array([columns[sample.label] for sample in kept], np.int64)
    return Scored(tuple(np.concatenate(rows) for rows in logits), labels, [s.name for s in kept], skipped)


def _batches(
    dataset: Dataset, samples: Sequence[Sample], preprocessing: Preprocessing
) -> Iterator[tuple[np.ndarray, list[Sample], list[dict[str, str]]]]:
    """(images uint8 (n, R, R, 3), their samples, the broken ones), decoded ahead in threads."""

    def read(chunk: Sequence[Sample]) -> tuple[np.ndarray, list[Sample], list[dict[str, str]]]:
        images, used, broken = [], [], []
        for sample in chunk:
            try:
                images.append(resize_and_crop(decode_image(dataset.read(sample)), preprocessing))
            except (ImageError, OSError) as error:
                broken.append({"file": sample.name, "error": _reason(error)})
            else:
                used.append(sample)
        size = preprocessing.resolution
        return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8), used, broken

    chunks = [samples[i : i + BATCH] for i in range(0, len(samples), BATCH)]
    yield from ahead(read, chunks, min(4, os.cpu_count() or 1))


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def known_columns(dataset: Dataset, loaded: Loaded) -> list[int] | None:
    """The logit of each class of the data; None, with a warning, where the data has other classes."""
    try:
        return map_classes(dataset.classes, loaded.labels, loaded.reference)
    except UserError as error:
        warn(f"no accuracy, agreement alone: {error}")
        return None


def choose(dataset: Dataset, split: str | None, loaded: Loaded) -> Choice:
    """The images to score: those of `split`, else of test, else of val, else all; what was taken is printed.

    Where the network was trained on this very data and the data does not divide training from testing itself, the part
    that training held out for its report is taken, never training images silently. Raises UserError for a split that
    the data does not have.
    """
    trained = _was_trained_on(loaded, dataset)
    if split is not None:
        return _named(dataset, split, trained, loaded)
    if trained:
        choice = reported(dataset)
        if not _divided(dataset):
            say(f"{loaded.reference} was trained on this data: its {len(choice.samples)} held-out images are scored")
        return choice
    for name in ("test", "val"):
        if name in dataset.splits:
            return Choice(dataset.of_split(name), name)
    say(f"{dataset.root} has no test or val split: all {len(dataset.samples)} images are scored")
    return Choice(dataset.samples, "all")


def reported(dataset: Dataset) -> Choice:
    """The images that a training on this data reports on; `data.roles` draws them where the data does not say."""
    if _divided(dataset):
        name = "test" if "test" in dataset.splits else "val"
        return Choice(dataset.of_split(name), name)
    parts = roles(dataset, seed=0)
    return Choice(parts.report, parts.report_name)


def _divided(dataset: Dataset) -> bool:
    """Whether the data itself says what is for training and what is for testing."""
    return "train" in dataset.splits and len(dataset.splits) > 1


def _named(dataset: Dataset, split: str, trained: bool, loaded: Loaded) -> Choice:
    if split == "all":
        if trained:
            warn(f"{loaded.reference} was trained on part of these images: the score flatters it")
        return Choice(dataset.samples, "all")
    if trained and not _divided(dataset):
        parts = roles(dataset, seed=0)
        held = {"train": parts.train, "val": parts.selection, "test": parts.report}
    else:
        held = {name: dataset.of_split(name) for name in dataset.splits}
    if split not in held:
        allowed = ", ".join((*held, "all"))
        raise UserError(f"{dataset.root} has no split {split!r}; allowed: {allowed}")
    if trained and split == "train":
        warn(f"{loaded.reference} was trained on these images: the score flatters it")
    elif trained and len(held) == 3 and split == "val":
        warn(f"these images chose the weights of {loaded.reference}: the score flatters it a little")
    return Choice(held[split], split)


def _was_trained_on(loaded: Loaded, dataset: Dataset) -> bool:
    """Whether the network's recorded data is this data. The contents are read only when all counts agree."""
    known = loaded.source.get("data") or {}
    counts = known.get("images") or {}
    same = (
        known.get("form") == dataset.form
        and known.get("classes") == len(dataset.classes)
        and sum(counts.values()) == len(dataset.samples)
    )
    if same and fingerprint(dataset) == known.get("fingerprint"):
        return True
    if loaded.data is not None and _inside(dataset.root, loaded.data):
        warn(f"{dataset.root} is where {loaded.reference} was trained, changed since: training images may be scored")
    return False


def _inside(path: Path, folder: Path) -> bool:
    """Whether `path` is the folder itself or its training part."""
    path, folder = path.resolve(), folder.resolve()
    return path == folder or path.is_relative_to(folder / "train")


def spread(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """At most `limit` samples, evenly spread within each class, so that a prefix of the data does not stand for all."""
    if limit is None or len(samples) <= limit:
        return tuple(samples)
    by_class = sorted(samples, key=lambda sample: sample.label)
    step = len(by_class) / limit
    return tuple(by_class[int((index + 0.5) * step)] for index in range(limit))
