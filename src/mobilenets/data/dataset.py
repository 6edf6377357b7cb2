"""One function opens every form of labelled images: class folders, lists, CSV, and archives of these."""

from __future__ import annotations

import os
from pathlib import Path

from mobilenets.data.archives import open_archive
from mobilenets.data.folders import read_folders
from mobilenets.data.records import ClassLabel, Dataset, Files, Sample
from mobilenets.data.sources import FolderFiles
from mobilenets.errors import UserError

__all__ = ["ClassLabel", "Dataset", "Sample", "open_dataset"]


def open_dataset(path: str | os.PathLike[str], *, labels: str | None = None) -> Dataset:
    """The labelled images at `path`. Raises UserError, one line, when it holds none that can be trained on."""
    root = Path(path)
    if not root.exists():
        raise UserError(f"{path}: no such file or folder")
    files: Files = FolderFiles(root) if root.is_dir() else open_archive(root)
    dataset = read_folders(root, files)
    if len(dataset.classes) < 2:
        raise UserError(f"{path}: only one class, {dataset.classes[0].name!r}; at least two are needed")
    return dataset
