"""A .zip or .tar as `Files`: members are read where they lie, nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import os
import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .records import Files, is_clutter

MAX_MEMBER_BYTES = 512 * 2**20  # of one file inside an archive, as the archive declares it
MAX_MEMORY_BYTES = 2 * 2**30  # of a compressed tar, which has no random access and is held in memory
_BOMB_BYTES, _BOMB_RATIO = 2**30, 200  # photos hardly shrink: what grows 200-fold beyond 1 GiB is no data set
_ZIP_HEADER = struct.Struct("<4s22xHH")


def open_archive(path: Path) -> Files:
    """The files in the archive at `path`; UserError where it is no archive, damaged or unsafe."""
    try:
        if zipfile.is_zipfile(path):
            return ZipFiles(path)
        if tarfile.is_tarfile(path):
            return TarFiles(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: the archive is damaged ({error})") from error
    raise UserError(f"{path}: neither a folder of images nor a .zip, .tar, .csv or .txt that this program reads")


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every regular file of an archive, one at a time. Raises UserError as `open_archive` does."""
    if zipfile.is_zipfile(path):
        files = open_archive(path)
        yield from ((name, files.read(name)) for name in files.names)
        return
    guard = _Guard(path)
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = guard.safe_name(member.name)
                stream = archive.extractfile(member) if name is not None and member.isreg() else None
                if name is not None and stream is not None:
                    guard.count(member.name, member.size)
                    yield name, stream.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: the archive is damaged ({error})") from error


class _Archive:
    """What both kinds share: names, folders, one descriptor that threads and forked workers read by offset."""

    def __init__(self, path: Path, members: dict[str, Any], folders: set[str]) -> None:
        self.path = path
        self._members = members
        self.names = tuple(sorted(members))
        parents = (posixpath.dirname(name) for name in (*members, *folders))
        above = {parent[:end] for parent in set(parents) for end in _ends(parent)}
        self.folders = tuple(sorted(folders | above))
        self._descriptor = os.open(path, os.O_RDONLY)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _descriptor=os.open(state["path"], os.O_RDONLY))

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)

    def _bytes_at(self, offset: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise OSError(f"{self.path}: the archive breaks off")
        return data


class ZipFiles(_Archive):
    """The members of a zip archive; see `records.Files`."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        guard = _Guard(path)
        members: dict[str, zipfile.ZipInfo] = {}
        folders: set[str] = set()
        for info in infos:
            name = guard.safe_name(info.filename)
            if name is None:
                continue
            if info.is_dir():
                folders.add(name)
                continue
            if info.flag_bits & 1:
                raise UserError(f"{path}: the archive is encrypted ({info.filename}); unpack it first")
            guard.count(info.filename, info.file_size)
            members[name] = info
        super().__init__(path, members, folders)

    def read(self, name: str) -> bytes:
        """The whole member. Raises OSError when it is absent, damaged or packed by an unknown method."""
        info = self._member(name)
        signature, name_length, extra_length = _ZIP_HEADER.unpack(self._bytes_at(info.header_offset, _ZIP_HEADER.size))
        if signature != b"PK\3\4":
            raise OSError(f"{self.path}: {name} is damaged")
        start = info.header_offset + _ZIP_HEADER.size + name_length + extra_length
        packed = self._bytes_at(start, info.compress_size)
        try:
            data = _unzip(packed, info.compress_type, info.file_size)
        except (zlib.error, ValueError, OSError) as error:
            raise OSError(f"{self.path}: {name} is damaged ({error})") from error
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise OSError(f"{self.path}: {name} is damaged (its checksum is wrong)")
        return data

    def size(self, name: str) -> int:
        """Bytes of the member once unpacked."""
        return self._member(name).file_size

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise FileNotFoundError(f"{self.path}: no member {name}")
        return self._members[name]


class TarFiles(_Archive):
    """The members of a tar archive; of a compressed one all are held in memory. See `records.Files`."""

    def __init__(self, path: Path) -> None:
        guard = _Guard(path)
        members: dict[str, tuple[int, int] | bytes] = {}
        folders: set[str] = set()
        links: dict[str, str] = {}
        packed = not _is_plain_tar(path)
        with tarfile.open(path, "r|*" if packed else "r:") as archive:
            for member in archive:
                name = guard.safe_name(member.name)
                if name is None:
                    continue
                if member.isdir():
                    folders.add(name)
                elif member.islnk():
                    links[name] = member.linkname
                elif member.issym():
                    links[name] = posixpath.join(posixpath.dirname(name), member.linkname)
                elif member.isreg() and not member.issparse():
                    guard.count(member.name, member.size, MAX_MEMORY_BYTES if packed else None)
                    stream = archive.extractfile(member) if packed else None
                    members[name] = (member.offset_data, member.size) if stream is None else stream.read()
        for name, target in links.items():  # a link that leads out of the archive is no file of it
            target = posixpath.normpath(target)
            if target in members:
                members[name] = members[target]
        super().__init__(path, members, folders)

    def read(self, name: str) -> bytes:
        """The whole member. Raises OSError when it is absent or the archive has been cut."""
        if name not in self._members:
            raise FileNotFoundError(f"{self.path}: no member {name}")
        member = self._members[name]
        return member if isinstance(member, bytes) else self._bytes_at(*member)

    def size(self, name: str) -> int:
        """Bytes of the member."""
        member = self._members[name]
        return len(member) if isinstance(member, bytes) else member[1]


class _Guard:
    """Refuses names that lead out of the archive and sizes that no data set has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = 0
        self.packed_bytes = path.stat().st_size

    def safe_name(self, name: str) -> str | None:
        """The member's name with "/" between folders; None for clutter. UserError when it leads out."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if name.startswith(("/", "\\")) or ".." in parts or (parts and parts[0].endswith(":")):
            raise UserError(f"{self.path}: the archive holds a name that leads out of it: {name!r}")
        if not parts or any(is_clutter(part) for part in parts):
            return None
        return "/".join(parts)

    def count(self, name: str, size: int, limit: int | None = None) -> None:
        """Adds a member's declared size; UserError when it, or the sum, is beyond what is read."""
        self.total += size
        if size > MAX_MEMBER_BYTES:
            raise UserError(
                f"{self.path}: {name} is {size:,} bytes unpacked; at most {MAX_MEMBER_BYTES:,} are read from an archive"
            )
        if limit is not None and self.total > limit:
            raise UserError(
                f"{self.path}: more than {limit:,} bytes in a compressed tar, which has no random access; "
                "unpack it or store it as .zip or .tar"
            )
        if self.total > max(_BOMB_BYTES, _BOMB_RATIO * self.packed_bytes):
            raise UserError(
                f"{self.path}: {self.packed_bytes:,} bytes that unpack to more than {self.total:,}: refused as a bomb"
            )


def _unzip(packed: bytes, method: int, size: int) -> bytes:
    """The member's bytes, never more than one beyond its declared size."""
    if method == zipfile.ZIP_STORED:
        return packed
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, size + 1)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, size + 1)
    raise ValueError(f"compression method {method}; stored, deflated and bzip2 are read")


def _is_plain_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _ends(folder: str) -> list[int]:
    """The lengths of the folder's name and of every folder above it; none for the root."""
    return [i for i, character in enumerate(folder) if character == "/"] + ([len(folder)] if folder else [])
