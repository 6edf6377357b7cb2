"""The loader: every image once an epoch, the same batches again, bounded memory, no thread left behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mobilenets.arch.spec import Preprocessing
from mobilenets.data import loader as loader_module
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.loader import Batch, Images, Loader, ahead, scoring_batches
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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of several sizes, upright and not square, some with more than twice the pixels that are kept."""
    root = tmp_path_factory.mktemp("photos")
    for index, (height, width) in enumerate([(90, 120), (200, 150), (64, 64), (400, 260), (47, 300), (128, 131)] * 2):
        path = root / f"c{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    return root


def loader(
    folder: Path,
    *,
    threads: int = 2,
    seed: int = 1,
    cache_bytes: int = 2**30,
    side: int | None = 40,
    fingerprint: str | None = None,
) -> Loader:
    dataset = open_dataset(folder)
    images = Images(dataset, dataset.samples, side, cache_bytes=cache_bytes, fingerprint=fingerprint)
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


INTERRUPTED = """
import sys, threading, time
from mobilenets.data.loader import ahead

def slow(x):
    time.sleep(0.05)
    return x

try:
    for number in ahead(slow, range(10_000), 4):
        print(number, flush=True)
except KeyboardInterrupt:
    pass
print("threads", threading.active_count(), flush=True)
"""


def test_ctrl_c_leaves_no_thread() -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(6):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output.splitlines()[-1] == "threads 1"
    assert process.returncode == 0


def test_the_resolution_may_go_by_the_epoch(folder: Path) -> None:
    growing = loader(folder)
    growing.resolution = lambda epoch: 16 * (epoch + 1)
    assert [growing.resolution_at(epoch) for epoch in (0, 1)] == [16, 32]
    assert next(growing.epoch(0)).images.shape == (8, 16, 16, 3)
    assert same(growing.epoch(1), loader(folder).epoch(1))


def test_ahead_keeps_order_and_raises() -> None:
    assert list(ahead(lambda x: x * x, range(20), 3)) == [x * x for x in range(20)]

    def fails(x: int) -> int:
        if x == 7:
            raise UserError("seven")
        return x

    with pytest.raises(UserError, match="seven"):
        list(ahead(fails, range(20), 3))


def same(one: Iterable[Batch], two: Iterable[Batch]) -> bool:
    pairs = list(zip(one, two, strict=True))
    return bool(pairs) and all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def test_the_same_batches_in_memory_cold_and_warm(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    memory = list(loader(photos).epoch(5))
    monkeypatch.setenv("MOBILENETS_DECODED_GB", "1")
    cold = loader(photos, fingerprint="a")
    assert same(cold.epoch(5), memory)
    assert not cold.images.kept  # all on disk
    list(cold.epoch(6))  # an epoch leaves out what fills no batch
    warm = loader(photos, fingerprint="a")
    monkeypatch.setattr(loader_module, "decode_near", None)  # nothing is decoded again
    assert same(warm.epoch(5), memory)
    monkeypatch.undo()
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    monkeypatch.setenv("MOBILENETS_DECODED_GB", f"{4 * 50**2 * 3 / 1e9}")
    bounded = loader(photos, fingerprint="b", cache_bytes=50**2 * 3)
    assert same(bounded.epoch(5), memory)
    assert same(bounded.epoch(5), memory)


def test_where_images_are_kept_is_said_in_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    monkeypatch.setenv("MOBILENETS_DECODED_GB", "1")
    images = loader(photos, fingerprint="a")
    for number in (0, 1):
        list(images.epoch(number))
    for index in range(12):
        images.images[index]
    size = sum(images.images[index].nbytes for index in range(12))
    list(loader(photos, fingerprint="a").epoch(0))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"decoded images are kept in {tmp_path / 'decoded'}/")
    assert first.endswith(" (none yet)")
    assert second.endswith(f" (12 of 12 images, {size / 1e6:,.1f} MB)")


def test_each_crop_decoded_for_itself_has_the_pixels_that_it_needs(photos: Path) -> None:
    """A crop is as sharp as from the whole file, though files are decoded at 1/2 to 1/8 where the crop is large."""
    by_crop, fixed = (loader(photos, side=side) for side in (None, 10_000))
    for number in range(2):
        for a, b in zip(by_crop.epoch(number), fixed.epoch(number), strict=True):
            assert (a.images.float() - b.images.float()).abs().mean() < 3
    names = [sample.name for sample in by_crop.images.samples]
    large = names.index("c1/3.jpg")
    sizes = {by_crop.images.for_crop(large, lambda *_, s=shrink: s).shape[0] for shrink in (1, 1.9, 2, 4.1, 100)}
    assert sizes == {400, 200, 100, 50}
    assert not by_crop.images.kept


def test_what_is_kept_is_near_the_side(photos: Path) -> None:
    dataset = open_dataset(photos)
    for side in (40, 60, 100, 130):
        images = Images(dataset, dataset.samples, side)
        for index, sample in enumerate(dataset.samples):
            short = min(images[index].shape[:2])
            of_file = min(decode_image(dataset.read(sample)).shape[:2])
            assert min(of_file, side * 7 / 8) <= short <= side * 5 / 4


def test_a_file_that_vanishes_is_named(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    images, dataset = loader(copied), open_dataset(copied)
    (copied / "c1" / "4.png").unlink()
    with pytest.raises(UserError, match=r"c1/4\.png of .*copy can no longer be read: No such file"):
        [list(images.epoch(number)) for number in range(3)]
    with pytest.raises(UserError, match=r"c1/4\.png of .*can no longer be read"):
        list(scoring_batches(dataset, dataset.samples, Preprocessing(resolution=32)))


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
