"""Near-duplicates by perceptual hash: the same picture again, resized, re-encoded, brightened, greyed or mirrored.

The hash of a picture is the sign of each low frequency of its 32 x 32 grey version's cosine transform (pHash, with
signs about zero in place of the median: mirroring then flips known bits, so mirrored copies cost no second transform).
The 8 x 8 lowest give 64 bits that are searched, the 16 x 16 lowest 256 bits that confirm, and a 4 x 4 thumbnail keeps
apart what differs in colour alone. Thresholds were set on the shared photo sets: up to 64 of 256 bits every pair looked
at was a near-duplicate, the nearest false pair of 3,000 CIFAR-10 images stood at 90, random pairs stand at 128.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from ..console import progress
from .cache import BlobCache
from .decode import ImageError, decode_image
from .records import Dataset, Sample

SHORT_BITS = 7  # of 64, at most, for a candidate
LONG_BITS = 64  # of 256, at most, for a near-duplicate
_COLOUR = 30.0  # mean difference of chroma, in levels, beyond which two pictures are not the same
_GREY = 3.0  # mean chroma below which a picture counts as grey, and matches any colour
_CHUNK = 128  # files held in memory at a time
_BUCKET = 512  # candidates that one picture is compared with where very many share 16 bits
RECORD = np.dtype([("short", "<u8"), ("long", "<u8", 4), ("thumb", "u1", 48)])


@dataclass(frozen=True)
class Prints:
    """Perceptual prints of N images: RECORD array (N,), SHA-256 of each file, and which files could be decoded."""

    records: np.ndarray
    digests: tuple[bytes, ...]
    readable: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Near-duplicate pairs: indices `a` < `b` and how many of 256 bits differ."""

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray


def prints(dataset: Dataset, samples: Sequence[Sample]) -> Prints:
    """The prints of the samples, from the cache where their content has been seen before.

    A file that cannot be read or decoded is marked, with a print of zeros.
    """
    cache = BlobCache("prints-1")
    records = np.zeros(len(samples), RECORD)
    readable = np.zeros(len(samples), bool)
    digests: list[bytes] = []
    with progress() as bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        task = bar.add_task("comparing images", total=len(samples), note="")
        for begin in range(0, len(samples), _CHUNK):
            blobs = list(pool.map(lambda sample: _read(dataset, sample), samples[begin : begin + _CHUNK]))
            keys = list(pool.map(lambda blob: hashlib.sha256(blob).digest(), blobs))
            known = cache.get(keys)
            new = {key: blob for key, blob in zip(keys, blobs) if key not in known}
            if new:
                made = dict(zip(new, pool.map(_print_of, new.values())))
                cache.put(made)
                known |= made
            for i, key in enumerate(keys, start=begin):
                if known[key]:
                    records[i] = np.frombuffer(known[key], RECORD)[0]
                    readable[i] = True
            digests += keys
            bar.advance(task, len(blobs))
    return Prints(records, tuple(digests), readable)


def perceptual_print(image: np.ndarray) -> np.ndarray:
    """The RECORD (scalar array) of uint8 RGB (H, W, 3)."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    signs = cv2.dct(grey.astype(np.float32))[:16, :16] > 0
    signs[0, 0] = False  # the mean brightness, always positive
    record = np.zeros((), RECORD)
    record["short"] = np.packbits(signs[:8, :8], bitorder="little").view("<u8")[0]
    record["long"] = np.packbits(signs, bitorder="little").view("<u8")
    record["thumb"] = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).ravel()
    return record


def similar_pairs(records: np.ndarray, *, long_bits: int = LONG_BITS) -> Pairs:
    """All pairs of RECORD (N,) that show the same picture, mirrored or not; exact within SHORT_BITS, in N log N time.

    Two 64-bit hashes at most 7 bits apart agree, but for one bit, in one of their four 16-bit quarters: each quarter
    and its 16 one-bit neighbours are looked up in a table. Where more than 512 pictures share a quarter, each is
    compared with the 512 that are nearest in order. Of pictures with equal prints (blank ones), each is paired with
    the first alone.
    """
    _, first, inverse = np.unique(records.view("V88"), return_index=True, return_inverse=True)
    same = np.flatnonzero(first[inverse] != np.arange(len(records)))
    found = [(first[inverse[same]], same, np.zeros(len(same), np.int64))]
    for mirrored in (False, True):
        a, b, distance = _matches(records[first], mirrored, long_bits)
        found.append((np.minimum(first[a], first[b]), np.maximum(first[a], first[b]), distance))
    a, b, distance = (np.concatenate(parts) for parts in zip(*found))
    order = np.lexsort((distance, b, a))
    a, b, distance = a[order], b[order], distance[order]
    new = np.ones(len(a), bool)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a[new], b[new], distance[new])


def components(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each of `count` items the smallest item that it is joined to through the pairs (a, b); int64 (count,)."""
    root = np.arange(count)
    while len(a):
        low = np.minimum(root[a], root[b])
        before = root.copy()
        np.minimum.at(root, root[a], low)
        np.minimum.at(root, root[b], low)
        while not np.array_equal(root, root[root]):
            root = root[root]
        if np.array_equal(root, before):
            break
    return root


