"""A folder on disk as `Files`."""

from __future__ import annotations

import os
from pathlib import Path

from .records import is_clutter


class FolderFiles:
    """The files below a folder, links followed, loops cut; see `records.Files`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names: list[str] = []
        folders: list[str] = []
        _walk(str(root), "", (_identity(root),), names, folders)
        self.names = tuple(sorted(names))
        self.folders = tuple(sorted(folders))

    def read(self, name: str) -> bytes:
        """The whole file."""
        with open(os.path.join(self.root, name), "rb") as f:
            return f.read()

    def size(self, name: str) -> int:
        """Bytes of the file."""
        return os.path.getsize(os.path.join(self.root, name))


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...], names: list[str], folders: list[str]) -> None:
    """Collects the files and folders below `folder`; a link to one of the folders `above` is not entered again."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_clutter(entry.name):
                continue
            name = prefix + entry.name
            if not entry.is_dir():
                names.append(name)
                continue
            identity = _identity(entry.path)
            if identity not in above:
                folders.append(name)
                _walk(entry.path, name + "/", (*above, identity), names, folders)
