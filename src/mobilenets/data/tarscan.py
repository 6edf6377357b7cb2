"""Where the samples of a tar shard lie: its headers are read, its images are not."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from .ranges import RangeFile, ShardError
from .records import IMAGE_SUFFIXES, is_clutter

TAR_BLOCK = 512
LABEL_SUFFIXES = ("cls", "json", "txt")
_LABEL_BYTES = 1 << 20  # of a label's file, at most
_WINDOW = 256 * 1024  # bytes read at a time while hopping from header to header
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # WebDataset's: the key ends at the first dot of the file's name


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a tar: its name, where its bytes begin, how many there are."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class TarSample:
    """Consecutive members with one key: the image (None where there is none), and the labels' bytes by suffix."""

    key: str
    image: Member | None = None
    labels: dict[str, bytes] = field(default_factory=dict)


class _Reader:
    """Forward reads through a window, so that small headers do not cost a request each."""

    def __init__(self, file: RangeFile) -> None:
        self.file, self.whole = file, file.size()
        self._start, self._data = 0, b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes, fewer where the file ends."""
        if not (self._start <= start and end <= self._start + len(self._data)):
            self._start, self._data = start, self.file.read(start, max(end, start + _WINDOW))
        return self._data[start - self._start : end - self._start]


def scan_samples(file: RangeFile) -> Iterator[TarSample]:
    """The samples of a shard in their order. Raises ShardError where it is no tar, cut, or holds a sample twice."""
    reader = _Reader(file)
    current: TarSample | None = None
    for member in _members(reader):
        match = _MEMBER.fullmatch(member.name)
        if match is None or any(is_clutter(part) for part in member.name.split("/")):
            continue
        key, suffix = match[1], match[2].lower()
        if current is None or current.key != key:
            if current is not None:
                yield current
            current = TarSample(key)
        _add(file, reader, current, suffix, member)
    if current is not None:
        yield current


def _add(file: RangeFile, reader: _Reader, sample: TarSample, suffix: str, member: Member) -> None:
    if f".{suffix}" in IMAGE_SUFFIXES:
        if sample.image is not None:
            raise ShardError(
                f"{file.address}: sample {sample.key!r} holds two images, {sample.image.name} and {member.name}"
            )
        sample.image = member
    elif suffix in LABEL_SUFFIXES:
        if member.size > _LABEL_BYTES:
            raise ShardError(f"{file.address}: {member.name} is {member.size:,} bytes long, too long for a label")
        sample.labels[suffix] = reader.read(member.offset, member.offset + member.size)


def _members(reader: _Reader) -> Iterator[Member]:
    """The regular files of a tar (ustar, GNU or pax), names joined from long-name records."""
    address, whole, position = reader.file.address, reader.whole, 0
    long_name: str | None = None
    while position < whole:
        header = reader.read(position, position + TAR_BLOCK)
        plain = _plain_file(header) if long_name is None else None
        if plain is not None:
            name, size = plain
            data = position + TAR_BLOCK
            position = _end(reader, name, data, size)
            yield Member(name.removeprefix("./"), data, size)
            continue
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                return
            what = "is no tar file" if position == 0 else f"is damaged or cut at byte {position:,} of {whole:,}"
            raise ShardError(f"{address}: {what}") from None
        data = position + TAR_BLOCK
        position = _end(reader, info.name, data, info.size if _has_data(info) else 0)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            long_name = reader.read(data, data + info.size).rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            long_name = _pax_path(reader.read(data, data + info.size)) or long_name
        elif info.type != tarfile.XGLTYPE:
            if info.isreg() and not info.issparse():
                name = info.name if long_name is None else long_name
                yield Member(name.removeprefix("./"), data, info.size)
            long_name = None
    raise ShardError(f"{address}: breaks off at byte {whole:,}: the mark of the archive's end is missing")


def _end(reader: _Reader, name: str, data: int, size: int) -> int:
    """Where the next header stands after a member's bytes. Raises ShardError where the file ends before."""
    end, whole = data + -(-size // TAR_BLOCK) * TAR_BLOCK, reader.whole
    if end > whole:
        raise ShardError(f"{reader.file.address}: breaks off inside {name} ({whole:,} of {end:,} bytes)")
    return end


def _plain_file(header: bytes) -> tuple[str, int] | None:
    """(name, size) of an ordinary file with a short name; None for all else, which `tarfile` reads."""
    if header[156:157] != b"0" or header[345:346] != b"\0" or header[124] & 0x80:
        return None
    try:
        if int(header[148:156].rstrip(b"\0 "), 8) != 256 + sum(header) - sum(header[148:156]):
            return None
        return header[:100].rstrip(b"\0").decode("utf-8", "surrogateescape"), int(header[124:136].rstrip(b"\0 "), 8)
    except ValueError:
        return None


def _has_data(info: tarfile.TarInfo) -> bool:
    """Whether the member's bytes follow its header: those of links, folders and devices do not."""
    return info.type not in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)


def _pax_path(records: bytes) -> str | None:
    """The path that pax records (`length key=value` lines) state."""
    position = 0
    while position < len(records):
        length, _, rest = records[position:].partition(b" ")
        if not length.isdigit() or int(length) == 0:
            return None
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "surrogateescape")
        position += int(length)
    return None
