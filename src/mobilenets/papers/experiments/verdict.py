"""Whether differences between mean accuracies are there, given how few images and trainings they rest on.

Each cell of an experiment has a boolean matrix (S, N): whether the network of seed s was right on image n, the images
the same for all. Two things move a difference of means: which images were drawn, and which seeds. Images are paired, so
their part is the variance over n of the difference on image n (averaged over seeds) divided by N. The seeds' part is
the variance over seeds within a cell, pooled over all cells of the experiment, since three seeds alone say little,
divided by S. Their sum counts the noise of a seed on an image twice, which makes intervals a little wide, never narrow.
The interval is Student's, its degrees of freedom by Welch and Satterthwaite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...tasks.classify import wilson
from .designs import Claim, Comparison
from .student import t_quantile

Verdict = Literal["shown", "within the noise", "not shown"]
_ROUNDING = 1e-9  # of sums of weights
Hits = Mapping[str, np.ndarray]  # by the cell's name: bool (S, N)


@dataclass(frozen=True, slots=True)
class Mean:
    """A cell's top-1 over its seeds, a fraction.

    `interval` is the 95 % one over images alone (Wilson; as if one network had been scored, so a little wide), `spread`
    the standard deviation over seeds, None for one seed.
    """

    top1: float
    interval: tuple[float, float]
    spread: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A comparison with what was measured: `difference` ± `margin` (95 %), fractions.

    `shown`: above 0 by more than the margin. `not shown`: below 0 by more than it, so the opposite is there.
    """

    comparison: Comparison
    difference: float
    margin: float

    @property
    def verdict(self) -> Verdict:
        if abs(self.difference) <= self.margin + _ROUNDING:
            return "within the noise"
        return "shown" if self.difference > 0 else "not shown"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "label": self.comparison.label,
            "difference": self.difference,
            "margin": self.margin,
            "verdict": self.verdict,
            "mean": self.comparison.mean,
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim with its comparisons measured. Its verdict is the weakest among its means; single cells are listed."""

    claim: Claim
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> Verdict:
        found = {d.verdict for d in self.differences if d.comparison.mean}
        order: tuple[Verdict, ...] = ("not shown", "within the noise", "shown")
        return next(verdict for verdict in order if verdict in found)


def mean(hits: np.ndarray) -> Mean:
    """What (S, N) booleans come to."""
    seeds = hits.mean(axis=1)
    rate = float(hits.mean())
    images = hits.shape[1]
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return Mean(rate, wilson(round(rate * images), images), spread, tuple(map(float, seeds)))


def judge(claim: Claim, hits: Hits) -> Judged:
    """The claim's comparisons on what was measured."""
    variance, freedom = seed_variance(list(hits.values()))
    return Judged(claim, tuple(_difference(c, hits, variance, freedom) for c in claim.comparisons))


def seed_variance(cells: Sequence[np.ndarray]) -> tuple[float, int]:
    """The variance of top-1 over seeds within a cell, pooled over cells (S, N), and its degrees of freedom.

    (0, 0) where each cell has one seed: nothing is known of it then.
    """
    free = [len(hits) - 1 for hits in cells]
    if not sum(free):
        return 0.0, 0
    squares = sum(float(hits.mean(axis=1).var()) * len(hits) for hits in cells)
    return squares / sum(free), sum(free)


def _difference(comparison: Comparison, hits: Hits, variance: float, freedom: int) -> Difference:
    weights = comparison.weights
    by_image = sum(w * hits[cell].mean(axis=0) for cell, w in weights.items())
    assert isinstance(by_image, np.ndarray)
    images = len(by_image)
    over_images = float(by_image.var(ddof=1)) / images if images > 1 else 0.0
    over_seeds = variance * sum(w * w / len(hits[cell]) for cell, w in weights.items())
    total = over_images + over_seeds
    spread = over_images**2 / max(images - 1, 1) + (over_seeds**2 / freedom if freedom else 0.0)
    margin = t_quantile(total**2 / spread) * math.sqrt(total) if spread else 0.0
    return Difference(comparison, float(by_image.mean()), margin)


def fit(macs: Sequence[int], top1: Sequence[float]) -> tuple[float, float] | None:
    """(slope, R²) of the straight line through top-1 over log2 of the multiply-adds; None below three costs.

    The slope is top-1 for each doubling. "Results are log linear" (Howard et al. 2017, section 4.2).
    """
    if len(set(macs)) < 3:
        return None
    x, y = np.log2(np.asarray(macs, float)), np.asarray(top1, float)
    slope, offset = np.polyfit(x, y, 1)
    rest = float(((y - slope * x - offset) ** 2).sum())
    whole = float(((y - y.mean()) ** 2).sum())
    return float(slope), 1 - rest / whole if whole else 1.0
