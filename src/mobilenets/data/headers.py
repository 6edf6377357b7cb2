"""What an image file says about itself before it is decoded: format, size, orientation, and whether it is whole."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame: all but DHT, JPG and DAC
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_AVIF_ORIENTATION = {  # (quarter turns anticlockwise, then mirror: 0 top-bottom, 1 left-right, -1 none) -> EXIF
    (0, -1): 1, (0, 0): 4, (0, 1): 2, (1, -1): 8, (1, 0): 5, (1, 1): 7,
    (2, -1): 3, (2, 0): 2, (2, 1): 4, (3, -1): 6, (3, 0): 7, (3, 1): 5,
}  # fmt: skip
_MAX_TAG_VALUES = 1_000_000


class HeaderError(Exception):
    """The header is of a known format, but the file breaks off (`kind` truncated) or is damaged (unreadable)."""

    def __init__(self, message: str, kind: str = "truncated") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """Format, stored size in pixels (before orientation), EXIF orientation 1...8, and whether the file is whole."""

    format: str  # jpeg png gif webp bmp tiff pnm avif jp2
    width: int
    height: int
    orientation: int = 1
    complete: bool = True
    alpha: Literal["straight", "premultiplied", "none"] = "straight"  # what the decoder's fourth channel, if any, is


def read_header(data: bytes) -> Header | None:
    """The header of an image file, or None when the bytes are of no format known here. Raises HeaderError."""
    try:
        for magic, parse in _PARSERS:
            if magic.match(data):
                return parse(data)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise HeaderError("the header breaks off") from error
    return None


def _jpeg(data: bytes) -> Header:
    size, orientation, position, seen_scan = None, 1, 2, False
    markers = None
    while position < len(data):
        if data[position] != 0xFF:  # stray bytes between segments, which every decoder skips
            position = data.find(b"\xff", position)
            if position < 0:
                break
        marker = data[position + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill bytes and markers without a length
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = position + 4
        if marker in _JPEG_SIZE_MARKERS and size is None:
            height, width = struct.unpack_from(">HH", data, body + 1)
            size = width, height
        elif marker == 0xE1 and data[body : body + 6] == b"Exif\0\0":
            orientation = _exif_orientation(data[body + 6 : position + 2 + length])
        position += 2 + length
        if marker == 0xDA:
            seen_scan = True
            markers = _jpeg_markers(data) if markers is None else markers
            end = int(np.searchsorted(markers, position))
            position = int(markers[end]) if end < len(markers) else len(data)
    if size is None:
        raise HeaderError("the file breaks off before the picture begins")
    return Header("jpeg", *size, orientation, seen_scan and 0 <= position < len(data))


def _jpeg_markers(data: bytes) -> np.ndarray:
    """Where each marker that can end a scan begins, ascending: in a scan, FF 00 is data and FF D0-D7 restarts.

    A scan is most of the file: looked through as an array, which takes a twentieth of what a regular expression does.
    """
    values = np.frombuffer(data, np.uint8)
    before = np.flatnonzero(values[:-1] == 0xFF)
    after = values[before + 1]
    return before[(after != 0) & (after != 0xFF) & ((after < 0xD0) | (after > 0xD7))]


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, complete, position = 1, False, 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
        if kind == b"IEND":
            complete = True
            break
        position += 12 + length
        if kind in (b"IHDR", b"PLTE", b"IDAT") and position <= len(data):
            (checksum,) = struct.unpack_from(">I", data, position - 4)
            if zlib.crc32(data[position - 8 - length : position - 4]) != checksum:  # libpng would print and give up
                raise HeaderError(f"the checksum of {kind.decode()} is wrong", "unreadable")
    return Header("png", width, height, orientation, complete)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    complete = False
    while position < len(data):
        block = data[position]
        if block == 0x3B:
            break
        if block == 0x2C:  # an image: its descriptor, its colours, the code size, then sub-blocks
            flags = data[position + 9] if position + 9 < len(data) else 0
            position += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        else:
            position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        if block == 0x2C:
            complete = position < len(data)  # the first frame is all that is read
            break
        position += 1
    return Header("gif", width, height, 1, complete)


def _webp(data: bytes) -> Header:
    (riff,) = struct.unpack_from("<I", data, 4)
    size, orientation, position = None, 1, 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        (length,) = struct.unpack_from("<I", data, position + 4)
        body = position + 8
        if kind == b"VP8X":
            size = (
                1 + int.from_bytes(data[body + 4 : body + 7], "little"),
                1 + int.from_bytes(data[body + 7 : body + 10], "little"),
            )
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF":
            orientation = _exif_orientation(data[body : body + length].removeprefix(b"Exif\0\0"))
        position = body + length + (length & 1)
    if size is None:
        raise HeaderError("the file breaks off before the picture begins")
    return Header("webp", *size, orientation, len(data) >= riff + 8)


def _bmp(data: bytes) -> Header:
    start, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    width, height = abs(width), abs(height)
    row = (width * depth + 31) // 32 * 4
    raw = compression in (0, 3, 6)  # run-length coded rows have no fixed size
    return Header("bmp", width, height, 1, not raw or len(data) >= start + row * height)


def _tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    width, height = tags[256][0], tags[257][0]
    offsets = tags.get(273) or tags.get(324) or ()
    counts = tags.get(279) or tags.get(325) or ()
    complete = all(offset + count <= len(data) for offset, count in zip(offsets, counts))
    alpha: Literal["straight", "premultiplied", "none"] = "none"
    if tags.get(262, (2,))[0] in (0, 1, 2):  # grey and RGB; CMYK has a fourth channel too
        # libtiff hands out 8-bit colours multiplied by their alpha, whichever way the file holds them.
        extra, depth = tags.get(338, (0,))[0], tags.get(258, (8,))[0]
        alpha = "premultiplied" if extra == 1 or (extra == 2 and depth == 8) else "straight"
    return Header("tiff", width, height, 1, complete, alpha)  # OpenCV turns a TIFF upright itself


def _pnm(data: bytes) -> Header:
    width, height, maximum, start = pnm_layout(data)
    samples = width * height * (3 if data[1:2] in b"36" else 1)
    if data[1:2] in b"123":
        complete = True  # counted while it is decoded
    elif data[1:2] == b"4":
        complete = len(data) >= start + (width + 7) // 8 * height
    else:
        complete = len(data) >= start + samples * (2 if maximum > 255 else 1)
    return Header("pnm", width, height, 1, complete)


def pnm_layout(data: bytes) -> tuple[int, int, int, int]:
    """(width, height, largest value, offset of the samples) of a PNM file P1...P6. Raises HeaderError."""
    wanted = 2 if data[1:2] in b"14" else 3
    pattern = rb"P[1-6]" + rb"(?:\s|#[^\n]*\n)+(\d+)" * wanted + rb"(?:\s|#[^\n]*\n)"
    match = re.match(pattern, data)
    if match is None:
        raise HeaderError("the header breaks off")
    width, height, *rest = (int(group) for group in match.groups())
    maximum = rest[0] if rest else 1
    if not 0 < maximum < 65536:
        raise HeaderError(f"the largest value is {maximum}; 1...65535 are allowed")
    return width, height, maximum, match.end()


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of the ISO boxes between two offsets; the last may reach beyond the data."""
    while start + 8 <= end:
        (length,) = struct.unpack_from(">I", data, start)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        length = length or end - start
        if length < header:
            raise HeaderError("a box is shorter than its own header")
        yield data[start + 4 : start + 8], start + header, start + length
        start += length


