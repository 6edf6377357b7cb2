"""Parquet files that are streamed: each row group fetched once, the same batches from any step, faults named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_hub import REPO, serving_hub
from mobilenets.data import download
from mobilenets.data.addresses import names_parquet
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.grouporder import GroupOrder, plan_groups
from mobilenets.data.loader import Batch, Images
from mobilenets.data.parquetfiles import ParquetFiles
from mobilenets.data.ranges import ShardError
from mobilenets.data.shards import ShardDataset, is_streamed
from mobilenets.data.stream import StreamLoader
from mobilenets.errors import UserError
from shardserver import FolderServer, serving

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
pyarrow = pytest.importorskip("pyarrow")

IMAGES, FILES, GROUP, BATCH = 320, 4, 10, 16
STILL = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, colour=0.0)
NAMES = [f"n{number}" for number in range(IMAGES)]
OF_HUB = b'{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": %s, "_type": "ClassLabel"}}}}'


def write(path: Path, images: list[Any], labels: list[Any], *, hub: list[str] | None = None, **settings: Any) -> None:
    """One file as the datasets library writes it (`hub`: the names of the classes), or as anybody does (None)."""
    metadata = None if hub is None else {b"huggingface": OF_HUB % str(hub).replace("'", '"').encode()}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = pyarrow.array([{"bytes": data, "path": None} for data in images], kind)
    table = pyarrow.table({"image": cells, "label": pyarrow.array(labels)}).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **({"row_group_size": GROUP} | settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, png_of: Callable[..., bytes]) -> Path:
    """Four files of eighty images; the class is the number of the image, so that a batch tells which it holds."""
    root = tmp_path_factory.mktemp("parquet")
    for file in range(FILES):
        numbers = range(file * IMAGES // FILES, (file + 1) * IMAGES // FILES)
        images = [png_of(number, side=12) for number in numbers]
        write(root / f"p-{file}.parquet", images, list(numbers), hub=NAMES, compression=["snappy", "none"][file % 2])
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)


@pytest.fixture
def server(folder: Path) -> Iterator[FolderServer]:
    with serving(folder) as running:
        yield running


def remote(server: FolderServer) -> str:
    return f"{server.address}/p-{{0..3}}.parquet"


def local(folder: Path) -> str:
    return f"{folder}/p-*.parquet"


def loader(data: str, **settings: object) -> StreamLoader:
    dataset = open_dataset(data)
    given = {"batch_size": BATCH, "resolution": 8, "augmentation": Augmentation(), "seed": 3, "window_bytes": 60_000}
    return StreamLoader(Images(dataset, dataset.samples, 16), **(given | settings))  # type: ignore[arg-type]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return all(
        bool((x.images == y.images).all()) and bool((x.labels == y.labels).all()) for x, y in zip(a, b, strict=True)
    )


def taken(batches: list[Batch]) -> list[int]:
    return [label for batch in batches for label in batch.labels.tolist()]


def test_samples_classes_and_bytes(folder: Path, png_of: Callable[..., bytes]) -> None:
    dataset = open_dataset(local(folder))
    assert isinstance(dataset, ShardDataset)
    assert isinstance(dataset.files, ParquetFiles)
    assert is_streamed(dataset)
    assert [label.name for label in dataset.classes] == NAMES
    assert [sample.label for sample in dataset.samples] == list(range(IMAGES))
    assert dataset.samples[85].name == "p-1.parquet/00000005.png"
    assert [dataset.read(sample) for sample in dataset.samples] == [png_of(n, side=12) for n in range(IMAGES)]
    assert dataset.files.read("p-3.parquet/00000079.png") == png_of(319, side=12)


def test_opening_fetches_footers_and_labels_but_one_row_group_of_images(folder: Path, tmp_path: Path) -> None:
    images = [np.random.default_rng(n).bytes(20_000) for n in range(100)]
    for file in range(2):
        write(tmp_path / "large" / f"{file}.parquet", images, [n % 2 for n in range(100)])
    with serving(tmp_path / "large") as server:
        address = f"{server.address}/{{0,1}}.parquet"
        open_dataset(address)
        assert server.sent < 2 * 65_536 + 20_000 * GROUP + 20_000  # of 4 MB
        server.sent = 0
        open_dataset(address)
        assert server.sent <= 2  # the second time their sizes and tags alone
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept < 40_000


@pytest.mark.parametrize("batch", [16, 15, 20, 64, 1])
@pytest.mark.parametrize("window_bytes", [2_000, 60_000, 10**8])
def test_no_image_twice_and_less_than_a_batch_left_out(folder: Path, batch: int, window_bytes: int) -> None:
    one = loader(local(folder), batch_size=batch, window_bytes=window_bytes)
    first, second = taken(list(one.epoch(0))), taken(list(one.epoch(1)))
    assert len(first) == one.steps * batch == len(set(first))
    assert len(first) > IMAGES - batch - one.order.lanes
    assert first != second


def test_labels_belong_to_their_images(folder: Path) -> None:
    dataset = open_dataset(local(folder))
    for batch in loader(local(folder), augmentation=STILL, resolution=12).epoch(0):
        for image, label in zip(batch.images.numpy(), batch.labels.tolist()):
            assert np.abs(image.astype(int) - decode_image(dataset.read(dataset.samples[label])).astype(int)).max() <= 2


def test_the_same_batches_whatever_the_threads_the_place_and_what_ran_before(
    folder: Path, server: FolderServer
) -> None:
    first = list(loader(local(folder)).epoch(5))
    for other in (loader(local(folder), threads=1), loader(remote(server), threads=4)):
        list(other.epoch(0))
        assert same(first, list(other.epoch(5)))
    assert taken(list(loader(local(folder), seed=4).epoch(5))) != taken(first)


@pytest.mark.parametrize("window_bytes", [2_000, 20_000, 60_000])
@pytest.mark.parametrize("start", [1, 7, 19])
def test_an_epoch_goes_on_from_any_step(folder: Path, start: int, window_bytes: int) -> None:
    one = loader(local(folder), window_bytes=window_bytes)
    assert one.steps == 20
    whole = list(one.epoch(2))
    assert same(whole[start:], list(loader(local(folder), window_bytes=window_bytes).epoch(2, start)))


def test_each_row_group_is_fetched_about_once_and_none_that_lies_before_a_step(server: FolderServer) -> None:
    one = loader(remote(server), window_bytes=20_000)
    server.asked.clear()
    list(one.epoch(0))
    groups = IMAGES // GROUP
    assert groups <= len(server.asked) < groups + one.order.lanes  # a group that two lanes share is asked for twice
    assert len(set(server.asked)) == groups
    server.asked.clear()
    list(one.epoch(0, one.steps - 2))
    assert len(server.asked) < groups / 2


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_shares_of_several_processes_make_up_the_whole_batches(folder: Path, world: int) -> None:
    whole = list(loader(local(folder)).epoch(1, 2))
    half = BATCH // 2
    for rank in range(world):
        front = np.arange(half * rank // world, half * (rank + 1) // world)
        places = np.concatenate([front, BATCH - 1 - front[::-1]])
        for batch, part in zip(whole, loader(local(folder), places=places).epoch(1, 2), strict=True):
            assert (batch.images[places] == part.images).all()
            assert (batch.labels[places] == part.labels).all()


def test_a_process_of_two_fetches_half(server: FolderServer) -> None:
    asked = {}
    for name, places in (("all", None), ("half", np.r_[0:4, 12:16])):
        one = loader(remote(server), places=places)
        assert one.order.lanes == 8
        server.asked.clear()
        list(one.epoch(0))
        asked[name] = len(server.asked)
    assert asked["half"] < 0.65 * asked["all"]


@pytest.mark.parametrize("window_bytes", [10_000, 40_000])
def test_held_bytes_are_windows_and_not_the_set(folder: Path, window_bytes: int) -> None:
    one = loader(local(folder), window_bytes=window_bytes)
    assert isinstance(one.order, GroupOrder)
    total = int(one.dataset.index.rows["size"].sum())
    group = int(one.dataset.index.document["largest_group"])
    list(one.epoch(0))
    asked = (one.threads + 1) * one.batch_size * int(one.dataset.index.rows["size"].max())  # the steps under way
    assert 0 < one.most_held <= 2 * (window_bytes + one.order.lanes * group) + asked < total


def test_equal_images_that_are_stored_once_count_in_full(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    write(tmp_path / "a.parquet", [png_of(n % 2) for n in range(200)], [n % 2 for n in range(200)], row_group_size=20)
    one = loader(str(tmp_path / "a.parquet"), window_bytes=100_000)
    size = len(png_of(0))
    assert 0.9 * size < one.dataset.index.rows["size"].mean() < 1.1 * size
    list(one.epoch(0))
    assert one.most_held < 2 * (100_000 + one.order.lanes * 20 * size)


def test_a_flaky_server_changes_nothing(folder: Path, server: FolderServer) -> None:
    first = list(loader(local(folder)).epoch(0))
    other = loader(remote(server))
    server.faults = ["", "500", "cut", "", "503", "cut", "429"]
    assert same(first, list(other.epoch(0)))
    assert not server.faults


def test_a_file_that_was_changed_ends_the_epoch_with_its_name_and_no_thread(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "set" / "a.parquet"
    path.parent.mkdir()
    path.write_bytes((folder / "p-0.parquet").read_bytes())
    one = loader(str(path), batch_size=4)
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(ShardError, match=r"a\.parquet: row group \d cannot be read; was the file changed after"):
        list(one.epoch(0))
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("loader", "shards"))]


def test_a_file_that_vanishes_is_named(server: FolderServer, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    server.folder = tmp_path
    one = loader(remote(server))
    (tmp_path / "p-2.parquet").unlink()
    with pytest.raises(ShardError, match=r"p-2\.parquet: the server answers 404"):
        list(one.epoch(0))


def test_a_row_without_an_image_is_named(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    write(tmp_path / "a.parquet", [*map(png_of, range(7)), None], [n % 2 for n in range(8)])
    with pytest.raises(ShardError, match=r"a\.parquet: row 7 of row group 0 holds no image file"):
        list(loader(str(tmp_path / "a.parquet"), batch_size=2).epoch(0))


def test_classes_of_files_that_the_datasets_library_did_not_write(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    images = list(map(png_of, range(6)))
    write(tmp_path / "text.parquet", images, ["b", "a", "b", None, "a", "b"])
    dataset = open_dataset(tmp_path / "text.parquet")
    assert [(c.name, c.index) for c in dataset.classes] == [("a", None), ("b", None)]
    assert [sample.label for sample in dataset.samples] == [1, 0, 1, 0, 1]
    assert dataset.read(dataset.samples[3]) == images[4]
    assert "1 images without a label, left out" in dataset.notes
    table = pyarrow.table({"jpeg": pyarrow.array(images, pyarrow.binary()), "cls": [0, 2, -1, 0, 2, 0], "n": range(6)})
    parquet.write_table(table, tmp_path / "plain.parquet")
    dataset = open_dataset(tmp_path / "plain.parquet")
    assert [(c.name, c.index) for c in dataset.classes] == [("0", 0), ("1", 1), ("2", 2)]
    assert dataset.empty == ("1",)
    assert [dataset.read(sample) for sample in dataset.samples] == [images[n] for n in (0, 1, 3, 4, 5)]
    assert len(open_dataset(tmp_path / "plain.parquet", labels="n").classes) == 6


def test_splits_stand_in_the_names(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    for name, count in (("train-00000-of-00001", 6), ("validation-00000-of-00001", 2), ("test-00000-of-00001", 4)):
        write(tmp_path / f"{name}.parquet", list(map(png_of, range(count))), [n % 2 for n in range(count)])
    dataset = open_dataset(f"{tmp_path}/*.parquet")
    assert dataset.splits == ("train", "val", "test")
    assert [len(dataset.of_split(split)) for split in dataset.splits] == [6, 2, 4]


@pytest.mark.parametrize(
    ("columns", "labels", "message"),
    [
        ({"label": [0, 1]}, None, "0 columns hold images; one is expected, of the columns label"),
        ({"a": [b"1", b"2"], "b": [b"1", b"2"]}, None, "2 columns hold images; one is expected, of the columns a, b"),
        ({"a": [b"1", b"2"], "x": [0, 1]}, None, "which column holds the class"),
        ({"a": [b"1", b"2"], "x": [0, 1]}, "y", "no column 'y'; there are a, x"),
        ({"a": [b"1", b"2"], "label": [0.5, 1.5]}, None, "a label is '0.5'; a number or a name is expected"),
        ({"a": [b"1", b"2"], "label": [None, None]}, None, "without any labelled image"),
        ({"a": [b"1", b"2"], "label": [1, 1]}, None, "1 class has images; at least two are needed"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, columns: dict[str, Any], labels: str | None, message: str
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(tmp_path / "a.parquet", labels=labels)
    assert "\n" not in str(caught.value)
    assert "a.parquet" in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "footer"])
def test_what_is_no_parquet_file_is_named(folder: Path, tmp_path: Path, damage: str) -> None:
    data = (folder / "p-0.parquet").read_bytes()
    made = {
        "cut": data[:-100],
        "text": b"label,image\n" * 10,
        "empty": b"",
        "footer": data[:-40] + b"x" * 32 + data[-8:],
    }
    (tmp_path / "a.parquet").write_bytes(made[damage])
    with pytest.raises(ShardError, match=r"a\.parquet: (is no parquet file|its footer cannot be read)") as caught:
        open_dataset(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


def test_on_the_hub_by_a_pattern(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own file system, told where the Hub is."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for path in folder.iterdir():
        (tmp_path / "hub" / "data" / path.name).write_bytes(path.read_bytes())
    with serving_hub(tmp_path / "hub") as hub:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.address})
        one = loader(f"hf://datasets/{REPO}/data/*.parquet")
        assert same(list(loader(local(folder)).epoch(1)), list(one.epoch(1)))
        sizes = [int(last) - int(first) for first, last in (asked[6:].split("-") for _, _, asked in hub.asked if asked)]
        images = one.dataset.index.document["largest_group"]
        assert max(sizes[FILES:]) <= images  # nothing is read ahead
        with pytest.raises(UserError, match=r"no \.parquet file there"):
            open_dataset(f"hf://datasets/{REPO}/none/*.parquet")


def test_in_a_store(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    for path in folder.iterdir():
        fs.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    try:
        assert same(list(loader(local(folder)).epoch(1)), list(loader("memory://bucket/p-*.parquet").epoch(1)))
    finally:
        fs.rm("/bucket", recursive=True)


def test_what_is_taken_for_such_files(tmp_path: Path) -> None:
    for address in ("a.parquet", "d/*.parquet", "https://x.org/a-{0..3}.parquet?key=1", "s3://b/a.parquet::c.parquet"):
        assert names_parquet(address)
    for address in ("a.tar", "hf://datasets/a/b", "a.parquet::b.tar", str(tmp_path)):
        assert not names_parquet(address)


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_groups_is_a_permutation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 60))
    bounds = np.concatenate([[0], np.cumsum(rng.integers(1, 40, groups))])
    batch = int(rng.choice([1, 2, 6, 16, 64]))
    order = plan_groups(bounds, 100.0, batch, seed, window_bytes=int(rng.integers(100, 20_000)))
    epoch = order.epoch(seed)
    lanes, slots = order.lane_places()
    everything = np.ones((order.lanes, order.per_lane), bool)
    end = order.steps * order.per_lane
    told, window = {}, 0
    found: list[int] = []
    for step in range(order.steps):
        places = step * order.per_lane + slots
        while window * order.window_places < end and window <= int(places.max()) // order.window_places + 1:
            told |= {run: set(images.tolist()) for run, images in epoch.needs(window, everything, 0, end)}
            window += 1
        runs, images = epoch.locate(lanes, places)
        for run, image in zip(runs.tolist(), images.tolist()):
            told[run].remove(image)  # was told before it is taken, and is taken once
            found.append(int(epoch.images_of(run, np.array([image]))[0]))
    assert len(set(found)) == len(found) == order.steps * batch
    assert not any(told.values())
    assert all(0 <= image < order.images for image in found)
