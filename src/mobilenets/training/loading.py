"""The loader of a training: what prepares its images, at which side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ..arch.spec import Spec
from ..data.dataset import Dataset
from ..data.loader import Images, Loader
from ..data.roles import Roles
from ..data.sampling import Sampling
from ..data.shards import is_streamed
from ..data.stream import StreamLoader
from ..errors import UserError
from .recipe import Recipe


def make_loader(
    spec: Spec,
    dataset: Dataset,
    parts: Roles,
    recipe: Recipe,
    seed: int,
    fingerprint: str,
    places: np.ndarray | None = None,
) -> Loader:
    """What prepares the training images: at random access, or as a stream where they lie in remote shards.

    `places` are the places of each batch that this process works on; None: all of them.
    """
    resolution = training_resolution(spec.resolution, recipe.train_resolution)
    settings: dict[str, Any] = {
        "batch_size": recipe.batch_size,
        "resolution": resolution
        if recipe.progressive >= 1
        else growing_resolution(resolution, recipe.progressive, recipe.epochs),
        "augmentation": recipe.augmentation,
        "seed": seed,
        "places": places,
    }
    images = Images(dataset, parts.train, round(spec.resolution * recipe.store) or None, fingerprint=fingerprint)
    copies = None if recipe.distillation is None else recipe.distillation.copies
    if not is_streamed(dataset):
        return Loader(images, **settings, copies=copies, sampling=recipe.sampling)
    if copies is not None:
        raise UserError(
            f"teacher cache {copies} goes with images that are read at random, and remote shards are a stream: "
            "leave --teacher-cache out, or train on a local copy of the shards"
        )
    for name, value in asdict(recipe.sampling).items():
        if value != getattr(Sampling(), name):
            raise UserError(
                f"sampling.{name} {value:g} needs images in any order, and shards are read as a stream: leave it out "
                "(loss.class_weights is for classes of unequal size too)"
            )
    return StreamLoader(images, **settings)


def training_resolution(resolution: int, fraction: float) -> int:
    """The side of the training images: that fraction of the resolution, to a multiple of 16 where it is less."""
    return resolution if fraction >= 1 else min(resolution, max(32, round(resolution * fraction / 16) * 16))


def growing_resolution(resolution: int, progressive: float, epochs: int) -> Callable[[int], int]:
    """The side of the training images as a function of the epoch, 0 to `epochs` - 1.

    It begins at the part `progressive` of the resolution and grows linearly to the whole, which it has from the middle
    on (Tan & Le 2021, "EfficientNetV2", section 4, without their growing regularisation).
    """

    def side(epoch: int) -> int:
        grown = min(2 * epoch / epochs, 1.0)
        return training_resolution(resolution, progressive + (1 - progressive) * grown)

    return side
