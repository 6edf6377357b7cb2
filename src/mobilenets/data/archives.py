"""A .zip or .tar as `Files`: members are read where they lie, nothing is unpacked to disk."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

from mobilenets.data.records import is_clutter

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that `open_archive` reads."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def open_archive(path: Path) -> ZipFiles:
    """The files in the archive at `path`. Raises UserError when it is damaged or unsafe."""
    return ZipFiles(path)


class ZipFiles:
    """The members of a zip archive, read by their offsets, so that threads and forked workers share one descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        self._members: dict[str, zipfile.ZipInfo] = {}
        folders: set[str] = set()
        for info in infos:
            parts = info.filename.split("/")
            if any(is_clutter(part) for part in parts):
                continue
            for depth in range(1, len(parts)):
                folders.add("/".join(parts[:depth]))
            if not info.is_dir():
                self._members[info.filename] = info
        self.names = tuple(sorted(self._members))
        self.folders = tuple(sorted(folders))
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, name: str) -> bytes:
        """The whole member."""
        info = self._members[name]
        header = os.pread(self._descriptor, 30, info.header_offset)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + name_length + extra_length
        data = os.pread(self._descriptor, info.compress_size, start)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-15).decompress(data, info.file_size)
        return data

    def size(self, name: str) -> int:
        """Bytes of the member."""
        return self._members[name].file_size
