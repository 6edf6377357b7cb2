"""A contact sheet: samples of every class, as they lie there or as training sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ..atomic import write_bytes
from ..errors import UserError
from .dataset import Dataset, Sample
from .decode import ImageError, decode_image
from .shardindex import labels_of

MAX_CLASSES = 40
_MARGIN, _TEXT_HEIGHT = 4, 16
_PAPER, _INK, _FAULT = 245, (40, 40, 40), (60, 60, 200)  # BGR, as OpenCV draws

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def contact_sheet(
    dataset: Dataset, *, columns: int = 8, cell: int = 96, augment: Augment | None = None, seed: int = 0
) -> np.ndarray:
    """uint8 RGB: a row of `columns` pictures per class, `cell` pixels wide each, under the class's name and count.

    The samples are drawn by `seed`, of at most 40 classes at even spacing. With `augment`, a function of uint8 RGB
    (H, W, 3) and a random generator that returns uint8 RGB of any size, a row is one sample and then what training
    makes of it. A file that cannot be decoded shows as a box with the reason.
    """
    if columns < 1 or cell < 16:
        raise UserError(f"columns {columns}, cell {cell}: at least 1 column and 16 pixels are needed")
    rng = np.random.default_rng(seed)
    rows = []
    labels = labels_of(dataset.samples)
    for label in _chosen_classes(len(dataset.classes)):
        places = np.flatnonzero(labels == label).tolist()
        picked = [dataset.samples[places[i]] for i in sorted(rng.permutation(len(places))[:columns].tolist())]
        cells = [_cell(dataset, sample, cell) for sample in picked]
        if augment is not None and picked:
            cells = _augmented(dataset, picked[0], columns, cell, augment, rng)
        title = f"{dataset.classes[label].name}  {len(places)} images"
        rows.append(_row(title, cells, columns, cell))
    return cv2.cvtColor(np.vstack(rows), cv2.COLOR_BGR2RGB)


def save_picture(image: np.ndarray, path: str | os.PathLike[str]) -> Path:
    """Writes uint8 RGB to a .png or .jpg, all or nothing; returns the path."""
    target = Path(path)
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"{path}: a picture is written as .png or .jpg")
    written, data = cv2.imencode(target.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not written:
        raise UserError(f"{path}: a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be written")
    write_bytes(target, data.tobytes())
    return target


def _chosen_classes(count: int) -> list[int]:
    shown = min(count, MAX_CLASSES)
    return [i * count // shown for i in range(shown)]


def _cell(dataset: Dataset, sample: Sample, side: int) -> np.ndarray:
    """The sample inside a square, BGR (side, side, 3)."""
    try:
        return _fitted(decode_image(dataset.read(sample), min_side=side), side)
    except (ImageError, OSError) as error:
        kind = error.kind if isinstance(error, ImageError) else "unreadable"
        box = np.full((side, side, 3), _PAPER, np.uint8)
        cv2.rectangle(box, (1, 1), (side - 2, side - 2), _FAULT, 1)
        return _write(box, kind.replace("_", " "), (4, side // 2), _FAULT)


def _augmented(
    dataset: Dataset, sample: Sample, columns: int, side: int, augment: Augment, rng: np.random.Generator
) -> list[np.ndarray]:
    try:
        image = decode_image(dataset.read(sample))
    except (ImageError, OSError):
        return [_cell(dataset, sample, side)]
    return [_fitted(image, side), *(_fitted(augment(image, rng), side) for _ in range(columns - 1))]


def _fitted(image: np.ndarray, side: int) -> np.ndarray:
    """RGB of any size, whole and centred in a square of paper, BGR (side, side, 3)."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    box = np.full((side, side, 3), _PAPER, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    box[top : top + size[1], left : left + size[0]] = small[..., ::-1]
    return box


def _row(title: str, cells: list[np.ndarray], columns: int, side: int) -> np.ndarray:
    row = np.full((_TEXT_HEIGHT + side + _MARGIN, _MARGIN + columns * (side + _MARGIN), 3), _PAPER, np.uint8)
    for i, cell in enumerate(cells):
        left = _MARGIN + i * (side + _MARGIN)
        row[_TEXT_HEIGHT : _TEXT_HEIGHT + side, left : left + side] = cell
    return _write(row, title, (_MARGIN, _TEXT_HEIGHT - 5), _INK)


def _write(image: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> np.ndarray:
    """Draws text; OpenCV's font has ASCII alone, other characters become "?"."""
    plain = text.encode("ascii", "replace").decode()
    return cv2.putText(image, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)
