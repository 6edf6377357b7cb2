"""The three images that every bundle carries with the logits its files must give for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..arch.spec import Preprocessing
from ..console import say
from ..data.dataset import Dataset, Sample, open_dataset
from ..data.decode import ImageError, decode_image
from ..data.preprocess import resize_and_crop
from ..errors import UserError
from .score import reported

COUNT = 3
EXPECTED = "golden/expected.json"


@dataclass(frozen=True)
class Golden:
    """Input images, uint8 RGB (3, R, R, 3), and for each the label that the data gives it, None where it was drawn."""

    images: np.ndarray
    labels: tuple[str | None, ...]


def golden_images(preprocessing: Preprocessing, data: Path | None, labels: str | None = None) -> Golden:
    """Three images that the network was reported on, of different classes; drawn ones where `data` is not there."""
    if data is not None and data.exists():
        try:
            return _from_data(open_dataset(data, labels=labels, strict=False), preprocessing)
        except (UserError, ImageError, OSError) as error:
            say(f"golden images are drawn: {error}")
    return Golden(np.stack([drawn(index, preprocessing.resolution) for index in range(COUNT)]), (None,) * COUNT)


def drawn(index: int, size: int) -> np.ndarray:
    """A smooth coloured picture with detail at several scales, uint8 RGB (size, size, 3); the same for each index."""
    y, x = np.mgrid[0:size, 0:size] / size
    rng = np.random.default_rng(index)
    layers = []
    for _ in range(3):
        frequency, phase = rng.uniform(0.5, 12, (6, 2)), rng.uniform(0, 2 * np.pi, 6)
        waves = [np.sin(2 * np.pi * (fx * x + fy * y) + p) / (fx + fy) for (fx, fy), p in zip(frequency, phase)]
        total = np.sum(waves, axis=0)
        layers.append((total - total.min()) / (total.max() - total.min()))
    return np.round(255 * np.stack(layers, axis=-1)).astype(np.uint8)


def write_golden(
    golden: Golden,
    logits: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    labels: Sequence[dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Writes the images as PNG and the expected logits (3, C) below `folder`; returns the manifest's part.

    `logits` are the float network's, `outputs` what each model file gave here: path -> (3, C).
    """
    (folder / "golden").mkdir()
    rows = []
    for index, (image, row) in enumerate(zip(golden.images, logits)):
        name = f"golden/{index}.png"
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        (folder / name).write_bytes(png.tobytes())
        rows.append(
            {
                "file": name,
                "label": golden.labels[index],
                "predicted": labels[int(row.argmax())]["name"],
                "logits": [float(value) for value in row],
            }
        )
    files = {path: [[float(value) for value in row] for row in found] for path, found in outputs.items()}
    expected = {"images": rows, "files": files}
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    source = "drawn" if golden.labels == (None,) * COUNT else "data"
    return {"images": [row["file"] for row in rows], "expected": EXPECTED, "source": source}


def _from_data(dataset: Dataset, preprocessing: Preprocessing) -> Golden:
    images, names = [], []
    for sample in _spread(reported(dataset).samples):
        images.append(resize_and_crop(decode_image(dataset.read(sample)), preprocessing))
        names.append(dataset.classes[sample.label].name)
    return Golden(np.stack(images), tuple(names))


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """Three samples of as many different classes as there are, spread over the classes."""
    first: dict[int, Sample] = {}
    for sample in samples:
        first.setdefault(sample.label, sample)
    chosen = [first[label] for label in sorted(first)]
    chosen += [sample for sample in samples if sample not in chosen]
    if len(chosen) < COUNT:
        raise UserError(f"the data holds {len(chosen)} images to report on; {COUNT} are needed")
    if len(first) <= COUNT:
        return chosen[:COUNT]
    return [chosen[index * (len(first) - 1) // (COUNT - 1)] for index in range(COUNT)]
