"""Headers of tar files of every dialect, and files that are none."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mobilenets.data.ranges import ShardError, open_ranges
from mobilenets.data.tarscan import TarSample, scan_samples

LONG = "folder/" * 30 + "a picture with a very long name indeed"


def write_tar(path: Path, members: list[tuple[str, bytes]], style: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=style) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def scan(path: Path) -> list[TarSample]:
    return list(scan_samples(open_ranges(str(path))))


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_offsets_and_labels(tmp_path: Path, style: int) -> None:
    key = "folder/0001" if style == tarfile.USTAR_FORMAT else LONG
    members = [(f"./{key}.seg.txt", b"x"), (f"{key}.JPG", b"1" * 700), (f"{key}.cls", b"3"), ("b.cls", b"5")]
    path = write_tar(tmp_path / "a.tar", [*members, ("b.png", b"22"), ("README", b"no sample")], style)
    first, second = scan(path)
    data = path.read_bytes()
    for sample, image, label in ((first, b"1" * 700, b"3"), (second, b"22", b"5")):
        assert sample.image is not None
        assert data[sample.image.offset : sample.image.offset + sample.image.size] == image
        assert sample.labels == {"cls": label}
    assert [first.key, second.key] == [key, "b"]


def test_links_and_folders_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        folder, link = tarfile.TarInfo("cat"), tarfile.TarInfo("cat/1.jpg")
        folder.type, link.type, link.linkname, link.size = tarfile.DIRTYPE, tarfile.SYMTYPE, "0.jpg", 5
        archive.addfile(folder)
        archive.addfile(link)
        info = tarfile.TarInfo("2.jpg")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"data"))
    assert [sample.key for sample in scan(tmp_path / "a.tar")] == ["2"]


def test_a_member_that_ends_at_any_byte(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [("1.jpg", b"1" * 700), ("1.cls", b"0")]).read_bytes()
    for length in range(0, 3072, 100):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:length])
        with pytest.raises(ShardError, match=r"cut\.tar: (is no tar|breaks off|is damaged or cut)"):
            scan(cut)


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b"\x89PNG\r\n\x1a\n" + b"\1" * 600])
def test_no_tar(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ShardError, match=r"a\.tar: is no tar file"):
        scan(tmp_path / "a.tar")


def test_damage_in_the_middle_is_placed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"1" * 700), ("2.jpg", b"2"), ("3.jpg", b"3")])
    data = bytearray(path.read_bytes())
    data[1536 + 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"a\.tar: is damaged or cut at byte 1,536 of 10,240"):
        scan(path)


def test_two_images_in_one_sample(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"1"), ("1.png", b"2")])
    with pytest.raises(ShardError, match=r"sample '1' holds two images, 1\.jpg and 1\.png"):
        scan(path)
