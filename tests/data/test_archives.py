"""Archives give the same samples as the folder they were made of, and unsafe or damaged ones are refused."""

from __future__ import annotations

import io
import multiprocessing
import os
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data import archives
from mobilenets.data.archives import TarFiles, ZipFiles, open_archive
from mobilenets.data.dataset import Dataset, open_dataset
from mobilenets.errors import UserError

NAMES = [f"{split}/{kind}/{i} ä.png" for split in ("train", "val") for kind in ("cat", "dog") for i in range(2)]


@pytest.fixture
def folder(tmp_path: Path, write_images: Callable[..., Path]) -> Path:
    """Class folders with train and val, eight images."""
    return write_images(tmp_path / "set", NAMES)


def make_zip(folder: Path, path: Path, method: int = zipfile.ZIP_DEFLATED, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def make_tar(folder: Path, path: Path, mode: str, prefix: str = ".") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, prefix)
    return path


def contents(dataset: Dataset) -> dict[str, tuple[str, bytes]]:
    """Class and bytes by split and file name, whatever folder wraps the set."""
    return {
        f"{s.split}/{s.name.rsplit('/', 1)[-1]}/{dataset.classes[s.label].name}": (
            dataset.classes[s.label].name,
            dataset.read(s),
        )
        for s in dataset.samples
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("prefix", ["", "wrapped/twice/"])
def test_zip_is_the_folder(folder: Path, tmp_path: Path, method: int, prefix: str) -> None:
    dataset = open_dataset(make_zip(folder, tmp_path / "set.zip", method, prefix))
    assert contents(dataset) == contents(open_dataset(folder))
    assert [dataset.files.size(s.name) for s in dataset.samples] == [len(dataset.read(s)) for s in dataset.samples]


@pytest.mark.parametrize(
    ("mode", "suffix"), [("w", ".tar"), ("w:gz", ".tar.gz"), ("w:gz", ".tgz"), ("w:xz", ".tar.xz")]
)
@pytest.mark.parametrize("prefix", [".", "wrapped"])
def test_tar_is_the_folder(folder: Path, tmp_path: Path, mode: str, suffix: str, prefix: str) -> None:
    dataset = open_dataset(make_tar(folder, tmp_path / f"set{suffix}", mode, prefix))
    assert contents(dataset) == contents(open_dataset(folder))
    assert [dataset.files.size(s.name) for s in dataset.samples] == [len(dataset.read(s)) for s in dataset.samples]


def test_nothing_is_unpacked_to_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (make_zip(folder, tmp_path / "a.zip"), make_tar(folder, tmp_path / "a.tgz", "w:gz")):
        before = sorted(tmp_path.rglob("*"))
        dataset = open_dataset(path)
        assert len({dataset.read(sample) for sample in dataset.samples}) == len(NAMES)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_csv_and_lists_inside_an_archive(folder: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name},{i % 3}\n" for i, name in enumerate(NAMES))
    (folder / "labels.csv").write_text("file,label\n" + rows, encoding="utf-8")
    dataset = open_dataset(make_zip(folder, tmp_path / "set.zip", prefix="wrapped/"))
    assert (dataset.form, len(dataset.classes), len(dataset.samples)) == ("csv", 3, 8)
    (folder / "labels.csv").unlink()
    (folder / "train.txt").write_text("".join(f"{name}, {i % 2}\n" for i, name in enumerate(NAMES)), encoding="utf-8")
    dataset = open_dataset(make_tar(folder, tmp_path / "set.tar", "w"))
    assert (dataset.form, len(dataset.classes), len(dataset.samples)) == ("lists", 2, 8)


def test_names_with_backslashes_are_folders(tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i, kind in enumerate("ab"):
            info = zipfile.ZipInfo("x")
            info.filename = f"set\\{kind}\\1.png"
            archive.writestr(info, png_of(i))
    assert [sample.name for sample in open_dataset(path).samples] == ["set/a/1.png", "set/b/1.png"]


def test_links_inside_a_tar_are_followed_and_others_dropped(folder: Path, tmp_path: Path) -> None:
    target = folder / "train/cat/0 ä.png"
    os.symlink("0 ä.png", folder / "train/cat/link.png")
    os.symlink("../../../../../etc/passwd", folder / "train/cat/out.png")
    os.link(target, folder / "train/dog/hard.png")
    files = TarFiles(make_tar(folder, tmp_path / "set.tar", "w"))
    assert files.read("train/cat/link.png") == files.read("train/dog/hard.png") == target.read_bytes()
    assert "train/cat/out.png" not in files.names
    with pytest.raises(FileNotFoundError):
        files.read("train/cat/out.png")


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "\\evil.png", "C:\\evil.png", "a\\..\\b.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    for path in (tmp_path / "a.zip", tmp_path / "a.tar"):
        with pytest.raises(UserError, match="leads out of it"):
            open_archive(path)


def with_declared_size(path: Path, size: int) -> None:
    """Rewrites the size that the central directory of a zip with one member declares."""
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(bytes(data))


def test_members_too_large_and_bombs_are_refused_by_what_they_declare(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(100_000))
    with_declared_size(path, 3 * 2**30)
    with pytest.raises(UserError, match="3,221,225,472 bytes unpacked"):
        open_archive(path)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(20):
            archive.writestr(f"a/{i}.png", b"x")
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"PK\1\2", at + 1)) >= 0:
        data[at + 24 : at + 28] = struct.pack("<I", 400 * 2**20)
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="bomb"):
        open_archive(path)


