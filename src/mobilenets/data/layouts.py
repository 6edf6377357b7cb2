"""How each public set's archives become class folders."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .archives import members

Laid = Iterator[tuple[str, bytes]]  # (path below the set's folder, contents)

_DOG = re.compile(r"(n\d{8}-[\w-]+)/(n\d{8}_\d+\.jpg)")


def rock_paper_scissors(archives: list[Path]) -> Laid:
    """train/ and test/ from rps.zip and rps-test-set.zip: `rps/rock/rock01-000.png` and so on."""
    pattern = re.compile(r"(rps|rps-test-set)/((?:rock|paper|scissors)/[\w-]+\.png)")
    for archive in archives:
        for name, data in members(archive):
            if match := pattern.fullmatch(name):
                yield f"{'train' if match[1] == 'rps' else 'test'}/{match[2]}", data


def cifar10(archives: list[Path]) -> Laid:
    """train/ and test/ as PNG from the binary version: records of one label byte and 3 x 32 x 32 bytes, channels first.

    The Python version is a pickle, which could run code; it is not used.
    """
    batches = {name.rsplit("/", 1)[-1]: data for name, data in members(archives[0])}
    names = batches["batches.meta.txt"].decode().split()
    for split, files in (("train", [f"data_batch_{i}.bin" for i in range(1, 6)]), ("test", ["test_batch.bin"])):
        place = 0
        for file in files:
            records = np.frombuffer(batches[file], np.uint8).reshape(-1, 3073)
            for record in records:
                image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
                png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
                yield f"{split}/{names[record[0]]}/{place:05}.png", png.tobytes()
                place += 1


def oxford_iiit_pet(archives: list[Path]) -> Laid:
    """train/ (the authors' trainval) and test/, a folder per breed, from `images/Abyssinian_100.jpg` and the lists."""
    images, annotations = archives
    split_of: dict[str, str] = {}
    for name, data in members(annotations):
        split = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}.get(name)
        if split is not None:
            split_of |= {line.split()[0]: split for line in data.decode().splitlines() if line.strip()}
    for name, data in members(images):
        stem = name.rsplit("/", 1)[-1].removesuffix(".jpg")
        if name.endswith(".jpg") and stem in split_of:
            yield f"{split_of[stem]}/{stem.rsplit('_', 1)[0]}/{stem}.jpg", data


def stanford_dogs(archives: list[Path]) -> Laid:
    """train/ and test/, a folder per breed, by the authors' lists: `Images/n02085620-Chihuahua/n02085620_10074.jpg`."""
    images, lists = archives
    split_of: dict[str, str] = {}
    for name, data in members(lists):
        split = {"train_list.mat": "train", "test_list.mat": "test"}.get(name.rsplit("/", 1)[-1])
        if split is not None:
            split_of |= dict.fromkeys(dog_paths(data), split)
    if set(split_of.values()) != {"train", "test"}:
        raise UserError(f"{lists.name}: the lists of training and test images cannot be read")
    for name, data in members(images):
        path = "/".join(name.split("/")[-2:])
        if path in split_of:
            folder, file = path.split("/")
            yield f"{split_of[path]}/{folder}/{file}", data


def flowers(archives: list[Path]) -> Laid:
    """One folder per flower, without splits: `flower_photos/daisy/100080576_f52e8ee070_n.jpg`."""
    for name, data in members(archives[0]):
        parts = name.split("/")
        if len(parts) == 3 and parts[2].endswith(".jpg"):
            yield f"{parts[1]}/{parts[2]}", data
        elif parts[-1] == "LICENSE.txt":
            yield "LICENSE.txt", data


def dog_paths(mat: bytes) -> set[str]:
    """The image paths that a MATLAB 5 file of the Stanford Dogs lists holds, compressed or not.

    They stand in it as text of one or two bytes per character, so they are searched for instead of parsed: a reader of
    MATLAB files would be a dependency for these two files alone.
    """
    found: set[str] = set()
    for element in _elements(mat):
        for text in (element.decode("latin-1"), element[::2].decode("latin-1"), element[1::2].decode("latin-1")):
            found |= {f"{match[1]}/{match[2]}" for match in _DOG.finditer(text)}
    return found


def _elements(mat: bytes) -> Iterator[bytes]:
    """The top-level elements of a MATLAB 5 file, unpacked (type 15 is a zlib stream)."""
    position = 128
    while position + 8 <= len(mat):
        kind, size = struct.unpack_from("<II", mat, position)
        body = mat[position + 8 : position + 8 + size]
        yield zlib.decompress(body) if kind == 15 else body
        position += 8 + size + (-size % 8 if kind != 15 else 0)
