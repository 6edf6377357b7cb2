"""Training batches from shards that are read as a stream: constant memory, any step of an epoch found at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError
from .augment import DRAWS, Augmentation, warp
from .decode import ImageError, decode_image, decode_near
from .loader import Batch, Images, Loader, ahead
from .shardindex import ShardSamples
from .shards import ShardDataset
from .streambuffer import StreamBuffer
from .streamorder import WINDOW_BYTES, EpochOrder


@dataclass(frozen=True)
class _Step:
    """One batch of this process: the run of each image, and its row in the index."""

    number: int
    runs: np.ndarray
    rows: np.ndarray


class StreamLoader(Loader):
    """Batches of images that lie in shards; see `streamorder` for their order, which (seed, epoch) fixes.

    `images` are those of a `ShardDataset`; none is kept from one epoch to the next. At most 1.5 windows of encoded
    images are held, and no decoded ones but those of the batches in work.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        resolution: int | Callable[[int], int],
        augmentation: Augmentation,
        seed: int,
        threads: int | None = None,
        places: np.ndarray | None = None,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        super().__init__(
            images,
            batch_size=batch_size,
            resolution=resolution,
            augmentation=augmentation,
            seed=seed,
            threads=threads,
            places=places,
        )
        assert isinstance(images.dataset, ShardDataset)
        assert isinstance(images.samples, ShardSamples)
        self.dataset = images.dataset
        self.side = images.side
        self.rows = np.sort(images.samples.chosen)  # as they lie in the shards
        self.window_bytes = window_bytes
        self.order = self.dataset.shard_files.order(self.rows, self.batch_size, seed, window_bytes)
        self.most_held = 0  # encoded bytes that the epoch that ended last held at most

    @property
    def steps(self) -> int:
        """Batches per epoch; the images that are left out come up in other epochs."""
        return self.order.steps

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch from the `start`-th on, fetched and prepared ahead in threads.

        What lies before `start` is neither fetched nor decoded, but for runs of images that are needed later too.
        Raises ShardError naming a shard that cannot be read, UserError naming an image that cannot be decoded.
        """
        files = self.dataset.shard_files
        buffer = StreamBuffer(files, files.most_held(self.window_bytes))
        try:
            steps = self._steps(self.order.epoch(number), start, buffer)
            yield from ahead(lambda step: self._stream_batch(number, step, buffer), steps, self.threads)
        finally:
            buffer.close()
            self.most_held = buffer.most

    def _steps(self, epoch: EpochOrder, start: int, buffer: StreamBuffer) -> Iterator[_Step]:
        """What each step takes, in order; tells the buffer, a window ahead, what will be needed."""
        order = self.order
        lanes, slots = (found[self.places] for found in order.lane_places())
        owned = np.zeros((order.lanes, order.per_lane), bool)
        owned[lanes, slots] = True
        end = self.steps * order.per_lane
        told = epoch.first_window(start * order.per_lane)  # the first window that the buffer does not know of
        for step in range(start, self.steps):
            places = step * order.per_lane + slots
            while told * order.window_places < end and told <= int(places.max()) // order.window_places + 1:
                for run, images in epoch.needs(told, owned, start * order.per_lane, end):
                    buffer.want(run, self.rows[epoch.images_of(run, images)])
                told += 1
            runs, images = epoch.locate(lanes, places)
            rows = np.array([self.rows[epoch.images_of(r, i)] for r, i in zip(runs.tolist(), images.tolist())])
            buffer.fetch(until=int(runs.max()))
            yield _Step(step, runs, rows)

    def _stream_batch(self, epoch: int, step: _Step, buffer: StreamBuffer) -> Batch:
        rng = np.random.default_rng((self.seed, epoch, 5, step.number))
        u = rng.random((self.batch_size, DRAWS), dtype=np.float32)[self.places]
        size = self.resolution_at(epoch)
        out = np.empty((len(step.rows), size, size, 3), np.uint8)
        for at, (run, row) in enumerate(zip(step.runs.tolist(), step.rows.tolist())):
            image = self._decoded(buffer.take(run, row), row)
            out[at] = warp(image, self.augmentation, u[at], size)
        labels = self.dataset.index.rows["label"][step.rows].astype(np.int64)
        places = np.searchsorted(self.rows, step.rows)
        return Batch(torch.from_numpy(out), torch.from_numpy(labels), torch.from_numpy(places), epoch)

    def _decoded(self, data: bytes, row: int) -> np.ndarray:
        """The image, its short side about `side` pixels, as `loader.Images` makes it."""
        try:
            return decode_image(data) if self.side is None else decode_near(data, self.side)
        except ImageError as error:
            shard = self.dataset.shard_files.ranges[int(self.dataset.index.rows["shard"][row])].address
            raise UserError(f"{shard}: {self.dataset.index.name(row)}: {error}") from None
