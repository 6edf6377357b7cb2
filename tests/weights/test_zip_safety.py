"""Real zips of weights pass; bombs, traps and cut files get one line before anything is unpacked."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.errors import UserError
from mobilenets.weights.archives import check_zip, read_member

NOISE = np.random.default_rng(0).bytes(50_000)


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, **options: int) -> str:
    with pytest.raises(UserError) as caught:
        check_zip(path, **options)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_sound_zip_passes_and_is_read_exactly(tmp_path: Path, method: int) -> None:
    path = make_zip(tmp_path / "a.zip", {"config.json": b"{}" * 400, "folder/weights.bin": NOISE, "empty": b""}, method)
    check_zip(path)
    assert read_member(path, "folder/weights.bin", len(NOISE)) == NOISE
    assert read_member(path, "config.json", 800) == b"{}" * 400
    assert read_member(path, "empty", 0) == b""


def test_a_zip_behind_other_bytes_is_read_as_tflite_metadata_is(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"labels.txt": b"cat\ndog\n"})
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + NOISE + inner.read_bytes())
    check_zip(path)
    assert read_member(path, "labels.txt", 100) == b"cat\ndog\n"


def test_a_checkpoint_of_torch_passes(tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    torch.save({"weight": torch.randn(64, 64), "zeros": torch.zeros(1000, 1000)}, path)
    check_zip(path)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert read_member(path, name, 10_000) == archive.read(name)


def test_a_keras_file_passes(tmp_path: Path) -> None:
    path = make_zip(  # what Keras 3 writes: stored, with an HDF5 file inside
        tmp_path / "model.keras",
        {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(2_000_000)},
        zipfile.ZIP_STORED,
    )
    check_zip(path)


def test_growing_beyond_the_ratio_is_refused_from_one_megabyte_on(tmp_path: Path) -> None:
    check_zip(make_zip(tmp_path / "small.zip", {"a": bytes(999_999)}))
    path = make_zip(tmp_path / "bomb.zip", {"a": bytes(20_000_000)})
    assert "zip bomb" in refused(path)
    check_zip(path, ratio=2000)


def test_the_sum_is_limited(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{i}": NOISE for i in range(5)})
    check_zip(path, limit_bytes=250_000)
    assert "250,000 bytes; at most 249,999" in refused(path, limit_bytes=249_999)


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "..\\a", "C:/a", "C:\\a"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    assert "leads out" in refused(make_zip(tmp_path / "a.zip", {name: b"x"}))


def test_dots_inside_a_name_are_no_way_out(tmp_path: Path) -> None:
    check_zip(make_zip(tmp_path / "a.zip", {"a..b/.data/x..": b"x"}))


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """Fifield 2019, "A better zip bomb": many directory entries for one kernel of packed bytes."""
    path = make_zip(tmp_path / "a.zip", {"a": NOISE, "b": NOISE})
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")  # the second member's entry in the directory now points at the first one's bytes
    data[entry + 42 : entry + 46] = struct.pack("<I", first.header_offset)
    path.write_bytes(data)
    assert second.header_offset > 0
    assert "overlaps" in refused(path)


def test_a_quoted_header_is_refused(tmp_path: Path) -> None:
    """Fifield's other construction: the first member's packed bytes contain the header of the second."""
    kernel = zlib.compress(bytes(500_000), wbits=-15)
    inner = struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(bytes(500_000)), len(kernel), 500_000, 1, 0
    )
    quoted = inner + b"b"
    block = struct.pack("<BHH", 0, len(quoted), len(quoted) ^ 0xFFFF) + quoted  # a stored, not final, deflate block
    body = block + kernel
    whole = quoted + bytes(500_000)
    outer = (
        struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(whole), len(body), len(whole), 1, 0) + b"a"
    )
    directory = b""
    for name, data, size, offset in ((b"a", whole, len(body), 0), (b"b", bytes(500_000), len(kernel), len(outer) + 5)):
        directory += (
            struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\1\2",
                20,
                20,
                0,
                8,
                0,
                0,
                zlib.crc32(data),
                size,
                len(data),
                1,
                0,
                0,
                0,
                0,
                0,
                offset,
            )
            + name
        )
    start = len(outer) + len(body)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, len(directory), start, 0)
    path = tmp_path / "quoted.zip"
    path.write_bytes(outer + body + directory + end)
    with zipfile.ZipFile(path) as archive:
        assert [member.file_size for member in archive.infolist()] == [len(whole), 500_000]
    assert "overlaps" in refused(path)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    assert "twice" in refused(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_zip_is_refused(tmp_path: Path, kept: float) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": NOISE, "b": NOISE})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "cut off" in refused(path)
    with pytest.raises(UserError, match="cut off"):
        read_member(path, "a", 10**6)


def test_a_hole_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": NOISE, "b": NOISE})
    data = path.read_bytes()
    path.write_bytes(data[:10_000] + data[60_000:])  # the directory is whole, what it points to is not
    assert "damaged" in refused(path)


def test_other_files_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "noise.pth"
    path.write_bytes(NOISE)
    assert "no zip archive" in refused(path)
    assert "No such file" in refused(tmp_path / "absent.pth")


def test_encryption_and_unusual_methods_are_refused(tmp_path: Path) -> None:
    assert "method 12" in refused(make_zip(tmp_path / "a.zip", {"a": NOISE}, zipfile.ZIP_BZIP2))
    path = make_zip(tmp_path / "b.zip", {"a": NOISE})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)


def test_a_member_beyond_the_limit_is_not_unpacked(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": NOISE})
    with pytest.raises(UserError, match="50,000 bytes; at most 49,999"):
        read_member(path, "a", 49_999)
    with pytest.raises(UserError, match="no member 'b'"):
        read_member(path, "b", 10)


def test_a_header_that_lies_stops_at_what_it_declared(tmp_path: Path) -> None:
    """200 MB behind a header that says 1,000 bytes: no more than these are ever unpacked."""
    path = make_zip(tmp_path / "a.zip", {"a": bytes(200_000_000)})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 24 : data.rindex(b"PK\1\2") + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    check_zip(path)  # nothing in the directory gives it away
    tracemalloc.start()
    with pytest.raises(UserError, match="not what the archive declares"):
        read_member(path, "a", 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": NOISE}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum"):
        read_member(path, "a", 10**6)
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer) as archive:
        assert archive.testzip() == "a"  # the standard library agrees
