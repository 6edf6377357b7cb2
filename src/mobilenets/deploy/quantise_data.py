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

    Images that calibrate and decide are in an order without meaning, so that any first few stand for all. Raises
    UserError where there are too few images.
    """
    parts = roles(dataset)
    if parts.report:
        calibration = shuffled(spread(parts.train, calibration_images))
        selection = shuffled(spread(parts.selection, SELECTION_IMAGES)) if parts.selection else calibration
        return Parts(calibration, selection, parts.report, parts.report_name)
    every = tuple(dataset.samples)
    calibration = shuffled(spread(every[::_EVERY], calibration_images))
    report = tuple(sample for place, sample in enumerate(every) if place % _EVERY)
    if len(calibration) < LEAST:
        raise UserError(f"{dataset.root}: {len(every)} images; at least {_EVERY * LEAST} are needed")
    say(f"{dataset.root}: too few images of a class to hold any out: every fifth image calibrates and decides")
    return Parts(calibration, calibration, report, "all but every fifth")


def shuffled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples in an order of chance, always the same."""
    return tuple(samples[place] for place in np.random.default_rng(0).permutation(len(samples)).tolist())


class Keep:
    """A session that gives back what it is given: to read images as `score` does."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3), as it came."""
        return images
