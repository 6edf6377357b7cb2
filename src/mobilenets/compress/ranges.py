"""What range of an activation int8 is to cover, from values that stream by once: constant memory, any number of images.

Each method is a function of `Seen`. Where values are cut off on purpose (percentile, MSE, entropy), the range always
contains zero, which has to be exact: padding is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError

BINS = 2048  # on each side of zero
LEVELS = 256  # of int8
MOMENTUM = 0.9
_MOST_COUNTED = 2**23  # at once: torch counts in float32, which is exact up to 2**24
TAIL = 1e-4  # of all values, cut off at either end by `percentile`
_CANDIDATES = torch.linspace(0.1, 1.0, 91, dtype=torch.float64)  # of the observed ends, tried by MSE and entropy

Range = tuple[float, float]


@dataclass
class Seen:
    """What is kept of the values that went by: extremes, their moving average, and a histogram about zero.

    `counts` float64 (2 * BINS,): bin i holds the values in (i - BINS) * width ... (i + 1 - BINS) * width. A value out
    of reach doubles the width, by which pairs of bins become one: no count is ever moved across an edge. `zeros` of
    them are exactly 0.
    """

    low: float = math.inf
    high: float = -math.inf
    mean_low: float = math.nan
    mean_high: float = math.nan
    width: float = 0.0
    zeros: int = 0
    counts: Tensor = field(default_factory=lambda: torch.zeros(2 * BINS, dtype=torch.float64))

    def add(self, values: Tensor, *, histogram: bool = True) -> None:
        """Takes in a batch of values, any shape."""
        values = values.detach()
        low, high = (float(end) for end in torch.aminmax(values))
        self.low, self.high = min(self.low, low), max(self.high, high)
        first = math.isnan(self.mean_low)
        self.mean_low = low if first else MOMENTUM * self.mean_low + (1 - MOMENTUM) * low
        self.mean_high = high if first else MOMENTUM * self.mean_high + (1 - MOMENTUM) * high
        if not histogram:
            return
        zeros = values.numel() - int(values.count_nonzero())
        self.zeros += zeros
        if (largest := max(-low, high)) > 0:
            self._reach(largest)
            reach = self.width * BINS
            for part in values.float().flatten().split(_MOST_COUNTED):
                self.counts += torch.histc(part, 2 * BINS, -reach, reach).double()
        else:
            self.counts[BINS] += zeros  # their bin at any width

    def _reach(self, largest: float) -> None:
        if self.width == 0:
            self.width = largest * (1 + 1e-6) / BINS
        while self.width * BINS < largest:
            pairs = self.counts.view(-1, 2).sum(1)
            self.counts = torch.zeros_like(self.counts)
            self.counts[BINS // 2 : BINS // 2 + BINS] = pairs
            self.width *= 2

    @property
    def centres(self) -> Tensor:
        """The middle of each bin, float64 (2 * BINS,)."""
        return (torch.arange(2 * BINS, dtype=torch.float64) - BINS + 0.5) * self.width


def min_max(seen: Seen) -> Range:
    """Everything that was seen."""
    return seen.low, seen.high


def moving_average(seen: Seen) -> Range:
    """The extremes of a batch, averaged over the batches (Jacob et al. 2018, section 3.1): one outlier moves little."""
    return seen.mean_low, seen.mean_high


def percentile(seen: Seen) -> Range:
    """Everything but one value in 10,000 at either end."""
    total = seen.counts.sum()
    if total == 0:
        return seen.low, seen.high
    share = torch.cumsum(seen.counts, 0) / total
    first = int(torch.searchsorted(share, TAIL))
    last = int(torch.searchsorted(share, 1 - TAIL))
    edges = (first - BINS) * seen.width, (min(last, 2 * BINS - 1) + 1 - BINS) * seen.width
    return max(seen.low, min(edges[0], 0.0)), min(seen.high, max(edges[1], 0.0))


def least_squares(seen: Seen) -> Range:
    """The ends with the least squared error, of what is cut off and of rounding together."""
    return _best(seen, _squared_error)


def entropy(seen: Seen) -> Range:
    """The ends after which the histogram says the most of what it said before: least Kullback-Leibler divergence.

    By Migacz 2017, "8-bit inference with TensorRT", with ends of their own on either side of zero.
    """
    return _best(seen, _divergence)


METHODS: dict[str, Callable[[Seen], Range]] = {
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": least_squares,
    "entropy": entropy,
}
NEEDS_HISTOGRAM = ("percentile", "mse", "entropy")


def range_method(name: str) -> Callable[[Seen], Range]:
    """The method of that name. Raises UserError naming what there is."""
    if name not in METHODS:
        raise UserError(f"unknown calibration {name!r}; allowed: {', '.join(METHODS)}")
    return METHODS[name]


def _best(seen: Seen, loss: Callable[[Seen, Tensor, Tensor], Tensor]) -> Range:
    """The ends of least `loss`, each on a grid of parts of the observed ends: first the upper, then the lower."""
    if seen.width == 0:
        return seen.low, seen.high
    low, high = torch.tensor(min(seen.low, 0.0)).double(), torch.tensor(max(seen.high, 0.0)).double()
    for _ in range(2):  # the best upper end depends on the lower one
        if high > 0:
            ends = _CANDIDATES * max(seen.high, 0.0)
            high = ends[loss(seen, low.expand_as(ends), ends).argmin()]
        if low < 0:
            ends = _CANDIDATES * min(seen.low, 0.0)
            low = ends[loss(seen, ends, high.expand_as(ends)).argmin()]
    return float(low), float(high)


def _squared_error(seen: Seen, low: Tensor, high: Tensor) -> Tensor:
    """(K,) sums of squared errors for the ranges low...high, (K,) each. Zeros have none."""
    values, counts = _others(seen)
    step = (high - low) / (LEVELS - 1)
    inside = torch.clamp(values, low.unsqueeze(1), high.unsqueeze(1))  # (K, B)
    cut = ((values - inside) ** 2 * counts).sum(1)
    rounded = ((values == inside) * counts).sum(1) * step**2 / 12
    return cut + rounded


def _divergence(seen: Seen, low: Tensor, high: Tensor) -> Tensor:
    """(K,) divergences of the histogram from what is left of it in 256 levels of each range.

    A value that is cut off counts at the end in the histogram, and nowhere in what is left, as in TensorRT. Zeros say
    nothing, for every range holds them exactly; after a ReLU they would outweigh all else.
    """
    values, counts = _others(seen)
    losses = []
    for least, most in zip(low, high):
        inside = (values >= least) & (values <= most)
        if not inside.any():
            losses.append(torch.tensor(math.inf, dtype=torch.float64))
            continue
        kept, inner = counts[inside], values[inside]
        whole = kept.clone()
        whole[0] += counts[values < least].sum()
        whole[-1] += counts[values > most].sum()
        level = ((inner - least) / (most - least) * (LEVELS - 1)).round().long().clamp_(0, LEVELS - 1)
        sums = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, level, kept)
        sizes = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, level, torch.ones_like(kept))
        left = (sums / sizes.clamp_min(1))[level]
        p, q = whole / whole.sum(), left / left.sum()
        losses.append((p * (p / q).log()).sum())
    return torch.stack(losses)


def _others(seen: Seen) -> tuple[Tensor, Tensor]:
    """(B,) the middles of the bins in which values other than 0 lie, and how many, (B,)."""
    counts = seen.counts.clone()
    counts[BINS] = (counts[BINS] - seen.zeros).clamp_min(0)
    used = counts > 0
    return seen.centres[used], counts[used]
