"""In which order images that lie in row groups are read in an epoch: whole groups at random, each fetched once.

A row group of a parquet file can only be read as a whole. All groups are shuffled and laid end to end; each lane gets
an equal stretch. A lane's stretch is cut into windows at ends of groups, so that no group is read for two windows, and
the images of a window are shuffled among themselves. As in `streamorder`, everything follows from (seed, epoch, batch
size) and the index, and the lanes are what several processes share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .streamorder import LANES, EpochOrder, Order, permutation

_GROUPS_OF_LANE = 4  # at least


@dataclass(frozen=True, eq=False)
class GroupOrder(Order):
    """Groups of consecutive images, of which int `bounds` (groups + 1,) are the first images and the end.

    Windows hold `window` images of a lane, and what is left of the group that the last of them lies in.
    """

    bounds: np.ndarray
    window: int

    @property
    def steps(self) -> int:
        """See `Order`; left over is less than a batch and an image for each lane."""
        return self.images // self.lanes // self.per_lane

    @property
    def window_places(self) -> int:
        """See `Order`."""
        return self.window

    def epoch(self, number: int) -> EpochOfGroups:
        """See `Order`."""
        rng = np.random.default_rng((self.seed, number, 6))
        return EpochOfGroups(self, number, rng.permutation(len(self.bounds) - 1))


def plan_groups(bounds: np.ndarray, mean_bytes: float, batch: int, seed: int, *, window_bytes: int) -> GroupOrder:
    """The order over groups of images of `mean_bytes` each.

    There are as many lanes, 8 at most, as half a batch can be dealt to evenly, each has some groups of its own, and
    a group fits into a lane's part of the window.
    """
    images, groups = int(bounds[-1]), len(bounds) - 1
    group_bytes = images * mean_bytes / groups
    lanes = math.gcd(LANES, batch // 2) if batch % 2 == 0 else 1
    while lanes > 1 and (groups < lanes * _GROUPS_OF_LANE or window_bytes / lanes < group_bytes):
        lanes //= 2
    return GroupOrder(images, seed, batch, lanes, bounds, max(1, round(window_bytes / (mean_bytes * lanes))))


@dataclass(frozen=True, eq=False)
class EpochOfGroups(EpochOrder):
    """One epoch: the groups as they follow each other."""

    plan: GroupOrder
    number: int
    shuffled: np.ndarray  # (groups,)

    @cached_property
    def ends(self) -> np.ndarray:
        """int (groups,): where each group ends, in the row of all."""
        return np.cumsum(np.diff(self.plan.bounds)[self.shuffled])

    @cached_property
    def cuts(self) -> list[np.ndarray]:
        """For each lane int (windows + 1,): the places at which its windows begin, and the end."""
        plan = self.plan
        length = plan.images // plan.lanes
        found = []
        for lane in range(plan.lanes):
            ends = self.ends - lane * length
            wanted = np.arange(plan.window, length, plan.window)
            at = np.minimum(ends[np.searchsorted(ends, wanted)], length)
            found.append(np.concatenate([[0], at, [length]]))
        return found

    def extent(self, window: int, lane: int) -> tuple[int, int]:
        """See `EpochOrder`."""
        cuts = self.cuts[lane]
        return (int(cuts[window]), int(cuts[window + 1])) if window + 1 < len(cuts) else (0, 0)

    def first_window(self, place: int) -> int:
        """See `EpochOrder`."""
        return min(int(np.searchsorted(cuts, place, "right")) - 1 for cuts in self.cuts)

    def locate(self, lanes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `EpochOrder`."""
        plan = self.plan
        run, image = np.empty(len(lanes), np.int64), np.empty(len(lanes), np.int64)
        for lane in np.unique(lanes).tolist():
            cuts = self.cuts[lane]
            windows = np.searchsorted(cuts, places, "right") - 1
            for window in np.unique(windows[lanes == lane]).tolist():
                here = (windows == window) & (lanes == lane)
                first, end = int(cuts[window]), int(cuts[window + 1])
                mixed = permutation(plan.seed, self.number, window, lane, end - first)[places[here] - first]
                at = lane * (plan.images // plan.lanes) + first + mixed
                group = np.searchsorted(self.ends, at, "right")
                run[here] = (window * plan.lanes + lane) * len(self.ends) + group
                image[here] = at - np.where(group > 0, self.ends[group - 1], 0)
        return run, image

    def images_of(self, run: int, images: np.ndarray) -> np.ndarray:
        """See `EpochOrder`."""
        group = int(self.shuffled[run % len(self.ends)])
        return self.plan.bounds[group] + images
