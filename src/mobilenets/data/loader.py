"""Batches for training and scoring: decoding in threads, a bounded cache of decoded images, one order per epoch."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from ..arch.spec import Preprocessing
from ..console import say
from ..errors import UserError
from .augment import Augmentation, draw, shrink_of_crop, warp
from .dataset import Dataset, Sample
from .decode import DECODING, ImageError, decode_image, decode_near
from .decoded import DecodedCache, open_decoded
from .preprocess import resize_and_crop
from .sampling import Sampling, sample_epoch
from .shardindex import labels_of, numbers_of

CACHE_BYTES = 2 * 2**30  # of decoded images in memory, where none are kept on disk

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """`images` uint8 (N, H, W, 3) RGB, augmented; `labels` int64 (N,).

    `indices` int64 (N,) are their places among the training images, `draw` is the number of the augmentation's draw.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    draw: int

    def rows(self, own: slice) -> Batch:
        """Those images of it alone."""
        return Batch(self.images[own], self.labels[own], self.indices[own], self.draw)


class Images:
    """Decoded training images, as large as training at one side needs them, kept from one epoch to the next.

    With `side`, every image is decoded once, its short side about that many pixels, and kept: on disk for a dataset
    whose `fingerprint` is given, where that is possible, else in memory up to `cache_bytes`. What is kept is what would
    be decoded again, so a full, empty or absent cache changes no result. Without `side`, each crop is decoded for
    itself from the file, as large as that crop needs it, and nothing is kept.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        side: int | None,
        *,
        cache_bytes: int = CACHE_BYTES,
        fingerprint: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.samples = samples
        self.side = side
        self.free = cache_bytes
        self.kept: dict[int, np.ndarray] = {}
        self.fingerprint = fingerprint
        self.on_disk: DecodedCache | None = None
        self._numbers: Sequence[int] | np.ndarray = ()  # of the samples in the dataset
        self._told = False
        self._keeping = threading.Lock()

    def __len__(self) -> int:
        return len(self.samples)

    def prepare(self) -> None:
        """Opens what is kept on disk, and says where images are kept; called again, says what has changed."""
        if self.fingerprint is not None and self.side is not None:
            images = self.dataset.samples
            self.on_disk, where = open_decoded(self.fingerprint, len(images), self.side, DECODING)
            self._numbers = numbers_of(self.samples, images)
            self.fingerprint = None
            say(where)
        elif self.on_disk is not None and self.on_disk.refusal is not None and not self._told:
            say(f"no more decoded images are kept on disk ({self.on_disk.refusal}), the others in memory")
            self._told = True

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index`, uint8 (H, W, 3), whole, at the side that is kept. Raises UserError when it is no image."""
        image = self.kept.get(index)
        if image is None and self.on_disk is not None:
            image = self.on_disk.get(int(self._numbers[index]))
        if image is None:
            assert self.side is not None, "without a side there is no image but for a crop"
            side = self.side
            image = self._decoded(index, lambda data: decode_near(data, side))
            self._keep(index, image)
        return image

    def for_crop(self, index: int, shrink: Callable[[int, int], float]) -> np.ndarray:
        """Image `index`, whole: the one that is kept, or decoded for a crop that shrinks by `shrink(height, width)`."""
        if self.side is not None:
            return self[index]
        return self._decoded(index, lambda data: decode_image(data, shrink=shrink))

    def _keep(self, index: int, image: np.ndarray) -> None:
        if self.on_disk is not None and self.on_disk.put(int(self._numbers[index]), image):
            return
        with self._keeping:  # threads of the loader share the bound
            if image.nbytes <= self.free:
                self.free -= image.nbytes
                self.kept[index] = image

    def _decoded(self, index: int, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
        return _decoded(self.dataset, self.samples[index], decode)


class Loader:
    """Training batches. The same (seed, epoch) gives the same batches, whatever ran before and in how many threads.

    `resolution` is the side of the images in pixels, or that side as a function of the epoch.
    `places` are the places of each batch that this process works on, all of them where None.
    With `copies` K each image is augmented in K ways only: epoch e has its own order and the pictures of epoch e mod K.
    `sampling` says how often images come up; None: each once an epoch.
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
        copies: int | None = None,
        sampling: Sampling | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self.images = images
        self.batch_size = min(batch_size, len(images))
        self.places = np.arange(self.batch_size) if places is None else places
        self.resolution = resolution
        self.augmentation = augmentation
        self.seed = seed
        self.copies = copies
        self.sampling = sampling or Sampling()
        self.threads = threads or default_threads()

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (N,): the class of each image."""
        return labels_of(self.images.samples)

    @property
    def steps(self) -> int:
        """Batches per epoch; the last, incomplete one is left out, its images come up in other epochs."""
        return len(self.images) // self.batch_size

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch from the `start`-th on, prepared ahead in threads.

        The batches before `start` are not decoded; those after are the same as without it. Raises UserError naming an
        image that cannot be read.
        """
        self.images.prepare()
        copy = None if self.copies is None else number % self.copies
        order, u = sample_epoch(self.seed, number, self.labels, self.sampling, copy=copy)
        drawn = number if copy is None else copy
        parts = [i * self.batch_size + self.places for i in range(start, self.steps)]
        size = self.resolution_at(number)
        yield from ahead(lambda part: self._batch(order[part], u[part], size, drawn), parts, self.threads)

    def in_order(self, number: int) -> Iterator[Batch]:
        """Every image once, in order, augmented as in epoch `number`; the last batch may be smaller."""
        self.images.prepare()
        _, u = draw(self.seed, number, len(self.images))
        everything = np.arange(len(self.images))
        parts = [slice(i, i + self.batch_size) for i in range(0, len(everything), self.batch_size)]
        size = self.resolution_at(number)
        yield from ahead(lambda part: self._batch(everything[part], u[part], size, number), parts, self.threads)

    def resolution_at(self, epoch: int) -> int:
        """The side of that epoch's images in pixels."""
        return self.resolution if isinstance(self.resolution, int) else self.resolution(epoch)

    def _batch(self, indices: np.ndarray, u: np.ndarray, size: int, number: int) -> Batch:
        out = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            out[row] = self._image(int(index), u[row], size)
        return Batch(torch.from_numpy(out), torch.from_numpy(self.labels[indices]), torch.from_numpy(indices), number)

    def _image(self, index: int, u: np.ndarray, size: int) -> np.ndarray:
        def shrink(height: int, width: int) -> float:
            return shrink_of_crop(height, width, self.augmentation, u, size)

        return warp(self.images.for_crop(index, shrink), self.augmentation, u, size)


def scoring_batches(
    dataset: Dataset,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 64,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (uint8 (N, R, R, 3), labels (N,)) through the one resize and crop; raises UserError on a bad image.

    With `part` (k, n) those batches alone whose number is k modulo n: n processes share the work, each image once.
    """

    def read(chunk: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
        images = [resize_and_crop(_decoded(dataset, sample, decode_image), preprocessing) for sample in chunk]
        return np.stack(images), np.array([sample.label for sample in chunk], np.int64)

    first, step = part
    begins = range(first * batch_size, len(samples), step * batch_size)
    yield from ahead(read, [samples[i : i + batch_size] for i in begins], default_threads())


def _decoded(dataset: Dataset, sample: Sample, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    try:
        return decode(dataset.read(sample))
    except ImageError as error:
        raise UserError(f"{sample.name}: {error}; `mobilenets data check` lists every such file") from None
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{sample.name} of {dataset.root} can no longer be read: {reason}") from None


def default_threads() -> int:
    """Threads that prepare images where nobody says: one for each core that this process may use, at most 4.

    Processes of one training on the same machine (LOCAL_WORLD_SIZE, as torchrun says) share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, min(4, cores // (int(together) if together.isdecimal() and int(together) else 1)))


def ahead(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`map(work, items)` in threads, at most `threads` + 1 results ahead of the reader; stops them when it leaves.

    OpenCV is told to use no threads of its own: one image for each core at a time is quicker than all at one image.
    """
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
