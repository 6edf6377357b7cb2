"""Zip containers of weights (.keras, torch's .pth, TFLite's metadata): checked before anything in them is unpacked.

Weights hardly shrink, so what grows many-fold is no weights file. `data.archives` does the same for images, which may
be many and of any kind; here the members are few and large, and a library is about to unpack them by itself.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError

_SMALL_BYTES = 10**6  # a member below this may shrink as far as it likes: JSON and runs of zeros do
_HEADER = struct.Struct("<4s22xHH")  # of a member where it lies: signature, lengths of its name and its extra field
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that Keras, torch and TFLite write


def check_zip(path: Path, *, limit_bytes: int = 4 * 2**30, ratio: int = 200) -> None:
    """Nothing; UserError where the zip at `path` is damaged or unsafe to unpack.

    That is: more than `limit_bytes` in all, a member of 1 MB or more that grows more than `ratio`-fold, members that
    share bytes of the file, a name twice, a name that leads out of the archive, encryption, an unusual compression.
    Reads the directory and each member's header only. What a header says may be a lie: read through `read_member`.
    """
    with _open(path) as archive, open(path, "rb") as file:
        total, names = 0, set()
        for member in archive.infolist():
            _check_name(path, member.filename)
            if member.filename in names:
                raise UserError(f"{path}: the archive holds {member.filename!r} twice")
            names.add(member.filename)
            _check_method(path, member)
            if member.file_size >= _SMALL_BYTES and member.file_size > ratio * member.compress_size:
                raise UserError(
                    f"{path}: {member.filename!r} would grow from {member.compress_size:,} to {member.file_size:,} "
                    f"bytes, more than {ratio}-fold: refused as a zip bomb"
                )
            total += member.file_size
        if total > limit_bytes:
            raise UserError(f"{path}: unpacks to {total:,} bytes; at most {limit_bytes:,} are read from a weights file")
        _check_places(path, file, archive)


def read_member(path: Path, name: str, limit: int) -> bytes:
    """The member `name` of the zip at `path`, unpacked: never more than `limit` bytes, whatever its header says.

    Raises UserError where there is no such member, where it is larger, encrypted, damaged or not as long as declared.
    """
    with _open(path) as archive, open(path, "rb") as file:
        try:
            member = archive.getinfo(name)
        except KeyError:
            raise UserError(f"{path}: the archive has no member {name!r}") from None
        _check_method(path, member)
        if member.file_size > limit:
            raise UserError(f"{path}: {name!r} is {member.file_size:,} bytes; at most {limit:,} are read")
        file.seek(_start(path, file, member))
        packed = file.read(member.compress_size)
    data = packed
    if member.compress_type == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(packed, member.file_size + 1)
        except zlib.error as error:
            raise UserError(f"{path}: {name!r} is damaged ({error})") from None
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise UserError(f"{path}: {name!r} is damaged: its length or its checksum is not what the archive declares")
    return data


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"{path}: no zip archive, or one that is cut off or damaged ({error})") from None


def _check_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or parts[0].endswith(":") or "\0" in name:
        raise UserError(f"{path}: the archive holds a name that leads out of it: {name!r}")


def _check_method(path: Path, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise UserError(f"{path}: {member.filename!r} is encrypted")
    if member.compress_type not in _METHODS:
        method = f"method {member.compress_type}"
        raise UserError(f"{path}: {member.filename!r} is packed by {method}; stored (0) and deflated (8) are read")
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise UserError(f"{path}: {member.filename!r} is damaged: stored, but of two different lengths")


def _check_places(path: Path, file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Each member ends before the next one starts, the last before the directory: no byte is unpacked twice."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    limits = [member.header_offset for member in members[1:]] + [archive.start_dir]
    for member, limit in zip(members, limits, strict=True):
        if _start(path, file, member) + member.compress_size > limit:
            raise UserError(f"{path}: {member.filename!r} overlaps what follows it: refused as a zip bomb, or damaged")


def _start(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """The offset in the file at which the member's own bytes begin."""
    file.seek(max(member.header_offset, 0))
    header = file.read(_HEADER.size)
    signature, name_length, extra_length = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    if member.header_offset < 0 or signature != b"PK\3\4":
        raise UserError(f"{path}: {member.filename!r} is damaged: it does not lie where the archive says")
    return member.header_offset + _HEADER.size + name_length + extra_length
