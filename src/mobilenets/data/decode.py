"""Any image file to uint8 RGB, by OpenCV: one picture, upright, whatever the file's format, depth and channels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import cv2
import numpy as np

from .headers import Header, HeaderError, pnm_layout, read_header

DECODING = f"1 opencv {cv2.__version__}"  # changes with the pixels that a file gives; kept pixels are of one decoding
MAX_PIXELS = 178_956_970  # as Pillow refuses: twice the pixels of a quarter of a GiB of RGB

_MESSAGES = {
    "empty": "the file is empty",
    "not_an_image": "not an image of a known format",
    "truncated": "the image file breaks off before its end",
    "unreadable": "the image cannot be decoded",
}
_WITH_ALPHA = ("png", "gif", "webp", "tiff", "avif")
_REDUCED = {  # a JPEG decoded at 1/n; the "grayscale" flags carry the factor alone, the colour is asked for beside it
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
}
cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # a damaged file is reported by ImageError; OpenCV would also write paragraphs to stderr


class ImageError(Exception):
    """The bytes are no whole image; `kind` is unreadable, truncated, empty, not_an_image or too_large."""

    def __init__(self, kind: str, message: str | None = None) -> None:
        super().__init__(message or _MESSAGES[kind])
        self.kind = kind


def decode_image(
    data: bytes, *, min_side: int | None = None, shrink: Callable[[int, int], float] | None = None
) -> np.ndarray:
    """The picture as uint8 RGB (H, W, 3), turned upright by its EXIF orientation.

    Greyscale is repeated, CMYK converted, 16-bit samples divided by 257, palettes looked up, alpha composited on white;
    of an animation the first frame is read. With `min_side` a JPEG may come at 1/2, 1/4 or 1/8 of its size, the
    smallest whose short side is still at least `min_side` pixels; with `shrink`, a function of the upright picture's
    height and width, the smallest that shrinks it by at most that much.

    Raises ImageError when the bytes are empty, of no known format, cut short or damaged, or when the header states
    more than `MAX_PIXELS` pixels (nothing is decoded then).
    """
    if not data:
        raise ImageError("empty")
    header = _checked_header(data)
    if header.format == "pnm":
        return _decode_pnm(data)
    flags = _flags(header, min_side, shrink)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError("unreadable") from error
    if image is None:
        raise ImageError("unreadable")
    if header.format in _WITH_ALPHA:
        image = _to_rgb8(image, header.alpha)
    return _upright(image, header.orientation)


def decode_near(data: bytes, side: int) -> np.ndarray:
    """The picture as `decode_image` gives it, its short side about `side` pixels, 7/8 to 5/4 of it, or the file's own.

    A JPEG at 1/2 that is a little short of the side is taken, because decoding it whole takes twice as long; a picture
    that is a little larger stays as it is, because shrinking it would take longer than its pixels cost later.
    """
    image = decode_image(data, min_side=math.ceil(side * 7 / 8))
    short = min(image.shape[:2])
    if short <= side * 5 / 4:
        return image
    height, width = (max(1, round(pixels * side / short)) for pixels in image.shape[:2])
    kernel = (
        cv2.INTER_LINEAR if short < 2 * side else cv2.INTER_AREA
    )  # by less than 2 it skips no pixel, 6 times as fast
    return cv2.resize(image, (width, height), interpolation=kernel)


def _checked_header(data: bytes) -> Header:
    try:
        header = read_header(data)
    except HeaderError as error:
        raise ImageError(error.kind, f"{_MESSAGES[error.kind]}: {error}") from error
    if header is None:
        raise ImageError("not_an_image")
    if header.width * header.height > MAX_PIXELS:
        raise ImageError(
            "too_large", f"{header.width} x {header.height} pixels; at most {MAX_PIXELS:,} pixels are decoded"
        )
    if header.width < 1 or header.height < 1:
        raise ImageError("unreadable", f"the header states {header.width} x {header.height} pixels")
    if not header.complete:
        raise ImageError("truncated")
    return header


def _flags(header: Header, min_side: int | None, shrink: Callable[[int, int], float] | None) -> int:
    if header.format == "jpeg":
        height, width = header.height, header.width
        if header.orientation >= 5:
            height, width = width, height
        most = 1.0 if shrink is None else shrink(height, width)
        for factor, flags in _REDUCED.items():
            if factor <= most or (min_side is not None and -(-min(height, width) // factor) >= min_side):
                return flags
    if header.format in _WITH_ALPHA and header.alpha != "none":
        return cv2.IMREAD_UNCHANGED
    return cv2.IMREAD_COLOR_RGB


def _to_rgb8(image: np.ndarray, alpha_kind: str) -> np.ndarray:
    """uint8 RGB from what `_flags` asks for: (H, W), BGR or BGRA of 8 or 16 bits, or RGB where there is no alpha."""
    if alpha_kind == "none":
        return image
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError("unreadable", f"samples of type {image.dtype}; 8 and 16 bits are read")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    colour = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    alpha = image[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return colour
    if alpha_kind == "premultiplied":
        return np.minimum(colour + (255 - alpha), 255).astype(np.uint8)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _decode_pnm(data: bytes) -> np.ndarray:
    """RGB of a PBM, PGM or PPM, text or binary, scaled so that its largest value becomes 255."""
    width, height, maximum, start = pnm_layout(data)
    kind = data[1:2]
    channels = 3 if kind in b"36" else 1
    count = width * height * channels
    if kind == b"4":
        rows = np.frombuffer(data, np.uint8, (width + 7) // 8 * height, start).reshape(height, -1)
        values = 1 - np.unpackbits(rows, axis=1)[:, :width].astype(np.uint32)
    elif kind in b"56":
        values = np.frombuffer(data, ">u2" if maximum > 255 else "u1", count, start).astype(np.uint32)
    else:
        text = re.sub(rb"#[^\n]*", b"", data[start - 1 :])
        words = re.findall(rb"[01]", text) if kind == b"1" else text.split()
        if len(words) < count:
            raise ImageError("truncated")
        try:
            values = np.array(words[:count], dtype=np.uint32)
        except (ValueError, OverflowError) as error:
            raise ImageError("unreadable") from error
        values = 1 - values if kind == b"1" else values
    scaled = (np.minimum(values, maximum) * 255 + maximum // 2) // maximum
    image = scaled.astype(np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(np.broadcast_to(image, (height, width, 3)))


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The picture after the turn and mirror that EXIF orientation 1...8 asks for (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        image = cv2.transpose(image)
    if orientation in (2, 7, 3, 6):
        image = cv2.flip(image, 1)
    if orientation in (4, 7, 3, 8):
        image = cv2.flip(image, 0)
    return image
