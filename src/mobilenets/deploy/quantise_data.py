"""Which images of a dataset set int8's scales, which decide, and which are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..console import say
from ..data.dataset import Dataset, Sample
from ..data.roles import roles
from ..errors import UserError
from .calibrate import LEAST
from .score import spread

SELECTION_IMAGES = 1000  # at most
_EVERY = 5  # of the images that cannot be held out by class, this one calibrates
_FEW = 5  # images of a class, below which none is held out of it


@dataclass(frozen=True)
class Parts:
    """Three parts of the data; `selection` is `calibration` where nothing else is left to decide on."""

    calibration: Sequence[Sample]
    selection: Sequence[Sample]
    report: Sequence[Sample]
    report_name: str

    @property
    def decides(self) -> str:
        """What decides, in words."""
        same = self.selection is self.calibration
        return "the same images decide" if same else f"{len(self.selection)} selection images decide"


def divide(dataset: Dataset, calibration_images: int) -> Parts:
    """The parts that training would make; where classes have too few images for that, every fifth image calibrates.

    Raises UserError where there are too few images at all.
    """
    if "train" in dataset.splits or len(dataset.samples) >= _FEW * len(dataset.classes):
        parts = roles(dataset)
        calibration = spread(parts.train, calibration_images)
        selection = spread(parts.selection, SELECTION_IMAGES) if parts.selection else calibration
        if parts.report:
            return Parts(calibration, selection, parts.report, parts.report_name)
    every = tuple(dataset.samples)
    calibration = every[::_EVERY][:calibration_images]
    report = tuple(sample for place, sample in enumerate(every) if place % _EVERY)
    if len(calibration) < LEAST:
        raise UserError(f"{dataset.root}: {len(every)} images; at least {_EVERY * LEAST} are needed")
    say(f"{dataset.root}: too few images of a class to hold any out: every fifth image calibrates and decides")
    return Parts(calibration, calibration, report, "all but every fifth")


class Keep:
    """A session that gives back what it is given: to read images as `score` does."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3), as it came."""
        return images
