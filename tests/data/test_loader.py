"""The loader: every image once an epoch, the same batches again, bounded memory, no thread left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.arch.spec import Preprocessing
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.loader import Images, Loader, ahead, scoring_batches
from mobilenets.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for label in range(3):
        (root / f"c{label}").mkdir()
        for index in range(9):
            picture = np.full((50, 40, 3), 20 + 9 * index, np.uint8)
            picture[:, :, 2 - label] = 200  # OpenCV writes BGR
            cv2.imwrite(str(root / f"c{label}" / f"{index}.png"), picture)
    return root


def loader(folder: Path, *, threads: int = 2, seed: int = 1, cache_bytes: int = 2**30) -> Loader:
    dataset = open_dataset(folder)
    images = Images(dataset, dataset.samples, 40, cache_bytes=cache_bytes)
    return Loader(images, batch_size=8, resolution=32, augmentation=Augmentation(rotate=20), seed=seed, threads=threads)


def test_the_same_batches_whatever_the_threads_and_the_cache(folder: Path) -> None:
    first = list(loader(folder).epoch(5))
    assert len(first) == 3
    for other in (loader(folder, threads=1), loader(folder, threads=4, cache_bytes=0)):
        list(other.epoch(0))
        for a, b in zip(first, other.epoch(5), strict=True):
            assert (a.images == b.images).all()
            assert (a.labels == b.labels).all()
    assert any((a.images != b.images).any() for a, b in zip(first, loader(folder, seed=2).epoch(5)))


def test_an_epoch_that_starts_later_skips_exactly_that(folder: Path) -> None:
    whole = list(loader(folder).epoch(5))
    late = loader(folder, threads=1)
    for start in (1, 3):
        late.images.kept.clear()
        rest = list(late.epoch(5, start))
        assert len(rest) == 3 - start
        assert len(late.images.kept) == 8 * len(rest)  # what is skipped is not decoded
        for a, b in zip(whole[start:], rest, strict=True):
            assert (a.images == b.images).all()
            assert (a.labels == b.labels).all()


def test_labels_belong_to_their_images(folder: Path) -> None:
    for batch in loader(folder).epoch(0):
        means = batch.images.float().mean(dim=(1, 2))
        odd_channel = (means - means.median(dim=1, keepdim=True).values).abs().argmax(dim=1)
        assert (odd_channel == batch.labels).float().mean() > 0.9


def test_the_cache_is_bounded(folder: Path) -> None:
    whole, bounded = loader(folder), loader(folder, cache_bytes=50 * 40 * 3 * 5)
    list(whole.epoch(0)), list(bounded.epoch(0))
    assert len(whole.images.kept) >= 24
    assert sum(image.nbytes for image in bounded.images.kept.values()) <= 50 * 40 * 3 * 5


def test_leaving_an_epoch_early_leaves_no_thread(folder: Path) -> None:
    before = threading.active_count()
    epoch = loader(folder).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before


def test_ahead_keeps_order_and_raises() -> None:
    assert list(ahead(lambda x: x * x, range(20), 3)) == [x * x for x in range(20)]

    def fails(x: int) -> int:
        if x == 7:
            raise UserError("seven")
        return x

    with pytest.raises(UserError, match="seven"):
        list(ahead(fails, range(20), 3))


def test_a_broken_image_is_named(folder: Path, tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(4):
            data = (folder / "c0" / f"{index}.png").read_bytes()
            (tmp_path / label / f"{index}.png").write_bytes(data)
    (tmp_path / "b" / "2.png").write_bytes(b"this is no picture")
    with pytest.raises(UserError, match=r"b/2\.png.*data check"):
        list(loader(tmp_path).epoch(0))
    dataset = open_dataset(tmp_path)
    with pytest.raises(UserError, match=r"b/2\.png"):
        list(scoring_batches(dataset, dataset.samples, Preprocessing(resolution=32)))