def _read(dataset: Dataset, sample: Sample) -> bytes:
    try:
        return dataset.read(sample)
    except OSError:
        return b""


def _print_of(blob: bytes) -> bytes:
    try:
        return perceptual_print(decode_image(blob, min_side=64)).tobytes()
    except ImageError:
        return b""


def _matches(records: np.ndarray, mirrored: bool, long_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a, b, distance) with a < b of the pictures whose print, or mirrored print, is near another's."""
    short, long = records["short"], records["long"]
    asked_short = short ^ _MIRROR_SHORT if mirrored else short
    asked_long = long ^ _MIRROR_LONG if mirrored else long
    chroma = _chroma(records["thumb"])
    asked_chroma = chroma[:, :, ::-1] if mirrored else chroma
    found = []
    for i, j in _candidates(asked_short, short):
        keep = (i < j) & (_bits(asked_short[i] ^ short[j]) <= SHORT_BITS)
        i, j = i[keep], j[keep]
        distance = _bits(asked_long[i] ^ long[j]).sum(axis=1)
        keep = distance <= long_bits
        i, j, distance = i[keep], j[keep], distance[keep]
        keep = _same_colours(asked_chroma[i], chroma[j])
        found.append((i[keep], j[keep], distance[keep]))
    if not found:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)
    a, b, distance = (np.concatenate(parts) for parts in zip(*found))
    return a, b, distance


def _candidates(asked: np.ndarray, known: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields index arrays (into asked, into known) of hashes that agree in a quarter but for at most one bit."""
    for quarter in range(4):
        turned, wanted = _quarter_first(known, quarter), _quarter_first(asked, quarter)
        order = np.argsort(turned, kind="stable")
        turned = turned[order]
        starts = np.searchsorted(turned >> np.uint64(48), np.arange(65537, dtype=np.uint64))
        for flip in (0, *(1 << bit for bit in range(48, 64))):
            sought = wanted ^ np.uint64(flip)
            key = (sought >> np.uint64(48)).astype(np.int64)
            begin, count = starts[key], starts[key + 1] - starts[key]
            full = np.flatnonzero(count > _BUCKET)  # there, the neighbours in the order of all 64 bits
            middle = np.searchsorted(turned, sought[full]) - _BUCKET // 2
            begin[full] = np.clip(middle, begin[full], begin[full] + count[full] - _BUCKET)
            count[full] = _BUCKET
            for low in range(0, len(asked), 16384):  # at most 16384 * 512 candidates at a time
                part = count[low : low + 16384]
                i = np.repeat(np.arange(low, low + len(part)), part)
                within = np.arange(len(i)) - np.repeat(np.cumsum(part) - part, part)
                yield i, order[begin[i] + within]


def _quarter_first(hashes: np.ndarray, quarter: int) -> np.ndarray:
    """The hashes turned so that the chosen 16 bits are the highest."""
    shift = 16 * quarter
    return hashes if shift == 0 else (hashes << np.uint64(shift)) | (hashes >> np.uint64(64 - shift))


def _bits(words: np.ndarray) -> np.ndarray:
    """How many bits are set in each uint64."""
    words = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    words = (words & np.uint64(0x3333333333333333)) + ((words >> np.uint64(2)) & np.uint64(0x3333333333333333))
    words = (words + (words >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((words * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def _chroma(thumbs: np.ndarray) -> np.ndarray:
    """Red and blue above green, float32 (N, 4, 4, 2), of thumbnails uint8 (N, 48)."""
    pixels = thumbs.reshape(-1, 4, 4, 3).astype(np.float32)
    return pixels[..., ::2] - pixels[..., 1:2]


def _same_colours(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    axes = (1, 2, 3)
    grey = np.minimum(np.abs(a).mean(axis=axes), np.abs(b).mean(axis=axes)) < _GREY
    return grey | (np.abs(a - b).mean(axis=axes) < _COLOUR)


def _mirror_mask(side: int) -> np.ndarray:
    """The bits that change when a picture is mirrored left to right: every odd horizontal frequency."""
    odd = np.zeros((side, side), bool)
    odd[:, 1::2] = True
    return np.packbits(odd, bitorder="little").view("<u8")


_MIRROR_SHORT, _MIRROR_LONG = _mirror_mask(8)[0], _mirror_mask(16)
