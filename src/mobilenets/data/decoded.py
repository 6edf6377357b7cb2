"""Decoded images on disk, for every run and process: memory-mapped, bounded, keyed by the content they come from.

A cache is a folder `decoded/KEY` of the cache folder: `pixels`, where one image follows the other, and `index`, one row
of `_ROW` per image. An image is there once its row is, and the row is written after the pixels; whoever adds holds the
lock on `index`. So a kill at any moment leaves nothing that could be read by mistake: pixels without a row are written
over. A checksum per image, taken when a process first reads it, catches what a power cut or a bad disk leaves.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import UserError
from .cache import cache_folder
from .locks import lock, locked, locked_path

BOUND_VARIABLE = "MOBILENETS_DECODED_GB"
DEFAULT_GB = 10.0  # of all caches together
MOST_RESERVED = 64 * 2**20  # bytes by which a file grows at once; before, it doubles
FREE_BYTES = 2**30  # that the disk keeps free

_ROW = np.dtype(
    [("number", "<u4"), ("height", "<u4"), ("width", "<u4"), ("check", "<u4"), ("offset", "<u8"), ("total", "<u8")]
)
_PAGE = 64  # images begin at multiples of this


class DecodedCache:
    """The decoded images of one dataset at one size, uint8 (H, W, 3), by their number in it.

    Any number of processes and threads may use it at once. What cannot be kept is not kept: `put` then returns False,
    and why stands in `refusal`.
    """

    def __init__(self, folder: Path, images: int, bound: int) -> None:
        """Opens or makes the cache at `folder`, for `images` images, in a parent that holds at most `bound` bytes.

        Raises OSError where that is not possible. `open_decoded` is what callers want.
        """
        self.folder = folder
        self.bound = bound
        self.refusal: str | None = None
        self._mutex = threading.Lock()
        self._offset = np.full(images, -1, np.int64)
        self._size = np.zeros((images, 2), np.int32)
        self._total = np.zeros(images, np.uint64)
        self._trusted = np.zeros(images, bool)
        self._rows = 0  # of the index, read so far
        self._end = 0  # of the last image
        self._map: mmap.mmap | None = None
        self._files: list[int] = []
        with locked_path(folder.parent / "lock"):
            _remove_leftovers(folder.parent)
            self._open()
            if not self._read_rows():  # damaged: made anew, unless somebody reads it
                self.close()
                if not _evict(folder):
                    raise OSError(f"{folder}: damaged and in use")
                self._open()
            _evict_down_to(folder.parent, bound, spare=folder)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("used", "index", "pixels"):
            self._files.append(os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o666))
        used, self._index, self._pixels = self._files
        lock(used, shared=True)  # held as long as this is open: in use, not to be evicted
        os.utime(used)
        self._rows = self._end = 0

    def close(self) -> None:
        """Lets go of the files; images that were handed out stay readable. Closing twice is fine."""
        files, self._files = self._files, []
        for file in files[:1]:
            os.utime(file)
        for file in files:
            os.close(file)  # which gives the lock back

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()

    @property
    def count(self) -> int:
        """Images that are there."""
        return int((self._offset >= 0).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of pixels that are there."""
        return int(self._size[self._offset >= 0].astype(np.int64).prod(axis=1).sum()) * 3

    def get(self, number: int) -> np.ndarray | None:
        """Image `number`, read-only, or None where it is not there or damaged."""
        if self._offset[number] < 0 and not self._found(number):
            return None
        try:
            image = self._view(number, int(self._offset[number]))
        except OSError:  # a file system that cannot map files
            return None
        if image is None or self._trusted[number]:
            return image
        if _total(image) != self._total[number]:
            self._offset[number] = -1  # is decoded and written again; its later row counts
            return None
        self._trusted[number] = True
        return image

    def _found(self, number: int) -> bool:
        """Whether another process has added the image by now."""
        try:
            with self._mutex:
                return bool(self._files) and self._read_rows() and bool(self._offset[number] >= 0)
        except OSError:
            return False

    def put(self, number: int, image: np.ndarray) -> bool:
        """Adds an image, where there is room; whether it is there now."""
        if self.refusal is not None or not self._files:
            return False
        try:
            with self._mutex, locked(self._index):
                if not self._read_rows():
                    raise OSError("the index is damaged")
                return self._offset[number] >= 0 or self._append(number, image)
        except OSError as error:  # full, gone read-only, damaged
            self.refusal = error.strerror or str(error)
            return False

    def _append(self, number: int, image: np.ndarray) -> bool:
        """Writes pixels, then row; False where the bound is reached. Needs the lock on the index."""
        row = np.zeros(1, _ROW)
        row["number"], row["height"], row["width"] = number, *image.shape[:2]
        row["offset"], row["total"] = self._end, _total(image)
        row["check"] = _check(row)
        room = os.fstat(self._pixels).st_size - self._end
        if image.nbytes > room and not self._grow(image.nbytes - room):
            self.refusal = f"the bound of {self.bound / 1e9:.3g} GB is reached"
            return False
        _write_at(self._pixels, np.ascontiguousarray(image).data.cast("B"), self._end)
        _write_at(self._index, row.tobytes(), self._rows * _ROW.itemsize)
        self._read_rows()
        return True

    def _grow(self, nbytes: int) -> bool:
        """Makes the file of pixels longer by at least `nbytes`, older caches giving way; False beyond the bound."""
        parent = self.folder.parent
        with locked_path(parent / "lock"):
            bound = self.bound - len(self._offset) * _ROW.itemsize + os.fstat(self._index).st_size
            step = max(nbytes, min(MOST_RESERVED, self._end))
            left = _evict_down_to(parent, bound - step, spare=self.folder)
            if left + step > bound:
                step = nbytes
            if left + step > bound:
                return False
            if shutil.disk_usage(parent).free < step + FREE_BYTES:
                raise OSError(f"less than {(step + FREE_BYTES) / 1e9:.2g} GB is free on the disk")
            os.ftruncate(self._pixels, os.fstat(self._pixels).st_size + step)
        return True

    def _read_rows(self) -> bool:
        """Takes over the rows that were added since the last time; False when one of them is damaged."""
        there = os.fstat(self._index).st_size // _ROW.itemsize
        if there <= self._rows:
            return True
        raw = os.pread(self._index, (there - self._rows) * _ROW.itemsize, self._rows * _ROW.itemsize)
        rows = np.frombuffer(raw[: len(raw) // _ROW.itemsize * _ROW.itemsize], _ROW)
        ends = rows["offset"].astype(np.int64) + 3 * rows["height"].astype(np.int64) * rows["width"]
        fits = (rows["check"] == _check(rows)) & (rows["number"] < len(self._offset))
        if not (fits & (ends <= os.fstat(self._pixels).st_size)).all():
            return False
        numbers = rows["number"]  # of equal numbers the last one counts, as NumPy assigns in order
        self._size[numbers, 0], self._size[numbers, 1] = rows["height"], rows["width"]
        self._total[numbers] = rows["total"]
        self._trusted[numbers] = False
        self._offset[numbers] = rows["offset"]  # last: `get` reads without the lock
        self._rows += len(rows)
        self._end = max(self._end, -(-int(ends.max()) // _PAGE) * _PAGE)
        return True

    def _view(self, number: int, offset: int) -> np.ndarray | None:
        if offset < 0:  # another thread has just found it damaged
            return None
        height, width = self._size[number].tolist()
        nbytes = height * width * 3
        mapped = self._map
        if mapped is None or offset + nbytes > len(mapped):
            with self._mutex:
                size = os.fstat(self._pixels).st_size if self._files else 0
                if offset + nbytes > size:  # cut off by somebody
                    return None
                mapped = self._map = mmap.mmap(self._pixels, size, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.uint8, nbytes, offset).reshape(height, width, 3)


def open_decoded(fingerprint: str, images: int, side: int, decoding: str) -> tuple[DecodedCache | None, str]:
    """The cache for a dataset of that fingerprint and number of images, or None, and in words where images are kept.

    `side` and `decoding` say what the pixels are beyond the files they come from. Raises UserError where the variable
    `MOBILENETS_DECODED_GB` is no size.
    """
    bound = bound_bytes()
    if not bound:
        return None, f"decoded images are kept in memory ({BOUND_VARIABLE} is 0)"
    key = hashlib.sha256(f"{fingerprint}\n{images}\n{side}\n{decoding}".encode()).hexdigest()[:20]
    folder = cache_folder() / "decoded" / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        kept = DecodedCache(folder, images, bound)
    except (OSError, ImportError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return None, f"decoded images are kept in memory ({folder.parent}: {reason})"
    found = f"{kept.count} of {images} images, {kept.nbytes / 1e6:,.1f} MB"
    return kept, f"decoded images are kept in {folder} ({found if kept.count else 'none yet'})"


def bound_bytes() -> int:
    """The most bytes that all decoded caches together may take; `MOBILENETS_DECODED_GB` sets it, 0 for none."""
    text = os.environ.get(BOUND_VARIABLE) or f"{DEFAULT_GB}"
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e9:
        raise UserError(f"{BOUND_VARIABLE} {text!r} is no size: allowed is a number of GB, 0 for none on disk")
    return int(size * 1e9)


def _evict_down_to(parent: Path, most: int, *, spare: Path) -> int:
    """Deletes caches, the least recently used first, until all take at most `most` bytes; returns what they take.

    Those in use and `spare` stay. Needs the parent's lock.
    """
    sizes: dict[Path, int] = {}
    ages: dict[Path, float] = {}
    for folder in parent.iterdir():
        with suppress(OSError):
            if folder.is_dir():
                sizes[folder] = sum((folder / name).stat().st_size for name in ("index", "pixels"))
                ages[folder] = (folder / "used").stat().st_mtime
    total = sum(sizes.values())
    for folder in sorted(ages, key=lambda f: ages[f]):
        if total <= most:
            break
        if folder != spare and _evict(folder):
            total -= sizes[folder]
    return total


def _evict(folder: Path) -> bool:
    """Deletes a cache that nobody uses; whether it is gone. Needs the parent's lock."""
    try:
        used = os.open(folder / "used", os.O_RDWR)
    except OSError:
        return False
    try:
        lock(used, wait=False)
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.doomed")
        folder.rename(doomed)  # a kill while it is deleted leaves no half of a cache
    except OSError:
        return False
    finally:
        os.close(used)
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def _remove_leftovers(parent: Path) -> None:
    for doomed in parent.glob(".*.doomed"):
        shutil.rmtree(doomed, ignore_errors=True)


def _total(image: np.ndarray) -> int:
    """The sum of the image's 64-bit words, modulo 2^64: at memory speed, and no damage to one word escapes it."""
    flat = np.ascontiguousarray(image).reshape(-1)
    whole = flat.size // 8 * 8
    return (int(flat[:whole].view(np.uint64).sum(dtype=np.uint64)) + int(flat[whole:].sum(dtype=np.uint64))) % 2**64


def _check(rows: np.ndarray) -> np.ndarray:
    """uint32: a check value for each row over its other fields; of a row of zeros it is not 0."""
    value = np.full(rows.shape, 0x9E3779B97F4A7C15, np.uint64)
    for name in ("number", "height", "width", "offset", "total"):
        value = (value ^ rows[name].astype(np.uint64)) * np.uint64(0xD6E8FEB86659FD93)
        value ^= value >> np.uint64(32)
    return (value & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)
