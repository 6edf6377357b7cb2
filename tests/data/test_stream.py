"""The streaming loader: each image once, the same batches from any step, in shares, bounded bytes, faults named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_tarscan import write_tar

from mobilenets.data import download, stream, streamorder
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.loader import Batch, Images
from mobilenets.data.ranges import ShardError
from mobilenets.data.shards import ShardDataset, is_streamed
from mobilenets.data.stream import StreamLoader
from mobilenets.data.streamorder import StreamOrder, plan_order
from mobilenets.errors import UserError
from shardserver import FolderServer, serving

IMAGES, SHARDS, BATCH = 300, 5, 16
STILL = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, colour=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, png_of: Callable[..., bytes]) -> Path:
    """Five shards of sixty images; the class is the number of the image, so that a batch tells which it holds."""
    root = tmp_path_factory.mktemp("shards")
    for shard in range(SHARDS):
        numbers = range(shard * IMAGES // SHARDS, (shard + 1) * IMAGES // SHARDS)
        members = [(f"{n:05}.{s}", d) for n in numbers for s, d in (("png", png_of(n, side=12)), ("cls", b"%d" % n))]
        write_tar(root / f"s-{shard}.tar", members)
    return root


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderServer]:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)
    with serving(folder) as running:
        yield running


def loader(data: Path | str, **settings: object) -> StreamLoader:
    dataset = open_dataset(data)
    given = {"batch_size": BATCH, "resolution": 8, "augmentation": Augmentation(), "seed": 3, "window_bytes": 60_000}
    return StreamLoader(Images(dataset, dataset.samples, 16), **(given | settings))  # type: ignore[arg-type]


def remote(server: FolderServer) -> str:
    return f"{server.address}/s-{{0..4}}.tar"


def same(a: list[Batch], b: list[Batch]) -> bool:
    return all(
        bool((x.images == y.images).all()) and bool((x.labels == y.labels).all()) for x, y in zip(a, b, strict=True)
    )


def taken(batches: list[Batch]) -> list[int]:
    return [label for batch in batches for label in batch.labels.tolist()]


@pytest.mark.parametrize("batch", [16, 15, 20, 64, 1])
@pytest.mark.parametrize("window_bytes", [5_000, 60_000, 10**8])
def test_no_image_twice_and_few_left_out(folder: Path, batch: int, window_bytes: int) -> None:
    one = loader(folder, batch_size=batch, window_bytes=window_bytes)
    first, second = taken(list(one.epoch(0))), taken(list(one.epoch(1)))
    assert len(first) == one.steps * batch == len(set(first))
    assert len(first) > IMAGES - one.order.lanes * one.order.run - batch
    assert first != second


def test_epochs_leave_out_other_images(folder: Path) -> None:
    one = loader(folder)
    seen = [set(taken(list(one.epoch(number)))) for number in range(4)]
    assert set.union(*seen) == set(range(IMAGES))


def test_labels_belong_to_their_images(folder: Path) -> None:
    dataset = open_dataset(folder)
    for batch in loader(folder, augmentation=STILL, resolution=12).epoch(0):
        for image, label in zip(batch.images.numpy(), batch.labels.tolist()):
            assert np.abs(image.astype(int) - decode_image(dataset.read(dataset.samples[label])).astype(int)).max() <= 2


def test_the_same_batches_whatever_the_threads_the_place_and_what_ran_before(
    folder: Path, server: FolderServer
) -> None:
    first = list(loader(folder).epoch(5))
    for other in (loader(folder, threads=1), loader(remote(server), threads=4)):
        list(other.epoch(0))
        assert same(first, list(other.epoch(5)))
    assert taken(list(loader(folder, seed=4).epoch(5))) != taken(first)


@pytest.mark.parametrize("start", [1, 7, 17])
def test_an_epoch_goes_on_from_any_step(folder: Path, start: int) -> None:
    one = loader(folder)
    assert one.steps == 18
    assert same(list(one.epoch(2))[start:], list(loader(folder).epoch(2, start)))


def test_what_lies_before_a_step_is_not_fetched(server: FolderServer) -> None:
    one = loader(remote(server), window_bytes=20_000)
    list(one.epoch(0))
    server.sent = 0
    list(one.epoch(0))
    whole, server.sent = server.sent, 0
    list(one.epoch(0, one.steps - 2))
    assert server.sent < whole / 3


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_shares_of_several_processes_make_up_the_whole_batches(folder: Path, world: int) -> None:
    whole = list(loader(folder).epoch(1, 2))
    half = BATCH // 2
    for rank in range(world):
        front = np.arange(half * rank // world, half * (rank + 1) // world)
        places = np.concatenate([front, BATCH - 1 - front[::-1]])
        for batch, part in zip(whole, loader(folder, places=places).epoch(1, 2), strict=True):
            assert (batch.images[places] == part.images).all()
            assert (batch.labels[places] == part.labels).all()


def test_a_process_of_two_fetches_half(server: FolderServer) -> None:
    sent = {}
    for name, places in (("all", None), ("half", np.r_[0:4, 12:16])):
        one = loader(remote(server), places=places)
        server.sent = 0
        list(one.epoch(0))
        sent[name] = server.sent
    assert sent["half"] < 0.6 * sent["all"]


@pytest.mark.parametrize("window_bytes", [20_000, 60_000])
def test_held_bytes_stay_within_a_window_and_a_half(folder: Path, window_bytes: int) -> None:
    one = loader(folder, window_bytes=window_bytes)
    list(one.epoch(0))
    total = sum(path.stat().st_size for path in folder.iterdir())
    largest = 1.5 * window_bytes + one.order.window * one.order.run * one.order.lanes  # rounding of the window
    assert 0 < one.most_held <= largest < total


def test_a_lane_mixes_images_from_all_over(folder: Path) -> None:
    one = loader(folder, window_bytes=60_000)
    shards = [len({label // (IMAGES // SHARDS) for label in batch.labels.tolist()}) for batch in one.epoch(0)]
    assert np.mean(shards) > 3.5  # of 5; a batch from one shard would be 1


def test_a_flaky_server_changes_nothing(folder: Path, server: FolderServer) -> None:
    first = list(loader(folder).epoch(0))
    other = loader(remote(server))
    server.faults = ["", "500", "cut", "", "503", "cut", "429"]
    assert same(first, list(other.epoch(0)))
    assert not server.faults


def test_a_shard_that_vanishes_ends_the_epoch_with_its_name_and_no_thread(
    folder: Path, server: FolderServer, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    server.folder = tmp_path
    one = loader(remote(server), window_bytes=20_000)
    batches = one.epoch(0)
    next(batches)
    (tmp_path / "s-3.tar").unlink()
    with pytest.raises(ShardError, match=r"s-3\.tar: the server answers 404"):
        list(batches)
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("loader", "shards"))]


def test_leaving_an_epoch_leaves_no_thread(folder: Path) -> None:
    batches = loader(folder).epoch(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("loader", "shards"))]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    members = [(f"{n}.{s}", d) for n in range(8) for s, d in (("png", png_of(n)), ("cls", b"%d" % (n % 2)))]
    members[6] = ("3.png", b"no picture")
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=r"a\.tar: a\.tar/3\.png: not an image"):
        list(loader(tmp_path / "a.tar", batch_size=2).epoch(0))


def test_a_shard_that_was_changed_is_named(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "s-0.tar"
    path.write_bytes((folder / "s-0.tar").read_bytes())
    one = loader(path)
    data = path.read_bytes()
    path.write_bytes(data[1024:] + data[:1024])
    with pytest.raises(ShardError, match=r"s-0\.tar: changed after it was indexed"):
        list(one.epoch(0))


@pytest.mark.parametrize("images", [1_000, 1_000_000])
def test_an_order_is_a_permutation_in_long_stretches_at_any_size(images: int) -> None:
    order = plan_order(images, 20_000, 256, seed=0)
    assert order.lanes == 8
    assert order.steps * 256 > 0.7 * images
    assert order.steps * 256 > images - 256 - order.lanes * order.run
    epoch = order.epoch(3)
    lanes, slots = order.lane_places()
    found = []
    for step in (0, 1, order.steps - 1):
        runs, at = epoch.locate(lanes, step * order.per_lane + slots)
        found += [int(epoch.images_of(r, a)) for r, a in zip(runs.tolist(), at.tolist())]
    assert len(set(found)) == 3 * 256
    assert 0 <= min(found) <= max(found) < images


def test_image_i_and_the_ith_from_the_end_share_a_lane() -> None:
    order = StreamOrder(images=1000, seed=0, batch=32, lanes=8, run=1, runs=125, window=1)
    lanes, slots = order.lane_places()
    assert (lanes == lanes[::-1]).all()
    assert sorted(zip(lanes.tolist(), slots.tolist())) == [(lane, slot) for lane in range(8) for slot in range(4)]


def test_streaming_is_chosen_for_remote_data_alone(server: FolderServer, folder: Path) -> None:
    here, there = open_dataset(folder), open_dataset(remote(server))
    assert isinstance(there, ShardDataset)
    assert (is_streamed(here), is_streamed(there)) == (False, True)
    assert stream.WINDOW_BYTES == streamorder.WINDOW_BYTES == 64 * 2**20
