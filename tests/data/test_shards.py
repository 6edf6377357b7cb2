"""Shards by anybody: labels of every kind, splits by name, remote ones, and those that are damaged."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_tarscan import write_tar

from mobilenets.data import download, roles
from mobilenets.data.check import check
from mobilenets.data.dataset import open_dataset
from mobilenets.data.fingerprint import fingerprint
from mobilenets.data.pack import pack
from mobilenets.data.ranges import ShardError
from mobilenets.data.shards import ShardDataset, is_streamed, open_shards
from mobilenets.errors import UserError
from shardserver import FolderServer, serving

Png = Callable[..., bytes]


def shard(path: Path, png_of: Png, count: int, label: Callable[[int], tuple[str, bytes]], first: int = 0) -> Path:
    """A tar of `count` images, the label of each as (suffix, bytes)."""
    members = []
    for number in range(first, first + count):
        suffix, data = label(number)
        members += [(f"{number:05}.png", png_of(number)), (f"{number:05}.{suffix}", data)]
    return write_tar(path, members)


def by_number(number: int) -> tuple[str, bytes]:
    return "cls", b"%d" % (number % 3)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderServer]:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)
    with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (by_number, ["0", "1", "2"]),
        (lambda n: ("cls", ["owl", "cat", "dog"][n % 3].encode()), ["cat", "dog", "owl"]),
        (lambda n: ("txt", ["owl", "cat", "dog"][n % 3].encode() + b"\n"), ["cat", "dog", "owl"]),
        (lambda n: ("json", json.dumps({"label": n % 3}).encode()), ["0", "1", "2"]),
    ],
)
def test_labels_of_every_kind(
    tmp_path: Path, png_of: Png, label: Callable[[int], tuple[str, bytes]], names: list[str]
) -> None:
    shard(tmp_path / "a-000.tar", png_of, 6, label)
    shard(tmp_path / "a-001.tar", png_of, 4, label, first=6)
    dataset = open_dataset(tmp_path)
    assert (dataset.form, [c.name for c in dataset.classes]) == ("shards", names)
    told = [names.index(label(n)[1].decode().strip()) if "json" not in label(n)[0] else n % 3 for n in range(10)]
    assert [sample.label for sample in dataset.samples] == told
    assert [dataset.read(sample) for sample in dataset.samples] == [png_of(n) for n in range(10)]
    assert dataset.samples[7].name == "a-001.tar/00007.png"


def test_a_field_of_the_json_can_be_asked_for(tmp_path: Path, png_of: Png) -> None:
    shard(tmp_path / "a.tar", png_of, 6, lambda n: ("json", json.dumps({"label": 0, "coarse": n % 2}).encode()))
    assert [s.label for s in open_shards(tmp_path / "a.tar", labels="coarse").samples] == [0, 1, 0, 1, 0, 1]
    with pytest.raises(UserError, match="without any labelled image"):
        open_shards(tmp_path / "a.tar", labels="fine")


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (lambda n: ("cls", b"3" if n else b"cat"), r"some labels are numbers \(3\), others names \('cat'\)"),
        (lambda n: ("cls", b"%d" % -n), "class -5; numbers start at 0"),
        (lambda n: ("cls", b"%d" % (10**6 * n)), "class 5000000 beside 6 classes"),
        (lambda n: ("cls", b""), "00000: its label is ''"),
        (lambda n: ("cls", b"\xff\xfe"), "00000: its label is not UTF-8"),
        (lambda n: ("json", b"{"), "00000: its .json cannot be read"),
        (lambda n: ("json", b"[1]"), r"00000: its .json holds no fields but '\[1\]'"),
        (lambda n: ("json", b'{"label": [1]}'), r"00000: its label is '\[1\]'"),
        (lambda n: ("cls", b"7"), "1 class has images"),
    ],
)
def test_labels_that_are_none(
    tmp_path: Path, png_of: Png, label: Callable[[int], tuple[str, bytes]], says: str
) -> None:
    shard(tmp_path / "a.tar", png_of, 6, label)
    with pytest.raises(UserError, match=says):
        open_shards(tmp_path / "a.tar")


def test_an_image_without_its_label_is_named_and_left_out_where_that_is_allowed(tmp_path: Path, png_of: Png) -> None:
    write_tar(tmp_path / "a.tar", [("1.png", png_of(1)), ("1.cls", b"0"), ("2.png", png_of(2)), ("3.cls", b"1")])
    with pytest.raises(UserError, match=r"1 images without a label .* the first is a\.tar/2\.png"):
        open_shards(tmp_path / "a.tar")
    dataset = open_shards(tmp_path / "a.tar", strict=False)
    assert [sample.name for sample in dataset.samples] == ["a.tar/1.png"]
    assert "1 images without a label, left out" in dataset.notes


def test_splits_by_name_of_shard_or_folder(tmp_path: Path, png_of: Png) -> None:
    for split, count in (("train", 6), ("validation", 3)):
        shard(tmp_path / f"set-{split}-0000.tar", png_of, count, by_number)
        (tmp_path / "nested" / split).mkdir(parents=True)
        shard(tmp_path / "nested" / split / "0.tar", png_of, count, by_number)
    for root in (tmp_path / "set-{train,validation}-0000.tar", str(tmp_path / "nested" / "*" / "*.tar")):
        dataset = open_dataset(root)
        assert dataset.splits == ("train", "val")
        assert [len(dataset.of_split(split)) for split in ("train", "val", "test")] == [6, 3, 0]
    parts = roles.roles(dataset)
    assert (parts.report_name, len(parts.report), len(parts.train) + len(parts.selection)) == ("val", 3, 6)


def test_a_scan_is_kept_until_a_shard_changes(
    tmp_path: Path, png_of: Png, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    shard(tmp_path / "a.tar", png_of, 6, by_number)
    first = open_shards(tmp_path / "a.tar")
    (entry,) = (tmp_path / "cache" / "shards").iterdir()
    made = (entry / "index.bin").stat().st_mtime_ns
    assert fingerprint(open_shards(tmp_path / "a.tar")) == fingerprint(first)
    assert (entry / "index.bin").stat().st_mtime_ns == made
    shard(tmp_path / "a.tar", png_of, 9, by_number)
    again = open_shards(tmp_path / "a.tar")
    assert len(again.samples) == 9
    assert fingerprint(again) != fingerprint(first)


def test_class_folders_in_a_tar_are_not_taken_for_a_shard(tmp_path: Path, png_of: Png) -> None:
    write_tar(tmp_path / "a.tar", [(f"{kind}/{n}.png", png_of(n)) for kind in ("cat", "dog") for n in range(3)])
    assert open_dataset(tmp_path / "a.tar").form == "folders"
    assert open_dataset(tmp_path).form == "folders"


def test_a_shard_that_was_cut_or_changed_after_it_was_opened_is_named(tmp_path: Path, png_of: Png) -> None:
    path = shard(tmp_path / "a.tar", png_of, 6, by_number)
    dataset = open_shards(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardError, match=r"a\.tar: breaks off"):
        dataset.read(dataset.samples[5])
    path.write_bytes(whole[512:] + whole[:512])
    with pytest.raises(ShardError, match=r"a\.tar: changed after it was indexed"):
        dataset.read(dataset.samples[0])
    path.unlink()
    with pytest.raises(ShardError, match=r"a\.tar: No such file"):
        dataset.read(dataset.samples[0])


def test_a_cut_shard_is_refused(tmp_path: Path, png_of: Png) -> None:
    path = shard(tmp_path / "a.tar", png_of, 6, by_number)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ShardError, match=r"a\.tar: (breaks off|is damaged or cut)"):
        open_shards(path)


def test_remote_shards_with_and_without_ranges(server: FolderServer, png_of: Png) -> None:
    for number in range(2):
        shard(server.folder / f"a-{number}.tar", png_of, 5, by_number, first=5 * number)
    for server.ranges in (True, False):
        dataset = open_dataset(f"{server.address}/a-{{0..1}}.tar")
        assert is_streamed(dataset)
        assert [dataset.read(sample) for sample in dataset.samples] == [png_of(n) for n in range(10)]
        assert pickle.loads(pickle.dumps(dataset)).read(dataset.samples[9]) == png_of(9)


def test_a_remote_packed_set_is_its_index_and_ranges(server: FolderServer, png_of: Png, tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for n in range(20):
            (tmp_path / "set" / kind / f"{n}.png").write_bytes(png_of(n + 100 * (kind == "dog")))
    pack(tmp_path / "set", tmp_path / "packed", shard_mb=0.05)
    here, there = open_dataset(tmp_path / "packed"), open_dataset(f"{server.address}/packed")
    assert fingerprint(here) == fingerprint(there)
    assert {s.name: (s.label, s.split) for s in here.samples} == {s.name: (s.label, s.split) for s in there.samples}
    assert all(there.read(sample) == here.files.read(sample.name) for sample in there.samples)
    assert open_dataset(f"{server.address}/packed/shards.json").samples[3] == there.samples[3]
    (tmp_path / "packed" / "index.bin").write_bytes(b"\0" * (tmp_path / "packed" / "index.bin").stat().st_size)
    (tmp_path / "packed" / "shards.json").write_text((tmp_path / "packed" / "shards.json").read_text() + " ")
    with pytest.raises(ShardError, match=r"index\.bin: does not fit its shards\.json"):
        open_dataset(f"{server.address}/packed")


def test_a_remote_folder_without_an_index_says_how_to_name_shards(server: FolderServer) -> None:
    with pytest.raises(
        ShardError, match=r"answers 404 .*name the shards: http://.*/none/train-\{000000\.\.000009\}\.tar"
    ):
        open_dataset(f"{server.address}/none")


def test_data_check_reads_shards(tmp_path: Path, png_of: Png) -> None:
    members = [
        ("1.png", png_of(1)),
        ("1.cls", b"0"),
        ("2.png", png_of(1)),
        ("2.cls", b"1"),
        ("3.png", b"no"),
        ("3.cls", b"1"),
    ]
    write_tar(tmp_path / "a.tar", members)
    report = check(tmp_path / "a.tar")
    assert (report.form, report.images) == ("shards", 3)
    assert {("duplicate_across_classes", "a.tar/1.png"), ("not_an_image", "a.tar/3.png")} <= {
        (problem.kind, problem.file) for problem in report.problems if problem.severity == "error"
    }


def test_large_foreign_sets_are_divided_by_the_hash_of_the_name(
    tmp_path: Path, png_of: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "MOST_COMPARED", 10)
    shard(tmp_path / "a.tar", png_of, 400, lambda n: ("cls", b"%d" % (n % 2)))
    dataset = open_shards(tmp_path / "a.tar")
    parts = roles.roles(dataset)
    names = [[sample.name for sample in part] for part in (parts.train, parts.selection, parts.report)]
    assert sorted([*names[0], *names[1], *names[2]]) == sorted(sample.name for sample in dataset.samples)
    assert 40 <= len(parts.report) <= 80  # 15 % of 400, within 2.8 standard deviations
    assert 17 <= len(parts.selection) <= 52  # 10 % of the rest
    assert "near-duplicates may be divided" in parts.notes[1]
    again = roles.roles(open_shards(tmp_path / "a.tar"))
    assert [sample.name for sample in again.report] == names[2]
    assert [sample.name for sample in roles.roles(dataset, seed=1).report] != names[2]


def test_samples_of_an_index_take_no_memory_until_asked_for(tmp_path: Path, png_of: Png) -> None:
    dataset = open_shards(shard(tmp_path / "a.tar", png_of, 9, by_number))
    assert isinstance(dataset, ShardDataset)
    samples = dataset.samples[2:8:2]
    assert [sample.label for sample in samples] == [2, 1, 0]
    assert samples.labels.tolist() == [2, 1, 0]  # type: ignore[attr-defined]
    assert samples.chosen.dtype == np.uint32  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        samples[3]
    assert tarfile.is_tarfile(dataset.shard_files.ranges[0].address)
