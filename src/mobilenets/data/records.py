"""The records that every data form is read into: samples, classes, and the place that holds the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".pnm",
        ".ppm",
        ".pgm",
        ".pbm",
        ".avif",
        ".jp2",
    ]
)


class Files(Protocol):
    """Files under one root, named by relative POSIX paths; a folder on disk or an archive.

    Hidden files and what file managers leave behind (`__MACOSX`, `Thumbs.db`) do not appear.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Every file, sorted by code point."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder below the root, empty ones too, sorted by code point."""

    def read(self, name: str) -> bytes:
        """The whole file. Raises OSError when it cannot be read. Safe to call from several threads and after a fork."""

    def size(self, name: str) -> int:
        """Bytes of the file."""


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """One class: its name, and where the data states them its index in a published order and its WordNet id."""

    name: str
    index: int | None = None
    wnid: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: its path below the root, its place in `Dataset.classes`, its split and its group.

    `split` is "train", "val", "test", or None where the data has no splits. `group` is what the data itself states
    (a person, a clip): a group is never divided between training and what is measured.
    """

    name: str
    label: int
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A labelled set of images, not yet decoded; `notes` are for a person.

    `form` is "folders", "lists", "csv", "shards" or "huggingface". `mark` stands for the whole content where the data
    itself states one, and spares reading it all.
    """

    root: Path
    form: str
    classes: tuple[ClassLabel, ...]
    samples: Sequence[Sample]
    files: Files = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()  # classes that the data names but holds no image of
    mark: str | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold a sample, in the order train, val, test; empty where the data has none."""
        found = {sample.split for sample in self.samples}
        return tuple(split for split in SPLITS if split in found)

    def of_split(self, split: str | None) -> Sequence[Sample]:
        """The samples of one split, in their order."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def read(self, sample: Sample) -> bytes:
        """The bytes of the image file of a sample. Raises OSError when it cannot be read."""
        return self.files.read(sample.name)


def is_image_name(name: str) -> bool:
    """Whether the file name's suffix is that of an image format that `decode_image` reads."""
    dot = name.rfind(".")
    return dot > name.rfind("/") and name[dot:].lower() in IMAGE_SUFFIXES


def is_clutter(component: str) -> bool:
    """Whether a file or folder of this name is left by a file manager or hidden, and never data."""
    return component.startswith((".", "__MACOSX")) or component in ("Thumbs.db", "desktop.ini", "ehthumbs.db")