def _avif(data: bytes) -> Header:
    """The largest picture that an item property states (`ispe`), turned as `irot` and `imir` ask."""
    top = list(_boxes(data, 0, len(data)))
    sizes, turn, mirror = [], 0, -1
    for kind, at in _item_properties(data, top):
        if kind == b"ispe":
            sizes.append(struct.unpack_from(">II", data, at + 4))
        elif kind == b"irot":
            turn = data[at] & 3
        elif kind == b"imir":
            mirror = data[at] & 1
    if not sizes:
        raise HeaderError("the file breaks off before the picture begins")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header("avif", width, height, _AVIF_ORIENTATION[turn, mirror], top[-1][2] <= len(data))


def _item_properties(data: bytes, top: list[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, int]]:
    """(kind, begin) of the boxes in meta/iprp/ipco."""
    for meta in (box for box in top if box[0] == b"meta"):
        for iprp in (box for box in _boxes(data, meta[1] + 4, min(meta[2], len(data))) if box[0] == b"iprp"):
            for ipco in (box for box in _boxes(data, iprp[1], iprp[2]) if box[0] == b"ipco"):
                for kind, begin, _ in _boxes(data, ipco[1], ipco[2]):
                    yield kind, begin


def _jp2(data: bytes) -> Header:
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise HeaderError("the file breaks off before the picture begins")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    return Header("jp2", x1 - x0, y1 - y0, 1, data.rfind(b"\xff\xd9") >= 0)


def _exif_orientation(exif: bytes) -> int:
    """Orientation 1...8 of a block of EXIF, 1 where it is absent or damaged."""
    try:
        value = _tiff_tags(exif).get(274, (1,))[0]
    except (struct.error, IndexError, KeyError, ValueError, HeaderError):
        return 1
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The integer tags of the first directory of a TIFF or BigTIFF."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    (version,) = struct.unpack_from(order + "H", data, 2)
    big = version == 43
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    offset += 8 if big else 2
    entry_size, inline = (20, 8) if big else (12, 4)
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(min(count, 4096)):
        entry = offset + i * entry_size
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        (values,) = struct.unpack_from(order + ("Q" if big else "I"), data, entry + 4)
        if kind not in _TIFF_CODES or values > _MAX_TAG_VALUES:
            continue
        at = entry + (12 if big else 8)
        if values * _TIFF_SIZES[kind] > inline:
            (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
        tags[tag] = struct.unpack_from(f"{order}{values}{_TIFF_CODES[kind]}", data, at)
    return tags


_PARSERS = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), _bmp),
    (re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"), _tiff),
    (re.compile(rb"P[1-6][\s#]"), _pnm),
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), _avif),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), _jp2),
)
