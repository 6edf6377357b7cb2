"""Batches for training and scoring: decoding in threads, a bounded cache of decoded images, one order per epoch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from ..arch.spec import Preprocessing
from ..errors import UserError
from .augment import Augmentation, warp
from .dataset import Dataset, Sample
from .decode import ImageError, decode_image
from .preprocess import resize_and_crop
from .sampling import Sampling, sample_epoch

CACHE_BYTES = 2 * 2**30

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """`images` uint8 (N, H, W, 3) RGB, augmented; `labels` int64 (N,)."""

    images: Tensor
    labels: Tensor


class Images:
    """Decoded training images, the short side at most `side` pixels, kept in memory up to `cache_bytes`."""

    def __init__(
        self, dataset: Dataset, samples: Sequence[Sample], side: int, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.dataset = dataset
        self.samples = tuple(samples)
        self.side = side
        self.free = cache_bytes
        self.kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> np.ndarray:
        image = self.kept.get(index)
        if image is None:
            image = self._read(index)
            if image.nbytes <= self.free:
                self.free -= image.nbytes
                self.kept[index] = image
        return image

    def _read(self, index: int) -> np.ndarray:
        sample = self.samples[index]
        try:
            image = decode_image(self.dataset.read(sample), min_side=self.side)
        except ImageError as error:
            raise UserError(f"{sample.name}: {error}; `mobilenets data check` lists every such file") from None
        short = min(image.shape[:2])
        if short > self.side:
            height, width = (max(1, round(s * self.side / short)) for s in image.shape[:2])
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return image


class Loader:
    """Training batches. The same (seed, epoch) gives the same batches, whatever ran before and in how many threads."""

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        resolution: int,
        augmentation: Augmentation,
        seed: int,
        threads: int | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.sampling = sampling or Sampling()
        self.images = images
        self.batch_size = min(batch_size, len(images))
        self.resolution = resolution
        self.augmentation = augmentation
        self.seed = seed
        self.threads = threads or min(4, os.cpu_count() or 1)
        self.labels = np.array([sample.label for sample in images.samples], np.int64)

    @property
    def steps(self) -> int:
        """Batches per epoch; the last, incomplete one is left out, its images come up in other epochs."""
        return len(self.images) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, prepared ahead in threads. Raises UserError naming an image that cannot be read."""
        order, u = sample_epoch(self.seed, number, self.labels, self.sampling)
        parts = [slice(i * self.batch_size, (i + 1) * self.batch_size) for i in range(self.steps)]
        yield from ahead(lambda part: self._batch(order[part], u[part]), parts, self.threads)

    def _batch(self, indices: np.ndarray, u: np.ndarray) -> Batch:
        size = self.resolution
        out = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            out[row] = warp(self.images[int(index)], self.augmentation, u[row], size)
        return Batch(torch.from_numpy(out), torch.from_numpy(self.labels[indices]))


def scoring_batches(
    dataset: Dataset, samples: Sequence[Sample], preprocessing: Preprocessing, *, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (uint8 (N, R, R, 3), labels (N,)) through the one resize and crop; raises UserError on a bad image."""

    def read(chunk: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
        images = []
        for sample in chunk:
            try:
                images.append(resize_and_crop(decode_image(dataset.read(sample)), preprocessing))
            except ImageError as error:
                raise UserError(f"{sample.name}: {error}; `mobilenets data check` lists every such file") from None
        return np.stack(images), np.array([sample.label for sample in chunk], np.int64)

    chunks = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    yield from ahead(read, chunks, min(4, os.cpu_count() or 1))


def ahead(work: Callable[[T], R], items: Sequence[T], threads: int) -> Iterator[R]:
    """`map(work, items)` in threads, at most `threads` + 1 results ahead of the reader; stops them when it leaves."""
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
