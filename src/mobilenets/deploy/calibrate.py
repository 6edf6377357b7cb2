"""The images that quantisation is calibrated with: never any that a score is reported on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..console import say, warn
from ..data.dataset import Dataset, Sample, open_dataset
from ..data.decode import ImageError, decode_image
from ..data.fingerprint import fingerprint
from ..data.loader import ahead
from ..data.preprocess import resize_and_crop
from ..data.roles import roles
from ..errors import UserError
from .golden import drawn
from .load import Loaded
from .score import spread

IMAGES = 256
LEAST = 8


def calibration_images(loaded: Loaded, data: Path | None, labels: str | None = None, count: int = IMAGES) -> np.ndarray:
    """At most `count` inputs, uint8 RGB (n, R, R, 3), spread over the classes.

    Those of `data` (its training part where it has parts); else those that the Run was trained on, where the data still
    is what it was; drawn ones for an architecture with random weights, whose answers mean nothing anyhow. Raises
    UserError where there are none, or the data is another by now.
    """
    if count < LEAST:
        raise UserError(f"calibration images {count} is out of range: allowed is {LEAST} or more")
    if data is not None:
        dataset = open_dataset(data, labels=labels, strict=False)
    elif loaded.source["kind"] == "architecture":
        return np.stack([drawn(index, loaded.spec.resolution) for index in range(min(count, 32))])
    else:
        dataset = own_data(loaded)
    samples = dataset.of_split("train") if "train" in dataset.splits else roles(dataset).train
    images = read_images(dataset, spread(samples, count), loaded)
    say(f"int8 is calibrated with {len(images)} training images of {dataset.root}")
    return images


def own_data(loaded: Loaded) -> Dataset:
    """The data that the Run was trained on, if it is still that. Raises UserError where it is not."""
    needed = "int8 needs images to calibrate with: --data"
    if loaded.data is None:
        raise UserError(f"{loaded.reference}: {needed}")
    if not loaded.data.exists():
        raise UserError(f"{loaded.reference}: {needed} (its own, {loaded.data}, are not there)")
    dataset = open_dataset(loaded.data, labels=loaded.data_labels, strict=False)
    if fingerprint(dataset) != (loaded.source.get("data") or {}).get("fingerprint"):
        raise UserError(f"{loaded.reference}: {needed} (its own, {loaded.data}, have changed since)")
    return dataset


def read_images(dataset: Dataset, samples: Sequence[Sample], loaded: Loaded) -> np.ndarray:
    """The samples as inputs, uint8 RGB (n, R, R, 3), but for unreadable ones. Raises UserError for fewer than 8."""

    broken: list[str] = []

    def read(sample: Sample) -> np.ndarray | None:
        try:
            return resize_and_crop(decode_image(dataset.read(sample)), loaded.preprocessing)
        except (ImageError, OSError) as error:
            broken.append(f"{sample.name}: {error}")
            return None

    images = [image for image in ahead(read, samples, 2) if image is not None]
    if broken:
        warn(f"{len(broken)} of {len(samples)} images cannot be read and do not calibrate, the first {broken[0]}")
    if len(images) < LEAST:
        raise UserError(f"{dataset.root}: {len(images)} images to calibrate with; at least {LEAST} are needed")
    return np.stack(images)
