"""Heat maps of a network of which nothing is known but its answers: occlusion and RISE."""

from __future__ import annotations

import cv2
import numpy as np

from .asking import BATCH, Asking

RUNS = 1000  # of RISE, where nobody says
_CELLS = 7  # random cells on a side of a RISE mask
_STEPS, _WINDOW = 14, 3  # steps of an occluding window on a side; its width in steps


def occlusion_runs(side: int) -> int:
    """How many pictures `occlusion` runs for a side of R pixels, the uncovered one among them."""
    return len(_starts(side)) ** 2 + 1


def occlusion(asking: Asking) -> np.ndarray:
    """How much of the answer goes when a pixel is covered (Zeiler & Fergus 2014): (R, R).

    A square window of 3/14 of the side moves by 1/14 over the picture and beyond its border, so that every pixel is
    covered equally often; a pixel's heat is the mean fall of the log-odds under the windows that cover it,
    smoothed over a step.
    """
    side, step = asking.side, _step(asking.side)
    places = [(y, x) for y in _starts(side) for x in _starts(side)]
    whole = float(asking.log_odds(np.ones((1, side, side), np.float32))[0])
    fall, times = np.zeros((side, side)), np.zeros((side, side))
    for first in range(0, len(places), BATCH):
        part = places[first : first + BATCH]
        masks = np.ones((len(part), side, side), np.float32)
        for mask, (y, x) in zip(masks, part):
            mask[max(y, 0) : y + _WINDOW * step, max(x, 0) : x + _WINDOW * step] = 0
        for mask, odds in zip(masks, asking.log_odds(masks)):
            fall += (1 - mask) * (whole - odds)
            times += 1 - mask
    smooth: np.ndarray = cv2.blur(fall / times, (step, step))
    return smooth


def rise(asking: Asking, runs: int, seed: int) -> np.ndarray:
    """How much better the answer is when a pixel is seen than on average (RISE, Petsiuk et al. 2018): (R, R).

    `runs` masks of 7 x 7 random cells, half of them shown, enlarged smoothly and shifted at random. The score under a
    mask counts for the pixels that it shows. Where the paper divides by what a pixel is shown on average, each
    pixel's own sum is taken, and the mean score is subtracted: the same map, with less noise.
    """
    side = asking.side
    total, shown, mean = np.zeros((side, side)), np.zeros((side, side)), 0.0
    for first in range(0, runs, BATCH):
        masks = np.stack([random_mask(side, [seed, i]) for i in range(first, min(first + BATCH, runs))])
        scores = asking.scores(masks)
        total += (scores[:, None, None] * masks).sum(axis=0)
        shown += masks.sum(axis=0)
        mean += float(scores.sum()) / runs
    return total / np.maximum(shown, 1e-6) - mean


def random_mask(side: int, seed: list[int], *, whole: bool = True) -> np.ndarray:
    """A smooth random mask, float32 (side, side), 0...1; of cells that are 0 or 1, or with `whole` False between."""
    rng = np.random.default_rng(seed)
    cells = rng.random((_CELLS + 1, _CELLS + 1), np.float32)
    if whole:
        cells = (cells < 0.5).astype(np.float32)
    cell = -(-side // _CELLS)
    large = cv2.resize(cells, ((_CELLS + 1) * cell,) * 2, interpolation=cv2.INTER_LINEAR)
    y, x = rng.integers(0, cell, 2)
    return np.ascontiguousarray(large[y : y + side, x : x + side])


def _step(side: int) -> int:
    return max(1, round(side / _STEPS))


def _starts(side: int) -> range:
    """Where windows begin, the first and last of them a step inside the picture."""
    step = _step(side)
    return range((1 - _WINDOW) * step, side, step)