def test_a_member_that_unpacks_to_more_than_it_declares_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(50_000_000))
    with_declared_size(path, 1000)
    with pytest.raises(OSError, match="damaged"):
        ZipFiles(path).read("a/1.png")


def test_compressed_tar_too_large_for_memory(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_tar(folder, tmp_path / "set.tgz", "w:gz")
    monkeypatch.setattr(archives, "MAX_MEMORY_BYTES", 1000)
    with pytest.raises(UserError, match="no random access"):
        open_dataset(path)


def test_damaged_archives(folder: Path, tmp_path: Path) -> None:
    for path in (make_zip(folder, tmp_path / "a.zip"), make_tar(folder, tmp_path / "a.tgz", "w:gz")):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match=path.name):
            open_dataset(path)
    (tmp_path / "a.zip").write_bytes(b"not an archive at all")
    with pytest.raises(UserError, match="neither a folder"):
        open_dataset(tmp_path / "a.zip")


def test_one_damaged_member_is_an_error_of_that_file_only(folder: Path, tmp_path: Path) -> None:
    path = make_zip(folder, tmp_path / "a.zip", zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(NAMES[0]).header_offset
    data = bytearray(path.read_bytes())
    data[offset + 120] ^= 0xFF
    path.write_bytes(bytes(data))
    files = ZipFiles(path)
    with pytest.raises(OSError, match="checksum"):
        files.read(NAMES[0])
    assert files.read(NAMES[1])


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", b"x")
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="encrypted"):
        open_archive(path)


def _read_all(dataset: Dataset, queue: SimpleQueue[list[bytes]]) -> None:
    queue.put([dataset.read(sample) for sample in dataset.samples])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads: what a loader does
def test_forked_workers_share_the_archive(folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    dataset = open_dataset(make_zip(folder, tmp_path / "a.zip"))
    queue = context.SimpleQueue()
    workers = [context.Process(target=_read_all, args=(dataset, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    expected = [dataset.read(sample) for sample in dataset.samples]
    assert [queue.get() for _ in workers] == [expected, expected]
    for worker in workers:
        worker.join()


MEMBERS = st.dictionaries(st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5}){0,2}\.bin", fullmatch=True), st.binary(max_size=300))


@settings(max_examples=25, deadline=None)
@given(MEMBERS)
def test_what_goes_in_comes_out(members: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        with tarfile.open(root / "a.tar", "w") as plain, tarfile.open(root / "a.tgz", "w:gz") as packed:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                plain.addfile(info, io.BytesIO(data))
                packed.addfile(info, io.BytesIO(data))
        for path in sorted(root.iterdir()):
            files = open_archive(path)
            assert {name: files.read(name) for name in files.names} == members, path.name
