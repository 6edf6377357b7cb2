"""The images that a quantised network trains on: the Run's training images, augmented mildly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..console import say
from ..data.augment import Augmentation
from ..data.dataset import Dataset
from ..data.fingerprint import fingerprint
from ..data.loader import Loader
from ..data.roles import roles
from ..errors import UserError
from ..training.loading import make_loader
from ..training.recipe import Recipe
from .load import Loaded
from .wrap import Shipped

if TYPE_CHECKING:
    from ..compress.simulation import Simulation

MILD = Augmentation(rotate=15.0, colour=0.3, hue=0.02, grey=0.05)
BATCH = 32
IMAGES = 10_000  # that a training goes over where nobody says how many passes


def training_images(dataset: Dataset, loaded: Loaded, seed: int = 0) -> Loader:
    """Batches at the network's own resolution. Raises UserError where no images are left to train on."""
    parts = roles(dataset, seed=0)
    if not parts.report:
        raise UserError(f"{dataset.root}: too few images of a class to hold any out: qat needs some that only train")
    recipe = Recipe(name="int8", batch_size=BATCH, augmentation=MILD)
    return make_loader(loaded.spec, dataset, parts, recipe, seed, fingerprint(dataset))


def passes_over(loader: Loader) -> int:
    """As many passes as IMAGES make, 3 to 30."""
    return min(max(round(IMAGES / len(loader.images)), 3), 30)


def train_(
    shipped: Shipped,
    loader: Loader,
    images: np.ndarray,
    epochs: int | None,
    simulation: Simulation,
    score: Callable[[Simulation], float],
    until: float | None,
) -> None:
    """Trains the quantised network in place; `shipped` is its float network. What it came to is said."""
    from ..compress.aware_training import Awareness, train_aware_

    course = train_aware_(
        simulation, shipped, loader, images, score, Awareness(epochs=epochs or passes_over(loader)), until
    )
    first, best = -course.scores[0], -max(course.scores)
    say(f"trained {course.steps} steps in {course.seconds:.0f} s: divergence from float {first:.4f} -> {best:.4f} nats")
