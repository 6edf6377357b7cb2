"""In which order images that lie in shards are read in an epoch: shuffled widely, yet in long stretches of bytes.

The training images, as they lie in the shards, are cut into runs of consecutive images of about 1 MiB. All runs are
shuffled and dealt to lanes; in each lane the images of so many consecutive runs are shuffled among themselves that all
lanes together hold a window of 64 MiB; every batch takes the same number of images from each lane. Everything follows
from (seed, epoch, batch size) and the index, so any step of an epoch is found without reading what lies before it.

The lanes are for training in several processes: image i of a batch and the i-th from its end come from the same lane,
and a process that takes a stretch of a batch and its mirror image reads the shards of its own lanes alone. The order is
the same whatever the number of processes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RUN_BYTES = 2**20  # of one request
WINDOW_BYTES = 64 * 2**20  # of encoded images that are shuffled among themselves, on average
LANES = 8
_RUNS_OF_LANE = 16  # at least; runs of few images are made shorter for it


@dataclass(frozen=True, eq=False)
class Order(ABC):
    """The order of every epoch over `images` images in batches of `batch`, dealt to `lanes` lanes."""

    images: int
    seed: int
    batch: int
    lanes: int

    @property
    def per_lane(self) -> int:
        """Images of a batch that come from one lane."""
        return self.batch // self.lanes

    @property
    @abstractmethod
    def steps(self) -> int:
        """Batches of an epoch; what is left over differs in each epoch."""

    @property
    @abstractmethod
    def window_places(self) -> int:
        """Images of a lane that are shuffled together, or about as many."""

    @abstractmethod
    def epoch(self, number: int) -> EpochOrder:
        """The order of one epoch."""

    def lane_places(self) -> tuple[np.ndarray, np.ndarray]:
        """(lane, which of the lane's images of this batch) of every place of a batch, each int (batch,)."""
        place = np.arange(self.batch)
        if self.lanes == 1:
            return np.zeros(self.batch, np.int64), place
        half, quarter = self.batch // 2, self.per_lane // 2
        front = np.minimum(place, self.batch - 1 - place)
        lane, slot = np.divmod(front, half // self.lanes)
        return lane, np.where(place < half, slot, quarter + slot)


class EpochOrder(ABC):
    """One epoch of an order. Places are counted in each lane; runs by window, then by lane, as they are needed."""

    plan: Order

    @abstractmethod
    def locate(self, lanes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(run, image of that run), each int (N,), that stand at those places of those lanes."""

    @abstractmethod
    def images_of(self, run: int, images: np.ndarray) -> np.ndarray:
        """Which of all images, as they lie in the files, those images of a run are."""

    @abstractmethod
    def extent(self, window: int, lane: int) -> tuple[int, int]:
        """The places of a lane that a window holds, from the first to before the second."""

    def first_window(self, place: int) -> int:
        """The first window that any lane needs from that place on."""
        return place // self.plan.window_places

    def needs(self, window: int, owned: np.ndarray, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """(run, its images that are needed, ascending) of a window, run by run.

        Needed are the places from `begin` to before `end` of each lane, where bool `owned` (lanes, per_lane) says so.
        """
        plan = self.plan
        for lane in range(plan.lanes):
            first, last = self.extent(window, lane)
            places = np.arange(max(begin, first), min(end, last))
            mine = places[owned[lane, places % plan.per_lane]]
            run, image = self.locate(np.full(len(mine), lane), mine)
            for number in np.unique(run).tolist():
                yield number, np.sort(image[run == number])


@dataclass(frozen=True, eq=False)
class StreamOrder(Order):
    """Lanes of `runs` runs of `run` images each, of which `window` runs at a time are shuffled together."""

    run: int
    runs: int
    window: int

    @property
    def steps(self) -> int:
        """See `Order`; left over is less than a run for each lane, and a batch."""
        return self.runs * self.run // self.per_lane

    @property
    def window_places(self) -> int:
        """See `Order`."""
        return self.window * self.run

    def epoch(self, number: int) -> EpochOfRuns:
        """See `Order`."""
        rng = np.random.default_rng((self.seed, number, 3))
        return EpochOfRuns(self, number, int(rng.integers(self.images)), rng.permutation(self.images // self.run))


def plan_order(
    images: int, mean_bytes: float, batch: int, seed: int, *, window_bytes: int = WINDOW_BYTES
) -> StreamOrder:
    """The order of a set of `images` images of `mean_bytes` each, headers and labels included.

    There are as many lanes, 8 at most, as half a batch can be dealt to evenly.
    """
    lanes = math.gcd(LANES, batch // 2) if batch % 2 == 0 and images >= LANES * _RUNS_OF_LANE else 1
    run_bytes = min(RUN_BYTES, window_bytes / lanes)
    run = int(np.clip(round(run_bytes / mean_bytes), 1, max(1, images // (lanes * _RUNS_OF_LANE))))
    window = max(1, round(window_bytes / (run * mean_bytes * lanes)))
    return StreamOrder(images, seed, batch, lanes, run, images // (run * lanes), window)


@dataclass(frozen=True, eq=False)
class EpochOfRuns(EpochOrder):
    """One epoch: where its runs begin, and how they are shuffled."""

    plan: StreamOrder
    number: int
    shift: int  # the first image of the first run: runs begin elsewhere in every epoch
    shuffled: np.ndarray  # (images // run,)

    def locate(self, lanes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `EpochOrder`."""
        plan = self.plan
        run, image = np.empty(len(lanes), np.int64), np.empty(len(lanes), np.int64)
        windows = places // plan.window_places
        for window in np.unique(windows).tolist():
            for lane in np.unique(lanes[windows == window]).tolist():
                here = (windows == window) & (lanes == lane)
                mixed = self._mixed(window, lane)[places[here] - window * plan.window_places]
                within, image[here] = np.divmod(mixed, plan.run)
                run[here] = window * plan.window * plan.lanes + lane * self._runs_in(window) + within
        return run, image

    def extent(self, window: int, lane: int) -> tuple[int, int]:
        """See `EpochOrder`."""
        return window * self.plan.window_places, (window + 1) * self.plan.window_places

    def images_of(self, run: int, images: np.ndarray) -> np.ndarray:
        """See `EpochOrder`; runs go round the end."""
        plan = self.plan
        window, within = divmod(run, plan.window * plan.lanes)
        lane, at = divmod(within, self._runs_in(window))
        chosen = int(self.shuffled[(window * plan.window + at) * plan.lanes + lane])
        return (self.shift + chosen * plan.run + images) % plan.images

    def _runs_in(self, window: int) -> int:
        """Runs of a lane in a window: the last window may be shorter."""
        return min(self.plan.window, self.plan.runs - window * self.plan.window)

    def _mixed(self, window: int, lane: int) -> np.ndarray:
        return permutation(self.plan.seed, self.number, window, lane, self._runs_in(window) * self.plan.run)


@lru_cache(maxsize=4 * LANES)
def permutation(seed: int, epoch: int, window: int, lane: int, count: int) -> np.ndarray:
    """int (count,): how the images of a lane's window are shuffled."""
    return np.random.default_rng((seed, epoch, 4, window, lane)).permutation(count)
