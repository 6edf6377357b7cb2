"""Which images an epoch shows, how often and in which order; drawn whole, so that it can be repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arch.check import check_count, check_number
from .augment import DRAWS, draw


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often images come up. With the defaults each comes once an epoch.

    `balance` is for classes of unequal size: a class's part of an epoch follows its number of images to the power of
    1 - `balance`: 0 as they are, 0.5 the square root, 1 every class equally often (Kang et al. 2020, "Decoupling").
    `repeats` K puts each image K times in a row, each time augmented anew (Hoffer et al. 2020, "Augment your batch");
    an epoch stays as long, so it shows one in K images.
    """

    balance: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        check_number("sampling balance", self.balance, least=0, most=1)
        check_count("sampling repeats", self.repeats, 1)


def sample_epoch(
    seed: int, epoch: int, labels: np.ndarray, sampling: Sampling, *, copy: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The images of an epoch in order, (N,) indices, and the random numbers of each, (N, DRAWS) in 0...1.

    `labels` (N,) of all training images. With the default sampling it is what `draw` gives, row i for image order[i].
    With `copy` each image has the numbers of that epoch's draw, wherever and however often it comes up.
    """
    images = len(labels)
    if sampling == Sampling():
        order, numbers = draw(seed, epoch, images)
        return order, (numbers if copy in (None, epoch) else draw(seed, copy, images)[1])[order]
    rng = np.random.default_rng((seed, epoch, 3))
    distinct = -(-images // sampling.repeats)
    order = _balanced(labels, sampling.balance, distinct, rng) if sampling.balance else rng.permutation(images)
    order = np.repeat(order[:distinct], sampling.repeats)[:images]
    if copy is not None:
        return order, draw(seed, copy, images)[1][order]
    return order, rng.random((images, DRAWS), dtype=np.float32)


def _balanced(labels: np.ndarray, balance: float, images: int, rng: np.random.Generator) -> np.ndarray:
    """(images,) indices, shuffled: each class as often as its share says, its images as evenly as that goes."""
    counts = np.bincount(labels).astype(np.float64)
    share = np.where(counts > 0, np.maximum(counts, 1) ** (1 - balance), 0)
    exact = images * share / share.sum()
    quota = np.floor(exact).astype(int)
    left = images - int(quota.sum())
    # the remainder goes by chance in proportion to what rounding took, so that no class is short in every epoch
    quota[rng.choice(len(quota), left, replace=False, p=(exact - quota) / left) if left else []] += 1
    chosen = []
    for label in np.flatnonzero(quota):
        own = np.flatnonzero(labels == label)
        rounds = -(-int(quota[label]) // len(own))
        chosen.append(np.concatenate([rng.permutation(own) for _ in range(rounds)])[: quota[label]])
    return rng.permutation(np.concatenate(chosen))
